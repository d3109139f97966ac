"""Stored forms beside the libraries that fitted them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_of

from invdesign.arrays import FloatArray
from surrogates.regression.models import estimators
from surrogates.regression.models.contract import Task
from surrogates.regression.models.fitting import fit_log_odds, fit_model
from surrogates.regression.models.preparing import InputScales, raise_to_power
from surrogates.regression.models.trees import round_features, round_thresholds


def _rows(n: int = 150, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Rows with repeated values, ties and missing values."""
    rng = np.random.default_rng(seed)
    x = np.hstack([rng.normal(size=(n, 3)), rng.integers(0, 4, size=(n, 2)), rng.normal(size=(n, 1)) * 1e6])
    y = x[:, 0] + (x[:, 3] == 2) + 0.2 * rng.normal(size=n)
    x[rng.random(n) < 0.3, 1] = np.nan
    return x, y


class _Spy:
    """Keeps the fitted forest of scikit-learn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        import sklearn.ensemble

        made = getattr(sklearn.ensemble, name)

        def build(**options: Any) -> Any:
            self.forest = made(**options)
            return self.forest

        monkeypatch.setattr(sklearn.ensemble, name, build)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("kind", ["ExtraTrees", "HistGradientBoosting"])
def test_trees_predict_as_scikit_learn(monkeypatch: pytest.MonkeyPatch, kind: str, task: Task) -> None:
    """Decisions and means are scikit-learn's, also for missing values and at thresholds."""
    boosted = kind == "HistGradientBoosting"
    spy = _Spy(monkeypatch, kind + ("Regressor" if task == "regression" else "Classifier"))
    x, y = _rows()
    y = y if task == "regression" else (y > 0.5).astype(np.float64)
    model = fit_model(
        "boosted_trees" if boosted else "extra_trees", x, y, task=task, settings={"trees": 40}, seed=5
    )
    new = np.vstack([_rows(400, seed=1)[0], x])
    thresholds = np.unique(model.arrays["threshold"]).astype(np.float64)
    new = np.vstack([new, np.repeat(thresholds[np.isfinite(thresholds)][:50, None], 6, axis=1)])
    known = round_features(new)
    if not boosted:
        known = np.where(np.isnan(known), np.nanmedian(x, axis=0).astype(np.float32), known)
    wanted = spy.forest.predict(known) if task == "regression" else spy.forest.predict_proba(known)[:, 1]
    assert np.allclose(model.predict(new), wanted, rtol=1e-9, atol=1e-9)
    if not boosted:
        said = (
            np.stack([tree.predict(known) for tree in spy.forest.estimators_])
            if task == "regression"
            else None
        )
        if said is not None:
            spread = model.predict_spread(new)
            assert spread is not None
            assert np.allclose(spread, said.std(axis=0), atol=1e-9)


@given(st.floats(-(2.0**99), 2.0**99), st.floats(-(2.0**99), 2.0**99, width=32))
def test_rounded_thresholds_decide_alike(threshold: float, value: float) -> None:
    """A value of single precision is on the same side of a threshold and of the rounded one."""
    rounded = round_thresholds(np.array([threshold]))
    assert rounded.dtype == np.float32
    assert (np.float32(value) <= rounded[0]) == (value <= threshold)


def test_gaussian_process_predicts_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored rows and weights give the mean and the deviation of the process that was fitted."""
    import invdesign.learning.gaussian.process as module

    kept = []
    build = module.build_process
    monkeypatch.setattr(module, "build_process", lambda *given: kept.append(build(*given)) or kept[-1])
    x, y = _rows(60)
    new = _rows(50, seed=1)[0]
    for values in (y, np.append(y[:-1], 400.0)):  # an outlier compresses the scale
        model = fit_model("gaussian_process", x, values, settings={"iterations": 10}, seed=0)
        scaled = InputScales.from_rows(x, power=False, indicators=True)(new)
        mean, deviation = kept[-1].predict(scaled)
        assert np.allclose(model.predict(new), mean, rtol=1e-7, atol=1e-9)
        spread = model.predict_spread(new)
        assert spread is not None
        if values is y:  # of compressed values the two state different widths
            assert np.allclose(spread, deviation, rtol=1e-5, atol=1e-6)


def test_partial_least_squares_is_scikit_learns() -> None:
    """Weights of every number of components are those of the library."""
    from sklearn.cross_decomposition import PLSRegression

    rng = np.random.default_rng(0)
    z, t = rng.normal(size=(40, 8)), rng.normal(size=40)
    weights, _ = estimators._solve_pls(z, t, 5)
    for count in range(1, 6):
        model = PLSRegression(count, scale=False).fit(z, t)
        assert np.allclose(weights[count - 1], np.ravel(model.coef_))


def test_support_vectors_and_kernel_ridge_are_scikit_learns() -> None:
    """Sums over the stored rows are the library's predictions."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.svm import SVR

    x, y = _rows()
    new = _rows(50, seed=1)[0]
    scales = InputScales.from_rows(x, power=False, indicators=True)
    z, t = scales(x), (y - y.mean()) / y.std()
    said = fit_model("support_vectors", x, y, settings={"cost": 2.0}, seed=0).predict(new)
    wanted = SVR(C=2.0, gamma=1.0 / z.shape[1], epsilon=0.1).fit(z, t).predict(scales(new))
    assert np.allclose((said - y.mean()) / y.std(), wanted, atol=2e-3)
    said = fit_model(
        "kernel_ridge", x, y, settings={"kernel": "rbf", "length": 1.0, "penalty": 0.1}, seed=0
    ).predict(new)
    wanted = KernelRidge(alpha=0.1, kernel="rbf", gamma=0.5 / z.shape[1]).fit(z, t).predict(scales(new))
    assert np.allclose((said - y.mean()) / y.std(), wanted, atol=1e-3)


def test_left_out_predictions_are_those_of_fits_without_the_row() -> None:
    """Closed forms of kernel ridge agree with real fits."""
    x, y = _rows(30)
    x = np.nan_to_num(x[:, :3])
    settings = estimators.KernelRidgeSettings(length=1.0, penalty=0.5, indicators=False)
    found = estimators.fit_kernel_ridge(x, y, settings, 0)
    assert found.left_out is not None
    others = np.arange(30) != 4
    without = estimators.fit_kernel_ridge(x[others], y[others], settings, 0).model.predict(x[4:5])
    # Scales and the mean are refitted, so nearly.
    assert found.left_out[4] == pytest.approx(without[0], abs=0.15 * y.std())


@given(
    array_of(np.float64, (6, 2), elements=st.floats(-50.0, 50.0)),
    st.sampled_from([-2.0, 0.0, 0.5, 1.0, 2.0, 4.0]),
)
def test_power_transforms_keep_the_order(x: FloatArray, power: float) -> None:
    """The transform rises, is 0 at 0, and the power 1 changes nothing."""
    order = np.argsort(x[:, 0], kind="stable")
    transformed = raise_to_power(x, np.full(2, power))
    assert (np.diff(transformed[order, 0]) >= -1e-9).all()
    assert raise_to_power(np.zeros((1, 2)), np.full(2, power)).tolist() == [[0.0, 0.0]]
    assert np.allclose(raise_to_power(x, np.ones(2)), x)


def test_power_transforms_straighten_skewed_features() -> None:
    """A linear model of log-like dependence gains from them."""
    rng = np.random.default_rng(0)
    x = np.exp(1.5 * rng.normal(size=(200, 2)))
    y = np.log(x[:, 0]) + 0.1 * rng.normal(size=200)
    plain, power = (fit_model("ridge", x, y, settings={"power": on}, seed=0) for on in (False, True))
    assert ((power.predict(x) - y) ** 2).mean() < 0.5 * ((plain.predict(x) - y) ** 2).mean()


def test_probabilities_are_honest() -> None:
    """Scores without information give the share of the classes; useful ones rise."""
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.2).astype(np.int64)
    slope, offset = fit_log_odds(-1.0 * labels, labels)
    assert slope >= 0.0
    assert 1.0 / (1.0 + np.exp(-offset)) == pytest.approx(labels.mean(), abs=0.01)
    scores = rng.normal(size=2000)
    drawn = (rng.random(2000) < 1.0 / (1.0 + np.exp(1.0 - 2.0 * scores))).astype(np.int64)
    assert fit_log_odds(scores, drawn) == pytest.approx((2.0, -1.0), abs=0.25)


def test_threads_and_global_seeds_do_not_matter() -> None:
    """The global generators are neither read nor moved."""
    x, y = _rows(60)
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    first = fit_model("extra_trees", x, y, settings={"trees": 5}, seed=0)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    second = fit_model("extra_trees", x, y, settings={"trees": 5}, seed=0)
    assert np.array_equal(first.predict(x), second.predict(x))
    third = fit_model("extra_trees", x, y, settings={"trees": 5}, seed=1)
    assert not np.array_equal(first.predict(x), third.predict(x))
