"""Coverage: what a reference set must have for a chemical system, and what it is noted to lack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition
from typer.testing import CliRunner

from invdesign.campaign.load import load_campaign
from invdesign.errors import MissingReferenceError
from invdesign.settings import load
from surrogates import commands
from surrogates.stability.coverage import (
    coverage_notes,
    is_required_by_former_rule,
    known_compounds,
    missing_binaries,
    missing_ternaries,
    require_coverage,
)
from surrogates.stability.reference import ReferenceSet
from tests.support import ROOT
from tests.surrogates.references import made


def toy() -> ReferenceSet:
    """Li, O2 and Li2O with round energies."""
    return made({"Li": -2.0, "O": -5.0, "Li2O": -5.0})


def test_a_missing_element_is_named() -> None:
    """With what to do."""
    with pytest.raises(MissingReferenceError, match=r"lacks the element Cl.*reference build"):
        require_coverage(toy(), {"Li", "O", "Cl"})


def test_a_missing_binary_edge_is_named() -> None:
    """An ionic edge without any compound would make everything on it look stable."""
    bare = made({"Li": -2.0, "H": -3.0, "S": -4.0, "Li2S": -4.5})
    with pytest.raises(MissingReferenceError, match="a binary compound of H and Li"):
        require_coverage(bare, {"Li", "H", "S"})
    require_coverage(bare, {"Li", "S"})


@pytest.mark.parametrize(
    ("pair", "known"),
    [
        ("P S", "P4S3"), ("Ge S", "GeS"), ("Li Si", "Li15Si4"), ("Al Li", "Li9Al4"), ("Mg Si", "Mg2Si"),
        ("Fe P", "Fe2P"), ("O S", "SO2"), ("B H", "B2H6"), ("H N", "H3N"), ("I O", "I2O5"), ("B S", "Boron sulfide"),
    ],
)  # fmt: skip
def test_binary_edges_that_no_electronegativity_shows_are_asked_for(pair: str, known: str) -> None:
    """The message names a known compound with its source, and what to do."""
    symbols = pair.split()
    bare = made(dict.fromkeys(symbols, -1.0))
    assert not is_required_by_former_rule(*symbols)
    message = rf"a binary compound of {symbols[0]} and {symbols[1]} \(known: {known} \(.*reference build"
    with pytest.raises(MissingReferenceError, match=message):
        require_coverage(bare, symbols)


@pytest.mark.parametrize("pair", ["S I", "Li Na", "Na Al", "Fe Li", "Cu Ag"])
def test_no_compound_is_asked_for_where_none_is_known(pair: str) -> None:
    """Sulfur and iodine form none; many metals mix in no ratio of their own."""
    require_coverage(made(dict.fromkeys(pair.split(), -1.0)), pair.split())


def test_known_compounds_are_of_their_system_and_have_sources() -> None:
    """Every formula in the table has exactly the elements of its line."""
    table = known_compounds()
    assert len(table) > 6000
    for system, compounds in list(table.items())[::7]:
        assert list(system) == sorted(system)
        for compound in compounds:
            assert compound.source
            if " " not in compound.formula:
                assert sorted(Composition(compound.formula).get_el_amt_dict()) == list(system), compound


@settings(max_examples=25, deadline=None)
@given(
    formulas=st.lists(
        st.sampled_from(["Li2S", "P2S5", "Li3P", "Li3PS4", "LiCl", "PCl3", "SCl2"]), unique=True
    )
)
def test_more_phases_never_open_a_gap(formulas: list[str]) -> None:
    """What a set lacks shrinks with every phase that is added."""
    elements = dict.fromkeys(("Li", "P", "S", "Cl"), -1.0)
    bare, fuller = made(elements), made(elements | dict.fromkeys(formulas, -2.0))
    for missing in (missing_binaries, missing_ternaries):
        assert set(missing(fuller, elements)) <= set(missing(bare, elements))
    held = {tuple(sorted(Composition(formula).get_el_amt_dict())) for formula in formulas}
    gaps = {gap.system for gap in (*missing_binaries(fuller, elements), *missing_ternaries(fuller, elements))}
    assert not held & gaps


def test_missing_compounds_of_three_elements_are_noted(tmp_path: Path) -> None:
    """Validation says which known compounds a set does not hold: candidates there may look too stable."""
    energies = {"Li": -2.0, "P": -5.0, "S": -4.0, "Li2S": -4.5, "Li3P": -3.5, "P2S5": -4.6}
    (note,) = coverage_notes(made(energies))
    assert "these known compounds are not in the set: Li3PS4. " in note
    assert coverage_notes(made(energies | {"Li3PS4": -5.0})) == ()
    (refused,) = coverage_notes(made({"P": -5.0, "S": -4.0}))
    assert "has no compound of P and S (P4S3 is known): candidates with both elements fail" in refused
    file = tmp_path / "toy.json"
    file.write_text(made(energies).to_json(), encoding="utf-8")
    evaluator = load("evaluators", {"kind": "decomposition_energy", "reference": str(file)})
    assert evaluator.remarks == (note,)
    assert (
        "without a compound of Li, P and S (known: Li3PS4"
        in CliRunner().invoke(commands.reference, ["show", str(file)]).output
    )
    missing = json.loads(CliRunner().invoke(commands.reference, ["show", str(file), "--json"]).output)[
        "missing"
    ]
    assert [item["elements"] for item in missing] == [["Li", "P", "S"]]


def test_gaps_that_are_told_elsewhere_are_left_out() -> None:
    """A counterpart adds the gaps of its own elements, and says no other a second time."""
    energies = {"Li": -2.0, "P": -5.0, "S": -4.0, "Li3P": -4.0, "Li2S": -4.0, "P2S5": -4.5}
    reference, elements = made(energies), frozenset({"Li", "P", "S"})
    (own,) = coverage_notes(reference, elements)
    assert "Li3PS4" in own
    (more,) = coverage_notes(reference, elements | {"Co"}, elements)
    assert more == "the reference set 'toy' has no elemental phase of Co: candidates with it fail"
    assert coverage_notes(reference, elements, elements) == ()


def test_stages_with_one_set_share_its_notes() -> None:
    """The note names the stages; no sentence stands twice."""
    notes = load_campaign(ROOT / "campaigns" / "sulfide_electrolyte.yaml").notes
    sentences = [note.partition(": ")[2] for note in notes]
    assert len(sentences) == len(set(sentences))
    assert any(note.startswith("decomposition_energy, stability_window, to_cathode, ") for note in notes)
