"""The run's trials as columns: what is asked for is what was recorded, at any length."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign import history as histories
from invdesign.candidate import Candidate, Failure, Proposal, Status, genome_key
from invdesign.history import RunHistory
from invdesign.problem import Constraint, Merit, Objective, Problem
from invdesign.protocols import StageView
from invdesign.steps import Finished, StageResult, Step

PROBLEM = Problem((Objective("height", "minimize"),), (Constraint("width", max=1.0),))


def candidate(id: int) -> Candidate:
    genome = {"x": id}
    return Candidate(id, genome_key(genome), Proposal(genome))


def filled(count: int) -> RunHistory:
    """A history of `count` candidates, every third of them still pending, every third failed."""
    history = RunHistory(PROBLEM, candidate)
    for id in range(count):
        history.add_candidate(id, candidate(id).key)
        if id % 3 == 0:
            result = StageResult(
                id, "a", {"height": float(id), "width": id / 10}, {"height": 0.5}, structures={"relaxed": "k"}
            )
            history.apply_step(Step(results=[result], finished=[Finished(id, Status.COMPLETE, 2)]))
        elif id % 3 == 1:
            history.finish_trial(Finished(id, Status.FAILED, 1, Failure("error", "a", "broken")))
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
    assert history.value_of("height", 3) == 3.0
    assert np.isnan(history.value_of("height", 1))
    assert np.isnan(history.value_of("nothing", 1))


def test_the_last_stage_is_the_value() -> None:
    """Where two stages provide a property, the later one's word counts; each stage's own can be had."""
    history = filled(4)
    history.record_result(
        StageResult(3, "a", {"height": 4.0}, {"height": 0.5}, {"height": 0.7}, {"height": "a guess"})
    )
    trial = history.trial(3)
    assert (trial.noise, trial.systematic, trial.details) == (
        {"height": 0.5},
        {"height": 0.7},
        {"height": "a guess"},
    )
    history.record_result(StageResult(0, "b", {"height": 9.0}, {"height": 0.1}))
    assert history.value_of("height", 0) == 9.0
    assert history.column("height", "a")[0] == 0.0
    assert history.column("height", "b")[0] == 9.0
    assert np.isnan(history.column("height", "b")[3])
    assert history.trial(0).noise == {"height": 0.1}
    history.record_result(StageResult(3, "b", {"height": 9.0}))
    trial = history.trial(3)  # what the earlier stage said beside its value says nothing of the later value
    assert (trial.noise, trial.systematic, trial.details) == ({}, {}, {})
    assert history.systematic("height", "a")[3] == 0.7
    assert np.isnan(history.systematic("height")[3])


STAGES = (StageView("a", frozenset({"height", "width"})), StageView("b", frozenset({"height"})))


def promoted(last: Status | None = Status.COMPLETE) -> RunHistory:
    """Two genomes that ended after stage `a`; the first was taken further by trial 2, which ended as `last`."""
    history = RunHistory(PROBLEM, candidate, STAGES)
    for id, key in enumerate((0, 1, 0)):
        history.add_candidate(id, candidate(key).key)
    for id in range(3):
        history.record_result(StageResult(id, "a", {"height": 1.0 + id % 2, "width": 0.5}, {"height": 0.5}))
    for id in range(2):
        history.finish_trial(Finished(id, Status.COMPLETE, 2))
    if last is not None:
        history.record_result(StageResult(2, "b", {"height": 9.0}, cost={"seconds": 7.0}))
        history.finish_trial(Finished(2, last, 3))
    return history


def test_an_early_stage_decides_nothing() -> None:
    """Of a funnel that is known, only the last stage that provides a property says its value."""
    history = promoted()
    np.testing.assert_array_equal(history.column("height"), [np.nan, np.nan, 9.0])
    np.testing.assert_array_equal(history.column("height", "a"), [1.0, 2.0, 1.0])
    np.testing.assert_array_equal(history.column("width"), [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(history.noise("height"), [np.nan] * 3)
    np.testing.assert_array_equal(history.noise("height", "a"), [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(history.seconds("b"), [np.nan, np.nan, 7.0])
    assert np.isnan(history.seconds("a")).all()
    assert history.earlier_values(1) == [("height", "a", 2.0)]
    assert history.preliminary_columns().keys() == {("height", "a")}
    assert history.last_stages() == ["a", "a", "b"]


def test_a_genome_stands_where_its_latest_trial_does() -> None:
    """While it is under way the earlier trial stands; then the later one, however it ended."""
    assert promoted(None).superseded() == []
    for last in (Status.COMPLETE, Status.FAILED):
        history = promoted(last)
        assert history.superseded() == [0]
        assert history.id_of(candidate(0).key) == 2
        assert history.scores().values[:2, 0].tolist() == pytest.approx([np.nan, np.nan], nan_ok=True)
    history.reset_trial(2)
    assert history.superseded() == []


def test_the_front_holds_a_genome_once() -> None:
    """Also where the earlier trial had all the objectives, and was counted before the later one ended."""
    problem = Problem((Objective("width", "minimize"),))
    history = RunHistory(problem, candidate, STAGES)
    for id in (0, 1):
        history.add_candidate(id, candidate(0).key)
        history.record_result(StageResult(id, "a", {"width": 0.5}))
        history.finish_trial(Finished(id, Status.COMPLETE, 2 + id))
        assert history.update_standing().front.tolist() == [id]
        assert history.update_standing().feasible == 1


def test_who_stopped_early_ranks_behind_who_violates() -> None:
    """Nothing is known of its objective, so the worst violation is better."""
    history = promoted()
    history.add_candidate(3, candidate(3).key)
    history.record_result(StageResult(3, "a", {"width": 99.0}))
    history.record_result(StageResult(3, "b", {"height": 0.0}))
    history.finish_trial(Finished(3, Status.COMPLETE, 3))
    scores = history.scores()
    assert scores.ids[scores.order()].tolist() == [2, 3, 0, 1]


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
        history.add_candidate(id, candidate(id).key, candidate(id))
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
