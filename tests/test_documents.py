"""The documents are true: their campaigns and code run, and name what exists."""

from __future__ import annotations

import json
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from typer.testing import CliRunner

from invdesign import registry
from invdesign.campaign.document import parse_yaml, read_document
from invdesign.campaign.load import campaign_from
from invdesign.campaign.schema import build_campaign_schema
from tests import api_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_readme_shows_the_quickstart() -> None:
    """The campaign in the README is the one `make run` runs, but for its description."""
    (shown,) = blocks(ROOT / "README.md", "yaml")
    shipped = read_document(ROOT / "campaigns" / "antiperovskite_electrolyte.yaml").value
    assert isinstance(shipped, dict)
    assert parse_yaml(shown).value == {key: value for key, value in shipped.items() if key != "description"}


def test_the_campaign_of_the_manual_runs(tmp_path: Path) -> None:
    """The page about campaign files shows one that runs to its end."""
    from invdesign.run.run import Run

    first, *_ = blocks(ROOT / "docs" / "campaign.md", "yaml")
    data = parse_yaml(first).value
    assert isinstance(data, dict)
    campaign = campaign_from({**data, "engine": {"kind": "local", "workers": 0}})
    status = Run.create(campaign, tmp_path / "run").execute()
    assert status.state == "finished"
    assert status.counts["asked"] == 64


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md"])
def test_the_python_on_the_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied from the page into a script, it runs; searches are made faster for it."""
    (tmp_path / "campaigns").mkdir()
    toy = (ROOT / "campaigns" / "toy.yaml").read_text(encoding="utf-8")
    toy = re.sub(r"delay: [0-9.]+", "delay: 0", toy).replace("candidates: 240", "candidates: 40")
    (tmp_path / "campaigns" / "toy.yaml").write_text(
        toy + "engine: {kind: local, workers: 0}\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / page, "python"):
        code = block.replace("run.structure(run.front()[0])", "run.front()")
        code = code.replace("budget=40", "budget=8, optimizer='random', workers=0")
        exec(compile(code, page, "exec"), {"__name__": "page"})
    assert list(tmp_path.rglob("report.html"))


def test_every_command_on_the_pages_exists() -> None:
    """`invdesign WORD` in a code block or a table names a command."""
    from invdesign.cli.app import app

    listed = CliRunner().invoke(app, ["--help"]).output
    words = {
        word
        for page in PAGES
        for word in re.findall(r"^(?:\| `)?invdesign ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {"run", "resume", "validate", "reference"} <= words
    assert not {word for word in words if f"\n  {word} " not in listed}


def test_every_link_leads_somewhere() -> None:
    """Relative links and pictures point to files of the project."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_plugin() -> None:
    """The table of what is supported is complete."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for group in ("spaces", "optimizers", "generators", "evaluators", "potentials", "engines"):
        for name in registry.names(group):
            if name != "landscape":  # for trying things out: shown with the toy campaign
                assert name in text, f"{name} is not in the README"


def test_the_shipped_schema_is_the_generated_one() -> None:
    """After a change of settings: `make schema`."""
    shipped = json.loads((ROOT / "docs" / "campaign.schema.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(build_campaign_schema()))


def test_the_shipped_api_page_is_the_generated_one() -> None:
    """After a change of docstrings: `make api`."""
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.render()


def test_every_dependency_is_pinned() -> None:
    """The constraints file has a version for whatever the package and its extras ask for."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {_normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    asked = {_normal(re.split(r"[^A-Za-z0-9._-]", item)[0]) for item in requires("invdesign") or []}
    assert not asked - pinned


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
