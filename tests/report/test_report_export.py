"""Exports: other programs read back the numbers that were found, and nothing of the user's is overwritten."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from invdesign.cli.describe import describe_candidate, describe_status, format_table
from invdesign.errorbars import ERRORS_EXPLAINED
from invdesign.report.export import ExportError, ase_keys, export_run
from invdesign.report.files import OutputError
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE
from tests.report.conftest import parameters
from tests.support import campaign, finished


def expected(run: Run) -> list[dict[str, object]]:
    """The complete candidates, best first."""
    return run.top(1000)


def test_csv_has_every_candidate_with_exact_numbers(crystal_run: Run, tmp_path: Path) -> None:
    """One row each in the order of their numbers; complete ones with all digits, failed ones with their cause."""
    assert export_run(crystal_run, "csv", tmp_path / "all.csv") == 60
    table = pd.read_csv(tmp_path / "all.csv")
    assert table["candidate"].tolist() == list(range(60))
    found = table["decomposition_energy"].to_numpy()
    assert np.array_equal(found, crystal_run.history.column("decomposition_energy"), equal_nan=True)
    failed = table[table["status"] == "failed"]
    assert (failed["cause"] == "squeeze: error: potassium is too large").all()
    assert len(failed) > 0


def test_csv_of_the_best_is_ranked(crystal_run: Run, tmp_path: Path) -> None:
    """With top, complete candidates only, best first."""
    assert export_run(crystal_run, "csv", tmp_path / "best.csv", top=5) == 5
    ids = pd.read_csv(tmp_path / "best.csv")["candidate"].tolist()
    assert ids == [row["candidate"] for row in crystal_run.top(5)]


def test_csv_of_a_run_that_did_not_start_has_a_head(tmp_path: Path) -> None:
    """No candidates are no error."""
    run = Run.create(campaign(parameters()), tmp_path / "run")
    assert export_run(run, "csv", tmp_path / "none.csv") == 0
    assert (tmp_path / "none.csv").read_text().startswith("candidate,formula,status")


def test_extxyz_read_by_ase_has_the_same_numbers(crystal_run: Run, tmp_path: Path) -> None:
    """Properties to the last digit, positions to 1e-8 Å, best first."""
    from ase.io import read

    rows = expected(crystal_run)
    assert export_run(crystal_run, "extxyz", tmp_path / "all.xyz") == len(rows)
    frames = read(tmp_path / "all.xyz", index=":")
    for frame, row in zip(frames, rows, strict=True):
        assert frame.info["candidate"] == row["candidate"]
        assert frame.info["rank"] == row["rank"]
        for name, value in row["properties"].items():
            assert frame.info[name] == value
        assert frame.info["decomposition_energy_noise"] == 0.01
        assert frame.info["decomposition_energy_systematic"] == 0.05
        assert frame.info["density_detail"] == row["details"]["density"]
        structure = crystal_run.structure(row["candidate"])
        assert structure is not None
        assert np.array_equal(frame.cell.array, structure.lattice.matrix)
        assert np.allclose(frame.positions, structure.cart_coords, atol=1e-8)
        assert frame.get_chemical_symbols() == [site.specie.symbol for site in structure]
        assert frame.pbc.all()


def test_ase_db_has_the_same_numbers(crystal_run: Run, tmp_path: Path) -> None:
    """Rows can be selected by property, and hold the structures exactly."""
    from ase.db import connect

    assert export_run(crystal_run, "ase-db", tmp_path / "best.db", top=7) == 7
    with connect(tmp_path / "best.db") as database:
        rows = list(database.select(sort="rank"))
        selected = list(database.select(f"decomposition_energy<={rows[0].decomposition_energy}"))
    for row, wanted in zip(rows, crystal_run.top(7), strict=True):
        assert row.candidate == wanted["candidate"]
        for name, value in wanted["properties"].items():
            assert row[name] == value
        assert row.data["genome"] == wanted["genome"]
        assert row.data["density_detail"] == wanted["details"]["density"]
        assert row.decomposition_energy_systematic == 0.05
        structure = crystal_run.structure(wanted["candidate"])
        assert structure is not None
        assert np.allclose(row.toatoms().positions, structure.cart_coords, atol=1e-12)
    assert {row.candidate for row in selected} >= {rows[0].candidate}


def test_cifs_read_by_pymatgen_are_the_structures(crystal_run: Run, tmp_path: Path) -> None:
    """One file each, named by number and formula, with the properties in comments and an index by rank."""
    from pymatgen.core import Structure

    rows = expected(crystal_run)
    assert export_run(crystal_run, "cif", tmp_path / "cifs") == len(rows)
    index = pd.read_csv(tmp_path / "cifs" / "index.csv", keep_default_na=False)
    assert index["candidate"].tolist() == [row["candidate"] for row in rows]
    for name, row in zip(index["file"], rows, strict=True):
        assert name == f"{row['candidate']:04d}_{row['formula']}.cif"
        text = (tmp_path / "cifs" / name).read_text(encoding="utf-8")
        assert f"# decomposition_energy = {row['properties']['decomposition_energy']!r} eV/atom" in text
        assert "# decomposition_energy_noise = 0.01 eV/atom" in text
        assert "# decomposition_energy_systematic = 0.05 eV/atom" in text
        assert "about 50 meV/atom" in text
        wanted, found = crystal_run.structure(row["candidate"]), Structure.from_str(text, fmt="cif")
        assert wanted is not None
        assert found.composition == wanted.composition
        assert found.lattice.abc == pytest.approx(wanted.lattice.abc, abs=1e-9)
        assert np.allclose(found.frac_coords % 1, wanted.frac_coords % 1, atol=1e-9)


def test_a_later_export_replaces_an_earlier_one_whole(crystal_run: Run, tmp_path: Path) -> None:
    """Files of the first that the second does not have are gone; nothing else is left beside it."""
    for count in (9, 4):
        assert export_run(crystal_run, "cif", tmp_path / "cifs", top=count) == count
        assert export_run(crystal_run, "extxyz", tmp_path / "best.xyz", top=count) == count
        assert export_run(crystal_run, "ase-db", tmp_path / "best.db", top=count) == count
    assert len(list((tmp_path / "cifs").iterdir())) == 4 + 1
    assert {path.name for path in tmp_path.iterdir()} == {"cifs", "best.xyz", "best.db"}


def test_a_folder_with_other_files_is_left_alone(crystal_run: Run, tmp_path: Path) -> None:
    """Neither a folder of the user's nor an export to which a file was added is replaced."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match=r"holds files that no export made \(thesis\.tex\)"):
        export_run(crystal_run, "cif", mine)
    export_run(crystal_run, "cif", tmp_path / "cifs", top=2)
    (tmp_path / "cifs" / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        export_run(crystal_run, "cif", tmp_path / "cifs", top=1)
    assert (mine / "thesis.tex").read_text() == "precious"
    assert len(list((tmp_path / "cifs").iterdir())) == 4
    with pytest.raises(OutputError, match="holds files"):
        export_run(crystal_run, "cif", crystal_run.folder)


def test_an_empty_folder_is_filled(crystal_run: Run, tmp_path: Path) -> None:
    """A folder made beforehand does no harm."""
    (tmp_path / "cifs").mkdir()
    assert export_run(crystal_run, "cif", tmp_path / "cifs", top=3) == 3


@pytest.mark.parametrize("format", ["csv", "extxyz", "ase-db"])
def test_a_file_is_never_written_over_a_folder_or_a_store(
    format: str, crystal_run: Run, tmp_path: Path
) -> None:
    """The message says what to do; the run is still there."""
    with pytest.raises(OutputError, match="is a folder; name a file"):
        export_run(crystal_run, format, tmp_path)
    with pytest.raises(OutputError, match="run's store"):
        export_run(crystal_run, format, crystal_run.folder / STORE_FILE)
    assert len(Run.open(crystal_run.folder, trust_code=True).history) == 60


def test_cifs_need_a_folder(crystal_run: Run, tmp_path: Path) -> None:
    """A file in the way is not removed."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="name a folder"):
        export_run(crystal_run, "cif", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("format", ["cif", "extxyz", "ase-db"])
def test_a_run_without_structures_is_told_of_csv(format: str, number_run: Run, tmp_path: Path) -> None:
    """Parameters have no crystal; the message names what works, and what was there before stays."""
    output = tmp_path / "best"
    if format != "cif":
        output.write_text("before")
    with pytest.raises(ExportError, match="--format csv"):
        export_run(number_run, format, output)
    assert [path.name for path in tmp_path.iterdir()] == ([] if format == "cif" else ["best"])


def test_a_run_without_complete_candidates_has_no_structures(tmp_path: Path) -> None:
    """The message says so."""
    gate = {"landscape": {"function": "sphere", "gate": {"height": {"max": -1}}}}
    run = finished(parameters(evaluate=[gate], candidates=10), tmp_path / "run")
    with pytest.raises(ExportError, match="no candidate of this run is complete"):
        export_run(run, "extxyz", tmp_path / "best.xyz")


def test_an_unknown_format_is_answered_with_the_nearest(number_run: Run, tmp_path: Path) -> None:
    """All formats are listed."""
    with pytest.raises(ExportError, match=r"Did you mean 'extxyz'\? Known: csv, cif, extxyz, ase-db"):
        export_run(number_run, "exyz", tmp_path / "x")
    with pytest.raises(ExportError, match="top must be at least 1"):
        export_run(number_run, "csv", tmp_path / "x", top=0)


def test_names_ase_would_misread_get_a_prefix() -> None:
    """Keys are identifiers, none twice, and none that ASE takes for energies, elements or columns."""
    names = ["energy", "V", "id", "rank", "1st", "a b", "a_b", "Lattice", "decomposition_energy"]
    keys = ase_keys(names)
    assert keys["decomposition_energy"] == "decomposition_energy"
    assert keys["energy"] == "property_energy"
    assert len(set(keys.values())) == len(names)
    from ase.db.core import check

    check(dict.fromkeys(keys.values(), math.pi))


def test_both_errors_and_details_are_told_apart(crystal_run: Run, tmp_path: Path) -> None:
    """In tables for programs, and in words on the terminal, where the error of a method is explained once."""
    export_run(crystal_run, "csv", tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
    best = crystal_run.top(1)[0]
    row = table.iloc[best["candidate"]]
    assert float(row["decomposition_energy_noise"]) == 0.01
    assert float(row["decomposition_energy_systematic"]) == 0.05
    assert row["density_detail"] == best["details"]["density"]
    assert not any("uncertainty" in name for name in table.columns)
    value = f"{best['properties']['decomposition_energy']:.3f} ± 0.010 ± 0.05 (method)"
    ranked, shown = (
        format_table([best], crystal_run.campaign),
        describe_candidate(crystal_run, best["candidate"]),
    )
    for lines in (ranked, shown):
        assert any(value in line for line in lines)
        assert sum(ERRORS_EXPLAINED in line for line in lines) == 1
    place = next(number for number, line in enumerate(shown) if line.startswith("  density:"))
    assert shown[place + 1] == f"    {best['details']['density']}"
    first = crystal_run.status().best[0]
    assert (first.noise, first.systematic) == (0.01, 0.05)
    said = " ".join(describe_status(crystal_run.status()))
    assert f"{first.value:.3f} ± 0.010 ± 0.05 (method) eV/atom" in said
