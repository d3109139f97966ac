"""Which predicted candidates are kept and which are evaluated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from invdesign import pareto
from invdesign.arrays import FloatArray
from invdesign.optimizers.selection import Region, choose_batch, sort_by_merit
from invdesign.problem import Merit, Scores

NONE = np.empty((0, 2))


def scores_of(values: FloatArray, merit: Merit | list[Merit] = Merit.FEASIBLE) -> Scores:
    """Scores of rows with these values, violation growing with the row."""
    n = len(values)
    merits = np.array([merit] * n if isinstance(merit, Merit) else merit, dtype=np.int64)
    violation = np.where(merits == Merit.VIOLATING, np.arange(n) + 1.0, 0.0)
    return Scores(
        np.arange(n), np.asarray(values, dtype=np.float64), violation, merits, np.zeros(n, dtype=np.int64)
    )


def region(values: FloatArray, x: FloatArray) -> Region:
    """Feasible rows at some places."""
    return Region(scores_of(values), x)


@given(arrays(np.float64, (12, 2), elements=st.floats(-10, 10)))
def test_order_never_contradicts_dominance(values: FloatArray) -> None:
    """A row of a better Pareto rank always comes first."""
    ranks = pareto.ranks(values)[sort_by_merit(scores_of(values))]
    assert (np.diff(ranks) >= 0).all()


def test_feasible_rows_come_first() -> None:
    """Merit decides before values; violating rows stand by their violation."""
    merit = [Merit.VIOLATING, Merit.FEASIBLE, Merit.VIOLATING, Merit.FEASIBLE]
    scores = scores_of(np.array([[0.0], [2.0], [0.0], [1.0]]), merit)
    assert sort_by_merit(scores).tolist() == [3, 1, 0, 2]
    assert scores.select_rows(np.array([2, 1])).ids.tolist() == [2, 1]


def test_a_batch_of_two_objectives_spreads_over_the_front() -> None:
    """Three picks from a dense front leave no half of it empty, although all rows are equally good."""
    t = np.linspace(0, 1, 101)
    candidates = region(np.stack([t, 1 - t], axis=1), t[:, None])
    seen = region(np.array([[1.0, 1.0]]), np.array([[0.5]]))
    picked = t[choose_batch([candidates], seen, NONE, np.empty((0, 1)), 3)]
    assert picked.min() < 0.4
    assert picked.max() > 0.6
    assert np.diff(np.sort(picked)).min() > 0.2


def test_places_taken_are_left_alone() -> None:
    """What a trial under way will probably reach adds nothing a second time."""
    t = np.linspace(0, 1, 101)
    candidates = region(np.stack([t, 1 - t], axis=1), t[:, None])
    seen = region(np.array([[1.0, 1.0]]), np.array([[0.5]]))
    (first,) = choose_batch([candidates], seen, NONE, np.empty((0, 1)), 1)
    (second,) = choose_batch([candidates], seen, candidates.scores.values[[first]], np.empty((0, 1)), 1)
    assert abs(t[first] - t[second]) > 0.2


def test_a_batch_of_one_objective_lies_apart() -> None:
    """The best comes first; its near neighbours are passed over, as are those of trials under way."""
    x = np.array([[0.0], [0.001], [0.002], [0.5], [1.0]])
    candidates = region(np.arange(5.0)[:, None], x)
    seen = region(np.zeros((3, 1)), np.array([[0.0], [0.5], [1.0]]))
    empty = np.empty((0, 1))
    assert choose_batch([candidates], seen, empty, empty, 3) == [0, 3, 4]
    assert choose_batch([candidates], seen, empty, np.array([[0.0]]), 1) == [3]


def test_attitudes_take_turns() -> None:
    """The second pick follows the second attitude."""
    x = np.arange(3.0)[:, None]
    sober, bold = region(np.array([[0.0], [1.0], [2.0]]), x), region(np.array([[0.0], [2.0], [1.0]]), x)
    seen = region(np.zeros((1, 1)), np.zeros((1, 1)))
    empty = np.empty((0, 1))
    assert choose_batch([sober, bold], seen, empty, empty, 2) == [0, 2]


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
@pytest.mark.parametrize("merit", [Merit.FEASIBLE, Merit.VIOLATING])
def test_every_candidate_is_picked_once(objectives: int, merit: Merit) -> None:
    """Asked for more than there are, it gives all, each once: whatever the number of objectives, on one spot."""
    rng = np.random.default_rng(0)
    candidates = Region(scores_of(rng.random((6, objectives)), merit), np.zeros((6, 2)))
    seen = Region(scores_of(rng.random((4, objectives)), merit), rng.random((4, 2)))
    rows = choose_batch([candidates], seen, np.empty((0, objectives)), np.empty((0, 2)), 9)
    assert sorted(rows) == list(range(6))
