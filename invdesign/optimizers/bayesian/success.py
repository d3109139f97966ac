"""Probability that a candidate succeeds, by Gaussian process classification.

A latent score has a Gaussian process, and its logistic function is the probability. The posterior is approximated by
the normal distribution around its mode (Laplace), which Newton's method finds in a few steps; lengthscales and height
(standard deviation of the score) are those of the highest approximate evidence. With few data the probability stays near
the share of successes so far. Failures around a point bring it down as their number grows, whatever the values there
promise.

Source:
    Williams & Barber, IEEE Trans. Pattern Anal. Mach. Intell. 20, 1342 (1998); Rasmussen & Williams, Gaussian
    Processes for Machine Learning (MIT, 2006), algorithms 3.1, 3.2 and 5.1. Gelbart, Snoek & Adams, UAI 2014, and
    Gramacy & Lee, Bayesian Statistics 9, 229 (2011): acquisition weighed by the probability of success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.learning.contracts import Hyperparameters
from invdesign.learning.data import Inputs
from invdesign.learning.gaussian.kernels import (
    CATEGORY_WIDTH,
    LOG_CUBE_SIDE,
    category_correlation,
    distance_correlation,
    squared_distances,
    wind_periodic,
)
from invdesign.learning.gaussian.scaling import ColumnScales
from invdesign.learning.limits import scale_to_ranges, select_farthest

MOST_ROWS = 400  # training rows of the classifier (chosen)
MOST_FITTED_ROWS = 250  # of these, rows that lengthscales are fitted on (chosen)
NEWEST_ROWS = 3000  # newest trials that the training rows are chosen from (chosen)
MOST_LENGTHS = 24  # columns with a lengthscale each; of more, one per group, or one for all (chosen)
CANDIDATES_PER_BLOCK = 20_000  # chosen
FIT_ITERATIONS = 30  # of L-BFGS-B (chosen)
NEWTON_STEPS = 50  # to the mode, at most (chosen)
# Prior of log lengthscales in the unit cube; chosen, shorter than Hvarfner et al. (2024)
LENGTH_MEAN, LENGTH_WIDTH = (float(np.sqrt(2.0) - 1.5), float(np.sqrt(3.0)))
# Prior of the log standard deviation of the latent score (chosen)
HEIGHT_MEAN, HEIGHT_WIDTH = float(np.log(3.0)), 0.5
ROUGH_START_SHIFT = 1.0  # by how much the second start's log lengthscales are shorter (chosen)
LARGEST_BASE_SCORE = 2.2  # logit of 0.9: no base rate makes the unknown safer than that (chosen)
FAILURES_ONLY_SHIFT = 1.5  # by how much log lengthscales are shorter where nothing has succeeded (chosen)
FAIR_SCORE = 1.4  # logit of 0.8: from there on the probability itself is the weight (chosen)
BASE_STEEPNESS = 3.0  # curvature of the fall of the log weight below FAIR_SCORE (chosen)
FALL_LIMIT = 80.0  # fall of the log weight from which on it grows as a logarithm only (chosen)
RECENT_TRIALS = 20  # newest trials whose failures steepen the fall (chosen)
STEEPENING_PER_FAILURE = 4.0  # factor on the steepness per recent failure (chosen)
MOST_STEEPENINGS = 3  # failures that count, at most (chosen)
RELATIVE_JITTER = 1e-6  # of the variance of the latent score (chosen)
PROBABILITY_FLOOR = 1e-280  # so that the logarithm exists (chosen)


def fit_success(
    x: FloatArray, succeeded: BoolArray, inputs: Inputs, start: Hyperparameters | None = None
) -> Hyperparameters:
    """Fit lengthscales and height of the latent score.

    Args:
        x: shape (n, d), oldest first; NaN is read as the column's mean.
        succeeded: shape (n,).
        inputs: description of the columns.
        start: those of an earlier fit, to begin from.

    Returns:
        Plain JSON; empty where all succeeded or nothing varies, so that there is nothing to learn.
    """
    if bool(succeeded.all()) or not len(x):
        return {}
    x, succeeded = _select_rows(x, succeeded, MOST_FITTED_ROWS)
    columns = ColumnScales.from_rows(x, inputs)
    if not columns.numbers and not columns.categories:
        return {}
    shape = _ParameterLayout.for_columns(columns, inputs)
    if not succeeded.any():
        return shape.to_json(shape.shorten_lengths(FAILURES_ONLY_SHIFT))
    return _EvidenceFit(shape, columns, x, succeeded, _base_score(succeeded)).maximise_evidence(start or {})


def build_success_model(
    x: FloatArray, succeeded: BoolArray, inputs: Inputs, hyperparameters: Hyperparameters
) -> SuccessClassifier:
    """Build the success classifier of rows and hyperparameters; a pure function.

    Args:
        x: shape (n, d), oldest first.
        succeeded: shape (n,).
        inputs: description of the columns.
        hyperparameters: of `fit_success`, on these rows or on fewer.
    """
    if bool(succeeded.all()) or not len(x):
        return SuccessClassifier(None, 1.0)
    base, steep = _base_score(succeeded), _weight_steepness(succeeded)
    x, succeeded = _select_rows(x, succeeded, MOST_ROWS)
    columns = ColumnScales.from_rows(x, inputs)
    if not columns.numbers and not columns.categories:
        return SuccessClassifier(None, (float(succeeded.sum()) + 1.0) / (len(succeeded) + 2.0))
    shape = _ParameterLayout.for_columns(columns, inputs)
    values = shape.parameter_vector(hyperparameters)
    kernel = _ScoreKernel(shape, columns, x)
    with torch.no_grad():
        covariance = kernel.row_covariance(torch.as_tensor(values)).numpy()
    mode = _find_mode(covariance, succeeded, base)
    return SuccessClassifier(_ScorePosterior(kernel, torch.as_tensor(values), mode, base), 1.0, steep)


@dataclass(frozen=True, eq=False)
class SuccessClassifier:
    """Probability that a candidate succeeds, and the weight it gives.

    Attributes:
        posterior: None where the probability is the same everywhere.
        constant: that probability.
        steepness: of the fall of the weight below a fair probability.
    """

    posterior: _ScorePosterior | None
    constant: float
    steepness: float = BASE_STEEPNESS

    def success_weight(self, x: FloatArray) -> FloatArray:
        """Weight at `x` (q, d), shape (q,): see `sharpen_score`."""
        return self._evaluate_blocks(x, sharp=True)

    def log_success_weight(self, x: Tensor) -> Tensor:
        """Logarithm of the weight at `x` (q, d), shape (q,), with gradients."""
        if self.posterior is None:
            return 0.0 * x.sum(dim=-1) + float(np.log(self.constant))
        return torch.nn.functional.logsigmoid(sharpen_score(self.posterior.averaged_score(x), self.steepness))

    def predict_probability(self, x: FloatArray) -> FloatArray:
        """Probability of success at `x` (q, d), shape (q,)."""
        return self._evaluate_blocks(x, sharp=False)

    def _evaluate_blocks(self, x: FloatArray, *, sharp: bool) -> FloatArray:
        """Evaluate weights (`sharp`) or probabilities in blocks."""
        if self.posterior is None:
            return np.full(len(x), self.constant)
        found = np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), CANDIDATES_PER_BLOCK):
                part = torch.as_tensor(
                    np.ascontiguousarray(x[first : first + CANDIDATES_PER_BLOCK], dtype=np.float64)
                )
                score = self.posterior.averaged_score(part)
                score = sharpen_score(score, self.steepness) if sharp else score
                found[first : first + CANDIDATES_PER_BLOCK] = torch.sigmoid(score).numpy()
        return np.clip(found, PROBABILITY_FLOOR, 1.0 - 1e-12)


def sharpen_score(score: Tensor, steep: float = BASE_STEEPNESS) -> Tensor:
    """Sharpen the logit of success; its logistic then weights an acquisition value.

    The weight is the probability itself where that is fair, and much less below. Where evaluations fail, models of the
    values have no data, and promise ever more as the rest of the space is worked through. An acquisition times the bare
    probability goes on failing there, and at the edge of what can be evaluated it halves the last thousandth at the price of
    every second evaluation. So the weight falls as exp(-steep (score - 1.4)^2) below a probability of 0.8: the edge is
    approached from the side that succeeds, the more so the more has failed of late. Where all probabilities are the same,
    nothing changes.

    Args:
        score: logit of the probability, any shape.
        steep: steepness of the fall.
    """
    # log1p slows the fall down: no weight is 0 in double precision, and any two still differ.
    return score - FALL_LIMIT * torch.log1p(steep / FALL_LIMIT * (score - FAIR_SCORE).clamp_max(0.0).square())


def _weight_steepness(succeeded: BoolArray) -> float:
    """Steepness of the weight's fall, by the failures among the newest trials.

    `succeeded` (n,) is ordered from the oldest to the newest.
    """
    failed = int((~succeeded[-RECENT_TRIALS:]).sum())
    return float(BASE_STEEPNESS * STEEPENING_PER_FAILURE ** min(failed, MOST_STEEPENINGS))


def _base_score(succeeded: BoolArray) -> float:
    """Prior mean of the score: logit of the share of successes.

    The share is clipped to 0.5 and 0.9.

    Never below a half: where all have failed so far, a place far from them is worth a try.
    """
    share = (float(succeeded.sum()) + 1.0) / (len(succeeded) + 2.0)
    return float(np.clip(np.log(share / (1.0 - share)), 0.0, LARGEST_BASE_SCORE))


def _select_rows(x: FloatArray, succeeded: BoolArray, most: int) -> tuple[FloatArray, BoolArray]:
    """Select the training rows of the classifier.

    The newest, those nearest to the other outcome, and a spread of the rest.
    """
    x, succeeded = x[-NEWEST_ROWS:], succeeded[-NEWEST_ROWS:]
    n = len(x)
    if n <= most:
        return x, succeeded
    z = scale_to_ranges(x)
    taken = np.zeros(n, dtype=bool)
    taken[n - most // 4 :] = True
    away = _distance_to_other_outcome(z, succeeded)
    for outcome in (True, False):
        side = np.flatnonzero((succeeded == outcome) & ~taken)
        taken[side[np.argsort(away[side], kind="stable")][: most // 4]] = True
    rest: IntArray = np.flatnonzero(~taken)
    taken[select_farthest(z, np.flatnonzero(taken), rest, most - int(taken.sum()))] = True
    return x[taken], succeeded[taken]


def _distance_to_other_outcome(z: FloatArray, succeeded: BoolArray) -> FloatArray:
    """Squared distance (n,) of each row to the nearest with the other outcome.

    0 where there is none.
    """
    found = np.zeros(len(z))
    if succeeded.all() or not succeeded.any():
        return found
    for outcome in (True, False):
        own, others = np.flatnonzero(succeeded == outcome), torch.as_tensor(z[succeeded != outcome])
        for first in range(0, len(own), 500):
            part = own[first : first + 500]
            found[part] = squared_distances(torch.as_tensor(z[part]), others).min(dim=1).values.numpy()
    return found


# Gaussian process classification.


@dataclass(frozen=True)
class _ParameterLayout:
    """Layout of the parameters: log lengthscales of numbers and categories, log height.

    Attributes:
        numbers: number columns.
        categories: category columns.
        owner: shape (d_n,), position of the lengthscale of each number column.
        mean, width: shape (p,), the normal prior of the parameters.
        periodic: positions of number columns whose ends are one point.
    """

    numbers: tuple[int, ...]
    categories: tuple[int, ...]
    owner: IntArray
    mean: FloatArray
    width: FloatArray
    periodic: tuple[int, ...] = ()

    @classmethod
    def for_columns(cls, columns: ColumnScales, inputs: Inputs) -> _ParameterLayout:
        """Lay out the parameters for some `columns` of `inputs`."""
        numbers = columns.numbers
        owner = np.arange(len(numbers))
        if len(numbers) > MOST_LENGTHS:
            groups = {column: place for place, (_, own) in enumerate(inputs.groups) for column in own}
            kinds = [groups.get(column, -1) for column in numbers]
            many = len(set(kinds)) > MOST_LENGTHS
            owner = (
                np.zeros(len(numbers), dtype=np.int64) if many else np.unique(kinds, return_inverse=True)[1]
            )
        lengths = int(owner.max()) + 1 if len(owner) else 0
        middle = LENGTH_MEAN + 0.5 * np.log(max(len(numbers), 1)) + (0.0 if inputs.cube else LOG_CUBE_SIDE)
        own = len(columns.categories)
        mean = np.concatenate([np.full(lengths, middle), np.zeros(own), [HEIGHT_MEAN]])
        width = np.concatenate([np.full(lengths, LENGTH_WIDTH), np.full(own, CATEGORY_WIDTH), [HEIGHT_WIDTH]])
        periodic = tuple(numbers.index(column) for column in inputs.periodic) if inputs.cube else ()
        return cls(numbers, columns.categories, owner, mean, width, periodic)

    @property
    def lengths(self) -> int:
        """Number of lengthscales of numbers."""
        return len(self.mean) - len(self.categories) - 1

    def parameter_vector(self, hyperparameters: Hyperparameters) -> FloatArray:
        """Parameters (p,) from `hyperparameters`; the prior's mean for unknown columns."""
        found = self.mean.copy()
        lengths = hyperparameters.get("lengths", {})
        for column, place in zip(self.numbers, self.owner.tolist(), strict=True):
            found[place] = lengths.get(str(column), found[place])
        for place, column in enumerate(self.categories, start=self.lengths):
            found[place] = lengths.get(str(column), found[place])
        found[-1] = hyperparameters.get("height", found[-1])
        return found

    def shorten_lengths(self, by: float) -> FloatArray:
        """Prior's mean (p,) with log lengthscales shorter `by` so much."""
        found = self.mean.copy()
        found[: self.lengths] -= by
        return found

    def to_json(self, values: FloatArray) -> Hyperparameters:
        """Convert parameters `values` (p,) to plain JSON, lengthscales by column.

        The inverse of `parameter_vector`.
        """
        lengths = {
            str(column): float(values[place]) for column, place in zip(self.numbers, self.owner, strict=True)
        }
        own = values[self.lengths : -1].tolist()
        lengths |= {str(column): float(value) for column, value in zip(self.categories, own, strict=True)}
        return {"lengths": lengths, "height": float(values[-1])}


class _ScoreKernel:
    """Covariance of the latent score: Matérn 5/2 of numbers times an overlap of categories."""

    def __init__(self, shape: _ParameterLayout, columns: ColumnScales, x: FloatArray) -> None:
        self.shape = shape
        self.columns = columns
        rows = columns.fill_missing(torch.as_tensor(np.ascontiguousarray(x, dtype=np.float64)))
        self.numbers, self.categories = columns.scale_inputs(rows)
        self.owner = torch.as_tensor(shape.owner)

    def row_covariance(self, values: Tensor) -> Tensor:
        """Covariance (n, n) of the training rows, with jitter, at parameters `values` (p,)."""
        found = self._covariance_with_rows(values, self.numbers, self.categories)
        return found + torch.eye(len(found), dtype=torch.float64) * (
            RELATIVE_JITTER * torch.exp(2.0 * values[-1])
        )

    def cross_covariance(self, values: Tensor, x: Tensor) -> Tensor:
        """Covariance (q, n) of `x` (q, d) with the training rows, at parameters `values` (p,)."""
        return self._covariance_with_rows(values, *self.columns.scale_inputs(self.columns.fill_missing(x)))

    def _covariance_with_rows(self, values: Tensor, numbers: Tensor, categories: Tensor) -> Tensor:
        """Covariance of scaled points with the training rows."""
        lengths = torch.exp(values[: self.shape.lengths])[self.owner]
        found = torch.exp(2.0 * values[-1])
        if len(self.owner):
            own, known = (wind_periodic(x, lengths, self.shape.periodic) for x in (numbers, self.numbers))
            squares = squared_distances(own, known)
            found = found * distance_correlation(squares, "matern")
        if len(self.shape.categories):
            own = torch.exp(values[self.shape.lengths : -1])
            found = found * category_correlation(categories, self.categories, own)
        return found


@dataclass(frozen=True, eq=False)
class _LaplaceMode:
    """Mode of the latent score, with its derived quantities.

    Attributes:
        slope: shape (n,), of the log likelihood.
        root: shape (n,), square root of minus its curvature.
        factor: shape (n, n), lower Cholesky factor of 1 + root K root.
        offset: shape (n,), the score less its mean.
        evidence: approximate log evidence.
    """

    slope: FloatArray
    root: FloatArray
    factor: FloatArray
    offset: FloatArray
    evidence: float


def _find_mode(covariance: FloatArray, succeeded: BoolArray, base: float) -> _LaplaceMode:
    """Find the mode by Newton's method, halving steps while they lead downwards.

    Rasmussen & Williams, algorithm 3.1: the iteration is over K^-1 (score - mean), so that K is never inverted.
    """
    sign: FloatArray = np.where(succeeded, 1.0, -1.0)
    weights: FloatArray = np.zeros(len(sign))
    offset: FloatArray = np.zeros(len(sign))
    reached = _log_posterior(weights, offset, sign, base)
    for _ in range(NEWTON_STEPS):
        slope, root = _likelihood_derivatives(offset, sign, base)
        factor = _cholesky_factor(covariance, root)
        target = root**2 * offset + slope
        goal = target - root * _solve_with_factor(factor, root * (covariance @ target))
        step = 1.0
        while True:
            new = weights + step * (goal - weights)
            moved = covariance @ new
            height = _log_posterior(new, moved, sign, base)
            if height >= reached or step < 1e-3:
                break
            step *= 0.5
        gain = height - reached
        weights, offset, reached = new, moved, height
        if gain < 1e-9:
            break
    slope, root = _likelihood_derivatives(offset, sign, base)
    factor = _cholesky_factor(covariance, root)
    evidence = _log_posterior(slope, offset, sign, base) - float(np.log(np.diag(factor)).sum())
    return _LaplaceMode(slope, root, factor, offset, evidence)


def _log_posterior(weights: FloatArray, offset: FloatArray, sign: FloatArray, base: float) -> float:
    """Log posterior density of a score, up to a constant."""
    likelihood = -np.logaddexp(0.0, -sign * (offset + base)).sum()
    return float(likelihood - 0.5 * weights @ offset)


def _likelihood_derivatives(
    offset: FloatArray, sign: FloatArray, base: float
) -> tuple[FloatArray, FloatArray]:
    """Slope of the log likelihood, and the square root of minus its curvature, (n,) each."""
    chance = 0.5 * (1.0 + np.tanh(0.5 * (offset + base)))
    return 0.5 * (sign + 1.0) - chance, np.sqrt(np.maximum(chance * (1.0 - chance), 1e-12))


def _cholesky_factor(covariance: FloatArray, root: FloatArray) -> FloatArray:
    """Lower Cholesky factor of 1 + root K root.

    Its eigenvalues are at least 1, so that it is well conditioned however K is.
    """
    whole: FloatArray = root[:, None] * covariance * root + np.eye(len(root))
    return np.asarray(np.linalg.cholesky(whole), dtype=np.float64)


def _solve_with_factor(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Solve with the matrix of a lower Cholesky factor."""
    from scipy.linalg import cho_solve

    solved: FloatArray = cho_solve((factor, True), right, check_finite=False)
    return solved


@dataclass(frozen=True, eq=False)
class _EvidenceFit:
    """Fit of the parameters by approximate evidence times prior."""

    shape: _ParameterLayout
    columns: ColumnScales
    x: FloatArray
    succeeded: BoolArray
    base: float

    def maximise_evidence(self, start: Hyperparameters) -> Hyperparameters:
        """Maximise from the `start`; without one, from the prior's mean and a shorter one."""
        from scipy.optimize import minimize

        shape = self.shape
        starts = [shape.parameter_vector(start)]
        if not start:
            starts.append(shape.shorten_lengths(ROUGH_START_SHIFT))
        kernel = _ScoreKernel(shape, self.columns, self.x)
        bounds = [(m - 4.0 * w, m + 4.0 * w) for m, w in zip(shape.mean, shape.width, strict=True)]
        bounds[-1] = (np.log(0.5), np.log(8.0))
        found: list[Any] = [
            minimize(
                lambda values: self.negative_log_evidence(kernel, values),
                begin,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": FIT_ITERATIONS, "ftol": 1e-5},
            )
            for begin in starts
        ]
        return shape.to_json(min(found, key=lambda result: float(result.fun)).x)

    def negative_log_evidence(self, kernel: _ScoreKernel, values: FloatArray) -> tuple[float, FloatArray]:
        """Negative log evidence and prior, with the gradient.

        Args:
            kernel: of the training rows.
            values: shape (p,), parameters.
        """
        free = torch.tensor(values, requires_grad=True)
        covariance = kernel.row_covariance(free)
        matrix = covariance.detach().numpy()
        mode = _find_mode(matrix, self.succeeded, self.base)
        covariance.backward(torch.as_tensor(_evidence_gradient(matrix, mode, self.base)))  # type: ignore[no-untyped-call]  # torch's
        assert free.grad is not None
        off = (values - self.shape.mean) / self.shape.width
        gradient = -free.grad.numpy() + off / self.shape.width
        return -mode.evidence + 0.5 * float(off @ off), gradient


def _evidence_gradient(covariance: FloatArray, mode: _LaplaceMode, base: float) -> FloatArray:
    """Derivative (n, n) of the evidence by the covariance, through the mode too.

    Rasmussen & Williams, algorithm 5.1: `explicit` holds the mode fixed, `implicit` lets it move with the covariance.
    """
    inverse = mode.root[:, None] * _solve_with_factor(mode.factor, np.diag(mode.root))
    spread = np.diag(covariance) - np.einsum("ij,ji->i", covariance @ inverse, covariance)
    chance = 0.5 * (1.0 + np.tanh(0.5 * (mode.offset + base)))
    third = -chance * (1.0 - chance) * (1.0 - 2.0 * chance)
    moved = 0.5 * spread * third
    implicit = np.outer(moved - inverse @ (covariance @ moved), mode.slope)
    explicit: FloatArray = 0.5 * (np.outer(mode.slope, mode.slope) - inverse)
    return explicit + 0.5 * (implicit + implicit.T)


class _ScorePosterior:
    """Posterior of the latent score at any place."""

    def __init__(self, kernel: _ScoreKernel, values: Tensor, mode: _LaplaceMode, base: float) -> None:
        from scipy.linalg import solve_triangular

        self.kernel = kernel
        self.values = values
        self.slope = torch.as_tensor(mode.slope)
        whitened = solve_triangular(mode.factor, np.diag(mode.root), lower=True, check_finite=False)
        self.whitened = torch.as_tensor(np.ascontiguousarray(whitened.T))
        self.base = base

    def averaged_score(self, x: Tensor) -> Tensor:
        """Score at `x` (q, d), shape (q,), whose logistic function is the averaged probability.

        The average is over the posterior of the latent score.

        Source:
            MacKay, Neural Comput. 4, 720 (1992), equation 10.
        """
        cross = self.kernel.cross_covariance(self.values, x)
        mean = self.base + cross @ self.slope
        explained = (cross @ self.whitened).square().sum(dim=-1)
        variance = (torch.exp(2.0 * self.values[-1]) - explained).clamp_min(0.0)
        return mean / torch.sqrt(1.0 + (np.pi / 8.0) * variance)
