"""Heights of cells, the cells around them, and nearest points in periodic cells."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray


def measure_heights(cell: FloatArray) -> FloatArray:
    """Distances between opposite faces of a cell, shape (3,), Å.

    Args:
        cell: shape (3, 3), rows in Å.
    """
    heights: FloatArray = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return heights


def list_translations(cell: FloatArray, reach: float) -> IntArray:
    """Translations to the cells within a distance of a cell, and some farther ones.

    Args:
        cell: shape (3, 3), rows in Å.
        reach: Å from the faces of the cell.

    Returns:
        Shape (m, 3), whole numbers, the cell itself among them.
    """
    most = np.ceil(reach / measure_heights(cell)).astype(np.int64)
    axes = [np.arange(-n, n + 1) for n in most]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def match_points(points: FloatArray, onto: FloatArray, cell: FloatArray) -> tuple[IntArray, FloatArray]:
    """Find the nearest of the points `onto` for each point, images of a cell included.

    Args:
        points: shape (p, 3), Å.
        onto: shape (q, 3), Å.
        cell: shape (3, 3), rows in Å.

    Returns:
        Its number (p,), and the distance in Å (p,).
    """
    apart = (points[:, None] - onto) @ np.linalg.inv(cell)
    apart -= np.rint(apart)
    squares = ((apart @ cell) ** 2).sum(axis=2)
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
