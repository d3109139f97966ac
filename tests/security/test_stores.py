"""A run folder that came by mail: looking at it imports and reads nothing, and working on it asks first."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invdesign.campaign.load import campaign_from
from invdesign.campaign.model import Campaign
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE
from tests.support import campaign, funnel, here, seal, toy

Change = Callable[[dict[str, Any]], None]


def _names_code(dump: dict[str, Any]) -> None:
    dump["optimizer"] = {"kind": "mailed_code:Search"}


def _claims_folder(dump: dict[str, Any]) -> None:
    dump["code"] = ["FOLDER"]
    dump["optimizer"] = {"kind": "mailed_code:Search"}


def _calculator(dump: dict[str, Any]) -> None:
    potential = {"kind": "ase", "calculator": "mailed_code:Search", "arguments": {}}
    dump["stages"][0]["evaluator"] = {"kind": "relax", "potential": potential}


def _reads_file(dump: dict[str, Any]) -> None:
    known = {"kind": "table", "file": "FOLDER/secret.csv", "key": ["x"], "provides": {"f1": ""}}
    dump["stages"][0]["evaluator"] = known


def _leaves_folder(dump: dict[str, Any]) -> None:
    dump["stages"][0]["name"] = "../../outside"


def _endless_seed(dump: dict[str, Any]) -> None:
    dump["seed"] = float("inf")


def _deep(dump: dict[str, Any]) -> None:
    dump["seeds"] = [{"x": 0}]
    dump["stages"] = []


@pytest.fixture
def mailed(tmp_path: Path) -> Path:
    """A new run, and beside it a module that leaves a mark and a file that is nobody's business."""
    (tmp_path / "mailed_code.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w').close()\nclass Search: pass\n"
    )
    (tmp_path / "secret.csv").write_text("x,f1\n0,1\n")
    (tmp_path / "toy.yaml").write_text(toy(5))
    from invdesign.campaign.load import load_campaign

    Run.create(load_campaign(tmp_path / "toy.yaml"), tmp_path / "r")
    return tmp_path


def forge(folder: Path, change: Change) -> None:
    """Change what the store says of its campaign."""
    with sqlite3.connect(folder / "r" / STORE_FILE) as connection:
        rows = connection.execute("select key, value from meta where key = 'campaign'").fetchall()
        dump = json.loads(rows[0][1])
        change(dump)
        text = json.dumps(dump).replace("FOLDER", str(folder))
        connection.execute("update meta set value = ? where key = 'campaign'", (text,))
    connection.close()
    seal(folder / "r" / STORE_FILE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_names_code, "trust"),
        (_claims_folder, "importing it runs it. If you trust it, say so with --trust-code"),
        (_calculator, "importing it runs it"),
        (_reads_file, "settings in a store may not name a file"),
        (_leaves_folder, "name"),
        (_endless_seed, "Infinity is not a finite number"),
        (_deep, "stages"),
    ],
)
@pytest.mark.parametrize(
    "command", [("status",), ("top",), ("show", 1), ("report",), ("export",), ("resume",)]
)
def test_a_forged_store(mailed: Path, change: Change, message: str, command: tuple[object, ...]) -> None:
    """Every command refuses it with a sentence; nothing is imported and no file of this machine is read."""
    forge(mailed, change)
    name, *rest = command
    options = ["--format", "csv", "--output", "x.csv"] if name == "export" else []
    done = here(name, "r", *rest, *options, cwd=mailed)
    assert done.returncode in {2, 3}
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (mailed / "imported").exists()
    assert "mailed_code" not in sys.modules


def test_work_on_a_run_with_code_needs_trust(tmp_path: Path) -> None:
    """A run of a campaign with classes of its own opens and resumes only where its code is trusted."""
    Run.create(campaign(funnel(4)), tmp_path / "r")
    for name in ("status", "resume"):
        done = here(name, tmp_path / "r")
        assert done.returncode == 3
        assert "importing it runs it. If you trust it, say so with --trust-code" in done.stderr
    assert here("status", tmp_path / "r", "--trust-code").returncode == 0


def test_calculators_of_a_campaign_are_code(tmp_path: Path) -> None:
    """A calculator given as `module:Class` is recorded as code, so that the stored run asks for trust."""
    (tmp_path / "own_beside.py").write_text(
        "from ase.calculators.emt import EMT\nclass Own(EMT):\n    pass\n"
    )
    data = {
        "version": 1,
        "name": "own",
        "space": {
            "kind": "ordering",
            "parent": "layered",
            "sites": {"A": {"Li": 0.5, "vacancy": "rest"}},
            "cell": [2, 1, 1],
        },
        "evaluate": [{"relax": {"potential": {"kind": "ase", "calculator": "own_beside:Own"}}}],
        "objectives": [{"minimize": "energy_per_atom"}],
        "optimizer": "random",
        "budget": {"candidates": 2},
    }
    found = campaign_from(data, folder=tmp_path, trust_code=True)
    assert found.code == (str(tmp_path),)
    assert Campaign.from_dump(json.loads(json.dumps(found.dump()))) == found
    Run.create(found, tmp_path / "r")
    assert "If you trust it" in here("status", tmp_path / "r").stderr


def test_programs_need_trust_at_resume(tmp_path: Path) -> None:
    """A stored command is not run because a store says so; looking needs no trust."""
    command = {
        "run": f"'{sys.executable}' -c 'open(1).write(\"v = 1\")' {{{{x}}}}",
        "results": [{"file": "stdout.txt", "regex": {"value": r"v = (\d+)"}}],
        "provides": {"value": ""},
    }
    data = {
        "version": 1,
        "name": "program",
        "space": {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}},
        "evaluate": [{"command": command}],
        "objectives": [{"minimize": "value"}],
        "optimizer": "random",
        "budget": {"candidates": 1},
    }
    Run.create(campaign_from(data, trust_code=True), tmp_path / "r")
    done = here("resume", tmp_path / "r")
    assert done.returncode == 3
    assert "starts programs on this machine. If you trust what the campaign runs, say so" in done.stderr
    assert here("status", tmp_path / "r").returncode == 0


def test_reports_hold_no_foreign_script(tmp_path: Path) -> None:
    """Names, descriptions, labels and the campaign's text stand in the report as text."""
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    text = toy(10).replace("name: toy", f"name: {json.dumps(evil)}\ndescription: {json.dumps(evil)}")
    text = text.replace("    x:", f"    {json.dumps(evil)}:")
    (tmp_path / "evil.yaml").write_text(text + f"# {evil}\n")
    assert here("run", "evil.yaml", "--run-dir", "r", "--workers", 0, cwd=tmp_path).returncode == 0
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "Content-Security-Policy" in page
