"""Fits of each kind of model, to values that are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.learning.limits import select_farthest
from invdesign.learning.ridge import solve_ridge
from invdesign.rng import borrowed_globals, derived_seed, rng_for
from surrogates.regression.models.contract import Kind
from surrogates.regression.models.kernel import KernelModel, KernelName, correlate
from surrogates.regression.models.linear import LinearModel
from surrogates.regression.models.preparing import InputScales, OutputScale, column_medians
from surrogates.regression.models.settings import (
    BoostedTreesSettings,
    ExtraTreesSettings,
    GaussianProcessSettings,
    KernelRidgeSettings,
    ModelSettings,
    PlsSettings,
    RidgeSettings,
    ScaledSettings,
    SupportVectorSettings,
)
from surrogates.regression.models.trees import Tree, TreesModel, round_features

FOLDS = 5  # that choose a setting, or predict rows without themselves (chosen)
RIDGE_PENALTIES = np.logspace(-6, 3, 28)  # per row (chosen)
LOGISTIC_PENALTIES = np.logspace(-4, 1, 6)  # per row (chosen)
KERNEL_PENALTIES = np.logspace(-7, 2, 28)  # relative to the kernel's diagonal (chosen)
KERNEL_LENGTHS = (0.3, 0.6, 1.0, 2.0, 4.0)  # relative to the root of the number of features (chosen)
COSTS = (1.0, 3.0, 10.0)  # of support vectors (chosen)
TUNED_ROWS = 600  # on which length scales and costs are chosen (chosen)
MOST_TREE_BYTES = 8_000_000  # of extremely randomised trees (chosen)
BYTES_PER_LEAF = 22  # of a leaf and a split as they are stored
MOST_COMPONENTS = 15  # of partial least squares that are tried (chosen)
ROUNDING = 1e-10  # relative size of a covariance that is rounding (chosen)
MARGIN = 0.01  # share by which more components must lessen the error (chosen)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A fitted model, with predictions of the training rows if they come with the fit.

    Attributes:
        model: fitted on all rows.
        left_out: shape (n,), predictions of each row without itself; None if they take fits of their own.
        settings: with what was chosen automatically; None if choosing it anew takes no time.
    """

    model: LinearModel | KernelModel | TreesModel
    left_out: FloatArray | None = None
    settings: ModelSettings | None = None


def split_folds(n: int, seed: int, labels: IntArray | None = None) -> list[BoolArray]:
    """Split `n` rows at random into folds, and return True for the rows of each.

    Args:
        n: number of rows.
        seed: of the order.
        labels: shape (n,), classes that every fold shall hold; None for none.
    """
    order = rng_for(seed, 0, "inner folds").permutation(n)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    number = np.empty(n, dtype=np.int64)
    number[order] = np.arange(n) % min(FOLDS, n)
    return [number == fold for fold in range(int(number.max()) + 1)]


def draw_rows(x: FloatArray, most: int, seed: int) -> IntArray:
    """Draw at most `most` training rows: half at random, half spread over the others."""
    n = len(x)
    if n <= most:
        return np.arange(n)
    order = rng_for(seed, 0, "training rows").permutation(n)
    drawn, rest = order[: most // 2], order[most // 2 :]
    return np.sort(np.concatenate([drawn, select_farthest(x, drawn, rest, most - len(drawn))]))


def _scale_inputs(x: FloatArray, settings: ScaledSettings) -> tuple[InputScales, FloatArray]:
    inputs = InputScales.from_rows(x, power=settings.power, indicators=settings.indicators)
    return inputs, inputs(x)


def _scale_outputs(y: FloatArray, settings: ModelSettings) -> tuple[OutputScale, FloatArray]:
    outputs = OutputScale.standardise(y, compress=settings.compress)
    return outputs, outputs.scale.to_model_scale(y)


# Linear models.


def fit_ridge(x: FloatArray, y: FloatArray, settings: RidgeSettings, seed: int) -> Estimate:
    """Fit ridge regression."""
    del seed
    inputs, z = _scale_inputs(x, settings)
    outputs, t = _scale_outputs(y, settings)
    penalties = RIDGE_PENALTIES if settings.penalty == "auto" else np.array([settings.penalty])
    found = solve_ridge(z, t, penalties * len(t))
    return Estimate(
        LinearModel(inputs, outputs, found.weights, found.offset), outputs.to_values(found.left_out)
    )


def fit_logistic(x: FloatArray, labels: FloatArray, settings: RidgeSettings, seed: int) -> LinearModel:
    """Fit logistic regression to `labels` (n,) of 0 and 1."""
    with borrowed_globals(seed):
        from sklearn.linear_model import LogisticRegression

    inputs, z = _scale_inputs(x, settings)

    def fit(rows: BoolArray, penalty: float) -> Any:
        model = LogisticRegression(C=1.0 / (penalty * rows.sum()), tol=1e-8, max_iter=2000)
        return model.fit(z[rows], labels[rows])

    penalty = settings.penalty
    if penalty == "auto":
        folds = split_folds(len(z), seed, labels.astype(np.int64))
        folds = [fold for fold in folds if len(np.unique(labels[~fold])) == 2]
        losses = [
            sum(_log_loss(fit(~fold, option).decision_function(z[fold]), labels[fold]) for fold in folds)
            for option in LOGISTIC_PENALTIES
        ]
        penalty = float(LOGISTIC_PENALTIES[int(np.argmin(losses))])
    model = fit(np.ones(len(z), dtype=bool), penalty)
    return LinearModel(inputs, OutputScale.log_odds(), model.coef_[0].copy(), float(model.intercept_[0]))


def _log_loss(score: FloatArray, labels: FloatArray) -> float:
    return float(np.logaddexp(0.0, np.where(labels > 0.5, -score, score)).sum())


def fit_pls(x: FloatArray, y: FloatArray, settings: PlsSettings, seed: int) -> Estimate:
    """Fit partial least squares."""
    inputs, z = _scale_inputs(x, settings)
    outputs, t = _scale_outputs(y, settings)
    most = min(MOST_COMPONENTS, z.shape[1], len(t) - 1)
    if settings.components == "auto":
        count = _choose_components(z, t, most, seed)
    else:
        count = min(settings.components, z.shape[1], len(t) - 1)
    weights, means = _solve_pls(z, t, count)
    return Estimate(LinearModel(inputs, outputs, weights[-1], float(t.mean() - means @ weights[-1])))


def _choose_components(z: FloatArray, t: FloatArray, most: int, seed: int) -> int:
    """Number of components from which more would hardly lessen the error of inner folds."""
    errors = np.zeros(most)
    for fold in split_folds(len(t), seed):
        part = t[~fold]
        weights, means = _solve_pls(z[~fold], part, min(most, len(part) - 1))
        said = part.mean() + (z[fold] - means) @ weights.T
        squares = ((said - t[fold][:, None]) ** 2).sum(axis=0)
        errors += np.append(squares, np.full(most - len(squares), squares[-1]))
    return int(np.flatnonzero(errors <= (1.0 + MARGIN) * errors.min())[0]) + 1


def _solve_pls(z: FloatArray, t: FloatArray, most: int) -> tuple[FloatArray, FloatArray]:
    """Weights (count, k) of partial least squares with 1, 2, … components, and column means (k,).

    Source:
        Wold, Sjöström & Eriksson, Chemom. Intell. Lab. Syst. 58, 109 (2001), for one target.
    """
    means = z.mean(axis=0)
    left, rest = z - means, t - t.mean()
    directions, loadings, heights = [], [], []
    found = [np.zeros(z.shape[1])]
    least = ROUNDING * float(np.linalg.norm(left)) * float(np.linalg.norm(t))
    for _ in range(most):
        direction = left.T @ rest
        size = float(np.linalg.norm(direction))
        if size <= least:
            break
        direction /= size
        score = left @ direction
        square = float(score @ score)
        loading, height = left.T @ score / square, float(rest @ score / square)
        left, rest = left - np.outer(score, loading), rest - height * score
        directions.append(direction)
        loadings.append(loading)
        heights.append(height)
        w, p = np.array(directions).T, np.array(loadings).T
        found.append(w @ np.linalg.solve(p.T @ w, np.array(heights)))
    return np.array(found[1:] or found), means


# Kernel models.


def fit_kernel_ridge(x: FloatArray, y: FloatArray, settings: KernelRidgeSettings, seed: int) -> Estimate:
    """Fit kernel ridge regression, with length scale and penalty of least leave-one-out error."""
    inputs, z = _scale_inputs(x, settings)
    outputs, t = _scale_outputs(y, settings)
    rows = draw_rows(z, settings.rows, seed)
    offset = float(t[rows].mean())
    length = settings.length
    if length == "auto":
        some = rows[draw_rows(z[rows], TUNED_ROWS, seed)]
        errors = [
            float((_solve_kernel(z[some], t[some] - offset, option, settings)[1] ** 2).sum())
            for option in KERNEL_LENGTHS
        ]
        length = KERNEL_LENGTHS[int(np.argmin(errors))]
    weights, residual = _solve_kernel(z[rows], t[rows] - offset, length, settings)
    scaled, stored = _store_rows(inputs, z[rows], length * _unit_length(z.shape[1], settings.kernel))
    model = KernelModel(scaled, outputs, settings.kernel, stored, weights, offset)
    return Estimate(model, leave_out(model, x, rows, outputs.to_values(t[rows] - residual)))


def _solve_kernel(
    z: FloatArray, t: FloatArray, length: float, settings: KernelRidgeSettings
) -> tuple[FloatArray, FloatArray]:
    """Weights and leave-one-out residuals (n,), with the penalty for which these are least.

    Source:
        Rasmussen & Williams (2006), equation 5.12.
    """
    part = (z / (length * _unit_length(z.shape[1], settings.kernel))).astype(np.float32).astype(np.float64)
    values, vectors = np.linalg.eigh(correlate(part, part, settings.kernel))
    projected, squares = vectors.T @ t, vectors**2
    found = []
    for penalty in KERNEL_PENALTIES if settings.penalty == "auto" else (settings.penalty,):
        inverse = 1.0 / (np.maximum(values, 0.0) + penalty)
        weights = vectors @ (inverse * projected)
        found.append((weights, weights / (squares @ inverse)))
    return min(found, key=lambda pair: float(pair[1] @ pair[1]))


def _unit_length(columns: int, kernel: KernelName) -> float:
    """Typical size of a distance in `columns` standardised features."""
    return float(columns) if kernel == "laplacian" else float(np.sqrt(columns))


def leave_out(model: KernelModel, x: FloatArray, rows: IntArray, said: FloatArray) -> FloatArray:
    """Predictions (n,) of each row without itself.

    Args:
        model: fitted on some of the rows.
        x: shape (n, d), all rows.
        rows: shape (m,), the rows it is fitted on.
        said: shape (m,), its leave-one-out predictions of these.
    """
    if len(rows) == len(x):
        return said
    every = model.predict(x)
    every[rows] = said
    return every


def _store_rows(inputs: InputScales, z: FloatArray, length: float) -> tuple[InputScales, NDArray[np.float32]]:
    """Scales with a length scale, and training rows in it, in single precision."""
    columns = np.arange(z.shape[1])
    scaled = inputs.rescale(np.zeros(len(columns)), np.full(len(columns), length), columns)
    return scaled, (z / length).astype(np.float32)


def fit_support_vectors(
    x: FloatArray,
    y: FloatArray,
    settings: SupportVectorSettings,
    seed: int,
    labels: IntArray | None = None,
) -> Estimate:
    """Fit support vector regression, or a machine that tells the classes `labels` (n,) apart."""
    inputs, z = _scale_inputs(x, settings)
    outputs, t = _scale_outputs(y, settings) if labels is None else (OutputScale.as_they_are(), labels)
    rows = draw_rows(z, settings.rows, seed)
    # Of unit length scale exp(-d² / 2); the usual width 1 / (number of features) is the length below.
    unit = _unit_length(z.shape[1], settings.kernel) * (
        2.0 if settings.kernel == "laplacian" else np.sqrt(0.5)
    )
    scaled, stored = _store_rows(inputs, z[rows], settings.length * unit)
    part, t = stored.astype(np.float64), t[rows]
    cost = settings.cost
    if cost == "auto":
        some = draw_rows(part, TUNED_ROWS, seed)
        cost = _choose_cost(part[some], t[some], settings, seed, classify=labels is not None)
    machine = _fit_machine(part, t, cost, settings, classify=labels is not None)
    return Estimate(
        KernelModel(
            scaled,
            outputs,
            settings.kernel,
            stored[machine.support_],
            np.array(machine.dual_coef_[0], dtype=np.float64),
            float(machine.intercept_[0]),
        ),
        settings=settings.model_copy(update={"cost": cost}),
    )


def _fit_machine(
    z: FloatArray, t: NDArray[Any], cost: float, settings: SupportVectorSettings, *, classify: bool
) -> Any:
    with borrowed_globals(0):
        from sklearn.svm import SVC, SVR
    # scikit-learn knows the radial kernel, and does not keep its matrix.
    kernel: Any = "rbf" if settings.kernel == "rbf" else partial(correlate, kernel=settings.kernel)
    options = {"C": cost, "kernel": kernel, "gamma": 0.5}
    machine = SVC(**options) if classify else SVR(epsilon=settings.tube, **options)
    return machine.fit(z, t)


def _choose_cost(
    z: FloatArray, t: NDArray[Any], settings: SupportVectorSettings, seed: int, *, classify: bool
) -> float:
    """Cost of least error in inner folds."""
    folds = split_folds(len(t), seed, t if classify else None)
    folds = [fold for fold in folds if not classify or len(np.unique(t[~fold])) == 2]
    errors = np.zeros(len(COSTS))
    for fold in folds:
        for number, cost in enumerate(COSTS):
            said = _fit_machine(z[~fold], t[~fold], cost, settings, classify=classify).predict(z[fold])
            errors[number] += float(((said - t[fold]) ** 2).sum())
    return COSTS[int(np.argmin(errors))]


def fit_gaussian(x: FloatArray, y: FloatArray, settings: GaussianProcessSettings, seed: int) -> Estimate:
    """Fit a Gaussian process, and store its training rows with their weights."""
    from invdesign.learning.data import Inputs, Rows
    from invdesign.learning.gaussian.kernels import MEAN_VARIANCE
    from invdesign.learning.gaussian.process import build_process, fit_hyperparameters
    from invdesign.learning.settings import GaussianSettings

    inputs, z = _scale_inputs(x, settings)
    chosen = draw_rows(z, settings.rows, seed)
    # The process has a scale of values of its own.
    rows = Rows(z[chosen], y[chosen], np.full(len(chosen), np.nan))
    d = z.shape[1]
    described = Inputs(tuple(str(column) for column in range(d)), ("number",) * d)
    if settings.kernel == "laplacian":
        raise ValueError("a process of blocks of features has a fit of its own")
    options = GaussianSettings(kernel=settings.kernel, iterations=settings.iterations)
    process = build_process(rows, described, options, fit_hyperparameters(rows, described, options))
    columns, parameters = process.columns, process.kernel.parameters
    length = parameters["length"][0].numpy()
    prior = float(parameters["scale"][0, 0])
    weights = process.weights.numpy()
    numbers = process.scaled_rows.numbers.numpy() / length
    places = draw_rows(numbers, settings.deviation_rows, seed)
    model = KernelModel(
        inputs.rescale(columns.centre, columns.spread * length, np.array(columns.numbers, dtype=np.int64)),
        OutputScale(process.outcomes.scales[0]),
        settings.kernel,
        numbers,
        prior * weights,
        MEAN_VARIANCE * float(weights.sum()),
        (prior, MEAN_VARIANCE),
        places,
        _pack_factor(process, places),
    )
    return Estimate(model, leave_out(model, x, chosen, process.leave_one_out()[0]))


def _pack_factor(process: Any, places: IntArray) -> FloatArray:
    """Lower triangle, row by row, of the inverse Cholesky factor of some rows of a Gaussian process."""
    if len(places) == len(process):
        inverse = process.inverse_factor.numpy()
    else:
        from scipy.linalg import cholesky, solve_triangular

        known = process.scaled_rows
        numbers, categories, sources = known.numbers[places], known.categories[places], known.sources[places]
        covariance = process.kernel.row_covariance(numbers, categories, sources).numpy()
        factor = cholesky(covariance + np.diag(process.row_noise.numpy()[places]), lower=True)
        inverse = solve_triangular(factor, np.eye(len(places)), lower=True)
    packed: FloatArray = inverse[np.tril_indices(len(places))]
    return packed


# Trees.


def fit_extra_trees(
    x: FloatArray,
    y: FloatArray,
    settings: ExtraTreesSettings,
    seed: int,
    labels: IntArray | None = None,
) -> Estimate:
    """Fit extremely randomised trees, to values or to the classes `labels` (n,)."""
    with borrowed_globals(seed):
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    fill = column_medians(x).astype(np.float32)
    known = round_features(x)
    known = np.where(np.isnan(known), fill, known)
    options = {
        "n_estimators": settings.trees,
        "min_samples_leaf": max(
            min(settings.least_rows, max(1, len(y) // 4)),
            -(-settings.trees * len(y) * BYTES_PER_LEAF // MOST_TREE_BYTES),
        ),
        "max_features": settings.columns,
        "max_depth": settings.depth,
        "random_state": derived_seed(seed, "extra trees") % 2**32,
        "n_jobs": 1,
    }
    if labels is None:
        outputs, t = _compress_only(y, settings)
        forest = ExtraTreesRegressor(**options).fit(known, t)
    else:
        outputs = OutputScale.as_they_are()
        forest = ExtraTreesClassifier(**options).fit(known, labels)
    trees = [_read_tree(member.tree_, 0 if labels is None else 1) for member in forest.estimators_]
    return Estimate(TreesModel.from_trees(trees, fill.astype(np.float64), outputs, base=0.0, mean=True))


def _compress_only(y: FloatArray, settings: ModelSettings) -> tuple[OutputScale, FloatArray]:
    """Scale for trees, which need none but compression."""
    return _scale_outputs(y, settings) if settings.compress else (OutputScale.as_they_are(), y)


def _read_tree(tree: Any, output: int) -> Tree:
    """Read a tree of scikit-learn's forests."""
    feature = np.where(tree.children_left < 0, -1, tree.feature).astype(np.int64)
    return Tree(
        feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        np.ascontiguousarray(tree.value[:, 0, output]),
        np.zeros(len(feature), dtype=bool),
    )


def fit_boosted_trees(
    x: FloatArray,
    y: FloatArray,
    settings: BoostedTreesSettings,
    seed: int,
    labels: IntArray | None = None,
) -> Estimate:
    """Fit gradient-boosted trees, to values or to the classes `labels` (n,)."""
    with borrowed_globals(seed):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    known = round_features(x).astype(np.float64)
    known[:, np.isnan(known).all(axis=0)] = 0.0  # scikit-learn cannot bin columns without a value
    options = {
        "max_iter": settings.trees,
        "learning_rate": settings.rate,
        "max_leaf_nodes": settings.leaves,
        "min_samples_leaf": max(1, min(settings.least_rows, len(y) // 10)),
        "l2_regularization": settings.penalty,
        "max_features": settings.columns,
        "early_stopping": False,
        "random_state": derived_seed(seed, "boosted trees") % 2**32,
    }
    if labels is None:
        outputs, t = _compress_only(y, settings)
        forest = HistGradientBoostingRegressor(**options).fit(known, t)
    else:
        outputs = OutputScale.log_odds()
        forest = HistGradientBoostingClassifier(**options).fit(known, labels)
    # scikit-learn has no public way to the trees.
    trees = [_read_boosted(members[0].nodes) for members in forest._predictors]  # noqa: SLF001
    base = float(np.ravel(forest._baseline_prediction)[0])  # noqa: SLF001
    fill = np.full(x.shape[1], np.nan)
    return Estimate(TreesModel.from_trees(trees, fill, outputs, base=base, mean=False))


def _read_boosted(nodes: Any) -> Tree:
    """Read a tree of scikit-learn's boosting."""
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        np.where(is_leaf, -1, nodes["feature_idx"].astype(np.int64)),
        nodes["num_threshold"].astype(np.float64),
        nodes["left"].astype(np.int64),
        nodes["right"].astype(np.int64),
        nodes["value"].astype(np.float64),
        nodes["missing_go_to_left"].astype(bool),
    )


Fit = Callable[[FloatArray, FloatArray, Any, int], Estimate]
FITS: Mapping[Kind, Fit] = {
    "ridge": fit_ridge,
    "pls": fit_pls,
    "kernel_ridge": fit_kernel_ridge,
    "support_vectors": fit_support_vectors,
    "gaussian_process": fit_gaussian,
    "extra_trees": fit_extra_trees,
    "boosted_trees": fit_boosted_trees,
}
