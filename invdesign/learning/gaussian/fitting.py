"""Fit the hyperparameters of a Gaussian process by maximum a posteriori.

BoTorch's own fit (`fit_gpytorch_mll`) finds the same parameters; this one is several times cheaper, since the
gradient of the marginal likelihood is known in closed form and only the kernel is differentiated automatically.

Source:
    Rasmussen & Williams, Gaussian Processes for Machine Learning (MIT, 2006), section 5.4.1;
    Hvarfner, Hellsten & Nardi, Proc. ICML 2024 (priors of lengthscales that widen with the dimension).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.learning.gaussian.kernels import CATEGORY_WIDTH, LOG_CUBE_SIDE, Kernel, Plan

ParameterValues = dict[str, FloatArray]

# Mean of log lengthscales in one dimension of the cube; chosen, shorter than Hvarfner et al.
LENGTH_MEAN = float(np.sqrt(2.0) - 1.8)
LENGTH_WIDTH = 1.3  # of a column's deviation from the common part, up to WIDE_FROM columns (chosen)
COMMON_WIDTH = 1.0  # of the part that all log lengthscales of a group share (chosen)
WIDE_FROM = 10.0  # columns from which on LENGTH_WIDTH narrows (chosen)
NARROWING_POWER = 0.8  # of that narrowing (chosen)
ROUGH_START_SHIFT = 1.2  # by how much the second start's log lengthscales are shorter (chosen)
NOISE_MEAN, NOISE_WIDTH = -7.0, 2.5  # log variance of learned noise (chosen)
EXTRA_MEAN, EXTRA_WIDTH = -9.0, 2.0  # log variance added to noise that is stated (chosen)
SCALE_WIDTH = 1.0  # of the log outputscale of a group (chosen)
# Log outputscale of a source's own component (chosen)
OWN_SCALE_MEAN, OWN_SCALE_WIDTH = float(np.log(0.05)), 2.0
TIE_WIDTH = 0.2  # of a source's log lengthscales around those of source 0 (chosen)
TIE_ROWS = 4.0  # rows of source 0 beyond which that tie loosens (chosen)
SHARE_WIDTH = 0.7  # of the share of f_0 in a source, around 1 (chosen)
MIX_MEAN, MIX_WIDTH = 0.5, 1.5  # logit of the product's part in a mixed kernel (chosen)
WARP_WIDTH = 0.5  # of the log exponents of input warping (chosen)

LEAST_NOISE = 1e-6  # variance, relative to that of the outcomes (chosen)
# Tried in turn; relative to the mean of the diagonal (chosen)
JITTER_STEPS = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
TRIAL_ITERATIONS = 12  # of every start, on a part of the rows, before the best goes on (chosen)
TRIAL_ROWS = 120  # rows of that part (chosen)
MOST_FITTED_ROWS = 500  # rows that hyperparameters are fitted on (chosen)
FIT_TOLERANCE = 1e-5  # relative change of the objective that ends a fit (chosen)
# Parameters that are fitted as logarithms
LOGARITHMIC = ("length", "category", "scale", "warp", "noise", "extra")


@dataclass(frozen=True)
class ScaledRows:
    """Training rows on the model's scale, with their noise.

    Attributes:
        numbers, categories: shapes (n, d_n) and (n, d_c).
        sources: shape (n,).
        y: shape (n,), scaled outcomes.
        noise: shape (n,), scaled variances; NaN where nothing is known.
        fixed: shape (n,), scaled variances of the noise the user gave, used where `noise` is NaN; None to learn it.
    """

    numbers: Tensor
    categories: Tensor
    sources: Tensor
    y: Tensor
    noise: Tensor
    fixed: Tensor | None

    def thin_out(self, most: int) -> ScaledRows:
        """Keep at most `most` of the rows, evenly over their order.

        Half of them are of source 0 if there are that many.
        """
        if len(self.y) <= most:
            return self
        target, others = (torch.nonzero(own).reshape(-1) for own in (self.sources == 0, self.sources != 0))
        wanted = max(min(len(target), most // 2), most - len(others))
        index = torch.cat([_pick_evenly(target, wanted), _pick_evenly(others, most - wanted)]).sort().values
        return ScaledRows(
            numbers=self.numbers[index],
            categories=self.categories[index],
            sources=self.sources[index],
            y=self.y[index],
            noise=self.noise[index],
            fixed=None if self.fixed is None else self.fixed[index],
        )

    def noise_variances(self, noise: Tensor, extra: Tensor) -> Tensor:
        """Noise variance of each row, shape (n,).

        Args:
            noise: shape (s,), learned variances by source, for rows without a stated one.
            extra: shape (1,), learned variance added to stated ones.
        """
        unknown = noise[self.sources] if self.fixed is None else self.fixed
        return torch.where(torch.isnan(self.noise), unknown, torch.nan_to_num(self.noise) + extra).clamp_min(
            LEAST_NOISE
        )


def _pick_evenly(index: Tensor, most: int) -> Tensor:
    """Pick at most `most` of the indices, evenly spaced."""
    places = torch.linspace(0, max(len(index) - 1, 0), min(most, len(index)), dtype=torch.float64)
    return index[places.round().long()]


@dataclass(frozen=True)
class ParameterPrior:
    """Independent normal priors of the free parameters, with bounds.

    Attributes:
        mean, width: mean and standard deviation, block by block.
        low, high: bounds, block by block.
    """

    mean: ParameterValues
    width: ParameterValues
    low: ParameterValues
    high: ParameterValues

    @classmethod
    def for_plan(cls, plan: Plan, *, cube: bool) -> ParameterPrior:
        """Build the prior for a kernel plan.

        Args:
            plan: its blocks of parameters.
            cube: True if numbers are coordinates of the unit cube.
        """
        blocks = plan.blocks
        n_groups = len(plan.groups)
        mean = {name: np.zeros(shape) for name, shape in blocks.items()}
        mean["length"] += (
            0.5 * np.log(_group_dimensions(plan)) + LENGTH_MEAN + (0.0 if cube else LOG_CUBE_SIDE)
        )
        mean["scale"][0] = -np.log(n_groups)
        mean["scale"][1:] = OWN_SCALE_MEAN - np.log(n_groups)
        mean["mix"] += MIX_MEAN
        mean["share"] += 1.0
        mean["noise"] += NOISE_MEAN
        mean["extra"] += EXTRA_MEAN
        width = {
            "length": LENGTH_WIDTH, "category": CATEGORY_WIDTH, "scale": SCALE_WIDTH, "mix": MIX_WIDTH,
            "share": SHARE_WIDTH, "warp": WARP_WIDTH, "noise": NOISE_WIDTH, "extra": EXTRA_WIDTH,
        }  # fmt: skip
        widths = {name: np.full(shape, width[name]) for name, shape in blocks.items()}
        widths["scale"][1:] = OWN_SCALE_WIDTH
        widths["length"] = widths["length"] * np.minimum(
            1.0, (WIDE_FROM / _group_dimensions(plan)) ** NARROWING_POWER
        )
        low = {name: mean[name] - 6.0 * widths[name] for name in blocks}
        high = {name: mean[name] + 6.0 * widths[name] for name in blocks}
        for name, least, most in (("length", 0.02, 1e6), ("noise", LEAST_NOISE, 4.0), ("extra", 1e-8, 4.0)):
            low[name] = np.full(blocks[name], np.log(least))
            high[name] = np.full(blocks[name], np.log(most))
        return cls(mean, widths, low, high)

    def starting_points(self) -> list[ParameterValues]:
        """Starting points of a fit: smooth, rough, noisy, and unrelated sources."""
        smooth = dict(self.mean)
        rough = {**self.mean, "length": self.mean["length"] - ROUGH_START_SHIFT}
        noisy = {**self.mean, "noise": np.full_like(self.mean["noise"], np.log(0.1))}
        if not len(self.mean["share"]):
            return [smooth, rough, noisy]
        # Unrelated sources: no share of f_0, and own components as large as f_0.
        apart = {**self.mean, "share": 0.0 * self.mean["share"], "scale": self.mean["scale"].copy()}
        apart["scale"][1:] = apart["scale"][0]
        return [smooth, rough, noisy, apart]


def _group_dimensions(plan: Plan) -> FloatArray:
    """Number of number columns in each number column's group, shape (d_n,)."""
    found = np.ones(plan.d_numbers)
    for group in plan.groups:
        found[list(group.numbers)] = max(len(group.numbers), 1)
    return found


def to_natural(free: Mapping[str, FloatArray]) -> ParameterValues:
    """Convert free parameters to their natural scales.

    Args:
        free: blocks of unbounded parameters (logarithms, logits).
    """
    values = {name: np.exp(block) if name in LOGARITHMIC else np.array(block) for name, block in free.items()}
    values["mix"] = 1.0 / (1.0 + np.exp(-free["mix"]))
    return values


def to_free(values: Mapping[str, FloatArray]) -> ParameterValues:
    """Convert natural parameters to free ones; the inverse of `split_vector`.

    Args:
        values: blocks of natural parameters.
    """
    free = {name: np.log(block) if name in LOGARITHMIC else np.array(block) for name, block in values.items()}
    mix = np.clip(values["mix"], 1e-6, 1.0 - 1e-6)
    free["mix"] = np.log(mix / (1.0 - mix))
    return free


class NegativeLogPosterior:
    """Negative log posterior of the free parameters, with its gradient.

    Args:
        plan: of the kernel.
        prior: of the free parameters.
        known: training rows.
    """

    def __init__(self, plan: Plan, prior: ParameterPrior, known: ScaledRows) -> None:
        self.plan, self.known = plan, known
        self.blocks = plan.blocks
        self.mean = torch.from_numpy(self.to_vector(prior.mean))
        self.precision = torch.from_numpy(self._prior_precision(prior))
        self.bounds = list(zip(self.to_vector(prior.low), self.to_vector(prior.high), strict=True))

    def to_vector(self, free: Mapping[str, FloatArray]) -> FloatArray:
        """Concatenate all blocks of `free` parameters into one vector."""
        return np.concatenate([np.ravel(free[name]) for name in self.blocks])

    def _prior_precision(self, prior: ParameterPrior) -> FloatArray:
        """Inverse covariance of the prior (p, p).

        Lengthscales of a group have a common part. Those of a source's own component are tied to those of source 0.
        Otherwise the two components would share out the parts of an additive property between them, in a way that no row
        of source 0 could correct. The more rows source 0 has, the looser the tie.
        """
        n_target = int((self.known.sources == 0).sum())
        tie = (TIE_WIDTH * max(1.0, n_target / TIE_ROWS)) ** -2.0
        d = self.plan.d_numbers  # lengths are the first block, source by source
        precision = np.diag(self.to_vector(prior.width) ** -2.0)
        precision[: self.plan.sources * d, : self.plan.sources * d] = 0.0
        target = np.arange(d)
        for group in self.plan.groups:
            index = np.array(group.numbers, dtype=np.int64)
            own = np.diag(prior.width["length"][0, index] ** 2)
            precision[np.ix_(index, index)] = np.linalg.inv(own + COMMON_WIDTH**2)
        for source in range(1, self.plan.sources):
            other = source * d + target
            precision[target, target] += tie
            precision[other, other] += tie
            precision[target, other] -= tie
            precision[other, target] -= tie
        return precision

    def split_vector(self, theta: FloatArray) -> ParameterValues:
        """Split a vector `theta` into blocks; the inverse of `to_vector`."""
        return {
            name: block.numpy() for name, block in self._split_blocks(torch.from_numpy(theta.copy())).items()
        }

    def _split_blocks(self, theta: Tensor) -> dict[str, Tensor]:
        """Split a parameter vector into blocks of their shapes."""
        sizes = [int(np.prod(shape)) for shape in self.blocks.values()]
        parts = torch.split(theta, sizes)
        return {
            name: part.reshape(shape) for (name, shape), part in zip(self.blocks.items(), parts, strict=True)
        }

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Return (value, gradient) at a vector `theta` of free parameters."""
        known = self.known
        leaf = torch.from_numpy(theta.copy()).requires_grad_(True)
        parts = {
            name: torch.exp(block) if name in LOGARITHMIC else block
            for name, block in self._split_blocks(leaf).items()
        }
        parts["mix"] = torch.sigmoid(parts["mix"])
        covariance = Kernel(self.plan, parts).row_covariance(known.numbers, known.categories, known.sources)
        covariance = covariance + torch.diag_embed(known.noise_variances(parts["noise"], parts["extra"]))
        with torch.no_grad():
            factor = factorise_covariance(covariance)
            inverse = torch.cholesky_inverse(factor)
            weights = inverse @ known.y
            value = 0.5 * (known.y @ weights) + factor.diagonal().log().sum()
            # Derivative of the value by the covariance; only the kernel is differentiated automatically.
            slope = 0.5 * (inverse - torch.outer(weights, weights))
            away = leaf - self.mean
            pull = self.precision @ away
            value = value + 0.5 * (away @ pull)
        (gradient,) = torch.autograd.grad(covariance, leaf, slope)
        return float(value), (gradient + pull).numpy()


def factorise_covariance(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor of `covariance` (n, n), with the least sufficient jitter.

    Raises:
        ArithmeticError: the covariance holds values that are not finite.
    """
    scale = covariance.diagonal().mean() if len(covariance) else covariance.new_ones(())
    for jitter in JITTER_STEPS:
        padded = covariance + torch.eye(len(covariance), dtype=covariance.dtype) * (jitter * scale)
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(padded)
        if int(info) == 0 and bool(torch.isfinite(factor).all()):
            return factor
    raise ArithmeticError("the covariance of the rows is not finite")


def fit_parameters(
    plan: Plan,
    prior: ParameterPrior,
    known: ScaledRows,
    iterations: int,
    start: ParameterValues | None,
    *,
    fresh: bool = True,
) -> ParameterValues:
    """Fit natural parameters of highest posterior probability.

    Args:
        plan: of the kernel.
        prior: of the free parameters.
        known: n training rows.
        iterations: of L-BFGS-B at most.
        start: natural parameters of an earlier fit: the search begins there, unless a fresh start is better;
            while rows are few, each goes some way before one is chosen.
        fresh: True to run the fresh starts while rows are few; else they are only evaluated.
    """
    target = NegativeLogPosterior(plan, prior, known.thin_out(MOST_FITTED_ROWS))
    points = [target.to_vector(each) for each in prior.starting_points()]
    trial = NegativeLogPosterior(plan, prior, known.thin_out(TRIAL_ROWS))
    if start is not None:
        warm = np.clip(target.to_vector(to_free(start)), *np.array(target.bounds).T)
        points = [warm, *points]
    if start is None or (fresh and len(known.y) <= TRIAL_ROWS):
        # While rows are few, an early fit may be stuck where too many columns seem to tell nothing: try all starts.
        tried = [_minimise_from(trial, point, min(TRIAL_ITERATIONS, iterations)) for point in points]
        best = min(tried, key=lambda pair: pair[0])[1]
    else:
        best = min(points, key=lambda point: target(point)[0])
    return to_natural(target.split_vector(_minimise_from(target, best, iterations)[1]))


def _minimise_from(
    target: NegativeLogPosterior, start: FloatArray, iterations: int
) -> tuple[float, FloatArray]:
    """Minimise by L-BFGS-B from a start; return (value, parameters)."""
    from scipy.optimize import minimize

    found = minimize(
        target,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=target.bounds,
        options={"maxiter": iterations, "ftol": FIT_TOLERANCE, "gtol": 1e-3, "maxfun": 2 * iterations + 10},
    )
    return float(found.fun), np.asarray(found.x, dtype=np.float64)
