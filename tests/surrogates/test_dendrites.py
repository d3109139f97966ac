"""The criterion of dendrite initiation: its two stable regimes, and what it is built from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from surrogates.dendrites.criterion import (
    LITHIUM_POISSON,
    LITHIUM_SHEAR,
    SURFACE_ENERGY,
    poisson_ratio,
    stability_parameter,
)
from surrogates.dendrites.evaluator import DendriteRank


def evaluate(evaluator: DendriteRank, properties: dict[str, float]) -> Evaluation:
    candidate = Candidate(0, "0", Proposal({}))
    return evaluator.evaluate([Input(candidate, Design(), properties, {}, 1)])[0]


def parameter(ratio: float, volume_ratio: float, poisson: float = 0.33) -> float:
    shear = np.array([ratio * LITHIUM_SHEAR])
    return float(stability_parameter(shear, np.array([poisson]), volume_ratio)[0])


def test_there_are_two_stable_regimes() -> None:
    # Ahmad & Viswanathan (2017): soft with dense lithium, or stiff with lithium that takes more room than in the metal.
    assert parameter(0.1, 0.1) < 0 < parameter(20.0, 0.1)
    assert parameter(20.0, 5.0) < 0 < parameter(0.1, 5.0)


@given(st.floats(0.25, 0.45), st.floats(0.0, 0.3))
def test_stiffness_destabilises_where_lithium_is_dense(poisson: float, volume_ratio: float) -> None:
    values = [parameter(ratio, volume_ratio, poisson) for ratio in (5.0, 20.0, 100.0)]
    assert values == sorted(values)


def test_equal_solids_leave_shear_and_surface() -> None:
    # With equal solids and equal volumes, pressures cancel: what is left stabilises.
    assert parameter(1.0, 1.0, LITHIUM_POISSON) < -SURFACE_ENERGY * 0.1


@given(st.floats(1.0, 300.0), st.floats(1.0, 200.0))
def test_poisson_ratio_gives_back_the_moduli(bulk: float, shear: float) -> None:
    ratio = float(poisson_ratio(np.array([bulk]), np.array([shear]))[0])
    if -0.98 < ratio < 0.499:
        assert 2 * shear * (1 + ratio) / (3 * (1 - 2 * ratio)) == pytest.approx(bulk, rel=1e-6)


def moduli(shear: float, bulk: float, spread: float | None = None) -> dict[str, float]:
    found = {"log10_shear_modulus": np.log10(shear), "log10_bulk_modulus": np.log10(bulk)}
    if spread is not None:
        for name, value in list(found.items()):
            found |= {
                f"{name}_lower": value - spread,
                f"{name}_upper": value + spread,
                f"{name}_extrapolated": 1.0,
            }
    return {name: float(value) for name, value in found.items()}


def test_soft_solids_rank_before_stiff_ones() -> None:
    # Moduli of a sulfide such as Li3PS4 and of the garnet Li7La3Zr2O12, rounded
    soft, stiff = (evaluate(DendriteRank(), moduli(*pair)) for pair in ((8.0, 20.0), (60.0, 100.0)))
    assert soft.properties["dendrite_stability"] < 0 < stiff.properties["dendrite_stability"]
    assert set(soft.properties) == {"dendrite_stability"}


def test_intervals_of_moduli_become_a_probability() -> None:
    known = moduli(8.0, 20.0, 0.2)
    evaluator = DendriteRank().reading_from(known)
    assert set(known) == evaluator.requires
    found = evaluate(evaluator, known)
    assert set(found.properties) == set(evaluator.provides)
    assert 0.5 < found.properties["dendrite_stable_probability"] <= 1.0
    assert found.systematic["dendrite_stability"] > 0
    assert found.properties["dendrite_stability_extrapolated"] == 1.0
    certain = evaluate(evaluator, {**known, **moduli(8.0, 20.0, 1e-6)})
    assert certain.properties["dendrite_stable_probability"] == 1.0
    assert evaluate(evaluator, known) == found  # the draws follow from the input alone
