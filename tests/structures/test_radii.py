"""Ionic radii."""

from __future__ import annotations

import pytest

from invdesign.structures.charges import element_symbols, oxidation_states
from invdesign.structures.radii import ionic_radius


@pytest.mark.parametrize(
    ("element", "state", "radius"),
    [
        ("Li", 1, 0.76),
        ("O", -2, 1.40),
        ("S", -2, 1.84),
        ("Cl", -1, 1.81),
        ("Fe", 2, 0.78),  # high spin
        ("Mn", 3, 0.645),
        ("N", -3, 1.46),  # four-fold: six-fold is not tabulated
        ("P", -3, 2.12),  # Pauling's
        ("H", -1, 1.42),  # from sodium hydride
        ("Fe", 7, 0.25),  # nearest state of the sign
    ],
)
def test_radii_are_the_published_ones(element: str, state: int, radius: float) -> None:
    """Shannon's six-fold high-spin radii, others where he has none."""
    assert ionic_radius(element, state) == pytest.approx(radius)


def test_a_mean_state_has_a_radius_in_proportion() -> None:
    """Between tabulated states; beyond them, the nearest one's."""
    assert ionic_radius("Mn", 3.5) == pytest.approx((0.645 + 0.53) / 2)
    assert ionic_radius("Fe", 8 / 3) == pytest.approx(0.78 / 3 + 0.645 * 2 / 3)
    assert ionic_radius("O", -0.5) == ionic_radius("O", -2)


def test_every_ion_has_a_radius() -> None:
    """No state that a space may use is without a radius; only protons are as small as nothing."""
    for element in element_symbols():
        for state in oxidation_states(element):
            assert -0.2 <= ionic_radius(element, state) < 3.5, (element, state)


def test_a_wrong_element_is_refused() -> None:
    """A typo is named, not answered with a guess."""
    with pytest.raises(ValueError, match="'Xx' is not an element symbol"):
        ionic_radius("Xx", 1)
