"""The page on outside programs is true: its example runs, its tables are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from invdesign import Run, load_campaign
from surrogates.external.command import Command, Restart, Written
from surrogates.external.placeholders import SPECIAL_PLACEHOLDERS
from surrogates.external.readers import QUANTITIES, Result, Value
from tests.surrogates.test_command import lammps
from tests.test_documents import ROOT, blocks

PAGE = ROOT / "docs" / "command.md"
EDGES = {"LiF": 4.03, "LiCl": 5.13, "NaF": 4.62, "NaCl": 5.64}  # Å, measured: Wyckoff, Crystal Structures


@lammps
def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    """Four salts: lattice constants within 2 % of experiment, the tightest first, the numbers those of the page."""
    (campaign, _) = blocks(PAGE, "yaml")
    (tmp_path / "salts.yaml").write_text(campaign, encoding="utf-8")
    (tmp_path / "in.lammps").write_text(blocks(PAGE, "lammps")[0], encoding="utf-8")
    run = Run.create(load_campaign(tmp_path / "salts.yaml", trust_code=True), tmp_path / "run")
    run.use_workers(0)
    run.execute()
    rows = run.table().set_index("formula")
    assert len(rows) == 4
    assert rows["lattice_energy"].idxmin() == "LiF"
    text = PAGE.read_text(encoding="utf-8")
    assert f"{rows['lattice_energy'].min():.2f} eV/atom" in text
    for formula, measured in EDGES.items():
        edge = rows["lattice_constant"][formula]
        assert edge == pytest.approx(measured, rel=0.02)
        assert f"{edge:.2f} Å" in text
    structure = run.structure(run.front()[0])
    assert structure is not None
    assert structure.lattice.a == pytest.approx(rows["lattice_constant"]["LiF"])


def test_every_setting_is_on_the_page() -> None:
    """Those of the stage have a row, with their default; all others are named."""
    text = PAGE.read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(" `"): line for line in text.splitlines() if line.startswith("| `")}
    for name, field in Command.model_fields.items():
        assert (field.alias or name) in rows
    for model in (Written, Restart, Result, Value):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in text or f"{name}:" in text, f"{model.__name__}.{name}"
    for name in [*(f"{{{{{special}}}}}" for special in SPECIAL_PLACEHOLDERS), *QUANTITIES]:
        assert f"`{name}`" in text, name
    assert Command.model_fields["keep"].default in rows["keep"]


def test_the_restart_of_the_page_is_accepted() -> None:
    """As it stands there."""
    shown = YAML(typ="safe", pure=True).load(blocks(PAGE, "yaml")[1])
    assert Restart.model_validate(shown["restart"]).copy_ == {"CONTCAR": "POSCAR"}
