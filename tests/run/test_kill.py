"""Killed at any moment, a run resumes to the same end as one that was never interrupted."""

from __future__ import annotations

import random
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from invdesign.run.run import Run
from invdesign.store import schema
from tests.support import (
    PATIENCE,
    STEPS,
    alive,
    children,
    cli,
    finished,
    funnel,
    promoting,
    relaxing,
    scripted,
    started,
    wait_until,
    written,
)


def contents(run: Run) -> dict[str, list[Any]]:
    """Everything a run found and decided, table by table: what `digest` hashes, to be seen where it differs."""
    tables: dict[str, Any] = {
        "candidates": (
            schema.candidates,
            [c.name for c in schema.candidates.c if c.name not in {"finished", schema.CHECKSUM}],
        ),
        "events": (schema.events, ["id", "kind", "detail", "state"]),
    }
    found = {name: [tuple(row) for row in run.store.read_rows(*query)] for name, query in tables.items()}
    columns = ["candidate", "stage", "properties", "noise", "structures", "failure"]
    found["evaluations"] = sorted(map(repr, run.store.read_rows(schema.evaluations, columns)))
    return found


def same(run: Run, other: Run) -> None:
    """Both runs are equal: candidates, lineage, properties, structures, failures, and the optimizer's every state."""
    assert contents(run) == contents(other)
    assert run.store.last_event() == other.store.last_event()
    assert run.digest() == other.digest()


def tasks_done(folder: Path) -> int:
    """How many tasks have a result."""
    import sqlite3

    try:
        with (
            closing(sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True)) as connection,
            connection,
        ):
            return int(connection.execute("select count(*) from tasks where status = 'done'").fetchone()[0])
    except sqlite3.OperationalError:
        return -1


class Killer:
    """Works on a campaign by the command line and kills it, again and again, each time with other workers."""

    def __init__(self, campaign: Path, folder: Path, seed: int) -> None:
        self.campaign = campaign
        self.folder = folder
        self.rng = random.Random(seed)
        self.kills = 0
        self.workers: list[psutil.Process] = []

    def attempt(self) -> bool:
        """One session, killed at a random moment; True where it came to its end before that."""
        if (self.folder / "run.sqlite").exists():
            arguments = ["resume", self.folder, "--trust-code"]
        else:
            arguments = ["run", self.campaign, "--run-dir", self.folder, "--trust-code"]
        process = started(*arguments, "--workers", (2, 0, 0, 1, 0)[self.kills % 5])
        ended = self._wait(process)
        self.workers += children(process.pid)
        if not ended:
            process.send_signal(signal.SIGKILL)
            self.kills += 1
        _, errors = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in errors, errors
        assert process.returncode == (0 if ended else -signal.SIGKILL), errors
        return ended

    def _wait(self, process: subprocess.Popen[str]) -> bool:
        """Until a random moment: often in the midst of evaluations, sometimes before there are any."""
        if self.rng.random() < 0.3:
            wait_until(lambda: process.poll() is not None, self.rng.uniform(0.0, 1.2))
        else:
            goal = max(tasks_done(self.folder), 0) + self.rng.randint(1, 14)
            wait_until(lambda: process.poll() is not None or tasks_done(self.folder) >= goal)
            wait_until(lambda: process.poll() is not None, self.rng.uniform(0.0, 0.05))
        return process.poll() is not None


def killed_often(data: dict[str, Any], folder: Path, kills: int, seed: int) -> None:
    """Kill runs of the campaign that often in all, and compare every one that came to its end."""
    reference = finished(data, folder / "reference")
    campaign = written(data, folder / "campaign.yaml")
    total, number, workers = 0, 0, []
    while total < kills:
        killer = Killer(campaign, folder / f"killed-{number}", seed + number)
        while not killer.attempt():
            pass
        same(Run.open(killer.folder, trust_code=True), reference)
        total, number, workers = total + killer.kills, number + 1, workers + killer.workers
    assert wait_until(lambda: not alive(workers)), "workers outlived their coordinator"


def test_killed_anywhere(tmp_path: Path) -> None:
    """SIGKILL at 10 random moments, with two workers, one and none in turn: the same run to the last digit."""
    killed_often(funnel(48, delay=0.02), tmp_path, kills=10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_anywhere_for_long(tmp_path: Path) -> None:
    """The same, 150 times."""
    killed_often(funnel(120, delay=0.03, population=20), tmp_path, kills=150, seed=1000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_anywhere_on_crystals(tmp_path: Path) -> None:
    """The same where children inherit what workers adopt, with several asks under way."""
    steady = {"kind": "genetic", "mode": "steady_state", "population": 6}
    killed_often(relaxing(40, optimizer=steady), tmp_path, kills=30, seed=2000)


def killed_at_statements(data: dict[str, Any], folder: Path, most: int, seed: int = 1) -> dict[str, Any]:
    """What `tests.plugins.killing` says of a run that dies before a random one of its next `most` statements."""
    folder.mkdir(exist_ok=True)
    campaign = written(data, folder / "campaign.yaml")
    return scripted("tests.plugins.killing", campaign, folder / "run", seed, most)


NEVER = 10**9


def test_killed_at_any_statement(tmp_path: Path) -> None:
    """Dying before every kind of statement and commit, dozens of times, changes nothing either."""
    data = funnel(30)
    report = killed_at_statements(data, tmp_path / "killed", most=85)
    assert report["deaths"] > 20
    assert report["at"].keys() >= {"SELECT", "INSERT", "UPDATE", "COMMIT"}
    assert report["digest"] == finished(data, tmp_path / "reference").digest()


def test_killed_with_generated_starts(tmp_path: Path) -> None:
    """Starts of a generator depend on the event alone, so a run that dies among them ends as one that does not."""
    space = {
        "kind": "crystal",
        "formula": "MgO",
        "formula_units": [1, 2],
        "generators": [{"kind": "prototypes", "weight": 3}],
    }
    data = relaxing(20, space=space)
    report = killed_at_statements(data, tmp_path / "killed", most=110)
    reference = finished(data, tmp_path / "reference")
    operators = [reference.trial(number).candidate.proposal.operator for number in range(20)]
    assert operators.count("prototypes") > 1
    assert report["deaths"] > 5
    assert report["digest"] == reference.digest()


def test_killed_among_codes(tmp_path: Path) -> None:
    """Codes of a network decode to the same crystals in every process, so a killed search among them ends as one that is not."""
    data = relaxing(16, space={"kind": "latent", "generator": "crystal_vae", "formula": "MgO"})
    report = killed_at_statements(data, tmp_path / "killed", most=110)
    assert report["deaths"] > 3
    assert report["digest"] == finished(data, tmp_path / "reference").digest()


def test_killed_with_several_asks_under_way(tmp_path: Path) -> None:
    """Overlapping asks, each decided by all that was told before it, are taken up where they were."""
    data = funnel(30, optimizer={"kind": f"{STEPS}:OverlappingSearch", "batch": 3})
    report = killed_at_statements(data, tmp_path / "killed", most=105)
    assert report["deaths"] > 15
    assert report["digest"] == finished(data, tmp_path / "reference").digest()


REALS = {"kind": "parameters", "parameters": {name: {"real": [0.0, 1.0]} for name in ("x", "y", "z")}}
SEARCHES: dict[str, dict[str, Any]] = {
    "steady state": {"optimizer": {"kind": "genetic", "mode": "steady_state", "population": 6}},
    "pre-screen": {"optimizer": {"kind": "genetic", "population": 8, "prescreen": {"models": ["linear"]}}},
    "swarm": {"space": REALS, "optimizer": {"kind": "swarm", "mode": "asynchronous", "particles": 6}},
    "cma": {"space": REALS, "optimizer": "cma", "objectives": [{"maximize": "density"}]},
    "portfolio": {
        "space": REALS,
        "optimizer": {"kind": "portfolio", "members": ["genetic", "swarm"], "at_once": 4},
    },
    "auto": {"optimizer": {"kind": "auto", "candidates": 1000, "design": 5}},
    "bayesian": {
        "space": REALS,
        "optimizer": {"kind": "bayesian", "initial": 10, "batch": 4, "asks": 2, "effort": 0.05},
    },
}


@pytest.mark.parametrize("search", SEARCHES)
def test_every_optimizer_survives_kills(search: str, tmp_path: Path) -> None:
    """Memos, leaders, distributions, models and rates are taken up to the last digit."""
    data = funnel(26, **SEARCHES[search])
    report = killed_at_statements(data, tmp_path / "killed", most=175)
    assert report["deaths"] > 5
    assert report["digest"] == finished(data, tmp_path / "reference").digest()


def test_relaxed_genomes_survive_kills(tmp_path: Path) -> None:
    """Crystals bred from what relaxation made of their parents are the same ones, with several asks under way."""
    data = relaxing(20, optimizer={"kind": "genetic", "mode": "steady_state", "population": 4, "founders": 1})
    report = killed_at_statements(data, tmp_path / "killed", most=140)
    reference = finished(data, tmp_path / "reference")
    assert report["deaths"] > 5
    assert any(reference.trial(id).candidate.proposal.parents for id in range(len(reference.history)))
    assert any(reference.trial(id).adoption_refused for id in range(len(reference.history)))
    assert report["digest"] == reference.digest()


STAGED = {"kind": "bayesian", "initial": 8, "batch": 2, "costs": {"Sketch": 1, "Density": 30}, "effort": 0.2}
BY_RULE: dict[str, Any] = {}
BAYESIAN: dict[str, Any] = {
    "seed": 3,
    "space": REALS,
    "optimizer": STAGED,
    "objectives": [{"maximize": "density"}],
}


@pytest.mark.parametrize("changes", [BY_RULE, pytest.param(BAYESIAN, marks=pytest.mark.slow)])
def test_promotions_survive_kills(changes: dict[str, Any], tmp_path: Path) -> None:
    """A genome that is taken further is so again, its earlier stages taken from the cache."""
    data = {**promoting(24 if changes else 36), **changes}
    report = killed_at_statements(data, tmp_path / "killed", most=175)
    reference = finished(data, tmp_path / "reference")
    assert report["deaths"] > 5
    assert len(reference.history.superseded()) > (0 if changes else 5)
    assert report["digest"] == reference.digest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_statement_for_long(seed: int, tmp_path: Path) -> None:
    """The same over many seeds, hundreds of times each."""
    data = funnel(72, seed=seed)
    report = killed_at_statements(data, tmp_path / "killed", most=75, seed=seed)
    assert report["digest"] == finished(data, tmp_path / "reference").digest()


def test_a_leak_in_an_evaluator_is_seen(tmp_path: Path) -> None:
    """The tests above can fail: a number drawn from the process's own generator changes the digest."""
    data = funnel(24)
    data["evaluate"][0][f"{STEPS}:Height"]["leak"] = "global random"
    whole = killed_at_statements(data, tmp_path / "whole", most=NEVER)
    killed = killed_at_statements(data, tmp_path / "killed", most=145)
    assert (whole["deaths"], killed["deaths"] > 0) == (0, True)
    assert killed["digest"] != whole["digest"]


def test_a_leak_in_an_optimizer_is_seen(tmp_path: Path) -> None:
    """So does an optimizer that keeps a generator of its own, whose state no store holds."""
    data = funnel(24, optimizer={"kind": f"{STEPS}:ForgetfulSearch", "batch": 8})
    whole = killed_at_statements(data, tmp_path / "whole", most=NEVER)
    killed = killed_at_statements(data, tmp_path / "killed", most=145)
    assert (whole["deaths"], killed["deaths"] > 0) == (0, True)
    assert killed["digest"] != whole["digest"]


def test_killed_while_workers_start(tmp_path: Path) -> None:
    """A coordinator killed while its workers are still importing leaves none of them behind."""
    campaign = written(funnel(24), tmp_path / "campaign.yaml")
    process = started("run", campaign, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 2)
    assert wait_until(lambda: len(children(process.pid)) >= 3)  # the resource tracker and two workers
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert wait_until(lambda: not alive(workers))
    assert cli("resume", tmp_path / "run", "--trust-code", "--workers", 0).returncode == 0


def test_killed_while_workers_work(tmp_path: Path) -> None:
    """Workers end in the midst of a long evaluation when their coordinator was killed."""
    campaign = written(funnel(24, delay=4 * PATIENCE), tmp_path / "campaign.yaml")
    process = started("run", campaign, "--run-dir", tmp_path / "run", "--trust-code", "--workers", 2)
    assert wait_until(lambda: tasks_done(tmp_path / "run") >= 1)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert wait_until(lambda: not alive(workers))
