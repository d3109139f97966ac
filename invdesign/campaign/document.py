"""Read YAML 1.2 as plain JSON types, with the line of every value.

Nothing in a file can run code or grow without bound.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invdesign.candidate import Json
from invdesign.errors import CampaignError, Mistake
from invdesign.textfiles import UnreadableFileError, decode, read_bytes
from invdesign.wording import shorten_text

MAX_BYTES = 1_000_000  # of a campaign file (chosen)
MAX_DEPTH = 32  # levels of nesting (chosen)
MAX_DIGITS = 1000  # of a whole number: Python itself refuses to read more than 4300
Place = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_TEXT = {_TAG + "str", _TAG + "timestamp"}  # YAML 1.2 has no dates: they stay text
_NUMBERS = {_TAG + "int", _TAG + "float"}
_COLLECTIONS = {_TAG + "map", _TAG + "seq"}
_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+)$")


@dataclass
class Document:
    """A parsed campaign file.

    Attributes:
        value: plain JSON types.
        source: name of the file, for messages.
        lines: 1-based line by place; keys of mappings count, not only their values.
        text: the file as the user wrote it.
    """

    value: Json
    source: str = "campaign"
    lines: Mapping[Place, int] = field(default_factory=dict)
    text: str = ""

    def line(self, place: Place) -> int | None:
        """Line of a `place`, or of the closest place around it."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None

    def mistake(self, place: Place, message: str, hint: str = "") -> Mistake:
        """Describe a mistake in this document.

        Args:
            place: where it is.
            message: what was found, and what is allowed.
            hint: what to do.
        """
        return Mistake(path_text(place), message, self.line(place), hint)


def path_text(place: Place) -> str:
    """Write a `place` such as `('evaluate', 3, 'relax')` as `evaluate[3].relax`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _tag_of(node: Any) -> str:
    return str(node.ctag if hasattr(node, "ctag") else node.tag)


def read_document(path: Path) -> Document:
    """Parse the campaign file at `path`.

    Raises:
        CampaignError: the file is missing, not UTF-8, too large, or not acceptable YAML.
    """
    source = str(path)
    if not os.path.lexists(path):
        raise CampaignError([Mistake("", "there is no such file.", None, _list_campaigns(path))], source)
    try:
        text = decode(read_bytes(path, MAX_BYTES), path.name, fallback=None)
    except UnreadableFileError as error:
        raise CampaignError([Mistake("", str(error))], source) from error
    return parse_yaml(text, source)


def _list_campaigns(path: Path) -> str:
    """List the campaign files beside a missing one."""
    others: list[str] = []
    with suppress(OSError):
        others = sorted(p.name for p in path.parent.glob("*.y*ml"))
    if not others:
        return "Make one with: invdesign init my-campaign.yaml"
    return f"In {path.parent}: {', '.join(others)}."


def parse_yaml(text: str, source: str = "campaign") -> Document:
    """Parse YAML text.

    Refuse aliases, duplicate keys, tags, non-finite numbers and deep nesting.

    Args:
        text: the YAML.
        source: name of the file, for messages.

    Raises:
        CampaignError: with every such mistake.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="safe", pure=True)
    command = f"invdesign validate {source}"
    try:
        refused = _find_refused_events(reader, text)
        if refused:
            raise CampaignError(refused, source, command)
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = " ".join(filter(None, [error.context, error.problem]))
        raise CampaignError([Mistake("", f"not valid YAML: {what}", line)], source, command) from error
    except YAMLError as error:
        what = " ".join(str(error).split())
        raise CampaignError([Mistake("", f"not valid YAML: {what}")], source, command) from error
    if node is None:
        raise CampaignError([Mistake("", "the file is empty.", 1, "Make one with: invdesign init")], source)
    converter = _Converter()
    value = converter.convert(node, ())
    if converter.mistakes:
        raise CampaignError(converter.mistakes, source, command)
    return Document(value, source, converter.lines, text)


def _find_refused_events(reader: Any, text: str) -> list[Mistake]:
    """Find aliases, deep nesting and old YAML versions.

    This comes before anything is built that could explode.
    """
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent

    mistakes = []
    depth = 0
    for event in reader.parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent) and event.version not in {None, (1, 2)}:
            version = ".".join(map(str, event.version))
            mistakes.append(
                Mistake("", f"YAML {version} is not read, only 1.2 is: take the %YAML line out", line)
            )
        if isinstance(event, AliasEvent):
            mistakes.append(
                Mistake("", f"the alias *{event.anchor} is not allowed: write the value out", line)
            )
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return [Mistake("", f"nested more than {MAX_DEPTH} levels deep", line)]
        if isinstance(event, CollectionEndEvent):
            depth -= 1
    return mistakes


class _Converter:
    """Converts YAML nodes to JSON types, recording lines and mistakes."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.mistakes: list[Mistake] = []

    def convert(self, node: Any, place: Place) -> Json:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, MappingNode | SequenceNode) and _tag_of(node) not in _COLLECTIONS:
            self._refuse_tag(node, place)
            return None
        if isinstance(node, MappingNode):
            return self._convert_mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.convert(item, (*place, number)) for number, item in enumerate(node.value)]
        return self._convert_scalar(node, place)

    def _convert_mapping(self, node: Any, place: Place) -> Json:
        result: dict[str, Json] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                self.mistakes.append(Mistake(path_text(place), "a key must be a word", line))
                continue
            here = (*place, key)
            if key in result:
                first = self.lines[here]
                self.mistakes.append(
                    Mistake(path_text(here), f"the key is given twice, first in line {first}", line)
                )
                continue
            self.lines[here] = line
            result[key] = self.convert(value_node, here)
        return result

    def _convert_scalar(self, node: Any, place: Place) -> Json:
        tag = _tag_of(node)
        text: str = node.value
        if tag in _TEXT:
            return text
        text = text if tag not in _NUMBERS else text.replace("_", "")
        if tag == _TAG + "null":
            return None
        if tag == _TAG + "bool":
            return text.lower() == "true"
        if tag == _TAG + "int" and _INTEGER.match(text) and len(text) <= MAX_DIGITS:
            return int(text, 0) if text.lstrip("+-")[:2] in {"0x", "0o"} else int(text)
        if tag in _NUMBERS:
            return self._parse_float(text, place, node)
        self._refuse_tag(node, place)
        return None

    def _refuse_tag(self, node: Any, place: Place) -> None:
        message = f"the tag {_tag_of(node)!r} is not allowed"
        self.mistakes.append(Mistake(path_text(place), message, node.start_mark.line + 1))

    def _parse_float(self, text: str, place: Place, node: Any) -> Json:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            message = f"{shorten_text(text, 40)} is not a finite number"
            self.mistakes.append(Mistake(path_text(place), message, node.start_mark.line + 1))
        return number
