"""Pareto arithmetic on minimised values: non-dominated sort, front, hypervolume (by moocore)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def _checked(values: FloatArray) -> FloatArray:
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"values must have shape (n, m), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError("values must not contain NaN: leave out trials whose objectives are unknown")
    return values


def ranks(values: FloatArray) -> IntArray:
    """Rank of each row in the non-dominated sort.

    Args:
        values: shape (n, m), all to be minimised.

    Returns:
        Shape (n,); 0 is the Pareto front.

    Source:
        Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002).
    """
    values = _checked(values)
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if values.shape[1] == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].astype(np.int64)
    import moocore

    return np.asarray(moocore.pareto_rank(values), dtype=np.int64)


def front(values: FloatArray) -> IntArray:
    """Indices, ascending, of the rows no other row dominates; equal rows are all kept. `values` as in `ranks`."""
    values = _checked(values)
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if values.shape[1] == 1:
        return np.flatnonzero(values[:, 0] == values[:, 0].min())
    import moocore

    return np.flatnonzero(moocore.is_nondominated(values, keep_weakly=True))


def hypervolume(values: FloatArray, reference: FloatArray) -> float:
    """Volume dominated by `values` (n, m) and bounded by `reference` (m,); 0 where nothing beats the reference."""
    values = _checked(values)
    values = values[(values < reference).all(axis=1)]
    if len(values) == 0:
        return 0.0
    if values.shape[1] == 1:
        return float(reference[0] - values.min())
    import moocore

    return float(moocore.hypervolume(values, ref=reference))
