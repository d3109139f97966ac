"""Limits on cost: training rows of a model, and when it is refitted."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.learning.data import Rows

ALWAYS_REFIT_BELOW = 30  # rows; below, every new row is a reason for a fit (chosen)
REFIT_GROWTH = 0.05  # share of new rows that is a reason for a fit (chosen)
SHARE_BEST = 0.3  # of the kept rows, for the best (chosen)
SHARE_NEAR = 0.3  # of the kept rows, for the nearest to the centre, or the newest without one (chosen)
SHARE_NEWEST = 0.1  # of the kept rows, for the newest; the rest is spread over all others (chosen)
# Rows among which a spread is sought: its cost is their number times the kept rows (chosen)
MOST_SPREAD_ROWS = 4000


def is_refit_due(n_now: int, n_at_last_fit: int) -> bool:
    """True if hyperparameters are to be fitted anew.

    With every new row while rows are few; then each time their number has grown by a twentieth, so that the number of
    fits grows with its logarithm.

    Args:
        n_now: rows now.
        n_at_last_fit: rows at the last fit; 0 for none.
    """
    if n_now < n_at_last_fit or n_at_last_fit < 1:
        return True
    if n_now < ALWAYS_REFIT_BELOW:
        return n_now > n_at_last_fit
    return n_now - n_at_last_fit >= max(1.0, REFIT_GROWTH * n_at_last_fit)


def select_rows(rows: Rows, order: IntArray, most: int, centre: FloatArray | None = None) -> IntArray:
    """Select the training rows of a model, `most` of them at most.

    The best, the newest, those nearest to where the search is, and a spread of all others, so that no region is
    forgotten. Where rows of several sources are given, each has a share: at least half of the places are for source 0.

    Args:
        rows: n rows, oldest first.
        order: positions from best to worst.
        most: number of rows that may stay.
        centre: shape (d,), inputs of the best point, or (k, d) of several; None keeps the newest instead.

    Returns:
        Ascending positions, shape (min(n, most),).
    """
    n = len(rows)
    if n <= most:
        return np.arange(n)
    own, others = np.flatnonzero(rows.source == 0), np.flatnonzero(rows.source != 0)
    places = min(len(own), max(most - len(others), (most + 1) // 2))
    x = scale_to_ranges(rows.x)
    rank = np.full(n, n, dtype=np.int64)
    rank[order] = np.arange(len(order))
    middle = None if centre is None else np.atleast_2d(scale_to_ranges(rows.x, np.atleast_2d(centre)))
    kept = [
        _select_from_source(x, rank, own, places, middle),
        _select_from_source(x, rank, others, min(len(others), most - places), middle),
    ]
    return np.sort(np.concatenate(kept))


def _select_from_source(
    x: FloatArray, rank: IntArray, candidates: IntArray, most: int, centre: FloatArray | None
) -> IntArray:
    """Select rows of one source by merit, age, nearness and spread."""
    if len(candidates) <= most:
        return candidates
    best = candidates[np.argsort(rank[candidates], kind="stable")]
    newest = candidates[::-1]
    near = newest
    if centre is not None:
        away = squared_distances(x[candidates], centre).min(axis=1)
        near = candidates[np.argsort(away, kind="stable")]
    taken = np.zeros(len(x), dtype=bool)
    total = 0
    for line, share in ((best, SHARE_BEST), (newest, SHARE_NEWEST), (near, SHARE_NEAR)):
        fresh = line[~taken[line]][: round(share * most)]
        taken[fresh] = True
        total += len(fresh)
    rest = candidates[~taken[candidates]]
    return np.concatenate(
        [candidates[taken[candidates]], select_farthest(x, candidates[taken[candidates]], rest, most - total)]
    )


def select_farthest(x: FloatArray, kept: IntArray, rest: IntArray, count: int) -> IntArray:
    """Select rows one by one, each the farthest from all kept before.

    Args:
        x: shape (n, d), inputs of all rows.
        kept: positions kept already.
        rest: positions to select from.
        count: number of rows wanted.

    Source:
        Gonzalez, Theor. Comput. Sci. 38, 293 (1985).
    """
    if len(rest) > MOST_SPREAD_ROWS:
        rest = rest[np.linspace(0, len(rest) - 1, MOST_SPREAD_ROWS).astype(np.int64)]
    away = np.full(len(rest), np.inf)
    for first in range(0, len(kept), 500):
        part = squared_distances(x[rest], x[kept[first : first + 500]])
        away = np.minimum(away, part.min(axis=1))
    found = np.empty(min(count, len(rest)), dtype=np.int64)
    for place in range(len(found)):
        chosen = int(np.argmax(away))
        found[place] = rest[chosen]
        away = np.minimum(away, ((x[rest] - x[rest[chosen]]) ** 2).sum(axis=1))
        away[chosen] = -1.0
    return found


def scale_to_ranges(x: FloatArray, of: FloatArray | None = None) -> FloatArray:
    """Scale rows to column ranges of 1, without NaN.

    Args:
        x: shape (n, d), rows that set the ranges.
        of: shape (q, d), rows to scale; None scales `x`.
    """
    finite = np.where(np.isfinite(x), x, np.nan)
    known = np.isfinite(finite).any(axis=0)
    low = np.where(known, np.nanmin(np.where(known, finite, 0.0), axis=0), 0.0)
    high = np.where(known, np.nanmax(np.where(known, finite, 0.0), axis=0), 0.0)
    span = np.where(high - low > 1e-12 * (1.0 + np.abs(high)), high - low, np.inf)
    values = x if of is None else of
    return np.where(np.isfinite(values), (values - low) / span, 0.5)


def squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Squared distances (n, m) between rows `a` (n, d) and `b` (m, d)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    distances: FloatArray = np.maximum(squares, 0.0)
    return distances


def describe_limit(most: int) -> str:
    """Note for the user that models learn from `most` rows only."""
    return (
        f"models learn from {most} rows at most from now on: the best, the newest, those near the best, "
        "and a spread of all others"
    )
