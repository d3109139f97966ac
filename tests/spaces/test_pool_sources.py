"""Where a pool's rows come from: tables of every kind, folders of structures, ASE databases."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.settings import load
from invdesign.spaces.pool import sources as pool_sources
from invdesign.spaces.pool.sources import TextSource, open_source
from invdesign.spaces.pool.space import PoolSpace
from invdesign.tables import records
from invdesign.testing import check_space

CELL = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r'"), min_size=1, max_size=12
)


def salt(halide: str, a: float) -> Structure:
    """Rock salt LiX, its primitive cell; `a` of the cubic one."""
    half = a / 2
    lattice = Lattice([[0, half, half], [half, 0, half], [half, half, 0]])
    return Structure(lattice, ["Li", halide], [[0, 0, 0], [0.5, 0.5, 0.5]])


def pool(source: Path, **fields: Any) -> PoolSpace:
    """A pool at a path."""
    built: PoolSpace = load("spaces", {"kind": "pool", "source": str(source), **fields})
    return built


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), rows_per_block=st.integers(1, 3))
def test_csv_as_others_write_it(tmp_path: Path, rows: list[tuple[str, str]], rows_per_block: int) -> None:
    """Separators, quotation marks and line ends within cells come back, in blocks and row by row."""
    path = tmp_path / "cells.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["left", "right"])
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK_ROWS", rows_per_block)
        patch.setattr(records, "BLOCK_BYTES", 40)
        source = TextSource(path)
        blocks = list(source.blocks(["right", "left"]))
    found = [pair for block in blocks for pair in zip(block.cells["left"], block.cells["right"], strict=True)]
    rows = [row for row in rows if any(map(str.strip, row))]  # a blank row is none
    assert found == rows
    places = np.concatenate([block.places for block in blocks])
    assert [source.fetch(int(place), ["left"])["left"] for place in places] == [left for left, _ in rows]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfx,n\n1,a\n2,b\n",
        b"x,n\r\n1,a\r\n2,b\r\n",
        b"x;n\n1;a\n2;b",
        b"x\tn\n1\ta\n\n2\tb\n\n",
        b'"x","n"\n"1","a"\n\n2,"b"\n',
    ],
)
def test_dialects(tmp_path: Path, data: bytes) -> None:
    """Byte order marks, Windows line ends, semicolons, tabs, quotes and blank lines change nothing."""
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    space = pool(path, columns=["x", "n"])
    assert [space.build(space.genome(i)).parameters for i in range(len(space))] == [
        {"x": 1.0, "n": "a"},
        {"x": 2.0, "n": "b"},
    ]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """Names in Latin-1 keep their accents; what is no text in any encoding is refused."""
    path = tmp_path / "table.csv"
    path.write_bytes(b"x,n\n1,\xe9\n")
    assert pool(path, columns=["n"]).build({"row": 1}).parameters == {"n": "\u00e9"}
    path.write_bytes(b"x,n\n1,a\0b\n")
    with pytest.raises(ValidationError, match="is not a text file"):
        pool(path, columns=["x"])


def test_json_lines(tmp_path: Path) -> None:
    """Numbers, words and structures as objects; whole numbers are identifiers as they are."""
    rows: list[dict[str, Any]] = [
        {"id": 7, "x": 1.5, "crystal": salt("F", 4.0).as_dict(), "n": "a\u2028b"},
        {"id": 9, "x": 2, "crystal": salt("Cl", 5.1).as_dict(), "n": "c"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    space = pool(path, id="id", columns=["x", "n"], structure="crystal")
    check_space(space)
    assert space.genome(1) == {"row": 9}
    design = space.build({"row": 7})
    assert design.parameters == {"x": 1.5, "n": "a\u2028b"}
    assert len(design.structures["initial"]) == 2
    (tmp_path / "bad.jsonl").write_text('{"x": 1, "x": 2}\n')
    with pytest.raises(ValidationError, match="line 1 is not JSON: the key 'x' is repeated"):
        pool(tmp_path / "bad.jsonl", columns=["x"])
    (tmp_path / "bad.jsonl").write_text('{"x": 1}\n[2]\n')
    with pytest.raises(ValidationError, match="line 2 is not an object"):
        pool(tmp_path / "bad.jsonl", columns=["x"])


def test_json_lines_without_a_value(tmp_path: Path) -> None:
    """A column that a line does not name is missing there."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1}\n{"y": 2}\n{"x": null}\n{"x": 4}\n')
    with pytest.raises(ValidationError, match=r"x in 2 rows \(2, 3\)"):
        pool(path, columns=["x"])
    assert len(pool(path, columns=["x"], missing="drop")) == 2


def test_parquet(tmp_path: Path) -> None:
    """Rows come from their row group, in any order."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is optional")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"name": [f"m{k}" for k in range(10)], "x": [float(k) for k in range(10)]})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=3)
    space = pool(tmp_path / "rows.parquet", id="name", columns=["x"])
    check_space(space)
    for name in ("m9", "m0", "m5", "m4"):
        assert space.build({"row": name}).parameters == {"x": float(name[1:])}


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what to install."""

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(pool_sources, "import_module", absent)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValidationError, match=r"needs pyarrow: pip install \"invdesign\[parquet\]\""):
        pool(tmp_path / "rows.parquet", columns=["x"])


def test_a_folder_of_structures(tmp_path: Path) -> None:
    """CIF, POSCAR and extended XYZ files are rows called as their files; other files are none."""
    salt("F", 4.03).to(filename=str(tmp_path / "b.cif"), fmt="cif")
    (tmp_path / "POSCAR.2").write_text(salt("Cl", 5.14).to(fmt="poscar"))
    atoms = Atoms(
        "LiBr",
        positions=[[0, 0, 0], [2.75, 0, 0]],
        cell=[[0, 2.75, 2.75], [2.75, 0, 2.75], [2.75, 2.75, 0]],
        pbc=True,
    )
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    (tmp_path / "README.md").write_text("notes")
    space = pool(tmp_path, columns=["file"])
    assert [space.genome(i)["row"] for i in range(len(space))] == ["POSCAR.2", "a.xyz", "b.cif"]
    design = space.build({"row": "a.xyz"})
    assert design.composition is not None
    assert design.composition.reduced_formula == "LiBr"
    assert design.parameters == {"file": "a.xyz"}
    check_space(space)


def test_unreadable_structures_are_named(tmp_path: Path) -> None:
    """All of them, up to ten; `missing: drop` leaves them out."""
    salt("F", 4.03).to(filename=str(tmp_path / "good.cif"), fmt="cif")
    for number in range(12):
        (tmp_path / f"bad{number:02}.cif").write_text("data_nothing\n")
    (tmp_path / "two.xyz").write_text("1\n\nLi 0 0 0\n1\n\nLi 0 0 0\n")
    with pytest.raises(ValidationError) as caught:
        pool(tmp_path)
    said = str(caught.value)
    assert "14 of 15 rows cannot be read" in said
    assert len(re.findall(r"bad\d\d\.cif", said)) == 10
    assert "and 4 more" in said
    space = pool(tmp_path, missing="drop")
    assert len(space) == 1
    assert space.left_out == {"lack a value or cannot be read": 14}


def test_frames_of_a_file_are_rows(tmp_path: Path) -> None:
    """Several structures of one file are rows of their own, each read from its place alone."""
    frames = [
        Atoms("LiF", cell=[[0, a, a], [a, 0, a], [a, a, 0]], positions=[[0, 0, 0], [a, a, a]], pbc=True)
        for a in np.linspace(1.9, 2.2, 40)
    ]
    write(tmp_path / "scan.xyz", frames, format="extxyz")
    salt("Cl", 5.14).to(filename=str(tmp_path / "one.cif"), fmt="cif")
    two = salt("F", 4.03).to(fmt="cif") + salt("Cl", 5.2).to(fmt="cif")
    (tmp_path / "two.cif").write_text(two)
    space = pool(tmp_path)
    names = [space.genome(i)["row"] for i in range(len(space))]
    assert names == ["one.cif", *(f"scan.xyz#{k}" for k in range(1, 41)), "two.cif#1", "two.cif#2"]
    design = space.build({"row": "scan.xyz#40"})
    assert design.structures["initial"].volume == pytest.approx(2 * 2.2**3, abs=1e-3)
    assert space.build({"row": "two.cif#2"}).composition.reduced_formula == "LiCl"
    check_space(space)


@pytest.mark.parametrize("name", ["scan.extxyz", "scan.json", "scan.axsf"])
def test_a_file_of_structures_is_a_pool(tmp_path: Path, name: str) -> None:
    """A file that holds a set of structures needs no folder of its own."""
    crystals = [salt("F", a) for a in (3.9, 4.0, 4.1)]
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps([{"structure": crystal.as_dict()} for crystal in crystals]))
    else:
        frames = [crystal.to_ase_atoms() for crystal in crystals]
        write(path, frames, format="extxyz" if path.suffix == ".extxyz" else "xsf")
    (tmp_path / "other.cif").write_text("not looked at")
    space = pool(path)
    assert [space.genome(i)["row"] for i in range(len(space))] == [f"{name}#{k}" for k in (1, 2, 3)]
    assert space.build({"row": f"{name}#3"}).structures["initial"].volume == pytest.approx(4.1**3 / 4)
    assert space.remarks == (f"{name}: 3 rows read; elements F, Li",)


def test_a_single_structure_is_no_database(tmp_path: Path) -> None:
    """A file in JSON is a database where it holds rows, and a structure where it holds sites."""
    (tmp_path / "one.json").write_text(json.dumps(salt("F", 4.0).as_dict()))
    write(tmp_path / "rows.json", salt("Cl", 5.1).to_ase_atoms(), format="json")
    assert pool(tmp_path / "one.json").genome(0) == {"row": "one.json"}
    assert pool(tmp_path / "rows.json").genome(0) == {"row": 1}


def test_what_a_folder_holds_besides_is_told(tmp_path: Path) -> None:
    """Files of other kinds and folders within are named, also where nothing else is there."""
    (tmp_path / "relaxed").mkdir()
    (tmp_path / "XDATCAR").write_text("steps")
    with pytest.raises(
        ValidationError, match=r"1 file is ignored.*: XDATCAR; 1 folder within it not .*: relaxed"
    ):
        pool(tmp_path)
    salt("F", 4.0).to(filename=str(tmp_path / "mp-1138_POSCAR"), fmt="poscar")
    remarks = pool(tmp_path).remarks
    assert "1 row read" in remarks[1]
    assert remarks[0].endswith(
        "named like structure files: XDATCAR; 1 folder within it not searched: relaxed"
    )


def test_remarks_and_rows_left_out_are_told(tmp_path: Path) -> None:
    """How rows were read, and which could not be, in a few sentences however many rows there are."""
    text = salt("F", 4.03).to(fmt="cif")
    bare = re.sub(r"_symmetry_space_group_name_H-M.*\n|_symmetry_Int_Tables_number.*\n", "", text)
    bare = re.sub(r"loop_\n _symmetry_equiv_pos_site_id\n.*\n.*\n", "", bare)
    for number in range(5):
        (tmp_path / f"p{number}.cif").write_text(bare)
    content, reading = pool(tmp_path).remarks
    assert "5 rows read; elements F, Li" in content
    assert reading.startswith("5 of 5 structures were read with remarks: p0.cif: no symmetry is stated")
    assert reading.endswith("; and 2 more")
    for number in range(12):
        (tmp_path / f"q{number:02}.vasp").write_text("x\n")
    remarks = pool(tmp_path, missing="drop").remarks
    assert len(remarks) == 3
    assert remarks[2].startswith("12 rows (q00.vasp, q01.vasp")
    assert (
        "and 2 more) were left out because they cannot be read; the first: q00.vasp ends after line 1"
        in remarks[2]
    )


def test_a_folder_that_gained_a_file_has_changed(tmp_path: Path) -> None:
    """The hash is of names and contents of all structure files."""
    salt("F", 4.03).to(filename=str(tmp_path / "a.cif"), fmt="cif")
    dump = pool(tmp_path).model_dump(mode="json")
    (tmp_path / "notes.txt").write_text("not a structure")
    load("spaces", dump).source.verify_content()
    salt("Cl", 5.14).to(filename=str(tmp_path / "b.cif"), fmt="cif")
    with pytest.raises(Exception, match="has changed"):
        load("spaces", dump).source.verify_content()


@pytest.mark.parametrize("suffix", [".db", ".json"])
def test_an_ase_database(tmp_path: Path, suffix: str) -> None:
    """Rows are called by their number in it; key-value pairs are columns."""
    path = tmp_path / f"salts{suffix}"
    with connect(path, type=suffix[1:]) as database:
        for halide, a, gap in (("F", 4.03, 13.6), ("Cl", 5.14, 9.4), ("Br", 5.5, 7.6)):
            crystal = salt(halide, a)
            symbols = [site.specie.symbol for site in crystal]
            atoms = Atoms(
                symbols, cell=crystal.lattice.matrix, scaled_positions=crystal.frac_coords, pbc=True
            )
            database.write(atoms, gap=gap, label=f"Li{halide}")
    with connect(path) as database:
        database.delete([2])
    space = pool(path, columns=["gap"])
    assert [space.genome(i) for i in range(len(space))] == [{"row": 1}, {"row": 3}]
    design = space.build({"row": 3})
    assert design.parameters == {"gap": 7.6}
    assert len(design.structures["initial"]) == 2
    check_space(space)
    named = pool(path, id="label", features={"columns": ["gap"]})
    assert named.genome(1) == {"row": "LiBr"}


def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    """Connecting to a file that is none would write into it."""
    path = tmp_path / "notes.db"
    path.write_text("not a database")
    with pytest.raises(ValidationError, match="is not an SQLite file"):
        pool(path)
    assert path.read_text() == "not a database"


def test_formula_and_structure_must_agree(tmp_path: Path) -> None:
    """A row whose formula is not that of its structure is a mistake in the table."""
    path = tmp_path / "rows.jsonl"
    row = {"formula": "LiCl", "crystal": salt("F", 4.03).to(fmt="cif")}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValidationError, match="1: its formula is LiCl, its structure LiF"):
        pool(path, composition="formula", structure="crystal")


def test_a_folder_without_structures_is_refused(tmp_path: Path) -> None:
    """The kinds that are looked for are named."""
    with pytest.raises(ValidationError, match="holds no structure file"):
        pool(tmp_path)


def test_compositions_of_measured_conductors(shared_data: Path) -> None:
    """478 solid electrolytes from the literature, told apart by features of their composition."""
    table = shared_data / "obelix" / "train.csv"
    if not table.is_file():
        pytest.skip(f"no comparison data: {table} is missing")
    with pytest.raises(ValidationError, match=r"77 rows .* the same as an earlier one"):
        pool(table, composition="True Composition")
    space = pool(table, composition="True Composition", repeated="first")
    assert (len(space), space.left_out) == (401, {"repeat an earlier row": 77})
    check_space(space)


def test_rows_are_found_without_holding_them(tmp_path: Path) -> None:
    """A row is read at its place: cells that are not asked for are never kept."""
    path = tmp_path / "wide.csv"
    path.write_text("x,text\n" + "".join(f"{k},{'long ' * 20}\n" for k in range(500)))
    source = open_source(path)
    places = [place for block in source.blocks(["x"]) for place in block.places]
    assert source.fetch(int(places[321]), ["x"]) == {"x": "321"}
