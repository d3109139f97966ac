"""Crystals that hold together, told from those whose parts drifted away from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.distances import sum_covalent_radii
from invdesign.structures.geometry import Crystal, find_bonds

# Atoms up to this far apart hold together. Chosen: 598 of 600 stable crystals of MP-20 do, layers included (gaps of 3 to 4.5 Å).
MAX_GAP = 5.0  # Å
SHORT_STEP = 3.2  # Å, of a first try (chosen)
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
    farthest = float(reach[np.ix_(present, present)].max())
    # Short steps suffice in most crystals, and there are far fewer of them.
    return any(_spans_space(crystal, np.minimum(reach, limit)) for limit in (SHORT_STEP, farthest))


def _spans_space(crystal: Crystal, reach: FloatArray) -> bool:
    """True if steps up to `reach` (k, k) lead everywhere."""
    size = len(crystal)
    first, second, offset, distance = find_bonds(crystal, float(reach.max()))
    near = distance <= reach[crystal.species[first], crystal.species[second]]
    first, second, offset = first[near], second[near], offset[near]
    cells = _walk(size, first, second, offset)
    if cells is None:
        return False
    # A step that closes a loop leads to an image: its offset does not agree with the cells of its ends.
    loops = cells[first] + offset - cells[second]
    # Of whole numbers, so this determinant is one too: 0 unless three loops are independent.
    return bool(np.linalg.det(loops.T @ loops) > 0.5)


def _walk(size: int, first: IntArray, second: IntArray, offset: FloatArray) -> FloatArray | None:
    """Walk from atom 0 along steps; return the cells in which atoms are reached, shape (n, 3).

    Args:
        size: number of atoms, n.
        first, second: shape (p,), atoms of each step.
        offset: shape (p, 3), cell of the second atom relative to the first's.

    Returns:
        None if an atom is not reached.
    """
    links: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for step, (start, end) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        links[start].append((end, step))
    cells, reached, waiting = np.zeros((size, 3)), {0}, [0]
    for atom in waiting:
        for end, step in links[atom]:
            if end not in reached:
                cells[end] = cells[atom] + offset[step]
                reached.add(end)
                waiting.append(end)
    return cells if len(reached) == size else None
