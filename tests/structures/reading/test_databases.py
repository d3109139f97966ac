"""ASE databases: rows are read without making objects of what they say."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect

from invdesign.structures.reading.databases import open_database
from invdesign.structures.reading.raw import LIMITS, StructureFileError


def database(path: Path) -> Path:
    """Two crystals with constraints, energies, data and key-value pairs, a molecule and a slab."""
    kind = "json" if path.suffix == ".json" else "db"
    with connect(path, type=kind) as rows:
        for halide, a in (("F", 4.03), ("Cl", 5.14)):
            half = a / 2
            cell = [[0, half, half], [half, 0, half], [half, half, 0]]
            atoms = Atoms(f"Li{halide}", cell=cell, positions=[[0, 0, 0], [half, half, half]], pbc=True)
            atoms.set_constraint(FixAtoms([0]))
            atoms.calc = SinglePointCalculator(atoms, energy=-a)
            rows.write(atoms, gap=a * 2, label=halide, known=True, count=2, data={"array": np.arange(3)})
        rows.write(Atoms("OH", positions=[[0, 0, 0], [1, 0, 0]]), label="molecule")
        rows.write(Atoms("Li", cell=[3, 3, 20], pbc=(True, True, False)))
    return path


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_rows_are_read(tmp_path: Path, name: str) -> None:
    """Numbers, cells, energies and pairs as ASE wrote them; what is no crystal is refused row by row."""
    held = open_database(database(tmp_path / name))
    rows = list(held.read_rows())
    assert [row.id for row in rows] == [1, 2, 3, 4]
    assert rows[0].pairs == {"gap": 8.06, "label": "F", "known": True, "count": 2}
    assert rows[1].energy == pytest.approx(-5.14)
    crystal = held.read_row(2).build_crystal("row 2", LIMITS)
    assert [next(iter(site.occupancies)) for site in crystal.sites] == ["Li", "Cl"]
    np.testing.assert_allclose(crystal.sites[1].position, [0.5, 0.5, 0.5])
    for number in (3, 4):
        with pytest.raises(StructureFileError, match="is not periodic in all directions: it is a slab"):
            held.read_row(number).build_crystal(f"row {number}", LIMITS)
    with pytest.raises(StructureFileError, match="has no row 9"):
        held.read_row(9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE systems SET numbers = x'0300000063000000' WHERE id = 1", "a value"),
        ("UPDATE systems SET numbers = x'03000000ff000000' WHERE id = 1", "atoms of no element"),
        ("UPDATE systems SET numbers = 'text' WHERE id = 1", "no atomic numbers"),
        ("UPDATE systems SET positions = x'00' WHERE id = 1", "no positions"),
        ("UPDATE systems SET cell = NULL WHERE id = 1", "no a cell|no cell"),
        ("UPDATE systems SET cell = zeroblob(72) WHERE id = 1", "edge a is 0 Å long"),
    ],
)
def test_forged_rows_are_refused(tmp_path: Path, change: str, message: str) -> None:
    """Damaged columns are told for their row."""
    path = database(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    row = open_database(path).read_row(1)
    if message == "a value":  # einsteinium is an element
        assert len(row.build_crystal("row 1", LIMITS).sites) == 2
        return
    with pytest.raises(StructureFileError, match=message):
        row.build_crystal("row 1", LIMITS)


def test_objects_in_a_json_database_are_never_made(tmp_path: Path) -> None:
    """What names a class at any place of a row is passed over or refused."""
    marker = tmp_path / "executed"
    data = json.loads(database(tmp_path / "a.json").read_text())
    forged = {
        "__ase_objtype__": "bandpath",
        "labelseq": "GX",
        "cell": {"__import__": f"open({str(marker)!r}, 'w')"},
    }
    for key in ("cell", "positions", "numbers", "pbc", "key_value_pairs", "data", "constraints"):
        data["1"][key] = forged
        (tmp_path / "b.json").write_text(json.dumps(data))
        row = open_database(tmp_path / "b.json").read_row(1)
        if key != "data":
            with pytest.raises(StructureFileError):
                row.build_crystal("row 1", LIMITS)
        assert all(isinstance(value, int | float | str) for value in row.pairs.values())
    assert not marker.exists()


def test_a_view_instead_of_a_table_is_refused(tmp_path: Path) -> None:
    """A view could compute forever when it is read."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE VIEW systems AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
            "SELECT id, id numbers, id positions, id cell, id pbc, id energy, id key_value_pairs FROM n"
        )
    with pytest.raises(StructureFileError, match="is no ASE database"):
        open_database(path)


@pytest.mark.parametrize(
    ("name", "content"), [("a.db", b"SQLite format 3\0 and no more"), ("a.json", b"{}"), ("a.json", b"[1")]
)
def test_what_is_no_database(tmp_path: Path, name: str, content: bytes) -> None:
    """Damaged files are refused by name."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StructureFileError, match=r"^a\."):
        open_database(tmp_path / name)


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("numbers", [3.7, 9], "has atomic numbers that are no whole numbers"),
        ("positions", [[0, 0], [0, 2, 2, 2]], "has no positions that can be read"),
        ("cell", [[0, 2, 2, 2], [0, 2], [2, 2, 0]], "has no cell|has no a cell"),
    ],
)
def test_numbers_that_would_shift(tmp_path: Path, entry: str, value: object, said: str) -> None:
    """Rows of unlike lengths and broken atomic numbers are refused, not read as another crystal."""
    file = database(tmp_path / "a.json")
    held = json.loads(file.read_text())
    held["1"][entry] = value
    file.write_text(json.dumps(held))
    with pytest.raises(StructureFileError, match=said):
        open_database(file).read_row(1).build_crystal("row 1", LIMITS)
