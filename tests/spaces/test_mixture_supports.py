"""Which components are present: draws cover the feasible set evenly, however it is narrowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.mixture.supports import Supports


def supports(**fields: Any) -> Supports:
    """Of a mixture space."""
    found: Supports = load("spaces", {"kind": "mixture", **fields})._model.field.supports
    return found


def drawn(found: Supports, count: int) -> np.ndarray:
    """Shape (count, n)."""
    return np.array([found.sample(rng_for(0, n, "draw")) for n in range(count)])


NARROW = {
    "mixtures": {"m": {"components": list("abcdef"), "at_most": 3}},
    "constraints": ["a + 2*b + 3*c >= 0.9", "d + e <= 0.3"],
}


def test_drawing_by_volume_agrees_with_drawing_again() -> None:
    """Sets by the volume of their regions and uniform points within them: the moments of plain rejection."""
    again, volume = supports(**NARROW), supports(**NARROW)
    assert again._uses_rejection
    volume.__dict__["_uses_rejection"] = False
    first, second = drawn(again, 3_000), drawn(volume, 3_000)
    assert np.abs(first.mean(axis=0) - second.mean(axis=0)).max() < 0.02
    assert np.abs((first > 0).mean(axis=0) - (second > 0).mean(axis=0)).max() < 0.05


def test_sets_that_cannot_be_feasible_are_never_drawn() -> None:
    """Charges balance with an ion of either sign only: no set of cations alone has any weight."""
    found = supports(
        mixtures={"m": {"components": ["La3+", "Zr4+", "O2-", "F-"], "at_most": 3}}, neutral=True
    )
    assert found.listed_sets is not None
    for present, weight in zip(found.listed_sets, found.set_weights, strict=True):
        assert (weight > 0) == bool(present[:2].any() and present[2:].any())


def test_smaller_sets_are_drawn_where_a_smallest_fraction_sets_them_apart() -> None:
    """With present_from, mixtures of one, two and three components are regions of their own; all are reached."""
    found = supports(mixtures={"m": {"components": list("abc"), "present_from": 0.2}})
    sizes = np.bincount((drawn(found, 400) > 0).sum(axis=1), minlength=4)
    assert (sizes[1:] > 0).all()
    assert sizes[0] == 0


@pytest.mark.parametrize("most", [5, 9])
def test_sets_too_many_to_list_are_drawn_and_repaired(most: int) -> None:
    """Of 30 components, with an equation that plain draws never meet."""
    names = [f"c{i}" for i in range(30)]
    found = supports(
        mixtures={"m": {"components": names, "at_most": most, "present_from": 0.03}},
        constraints=[{"sum": {name: float(i % 5) for i, name in enumerate(names) if i % 5}, "equal": 2.5}],
    )
    assert found.listed_sets is None
    for seed in range(5):
        for x in (
            found.sample(rng_for(seed, 0, "many")),
            found.repair_point(rng_for(seed, 1, "y").random(30)),
        ):
            assert x is not None
            assert found.system.meets_counts(np.round(x, 11))
            assert found.system.rules.are_met(x, 1e-8)
