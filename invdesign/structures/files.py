"""Structures from files and JSON, checked before anything is computed with them."""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.settings import InputFile
from invdesign.structures.charges import element_symbols
from invdesign.structures.reading.documents import parse_json, parse_matrix, parse_vector
from invdesign.structures.reading.gate import check_count
from invdesign.structures.reading.raw import StructureFileError, current_limits
from invdesign.structures.reading.read import read_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_ATOM_DISTANCE = 0.5  # Å: no two nuclei of any material are this close (H2 has 0.74)
STORED_LABEL = "the stored structure"
MAX_UNPACKED_BYTES = 64_000_000  # bytes of a structure unpacked; chosen: some 500,000 atoms
_SPECIES = re.compile(r"([A-Z][a-z]?)((?:[0-9]+(?:\.[0-9]+)?)?[+-])?(?:,spin=[+-]?[0-9]+(?:\.[0-9]+)?)?")


def parse_structure(file: InputFile) -> Structure:
    """Return the ordered structure in a file that a campaign names; see `reading.read_structure`.

    Raises:
        StructureFileError: it cannot be read, is no crystal, is disordered, or atoms overlap.
    """
    return read_structure(file.text, file.name).ordered


def check_distances(structure: Structure, name: str, limit: float = MIN_ATOM_DISTANCE) -> None:
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


def structure_to_cif(structure: Structure) -> str:
    """Return a CIF without symmetry, its sites labelled by element and number; CIF wants every label once."""
    from pymatgen.io.cif import CifWriter

    numbered = structure.copy()
    for number, site in enumerate(numbered, 1):
        site.label = f"{site.species.elements[0].symbol}{number}"
    return str(CifWriter(numbered, significant_figures=10))


def structure_to_json(structure: Structure) -> str:
    """Lattice, species and positions as JSON text; floats in their shortest exact form.

    A site that is occupied in part, or by several elements, has its occupancies in place of its species.
    """
    return json.dumps(
        {
            "lattice": structure.lattice.matrix.tolist(),
            "species": [
                site.species_string
                if site.is_ordered
                else {str(name): float(share) for name, share in site.species.items()}
                for site in structure
            ],
            "positions": structure.frac_coords.tolist(),
        },
        separators=(",", ":"),
    )


def structure_from_json(text: str) -> Structure:
    """The inverse of `structure_to_json`; what else stands in the text is refused.

    Raises:
        StructureFileError: it is no structure in this form: a store was damaged, or made by somebody else.
    """
    from pymatgen.core import Structure

    data = parse_json(text, STORED_LABEL)
    if not isinstance(data, dict) or set(data) != {"lattice", "species", "positions"}:
        raise StructureFileError(
            f"{STORED_LABEL} is not in the form of a store: 'lattice', 'species', 'positions'"
        )
    species, positions = data["species"], data["positions"]
    if not isinstance(species, list) or not isinstance(positions, list) or len(species) != len(positions):
        raise StructureFileError(f"{STORED_LABEL} has no position for each of its species")
    if len(species):
        check_count(len(species), STORED_LABEL, current_limits())
    lattice = parse_matrix(data["lattice"], STORED_LABEL)
    if not abs(np.linalg.det(lattice)) > 0:
        raise StructureFileError(f"{STORED_LABEL} has a cell without a volume")
    symbols = {"D", "T", *element_symbols()}
    occupied = [_read_occupancies(item) for item in species]
    for word in {word for site in occupied for word in site}:
        match = _SPECIES.fullmatch(word)
        if match is None or match[1] not in symbols:
            raise StructureFileError(f"{STORED_LABEL} holds '{word:.40}', which is no element")
    places = [parse_vector(place, STORED_LABEL, "a position") for place in positions]
    held = [
        next(iter(site)) if isinstance(item, str) else site
        for item, site in zip(species, occupied, strict=True)
    ]
    return Structure(lattice, held, places)


def _read_occupancies(item: object) -> dict[str, float]:
    """Occupancies of a site by species, of what stands for it in a stored structure.

    Raises:
        StructureFileError: they are no shares of a site.
    """
    if not isinstance(item, dict):
        return {str(item): 1.0}
    shares = list(item.values())
    numbers = all(isinstance(share, int | float) and not isinstance(share, bool) for share in shares)
    if not shares or not numbers or not all(share > 0 for share in shares) or not sum(shares) <= 1.0 + 1e-8:
        raise StructureFileError(
            f"{STORED_LABEL} holds occupancies that are no shares of a site: {item!s:.80}"
        )
    return {str(word): float(share) for word, share in item.items()}


def compress_text(text: str) -> bytes:
    """Compressed for storage."""
    return zlib.compress(text.encode(), level=6)


def decompress_text(blob: bytes) -> str:
    """The inverse of `compress_text`.

    Raises:
        StructureFileError: it was not packed so, or is larger than any structure.
    """
    inflating = zlib.decompressobj()
    try:
        data = inflating.decompress(blob, MAX_UNPACKED_BYTES)
        if not inflating.eof:
            cause = (
                f"longer than {MAX_UNPACKED_BYTES:,} bytes" if len(data) == MAX_UNPACKED_BYTES else "cut off"
            )
            raise StructureFileError(f"{STORED_LABEL} is {cause}")
        return data.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise StructureFileError(f"{STORED_LABEL} is damaged: {error}") from error
