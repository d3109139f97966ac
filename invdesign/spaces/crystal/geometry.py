"""Geometry of a crystal as plain arrays: reduced cells, wrapped positions, distances of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray

DECIMALS = 6  # of cells (Å) and fractional positions in a genome; chosen: far below any force's resolution
SAME_METRIC = 1e-4  # relative difference of metrics below which a cell counts as reduced already (chosen)


@dataclass(frozen=True, slots=True)
class Crystal:
    """A crystal whose atoms stand in the order of their species.

    Attributes:
        cell: shape (3, 3), vectors as rows, Å.
        species: shape (n,), ascending; numbers of elements in the order of the space (by symbol).
        positions: shape (n, 3), fractional.
    """

    cell: FloatArray
    species: IntArray
    positions: FloatArray

    def __len__(self) -> int:
        return len(self.species)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return abs(float(np.linalg.det(self.cell)))

    def count_species(self, kinds: int) -> IntArray:
        """Number of atoms of each of `kinds` species, shape (kinds,)."""
        counts: IntArray = np.bincount(self.species, minlength=kinds)
        return counts


def make_crystal(cell: FloatArray, species: Sequence[int] | IntArray, positions: FloatArray) -> Crystal:
    """Make a crystal from atoms in any order; positions are wrapped into the cell.

    Args:
        cell: shape (3, 3), vectors as rows, Å.
        species: shape (n,), numbers of elements.
        positions: shape (n, 3), fractional.
    """
    kinds = np.asarray(species, dtype=np.int64)
    order = np.argsort(kinds, kind="stable")
    wrapped = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    wrapped = wrapped - np.floor(wrapped)
    return Crystal(np.asarray(cell, dtype=np.float64), kinds[order], wrapped[order])


def to_lower_triangle(crystal: Crystal) -> Crystal:
    """Turn a crystal so that its cell is lower triangular with a positive diagonal.

    A left-handed cell is inverted together with the positions, so that the crystal stays what it is.
    """
    sign = 1.0 if np.linalg.det(crystal.cell) > 0 else -1.0
    cell: FloatArray = np.linalg.cholesky(crystal.cell @ crystal.cell.T).astype(np.float64)
    return make_crystal(cell, crystal.species, sign * crystal.positions)


def reduce_cell(crystal: Crystal) -> Crystal:
    """Describe a crystal in its Niggli-reduced cell, turned to a lower triangle.

    A cell that is reduced to within `SAME_METRIC` is kept, so that rounding never changes the choice of vectors.

    Source:
        Grosse-Kunstleve, Sauter & Adams, Acta Crystallogr. A 60, 1 (2004), through spglib.
    """
    import spglib

    reduced = spglib.niggli_reduce(crystal.cell)
    if reduced is None:
        return to_lower_triangle(crystal)
    metric, found = crystal.cell @ crystal.cell.T, reduced @ reduced.T
    if np.abs(metric - found).max() <= SAME_METRIC * np.abs(metric).max():
        return to_lower_triangle(crystal)
    positions = crystal.positions @ crystal.cell @ np.linalg.inv(reduced)
    return to_lower_triangle(make_crystal(reduced, crystal.species, positions))


def round_crystal(crystal: Crystal) -> Crystal:
    """Round cell and positions to `DECIMALS`, and sort the atoms of each species by position."""
    cell = np.round(crystal.cell, DECIMALS) + 0.0
    positions = np.round(crystal.positions, DECIMALS)
    positions = np.where(positions >= 1.0, 0.0, positions) + 0.0
    order = np.lexsort((positions[:, 2], positions[:, 1], positions[:, 0], crystal.species))
    return Crystal(cell, crystal.species[order], positions[order])


def find_neighbours(crystal: Crystal, reach: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Find pairs of atoms within `reach` (Å), each in both directions, self-images included.

    Returns:
        For p pairs: first (p,), second (p,), distance in Å (p,).
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray(crystal.positions @ crystal.cell)
    first, second, _, distance = find_points_in_spheres(
        all_coords=points,
        center_coords=points,
        r=float(reach),
        pbc=np.array([1, 1, 1], dtype=np.int64),
        lattice=np.ascontiguousarray(crystal.cell),
        tol=1e-8,
    )
    apart = distance > 1e-8
    return first[apart], second[apart], distance[apart]


def has_room(crystal: Crystal, shortest: FloatArray) -> bool:
    """True if no two atoms are closer than `shortest` (k, k) allows for their species, Å."""
    reach = float(shortest.max())
    # Where atoms stand on each other their distance is 0, which `find_neighbours` leaves out.
    first, second, distance = find_neighbours(crystal, reach)
    if (distance < shortest[crystal.species[first], crystal.species[second]]).any():
        return False
    apart = crystal.positions[:, None, :] - crystal.positions[None, :, :]
    apart -= np.round(apart)
    overlap = (np.abs(apart).max(axis=2) < 1e-7) & ~np.eye(len(crystal), dtype=bool)
    return not overlap.any()
