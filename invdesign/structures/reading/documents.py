"""Structures as JSON: the store's form, and pymatgen's. Class names in a file are ignored."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence

import numpy as np

from invdesign import strictjson
from invdesign.structures.reading.gate import SLAB_MESSAGE, check_count, to_fractional
from invdesign.structures.reading.raw import MAX_FRAMES, Limits, RawCrystal, RawSite, StructureFileError
from invdesign.structures.reading.words import Matrix, Vector, parse_element, shorten_line

Json = object
MAX_JSON_LENGTH = 50_000_000  # characters; chosen: brackets alone take twenty times their length in memory
# Å between the fractional and the Cartesian position of a site; chosen: files round to 3 or 4 digits.
POSITION_TOLERANCE = 0.1


def parse_json(text: str, name: str) -> Json:
    """Parse a JSON text.

    Args:
        text: content of the file.
        name: name of the file in messages.

    Raises:
        StructureFileError: it is no JSON, names a key twice, or holds a number that is not finite.
    """
    try:
        return strictjson.loads(text)
    except ValueError as error:
        raise StructureFileError(f"{name} cannot be read as JSON: {error}") from None


def read_json(text: str, name: str, limits: Limits) -> list[RawCrystal]:
    """Read one or several structures in a JSON file.

    Args:
        text: content of the file.
        name: name of the file in messages.
        limits: limits on the numbers of atoms and structures.

    Raises:
        StructureFileError: it holds something else.
    """
    if len(text) > MAX_JSON_LENGTH:
        raise StructureFileError(
            f"{name} has {len(text) / 1e6:.7g} million characters, at most {MAX_JSON_LENGTH / 1e6:.7g} million of JSON are read; give "
            "each structure its own file, or all of them as extended XYZ"
        )
    found = parse_json(text, name)
    if isinstance(found, list):
        if not found or len(found) > limits.frames:
            raise StructureFileError(
                f"{name} is a list of {len(found)}; 1 to {limits.frames} structures are read (environment variable "
                f"{MAX_FRAMES})"
            )
        several = len(found) > 1
        return [
            parse_crystal(item, f"{name}#{number}" if several else name, limits)
            for number, item in enumerate(found, 1)
        ]
    return [parse_crystal(found, name, limits)]


def is_structure(value: Json) -> bool:
    """True if a JSON `value` is a structure.

    It is in the store's form, or in pymatgen's.
    """
    return isinstance(value, Mapping) and "lattice" in value and ("sites" in value or "species" in value)


def parse_crystal(value: Json, name: str, limits: Limits) -> RawCrystal:
    """Parse the crystal of a JSON object or its member `structure`.

    Args:
        value: JSON in the store's form or pymatgen's.
        name: name of the file in messages.
        limits: limits on the number of atoms.

    Raises:
        StructureFileError: it has another form.
    """
    if isinstance(value, Mapping) and not is_structure(value) and is_structure(value.get("structure")):
        value = value["structure"]  # an entry of pymatgen, a document of the Materials Project
    if isinstance(value, Mapping) and "sites" in value and "lattice" not in value:
        raise StructureFileError(f"{name} has sites and no lattice: it is {SLAB_MESSAGE}")
    if not isinstance(value, Mapping) or not is_structure(value):
        raise StructureFileError(
            f"{name} is an ASE database: name the file itself as the source of a pool, or save its row as CIF"
            if isinstance(value, Mapping) and "ids" in value
            else f"{name} is no structure: expected an object with 'lattice' and 'sites' (pymatgen's), with 'lattice', "
            "'species' and 'positions', or with one of these as 'structure'"
        )
    return (
        _crystal_from_sites(value, name, limits)
        if "sites" in value
        else _crystal_from_columns(value, name, limits)
    )


def _crystal_from_columns(value: Mapping[str, Json], name: str, limits: Limits) -> RawCrystal:
    """Parse a crystal in the store's form."""
    species, positions = value["species"], value.get("positions")
    if not isinstance(species, list) or not isinstance(positions, list) or len(species) != len(positions):
        raise StructureFileError(f"{name}: 'species' and 'positions' must be lists of one length")
    check_count(len(species), name, limits)
    sites = []
    for number, (word, place) in enumerate(zip(species, positions, strict=True), 1):
        element = parse_element(word) if isinstance(word, str) else None
        if element is None:
            raise StructureFileError(f"{name}: species {number} is no element: {_quote_value(word)}")
        sites.append(RawSite({element: 1.0}, parse_vector(place, name, f"position {number}"), element))
    return RawCrystal(name, parse_matrix(value["lattice"], name), tuple(sites))


def _crystal_from_sites(value: Mapping[str, Json], name: str, limits: Limits) -> RawCrystal:
    """Parse a crystal in pymatgen's form."""
    lattice = value["lattice"]
    sites = value["sites"]
    if not isinstance(lattice, Mapping) or "matrix" not in lattice:
        raise StructureFileError(f"{name}: 'lattice' must be an object with a 'matrix'")
    if not isinstance(sites, list):
        raise StructureFileError(f"{name}: 'sites' must be a list")
    check_count(len(sites), name, limits)
    matrix = parse_matrix(lattice["matrix"], name)
    found = [_parse_site(site, name, number) for number, site in enumerate(sites, 1)]
    return RawCrystal(
        name,
        matrix,
        tuple(_locate_sites(found, matrix, name, limits)),
        periodic=_parse_periodicity(lattice.get("pbc"), name),
    )


def _parse_periodicity(value: Json, name: str) -> tuple[bool, bool, bool]:
    if value is None:
        return True, True, True
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(flag, bool) for flag in value):
        raise StructureFileError(f"{name}: 'pbc' must be three of true and false, got {_quote_value(value)}")
    a, b, c = value
    return a, b, c


def _parse_site(
    value: Json, name: str, number: int
) -> tuple[dict[str, float], str, Vector | None, Vector | None]:
    """Parse (occupancies, label, fractional, Cartesian) of a site.

    One of the two positions may be missing.
    """
    if not isinstance(value, Mapping):
        raise StructureFileError(f"{name}: site {number} is no object")
    species = value.get("species")
    if not isinstance(species, list) or not species:
        raise StructureFileError(f"{name}: site {number} has no list of species")
    occupancies: dict[str, float] = {}
    for item in species:
        word = item.get("element") if isinstance(item, Mapping) else None
        element = parse_element(word) if isinstance(word, str) else None
        if element is None:
            raise StructureFileError(f"{name}: site {number} holds no element, but {_quote_value(word)}")
        share = item.get("occu", 1.0) if isinstance(item, Mapping) else 1.0
        occupancies[element] = occupancies.get(element, 0.0) + parse_number(
            share, name, f"occupancy of site {number}"
        )
    label = value.get("label")
    text = (
        label
        if isinstance(label, str) and 0 < len(label) <= 40 and label.isprintable()
        else "/".join(occupancies)
    )
    places = [
        None if value.get(key) is None else parse_vector(value[key], name, f"'{key}' of site {number}")
        for key in ("abc", "xyz")
    ]
    return occupancies, text, places[0], places[1]


def _locate_sites(
    sites: Sequence[tuple[dict[str, float], str, Vector | None, Vector | None]],
    matrix: Matrix,
    name: str,
    limits: Limits,
) -> list[RawSite]:
    """Place the sites at their fractional coordinates.

    Cartesian ones, if given, must agree.
    """
    cartesian = [xyz if xyz is not None else (0.0, 0.0, 0.0) for _, _, _, xyz in sites]
    by_cartesian = to_fractional(matrix, cartesian, name, limits)
    found = []
    for number, ((occupancies, label, abc, xyz), other) in enumerate(
        zip(sites, by_cartesian, strict=True), 1
    ):
        if abc is None and xyz is None:
            raise StructureFileError(f"{name}: site {number} has no position: neither 'abc' nor 'xyz'")
        if abc is not None and xyz is not None:
            apart = np.subtract(abc, other)
            distance = float(np.linalg.norm((apart - np.round(apart)) @ np.asarray(matrix)))
            if not distance <= POSITION_TOLERANCE:
                raise StructureFileError(
                    f"{name}: site {number} lies {distance:.3g} Å apart by 'abc' (fractional) and 'xyz' (Å); remove one of "
                    "them"
                )
        found.append(RawSite(occupancies, abc if abc is not None else other, label))
    return found


def parse_number(value: Json, name: str, what: str) -> float:
    """Parse a finite number of JSON.

    Args:
        value: JSON.
        name: name of the file in messages.
        what: name of the number in messages.

    Raises:
        StructureFileError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62:
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise StructureFileError(f"{name}: {what} is no finite number, but {_quote_value(value)}")


def parse_vector(value: Json, name: str, what: str) -> Vector:
    """Parse a list of three numbers.

    Args:
        value: JSON.
        name: name of the file in messages.
        what: name of the vector in messages.

    Raises:
        StructureFileError: it is something else.
    """
    if not isinstance(value, list) or len(value) != 3:
        raise StructureFileError(f"{name}: {what} must be three numbers, got {_quote_value(value)}")
    x, y, z = (parse_number(item, name, what) for item in value)
    return x, y, z


def parse_matrix(value: Json, name: str) -> Matrix:
    """Parse three lists of three numbers.

    Args:
        value: JSON.
        name: name of the file in messages.

    Raises:
        StructureFileError: it is something else.
    """
    if not isinstance(value, list) or len(value) != 3:
        raise StructureFileError(f"{name}: a lattice must be three vectors, got {_quote_value(value)}")
    a, b, c = (parse_vector(row, name, "a vector of the lattice") for row in value)
    return a, b, c


def _quote_value(value: Json) -> str:
    return f"'{shorten_line(value)}'" if isinstance(value, str) else shorten_line(reprlib.repr(value))
