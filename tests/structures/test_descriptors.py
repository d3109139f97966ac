"""Features of compositions and structures."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Composition, Element, Lattice, Structure

from invdesign.structures.descriptors import (
    COMPOSITION_FEATURES,
    STRUCTURE_FEATURES,
    composition_features,
    elemental_properties,
    structure_features,
)


def of(formula: str) -> dict[str, float]:
    """Features of one formula by name."""
    row = composition_features([Composition(formula)])[0]
    return dict(zip(COMPOSITION_FEATURES, row.tolist(), strict=True))


def test_statistics_follow_their_definition() -> None:
    """Mean, mean absolute deviation, least and largest electronegativity of Li2O, worked out by hand."""
    lithium, oxygen = Element("Li").X, Element("O").X
    mean = (2 * lithium + oxygen) / 3
    found = of("Li2O")
    assert found["mean_electronegativity"] == pytest.approx(mean, abs=1e-8)
    deviation = (2 * abs(lithium - mean) + abs(oxygen - mean)) / 3
    assert found["deviation_electronegativity"] == pytest.approx(deviation, abs=1e-8)
    assert (found["min_electronegativity"], found["max_electronegativity"]) == (lithium, oxygen)
    assert found["elements"] == 2
    assert found["fraction_norm"] == pytest.approx(np.hypot(2 / 3, 1 / 3))
    assert found["mean_p_valence"] == pytest.approx(4 / 3)


def test_features_do_not_depend_on_how_a_formula_is_written() -> None:
    """LiCl and Li4Cl4, alone or beside a formula of more elements, are one point."""
    together = composition_features([Composition("LiCl"), Composition("Li4Cl4"), Composition("Li6PS5Cl")])
    np.testing.assert_array_equal(together[0], together[1])
    np.testing.assert_array_equal(together[0], composition_features([Composition("LiCl")])[0])


def test_a_single_element_deviates_from_nothing() -> None:
    """All statistics of a pure element are its own values."""
    found = of("Fe")
    assert found["deviation_atomic_mass"] == 0.0
    assert found["min_atomic_mass"] == found["max_atomic_mass"] == pytest.approx(55.845, abs=1e-3)
    assert (found["mean_s_valence"], found["mean_d_valence"], found["mean_p_valence"]) == (2, 6, 0)


def test_every_element_has_every_property() -> None:
    """What is not known of an element is filled in, so that no feature is NaN."""
    assert np.isfinite(elemental_properties()).all()
    assert len(elemental_properties()) == 119


def test_structure_features_are_of_the_crystal() -> None:
    """Body-centred iron: density, volume and nearest distance, the same for a supercell."""
    iron = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = dict(zip(STRUCTURE_FEATURES, structure_features(iron).tolist(), strict=True))
    assert found["density"] == pytest.approx(7.85, abs=0.03)
    assert found["volume_per_atom"] == pytest.approx(2.87**3 / 2, abs=1e-5)
    assert found["shortest_distance"] == pytest.approx(2.87 * np.sqrt(3) / 2, abs=1e-5)
    np.testing.assert_allclose(structure_features(iron * (2, 2, 1)), structure_features(iron), atol=2e-6)


def test_far_atoms_have_a_distance_too() -> None:
    """The search widens until it meets a neighbour."""
    lonely = Structure(Lattice.cubic(15.0), ["Xe"], [[0, 0, 0]])
    assert structure_features(lonely)[3] == pytest.approx(15.0)
