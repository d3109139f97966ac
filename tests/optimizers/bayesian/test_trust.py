"""Trust regions."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.optimizers.bayesian.trust import (
    FIRST_SIDE,
    LARGEST_SIDE,
    MOVED_DIMENSIONS,
    SMALLEST_SIDE,
    SUCCESSES_TO_GROW,
    Box,
    batches_before_shrinking,
    choose_centre,
    draw_in_region,
    draw_sobol,
    region_box,
    start_region,
    update_region,
)
from invdesign.problem import Merit, Scores
from invdesign.rng import rng_for


def scores(values: list[list[float]], merit: list[Merit] | None = None) -> Scores:
    """Of trials numbered from 0, feasible where not said otherwise."""
    n = len(values)
    merits = np.array(merit or [Merit.FEASIBLE] * n, dtype=np.int64)
    violation = np.where(merits == Merit.VIOLATING, np.arange(n, dtype=np.float64) + 1.0, 0.0)
    table = np.array(values, dtype=np.float64).reshape(n, len(values[0]) if n else 1)
    return Scores(np.arange(n), table, violation, merits, np.zeros(n, dtype=np.int64))


@pytest.mark.parametrize(("d", "batch", "batches"), [(20, 1, 20), (20, 4, 5), (2, 1, 4), (30, 100, 1)])
def test_patience_counts_candidates(d: int, batch: int, batches: int) -> None:
    """Batches without success before a region halves: d candidates or four, whichever are more."""
    assert batches_before_shrinking(d, batch) == batches


def test_a_region_grows_with_success_and_shrinks_without() -> None:
    """Three improving batches double it, up to a limit; as many failures as its patience halve it."""
    state = start_region(24, 8)
    for _ in range(SUCCESSES_TO_GROW):
        state = update_region(state, True, 8)
    assert state["length"] == min(2.0 * FIRST_SIDE, LARGEST_SIDE)
    assert state["successes"] == 0
    for _ in range(batches_before_shrinking(24, 8)):
        state = update_region(state, False, 8)
    assert state["length"] == 0.5 * min(2.0 * FIRST_SIDE, LARGEST_SIDE)


def test_counts_start_anew_when_luck_turns() -> None:
    """Only successes, or failures, in a row count."""
    state = start_region(24, 8)
    for better in (True, True, False, True, True, False, False):
        state = update_region(state, better, 8)
    assert (state["successes"], state["failures"], state["length"]) == (0, 2, FIRST_SIDE)


def test_a_collapsed_region_restarts() -> None:
    """As large as at first; it remembers how often, and from which candidate on its centre is sought."""
    state = start_region(4, 4)
    lengths = [state["length"]]
    while not state["restarts"]:
        state = update_region(state, False, 4, number=77)
        lengths.append(state["length"])
    assert all(b == 0.5 * a for a, b in pairwise(lengths[:-1]))
    assert min(lengths) >= SMALLEST_SIDE
    assert state == {**start_region(4, 4), "restarts": 1, "since": 77}


@given(lucks=st.lists(st.booleans(), max_size=60), batch=st.integers(1, 40))
def test_the_state_is_json(lucks: list[bool], batch: int) -> None:
    """Exactly, whatever happened; what is told never changes the state it is told to."""
    state = start_region(30, batch)
    for better in lucks:
        before = json.dumps(state)
        after = update_region(state, better, batch, number=5)
        assert json.dumps(state) == before
        state = json.loads(json.dumps(after))
        assert state == after
        assert SMALLEST_SIDE <= state["length"] <= LARGEST_SIDE


def test_the_box_follows_the_length_scales() -> None:
    """Longer where the function varies slowly; its volume depends on the length alone while it fits the cube."""
    state = {**start_region(3, 1), "length": 0.2}
    box = region_box(state, np.full(3, 0.5), np.array([0.5, 1.0, 2.0]))
    sides = box.high - box.low
    np.testing.assert_allclose(sides, [0.1, 0.2, 0.4])
    assert float(sides.prod()) == pytest.approx(0.2**3)


def test_the_box_stays_in_the_cube() -> None:
    """Cut off at its sides; length scales that are no numbers count as ordinary ones."""
    box = region_box(start_region(3, 1), np.array([0.0, 0.5, 1.0]), np.array([np.inf, np.nan, 1e9]))
    assert (box.low >= 0.0).all()
    assert (box.high <= 1.0).all()
    assert (box.low < box.high).all()


def test_candidates_differ_from_the_centre_in_some_dimensions() -> None:
    """In about twenty of a hundred, in at least one; all in the box."""
    centre = np.full(100, 0.5)
    box = region_box({**start_region(100, 1), "length": 0.1}, centre)
    points = draw_in_region(box, centre, rng_for(0, 0, "points"), 300)
    moved = (points != centre).sum(axis=1)
    assert (points >= box.low - 1e-9).all()
    assert (points <= box.high + 1e-9).all()
    assert moved.min() >= 1
    assert moved.mean() == pytest.approx(MOVED_DIMENSIONS, rel=0.1)


def test_candidates_are_a_function_of_the_generator() -> None:
    """The same again with the same one, others with another."""
    centre, box = np.full(5, 0.4), Box(np.zeros(5), np.ones(5))
    first, again, other = (draw_in_region(box, centre, rng_for(seed, 0, "p"), 8) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_sobol_points_are_spread_evenly(n: int) -> None:
    """Any number of them, in the cube; in each dimension one in every nth of it where n is a power of two."""
    points = draw_sobol(n, 3, rng_for(0, 0, "sobol"))
    assert points.shape == (n, 3)
    assert ((points >= 0.0) & (points <= 1.0)).all()
    if n == 64:
        assert all(len(set((column * n).astype(int))) == n for column in points.T)


def test_the_centre_is_the_best_by_merit() -> None:
    """Among trials of which none meets the constraints, the one that is nearest to it."""
    rng = rng_for(0, 0, "centre")
    assert choose_centre(scores([[3.0], [1.0], [2.0]]), rng) == 1
    mixed = [Merit.VIOLATING, Merit.FEASIBLE, Merit.FAILED]
    assert choose_centre(scores([[0.0], [5.0], [np.nan]], mixed), rng) == 1
    assert choose_centre(scores([[0.0], [5.0]], [Merit.VIOLATING] * 2), rng) == 0
    assert choose_centre(scores([]), rng) is None


def test_a_front_is_centred_on_in_proportion_to_volume() -> None:
    """Each member by what only it dominates; what is dominated, never."""
    table = scores([[0.0, 1.0], [0.5, 0.5], [0.52, 0.49], [1.0, 0.0], [2.0, 2.0]])
    rng = rng_for(0, 0, "centre")
    drawn = [choose_centre(table, rng) for _ in range(300)]
    assert set(drawn) == {0, 1, 2, 3}
    assert drawn.count(0) > 2 * drawn.count(2)


def test_many_objectives_are_drawn_from_evenly() -> None:
    """Hypervolumes of many objectives take too long: every member of the front has its turn."""
    rng = rng_for(0, 0, "centre")
    table = scores(np.eye(5).tolist())
    assert {choose_centre(table, rng) for _ in range(100)} == set(range(5))
