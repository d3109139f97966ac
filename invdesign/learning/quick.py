"""Cheap models of a property, with an estimate of their trust.

A few hundred rows at most, so that fitting takes a fraction of a second. Smoothing follows from leave-one-out errors
in closed form; the choice of the model, and its trust, from cross-validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.learning.ridge import solve_ridge
from invdesign.learning.target_scale import TargetScale

ModelName = Literal["gaussian_process", "cubic", "quadratic", "linear", "trees"]
Predict = Callable[[FloatArray], tuple[FloatArray, FloatArray]]

RIDGE_PENALTIES = np.logspace(-6, 3, 19)  # of ridge regression, relative to the mean square of its terms
CUBIC_SMOOTHING = (0.0, 1e-2, 1.0, 100.0)  # added to the diagonal of the cubic kernel (chosen)
TREE_COUNT = 60  # chosen
SUFFICIENT_CORRELATION = 0.8  # rank correlation that makes trees superfluous (chosen)
MIN_ROWS = 6  # rows to learn anything from (chosen)
FOLDS = 5  # of cross-validation (chosen)
MANY_ROWS = 150  # rows from which fewer folds do (chosen)
FOLDS_OF_MANY = 3  # chosen
MAX_QUADRATIC_FEATURES = 30  # features; above that there are more terms than rows (chosen)
MAX_ARD_FEATURES = 24  # features with a length scale of their own (chosen)
MAX_FIT_ITERATIONS = 60  # of the optimizer of length scales (chosen)
JITTER = 1e-8  # chosen


@dataclass(frozen=True)
class FittedModel:
    """A model fitted on n rows.

    Attributes:
        name: which kind it is; `constant` where nothing could be learned.
        predict: features (q, d) to means and standard deviations, (q,) each.
        trust: rank correlation of predictions with rows the model had not seen, less its standard error; in [0, 1].
    """

    name: str
    predict: Predict
    trust: float


@dataclass(frozen=True)
class Scaling:
    """Scaling of the varying columns of features to mean 0 and deviation 1."""

    keep: NDArray[np.bool_]
    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def from_rows(cls, x: FloatArray) -> Scaling:
        """Make the scaling that standardises `x` (n, d)."""
        deviation = x.std(axis=0)
        keep = deviation > 1e-12 * (1.0 + np.abs(x).max(axis=0))
        return cls(keep, x.mean(axis=0)[keep], deviation[keep])

    def __call__(self, x: FloatArray) -> FloatArray:
        scaled: FloatArray = (x[:, self.keep] - self.mean) / self.deviation
        return scaled


def fit_best_model(x: FloatArray, y: FloatArray, names: Sequence[ModelName]) -> FittedModel:
    """Fit the model that predicts held-out rows best.

    Best is the highest rank correlation over all folds, to two digits; then the smallest error. Its standard
    deviations are stretched to what its errors turned out to be. A property that has outliers is learned on a
    compressed scale and predicted in its own.

    Args:
        x: shape (n, d), features.
        y: shape (n,), values of the property, finite.
        names: models to choose from.
    """
    scale_x, scale_y = Scaling.from_rows(x), TargetScale.from_values(y)
    z, t = scale_x(x), scale_y.to_model_scale(y)
    if z.shape[1] == 0 or np.ptp(t) == 0.0 or len(y) < MIN_ROWS:
        return constant_model(y)
    best: _Check | None = None
    for name in sorted(names, key=list(_MODELS).index):
        if name == "trees" and best is not None and best.order <= -SUFFICIENT_CORRELATION:
            break  # they take as long as all others together, and are there for what no smooth model follows
        check = _cross_validate(name, z, t)
        if best is None or (check.order, check.error) < (best.order, best.error):
            best = check
    if best is None or best.order >= 0.0:
        return constant_model(y)
    predict_scaled, stretch = best.predict or _MODELS[best.name](z, t), best.stretch

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean, deviation = predict_scaled(scale_x(new))
        return scale_y.to_property_scale(mean, stretch * deviation)

    return FittedModel(best.name, predict, _lower_correlation(-best.order, len(y)))


def _lower_correlation(correlation: float, n: int) -> float:
    """Lower bound of a rank correlation: less one standard error, within [0, 1].

    Source:
        Fisher, Metron 1, 3 (1921).
    """
    return float(np.tanh(max(np.arctanh(min(correlation, 0.999)) - 1.0 / np.sqrt(n - 3), 0.0)))


@dataclass(frozen=True)
class _Check:
    """Cross-validation of a model; `order` is the negative rank correlation."""

    name: ModelName
    order: float
    error: float
    stretch: float
    predict: Predict | None = None


def _cross_validate(name: ModelName, z: FloatArray, t: FloatArray) -> _Check:
    """Cross-validate a model; trees use their out-of-bag rows."""
    if name == "trees":
        predict, mean = fit_trees(z, t)
        deviation = predict(z)[1]
    else:
        predict, mean, deviation = None, np.empty_like(t), np.empty_like(t)
        # Rows come best, oldest or nearest to each other in runs: folds take every k-th.
        fold = np.arange(len(t)) % (FOLDS if len(t) < MANY_ROWS else FOLDS_OF_MANY)
        for number in range(fold.max() + 1):
            out = fold == number
            mean[out], deviation[out] = _MODELS[name](z[~out], t[~out])(z[out])
    errors = mean - t
    stretch = float(np.sqrt(np.mean((errors / np.maximum(deviation, 1e-9)) ** 2)))
    order = -round(rank_correlation(mean, t), 2)
    return _Check(name, order, float(np.mean(errors**2)), float(np.clip(stretch, 0.2, 5.0)), predict)


def constant_model(y: FloatArray) -> FittedModel:
    """Model that predicts the mean of `y` everywhere.

    It remains where nothing can be learned.
    """
    mean, deviation = float(np.mean(y)), float(np.std(y))

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full(len(new), mean), np.full(len(new), deviation)

    return FittedModel("constant", predict, 0.0)


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's rank correlation of `a` and `b` (n,); 0 if one is constant."""
    from scipy.stats import rankdata

    first, second = rankdata(a), rankdata(b)
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm > 0.0 else 0.0


# Linear and quadratic regression.


def _polynomial_terms(z: FloatArray, *, quadratic: bool) -> FloatArray:
    if not quadratic:
        return z
    i, j = np.triu_indices(z.shape[1])
    return np.hstack([z, z[:, i] * z[:, j]])


def fit_ridge(z: FloatArray, t: FloatArray, *, quadratic: bool) -> Predict:
    """Fit ridge regression, with the penalty by leave-one-out error.

    Args:
        z: shape (n, d), scaled features.
        t: shape (n,), scaled values.
        quadratic: true to add the features' products.
    """
    n, d = z.shape
    quadratic = quadratic and d <= MAX_QUADRATIC_FEATURES
    terms = _polynomial_terms(z, quadratic=quadratic)
    scaling = Scaling.from_rows(terms)
    design = scaling(terms)
    found = solve_ridge(design, t, RIDGE_PENALTIES * n)
    deviation = float(np.sqrt(np.mean((found.left_out - t) ** 2)))

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        design = scaling(_polynomial_terms(new, quadratic=quadratic))
        return design @ found.weights + found.offset, np.full(len(new), deviation)

    return predict


# Cubic radial basis functions.


def _pairwise_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2.0 * a @ b.T
    distances: FloatArray = np.sqrt(np.maximum(squares, 0.0))
    return distances


def fit_cubic(z: FloatArray, t: FloatArray) -> Predict:
    """Fit cubic radial basis functions with a linear tail.

    The smoothing follows from the leave-one-out error. Where rows are too few for the tail, plain distances with a
    constant are used: the spline of the next lower order.

    Args:
        z: shape (n, d), scaled features.
        t: shape (n,), scaled values.

    Source:
        Rippa, Adv. Comput. Math. 11, 193 (1999): leave-one-out errors from the inverse of the interpolation matrix.
    """
    n = len(z)
    # Without directions in which no row varies, the linear tail would be undetermined.
    _, s, vt = np.linalg.svd(z, full_matrices=False)
    basis = vt[s > 1e-6 * s[0]].T
    linear = n >= 2 * (basis.shape[1] + 1)
    p = z @ basis

    def polynomial_tail(points: FloatArray) -> FloatArray:
        ones = np.ones((len(points), 1))
        return np.hstack([ones, points]) if linear else ones

    def radial_kernel(points: FloatArray) -> FloatArray:
        distances = _pairwise_distances(points, p)
        return distances**3 if linear else -distances

    kernel, polynomial = radial_kernel(p), polynomial_tail(p)
    scale = abs(float(kernel.mean())) or 1.0
    k = polynomial.shape[1]
    target = np.concatenate([t, np.zeros(k)])
    best_error, best_weights = np.inf, np.zeros(n + k)
    for smoothing in CUBIC_SMOOTHING:
        system = np.zeros((n + k, n + k))
        system[:n, :n] = kernel / scale + (smoothing + JITTER) * np.eye(n)
        system[:n, n:], system[n:, :n] = polynomial, polynomial.T
        try:
            inverse = np.linalg.inv(system)
        except np.linalg.LinAlgError:
            continue
        weights = inverse @ target
        diagonal = np.diag(inverse)[:n]
        if not np.isfinite(weights).all() or (np.abs(diagonal) < 1e-12).any():
            continue
        left_out = t - weights[:n] / diagonal
        error = float(np.mean((left_out - t) ** 2))
        if error < best_error:
            best_error, best_weights = error, weights
    deviation = float(np.sqrt(min(best_error, 1.0)))

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        points = new @ basis
        mean = (radial_kernel(points) / scale) @ best_weights[:n]
        return mean + polynomial_tail(points) @ best_weights[n:], np.full(len(new), deviation)

    return predict


# Gaussian process.


def matern_kernel(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matérn kernel of smoothness 5/2, and its slope (times -2), any shape.

    Args:
        squares: squared scaled distances; the slope is with respect to them.
    """
    root = np.sqrt(5.0 * squares)
    decay = np.exp(-root)
    return (1.0 + root + root**2 / 3.0) * decay, (5.0 / 3.0) * (1.0 + root) * decay


class _NegativeLogPosterior:
    """Negative log posterior of a Gaussian process's lengthscales and noise.

    Variance and mean are profiled out. The prior of the lengthscales widens with the square root of the number of
    dimensions, so that many features do not make every point an island.

    Source:
        Rasmussen & Williams, Gaussian Processes for Machine Learning (MIT, 2006), sections 5.4.1-2;
        Hvarfner, Hellsten & Nardi, Proc. ICML 2024 (the prior).
    """

    def __init__(self, z: FloatArray, t: FloatArray) -> None:
        self.z, self.t = z, t
        d = z.shape[1]
        self.own = d <= MAX_ARD_FEATURES  # whether each feature has a length scale of its own
        # The prior is stated for the unit cube, whose standard deviation is 12 ** -0.5.
        self.location = np.sqrt(2.0) + 0.5 * np.log(d) + 0.5 * np.log(12.0)
        # In chunks per feature: (d, n * n), squared differences.
        self.squares = (
            ((z[:, None, :] - z[None, :, :]) ** 2).reshape(-1, d).T
            if self.own
            else _pairwise_distances(z, z).reshape(1, -1) ** 2
        )
        self.start = np.append(np.full(len(self.squares), self.location - 1.0), np.log(1e-3))

    def solve_system(
        self, theta: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, float, float, float]:
        """Solve for slope, inverse, inverse times residual, mean, variance, log determinant.

        Args:
            theta: logarithms of the lengthscales, then of the noise.
        """
        from scipy.linalg import lapack

        n = len(self.t)
        correlation, slope = matern_kernel(np.exp(-2.0 * theta[:-1]) @ self.squares)
        correlation = correlation.reshape(n, n)
        noisy = correlation + (np.exp(theta[-1]) + JITTER) * np.eye(n)
        factor = np.linalg.cholesky(noisy)
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        ones = inverse.sum(axis=1)
        mean = float(ones @ self.t) / float(ones.sum())
        residual = inverse @ (self.t - mean)
        variance = max(float(residual @ (self.t - mean)) / n, 1e-12)
        determinant = 2.0 * float(np.log(np.diag(factor)).sum())
        return slope, inverse, residual, mean, variance, determinant

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient at `theta`, for the optimizer."""
        n = len(self.t)
        slope, inverse, residual, _, variance, determinant = self.solve_system(theta)
        weight = 0.5 * (inverse - np.outer(residual, residual) / variance)
        gradient = np.empty_like(theta)
        gradient[:-1] = np.exp(-2.0 * theta[:-1]) * (self.squares @ (weight.reshape(-1) * slope))
        gradient[-1] = np.trace(weight) * np.exp(theta[-1])
        value = 0.5 * n * np.log(variance) + 0.5 * determinant
        deviations = theta - np.append(np.full(len(theta) - 1, self.location), -6.0)
        widths = np.append(np.full(len(theta) - 1, 3.0), 4.0)  # variances of the two log-normal priors
        value += 0.5 * float((deviations**2 / widths).sum())
        return float(value), gradient + deviations / widths


def fit_gaussian_process(z: FloatArray, t: FloatArray) -> Predict:
    """Fit a Gaussian process (Matérn 5/2) to features `z` (n, d) and values `t` (n,).

    It has a lengthscale per feature, or one for all of more than `MAX_ARD_FEATURES`, and a learned noise.
    """
    from scipy.optimize import minimize

    process = _NegativeLogPosterior(z, t)
    bounds = [(np.log(0.05), np.log(1e3))] * (len(process.start) - 1) + [(np.log(1e-8), np.log(10.0))]
    found = minimize(
        process,
        process.start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MAX_FIT_ITERATIONS},
    )
    _, inverse, residual, mean, variance, _ = process.solve_system(found.x)
    noise = np.exp(found.x[-1])
    scales = np.exp(-found.x[:-1]) if process.own else np.full(z.shape[1], np.exp(-found.x[0]))
    seen = z * scales

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        cross, _ = matern_kernel(_pairwise_distances(new * scales, seen) ** 2)
        explained = np.einsum("ij,ij->i", cross @ inverse, cross)
        return mean + cross @ residual, np.sqrt(variance * (np.maximum(1.0 - explained, 0.0) + noise))

    return predict


# Trees.


def fit_trees(z: FloatArray, t: FloatArray) -> tuple[Predict, FloatArray]:
    """Fit extremely randomised trees to features `z` (n, d) and values `t` (n,).

    Also returns out-of-bag predictions, shape (n,).

    Source:
        Geurts, Ernst & Wehenkel, Mach. Learn. 63, 3 (2006).
    """
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(
        TREE_COUNT, bootstrap=True, oob_score=_no_score, min_samples_leaf=2, random_state=0, n_jobs=1
    ).fit(z, t)
    missed = np.asarray(forest.oob_prediction_, dtype=np.float64).reshape(-1)
    members: list[Any] = [tree.tree_ for tree in forest.estimators_]

    def predict(new: FloatArray) -> tuple[FloatArray, FloatArray]:
        rows = np.ascontiguousarray(new, dtype=np.float32)
        values = np.stack([tree.predict(rows).reshape(-1) for tree in members])
        return values.mean(axis=0), values.std(axis=0)

    return predict, missed


def _no_score(truth: FloatArray, predicted: FloatArray) -> float:  # noqa: ARG001 - scikit-learn's signature
    """Dummy score: only out-of-bag predictions are wanted.

    Scikit-learn's own score would warn of few rows.
    """
    return 0.0


_MODELS: Mapping[ModelName, Callable[[FloatArray, FloatArray], Predict]] = {
    "gaussian_process": fit_gaussian_process,
    "cubic": fit_cubic,
    "quadratic": lambda z, t: fit_ridge(z, t, quadratic=True),
    "linear": lambda z, t: fit_ridge(z, t, quadratic=False),
    "trees": lambda z, t: fit_trees(z, t)[0],
}
