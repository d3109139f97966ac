"""Searching in a notebook: it shows itself, and goes on after its kernel was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from invdesign.run.notebook import default_observer, is_notebook, line_observer
from tests.support import environment, finished, toy

SEARCH = """
import os
import signal
from pathlib import Path

import invdesign

log, survived = Path("evaluated.txt"), Path("survived")

@invdesign.fitness(provides={"depth": "mm"}, requires=["parameters"])
def depth(candidate):
    with log.open("a") as file:
        file.write(f"{candidate.id} ")
    if candidate.id == 6 and not survived.exists():
        survived.touch()
        os.kill(os.getppid() if WORKERS else os.getpid(), signal.SIGKILL)
    return (candidate.parameters["x"] - 0.3) ** 2, 0.01

space = {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}}
optimizer = {"kind": "genetic", "population": 5}
result = invdesign.optimize(space, depth, minimize="depth", optimizer=optimizer, budget=20, workers=WORKERS)
print(result.status().state, result.digest())
"""
SHOWN = "result"
MISTAKEN = 'invdesign.optimize(space, depth, minimize="dept", budget=-1)'
CHANGED = """
@invdesign.fitness(provides={"depth": "mm"}, requires=["parameters"])
def depth(candidate):
    return (candidate.parameters["x"] - 0.4) ** 2

try:
    invdesign.optimize(space, depth, minimize="depth", optimizer=optimizer, budget=20, workers=0)
except invdesign.errors.CampaignChangedError as error:
    print(error)
"""


def executed(cells: list[str], folder: Path) -> Any:
    """A notebook of these cells, after nbconvert executed it in a kernel of its own."""
    from nbconvert.preprocessors import ExecutePreprocessor
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell.strip()) for cell in cells])
    notebook.cells[-1].metadata["tags"] = ["raises-exception"]
    runner = ExecutePreprocessor(timeout=120, kernel_name="python3")
    runner.preprocess(notebook, {"metadata": {"path": str(folder)}})
    return notebook


def printed(cell: Any) -> str:
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


def html(cell: Any) -> list[str]:
    return [output["data"]["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})]


@pytest.fixture
def jupyter_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jupyter keeps its own files in the test's folder."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_kernel(workers: int, jupyter_at_home: Path, tmp_path: Path) -> None:
    """Executed again in a fresh kernel, the same cells go on: nothing is lost, nothing evaluated twice, the end the same.

    Only what was being evaluated when the kernel died is repeated. Then a changed function is noticed.
    """
    from nbclient.exceptions import DeadKernelError

    search = SEARCH.replace("WORKERS", str(workers))
    with pytest.raises(DeadKernelError):
        executed([search], jupyter_at_home)
    before = evaluated(jupyter_at_home)
    assert 6 in before
    assert 19 not in before
    cells = executed([search, SHOWN, CHANGED, MISTAKEN], jupyter_at_home).cells
    searched, shown, changed, mistaken = cells
    twice = evaluated(jupyter_at_home)
    for number in range(20):
        twice.remove(number)
    assert 6 in twice
    assert len(twice) <= max(1, workers)
    state, digest = printed(searched).split()
    assert state == "finished"
    assert digest == uninterrupted(search, tmp_path / "plain")
    (panel,), (card,) = html(searched), html(shown)
    assert "finished" in panel
    for part in ("20 of 20 candidates", "minimize depth", "depth, mm", "± 0.01", "<svg", "runs/depth"):
        assert part in card, part
    assert "the function 'depth' has changed since the run began; changed: its source" in printed(changed)
    assert "For a new run give another run_dir (or name)." in printed(changed)
    (told,) = mistaken.outputs
    assert told["traceback"] == [said_of_mistakes()]  # and no stack


def said_of_mistakes() -> str:
    return (
        "CampaignError: optimize: 2 mistakes\n"
        "  optimize: budget: must be greater than 0, got -1\n"
        "  optimize: minimize: no evaluator of this campaign provides 'dept'. Did you mean 'depth'?"
    )


def evaluated(folder: Path) -> list[int]:
    """Numbers of the candidates the function was called with, in that order."""
    return [int(word) for word in (folder / "evaluated.txt").read_text().split()]


def uninterrupted(search: str, folder: Path) -> str:
    """The digest of the same search in a plain process that nobody kills."""
    folder.mkdir()
    (folder / "survived").touch()
    (folder / "search.py").write_text(search, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "search.py"], capture_output=True, text=True, cwd=folder, check=True, timeout=120
    )
    return done.stdout.split()[1]


def test_outside_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown where nobody looks; lines come at once for the end, and else only now and then."""
    from invdesign.campaign.document import parse_yaml
    from invdesign.campaign.load import campaign_from

    assert not is_notebook()
    assert default_observer(tmp_path) is None  # pytest has taken stderr
    data = parse_yaml(toy(4)).value
    assert isinstance(data, dict)
    status = finished(campaign_from(data), tmp_path / "run").status()
    show = line_observer()
    show(status)
    show(status)
    assert capsys.readouterr().err.splitlines()[0].startswith("toy: 4/4 candidates; f1 ")
