"""Permutations of the varying sites of a bicrystal, voids included, by the symmetry of the pair."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.interface.cell import SiteSymmetry
from invdesign.spaces.interface.sites import VaryingSites
from invdesign.spaces.interface.table import SiteTable
from invdesign.structures.bicrystals import Bicrystal
from invdesign.structures.bicrystals.lattices import number_cosets
from invdesign.structures.cells import match_points

SAME_PLACE = (
    0.3  # Å; images of a void that are nearer are one, as the tolerance of its search allows (chosen)
)


def find_site_symmetry(bicrystal: Bicrystal, table: SiteTable, sites: VaryingSites) -> SiteSymmetry:
    """Find how the operations of a bicrystal permute its varying sites.

    Args:
        bicrystal: of two slabs.
        table: all of its sites.
        sites: those that vary.
    """
    pair = bicrystal.symmetry
    n = len(sites)
    sources = np.tile(np.arange(n, dtype=np.int64), (len(pair.rotations), 1))
    usable = np.zeros(len(pair.rotations), dtype=np.bool_)
    to_rows = np.linalg.inv(pair.displacement_cell)
    for number, (rotation, row) in enumerate(zip(pair.rotations, pair.permutations, strict=True)):
        if pair.swaps[number]:
            continue
        turn = to_rows @ rotation.T @ pair.displacement_cell
        targets = _extend_to_voids(bicrystal, table, row, turn)
        found = None if targets is None else _restrict(targets, sites)
        if found is not None:
            sources[number], usable[number] = found, True
    moves = np.tile(np.arange(n, dtype=np.int64), (len(pair.moves), 1))
    classes = number_cosets(pair.supercell, pair.moves)
    for place, row in zip(classes.tolist(), pair.move_permutations, strict=True):
        targets = _extend_to_voids(bicrystal, table, row, np.eye(2))
        found = None if targets is None else _restrict(targets, sites)
        if found is None:
            raise ValueError(f"{bicrystal.match.name}: its lattice does not map the voids onto each other")
        moves[place] = found
    return SiteSymmetry(usable, sources, moves, pair.supercell)


def _extend_to_voids(
    bicrystal: Bicrystal, table: SiteTable, row: IntArray, turn: FloatArray
) -> IntArray | None:
    """Site to which each of the m sites moves.

    None where a void comes to no void.

    Args:
        bicrystal: of two slabs.
        table: all of its sites.
        row: shape (n,), the same for atoms alone.
        turn: shape (2, 2), acts on positions in the plane as rows.
    """
    targets = np.concatenate([row, np.arange(len(row), len(table.natives))])
    cell = np.zeros((3, 3))
    cell[:2, :2], cell[2, 2] = bicrystal.match.cell, 1e3  # images in the plane alone
    for film in (False, True):
        voids = np.flatnonzero((np.arange(len(targets)) >= len(row)) & (table.is_film == film))
        if not len(voids):
            continue
        anchor = int(np.flatnonzero(table.is_film == film)[0])
        moved = table.positions[voids].copy()
        start = table.positions[anchor, :2] @ turn
        moved[:, :2] = moved[:, :2] @ turn + table.positions[row[anchor], :2] - start
        nearest, distance = match_points(moved, table.positions[voids], cell)
        if distance.max() > SAME_PLACE or len(set(nearest.tolist())) < len(voids):
            return None
        targets[voids] = voids[nearest]
    return targets


def _restrict(targets: IntArray, sites: VaryingSites) -> IntArray | None:
    """Source of each varying site, shape (n,).

    None where a group of sites is not mapped onto itself.
    """
    places = {site: place for place, site in enumerate(sites.places.tolist())}
    sources = np.empty(len(sites), dtype=np.int64)
    for group in sites.groups:
        for place in range(group.first, group.stop):
            target = places.get(int(targets[sites.places[place]]))
            if target is None or not group.first <= target < group.stop:
                return None
            sources[target] = place
    return sources
