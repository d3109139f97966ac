"""A fork searches under a changed campaign and evaluates again only what the change asks for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from invdesign.campaign.load import load_campaign
from invdesign.candidate import Status
from invdesign.errors import CampaignChangedError, RunError
from invdesign.run.fork import fork
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.store import schema
from tests.support import (
    STEPS,
    Data,
    campaign,
    finished,
    funnel,
    here,
    promoting,
    scripted,
    written,
)

INLINE = {"engine": {"kind": "local", "workers": 0}}


def evaluated(run: Run) -> Counter[str]:
    """How many candidates were really sent to every stage: what came from elsewhere had no task."""
    counts: Counter[str] = Counter()
    for row in run.store.read_rows(schema.tasks, where=schema.tasks.c.status == "done"):
        counts[row.stage] += len(json.loads(row.members))
    return counts


def values(run: Run) -> dict[str, dict[str, float]]:
    """Properties by genome of what is complete or gated."""
    ended = {Status.COMPLETE, Status.GATED}
    trials = [run.history.trial(id) for id in range(len(run.history))]
    return {trial.candidate.key: dict(trial.properties) for trial in trials if trial.status in ended}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 30 candidates: some gated, infeasible or failed."""
    folder = tmp_path_factory.mktemp("source") / "run"
    finished(funnel(30), folder).close()
    return folder


def opened(folder: Path) -> Run:
    return Run.open(folder, trust_code=True)


def changed(candidates: int = 60, **changes: Any) -> Data:
    return {**funnel(candidates), **INLINE, **changes}


def test_nothing_is_evaluated_twice(source: Path, tmp_path: Path) -> None:
    """Under other objectives and a larger budget, only new candidates are evaluated, at every stage."""
    old = opened(source)
    data = changed(objectives=[{"minimize": "density"}], constraints=[], seed=5)
    made = fork(source, tmp_path / "new", campaign(data), trust_code=True)
    run = made.run
    run.execute()
    known = values(old)
    assert len(made.taken) == len(known)
    assert made.reused == {"Height": True, "Crystal": True, "Density": True}
    assert (made.left_out, made.unmeasured) == ({}, {})
    found = values(run)
    assert {key: found[key] for key in known} == known
    assert len(run.history) == 60
    fresh = [run.trial(id) for id in range(60) if run.history.candidate(id).key not in known]
    assert evaluated(run)["Height"] == sum(trial.depth >= 1 for trial in fresh)  # all that were built, once
    assert evaluated(run)["Density"] <= evaluated(run)["Crystal"] <= evaluated(run)["Height"]
    role = run.trial(made.run.front()[0]).structures
    assert role == ("relaxed",)
    assert run.structure(0) is not None  # its data came along


def test_a_changed_stage_is_evaluated_anew(source: Path, tmp_path: Path) -> None:
    """What it gave before is not found; the stages before it cost nothing; the note says where the run comes from."""
    data = changed(31)
    data["evaluate"][2] = {f"{STEPS}:Density": {"batch_size": 3}}
    made = fork(source, tmp_path / "new", campaign(data), trust_code=True)
    assert made.reused == {"Height": True, "Crystal": True, "Density": False}
    run = made.run
    run.execute()
    counts = evaluated(run)
    taken = range(len(made.taken))
    asked = len(run.history) - len(made.taken)
    assert counts["Height"] <= asked
    assert counts["Crystal"] <= asked
    passed = sum(run.trial(id).status is Status.COMPLETE for id in taken)
    assert counts["Density"] >= passed > 5
    (note,) = [note for note in run.status().notes if "forked" in note]
    assert note.startswith(
        f"forked from {source}, which had 30 candidates then (digest {opened(source).digest()[:12]}"
    )
    origin = json.loads(run.store.read_entry("forked_from"))
    assert origin["fingerprint"] == opened(source).campaign.fingerprint


SCORES = """\
import invdesign

@invdesign.fitness(provides={"score": "GPa"})
def score(candidate):
    return FACTOR * float(candidate.parameters["x"]) + candidate.properties["height"]
"""


def test_a_changed_function(tmp_path: Path) -> None:
    """A run whose function changed is no more worked on; forked, it evaluates that stage anew, and no other."""
    module = tmp_path / "scores.py"
    module.write_text(SCORES.replace("FACTOR", "2"), encoding="utf-8")
    data = {
        **changed(12),
        "evaluate": [f"{STEPS}:Height", "scores:score"],
        "objectives": [{"maximize": "score"}],
    }
    path = written({**data, "constraints": []}, tmp_path / "campaign.yaml")
    finished(load_campaign(path, trust_code=True), tmp_path / "old").close()
    module.write_text(SCORES.replace("FACTOR", "3"), encoding="utf-8")
    with pytest.raises(CampaignChangedError, match=r"invdesign fork"):
        opened(tmp_path / "old").execute()
    limit = ("--candidates", 14, "--trust-code")
    made = here("fork", tmp_path / "old", tmp_path / "new", "--campaign", path, *limit)
    assert "stage Height: results are reused" in made.stdout, made.stderr
    assert "stage score: evaluated anew" in made.stdout
    opened(tmp_path / "new").execute()
    old, new = opened(tmp_path / "old"), opened(tmp_path / "new")
    both = [
        (old.trial(id), new.trial(new.history.id_of(old.trial(id).candidate.key) or 0))
        for id in old.ranking()
    ]
    scored = [(before.properties, after.properties) for before, after in both if "score" in before.properties]
    assert len(scored) > 3
    for before, after in scored:
        x = (before["score"] - before["height"]) / 2
        assert after["score"] == pytest.approx(3 * x + after["height"])
    assert evaluated(new)["Height"] <= len(new.history) - len(scored)


def test_a_fork_of_a_fork(source: Path, tmp_path: Path) -> None:
    """What the first fork inherited and never used is still found by the second."""
    fork(source, tmp_path / "one", campaign(changed(30)), take="none", trust_code=True).run.close()
    made = fork(tmp_path / "one", tmp_path / "two", take="none", trust_code=True)
    assert (made.taken, made.evaluations) == ([], fork_size(source))
    made.run.use_workers(0)
    made.run.execute()
    same = values(opened(source))
    assert {k: v for k, v in values(made.run).items() if k in same} == same  # the same search, at no cost
    failures = opened(source).history.failures_by_trial().values()
    failed = Counter(failure.stage for failure in failures if failure.kind != "infeasible")
    del failed["build"]
    builds = evaluated(made.run).pop("build")
    assert evaluated(made.run) == {"build": builds, **failed}  # what failed is tried again
    assert made.run.digest() == opened(source).digest()


def fork_size(folder: Path) -> int:
    rows = opened(folder).store.read_rows(
        schema.evaluations, ["cache_key"], schema.evaluations.c.failure.is_(None)
    )
    return len({row.cache_key for row in rows})


def test_candidates_the_new_space_has_not(tmp_path: Path) -> None:
    """They are left out with the reason; the others enter, in the order they were found."""

    def space(top: float) -> Data:
        return {"kind": "parameters", "parameters": {"x": {"real": [0, top]}, "y": {"real": [0, 1]}}}

    finished(funnel(20, space=space(1)), tmp_path / "old").close()
    data = changed(40, space=space(0.5))
    made = fork(tmp_path / "old", tmp_path / "new", campaign(data), trust_code=True)
    old = opened(tmp_path / "old")
    outside = {id for id, reason in made.left_out.items() if "x' must be a number in [0, 0.5]" in reason}
    assert outside == made.left_out.keys()
    assert outside == {
        id
        for id in [*made.taken, *made.left_out]
        if old.trial(id).genome["x"] > 0.5  # type: ignore[operator]
    }
    made.run.execute()
    entered = [made.run.trial(number).genome for number in range(len(made.taken))]
    assert entered == [old.trial(id).genome for id in made.taken]


def test_which_are_taken(source: Path, tmp_path: Path) -> None:
    """All that came to an end that says something, the front, the best, or none."""
    old = opened(source)
    takes = {
        name: list(fork(source, tmp_path / name, campaign(changed()), trust_code=True, **chosen).taken)
        for name, chosen in {
            "all": {},
            "front": {"take": "front"},
            "top": {"top": 3},
            "none": {"take": "none"},
        }.items()
    }
    assert takes["all"] == [id for id in range(30) if old.trial(id).status in {Status.COMPLETE, Status.GATED}]
    assert takes["front"] == sorted(old.front())
    assert takes["top"] == sorted(old.ranking()[:3])
    assert takes["none"] == []


def test_candidates_that_stopped_early_stop_there_again(tmp_path: Path) -> None:
    """A sketch stays a sketch, a promoted one runs to the end, and each genome is taken once."""
    finished(promoting(24), tmp_path / "old").close()
    old = opened(tmp_path / "old")
    data = {**promoting(60), **INLINE, "optimizer": "random"}
    made = fork(tmp_path / "old", tmp_path / "new", campaign(data), trust_code=True)
    made.run.execute()
    assert not set(made.taken) & set(old.history.superseded())
    n = len(made.taken)
    depths = {made.run.trial(id).candidate.key: int(made.run.history.depth_by_trial()[id]) for id in range(n)}
    assert depths == {old.trial(id).candidate.key: int(old.history.depth_by_trial()[id]) for id in made.taken}
    fresh = len(made.run.history) - n
    assert evaluated(made.run)["Density"] <= fresh

    data["evaluate"] = data["evaluate"][1:]  # without the sketches' stage
    made = fork(tmp_path / "old", tmp_path / "other", campaign(data), trust_code=True)
    assert set(made.left_out.values()) == {"it was to stop at Sketch, a stage the new campaign lacks"}


def test_measurements_come_along(tmp_path: Path) -> None:
    """Where the evaluator is the same and the genome the same design; what was taken back stays behind."""
    outside = {f"{STEPS}:Outside": {"noise": {"strength": 0.2}}}

    def data(**changes: Any) -> Data:
        whole = {"evaluate": [outside], "objectives": [{"maximize": "strength"}], "constraints": []}
        return changed(30, **{"space": space(0), "optimizer": "random", **whole, **changes})

    def space(least: float) -> Data:
        real = {"real": [least, least + 1]}
        return {"kind": "parameters", "parameters": {"x": real, "y": {"real": [0, 1]}}}

    run = Run.create(campaign(data()), tmp_path / "old")
    ids = run.ask(4)
    run.tell([Told(id, properties={"strength": float(id)}) for id in ids])
    run.tell([Told(ids[0], properties={"strength": 8.0}, label="again")])
    run.withdraw([ids[1]], "the oven was off")
    run.close()

    wider = data(evaluate=[f"{STEPS}:Height", outside], seed=9)
    made = fork(tmp_path / "old", tmp_path / "new", campaign(wider), trust_code=True)
    assert (made.measurements, list(made.taken)) == (4, [ids[0], *ids[2:]])
    assert (
        here("measurements", tmp_path / "new", "--trust-code").returncode == 0
    )  # before anything else is done
    new = made.run
    assert set(new.ask(1)) == {3}  # what was taken along ended without the user
    assert [new.trial(id).properties["strength"] for id in range(3)] == [4.0, 2.0, 3.0]
    assert len(new.measurements(0)) == 2

    other = data(evaluate=[{f"{STEPS}:Outside": {"noise": {"strength": 0.3}}}])
    made = fork(tmp_path / "old", tmp_path / "other", campaign(other), trust_code=True)
    assert made.measurements == 0
    assert set(made.unmeasured.values()) == {"the evaluator of Outside is another"}

    made = fork(tmp_path / "old", tmp_path / "far", campaign(data(space=space(2))), trust_code=True)
    assert (made.measurements, len(made.unmeasured), len(made.taken)) == (0, 3, 0)


def test_forks_that_cannot_be(source: Path, tmp_path: Path) -> None:
    """No room in the budget, no trust, a run in the way, no run: a sentence each, and nothing is made."""
    data = written(changed(30), tmp_path / "campaign.yaml")
    again = here("fork", source, tmp_path / "new", "--candidates", 20, "--trust-code")
    assert again.returncode == 3
    assert "the budget of 20 candidates leaves no room" in again.stderr
    assert "--take front" in again.stderr
    few = campaign(changed(budget={"evaluations": 5}))
    with pytest.raises(
        RunError, match=r"the budget of 5 evaluations leaves no room: .* \(budget\.evaluations"
    ):
        fork(source, tmp_path / "new", few, trust_code=True)
    untrusted = here("fork", source, tmp_path / "new")
    assert (untrusted.returncode, str(source) in untrusted.stderr) == (3, True)
    assert "--trust-code" in untrusted.stderr
    assert here("fork", source, source, "--trust-code").returncode == 3
    assert here("fork", tmp_path / "nothing", tmp_path / "new").returncode == 3
    assert here("fork", source, tmp_path / "new", "--take", "front", "--top", 2).returncode == 2
    assert not list((tmp_path / "new").glob("run.sqlite*"))
    done = here(
        "fork", source, tmp_path / "new", "--campaign", data, "--candidates", 31, "--trust-code", "--json"
    )
    assert json.loads(done.stdout)["reused"] == {"Height": True, "Crystal": True, "Density": True}
    run = opened(tmp_path / "new")
    with pytest.raises(CampaignChangedError, match=f"invdesign fork {run.folder} NEW --campaign FILE"):
        run.change(campaign(changed(seed=3)))


def test_a_killed_fork_is_repeated(source: Path, tmp_path: Path) -> None:
    """Killed at any statement it leaves no run; done again it is the fork that was never interrupted."""
    data = changed(34, optimizer="random")
    path = written(data, tmp_path / "campaign.yaml")
    report = scripted("tests.plugins.forking", source, tmp_path / "killed", path, 15)
    made = fork(source, tmp_path / "whole", campaign(data), trust_code=True)
    made.run.execute()
    assert report["deaths"] > 5
    assert report["digest"] == made.run.digest()
    assert not (tmp_path / "killed" / "fork.tmp").exists()
