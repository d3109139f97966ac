"""Structures of the store: as JSON, as CIF and compressed; a check of distances."""

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
from invdesign.structures.site_labels import (
    CIF_PREFIX,
    SiteLabelError,
    check_labels,
    read_labels,
    set_labels,
    write_word,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_ATOM_DISTANCE = 0.5  # Å; chosen: no two nuclei of any material are this close (H2 has 0.74)
STORED_LABEL = "the stored structure"
MAX_UNPACKED_BYTES = 64_000_000  # bytes of a structure unpacked; chosen: some 500,000 atoms
_SPECIES = re.compile(r"([A-Z][a-z]?)((?:[0-9]+(?:\.[0-9]+)?)?[+-])?(?:,spin=[+-]?[0-9]+(?:\.[0-9]+)?)?")


def parse_structure(file: InputFile) -> Structure:
    """Parse the ordered structure in a `file` of a campaign.

    Raises:
        StructureFileError: it cannot be read, is no crystal, is disordered, or atoms overlap.
    """
    return read_structure(file.text, file.name).ordered


def check_distances(structure: Structure, name: str, limit: float = MIN_ATOM_DISTANCE) -> None:
    """Refuse overlapping atoms.

    They are the sign of a wrong origin choice or a wrong file.

    Args:
        structure: the crystal.
        name: name of the structure in messages.
        limit: smallest distance allowed, Å.

    Raises:
        InvdesignError: two atoms are closer than `limit`; the message names them.
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
    """Write a `structure` as CIF without symmetry.

    Sites are labelled by element and number, since CIF requires unique labels. Labels of sites (`site_labels`) are further
    columns of the list of sites, under private data names.
    """
    from pymatgen.io.cif import CifWriter

    numbered = structure.copy()
    for number, site in enumerate(numbered, 1):
        site.label = f"{site.species.elements[0].symbol}{number}"
    writer = CifWriter(numbered, significant_figures=10)
    labels = read_labels(structure)
    if labels:
        (block,) = writer.cif_file.data.values()
        loop = next(names for names in block.loops if "_atom_site_label" in names)
        for name, values in labels.items():
            # A site that several species share has a row for each of them.
            rows = [
                write_word(value) for value, site in zip(values, structure, strict=True) for _ in site.species
            ]
            block.data[CIF_PREFIX + name] = rows
            loop.append(CIF_PREFIX + name)
    return str(writer)


def structure_to_json(structure: Structure) -> str:
    """Write lattice, species and positions of a `structure` as JSON.

    Floats are in their shortest exact form. A site that is occupied in part, or by several elements, has its
    occupancies in place of its species. Labels of sites (`site_labels`) follow as `labels` where there are any.

    Raises:
        SiteLabelError: only some sites carry a label, or it has another form.
    """
    labels = read_labels(structure)
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
            **({"labels": labels} if labels else {}),
        },
        separators=(",", ":"),
    )


def structure_from_json(text: str) -> Structure:
    """Parse the `text` of `structure_to_json`; other keys are refused.

    Raises:
        StructureFileError: it has another form: the store was damaged, or made by another program.
    """
    from pymatgen.core import Structure

    data = parse_json(text, STORED_LABEL)
    if not isinstance(data, dict) or set(data) - {"labels"} != {"lattice", "species", "positions"}:
        raise StructureFileError(
            f"{STORED_LABEL} is not in the form of a store: 'lattice', 'species', 'positions', perhaps 'labels'"
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
    try:
        labels = check_labels(data["labels"], len(held), STORED_LABEL) if "labels" in data else {}
    except SiteLabelError as error:
        raise StructureFileError(str(error)) from None
    structure = Structure(lattice, held, places)
    set_labels(structure, labels)
    return structure


def _read_occupancies(item: object) -> dict[str, float]:
    """Read the occupancies of a stored site by species.

    Raises:
        StructureFileError: they are not positive numbers with a sum of at most 1.
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
    """Compress `text` for storage."""
    return zlib.compress(text.encode(), level=6)


def decompress_text(blob: bytes) -> str:
    """Restore the text from the `blob` of `compress_text`.

    Raises:
        StructureFileError: the bytes have another form, or hold more text than any structure.
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
