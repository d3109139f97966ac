"""A broken package among the plug-ins is named; it stops nothing but its own use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from invdesign import registry
from invdesign.cli import doctor
from invdesign.errors import PluginError
from tests.support import cli, here, toy

ENTRIES = """\
[invdesign.optimizers]
raises = strange_raises:X
leaves = strange_leaves:X
number = strange_parts:NUMBER
nothing = strange_parts:Missing
wrong = strange_parts:Plain
malformed = not a : value !!
refuses = strange_parts:Refuses
genetic = strange_parts:Plain
[invdesign.evaluators]
boom = strange_parts:Boom
twice = strange_parts:Boom
[invdesign.commands]
hangs = strange_hangs:app
unused = strange_parts:NUMBER
greets = strange_commands:app
"""
MODULES = {
    "strange_raises": "raise RuntimeError('no licence')",
    "strange_leaves": "import sys; sys.exit(3)",
    "strange_hangs": "import time; time.sleep(600)",
    "strange_parts": """
from pydantic import model_validator
from invdesign.protocols import EvaluatorSettings
from invdesign.settings import Settings
NUMBER = 5
class Plain(Settings): pass
class Refuses(Settings):
    def ask(self): ...
    def refusal(self, space, problem): raise TypeError("no space")
class Boom(EvaluatorSettings):
    def evaluate(self): ...
    @model_validator(mode="after")
    def _explode(self): raise RuntimeError("bang")
""",
    "strange_commands": """
import typer
app = typer.Typer(help="Greetings.")
@app.command()
def hello(name: str): typer.echo(f"hello {name}")
@app.command()
def fail(): raise typer.Exit(5)
""",
}


def installed(folder: Path, name: str, entries: str) -> None:
    """A distribution as an installer leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two distributions whose plug-ins are wrong in every way."""
    installed(tmp_path, "strange", ENTRIES)
    installed(tmp_path, "stranger", "[invdesign.evaluators]\ntwice = strange_parts:Plain\n")
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    registry._entries_by_name.cache_clear()
    yield tmp_path
    registry._entries_by_name.cache_clear()


@pytest.mark.parametrize(
    ("group", "name", "message"),
    [
        ("optimizers", "raises", "'raises' of strange cannot be loaded: RuntimeError: no licence"),
        ("optimizers", "leaves", "'leaves' of strange cannot be loaded: SystemExit: 3"),
        ("optimizers", "number", "is no class of settings: strange_parts:NUMBER is 5"),
        ("optimizers", "nothing", "no attribute 'Missing'"),
        ("optimizers", "wrong", r"is none of the optimizers: it has no ask\(\)"),
        ("optimizers", "malformed", "'malformed' of strange cannot be loaded"),
        ("evaluators", "twice", "several installed packages have a plug-in 'twice': strange, stranger"),
        ("commands", "unused", "is no typer app: it is 5"),
    ],
)
def test_use_of_a_broken_plugin(packages: Path, group: str, name: str, message: str) -> None:
    """Only using it fails, with the entry point, its distribution and the cause."""
    with pytest.raises(PluginError, match=message):
        registry.load(group, name)
    if group != "commands":  # one of those never ends
        assert name not in [working for working, _ in registry.load_working(group)]


def test_built_in_plugins_keep_their_names(packages: Path) -> None:
    """A package cannot take the name of a built-in plug-in, and the doctor says that it tried."""
    assert registry.load("optimizers", "genetic").__module__ == "invdesign.optimizers.genetic"
    assert "not used: strange_parts:Plain of strange" in registry.explain_rejected("optimizers", "genetic")


def test_the_doctor_goes_on(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All broken plug-ins are listed, one that hangs while it is imported included."""
    monkeypatch.setattr(doctor, "MAX_IMPORT_SECONDS", 1.0)
    found = {
        finding.subject: finding.message
        for finding in doctor._examine_plugins()
        if finding.verdict == "problem"
    }
    assert {
        "optimizers/raises",
        "optimizers/malformed",
        "optimizers/genetic",
        "evaluators/twice",
    } <= found.keys()
    assert "'hangs' of strange was not loaded within 1 s" in found["commands/hangs"]
    assert "greets" not in " ".join(found)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{kind: genetic, population: 10}",
            "refuses",
            "it fails on it: TypeError: no space. Optimizers that can",
        ),
        (
            "landscape: {function: zdt2, delay: 0.0, batch_size: 1}",
            "boom: {}",
            "'boom' fails on its settings: RuntimeError: bang",
        ),
        ("minimize: f2", "minimize: f9", "Provided are: f1, f2."),
    ],
)
def test_campaigns_beside_broken_plugins(
    packages: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """A plug-in that fails when it is asked is a mistake of the campaign that names it, and of no other."""
    (tmp_path / "toy.yaml").write_text(toy().replace(old, new))
    done = here("validate", "toy.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


def test_commands_of_other_packages(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Help names them without importing them; they work when they are used, and fail alone."""
    import os

    monkeypatch.setenv("PYTHONPATH", f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr("tests.support.environment", lambda: dict(os.environ))
    help_ = cli("--help")
    assert help_.returncode == 0
    assert "Commands of strange." in help_.stdout
    assert cli("greets", "hello", "Ada").stdout == "hello Ada\n"
    assert cli("greets", "fail").returncode == 5
    done = cli("unused", "x")
    assert (done.returncode, done.stderr) == (
        2,
        "the plug-in 'unused' of strange is no typer app: it is 5.\n",
    )
