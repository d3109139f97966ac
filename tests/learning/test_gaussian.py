"""Gaussian processes: fitting, predictions, sources, noise, and what BoTorch does with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import qExpectedHypervolumeImprovement
from botorch.models.model import ModelList
from botorch.sampling import SobolQMCNormalSampler
from botorch.sampling.get_sampler import get_sampler
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.arrays import FloatArray
from invdesign.learning.data import ColumnKind, Inputs, Rows
from invdesign.learning.gaussian.process import GaussianProcess, build_process, fit_hyperparameters
from invdesign.learning.settings import GaussianSettings
from invdesign.threads import one_thread

MATERN = GaussianSettings()


def numbers(d: int, *, cube: bool = True, groups: tuple[tuple[str, tuple[int, ...]], ...] = ()) -> Inputs:
    """Inputs of d numbers."""
    return Inputs(tuple(f"x{column}" for column in range(d)), ("number",) * d, groups, cube=cube)


def smooth(x: FloatArray) -> FloatArray:
    """A smooth function of the first two columns."""
    values: FloatArray = np.sin(4.0 * x[:, 0]) + 2.0 * x[:, 1] ** 2
    return values


def rows_of(x: FloatArray, y: FloatArray, noise: float = np.nan, source: Any = ()) -> Rows:
    """Rows whose noise is `noise`, NaN if unknown."""
    return Rows(x, y, np.full(len(y), noise), np.asarray(source, dtype=np.int64))


def fitted(
    rows: Rows, inputs: Inputs, settings: GaussianSettings = MATERN, n_sources: int = 1
) -> GaussianProcess:
    """The process of fitted hyperparameters."""
    found = fit_hyperparameters(rows, inputs, settings, None, n_sources)
    return build_process(rows, inputs, settings, json.loads(json.dumps(found)), n_sources)


def points(n: int, d: int, seed: int = 0) -> FloatArray:
    """Points of the unit cube."""
    return np.random.default_rng(seed).random((n, d))


@pytest.fixture(scope="module")
def process() -> GaussianProcess:
    """Fitted on 30 points of a smooth function in three dimensions, in units of about 1e-3."""
    x = points(30, 3)
    return fitted(rows_of(x, 1e-3 * smooth(x) + 5.0), numbers(3))


def test_a_smooth_function_is_learned(process: GaussianProcess) -> None:
    """Predictions of new points are near, and as uncertain as they are wrong."""
    x = points(200, 3, 1)
    mean, deviation = process.predict(x)
    errors = mean - (1e-3 * smooth(x) + 5.0)
    assert np.sqrt(np.mean(errors**2)) < 0.1e-3
    assert 0.2 < np.sqrt(np.mean((errors / deviation) ** 2)) < 3.0


def test_settings_refuse_a_negative_noise() -> None:
    """A standard deviation is not negative."""
    with pytest.raises(ValidationError, match="noise"):
        GaussianSettings(noise=-1.0)


def test_the_same_arguments_give_the_same_digits(process: GaussianProcess) -> None:
    """A fit, a process and a conditioned process are functions of their arguments; torch's generator is untouched."""
    before = torch.random.get_rng_state()
    again = fitted(process.rows, process.inputs)
    assert again.hyperparameters == process.hyperparameters
    x = points(10, 3, 2)
    np.testing.assert_array_equal(again.condition_on(x).predict(x), process.condition_on(x).predict(x))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_warm_start_ends_where_a_cold_one_does(process: GaussianProcess) -> None:
    """Starting from a fit finds nothing worse."""
    warm = fit_hyperparameters(process.rows, process.inputs, MATERN, process.hyperparameters)
    x = points(50, 3, 3)
    a, b = process.predict(x)[0], build_process(process.rows, process.inputs, MATERN, warm).predict(x)[0]
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("kernel", ["matern", "additive"])
def test_few_rows_make_a_model(n: int, kernel: Any) -> None:
    """No row, one, or two say little, and nothing breaks."""
    x = points(n, 2)
    inputs = numbers(2, groups=(("a", (0,)), ("b", (1,))))
    model = fitted(rows_of(x, smooth(x)), inputs, GaussianSettings(kernel=kernel))
    mean, deviation = model.predict(points(5, 2, 1))
    assert np.isfinite(mean).all()
    assert (deviation > 0.0).all()
    assert model.group_contributions(points(5, 2, 1)).shape == (5, 2 if kernel == "additive" else 1)
    assert [len(column) for column in model.leave_one_out()] == [n, n]


@pytest.mark.parametrize("value", [0.0, -3.5, 1e12])
def test_a_constant_property_is_predicted(value: float) -> None:
    """Values that do not vary are what is expected elsewhere."""
    x = points(8, 2)
    mean, deviation = fitted(rows_of(x, np.full(8, value)), numbers(2)).predict(points(4, 2, 1))
    np.testing.assert_allclose(mean, value, atol=1e-6)
    assert (deviation > 0.0).all()


@pytest.mark.parametrize("cube", [True, False])
def test_nan_and_useless_columns_do_no_harm(cube: bool) -> None:
    """Constant, duplicated and unknown columns, and single NaN, leave the rest of the data usable."""
    x = points(40, 6)
    y = smooth(x)
    x[:, 2], x[:, 3], x[:, 4] = 0.7, x[:, 0], np.nan
    x[5, 1], x[7, 5] = np.nan, np.inf
    model = fitted(rows_of(x, y), numbers(6, cube=cube))
    new = points(50, 6, 1)
    new[:, 2], new[:, 3] = 0.7, new[:, 0]
    truth = smooth(new)
    new[:, 4] = np.nan
    assert np.corrcoef(model.predict(new)[0], truth)[0, 1] > 0.95
    assert np.isfinite(model.column_importance()).all()


def test_more_features_than_rows_are_no_harm() -> None:
    """A signal among 120 features of rising size is found from 40 rows."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((140, 120)) * np.logspace(-3, 3, 120)
    y = x[:, 10] / x[:, 10].std() + 0.5 * x[:, 60] / x[:, 60].std()
    model = fitted(rows_of(x[:40], y[:40]), numbers(120, cube=False))
    assert np.corrcoef(model.predict(x[40:])[0], y[40:])[0, 1] > 0.4
    assert set(np.argsort(model.column_importance())[-2:]) == {10, 60}


def test_rows_that_repeat_do_no_harm() -> None:
    """Many rows at one point, with one value or several, still factorise."""
    x = np.repeat(points(3, 2), 10, axis=0)
    y = smooth(x)
    for values in (y, y + 0.1 * np.random.default_rng(0).standard_normal(30)):
        mean, deviation = fitted(rows_of(x, values), numbers(2)).predict(x)
        np.testing.assert_allclose(mean, y, atol=0.1)
        assert np.isfinite(deviation).all()


def test_noise_is_learned_over_orders_of_magnitude() -> None:
    """A simulator without noise gets next to none, a noisy one about what it has."""
    x = points(60, 2)
    noisy = smooth(x) + 0.3 * np.random.default_rng(1).standard_normal(60)
    quiet, loud = (fitted(rows_of(x, y), numbers(2)) for y in (smooth(x), noisy))
    assert quiet.hyperparameters["noise"][0] < 1e-4
    scale = loud.outcomes.scales[0]
    assert np.sqrt(loud.evaluation_noise()) * scale.width * scale.deviation == pytest.approx(0.3, rel=0.35)


def test_known_noise_is_used_row_by_row() -> None:
    """A value said to be uncertain moves the model less than one said to be sure."""
    x = np.array([[0.2], [0.4], [0.5], [0.5], [0.6], [0.8]])
    y = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.1])
    unsure = Rows(x, y, np.array([1e-4, 1e-4, 1.0, 1e-4, 1e-4, 1e-4]))
    sure = Rows(x, y, np.array([1e-4, 1e-4, 1e-4, 1.0, 1e-4, 1e-4]))
    at = np.array([[0.5]])
    low, high = (build_process(rows, numbers(1), MATERN).predict(at)[0][0] for rows in (unsure, sure))
    assert low < 0.1
    assert high > 0.7


def test_noise_the_user_gives_is_in_the_unit_of_the_property() -> None:
    """A given standard deviation is that of left-out predictions where the function is flat."""
    rng = np.random.default_rng(0)
    x = points(80, 1)
    y = 100.0 + 5.0 * rng.standard_normal(80)
    model = fitted(rows_of(x, y), numbers(1), GaussianSettings(noise=5.0))
    assert np.median(model.leave_one_out()[1]) == pytest.approx(5.0, rel=0.2)


def test_left_out_is_what_models_without_the_row_say() -> None:
    """The closed form agrees with leaving rows out one by one."""
    x = points(15, 2)
    model = fitted(rows_of(x, smooth(x)), numbers(2))
    mean, deviation = model.leave_one_out()
    for row in range(15):
        others = replace(model, rows=model.rows.select_rows(np.delete(np.arange(15), row)))
        expected, value_deviation = others.predict(x[row : row + 1])
        noise = (
            np.sqrt(model.evaluation_noise())
            * model.outcomes.scales[0].width
            * model.outcomes.scales[0].deviation
        )
        assert mean[row] == pytest.approx(expected[0], abs=1e-6)
        assert deviation[row] == pytest.approx(np.hypot(value_deviation[0], noise), rel=1e-3)


def test_believing_leaves_means_and_narrows_deviations(process: GaussianProcess) -> None:
    """What is pending is believed to come out as predicted: elsewhere too, nothing moves but the uncertainty."""
    x, pending = points(20, 3, 4), points(3, 3, 5)
    believed = process.condition_on(pending)
    assert len(believed) == len(process) + 3
    np.testing.assert_allclose(believed.predict(x)[0], process.predict(x)[0], atol=1e-7)
    assert (believed.predict(x)[1] <= process.predict(x)[1] + 1e-9).all()
    told = process.condition_on(pending, np.full(3, 5.01))
    assert np.abs(told.predict(pending)[0] - 5.01).max() < 2e-3


def test_outliers_are_compressed_and_predicted_in_their_own_unit() -> None:
    """One value a million times the others does not flatten them."""
    x = points(40, 2)
    y = smooth(x)
    y[0] = 1e6
    model = fitted(rows_of(x, y), numbers(2))
    mean, deviation = model.predict(x)
    assert np.corrcoef(mean[1:], y[1:])[0, 1] > 0.9
    assert np.isfinite(deviation).all()
    posterior = model.to_botorch().posterior(torch.from_numpy(x[:, None, :]))
    np.testing.assert_allclose(posterior.mean.detach().numpy().ravel(), mean, rtol=1e-6)


@pytest.mark.parametrize("kernel", ["matern", "rbf", "additive"])
def test_categories_only_differ(kernel: Any) -> None:
    """Codes of a category have no order: two may be swapped without changing a prediction."""
    kinds: tuple[ColumnKind, ...] = ("number", "category", "category")
    inputs = Inputs(("x", "metal", "anion"), kinds, (("a", (0, 1)), ("b", (2,))), cube=True)
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(50), rng.integers(0, 4, 50) / 4, rng.integers(0, 3, 50) / 3])
    y = np.sin(4 * x[:, 0]) + np.array([0.0, 2.0, -1.0, 0.5])[(x[:, 1] * 4).astype(int)]
    settings = GaussianSettings(kernel=kernel)
    model = fitted(rows_of(x, y), inputs, settings)
    swapped = x.copy()
    swapped[:, 1] = np.array([2.0, 1.0, 0.0, 3.0])[(x[:, 1] * 4).astype(int)] / 4
    other = fitted(rows_of(swapped, y), inputs, settings)
    np.testing.assert_allclose(model.predict(x)[0], other.predict(swapped)[0], atol=1e-4)
    assert np.corrcoef(*[model.leave_one_out()[0], y])[0, 1] > 0.95
    assert model.column_importance()[2] < 0.2


def test_additive_contributions_add_up() -> None:
    """Each group's contribution is its own function, and together they are the prediction."""
    x = points(60, 3)
    y = 10.0 + np.sin(5.0 * x[:, 0]) + 3.0 * x[:, 1]
    inputs = numbers(3, groups=(("wave", (0,)), ("slope", (1,)), ("nothing", (2,))))
    model = fitted(rows_of(x, y), inputs, GaussianSettings(kernel="additive"))
    new = points(30, 3, 1)
    parts = model.group_contributions(new)
    np.testing.assert_allclose(model.baseline + parts.sum(axis=1), model.predict(new)[0], atol=1e-8)
    assert np.corrcoef(parts[:, 0], np.sin(5.0 * new[:, 0]))[0, 1] > 0.98
    assert np.corrcoef(parts[:, 1], new[:, 1])[0, 1] > 0.98
    assert np.ptp(parts[:, 2]) < 0.2


def test_contributions_add_up_where_outcomes_are_compressed() -> None:
    """Compressed outcomes stretch all contributions alike."""
    x = points(40, 2)
    y = np.exp(6.0 * x[:, 0]) + x[:, 1]
    y[0] *= 1e3
    inputs = numbers(2, groups=(("a", (0,)), ("b", (1,))))
    model = fitted(rows_of(x, y), inputs, GaussianSettings(kernel="additive"))
    assert model.outcomes.scales[0].compressed
    np.testing.assert_allclose(
        model.baseline + model.group_contributions(x).sum(axis=1), model.predict(x)[0], rtol=1e-9
    )


def test_warping_helps_where_a_function_changes_at_one_end() -> None:
    """A logarithm over the cube is followed better with warped coordinates."""
    x = points(15, 1)
    errors = []
    for warp in (False, True):
        model = fitted(rows_of(x, np.log(x[:, 0] + 1e-3)), numbers(1), GaussianSettings(warp=warp))
        new = np.linspace(0.0, 1.0, 200)[:, None]
        errors.append(float(np.mean((model.predict(new)[0] - np.log(new[:, 0] + 1e-3)) ** 2)))
    assert errors[1] < errors[0]


def related(n: tuple[int, int], relation: Any, seed: int = 0) -> Rows:
    """n[0] rows of a function, and n[1] of `relation` of it and the points, as source 1."""
    x = points(sum(n), 2, seed)
    y = smooth(x)
    y[n[0] :] = relation(y[n[0] :], x[n[0] :])
    return rows_of(x, y, source=[0] * n[0] + [1] * n[1])


def correlation(model: GaussianProcess, source: int) -> float:
    """Correlation of the values of a source with those of source 0 before any row, unknown offsets apart."""
    kernel = model.kernel
    share, scale = float(kernel.source_share(source)), kernel.parameters["scale"].sum(dim=1)
    total = share**2 * float(scale[0]) + float(scale[source])
    return share * float(np.sqrt(float(scale[0]) / total))


def test_a_related_source_helps() -> None:
    """A source with another offset and scale stands in for rows that are not there."""
    rows = related((5, 40), lambda y, x: 3.0 * y + 20.0 + 0.2 * x[:, 0])
    model = fitted(rows, numbers(2), n_sources=3)
    alone = fitted(rows.select_rows(np.arange(5)), numbers(2))
    new = points(100, 2, 1)
    with_source, without = (
        np.sqrt(np.mean((each.predict(new)[0] - smooth(new)) ** 2)) for each in (model, alone)
    )
    assert with_source < 0.5 * without
    assert correlation(model, 1) > 0.8
    assert model.kernel.plan.sources == 3


def test_an_unrelated_source_does_not_mislead() -> None:
    """A source of something else ends with little correlation, and predictions as without it."""
    rows = related((15, 40), lambda y, x: np.cos(9.0 * x[:, 1]) * np.sin(7.0 * x[:, 0]))
    model = fitted(rows, numbers(2), n_sources=2)
    alone = fitted(rows.select_rows(np.arange(15)), numbers(2))
    new = points(100, 2, 1)
    with_source, without = (
        np.sqrt(np.mean((each.predict(new)[0] - smooth(new)) ** 2)) for each in (model, alone)
    )
    assert abs(correlation(model, 1)) < 0.6
    assert with_source < 1.3 * without + 0.02


def test_rows_of_another_source_alone_predict_the_target() -> None:
    """Before the first row of what is sought, what an earlier run says is what is expected."""
    rows = related((0, 30), lambda y, x: y)
    mean, deviation = fitted(rows, numbers(2), n_sources=2).predict(points(50, 2, 1))
    assert np.corrcoef(mean, smooth(points(50, 2, 1)))[0, 1] > 0.9
    assert (deviation > 0.0).all()


def test_every_source_has_its_own_predictions() -> None:
    """A source's values are predicted in its own unit."""
    rows = related((10, 20), lambda y, x: 100.0 * y)
    model = fitted(rows, numbers(2), n_sources=2)
    new = points(30, 2, 1)
    assert np.corrcoef(model.predict(new, 1)[0], 100.0 * smooth(new))[0, 1] > 0.9
    assert np.ptp(model.predict(new, 1)[0]) > 50.0


def test_hyperparameters_of_other_columns_are_ignored() -> None:
    """What does not fit the present columns starts afresh, column by column, and is no error."""
    x = points(30, 3)
    y = smooth(x)
    model = fitted(rows_of(x, y), numbers(3, cube=False))
    narrow = x.copy()
    narrow[:, 2] = 0.5
    known = fitted(rows_of(narrow, y), numbers(3, cube=False)).hyperparameters
    assert known["columns"] == [0, 1]
    grown = build_process(rows_of(x, y), numbers(3, cube=False), MATERN, known)
    np.testing.assert_allclose(grown.hyperparameters["length"][0][:2], known["length"][0], rtol=1e-12)
    for wrong in ({}, {"kernel": "matern", "length": "far"}, {"kernel": "rbf"}, {**known, "noise": [None]}):
        build_process(model.rows, model.inputs, MATERN, wrong).predict(x)
        fit_hyperparameters(model.rows, model.inputs, MATERN, wrong)


def test_hyperparameters_survive_json_exactly(process: GaussianProcess) -> None:
    """A process from its own hyperparameters, through JSON, is the same to the last digit."""
    for _ in range(3):
        said = json.loads(json.dumps(process.hyperparameters))
        other = build_process(process.rows, process.inputs, MATERN, said)
        assert other.hyperparameters == process.hyperparameters


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), q=st.integers(1, 400))
def test_blocks_are_no_difference(seed: int, q: int) -> None:
    """A candidate's prediction does not depend on how many are predicted with it, beyond rounding."""
    x = points(300, 2)
    model = build_process(rows_of(x, smooth(x)), numbers(2), MATERN)
    new = points(q, 2, seed)
    np.testing.assert_allclose(model.predict(new)[0][-1], model.predict(new[-1:])[0][0], atol=1e-9)


def test_single_precision_is_close() -> None:
    """Means and deviations in single precision are near those in double precision."""
    x = points(300, 4)
    y = smooth(x) + 0.05 * np.random.default_rng(0).standard_normal(300)
    model = fitted(rows_of(x, y), numbers(4))
    new = points(3000, 4, 1)
    mean, deviation = model.predict(new)
    np.testing.assert_array_equal(model.predict_means(new), mean)
    np.testing.assert_allclose(model.predict(new, single=True), [mean, deviation], atol=0.02)


def test_the_posterior_is_the_prediction(process: GaussianProcess) -> None:
    """BoTorch's view has the same means and deviations, jointly or one by one, in any unit."""
    x = points(12, 3, 6)
    mean, deviation = process.predict(x)
    single = process.to_botorch().posterior(torch.from_numpy(x[:, None, :]))
    np.testing.assert_allclose(single.mean.detach().ravel(), mean, atol=1e-9)
    np.testing.assert_allclose(single.variance.detach().sqrt().ravel(), deviation, rtol=1e-5)
    joint = process.to_botorch(shift=5.0, width=1e-3).posterior(torch.from_numpy(x.reshape(3, 4, 3)))
    np.testing.assert_allclose(joint.mean.detach().ravel(), (mean - 5.0) / 1e-3, atol=1e-6)
    np.testing.assert_allclose(joint.variance.detach().sqrt().ravel(), deviation / 1e-3, atol=2e-3)
    noisy = process.to_botorch().posterior(torch.from_numpy(x[:, None, :]), observation_noise=True)
    assert (noisy.variance > single.variance).all()


def test_log_expected_improvement_has_gradients(process: GaussianProcess) -> None:
    """The slope of logEI agrees with finite differences."""
    value = LogExpectedImprovement(process.to_botorch(shift=5.0, width=1e-3), best_f=1.0)
    x = torch.from_numpy(points(4, 3, 7)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(x[:, None, :]).sum(), x)
    for column in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[column] = 1e-5
        with torch.no_grad():
            slope = (value((x + step)[:, None, :]) - value((x - step)[:, None, :])) / 2e-5
        np.testing.assert_allclose(gradient[:, column], slope, rtol=1e-3, atol=1e-4)


def test_noisy_improvement_takes_pending_points(process: GaussianProcess) -> None:
    """Noisy logEI works on batches beside pending points, with gradients."""
    value = qLogNoisyExpectedImprovement(
        process.to_botorch(shift=5.0, width=1e-3),
        torch.from_numpy(process.rows.x),
        sampler=SobolQMCNormalSampler(torch.Size([16]), seed=1),
        X_pending=torch.from_numpy(points(2, 3, 8)),
        cache_root=False,
    )
    x = torch.from_numpy(points(6, 3, 9).reshape(3, 2, 3)).requires_grad_(True)
    values = value(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert values.shape == (3,)
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.filterwarnings("ignore:qExpectedHypervolumeImprovement has known numerical issues")
def test_hypervolume_improvement_of_several_models() -> None:
    """EHVI works on a list of processes, with pending points and gradients.

    Not its logarithm: BoTorch compiles C++ for that, at first use.
    """
    x = points(20, 2)
    both = ModelList(*(fitted(rows_of(x, y), numbers(2)).to_botorch() for y in (smooth(x), -smooth(1.0 - x))))
    values = torch.from_numpy(np.column_stack([smooth(x), -smooth(1.0 - x)]))
    reference = torch.tensor([-1.0, -3.0], dtype=torch.float64)
    value = qExpectedHypervolumeImprovement(
        both,
        ref_point=reference,
        partitioning=FastNondominatedPartitioning(reference, values),
        sampler=get_sampler(both.posterior(values[:1, None, :]), torch.Size([16]), seed=1),
        X_pending=torch.from_numpy(points(2, 2, 1)),
    )
    at = torch.from_numpy(points(5, 2, 2)[:, None, :]).requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(at).sum(), at)
    assert torch.isfinite(gradient).all()


def test_one_thread_is_only_for_the_block() -> None:
    """The number of threads is what it was before."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
