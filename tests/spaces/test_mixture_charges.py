"""Names of components as chemistry, and the balance of charges."""

from __future__ import annotations

import pytest

from invdesign.spaces.mixture.charges import (
    build_neutrality,
    check_mixed_valence,
    parse_site_atom,
    parse_species,
)


@pytest.mark.parametrize(
    ("name", "elements", "charge"),
    [
        ("La3+", {"La": 1.0}, 3.0),
        ("Cl-", {"Cl": 1.0}, -1.0),
        ("Li", {"Li": 1.0}, None),
        ("Li2S", {"Li": 2.0, "S": 1.0}, 0.0),
        ("vacancy", {}, 0.0),
    ],
)
def test_names_are_ions_elements_formulas_and_vacancies(
    name: str, elements: dict[str, float], charge: float | None
) -> None:
    """A sign makes an ion; a formula is neutral; a plain element leaves its charge open."""
    found = parse_species(name)
    assert (dict(found.elements), found.charge) == (elements, charge)


def test_unknown_elements_are_refused_with_the_nearest() -> None:
    """A typo in an ion is found on loading."""
    with pytest.raises(ValueError, match=r"'Zz' is not an element symbol\. Did you mean"):
        parse_species("Zz3+")
    with pytest.raises(ValueError, match=r"'EMC' is no ion such as La3\+, element or formula"):
        parse_species("EMC")


def test_the_site_decides_between_the_states_of_a_plain_element() -> None:
    """Sulfur on an anion site is S2-; iron on a site of charge 4 could be several things."""
    assert parse_site_atom("S", -2.0).charge == -2.0
    assert parse_site_atom("Fe", 3.0).charge == 3.0
    with pytest.raises(ValueError, match=r"oxidation state of Fe is not clear; write one of Fe2\+, Fe3\+"):
        parse_site_atom("Fe", 4.0)
    with pytest.raises(ValueError, match="'Li2S' is no single atom"):
        parse_site_atom("Li2S", 1.0)


@pytest.mark.parametrize(("element", "states"), [("Fe", (3, 2)), ("Fe", (2, 4)), ("Mn", (-1, 2))])
def test_mixed_valence_is_between_adjacent_states(element: str, states: tuple[int, int]) -> None:
    """States in the wrong order, with one between them, or of two signs are refused."""
    with pytest.raises(ValueError, match="two adjacent states of one sign, lower first"):
        check_mixed_valence(element, states)


def test_mixed_valence_turns_the_balance_into_a_range() -> None:
    """LixFePO4 with iron between 2+ and 3+: lithium between 0 and 1."""
    li, fe, rest = parse_species("Li+"), parse_species("Fe"), parse_species("PO4")
    rule = build_neutrality([(li, 1.0)], [(fe, 1.0), (parse_species("O2-"), 1.5)], {"Fe": (2, 3)})
    (low, _, most), (high, least, _) = rule.rows
    assert (low[0], most, high[0], least) == (1.0, 1.0, 1.0, 0.0)
    assert rest.charge == 0.0


def test_a_missing_charge_is_asked_for() -> None:
    """Charges cannot balance where one is unknown."""
    with pytest.raises(ValueError, match=r"without the charge of Ta: write it as an ion, such as Ta2\+"):
        build_neutrality([(parse_species("Ta"), 1.0)], [], {})
