"""Crystals on occupied sites from structures: relaxed ones by their parent, others by their symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import Infeasible
from invdesign.spaces.crystal_sites.vectors import SiteAxes
from invdesign.structures.sited import SitedCrystal, round_sited
from invdesign.structures.sites import MAX_DISPLACEMENT, find_sites, fit_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

DRIFT_STEPS = 3  # in which the common displacement of all atoms is found (chosen)


def adopt_structure(structure: Structure, parent: SitedCrystal | None, axes: SiteAxes) -> SitedCrystal:
    """Crystal on occupied sites that a structure is.

    Args:
        structure: relaxed from the parent, or any crystal.
        parent: its group and sites are kept; None where there is none.
        axes: of the space.

    Raises:
        Infeasible: it is none of the space's, with the reason.
    """
    symbols = _list_symbols(structure, axes.rules.elements)
    cell = np.array(structure.lattice.matrix, dtype=np.float64)
    positions = np.array(structure.frac_coords, dtype=np.float64)
    if not np.isfinite(cell).all() or not np.isfinite(positions).all():
        raise Infeasible("the structure holds numbers that are not finite")
    species = [axes.rules.elements.index(name) for name in symbols]
    try:
        if parent is not None and species == parent.species.tolist():
            found = fit_sites(cell, positions, parent)
        else:
            known = axes.combinations.places if parent is None else (parent.combination,)
            found = find_sites(cell, positions, species, known)
    except np.linalg.LinAlgError as error:
        raise Infeasible("the cell of the structure collapsed") from error
    if parent is not None and found.combination != parent.combination:
        before, after = (sited.combination.write(axes.rules.elements) for sited in (parent, found))
        raise Infeasible(f"the sites changed from '{before}' to '{after}'")
    found = axes.normalise(found)
    fault = axes.find_fault(found)
    if fault:
        raise Infeasible(fault)
    return found


def _list_symbols(structure: Structure, elements: Sequence[str]) -> list[str]:
    """Symbols of the atoms of an ordered structure of the space's elements."""
    if not len(structure):
        raise Infeasible("the structure has no atoms")
    if not structure.is_ordered:
        raise Infeasible("the structure has partly occupied sites; a crystal needs one element on each site")
    symbols = [str(site.specie.symbol) for site in structure]
    strange = sorted(set(symbols) - set(elements))
    if strange:
        raise Infeasible(
            f"the structure holds {', '.join(strange)}; the space has {', '.join(elements)} alone"
        )
    return symbols


def fit_sites(cell: FloatArray, positions: FloatArray, parent: SitedCrystal) -> SitedCrystal:
    """Fit cell parameters and free coordinates to atoms that stand as those of the parent.

    Args:
        cell: shape (3, 3), vectors as rows, Å, strained from those of the parent's crystal.
        positions: shape (n, 3), fractional.
        parent: the crystal before relaxation.

    Raises:
        Infeasible: relaxation broke the symmetry of the space group.
    """
    group = parent.combination.space_group
    primitive = parent.basis @ cell
    parameters = fit_cell(np.linalg.inv(group.primitive) @ primitive, group)
    own = positions @ np.linalg.inv(parent.basis)
    drift = np.zeros(3)
    for _ in range(DRIFT_STEPS):
        coordinates, missed = _fit_coordinates(own - drift, parent)
        drift = drift + missed.mean(axis=0)
    distance = float(np.linalg.norm((missed - missed.mean(axis=0)) @ primitive, axis=1).max())
    if distance > MAX_DISPLACEMENT:
        raise Infeasible(
            f"the symmetry of space group {group.number} ({group.symbol}) was lost: an atom is {distance:.2f} Å "
            f"from its place, {MAX_DISPLACEMENT:g} Å are allowed"
        )
    return round_sited(parent.combination, parameters, coordinates)


def _fit_coordinates(positions: FloatArray, parent: SitedCrystal) -> tuple[FloatArray, FloatArray]:
    """Fit free coordinates to the first image of each site, then to all images.

    Returns:
        (coordinates (f,), distance vectors of all atoms from their places (n, 3), fractional).
    """
    combination = parent.combination
    coordinates = np.empty(combination.free)
    missed, start = [], 0
    for position, column in zip(combination.positions, combination.columns, strict=True):
        images = positions[start : start + position.primitive_multiplicity]
        start += position.primitive_multiplicity
        # Coordinates are continuous in relaxation, but atoms may be wrapped: whole steps from the parent are taken out.
        first = images[0] - position.constant[0]
        expected = position.linear[0] @ parent.coordinates[column]
        first = first - np.round(first - expected)
        fitted = np.linalg.pinv(position.linear[0]) @ first
        apart = images - position.place_images(fitted)
        apart -= np.round(apart)
        step = np.linalg.pinv(position.linear.reshape(3 * len(images), position.free)) @ apart.reshape(-1)
        coordinates[column] = fitted + step
        missed.append(apart - position.linear @ step)
    return coordinates, np.concatenate(missed)
