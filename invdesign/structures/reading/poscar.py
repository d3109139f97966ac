"""Reader of POSCAR and CONTCAR, the structure files of VASP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from invdesign.structures.reading.gate import check_count, to_fractional
from invdesign.structures.reading.raw import Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import (
    Lines,
    Matrix,
    Vector,
    parse_element,
    parse_number,
    shorten_line,
)

_POTENTIAL = re.compile(r"([A-Z][a-z]?)(?:[_/].*)?")  # Li_sv, O/4a55, Fe_pv/1234: of the POTCAR
_COUNTS = re.compile(r"\s*[0-9]+(?:\s+[0-9]+)*\s*")
_FLAGS = frozenset({"T", "F", ".TRUE.", ".FALSE.", ".T.", ".F."})
COMMENT_PATTERN = re.compile(r"[!#].*")


def read_poscar(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read the structure in a POSCAR of VASP 5 or later.

    Velocities, predictor-corrector coordinates and selective dynamics do not describe the crystal and are ignored. A
    line of element symbols is needed, or symbols at the ends of the rows.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the number of atoms.

    Raises:
        StructureFileError: elements are missing, counts and rows disagree, or a line cannot be read.
    """
    lines = Lines(text, name)
    lines.take_line("a comment")
    scales = _read_scales(lines)
    rows = lines.take_matrix("a vector of the cell")
    lattice, factors = _scale_cell(lines, rows, scales)
    elements, counts = _read_species(lines)
    expected = [element for element, count in zip(elements, counts, strict=False) for _ in range(count)]
    total = sum(counts)
    check_count(total, name, limits)
    cartesian, selective = _read_mode(lines)
    positions, trailing = _read_positions(lines, total, selective=selective)
    _check_end(lines, total)
    remarks: tuple[str, ...] = ()
    if not elements:
        expected = _elements_from_rows(trailing, counts, name)
        remarks = (f"{name} has no line of elements; they were read from the ends of the rows",)
    elif trailing is not None:
        _check_row_elements(trailing, expected, name)
    places = to_fractional(lattice, np.asarray(positions) * factors, name, limits) if cartesian else positions
    sites = tuple(
        RawSite({element: 1.0}, position, element) for element, position in zip(expected, places, strict=True)
    )
    return [RawCrystal(name, lattice, sites, remarks=remarks)]


def _elements_from_rows(trailing: list[str] | None, counts: Sequence[int], name: str) -> list[str]:
    """Elements at the ends of rows, if no line names them."""
    if trailing is None:
        example = " ".join(["Li", "O", "Cl", "S", "P"][: len(counts)])
        raise StructureFileError(
            f"{name} names no elements (a POSCAR of VASP 4): put a line with their symbols before the counts, for "
            f"example '{example}' before '{' '.join(map(str, counts[:5]))}'"
        )
    return trailing


def _check_row_elements(trailing: Sequence[str], expected: Sequence[str], name: str) -> None:
    """Refuse elements at row ends that contradict the header.

    The header has the lines of elements and counts.
    """
    for number, (found, wanted) in enumerate(zip(trailing, expected, strict=True), 1):
        if found != wanted:
            raise StructureFileError(
                f"{name}: atom {number} is {wanted} by the lines of elements and counts, and {found} at the end of its "
                "row; correct one of them"
            )


def _split_words(line: str) -> list[str]:
    return COMMENT_PATTERN.sub("", line).split()


def _read_scales(lines: Lines) -> list[float]:
    """Read the scaling factor, or three of them.

    A negative one is the cell's volume.
    """
    words = _split_words(lines.take_line("the scaling factor"))
    scales = lines.parse_numbers(words, "a scaling factor") if len(words) in {1, 3} else []
    if not scales or 0.0 in scales or (len(scales) == 3 and min(scales) < 0):
        raise lines.line_error(
            f"expected one scaling factor that is not 0, or three above 0, got '{shorten_line(' '.join(words))}'"
        )
    return scales


def _scale_cell(lines: Lines, rows: Matrix, scales: Sequence[float]) -> tuple[Matrix, np.ndarray]:
    """Scale the cell to Å.

    Return it with the factors (3,) of Cartesian coordinates.
    """
    cell = np.asarray(rows)
    if len(scales) == 1 and scales[0] < 0:
        volume = abs(float(np.linalg.det(cell)))
        if not volume > 0:
            raise lines.line_error("the vectors of the cell span no volume")
        factors = np.full(3, (-scales[0] / volume) ** (1 / 3))
    else:
        factors = np.broadcast_to(np.asarray(scales), 3)
    a, b, c = (tuple(row) for row in (cell * factors).tolist())
    return (a, b, c), factors


def _read_species(lines: Lines) -> tuple[list[str], list[int]]:
    """Read elements and the numbers of their atoms.

    A file may name no elements.
    """
    line = lines.take_line("the line of elements")
    elements: list[str] = []
    if not _COUNTS.fullmatch(COMMENT_PATTERN.sub("", line)):
        for word in _split_words(line):
            match = _POTENTIAL.fullmatch(word)
            element = parse_element(match[1] if match else word)
            if element is None:
                raise lines.line_error(
                    f"'{shorten_line(word)}' is no element; this line names the elements, as in 'Li O Cl'"
                )
            elements.append(element)
        if not elements:
            raise lines.line_error("the line of elements is empty; it names them, as in 'Li O Cl'")
        line = lines.take_line("the numbers of atoms of each element")
    counts = [lines.parse_count(word, "the number of atoms of an element") for word in _split_words(line)]
    if not sum(counts):
        raise lines.line_error("there are no atoms: this line gives the number of atoms of each element")
    if elements and len(elements) != len(counts):
        raise lines.line_error(f"there are {len(elements)} elements and {len(counts)} numbers of atoms")
    return elements, counts


def _read_mode(lines: Lines) -> tuple[bool, bool]:
    """Read (coordinates are Cartesian, rows end with flags of selective dynamics)."""
    word = lines.take_line("'Direct' or 'Cartesian'").strip()
    selective = word[:1] in {"S", "s"}
    if selective:
        word = lines.take_line("'Direct' or 'Cartesian'").strip()
    if word[:1] not in set("CcKkDd"):
        raise lines.line_error(f"expected 'Direct' or 'Cartesian', got '{shorten_line(word)}'")
    return word[:1] in set("CcKk"), selective


def _read_positions(lines: Lines, total: int, *, selective: bool) -> tuple[list[Vector], list[str] | None]:
    """Read coordinates of all rows, and elements at their ends.

    None in place of elements if a row has none.
    """
    positions: list[Vector] = []
    trailing: list[str | None] = []
    for number in range(1, total + 1):
        words = lines.take_line(f"the coordinates of atom {number} of {total}").split()
        if len(words) < 3 or parse_number(words[0]) is None:
            raise lines.line_error(
                f"the coordinates of atom {number} of {total} should stand here, got '{shorten_line(' '.join(words))}'; the "
                "counts and the rows disagree"
            )
        positions.append(lines.parse_vector(words, f"the coordinates of atom {number}"))
        rest = words[3:]
        flagged = len(rest) >= 3 and all(word.upper() in _FLAGS for word in rest[:3])
        if selective and flagged:
            rest = rest[3:]
        elif flagged:
            rest = []
        trailing.append(_element_at_end(rest))
    if None in trailing:
        return positions, None
    return positions, [element for element in trailing if element is not None]


def _element_at_end(words: Sequence[str]) -> str | None:
    match = _POTENTIAL.fullmatch(words[0]) if words else None
    return parse_element(match[1]) if match else parse_element(words[0]) if words else None


def _check_end(lines: Lines, total: int) -> None:
    """Refuse rows beyond the counts, and further configurations.

    Both would be left out silently.
    """
    words = lines.peek().split()
    lines.next += 1
    if len(words) >= 3 and all(parse_number(word) is not None for word in words[:3]):
        raise lines.line_error(
            f"the counts name {total} atoms, and more rows of coordinates follow; the counts and the rows disagree"
        )
    rest = lines.lines[lines.next - 1 :]
    if any(line.strip().lower().startswith("direct configuration") for line in rest):
        raise StructureFileError(
            f"{lines.name} holds several configurations (an XDATCAR); give each its own file, or one extended XYZ file"
        )
    for number, (line, following) in enumerate(pairwise(rest[3:]), 3):
        # Velocities, which may follow here too, have neither.
        named = _names_elements(line) and _COUNTS.fullmatch(COMMENT_PATTERN.sub("", following))
        unnamed = _COUNTS.fullmatch(COMMENT_PATTERN.sub("", line)) and following.strip()[:1] in set(
            "CcKkDdSs"
        )
        if named or unnamed:
            raise StructureFileError(
                f"{lines.name} holds several structures, a second one before line {lines.next + number + 1}; give each its own "
                "file, or all of them as one extended XYZ file"
            )


def _names_elements(line: str) -> bool:
    words = _split_words(line) if line.lstrip()[:1].isalpha() else []
    matches = [_POTENTIAL.fullmatch(word) for word in words]
    return bool(words) and all(match is not None and parse_element(match[1]) is not None for match in matches)
