"""Structures from files and JSON, checked before anything is computed with them."""

from __future__ import annotations

import json
import warnings
import zlib
from typing import TYPE_CHECKING

from invdesign.errors import InvdesignError
from invdesign.settings import InputFile

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_UNPACKED = 64_000_000  # bytes of a structure as text; chosen: some 500,000 atoms
OVERLAP = 0.5  # Å: no two nuclei of any material are this close (H2 has 0.74)


def parse_structure(file: InputFile) -> Structure:
    """The structure in a CIF, POSCAR or other text file pymatgen reads.

    Raises:
        InvdesignError: unreadable, unknown elements, partial occupancies, or atoms closer than 0.5 Å.
    """
    from pymatgen.core import DummySpecies, Structure

    fmt = "cif" if file.name.lower().endswith((".cif", ".mcif")) else "poscar"
    if file.name.lower().endswith(".json"):
        fmt = "json"
    try:
        with warnings.catch_warnings():
            # The parser comments on how it read the file; what matters of that is checked below.
            warnings.simplefilter("ignore")
            structure = Structure.from_str(file.text, fmt=fmt)
    except Exception as error:
        raise InvdesignError(f"{file.name} cannot be read as {fmt.upper()}: {_one_line(error)}") from error
    dummies = sorted({s.symbol for s in structure.composition if isinstance(s, DummySpecies)})
    if dummies:
        raise InvdesignError(f"{file.name} has unknown elements: {', '.join(dummies)}")
    if not structure.is_ordered:
        raise InvdesignError(f"{file.name} has partially occupied sites; give an ordered structure")
    check_distances(structure, file.name)
    return structure


def check_distances(structure: Structure, name: str, limit: float = OVERLAP) -> None:
    """Refuse overlapping atoms, the sign of a wrong origin choice or a wrong file.

    Raises:
        InvdesignError: two atoms are closer than `limit` (Å); the message names them.
    """
    first, second, _, distance = structure.get_neighbor_list(limit, exclude_self=True)
    if len(distance):
        worst = int(distance.argmin())
        a, b = structure[int(first[worst])], structure[int(second[worst])]
        raise InvdesignError(
            f"{name}: {a.species_string} and {b.species_string} are {distance[worst]:.2f} Å apart "
            f"(limit {limit:g} Å); check the coordinates and the origin choice of the space group"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def structure_to_json(structure: Structure) -> str:
    """Lattice, species and positions as JSON text; floats in their shortest exact form."""
    return json.dumps(
        {
            "lattice": structure.lattice.matrix.tolist(),
            "species": [site.species_string for site in structure],
            "positions": structure.frac_coords.tolist(),
        },
        separators=(",", ":"),
    )


def structure_from_json(text: str) -> Structure:
    """The inverse of `structure_to_json`."""
    from pymatgen.core import Structure

    data = json.loads(text)
    return Structure(data["lattice"], data["species"], data["positions"])


def pack(text: str) -> bytes:
    """Compressed for storage."""
    return zlib.compress(text.encode(), level=6)


def unpack(blob: bytes) -> str:
    """The inverse of `pack`.

    Raises:
        ValueError: it is no text that was packed, or longer than any structure's.
    """
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob, MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"it is no compressed structure: {error}") from error
    if not unpacker.eof:
        what = (
            f"it is longer than {MOST_UNPACKED:,} bytes"
            if len(data) == MOST_UNPACKED
            else "its end is missing"
        )
        raise ValueError(f"it is no compressed structure: {what}")
    return data.decode()
