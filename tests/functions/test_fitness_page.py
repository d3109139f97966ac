"""The page about fitness functions is true: its script and its campaign run, and causes are those that are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import invdesign
from invdesign.campaign.load import load_campaign
from invdesign.candidate import Candidate, Design, Input, Proposal
from tests.support import ROOT, environment, finished, here

PAGE = (ROOT / "docs" / "fitness.md").read_text(encoding="utf-8")
MODULE = "<!-- file: proxies.py -->\n"
# By default models are fitted, and processes started, which takes longer than all else here.
FASTER = """import functools, invdesign
invdesign.optimize = functools.partial(invdesign.optimize, optimizer="genetic", workers=0)
"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_script_runs(tmp_path: Path) -> None:
    """All the Python of the page, one after the other, as a script; it prints what its last lines ask for."""
    script = FASTER + "\n".join(blocks(PAGE.partition(MODULE)[0], "python"))
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "45"
    runs = {path.name for path in (tmp_path / "runs").iterdir()}
    assert runs == {"conductivity", "trade-off", "distance"}


def test_the_campaign_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows of the command line is what it prints."""
    (module,) = blocks(PAGE.partition(MODULE)[2], "python")
    (campaign,) = blocks(PAGE, "yaml")
    (tmp_path / "proxies.py").write_text(module, encoding="utf-8")
    (tmp_path / "electrolyte.yaml").write_text(campaign, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "proxies", None)
    del sys.modules["proxies"]  # and gone again after the test
    shown = "\n".join(blocks(PAGE, "text")).replace("FOLDER", str(tmp_path))
    checked = here("validate", "electrolyte.yaml", cwd=tmp_path)
    assert checked.stdout in shown
    arguments = ("run", "electrolyte.yaml", "--run-dir", "runs/electrolyte")
    refused = here(*arguments, cwd=tmp_path)
    assert refused.stderr in shown
    run = finished(
        load_campaign(tmp_path / "electrolyte.yaml", trust_code=True), tmp_path / "runs/electrolyte"
    )
    assert run.status().counts["complete"] == 40
    (tmp_path / "proxies.py").write_text(module.replace("12.0", "13.0"), encoding="utf-8")
    changed = here("resume", "runs/electrolyte", "--trust-code", cwd=tmp_path)
    assert changed.stderr in shown


CAUSES = re.findall(r"^\| `(.*?)` \| (.*?) \|$", PAGE.partition("| the cause |")[2], re.MULTILINE)


@pytest.mark.parametrize(("body", "cause"), [row for row in CAUSES if not row[0].startswith("while")])
def test_causes(body: str, cause: str) -> None:
    """A function with this body fails with this cause."""
    names: dict[str, object] = {}
    exec(f"import numpy as np\ndef f(candidate):\n    {body}", names)
    function = invdesign.fitness(provides={"hardness": "GPa"}, requires=["parameters"])(names["f"])
    item = Input(Candidate(0, "k", Proposal({})), Design(parameters={"x": 1.0}), {}, {}, 1)
    (answer,) = function.evaluator.evaluate([item])
    assert answer.failure is not None
    assert answer.failure.message == cause


def test_there_are_causes() -> None:
    """The table was found, and says what a batch of the wrong length is told."""
    assert len(CAUSES) == 8
    batch = invdesign.fitness(provides={"hardness": "GPa"}, requires=["parameters"], batch=2)(lambda_of_two)
    item = Input(Candidate(0, "k", Proposal({})), Design(parameters={"x": 1.0}), {}, {}, 1)
    for answer in batch.evaluator.evaluate([item, item]):
        assert answer.failure is not None
        assert answer.failure.message in PAGE


def lambda_of_two(candidates: list[Input]) -> list[float]:
    return [12.0]
