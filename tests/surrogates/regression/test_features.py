"""Features of materials: their definitions, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element

from invdesign.structures.descriptors import element_property_table
from surrogates.regression.features.contract import FeatureError
from surrogates.regression.features.registry import (
    FEATURE_SETS,
    compute_features,
    find_feature_set,
    list_columns,
)
from surrogates.regression.material import Material

COMPOSITION_SETS = [name for name, found in FEATURE_SETS.items() if found.needs == "composition"]
TRAINED = [Element.from_Z(number).symbol for number in (*range(1, 84), *range(89, 95))]
compositions = st.dictionaries(st.sampled_from(TRAINED), st.integers(1, 12), min_size=1, max_size=5)


def of(formula: str) -> Material:
    """Material of a formula."""
    return Material(formula, Composition(formula).get_el_amt_dict())


def named(names: list[str], material: Material) -> dict[str, float]:
    """Features of one material by column."""
    row = compute_features(names, [material])[0]
    return dict(zip((column.name for column in list_columns(names)), row.tolist(), strict=True))


def test_columns_match_and_are_named_once() -> None:
    """Every set gives as many numbers as it names, and no two sets share a name."""
    for name in COMPOSITION_SETS:
        assert compute_features([name], [of("LiFePO4"), of("Li2O")]).shape == (2, len(list_columns([name])))
    everything = [column.name for column in list_columns(list(FEATURE_SETS))]
    assert len(everything) == len(set(everything))


@given(compositions, st.floats(0.01, 50.0))
def test_the_scale_of_a_formula_has_no_effect(amounts: dict[str, float], scale: float) -> None:
    """LiCl and Li3.3Cl3.3 are one material, for every set of features of compositions."""
    scaled = Material("scaled", {name: amount * scale for name, amount in amounts.items()})
    found = compute_features(COMPOSITION_SETS, [Material("plain", amounts), scaled])
    np.testing.assert_allclose(found[0], found[1], atol=2e-6, rtol=1e-8)


@given(compositions)
def test_the_variance_is_a_sum_over_pairs(amounts: dict[str, float]) -> None:
    """The deviation of each property follows from fractions and differences between pairs of elements."""
    found = named(["element_statistics"], Material("x", amounts))
    names, table = element_property_table()
    fractions = np.array(list(amounts.values())) / sum(amounts.values())
    values = table[[Element(symbol).Z for symbol in amounts]]
    for name, own in zip(names, values.T, strict=True):
        variance = float(fractions @ (own[:, None] - own[None, :]) ** 2 @ fractions) / 2
        assert found[f"deviation_{name}"] == pytest.approx(variance**0.5, rel=1e-6, abs=1e-6)
        assert found[f"min_{name}"] == pytest.approx(own.min(), abs=1e-8)


def test_every_element_has_every_property() -> None:
    """An unknown value is the mean of the element's group."""
    names, table = element_property_table()
    assert table.shape == (119, len(names))
    assert np.isfinite(table).all()
    radius = table[:, names.index("atomic_radius")]
    group = [Element.from_Z(number) for number in range(1, 104) if Element.from_Z(number).group == 3]
    known = [float(e.atomic_radius_calculated) for e in group if e.atomic_radius_calculated]
    assert radius[57] == pytest.approx(np.mean(known))


def test_deuterium_counts_as_hydrogen() -> None:
    """LiD has the features of LiH."""
    heavy = Material("LiD", {"Li": 1.0, "D": 1.0})
    np.testing.assert_array_equal(*compute_features(COMPOSITION_SETS, [heavy, of("LiH")]))


def test_oxidation_states_of_a_phosphate() -> None:
    """LiFePO4 has Li+, Fe2+, P5+ and O2-."""
    found = named(["oxidation_states"], of("LiFePO4"))
    assert found["charge_imbalance"] == 0
    assert (found["min_cation_state"], found["max_cation_state"]) == (1, 5)
    assert found["mean_cation_state"] == pytest.approx(8 / 3)
    assert found["mean_anion_state"] == -2
    assert found["anion_fraction_O"] == 1
    assert found["positive_nonmetal_fraction"] == pytest.approx(1 / 7)


def test_every_material_that_cannot_be_described_is_named() -> None:
    """One message names all of them, with what was found; the others can go on."""
    bad = Material("LiXx", {"Li": 1.0, "Xx": 1.0})
    negative = Material("LiO", {"Li": 1.0, "O": -1.0})
    with pytest.raises(FeatureError, match="'Xx' is not an element") as caught:
        compute_features(["element_statistics"], [bad, of("Li2O"), negative])
    assert set(caught.value.complaints) == {0, 2}
    with pytest.raises(FeatureError, match="amount of O is -1"):
        compute_features(["element_fractions"], [negative])
    with pytest.raises(FeatureError, match="no atoms"):
        compute_features(["element_fractions"], [Material("nothing", {})])
    with pytest.raises(FeatureError, match="was not trained on Ra"):
        compute_features(["element_vectors"], [of("RaCl2")])
    with pytest.raises(FeatureError, match="heavier than plutonium"):
        compute_features(["element_fractions"], [of("CmO2")])


def test_an_unknown_set_brings_a_suggestion() -> None:
    """A misspelt name is answered with the nearest one."""
    with pytest.raises(FeatureError, match="Did you mean 'element_statistics'"):
        find_feature_set("element_statistic")
