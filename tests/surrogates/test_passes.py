"""Valleys and passes: those of landscapes that are known exactly, wherever the grid lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from surrogates.transport.passes import barrier_levels, find_percolation_heights

SIDES = np.array([3.1, 4.0, 5.3])  # Å


def waves(
    depths: FloatArray, origin: FloatArray, points: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A cosine along each axis, and its derivatives: one minimum, and a pass along each axis, twice its depth higher."""
    turns = 2.0 * np.pi / SIDES
    phase = (points - origin) * turns
    second = np.zeros((len(points), 3, 3))
    second[:, range(3), range(3)] = depths * turns**2 * np.cos(phase)
    return -(depths * np.cos(phase)).sum(axis=1), depths * turns * np.sin(phase), second


@settings(max_examples=10, deadline=None)
@given(
    st.tuples(*[st.floats(0.0, 1.0)] * 3),
    st.tuples(*[st.floats(0.1, 1.0)] * 3),
    st.tuples(*[st.integers(5, 9)] * 3),
)
def test_levels_are_those_of_the_landscape(
    origin: tuple[float, ...], depths: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    """The lowest energy and all three levels are exact on coarse grids, which lie anywhere."""
    deep, begin = np.array(depths), np.array(origin) * SIDES

    def expansion(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        return waves(deep, begin, points)

    place = np.indices(shape).reshape(3, -1).T / np.array(shape) * SIDES
    heights = expansion(place)[0].reshape(shape)
    lowest, levels = barrier_levels(heights, np.diag(SIDES), expansion, float(heights.max()))
    assert lowest == pytest.approx(-deep.sum(), abs=1e-5)
    assert levels == pytest.approx(np.sort(2.0 * deep) - deep.sum(), abs=1e-5)


def test_a_net_extends_in_the_directions_of_its_cycles() -> None:
    """Joints within a cell lead nowhere; two channels count together only once something joins them."""
    here, along, across, up = np.vstack([np.zeros(3, dtype=np.int64), np.eye(3, dtype=np.int64)])
    edges = [(0.5, 0, 1, here), (1.0, 0, 1, along), (2.0, 2, 2, across), (3.0, 1, 2, up), (4.0, 0, 2, -up)]
    assert find_percolation_heights(edges) == (1.0, 3.0, 4.0)
    assert find_percolation_heights(edges[:4]) == (1.0, 3.0, np.inf)
    assert find_percolation_heights([]) == (np.inf, np.inf, np.inf)
