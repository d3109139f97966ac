"""The rule by which a composition's charges balance."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.structures.charges import element_symbols, scale_to_whole_counts
from invdesign.structures.neutrality import balance_charges

KNOWN = [
    "Li3OCl",
    "LiFePO4",
    "LiMn2O4",
    "Li2O2",
    "FeS2",
    "NaN3",
    "CaC2",
    "KClO4",
    "Li3PS4",
    "LiC6",
    "NH4NO3",
    "Mo6S8",
]
ELEMENTS = [
    "Li",
    "Na",
    "Mg",
    "Al",
    "Fe",
    "Mn",
    "Zr",
    "H",
    "C",
    "N",
    "O",
    "F",
    "P",
    "S",
    "Cl",
    "I",
    "Si",
    "Sb",
]
ATOMS = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 6), min_size=1, max_size=4)


def imbalance(formula: str) -> Fraction:
    return balance_charges(counts_of(formula)).imbalance


def counts_of(formula: str) -> dict[str, int]:
    return scale_to_whole_counts(Composition(formula).get_el_amt_dict())[0]


@pytest.mark.parametrize(
    ("formula", "states"),
    [
        ("LiMn2O4", {"Mn": 3.5}),
        ("Fe3O4", {"Fe": 8 / 3}),
        ("Li0.5CoO2", {"Co": 3.5}),
        ("LiNi0.8Mn0.1Co0.1O2", {"Ni": 2.875, "Mn": 4, "Co": 3}),
        ("LiNi0.5Mn1.5O4", {"Ni": 2, "Mn": 4}),
        ("Li2O2", {"O": -1}),
        ("KO2", {"O": -0.5}),
        ("FeS2", {"Fe": 2, "S": -1}),
        ("Li2S4", {"S": -0.5}),
        ("Na2S2O3", {"S": 2}),
        ("LiC6", {"C": -1 / 6}),
        ("Mo6S8", {"Mo": 8 / 3}),
        ("NaSi", {"Si": -1}),
        ("Li2FeP2S6", {"P": 4, "Fe": 2}),
        ("BaBiO3", {"Bi": 4}),
        ("CO", {"C": 2}),
        ("P4S3", {"P": 1.5}),
        ("Pb3O4", {"Pb": 8 / 3}),
        ("Rb4O6", {"O": -2 / 3}),
        ("LiNC2S2O4F6", {"C": 2, "S": 6}),
        ("NaCB11H12", {"H": -1, "C": -4}),
        ("Li4BN3H10", {"H": 0.2, "N": -3}),
        ("Li7MnN4", {"Mn": 5}),
        ("KMnO4", {"Mn": 7}),
        ("Mg2NiH4", {"Ni": 0, "H": -1}),
        ("Cs2TeS3", {"Te": 4}),
        ("La2BiO2", {"Bi": -2}),
    ],
)
def test_mean_states(formula: str, states: Mapping[str, float]) -> None:
    """Mixed-valent ions and atoms of polyatomic ions have their mean state."""
    found = balance_charges(counts_of(formula))
    assert found.imbalance == 0
    assert {name: float(found.states[name]) for name in states} == pytest.approx(dict(states))


@pytest.mark.parametrize(
    "formula",
    [
        "Li3O5Cl7",
        "K3ClO2",  # hypochlorite beside oxide
        "LiSO4",
        "Na3O2",
        "Li5PO4",  # phosphorus at 3+ beside more oxygen than phosphonate holds
        "K2HO",  # hydride beside peroxide
        "CaNI",
        "AlHO",
        "Mg4Se3S2",
        "Li4InCl6",
        "Li3ZrCl6",
        "Li4ScCl6",
        "Na2YCl6",
        "Li3SnO3",
        "PCl4",
        "Zn2N",
        "ZnP",
        "Ca2CN2",
        "Li2HCO3",
        "Li2HCO2",
        "Li2SO2",
        "Ba2PIO3",  # iodate beside phosphide
        "Na2NaTaN3",
    ],
)
def test_what_is_no_compound_keeps_a_charge(formula: str) -> None:
    """States that only numbers would allow are no balance."""
    assert imbalance(formula) > 0


@settings(deadline=None)
@given(ATOMS, st.integers(2, 7))
def test_a_larger_cell_has_the_charge_of_its_formula_units(atoms: dict[str, int], copies: int) -> None:
    """Multiples of a composition have multiples of its charge, and its states."""
    once = balance_charges(atoms)
    more = balance_charges({name: n * copies for name, n in atoms.items()})
    assert more.imbalance == once.imbalance * copies
    assert more.states == once.states


@settings(deadline=None)
@given(ATOMS, st.randoms(use_true_random=False))
def test_the_order_of_elements_says_nothing(atoms: dict[str, int], random: object) -> None:
    """Neither charge nor states depend on it."""
    names = sorted(atoms, reverse=True)
    assert balance_charges({name: atoms[name] for name in names}) == balance_charges(atoms)
    del random


@settings(deadline=None)
@given(ATOMS)
def test_charges_add_up_to_the_imbalance(atoms: dict[str, int]) -> None:
    """The states belong to the number given; elements alone are neutral."""
    found = balance_charges(atoms)
    assert abs(sum(found.states[name] * n for name, n in atoms.items())) == found.imbalance
    if len(atoms) == 1:
        assert found.imbalance == 0


@pytest.mark.parametrize(
    "formula", [f for f in KNOWN if f not in {"Li2O2", "FeS2", "NaN3", "CaC2", "LiC6", "Mo6S8"}]
)
@pytest.mark.parametrize("salt", ["LiF", "NaF", "KF"])
def test_a_salt_beside_a_salt_is_neutral(formula: str, salt: str) -> None:
    """What is neutral stays so with a fluoride of an alkali metal; units and states that fluoride excludes are left out."""
    assert imbalance(formula) == 0
    assert imbalance(f"{formula}{salt}") == 0


@settings(deadline=None)
@given(st.sampled_from(ELEMENTS), st.integers(1, 3), st.integers(1, 3))
def test_states_given_are_the_only_ones(element: str, number: int, state: int) -> None:
    """With fixed states on both sides the imbalance is a sum."""
    found = balance_charges({element: number, "O": 2}, {element: (state,), "O": (-2,)})
    if element != "O":
        assert found.imbalance == abs(number * state - 4)


def test_every_pair_of_elements_is_answered() -> None:
    """A number for all elements with a known state, a message for the others."""
    for symbol in element_symbols():
        try:
            found = balance_charges({symbol: 1, "O": 2})
        except ValueError as error:
            assert f"no oxidation state of {symbol} is known" in str(error)  # noqa: PT017 - most raise nothing
        else:
            assert found.imbalance >= 0
