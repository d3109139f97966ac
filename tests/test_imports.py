"""Light things stay light, and data flows one way."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import ROOT, environment

HEAVY = {"torch", "chgnet", "ase", "pymatgen", "deap", "scipy", "pandas", "plotly", "sklearn", "botorch", "matplotlib", "sqlalchemy", "moocore", "spglib"}  # fmt: skip


def loaded(code: str) -> set[str]:
    """Top-level modules a fresh process has loaded after this code."""
    code = f"import sys\n{code}\nimport json\nprint('\\n' + json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment(), check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
from invdesign.cli import main
sys.argv = ["invdesign", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


def test_import() -> None:
    """`import invdesign` loads none of the heavy libraries, and not even numpy."""
    assert loaded("import invdesign") & (HEAVY | {"numpy", "pydantic"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help(arguments: list[str]) -> None:
    """Help answers without loading any of them either."""
    assert loaded(HELP.format(arguments=arguments)) & HEAVY == set()


def test_validating_a_toy() -> None:
    """A campaign without structures is read without a chemistry library or a database."""
    assert loaded(HELP.format(arguments=["validate", "campaigns/toy.yaml"])) & HEAVY == set()


def test_loading_every_plugin() -> None:
    """A plug-in's class is light: what it needs is loaded when it works."""
    code = """
from invdesign import registry
for group in registry.GROUPS:
    for name in registry.names(group):
        registry.load(group, name)
"""
    assert loaded(code) & HEAVY == set()


def test_a_worker_of_numbers() -> None:
    """A worker whose evaluators know no structures loads no chemistry library."""
    code = """
import json
from invdesign.campaign.load import load_campaign
from invdesign.worker import Setup, Worker
campaign = load_campaign("campaigns/toy.yaml")
worker = Worker.from_setup(Setup.from_plugins(campaign.space, campaign.evaluators))
member = {"id": 0, "key": "k", "genome": {"x": 0.1, "y": 0.2, "z": 0.3}, "properties": {}, "structures": {}, "seed": 1}
for stage in ("build", "landscape"):
    (answer,) = json.loads(worker.execute(json.dumps({"stage": stage, "members": [member]})))
    assert "failure" not in answer, answer
"""
    assert loaded(code) & (HEAVY - {"scipy"}) == set()


def test_imports_point_one_way() -> None:
    """The contracts in pyproject.toml hold: layers import only rightwards, and surrogates stand on the contracts."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
