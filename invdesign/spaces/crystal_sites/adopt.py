"""Crystals on occupied sites from structures: relaxed ones by their parent, others by their symmetry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import Infeasible
from invdesign.spaces.crystal.symmetric import LOOSE_SYMPREC
from invdesign.spaces.crystal_sites.combinations import Combination, make_combination, order_letter
from invdesign.spaces.crystal_sites.sited import SitedCrystal, round_sited
from invdesign.spaces.crystal_sites.vectors import SiteAxes
from invdesign.structures.symmetry import call_spglib
from invdesign.structures.wyckoff import (
    SpaceGroup,
    WyckoffPosition,
    find_space_group,
    fit_parameters,
    list_relabellings,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_DISPLACEMENT = LOOSE_SYMPREC  # Å, by which an atom may miss its symmetric place
MAX_STRAIN = 0.02  # relative difference of a cell's metric from that of its lattice system (chosen)
MAX_ATOMS = 500  # of a structure whose symmetry is sought (chosen)
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


def fit_cell(conventional: FloatArray, group: SpaceGroup) -> tuple[float, ...]:
    """Free parameters of the nearest cell that has the symmetry of a group's lattice.

    Args:
        conventional: vectors as rows, Å.
        group: space group.

    Raises:
        Infeasible: the cell is strained more than `MAX_STRAIN` from it.
    """
    return group.system.read_cell(_symmetrise_cell(conventional, group))


def _symmetrise_cell(conventional: FloatArray, group: SpaceGroup) -> FloatArray:
    """Nearest cell that has the symmetry of a group's lattice, a lower triangle."""
    metric = conventional @ conventional.T
    symmetric = (group.rotations.transpose(0, 2, 1) @ metric @ group.rotations).mean(axis=0)
    strain = float(np.abs(metric - symmetric).max() / np.abs(metric).max())
    if strain > MAX_STRAIN:
        raise Infeasible(
            f"the cell is no longer {group.system.name}: it is strained by {strain:.1%}, {MAX_STRAIN:.0%} are allowed"
        )
    return np.linalg.cholesky(symmetric).astype(np.float64)


def find_sites(
    cell: FloatArray, positions: FloatArray, species: Sequence[int], known: Collection[Combination]
) -> SitedCrystal:
    """Find the space group and the occupied sites of a crystal, in a standard setting of the group.

    Args:
        cell: shape (3, 3), vectors as rows, Å.
        positions: shape (n, 3), fractional.
        species: n numbers.
        known: combinations that are sought; the setting is one in which the sites are among them, if there is one.

    Raises:
        Infeasible: no space group is found, or none of these combinations has it.
    """
    if len(species) > MAX_ATOMS:
        raise Infeasible(f"the structure has {len(species)} atoms; symmetry is sought of up to {MAX_ATOMS}")
    atoms = (cell, positions, [number + 1 for number in species])
    found = call_spglib("get_symmetry_dataset", atoms, symprec=LOOSE_SYMPREC)
    if found is None:
        raise Infeasible("the symmetry of the structure cannot be determined; its atoms may overlap")
    group = find_space_group(int(found.number))
    if group.number not in {combination.group for combination in known}:
        raise Infeasible(
            f"the structure has space group {group.number} ({group.symbol}), which is none of those sought"
        )
    found = call_spglib("get_symmetry_dataset", atoms, symprec=LOOSE_SYMPREC, hall_number=group.hall)
    lattice = np.asarray(found.std_lattice)
    standard = np.asarray(found.std_positions) @ np.linalg.inv(group.primitive)
    numbers = np.asarray(found.std_types) - 1
    sites, coordinates = _collect_sites(standard, numbers, group.primitive @ lattice, group)
    return _relabel_sites(sites, coordinates, _symmetrise_cell(lattice, group), group, known)


def _relabel_sites(
    sites: Sequence[tuple[int, str]],
    coordinates: Sequence[FloatArray],
    conventional: FloatArray,
    group: SpaceGroup,
    known: Collection[Combination],
) -> SitedCrystal:
    """Describe occupied sites in an equivalent setting in which they are a known combination.

    Where none is, the setting stays as it is.

    Args:
        sites: (species, letter) of each.
        coordinates: free coordinates of each.
        conventional: vectors of the conventional cell as rows, Å.
        group: space group.
        known: combinations.
    """
    changes = [] if make_combination(group.number, sites) in known else list_relabellings(group.number)
    for change in changes:
        renamed = [(species, change.letters[letter]) for species, letter in sites]
        if make_combination(group.number, renamed) not in known:
            continue
        cell = np.linalg.inv(change.axes).T @ conventional
        to_primitive = np.linalg.inv(group.primitive)
        moved = []
        for (_, before), (_, after), own in zip(sites, renamed, coordinates, strict=True):
            point = group.positions[before].place_images(own)[0] @ group.primitive
            changed = (change.axes @ point + change.origin) @ to_primitive
            moved.append(fit_parameters(group.positions[after], changed, group.primitive @ cell)[0])
        return _join_sites(renamed, moved, group.system.read_cell(cell), group.number)
    return _join_sites(sites, coordinates, group.system.read_cell(conventional), group.number)


def _join_sites(
    sites: Sequence[tuple[int, str]], coordinates: Sequence[FloatArray], cell: Sequence[float], number: int
) -> SitedCrystal:
    """Join occupied sites, in any order, to a crystal."""
    order = sorted(range(len(sites)), key=lambda place: (sites[place][0], order_letter(sites[place][1])))
    values = [coordinates[place] for place in order]
    return round_sited(make_combination(number, sites), cell, np.concatenate([*values, np.empty(0)]))


def _collect_sites(
    points: FloatArray, species: IntArray, cell: FloatArray, group: SpaceGroup
) -> tuple[list[tuple[int, str]], list[FloatArray]]:
    """Collect the occupied sites of atoms in the standard setting, the most special position that each atom fits.

    Args:
        points: shape (n, 3), fractional coordinates in the primitive cell.
        species: shape (n,).
        cell: primitive cell, vectors as rows, Å.
        group: space group.

    Returns:
        ((species, letter) of each site, free coordinates of each).
    """
    left = np.ones(len(points), dtype=bool)
    sites: list[tuple[int, str]] = []
    coordinates: list[FloatArray] = []
    while left.any():
        atom = int(left.argmax())
        letter, parameters = _fit_letter(points[atom], cell, group.positions)
        images = group.positions[letter].place_images(parameters)
        apart = points[:, None, :] - images[None, :, :]
        apart -= np.round(apart)
        near = np.linalg.norm(apart @ cell, axis=2).min(axis=1) <= 2.0 * MAX_DISPLACEMENT
        taken = near & left & (species == species[atom])
        sites.append((int(species[atom]), letter))
        coordinates.append(parameters)
        left &= ~taken
        left[atom] = False
    return sites, coordinates


def _fit_letter(
    point: FloatArray, cell: FloatArray, positions: Mapping[str, WyckoffPosition]
) -> tuple[str, FloatArray]:
    """Find the most special position near a point, with its free coordinates."""
    for letter, position in positions.items():
        parameters, distance = fit_parameters(position, point, cell)
        if distance <= MAX_DISPLACEMENT:
            return letter, parameters
    raise Infeasible("an atom is on none of the positions of the space group")
