"""Crystals to learn from: tables, folders and databases, with a word on each that cannot be read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from ase.build import bulk
from ase.db import connect
from pymatgen.core import Lattice, Structure

from invdesign.errors import InvdesignError
from invdesign.generators.training_set import describe_left_out, read_training_set

SALT = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])


def table(broken: int = 0, whole: int = 3) -> str:
    """CSV with whole crystals and broken ones."""
    cif = SALT.to(fmt="cif").replace('"', "")
    rows = [f'mp-{n},0.0{n},"{cif}"' for n in range(whole)]
    rows += [f'bad-{n},0.1,"data_x _cell_length_a what"' for n in range(broken)]
    return "\n".join(["material_id,e_above_hull,cif", *rows]) + "\n"


@pytest.mark.parametrize("packed", [False, True])
def test_tables(tmp_path: Path, packed: bool) -> None:
    """A column of CIF texts, plain or packed; other numbers come along; a broken row is named."""
    path = tmp_path / ("data.csv.gz" if packed else "data.csv")
    text = table(broken=1).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    found = read_training_set([path])
    assert [crystal.name for crystal in found.crystals] == ["mp-0", "mp-1", "mp-2"]
    assert found.crystals[1].properties == {"e_above_hull": 0.01}
    assert "row 4 (bad-0)" in describe_left_out(found)
    assert found.sources[0][0] == path.name
    assert len(found.sources[0][1]) == 64


def test_folders_and_databases(tmp_path: Path) -> None:
    """CIF files of a folder, and rows of an ASE database; what is disordered is left out by name."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    SALT.to(filename=str(folder / "salt.cif"))
    mixed = SALT.copy()
    mixed.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    mixed.to(filename=str(folder / "mixed.cif"))
    (folder / "notes.txt").write_text("not a crystal")
    with connect(tmp_path / "some.db") as database:
        database.write(bulk("NaCl", "rocksalt", 5.6), key_value_pairs={"gap": 5.0})
    found = read_training_set([folder, tmp_path / "some.db"])
    assert [crystal.name for crystal in found.crystals] == ["salt", "row 1"]
    assert found.crystals[1].properties["gap"] == 5.0
    assert found.left_out[0][0] == "mixed"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no file or folder"),
        ("words.csv", "a,b\n1,2\n", "has no column 'cif'.*a, b"),
        ("bad.csv", table(broken=5, whole=1), "1 of 6 crystals can be read"),
        ("cut.csv.gz", "not packed at all", "cannot be unpacked"),
    ],
)
def test_unreadable_sources(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    """Missing, without crystals, mostly broken, or no packed file: a clear word."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvdesignError, match=message):
        read_training_set([path])
