"""Readers of XSF (XCrySDen), RES (SHELX and AIRSS) and GEN (DFTB+)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from invdesign.structures.reading.gate import SLAB_MESSAGE, check_count, to_fractional
from invdesign.structures.reading.raw import Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import (
    Lines,
    Matrix,
    Vector,
    element_from_number,
    parse_element,
    parse_number,
    shorten_line,
)

# XSF.

_NON_CRYSTAL_KEYWORDS = ("MOLECULE", "ATOMS", "POLYMER", "SLAB")


def read_xsf(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read the crystals in an XSF file.

    An animation holds several.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the numbers of atoms and structures.

    Raises:
        StructureFileError: it holds a molecule, polymer or slab, or cannot be read.
    """
    lines = Lines(text, name)
    lattice: Matrix | None = None
    steps = 1
    found: list[RawCrystal] = []
    while lines.left:
        words = _split_words(lines.take_line("a keyword"))
        key = words[0].upper() if words else ""
        if key.startswith("BEGIN_BLOCK"):  # a grid of data
            while lines.left and not lines.take_line("a value").strip().upper().startswith("END_BLOCK"):
                pass
            continue
        if key == "ANIMSTEPS":
            steps = lines.parse_count(" ".join(words[1:]), "the number of steps")
            check_frames(steps, name, limits)
        elif key == "PRIMVEC":
            lattice = lines.take_matrix("a vector of the cell")
        elif key == "PRIMCOORD":
            found.append(_read_xsf_atoms(lines, lattice, limits))
        else:
            _skip_xsf_keyword(lines, key)
    if len(found) != steps:
        raise StructureFileError(f"{name} announces {steps} structures (PRIMCOORD) and holds {len(found)}")
    return found


def _skip_xsf_keyword(lines: Lines, key: str) -> None:
    """Skip a keyword without atoms; refuse a non-crystal."""
    if key in _NON_CRYSTAL_KEYWORDS:
        raise StructureFileError(f"{lines.name} says {key}: it is {SLAB_MESSAGE}")
    if key == "DIM-GROUP":
        dimension = _split_words(lines.take_line("the number of periodic directions"))[:1]
        if dimension != ["3"]:
            raise StructureFileError(
                f"{lines.name} is periodic in {shorten_line(' '.join(dimension))} directions: it is {SLAB_MESSAGE}"
            )
    elif key == "CONVVEC":
        lines.take_matrix("a vector of the conventional cell")
    elif key not in {"", "CRYSTAL"}:
        raise lines.line_error(
            f"'{shorten_line(key)}' is no keyword of XSF that is known here, or more atoms follow than were announced"
        )


def check_frames(count: int, name: str, limits: Limits) -> None:
    """Refuse a file with too many structures.

    Args:
        count: number of structures.
        name: name of the file in messages.
        limits: limits; `limits.frames` is the largest number.

    Raises:
        StructureFileError: there are more, or none.
    """
    if not 0 < count <= limits.frames:
        raise StructureFileError(f"{name} holds {count} structures, 1 to {limits.frames} are read")


def _split_words(line: str) -> list[str]:
    return line.split("#", 1)[0].split()


def _read_xsf_atoms(lines: Lines, lattice: Matrix | None, limits: Limits) -> RawCrystal:
    """Read the atoms after the keyword PRIMCOORD."""
    name = lines.name
    if lattice is None:
        raise lines.line_error("atoms come before the cell (PRIMVEC)")
    words = _split_words(lines.take_line("the number of atoms"))
    count = lines.parse_count(words[0] if words else "", "the number of atoms")
    check_count(count, name, limits)
    symbols, points = [], []
    for number in range(1, count + 1):
        words = _split_words(lines.take_line(f"atom {number} of {count}"))
        word = words[0] if words else ""
        element = element_from_number(int(word)) if re.fullmatch("[0-9]{1,3}", word) else parse_element(word)
        if element is None:
            raise lines.line_error(
                f"atom {number} of {count} should stand here, got '{shorten_line(' '.join(words))}'"
            )
        symbols.append(element)
        points.append(lines.parse_vector(words[1:], f"the position of atom {number}"))
    return _build_crystal(name, lattice, symbols, to_fractional(lattice, points, name, limits))


def _build_crystal(
    name: str, lattice: Matrix, symbols: Sequence[str], places: Sequence[Vector]
) -> RawCrystal:
    """Build a crystal of ordered sites labelled by their elements."""
    sites = (RawSite({symbol: 1.0}, place, symbol) for symbol, place in zip(symbols, places, strict=True))
    return RawCrystal(name, lattice, tuple(sites))


# RES.

# Instructions of SHELX without influence on positions; AFIX, PART, SYMM and LATT are not ignored.
_IGNORED_INSTRUCTIONS = frozenset(
    [
        "TITL",
        "REM",
        "ZERR",
        "SFAC",
        "UNIT",
        "TEMP",
        "SIZE",
        "L.S.",
        "CGLS",
        "BOND",
        "ACTA",
        "CONF",
        "FMAP",
        "PLAN",
        "WGHT",
        "FVAR",
        "HKLF",
        "HTAB",
        "EQIV",
        "MORE",
        "LIST",
        "FREE",
        "MPLA",
        "OMIT",
        "SHEL",
        "ANIS",
        "EXTI",
        "DISP",
        "DFIX",
        "DANG",
        "SADI",
        "SAME",
        "SIMU",
        "DELU",
        "RIGU",
        "ISOR",
        "FLAT",
        "EADP",
        "EXYZ",
        "SUMP",
        "TWIN",
        "BASF",
        "SWAT",
        "SPEC",
        "STIR",
        "MERG",
        "RESI",
        "NEUT",
        "LAUE",
        "DEFS",
        "DELR",
        "FRAG",
        "FEND",
        "HFIX",
        "CHIV",
        "CONN",
        "BIND",
        "BLOC",
        "BUMP",
        "DAMP",
        "RTAB",
        "WPDB",
        "XNPD",
        "ABIN",
        "ANSC",
        "ANSR",
        "FRES",
        "GRID",
        "MOLE",
        "TIME",
        "TREF",
        "TWST",
        "VLIN",
        "WIGL",
        "PRIG",
        "NCSY",
        "SLIM",
    ]
)


def read_res(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read the structure in a RES file that lists all atoms.

    AIRSS writes such files.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the number of atoms.

    Raises:
        StructureFileError: it holds symmetry, partial occupancies or several structures, or cannot be read.
    """
    lines = Lines(text, name)
    file = _Res(lines, limits)
    while lines.left and not file.ended:
        line = lines.take_line("an instruction")
        words = line.split("!", 1)[0].split()
        if words and line[0] != " ":  # SHELX: a line that begins with a space is a comment
            file.take_instruction(words[0].upper()[:4], words)
    if file.lattice is None:
        raise StructureFileError(f"{name} has no cell (CELL)")
    if not file.written_out:
        raise StructureFileError(
            f"{name} has no LATT -1, so its symmetry adds atoms; only files that list all atoms are read; "
            "save it as CIF"
        )
    if any(line.strip() and not line.upper().startswith("REM") for line in lines.lines[lines.next :]):
        raise StructureFileError(f"{name} goes on after END; give each structure its own file")
    return [_build_crystal(name, file.lattice, file.symbols, file.places)]


class _Res:
    """Cell and atoms of a RES file, filled line by line."""

    def __init__(self, lines: Lines, limits: Limits) -> None:
        self._lines, self._limits = lines, limits
        self._kinds: list[str] = []
        self.lattice: Matrix | None = None
        self.symbols: list[str] = []
        self.places: list[Vector] = []
        self.written_out = False  # SHELX: centrosymmetric unless LATT is negative; AIRSS writes LATT -1
        self.ended = False

    def take_instruction(self, key: str, words: Sequence[str]) -> None:
        """Read an instruction, or an atom.

        Args:
            key: first four letters of the line, in capitals.
            words: all words of the line.
        """
        if key == "CELL":
            if self.lattice is not None:
                raise self._lines.line_error("there is a second cell; give each structure its own file")
            self.lattice = _parse_cell(self._lines, words)
        elif key == "LATT":
            self.written_out = words[1:] == ["-1"]
        elif key == "SFAC":
            self._kinds += [word for word in words[1:] if parse_number(word) is None]
        elif key in {"SYMM", "AFIX", "PART"}:
            raise self._lines.line_error(f"{key}: only files that list all atoms are read; save it as CIF")
        elif key == "END":
            self.ended = True
        elif key not in _IGNORED_INSTRUCTIONS:
            check_count(len(self.symbols) + 1, self._lines.name, self._limits)
            self.symbols.append(_find_res_element(self._lines, words, self._kinds))
            self.places.append(
                self._lines.parse_vector(words[2:5], f"the position of atom {len(self.symbols)}")
            )


def _parse_cell(lines: Lines, words: Sequence[str]) -> Matrix:
    """Parse a CELL line: wavelength, lengths, angles."""
    numbers = lines.parse_numbers(words[1:], "wavelength, lengths and angles of the cell")
    if len(numbers) != 7:
        raise lines.line_error(
            f"CELL needs a wavelength, three lengths and three angles, got {len(numbers)} numbers"
        )
    return cell_from_lengths(numbers[1:4], numbers[4:7], lines.name)


def cell_from_lengths(lengths: Sequence[float], angles: Sequence[float], name: str) -> Matrix:
    """Build a cell from lengths and angles.

    It has a along x and b in the xy plane.

    Args:
        lengths: three lengths, Å.
        angles: three angles, degrees.
        name: name of the file in messages.

    Raises:
        StructureFileError: no cell has these.
    """
    alpha, beta, gamma = np.cos(np.radians(angles))
    sine = float(np.sin(np.radians(angles[2])))
    if min(*lengths, *angles) <= 0 or max(angles) >= 180:
        raise StructureFileError(f"{name}: lengths must be above 0, and angles between 0° and 180°")
    y = (alpha - beta * gamma) / sine
    z = 1.0 - beta**2 - y**2
    if not z > 0:
        raise StructureFileError(
            f"{name}: no cell has the angles {', '.join(f'{angle:g}' for angle in angles)}"
        )
    a, b, c = lengths
    return (
        (a, 0.0, 0.0),
        (b * float(gamma), b * sine, 0.0),
        (c * float(beta), c * float(y), c * float(np.sqrt(z))),
    )


def _find_res_element(lines: Lines, words: Sequence[str], kinds: Sequence[str]) -> str:
    """Find the element of an atom's row: label, kind, position, occupancy."""
    if len(words) < 5:
        raise lines.line_error(
            f"neither an instruction that is known here nor an atom: '{shorten_line(' '.join(words))}'"
        )
    number = lines.parse_count(words[1], "the number of an element of SFAC")
    element = parse_element(kinds[number - 1].capitalize()) if 0 < number <= len(kinds) else None
    if element is None:
        raise lines.line_error(
            f"'{shorten_line(' '.join(words))}' names no element: SFAC has {', '.join(kinds) or 'none'}"
        )
    # 11 is an occupancy of 1 that is not refined.
    occupancy = lines.parse_numbers(words[5:6], "an occupancy")
    if occupancy and occupancy[0] not in {1.0, 11.0}:
        raise lines.line_error(
            f"the occupancy is {shorten_line(words[5])}; only whole atoms are read from RES; save it as CIF"
        )
    return element


# GEN.


def _take_data_line(lines: Lines, expected: str) -> str:
    """Take the next line that is no comment."""
    while lines.peek().lstrip().startswith("#"):
        lines.take_line("a comment")
    return lines.take_line(expected)


def read_gen(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read the structure in a GEN file.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the number of atoms.

    Raises:
        StructureFileError: it is a cluster, or cannot be read.
    """
    lines = Lines(text, name)
    words = _split_words(_take_data_line(lines, "the number of atoms"))
    count = lines.parse_count(words[0] if words else "", "the number of atoms")
    check_count(count, name, limits)
    mode = words[1].upper() if len(words) > 1 else ""
    if mode in {"C", "H"}:
        raise lines.line_error(
            f"'{mode}' is {'a cluster' if mode == 'C' else 'a helix'}: it is {SLAB_MESSAGE}"
        )
    if mode not in {"S", "F"}:
        raise lines.line_error(
            f"expected S (Å) or F (fractional) after the number of atoms, got '{shorten_line(mode)}'"
        )
    kinds = _split_words(_take_data_line(lines, "the elements"))
    symbols, points = [], []
    for number in range(1, count + 1):
        words = _split_words(_take_data_line(lines, f"atom {number} of {count}"))
        if len(words) < 5:
            raise lines.line_error(
                f"atom {number} of {count} should stand here, got '{shorten_line(' '.join(words))}'"
            )
        if lines.parse_count(words[0], "the number of the atom") != number:
            raise lines.line_error(
                f"this is atom {shorten_line(words[0])}, where atom {number} of {count} should follow"
            )
        kind = lines.parse_count(words[1], "the number of an element")
        element = parse_element(kinds[kind - 1]) if 0 < kind <= len(kinds) else None
        if element is None:
            raise lines.line_error(
                f"atom {number} names no element: line 2 has {shorten_line(' '.join(kinds))}"
            )
        symbols.append(element)
        points.append(lines.parse_vector(words[2:], f"the position of atom {number}"))
    words = _split_words(_take_data_line(lines, "the origin"))
    if len(words) != 3:
        raise lines.line_error(
            "the origin, three numbers, should follow the atoms; their number may be wrong"
        )
    lines.parse_vector(words, "the origin")
    lattice = lines.take_matrix("a vector of the cell")
    if any(line.strip() for line in lines.lines[lines.next :]):
        lines.next += 1
        raise lines.line_error("more follows after the cell; the number of atoms may be wrong")
    places = points if mode == "F" else to_fractional(lattice, points, name, limits)
    return [_build_crystal(name, lattice, symbols, places)]
