"""Verdicts on models: which predictions are trusted, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from invdesign.learning.calibration import Calibration, judge_predictions, rank_correlation

N = 200


def judged(noise: float = 0.1, deviation: float = 0.1, skill: float = 1.0, n: int = N) -> Calibration:
    """Predictions that miss values of unit variance by `noise`, and claim to miss them by `deviation`."""
    rng = np.random.default_rng(7)
    truth = rng.normal(size=n)
    mean = skill * truth + noise * rng.normal(size=n)
    return judge_predictions("voltage", "V", list(range(n)), truth, mean, np.full(n, deviation))


def test_honest_predictions_are_trusted() -> None:
    """Where errors are as large as claimed, intervals hold as many values as they should."""
    found = judged()
    assert found.verdict == "well calibrated"
    assert found.r2 == pytest.approx(0.99, abs=0.005)
    assert found.rmse == pytest.approx(0.1, rel=0.15)
    assert found.inside_95 == pytest.approx(0.95, abs=0.04)
    assert found.inside_68 == pytest.approx(0.68, abs=0.08)
    assert "very well" in found.words
    assert "usually off by 0.097 V" in found.words


def test_narrow_intervals_are_overconfident_and_say_by_how_much() -> None:
    """Claims of a third of the error are found out, and the factor is told."""
    found = judged(noise=0.3, deviation=0.1)
    assert found.verdict == "intervals too narrow"
    assert found.widen == pytest.approx(3.0, rel=0.2)
    assert f"{found.widen:.1f} times as wide" in found.words


def test_wide_intervals_are_cautious() -> None:
    """Claims of three times the error are told too, but do no harm."""
    assert judged(noise=0.1, deviation=0.3).verdict == "intervals too wide"


def test_predictions_without_skill_are_no_better_than_the_mean() -> None:
    """Whatever its intervals, a model that predicts nothing is not believed."""
    found = judged(noise=1.0, deviation=1.0, skill=0.0)
    assert found.verdict == "no better than the mean"
    assert found.log_density > found.mean_log_density
    assert "measured values" in found.words


def test_few_rows_prove_nothing() -> None:
    """One value of six outside its interval may be an accident."""
    y = np.arange(6.0)
    mean = y + np.array([0.05, -0.05, 0.02, 0.3, -0.02, 0.05])
    assert judge_predictions("x", "", range(6), y, mean, np.full(6, 0.1)).verdict == "too few to tell"


@pytest.mark.parametrize(
    ("inside_68", "inside_95", "verdict"),
    [
        (0.68, 0.95, "well calibrated"),
        (0.68, 0.89, "intervals too narrow"),
        (0.55, 0.95, "intervals too narrow"),
        (0.85, 1.0, "intervals too wide"),
    ],
)
def test_calibrated_are_those_near_both_shares(inside_68: float, inside_95: float, verdict: str) -> None:
    """Of 100 values about 68 lie within one standard deviation and about 95 within two."""
    n = 100
    y = np.arange(float(n))
    off = np.full(n, 3.0)
    off[: round(inside_95 * n)], off[: round(inside_68 * n)] = 1.5, 0.5
    found = judge_predictions("x", "V", range(n), y, y + off, np.ones(n), -y)
    assert found.verdict == verdict
    assert found.best_span == 24.0
    assert "where the best quarter spans 24 V" in found.words


def test_a_yes_or_no_with_few_cases_is_too_little_to_tell() -> None:
    """Ninety-eight of a hundred alike are inside any interval."""
    y = np.array([0.0, 0.0, *[1.0] * 98])
    off = np.full(100, 0.01)
    assert (
        judge_predictions("kept", "", range(100), y, y - off, np.full(100, 0.02)).verdict == "too few to tell"
    )


def test_a_model_whose_error_covers_the_best_does_not_predict_them_well() -> None:
    """R² of a wide range says nothing of the few that matter: the best quarter spans less than the error."""
    y = np.concatenate([np.linspace(0.0, 0.1, 30), np.linspace(1.0, 3.0, 70)])
    off = np.where(np.arange(100) % 2 == 0, 0.2, -0.2)
    found = judge_predictions("barrier", "eV", range(100), y, y + off, np.full(100, 0.2), y)
    assert found.r2 > 0.9
    assert "roughly, and does not tell the best quarter apart" in found.words


def test_the_mean_of_the_others_has_no_skill() -> None:
    """R² of the mean of the other rows is 0, and its log density is the one to beat."""
    y = np.random.default_rng(3).normal(size=50)
    others = (y.sum() - y) / 49
    spread = np.array([np.delete(y, i).std(ddof=1) * np.sqrt(50 / 49) for i in range(50)])
    found = judge_predictions("x", "", range(50), y, others, spread)
    assert found.r2 == pytest.approx(0.0, abs=1e-12)
    assert found.log_density == pytest.approx(found.mean_log_density, abs=1e-9)


def test_exact_predictions_do_not_divide_by_zero() -> None:
    """Deviations of 0 are taken as very small ones."""
    y = np.arange(10.0)
    found = judge_predictions("x", "", range(10), y, y, np.zeros(10))
    assert found.r2 == 1.0
    assert np.isfinite(found.log_density)


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=30), st.floats(0.01, 10.0), st.floats(-5.0, 5.0))
def test_units_do_not_matter(values: list[int], scale: float, shift: float) -> None:
    """R², coverage and verdict stay when values are measured in another unit."""
    assume(len(set(values)) > 1)
    y = np.array(values, dtype=np.float64)
    mean = np.roll(y, 1)
    a = judge_predictions("x", "", range(len(y)), y, mean, np.full(len(y), 1.0))
    b = judge_predictions(
        "x", "", range(len(y)), scale * y + shift, scale * mean + shift, np.full(len(y), scale)
    )
    assert b.r2 == pytest.approx(a.r2, rel=1e-6, abs=1e-6)


def test_ranks_of_constant_predictions_have_no_correlation() -> None:
    """None is said where there is no order."""
    assert rank_correlation(np.arange(4.0), np.ones(4)) is None
    assert rank_correlation(np.arange(4.0), np.arange(4.0) ** 3) == pytest.approx(1.0)
