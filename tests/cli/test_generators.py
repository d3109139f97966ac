"""`invdesign generator`: lists, shows, samples, trains and evaluates, and says in words what it cannot do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.structures.reading.read import read_structure
from tests.support import here

SALTS = {("Na", "Cl"): 5.64, ("Li", "F"): 4.03, ("Mg", "O"): 4.21}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three rock salts as a table with a column of CIF texts, and a row that is none."""
    path = tmp_path / "salts.csv"
    rows = [["material_id", "e_above_hull", "cif"]]
    for number, (pair, edge) in enumerate(SALTS.items()):
        crystal = Structure.from_spacegroup(225, Lattice.cubic(edge), pair, [[0, 0, 0], [0.5, 0, 0]])
        rows.append([f"salt-{number}", "0.0", crystal.to(fmt="cif")])
    rows.append(["broken", "0.0", "data_nothing"])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_list_and_show() -> None:
    """Every generator with a line on what it does; the card of a model."""
    listed = here("generator", "list").stdout
    assert "prototypes" in listed
    assert "crystal_vae" in listed
    shown = here("generator", "show", "prototypes").stdout
    assert "crystals: 18867" in shown
    assert "sha256" in json.loads(here("generator", "show", "prototypes", "--json").stdout)["model"]


def test_sample_writes_crystals_that_can_be_read(tmp_path: Path) -> None:
    """A CIF file with symmetry for each crystal, and a table with where it came from."""
    folder = tmp_path / "out"
    done = here("generator", "sample", "prototypes", "--formula", "Li3YCl6", "-n", 5, "--output", folder)
    assert done.returncode == 0, done.stderr
    assert "Wrote 5 crystals" in done.stdout
    rows = list(csv.DictReader((folder / "samples.csv").read_text().splitlines()))
    assert len(rows) == 5
    for row in rows:
        crystal = read_structure((folder / row["file"]).read_text(), row["file"]).ordered
        assert crystal.composition.reduced_formula == "Li3YCl6"
        assert json.loads(row["origin"])["template"]
    groups = {row["space_group"] for row in rows}
    assert groups - {"1"}
    assert "had no effect" not in done.stdout
    again = here("generator", "sample", "prototypes", "--formula", "Li3YCl6", "-n", 5, "--output", folder)
    assert again.returncode == 1
    assert "nothing is overwritten" in again.stderr


def test_wishes_without_effect_are_told(tmp_path: Path) -> None:
    """A generator that knows no properties says so, also where it delivers all that was asked for."""
    options = ("--formula", "NaCl", "-n", 2, "--wish", "band_gap=2", "--output", tmp_path / "out")
    done = here("generator", "sample", "prototypes", *options)
    assert done.returncode == 0, done.stderr
    assert "Wrote 2 crystals" in done.stdout
    assert "the wishes for band_gap had no effect" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formula", "Li3YCl"], "neither|no crystal was made|Li3YCl"),
        (["--formula", "LiOg"], "no crystal with Og"),
        (["--formula", "Xy2"], "is not a formula"),
        (["--elements", "Li,Cl", "--required", "Na"], "required names Na"),
        (["--atoms", "many"], "must be a whole number or a range"),
        (["--formula", "MgO", "--model", "nowhere"], "neither a shipped model|there is no"),
    ],
)
def test_mistakes_are_told_in_words(tmp_path: Path, arguments: list[str], message: str) -> None:
    """No stack trace, and no folder."""
    import re

    done = here("generator", "sample", "prototypes", *arguments, "--output", tmp_path / "out")
    assert done.returncode != 0 or "Li3YCl" in arguments
    if done.returncode:
        assert re.search(message, done.stderr + done.stdout)
        assert not (tmp_path / "out").exists()


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    """A typo gets the nearest name."""
    done = here("generator", "sample", "prototype", "--formula", "MgO", "--output", tmp_path / "out")
    assert done.returncode != 0
    assert "prototypes" in done.stderr


def test_train_and_use(tmp_path: Path, table: Path) -> None:
    """A library of one's own: the broken row is named, the model is used by its folder."""
    model = tmp_path / "model"
    done = here("generator", "train", table, "--kind", "prototypes", "--output", model, "--about", "Salts.")
    assert done.returncode == 0, done.stderr
    assert "3 crystals to learn from" in done.stdout
    assert "row 4 (broken)" in done.stdout
    assert sorted(path.name for path in model.iterdir()) == ["card.md", "config.json", "model.safetensors"]
    sampled = here(
        "generator",
        "sample",
        "prototypes",
        "--model",
        model,
        "--formula",
        "LiCl",
        "--output",
        tmp_path / "out",
    )
    assert sampled.returncode == 0, sampled.stderr
    (model / "model.safetensors").write_bytes(b"\x80\x04pickle")
    broken = here("generator", "show", "prototypes", "--model", model)
    assert broken.returncode != 0
    assert "model.safetensors" in broken.stderr


def test_evaluate_anyones_crystals(tmp_path: Path, table: Path) -> None:
    """Metrics of a table beside a table, as a table and as JSON; of a generator raw and gated."""
    done = here("generator", "evaluate", table, "--learned", table)
    assert done.returncode == 0, done.stderr
    assert "structure_valid_percent" in done.stdout
    rows = json.loads(here("generator", "evaluate", table, "--learned", table, "--json").stdout)
    found = {row["metric"]: row["value"] for row in rows}
    assert found["structure_valid_percent"] == 100.0
    assert found["new_percent"] == 0.0
    both = here(
        "generator",
        "evaluate",
        "prototypes",
        "-n",
        20,
        "--learned",
        table,
        "--held-back",
        table,
        "--formulas",
        2,
        "--json",
    )
    assert both.returncode == 0, both.stderr
    names = {row["samples"] for row in json.loads(both.stdout)}
    assert names == {"raw", "gated", "formulas"}
