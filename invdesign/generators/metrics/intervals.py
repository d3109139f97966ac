"""Figures with 95 % intervals: shares of a sample, and distances between two samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray

Z_95 = 1.959964  # quantile 97.5 % of the normal distribution
RESAMPLES = 200  # bootstrap samples of a distance; the error of an interval's half width is 5 % (chosen)
SEED = 20_260  # of the bootstrap, so that a figure can be made again (chosen)
Distance = Callable[[FloatArray, FloatArray], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval.

    Attributes:
        value: in the unit of the metric; NaN where nothing could be measured.
        low, high: ends of the interval.
        n: number of samples behind the value.
    """

    value: float
    low: float
    high: float
    n: int


def measure_share(hits: int, n: int) -> Figure:
    """Share of a sample in percent, with Wilson's interval.

    Args:
        hits: number of samples that have the feature.
        n: number of samples.

    Source:
        E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    if n == 0:
        return Figure(math.nan, 0.0, 100.0, 0)
    share, z2 = hits / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Rounding must not move an end past the value itself at 0 and 100 %.
    low, high = min(centre - half, share), max(centre + half, share)
    return Figure(100 * share, 100 * max(low, 0.0), 100 * min(high, 1.0), n)


def measure_distance(
    distance: Distance, samples: Sequence[float], reference: Sequence[float], seed: int = SEED
) -> Figure:
    """Distance between two distributions, with an interval from the bootstrap of both.

    The interval is the value with 1.96 standard deviations of the resampled distances. These distances are positive for
    finite samples of one distribution too, and the interval does not correct that: compare with the figure of known crystals.

    Args:
        distance: between two samples of numbers, each of shape (m,).
        samples: n numbers, of generated crystals.
        reference: numbers of known crystals.
        seed: of the resampling.

    Source:
        B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    own, other = np.asarray(samples, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if not len(own) or not len(other):
        return Figure(math.nan, 0.0, math.inf, len(own))
    rng = np.random.default_rng(seed)
    drawn = [
        distance(own[rng.integers(len(own), size=len(own))], other[rng.integers(len(other), size=len(other))])
        for _ in range(RESAMPLES)
    ]
    value, half = distance(own, other), Z_95 * float(np.std(drawn, ddof=1))
    return Figure(value, max(value - half, 0.0), value + half, len(own))
