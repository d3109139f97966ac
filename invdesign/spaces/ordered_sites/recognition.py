"""Recognise the ordering of a relaxed, seeded or generated structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.framework import TOLERANCES, element_at, with_elements_alone
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.cell import OrderedCell

if TYPE_CHECKING:
    from pymatgen.core import Structure


MAX_SHIFT_RATIO = 0.45  # chosen; largest displacement of an atom on its site, over the shortest site distance


def recognise_ordering(structure: Structure, cell: OrderedCell, *, same_cell: bool) -> IntArray | None:
    """Match a structure to an ordering of a supercell, shape (n,); or None.

    Args:
        structure: any description of the crystal.
        cell: the supercell.
        same_cell: whether to try the supercell's own vectors and origin first, for structures relaxed from it.
    """
    plain = with_elements_alone(structure)
    if same_cell:
        codes = _match_sites(plain, cell)
        if codes is not None:
            return codes
    mapped = map_onto_cell(plain, cell)
    if mapped is None and len(plain) > 1:
        mapped = map_onto_cell(plain.get_primitive_structure(), cell)
    return None if mapped is None else _match_sites(mapped, cell)


def _match_sites(structure: Structure, cell: OrderedCell) -> IntArray | None:
    """Ordering of a structure that has the supercell's own vectors.

    Every atom takes the nearest site, up to a common shift; None where an atom is far from it, or two share one.
    """
    sites = cell.crystal.positions
    atoms = structure.frac_coords
    if not 0 < len(atoms) <= len(sites):
        return None
    lattice = structure.lattice.matrix
    chosen = _find_nearest_sites(atoms, sites, lattice)
    moves = atoms - sites[chosen]
    moves -= np.round(moves)
    chosen = _find_nearest_sites(atoms - moves.mean(axis=0), sites, lattice)
    moves = atoms - moves.mean(axis=0) - sites[chosen]
    moves -= np.round(moves)
    lengths = np.linalg.norm(moves @ lattice, axis=1)
    if len(set(chosen.tolist())) < len(chosen) or lengths.max() > MAX_SHIFT_RATIO * _find_closest_distance(
        cell, lattice
    ):
        return None
    found = [VACANCY] * len(sites)
    for site, atom in zip(chosen.tolist(), structure, strict=True):
        found[site] = element_at(atom)
    return read_species(found, cell)


def _find_nearest_sites(atoms: FloatArray, sites: FloatArray, lattice: FloatArray) -> IntArray:
    """Index of the nearest site of each atom, periodic."""
    apart = atoms[:, None, :] - sites[None, :, :]
    apart -= np.round(apart)
    nearest: IntArray = ((apart @ lattice) ** 2).sum(axis=2).argmin(axis=1)
    return nearest


def _find_closest_distance(cell: OrderedCell, lattice: FloatArray) -> float:
    """Distance of the two nearest sites, Å."""
    apart = cell.crystal.positions[:, None, :] - cell.crystal.positions[None, :, :]
    apart -= np.round(apart)
    distance = np.linalg.norm(apart @ lattice, axis=2)
    np.fill_diagonal(distance, np.linalg.norm(lattice, axis=1).min())
    return float(distance.min())


def read_species(species: list[str], cell: OrderedCell) -> IntArray | None:
    """Ordering of N species; None where one is not allowed on its site."""
    for content, name in zip(cell.contents, species, strict=True):
        if content and content != name:
            return None
    codes = np.empty(cell.orderings.n, dtype=np.int64)
    for group in cell.orderings.groups:
        for place in range(group.first, group.stop):
            name = species[cell.sites[place]]
            if name not in group.species:
                return None
            codes[place] = group.species.index(name)
    return codes if cell.orderings.allows_composition(cell.orderings.count_species(codes)) else None


def map_onto_cell(structure: Structure, cell: OrderedCell) -> Structure | None:
    """Structure in the supercell's vectors and at its origin.

    The sites that do not vary are matched. Where everything varies, all sites are matched whatever is on them; then no
    site may be vacant.
    """
    from pymatgen.analysis.structure_matcher import FrameworkComparator, StructureMatcher
    from pymatgen.core import Structure

    movable = {name for group in cell.orderings.groups for name in group.species} - {VACANCY}
    fixed = [i for i, name in enumerate(cell.contents) if name not in {"", VACANCY, *movable}]
    kept = fixed or [i for i, name in enumerate(cell.contents) if name != VACANCY]
    species = [cell.contents[i] or "H" for i in kept]
    framework = [name for name in map(element_at, structure) if not fixed or name not in movable]
    # A multiple of the supercell is no ordering of it, unless it repeats a smaller crystal.
    if not framework or len(kept) % len(framework) or (fixed and set(framework) != set(species)):
        return None
    matcher = StructureMatcher(
        **TOLERANCES,
        primitive_cell=False,
        attempt_supercell=True,
        comparator=None if fixed else FrameworkComparator(),
        ignored_species=sorted(movable) if fixed else (),
    )
    template = Structure(cell.crystal.lattice, species, cell.crystal.positions[kept])
    return matcher.get_s2_like_s1(template, structure, include_ignored_species=True)
