"""The pages on optimizers and plug-ins are true: their code runs, their settings are the ones there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from invdesign import registry
from invdesign.campaign.load import campaign_from
from invdesign.settings import load

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, without files that tests of that page write."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = re.sub(r"^<!-- file: \S+ -->\n```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
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
    assert len(blocks("plugins.md", "python")) == 6
    run("plugins.md", "plugins_page", tmp_path, monkeypatch)


def test_the_loop_of_the_page_finds_the_minimum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three hundred candidates end near the bottom of the bowl."""
    run("optimizers.md", "optimizers_page", tmp_path, monkeypatch)
    assert float(capsys.readouterr().out.split()[-1]) < 0.05


PAGES = [("optimizers", name) for name in registry.names("optimizers")]
PAGES += [("spaces", name) for name in registry.names("spaces")]
SETTINGS = [(group, name, text) for group, name in PAGES for text in blocks(f"{group}/{name}.md", "yaml")]


@pytest.mark.parametrize(("group", "name", "text"), SETTINGS, ids=[f"{item[1]}" for item in SETTINGS])
def test_the_settings_shown_are_accepted(group: str, name: str, text: str) -> None:
    """Every fragment of a campaign file on a page of an optimizer or a space is valid."""
    shown = YAML(typ="safe", pure=True).load(text.replace("my_crystal.cif", "tavorite"))
    for key in ("optimizer", "space"):
        if key in shown:
            load(f"{key}s", shown[key], folder=DOCS.parent / "campaigns")
    if "version" in shown:
        campaign_from(shown, folder=DOCS.parent / "campaigns")


@pytest.mark.parametrize(("group", "name"), PAGES, ids=[name for _, name in PAGES])
def test_the_tables_list_every_setting(group: str, name: str) -> None:
    """A setting that is new or renamed has its row, and a default that is a plain value is the one there is."""
    text = (DOCS / group / f"{name}.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ")]
    for setting, field in registry.load(group, name).model_fields.items():
        shown = field.alias or setting
        found = [row for row in rows if f"`{shown}`" in row[0]]
        assert found or f"  {shown}:" in text, f"{name}.md does not show `{shown}`"
        if found and found[0][0].strip() == f"`{shown}`" and isinstance(field.default, int | float | str):
            default = found[0][1].strip(" `")
            assert group == "spaces" or default.lower() == str(field.default).lower(), found[0]
