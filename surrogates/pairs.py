"""Pairs of atoms within reach of each other, images of the cell included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray

SELF_DISTANCE = 1e-8  # Å: an atom this close is the atom itself; chosen


def find_pairs(
    positions: FloatArray,
    cell: FloatArray,
    reach: float,
    pbc: Sequence[bool] | NDArray[np.bool_] = (True,) * 3,
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Find all pairs of atoms within a distance, each in both directions.

    An atom is no pair with itself, but is one with its periodic images.

    Args:
        positions: shape (n, 3), Å.
        cell: shape (3, 3), rows in Å.
        reach: largest distance, Å.
        pbc: shape (3,), the directions that are periodic.

    Returns:
        For p pairs: the first atom (p,), the second (p,), the translation of the second in cells (p, 3), and
            the distance in Å (p,).
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray(positions, dtype=np.float64)
    periodic = np.ascontiguousarray(pbc, dtype=np.int64)
    rows = np.ascontiguousarray(cell, dtype=np.float64)
    first, second, image, distance = find_points_in_spheres(
        points, points, reach, periodic, rows, SELF_DISTANCE
    )
    other = (first != second) | (np.abs(image).sum(axis=1) > 0)
    return first[other], second[other], image[other], distance[other]
