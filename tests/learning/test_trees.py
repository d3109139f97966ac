"""Random forests and boosted trees as models of a property."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from invdesign.learning.data import Inputs, Rows
from invdesign.learning.settings import ForestSettings
from invdesign.learning.trees import TreeRegressor, grow_boosted, grow_forest
from invdesign.testing.common import expect_untouched_globals

Maker = Callable[[Rows, Inputs, ForestSettings, int], TreeRegressor]
MAKERS: list[Maker] = [grow_forest, grow_boosted]
SMALL = ForestSettings(trees=25, members=4)
LARGER = ForestSettings(trees=50, members=8)


def inputs_of(d: int) -> Inputs:
    return Inputs(tuple(f"x{i}" for i in range(d)), ("number",) * d, cube=True)


def rows_of(x: np.ndarray, y: np.ndarray, source: np.ndarray | None = None) -> Rows:
    n = len(y)
    return Rows(x, y, np.full(n, np.nan), np.zeros(n, dtype=np.int64) if source is None else source)


def wave(x: np.ndarray) -> np.ndarray:
    return np.sin(5.0 * x[:, 0]) + 3.0 * (x[:, 1] - 0.4) ** 2


def example(n: int = 80, d: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).random((n, d))
    return x, wave(x)


@pytest.mark.parametrize("make", MAKERS)
def test_learns(make: Maker) -> None:
    """It predicts what it has not seen, knows which columns matter, and is about as sure as it is right."""
    x, y = example(120)
    model = make(rows_of(x, y), inputs_of(4), LARGER, 0)
    new = np.random.default_rng(1).random((300, 4))
    mean, deviation = model.predict(new)
    error = wave(new) - mean
    assert np.sqrt(np.mean(error**2)) < 0.5 * wave(new).std()
    assert np.mean(np.abs(error) < 2.0 * deviation) > 0.75
    left, spread = model.leave_one_out()
    assert np.sqrt(np.mean((left - y) ** 2)) < 0.6 * y.std()
    assert 0.4 < np.mean(((left - y) / spread) ** 2) < 3.0
    importance = model.column_importance()
    assert importance.shape == (4,)
    assert importance.sum() == pytest.approx(1.0)
    assert importance[:2].sum() > 0.9
    assert not model.differentiable


@pytest.mark.parametrize("make", MAKERS)
def test_a_function_of_rows_and_seed(make: Maker) -> None:
    """The same rows and seed give the same digits, whatever was drawn before; nothing global is drawn from."""
    x, y = example(40)
    with expect_untouched_globals("forest"):
        models = [make(rows_of(x, y), inputs_of(4), SMALL, 2**63 + 5) for _ in range(2)]
        other = make(rows_of(x, y), inputs_of(4), SMALL, 6)
    first, second = (model.predict(x) for model in models)
    np.testing.assert_array_equal(first, second)
    assert np.any(other.predict(x)[0] != first[0])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_rows(make: Maker, n: int) -> None:
    """One row is enough for an answer; where nothing is learned, what is far from the rows is less sure."""
    x, y = example(n)
    model = make(rows_of(x, y), inputs_of(4), SMALL, 0)
    mean, deviation = model.predict(np.vstack([x, x + 0.5]))
    assert np.isfinite(mean).all()
    assert (deviation >= 0.0).all()
    assert (deviation[n:] > 0.0).all()
    left, spread = model.leave_one_out()
    assert left.shape == spread.shape == (n,)
    assert (spread > 0.0).all()


@pytest.mark.parametrize("make", MAKERS)
def test_constant_values(make: Maker) -> None:
    """Values that are all the same are predicted everywhere, least surely where no row is near."""
    x, _ = example(20)
    model = make(rows_of(x, np.full(20, 3.0)), inputs_of(4), SMALL, 0)
    mean, deviation = model.predict(np.vstack([x[:1], x[:1] + 5.0]))
    np.testing.assert_allclose(mean, 3.0)
    assert deviation[0] < 1e-6 < deviation[1]
    np.testing.assert_allclose(model.column_importance(), 0.25)


@pytest.mark.parametrize("make", MAKERS)
def test_missing_and_useless_columns(make: Maker) -> None:
    """Missing numbers, columns of nothing else, constant and repeated columns do no harm."""
    x, y = example(60, 6)
    x[:, 3], x[:, 4], x[:, 5] = np.nan, 1.0, x[:, 0]
    x[::7, 1] = np.nan
    model = make(rows_of(x, y), inputs_of(6), SMALL, 0)
    mean, deviation = model.predict(x)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()
    assert model.column_importance()[[3, 4]].sum() == 0.0


@pytest.mark.parametrize("make", MAKERS)
def test_other_sources(make: Maker) -> None:
    """Values of another source, shifted and many, help with the few of the one that is sought."""
    x, y = example(150)
    source = (np.arange(150) >= 20).astype(np.int64)
    own = make(rows_of(x[:20], y[:20]), inputs_of(4), LARGER, 0)
    both = make(rows_of(x, y + 0.5 * source, source), inputs_of(4), LARGER, 0)
    new = np.random.default_rng(1).random((300, 4))
    errors = [np.sqrt(np.mean((model.predict(new)[0] - wave(new)) ** 2)) for model in (own, both)]
    assert errors[1] < errors[0]
    assert both.predict(new, source=1)[0].mean() > both.predict(new)[0].mean()
    assert both.column_importance().shape == (4,)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("n", [2, 60])
def test_believing(make: Maker, n: int) -> None:
    """Added rows are sure, what is near them is surer than before, and values that are given are taken up."""
    x, y = example(n)
    model = make(rows_of(x, y), inputs_of(4), SMALL, 0)
    new = np.random.default_rng(1).random((50, 4))
    before = model.predict(new)
    believed = model.condition_on(new[:1]).condition_on(new[1:3])
    mean, deviation = believed.predict(new)
    np.testing.assert_allclose(mean, before[0])
    assert (deviation <= before[1] + 1e-12).all()
    assert (deviation[:3] < 1e-6 * (1.0 + before[1][:3])).all()
    told = model.condition_on(new[:2], np.array([7.0, -7.0]))
    np.testing.assert_allclose(told.predict(new[:2])[0], [7.0, -7.0], atol=1e-9)


def test_known_noise() -> None:
    """What evaluators say of their noise is no uncertainty of the value, and noisy rows count less."""
    x, y = example(100)
    rng = np.random.default_rng(0)
    noisy = np.where(np.arange(100) < 50, 2.0, 0.0)
    values = y + noisy * rng.normal(size=100)
    stated = grow_forest(Rows(x, values, noisy**2 + 1e-4), inputs_of(4), LARGER, 0)
    silent = grow_forest(rows_of(x, values), inputs_of(4), LARGER, 0)
    new = rng.random((300, 4))
    errors = [np.mean((model.predict(new)[0] - wave(new)) ** 2) for model in (stated, silent)]
    assert errors[0] < errors[1]
    assert stated.predict(new)[1].mean() < silent.predict(new)[1].mean()


def test_as_a_botorch_model() -> None:
    """The model gives the same means and deviations at points in batches, and can be drawn from."""
    x, y = example(30)
    trees = grow_forest(rows_of(x, y), inputs_of(4), SMALL, 0)
    points = torch.as_tensor(x[:24].reshape(2, 3, 4, 4))
    posterior = trees.to_botorch().posterior(points)
    mean, deviation = trees.predict(x[:24])
    assert posterior.mean.shape == (2, 3, 4, 1)
    np.testing.assert_allclose(posterior.mean.numpy().reshape(-1), mean)
    np.testing.assert_allclose(posterior.variance.sqrt().numpy().reshape(-1), deviation, atol=1e-9)
    assert posterior.rsample(torch.Size([2])).shape == (2, 2, 3, 4, 1)


@pytest.mark.parametrize("make", MAKERS)
def test_blocks(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Working in blocks changes no digit."""
    x, y = example(30)
    model = make(rows_of(x, y), inputs_of(4), SMALL, 0).condition_on(x[:2] + 0.01)
    whole = model.predict(x)
    monkeypatch.setattr("invdesign.learning.trees.ROWS_PER_BLOCK", 7)
    np.testing.assert_array_equal(model.predict(x), whole)


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"columns": 0.0}, {"members": 1}, {"kind": "forest"}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    """Settings out of range, or unknown, are refused."""
    with pytest.raises(ValidationError):
        ForestSettings.model_validate(wrong)
