"""POSCAR and CONTCAR, the structure files of VASP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from invdesign.structures.reading.gate import check_count, fractional
from invdesign.structures.reading.raw import Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import Lines, Matrix, Vector, element_in, number_in, shorten

_POTENTIAL = re.compile(r"([A-Z][a-z]?)(?:[_/].*)?")  # Li_sv, O/4a55, Fe_pv/1234: of the POTCAR
_COUNTS = re.compile(r"\s*[0-9]+(?:\s+[0-9]+)*\s*")
_FLAGS = frozenset({"T", "F", ".TRUE.", ".FALSE.", ".T.", ".F."})
COMMENTS = re.compile(r"[!#].*")


def read_poscar(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read the structure in a POSCAR of VASP 5 or later: one with a line of element symbols.

    Velocities, predictor-corrector coordinates and selective dynamics say nothing of the crystal.

    Args:
        text: of the file.
        name: what messages call it.
        limits: on the number of atoms.

    Raises:
        StructureFileError: elements are missing, counts and rows disagree, or a line cannot be read.
    """
    lines = Lines(text, name)
    lines.take("a comment")
    scales = _scales(lines)
    rows = lines.matrix("a vector of the cell")
    lattice, factors = _scaled(lines, rows, scales)
    elements, counts = _species(lines)
    expected = [element for element, count in zip(elements, counts, strict=False) for _ in range(count)]
    total = sum(counts)
    check_count(total, name, limits)
    cartesian, selective = _mode(lines)
    positions, trailing = _positions(lines, total, selective=selective)
    _check_end(lines, total)
    remarks: tuple[str, ...] = ()
    if not elements:
        expected = _from_rows(trailing, counts, name)
        remarks = (f"{name} has no line of elements; they were read from the ends of the rows",)
    elif trailing is not None:
        _check_rows(trailing, expected, name)
    places = fractional(lattice, np.asarray(positions) * factors, name, limits) if cartesian else positions
    sites = tuple(
        RawSite({element: 1.0}, position, element) for element, position in zip(expected, places, strict=True)
    )
    return [RawCrystal(name, lattice, sites, remarks=remarks)]


def _from_rows(trailing: list[str] | None, counts: Sequence[int], name: str) -> list[str]:
    """The elements at the ends of the rows, where no line names them."""
    if trailing is None:
        example = " ".join(["Li", "O", "Cl", "S", "P"][: len(counts)])
        raise StructureFileError(
            f"{name} names no elements (a POSCAR of VASP 4): put a line with their symbols before the counts, for "
            f"example '{example}' before '{' '.join(map(str, counts[:5]))}'"
        )
    return trailing


def _check_rows(trailing: Sequence[str], expected: Sequence[str], name: str) -> None:
    """Refuse elements at the ends of rows that are not those of the lines of elements and counts."""
    for number, (found, wanted) in enumerate(zip(trailing, expected, strict=True), 1):
        if found != wanted:
            raise StructureFileError(
                f"{name}: atom {number} is {wanted} by the lines of elements and counts, and {found} at the end of its "
                "row; mend what is wrong"
            )


def _words(line: str) -> list[str]:
    return COMMENTS.sub("", line).split()


def _scales(lines: Lines) -> list[float]:
    """The universal scaling factor, or three of them; a negative one is the volume of the cell."""
    words = _words(lines.take("the scaling factor"))
    scales = lines.numbers_of(words, "a scaling factor") if len(words) in {1, 3} else []
    if not scales or 0.0 in scales or (len(scales) == 3 and min(scales) < 0):
        raise lines.refuse(
            f"expected one scaling factor that is not 0, or three above 0, got '{shorten(' '.join(words))}'"
        )
    return scales


def _scaled(lines: Lines, rows: Matrix, scales: Sequence[float]) -> tuple[Matrix, np.ndarray]:
    """The cell in Å, and factors (3,) of Cartesian coordinates."""
    cell = np.asarray(rows)
    if len(scales) == 1 and scales[0] < 0:
        volume = abs(float(np.linalg.det(cell)))
        if not volume > 0:
            raise lines.refuse("the vectors of the cell span no volume")
        factors = np.full(3, (-scales[0] / volume) ** (1 / 3))
    else:
        factors = np.broadcast_to(np.asarray(scales), 3)
    a, b, c = (tuple(row) for row in (cell * factors).tolist())
    return (a, b, c), factors


def _species(lines: Lines) -> tuple[list[str], list[int]]:
    """Elements, none where the file names none, and how many atoms of each follow each other."""
    line = lines.take("the line of elements")
    elements: list[str] = []
    if not _COUNTS.fullmatch(COMMENTS.sub("", line)):
        for word in _words(line):
            match = _POTENTIAL.fullmatch(word)
            element = element_in(match[1] if match else word)
            if element is None:
                raise lines.refuse(
                    f"'{shorten(word)}' is no element; this line names the elements, as in 'Li O Cl'"
                )
            elements.append(element)
        if not elements:
            raise lines.refuse("the line of elements is empty; it names them, as in 'Li O Cl'")
        line = lines.take("the numbers of atoms of each element")
    counts = [lines.count_of(word, "the number of atoms of an element") for word in _words(line)]
    if not sum(counts):
        raise lines.refuse("there are no atoms: this line says how many there are of each element")
    if elements and len(elements) != len(counts):
        raise lines.refuse(f"there are {len(elements)} elements and {len(counts)} numbers of atoms")
    return elements, counts


def _mode(lines: Lines) -> tuple[bool, bool]:
    """(coordinates are Cartesian, rows end with flags of selective dynamics)."""
    word = lines.take("'Direct' or 'Cartesian'").strip()
    selective = word[:1] in {"S", "s"}
    if selective:
        word = lines.take("'Direct' or 'Cartesian'").strip()
    if word[:1] not in set("CcKkDd"):
        raise lines.refuse(f"expected 'Direct' or 'Cartesian', got '{shorten(word)}'")
    return word[:1] in set("CcKk"), selective


def _positions(lines: Lines, total: int, *, selective: bool) -> tuple[list[Vector], list[str] | None]:
    """Coordinates of all rows, and the elements at their ends where all rows have one."""
    positions: list[Vector] = []
    trailing: list[str | None] = []
    for number in range(1, total + 1):
        words = lines.take(f"the coordinates of atom {number} of {total}").split()
        if len(words) < 3 or number_in(words[0]) is None:
            raise lines.refuse(
                f"the coordinates of atom {number} of {total} should stand here, got '{shorten(' '.join(words))}'; the "
                "counts and the rows disagree"
            )
        positions.append(lines.vector_of(words, f"the coordinates of atom {number}"))
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
    return element_in(match[1]) if match else element_in(words[0]) if words else None


def _check_end(lines: Lines, total: int) -> None:
    """Refuse rows beyond the counts, and further configurations, which would be left out silently."""
    words = lines.peek().split()
    lines.next += 1
    if len(words) >= 3 and all(number_in(word) is not None for word in words[:3]):
        raise lines.refuse(
            f"the counts name {total} atoms, and more rows of coordinates follow; the counts and the rows disagree"
        )
    rest = lines.lines[lines.next - 1 :]
    if any(line.strip().lower().startswith("direct configuration") for line in rest):
        raise StructureFileError(
            f"{lines.name} holds several configurations (an XDATCAR); give each its own file, or one extended XYZ file"
        )
    for number, (line, following) in enumerate(pairwise(rest[3:]), 3):
        # Velocities, which may follow here too, have neither.
        named = _names_elements(line) and _COUNTS.fullmatch(COMMENTS.sub("", following))
        unnamed = _COUNTS.fullmatch(COMMENTS.sub("", line)) and following.strip()[:1] in set("CcKkDdSs")
        if named or unnamed:
            raise StructureFileError(
                f"{lines.name} holds several structures, a second one before line {lines.next + number + 1}; give each its own "
                "file, or all of them as one extended XYZ file"
            )


def _names_elements(line: str) -> bool:
    words = _words(line) if line.lstrip()[:1].isalpha() else []
    matches = [_POTENTIAL.fullmatch(word) for word in words]
    return bool(words) and all(match is not None and element_in(match[1]) is not None for match in matches)
