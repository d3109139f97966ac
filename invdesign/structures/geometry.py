"""Geometry of a crystal as plain arrays: reduced cells, wrapped positions, distances of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.structures.symmetry import call_spglib

DECIMALS = 6  # of cells (Å) and fractional positions in a genome; chosen: far below any force's resolution
SAME_METRIC = 1e-4  # relative difference of metrics below which a cell counts as reduced already (chosen)
MAX_STEPS = 100  # of the reduction of a cell; chosen: some 5 suffice
OWN_PLACE = 1e-8  # Å, distance below which a point is the atom itself
_PERIODIC: IntArray = np.array([1, 1, 1], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Crystal:
    """A crystal whose atoms stand in the order of their species.

    Crystals of the same arrays are equal, so that what is found of one can be cached.

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

    def _to_bytes(self) -> tuple[bytes, bytes, bytes]:
        return self.cell.tobytes(), self.species.tobytes(), self.positions.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crystal) and self._to_bytes() == other._to_bytes()

    def __hash__(self) -> int:
        return hash(self._to_bytes())

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


def displace_atoms(crystal: Crystal, size: float, rng: Rng) -> Crystal:
    """Displace all atoms by normal steps of standard deviation `size` (Å) in each direction."""
    moves = rng.normal(0.0, size, crystal.positions.shape)
    positions = crystal.positions + moves @ np.linalg.inv(crystal.cell)
    return make_crystal(crystal.cell, crystal.species, positions)


def to_lower_triangle(crystal: Crystal) -> Crystal:
    """Turn a crystal so that its cell is lower triangular with a positive diagonal.

    A left-handed cell is inverted together with the positions, so that the crystal stays what it is.
    """
    sign = 1.0 if np.linalg.det(crystal.cell) > 0 else -1.0
    cell: FloatArray = np.linalg.cholesky(crystal.cell @ crystal.cell.T).astype(np.float64)
    return make_crystal(cell, crystal.species, sign * crystal.positions)


def is_reduced(cell: FloatArray) -> bool:
    """True if a cell is reduced in Niggli's sense to within `SAME_METRIC`.

    The special conditions for equal lengths and products are left out: rounding decides them.

    Source:
        International Tables for Crystallography A, section 3.1.3: main conditions of reduced cells.
    """
    ((aa, ab, ac), (_, bb, bc), (_, _, cc)) = (cell @ cell.T).tolist()
    slack = SAME_METRIC * cc
    if (
        aa > bb + slack
        or bb > cc + slack
        or 2 * abs(bc) > bb + slack
        or 2 * max(abs(ab), abs(ac)) > aa + slack
    ):
        return False
    if min(ab, ac, bc) >= -slack:
        return True
    return bool(max(ab, ac, bc) <= slack and aa + bb + 2 * (ab + ac + bc) >= -slack)


def reduce_cell(crystal: Crystal) -> Crystal:
    """Describe a crystal in its Niggli-reduced cell, turned to a lower triangle.

    A cell that is reduced to within `SAME_METRIC` is kept, so that rounding never changes the choice of vectors.

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume, or cannot be reduced.

    Source:
        Grosse-Kunstleve, Sauter & Adams, Acta Crystallogr. A 60, 1 (2004), through spglib.
    """
    reduced = reduce_vectors(crystal.cell)
    if reduced is crystal.cell:
        return to_lower_triangle(crystal)
    positions = crystal.positions @ crystal.cell @ np.linalg.inv(reduced)
    return to_lower_triangle(make_crystal(reduced, crystal.species, positions))


def reduce_vectors(cell: FloatArray) -> FloatArray:
    """Niggli-reduced vectors of a cell's lattice as rows, not turned; `cell` (3, 3) itself if they are reduced.

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume, or cannot be reduced.
    """
    if is_reduced(cell):
        return cell
    reduced: FloatArray | None = call_spglib("niggli_reduce", cell)
    if reduced is None or not is_reduced(reduced):  # it does not end where lengths are nearly equal
        return _reduce_by_steps(cell)
    return reduced


def _reduce_by_steps(cell: FloatArray) -> FloatArray:
    """Reduce a cell (3, 3) by steps that shorten a vector, until the main conditions hold.

    Raises:
        numpy.linalg.LinAlgError: they do not hold after `MAX_STEPS`: the cell has no volume, or nearly none.
    """
    found = np.array(cell, dtype=np.float64)
    for _ in range(MAX_STEPS):
        found = _align_signs(found[np.argsort(np.linalg.norm(found, axis=1), kind="stable")])
        if is_reduced(found):
            return found
        metric = found @ found.T
        # Type II: the diagonal of the cell is shorter than c.
        if metric[0, 0] + metric[1, 1] + 2 * (metric[0, 1] + metric[0, 2] + metric[1, 2]) < 0:
            found[2] = found.sum(axis=0)
        for short, long in ((0, 1), (0, 2), (1, 2)):
            found[long] -= np.round(found[long] @ found[short] / (found[short] @ found[short])) * found[short]
    raise np.linalg.LinAlgError("the cell cannot be reduced")


def _align_signs(cell: FloatArray) -> FloatArray:
    """Invert vectors of a cell (3, 3) so that its products are all positive, or none is."""
    bc, ac, ab = cell[1] @ cell[2], cell[0] @ cell[2], cell[0] @ cell[1]
    choices = [np.array(signs) for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))]
    products = [(b * c * bc, a * c * ac, a * b * ab) for a, b, c in choices]
    worst = [min(*own, 0.0) if bc * ac * ab > 0 else -max(*own, 0.0) for own in products]
    aligned: FloatArray = cell * choices[int(np.argmax(worst))][:, None]
    return aligned


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
        For p pairs: first (p,), second (p,), distance in Å (p,), 0 where two atoms coincide.
    """
    first, second, _, distance = _find_points(crystal, reach)
    apart = _drop_own_places(first, second, distance)
    return first[apart], second[apart], distance[apart]


def find_bonds(crystal: Crystal, reach: float) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Find pairs of atoms within `reach` (Å) with the cells of the second atoms.

    Returns:
        For p pairs, in both directions: first (p,), second (p,), offset of the second atom in cells (p, 3), distance in Å (p,).
    """
    first, second, offset, distance = _find_points(crystal, reach)
    apart = _drop_own_places(first, second, distance)
    return first[apart], second[apart], offset[apart], distance[apart]


def _find_points(crystal: Crystal, reach: float) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Pairs as `find_bonds`, with each atom in its own place as well."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray(crystal.positions @ crystal.cell)
    found: tuple[IntArray, IntArray, FloatArray, FloatArray] = find_points_in_spheres(
        all_coords=points,
        center_coords=points,
        r=float(reach),
        pbc=_PERIODIC,
        lattice=np.ascontiguousarray(crystal.cell),
        tol=OWN_PLACE,
    )
    return found


def _drop_own_places(first: IntArray, second: IntArray, distance: FloatArray) -> BoolArray:
    """False for atoms in their own place: another atom in that place is a pair, shape (p,)."""
    apart: BoolArray = (distance > OWN_PLACE) | (first != second)
    return apart


def find_closest_pair(crystal: Crystal, shortest: FloatArray) -> tuple[int, int, float] | None:
    """Find the pair of atoms farthest below its smallest distance.

    Args:
        crystal: in a reduced cell.
        shortest: shape (k, k), smallest distances by species, Å.

    Returns:
        Numbers of the atoms and their distance, Å; None if no pair is too close.
    """
    edges = np.linalg.norm(crystal.cell, axis=1)
    limits = np.diag(shortest)[crystal.species]
    if edges.min() < limits.max():  # before neighbours are sought: a flat cell would have too many
        atom = int(limits.argmax())
        return atom, atom, float(edges.min())
    first, second, distance = find_neighbours(crystal, float(shortest.max()))
    share = distance / shortest[crystal.species[first], crystal.species[second]]
    if len(share) and share.min() < 1.0:
        worst = int(share.argmin())
        return int(first[worst]), int(second[worst]), float(distance[worst])
    return None
