"""The chance that a candidate succeeds, learned from those that did and those that did not.

A Gaussian process over a hidden score whose logistic function is the chance. Its posterior is approximated by the
normal distribution around its mode, which is found in a few Newton steps; length scales and height of the process are
those of the highest approximate evidence. Few data leave the chance near what the run has seen so far, many failures
around a point bring it down as their number grows, whatever the values there promise.

Source:
    Williams & Barber, IEEE Trans. Pattern Anal. Mach. Intell. 20, 1342 (1998); Rasmussen & Williams, Gaussian
    Processes for Machine Learning (MIT, 2006), algorithms 3.1, 3.2 and 5.1. Gelbart, Snoek & Adams, UAI 2014, and
    Gramacy & Lee, Bayesian Statistics 9, 229 (2011): acquisition weighed by the chance of success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.optimizers.bayesian.contracts import Hyperparameters
from invdesign.optimizers.bayesian.data import Inputs
from invdesign.optimizers.bayesian.kernels import correlation, overlap, squared_distances
from invdesign.optimizers.bayesian.limits import comparable, farthest
from invdesign.optimizers.bayesian.scaling import Columns

ROWS = 400  # rows a model learns from, at most
FITTED = 250  # of these, rows that length scales are fitted on
RECENT = 3000  # newest rows that these are chosen from
WIDEST = 24  # columns with a length scale of their own; of more, one per group, or one for all
BLOCK = 20_000  # candidates at a time
ITERATIONS = 30  # of the fit
NEWTON = 50  # steps to the mode, at most
LENGTH, LENGTH_WIDTH = float(np.sqrt(2.0) - 1.5), float(np.sqrt(3.0))  # prior of log lengths in the unit cube
STANDARDISED = 0.5 * float(np.log(12.0))  # the cube's side in standard deviations of a uniform column
HEIGHT, HEIGHT_WIDTH = float(np.log(3.0)), 0.5  # prior of the log standard deviation of the score
CATEGORY_WIDTH = 1.5
SHORT = 1.0  # how much shorter (in logarithms) the second start's length scales are
MOST = 2.2  # score of a chance of 0.9: no base rate makes what is unknown surer than that
ALONE = 1.5  # the same, where nothing has succeeded: nothing shows how far a failure speaks
FAIR = 1.4  # score of a chance of 0.8, from which on the chance itself weighs
STEEP = 3.0  # how much faster than the chance the weight falls below that
FAR = 80.0  # fall, in logarithms, from which on it slows down
LATELY = 20  # newest trials whose failures make the search more careful,
CARE = 4.0  # by this factor each,
MOST_CARE = 3  # up to so many
JITTER = 1e-6  # of the variance of the score
LEAST = 1e-280  # chance, so that its logarithm exists


def fit_success(
    x: FloatArray, succeeded: BoolArray, inputs: Inputs, start: Hyperparameters | None = None
) -> Hyperparameters:
    """Length scales and height of the hidden score.

    Args:
        x: shape (n, d), oldest first; NaN is read as the column's mean.
        succeeded: shape (n,).
        inputs: how columns are to be read.
        start: those of an earlier fit, to begin from.

    Returns:
        Plain JSON; empty where all succeeded or nothing varies, so that there is nothing to learn.
    """
    if bool(succeeded.all()) or not len(x):
        return {}
    x, succeeded = _chosen(x, succeeded, FITTED)
    columns = Columns.of(x, inputs)
    if not columns.numbers and not columns.categories:
        return {}
    shape = _Shape.of(columns, inputs)
    if not succeeded.any():
        return shape.plain(shape.shorter(ALONE))
    return _Task(shape, columns, x, succeeded, _base(succeeded)).fitted(start or {})


def success_model(
    x: FloatArray, succeeded: BoolArray, inputs: Inputs, hyperparameters: Hyperparameters
) -> Success:
    """The model of the chance of success of rows and hyperparameters: a pure function of the arguments.

    Args:
        x: shape (n, d), oldest first.
        succeeded: shape (n,).
        inputs: how columns are to be read.
        hyperparameters: of `fit_success`, on these rows or on fewer.
    """
    if bool(succeeded.all()) or not len(x):
        return Success(None, 1.0)
    base, steep = _base(succeeded), _steep(succeeded)
    x, succeeded = _chosen(x, succeeded, ROWS)
    columns = Columns.of(x, inputs)
    if not columns.numbers and not columns.categories:
        return Success(None, (float(succeeded.sum()) + 1.0) / (len(succeeded) + 2.0))
    shape = _Shape.of(columns, inputs)
    values = shape.values(hyperparameters)
    kernel = _Kernel(shape, columns, x)
    with torch.no_grad():
        covariance = kernel.within(torch.as_tensor(values)).numpy()
    mode = _mode(covariance, succeeded, base)
    return Success(_Posterior(kernel, torch.as_tensor(values), mode, base), 1.0, steep)


@dataclass(frozen=True, eq=False)
class Success:
    """The chance that a candidate succeeds.

    Attributes:
        posterior: None where the chance is the same everywhere.
        constant: that chance.
        steep: how fast the weight falls below a fair chance.
    """

    posterior: _Posterior | None
    constant: float
    steep: float = STEEP

    def chance(self, x: FloatArray) -> FloatArray:
        """What the chance weighs at x (q, d), shape (q,): see `sharpened`."""
        return self._at(x, sharp=True)

    def log_chance(self, x: Tensor) -> Tensor:
        """Logarithm of the weight at x (q, d), shape (q,), with gradients."""
        if self.posterior is None:
            return 0.0 * x.sum(dim=-1) + float(np.log(self.constant))
        return torch.nn.functional.logsigmoid(sharpened(self.posterior.score(x), self.steep))

    def probability(self, x: FloatArray) -> FloatArray:
        """The chance itself at x (q, d), shape (q,)."""
        return self._at(x, sharp=False)

    def _at(self, x: FloatArray, *, sharp: bool) -> FloatArray:
        if self.posterior is None:
            return np.full(len(x), self.constant)
        found = np.empty(len(x))
        with torch.no_grad():
            for first in range(0, len(x), BLOCK):
                part = torch.as_tensor(np.ascontiguousarray(x[first : first + BLOCK], dtype=np.float64))
                score = self.posterior.score(part)
                score = sharpened(score, self.steep) if sharp else score
                found[first : first + BLOCK] = torch.sigmoid(score).numpy()
        return np.clip(found, LEAST, 1.0 - 1e-12)


def sharpened(score: Tensor, steep: float = STEEP) -> Tensor:
    """A score whose logistic function is what a chance weighs: the chance where it is fair, much less below that.

    Where evaluations fail, models of the values have no data, and promise ever more as the rest of the space is worked
    through. An acquisition times the chance alone goes on failing there, and at the edge of what can be evaluated it
    halves the last thousandth at the price of every second evaluation. So the weight falls as exp(-steep (score -
    1.4)^2) below a chance of 0.8: the edge is approached from the side that succeeds, the more so the more has failed
    of late. Where all chances are the same, nothing changes.
    """
    # Bounded so that no weight is 0 in doubles, and one can still be told from another.
    return score - FAR * torch.log1p(steep / FAR * (score - FAIR).clamp_max(0.0).square())


def _steep(succeeded: BoolArray) -> float:
    """How fast the weight falls, by how many of the newest trials (n,), oldest first, failed."""
    failed = int((~succeeded[-LATELY:]).sum())
    return float(STEEP * CARE ** min(failed, MOST_CARE))


def _base(succeeded: BoolArray) -> float:
    """The score where nothing is known: that of the share that succeeded, between a chance of 0.5 and 0.9.

    Never below a half: where all have failed so far, what is far from them is worth a try.
    """
    share = (float(succeeded.sum()) + 1.0) / (len(succeeded) + 2.0)
    return float(np.clip(np.log(share / (1.0 - share)), 0.0, MOST))


def _chosen(x: FloatArray, succeeded: BoolArray, most: int) -> tuple[FloatArray, BoolArray]:
    """At most so many rows: the newest, those nearest to rows that ended the other way, and a spread of the rest."""
    x, succeeded = x[-RECENT:], succeeded[-RECENT:]
    n = len(x)
    if n <= most:
        return x, succeeded
    z = comparable(x)
    taken = np.zeros(n, dtype=bool)
    taken[n - most // 4 :] = True
    away = _to_others(z, succeeded)
    for outcome in (True, False):
        side = np.flatnonzero((succeeded == outcome) & ~taken)
        taken[side[np.argsort(away[side], kind="stable")][: most // 4]] = True
    rest: IntArray = np.flatnonzero(~taken)
    taken[farthest(z, np.flatnonzero(taken), rest, most - int(taken.sum()))] = True
    return x[taken], succeeded[taken]


def _to_others(z: FloatArray, succeeded: BoolArray) -> FloatArray:
    """Squared distance (n,) of each row to the nearest that ended the other way; 0 where there is none."""
    found = np.zeros(len(z))
    if succeeded.all() or not succeeded.any():
        return found
    for outcome in (True, False):
        own, others = np.flatnonzero(succeeded == outcome), torch.as_tensor(z[succeeded != outcome])
        for first in range(0, len(own), 500):
            part = own[first : first + 500]
            found[part] = squared_distances(torch.as_tensor(z[part]), others).min(dim=1).values.numpy()
    return found


# The process.


@dataclass(frozen=True)
class _Shape:
    """Which parameters a process has: logarithms of lengths of numbers, of lengths of categories, of the height.

    Attributes:
        owner: shape (d_n,), which length each number column has.
        mean, width: shape (p,), the normal prior of the parameters.
    """

    names: tuple[int, ...]
    categories: tuple[int, ...]
    owner: IntArray
    mean: FloatArray
    width: FloatArray

    @classmethod
    def of(cls, columns: Columns, inputs: Inputs) -> _Shape:
        """The shape for these columns."""
        numbers = columns.numbers
        owner = np.arange(len(numbers))
        if len(numbers) > WIDEST:
            groups = {column: place for place, (_, own) in enumerate(inputs.groups) for column in own}
            kinds = [groups.get(column, -1) for column in numbers]
            many = len(set(kinds)) > WIDEST
            owner = (
                np.zeros(len(numbers), dtype=np.int64) if many else np.unique(kinds, return_inverse=True)[1]
            )
        lengths = int(owner.max()) + 1 if len(owner) else 0
        middle = LENGTH + 0.5 * np.log(max(len(numbers), 1)) + (0.0 if inputs.cube else STANDARDISED)
        own = len(columns.categories)
        mean = np.concatenate([np.full(lengths, middle), np.zeros(own), [HEIGHT]])
        width = np.concatenate([np.full(lengths, LENGTH_WIDTH), np.full(own, CATEGORY_WIDTH), [HEIGHT_WIDTH]])
        return cls(numbers, columns.categories, owner, mean, width)

    @property
    def lengths(self) -> int:
        """How many lengths of numbers there are."""
        return len(self.mean) - len(self.categories) - 1

    def values(self, hyperparameters: Hyperparameters) -> FloatArray:
        """Parameters (p,); of columns that the hyperparameters do not know, the prior's."""
        found = self.mean.copy()
        lengths = hyperparameters.get("lengths", {})
        for column, place in zip(self.names, self.owner.tolist(), strict=True):
            found[place] = lengths.get(str(column), found[place])
        for place, column in enumerate(self.categories, start=self.lengths):
            found[place] = lengths.get(str(column), found[place])
        found[-1] = hyperparameters.get("height", found[-1])
        return found

    def shorter(self, by: float) -> FloatArray:
        """The prior's mean (p,) with lengths shorter by so much, in logarithms."""
        found = self.mean.copy()
        found[: self.lengths] -= by
        return found

    def plain(self, values: FloatArray) -> Hyperparameters:
        """The inverse of `values`: plain JSON, lengths by the column's number."""
        lengths = {
            str(column): float(values[place]) for column, place in zip(self.names, self.owner, strict=True)
        }
        own = values[self.lengths : -1].tolist()
        lengths |= {str(column): float(value) for column, value in zip(self.categories, own, strict=True)}
        return {"lengths": lengths, "height": float(values[-1])}


class _Kernel:
    """Covariance of the hidden score, Matérn 5/2 of numbers times an overlap of categories."""

    def __init__(self, shape: _Shape, columns: Columns, x: FloatArray) -> None:
        self.shape = shape
        self.columns = columns
        rows = columns.filled(torch.as_tensor(np.ascontiguousarray(x, dtype=np.float64)))
        self.numbers, self.categories = columns.scaled(rows)
        self.owner = torch.as_tensor(shape.owner)

    def within(self, values: Tensor) -> Tensor:
        """Shape (n, n), of the rows."""
        found = self._between(values, self.numbers, self.categories)
        return found + torch.eye(len(found), dtype=torch.float64) * (JITTER * torch.exp(2.0 * values[-1]))

    def across(self, values: Tensor, x: Tensor) -> Tensor:
        """Shape (q, n), of x (q, d) and the rows."""
        return self._between(values, *self.columns.scaled(self.columns.filled(x)))

    def _between(self, values: Tensor, numbers: Tensor, categories: Tensor) -> Tensor:
        lengths = torch.exp(values[: self.shape.lengths])[self.owner]
        found = torch.exp(2.0 * values[-1])
        if len(self.owner):
            squares = squared_distances(numbers / lengths, self.numbers / lengths)
            found = found * correlation(squares, "matern")
        if len(self.shape.categories):
            own = torch.exp(values[self.shape.lengths : -1])
            found = found * overlap(categories, self.categories, own)
        return found


@dataclass(frozen=True, eq=False)
class _Mode:
    """The mode of the score and what follows from it.

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


def _mode(covariance: FloatArray, succeeded: BoolArray, base: float) -> _Mode:
    """The mode by Newton's method, whose steps are halved while they lead downwards."""
    sign: FloatArray = np.where(succeeded, 1.0, -1.0)
    weights: FloatArray = np.zeros(len(sign))
    offset: FloatArray = np.zeros(len(sign))
    reached = _height(weights, offset, sign, base)
    for _ in range(NEWTON):
        slope, root = _bend(offset, sign, base)
        factor = _factor(covariance, root)
        target = root**2 * offset + slope
        goal = target - root * _solved(factor, root * (covariance @ target))
        step = 1.0
        while True:
            new = weights + step * (goal - weights)
            moved = covariance @ new
            height = _height(new, moved, sign, base)
            if height >= reached or step < 1e-3:
                break
            step *= 0.5
        gain = height - reached
        weights, offset, reached = new, moved, height
        if gain < 1e-9:
            break
    slope, root = _bend(offset, sign, base)
    factor = _factor(covariance, root)
    evidence = _height(slope, offset, sign, base) - float(np.log(np.diag(factor)).sum())
    return _Mode(slope, root, factor, offset, evidence)


def _height(weights: FloatArray, offset: FloatArray, sign: FloatArray, base: float) -> float:
    """Log posterior density of a score, up to a constant."""
    likelihood = -np.logaddexp(0.0, -sign * (offset + base)).sum()
    return float(likelihood - 0.5 * weights @ offset)


def _bend(offset: FloatArray, sign: FloatArray, base: float) -> tuple[FloatArray, FloatArray]:
    """Slope of the log likelihood, and the square root of minus its curvature, (n,) each."""
    chance = 0.5 * (1.0 + np.tanh(0.5 * (offset + base)))
    return 0.5 * (sign + 1.0) - chance, np.sqrt(np.maximum(chance * (1.0 - chance), 1e-12))


def _factor(covariance: FloatArray, root: FloatArray) -> FloatArray:
    """Lower Cholesky factor of 1 + root K root."""
    whole: FloatArray = root[:, None] * covariance * root + np.eye(len(root))
    return np.asarray(np.linalg.cholesky(whole), dtype=np.float64)


def _solved(factor: FloatArray, right: FloatArray) -> FloatArray:
    from scipy.linalg import cho_solve

    solved: FloatArray = cho_solve((factor, True), right, check_finite=False)
    return solved


@dataclass(frozen=True, eq=False)
class _Task:
    """A fit: which parameters have the highest approximate evidence, times their prior."""

    shape: _Shape
    columns: Columns
    x: FloatArray
    succeeded: BoolArray
    base: float

    def fitted(self, start: Hyperparameters) -> Hyperparameters:
        """The best found from the start; from the prior's mean and a shorter one where there is none."""
        from scipy.optimize import minimize

        shape = self.shape
        starts = [shape.values(start)]
        if not start:
            starts.append(shape.shorter(SHORT))
        kernel = _Kernel(shape, self.columns, self.x)
        bounds = [(m - 4.0 * w, m + 4.0 * w) for m, w in zip(shape.mean, shape.width, strict=True)]
        bounds[-1] = (np.log(0.5), np.log(8.0))
        found: list[Any] = [
            minimize(
                lambda values: self.target(kernel, values),
                begin,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": ITERATIONS, "ftol": 1e-5},
            )
            for begin in starts
        ]
        return shape.plain(min(found, key=lambda result: float(result.fun)).x)

    def target(self, kernel: _Kernel, values: FloatArray) -> tuple[float, FloatArray]:
        """Minus the log evidence and prior at parameters (p,), and its gradient."""
        free = torch.tensor(values, requires_grad=True)
        covariance = kernel.within(free)
        matrix = covariance.detach().numpy()
        mode = _mode(matrix, self.succeeded, self.base)
        covariance.backward(torch.as_tensor(_pull(matrix, mode, self.base)))  # type: ignore[no-untyped-call]  # torch's
        assert free.grad is not None
        off = (values - self.shape.mean) / self.shape.width
        gradient = -free.grad.numpy() + off / self.shape.width
        return -mode.evidence + 0.5 * float(off @ off), gradient


def _pull(covariance: FloatArray, mode: _Mode, base: float) -> FloatArray:
    """Derivative (n, n) of the evidence by the covariance, that of the mode included."""
    inverse = mode.root[:, None] * _solved(mode.factor, np.diag(mode.root))
    spread = np.diag(covariance) - np.einsum("ij,ji->i", covariance @ inverse, covariance)
    chance = 0.5 * (1.0 + np.tanh(0.5 * (mode.offset + base)))
    third = -chance * (1.0 - chance) * (1.0 - 2.0 * chance)
    moved = 0.5 * spread * third
    implicit = np.outer(moved - inverse @ (covariance @ moved), mode.slope)
    explicit: FloatArray = 0.5 * (np.outer(mode.slope, mode.slope) - inverse)
    return explicit + 0.5 * (implicit + implicit.T)


class _Posterior:
    """The hidden score anywhere."""

    def __init__(self, kernel: _Kernel, values: Tensor, mode: _Mode, base: float) -> None:
        from scipy.linalg import solve_triangular

        self.kernel = kernel
        self.values = values
        self.slope = torch.as_tensor(mode.slope)
        whitened = solve_triangular(mode.factor, np.diag(mode.root), lower=True, check_finite=False)
        self.whitened = torch.as_tensor(np.ascontiguousarray(whitened.T))
        self.base = base

    def score(self, x: Tensor) -> Tensor:
        """The score at x (q, d) whose logistic function is the chance averaged over what is not known, shape (q,).

        Source:
            MacKay, Neural Comput. 4, 720 (1992), equation 10.
        """
        cross = self.kernel.across(self.values, x)
        mean = self.base + cross @ self.slope
        explained = (cross @ self.whitened).square().sum(dim=-1)
        variance = (torch.exp(2.0 * self.values[-1]) - explained).clamp_min(0.0)
        return mean / torch.sqrt(1.0 + (np.pi / 8.0) * variance)
