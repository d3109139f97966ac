"""The run's trials as columns: what is asked for is what was recorded, at any length."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign import history as histories
from invdesign.candidate import Candidate, Failure, Proposal, Status, genome_key
from invdesign.history import RunHistory
from invdesign.problem import Constraint, Merit, Objective, Problem
from invdesign.steps import Finished, StageResult, Step

PROBLEM = Problem((Objective("height", "minimize"),), (Constraint("width", max=1.0),))


def candidate(id: int) -> Candidate:
    genome = {"x": id}
    return Candidate(id, genome_key(genome), Proposal(genome))


def filled(count: int) -> RunHistory:
    """A history of `count` candidates, every third of them still pending, every third failed."""
    history = RunHistory(PROBLEM, candidate)
    for id in range(count):
        history.add(id, candidate(id).key)
        if id % 3 == 0:
            result = StageResult(
                id, "a", {"height": float(id), "width": id / 10}, {"height": 0.5}, {"relaxed": "k"}
            )
            history.apply(Step(results=[result], finished=[Finished(id, Status.COMPLETE, 2)]))
        elif id % 3 == 1:
            history.finish(Finished(id, Status.FAILED, 1, Failure("error", "a", "broken")))
    return history


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 5000])
def test_columns_grow(count: int) -> None:
    """Columns are as long as the history, NaN where nothing is known, whatever their length in memory."""
    history = filled(count)
    column = history.column("height")
    assert column.shape == (count,)
    expected = [float(id) if id % 3 == 0 else np.nan for id in range(count)]
    np.testing.assert_array_equal(column, expected)
    assert np.isnan(history.column("depth of the sea")).all()
    assert history.pending() == [id for id in range(count) if id % 3 == 2]
    assert len(history.scores().ids) == len(history) == count


def test_columns_are_copies() -> None:
    """Who changes a column changes nothing else."""
    history = filled(6)
    history.column("height")[:] = 0.0
    assert history.value("height", 3) == 3.0
    assert np.isnan(history.value("height", 1))
    assert np.isnan(history.value("nothing", 1))


def test_the_last_stage_is_the_value() -> None:
    """Where two stages provide a property, the later one's word counts; each stage's own can be had."""
    history = filled(4)
    history.record(StageResult(0, "b", {"height": 9.0}, {"height": 0.1}))
    assert history.value("height", 0) == 9.0
    assert history.column("height", "a")[0] == 0.0
    assert history.column("height", "b")[0] == 9.0
    assert np.isnan(history.column("height", "b")[3])
    assert history.trial(0).uncertainties == {"height": 0.1}
    history.record(StageResult(3, "b", {"height": 9.0}))
    assert history.trial(3).uncertainties == {}  # the earlier stage's says nothing of the later value


def test_scores_of_some() -> None:
    """Scores of chosen trials come in the order asked for."""
    history = filled(40)
    scores = history.scores([39, 0, 1, 2, 12])
    assert scores.ids.tolist() == [39, 0, 1, 2, 12]
    expected = [Merit.VIOLATING, Merit.FEASIBLE, Merit.FAILED, Merit.PENDING, Merit.VIOLATING]
    assert scores.merit.tolist() == expected


def test_old_candidates_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only recent candidates stay in memory; older ones come from the store, equal to what they were."""
    monkeypatch.setattr(histories, "CANDIDATES_KEPT", 3)
    fetched: list[int] = []

    def fetch(id: int) -> Candidate:
        fetched.append(id)
        return candidate(id)

    history = RunHistory(PROBLEM, fetch)
    for id in range(6):
        history.add(id, candidate(id).key, candidate(id))
    assert [history.candidate(id).id for id in (5, 4, 3)] == [5, 4, 3]
    assert fetched == []
    assert history.candidate(0) == candidate(0)
    assert history.candidate(5) == candidate(5)  # pushed out least recently used first
    assert fetched == [0, 5]
    with pytest.raises(KeyError, match="there is no candidate 6: the run has 6"):
        history.candidate(6)


def test_keys() -> None:
    """A key is known from when its candidate was asked."""
    history = filled(3)
    assert candidate(2).key in history
    assert candidate(3).key not in history
    assert 3 not in history
    assert history.id_of(candidate(1).key) == 1
    assert history.id_of(candidate(9).key) is None
