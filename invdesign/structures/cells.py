"""Heights and normals of cells, the cells around them, shortest vectors and nearest points in periodic cells, empty slices."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray

# Å without atoms from which a slice of a cell is a vacuum; chosen: wider than any gap of two solids that a search starts from.
VACUUM_WIDTH = 8.0


def measure_heights(cell: FloatArray) -> FloatArray:
    """Distances between opposite faces of a cell, shape (d,), Å.

    Args:
        cell: shape (d, d), rows in Å; d is 3, or 2 for a cell in a plane.
    """
    heights: FloatArray = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return heights


def find_normal(cell: FloatArray) -> FloatArray:
    """Unit normal of the plane of the first two rows of `cell`, shape (3,)."""
    across = np.cross(cell[0], cell[1])
    normal: FloatArray = across / np.linalg.norm(across)
    return normal


def measure_length_along_normal(cell: FloatArray) -> float:
    """Length of a `cell` along the normal of its first two rows, Å."""
    return abs(float(cell[2] @ find_normal(cell)))


def list_slices(fractions: FloatArray) -> list[tuple[float, float]]:
    """(start, width) of the slices without atoms between successive `fractions` (n,) along an axis, on the circle."""
    ordered = np.sort(fractions % 1.0)
    widths = np.diff(np.append(ordered, ordered[0] + 1.0))
    return list(zip(ordered.tolist(), widths.tolist(), strict=True))


def list_translations(cell: FloatArray, reach: float, beyond: int = 0) -> IntArray:
    """Translations to the cells within a distance of a cell, and some farther ones.

    Args:
        cell: shape (d, d), rows in Å; d is 3, or 2 for a cell in a plane.
        reach: Å from the faces of the cell.
        beyond: further cells on each side, where atoms lie outside of their own cell.

    Returns:
        Shape (m, d), whole numbers, the cell itself among them.
    """
    most = np.ceil(reach / measure_heights(cell)).astype(np.int64) + beyond
    axes = [np.arange(-n, n + 1) for n in most]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(cell))


def shorten_vectors(vectors: FloatArray, cell: FloatArray) -> FloatArray:
    """Shorten vectors by whole lattice vectors, to at most half of each along the cell's axes.

    Args:
        vectors: shape (…, d), Å.
        cell: shape (d, d), rows in Å.
    """
    fractions = vectors @ np.linalg.inv(cell)
    shortest: FloatArray = (fractions - np.rint(fractions)) @ cell
    return shortest


def match_points(points: FloatArray, onto: FloatArray, cell: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find the nearest of the points `onto` for each point, images of a cell included.

    Args:
        points: shape (p, 3), Å.
        onto: shape (q, 3), Å.
        cell: shape (3, 3), rows in Å.

    Returns:
        Its number (p,), and the distance in Å (p,).
    """
    squares = (shorten_vectors(points[:, None] - onto, cell) ** 2).sum(axis=2)
    nearest: IntArray = squares.argmin(axis=1)
    distance: FloatArray = np.sqrt(squares[np.arange(len(points)), nearest])
    return nearest, distance


def measure_shortest_translation(cell: FloatArray) -> float:
    """Distance of a point to its nearest image, Å.

    Args:
        cell: shape (3, 3), rows in Å.
    """
    reach = float(np.linalg.norm(cell, axis=1).min())
    lengths = np.linalg.norm(list_translations(cell, reach) @ cell, axis=1)
    return float(lengths[lengths > 0.0].min())
