"""Checks of every structure before a library computes with its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols
from invdesign.structures.reading.raw import (
    MAX_ATOMS,
    MAX_COORDINATE,
    MAX_LENGTH,
    MAX_VOLUME,
    MIN_VOLUME,
    Limits,
    RawCrystal,
    RawSite,
    StructureFileError,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure


# Distance from 1 of a full occupancy or sum of occupancies; chosen: files give three digits.
OCCUPANCY_TOLERANCE = 1e-3
SLAB_MESSAGE = (
    "a slab, wire or molecule, and crystals are designed here. Where it is a crystal after all, write "
    'pbc="T T T" and its cell'
)


def check_count(atoms: int, name: str, limits: Limits) -> None:
    """Refuse too many atoms, before anything is built from them.

    Args:
        atoms: number of atoms.
        name: name of the structure in messages.
        limits: limits; `limits.atoms` is the largest number.

    Raises:
        StructureFileError: there are more, or none.
    """
    if atoms < 1:
        raise StructureFileError(f"{name} has no atoms")
    if atoms > limits.atoms:
        raise StructureFileError(
            f"{name} has {atoms} atoms, at most {limits.atoms} are read; use a smaller cell, or set the environment "
            f"variable {MAX_ATOMS}"
        )


def check_lattice(lattice: ArrayLike, name: str, limits: Limits) -> FloatArray:
    """Check lengths, angles and flatness of a cell.

    Args:
        lattice: rows of the cell, Å.
        name: name of the structure in messages.
        limits: limits on these.

    Returns:
        The cell, shape (3, 3).

    Raises:
        StructureFileError: one is out of range; the message names it.
    """
    cell = np.asarray(lattice, dtype=np.float64)
    if cell.shape != (3, 3):
        raise StructureFileError(f"{name}: a cell has three vectors of three numbers each")
    if not np.isfinite(cell).all() or np.abs(cell).max() > 1e9:  # squares of larger ones may overflow
        raise StructureFileError(f"{name}: the cell has numbers that are not finite, or absurdly large")
    lengths = np.linalg.norm(cell, axis=1)
    low, high = limits.length
    for axis, length in zip("abc", lengths.tolist(), strict=True):
        if not low <= length <= high:
            raise StructureFileError(
                f"{name}: the cell's edge {axis} is {length:.6g} Å long, {low:g} to {high:g} Å are read; check the cell "
                f"and its unit, or set the environment variable {MAX_LENGTH}"
            )
    _check_shape(cell, lengths, name, limits)
    return cell


def _check_shape(cell: FloatArray, lengths: FloatArray, name: str, limits: Limits) -> None:
    """Refuse angles out of range and flat cells."""
    low, high = limits.angle
    for angle, (i, j) in {"alpha": (1, 2), "beta": (0, 2), "gamma": (0, 1)}.items():
        cosine = float(cell[i] @ cell[j] / (lengths[i] * lengths[j]))
        degrees = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
        if not low <= degrees <= high:
            raise StructureFileError(
                f"{name}: the cell's angle {angle} is {degrees:.4g}°, {low:g}° to {high:g}° are read; check the cell"
            )
    volume = abs(float(np.linalg.det(cell)))
    faces = [np.linalg.norm(np.cross(cell[i], cell[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    height = volume / max(faces)
    if not height >= limits.height:
        raise StructureFileError(
            f"{name}: the cell is flat, two of its faces are {height:.3g} Å apart (at least {limits.height:g} Å); check "
            "the cell, or reduce it"
        )


def to_fractional(
    lattice: ArrayLike, cartesian: ArrayLike, name: str, limits: Limits
) -> list[tuple[float, float, float]]:
    """Convert Cartesian to fractional coordinates, after a check of the cell.

    Args:
        lattice: rows of the cell, Å.
        cartesian: shape (n, 3), Å.
        name: name of the structure in messages.
        limits: limits on the cell.

    Raises:
        StructureFileError: cell or points are not those of a crystal.
    """
    cell = check_lattice(lattice, name, limits)
    points = np.asarray(cartesian, dtype=np.float64).reshape(-1, 3)
    check_positions(points, name, math.inf)
    found = np.linalg.solve(cell.T, points.T).T
    return [(x, y, z) for x, y, z in found.tolist()]


def check_positions(positions: FloatArray, name: str, largest: float) -> None:
    """Refuse coordinates that are not finite or far outside.

    Args:
        positions: shape (n, 3), fractional; Cartesian ones where `largest` is infinite.
        name: name of the structure in messages.
        largest: largest absolute coordinate.

    Raises:
        StructureFileError: the message names the first such atom.
    """
    wrong = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(wrong):
        raise StructureFileError(f"{name}: atom {wrong[0] + 1} has coordinates that are not finite")
    far = np.flatnonzero(np.abs(positions).max(axis=1) > largest)
    if len(far):
        atom = positions[far[0]]
        raise StructureFileError(
            f"{name}: atom {far[0] + 1} lies at ({', '.join(f'{x:.4g}' for x in atom)}) in units of the cell, at most "
            f"{largest:g} cells away are read; check whether coordinates are fractional or in Å, or set the environment "
            f"variable {MAX_COORDINATE}"
        )


def check_crystal(raw: RawCrystal, limits: Limits) -> RawCrystal:
    """Check a crystal; return it without empty sites.

    Full occupancies are written as 1.

    Args:
        raw: the crystal as read.
        limits: limits on sizes and numbers.

    Raises:
        StructureFileError: numbers, elements, occupancies or sizes are not those of a crystal.
    """
    check_count(len(raw.sites), raw.name, limits)
    if not all(raw.periodic):
        directions = "".join(axis for axis, yes in zip("abc", raw.periodic, strict=True) if yes) or "none"
        raise StructureFileError(
            f"{raw.name} is periodic along {directions} of its axes only: {SLAB_MESSAGE}"
        )
    cell = check_lattice(raw.lattice, raw.name, limits)
    check_positions(
        np.asarray([site.position for site in raw.sites], dtype=np.float64), raw.name, limits.coordinate
    )
    sites, empty = [], []
    for number, site in enumerate(raw.sites, 1):
        occupancies = _check_occupancies(site, number, raw.name)
        if occupancies:
            sites.append(replace(site, occupancies=occupancies))
        else:
            empty.append(site.label or f"number {number}")
    if not sites:
        raise StructureFileError(f"{raw.name} has no atoms: all its sites are empty")
    _check_volume(cell, sites, raw.name, limits)
    remarks = raw.remarks
    if empty:
        listed = ", ".join(dict.fromkeys(empty[:5]))
        remarks = (
            *remarks,
            f"{raw.name}: {len(empty)} {'site' if len(empty) == 1 else 'sites'} with occupancy 0 left out ({listed})",
        )
    return replace(raw, sites=tuple(sites), remarks=remarks)


def _check_occupancies(site: RawSite, number: int, name: str) -> Mapping[str, float]:
    """Occupancies above 0.

    A sum that only rounding keeps from 1 is scaled to 1.
    """
    where = f"{name}: site {site.label or number}"
    for element, share in site.occupancies.items():
        if element not in element_symbols():
            raise StructureFileError(f"{where} holds '{element:.20}', which is no element")
        if not 0.0 <= share <= 1.0 + OCCUPANCY_TOLERANCE:
            raise StructureFileError(
                f"{where} has the occupancy {share:g} of {element}; it must be in [0, 1]"
            )
    found = {element: float(share) for element, share in site.occupancies.items() if share > 0.0}
    total = math.fsum(found.values())
    if total > 1.0 + OCCUPANCY_TOLERANCE:
        parts = " + ".join(f"{element} {share:g}" for element, share in found.items())
        raise StructureFileError(
            f"{where} is occupied more than once: {parts} = {total:g}; at most 1 is possible"
        )
    if total >= 1.0 - OCCUPANCY_TOLERANCE:
        found = {element: share / total for element, share in found.items()}
    return found


def _check_volume(cell: FloatArray, sites: list[RawSite], name: str, limits: Limits) -> None:
    """Refuse a volume per atom out of range."""
    atoms = math.fsum(share for site in sites for share in site.occupancies.values())
    volume = abs(float(np.linalg.det(cell))) / atoms
    low, high = limits.volume_per_atom
    if not low <= volume <= high:
        variable = MIN_VOLUME if volume < low else MAX_VOLUME
        raise StructureFileError(
            f"{name}: the cell has {volume:.4g} Å³ per atom, {low:g} to {high:g} Å³ are read; check the cell, its unit and "
            f"the number of atoms, or set the environment variable {variable}"
        )


def to_structure(raw: RawCrystal) -> Structure:
    """Convert a checked crystal `raw` to pymatgen's structure.

    Sites and labels keep their order.
    """
    from pymatgen.core import Element, Lattice, Structure

    known: dict[str, Element] = {}
    species: list[object] = []
    for site in raw.sites:
        shares = {
            known.setdefault(symbol, Element(symbol)): share for symbol, share in site.occupancies.items()
        }
        species.append(shares if len(shares) > 1 or min(shares.values()) < 1.0 else next(iter(shares)))
    structure = Structure(
        Lattice(raw.lattice),
        species,
        [site.position for site in raw.sites],
        labels=[site.label or "/".join(site.occupancies) for site in raw.sites],
    )
    for site, found in zip(structure, raw.sites, strict=True):
        site.properties.update(found.labels)
    return structure
