"""Modules in the working folder and beside a campaign never take the place of Python's own or installed ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from invdesign.beside import is_taken
from invdesign.campaign.load import load_campaign
from invdesign.errors import CampaignError
from invdesign.functions.modules import import_function
from tests.support import environment, here, toy

CONSOLE = [sys.executable, "-P", "-c", "import sys; from invdesign.cli import main; sys.exit(main())"]
MODULE = [sys.executable, "-m", "invdesign"]
TRAPS = (
    "enum",
    "socket",
    "numpy",
    "random",
    "sitecustomize",
    "queue",
    "pickle",
    "selectors",
    "tempfile",
    "torch",
)
MEASURED = """\
version: 1
name: laboratory
space:
  kind: parameters
  parameters: {x: {real: [0, 1]}}
evaluate:
  - experiment: {provides: {strength: MPa}}
objectives:
  - maximize: strength
optimizer: random
budget: {candidates: 4}
"""


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A folder with a campaign, and modules that leave a mark when they are imported."""
    for name in TRAPS:
        mark = tmp_path / f"imported-{name}"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (tmp_path / "toy.yaml").write_text(toy(12))
    (tmp_path / "lab.yaml").write_text(MEASURED)
    return tmp_path


def run_in(folder: Path, start: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own that works in the folder."""
    done = subprocess.run(
        [*start, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_workers_import_nothing_from_the_working_folder(trapped: Path) -> None:
    """A run with workers, and `python -m`, import none of the traps beside it."""
    (trapped / "invdesign.py").write_text(f"open({str(trapped / 'imported-invdesign')!r}, 'w').close()\n")
    run_in(trapped, CONSOLE, "run", "toy.yaml", "--run-dir", "one", "--workers", 1)
    (trapped / "invdesign.py").unlink()  # Python itself looks there for the package of `-m`
    run_in(trapped, MODULE, "validate", "toy.yaml")
    assert not sorted(trapped.glob("imported-*"))


@pytest.mark.slow
@pytest.mark.parametrize("start", [CONSOLE, MODULE])
def test_no_command_imports_from_the_working_folder(trapped: Path, start: list[str]) -> None:
    """Every command leaves the traps alone, on any number of workers."""
    run_in(trapped, start, "validate", "toy.yaml")
    for workers in (0, 1, 2):
        run_in(trapped, start, "run", "toy.yaml", "--run-dir", f"r{workers}", "--workers", workers)
    run_in(trapped, start, "resume", "r1", "--candidates", 30, "--workers", 2)
    for command in ("status", "top", "report"):
        run_in(trapped, start, command, "r1")
    run_in(trapped, start, "ask", "lab", "--campaign", "lab.yaml", "-n", 2, "--output", "batch.csv")
    (trapped / "results.json").write_text(json.dumps([{"candidate": 1, "strength": 2.0}]))
    done = subprocess.run(
        [*start, "tell", "lab", "results.json"], cwd=trapped, env=environment(), check=False
    )
    assert done.returncode in {0, 2}
    assert not sorted(trapped.glob("imported-*"))


@pytest.mark.slow
def test_workers_keep_the_environment_of_programs(tmp_path: Path) -> None:
    """What keeps workers safe is not handed on: a program they start finds the modules beside it."""
    (tmp_path / "helper.py").write_text("VALUE = 3\n")
    (tmp_path / "program.py").write_text("import helper\nprint('value =', helper.VALUE)\n")
    command = {
        "run": f"'{sys.executable}' program.py {{{{x}}}}",
        "files": ["program.py", "helper.py"],
        "results": [{"file": "stdout.txt", "regex": {"value": r"value = (\d+)"}}],
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
    (tmp_path / "program.yaml").write_text(json.dumps(data))
    done = run_in(tmp_path, CONSOLE, "run", "program.yaml", "--run-dir", "r", "--workers", 1, "--trust-code")
    assert "Finished" in done.stdout


PRICE = """\
import random
import helper
from price_scores import base

def price(candidate):
    return random.random() * 0 + helper.OFFSET + base.BASE
"""
FUNCTIONS = """\
version: 1
name: priced
space:
  kind: parameters
  parameters: {x: {real: [0, 1]}}
evaluate:
  - MODULE:price: {provides: {price: EUR}, requires: [parameters]}
objectives:
  - minimize: price
optimizer: random
budget: {candidates: 2}
"""


def priced(folder: Path, module: str) -> Path:
    """A campaign whose function imports a sibling, a package beside it, and Python's own `random`."""
    (folder / "random.py").write_text("raise SystemExit('the module beside the campaign')\n")
    (folder / "helper.py").write_text("OFFSET = 40\n")
    (folder / "price_scores").mkdir()
    (folder / "price_scores" / "__init__.py").write_text("from . import base\n")
    (folder / "price_scores" / "base.py").write_text("BASE = 2\n")
    (folder / "costs.py").write_text(PRICE)
    (folder / "priced.yaml").write_text(FUNCTIONS.replace("MODULE", module))
    return folder / "priced.yaml"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_functions_find_their_siblings_and_pythons_own(tmp_path: Path, workers: int) -> None:
    """A function's module imports modules and packages beside it, and Python's own where both have the name."""
    priced(tmp_path, "costs")
    done = here("run", "priced.yaml", "--run-dir", "r", "--workers", workers, "--trust-code", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(here("top", "r", "--json", cwd=tmp_path).stdout)
    assert {row["properties"]["price"] for row in rows} == {42.0}
    assert str(tmp_path) not in sys.path


def test_a_function_in_a_module_with_a_taken_name(tmp_path: Path) -> None:
    """`random.py` beside a campaign is refused by name, before and after it is trusted."""
    file = priced(tmp_path, "random")
    (tmp_path / "random.py").write_text("def price(candidate):\n    return 1.0\n")
    for trust in (False, True):
        with pytest.raises(
            CampaignError, match=r"'random' is also the name of an installed module.*rename it"
        ):
            load_campaign(file, trust_code=trust)
    with pytest.raises(Exception, match="has the name of an installed module"):
        import_function("random:price", tmp_path)
    assert is_taken("numpy")
    assert is_taken("invdesign")
    assert not is_taken("helper")


def test_libraries_do_not_find_modules_beside_a_trusted_campaign(tmp_path: Path) -> None:
    """An import that neither the campaign nor its code asks for finds nothing in the campaign's folder."""
    load_campaign(priced(tmp_path, "costs"), trust_code=True)
    (tmp_path / "optional_accelerator.py").write_text("raise SystemExit('imported')\n")
    with pytest.raises(ModuleNotFoundError):
        import optional_accelerator  # type: ignore[import-not-found]  # noqa: F401 - the point is that there is none


PLUGIN = """\
import random
from invdesign.optimizers.random import RandomSearch

class Mine(RandomSearch):
    spread: float = random.Random(1).random()
"""


@pytest.mark.slow
def test_classes_beside_a_campaign_do_not_shadow(tmp_path: Path) -> None:
    """A plug-in class is found beside its campaign, in the workers too, and Python's own modules stay its own."""
    (tmp_path / "random.py").write_text("raise SystemExit('the module beside the campaign')\n")
    (tmp_path / "mine_beside.py").write_text(PLUGIN)
    text = toy(8).replace("{kind: genetic, population: 10}", "'mine_beside:Mine'")
    (tmp_path / "toy.yaml").write_text(text)
    run_in(tmp_path, CONSOLE, "run", "toy.yaml", "--run-dir", "r", "--workers", 1, "--trust-code")
    assert "If you trust it" in here("status", "r", cwd=tmp_path).stderr
    assert here("status", "r", "--trust-code", cwd=tmp_path).returncode == 0


def test_the_environment_is_as_before() -> None:
    """Starting workers leaves no trace in the environment of the process that starts them."""
    from invdesign.processes import safe_path

    before = dict(os.environ)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"]
    assert dict(os.environ) == before
