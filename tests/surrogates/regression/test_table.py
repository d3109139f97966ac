"""Data files of property models: read as people save them, all mistakes at once."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.errors import InvdesignError
from invdesign.tables.units import find_factor
from surrogates.regression.inputs import read_inputs, read_materials
from surrogates.regression.material import Dataset
from surrogates.regression.rows import Columns, scale_charged
from surrogates.regression.sheet import DataFileError
from surrogates.regression.table import read_dataset
from surrogates.regression.targets import TargetColumn

CONDUCTIVITY = TargetColumn("sigma", "log10_conductivity", log10=True)
ROCK_SALT = """\
data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0 {share}
{other}1 {other} 0.5 0.5 0.5 1
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def complaints(path: Path, target: TargetColumn = CONDUCTIVITY, **options: object) -> str:
    """The message about a file that is refused."""
    with pytest.raises(DataFileError) as caught:
        read_dataset(path, target=target, **options)  # type: ignore[arg-type]  # of any test
    return str(caught.value)


TABLE = """\
ID,formula,sigma (S cm-1),DOI,kind
p,Li3PS4,1e-4,10.1/a,sulfide
q,Li3PS4,2e-4,10.1/b,sulfide
r,Li7La3Zr2O12,<1E-10,10.1/b,oxide
s,LiCl,,10.1/c,halide
t,Li6PS5Cl,1.9e-3,,sulfide
"""


def test_limits_logarithms_and_groups_are_read(tmp_path: Path) -> None:
    """A limit keeps its side, rows without a value are left out, rows that share a formula or a source are one group."""
    data = read_dataset(
        write(tmp_path / "data.csv", TABLE), target=CONDUCTIVITY, groups=("DOI", "formula"), family="kind"
    )
    assert (data.target.name, data.target.unit) == ("log10_conductivity", "log10(S/cm)")
    assert data.y == pytest.approx([-4, -3.69897, -10, -2.721246])
    assert data.censoring.tolist() == [0, 0, -1, 0]
    assert data.groups.tolist() == [0, 0, 0, 1]
    assert data.rows == (2, 3, 4, 6)
    assert data.families == ("sulfide", "sulfide", "oxide", "sulfide")
    assert data.materials[3].composition == {"Li": 6, "P": 1, "S": 5, "Cl": 1}
    said = " ".join(data.remarks)
    assert "1 row without a value of sigma (S cm-1) left out" in said
    assert "1 value of 4 are limits" in said
    assert "one group holds 3 of 4 rows" in said


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mS/cm", 1e-3), ("S m-1", 1e-2), ("\u00b5S\u00b7cm\u207b\u00b9", 1e-6), ("1/(Ohm cm)", 1.0)],
)
def test_other_units_are_converted_and_said(tmp_path: Path, unit: str, factor: float) -> None:
    """The vocabulary's unit is learnt, whatever unit the heading or the option states."""
    head = TABLE.replace("(S cm-1)", f"[{unit}]")
    data = read_dataset(write(tmp_path / "a.csv", head), target=CONDUCTIVITY)
    bare = read_dataset(
        write(tmp_path / "b.csv", TABLE.replace(" (S cm-1)", "")),
        target=TargetColumn("sigma", "log10_conductivity", unit, log10=True),
    )
    assert data.y[0] == pytest.approx(-4 + np.log10(factor))
    assert data.target.unit == bare.target.unit == "log10(S/cm)"
    assert bare.y == pytest.approx(data.y)
    assert any("converted from" in remark for remark in data.remarks) == (factor != 1)


@given(
    st.sampled_from(["S/cm", "mS/cm", "S m-1", "uS/mm"]), st.sampled_from(["S/cm", "mS/cm", "S m-1", "uS/mm"])
)
def test_conversion_of_units_is_a_group(first: str, second: str) -> None:
    """There and back is 1, and a way over a third unit is the direct way."""
    there, back = find_factor(first, second), find_factor(second, first)
    assert there is not None
    assert back is not None
    assert there * back == pytest.approx(1.0)
    over = (find_factor(first, "S/cm") or 0.0) * (find_factor("S/cm", second) or 0.0)
    assert over == pytest.approx(there)


@pytest.mark.parametrize(
    ("heading", "target", "words"),
    [
        ("sigma", CONDUCTIVITY, "its unit is not said"),
        ("sigma (siemens)", CONDUCTIVITY, "'siemens' in its heading is no unit that is known"),
        ("sigma (V)", CONDUCTIVITY, "is in V, and log10_conductivity is in log10(S/cm); convert"),
        ("sigma [log10(S/cm)]", CONDUCTIVITY, "already"),
        (
            "sigma (S/cm)",
            TargetColumn("sigma", log10=True, threshold=-4.0),
            "must be > 0 for a logarithm, got -4",
        ),
        ("sigma (S/cm)", TargetColumn("sigma", "log10 x", log10=True), "called like band_gap"),
    ],
)
def test_units_that_cannot_be_right_are_refused(
    tmp_path: Path, heading: str, target: TargetColumn, words: str
) -> None:
    """A unit is said, known, and fits the property."""
    assert words in complaints(write(tmp_path / "a.csv", TABLE.replace("sigma (S cm-1)", heading)), target)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Each with its line, its column, the value found and the remedy."""
    path = write(
        tmp_path / "bad.csv",
        "formula,sigma (S/cm),formula\n"
        "Li3PS4,~1e-4,\n"
        'LiCl,"1,5e-4",\n'
        "LixCoO2,1e-3,\n"
        "Li7La3Zr2O12-\u03b4,0,\n"
        "6Li3PS4,-1e-3,\n"
        "LiBr,12 %,\n"
        "LiI,1e-3,\n",
    )
    text = complaints(path, groups=("doi",))
    for words in (
        "formula: is the heading of more than one column; rename all but one",
        "groups: there is no column 'doi'",
        "bad.csv:2: sigma (S/cm): '~1e-4' is no number. An approximate value is not used",
        "bad.csv:3: sigma (S/cm): '1,5e-4' is no number. Write 1.5e-4, with a decimal point.",
        "bad.csv:4: formula: 'LixCoO2' is not a formula: its amounts are not fixed",
        "bad.csv:5: sigma (S/cm): must be > 0 S/cm for a logarithm, got 0.",
        "bad.csv:5: formula:",
        "bad.csv:6: formula: '6Li3PS4' is not a formula: it begins with an amount",
        "bad.csv:6: sigma (S/cm): must be > 0 S/cm for a logarithm, got -0.001.",
        "bad.csv:7: sigma (S/cm): '12 %' is no number. Units stand in the heading",
    ):
        assert words in text


def test_a_misspelt_column_is_suggested(tmp_path: Path) -> None:
    """The nearest heading, and those that there are."""
    text = complaints(write(tmp_path / "data.csv", TABLE), TargetColumn("sigmo"), family="kid")
    assert "target: there is no column 'sigmo'." in text
    assert "family: there is no column 'kid'. Did you mean 'kind'?" in text


def test_ragged_rows_are_all_named(tmp_path: Path) -> None:
    """A decimal comma in a table with commas makes a cell too many."""
    path = write(tmp_path / "data.csv", "formula,sigma (S/cm)\nLiF,1,5\nLiCl,2\nLiBr,3,5\n")
    text = complaints(path)
    assert "data.csv:2:" in text
    assert "data.csv:4:" in text
    assert "decimal comma" in text


@pytest.mark.parametrize(
    ("options", "target", "words"),
    [
        ({"folds": 5}, CONDUCTIVITY, "4 rows make 3 groups, fewer than the 5 folds"),
        ({}, TargetColumn("sigma", log10=True, threshold=1.0), "all values are below the threshold of 0"),
        ({}, TargetColumn("same", unit=""), "all 5 values are 7: there is nothing to learn"),
        (
            {"scatter": 0.1, "strict": True},
            CONDUCTIVITY,
            "Li3PS4 (p): -4, -3.699 in rows 2, 3 differ by 0.301",
        ),
        ({"needs": {"crystal"}}, CONDUCTIVITY, "there is no crystal, and the features need one"),
        ({"needs": {"cell"}}, CONDUCTIVITY, "there is no cell, and the features need one"),
        ({"needs": {"electrode"}}, CONDUCTIVITY, "there is no formula of the charged electrode"),
    ],
)
def test_sets_that_teach_nothing_are_refused(
    tmp_path: Path, options: dict[str, object], target: TargetColumn, words: str
) -> None:
    """Too few groups, one class, one value, values that contradict each other, parts that are missing."""
    lines = TABLE.splitlines()
    table = "\n".join([f"{lines[0]},same", *(f"{line},7" for line in lines[1:])])
    assert words in complaints(write(tmp_path / "data.csv", table), target, **options)


def test_rows_without_what_features_need_are_left_out_on_request(tmp_path: Path) -> None:
    """What is left out is said; a row with a mistake in its value is still refused."""
    lines = TABLE.splitlines()
    cells = [
        ",a,b,c,alpha,beta,gamma,Space group #,Z",
        *[",4,4,4,90,90,90,225,4"] * 3,
        ",,,,,,,,",
        ",,,,,,,,",
    ]
    path = write(tmp_path / "data.csv", "\n".join(map("".join, zip(lines, cells, strict=True))))
    data = read_dataset(path, target=CONDUCTIVITY, needs={"cell"}, drop_incomplete=True)
    assert len(data) == 3
    assert any("1 row left out" in remark for remark in data.remarks)
    cell = data.materials[0].cell
    assert cell is not None
    assert (cell.space_group, cell.lengths, cell.angles, cell.atoms) == (225, (4, 4, 4), (90, 90, 90), 32)


def test_duplicates_are_kept_and_listed(tmp_path: Path) -> None:
    """Their scatter is told; those that differ by more than the stated one are named."""
    data = read_dataset(write(tmp_path / "data.csv", TABLE), target=CONDUCTIVITY, scatter=0.1)
    assert len(data) == 4
    assert any("standard deviation is 0.21" in remark for remark in data.remarks)
    assert any("differ by more than 0.1" in remark and "rows 2, 3" in remark for remark in data.remarks)


def test_deuterium_and_water_are_said(tmp_path: Path) -> None:
    """They are read, and a remark names the lines."""
    path = write(tmp_path / "data.csv", "formula,gap (eV)\nLiOD,1\nLiCl\u00b7H2O,2\nLiF,3\n")
    said = read_dataset(path, target=TargetColumn("gap")).remarks
    assert "deuterium was read as hydrogen (line 2)" in said
    assert any("water" in remark and "(line 3)" in remark for remark in said)


# Electrodes.


def test_charged_electrodes_are_scaled_to_the_host(tmp_path: Path) -> None:
    """Both formulas of a pair may be on scales of their own."""
    path = write(
        tmp_path / "pairs.csv",
        "formula_charge,formula_discharge,voltage (V)\nMn(NbS2)3,LiMn2(NbS2)6,1.7\nLi0.5CoO2,Li2Co2O4,3.9\nFePO4,LiFePO4,3.5\n",
    )
    data = read_dataset(path, target=TargetColumn("voltage", "average_voltage"), groups=("host",))
    assert data.materials[0].charged == {"Mn": 2, "Nb": 6, "S": 12}
    assert data.materials[1].charged == {"Co": 2, "O": 4, "Li": 1}
    assert data.groups.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("charged", "discharged", "words"),
    [
        ("CoO2", "NaCoO2", "it holds no Li, which is the working ion"),
        ("FePO4", "LiCoO2", "without Li both formulas must have the same elements"),
        ("CoO3", "LiCoO2", "they differ in Co"),
        ("LiCoO2", "Li0.5CoO2", "are the columns exchanged?"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, charged: str, discharged: str, words: str) -> None:
    """Another ion, another host, exchanged columns."""
    path = write(
        tmp_path / "p.csv", f"charged,discharged,voltage (V)\nFePO4,LiFePO4,3\n{charged},{discharged},3.2\n"
    )
    assert words in complaints(path, TargetColumn("voltage"))


@given(st.floats(0.1, 50), st.floats(0.1, 50), st.floats(0, 0.99))
def test_scale_of_formulas_does_not_matter(first: float, second: float, left: float) -> None:
    """The host of the charged electrode is that of the discharged one, and the share of ions left is kept."""
    discharged = {"Li": first, "Co": first, "O": 2 * first}
    charged = {
        symbol: second * amount for symbol, amount in {"Li": left, "Co": 1.0, "O": 2.0}.items() if amount
    }
    found = scale_charged(discharged, charged, "Li")
    assert found["Co"] == discharged["Co"]
    assert found.get("Li", 0.0) == pytest.approx(left * first)


# Crystals.


@pytest.fixture
def crystals(tmp_path: Path) -> Path:
    """Folder with LiF, which is ordered, and LiCl, which lacks half of its lithium."""
    folder = tmp_path / "cifs"
    folder.mkdir()
    write(folder / "p.cif", ROCK_SALT.format(name="p", a=4.03, share=1, other="F"))
    write(folder / "q.cif", ROCK_SALT.format(name="q", a=5.14, share=0.5, other="Cl"))
    return folder


SALTS = "ID,formula,gap (eV)\np,LiF,13.6\nq,Li0.5Cl,9.4\nr,LiBr,7.6\n"


def test_crystals_come_from_a_folder_or_an_archive(tmp_path: Path, crystals: Path) -> None:
    """By the names of the rows, partly occupied sites included; nothing is unpacked to the disk."""
    archive = tmp_path / "cifs.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(crystals, "train")
    path = write(tmp_path / "salts.csv", SALTS)
    before = sorted(tmp_path.rglob("*"))
    for place in (crystals, archive):
        data = read_dataset(path, target=TargetColumn("gap"), crystals=place)
        found = [material.crystal for material in data.materials]
        assert [crystal is not None for crystal in found] == [True, True, False]
        assert found[1] is not None
        assert not found[1].is_ordered
    assert sorted(tmp_path.rglob("*")) == before


def test_disorder_is_refused_where_crystals_must_be_ordered(tmp_path: Path, crystals: Path) -> None:
    """The message names the sites; the row without a crystal is named too."""
    path = write(tmp_path / "salts.csv", SALTS)
    text = complaints(path, TargetColumn("gap"), crystals=crystals, needs={"crystal"}, ordered=True)
    assert "salts.csv:3:" in text
    assert "is disordered, it has partially occupied sites: Li1 Li 0.5" in text
    assert "salts.csv:4: crystal: there is no crystal" in text


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    """Members outside, and links, are refused as for a file on disk (PEP 706)."""
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        entry = tarfile.TarInfo("../evil.cif")
        entry.size = 4
        file.addfile(entry, io.BytesIO(b"data"))
    with pytest.raises(InvdesignError, match="cannot be read as an archive"):
        read_dataset(write(tmp_path / "salts.csv", SALTS), target=TargetColumn("gap"), crystals=archive)


def test_structures_of_json_and_parquet_are_read(tmp_path: Path) -> None:
    """A table of pymatgen's dictionaries, plain, gzipped, by line or in Parquet, is one table."""
    from pymatgen.core import Lattice, Structure

    kinds = (("F", 4.03, 13.6), ("Cl", 5.14, 9.4), ("Br", 5.5, 7.6))
    rows = [
        {
            "formula": f"Li{other}",
            "structure": Structure(Lattice.cubic(a), ["Li", other], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict(),
            "gap": gap,
        }
        for other, a, gap in kinds
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    names = ["a.json", "b.json.gz", "c.jsonl"]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = [{**row, "structure": json.dumps(row["structure"])} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(texts), tmp_path / "d.parquet")
    for name in [*names, "d.parquet"]:
        data = read_dataset(tmp_path / name, target=TargetColumn("gap", unit="eV"), needs={"crystal"})
        assert [len(material.crystal or ()) for material in data.materials] == [2, 2, 2]
        assert data.rows == (1, 2, 3)
    text = complaints(tmp_path / "a.json", TargetColumn("gap"))
    assert "its unit is not said" in text


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "LiF",
            "Li3PS4",
            "1e-4",
            "<1e-10",
            ">3",
            "~2",
            "1,5",
            "nan",
            "-",
            "",
            "0",
            "-1",
            "1e999",
            "inf",
            "7%",
        ]
    ),
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=6), st.booleans())
def test_any_cells_are_read_or_refused(rows: list[tuple[str, str, str, str]], log10: bool) -> None:
    """Whatever stands in a table, there are finite values or an error for the user."""
    stream = io.StringIO()
    csv.writer(stream).writerows([("formula", "value (V)", "DOI", "a"), *rows])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_text(stream.getvalue(), encoding="utf-8", errors="replace")
        try:
            data = read_dataset(
                path,
                target=TargetColumn("value", log10=log10),
                groups=("DOI", "formula"),
                folds=2,
                scatter=0.1,
            )
        except InvdesignError as error:
            assert str(error)  # noqa: PT017 - either way is right
            return
        assert np.isfinite(data.y).all()
        assert len(data) == len(data.rows) == len(data.groups)
        with contextlib.suppress(InvdesignError):
            read_inputs(path, needs={"electrode"})


# Inputs of predictions.


def test_inputs_that_fail_keep_their_reason(tmp_path: Path, crystals: Path) -> None:
    """Rows are read one by one; files of a folder are rows."""
    rows = read_inputs(write(tmp_path / "in.csv", "formula\nLiF\nLixO\n"))
    assert [row.material is not None for row in rows] == [True, False]
    assert "its amounts are not fixed" in str(rows[1].faults[0])
    write(crystals / "z.cif", "data_z\n")
    rows = read_inputs(crystals, ordered=True, needs={"crystal"})
    assert [(row.name, row.material is not None) for row in rows] == [("p", True), ("q", False), ("z", False)]
    with pytest.raises(InvdesignError, match="LixO"):
        read_materials(tmp_path / "in.csv")
    (single,) = read_materials(crystals / "p.cif")
    assert single.composition == {"Li": 4, "F": 4}


def test_a_charged_electrode_is_the_host_where_none_is_given(tmp_path: Path) -> None:
    """All working ions leave; a formula without them is refused."""
    rows = read_inputs(write(tmp_path / "in.csv", "formula\nLiCoO2\nNaCoO2\n"), needs={"electrode"})
    assert rows[0].material is not None
    assert rows[0].material.charged == {"Co": 1, "O": 2}
    assert "it holds no Li" in str(rows[1].faults[0])


def test_columns_with_other_names_are_named(tmp_path: Path) -> None:
    """A column with unusual headings is found by its name alone."""
    path = write(tmp_path / "data.csv", "stuff,gap (eV)\nLiF,13.6\nLiCl,9.4\n")
    assert "there is no column with formulas" in complaints(path, TargetColumn("gap"))
    data = read_dataset(path, target=TargetColumn("gap"), columns=Columns(formula="stuff"))
    assert [material.name for material in data.materials] == ["LiF", "LiCl"]


# Files of others, as they are.


def test_obelix_is_read_as_it_is(shared_data: Path) -> None:
    """478 rows, 29 limits, cells for all, crystals for those that have a readable one."""
    folder = shared_data / "obelix"
    data = read_dataset(
        folder / "train.csv",
        target=TargetColumn("Ionic conductivity", "log10_conductivity", log10=True, threshold=1e-4),
        crystals=folder / "train_cifs.tar.gz",
        groups=("DOI", "formula"),
        family="Family",
        folds=5,
    )
    assert Counter(data.censoring.tolist()) == {0: 449, -1: 29}
    assert data.target.threshold == pytest.approx(-4)
    assert len(set(data.groups.tolist())) == pytest.approx(121, abs=2)
    assert all(material.cell is not None for material in data.materials)
    assert sum(material.crystal is not None for material in data.materials) == 251


def test_pairs_of_voltages_are_read_as_they_are(shared_data: Path) -> None:
    """767 pairs of 556 hosts; 317 of them are not charged fully."""
    data: Dataset = read_dataset(
        shared_data / "voltage" / "pairs.csv",
        target=TargetColumn("voltage", "average_voltage", "V"),
        groups=("host",),
        needs={"electrode"},
    )
    assert (len(data), len(set(data.groups.tolist()))) == (767, 556)
    assert sum("Li" in (material.charged or {}) for material in data.materials) == 317
