"""Oxidation states and charge balance."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.structures.charges import (
    charge_imbalance,
    check_element,
    element_symbols,
    is_metallic,
    oxidation_states,
    scale_to_whole_counts,
)


def imbalance(formula: str) -> int:
    counts = {element.symbol: int(n) for element, n in Composition(formula).items()}
    return charge_imbalance(counts, {element: oxidation_states(element) for element in counts})


@pytest.mark.parametrize(
    ("element", "sign", "states"),
    [
        ("Li", 0, (1,)),
        ("H", 0, (-1, 1)),
        ("H", -1, (-1,)),
        ("H", 1, (1,)),
        ("S", -1, (-2,)),
        ("Li", -1, ()),
        ("O", 1, ()),
        ("He", 0, (0,)),
        ("He", 1, ()),
        ("Mn", 1, (2, 3, 4, 7)),
        ("Ni", 0, (2, 3, 4)),
    ],
)
def test_states_are_the_common_ones_of_the_sign_asked_for(
    element: str, sign: int, states: tuple[int, ...]
) -> None:
    """A sign keeps cations or anions only; transition metals have the states electrodes pass through."""
    assert oxidation_states(element, sign) == states


def test_every_element_has_states_in_order() -> None:
    """No element is without an entry, and 0 stands only for elements that have no charge at all."""
    for element in element_symbols():
        states = oxidation_states(element)
        assert states == tuple(sorted(set(states)))
        assert states
        assert 0 not in states or states == (0,)


def test_a_wrong_symbol_is_refused_with_the_nearest() -> None:
    """A typo in an element names what may have been meant."""
    with pytest.raises(ValueError, match=r"'Clx' is not an element symbol. Did you mean 'Cl'"):
        check_element("Clx")
    with pytest.raises(ValueError, match="sign must be -1, 0 or 1, got 2"):
        oxidation_states("Li", 2)


@pytest.mark.parametrize(
    "formula",
    [
        "Li3OCl",
        "LiFePO4",
        "LiMn2O4",
        "Fe3O4",
        "LiCoO2",
        "CoO2",
        "NiO2",
        "Li7La3Zr2O12",
        "Li6PS5Cl",
        "LiVPO4F",
    ],
)
def test_known_materials_balance(formula: str) -> None:
    """Simple and mixed-valent battery materials are neutral."""
    assert imbalance(formula) == 0


@pytest.mark.parametrize(("formula", "left"), [("Li3OCl2", 1), ("LiF2", 1), ("Li2O2", 2), ("Li4OCl", 1)])
def test_what_cannot_balance_keeps_its_smallest_charge(formula: str, left: int) -> None:
    """The imbalance is the charge left over in the best assignment."""
    assert imbalance(formula) == left


def test_only_one_element_may_be_mixed_valent_between_neighbours_of_one_sign() -> None:
    """Two mixed-valent elements, or one element as cation and anion at once, do not count as balance."""
    assert charge_imbalance({"A": 2, "O": 1}, {"A": (1, 2), "O": (-3,)}) == 0
    assert charge_imbalance({"A": 2, "B": 2, "O": 1}, {"A": (2, 4), "B": (3, 7), "O": (-14,)}) == 0
    assert charge_imbalance({"A": 2, "B": 2, "O": 1}, {"A": (1, 2), "B": (4, 7), "O": (-14,)}) == 1
    assert charge_imbalance({"A": 2}, {"A": (-3, 3)}) == 6
    assert charge_imbalance({"A": 2, "O": 1}, {"A": (1, 2, 4), "O": (-5,)}) == 1


def test_an_element_without_states_is_an_error_and_absent_ones_are_not() -> None:
    """A count of zero needs no state; a positive one does."""
    with pytest.raises(ValueError, match="X has no oxidation state"):
        charge_imbalance({"X": 1}, {"X": ()})
    assert charge_imbalance({"X": 0, "Li": 1}, {"X": (), "Li": (1,)}) == 1
    assert charge_imbalance({}, {}) == 0


STATES = st.lists(st.integers(-4, 6).filter(bool), min_size=1, max_size=3, unique=True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), STATES), min_size=1, max_size=3))
def test_imbalance_is_the_best_of_all_assignments(atoms: list[tuple[int, list[int]]]) -> None:
    """The fast sum over sets equals trying every state of every atom under the rule."""
    counts = {str(i): count for i, (count, _) in enumerate(atoms)}
    states = {str(i): known for i, (_, known) in enumerate(atoms)}
    best = min(abs(total) for total in _all_totals(atoms))
    assert charge_imbalance(counts, states) == best


def _all_totals(atoms: list[tuple[int, list[int]]]) -> list[int]:
    totals = []
    for chosen in product(*(product(sorted(known), repeat=count) for count, known in atoms)):
        mixed = 0
        allowed = True
        for own, (_, known) in zip(chosen, atoms, strict=True):
            used = sorted(set(own))
            if len(used) > 1:
                mixed += 1
                order = sorted(known)
                allowed &= len(used) == 2 and order.index(used[1]) - order.index(used[0]) == 1
                allowed &= used[0] * used[1] > 0
        if allowed and mixed <= 1:
            totals.append(sum(map(sum, chosen)))
    return totals


@pytest.mark.parametrize(
    "formula", ["Li", "Al", "LiAl", "Li15Si4", "Li22Sn5", "Na15Sn4", "LiB2", "Cu3Au", "Li0.3Al0.7"]
)
def test_metals_and_alloys_are_metallic(formula: str) -> None:
    """Metals, alone or with metalloids, whose charges cannot balance."""
    assert is_metallic(Composition(formula).get_el_amt_dict())


@pytest.mark.parametrize(
    "formula",
    ["Si", "C", "Li2Te", "Mg2Si", "Li3Sb", "GaAs", "Li3P", "LiC6", "LiFePO4", "LiMn2O4", "Fe3C", "LiH"],
)
def test_salts_and_elements_without_metal_are_not_metallic(formula: str) -> None:
    """Valence compounds of metalloids, nonmetals, and every compound with a nonmetal."""
    assert not is_metallic(Composition(formula).get_el_amt_dict())


def test_fractions_become_whole_atoms() -> None:
    """The amounts and what they were multiplied by."""
    assert scale_to_whole_counts({"Li": 0.5, "Co": 1, "O": 2}) == ({"Li": 1, "Co": 2, "O": 4}, 2)
    assert scale_to_whole_counts({"Li": 1 / 3, "C": 6, "F": 0}) == ({"Li": 1, "C": 18}, 3)
