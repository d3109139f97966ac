"""Compositions whose charges balance pass, others are stopped by the charge left over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Composition

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from surrogates.filters.composition import ChargeNeutrality


def evaluated(composition: Composition | None, **fields: Any) -> Evaluation:
    """What the evaluator says of a composition."""
    evaluator: ChargeNeutrality = load("evaluators", {"kind": "charge_neutrality", **fields})
    item = Input(Candidate(0, "key", Proposal({})), Design(composition=composition), {}, {}, 0)
    (evaluation,) = evaluator.evaluate([item])
    return evaluation


@pytest.mark.parametrize(
    ("formula", "charge"),
    [
        ("Li3OCl", 0),
        ("Li6OSBrI", 0),
        ("LiMn2O4", 0),  # manganese of two valences
        ("Li0.5CoO2", 0),
        ("Li3OF2", 1),
        ("Li5OCl", 2),
        ("NaCl2", 1),
        ("LiF2", 1),
        ("Li1.5F", 0.5),
        ("Li2O2", 0),  # peroxide
        ("KO2", 0),  # superoxide
        ("FeS2", 0),  # disulfide
        ("Li2S4", 0),  # polysulfide
        ("LiN3", 0),  # azide
        ("KCN", 0),
        ("CaC2", 0),
        ("LiBH4", 0),
        ("NaSi", 0),  # Zintl anion
        ("LiC6", 0),
        ("Mo6S8", 0),
        ("LiCuO2", 0),
        ("Li", 0),
        ("Si", 0),
        ("C", 0),
        ("Li3O2", 1),  # neither oxide nor peroxide
        ("Li2PS4", 1),
        ("Li4PS4", 1),
        ("Mg2SO4", 2),
        ("Li6La3Zr2O12", 1),
        ("Li3O5Cl7", 14),  # no positive chlorine without an oxoanion
        ("LiAl", 4),
        ("Li15Si4", 1),
    ],
)
def test_the_charge_left_over_is_counted(formula: str, charge: float) -> None:
    """In electrons per formula as it was given, at best."""
    evaluation = evaluated(Composition(formula))
    assert evaluation.failure is None
    assert evaluation.properties == {"charge_imbalance": pytest.approx(charge)}


@given(st.integers(1, 12), st.sampled_from(["Li3OCl", "Li5OCl", "LiFePO4", "Li3OF2"]))
def test_more_of_the_same_has_more_of_the_charge(copies: int, formula: str) -> None:
    """A larger cell of a composition with plain valences is as neutral, or as charged per formula."""
    once = evaluated(Composition(formula)).properties["charge_imbalance"]
    assert evaluated(Composition(formula) * copies).properties["charge_imbalance"] == pytest.approx(
        once * copies
    )


def test_states_of_ones_own_replace_the_common_ones() -> None:
    """Oxygen that may only be a peroxide's leaves Li3OCl charged; the gate stops at anything above zero."""
    assert evaluated(Composition("Li3OCl"), oxidation_states={"O": [-1]}).properties["charge_imbalance"] == 1
    (gate,) = ChargeNeutrality().gates
    assert str(gate) == "charge_imbalance <= 0"


@pytest.mark.parametrize("formula", ["LiAl", "Li15Si4", "Mg2Sn", "Cu3Au", "Fe3C", "Ni2P", "LaNi5H6"])
def test_alloys_pass_where_they_are_allowed(formula: str) -> None:
    """Charges mean nothing in metals; the setting says what becomes of them."""
    allowed = evaluated(Composition(formula), metallic="allow")
    assert allowed.properties == {"charge_imbalance": 0}


@pytest.mark.parametrize("formula", ["Li3OCl2", "LiF2", "Li2H", "Li4PS4", "Li3N2", "Li3Te", "Zn2N"])
def test_salts_are_judged_where_alloys_are_allowed(formula: str) -> None:
    """An ionic compound with a charge left over is refused either way."""
    assert evaluated(Composition(formula), metallic="allow").properties["charge_imbalance"] > 0


def test_what_is_asked_for_is_accepted() -> None:
    """States in the campaign replace the rule for that element."""
    assert (
        evaluated(Composition("Li3O5Cl7"), oxidation_states={"Cl": [1]}).properties["charge_imbalance"] == 0
    )


def test_an_element_without_known_states_is_named() -> None:
    """Noble gases are neutral; of the heaviest elements no state is known."""
    assert evaluated(Composition("LiArF")).properties == {"charge_imbalance": 0}
    failure = evaluated(Composition("LiMcO2")).failure
    assert failure is not None
    assert "no oxidation state of Mc is known; give some as oxidation_states: {Mc: [...]}" in failure.message


def test_no_composition_is_a_failure() -> None:
    """A design of parameters alone has no charges to balance."""
    failure = evaluated(None).failure
    assert failure is not None
    assert failure.kind == "missing"


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"Fee": [2]}, "'Fee' is not an element symbol. Did you mean 'Fe'"),
        ({"Fe": []}, "at least 1 item"),
        ({"Fe": [2.5]}, "integer"),
    ],
)
def test_wrong_states_are_refused(states: dict[str, Any], message: str) -> None:
    """Each mistake is named, with the nearest element."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "charge_neutrality", "oxidation_states": states})


def test_an_unknown_word_for_alloys_is_refused() -> None:
    """The two that there are stand in the message."""
    with pytest.raises(ValidationError, match="'allow' or 'refuse'"):
        load("evaluators", {"kind": "charge_neutrality", "metallic": "yes"})
