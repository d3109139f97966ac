"""Experiments by files and commands, over days: in any order, interrupted anywhere, the run is the same."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from invdesign.run.run import Run
from tests.plugins.laboratory import Row, measured, numbers, week, whole_week, write_rows
from tests.support import ROOT, STEPS, Data, campaign, cli, here, scripted, written

STEADY = {"kind": "genetic", "mode": "steady_state", "population": 6}
BAYESIAN = {"kind": "bayesian", "initial": 6, "batch": 2, "effort": 0.1}


def recipes(**changes: Any) -> Data:
    """Recipes that are measured, some of them after a model's judgement."""
    return {
        "version": 1,
        "name": "recipes",
        "seed": 5,
        "space": {
            "kind": "parameters",
            "parameters": {"polymer": {"real": [1, 10]}, "ratio": {"real": [0, 0.6]}},
        },
        "evaluate": [
            {
                "experiment": {
                    "provides": {"conductivity": "S/cm", "uniformity": ""},
                    "noise": {"uniformity": 0.05},
                }
            }
        ],
        "objectives": [{"maximize": "conductivity"}, {"maximize": "uniformity"}],
        "optimizer": STEADY,
        "budget": {"candidates": 30},
        "engine": {"kind": "local", "workers": 0},
        **changes,
    }


def with_models() -> Data:
    """The same with a computed stage before, which stops some, and another after."""
    height = {f"{STEPS}:Height": {"gate": {"height": {"max": 60.0}}}}
    return recipes(
        evaluate=[height, *recipes()["evaluate"], f"{STEPS}:Crystal"],
        objectives=[{"maximize": "conductivity"}],
    )


def fill(batch: Path, places: slice = slice(None), **more: Any) -> None:
    """Type results into a batch file."""
    with batch.open(newline="", encoding="utf-8") as lines:
        rows: list[Row] = list(csv.DictReader(lines))
    for row in rows[places]:
        found = {**measured(json.loads(row["genome"])), **more}
        row |= {heading: found[heading.split(" [")[0]] for heading in row if heading.split(" [")[0] in found}
    write_rows(batch, rows)


def said(*arguments: object, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    done = here(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Whatever happens, the same run.


def test_three_invocations_end_as_one_go(tmp_path: Path) -> None:
    """Processes of their own over days, and one process by API: the same to the last digit."""
    file = written(recipes(), tmp_path / "recipes.yaml")
    days = tmp_path / "days"
    assert cli("ask", days, "--campaign", file, "-n", 6, "--output", tmp_path / "one.csv").returncode == 0
    fill(tmp_path / "one.csv", slice(0, 5))
    assert cli("tell", days, tmp_path / "one.csv").returncode == 0
    assert cli("ask", days, "-n", 2, "--output", tmp_path / "two.csv").returncode == 0

    run = Run.create(campaign(recipes()), tmp_path / "go")
    first = run.ask(6)
    run.tell([_told(run, id) for id in first[:5]])
    assert numbers(tmp_path / "two.csv") == run.ask(2)
    assert Run.open(days).digest() == run.digest()


def _told(run: Run, id: int) -> Any:
    from invdesign.run.told import Told

    return Told(id, properties=measured(run.trial(id).genome))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(recipes(), id="measured alone", marks=pytest.mark.slow),
        pytest.param(with_models(), id="between models"),
    ],
)
def test_a_week_survives_kills(data: Data, tmp_path: Path) -> None:
    """Batches, repeats, amendments, failures and withdrawals, each begun anew after a SIGKILL at any statement."""
    file = written(data, tmp_path / "campaign.yaml")
    reference = whole_week(file, tmp_path / "whole")
    report = scripted("tests.plugins.laboratory", file, tmp_path / "killed", 1, 250)
    assert report["deaths"] > 5
    assert report["at"].keys() & {"INSERT", "UPDATE", "COMMIT"}
    assert report["digest"] == reference.digest()


@pytest.mark.slow
def test_a_week_of_sessions_is_a_week_in_one(tmp_path: Path) -> None:
    """A run opened anew for every step ends as one that stayed open, its models fitted to what was measured by then."""
    file = written(recipes(optimizer=BAYESIAN), tmp_path / "campaign.yaml")
    week(file, tmp_path / "sessions")
    assert Run.open(tmp_path / "sessions").digest() == whole_week(file, tmp_path / "whole").digest()


# What the commands say.


def test_days_at_the_command_line(tmp_path: Path) -> None:
    """Several batches are out; results come in any order, twice, with repeats; each command says what comes next."""
    written(recipes(), tmp_path / "recipes.yaml")
    asked = said("ask", "run", "--campaign", "recipes.yaml", "-n", 3, "--output", "one.csv", cwd=tmp_path)
    assert "Wrote candidates 0, 1, 2 to one.csv." in asked
    assert "invdesign tell run one.csv" in asked
    assert "experiment: conductivity [S/cm], uniformity." in asked
    printed = said("ask", "run", "-n", 2, cwd=tmp_path)
    assert re.search(r"^candidate +polymer +ratio\n3 ", printed)
    pending = json.loads(said("ask", "run", "--pending", "--json", cwd=tmp_path))["candidates"]
    assert [row["candidate"] for row in pending] == [0, 1, 2, 3, 4]

    fill(tmp_path / "one.csv", slice(1, 3))
    assert "2 results, 1 row without one, and nothing" in said(
        "tell", "run", "one.csv", "--dry-run", cwd=tmp_path
    )
    told = said("tell", "run", "one.csv", cwd=tmp_path)
    assert "Recorded 2 measurements (1 row without a result yet)." in told
    assert "Complete: candidates 1, 2." in told
    assert "Handed out and without result: candidates 0, 3, 4." in told
    assert "Recorded 0 measurements (2 told before" in said("tell", "run", "one.csv", cwd=tmp_path)

    fill(tmp_path / "one.csv", slice(1, 2), conductivity=0.5)
    assert "More than one measurement counts of candidate 1: they are averaged." in said(
        "tell", "run", "one.csv", cwd=tmp_path
    )
    said("tell", "run", "one.csv", "--replace", cwd=tmp_path)
    history = said("measurements", "run", 1, cwd=tmp_path)
    assert history.count("taken back") == 1
    assert history.count("replaced") == 1
    rows = json.loads(said("measurements", "run", "--json", cwd=tmp_path))
    assert [row["counts"] for row in rows] == [False, True, True]


def test_unasked_failed_and_withdrawn(tmp_path: Path) -> None:
    """A candidate of the chemist's own gets a number; a failure its cause; what is taken back stays in the history."""
    written(recipes(), tmp_path / "recipes.yaml")
    said("ask", "run", "--campaign", "recipes.yaml", "-n", 1, cwd=tmp_path)
    own = {"polymer": 3.5, "ratio": 0.25}
    rows = [{**own, **measured(own), "note": "a favourite"}, {"candidate": 0, "failure": "cracked"}]
    write_rows(tmp_path / "own.csv", rows)
    told = said("tell", "run", "own.csv", cwd=tmp_path)
    assert "Not asked for, added to the run: candidate 1." in told
    assert "Failed: candidate 0." in told
    assert "Complete: candidate 1." in told
    said("withdraw", "run", 1, "--reason", "a dirty cell", cwd=tmp_path)
    history = said("measurements", "run", cwd=tmp_path)
    assert "a favourite; taken back" in history
    assert "a dirty cell" in history
    assert "cracked" in history


def test_the_end_of_the_budget(tmp_path: Path) -> None:
    """Fewer than asked for, then none; both say why, and how to go on."""
    written(recipes(budget={"candidates": 3}), tmp_path / "recipes.yaml")
    fewer = said("ask", "run", "--campaign", "recipes.yaml", "-n", 5, "--output", "one.csv", cwd=tmp_path)
    assert "Fewer than 5: budget reached (3 candidates)." in fewer
    none = said("ask", "run", "--output", "two.csv", cwd=tmp_path)
    assert "No new candidates: budget reached" in none
    assert "Handed out and without result: 0, 1, 2." in none
    assert not (tmp_path / "two.csv").exists()
    fill(tmp_path / "one.csv")
    assert "The budget of 3 candidates is used." in said("tell", "run", "one.csv", cwd=tmp_path)
    assert "Nothing is waiting" in said("ask", "run", "--pending", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["ask", "nowhere"], 3, "invdesign ask nowhere --campaign FILE"),
        (["ask", "new", "--campaign", "toy.yaml"], 3, "such as experiment"),
        (["tell", "nowhere", "x.csv"], 3, "nowhere"),
        (["tell", "run", "x.csv"], 2, "there is no such file"),
        (["ask", "run", "--output", "notes.csv"], 1, "no batch of candidates; choose another name"),
        (["measurements", "run", "7"], 3, "there is no candidate 7"),
    ],
)
def test_mistakes_at_the_command_line(arguments: list[str], code: int, expected: str, tmp_path: Path) -> None:
    """A sentence each; nothing is handed out where its file could not be written."""
    written(recipes(), tmp_path / "recipes.yaml")
    (tmp_path / "toy.yaml").write_bytes((ROOT / "campaigns" / "toy.yaml").read_bytes())
    (tmp_path / "notes.csv").write_text("mine\n1\n")
    Run.create(campaign(recipes()), tmp_path / "run").close()
    done = here(*arguments, cwd=tmp_path)
    assert (done.returncode, expected in done.stderr) == (code, True), done.stderr
    assert Run.open(tmp_path / "run").handed_out() == []


def test_a_campaign_that_is_measured_says_how_it_goes_on(tmp_path: Path) -> None:
    """`run` starts it and tells of `ask`; `status` counts who waits."""
    written(recipes(), tmp_path / "recipes.yaml")
    assert "invdesign ask run -n 4 --output batch.csv" in said(
        "run", "recipes.yaml", "--run-dir", "run", cwd=tmp_path
    )
    said("ask", "run", "-n", 2, cwd=tmp_path)
    assert "2 for results of experiment" in said("status", "run", cwd=tmp_path)
