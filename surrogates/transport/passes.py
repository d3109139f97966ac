"""Valleys and passes of a periodic energy landscape, found on a grid and then located exactly.

A grid errs twice: its lowest point lies beside the valley's, and its ways cross a ridge beside the pass, or
step over it. Both errors depend on where the grid happens to lie; a stationary point does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray

Expansion = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
"""Energies (p,), gradients (p, 3) and second derivatives (p, 3, 3) at points (p, 3), in Å."""

Edge = tuple[float, int, int, IntArray]
"""A way from valley to valley: height, one end, other end, cell of the second seen from the first."""

MAX_MOVE_LENGTH = 0.1  # Å, of one move towards a stationary point; chosen
MAX_MOVES = 40  # towards a stationary point; chosen: most need five
FLAT_GRADIENT = 1e-3  # eV/Å; chosen: the energy is then within microelectronvolts of the stationary one
SAME_MINIMUM_DISTANCE = 0.05  # Å between equal minima; chosen
DESCENT_OFFSET = 0.2  # Å, from a pass to the start of the descent from it; chosen
# Moves down from a pass, after which its valley is that of the nearest point of the grid; chosen.
DESCENT_MOVES = 12
CROSSING_POINTS = 3  # points evaluated between two of the grid where a way crosses between valleys; chosen
NEIGHBOUR_STEPS = tuple(step for step in product((-1, 0, 1), repeat=3) if step != (0, 0, 0))


@dataclass(frozen=True, slots=True)
class Valleys:
    """Valley of every point of a grid, by steepest descent.

    Attributes:
        shape: of the grid, with N points.
        root: shape (N,), the lowest point of the valley, as a number of the grid.
        cell: shape (N, 3), the cell in which that lies, seen from the point.
    """

    shape: tuple[int, ...]
    root: IntArray
    cell: IntArray

    @classmethod
    def from_heights(cls, heights: FloatArray) -> Valleys:
        """Follow the steepest of 26 steps down from every point of a grid.

        Args:
            heights: shape (n1, n2, n3), energies on the grid.
        """
        number: IntArray = np.arange(heights.size).reshape(heights.shape)
        # Ranks in place of heights, so that no two points are equally high.
        order = np.empty(heights.size, dtype=np.int64)
        order[np.argsort(heights, axis=None, kind="stable")] = np.arange(heights.size)
        rank: IntArray = order.reshape(heights.shape)
        lowest, root = rank.copy(), number.copy()
        cell = np.zeros((*heights.shape, 3), dtype=np.int64)
        for step in NEIGHBOUR_STEPS:
            back = [-n for n in step]
            near = np.roll(rank, back, axis=(0, 1, 2))
            lower = near < lowest
            lowest[lower], root[lower] = near[lower], np.roll(number, back, axis=(0, 1, 2))[lower]
            cell[lower] = _cells_crossed(heights.shape, step)[lower]
        end, away = root.reshape(-1), cell.reshape(-1, 3)
        while (end[end] != end).any():  # pointer jumping: doubles the distance
            away, end = away + away[end], end[end]
        return cls(heights.shape, end, away)

    def find_crossings(self, heights: FloatArray, most: float) -> tuple[IntArray, IntArray, IntArray]:
        """Find the lowest step of the grid from each valley to each other.

        Another image of the same valley counts as another one.

        Args:
            heights: shape (n1, n2, n3), energies on the grid.
            most: steps that are higher are left out.

        Returns:
            (points (m,) left, step (m, 3), (lower root, higher root, cell) of the valleys (m, 5)).
        """
        flat = heights.ravel()
        number = np.arange(flat.size).reshape(self.shape)
        points, steps, ways, costs = [], [], [], []
        for step in NEIGHBOUR_STEPS:
            there = np.roll(number, [-n for n in step], axis=(0, 1, 2)).ravel()
            winding = _cells_crossed(self.shape, step).reshape(-1, 3) + self.cell[there] - self.cell
            one, two = self.root, self.root[there]
            cost = np.maximum(flat, flat[there])
            # Every step has its opposite: that towards the higher root, or the later image, stands for both.
            later = (winding * np.array([9, 3, 1]) ** 3).sum(axis=1) > 0
            kept = np.flatnonzero(((one < two) | ((one == two) & later)) & (cost <= most))
            points.append(kept)
            steps.append(np.tile(step, (len(kept), 1)))
            ways.append(np.column_stack([one[kept], two[kept], winding[kept]]))
            costs.append(cost[kept])
        point, way, cost = np.concatenate(points), np.concatenate(ways), np.concatenate(costs)
        order = np.argsort(cost, kind="stable")
        _, first = np.unique(way[order], axis=0, return_index=True)
        chosen = order[first]
        return point[chosen], np.concatenate(steps)[chosen].reshape(-1, 3), way[chosen].reshape(-1, 5)


def _cells_crossed(shape: tuple[int, ...], step: tuple[int, ...]) -> IntArray:
    """Cells that a step from each point crosses.

    Shape (*shape, 3).
    """
    cells = np.zeros((*shape, 3), dtype=np.int64)
    for axis, n in enumerate(step):
        if n:
            np.moveaxis(cells, axis, 0)[-1 if n > 0 else 0, ..., axis] = n
    return cells


def barrier_levels(
    heights: FloatArray, cell: FloatArray, expansion: Expansion, most: float
) -> tuple[float, tuple[float, float, float] | None]:
    """Lowest energy, and percolation levels in one, two and three directions.

    Args:
        heights: shape (n1, n2, n3), energies on a grid of the cell.
        cell: shape (3, 3), lattice vectors in rows, Å.
        expansion: of the energy around points.
        most: a level at which the grid percolates in three directions.

    Returns:
        (minimum, levels); no levels where the ways found do not percolate in three directions.
    """
    valleys = Valleys.from_heights(heights)
    shape = np.asarray(heights.shape)
    point, step, way = valleys.find_crossings(heights, most)
    roots, position = np.unique(
        np.concatenate([way[:, :2].ravel(), [int(np.argmin(heights))]]), return_inverse=True
    )
    place = np.column_stack(np.unravel_index(roots, heights.shape)) / shape
    minima, settled, curved = find_stationary_points(place @ cell, expansion, descend=True)
    energies = np.where(settled & (curved == 0), expansion(minima)[0], heights.ravel()[roots])
    same, shift = _merge_minima(minima @ np.linalg.inv(cell), cell)
    ends = position[:-1].reshape(-1, 2)

    def make_edge(one: int, two: int, cells: IntArray, height: float) -> Edge:
        return float(height), int(same[one]), int(same[two]), cells + shift[two] - shift[one]

    start = np.column_stack(np.unravel_index(point, heights.shape)) / shape
    shares = np.linspace(0.0, 1.0, CROSSING_POINTS + 2)
    along = (start[:, None] + shares[:, None] * (step / shape)[:, None]) @ cell
    between = expansion(along.reshape(-1, 3))[0].reshape(along.shape[:2])
    tops = along[np.arange(len(along)), between.argmax(axis=1)]
    index = {int(root): number for number, root in enumerate(roots)}
    found = [
        make_edge(index[a], index[b], cells, height)
        for height, (a, b), cells in _locate_passes(tops, cell, expansion, valleys)
        if a in index and b in index
    ]
    stepped = [make_edge(a, b, way[k, 2:], between[k].max()) for k, (a, b) in enumerate(ends)]
    # A step of the grid is less exact: it counts only where no pass leads the same way.
    located = {_edge_key(one) for one in found}
    found += [one for one in stepped if _edge_key(one) not in located]
    levels = find_percolation_heights(found)
    return float(energies.min()), levels if np.isfinite(levels[2]) else None


def _edge_key(edge: Edge) -> tuple[int, ...]:
    """Ends of an edge and the cell between them, for either direction."""
    _, one, two, cells = edge
    there, back = (one, two, *cells.tolist()), (two, one, *(-cells).tolist())
    return min(there, back)


def _locate_passes(
    tops: FloatArray, cell: FloatArray, expansion: Expansion, valleys: Valleys
) -> Iterable[tuple[float, tuple[int, int], IntArray]]:
    """Locate passes near the points `tops` (m, 3).

    Yields:
        (energy, roots of the valleys on both sides, cell of the second).
    """
    if not len(tops):
        return
    found, settled, curved = find_stationary_points(tops, expansion, descend=False)
    found = found[settled & (curved == 1)]
    if not len(found):
        return
    energies, _, second = expansion(found)
    across = np.linalg.eigh(second)[1][:, :, 0]
    below = np.concatenate([found + DESCENT_OFFSET * across, found - DESCENT_OFFSET * across])
    below, _, _ = find_stationary_points(below, expansion, descend=True, moves=DESCENT_MOVES)
    shape = np.asarray(valleys.shape)
    place = np.rint(below @ np.linalg.inv(cell) * shape).astype(np.int64)
    number = np.ravel_multi_index(tuple((place % shape).T), valleys.shape)
    cells = place // shape + valleys.cell[number]
    count = len(found)
    for k in range(count):
        sides = int(valleys.root[number[k]]), int(valleys.root[number[count + k]])
        yield float(energies[k]), sides, cells[count + k] - cells[k]


def _merge_minima(fractional: FloatArray, cell: FloatArray) -> tuple[IntArray, IntArray]:
    """Merge equal minima.

    Returns:
        (number of the first minimum that is the same (m,), cell of that seen from each (m, 3)).
    """
    same, shift = np.arange(len(fractional)), np.zeros((len(fractional), 3), dtype=np.int64)
    for k in range(len(fractional)):
        apart = fractional[:k] - fractional[k]
        near = np.flatnonzero(
            np.linalg.norm((apart - np.rint(apart)) @ cell, axis=1) <= SAME_MINIMUM_DISTANCE
        )
        if len(near):
            first = int(near[0])
            same[k] = same[first]
            shift[k] = shift[first] - np.rint(apart[first]).astype(np.int64)
    return same, shift


def find_stationary_points(
    points: FloatArray, expansion: Expansion, *, descend: bool, moves: int = MAX_MOVES
) -> tuple[FloatArray, NDArray[np.bool_], IntArray]:
    """Find stationary points near `points`: minima, or passes.

    Newton's method along the eigenvectors of the second derivatives, uphill along the lowest where a pass is
    sought and downhill along all others, with moves of limited length.

    Args:
        points: shape (p, 3), Å, the starts.
        expansion: of the energy around points.
        descend: True for minima, False for passes, which are highest along one direction.
        moves: most moves.

    Returns:
        (points (p, 3), True where it converged (p,), number of directions that lead down from it (p,)).

    Source:
        Eigenvector following: Cerjan & Miller, J. Chem. Phys. 75, 2800 (1981).
    """
    found = points.copy()
    settled = np.zeros(len(points), dtype=np.bool_)
    curved = np.zeros(len(points), dtype=np.int64)
    for _ in range(moves):
        active = np.flatnonzero(~settled)
        if not len(active):
            break
        _, gradient, second = expansion(found[active])
        values, vectors = np.linalg.eigh(second)
        curved[active] = (values < 0.0).sum(axis=1)
        small = np.linalg.norm(gradient, axis=1) <= FLAT_GRADIENT
        settled[active] = small & (curved[active] == (0 if descend else 1))
        along = np.einsum("pij,pi->pj", vectors, gradient)
        # eV/Å^2: softer directions are moved along as if they were this stiff (chosen).
        sizes = np.maximum(np.abs(values), 0.05)
        move = -along / sizes
        if not descend:
            move[:, 0] = -move[:, 0]
        step = np.einsum("pij,pj->pi", vectors, move)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1.0, MAX_MOVE_LENGTH / np.maximum(length, 1e-12))
        found[active] += np.where(settled[active][:, None], 0.0, step)
    return found, settled, curved


def find_percolation_heights(edges: Iterable[Edge]) -> tuple[float, float, float]:
    """Heights at which `edges` percolate in one, two and three directions.

    Returns:
        Ascending; infinite where all edges together do not percolate in so many directions.
    """
    parent: dict[int, int] = {}
    offset: dict[int, IntArray] = {}
    cycles: dict[int, IntArray] = {}

    def find_root(node: int) -> tuple[int, IntArray]:
        cells = np.zeros(3, dtype=np.int64)
        while parent.setdefault(node, node) != node:
            cells = cells + offset[node]
            node = parent[node]
        return node, cells

    levels: list[float] = []
    for height, one, two, cells in sorted(edges, key=lambda edge: edge[0]):
        (a, from_a), (b, from_b) = find_root(one), find_root(two)
        # Root b, seen from root a.
        winding = cells + from_b - from_a
        known = cycles.get(a, np.zeros((0, 3), dtype=np.int64))
        if a == b:
            grown = np.vstack([known, winding])
        else:
            parent[b], offset[b] = a, -winding
            grown = np.vstack([known, cycles.pop(b, np.zeros((0, 3), dtype=np.int64))])
        rank = int(np.linalg.matrix_rank(grown)) if len(grown) else 0
        if rank > (int(np.linalg.matrix_rank(known)) if len(known) else 0):
            cycles[a] = grown
        levels += [height] * (rank - len(levels))
        if len(levels) == 3:
            break
    one_way, two_ways, three_ways = [*levels, *[np.inf] * 3][:3]
    return one_way, two_ways, three_ways
