"""The Gaussian process that weighs blocks of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.spatial.distance import cdist

from invdesign.arrays import FloatArray
from surrogates.regression.members import fit_candidates
from surrogates.regression.models.block_process import (
    JITTER,
    fit_block_parameters,
    measure_blocks,
    negative_log_likelihood,
)
from surrogates.regression.models.contract import Candidate, ColumnBlock
from surrogates.regression.models.fitting import fit_model
from surrogates.regression.models.settings import FitError

BLOCKS = (ColumnBlock(3), ColumnBlock(4, alike=True))
LAPLACIAN = {"kernel": "laplacian"}


def _make_rows(n: int = 100, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Rows of two blocks, of which only the first tells the values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 7))
    return x, np.abs(x[:, 0]) + x[:, 1] + 0.1 * rng.normal(size=n)


def _fit(x: FloatArray, y: FloatArray, **more: Any) -> Any:
    return fit_model("gaussian_process", x, y, settings=LAPLACIAN, blocks=BLOCKS, seed=0, **more)


def test_gradient_of_the_likelihood_is_exact() -> None:
    x, y = _make_rows(30)
    distances, _ = measure_blocks(x, np.array([0, 0, 0, 1, 1, 1, 1]))
    for theta in (np.array([-1.0, -1.0, 0.0, -1.6]), np.array([0.5, -3.0, 1.0, -4.0])):
        error = check_grad(
            lambda point: negative_log_likelihood(point, distances, y)[0],
            lambda point: negative_log_likelihood(point, distances, y)[1],
            theta,
        )
        assert error < 1e-4


def test_a_block_that_tells_nothing_weighs_little() -> None:
    x, y = _make_rows()
    distances, units = measure_blocks(x, np.array([0, 0, 0, 1, 1, 1, 1]))
    assert np.median(distances, axis=1) == pytest.approx([1.0, 1.0])
    assert (units > 0.0).all()
    found = fit_block_parameters(distances, (y - y.mean()) / y.std(), 60)
    assert found.weights[0] > 3.0 * found.weights[1]
    new, wanted = _make_rows(200, seed=1)
    errors = [
        np.abs(
            fit_model("gaussian_process", x, y, settings=LAPLACIAN, blocks=blocks, seed=0).predict(new)
            - wanted
        )
        for blocks in (BLOCKS, ())
    ]
    assert errors[0].mean() < errors[1].mean()


def test_units_do_not_matter_but_sizes_within_a_block_do() -> None:
    """Each column of a standardised block, and a block of one unit as a whole, may be measured in another unit."""
    x, y = _make_rows()
    y = y + x[:, 3]
    said = _fit(x, y).predict(x)
    assert _fit(x * [2.0, 0.1, 30.0, 5.0, 5.0, 5.0, 5.0], y).predict(
        x * [2.0, 0.1, 30.0, 5.0, 5.0, 5.0, 5.0]
    ) == pytest.approx(said, abs=1e-6)
    one = np.array([1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0])
    assert np.abs(_fit(x * one, y).predict(x * one) - said).max() > 0.01


def test_weights_solve_the_equations_of_the_process() -> None:
    """Residuals are the weights times the noise, and deviations follow from the inverse covariance."""
    x, y = _make_rows()
    model = _fit(x, y)
    rows, (prior, mean) = model.rows, model.variance
    covariance = prior * np.exp(-cdist(rows, rows, "cityblock")) + mean
    weights = model.weights / prior
    residual = model.outputs.scale.to_model_scale(y) - covariance @ weights
    noise = float(np.median(residual / weights))
    assert residual == pytest.approx(noise * weights, abs=1e-9)
    new, _ = _make_rows(20, seed=1)
    shared = prior * np.exp(-cdist(model.inputs(new), rows, "cityblock")) + mean
    explained = (shared @ np.linalg.inv(covariance + noise * np.eye(len(rows))) * shared).sum(axis=1)
    spread = model.outputs.to_deviations(model.score(new), np.sqrt(prior + mean - explained))
    assert model.predict_spread(new) == pytest.approx(spread, rel=1e-5)  # stored in single precision
    assert noise > JITTER


def test_censored_rows_are_imputed() -> None:
    """Predictions below the limit are better than with the limits as values, or without the censored rows."""
    x, y = _make_rows(200)
    limit = float(np.quantile(y, 0.3))
    censoring = -(y < limit).astype(np.int64)
    clipped = np.maximum(y, limit)
    new, wanted = _make_rows(300, seed=1)
    low = wanted < limit
    errors = [
        float((model.predict(new) - wanted)[low].mean())
        for model in (
            _fit(x, clipped, censoring=censoring),
            _fit(x, clipped),
            _fit(x[censoring == 0], y[censoring == 0]),
        )
    ]
    assert 0.0 < errors[0] < errors[2] < errors[1]


def test_training_passes_blocks_and_censored_rows() -> None:
    """A candidate's process has the feature sets as blocks, and its own imputation."""
    from surrogates.regression.blocks import compute_blocks
    from surrogates.regression.members import Labelled
    from tests.surrogates.regression.synthetic import censor_below, make_data

    whole = make_data(20, 3)
    data = censor_below(whole, float(np.quantile(whole.y, 0.2)))
    sets = ("element_fractions", "element_statistics")
    blocks = compute_blocks(sets, data.materials)
    named = blocks.list_columns(sets)
    assert [block.alike for block in named] == [True, False]
    labelled = Labelled("regression", blocks, data.y, data.censoring)
    candidate = Candidate(sets, "gaussian_process", LAPLACIAN)
    ((_, model),) = fit_candidates([candidate], labelled, [0])
    direct = fit_model(
        "gaussian_process",
        blocks.stack_sets(sets),
        data.y,
        censoring=data.censoring,
        settings=LAPLACIAN,
        blocks=named,
        seed=0,
    )
    x = blocks.stack_sets(sets)
    assert np.array_equal(model.predict(x), direct.predict(x))


def test_blocks_of_other_columns_are_refused() -> None:
    x, y = _make_rows()
    with pytest.raises(FitError, match="blocks of 3, 4 columns do not make up 6 features"):
        _fit(x[:, :6], y)
