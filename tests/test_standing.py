"""What is kept up to date step by step is what looking at everything at once gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign import pareto
from invdesign.candidate import Proposal, Status
from invdesign.problem import Constraint, Merit, Objective, Problem
from invdesign.standing import LARGEST_FRONT, Standing
from invdesign.testing.history import MemoryHistory

PROBLEM = Problem(
    (Objective("a", "minimize"), Objective("b", "maximize"), Objective("c", "window", min=1.0, max=2.0)),
    (Constraint("a", max=3.0),),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_it_equals_a_look_at_everything(
    rows: list[tuple[int, int, int]], random: np.random.Generator
) -> None:
    """Whatever order trials finish in, however often it is asked: same front, extremes, counts and volume."""
    history, standing = MemoryHistory(PROBLEM), Standing()
    waiting: list[int] = []
    for number, _ in enumerate(rows):
        waiting.append(history.add(Proposal({"n": number})))
        while waiting and random.random() < 0.6:
            id = waiting.pop(int(random.random() * len(waiting)))
            status = Status.FAILED if random.random() < 0.2 else Status.COMPLETE
            history.finish(id, dict(zip("abc", map(float, rows[id]), strict=True)), status=status)
        if random.random() < 0.5:
            standing.update(history)
    standing.update(history)
    scores = history.scores()
    feasible = scores.merit == Merit.FEASIBLE
    assert standing.feasible == feasible.sum()
    assert standing.front.tolist() == scores.ids[scores.front()].tolist()
    if standing.feasible:
        values = scores.values[feasible]
        assert standing.best.tolist() == values.min(axis=0).tolist()
        assert standing.worst.tolist() == values.max(axis=0).tolist()
        firsts = scores.ids[feasible][values.argmin(axis=0)]
        assert standing.best_ids.tolist() == firsts.tolist()
        reference = standing.reference_point()
        assert reference is not None
        assert standing.hypervolume(reference) == pytest.approx(pareto.hypervolume(values, reference))
        assert standing.hypervolume(reference) == standing.hypervolume(reference)


def test_nothing_found_is_no_error() -> None:
    """No trial, or none feasible: no front, no reference, no volume."""
    history, standing = MemoryHistory(PROBLEM), Standing()
    standing.update(history)
    history.finish(history.add(Proposal({"n": 0})), status=Status.FAILED)
    standing.update(history)
    assert (len(standing.front), standing.feasible, standing.reference_point()) == (0, 0, None)
    assert standing.hypervolume(np.ones(3)) == 0.0


def test_a_volume_that_costs_too_much_is_left_out() -> None:
    """A front too large to measure while someone waits has no volume here."""
    standing = Standing()
    standing.front = np.arange(LARGEST_FRONT[6] + 1)
    assert standing.hypervolume(np.ones(6)) is None
    assert standing.hypervolume(np.ones(9)) is None
