"""Levels of percolation: of channels with known depths, and as a slower method finds them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.transport.pathways import percolation_levels

SHAPES = st.tuples(*[st.integers(3, 4)] * 3)


def landscape(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Heights drawn from few values, so that there are ties."""
    return np.random.default_rng(seed).integers(0, 15, shape).astype(np.float64)


def flooded(heights: np.ndarray) -> list[float]:
    """The same levels by raising the water step by step and walking from point to point."""
    found: list[float] = []
    for level in np.unique(heights):
        reached = max(
            (rank(heights, level, tuple(start)) for start in np.argwhere(heights <= level)), default=0
        )
        found += [float(level)] * (reached - len(found))
        if len(found) == 3:
            break
    return found


def rank(heights: np.ndarray, level: float, start: tuple[int, ...]) -> int:
    """Directions in which the region of one point extends: cells in which it meets its own images."""
    cell_of = {start: np.zeros(3, dtype=int)}
    waiting, loops = [start], [np.zeros(3, dtype=int)]
    while waiting:
        here = waiting.pop()
        for step in product((-1, 0, 1), repeat=3):
            place = np.add(here, step)
            there = tuple(int(n) for n in place % heights.shape)
            if heights[there] > level:
                continue
            cell = cell_of[here] + place // heights.shape
            if there not in cell_of:
                cell_of[there] = cell
                waiting.append(there)
            else:
                loops.append(cell - cell_of[there])
    return int(np.linalg.matrix_rank(np.array(loops)))


def test_channels_and_what_joins_them() -> None:
    """Two channels that cross at a distance are one-dimensional until the wall between them is under water."""
    heights = np.full((6, 6, 8), 9.0)
    heights[:, 2, 1] = 1.0
    heights[2, :, 5] = 2.0
    heights[2, 2, 3] = 5.0  # a stone between two walls of 7
    heights[2, 2, (2, 4)] = 7.0
    heights[3, 3, :] = 8.0
    assert percolation_levels(heights) == (1.0, 7.0, 8.0)


def test_a_flat_landscape_is_open_everywhere() -> None:
    """There is nothing to climb."""
    assert percolation_levels(np.full((3, 4, 5), -2.5)) == (-2.5, -2.5, -2.5)


def test_a_diagonal_channel_is_one_direction() -> None:
    """A way that leaves through a face of the cell and comes back through another has one lattice vector."""
    heights = np.full((5, 5, 5), 4.0)
    for n in range(5):
        heights[n, n, 0] = 0.0
    one, two, three = percolation_levels(heights)
    assert (one, two, three) == (0.0, 4.0, 4.0)


@settings(max_examples=12, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 10**6))
def test_levels_are_those_of_rising_water(shape: tuple[int, int, int], seed: int) -> None:
    """A spanning tree finds what walking at every level finds."""
    heights = landscape(shape, seed)
    assert list(percolation_levels(heights)) == flooded(heights)


@settings(max_examples=12, deadline=None)
@given(
    shape=SHAPES,
    seed=st.integers(0, 10**6),
    shift=st.tuples(*[st.integers(-4, 4)] * 3),
    axes=st.permutations([0, 1, 2]),
    copies=st.permutations([1, 1, 2]),
)
def test_levels_do_not_depend_on_the_setting(
    shape: tuple[int, int, int], seed: int, shift: tuple[int, ...], axes: list[int], copies: list[int]
) -> None:
    """Another origin, another order of the axes or a repeated cell are the same landscape; so are other units."""
    heights = landscape(shape, seed)
    other = np.tile(np.roll(heights, shift, axis=(0, 1, 2)).transpose(axes), copies)
    assert percolation_levels(other) == percolation_levels(heights)
    assert percolation_levels(3 * heights - 50) == tuple(3 * n - 50 for n in percolation_levels(heights))


def test_a_grid_too_coarse_to_tell_directions_is_refused() -> None:
    """With two points along an axis, forwards and backwards are the same."""
    with pytest.raises(ValueError, match="3 points or more along each axis"):
        percolation_levels(np.zeros((2, 5, 5)))
