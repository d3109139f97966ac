"""Syntax of CIF: data blocks with items and loops, also of slightly malformed files.

A malformed file is read only where a single reading is possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemmi import cif

from invdesign.structures.reading.raw import StructureFileError
from invdesign.structures.site_labels import CIF_PREFIX

NULL_VALUES = ("?", ".", "")
# Loops of other categories (reflections, bonds) are not decoded; they may be most of a file.
READ_CATEGORIES = (
    "_atom_site",
    "_cell",
    "_chemical_formula",
    "_exptl_crystal_density",
    CIF_PREFIX,
    "_space_group",
    "_symmetry",
)
_WORD = re.compile(
    r"""\s*(?:(?P<comment>\#.*)
    |'(?P<single>(?:[^']|'(?=\S))*)'(?=\s|$)
    |"(?P<double>(?:[^"]|"(?=\S))*)"(?=\s|$)
    |(?P<list>\[(?:[^][]|\[[^][]*\])*\]|\{[^{}]*\})(?=\s|$)
    |(?P<bare>\S+))""",
    re.VERBOSE,
)
_MAX_TAGS = 10_000  # tags of one loop; chosen: the largest dictionaries define a few hundred in a category
_MAX_ROWS = 500_000  # rows of one loop; chosen
_MAX_BLOCKS = 1_000_000  # data blocks of a file; chosen
_MAX_MALFORMED_LENGTH = 5_000_000  # characters of a malformed file; chosen: files written by hand are short


@dataclass(frozen=True, slots=True)
class Block:
    """One data block, reduced to the categories a crystal needs.

    Attributes:
        name: text after `data_`.
        columns: values by tag; a single item is a column of one value. Tags are lower case, dots are underscores.
        remarks: remarks on the reading of malformed text.
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    remarks: tuple[str, ...] = ()

    def find_value(self, *tags: str) -> str | None:
        """Find the first known value of these `tags`.

        Unknown and omitted values are passed over.
        """
        for tag in tags:
            for value in self.columns.get(tag, ()):
                if value.strip() not in NULL_VALUES:
                    return value.strip()
        return None

    def find_column(self, *tags: str) -> Sequence[str] | None:
        """Find the values of the first stated tag of `tags`."""
        for tag in tags:
            values = self.columns.get(tag)
            if values and any(value.strip() not in NULL_VALUES for value in values):
                return values
        return None


def parse_blocks(text: str, name: str) -> list[Block]:
    """Parse the data blocks of a CIF.

    Text that the grammar refuses is read line by line, and the blocks carry a remark.

    Args:
        text: content of the file.
        name: name of the file in messages.

    Raises:
        StructureFileError: the text has no single possible reading.
    """
    clean = text.encode("utf-8", "replace").decode().lstrip("\ufeff").rstrip("\x1a \n") + "\n"
    try:
        document = cif.read_string(clean, check_level=0)
    except (ValueError, RuntimeError) as error:
        fault = str(error).removeprefix("string:")
        if len(clean) > _MAX_MALFORMED_LENGTH:
            raise StructureFileError(
                f"{name} is not well-formed CIF: {_describe_fault(fault)}; correct it"
            ) from None
        return _LineReader(name, _describe_fault(fault)).read_lines(clean.splitlines())
    if len(document) > _MAX_BLOCKS:
        raise StructureFileError(f"{name} has {len(document)} data blocks; up to {_MAX_BLOCKS} are read")
    return [_decode_block(block, name) for block in document]


def _describe_fault(fault: str) -> str:
    position, _, reason = fault.partition(": ")
    return f"line {position.split(':')[0]}: {' '.join(reason.split())[:80]}"


def normalize_tag(tag: str) -> str:
    """Convert a `tag` to lower case with underscores for dots.

    Dictionaries differ in these.
    """
    return tag.lower().replace(".", "_")


def _decode_block(block: cif.Block, name: str) -> Block:
    columns: dict[str, Sequence[str]] = {}
    for item in block:
        pair: Any = item.pair
        if pair is not None:
            _add_column(columns, pair[0], [pair[1]], name, block.name)
        elif item.loop is not None and _concerns_crystal(item.loop.tags):
            if item.loop.length() > _MAX_ROWS:
                raise StructureFileError(
                    f"{name} lists {item.loop.length()} rows of {item.loop.tags[0]}; up to {_MAX_ROWS} are read"
                )
            tags, values = item.loop.tags, item.loop.values
            for k, tag in enumerate(tags):
                _add_column(columns, tag, values[k :: len(tags)], name, block.name)
    return Block(block.name.strip(), columns)


def _concerns_crystal(tags: Sequence[str]) -> bool:
    return len(tags) <= _MAX_TAGS and any(_is_wanted(normalize_tag(tag)) for tag in tags)


def _is_wanted(key: str) -> bool:
    return key.startswith(READ_CATEGORIES) and not key.startswith("_atom_site_aniso")


def _add_column(columns: dict[str, Sequence[str]], tag: str, raw: list[str], name: str, block: str) -> None:
    key = normalize_tag(tag)
    if not _is_wanted(key):
        return
    values = [cif.as_string(value) if value[:1] in {"'", '"', ";"} else value.strip() for value in raw]
    merge_column(columns, key, values, name, block)


def merge_column(
    columns: dict[str, Sequence[str]], key: str, values: Sequence[str], name: str, block: str
) -> None:
    """Add a column.

    A repeated one must be equal, or one of the two unknown.

    Args:
        columns: columns by tag, changed in place.
        key: tag of the new column.
        values: values of the new column.
        name: name of the file in messages.
        block: name of the block in messages.

    Raises:
        StructureFileError: a tag is given twice with different values.
    """
    known = columns.get(key)
    if known is None or all(value in NULL_VALUES for value in known):
        columns[key] = values
    elif list(known) != list(values) and not all(value in NULL_VALUES for value in values):
        raise StructureFileError(
            f"{name}: {key} is given twice in data_{block.strip()}, as {_show_values(known)} and as "
            f"{_show_values(values)}; keep one, or begin a new block (data_...) for the second crystal"
        )


def _show_values(values: Sequence[str]) -> str:
    return repr(values[0][:40]) if len(values) == 1 else f"{len(values)} values"


@dataclass(slots=True)
class _LineReader:
    """Reader by lines, for text with missing quotes or headers."""

    name: str
    fault: str
    blocks: list[Block] = field(default_factory=list)
    title: str | None = None
    columns: dict[str, Sequence[str]] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    in_loop: bool = False
    stray: str = ""

    def read_lines(self, lines: Sequence[str]) -> list[Block]:
        """Read all blocks of these `lines`."""
        for number, words in self._split_words(lines):
            self._take_line(number, words)
        self._end_block()
        if not self.blocks:
            raise StructureFileError(
                f"{self.name} cannot be read as CIF: {self.fault}; it needs a cell and a loop of sites"
            )
        return self.blocks

    def _split_words(self, lines: Sequence[str]) -> Iterator[tuple[int, list[tuple[str, bool]]]]:
        number = 0
        while number < len(lines):
            line, start = lines[number], number
            number += 1
            if not line.startswith(";"):
                yield start + 1, _tokenize_line(line)
                continue
            body = [line[1:]]
            while number < len(lines) and not lines[number].startswith(";"):
                body.append(lines[number])
                number += 1
            if number == len(lines):
                raise StructureFileError(
                    f"{self.name}: the text that begins with ';' on line {start + 1} has no end; close it by a line ';'"
                )
            rest = _tokenize_line(lines[number][1:])
            number += 1
            yield start + 1, [("\n".join(body), True), *rest]

    def _take_line(self, number: int, words: list[tuple[str, bool]]) -> None:
        values: list[str] = []
        for word, quoted in words:
            lower = word.lower()
            if not quoted and lower.startswith(("data_", "global_")):
                self._flush_values(number, values)
                self._begin_block(word.partition("_")[2])
            elif not quoted and lower in {"loop_", "stop_"}:
                self._flush_values(number, values)
                self._end_group()
                self.in_loop = lower == "loop_"
            elif not quoted and lower.startswith("save_"):
                raise StructureFileError(
                    f"{self.name}: {self.fault}; save frames belong to dictionaries, not to crystals"
                )
            elif not quoted and word.startswith("_"):
                self._flush_values(number, values)
                if not self.in_loop or self.rows:
                    self._end_group()
                self.tags.append(word)
            else:
                values.append(word)
                continue
            values = []
        self._flush_values(number, values)

    def _flush_values(self, number: int, values: list[str]) -> None:
        if not values:
            return
        if not self.tags or (not self.in_loop and self.rows):
            self.stray = self.stray or f"line {number} ({' '.join(values)[:40]!r})"
        else:
            self.rows.append((number, values))

    def _end_group(self) -> None:
        tags, rows, looped = self.tags, self.rows, self.in_loop
        self.tags, self.rows, self.in_loop = [], [], False
        if not tags or not _concerns_crystal(tags):
            return
        self.title = self.title if self.title is not None else ""
        if not looped or len(tags) == 1:
            joined = [" ".join(values) for _, values in rows] or ["?"]
            self._store_columns(tags, [joined])
            return
        cells = [value for _, values in rows for value in values]
        if len(cells) % len(tags):
            line, found = next(((n, len(v)) for n, v in rows if len(v) != len(tags)), (0, 0))
            raise StructureFileError(
                f"{self.name}: line {line} has {found} values, its loop has {len(tags)} columns ({tags[0]}, ...); "
                "complete the line, and quote values that hold blanks"
            )
        self._store_columns(tags, [cells[k :: len(tags)] for k in range(len(tags))])

    def _store_columns(self, tags: Sequence[str], columns: Sequence[list[str]]) -> None:
        for tag, values in zip(tags, columns, strict=True):
            key = normalize_tag(tag)
            if _is_wanted(key):
                merge_column(self.columns, key, values, self.name, self.title or "")

    def _begin_block(self, title: str) -> None:
        """End the block so far.

        Items before the first header belong to the new one. A crystal before the first header is a block of its own.
        """
        self._end_group()
        if self.blocks or self.title != "" or any(tag.startswith("_atom_site_") for tag in self.columns):
            self._end_block()
        self.title = title

    def _end_block(self) -> None:
        self._end_group()
        if self.title is None:
            return
        remarks = [f"the CIF is not well-formed ({self.fault}) and was read line by line"]
        if self.stray:
            remarks.append(f"stray text was left out: {self.stray}")
        self.blocks.append(Block(self.title, self.columns, tuple(remarks)))
        self.title, self.columns, self.stray = None, {}, ""


def _tokenize_line(line: str) -> list[tuple[str, bool]]:
    """Split a line into words, each True if quoted.

    A quote without its end takes the rest of the line.
    """
    words: list[tuple[str, bool]] = []
    position = 0
    while match := _WORD.match(line, position):
        position = match.end()
        if match["comment"] is not None:
            break
        quoted = match["single"] if match["single"] is not None else match["double"]
        if quoted is not None:
            words.append((quoted, True))
        elif match["list"] is not None:  # of CIF 2.0
            words.append((match["list"], True))
        elif match["bare"][0] in "'\"" and len(match["bare"]) > 1:
            words.append((line[match.start("bare") + 1 :].strip(), True))
            break
        else:
            words.append((match["bare"], False))
    return words
