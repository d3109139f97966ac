"""Crystals that hold together, told from those whose parts drifted away from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.spaces.crystal.distances import sum_covalent_radii
from invdesign.spaces.crystal.geometry import Crystal, find_bonds

# Atoms up to this far apart hold together; chosen: gaps of van der Waals layers are below (MoS2 3.0, graphite 3.35 Å).
MAX_GAP = 4.5  # Å
GAP_SHARE = 1.5  # of the sum of covalent radii, for large atoms (Cs-Cs 5.3 Å in the metal); chosen


def find_reach(elements: Sequence[str]) -> FloatArray:
    """Distances up to which pairs of `elements` hold together, shape (k, k), Å."""
    return np.maximum(MAX_GAP, GAP_SHARE * sum_covalent_radii(elements))


def is_bound(crystal: Crystal, reach: FloatArray) -> bool:
    """True if all atoms hold together in three dimensions.

    Steps between near atoms must lead from an atom to all others, and to its images along three directions.

    Args:
        crystal: in a reduced cell.
        reach: shape (k, k), distances up to which atoms hold together, Å.
    """
    present = np.unique(crystal.species)
    first, second, offset, distance = find_bonds(crystal, float(reach[np.ix_(present, present)].max()))
    near = distance <= reach[crystal.species[first], crystal.species[second]]
    first, second, offset = first[near], second[near], offset[near]
    reached, cells = _walk(len(crystal), first, second, offset)
    if not reached.all():
        return False
    # A step that closes a loop leads to an image: its offset does not agree with the cells of its ends.
    loops = cells[first] + offset - cells[second]
    return bool(np.linalg.matrix_rank(np.unique(loops, axis=0)) == 3)


def _walk(size: int, first: IntArray, second: IntArray, offset: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Walk from atom 0 along bonds; return which atoms are reached (n,), and in which cells (n, 3)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order

    bonds = csr_array((np.ones(len(first)), (first, second)), shape=(size, size))
    order, before = breadth_first_order(bonds, 0, return_predecessors=True)
    _, where = np.unique(first * size + second, return_index=True)
    steps = {(int(first[bond]), int(second[bond])): offset[bond] for bond in where}
    cells, reached = np.zeros((size, 3)), np.zeros(size, dtype=np.bool_)
    reached[order] = True
    for atom in order[1:].tolist():
        origin = int(before[atom])
        cells[atom] = cells[origin] + steps[origin, atom]
    return reached, cells
