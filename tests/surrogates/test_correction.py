"""The correction for covalently bonded oxygen: its laws, its fit, and the potential and sets it makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Element
from typer.testing import CliRunner

from invdesign.errors import InvdesignError
from invdesign.settings import load
from surrogates import commands
from surrogates.potentials.chgnet import CHGNet
from surrogates.potentials.corrected import Corrected
from surrogates.potentials.correction import find_correction, load_correction
from surrogates.potentials.oxygen import COVALENT_STATES, oxygen_valences
from surrogates.relaxation.relax import Relax, to_atoms
from surrogates.stability.evaluators import UNCERTAINTY, electrochemical_window, relative_energy_error
from surrogates.stability.oxygen_fit import (
    CORRECTION_NAME,
    Coefficients,
    Sample,
    fit_coefficients,
    leave_one_out,
    load_compounds,
    make_correction,
    shipped_samples,
)
from surrogates.stability.reference import Phase, load_reference, load_shipped_set
from surrogates.stability.reference_build import PublishedCrystal, build_reference
from tests.support import campaign
from tests.surrogates.references import made

BASE = "lithium-chalcohalides"
SET = f"{BASE}+{CORRECTION_NAME}"
ALL = frozenset({"energy", "forces", "stress"})
CHARGES = {
    "Li": 1, "Na": 1, "K": 1, "Rb": 1, "Be": 2, "Mg": 2, "Ca": 2, "Sr": 2, "Ba": 2, "Zn": 2, "Al": 3, "Zr": 4,
}  # fmt: skip
COMPOUNDS = {phase.name: phase for phase in load_compounds().phases}
OXIDES = [
    name for name, phase in COMPOUNDS.items() if "O" in phase.composition and len(phase.composition) > 1
]


def atoms_of(name: str) -> Atoms:
    """The relaxed cell of a compound."""
    return to_atoms(COMPOUNDS[name].cell.build_structure())


def added(atoms: Atoms) -> float:
    """The shipped correction, eV per cell."""
    return load_correction(CORRECTION_NAME).added_energy(atoms)


# --- the rule ---


@pytest.mark.parametrize("name", OXIDES)
def test_oxygen_gets_from_covalent_bonds_what_its_ions_leave(name: str) -> None:
    """Valences are local, and their mean is 2 less the charge of the ions: the oxidation states are right."""
    valences = oxygen_valences(atoms_of(name))
    composition = COMPOUNDS[name].composition
    ions = sum(CHARGES.get(symbol, 0) * count for symbol, count in composition.items())
    former = any(symbol in COVALENT_STATES for symbol in composition)
    expected = 2 - ions / composition["O"] if former else 0.0
    if name == "K2C2O4":
        expected = 1.5  # the bond between its carbon atoms takes the rest
    assert np.mean([sum(valence.values()) for valence in valences]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["Li", "H2", "LiCl", "Li2S", "Li2O", "Na2O", "K2O", "MgO", "CaO", "Al2O3", "Li2O2", "O2-alpha"]
)
def test_nothing_is_added_without_covalently_bonded_oxygen(name: str) -> None:
    """Not to oxide ions, peroxides, oxygen itself, or crystals without oxygen."""
    assert added(atoms_of(name)) == 0.0


def test_a_halide_with_oxide_ions_is_left_alone() -> None:
    """Li3OCl has chlorine and oxygen, and no bond between them."""
    cell = Atoms(
        "Li3OCl",
        scaled_positions=[(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5,) * 3, (0,) * 3],
        cell=[3.9] * 3,
        pbc=True,
    )
    assert added(cell) == 0.0


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(["LiOH", "Li2CO3", "SO2", "Na2SO3", "KNO2", "LiIO3"]),
    repeats=st.tuples(*[st.integers(1, 2)] * 3),
    shift=st.tuples(*[st.floats(-1.0, 1.0)] * 3),
    seed=st.integers(0, 99),
)
def test_it_is_a_property_of_the_crystal(
    name: str, repeats: tuple[int, int, int], shift: tuple[float, float, float], seed: int
) -> None:
    """Repeated, moved, turned, renumbered, in another setting of the lattice: the same per formula unit."""
    atoms = atoms_of(name)
    other = atoms.repeat(repeats)
    other = other[np.random.default_rng(seed).permutation(len(other))]
    other.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ other.cell.array, scale_atoms=False)
    other.rotate(37.0, (1, 2, 3), rotate_cell=True)
    other.positions += np.array(shift)
    other.wrap()
    assert added(other) == pytest.approx(added(atoms) * len(other) / len(atoms), abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(["Li2SO4", "LiClO4", "Li3PO4", "H2O"]), seed=st.integers(0, 999))
def test_it_is_constant_while_bonds_hold(name: str, seed: int) -> None:
    """Displacements of 0.03 Å change nothing: forces stay those of the potential."""
    atoms = atoms_of(name)
    moved = atoms.copy()
    moved.rattle(0.03, seed=seed)
    assert added(moved) == pytest.approx(added(atoms), abs=1e-12)


def test_a_molecule_needs_no_cell() -> None:
    """Water alone is water."""
    water = Atoms("OH2", positions=[(0, 0, 0), (0.96, 0, 0), (-0.24, 0.93, 0)])
    assert oxygen_valences(water) == [{"H": 2.0}]


# --- the fit ---


def test_the_shipped_coefficients_are_the_fit_of_the_shipped_tables() -> None:
    """Anyone can make them again, with the left-out error that is shown."""
    shipped_one = load_correction(CORRECTION_NAME)
    again = make_correction(shipped_samples(), load_compounds(), shipped_one.source)
    assert again.linear == pytest.approx(shipped_one.linear, abs=2e-6)
    assert again.model_dump(exclude={"linear"}) == pytest.approx(
        shipped_one.model_dump(exclude={"linear"}), abs=1e-4
    )
    assert shipped_one.potential == CHGNet().fingerprint


def test_it_beats_a_constant_per_element_on_compounds_left_out() -> None:
    """A ninth of the error is left; constants by element leave a third."""

    def constants(samples: Sequence[Sample]) -> Any:
        def row(sample: Sample) -> list[float]:
            totals = [sum(v.values()) or 1.0 for v in sample.valences]
            return [
                float(np.mean([v.get(e, 0.0) / t for v, t in zip(sample.valences, totals, strict=True)]))
                for e in sorted(COVALENT_STATES)
            ]

        found = np.linalg.lstsq(
            np.array([row(s) for s in samples]), np.array([s.error for s in samples]), rcond=None
        )[0]
        return lambda sample: float(np.dot(found, row(sample)))

    def nothing(_: Sequence[Sample]) -> Any:
        return lambda _: 0.0

    samples = shipped_samples()
    errors = {
        name: float(np.abs(leave_one_out(samples, fit)).mean())
        for name, fit in (("none", nothing), ("constants", constants))
    }
    ours = float(np.abs(leave_one_out(samples)).mean())
    assert errors["none"] == pytest.approx(0.386, abs=0.002)
    assert errors["constants"] == pytest.approx(0.123, abs=0.002)
    assert ours == pytest.approx(0.042, abs=0.002)


def test_an_element_without_compounds_lies_on_the_line() -> None:
    """What is known of other elements and their electronegativities goes over to it."""
    samples = [sample for sample in shipped_samples() if "N" not in sample.elements]
    found = fit_coefficients(samples)
    least, most = min(COVALENT_STATES, key=lambda e: Element(e).X), "Cl"
    assert found.linear[least] < found.linear["N"]
    assert found.linear["N"] == pytest.approx(found.linear[most], abs=0.15)
    (nitrate,) = (sample for sample in shipped_samples() if sample.name == "LiNO3")
    assert abs(nitrate.error - found.predict(nitrate)) < nitrate.error / 3


def test_coefficients_and_correction_are_one_formula() -> None:
    """The fit predicts what the potential adds."""
    correction = load_correction(CORRECTION_NAME)
    found = Coefficients(correction.quadratic, correction.linear)
    for sample in shipped_samples():
        atoms = atoms_of(sample.name)
        per_oxygen = correction.added_energy(atoms) / len(sample.valences)
        assert found.predict(sample) == pytest.approx(per_oxygen, abs=1e-12)


# --- a potential of its own ---


def test_forces_and_stress_are_those_of_the_base() -> None:
    """Only the energy differs, by the correction of the arrangement."""
    atoms = [atoms_of("LiOH"), atoms_of("Li2O")]
    for item in atoms:
        item.rattle(0.02, seed=1)
    corrected = Corrected().compute(atoms, ALL)
    base = CHGNet().compute(atoms, ALL)
    for item, ours, theirs in zip(atoms, corrected, base, strict=True):
        assert ours.energy == pytest.approx(theirs.energy + added(item), abs=1e-9)
        assert np.array_equal(ours.forces, theirs.forces)
        assert ours.stress is not None
        assert theirs.stress is not None
        assert np.array_equal(ours.stress, theirs.stress)


def test_it_is_another_potential_by_name_and_fingerprint() -> None:
    """And travels to workers as JSON."""
    potential = load("potentials", "corrected")
    assert potential.fingerprint.startswith(f"{CHGNet().fingerprint}+{CORRECTION_NAME}-")
    assert potential.label == "CHGNet 0.3.0 with covalent-oxygen"
    assert load("potentials", json.loads(potential.model_dump_json())) == potential
    assert Relax(potential=potential).fingerprint != Relax().fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"potential": {"kind": "chgnet", "model": "r2scan"}},
            r"fitted to energies of CHGNet 0\.3\.0 .* and these are of CHGNet r2scan",
        ),
        ({"potential": {"kind": "ase", "calculator": "emt"}}, r"these are of emt \(ASE\)"),
        ({"potential": "corrected"}, r"these are of CHGNet 0\.3\.0 with covalent-oxygen"),
        ({"correction": "covalent-oxigen"}, "Did you mean 'covalent-oxygen'"),
    ],
)
def test_a_correction_of_another_potential_is_refused(fields: dict[str, Any], message: str) -> None:
    """Its numbers would mean nothing there; nor is it added twice."""
    with pytest.raises(ValidationError, match=message):
        load("potentials", {"kind": "corrected", **fields})


@pytest.mark.parametrize(
    ("potential", "reference"), [("chgnet", SET), ("corrected", BASE)], ids=["set", "candidates"]
)
def test_corrected_and_bare_energies_never_meet(potential: str, reference: str) -> None:
    """A campaign that mixes them is refused, whichever side is corrected; one that does not is fine."""
    with pytest.raises(InvdesignError, match="energies of two potentials must not meet"):
        validated(potential, reference)
    assert validated("corrected", SET) != validated("chgnet", BASE)


def validated(potential: str, reference: str) -> str:
    """Fingerprint of a campaign that relaxes with a potential and uses a set."""
    found = campaign(
        {
            "version": 1,
            "name": "mixed",
            "space": {
                "kind": "substitution",
                "parent": "antiperovskite",
                "sites": {"A": ["Li"], "X": ["Cl", "Br"]},
            },
            "evaluate": [
                {"relax": {"potential": potential}},
                {"decomposition_energy": {"reference": reference}},
            ],
            "objectives": [{"minimize": "decomposition_energy"}],
            "optimizer": "random",
            "budget": {"candidates": 2},
        }
    )
    return found.fingerprint


# --- corrected sets ---


def test_a_corrected_set_is_its_base_with_energies_raised() -> None:
    """Its own hash, potential and uncertainty; the phases and structures of the base."""
    base, corrected = load_shipped_set(BASE), load_shipped_set(SET)
    assert corrected.name == SET
    assert corrected.hash != base.hash
    assert corrected.potential.fingerprint == Corrected().fingerprint
    for before, after in zip(base.phases, corrected.phases, strict=True):
        assert after.cell == before.cell
        expected = before.energy + added(to_atoms(before.cell.build_structure()))
        assert after.energy == pytest.approx(expected, abs=1e-6)
    assert relative_energy_error(base) == UNCERTAINTY
    assert relative_energy_error(corrected) == load_correction(CORRECTION_NAME).error_per_atom


def test_a_corrected_set_is_pinned_like_any_other(tmp_path: Path) -> None:
    """By name and hash where it is shipped; a file of one's own travels and is corrected where it is read."""
    evaluator = load("evaluators", {"kind": "decomposition_energy", "reference": SET})
    again = load("evaluators", json.loads(evaluator.model_dump_json()))
    assert again.reference.load() == load_shipped_set(SET)
    assert again.potential_id == Corrected().fingerprint
    (tmp_path / "mine.json").write_text(load_shipped_set(BASE).to_json(), encoding="utf-8")
    fields = {"kind": "decomposition_energy", "reference": f"mine.json+{CORRECTION_NAME}"}
    own = load("evaluators", fields, folder=tmp_path)
    assert load_reference(f"{tmp_path}/mine.json+{CORRECTION_NAME}") == load_shipped_set(SET)
    (tmp_path / "mine.json").unlink()
    assert load("evaluators", json.loads(own.model_dump_json())).reference.load() == load_shipped_set(SET)
    assert own.fingerprint == evaluator.fingerprint


def test_a_set_of_another_potential_is_not_corrected(tmp_path: Path) -> None:
    """The message names both potentials."""
    (tmp_path / "toy.json").write_text(made({"Li": -2.0}).to_json(), encoding="utf-8")
    with pytest.raises(InvdesignError, match=r"fitted to energies of CHGNet 0\.3\.0 .* these are of toy"):
        load_reference(f"{tmp_path}/toy.json+{CORRECTION_NAME}")
    with pytest.raises(InvdesignError, match="there is no correction 'oxygen'"):
        load_shipped_set(f"{BASE}+oxygen")


def test_building_with_the_corrected_potential_gives_the_same_energies() -> None:
    """A set of one's own and a derived one agree: the way down is that of the base."""
    base = next(phase for phase in load_shipped_set(BASE).phases if phase.name == "LiOH")
    start = PublishedCrystal("LiOH", "LiOH", base.cell.build_structure(), "test")
    built = build_reference([start], Corrected(), name="built")
    assert built.potential == load_shipped_set(SET).potential
    derived = phase_of("LiOH")
    assert built.phases[0].energy_per_atom == pytest.approx(derived.energy_per_atom, abs=1e-4)


def phase_of(name: str) -> Phase:
    """A phase of the corrected set."""
    return next(phase for phase in load_shipped_set(SET).phases if phase.name == name)


def test_the_command_names_the_correction() -> None:
    """`reference show` says what was added and how well it is known."""
    output = CliRunner().invoke(commands.reference, ["show", SET]).output
    assert "CHGNet 0.3.0 with covalent-oxygen" in output
    assert "corrected: covalent-oxygen, oxygen bonded to H, B, C" in output
    assert "left-out error 0.057 eV per oxygen" in output
    assert find_correction(CHGNet().fingerprint) is None


def test_limits_move_to_experiment() -> None:
    """LiIO3 forms from Li3OI at 2.62 V instead of 2.36 V; enthalpies put it at 2.70 V."""
    from pymatgen.core import Composition

    for name, limit in ((BASE, 2.36), (SET, 2.62)):
        window = electrochemical_window(load_shipped_set(name), Composition("Li3OI"), 0.0, "Li")
        assert window.oxidation == pytest.approx(limit, abs=0.03)
        assert str(window.oxidation_reaction) == "LiI + 3 Li2O -> LiIO3 + 6 Li"
