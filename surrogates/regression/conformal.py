"""Prediction intervals that cover rows of new groups (cross-conformal), as wide as a row is difficult."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray

LEAST_SHARE = 0.25  # of the mean error that every row is expected to have at least (chosen)
CLIPPED_SHARE = 0.95  # quantile at which errors are cut before the difficulty is fitted (chosen)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Expected absolute error of a row: a sum of terms that are 0 or more.

    Attributes:
        base: in the target's unit.
        by_distance: per distance to the training rows.
        by_spread: per spread of the members' predictions.
    """

    base: float
    by_distance: float
    by_spread: float

    def expect_errors(self, distance: FloatArray, spread: FloatArray) -> FloatArray:
        """Expected absolute errors, shape (n,)."""
        return self.base + self.by_distance * distance + self.by_spread * spread


def fit_difficulty(errors: FloatArray, distance: FloatArray, spread: FloatArray) -> Difficulty:
    """Fit the difficulty to absolute out-of-fold errors by non-negative least squares.

    Args:
        errors: shape (n,), absolute, of rows whose value is known.
        distance, spread: shape (n,), of the same rows between folds.
    """
    from scipy.optimize import nnls

    cut = np.minimum(errors, np.quantile(errors, CLIPPED_SHARE))
    mean = max(float(cut.mean()), np.finfo(np.float64).tiny)
    least = LEAST_SHARE * mean
    scales = [max(float(part.mean()), np.finfo(np.float64).tiny) for part in (distance, spread)]
    terms = np.column_stack([np.ones(len(cut)), distance / scales[0], spread / scales[1]])
    weights = nnls(terms, np.maximum(cut - least, 0.0) / mean)[0] * mean
    return Difficulty(float(weights[0]) + least, float(weights[1]) / scales[0], float(weights[2]) / scales[1])


def grouped_quantile(
    scores: FloatArray, level: float, groups: IntArray, at_least: BoolArray | None = None
) -> float:
    """Quantile that the score of a row of a new group stays below with probability `level`.

    Every row weighs the same, and one more group of mean size stands for the new one, with an infinite score. A score that is only
    known to be larger (of a censored row) keeps its weight until it drops out (Kaplan-Meier).

    Args:
        scores: shape (n,), 0 or more.
        level: between 0 and 1.
        groups: shape (n,), number of the group of each row.
        at_least: shape (n,), True where the score is a lower limit.

    Returns:
        The quantile; the largest score if the scores do not reach the level.

    Source:
        Cross-conformal prediction: Vovk, Ann. Math. Artif. Intell. 74, 9 (2015), and Barber et al., Ann. Stat. 49, 486 (2021).
        Kaplan & Meier, J. Am. Stat. Assoc. 53, 457 (1958).
    """
    n = len(scores)
    limits = np.zeros(n, dtype=np.bool_) if at_least is None else at_least
    order = np.lexsort((limits, scores))  # of equal scores, known ones first
    total = n * (1.0 + 1.0 / len(np.unique(groups)))
    surviving, at_risk = 1.0, total
    for row in order:
        if not limits[row]:
            surviving *= 1.0 - 1.0 / at_risk
            if 1.0 - surviving >= level - 1e-12:
                return float(scores[row])
        at_risk -= 1.0
    return float(scores[order[-1]])


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half widths of prediction intervals.

    Attributes:
        level: share of rows of new groups that intervals cover.
        difficulty: expected absolute errors.
        factor: half width per expected error.
        beyond: least half width outside the domain, in the target's unit: from errors of left-out regions.
    """

    level: float
    difficulty: Difficulty
    factor: float
    beyond: float

    def half_widths(self, distance: FloatArray, spread: FloatArray, outside: BoolArray) -> FloatArray:
        """Half widths of the intervals, shape (n,), in the target's unit."""
        half = self.factor * self.difficulty.expect_errors(distance, spread)
        return np.where(outside, np.maximum(half, self.beyond), half)

    @property
    def deviations(self) -> float:
        """Half widths per standard deviation of a normal distribution: 1.645 at the level 90 %."""
        from scipy.stats import norm

        return float(norm.ppf(0.5 + self.level / 2.0))

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON that rebuilds the intervals."""
        return {
            "level": self.level,
            "base": self.difficulty.base,
            "by_distance": self.difficulty.by_distance,
            "by_spread": self.difficulty.by_spread,
            "factor": self.factor,
            "beyond": self.beyond,
        }

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild intervals from their configuration."""
        difficulty = Difficulty(config["base"], config["by_distance"], config["by_spread"])
        return cls(config["level"], difficulty, config["factor"], config["beyond"])


def bound_scores(
    y: FloatArray, censoring: IntArray, mean: FloatArray
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Absolute errors, as far as censored values tell them.

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 where the value is below `y`, 1 where it is above, 0 where it is `y`.
        mean: shape (n,), predictions.

    Returns:
        Absolute errors; True where the error is at least this (a prediction on the wrong side of the limit); True where
        nothing is known of it (a prediction on the right side).
    """
    beyond = censoring * (y - mean)  # more than 0 where the prediction is on the wrong side of the limit
    return np.abs(y - mean), (censoring != 0) & (beyond > 0), (censoring != 0) & (beyond <= 0)
