"""Diffusivity from displacements: mean squared displacement over many time origins, and its bootstrap interval.

Displacements are those in the crystal: the mean displacement of the framework is taken out first. The slope of the mean squared
displacement is fitted by least squares with an intercept, which takes up the vibrations, between 5 % and 30 % of the production:
above the vibrations, and short enough for three independent windows (X. He, Y. Zhu, A. Epstein and Y. Mo, npj Comput. Mater. 4,
18 (2018) discuss the choice). The slope is linear in the squared displacements, so every ion and every time origin has a slope of
its own, and the diffusivity is their mean.

The interval resamples ions and blocks of time origins together (the pigeonhole bootstrap; A. B. Owen, Ann. Appl. Stat. 1, 386
(2007)). Ions alone would miss that neighbours move together, blocks alone that few ions move; both at once are conservative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray

FIRST_LAG, LAST_LAG = 0.05, 0.3  # of the production, between which the slope is fitted; chosen, see above
MAX_LAGS = 20  # lags of the fit; chosen: neighbouring lags hardly differ
BLOCKS = 8  # blocks of time origins that are resampled; chosen
RESAMPLES = (
    2000  # of the bootstrap; chosen: the ends of a 95 % interval are then known to 0.1 standard deviations
)
CM2_PER_S = 1e-4  # of 1 Å^2/ps


@dataclass(frozen=True, slots=True)
class Diffusion:
    """Diffusion of an ion at one temperature.

    Attributes:
        diffusivity: tracer diffusivity, cm^2/s; negative where noise outweighs all motion.
        samples: shape (r,), cm^2/s, resampled diffusivities.
        growth: Å^2, growth of the mean squared displacement per ion over the whole production, vibrations left out.
        bound: cm^2/s, upper bound: the larger of the 97.5 % quantile and all displacement, vibrations included, as diffusion.
    """

    diffusivity: float
    samples: FloatArray
    growth: float
    bound: float


def choose_lags(frames: int) -> IntArray:
    """Choose the lags of the fit, in frames.

    Args:
        frames: number of frames of the production; 20 or more.
    """
    first, last = max(1, round(FIRST_LAG * (frames - 1))), round(LAST_LAG * (frames - 1))
    return np.unique(np.linspace(first, last, MAX_LAGS).round().astype(np.int64))


def remove_drift(frames: FloatArray, framework: BoolArray) -> FloatArray:
    """Remove the framework's mean displacement since the first frame.

    Args:
        frames: shape (f, n, 3), Å, not wrapped.
        framework: shape (n,), True for atoms of the framework.
    """
    drift = (frames[:, framework] - frames[0, framework]).mean(axis=1, keepdims=True)
    still: FloatArray = frames - drift
    return still


def mean_squared_displacement(frames: FloatArray, lag: int) -> FloatArray:
    """Mean squared displacement of each atom after `lag` frames, over all time origins.

    Args:
        frames: shape (f, n, 3), Å, without drift.
        lag: number of frames.

    Returns:
        Shape (n,), Å^2.
    """
    moved: FloatArray = ((frames[lag:] - frames[:-lag]) ** 2).sum(axis=2).mean(axis=0)
    return moved


def estimate_diffusion(positions: FloatArray, spacing: float, rng: np.random.Generator) -> Diffusion:
    """Estimate the diffusivity of ions from their trajectories.

    Args:
        positions: shape (f, m, 3), Å, of the m ions, without drift.
        spacing: time from frame to frame, ps.
        rng: draws the resamples.
    """
    lags = choose_lags(len(positions))
    slopes, reached = _fit_slopes(positions, lags, spacing)
    values = slopes / 6.0 * CM2_PER_S
    samples = _resample_mean(values, rng)
    growth = float(slopes.mean()) * spacing * (len(positions) - 1)
    whole = float(reached) / (6.0 * spacing * lags[-1]) * CM2_PER_S
    bound = max(float(np.quantile(samples, 0.975)), whole)
    return Diffusion(float(values.mean()), samples, growth, bound)


def _fit_slopes(positions: FloatArray, lags: IntArray, spacing: float) -> tuple[FloatArray, float]:
    """Fit the slope of the squared displacement from every time origin, for every ion.

    Returns:
        Slopes, shape (origins, m), Å^2/ps; and the mean squared displacement at the last lag, Å^2.
    """
    origins = len(positions) - int(lags[-1])
    times = lags * spacing
    weights = (times - times.mean()) / ((times - times.mean()) ** 2).sum()
    slopes = np.zeros((origins, positions.shape[1]))
    for lag, weight in zip(lags, weights, strict=True):
        squared = ((positions[lag : lag + origins] - positions[:origins]) ** 2).sum(axis=2)
        slopes += weight * squared
    return slopes, float(squared.mean())


def _resample_mean(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Resample the mean of `values` (origins, m) by blocks of origins and by ions; shape (r,)."""
    cells = np.array([block.mean(axis=0) for block in np.array_split(values, min(BLOCKS, len(values)))])
    blocks, ions = cells.shape
    by_block = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), RESAMPLES) / blocks
    by_ion = rng.multinomial(ions, np.full(ions, 1.0 / ions), RESAMPLES) / ions
    means: FloatArray = ((by_block[:, :, None] * cells).sum(axis=1) * by_ion).sum(axis=1)
    return means


def lindemann_ratios(
    frames: FloatArray, elements: Sequence[str], framework: BoolArray, nearest: float
) -> dict[str, float]:
    """Lindemann ratio of each element of the framework.

    It is the root mean square displacement about a site, sqrt(MSD / 2) at the longest lag of the fit, over the distance to
    the nearest neighbour in the framework. Crystals melt at 0.1 to 0.15.

    Args:
        frames: shape (f, n, 3), Å, without drift.
        elements: symbols of the n atoms.
        framework: shape (n,), True for atoms of the framework.
        nearest: Å, mean distance to the nearest neighbour in the framework.
    """
    moved = mean_squared_displacement(frames, int(choose_lags(len(frames))[-1]))
    names = np.array(elements)
    return {
        str(name): float(np.sqrt(moved[framework & (names == name)].mean() / 2.0) / nearest)
        for name in dict.fromkeys(names[framework].tolist())
    }
