"""Occupied Wyckoff positions of crystals in any setting, found by their symmetry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import Infeasible
from invdesign.structures.combinations import Combination, make_combination, order_letter
from invdesign.structures.sited import SitedCrystal, round_sited
from invdesign.structures.symmetry import LOOSE_SYMPREC, call_spglib
from invdesign.structures.wyckoff import (
    Relabelling,
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
    cell: FloatArray,
    positions: FloatArray,
    species: Sequence[int],
    known: Collection[Combination] | None = None,
) -> SitedCrystal:
    """Find the space group and the occupied sites of a crystal, in a standard setting of the group.

    Args:
        cell: shape (3, 3), vectors as rows, Å.
        positions: shape (n, 3), fractional.
        species: n numbers.
        known: combinations that are sought; the setting is one in which the sites are among them, if there is one. None
            where all are.

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
    if known is not None and group.number not in {combination.group for combination in known}:
        raise Infeasible(
            f"the structure has space group {group.number} ({group.symbol}), which is none of those sought"
        )
    found = call_spglib("get_symmetry_dataset", atoms, symprec=LOOSE_SYMPREC, hall_number=group.hall)
    lattice = np.asarray(found.std_lattice)
    standard = np.asarray(found.std_positions) @ np.linalg.inv(group.primitive)
    numbers = np.asarray(found.std_types) - 1
    sites, coordinates = _collect_sites(standard, numbers, group.primitive @ lattice, group)
    return _relabel_sites(sites, coordinates, _symmetrise_cell(lattice, group), group, known or ())


def find_structure_sites(structure: Structure) -> tuple[tuple[str, ...], SitedCrystal]:
    """Find the occupied sites of an ordered structure in any cell.

    Returns:
        (symbols, sorted, which are the species of the sites; space group and sites).

    Raises:
        Infeasible: it is disordered, its cell has no volume, or no symmetry is found.
    """
    if not structure.is_ordered:
        raise Infeasible("it has partly occupied sites, or sites shared by several elements")
    symbols = [str(site.specie.symbol) for site in structure]
    elements = tuple(sorted(set(symbols)))
    species = [elements.index(symbol) for symbol in symbols]
    try:
        return elements, find_sites(
            np.array(structure.lattice.matrix), np.array(structure.frac_coords), species
        )
    except np.linalg.LinAlgError as error:
        raise Infeasible("its cell has no volume") from error


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
    found = not known or make_combination(group.number, sites) in known
    changes = () if found else list_relabellings(group.number)
    for change in changes:
        renamed = [(species, change.letters[letter]) for species, letter in sites]
        if make_combination(group.number, renamed) not in known:
            continue
        moved, cell = change_setting(
            [letter for _, letter in sites], coordinates, conventional, group, change
        )
        return _join_sites(renamed, moved, group.system.read_cell(cell), group.number)
    return _join_sites(sites, coordinates, group.system.read_cell(conventional), group.number)


def change_setting(
    letters: Sequence[str],
    coordinates: Sequence[FloatArray],
    conventional: FloatArray,
    group: SpaceGroup,
    change: Relabelling,
) -> tuple[list[FloatArray], FloatArray]:
    """Describe occupied sites in an equivalent setting of their space group.

    Args:
        letters: letter of each site.
        coordinates: free coordinates of each.
        conventional: vectors of the conventional cell as rows, Å.
        group: space group.
        change: to the other setting.

    Returns:
        (free coordinates of each site, conventional cell), in the other setting.
    """
    cell = np.linalg.inv(change.axes).T @ conventional
    to_primitive = np.linalg.inv(group.primitive)
    moved = []
    for letter, own in zip(letters, coordinates, strict=True):
        point = group.positions[letter].place_images(own)[0] @ group.primitive
        changed = (change.axes @ point + change.origin) @ to_primitive % 1.0
        after = group.positions[change.letters[letter]]
        moved.append(fit_parameters(after, changed, group.primitive @ cell)[0] if after.free else own)
    return moved, cell


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
