"""Energies computed elsewhere become a reference set, unless methods or units are mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import (
    CompositionEnergyAdjustment,
    ComputedEntry,
    ComputedStructureEntry,
)
from typer.testing import CliRunner

from invdesign.campaign.load import campaign_from
from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates import commands
from surrogates.stability.reference import load_reference, parse_reference
from surrogates.stability.reference_entries import import_entries
from tests.support import finished

LABEL = "PBE, by hand"


def salt(cation: str = "Li", anion: str = "F", a: float = 4.03) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5] * 3])


def metal(symbol: str = "Li") -> Structure:
    return Structure.from_spacegroup("Im-3m", Lattice.cubic(3.5), [symbol], [[0, 0, 0]])


def fluorine() -> Structure:
    return Structure(Lattice.cubic(6.0), ["F", "F"], [[0.0, 0, 0], [0.235, 0, 0]])


def entry(structure: Structure, per_atom: float, name: str, **changes: Any) -> dict[str, Any]:
    """An entry as pymatgen writes it, from an energy per atom in eV."""
    made = ComputedStructureEntry(
        structure, per_atom * len(structure), parameters={"run_type": "GGA"}, entry_id=name
    )
    return {**json.loads(json.dumps(made.as_dict())), **changes}


def entries() -> list[dict[str, Any]]:
    """Lithium, fluorine and LiF; PBE energies to a tenth of an eV."""
    return [entry(metal(), -1.9, "Li"), entry(fluorine(), -1.8, "F2"), entry(salt(), -4.8, "LiF")]


def written(tmp_path: Path, content: Any, name: str = "entries.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_entries_of_pymatgen_become_a_set(tmp_path: Path) -> None:
    """Energies of the whole cell with corrections; the structures; nothing relaxed; the same file gives the same hash."""
    corrected = ComputedStructureEntry(
        salt(),
        -4.8 * 8,
        parameters={"run_type": "GGA"},
        entry_id="LiF",
        energy_adjustments=[CompositionEnergyAdjustment(-0.4, 4, name="F", cls={"@class": "Scheme"})],
    )
    file = written(tmp_path, [*entries()[:2], json.loads(json.dumps(corrected.as_dict()))])
    found = import_entries(file, label=LABEL)
    assert [phase.name for phase in found.phases] == ["Li", "F2", "LiF"]
    assert found.phases[2].energy == pytest.approx(-4.8 * 8 - 1.6)
    assert found.phases[2].composition == {"Li": 4, "F": 4}
    assert found.relaxation is None
    assert found.potential.label == LABEL
    assert found.potential.fingerprint.startswith("computed-")
    again = parse_reference(found.to_json(), "again")
    assert again == found
    other = import_entries(file, label="PBE, of another code")
    assert other.potential.fingerprint != found.potential.fingerprint
    assert other.hash != found.hash


def test_entries_without_structure_or_sense_are_left_out_by_name(tmp_path: Path) -> None:
    """A fault of one entry names it and never stops the others."""
    bare = ComputedEntry("LiF", -9.6, entry_id="bare").as_dict()
    content = [
        *entries(),
        json.loads(json.dumps(bare)),
        entry(salt(), -4.8, "text", energy="low"),
        entry(salt(), -4.8, "half", composition={"Li": 1.0, "F": 1.0}),
        entry(salt(), -4.8, "unsummed", correction=None, energy_adjustments=[{"value": 1.0}]),
        7,
    ]
    found = import_entries(written(tmp_path, content), label=LABEL)
    assert len(found.phases) == 3
    reasons = {item.name: item.reason for item in found.skipped}
    assert "has no structure" in reasons["bare"]
    assert "must be a number in eV per cell" in reasons["text"]
    assert "its energy is of Li1 F1, and its structure has Li4 F4" in reasons["half"]
    assert "no sum of them" in reasons["unsummed"]
    assert "has no structure" in reasons["entry 8"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[2].update(parameters={"run_type": "r2SCAN"}), r"mixes functionals, .*GGA: Li, F2; r2SCAN: LiF"),
        (lambda e: e[2].update(parameters={"run_type": "GGA+U"}), "mixes functionals"),
        (lambda e: e[2].update(parameters={}), "mixes functionals, .*none named: LiF"),
        (lambda e: e[2].update(energy=e[2]["energy"] * 96.485), "formation energies .*LiF"),
        (lambda e: e[2].update(energy=e[2]["energy"] / 27.211386 - 400), "formation energies .*LiF"),
        (lambda e: e.clear(), "has no entry that can be used"),
    ],
)  # fmt: skip
def test_what_cannot_be_one_method_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    """Functionals by name, units by the formation energies that they lead to."""
    content = entries()
    change(content)
    with pytest.raises(InvdesignError, match=message):
        import_entries(written(tmp_path, content), label=LABEL)


def test_gga_with_and_without_u_needs_one_scheme_of_corrections(tmp_path: Path) -> None:
    """The Materials Project's own mixture is allowed where it is corrected, by one scheme."""
    content = entries()
    content[2]["parameters"] = {"run_type": "GGA+U"}
    content[2]["correction"] = -0.8
    content[2]["energy_adjustments"] = [
        {"cls": {"@class": "MaterialsProject2020Compatibility"}, "value": -0.8}
    ]
    assert len(import_entries(written(tmp_path, content), label=LABEL).phases) == 3
    content[1]["correction"] = -0.1
    content[1]["energy_adjustments"] = [{"cls": {"@class": "MaterialsProjectCompatibility"}, "value": -0.1}]
    with pytest.raises(InvdesignError, match="mixes corrections of several schemes"):
        import_entries(written(tmp_path, content), label=LABEL)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for content, message in (
        ("{", "cannot be read as JSON"),
        ('{"a": 1, "a": 2}', "repeated"),
        ("{}", "is no list of entries"),
    ):
        with pytest.raises(InvdesignError, match=message):
            import_entries(written(tmp_path, content), label=LABEL)
    with pytest.raises(InvdesignError, match="say which method"):
        import_entries(written(tmp_path, entries()), label=" ")
    with pytest.raises(InvdesignError, match="neither JSON"):
        import_entries(tmp_path / "entries.xlsx", label=LABEL)


def table(tmp_path: Path, heading: str, rows: list[str]) -> Path:
    for name, structure in {"li": metal(), "f2": fluorine(), "lif": salt()}.items():
        structure.to(str(tmp_path / f"{name}.cif"), fmt="cif")
    return written(tmp_path, "\n".join([heading, *rows]) + "\n", "energies.csv")


def test_a_table_of_energies_and_structure_files(tmp_path: Path) -> None:
    """Energies per atom or per cell, as the heading says."""
    rows = ["Li,li.cif,-1.9,PBE", "F2,f2.cif,-1.8,PBE", "LiF,lif.cif,-4.8,PBE", "LiF,lif.cif,-4.7,PBE"]
    found = import_entries(
        table(tmp_path, "formula,structure,energy_per_atom [eV/atom],functional", rows), label=LABEL
    )
    assert [(phase.name, round(phase.energy_per_atom, 6)) for phase in found.phases] == [
        ("li.cif", -1.9), ("f2.cif", -1.8), ("lif.cif #1", -4.8), ("lif.cif #2", -4.7),
    ]  # fmt: skip
    whole = import_entries(
        table(tmp_path, "name,structure,energy (eV)", ["a,li.cif,-3.8", "b,lif.cif,-38.4"]), label=LABEL
    )
    assert [round(phase.energy_per_atom, 6) for phase in whole.phases] == [-1.9, -4.8]


@pytest.mark.parametrize(
    ("heading", "row", "message"),
    [
        ("structure,energy", "li.cif,-3.8", "names no unit; head it 'energy \\[eV\\]'"),
        ("structure,energy [Ry]", "li.cif,-3.8", "is in Ry by its heading, and energy is in eV"),
        ("structure,energy [eV],energy_per_atom [eV/atom]", "li.cif,-3.8,-1.9", "and has both"),
        ("structure,volume", "li.cif,3", "and has none"),
        ("energy [eV]", "-3.8", "has no column 'structure'"),
        ("structure,energy [eV]", "li.cif,low", "its energy is no number: 'low'"),
        ("structure,energy [eV]", "no.cif,-3.8", "there is no structure file 'no.cif'"),
        ("formula,structure,energy [eV]", "Na,li.cif,-3.8", "its formula is Na, and its structure Li"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, heading: str, row: str, message: str) -> None:
    with pytest.raises(InvdesignError, match=message):
        import_entries(table(tmp_path, heading, [row]), label=LABEL)


def test_the_command_imports_and_shows(tmp_path: Path) -> None:
    file, output = written(tmp_path, entries()), tmp_path / "own.json"
    result = CliRunner().invoke(
        commands.reference, ["import", str(file), "--label", LABEL, "--output", str(output), "--title", "own"]
    )
    assert result.exit_code == 0, result.output
    assert "3 phases in" in result.output
    shown = CliRunner().invoke(commands.reference, ["show", str(output)])
    assert f"3 phases by {LABEL}" in shown.output
    assert "own: own" in shown.output


def test_candidates_are_judged_by_energies_from_elsewhere(tmp_path: Path) -> None:
    """A set of one's own DFT takes the property that holds DFT energies; energies of a potential are refused."""
    made = import_entries(written(tmp_path, entries()), label=LABEL)
    (tmp_path / "own.json").write_text(made.to_json(), encoding="utf-8")
    (tmp_path / "done.csv").write_text("formula,energy [eV/atom]\nLiF,-4.85\nLi3F,-3.0\n", encoding="utf-8")
    data: dict[str, Any] = {
        "version": 1,
        "name": "own",
        "space": {"kind": "pool", "source": "done.csv", "composition": "formula", "columns": []},
        "evaluate": [
            {
                "table": {
                    "file": "done.csv",
                    "composition": "formula",
                    "provides": {"dft_energy_per_atom": {"unit": "eV/atom", "column": "energy"}},
                }
            },
            {
                "decomposition_energy": {
                    "reference": "own.json",
                    "energy": "dft_energy_per_atom",
                    "suffix": "dft",
                }
            },
        ],
        "objectives": [{"minimize": "decomposition_energy_dft"}],
        "optimizer": "random",
        "budget": {"candidates": 2},
        "engine": {"kind": "local", "workers": 0},
    }
    run = finished(campaign_from(data, folder=tmp_path), tmp_path / "run")
    values = {run.row(id)["formula"]: run.row(id)["properties"] for id in range(2)}
    assert values["LiF"]["decomposition_energy_dft"] == pytest.approx(-0.05, abs=1e-6)
    hull = (2 * -4.8 + 2 * -1.9) / 4
    assert values["Li3F"]["decomposition_energy_dft"] == pytest.approx(-3.0 - hull, abs=1e-6)
    assert load_reference(tmp_path / "own.json").hash == made.hash
    usual = load("evaluators", "decomposition_energy")
    assert "energy" not in usual.model_dump(mode="json")
    named = load("evaluators", {"kind": "decomposition_energy", "energy": "dft_energy_per_atom"})
    assert named.fingerprint != usual.fingerprint
