"""Exchange of atoms with phases in equilibrium: laws, equivalent conditions, and what is missing where nothing is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.errors import MissingReferenceError
from surrogates.defects.conditions import Conditions
from surrogates.defects.exchange import Exchange, Source, UndeterminedExchangeError, find_exchange
from tests.surrogates.references import made

PHASES = made(
    {
        "Li": -2.0,
        "P": -5.0,
        "O2": -4.0,
        "N2": -8.0,
        "Li2O": -5.0,
        "Li2O2": -4.6,
        "Li3P": -3.6,
        "Li3N": -3.8,
        "P2O5": -6.4,
        "LiPO3": -6.4,
        "Li3PO4": -6.2,
        "P3N5": -7.0,
        "LiPN2": -6.6,
        "LiNO3": -5.9,
        "N2O": -6.5,
    }
)
HOST = Source.of_crystal(Composition("Li3PO4"), -6.2 * 8)
ALL = Conditions(equilibrium_with=("Li3P", "Li2O", "Li3N"))


def exchange(change: Mapping[str, float], host: Source = HOST, **conditions: Any) -> Exchange:
    return find_exchange(change, host, Conditions(**conditions), PHASES)


def test_atoms_of_a_named_phase_cost_its_energy() -> None:
    found = exchange({"N": 2, "O": -3}, equilibrium_with=["Li2O", "Li3N"])
    assert found.energy == pytest.approx(2 * 4 * -3.8 - 3 * 3 * -5.0)
    assert str(found) == "takes 2 Li3N, gives 3 Li2O"
    assert found.neighbours == ("Li2O", "Li3N")
    assert found.n_atoms == pytest.approx(9)


@given(
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.sampled_from(["Li3PO4", "Li2O", "Li3N", "Li3P"]),
)
def test_whole_formula_units_of_a_phase_in_equilibrium_change_nothing(
    lithium: int, nitrogen: int, oxygen: int, units: int, formula: str
) -> None:
    change = {"Li": lithium, "N": nitrogen, "O": oxygen}
    unit = Composition(formula)
    larger = {s: change.get(s, 0) + units * unit[s] for s in {*change, *map(str, unit)}}
    before, after = (find_exchange(c, HOST, ALL, PHASES).energy for c in (change, larger))
    energies = {"Li3PO4": HOST.energy, "Li2O": -15.0, "Li3N": -15.2, "Li3P": -14.4}
    assert after - before == pytest.approx(units * energies[formula])


@given(st.permutations(["Li3P", "Li2O", "Li3N", "Li3PO4"]), st.integers(-2, 2), st.integers(-2, 2))
def test_the_order_of_phases_does_not_count(order: list[str], lithium: int, nitrogen: int) -> None:
    change = {"Li": lithium, "N": nitrogen}
    assert exchange(change, equilibrium_with=order).energy == pytest.approx(
        find_exchange(change, HOST, ALL, PHASES).energy
    )


@pytest.mark.parametrize(
    "others",
    [
        {"limits": {"Li": "rich"}},
        {"limits": {"O": "poor", "Li": "rich"}},
        {"equilibrium_with": ["Li3P", "Li2O"]},
        {"equilibrium_with": ["Li6P2", "Li4O2", "Li3PO4"]},
    ],
)
def test_one_condition_in_other_words_gives_one_energy(others: dict[str, Any]) -> None:
    first = exchange({"Li": -1}, equilibrium_with=["Li2O", "Li3P"])
    assert exchange({"Li": -1}, **others).energy == pytest.approx(first.energy, abs=1e-9)


def test_the_metal_and_zero_volts_are_one() -> None:
    metal = exchange({"Li": -1}, equilibrium_with=["Li"])
    assert exchange({"Li": -1}, ion="Li", voltage=0).energy == pytest.approx(metal.energy)
    assert exchange({"Li": -1}, ion="Li", voltage=3.5).energy == pytest.approx(metal.energy + 3.5)


def test_a_rich_limit_lies_above_the_poor_one() -> None:
    rich, poor = (exchange({"Li": 1}, limits={"Li": end}).energy for end in ("rich", "poor"))
    assert rich > poor
    for end in ("rich", "poor"):
        for formula in ("Li3P", "Li2O", "Li"):  # no further phase is more stable at a limit
            amounts = Composition(formula).get_el_amt_dict()
            found = exchange(amounts, limits={"Li": end, "O": "rich"})
            energy = next(phase.energy for phase in PHASES.phases if phase.name == formula)
            assert found.energy <= energy + 1e-9


def test_whole_sets_need_no_conditions() -> None:
    assert find_exchange({}, HOST).energy == 0
    assert find_exchange({"Li": -3, "P": -1, "O": -4}, HOST).energy == pytest.approx(-HOST.energy)
    named = exchange({"Li": -6, "P": -2, "O": -8}, ion="Li", voltage=2)
    assert named.energy == pytest.approx(-2 * HOST.energy)


def test_separate_vacancies_of_a_schottky_set_add_up_to_it() -> None:
    single = [exchange({s: -1}, limits={"Li": "rich"}).energy for s in ("Li", "Li", "Li", "P", "O", "O", "O", "O")]  # fmt: skip
    assert sum(single) == pytest.approx(-HOST.energy)


def test_the_hosts_own_energy_counts_and_not_the_sets() -> None:
    strained = Source.of_crystal(Composition("Li3PO4"), -6.19 * 8)
    named = exchange({"Li": -1}, strained, equilibrium_with=["Li3PO4", "Li2O", "Li3P"])
    assert named.energy == pytest.approx(
        exchange({"Li": -1}, strained, equilibrium_with=["Li2O", "Li3P"]).energy
    )
    assert named.energy != pytest.approx(exchange({"Li": -1}, equilibrium_with=["Li2O", "Li3P"]).energy)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({}, r"potentials of N, O are not fixed: Li3PO4 without conditions leaves 3 degrees"),
        ({"equilibrium_with": ["Li2O"]}, r"of N, O are not fixed.*'equilibrium_with' \(of .*Li3N.*'N: rich'"),
        ({"limits": {"N": "rich"}}, r"of O are not fixed: Li3PO4 N-rich leaves 2 .*'O: rich'.*varies by"),
        ({"limits": {"N": "poor"}}, "N has no poor limit here.*not in Li3PO4; ask for 'N: rich'"),
        (
            {"equilibrium_with": ["Li", "Li2O", "Li2O2"]},
            r"Li2O2 is in no equilibrium with Li, Li2O \(they differ by .*leave one of them out",
        ),
    ],
)
def test_open_potentials_are_named_with_what_would_fix_them(conditions: dict[str, Any], said: str) -> None:
    with pytest.raises(UndeterminedExchangeError, match=said):
        exchange({"N": 2, "O": -3}, **conditions)


def test_phases_that_react_to_the_host_are_refused() -> None:
    with pytest.raises(UndeterminedExchangeError, match="P2O5 is in no equilibrium with Li3PO4, Li2O"):
        exchange({"Li": -1}, equilibrium_with=["Li2O", "P2O5"])


def test_missing_phases_are_named_all_at_once() -> None:
    with pytest.raises(
        MissingReferenceError, match=r"Li4O is no phase.*Li2O, Li2O2; .*no elemental phase of Cl"
    ):
        exchange({"Li": -1}, equilibrium_with=["Li4O"], limits={"Cl": "rich"})


def test_a_host_far_above_the_hull_has_no_limits() -> None:
    unstable = Source.of_crystal(Composition("Li3PO4"), -5.5 * 8)
    with pytest.raises(
        UndeterminedExchangeError, match=r"Li3PO4 with Li-rich lies .* above the hull of the set 'toy'"
    ):
        exchange({"Li": -1}, unstable, limits={"Li": "rich"})
    assert exchange({"Li": -1}, unstable, equilibrium_with=["Li2O", "Li3P"]).energy


def test_remarks_name_phases_that_would_form() -> None:
    said = exchange({"Li": -1}, equilibrium_with=["Li"]).remarks
    assert "no equilibrium in this set: " in said[0]
    assert "Li3P" in said[0]
    assert exchange({"Li": -1}, limits={"Li": "rich"}).remarks == ()
