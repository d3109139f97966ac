"""The page on structure search is true: its fitness function, its start and its operator run, killed and resumed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from invdesign.campaign.document import parse_yaml
from invdesign.campaign.load import load_campaign
from invdesign.candidate import genome_key
from invdesign.report.html import render_report
from invdesign.run.run import Run
from invdesign.testing import check_space
from tests.run.test_kill import killed_at_statements, tasks_done
from tests.support import PATIENCE, ROOT, Data, environment, finished, wait_until, written

PAGE = (ROOT / "docs" / "spaces" / "crystal.md").read_text(encoding="utf-8")
# CHGNet would take minutes; what the page shows is the same for any potential.
CHEAP: Data = {
    "potential": {"kind": "ase", "calculator": "lj", "arguments": {"sigma": 2.0, "epsilon": 0.1, "rc": 5.0}},
    "steps": 8,
    "unconverged": "keep",
}
FASTER = """import functools, invdesign
invdesign.optimize = functools.partial(
    invdesign.optimize, optimizer={"kind": "genetic", "population": 6}, workers=0, observer=print
)
"""


def blocks(language: str, marker: str = "") -> list[str]:
    """Code blocks of the page in a language: those after a marker, or those without one."""
    found = re.findall(rf"(<!-- file: \S+ -->\n)?^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return [text for mark, text in found if mark.strip() == (marker and f"<!-- file: {marker} -->")]


def write_script(folder: Path) -> Path:
    """Script of the page with a cheap potential, in a folder of its own."""
    folder.mkdir()
    script, _ = blocks("python")
    assert '{"potential": "chgnet"}' in script
    text = FASTER + script.replace('{"potential": "chgnet"}', repr(CHEAP)).replace("budget=40", "budget=16")
    (folder / "dense.py").write_text(text, encoding="utf-8")
    return folder


def start_script(folder: Path) -> subprocess.Popen[str]:
    """Start the script."""
    return subprocess.Popen(
        [sys.executable, "dense.py"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(),
    )


def digest_of(folder: Path) -> str:
    """Digest of a stored run."""
    return Run.open(folder).digest()


def test_the_script_runs_and_goes_on_after_kills(tmp_path: Path) -> None:
    """A fitness function of the relaxed crystal from Python: killed twice and started again, the run is the same."""
    whole = start_script(write_script(tmp_path / "whole"))
    assert (whole.communicate(timeout=PATIENCE)[1], whole.returncode) == ("", 0)
    killed = write_script(tmp_path / "killed")
    for goal in (5, 15):
        process = start_script(killed)
        assert wait_until(lambda goal=goal: tasks_done(killed / "runs" / "dense") >= goal)
        process.kill()
        process.communicate(timeout=PATIENCE)
        assert process.returncode != 0
    resumed = start_script(killed)
    assert (resumed.communicate(timeout=PATIENCE)[1], resumed.returncode) == ("", 0)
    folders = [folder / "runs" / "dense" for folder in (tmp_path / "whole", killed)]
    assert digest_of(folders[0]) == digest_of(folders[1])
    run = Run.open(folders[0])
    trial = run.trial(int(run.history.scores().front()[0]))
    relaxed = run.structure(trial.id, "relaxed")
    assert relaxed is not None
    assert trial.properties["density"] == pytest.approx(relaxed.density)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with a start and an operator, importable until the test ends."""
    (text,) = blocks("python", "my_crystals.py")
    (tmp_path / "my_crystals.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_crystals", raising=False)
    found = importlib.import_module("my_crystals")
    monkeypatch.setitem(sys.modules, "my_crystals", found)  # gone again after the test
    return found


def test_the_campaign_file_runs_and_resumes_after_kills(tmp_path: Path) -> None:
    """The same function named in a campaign file: killed before random statements, the run ends the same."""
    data = write_campaign(tmp_path / "whole")
    reference = finished(
        load_campaign(written(data, tmp_path / "whole" / "dense.yaml"), trust_code=True), tmp_path / "run"
    )
    assert reference.status().counts["complete"] > 0
    assert set(reference.trial(0).properties) >= {"energy_per_atom", "density"}
    write_campaign(tmp_path / "killed")
    report = killed_at_statements(data, tmp_path / "killed", most=200)
    assert report["deaths"] > 0
    assert report["digest"] == reference.digest()


def write_campaign(folder: Path) -> dict[str, Any]:
    """Campaign of the page with a cheap potential; its module lies in `folder`."""
    folder.mkdir()
    (text,) = blocks("python", "crystal_scores.py")
    (folder / "crystal_scores.py").write_text(text, encoding="utf-8")
    (shown,) = blocks("yaml", "dense.yaml")
    data: Any = parse_yaml(shown).value
    assert data["evaluate"][0] == {"relax": {"potential": "chgnet"}}
    data["evaluate"][0] = {"relax": CHEAP}
    return {**data, "budget": {"candidates": 12}, "engine": {"kind": "local", "workers": 0}}


def test_a_start_and_an_operator_of_the_user(module: ModuleType) -> None:
    """Both make crystals of the space, and the class keeps the contract that the page checks."""
    space = module.LayeredCrystals(formula="Li3N", formula_units=2)
    assert {"stacked", "shear", "splice", "symmetric"} <= set(space.operators())
    rng = np.random.default_rng(0)
    starts = [space.operators()["stacked"].apply((), rng) for _ in range(40)]
    made = [genome for genome in starts if genome is not None]
    assert len(made) > 5
    sheared = [space.operators()["shear"].apply([genome], rng) for genome in made]
    children = [genome for genome in sheared if genome is not None]
    assert len(children) > len(made) / 2
    for genome in (*made, *children):
        assert genome_key(space.canonical(genome)) == genome_key(genome)
        assert space.build(genome).composition.reduced_formula == "Li3N"
    check_space(space)


def test_a_campaign_uses_them(tmp_path: Path, module: ModuleType) -> None:
    """Named in a campaign file, they propose candidates."""
    data = {
        "version": 1,
        "name": "layers",
        "space": {"kind": "my_crystals:LayeredCrystals", "formula": "Li3N", "formula_units": 2},
        "evaluate": [{"relax": CHEAP}],
        "objectives": [{"minimize": "energy_per_atom"}],
        "optimizer": {"kind": "genetic", "population": 6, "fresh": 0.2},
        "budget": {"candidates": 60},
        "engine": {"kind": "local", "workers": 0},
    }
    run = finished(load_campaign(written(data, tmp_path / "layers.yaml"), trust_code=True), tmp_path / "run")
    used = {run.history.candidate(id).proposal.operator for id in range(60)}
    assert {"stacked", "shear"} <= used


@pytest.mark.parametrize("name", ["crystal_prediction", "phase_search"])
def test_the_shipped_searches_run(tmp_path: Path, name: str) -> None:
    """Both campaigns run to their end with a cheap relaxation; that of a chemical system has its hull in the report."""
    data: Any = parse_yaml((ROOT / "campaigns" / f"{name}.yaml").read_text(encoding="utf-8")).value
    assert list(data["evaluate"][0]) == ["relax"]
    data["evaluate"] = [{"tests.plugins.crystals:Settling": {}}]
    data |= {"budget": {"candidates": 24}, "engine": {"kind": "local", "workers": 0}}
    run = finished(data, tmp_path / "run")
    assert run.status().counts["complete"] == 24
    page = render_report(run, model=False)
    assert "<h2>Distinct phases</h2>" in page
    assert ("<h2>Convex hull</h2>" in page) == (name == "phase_search")
    if name == "phase_search":
        rows = re.findall(
            r'<th scope="row">(.*?)</th><td class="num">(.*?)</td><td class="num">(.*?)</td>', page
        )
        formation = {formula: value for formula, _, value in rows}
        assert formation["Li"] == formation["Si"] == "0.0000"
        assert len(formation) > 2
