"""Percolation levels of a landscape on a grid: flooding levels for endless travel."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from invdesign.arrays import FloatArray, IntArray

MIN_GRID_POINTS = 3  # along an axis, so that a step forwards and one backwards end at different points
# One of each pair of opposite steps to the 26 points around a point.
HALF_NEIGHBOUR_STEPS = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))


def percolation_levels(heights: FloatArray) -> tuple[float, float, float]:
    """Levels below which a landscape percolates in one, two and three directions.

    A point is joined with the 26 around it, at the height of the higher of two neighbours. Only one connected
    region counts: two sets of channels that cross without meeting are one-dimensional.

    Args:
        heights: shape (n1, n2, n3), on a grid that repeats along each axis; three points or more along each.

    Returns:
        Ascending; equal to the highest height of the ways, not their depth.

    Source:
        A minimum spanning tree with lattice vectors, as in `surrogates.transport.percolation`; the dimension of
        a net is the rank of the lattice vectors along its cycles: W. E. Klee, Cryst. Res. Technol. 39, 959
        (2004).
    """
    if min(heights.shape) < MIN_GRID_POINTS:
        raise ValueError(
            f"a grid needs {MIN_GRID_POINTS} points or more along each axis, got {heights.shape}"
        )
    net = _Net.from_heights(heights)
    levels = np.unique(np.concatenate([net.tree_cost, net.cost]))
    found: list[float] = []
    first = int(np.searchsorted(levels, net.cost.min()))
    for dimension in (1, 2, 3):
        low, high = first, len(levels) - 1  # all points joined percolate in three directions
        while low < high:
            middle = (low + high) // 2
            if net.percolation_dimension(levels[middle]) >= dimension:
                high = middle
            else:
                low = middle + 1
        first = low
        found.append(float(levels[low]))
    return found[0], found[1], found[2]


@dataclass(frozen=True, slots=True)
class _Net:
    """Minimum spanning tree of the grid, and the joints beyond it.

    Of the other joints only those that lead to another image are held.

    Attributes:
        count: points.
        tree: shape (2, count - 1), ends of its joints.
        tree_cost: shape (count - 1,).
        ends: shape (m,), one end of each joint that closes a cycle which does not return to where it began.
        cost: shape (m,).
        winding: shape (m, 3), lattice vectors along that cycle.
    """

    count: int
    tree: IntArray
    tree_cost: FloatArray
    ends: IntArray
    cost: FloatArray
    winding: IntArray

    @classmethod
    def from_heights(cls, heights: FloatArray) -> _Net:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import minimum_spanning_tree

        flat = heights.reshape(-1)
        here, there, wraps = _list_joints(heights.shape)
        # Ranks in place of heights: exact, positive (a zero is no joint to scipy), and the tree is that of the heights.
        rank = np.empty(len(flat))
        rank[np.argsort(flat, kind="stable")] = np.arange(1, len(flat) + 1)
        weight = np.maximum(rank[here], rank[there])
        shape = (len(flat), len(flat))
        tree = minimum_spanning_tree(coo_array((weight, (here, there)), shape=shape).tocsr()).tocoo()
        ends = np.stack([tree.row, tree.col]).astype(np.int64)
        origin = _trace_cells(heights.shape, ends)
        winding = origin[here] + wraps - origin[there]
        cycle = winding.any(axis=1)
        return cls(
            count=len(flat),
            tree=ends,
            tree_cost=np.maximum(flat[ends[0]], flat[ends[1]]),
            ends=here[cycle],
            cost=np.maximum(flat[here], flat[there])[cycle],
            winding=winding[cycle],
        )

    def percolation_dimension(self, level: float) -> int:
        """Largest number of directions in which a region below `level` percolates."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        kept = self.tree_cost <= level
        row, column = self.tree[:, kept]
        graph = coo_array((np.ones(len(row)), (row, column)), shape=(self.count, self.count))
        _, region = connected_components(graph, directed=False)
        below = self.cost <= level
        cycles = _distinct_windings(region[self.ends[below]], self.winding[below])
        starts = np.flatnonzero(np.diff(cycles[:, 0], prepend=-1))
        groups = np.split(cycles[:, 1:], starts[1:])
        return max((int(np.linalg.matrix_rank(group)) for group in groups if len(group)), default=0)


def _distinct_windings(region: IntArray, winding: IntArray) -> IntArray:
    """Distinct pairs of region and lattice vector, sorted by region.

    Args:
        region: shape (m,).
        winding: shape (m, 3).

    Returns:
        Shape (k, 4).
    """
    if not len(region):
        return np.empty((0, 4), dtype=np.int64)
    low = winding.min(axis=0)
    width = winding.max(axis=0) - low + 1
    shape = (int(region.max()) + 1, *width.tolist())
    codes = np.unique(np.ravel_multi_index((region, *(winding - low).T), shape))
    rows = np.stack(np.unravel_index(codes, shape), axis=1)
    rows[:, 1:] += low
    return np.asarray(rows, dtype=np.int64)


def _list_joints(shape: tuple[int, ...]) -> tuple[IntArray, IntArray, IntArray]:
    """List the joints of all neighbouring points.

    Returns:
        (one end (m,), other end (m,), cells crossed from one to the other (m, 3)).
    """
    number = np.arange(np.prod(shape)).reshape(shape)
    ends, wraps = [], []
    for step in HALF_NEIGHBOUR_STEPS:
        ends.append(np.roll(number, [-n for n in step], axis=(0, 1, 2)).ravel())
        cells = np.zeros((*shape, 3), dtype=np.int64)
        for axis, n in enumerate(step):
            if n:  # the last layer steps into the next cell, or the first into the one before
                np.moveaxis(cells, axis, 0)[-1 if n > 0 else 0, ..., axis] = n
        wraps.append(cells.reshape(-1, 3))
    return np.tile(number.ravel(), len(HALF_NEIGHBOUR_STEPS)), np.concatenate(ends), np.concatenate(wraps)


def _trace_cells(shape: tuple[int, ...], tree: IntArray) -> IntArray:
    """Cell in which each point is reached from point 0 along a tree.

    Args:
        shape: of the grid.
        tree: shape (2, N - 1), ends of its joints.

    Returns:
        Shape (N, 3).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    count = int(np.prod(shape))
    graph = coo_array((np.ones(tree.shape[1]), (tree[0], tree[1])), shape=(count, count)).tocsr()
    _, parent = breadth_first_order(graph, 0, directed=False)
    parent = np.where(parent < 0, 0, parent).astype(np.int64)
    place = np.indices(shape).reshape(3, -1).T
    step = place - place[parent]
    last = np.asarray(shape) - 1
    origin = np.where(step == -last, 1, np.where(step == last, -1, 0))
    origin[0] = 0
    while parent.any():  # pointer jumping: doubles the distance until all point to point 0
        origin = origin + origin[parent]
        parent = parent[parent]
    return np.asarray(origin, dtype=np.int64)
