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
from surrogates.composition import ChargeNeutrality, whole_counts


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


def test_fractions_become_whole_atoms() -> None:
    """The amounts and what they were multiplied by."""
    assert whole_counts(Composition("Li0.5CoO2")) == ({"Li": 1, "Co": 2, "O": 4}, 2)
    assert whole_counts(Composition({"Li": 1 / 3, "C": 6})) == ({"Li": 1, "C": 18}, 3)
