"""Values of measured candidates: no model contradicts a measurement by more than its noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.learning.contracts import Regressor
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.gaussian.process import build_process, fit_hyperparameters
from invdesign.learning.measured import combine_with_predictions
from invdesign.learning.settings import ForestSettings, GaussianSettings
from invdesign.learning.trees import grow_boosted, grow_forest

TIGHT = 1e-9
INPUTS = Inputs(("a", "b", "c"), ("number",) * 3, (("first", (0,)), ("others", (1, 2))))


def gaussian(**fields: str) -> Callable[[Rows], Regressor]:
    options = GaussianSettings(iterations=8, **fields)  # type: ignore[arg-type]
    return lambda rows: build_process(rows, INPUTS, options, fit_hyperparameters(rows, INPUTS, options))


TREES = ForestSettings(trees=10, members=4)
MODELS: dict[str, Callable[[Rows], Regressor]] = {
    "matern": gaussian(kernel="matern"),
    "rbf": gaussian(kernel="rbf"),
    "additive": gaussian(kernel="additive"),
    "forest": lambda rows: grow_forest(rows, INPUTS, TREES, 3),
    "boosted": lambda rows: grow_boosted(rows, INPUTS, TREES, 3),
}


def rows_of(seed: int, scale: float, share: float) -> Rows:
    """Random rows of a function with some that lie far off; a share of them with noise, the others exact."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(int(rng.integers(6, 25)), 3))
    y = scale * (np.sin(5 * x[:, 0]) + x[:, 1] + rng.standard_t(2, len(x)) * rng.choice([0.0, 0.3]))
    noise = (scale * rng.choice([0.001, 0.1, 2.0], len(x))) ** 2
    return Rows(
        x,
        y + rng.normal(size=len(x)) * np.sqrt(noise) * 0.5,
        np.where(rng.random(len(x)) < share, noise, np.nan),
    )


@pytest.mark.parametrize("kind", list(MODELS))
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_no_model_contradicts_a_measurement(kind: str, seed: int, scale: float, share: float) -> None:
    """Every mean lies within one standard deviation of the noise of its measurement, and is no less sure than it."""
    rows = rows_of(seed, scale, share)
    noise = np.where(np.isfinite(rows.noise), rows.noise, 0.0)
    mean, deviation = combine_with_predictions(rows.y, noise, *MODELS[kind](rows).leave_one_out())
    slack = TIGHT * (np.abs(rows.y) + scale)
    assert (np.abs(mean - rows.y) <= np.sqrt(noise) + slack).all()
    assert (deviation <= np.sqrt(noise) + slack).all()
    exact = np.isnan(rows.noise)
    assert (mean[exact] == rows.y[exact]).all()
    assert (deviation[exact] == 0.0).all()


def test_two_statements_are_one() -> None:
    """Measured 1 ± 1 and predicted 2 ± 1 (without the noise) are 1.5 ± 0.7; far predictions move by the noise alone."""
    y, noise = np.ones(3), np.ones(3)
    mean, deviation = combine_with_predictions(
        y, noise, np.array([2.0, 11.0, -99.0]), np.full(3, np.sqrt(2.0))
    )
    assert mean == pytest.approx([1.5, 2.0, 0.0])
    assert deviation[0] == pytest.approx(np.sqrt(0.5))
    assert (np.diff(deviation) > 0).all()
