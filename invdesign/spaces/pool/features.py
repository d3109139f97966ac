"""Rows of a pool as points of the unit cube, with nearest-row search."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray

Scale = Literal["range", "ranks"]

MAX_EXACT_ROWS = 20_000  # chosen; in larger pools a found row may be up to twice as far as the nearest
GRID_STEPS = 2.0**40  # chosen; steps of the unit interval that count as different
TIE = "tie"
TIE_WEIGHT = 2.0**-10  # chosen; weight of the tie in distances, a power of 2 so that scaling is exact


class Points:
    """Points of n rows in the unit cube.

    Columns that are constant are left out. Rows that agree in all others are told apart by one more column, their
    number among their equals: it is there only where such rows are, or where no other column is.

    Attributes:
        names: of the columns, the tie's included.
        columns: their numbers among the raw columns, the tie not counted.
        low: lowest value of each column before scaling.
        high: highest value of each column before scaling.
        width: number of features, the tie not counted unless it is the only column.
    """

    def __init__(self, raw: FloatArray, names: list[str], scale: Scale) -> None:
        """Scale raw features to the unit interval.

        Args:
            raw: shape (n, d), finite; n of 1 or more.
            names: of the d columns.
            scale: by lowest and highest value, or by ranks.
        """
        low, high = raw.min(axis=0, initial=np.inf), raw.max(axis=0, initial=-np.inf)
        varied = np.flatnonzero(low < high)
        self.columns: list[int] = varied.tolist()
        self.names = [names[column] for column in varied]
        self.low, self.high = low[varied].tolist(), high[varied].tolist()
        scaled = _scale_to_range(raw[:, varied]) if scale == "range" else _scale_to_ranks(raw[:, varied])
        # Without this grid the squares of tiny differences underflow, and different rows have distance 0.
        scaled = np.round(scaled * GRID_STEPS) / GRID_STEPS
        ties = number_ties(scaled)
        self.width = max(len(self.names), 1)
        if ties.any() or not self.names:
            self.names.append(TIE)
            self.low.append(0.0)
            self.high.append(float(max(ties.max(), 1)))
            scaled = np.column_stack([scaled, ties / self.high[-1] * TIE_WEIGHT])
        self._tied = len(self.names) > len(varied)
        self._points = np.ascontiguousarray(scaled)

    def __len__(self) -> int:
        return len(self._points)

    def take_points(self, rows: IntArray | slice) -> FloatArray:
        """Points (m, d) of the given `rows`, each column within [0, 1]."""
        found: FloatArray = self._points[rows]
        if self._tied:
            found = found.copy() if found.base is not None else found
            found[:, -1] /= TIE_WEIGHT
        return found

    def features(self, rows: IntArray | slice) -> FloatArray:
        """Features (m, width) of the given `rows`: the points without the tie."""
        found = self.take_points(rows)
        return found[:, : self.width]

    def find_nearest(self, x: FloatArray, count: int = 1) -> IntArray:
        """Find the rows nearest to points, shape (m, count), nearest first.

        A point that `take_points` returned gives its own row. In large pools a row may be up to twice as far as the nearest:
        that takes 1 ms of a million rows in 20 dimensions, where the search for the nearest takes 35.

        Args:
            x: the points, shape (m, d).
            count: number of rows per point, at most n.
        """
        weighted = np.array(x, dtype=np.float64)
        if self._tied:
            weighted[:, -1] *= TIE_WEIGHT
        slack = 0.0 if len(self) <= MAX_EXACT_ROWS else 1.0
        count = min(count, len(self))
        _, found = self._tree.query(weighted, k=count, eps=slack)
        return np.asarray(found, dtype=np.int64).reshape(len(weighted), count)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        # Splitting at sliding midpoints is ten times as fast as at medians, and copes with equal points.
        return cKDTree(self._points, leafsize=32, balanced_tree=False, compact_nodes=False)


def _scale_to_range(values: FloatArray) -> FloatArray:
    """Scale columns from their lowest and highest value to [0, 1]."""
    halves = values / 2.0  # the difference of two doubles may overflow, the difference of their halves cannot
    low, high = halves.min(axis=0, initial=np.inf), halves.max(axis=0, initial=-np.inf)
    span = np.where(high > low, high - low, 1.0)
    scaled: FloatArray = np.clip((halves - low) / span, 0.0, 1.0) + 0.0
    return scaled


def _scale_to_ranks(values: FloatArray) -> FloatArray:
    """Scale columns to the share of rows below, equal rows counted half.

    Each column is spread evenly over [0, 1].
    """
    ranks = np.empty_like(values)
    for column in range(values.shape[1]):
        ordered = np.sort(values[:, column])
        below = np.searchsorted(ordered, values[:, column], side="left")
        upto = np.searchsorted(ordered, values[:, column], side="right")
        ranks[:, column] = (below + upto - 1) / 2.0 / max(len(values) - 1, 1)
    return ranks


def number_ties(points: FloatArray) -> IntArray:
    """Number of each row among rows equal to it, from 0, shape (n,).

    Args:
        points: shape (n, d).
    """
    keys = np.zeros(len(points), dtype=np.uint64)
    # Sorting one hash per row replaces sorting whole rows; the multiplier is 2^64 over the golden ratio.
    for column in range(points.shape[1]):
        bits = np.ascontiguousarray(points[:, column] + 0.0).view(np.uint64)
        keys = (keys ^ bits ^ (bits >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    # A collision of two hashes, one in 10^19 pairs, only gives a row a number it does not need.
    fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    position = np.arange(len(points))
    numbers = np.empty(len(points), dtype=np.int64)
    numbers[order] = position - np.maximum.accumulate(np.where(fresh, position, 0))
    return numbers


def draw_rank(u: float, most: int) -> int:
    """Draw a rank from 1 to `most`, low ranks more often.

    Args:
        u: uniform random number in [0, 1).
        most: largest rank.
    """
    # Uniform in the logarithm: each doubling of the rank is equally likely.
    return min(int(math.exp(u * math.log(most + 1))), most)
