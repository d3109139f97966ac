"""Ridge regression with leave-one-out predictions in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Ridge regression of n rows.

    Attributes:
        weights: shape (d,).
        offset: mean of the values.
        penalty: the chosen one, on the scale of the sum of squares of a column.
        left_out: shape (n,), leave-one-out predictions of the rows.
    """

    weights: FloatArray
    offset: float
    penalty: float
    left_out: FloatArray


def solve_ridge(design: FloatArray, t: FloatArray, penalties: Iterable[float]) -> RidgeSolution:
    """Solve ridge regression with the penalty of least leave-one-out error.

    Args:
        design: shape (n, d), centred columns.
        t: shape (n,), values.
        penalties: to choose from.

    Source:
        Golub, Heath & Wahba, Technometrics 21, 215 (1979): left-out residuals from the hat matrix.
    """
    n = len(t)
    u, s, vt = np.linalg.svd(design, full_matrices=False)
    projected, offset = u.T @ t, float(t.mean())
    best_error, best_penalty, best = np.inf, 0.0, np.full(n, offset)
    for penalty in penalties:
        shrink = s**2 / (s**2 + penalty)
        leverage = np.minimum((u**2) @ shrink + 1.0 / n, 1.0 - 1e-6)
        left_out = t - (t - offset - u @ (shrink * projected)) / (1.0 - leverage)
        error = float(np.mean((left_out - t) ** 2))
        if error < best_error:
            best_error, best_penalty, best = error, float(penalty), left_out
    weights = vt.T @ (s / (s**2 + best_penalty) * projected)
    return RidgeSolution(weights, offset, best_penalty, best)
