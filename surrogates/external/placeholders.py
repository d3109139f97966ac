"""Placeholders such as `{{temperature}}` in input files and command lines.

They have two braces, since `$` and `${...}` have meanings of their own in shells and in the input files of
LAMMPS and others.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from invdesign.candidate import Input
from invdesign.errors import nearest
from surrogates.external.folders import JobError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z][A-Za-z0-9_.+-]*)\s*(?:=\s*([^{}\n]*?)\s*)?\}\}")
CANDIDATE_PLACEHOLDERS = ("candidate.parameters", "candidate.formula", "candidate.seed")
STRUCTURE_PLACEHOLDERS = ("structure.elements", "structure.atoms", "structure.formula")
SPECIAL_PLACEHOLDERS = (*CANDIDATE_PLACEHOLDERS, *STRUCTURE_PLACEHOLDERS)
MAX_SEED = 2**31 - 2  # largest seed that most programs accept


def list_placeholders(text: str) -> list[str]:
    """Names of the placeholders in `text`, in their order."""
    return [match.group(1) for match in _PLACEHOLDER.finditer(text)]


def split_line(line: str) -> list[str]:
    """Split a command `line` into program and arguments, as a shell does.

    Blanks within a placeholder's braces split nothing.

    Raises:
        ValueError: a quotation is not closed.
    """
    return shlex.split(_PLACEHOLDER.sub(lambda match: match.group(0).replace(" ", ""), line))


def describe_unknown(names: Iterable[str]) -> str:
    """Error message for the first of `names` that is an unknown special one.

    Returns an empty text if there is none. Special names begin with `candidate.` or `structure.`.
    """
    for name in names:
        if name.startswith(("candidate.", "structure.")) and name not in SPECIAL_PLACEHOLDERS:
            return f"there is no '{{{{{name}}}}}'. {nearest(name, SPECIAL_PLACEHOLDERS)} Known: {', '.join(SPECIAL_PLACEHOLDERS)}".replace(
                "  ", " "
            )
    return ""


def fill_placeholders(text: str, values: Mapping[str, str], where: str) -> str:
    """Replace every placeholder in `text`.

    Replaced text is not searched again.

    Args:
        text: a file's content, or a word of a command line.
        values: text by placeholder.
        where: name of the file or setting, for messages.

    Raises:
        JobError: the candidate has no such value, and the placeholder no default: `{{salt=0}}`.
    """

    def look_up_value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in values:
            return values[name]
        if default is not None:
            return str(default)
        hint = nearest(name, values)
        raise JobError(
            f"{where} asks for {{{{{name}}}}}, and the candidate has no such value. {hint + ' ' if hint else ''}"
            f"It has {', '.join(values)}. A parameter that not every candidate has gets a default: {{{{{name}=0}}}}",
            "missing",
        )

    return _PLACEHOLDER.sub(look_up_value, text)


def collect_values(
    item: Input, requires: Iterable[str], structure: Structure | None, elements: Sequence[str]
) -> dict[str, str]:
    """Collect the text for each placeholder of one candidate.

    Args:
        item: the candidate's values.
        requires: parameters, composition and earlier properties that placeholders may name.
        structure: the structure that is written; None if none is.
        elements: its symbols, in the order the file lists them.
    """
    required = set(requires)
    found = {name: _format_value(item.properties[name]) for name in sorted(required & item.properties.keys())}
    if "parameters" in required:
        found.update({name: _format_value(value) for name, value in item.parameters.items()})
        found["candidate.parameters"] = json.dumps(dict(item.parameters), ensure_ascii=False)
    if "composition" in required:
        found["candidate.formula"] = item.composition.formula.replace(" ", "")
    found["candidate.seed"] = str(1 + item.seed % MAX_SEED)
    if structure is not None:
        found["structure.elements"] = " ".join(elements)
        found["structure.atoms"] = str(len(structure))
        found["structure.formula"] = structure.composition.formula.replace(" ", "")
    return found


def _format_value(value: float | str) -> str:
    """Write a number in its shortest exact form: 300, 300.0, 1e-09."""
    return value if isinstance(value, str) else repr(value if isinstance(value, int) else float(value))
