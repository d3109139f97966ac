"""Corners of the Voronoi cells of a crystal's atoms: its empty places.

Source:
    V. A. Blatov and A. P. Shevchenko, Acta Crystallogr. A 59, 34 (2003).
"""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.cells import list_translations


def list_atom_images(cell: FloatArray, fractions: FloatArray, reach: float) -> FloatArray:
    """Positions of the atoms of a cell and of the cells around it.

    Args:
        cell: shape (3, 3), rows in Å.
        fractions: shape (n, 3), fractional positions.
        reach: Å around the cell.

    Returns:
        Shape (m n, 3), Å: all atoms in their order, cell after cell.
    """
    images: FloatArray = (np.mod(fractions, 1.0) + list_translations(cell, reach)[:, None, :]).reshape(
        -1, 3
    ) @ cell
    return images


def find_voronoi_corners(cell: FloatArray, images: FloatArray) -> FloatArray:
    """Find the corners within a cell, which have four or more atoms at one distance and none nearer.

    Args:
        cell: shape (3, 3), rows in Å.
        images: of `list_atom_images`, with a reach wider than any void.

    Returns:
        Shape (c, 3), Å.
    """
    from scipy.spatial import Voronoi

    corners = Voronoi(images).vertices
    fractions = corners @ np.linalg.inv(cell)
    inside: FloatArray = corners[((fractions >= -1e-6) & (fractions < 1.0 - 1e-6)).all(axis=1)]
    return inside
