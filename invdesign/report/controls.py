"""A sample beside its control.

The best of equally many, since a larger sample reaches lower by chance alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from invdesign.arrays import FloatArray

MIN_SAMPLE = (
    8  # values on either side, below which nothing is compared; chosen: the best of 2 is drawn from them
)
# Share of the smaller sample that is drawn. Chosen: two samples of one distribution (normal, Gumbel or log-normal; 8 to 60 values beside
# 60 to 300) then differ by more than the spread in 7 to 28 % of 300 trials each, and one is lower by more than twice the spread in 0 to 4 %.
# With a half these are 48 to 72 % and 5 to 25 %, since most draws then hold the sample's own best value.
DRAWN_SHARE = 0.25
# Ends of the interval that holds two thirds of the draws, as one standard deviation of a normal distribution.
LOWER, UPPER = 0.16, 0.84


@dataclass(frozen=True, slots=True)
class BestOf:
    """Distribution of the lowest of some values drawn at random.

    Median and the interval of two thirds of the draws.
    """

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def find_best_of(values: FloatArray, drawn: int) -> BestOf:
    """Distribution of the lowest of `drawn` of the `values`, drawn without replacement.

    Exact, so without random numbers.

    Raises:
        ValueError: fewer than 1 or more than all values are drawn.
    """
    count = len(values)
    if not 1 <= drawn <= count:
        raise ValueError(f"1 to {count} of {count} values can be drawn, got {drawn}")
    ordered = np.sort(values)
    total = comb(count, drawn)
    # The lowest of a draw is one of the first k + 1 values unless all are drawn from the others.
    reached = np.array([1 - comb(count - k - 1, drawn) / total for k in range(count - drawn + 1)])
    low, median, high = (
        float(ordered[int(np.searchsorted(reached, share - 1e-12))]) for share in (LOWER, 0.5, UPPER)
    )
    return BestOf(median, low, high)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sample beside its control, lower values being better.

    Attributes:
        drawn: number of values of which the best is compared, a quarter of the smaller sample.
        sample, control: of the best of so many.
    """

    drawn: int
    sample: BestOf
    control: BestOf

    @property
    def gain(self) -> float:
        """Difference by which the sample reaches lower than the control; negative where it is higher."""
        return self.control.median - self.sample.median

    def is_beyond(self, times: float) -> bool:
        """True if the difference exceeds the spread of the control so many times."""
        return abs(self.gain) > times * self.control.spread


def compare_samples(sample: FloatArray, control: FloatArray) -> Comparison | None:
    """Compare the best of equally many values of a sample and of its control.

    None if either has fewer than `MIN_SAMPLE`.
    """
    smaller = min(len(sample), len(control))
    if smaller < MIN_SAMPLE:
        return None
    drawn = int(DRAWN_SHARE * smaller)
    return Comparison(drawn, find_best_of(sample, drawn), find_best_of(control, drawn))
