"""Predict very many candidates with a Gaussian process, in cache-sized blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.learning.gaussian.conditioned import ConditionedRows
from invdesign.learning.gaussian.scaling import OutcomeScales

# Numbers that stay in a core's cache (chosen; `benchmarks/pool.py` measures it)
COVARIANCES_PER_BLOCK = 600_000
FEWEST_PER_BLOCK, MOST_PER_BLOCK = 64, 8192  # candidates in a block, at least and at most (chosen)
ROWS_PER_STRIP = 128  # rows of the inverse factor that are multiplied together (chosen)
N_PROBES = 256  # candidates on which single precision is checked (chosen)
LARGEST_ROUNDING_ERROR = 0.01  # in prior standard deviations; beyond it double precision is used (chosen)
VARIANCE_FLOOR = 1e-9  # least variance, relative to the prior variance (chosen)


def block_slices(q: int, n: int) -> Iterator[slice]:
    """Cut `q` candidates into blocks, given `n` training rows."""
    size = int(np.clip(COVARIANCES_PER_BLOCK // max(n, 1), FEWEST_PER_BLOCK, MOST_PER_BLOCK))
    for low in range(0, q, size):
        yield slice(low, min(low + size, q))


def restore_units(
    outcomes: OutcomeScales, mean: Tensor, deviation: Tensor, source: int
) -> tuple[FloatArray, FloatArray]:
    """Convert scaled means and deviations to the property's own unit.

    Args:
        outcomes: scales of the values.
        mean: shape (q,), scaled.
        deviation: shape (q,), scaled.
        source: number of the source.
    """
    values, deviations = outcomes.restore_units(mean.to(torch.float64), deviation.to(torch.float64), source)
    return values.numpy(), deviations.numpy()


def predict_in_blocks(
    process: ConditionedRows, x: FloatArray, source: int, *, single: bool
) -> tuple[FloatArray, FloatArray]:
    """Predict means and standard deviations, block by block.

    Args:
        process: the conditioned Gaussian process.
        x: shape (q, d), inputs.
        source: source to predict.
        single: True for single precision, where its rounding is harmless.

    Returns:
        Two arrays of shape (q,), in the property's unit.
    """
    dtype = _choose_precision(process, x, source) if single else torch.float64
    mean, variance = _predict_scaled(process, x, source, dtype, deviations=True)
    return restore_units(process.outcomes, mean, _floored_deviation(process, variance, source), source)


def predict_means(process: ConditionedRows, x: FloatArray, source: int) -> FloatArray:
    """Predict means alone, shape (q,), in the property's unit.

    Args:
        process: the conditioned Gaussian process.
        x: shape (q, d), inputs.
        source: source to predict.
    """
    mean, _ = _predict_scaled(process, x, source, torch.float64, deviations=False)
    return restore_units(process.outcomes, mean, torch.zeros_like(mean), source)[0]


def _floored_deviation(process: ConditionedRows, variance: Tensor, source: int) -> Tensor:
    """Square root of the variance, after raising it to the floor."""
    return variance.clamp_min(VARIANCE_FLOOR * float(process.kernel.prior_variance(source))).sqrt()


def _predict_scaled(
    process: ConditionedRows, x: FloatArray, source: int, dtype: torch.dtype, *, deviations: bool
) -> tuple[Tensor, Tensor]:
    """Predict scaled means and variances, each shape (q,).

    Variances are 0 unless `deviations` is set.
    """
    mean = torch.empty(len(x), dtype=dtype)
    variance = torch.zeros(len(x), dtype=dtype)
    with torch.no_grad():
        weights = process.weights.to(dtype)
        strips = _cut_strips(process.inverse_factor.to(dtype)) if deviations else []
        prior = process.kernel.prior_variance(source).to(dtype)
        for chosen in block_slices(len(x), len(process)):
            block = torch.from_numpy(np.array(x[chosen], dtype=np.float64))
            cross = process.cross_covariance(block, source, dtype)
            mean[chosen] = weights @ cross
            if deviations:
                variance[chosen] = prior - _explained_variance(strips, cross)
    return mean, variance


def _cut_strips(inverse: Tensor) -> list[Tensor]:
    """Cut a lower triangular matrix (n, n) into strips without its zeros.

    Skipping what lies right of the diagonal saves nearly half of the multiplication.
    """
    ends = [*range(ROWS_PER_STRIP, len(inverse), ROWS_PER_STRIP), len(inverse)]
    starts = [0, *ends[:-1]]
    return [inverse[low:high, :high].contiguous() for low, high in zip(starts, ends, strict=True)]


def _explained_variance(strips: list[Tensor], cross: Tensor) -> Tensor:
    """Variance (q,) that the training rows explain, from `cross` covariances (n, q)."""
    total = cross.new_zeros(cross.shape[1])
    for strip in strips:
        total += (strip @ cross[: strip.shape[1]]).square_().sum(dim=0)
    return total


def _choose_precision(process: ConditionedRows, x: FloatArray, source: int) -> torch.dtype:
    """Choose single precision where its rounding is harmless, else double.

    Weights of opposite sign and a badly conditioned Cholesky factor magnify rounding. The magnification shows on any
    candidates, so some candidates and some training rows are predicted in both precisions and compared.
    """
    if not len(process):
        return torch.float64
    some = np.vstack([x[:: max(len(x) // N_PROBES, 1)][:N_PROBES], process.rows.x[:N_PROBES]])
    exact, rounded = (
        _predict_scaled(process, some, source, dtype, deviations=True)
        for dtype in (torch.float64, torch.float32)
    )
    deviation = [
        _floored_deviation(process, variance.to(torch.float64), source) for variance in (exact[1], rounded[1])
    ]
    worst = torch.maximum((exact[0] - rounded[0]).abs().max(), (deviation[0] - deviation[1]).abs().max())
    return torch.float32 if float(worst) <= LARGEST_ROUNDING_ERROR else torch.float64
