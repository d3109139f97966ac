"""Non-dominated sorting, fronts and hypervolumes, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from invdesign.pareto import (
    MOST_COMPARED_ROWS,
    crowding_distance,
    extend_front,
    front,
    hypervolume,
    ranks,
    reference_point,
)


@st.composite
def tables(draw: st.DrawFn) -> FloatArray:
    """Up to 12 points with 1 to 4 objectives, with many ties."""
    objectives = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 4), min_size=objectives, max_size=objectives)
    return np.array(draw(st.lists(row, min_size=1, max_size=12)), dtype=np.float64)


def dominates(a: FloatArray, b: FloatArray) -> bool:
    """The definition: nowhere worse, somewhere better."""
    return bool((a <= b).all() and (a < b).any())


def peeled(values: FloatArray) -> list[int]:
    """Ranks by the definition: take the non-dominated away, again and again."""
    rank, left, result = 0, set(range(len(values))), [0] * len(values)
    while left:
        first = {i for i in left if not any(dominates(values[j], values[i]) for j in left)}
        for i in first:
            result[i] = rank
        left, rank = left - first, rank + 1
    return result


@given(tables())
def test_ranks_are_those_of_the_definition(values: FloatArray) -> None:
    """Peeling fronts off one by one gives the same ranks."""
    assert ranks(values).tolist() == peeled(values)


@given(tables())
def test_the_front_is_rank_zero(values: FloatArray) -> None:
    """Equal best points all belong to the front, in ascending order."""
    assert front(values).tolist() == np.flatnonzero(ranks(values) == 0).tolist()


@given(tables(), st.integers(0, 12))
def test_a_front_grows_as_if_sorted_anew(values: FloatArray, first: int) -> None:
    """The front of the first rows, extended by the others, is the front of all; equal rows are kept."""
    start = values[:first][front(values[:first])]
    union = np.concatenate([start, values[first:]])
    assert extend_front(start, values[first:]).tolist() == front(union).tolist()
    many = np.concatenate([values[first:]] * (MOST_COMPARED_ROWS + 1))
    assert extend_front(start, many).tolist() == front(np.concatenate([start, many])).tolist()


def test_the_reference_point_lies_beyond_the_worst() -> None:
    """By a tenth of the range; where there is no range, by a tenth of the value or of one unit."""
    best, worst = np.array([0.0, -5.0, 0.0]), np.array([10.0, -5.0, 0.0])
    assert reference_point(best, worst).tolist() == [11.0, -4.5, 0.1]


@given(tables())
def test_hypervolume_counts_unit_cells(values: FloatArray) -> None:
    """On whole numbers it is the number of unit cells below the reference that some point dominates."""
    m = values.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(5)] * m, indexing="ij"), axis=-1).reshape(-1, m)
    covered = (values[None, :, :] <= cells[:, None, :]).all(axis=2).any(axis=1)
    assert hypervolume(values, np.full(m, 5.0)) == pytest.approx(covered.sum())


def test_points_beyond_the_reference_do_not_count() -> None:
    """A point that is worse than the reference in one objective adds nothing."""
    reference = np.array([1.0, 1.0])
    assert hypervolume(np.array([[0.5, 0.5], [0.0, 2.0]]), reference) == pytest.approx(0.25)
    assert hypervolume(np.array([[2.0, 2.0]]), reference) == 0.0


def test_nothing_is_not_an_error() -> None:
    """No points: no ranks, no front, no volume."""
    empty = np.empty((0, 2))
    assert len(ranks(empty)) == 0
    assert len(front(empty)) == 0
    assert hypervolume(empty, np.ones(2)) == 0.0


def test_unknown_objectives_are_refused() -> None:
    """NaN compares as neither better nor worse, so it must be left out beforehand."""
    with pytest.raises(ValueError, match="leave out trials whose objectives are unknown"):
        ranks(np.array([[0.0, np.nan]]))
    with pytest.raises(ValueError, match=r"shape \(n, m\), got \(3,\)"):
        front(np.zeros(3))


def test_crowding_is_that_of_nsga2() -> None:
    """Ends are infinitely alone; between them it is the normalised sides of the box to the neighbours."""
    values = np.array([[0.0, 4.0], [1.0, 2.0], [2.0, 1.0], [4.0, 0.0]])
    assert crowding_distance(values) == pytest.approx([np.inf, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf])
    assert crowding_distance(np.ones((3, 2)))[1] == 0.0
