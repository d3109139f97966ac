"""Entry point for structures from outside: text in, checked structures out.

Nothing in a file is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from invdesign.errors import InvdesignError
from invdesign.structures.reading.cells import read_gen, read_res, read_xsf
from invdesign.structures.reading.cif import read_cif
from invdesign.structures.reading.documents import read_json
from invdesign.structures.reading.extxyz import read_extxyz
from invdesign.structures.reading.gate import check_count, check_crystal, to_fractional, to_structure
from invdesign.structures.reading.overlaps import check_overlaps
from invdesign.structures.reading.poscar import read_poscar
from invdesign.structures.reading.raw import (
    MAX_BYTES,
    Limits,
    RawCrystal,
    RawSite,
    StructureFileError,
    current_limits,
)
from invdesign.structures.reading.words import parse_number, shorten_line
from invdesign.textfiles import MEGABYTE, UnreadableFileError, decode, read_bytes

if TYPE_CHECKING:
    from pymatgen.core import Structure

Reader = Callable[[str, str, Limits], list[RawCrystal]]
READERS: Mapping[str, Reader] = {
    "CIF": read_cif,
    "POSCAR": read_poscar,
    "JSON": read_json,
    "extended XYZ": read_extxyz,
    "XSF": read_xsf,
    "RES": read_res,
    "GEN": read_gen,
}
"""By the name of the format in messages."""

SUFFIXES: Mapping[str, str] = {
    ".cif": "CIF",
    ".mcif": "CIF",
    ".vasp": "POSCAR",
    ".poscar": "POSCAR",
    ".json": "JSON",
    ".xyz": "extended XYZ",
    ".extxyz": "extended XYZ",
    ".xsf": "XSF",
    ".axsf": "XSF",
    ".res": "RES",
    ".gen": "GEN",
}
POSCAR_NAMES = ("POSCAR", "CONTCAR")
MAX_LISTED_SITES = 8  # sites in a message; chosen


@dataclass(frozen=True, slots=True)
class Reading:
    """A structure as it was read.

    Attributes:
        name: name of the structure in messages.
        structure: ordered or disordered, its numbers checked, its species without charges.
        remarks: sentences on deviations of the reading from the text.
        properties: numbers and text that the file states beside the structure.
    """

    name: str
    structure: Structure
    remarks: tuple[str, ...]
    properties: Mapping[str, int | float | str]

    @property
    def ordered(self) -> Structure:
        """The structure, if every site is occupied by one element.

        Raises:
            StructureFileError: it is disordered; the message names the sites with their occupancies.
        """
        check_ordered(self.structure, self.name)
        return self.structure


def is_structure_name(name: str) -> bool:
    """True if `name` is that of a structure file."""
    path = PurePath(name)
    return path.suffix.lower() in SUFFIXES or _is_poscar_name(path.name)


def _is_poscar_name(name: str) -> bool:
    """True for `POSCAR`, `CONTCAR.relax` and `mp-22862_POSCAR`."""
    return name.startswith(POSCAR_NAMES) or name.endswith(POSCAR_NAMES)


def find_format(name: str, text: str) -> str:
    """Find a file's format by suffix of `name`, else by `text`."""
    known = SUFFIXES.get(PurePath(name).suffix.lower())
    if known is not None:
        return known
    return "POSCAR" if _is_poscar_name(PurePath(name).name) else detect_format(text)


def detect_format(text: str) -> str:
    """Detect the format by the beginning of a `text`.

    Empty if none is recognised.
    """
    start = text.lstrip()
    if start[:1] in {"{", "["}:
        return "JSON"
    if "_cell_length_a" in text or start[:5].lower() == "data_":
        return "CIF"
    if re.match(r"(#[^\n]*\s*)*(ANIMSTEPS|CRYSTAL|SLAB|POLYMER|MOLECULE)\b", start):
        return "XSF"
    if re.match(r"TITL\b[^\n]*\n(REM\b[^\n]*\n)*\s*CELL\b", start):
        return "RES"
    lines = start.split("\n", 2)
    if re.fullmatch(r"[0-9]+\s*", lines[0]) and "lattice" in "".join(lines[1:2]).lower():
        return "extended XYZ"
    scale = "".join(text.split("\n", 2)[1:2]).split()
    return "POSCAR" if scale and all(parse_number(word) is not None for word in scale) else ""


def read_raw(
    data: str | bytes, name: str, limits: Limits | None = None, *, fmt: str | None = None
) -> list[RawCrystal]:
    """Read the structures in a text and check their numbers.

    Args:
        data: content of the file; bytes are decoded as people save them.
        name: name in messages; its suffix gives the format, if known.
        limits: limits on sizes and numbers; those of the environment where not given.
        fmt: one of `READERS`, if known otherwise.

    Raises:
        StructureFileError: it cannot be read, or is no crystal; the message gives place and remedy.
    """
    limits = limits or current_limits()
    if len(data) > limits.bytes:
        raise StructureFileError(
            f"{name} has {len(data) / MEGABYTE:.7g} MB, at most {limits.bytes / MEGABYTE:.7g} MB are read; set the "
            f"environment variable {MAX_BYTES}"
        )
    try:
        text = decode(data, name) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except UnreadableFileError as error:
        raise StructureFileError(str(error)) from None
    if not text.strip():
        raise StructureFileError(f"{name} is empty")
    kind = fmt if fmt is not None else find_format(name, text)
    if not kind and "\n" not in text.strip() and is_structure_name(text.strip()):
        raise StructureFileError(
            f"{name} holds the name of a file, '{shorten_line(text)}', not a structure; name the folder of such files as the "
            "source of a pool, or put the text of each into its cell"
        )
    if not kind:
        raise StructureFileError(
            f"{name} cannot be read: it begins '{shorten_line(text)}', as none of {', '.join(READERS)} does; save it "
            "in one of these formats, for example as CIF (ase convert FILE OUT.cif reads the outputs of most programs)"
        )
    try:
        found = [check_crystal(raw, limits) for raw in READERS[kind](text, name, limits)]
    except InvdesignError as error:
        raise _wrap_refusal(error, name, kind) from error
    except Exception as error:  # an unforeseen fault of a reader is a refusal too, never a stack trace
        raise StructureFileError(
            f"{name} cannot be read as {kind}: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    return found if len(found) == 1 else [replace(raw, name=f"{name}#{k}") for k, raw in enumerate(found, 1)]


def _wrap_refusal(error: InvdesignError, name: str, kind: str) -> StructureFileError:
    """Add the format to a refusal without the file's name."""
    message = str(error)
    return StructureFileError(
        message if message.startswith(name) else f"{name} cannot be read as {kind}: {message}"
    )


def make_reading(raw: RawCrystal, *, alternatives: bool = False) -> Reading:
    """Convert a checked crystal to a structure without overlapping atoms.

    Args:
        raw: a crystal that has passed `check_crystal`.
        alternatives: see `check_overlaps`.

    Raises:
        StructureFileError: atoms overlap.
    """
    structure = to_structure(raw)
    remarks = check_overlaps(structure, raw.name, alternatives=alternatives)
    named = (
        text if text.startswith(raw.name) else f"{raw.name}: {text}" for text in (*raw.remarks, *remarks)
    )
    return Reading(raw.name, structure, tuple(named), raw.properties)


def read_structures(
    data: str | bytes,
    name: str,
    limits: Limits | None = None,
    *,
    alternatives: bool = False,
    fmt: str | None = None,
) -> list[Reading]:
    """Read all structures in a text.

    Args:
        data: content of the file.
        name: name in messages; its suffix gives the format, if known.
        limits: limits on sizes and numbers; those of the environment where not given.
        alternatives: sites of one element may be closer than two atoms can be, since not all are to be occupied.
        fmt: one of `READERS`, if known otherwise.

    Raises:
        StructureFileError: one cannot be read, or is no crystal.
    """
    return [make_reading(raw, alternatives=alternatives) for raw in read_raw(data, name, limits, fmt=fmt)]


def read_structure(
    data: str | bytes,
    name: str,
    limits: Limits | None = None,
    *,
    alternatives: bool = False,
    fmt: str | None = None,
) -> Reading:
    """Read the only structure in a text.

    Args:
        data: content of the file.
        name: name in messages; its suffix gives the format, if known.
        limits: limits on sizes and numbers; those of the environment where not given.
        alternatives: sites of one element may be closer than two atoms can be, since not all are to be occupied.
        fmt: one of `READERS`, if known otherwise.

    Raises:
        StructureFileError: it cannot be read, is no crystal, or there are several.
    """
    found = read_raw(data, name, limits, fmt=fmt)
    if len(found) != 1:
        raise StructureFileError(
            f"{name} holds {len(found)} structures, but only one can be used here: give it a file of its own (a pool takes "
            "all of them as rows)"
        )
    return make_reading(found[0], alternatives=alternatives)


def make_crystal(lattice: ArrayLike, symbols: Sequence[str], cartesian: ArrayLike, name: str) -> Structure:
    """Build a structure from arrays of a program's output.

    It is checked as a file is. Atoms may be as close as 0.5 Å: a calculation may begin, or end, where no crystal is.

    Args:
        lattice: shape (3, 3), Å.
        symbols: n elements.
        cartesian: shape (n, 3), Å.
        name: name of the structure in messages.

    Raises:
        StructureFileError: numbers are not finite or out of range, or atoms overlap.
    """
    limits = current_limits()
    check_count(len(symbols), name, limits)
    places = to_fractional(lattice, cartesian, name, limits)
    sites = (RawSite({symbol: 1.0}, place, symbol) for symbol, place in zip(symbols, places, strict=True))
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in np.asarray(lattice))
    structure = to_structure(check_crystal(RawCrystal(name, (a, b, c), tuple(sites)), limits))
    check_overlaps(structure, name, share=0.0)
    return structure


def read_structure_bytes(path: Path, limits: Limits | None = None) -> bytes:
    """Read the content of a regular file of bounded size.

    Args:
        path: the file.
        limits: limits on sizes; those of the environment where not given.

    Raises:
        UnreadableFileError: it is missing, too large, or no regular file.
    """
    return read_bytes(path, (limits or current_limits()).bytes)


def check_ordered(structure: Structure, name: str, mobile: str | None = None) -> None:
    """Refuse partial occupancies.

    Args:
        structure: the structure as read.
        name: name of the structure in messages.
        mobile: element whose own sites may be occupied in part.

    Raises:
        StructureFileError: the message names the sites with their occupancies.
    """
    sites = list(dict.fromkeys(_describe_partial_sites(structure, mobile)))
    if not sites:
        return
    more = f"; and {len(sites) - MAX_LISTED_SITES} more" if len(sites) > MAX_LISTED_SITES else ""
    shown = f"{', '.join(sites[:MAX_LISTED_SITES])}{more}"
    if mobile is not None:
        raise StructureFileError(
            f"{name} is disordered beyond the sites of {mobile}: {shown}. Give an ordered occupation of these sites"
        )
    raise StructureFileError(
        f"{name} is disordered, it has partially occupied sites: {shown}. Give an ordered "
        "structure, for example one occupation of it; set occupancies to 1 where the campaign gives amounts"
    )


def list_partial_elements(structure: Structure) -> set[str]:
    """Symbols of the elements on partially occupied sites of a `structure`."""
    return {element.symbol for site in structure if not site.is_ordered for element in site.species}


def _describe_partial_sites(structure: Structure, mobile: str | None) -> Iterator[str]:
    """Describe partially occupied sites.

    Sites of `mobile` alone are left out.
    """
    for site in structure:
        if not site.is_ordered and any(element.symbol != mobile for element in site.species):
            shares = " + ".join(f"{element.symbol} {share:.4g}" for element, share in site.species.items())
            label = site.label if isinstance(site.label, str) else ""
            yield shares if "/".join(e.symbol for e in site.species) == label else f"{label} {shares}"
