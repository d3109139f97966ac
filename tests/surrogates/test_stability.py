"""Hull distances and windows: the laws they obey, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal, genome_key
from invdesign.errors import MissingReferenceError
from invdesign.settings import load
from surrogates.stability.evaluators import (
    UNCERTAINTY,
    decomposition_energy,
    electrochemical_window,
    products,
)
from surrogates.stability.hulls import phase_diagram
from surrogates.stability.known_errors import write_limit_remarks
from surrogates.stability.reference import ReferenceSet, load_shipped_set
from tests.surrogates.references import made

NAME = "lithium-chalcohalides"
ENERGIES = {"decomposition_energy": {}, "energy_above_hull": {}, "stability_window": {"ion": "Li"}}


def evaluate(kind: str, formula: str | None, energy: float, **fields: Any) -> Evaluation:
    """One candidate of this composition and energy (eV/atom)."""
    evaluator = load("evaluators", {"kind": kind, "reference": NAME, **ENERGIES[kind], **fields})
    design = Design(composition=Composition(formula) if formula else None)
    candidate = Candidate(0, genome_key({}), Proposal({}))
    found: Evaluation = evaluator.evaluate([Input(candidate, design, {"energy_per_atom": energy}, {}, 0)])[0]
    return found


def phase_energy(formula: str) -> float:
    """eV/atom, of the lowest phase of this formula in the shipped set."""
    return min(
        phase.energy_per_atom
        for phase in load_shipped_set(NAME).phases
        if formula in {phase.name, phase.formula}
    )


def hull(formula: str) -> float:
    """eV/atom, of the shipped set's hull."""
    composition = Composition(formula)
    diagram = phase_diagram(load_shipped_set(NAME), composition.get_el_amt_dict())
    return float(diagram.get_hull_energy_per_atom(composition))


# --- hull distances ---


@given(energy=st.floats(-8.0, 2.0))
def test_the_decomposition_energy_is_signed(energy: float) -> None:
    """It follows the candidate's energy one to one, above the hull and below."""
    value = decomposition_energy(load_shipped_set(NAME), Composition("Li3OCl"), energy)
    assert value == pytest.approx(energy - hull("Li3OCl"), abs=1e-9)


def test_it_is_measured_against_the_binaries() -> None:
    """At Li3OCl the competitors are Li2O and LiCl, three atoms and two."""
    mixed = (3 * phase_energy("Li2O") + 2 * phase_energy("LiCl")) / 5
    assert hull("Li3OCl") == pytest.approx(mixed, abs=1e-9)
    assert products(load_shipped_set(NAME), Composition("Li3OCl")) == pytest.approx(
        {"Li2O": 0.6, "LiCl-wurtzite": 0.4}
    )


@pytest.mark.parametrize("offset", [-0.02, 0.0, 0.3])
def test_evaluators_agree(offset: float) -> None:
    """Signed and clamped distance to one hull, both with the potential's uncertainty."""
    energy = hull("Li3OBr") + offset
    signed = evaluate("decomposition_energy", "Li3OBr", energy)
    clamped = evaluate("energy_above_hull", "Li3OBr", energy)
    assert signed.properties["decomposition_energy"] == pytest.approx(offset, abs=1e-9)
    assert clamped.properties["energy_above_hull"] == pytest.approx(max(offset, 0.0), abs=1e-9)
    assert signed.systematic == {"decomposition_energy": UNCERTAINTY}
    assert clamped.systematic == {"energy_above_hull": UNCERTAINTY}


def test_without_lithium_oxide_oxides_look_stable() -> None:
    """The most telling competitor: the hull at Li3OCl rises by more than 0.1 eV/atom."""
    whole = decomposition_energy(load_shipped_set(NAME), Composition("Li3OCl"), -4.5)
    short = decomposition_energy(load_shipped_set(NAME).without_phases("Li2O"), Composition("Li3OCl"), -4.5)
    assert short < whole - 0.1


# --- windows ---


def test_the_evaluator_names_whose_window_it_is() -> None:
    """Above the hull it is the products'."""
    own = evaluate("stability_window", "Li3OI", hull("Li3OI") - 0.01).properties
    theirs = evaluate("stability_window", "Li3OI", hull("Li3OI") + 0.05).properties
    assert (own["window_of_products"], theirs["window_of_products"]) == (0.0, 1.0)
    assert own["window_width"] == pytest.approx(own["oxidation_limit"] - own["reduction_limit"])


def test_a_limit_carries_its_reaction_and_deviation() -> None:
    """0.05 eV/atom through the reaction; the width's error is the sum, since both limits are the same phase's."""
    own = evaluate("stability_window", "LiCl", phase_energy("LiCl"))
    assert own.details["oxidation_limit"] == "LiCl -> 1/2 Cl2 + Li at 4.18 V"
    assert own.details["reduction_limit"] == "stable against Li metal"
    assert own.systematic == pytest.approx({"oxidation_limit": 0.1, "window_width": 0.1})
    sulfate = evaluate("stability_window", "Li2SO4", phase_energy("Li2SO4"))
    assert sulfate.systematic["reduction_limit"] == pytest.approx(UNCERTAINTY * 7 / 8)
    assert sulfate.systematic["window_width"] == pytest.approx(
        sulfate.systematic["reduction_limit"] + sulfate.systematic["oxidation_limit"]
    )
    theirs = evaluate("stability_window", "Li3OI", hull("Li3OI") + 0.05)
    assert theirs.details["oxidation_limit"].startswith("LiI + 3 Li2O -> LiIO3 + 6 Li at 2.37 V")
    assert theirs.details["oxidation_limit"].endswith("; it decomposes into LiI, Li2O")
    assert theirs.systematic["oxidation_limit"] == pytest.approx(UNCERTAINTY * 11 / 6)
    assert theirs.noise == {}
    form = evaluate("stability_window", "Li2O", phase_energy("Li2O") + 0.05)
    assert form.details["window_of_products"].startswith("a form of Li2O is more stable")


def test_a_phase_within_the_error_of_the_hull_may_have_its_own_window() -> None:
    """Its number is the products' all the same; the sentence says so, and ends where the error does."""
    near = evaluate("stability_window", "Li3OI", hull("Li3OI") + 0.02).details
    far = evaluate("stability_window", "Li3OI", hull("Li3OI") + 0.06).details
    assert near["window_of_products"] == (
        "it decomposes into LiI, Li2O (20 meV/atom above the hull, within the error: if it is stable, its own window is at "
        "least as wide)"
    )
    assert far["window_of_products"] == "it decomposes into LiI, Li2O"


@pytest.mark.parametrize(
    ("formula", "above", "limit", "remark"),
    [
        ("Li3OI", 0.05, "oxidation_limit", r"at 2\.37 V \(2\.63 V with .*; too stable without it: LiIO3\)"),
        ("Li3OI", 0.05, "reduction_limit", ""),
        ("Li3OCl", 0.05, "oxidation_limit", r"\(2\.84 V with .*, by Li2O -> 1/2 Li2O2 \+ Li; .*: LiClO4\)"),
        ("Li2SO4", 0.0, "reduction_limit", r"at 1\.58 V \(1\.73 V with .*: Li2SO4\)"),
        ("Li2SO4", 0.0, "oxidation_limit", r": Li2SO4 and Li2S2O7\)"),
        ("LiCl", 0.0, "oxidation_limit", ""),
        ("Li2O", 0.0, "oxidation_limit", ""),
    ],
)
def test_covalent_oxygen_that_sets_a_limit_is_told(
    formula: str, above: float, limit: str, remark: str
) -> None:
    """With the limit by the corrected set, and the phases that are too stable; nothing where they take no part."""
    detail = evaluate("stability_window", formula, hull(formula) + above).details[limit]
    assert re.search(remark, detail) if remark else "oxygen" not in detail


@pytest.mark.parametrize("formula", ["Li3OI", "Li4SO", "Li2SO4", "LiIO3"])
@pytest.mark.parametrize("above", [-0.01, 0.02])
def test_the_corrected_limit_is_that_of_the_corrected_set(formula: str, above: float) -> None:
    """The same candidate evaluated with the correction on both sides; that set says nothing more of oxygen."""
    corrected = load_shipped_set(f"{NAME}+covalent-oxygen")
    composition = Composition(formula)
    level = phase_diagram(corrected, composition.get_el_amt_dict()).get_hull_energy_per_atom(composition)
    bare = evaluate("stability_window", formula, hull(formula) + above).details["oxidation_limit"]
    other = evaluate("stability_window", formula, level + above, reference=corrected.name)
    assert f"({other.properties['oxidation_limit']:.2f} V with the correction for oxygen" in bare
    assert "oxygen" not in other.details["oxidation_limit"]


def test_a_potential_without_a_correction_has_the_warning_alone() -> None:
    """The phases are named, and no corrected limit."""
    energies = {"Li": -2.0, "O": -5.0, "I": -1.5, "Li2O": -6.0, "LiI": -4.2, "LiIO3": -5.5, "I2O5": -3.0}
    reference, composition = made(energies), Composition("Li3OI")
    window = electrochemical_window(reference, composition, 0.0, "Li")
    found = write_limit_remarks(reference, composition, 0.0, window, "Li")
    assert re.fullmatch(r"LiIO3 may be too stable here: no correction .*", found["oxidation_limit"])
    assert "reduction_limit" not in found


@pytest.mark.parametrize("name", ["battery-phases", "battery-phases+covalent-oxygen"])
def test_halides_of_nonmetals_that_set_a_limit_are_told(name: str) -> None:
    """BrCl, with the limit where it is as much higher as such phases are too low; nothing where chlorine forms."""
    reference = load_shipped_set(name)
    mixed = limit_remarks(reference, "Li2BrCl")
    assert mixed == {
        "oxidation_limit": "3.65 V with halides of nonmetals raised, by LiBr -> 1/2 Br2 + Li; too low without it by 0.32 "
        "eV/atom, the mean error of 7: BrCl"
    }
    assert limit_remarks(reference, "LiCl") == {}


def test_oxygen_and_halides_are_told_of_one_limit() -> None:
    """Each with the limit without its own error alone."""
    found = limit_remarks(load_shipped_set("battery-phases"), "LiPOCl4")["reduction_limit"]
    assert re.fullmatch(
        r"3\.04 V .*oxygen; .*: POCl3 and Li4P2O7; 2\.81 V with halides .* \+ .*: PCl3", found
    )


def test_of_another_potential_no_error_of_halides_is_known() -> None:
    """The same phases with energies of an unknown potential."""
    energies = {"Li": -2.0, "Br": -1.6, "Cl": -1.8, "LiBr": -3.6, "LiCl": -3.9, "BrCl": -2.0}
    assert limit_remarks(made(energies), "Li2BrCl") == {}


def limit_remarks(reference: ReferenceSet, formula: str) -> dict[str, str]:
    """Remarks on the limits of what a formula decomposes into."""
    composition, energy = Composition(formula), float("inf")
    window = electrochemical_window(reference, composition, energy, "Li")
    return write_limit_remarks(reference, composition, energy, window, "Li")


@pytest.mark.parametrize(
    ("above", "words"),
    [(9.4e-4, "counted as on the hull (0.9 meV/atom above)"), (4e-6, ""), (0.0, ""), (-0.01, "")],
)
def test_a_phase_that_counts_as_on_the_hull_says_so(above: float, words: str) -> None:
    """Its decomposition energy is positive and its window its own: the sentence says why."""
    found = evaluate("stability_window", "Li3OCl", hull("Li3OCl") + above)
    assert found.properties["window_of_products"] == 0.0
    assert (
        found.details["oxidation_limit"].endswith(f"; {words}") if words else "hull" not in str(found.details)
    )


# --- what has no answer ---


@pytest.mark.parametrize(
    ("kind", "formula", "cause", "message"),
    [
        ("stability_window", "HCl", "error", "HCl has no Li"),
        ("stability_window", "Li", "error", "needs an element beside"),
        ("stability_window", "Li3NCl2", "missing", "the element N"),
        ("stability_window", "NaCl", "error", "NaCl has no Li"),
        ("decomposition_energy", "Na3OCl", "missing", "the element Na"),
        ("energy_above_hull", "NaCl", "missing", "the element Na"),
        ("decomposition_energy", None, "missing", "no composition"),
    ],
)
def test_a_failure_has_its_cause(kind: str, formula: str | None, cause: str, message: str) -> None:
    """Never a number that means nothing, never an exception that fails the neighbours."""
    failure = evaluate(kind, formula, -3.0).failure
    assert failure is not None
    assert failure.kind == cause
    assert message in failure.message


def test_a_missing_edge_is_an_error_in_the_functions_too() -> None:
    """Li-S without any sulfide has no window either."""
    bare = made({"Li": -2.0, "S": -4.0})
    with pytest.raises(MissingReferenceError, match="a binary compound of Li and S"):
        electrochemical_window(bare, Composition("Li2S"), -3.5, "Li")


# --- identity ---


def test_energies_of_one_potential_only() -> None:
    """A campaign compares this with the potential that relaxes."""
    for kind, fields in ENERGIES.items():
        evaluator = load("evaluators", {"kind": kind, "reference": NAME, **fields})
        assert evaluator.potential_id == load("potentials", "chgnet").fingerprint


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    """The shipped set from a file of another name is the same; another energy, ion or kind is not."""
    file = tmp_path / "copy.json"
    file.write_text(load_shipped_set(NAME).to_json(), encoding="utf-8")
    other = tmp_path / "other.json"
    other.write_text(load_shipped_set(NAME).without_phases("Li2O").to_json(), encoding="utf-8")
    prints = {
        key: load("evaluators", {"kind": "stability_window", "ion": ion, "reference": reference}).fingerprint
        for key, (ion, reference) in {
            "shipped": ("Li", NAME), "copy": ("Li", str(file)), "other": ("Li", str(other)), "ion": ("Na", NAME),
        }.items()
    }  # fmt: skip
    assert prints["copy"] == prints["shipped"]
    assert (
        len(
            {
                *prints.values(),
                load("evaluators", {"kind": "decomposition_energy", "reference": NAME}).fingerprint,
            }
        )
        == 4
    )
