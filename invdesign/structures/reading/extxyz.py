"""Reader of extended XYZ: consecutive frames of atoms with a cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.structures.reading.gate import SLAB_MESSAGE, check_count, to_fractional
from invdesign.structures.reading.raw import MAX_FRAMES, Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import (
    Lines,
    Matrix,
    element_from_number,
    parse_element,
    parse_number,
    shorten_line,
)
from invdesign.structures.site_labels import COLUMN_PREFIX, SITE_LABELS, LabelValue, parse_word, split_labels

# key=value, where a value may stand in quotes, braces or brackets; a bare key is true.
_ENTRY = re.compile(
    r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s=,"'\[\]{}]+))\s*"""
    r"""(?:=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|\{([^{}]*)\}|(\[[^=]*\])(?=\s|$)|([^\s"'{}\[\]]\S*|)))?"""
)
_TRUE = frozenset({"t", "true", "1"})
_FALSE = frozenset({"f", "false", "0"})
_SPECIES = ("species", "symbols", "symbol", "element")
_NUMBERS = ("z", "numbers", "atomic_numbers")
_POSITIONS = ("pos", "positions")
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
STRUCTURE_KEYS = frozenset({"lattice", "pbc", "properties"})


def read_extxyz(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read all frames of an extended XYZ file.

    Several frames are named `NAME#1` and so on.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the numbers of atoms and frames.

    Raises:
        StructureFileError: a frame has no cell, is not periodic in all directions, or cannot be read.
    """
    lines = Lines(text, name)
    spans = list(_find_frame_spans(lines, limits))
    several = len(spans) > 1
    return [
        _read_frame(lines, start, count, f"{name}#{number}" if several else name, limits)
        for number, (start, count) in enumerate(spans, 1)
    ]


def find_frame_offsets(data: bytes) -> list[tuple[int, int]] | None:
    """Find (start, end) of each frame in bytes.

    Only the numbers of atoms are parsed.

    Args:
        data: content of the file.

    Returns:
        The offsets; None where the numbers of atoms do not fit the file.
    """
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    starts: NDArray[np.int64] = np.concatenate([[0], newlines + 1]).astype(np.int64)
    ends = np.append(starts[1:], len(data))
    found: list[tuple[int, int]] = []
    line = 0
    while line < len(starts):
        word = data[starts[line] : ends[line]].strip().removeprefix(b"\xef\xbb\xbf")
        if not word:
            line += 1
            continue
        if not word.isdigit() or len(word) > 12:
            return None
        last = line + int(word) + 1
        if last >= len(starts):
            return None
        found.append((int(starts[line]), int(ends[last])))
        line = last + 1
    return found


def _find_frame_spans(lines: Lines, limits: Limits) -> Iterator[tuple[int, int]]:
    """Yield (first line, number of atoms) of each frame."""
    found = 0
    while lines.left:
        line = lines.take_line("a frame").strip()
        if not line:
            continue
        count = lines.parse_count(line, "the number of atoms of the next frame")
        check_count(count, lines.name, limits)
        found += 1
        if found > limits.frames:
            raise StructureFileError(
                f"{lines.name} has more than {limits.frames} frames; split it, or set the environment variable {MAX_FRAMES}"
            )
        if count + 1 > lines.left:
            raise lines.line_error(
                f"{count} atoms are announced, and the file ends after {max(lines.left - 1, 0)} of them"
            )
        yield lines.next - 1, count
        lines.next += count + 1


@dataclass(frozen=True, slots=True)
class _Columns:
    """First column of each entry of an atom's row.

    None where absent.

    Attributes:
        species: element symbols.
        numbers: atomic numbers.
        positions: coordinates.
        width: number of all columns.
        exact: True if a row may have no further columns.
        labels: of our own labels of sites (`site_labels`), by name.
    """

    species: int | None
    numbers: int | None
    positions: int
    width: int
    exact: bool
    labels: Mapping[str, int]


def _read_frame(lines: Lines, start: int, count: int, name: str, limits: Limits) -> RawCrystal:
    """Read the frame of `count` atoms after line `start`."""
    lines.next = start + 1
    entries = _parse_entries(lines, lines.take_line("the line of the cell"))
    lattice = _parse_lattice(lines, entries.get("lattice"))
    periodic = _parse_periodicity(lines, entries.get("pbc"))
    if lattice is None or not all(periodic):
        shown = " ".join("FT"[flag] for flag in periodic)
        what = f'says pbc="{shown}"' if lattice is not None else "has no cell (Lattice)"
        raise StructureFileError(f"{name} {what}: it is {SLAB_MESSAGE}")
    columns = _parse_columns(lines, entries.get("properties"))
    symbols, points, labels = _read_rows(lines, count, columns)
    own = split_labels(labels, count, name)
    matrix: Matrix = (*(tuple(lattice[k : k + 3]) for k in (0, 3, 6)),)  # type: ignore[assignment]  # nine numbers
    places = to_fractional(matrix, points, name, limits)
    return RawCrystal(
        name=name,
        lattice=matrix,
        sites=tuple(
            RawSite({s: 1.0}, place, s, found) for s, place, found in zip(symbols, places, own, strict=True)
        ),
        properties=_parse_properties(entries),
    )


def _parse_entries(lines: Lines, comment: str) -> Mapping[str, str]:
    """Parse a comment line into entries by lower-case key.

    A line of another form has none.
    """
    found: dict[str, str] = {}
    place = 0
    while place < len(comment.rstrip()):
        match = _ENTRY.match(comment, place)
        if match is None or match.end() == place:
            if "lattice" in comment.lower():
                raise lines.line_error(
                    f"cannot be read as key=value from '{shorten_line(comment[place:])}' on"
                )
            return found
        key = next(part for part in match.groups()[:3] if part is not None).lower()
        if key in STRUCTURE_KEYS and key in found:
            raise lines.line_error(f"'{key}' is said twice")
        found[key] = next((part for part in match.groups()[3:] if part is not None), "T")
        place = match.end()
    return found


def _split_list(text: str) -> list[str]:
    return re.sub(r"[\[\]{},]", " ", text).split()


def _parse_lattice(lines: Lines, text: str | None) -> list[float] | None:
    if text is None:
        return None
    words = _split_list(text)
    if len(words) != 9:
        raise lines.line_error(
            f"Lattice has {len(words)} numbers, not the 9 of three vectors: '{shorten_line(text)}'"
        )
    return lines.parse_numbers(words, "the numbers of Lattice")


def _parse_periodicity(lines: Lines, text: str | None) -> tuple[bool, bool, bool]:
    if text is None:
        return True, True, True  # the format's default for a file with a cell
    words = [word.lower() for word in _split_list(text)]
    if len(words) != 3 or not all(word in _TRUE | _FALSE for word in words):
        raise lines.line_error(f"pbc must be three of T and F, got '{shorten_line(text)}'")
    a, b, c = (word in _TRUE for word in words)
    return a, b, c


def _parse_columns(lines: Lines, text: str | None) -> _Columns:
    """Parse the columns of an atom's row from the entry `Properties`."""
    parts = (text or DEFAULT_PROPERTIES).split(":")
    places: dict[str, int] = {}
    width = 0
    for name, kind, many in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if not re.fullmatch("[SRIL]", kind) or not re.fullmatch("[1-9][0-9]{0,5}", many):
            raise lines.line_error(f"Properties cannot be read: '{shorten_line(text or '')}'")
        key = name.lower()
        if key in places:
            raise lines.line_error(f"Properties name '{name}' twice")
        places[key] = width
        if key in _POSITIONS and (kind, many) != ("R", "3"):
            raise lines.line_error(
                f"positions must be three real numbers ({name}:R:3), got {name}:{kind}:{many}"
            )
        width += int(many)
    species = next((places[key] for key in _SPECIES if key in places), None)
    numbers = next((places[key] for key in _NUMBERS if key in places), None)
    positions = next((places[key] for key in _POSITIONS if key in places), None)
    if len(parts) % 3 or positions is None or (species is None and numbers is None):
        raise lines.line_error(
            f"Properties must name species and positions, as in {DEFAULT_PROPERTIES}; got '{shorten_line(text or '')}'"
        )
    labels = {
        label: places[COLUMN_PREFIX + label] for label in SITE_LABELS if COLUMN_PREFIX + label in places
    }
    return _Columns(species, numbers, positions, width, exact=text is not None, labels=labels)


def _read_rows(
    lines: Lines, count: int, columns: _Columns
) -> tuple[list[str], list[list[float]], dict[str, list[LabelValue]]]:
    symbols, points = [], []
    labels: dict[str, list[LabelValue]] = {label: [] for label in columns.labels}
    for number in range(1, count + 1):
        words = lines.take_line(f"atom {number}").split()
        if len(words) < columns.width or (columns.exact and len(words) > columns.width):
            raise lines.line_error(
                f"the row of atom {number} has {len(words)} columns, Properties name {columns.width}: '{shorten_line(' '.join(words))}'"
            )
        symbols.append(_find_row_element(lines, words, columns))
        points.append(lines.parse_numbers(words[columns.positions : columns.positions + 3], "a position"))
        for label, place in columns.labels.items():
            labels[label].append(parse_word(label, words[place]))
    return symbols, points, labels


def _find_row_element(lines: Lines, words: Sequence[str], columns: _Columns) -> str:
    found: list[str | None] = []
    if columns.species is not None:
        word = words[columns.species]
        found.append(
            element_from_number(int(word)) if re.fullmatch("[0-9]{1,3}", word) else parse_element(word)
        )
    if columns.numbers is not None:
        word = words[columns.numbers]
        found.append(element_from_number(int(word)) if re.fullmatch("[0-9]{1,3}", word) else None)
    if None in found or len(set(found)) != 1:
        raise lines.line_error(f"'{shorten_line(' '.join(words))}' names no element")
    return str(found[0])


def _parse_properties(entries: Mapping[str, str]) -> Mapping[str, int | float | str]:
    """Numbers and text of the comment line beside the structure."""
    found: dict[str, int | float | str] = {}
    for key, text in entries.items():
        if key not in STRUCTURE_KEYS:
            value = parse_number(text)
            whole = value is not None and re.fullmatch(r"[+-]?[0-9]{1,15}", text)
            found[key] = int(text) if whole else text if value is None else value
    return found
