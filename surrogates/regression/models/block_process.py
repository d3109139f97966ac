"""Gaussian process whose covariance weighs blocks of features: k = s² exp(-Σ_b w_b d_b).

d_b is the L1 distance of two rows in the block b, relative to its median over pairs of training rows. The process of
`invdesign.learning.gaussian` has a length scale for each column, computes distances anew in each step, and
differentiates them automatically. Here they are computed once, and a few weights are fitted in closed form.

Source:
    Rasmussen & Williams, Gaussian Processes for Machine Learning (MIT, 2006), sections 4.2.1 and 5.4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from surrogates.regression.models.contract import ColumnBlock
from surrogates.regression.models.estimators import TUNED_ROWS, Estimate, draw_rows, leave_out
from surrogates.regression.models.kernel import KernelModel, correlate
from surrogates.regression.models.preparing import InputScales, OutputScale
from surrogates.regression.models.settings import FitError, GaussianProcessSettings
from surrogates.regression.models.tobit import censored_moments

START_DECAY = 0.6  # Σ_b w_b where the prior has its mean, at median distances (chosen)
START_NOISE = 0.2  # noise variance there, relative to that of the values (chosen)
PRIOR_WIDTH = 1.0  # of every log parameter (chosen)
MOST_WIDTHS = 6.0  # from the prior's mean, at which log parameters are bounded (chosen)
MEAN_VARIANCE = 1.0  # prior variance of the unknown mean of scaled values (chosen)
JITTER = 1e-8  # added to the diagonal: equal rows with little noise (chosen)


@dataclass(frozen=True, eq=False)
class BlockParameters:
    """Hyperparameters of a process.

    Attributes:
        weights: shape (B,), of the blocks' distances.
        signal: prior variance.
        noise: variance of the noise.
    """

    weights: FloatArray
    signal: float
    noise: float


def fit_block_process(
    x: FloatArray,
    y: FloatArray,
    settings: GaussianProcessSettings,
    seed: int,
    blocks: Sequence[ColumnBlock] = (),
    censoring: IntArray | None = None,
) -> Estimate:
    """Fit the process, and store its training rows with their weights.

    Hyperparameters follow from rows that are known exactly. Censored rows then enter with their conditional expectations
    under the process of the others.

    Args:
        x: shape (n, d), features; NaN where missing.
        y: shape (n,), values, or of censored rows their limits.
        settings: of the process.
        seed: of the draws among many rows.
        blocks: of the columns, side by side; none to take all columns as one block.
        censoring: shape (n,), -1 below `y`, 1 above, 0 equal to it; None for no censored rows.
    """
    inputs, block_of = scale_blocks(x, settings, blocks)
    limits = np.zeros(len(y), dtype=np.int64) if censoring is None else censoring
    outputs = OutputScale.standardise(y[limits == 0], compress=True)
    z, t = inputs(x), outputs.scale.to_model_scale(y)
    chosen = draw_rows(z, settings.rows, seed)
    exact = chosen[limits[chosen] == 0]
    tuned = exact[draw_rows(z[exact], TUNED_ROWS, seed)]
    distances, units = measure_blocks(z[tuned], block_of)
    found = fit_block_parameters(distances, t[tuned], settings.iterations)
    every = np.arange(z.shape[1])
    inputs = inputs.rescale(np.zeros(len(every)), (units / found.weights)[block_of], every)
    stored = inputs(x[chosen]).astype(np.float32)  # half the size of an artifact
    rows = stored.astype(np.float64)
    t, limits = t[chosen], limits[chosen]
    if limits.any():
        t = _impute_values(rows, t, limits, found)
    factor = _factorise_covariance(rows, found)
    weights = np.asarray(_solve_factor(factor, t))
    inverse = _invert_factor(factor)
    left_out = outputs.to_values(t - weights / (inverse**2).sum(axis=0))
    places = draw_rows(rows, settings.deviation_rows, seed)
    if len(places) < len(rows):
        inverse = _invert_factor(_factorise_covariance(rows[places], found))
    model = KernelModel(
        inputs,
        outputs,
        "laplacian",
        stored,
        found.signal * weights,
        MEAN_VARIANCE * float(weights.sum()),
        (found.signal, MEAN_VARIANCE),
        places,
        inverse[np.tril_indices(len(places))].astype(np.float32),
    )
    return Estimate(model, leave_out(model, x, chosen, left_out))


def scale_blocks(
    x: FloatArray, settings: GaussianProcessSettings, blocks: Sequence[ColumnBlock]
) -> tuple[InputScales, IntArray]:
    """Scales of features (n, d), and the number (k,) of the block of each scaled feature.

    Args:
        x: features; NaN where missing.
        settings: of the process.
        blocks: of the columns, side by side; none to take all columns as one block.

    Raises:
        FitError: the blocks have not d columns.
    """
    blocks = blocks or (ColumnBlock(x.shape[1]),)
    if sum(block.columns for block in blocks) != x.shape[1]:
        raise FitError(
            f"blocks of {', '.join(str(block.columns) for block in blocks)} columns do not make up {x.shape[1]} features"
        )
    inputs = InputScales.from_rows(x, power=settings.power, indicators=settings.indicators)
    number = np.repeat(np.arange(len(blocks)), [block.columns for block in blocks])
    of_column = np.concatenate([number[inputs.kept], number[inputs.missing]])
    alike = np.array([block.alike for block in blocks])[of_column]
    inputs = replace(
        inputs,
        centre=np.where(alike, 0.0, inputs.centre),
        spread=np.where(alike, 1.0, inputs.spread),
    )
    # Blocks without a column that varies have no weight.
    return inputs, np.unique(of_column, return_inverse=True)[1].astype(np.int64)


def measure_blocks(z: FloatArray, block_of: IntArray) -> tuple[FloatArray, FloatArray]:
    """Distances (B, p) of the p pairs of rows `z` (n, k) by block, and the unit (B,) of each: their median.

    Args:
        z: scaled features.
        block_of: shape (k,), number of the block of each.
    """
    from scipy.spatial.distance import pdist

    distances = np.stack(
        [pdist(z[:, block_of == block], "cityblock") for block in range(int(block_of.max()) + 1)]
    )
    apart = [row[row > 0.0] for row in distances]
    units = np.array([float(np.median(row)) if len(row) else 1.0 for row in apart])
    return distances / units[:, None], units


def fit_block_parameters(distances: FloatArray, t: FloatArray, iterations: int) -> BlockParameters:
    """Fit hyperparameters of highest posterior probability.

    Args:
        distances: shape (B, p), of the p pairs of n rows.
        t: shape (n,), scaled values.
        iterations: of L-BFGS-B at most.
    """
    from scipy.optimize import minimize

    count = len(distances)
    mean = np.concatenate([np.full(count, np.log(START_DECAY / count)), [0.0, np.log(START_NOISE)]])

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        value, slope = negative_log_likelihood(theta, distances, t)
        away = (theta - mean) / PRIOR_WIDTH
        return value + 0.5 * float(away @ away), slope + away / PRIOR_WIDTH

    reach = MOST_WIDTHS * PRIOR_WIDTH
    found = minimize(
        loss,
        mean,
        jac=True,
        method="L-BFGS-B",
        bounds=[(middle - reach, middle + reach) for middle in mean],
        options={"maxiter": iterations},
    ).x
    return BlockParameters(np.exp(found[:count]), float(np.exp(found[-2])), float(np.exp(found[-1])))


def negative_log_likelihood(
    theta: FloatArray, distances: FloatArray, t: FloatArray
) -> tuple[float, FloatArray]:
    """Negative log marginal likelihood of log parameters, and its gradient.

    Args:
        theta: shape (B + 2,), logarithms of weights, signal and noise.
        distances: shape (B, p), of the p pairs of n rows.
        t: shape (n,), scaled values.

    Source:
        Rasmussen & Williams (2006), equations 5.8 and 5.9.
    """
    from scipy.linalg.lapack import dpotrf, dpotri
    from scipy.spatial.distance import squareform

    weights, signal, noise = np.exp(theta[:-2]), float(np.exp(theta[-2])), float(np.exp(theta[-1]))
    near = np.exp(-(weights @ distances))
    covariance = signal * squareform(near, checks=False) + MEAN_VARIANCE
    np.fill_diagonal(covariance, signal + MEAN_VARIANCE + noise + JITTER)
    factor, failed = dpotrf(covariance, lower=1, clean=1)
    if failed:
        return np.inf, np.zeros(len(theta))
    inverse = dpotri(factor, lower=1)[0]
    inverse = inverse + np.tril(inverse, -1).T
    solved = inverse @ t
    value = 0.5 * float(t @ solved) + float(np.log(np.diag(factor)).sum())
    # Derivative by the covariance, of each pair and of the diagonal; a pair stands for two entries.
    slope = 0.5 * (inverse - np.outer(solved, solved))
    pairs, diagonal = 2.0 * signal * squareform(slope, checks=False) * near, float(np.trace(slope))
    by_weight = -weights * (distances @ pairs)
    return value, np.append(by_weight, [float(pairs.sum()) + signal * diagonal, noise * diagonal])


def _factorise_covariance(rows: FloatArray, parameters: BlockParameters) -> FloatArray:
    """Lower Cholesky factor of the covariance of `rows` (n, k), noise included."""
    from scipy.linalg import cholesky

    covariance = parameters.signal * correlate(rows, rows, "laplacian") + MEAN_VARIANCE
    covariance += (parameters.noise + JITTER) * np.eye(len(rows))
    return np.asarray(cholesky(covariance, lower=True))


def _solve_factor(factor: FloatArray, t: FloatArray) -> FloatArray:
    from scipy.linalg import cho_solve

    return np.asarray(cho_solve((factor, True), t))


def _invert_factor(factor: FloatArray) -> FloatArray:
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(factor, np.eye(len(factor)), lower=True))


def _impute_values(
    rows: FloatArray, t: FloatArray, censoring: IntArray, parameters: BlockParameters
) -> FloatArray:
    """Values (n,) of rows, of censored ones their conditional expectation given the others."""
    known, unknown = np.flatnonzero(censoring == 0), np.flatnonzero(censoring)
    inverse = _invert_factor(_factorise_covariance(rows[known], parameters))
    shared = parameters.signal * correlate(rows[unknown], rows[known], "laplacian") + MEAN_VARIANCE
    explained = inverse @ shared.T
    mean = explained.T @ (inverse @ t[known])
    variance = parameters.signal + MEAN_VARIANCE + parameters.noise - (explained**2).sum(axis=0)
    found = t.copy()
    deviation = np.sqrt(np.maximum(variance, parameters.noise))
    found[unknown] = censored_moments(t[unknown], censoring[unknown], mean, deviation)[0]
    return found
