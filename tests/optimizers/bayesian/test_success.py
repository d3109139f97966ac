"""The chance of success: what it learns, how sure it is, and that failure does not attract for ever."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.learning.data import Inputs
from invdesign.optimizers.bayesian.success import SuccessClassifier, build_success_model, fit_success

Shape = Callable[[np.ndarray], np.ndarray]
SHAPES: dict[str, tuple[Shape, float]] = {
    "half": (lambda x: x[:, 0] < 0.5, 0.9),
    "slope": (lambda x: x[:, 0] + x[:, 1] < 1.0, 0.82),
    "disc": (lambda x: ((x[:, :2] - 0.5) ** 2).sum(axis=1) > 0.09, 0.7),
    "corner": (lambda x: (x[:, 0] < 0.6) | (x[:, 1] < 0.6), 0.85),
}


def cube(d: int) -> Inputs:
    return Inputs(tuple(f"x{i}" for i in range(d)), ("number",) * d, cube=True)


def learned(x: np.ndarray, succeeded: np.ndarray, inputs: Inputs | None = None) -> SuccessClassifier:
    inputs = inputs or cube(x.shape[1])
    return build_success_model(x, succeeded, inputs, fit_success(x, succeeded, inputs, None))


@pytest.mark.parametrize("name", SHAPES)
def test_recognises_where_it_fails(name: str) -> None:
    """After 20 trials in four dimensions, of which one or two matter, most other points are told right."""
    succeeds, least = SHAPES[name]
    right, surprise = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, new = rng.random((20, 4)), rng.random((500, 4))
        chance = learned(x, succeeds(x)).predict_probability(new)
        truth = succeeds(new)
        right.append(((chance > 0.5) == truth).mean())
        surprise.append(-np.log(np.where(truth, chance, 1.0 - chance)).mean())
    assert np.mean(right) >= least
    assert np.mean(surprise) < 0.6  # a coin's is 0.69


def test_not_sure_of_what_cannot_be_known() -> None:
    """Where failure strikes at random, the chance stays near the share that succeeds."""
    rng = np.random.default_rng(2)
    x, succeeded = rng.random((60, 3)), rng.random(60) < 0.7
    chance = learned(x, succeeded).predict_probability(rng.random((500, 3)))
    assert abs(chance.mean() - 0.7) < 0.12
    assert chance.min() > 0.3


def test_all_succeeded() -> None:
    """Without a failure there is no model, and the chance is 1 everywhere."""
    x, fine = np.random.default_rng(0).random((5, 2)), np.ones(5, dtype=bool)
    assert fit_success(x, fine, cube(2), None) == {}
    model = build_success_model(x, fine, cube(2), {})
    np.testing.assert_array_equal(model.success_weight(x), 1.0)
    np.testing.assert_array_equal(model.log_success_weight(torch.as_tensor(x)).numpy(), 0.0)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_all_failed(n: int) -> None:
    """The chance is small near what failed and a half far from it, so that the search moves away."""
    x = 0.1 * np.random.default_rng(0).random((n, 2))
    model = learned(x, np.zeros(n, dtype=bool))
    chance = model.predict_probability(np.array([[0.05, 0.05], [1.0, 1.0]]))
    assert chance[0] < 0.3
    assert 0.45 < chance[1] <= 0.5


def test_failure_does_not_attract_for_ever() -> None:
    """A place that promises a hundred times the others is left for good after some failures."""
    rng = np.random.default_rng(0)
    x = rng.random((10, 2))
    succeeded = x[:, 0] < 0.5
    promise = np.where((grid := rng.random((400, 2)))[:, 0] < 0.5, 1.0, 100.0)
    tried = []
    for _ in range(25):
        best = int(np.argmax(promise * learned(x, succeeded).success_weight(grid)))
        tried.append(grid[best, 0] < 0.5)
        x, succeeded = np.vstack([x, grid[best]]), np.append(succeeded, tried[-1])
        promise[best] = 0.0
    assert sum(tried[-10:]) >= 8


def test_weighs_less_than_the_chance() -> None:
    """What the chance weighs is the chance itself where it is fair, and far less where it is not."""
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    model = learned(x, x[:, 0] < 0.5)
    new = rng.random((300, 2))
    chance, weight = model.predict_probability(new), model.success_weight(new)
    fair = chance > 0.81
    assert 0 < fair.sum() < 300
    np.testing.assert_allclose(weight[fair], chance[fair])
    assert (weight <= chance + 1e-12).all()
    assert (weight[chance < 0.2] < 1e-6).all()
    order = np.argsort(chance)
    assert (np.diff(weight[order]) >= -1e-12).all()


def test_categories() -> None:
    """A choice that always fails is recognised, whatever its neighbours in the list do."""
    rng = np.random.default_rng(0)
    inputs = Inputs(("x", "solvent"), ("number", "category"), cube=True)
    x = np.column_stack([rng.random(30), (rng.integers(4, size=30) + 0.5) / 4])
    chance = learned(x, x[:, 1] != 0.375, inputs).success_weight(
        np.column_stack([np.full(4, 0.5), (np.arange(4) + 0.5) / 4])
    )
    assert chance[1] < 0.01
    assert (np.delete(chance, 1) > 0.7).all()


def test_descriptors() -> None:
    """Many descriptors in their own units, some constant or missing, teach as well."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 40)) * 10.0 ** rng.integers(-3, 4, 40)
    x[:, 5] = 3.0
    succeeded = x[:, 0] < 0.0
    x[rng.random((80, 40)) < 0.05] = np.nan
    x[:, 7] = np.nan
    own = (("site", tuple(range(3))), ("rest", tuple(range(3, 40))))
    inputs = Inputs(tuple(map(str, range(40))), ("number",) * 40, own)
    chance = learned(x, succeeded, inputs).predict_probability(x)
    assert np.isfinite(chance).all()
    assert ((chance > 0.5) == succeeded).mean() > 0.85


@pytest.mark.parametrize("d", [0, 2])
def test_nothing_to_tell_by(d: int) -> None:
    """Where all rows are the same, the chance is the share that succeeded."""
    inputs = Inputs(("a", "b")[:d], ("number",) * d)
    x, succeeded = np.ones((8, d)), np.arange(8) < 6
    model = build_success_model(x, succeeded, inputs, fit_success(x, succeeded, inputs, None))
    np.testing.assert_allclose(model.success_weight(np.zeros((3, d))), 0.7)


def test_gradients() -> None:
    """The logarithm is that of the chance, and its slope that of differences."""
    rng = np.random.default_rng(0)
    x = rng.random((25, 3))
    model = learned(x, x[:, 0] < 0.5)
    at = torch.as_tensor(rng.random((6, 3)), dtype=torch.float64).requires_grad_()
    value = model.log_success_weight(at)
    np.testing.assert_allclose(
        value.detach().numpy(), np.log(model.success_weight(at.detach().numpy())), atol=1e-10
    )
    assert (model.predict_probability(x) >= model.success_weight(x) - 1e-12).all()
    (slope,) = torch.autograd.grad(value.sum(), at)
    step = np.zeros(3)
    step[1] = 1e-6
    up, down = (model.success_weight(at.detach().numpy() + sign * step) for sign in (1.0, -1.0))
    np.testing.assert_allclose(slope[:, 1].numpy(), (np.log(up) - np.log(down)) / 2e-6, atol=1e-6)


def test_a_function_of_rows_and_hyperparameters() -> None:
    """Hyperparameters survive JSON, and old ones serve more rows; none but the prior's serve as well."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 3))
    succeeded = x[:, 0] < 0.5
    found = fit_success(x[:30], succeeded[:30], cube(3), None)
    stored = json.loads(json.dumps(found))
    models = [build_success_model(x, succeeded, cube(3), each) for each in (found, stored)]
    np.testing.assert_array_equal(models[0].success_weight(x), models[1].success_weight(x))
    assert (
        (build_success_model(x, succeeded, cube(3), {}).predict_probability(x) > 0.5) == succeeded
    ).mean() > 0.9
    assert fit_success(x, succeeded, cube(3), stored)["lengths"].keys() == {"0", "1", "2"}


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 12), seed=st.integers(0, 1000), repeat=st.booleans())
def test_always_a_chance(n: int, seed: int, repeat: bool) -> None:
    """Whatever the rows, the chance lies between 0 and 1; also where the same place ended both ways."""
    rng = np.random.default_rng(seed)
    x, succeeded = rng.random((n, 2)), rng.random(n) < 0.5
    if repeat:
        x = np.vstack([x, x])
        succeeded = np.concatenate([succeeded, ~succeeded])
    chance = learned(x, succeeded).success_weight(np.vstack([x, rng.random((20, 2))]))
    assert ((chance > 0.0) & (chance <= 1.0)).all()


def test_many_rows() -> None:
    """Of many rows, those that are kept still tell where it fails, and hours-old regions are not forgotten."""
    rng = np.random.default_rng(0)
    x = np.vstack([rng.random((500, 2)), 0.1 * rng.random((1500, 2))])
    succeeded = x[:, 0] < 0.5
    new = rng.random((500, 2))
    chance = learned(x, succeeded).predict_probability(new)
    assert ((chance > 0.5) == (new[:, 0] < 0.5)).mean() > 0.97
