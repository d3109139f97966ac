"""Fitted models: their stored form, their predictions, and what they refuse."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest

from invdesign.arrays import FloatArray
from invdesign.errors import ArtifactError
from surrogates.regression.models.contract import Kind, Task
from surrogates.regression.models.fitting import fit_model
from surrogates.regression.models.settings import FitError
from surrogates.regression.models.storing import load_fitted

KINDS: tuple[Kind, ...] = get_args(Kind)
TASKS: tuple[Task, ...] = get_args(Task)
QUICK: dict[str, dict[str, Any]] = {
    "extra_trees": {"trees": 20},
    "boosted_trees": {"trees": 30},
    "support_vectors": {"cost": 3.0},
    "gaussian_process": {"iterations": 10},
}
KERNEL_KINDS: tuple[Kind, ...] = ("kernel_ridge", "support_vectors", "gaussian_process")
MODELS: list[tuple[Kind, dict[str, Any]]] = [
    *((kind, QUICK.get(kind, {})) for kind in KINDS),
    *((kind, {**QUICK.get(kind, {}), "kernel": "laplacian"}) for kind in KERNEL_KINDS),
]
every_model = pytest.mark.parametrize(
    ("kind", "settings"), MODELS, ids=[f"{kind}-{settings.get('kernel', '')}" for kind, settings in MODELS]
)


def _make_rows(n: int = 80, d: int = 6, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Rows with missing values, a constant column, and a smooth target."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = 2.0 * x[:, 0] + np.sin(2.0 * x[:, 1]) + 0.1 * rng.normal(size=n)
    x[:, 2] = 7.0
    x[rng.random(n) < 0.2, 3] = np.nan
    return x, y


def _target(y: FloatArray, task: Task) -> FloatArray:
    return y if task == "regression" else (y > 0.3).astype(np.float64)


@pytest.mark.parametrize("task", TASKS)
@every_model
def test_stored_models_predict_the_same(kind: Kind, settings: dict[str, Any], task: Task) -> None:
    """Arrays and JSON rebuild a model bit for bit; the same seed gives the same arrays."""
    x, y = _make_rows()
    new, _ = _make_rows(200, seed=1)
    new[0, 0], new[1] = np.inf, np.nan
    model, again = (
        fit_model(kind, x, _target(y, task), task=task, settings=settings, seed=3) for _ in range(2)
    )
    assert model.config == again.config
    assert model.arrays.keys() == again.arrays.keys()
    assert all(np.array_equal(array, again.arrays[name]) for name, array in model.arrays.items())
    assert all(np.isfinite(array).all() for array in model.arrays.values())
    loaded = load_fitted(
        model.form, json.loads(json.dumps(model.config, allow_nan=False)), dict(model.arrays)
    )
    said = model.predict(new)
    assert said.shape == (200,)
    assert np.isfinite(said).all()
    assert np.array_equal(said, loaded.predict(new))
    spread, (mean, stored) = model.predict_spread(new), loaded.predict_both(new)
    assert np.array_equal(said, mean)
    assert (spread is None) == (stored is None)
    if spread is not None and stored is not None:
        assert np.array_equal(spread, stored)
        assert (spread >= 0.0).all()
    if task == "classification":
        assert ((said >= 0.0) & (said <= 1.0)).all()


@every_model
def test_models_learn(kind: Kind, settings: dict[str, Any]) -> None:
    """Every kind explains new rows of a simple target, and tells its classes apart."""
    x, y = _make_rows(200)
    new, wanted = _make_rows(300, seed=1)
    said = fit_model(kind, x, y, settings=settings, seed=0).predict(new)
    assert ((said - wanted) ** 2).mean() < 0.35 * wanted.var()
    chance = fit_model(
        kind, x, _target(y, "classification"), task="classification", settings=settings, seed=0
    ).predict(new)
    assert ((chance > 0.5) == (wanted > 0.3)).mean() > 0.8


def test_damaged_models_are_refused() -> None:
    """Missing arrays, wrong shapes and cycles give an error that says so."""
    x, y = _make_rows()
    model = fit_model("extra_trees", x, y, settings={"trees": 3}, seed=0)
    arrays = dict(model.arrays)
    with pytest.raises(ArtifactError, match="array threshold is missing"):
        load_fitted("trees", model.config, {k: v for k, v in arrays.items() if k != "threshold"})
    with pytest.raises(ArtifactError, match="leads back"):
        load_fitted("trees", model.config, {**arrays, "left": np.zeros_like(arrays["left"])})
    with pytest.raises(ArtifactError, match="feature holds numbers outside"):
        load_fitted("trees", model.config, {**arrays, "feature": arrays["feature"] + 100})
    with pytest.raises(ArtifactError, match="no model is stored as 'forest'"):
        load_fitted("forest", model.config, arrays)
    with pytest.raises(ArtifactError, match="damaged"):
        load_fitted("trees", {}, arrays)


def test_rows_without_information_are_refused() -> None:
    """Errors say what was found and what to do."""
    x, y = _make_rows()
    with pytest.raises(FitError, match="needs 5 rows or more, got 4"):
        fit_model("ridge", x[:4], y[:4], seed=0)
    with pytest.raises(FitError, match="nothing to learn"):
        fit_model("ridge", x, np.ones(len(x)), seed=0)
    with pytest.raises(FitError, match="all 80 rows are of class 1"):
        fit_model("ridge", x, np.ones(len(x)), task="classification", seed=0)
    with pytest.raises(FitError, match="1 of 80 values are not finite, first in row 5"):
        fit_model("ridge", x, np.where(np.arange(80) == 5, np.nan, y), seed=0)
    with pytest.raises(FitError, match="no feature varies"):
        fit_model("ridge", np.ones((80, 3)), y, seed=0)
    with pytest.raises(FitError, match=r"'penalti' is unknown.*Did you mean 'penalty'"):
        fit_model("ridge", x, y, settings={"penalti": 1.0}, seed=0)
    with pytest.raises(FitError, match=r"shape \(rows, 6\), got \(80, 5\)"):
        fit_model("ridge", x, y, seed=0).predict(x[:, :5])


@pytest.mark.parametrize("task", TASKS)
@every_model
def test_few_rows_and_odd_features_suffice(kind: Kind, settings: dict[str, Any], task: Task) -> None:
    """Five rows, one of the second class, empty and huge features: predictions are numbers."""
    rng = np.random.default_rng(0)
    for n in (5, 6, 9):
        x = rng.normal(size=(n, 4)) * [1.0, 1e-9, 1e9, 1.0]
        x[:, 3] = np.nan
        y = np.where(np.arange(n) == 2, 1.0, 0.0) if task == "classification" else x[:, 0] + 1e6
        model = fit_model(kind, x, y, task=task, settings=settings, seed=0)
        new = np.array([[0.0] * 4, [1e200, -1e200, 1e30, 3.0], [np.nan] * 4])
        assert np.isfinite(model.predict(new)).all()


def test_kernel_models_of_many_rows_keep_a_part() -> None:
    """Above the limit a part of the rows is stored; standard deviations remain, and grow away from the rows."""
    x, y = _make_rows(120)
    options = {"rows": 60, "deviation_rows": 40, "iterations": 10}
    model = fit_model("gaussian_process", x, y, settings=options, seed=0)
    assert len(model.arrays["rows"]) == 60
    assert len(model.arrays["places"]) == 40
    near, far = model.predict_spread(x), model.predict_spread(x + 100.0)
    assert near is not None
    assert far is not None
    assert (near < far).all()
    assert ((model.predict(x) - y) ** 2).mean() < 0.3 * y.var()
    whole = fit_model("gaussian_process", x, y, settings={**options, "deviation_rows": 60}, seed=0)
    least = whole.predict_spread(x)
    assert least is not None
    assert (near >= least - 1e-9).all()
    assert len(fit_model("kernel_ridge", x, y, settings={"rows": 30}, seed=0).arrays["rows"]) == 30


def test_trees_of_many_rows_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves grow with the number of rows, so that a model stays below its limit."""
    from surrogates.regression.models import estimators

    x, y = _make_rows(300)
    whole = fit_model("extra_trees", x, y, settings={"trees": 20}, seed=0)
    monkeypatch.setattr(estimators, "MOST_TREE_BYTES", 20_000)
    small = fit_model("extra_trees", x, y, settings={"trees": 20}, seed=0)
    sizes = [sum(array.nbytes for array in model.arrays.values()) for model in (whole, small)]
    assert sizes[1] < 20_000 < sizes[0]
