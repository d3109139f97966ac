"""Pareto arithmetic on minimised values: non-dominated sort, front, hypervolume (by moocore)."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray


def _check_values(values: FloatArray) -> FloatArray:
    """Contiguous copy of `values`, refused unless its shape is (n, m) and it has no NaN."""
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

    Examples:
        >>> ranks(np.array([[1.0, 4.0], [2.0, 3.0], [3.0, 5.0]])).tolist()
        [0, 0, 1]
    """
    values = _check_values(values)
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if values.shape[1] == 1:
        return np.unique(values[:, 0], return_inverse=True)[1].astype(np.int64)
    import moocore

    return np.asarray(moocore.pareto_rank(values), dtype=np.int64)


def front(values: FloatArray) -> IntArray:
    """Indices, ascending, of the rows that no other row dominates.

    Equal rows are all kept.

    Args:
        values: shape (n, m), all to be minimised.

    Examples:
        >>> front(np.array([[1.0, 4.0], [2.0, 3.0], [3.0, 5.0]])).tolist()
        [0, 1]
    """
    values = _check_values(values)
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if values.shape[1] == 1:
        return np.flatnonzero(values[:, 0] == values[:, 0].min())
    import moocore

    return np.flatnonzero(moocore.is_nondominated(values, keep_weakly=True))


MOST_COMPARED_ROWS = 256  # new rows that are compared with a front one by one; more are sorted (chosen)


def extend_front(members: FloatArray, new: FloatArray) -> IntArray:
    """Indices, ascending, of the front of a known front and new rows together.

    The result is that of `front` on both tables stacked, at less cost where `new` is short.

    Args:
        members: shape (k, m), the known front: no row dominates another.
        new: shape (n, m).

    Examples:
        >>> extend_front(np.array([[1.0, 4.0], [2.0, 3.0]]), np.array([[1.5, 2.0]])).tolist()
        [0, 2]
    """
    union = np.concatenate([_check_values(members), _check_values(new)])
    if len(new) > MOST_COMPARED_ROWS or len(members) == 0:
        return front(union)
    kept = np.ones(len(union), dtype=bool)
    columns = np.asfortranarray(union)  # the comparisons below go column by column
    # Each new row meets the rows before it. Equal rows are no worse and no better, and both stay.
    for row in range(len(members), len(union)):
        point, earlier = union[row], columns[:row]
        no_worse, no_better = kept[:row].copy(), kept[:row].copy()
        for column, value in zip(earlier.T, point, strict=True):
            no_worse &= column <= value
            no_better &= column >= value
        if (no_worse & ~no_better).any():
            kept[row] = False
        else:
            kept[:row] &= ~no_better | no_worse
    return np.flatnonzero(kept)


def hypervolume(values: FloatArray, reference: FloatArray) -> float:
    """Volume dominated by `values` (n, m) and bounded by `reference` (m,).

    It is 0 where no row is better than the reference in all columns.

    Examples:
        >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
        3.0
    """
    values = _check_values(values)
    values = values[(values < reference).all(axis=1)]
    if len(values) == 0:
        return 0.0
    if values.shape[1] == 1:
        return float(reference[0] - values.min())
    import moocore

    return float(moocore.hypervolume(values, ref=reference))


REFERENCE_MARGIN = 0.1  # distance of the default reference point from the worst values, in ranges (chosen)


def reference_point(best: FloatArray, worst: FloatArray) -> FloatArray:
    """Default reference point of a hypervolume: a tenth of the range beyond the worst values.

    Args:
        best, worst: shape (m,), extremes of all feasible trials, minimised.

    Returns:
        Shape (m,); every trial is better than it in every objective, so that each member of the front counts.

    Source:
        Ishibuchi et al., Evol. Comput. 26, 411 (2018): a reference point slightly worse than the nadir point.

    Examples:
        >>> reference_point(np.array([0.0, 1.0]), np.array([2.0, 11.0])).tolist()
        [2.2, 12.0]
    """
    span = worst - best
    return worst + REFERENCE_MARGIN * np.where(span > 0, span, np.maximum(np.abs(worst), 1.0))


def crowding_distance(values: FloatArray) -> FloatArray:
    """Crowding distance of each row of one front, shape (n,); infinite at its ends.

    Args:
        values: shape (n, m), minimised.

    Source:
        Deb et al., IEEE Trans. Evol. Comput. 6, 182 (2002), section III B.

    Examples:
        >>> crowding_distance(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])).tolist()
        [inf, 2.0, inf]
    """
    n = len(values)
    distance = np.zeros(n)
    for column in values.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0.0 and n > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
