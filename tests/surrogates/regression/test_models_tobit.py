"""Censored values: expectations, the Tobit likelihood, and models of censored values."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray, IntArray
from invdesign.learning.ridge import solve_ridge
from surrogates.regression.models.contract import Kind
from surrogates.regression.models.fitting import fit_model
from surrogates.regression.models.settings import FitError
from surrogates.regression.models.tobit import censored_moments, impute_censored, solve_tobit

KINDS: tuple[Kind, ...] = get_args(Kind)
QUICK = {
    "extra_trees": {"trees": 30},
    "boosted_trees": {"trees": 60},
    "support_vectors": {"cost": 3.0},
    "gaussian_process": {"iterations": 15},
}


def _censor(n: int, share: float, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Rows whose lowest values are known as a limit: features, true values, values or limits, censoring."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    true = x @ [1.5, -1.0, 0.5, 0.0] + 0.4 * rng.normal(size=n)
    limit = float(np.quantile(true, share))
    return x, true, np.maximum(true, limit), np.where(true < limit, -1, 0)


@given(
    st.floats(-30.0, 30.0),
    st.floats(-30.0, 30.0),
    st.floats(1e-3, 10.0),
    st.sampled_from([-1, 1]),
)
def test_expectations_lie_beyond_the_limit(limit: float, mean: float, deviation: float, side: int) -> None:
    """An imputed value is on its side of the limit, no nearer than the prediction, and never NaN."""
    y, censoring, said = np.array([limit]), np.array([side]), np.array([mean])
    means, variances = censored_moments(y, censoring, said, deviation)
    assert np.isfinite(means).all()
    slack = 1e-9 * (1.0 + abs(limit) + abs(mean))
    assert side * (means[0] - limit) >= -slack
    assert side * (means[0] - mean) >= -slack
    assert 0.0 <= variances[0] <= deviation**2
    assert np.array_equal(impute_censored(y, np.zeros(1, dtype=np.int64), said, deviation), y)


def test_expectations_are_those_of_the_truncated_normal() -> None:
    """Moments agree with draws from the normal distribution."""
    draws = np.random.default_rng(0).normal(1.0, 2.0, size=400_000)
    for limit, side in ((0.5, -1), (2.5, 1)):
        beyond = draws[side * (draws - limit) > 0.0]
        mean, variance = censored_moments(np.array([limit]), np.array([side]), np.array([1.0]), 2.0)
        assert mean[0] == pytest.approx(beyond.mean(), abs=0.02)
        assert variance[0] == pytest.approx(beyond.var(), rel=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 30.0]), st.sampled_from([3, 50]))
def test_tobit_without_censoring_is_ridge(seed: int, penalty: float, d: int) -> None:
    """Without censored rows the likelihood gives ridge regression, also with more columns than rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, d))
    x -= x.mean(axis=0)
    y = x[:, 0] + rng.normal(size=40)
    found = solve_tobit(x, y, np.zeros(40, dtype=np.int64), penalty)
    plain = solve_ridge(x, y, [penalty])
    scale = float(np.abs(plain.weights).max())
    if d < 40 or penalty >= 1.0:  # else the rows are met exactly, and no deviation is left
        assert np.allclose(found.weights, plain.weights, atol=2e-4 * scale)
        assert found.offset == pytest.approx(plain.offset, abs=1e-3)


@pytest.mark.parametrize("side", [-1, 1])
def test_tobit_finds_the_true_line(side: int) -> None:
    """Weights and deviation of censored data are those of all data, on either side."""
    x, true, y, censoring = _censor(3000, 0.4)
    found = solve_tobit(x - x.mean(axis=0), -side * y, -side * censoring, 1e-3)
    assert np.allclose(-side * found.weights, [1.5, -1.0, 0.5, 0.0], atol=0.05)
    assert found.deviation == pytest.approx(0.4, abs=0.03)
    assert -side * found.offset == pytest.approx(true.mean(), abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_censored_fits_beat_dropping_and_limits(kind: Kind) -> None:
    """Predictions of new rows are nearer to the truth than with the limits as values, or without the rows."""
    x, _, y, censoring = _censor(250, 0.4)
    new, wanted, _, _ = _censor(500, 0.4, seed=1)

    def error(*rows: FloatArray, censoring: IntArray | None = None) -> float:
        model = fit_model(kind, *rows, censoring=censoring, settings=QUICK.get(kind, {}), seed=0)
        return float(np.sqrt(((model.predict(new) - wanted) ** 2).mean()))

    exact = censoring == 0
    censored = error(x, y, censoring=censoring)
    assert censored < error(x, y)
    assert censored < error(x[exact], y[exact])


@pytest.mark.parametrize("kind", KINDS)
def test_no_censored_rows_change_nothing(kind: Kind) -> None:
    """A column of zeros for censoring gives the same model."""
    x, true, _, _ = _censor(60, 0.2)
    options = QUICK.get(kind, {})
    plain = fit_model(kind, x, true, settings=options, seed=0)
    zeros = fit_model(kind, x, true, censoring=np.zeros(60, dtype=np.int64), settings=options, seed=0)
    assert plain.config == zeros.config
    assert all(np.array_equal(array, zeros.arrays[name]) for name, array in plain.arrays.items())


def test_censored_rows_alone_are_refused() -> None:
    """Limits alone do not make a model, and classes are not censored."""
    x, _, y, censoring = _censor(30, 0.4)
    with pytest.raises(FitError, match="needs 5 rows that are not censored or more, got 0"):
        fit_model("ridge", x, y, censoring=np.full(30, -1), seed=0)
    with pytest.raises(FitError, match="decide their class first"):
        fit_model("ridge", x, (y > 0).astype(float), task="classification", censoring=censoring, seed=0)
    with pytest.raises(FitError, match="censoring must be -1, 0 or 1"):
        fit_model("ridge", x, y, censoring=np.full(30, 2), seed=0)
