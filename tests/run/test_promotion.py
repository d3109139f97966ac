"""Candidates that stop early and genomes that are taken further: what ran, what counts, and what is said of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Proposal, Status, genome_key
from invdesign.cli.describe import describe_campaign, describe_candidate, describe_status, format_table
from invdesign.problem import Merit, Objective, Problem
from invdesign.protocols import Context, StageView, collect_notes, count_stages_until
from invdesign.run.loop import admit_proposals
from invdesign.run.run import Run
from invdesign.store import schema
from invdesign.testing import MemoryHistory
from tests.support import STEPS, campaign, finished, here, promoting, written

STAGES = (
    StageView("cheap", frozenset({"e"})),
    StageView("middle", frozenset()),
    StageView("dear", frozenset({"e"})),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with promotions."""
    return finished(promoting(60), tmp_path_factory.mktemp("promoting") / "run")


def pairs(run: Run) -> list[tuple[int, int]]:
    """(earlier, later) trial of every genome that was taken further."""
    keys: dict[str, int] = {}
    found = []
    for row in run.store.read_rows(schema.candidates, ("id", "key")):
        if row.key in keys:
            found.append((keys[row.key], row.id))
        keys[row.key] = row.id
    return found


def test_a_promotion_is_a_further_trial(run: Run) -> None:
    """It has a number of its own, says whose genome it takes further, and knows what the earlier trial knew."""
    found = pairs(run)
    assert len(found) > 5
    assert list(run.history.superseded()) == sorted(earlier for earlier, _ in found)
    for earlier, later in found:
        old, new = run.trial(earlier), run.trial(later)
        assert (new.genome, new.candidate.proposal.parents) == (old.genome, (earlier,))
        assert new.candidate.proposal.operator == "promotion"
        assert run.history.id_of(old.candidate.key) == later
        assert (
            run.history.column("density", "Sketch")[later] == run.history.column("density", "Sketch")[earlier]
        )
    assert run.status().counts["asked"] == 60  # the budget counts it as a candidate


def test_what_ran_before_is_not_run_again(run: Run) -> None:
    """The cheap stage's evaluation of a promoted genome is a copy that cost nothing."""
    later = {later for _, later in pairs(run)}
    said = list(run.store.read_rows(schema.evaluations, ("candidate", "stage", "cost", "source")))
    sketches = {row.candidate: row for row in said if row.stage == "Sketch"}
    assert all((sketches[id].cost, sketches[id].source is None) == ("{}", False) for id in later)
    seconds = run.history.seconds("Sketch")
    first = np.array([id for id in sketches if id not in later])
    assert np.isfinite(seconds[first]).all()
    assert np.isnan(seconds[list(later)]).all()


def test_a_cheap_value_is_not_the_objective(run: Run) -> None:
    """Who stopped early has no value of the last stage, and ranks behind everyone that has one."""
    history = run.history
    short = np.flatnonzero((history.status_by_trial() == Status.COMPLETE) & (history.depth_by_trial() == 2))
    assert len(short) > 10
    assert np.isnan(history.column("density")[short]).all()
    assert np.isfinite(history.column("density", "Sketch")[short]).all()
    assert np.isfinite(history.noise("density", "Sketch")[short]).all()
    assert np.isnan(history.noise("density")).all()  # the stage that decides says none
    scores = history.scores()
    assert (scores.merit[short] == Merit.VIOLATING).all()
    ranked = [id for id in run.ranking() if history.status_by_trial()[id] == Status.COMPLETE]
    whole = [id for id in ranked if np.isfinite(history.column("density")[id])]
    assert ranked[: len(whole)] == whole
    assert set(run.front()) <= set(whole)


def test_a_genome_is_listed_once(run: Run) -> None:
    """The best candidates hold no genome twice; a table says how far every trial came, and what was said on the way."""
    listed = [genome_key(row["genome"]) for row in run.top(1000)]
    assert len(listed) == len(set(listed))
    table = run.table()
    assert set(table["passed"]) >= {"Sketch", "Density"}
    assert table["density_at_Sketch"].notna().sum() > table["density"].notna().sum() > 0
    earlier, later = next((a, b) for a, b in pairs(run) if run.trial(b).status is Status.COMPLETE)
    assert "  stopped after: Sketch" in describe_candidate(run, earlier)
    assert any(line.startswith("  density at Sketch: ") for line in describe_candidate(run, later))
    assert not any("stopped after" in line for line in describe_candidate(run, later))
    assert format_table(run.top(3), run.campaign)


def test_an_opened_run_knows_the_same(run: Run) -> None:
    """Loaded again from the store: columns, uncertainties, seconds, who was taken further, and the front."""
    again = Run.open(run.folder, trust_code=True)
    for one, other in (
        (run.history.column("density"), again.history.column("density")),
        (run.history.noise("density", "Sketch"), again.history.noise("density", "Sketch")),
        (run.history.seconds("Density"), again.history.seconds("Density")),
    ):
        np.testing.assert_array_equal(one, other)
    assert run.history.superseded() == again.history.superseded()
    assert run.front() == again.front()


def test_validate_says_who_decides() -> None:
    """Of a property that two stages provide."""
    lines = describe_campaign(campaign(promoting()))
    assert "    density: as Density says; Sketch says it earlier" in lines


def test_the_budget_of_evaluations(tmp_path: Path) -> None:
    """It counts those that entered the last stage: who stopped before it did not."""
    found = finished(promoting(budget={"evaluations": 5, "candidates": 500}), tmp_path / "run")
    entered = next(stage for stage in found.status().stages if stage.name == "Density").entered
    assert entered == 5
    assert found.status().counts["asked"] > 10


# Notes.


def test_notes_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The loop logs each once; status, its file and the screen show them, also of a run opened again."""
    with caplog.at_level(logging.INFO, logger="invdesign.run"):
        found = finished(promoting(24), tmp_path / "run")
    assert [record.message for record in caplog.records] == ["Sketch says the density to 0.25."]
    assert found.status().notes == ("Sketch says the density to 0.25.",)
    assert describe_status(found.status())[-1] == "note        Sketch says the density to 0.25."
    caplog.clear()
    found.change(budget={"candidates": 30})
    with caplog.at_level(logging.INFO, logger="invdesign.run"):
        found.execute()
    assert not caplog.records
    assert '"notes": ["Sketch says the density to 0.25."]' in found.status().to_json()


def test_the_command_line_says_notes(tmp_path: Path) -> None:
    """Once, among the lines of a run's progress."""
    file = written(promoting(24), tmp_path / "campaign.yaml")
    done = here("run", file, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: Sketch says the density to 0.25.") == 1
    assert "note        Sketch" in here("status", tmp_path / "run", "--trust-code").stdout


@pytest.mark.parametrize(
    ("state", "notes"),
    [
        (None, {}),
        ([1, 2], {}),
        ({"notes": None}, {}),
        ({"notes": {"a": "A."}, "n": 1}, {"a": "A."}),
        ({"members": {"bayesian": {"notes": {"a": "A."}}, "cma": {}}}, {"bayesian.a": "A."}),
        ({"notes": {"c": "C."}, "members": [{"n": 1}, {"notes": {"a": "A."}}]}, {"c": "C.", "1.a": "A."}),
        ({"members": 3}, {}),
    ],
)
def test_notes_of_states(state: Any, notes: dict[str, str]) -> None:
    """They stand in the state, or in those of its members; other states have none."""
    assert collect_notes(state) == notes


# What may be proposed.


def context(stages: tuple[StageView, ...] = STAGES) -> tuple[Context, MemoryHistory]:
    problem = Problem((Objective("e", "minimize"),))
    history = MemoryHistory(problem)
    return Context(None, problem, history, 0, stages=stages), history  # type: ignore[arg-type]  # no space is needed


@pytest.mark.parametrize(
    ("until", "depth"), [("cheap", 2), ("middle", 3), ("dear", 4), (None, 4), ("unknown", 4)]
)
def test_depths(until: str | None, depth: int) -> None:
    """Stages a candidate passes, the build stage first."""
    assert count_stages_until(STAGES, until) == depth


def test_what_is_admitted() -> None:
    """New genomes, and known ones that go further than their latest trial, which is complete."""
    given, history = context()
    keys = [genome_key({"n": n}) for n in range(5)]
    for n in range(4):
        history.add(Proposal({"n": n}, until="cheap"))
    history.finish(0, depth=2)
    history.finish(1, status=Status.GATED, depth=1)
    history.finish(2, status=Status.FAILED, depth=1)
    assert [given.admits(key) for key in keys] == [True, False, False, False, True]
    assert [given.admits(keys[0], until) for until in ("cheap", "middle", "dear")] == [False, True, True]
    history.add(Proposal({"n": 0}, (0,), "promotion", until="middle"))
    assert not given.admits(keys[0])  # under way
    history.finish(4, depth=3)
    assert [given.admits(keys[0], until) for until in ("middle", "dear", None)] == [False, True, True]
    proposals = [Proposal({"n": n % 5}, until="dear") for n in range(10)]
    assert [p.genome["n"] for p in admit_proposals(given, proposals).values()] == [0, 4]


def test_without_stages_nothing_is_promoted() -> None:
    """A context that does not know the funnel admits new genomes alone."""
    given, history = context(())
    history.add(Proposal({"n": 0}, until="cheap"))
    history.finish(0, depth=2)
    assert not given.admits(genome_key({"n": 0}))
    assert given.admits(genome_key({"n": 1}))


def test_a_genome_proposed_again_costs_nothing(tmp_path: Path) -> None:
    """An optimizer that repeats itself ends the run as before: a whole candidate is never promoted."""
    data = {**promoting(), "optimizer": f"{STEPS}:RepeatingSearch"}
    found = finished(data, tmp_path / "run")
    assert found.status().counts["asked"] == 1
