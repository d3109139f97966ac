"""Extended XYZ: frames of atoms with a cell, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.structures.reading.gate import SLAB, check_count, fractional
from invdesign.structures.reading.raw import MAX_FRAMES, Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import Lines, Matrix, element_in, element_of, number_in, shorten

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
PLAIN = "species:S:1:pos:R:3"
OWN = frozenset({"lattice", "pbc", "properties"})


def read_extxyz(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read all frames of an extended XYZ file; frames of several are named `NAME#1` and so on.

    Args:
        text: of the file.
        name: what messages call it.
        limits: on the numbers of atoms and frames.

    Raises:
        StructureFileError: a frame has no cell, is not periodic in all directions, or cannot be read.
    """
    lines = Lines(text, name)
    spans = list(_spans(lines, limits))
    several = len(spans) > 1
    return [
        _frame(lines, start, count, f"{name}#{number}" if several else name, limits)
        for number, (start, count) in enumerate(spans, 1)
    ]


def frame_offsets(data: bytes) -> list[tuple[int, int]] | None:
    """Return (start, end) of each frame in bytes, by the numbers of atoms alone; None where these are wrong."""
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


def _spans(lines: Lines, limits: Limits) -> Iterator[tuple[int, int]]:
    """(number of the line, number of atoms) of each frame."""
    found = 0
    while lines.left:
        line = lines.take("a frame").strip()
        if not line:
            continue
        count = lines.count_of(line, "the number of atoms of the next frame")
        check_count(count, lines.name, limits)
        found += 1
        if found > limits.frames:
            raise StructureFileError(
                f"{lines.name} has more than {limits.frames} frames; split it, or set the environment variable {MAX_FRAMES}"
            )
        if count + 1 > lines.left:
            raise lines.refuse(
                f"{count} atoms are announced, and the file ends after {max(lines.left - 1, 0)} of them"
            )
        yield lines.next - 1, count
        lines.next += count + 1


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a row says what: first column of each, None where there is none, and the number of all columns."""

    species: int | None
    numbers: int | None
    positions: int
    width: int
    exact: bool


def _frame(lines: Lines, start: int, count: int, name: str, limits: Limits) -> RawCrystal:
    lines.next = start + 1
    entries = _entries(lines, lines.take("the line of the cell"))
    lattice = _lattice(lines, entries.get("lattice"))
    periodic = _periodic(lines, entries.get("pbc"))
    if lattice is None or not all(periodic):
        shown = " ".join("FT"[flag] for flag in periodic)
        what = f'says pbc="{shown}"' if lattice is not None else "has no cell (Lattice)"
        raise StructureFileError(f"{name} {what}: it is {SLAB}")
    columns = _columns(lines, entries.get("properties"))
    symbols, points = _rows(lines, count, columns)
    matrix: Matrix = (*(tuple(lattice[k : k + 3]) for k in (0, 3, 6)),)  # type: ignore[assignment]  # nine numbers
    places = fractional(matrix, points, name, limits)
    return RawCrystal(
        name=name,
        lattice=matrix,
        sites=tuple(RawSite({s: 1.0}, place, s) for s, place in zip(symbols, places, strict=True)),
        properties=_properties(entries),
    )


def _entries(lines: Lines, comment: str) -> Mapping[str, str]:
    """The entries of a comment line by their keys in lower case; a line that has no such form has none."""
    found: dict[str, str] = {}
    place = 0
    while place < len(comment.rstrip()):
        match = _ENTRY.match(comment, place)
        if match is None or match.end() == place:
            if "lattice" in comment.lower():
                raise lines.refuse(f"cannot be read as key=value from '{shorten(comment[place:])}' on")
            return found
        key = next(part for part in match.groups()[:3] if part is not None).lower()
        if key in OWN and key in found:
            raise lines.refuse(f"'{key}' is said twice")
        found[key] = next((part for part in match.groups()[3:] if part is not None), "T")
        place = match.end()
    return found


def _list(text: str) -> list[str]:
    return re.sub(r"[\[\]{},]", " ", text).split()


def _lattice(lines: Lines, text: str | None) -> list[float] | None:
    if text is None:
        return None
    words = _list(text)
    if len(words) != 9:
        raise lines.refuse(f"Lattice has {len(words)} numbers, not the 9 of three vectors: '{shorten(text)}'")
    return lines.numbers_of(words, "the numbers of Lattice")


def _periodic(lines: Lines, text: str | None) -> tuple[bool, bool, bool]:
    if text is None:
        return True, True, True  # as the format says of a file with a cell
    words = [word.lower() for word in _list(text)]
    if len(words) != 3 or not all(word in _TRUE | _FALSE for word in words):
        raise lines.refuse(f"pbc must be three of T and F, got '{shorten(text)}'")
    a, b, c = (word in _TRUE for word in words)
    return a, b, c


def _columns(lines: Lines, text: str | None) -> _Columns:
    parts = (text or PLAIN).split(":")
    places: dict[str, int] = {}
    width = 0
    for name, kind, many in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if not re.fullmatch("[SRIL]", kind) or not re.fullmatch("[1-9][0-9]{0,5}", many):
            raise lines.refuse(f"Properties cannot be read: '{shorten(text or '')}'")
        key = name.lower()
        if key in places:
            raise lines.refuse(f"Properties name '{name}' twice")
        places[key] = width
        if key in _POSITIONS and (kind, many) != ("R", "3"):
            raise lines.refuse(f"positions must be three real numbers ({name}:R:3), got {name}:{kind}:{many}")
        width += int(many)
    species = next((places[key] for key in _SPECIES if key in places), None)
    numbers = next((places[key] for key in _NUMBERS if key in places), None)
    positions = next((places[key] for key in _POSITIONS if key in places), None)
    if len(parts) % 3 or positions is None or (species is None and numbers is None):
        raise lines.refuse(
            f"Properties must name species and positions, as in {PLAIN}; got '{shorten(text or '')}'"
        )
    return _Columns(species, numbers, positions, width, exact=text is not None)


def _rows(lines: Lines, count: int, columns: _Columns) -> tuple[list[str], list[list[float]]]:
    symbols, points = [], []
    for number in range(1, count + 1):
        words = lines.take(f"atom {number}").split()
        if len(words) < columns.width or (columns.exact and len(words) > columns.width):
            raise lines.refuse(
                f"the row of atom {number} has {len(words)} columns, Properties name {columns.width}: '{shorten(' '.join(words))}'"
            )
        symbols.append(_element(lines, words, columns))
        points.append(lines.numbers_of(words[columns.positions : columns.positions + 3], "a position"))
    return symbols, points


def _element(lines: Lines, words: Sequence[str], columns: _Columns) -> str:
    found: list[str | None] = []
    if columns.species is not None:
        word = words[columns.species]
        found.append(element_of(int(word)) if re.fullmatch("[0-9]{1,3}", word) else element_in(word))
    if columns.numbers is not None:
        word = words[columns.numbers]
        found.append(element_of(int(word)) if re.fullmatch("[0-9]{1,3}", word) else None)
    if None in found or len(set(found)) != 1:
        raise lines.refuse(f"'{shorten(' '.join(words))}' names no element")
    return str(found[0])


def _properties(entries: Mapping[str, str]) -> Mapping[str, int | float | str]:
    """What the comment line says beside the structure: whole numbers, numbers and text."""
    found: dict[str, int | float | str] = {}
    for key, text in entries.items():
        if key not in OWN:
            value = number_in(text)
            whole = value is not None and re.fullmatch(r"[+-]?[0-9]{1,15}", text)
            found[key] = int(text) if whole else text if value is None else value
    return found
