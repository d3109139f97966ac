"""The pages on optimizers and plug-ins are true: their code runs, their settings are the ones there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from invdesign.optimizers.genetic import Genetic
from invdesign.optimizers.random import RandomSearch
from invdesign.settings import Settings, load

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(page: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the page's Python as a module of this name: plug-ins are built anew from their module."""
    (folder / f"{name}.py").write_text("\n\n".join(blocks(page, "python")), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    importlib.import_module(name)


def test_the_plugins_of_the_page_keep_their_contracts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own checks pass, of an evaluator, a space and an optimizer."""
    assert len(blocks("plugins.md", "python")) == 3
    run("plugins.md", "plugins_page", tmp_path, monkeypatch)


def test_the_loop_of_the_page_finds_the_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three hundred candidates end near the bottom of the bowl."""
    run("optimizers.md", "optimizers_page", tmp_path, monkeypatch)
    assert float(capsys.readouterr().out.split()[-1]) < 0.05


@pytest.mark.parametrize("text", blocks("optimizers.md", "yaml"))
def test_the_settings_shown_are_accepted(text: str) -> None:
    """Every fragment of a campaign file on the page is a valid optimizer."""
    load("optimizers", YAML(typ="safe", pure=True).load(text)["optimizer"])


@pytest.mark.parametrize("plugin", [RandomSearch, Genetic])
def test_the_tables_list_every_setting(plugin: type[Settings]) -> None:
    """A setting that is new or renamed has its row, with its default."""
    text = (DOCS / "optimizers.md").read_text(encoding="utf-8")
    for name, field in plugin.model_fields.items():
        default = "`population`" if field.default is None else field.default
        assert f"| `{name}` | {default} |" in text
