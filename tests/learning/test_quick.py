"""Cheap models of a property: what they learn, and that they know how well."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from invdesign.arrays import FloatArray
from invdesign.learning.quick import (
    ModelName,
    constant_model,
    fit_best_model,
    fit_gaussian_process,
    rank_correlation,
)
from invdesign.learning.target_scale import TargetScale

NAMES: tuple[ModelName, ...] = get_args(ModelName)


def cube(n: int, d: int = 4, seed: int = 0) -> FloatArray:
    """Points of the unit cube."""
    return np.random.default_rng(seed).random((n, d))


def bowl(x: FloatArray) -> FloatArray:
    """Least at 0.4 in every variable."""
    return np.asarray(((x - 0.4) ** 2 * np.arange(1, x.shape[1] + 1)).sum(axis=1))


def steps(x: FloatArray) -> FloatArray:
    """Jumps no smooth model follows."""
    return np.asarray(np.floor(5 * x[:, 0]) % 2 + 2.0 * (x[:, 1] > 0.5) * (x[:, 2] > 0.3))


@pytest.mark.parametrize("name", NAMES)
def test_every_model_predicts_what_it_was_not_shown(name: ModelName) -> None:
    """Unseen values of a tilted plane are put in order, and the model knew that it would."""
    x, new = cube(60), cube(200, seed=1)
    slope = np.array([1.0, -2.0, 0.5, 3.0])
    model = fit_best_model(x, x @ slope, [name])
    mean, deviation = model.predict(new)
    assert mean.shape == deviation.shape == (200,)
    assert (deviation >= 0).all()
    assert rank_correlation(mean, new @ slope) > 0.8
    assert model.trust > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_not_believed(name: ModelName) -> None:
    """Values that have nothing to do with the features earn no trust, in the mean over several draws."""
    trust = [
        fit_best_model(cube(40, seed=seed), np.random.default_rng(seed + 50).normal(size=40), [name]).trust
        for seed in range(4)
    ]
    assert np.mean(trust) < 0.2


def test_the_model_is_chosen_by_what_it_predicts() -> None:
    """On a curved surface and on jumps, the choice among all beats the plain linear one."""
    x, new = cube(80), cube(200, seed=1)
    smooth, jumps = fit_best_model(x, bowl(x), NAMES), fit_best_model(x, steps(x), NAMES)
    for model, truth in ((smooth, bowl), (jumps, steps)):
        plain = fit_best_model(x, truth(x), ["linear"])
        assert rank_correlation(model.predict(new)[0], truth(new)) > rank_correlation(
            plain.predict(new)[0], truth(new)
        )


def test_deviations_are_the_size_of_the_errors() -> None:
    """Most unseen values lie within two standard deviations of the prediction."""
    x, new = cube(50), cube(300, seed=1)
    mean, deviation = fit_best_model(x, np.sin(5 * x).sum(axis=1), ["gaussian_process"]).predict(new)
    assert np.mean(np.abs(mean - np.sin(5 * new).sum(axis=1)) < 2 * deviation) > 0.8


def test_the_same_rows_give_the_same_model() -> None:
    """Nothing in a fit is random: a resumed run fits the same models."""
    x, new = cube(40), cube(10, seed=1)
    for name in NAMES:
        first, again = (fit_best_model(x, steps(x), [name]).predict(new) for _ in range(2))
        assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (cube(20), np.full(20, 3.0)),
        (np.ones((20, 3)), np.arange(20.0)),
        (cube(4), np.arange(4.0)),
        (np.empty((20, 0)), np.arange(20.0)),
    ],
    ids=["constant values", "constant features", "too few rows", "no features"],
)
def test_nothing_to_learn_from_gives_the_mean(x: FloatArray, y: FloatArray) -> None:
    """Degenerate data is no error: the mean is predicted, and nobody need trust it."""
    model = fit_best_model(x, y, NAMES)
    mean, _ = model.predict(x[:2])
    assert (model.name, model.trust) == ("constant", 0.0)
    assert mean == pytest.approx([y.mean(), y.mean()])


@pytest.mark.parametrize("name", NAMES)
def test_awkward_features_are_learned_from(name: ModelName) -> None:
    """Repeated rows, columns that depend on each other, one-hot columns and more columns than rows do no harm."""
    kinds = np.eye(3)[np.arange(24) % 3]
    x = np.hstack([kinds, cube(24, 2), cube(24, 30, seed=3)])
    x = np.hstack([x, x[:, 3:4] * 2.0 + 1.0])
    x[5] = x[4]
    mean, deviation = fit_best_model(x, kinds @ np.array([0.0, 5.0, 9.0]), [name]).predict(x)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()


def test_outliers_do_not_hide_the_rest() -> None:
    """One value a million times the others leaves some of their order to predict, and predictions finite."""
    x, new = cube(60), cube(100, seed=1)
    y = bowl(x)
    y[7] = 1e6
    mean, deviation = fit_best_model(x, y, ["gaussian_process", "cubic"]).predict(new)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert rank_correlation(mean, bowl(new)) > 0.4


@pytest.mark.parametrize(
    "values", [[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 1e9], [5.0, 5.0, 5.0, 5.0, 6.0]]
)
def test_scaled_values_come_back(values: list[float]) -> None:
    """The scale on which a property is learned is undone in predictions."""
    y = np.array(values)
    outcome = TargetScale.from_values(y)
    restored, _ = outcome.to_property_scale(outcome.to_model_scale(y), np.zeros(5))
    assert restored == pytest.approx(y, rel=1e-6)


def test_a_gaussian_process_finds_the_feature_that_matters() -> None:
    """With a length scale of its own for each feature, idle ones do not blur the prediction."""
    x, new = cube(40, 8), cube(100, 8, seed=1)
    mean, _ = fit_gaussian_process(x * 4, np.sin(6 * x[:, 2]))(new * 4)
    assert np.abs(mean - np.sin(6 * new[:, 2])).max() < 0.5


def test_rank_correlation_is_of_ranks() -> None:
    """A monotonic map is a perfect prediction; a constant predicts nothing."""
    y = np.array([1.0, 2.0, 3.0, 10.0])
    assert rank_correlation(np.exp(y), y) == pytest.approx(1.0)
    assert rank_correlation(-y, y) == pytest.approx(-1.0)
    assert rank_correlation(np.ones(4), y) == 0.0


def test_a_constant_keeps_the_spread() -> None:
    """Where only the mean is known, the deviation is that of the data."""
    mean, deviation = constant_model(np.array([1.0, 3.0])).predict(np.zeros((2, 5)))
    assert mean.tolist() == [2.0, 2.0]
    assert deviation.tolist() == [1.0, 1.0]


def test_loading_models_is_light() -> None:
    """Scipy and scikit-learn are imported when something is fitted, not when settings are read."""
    code = "import sys, invdesign.optimizers.prescreen; print({'scipy', 'sklearn', 'moocore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
