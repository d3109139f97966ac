"""Redox couples of electrodes: their energies, the couples that work, and agreement with the package's charge balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.structures.charges import element_symbols
from invdesign.structures.neutrality import balance_charges
from surrogates.regression.features.redox_couples import (
    REST_ENERGY,
    TOP_ENERGY,
    RedoxCouples,
    find_couples,
    find_spectator_states,
)
from surrogates.regression.material import Material

FEATURES = RedoxCouples()
NAMES = [column.name for column in FEATURES.columns]


def pair(charged: str, discharged: str, scale: float = 1.0) -> Material:
    """Electrode of two formulas, amounts multiplied by `scale`."""
    empty, full = (
        {symbol: scale * float(n) for symbol, n in Composition(formula).get_el_amt_dict().items()}
        for formula in (charged, discharged)
    )
    return Material(discharged, full, charged=empty)


def describe(charged: str, discharged: str) -> dict[str, float]:
    """Features of a pair by column."""
    return dict(zip(NAMES, FEATURES.compute([pair(charged, discharged)])[0].tolist(), strict=True))


def test_energies_of_couples_fall_with_the_state() -> None:
    """No state is left out by disproportionation: each couple lies at or below that of the next higher state, between the ends."""
    couples = {symbol: find_couples(symbol) for symbol in element_symbols()[:94]}
    for top, energies in couples.values():
        assert len(energies) == top
        assert list(energies) == sorted(energies, reverse=True)
        assert all(REST_ENERGY < energy < TOP_ENERGY for energy in energies)
    assert {symbol for symbol in ("Li", "Mg", "Al", "Si", "P", "O", "Zn", "F") if couples[symbol][1]} == set()
    assert (couples["Fe"][0], couples["Co"][0], couples["V"][0], couples["Ti"][0]) == (3, 4, 5, 4)


def test_later_metals_of_a_row_oxidise_at_higher_energy() -> None:
    """Iron, cobalt and nickel 3+/2+, and titanium, vanadium, manganese 4+/3+, come in the order of olivines and layered oxides."""
    third = [find_couples(symbol)[1][find_couples(symbol)[0] - 3] for symbol in ("V", "Fe", "Co", "Ni")]
    fourth = [find_couples(symbol)[1][find_couples(symbol)[0] - 4] for symbol in ("Ti", "V", "Mn", "Ni")]
    assert third == sorted(third)
    assert fourth == sorted(fourth)


@pytest.mark.parametrize(
    ("charged", "discharged", "upper"),
    [
        ("FePO4", "LiFePO4", 3),
        ("CoO2", "LiCoO2", 4),
        ("Mn2O4", "LiMn2O4", 4),
        ("LiMn2O4", "Li2Mn2O4", 4),
        ("V2O5", "LiV2O5", 5),
        ("Li4Ti5O12", "Li7Ti5O12", 4),
        ("VPO5", "LiVPO5", 5),
        ("TiS2", "LiTiS2", 4),
        ("Fe2(SO4)3", "Li2Fe2(SO4)3", 3),
        ("FeAsO4", "LiFeAsO4", 3),
    ],
)
def test_the_couple_of_a_known_electrode_takes_the_electrons(
    charged: str, discharged: str, upper: int
) -> None:
    """One couple works, from the state that its chemistry has."""
    found = describe(charged, discharged)
    assert found["couple_upper_state"] == upper
    assert found["anion_redox_share"] == found["rest_redox_share"] == 0
    assert found["mean_redox_state_charged"] > found["mean_redox_state_discharged"]


def test_the_higher_couple_of_two_elements_comes_first() -> None:
    """In the mixed olivine manganese takes the first electron and iron the second."""
    manganese, iron = (find_couples(symbol)[1][find_couples(symbol)[0] - 3] for symbol in ("Mn", "Fe"))
    first = describe("MnFe(PO4)2", "LiMnFe(PO4)2")
    both = describe("MnFe(PO4)2", "Li2MnFe(PO4)2")
    assert first["couple_energy"] == pytest.approx(manganese)
    assert both["couple_energy"] == pytest.approx((manganese + iron) / 2)
    assert both["last_couple_energy"] == pytest.approx(iron)


def test_electrons_come_from_elsewhere_where_no_couple_works() -> None:
    """Oxide ions give electrons where metals have none left; metals without charge take what couples cannot."""
    assert describe("MnO3", "LiMnO3")["anion_redox_share"] == 0
    assert describe("MnNiO5", "LiMnNiO5")["anion_redox_share"] == 0
    assert describe("Fe2O5", "Li2Fe2O5")["anion_redox_share"] == 1
    assert describe("FeO", "LiFeO")["rest_redox_share"] == 0
    assert describe("Sn", "Li2Sn")["rest_redox_share"] == 1
    assert np.isnan(describe("Si", "LiSi")["couple_upper_state"])


@given(st.floats(0.05, 40.0), st.sampled_from(["FePO4", "Mn2O4", "VOF3", "CoNiO4", "Fe2(SO4)3"]))
def test_the_scale_has_no_effect(scale: float, host: str) -> None:
    """Amounts count relative to each other."""
    found = FEATURES.compute([pair(host, f"Li{host}"), pair(host, f"Li{host}", scale)])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        "FePO4",
        "VOPO4",
        "Fe2(SO4)3",
        "CoP2O7",
        "MnCO3",
        "MnBO3",
        "TiS2",
        "VPO4F",
        "KNiIO6",
        "MnSiO4",
        "Fe(PO3)3",
        "FeOCl",
        "FeAsO4",
    ],
)
def test_states_of_spectators_are_those_of_the_charge_balance(formula: str) -> None:
    """The rule by ratios of atoms finds what the search over all states finds."""
    counts = {symbol: int(n) for symbol, n in Composition(formula).get_el_amt_dict().items()}
    balanced = balance_charges(counts).states
    own = find_spectator_states({name: float(n) for name, n in counts.items()})
    assert own == {name: int(balanced[name]) for name in counts if not find_couples(name)[1]}
