"""What can be read of a run: rankings, rows, structures, status; in Python as on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import invdesign
from invdesign.candidate import Status
from invdesign.errors import RunError
from invdesign.problem import Merit
from invdesign.run.run import Run
from invdesign.run.status import RunStatus, read_status
from tests.support import ROOT, campaign, finished, funnel


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with every kind of ending."""
    return finished(funnel(60), tmp_path_factory.mktemp("run") / "run")


def test_the_example_in_the_package(tmp_path: Path) -> None:
    """The lines the package begins with work as they stand."""
    opened = invdesign.Run.create(invdesign.load_campaign(ROOT / "campaigns" / "toy.yaml"), tmp_path / "toy")
    assert opened.status().state == "new"
    assert opened.top(5) == []
    assert set(invdesign.__all__) <= set(dir(invdesign))
    with pytest.raises(AttributeError, match="has no attribute 'runs'"):
        _ = invdesign.runs  # type: ignore[attr-defined]  # that is what is tested


def test_status_counts(run: Run) -> None:
    """Counts by status and by stage agree with each other and with the trials."""
    status = run.status()
    found = [run.trial(id).status.name.lower() for id in range(60)]
    assert status.counts == {"asked": 60, **{s.name.lower(): found.count(s.name.lower()) for s in Status}}
    assert [stage.name for stage in status.stages] == ["build", "Height", "Crystal", "Density"]
    assert status.stages[0].entered == 60
    for before, after in zip(status.stages, status.stages[1:], strict=False):
        assert after.entered == before.passed == before.entered - before.gated - before.failed
    assert status.stages[-1].passed == status.counts["complete"]
    assert sum(stage.gated for stage in status.stages) == status.counts["gated"]
    assert sum(status.failures.values()) == status.counts["failed"] + status.counts["infeasible"]
    assert status.time_left == 0.0


def test_best_and_front(run: Run) -> None:
    """The best of each objective lies on the front, and nothing feasible dominates a member of it."""
    status = run.status()
    front = run.front()
    assert status.front_size == len(front) > 1
    for best in status.best:
        assert best.candidate in front
        assert best.value == run.trial(best.candidate).properties[best.property]  # type: ignore[arg-type]  # not None
    scores = run.history.scores()
    feasible = scores.values[scores.merit == Merit.FEASIBLE]
    for id in front:
        better = (feasible <= scores.values[id]).all(axis=1) & (feasible < scores.values[id]).any(axis=1)
        assert not better.any()
    first = [run.trial(id).properties["density"] for id in front]
    assert first == sorted(first, reverse=True)


def test_ranking(run: Run) -> None:
    """Every trial has its place: feasible ones first, then violating, gated, infeasible, failed."""
    ranking = run.ranking()
    assert sorted(ranking) == list(range(60))
    merit = run.history.scores().merit[np.array(ranking)]
    assert merit.tolist() == sorted(merit.tolist())


def test_top(run: Run) -> None:
    """Plain mappings a program can read, best first, complete ones only."""
    rows = run.top(7)
    assert [row["rank"] for row in rows] == list(range(1, 8))
    assert rows[0]["on_front"]
    assert {row["status"] for row in rows} == {"complete"}
    assert [row["candidate"] for row in rows] == list(run.ranking())[:7]
    assert json.loads(json.dumps(rows)) == rows
    assert len(run.top(1000)) == run.status().counts["complete"]


def test_rows_of_every_ending(run: Run) -> None:
    """A row tells what stopped a candidate, and lineage names its parents."""
    rows = [run.row(id) for id in range(60)]
    by_status = {row["status"]: row for row in rows}
    assert by_status["gated"]["gate"].startswith("Height: height is ")
    assert by_status["infeasible"]["failure"][:2] == ["infeasible", "build"]
    assert by_status["failed"]["failure"][1] in {"build", "Density"}
    assert by_status["complete"]["failure"] is None
    children = [row for row in rows if row["operator"] == "crossover"]
    assert children
    assert all(len(row["parents"]) == 2 and max(row["parents"]) < row["candidate"] for row in children)


def test_table(run: Run) -> None:
    """One row per candidate with values, lineage and cause; unknown values are missing, not zero."""
    table = run.table()
    assert list(table["candidate"]) == list(range(60))
    assert table["density"].notna().sum() == run.status().counts["complete"]
    failed = table[table["status"] == "failed"]
    assert failed["cause"].str.contains(": ").all()
    assert json.loads(table["genome"][5]) == run.row(5)["genome"]


def test_structures(run: Run) -> None:
    """The structure an evaluator made comes back to the last digit; where none was made there is none."""
    id = run.front()[0]
    structure = run.structure(id)
    assert structure is not None
    assert structure.lattice.a == run.trial(id).properties["edge"]
    assert run.structure(id, "relaxed") == structure
    assert run.structure(id, "charged") is None
    gated = next(id for id in range(60) if run.trial(id).status is Status.GATED)
    assert run.structure(gated) is None
    infeasible = next(id for id in range(60) if run.trial(id).status is Status.INFEASIBLE)
    assert run.structure(infeasible) is None


@pytest.mark.parametrize("id", [-1, 60, 10**9])
def test_no_such_candidate(id: int, run: Run) -> None:
    """The message says which there are."""
    with pytest.raises(RunError, match=rf"there is no candidate {id}; this run has 60 \(0 to 59\)"):
        run.trial(id)


def test_a_run_without_candidates(tmp_path: Path) -> None:
    """Before the first candidate everything is empty, and nothing fails."""
    run = Run.create(campaign(funnel(12)), tmp_path / "run")
    status = run.status()
    assert (status.counts["asked"], status.front_size, status.best[0].value) == (0, 0, None)
    assert (run.top(), list(run.ranking()), list(run.front()), len(run.table())) == ([], [], [], 0)
    assert ">new<" in run._repr_html_()
    with pytest.raises(RunError, match="there is no candidate 0"):
        run.trial(0)


def test_in_a_notebook(run: Run, tmp_path: Path) -> None:
    """A run shows itself with its best candidates, every name escaped."""
    html = run._repr_html_()
    assert ">finished<" in html
    assert "60 asked" in html or "60 candidates" in html
    assert html.count("<tr") == 6
    shady = Run.create(campaign(funnel(12, name="<script>")), tmp_path / "run")
    assert "&lt;script&gt;" in shady._repr_html_()


def test_the_status_file(run: Run) -> None:
    """The copy for network file systems says what the store says, and is written in one piece."""
    status = read_status(run.folder)
    assert isinstance(status, RunStatus)
    assert status == run.status()
    assert list(run.folder.glob("status.json.*")) == []


def test_the_observer_sees_progress(tmp_path: Path) -> None:
    """What is shown while a run works: stages fill and empty, and the last word is the end."""
    run = Run.create(campaign(funnel(36, delay=0.01)), tmp_path / "run")
    run.use_workers(0)
    seen: list[RunStatus] = []
    run.execute(seen.append)
    assert seen[-1].state == "finished"
    running = [status for status in seen if status.state == "running"]
    assert running
    for status in running:
        inside = [s.entered - s.passed - s.gated - s.failed for s in status.stages]
        assert sum(inside) == status.counts["pending"]
        assert min(inside) >= 0
    assert running[-1].time_left is not None


def test_designs_are_built_again(run: Run) -> None:
    """What a genome stands for can be had at any time."""
    id = run.ranking()[0]
    assert dict(run.design(id).parameters) == run.row(id)["genome"]
