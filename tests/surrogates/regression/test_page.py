"""The page on trained models is true: its table is read, its commands and its code run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from invdesign import load_campaign
from surrogates.regression.commands import surrogate
from surrogates.regression.table import read_dataset
from surrogates.regression.targets import TargetColumn
from tests.surrogates.regression.salts import HEADING, write_salts
from tests.test_documents import ROOT, blocks

PAGE = ROOT / "docs" / "surrogates.md"


def test_the_table_of_the_page_is_read(tmp_path: Path) -> None:
    """With its limit, its unit and its groups."""
    (tmp_path / "data.csv").write_text(blocks(PAGE, "csv")[0], encoding="utf-8")
    target = TargetColumn("conductivity", "log10_conductivity", log10=True, threshold=1e-4)
    data = read_dataset(tmp_path / "data.csv", target=target, groups=("DOI", "formula"), family="family")
    assert data.censoring.tolist() == [0, 0, -1, 0, 0, 0]
    assert data.groups.tolist() == [0, 1, 2, 3, 3, 4]


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied from the page, on a larger table with the same headings; then the code, and the campaign's constraints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    text = write_salts(tmp_path / "data.csv").read_text(encoding="utf-8")
    text = text.replace(HEADING, "formula,conductivity (S/cm),family,DOI")
    (tmp_path / "data.csv").write_text(text, encoding="utf-8")
    # Values of this table lie between 50 and 900, and quick models do.
    command = blocks(PAGE, "sh")[0].replace("1e-4", "500").replace("extra_trees,support_vectors", "ridge")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["invdesign", "surrogate"]
    done = CliRunner().invoke(surrogate, [*words[2:], "--folds", "3"])
    assert done.exit_code == 0, done.exception
    (tmp_path / "new.csv").write_text("formula\nLiF\nNaI\n", encoding="utf-8")
    exec(
        compile(blocks(PAGE, "python")[0], PAGE.name, "exec"), {"__name__": "page", "print": lambda *_: None}
    )
    constraints = blocks(PAGE, "yaml")[1]
    (tmp_path / "a.yaml").write_text(
        "version: 1\nname: a\nspace: {kind: substitution, parent: antiperovskite, sites: {A: [Li, Na]}}\n"
        "evaluate: [{surrogate: models/mine/}]\nobjectives: [{maximize: log10_conductivity}]\n"
        f"{constraints}optimizer: random\nbudget: {{candidates: 2}}\n",
        encoding="utf-8",
    )
    load_campaign(tmp_path / "a.yaml")
