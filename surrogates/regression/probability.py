"""Probability that a material reaches the threshold of a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from surrogates.regression.blocks import Blocks
from surrogates.regression.members import Member, predict_mean

LEAST = 1e-4  # of a probability, so that one wrong row does not rule the log loss (chosen)
PRIOR = 1.0  # strength of the pull of the calibration towards no change, in rows (chosen)
STEPS = 50  # of Newton's method, which needs some 8 (chosen)


def label_rows(y: FloatArray, censoring: IntArray, threshold: float) -> tuple[FloatArray, BoolArray]:
    """Classes of rows by a threshold.

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 where the value is below `y`, 1 where it is above, 0 where it is `y`.
        threshold: from which a row counts as good.

    Returns:
        1 for good rows and 0 for others, shape (n,); True where the class is known, shape (n,). It is unknown of a row whose
        limit lies on the wrong side of the threshold.
    """
    known = (censoring == 0) | ((censoring < 0) & (y <= threshold)) | ((censoring > 0) & (y >= threshold))
    good = np.where(censoring < 0, False, y >= threshold)
    return good.astype(np.float64), known


def log_loss(labels: FloatArray, probability: FloatArray) -> float:
    """Mean negative logarithm of the probability of the true class."""
    p = np.clip(probability, LEAST, 1.0 - LEAST)
    return float(-(labels * np.log(p) + (1.0 - labels) * np.log(1.0 - p)).mean())


def reach_probability(mean: FloatArray, deviation: FloatArray, threshold: float) -> FloatArray:
    """Probability that values of normal distributions reach a threshold, shape (n,)."""
    from scipy.special import ndtr

    return np.asarray(ndtr((mean - threshold) / deviation), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Calibrated mean of classifiers and of the regression's own probability.

    Attributes:
        threshold: of the target.
        regression: weight of the regression's own probability; with the members' weights it adds up to 1.
        members: classifiers.
        slope, offset: of the calibration, on the scale of log odds.
    """

    threshold: float
    regression: float
    members: tuple[Member, ...]
    slope: float = 1.0
    offset: float = 0.0

    def predict(self, blocks: Blocks, mean: FloatArray, deviation: FloatArray) -> FloatArray:
        """Probabilities, shape (n,).

        Args:
            blocks: features of n rows.
            mean, deviation: shape (n,), of the regression.
        """
        found = self.regression * reach_probability(mean, deviation, self.threshold)
        if self.members:
            own = sum(member.weight for member in self.members)
            shared = [Member(member.candidate, member.weight / own, member.model) for member in self.members]
            found = found + own * predict_mean(shared, blocks)[0]
        return calibrate_odds(found, self.slope, self.offset)

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON that, with the members, rebuilds the classifier."""
        return {
            "threshold": self.threshold,
            "regression": self.regression,
            "slope": self.slope,
            "offset": self.offset,
        }

    @classmethod
    def load(cls, config: Mapping[str, Any], members: Sequence[Member]) -> Self:
        """Rebuild a classifier from its configuration and its members."""
        return cls(
            config["threshold"], config["regression"], tuple(members), config["slope"], config["offset"]
        )


def calibrate_odds(probability: FloatArray, slope: float, offset: float) -> FloatArray:
    """Probabilities whose log odds are `slope` times those given, plus `offset`."""
    from scipy.special import expit, logit

    odds = logit(np.clip(probability, LEAST, 1.0 - LEAST))
    return np.asarray(expit(slope * odds + offset), dtype=np.float64)


def fit_calibration(labels: FloatArray, probability: FloatArray) -> tuple[float, float]:
    """Slope and offset of log odds with the smallest log loss, by Newton's method.

    Args:
        labels: shape (n,), 0 or 1.
        probability: shape (n,), out-of-fold.

    Source:
        Platt, Probabilistic outputs for support vector machines, in Advances in Large Margin Classifiers (2000).
    """
    from scipy.special import expit, logit

    odds = logit(np.clip(probability, LEAST, 1.0 - LEAST))
    x = np.column_stack([odds, np.ones(len(odds))])
    start = np.array([1.0, 0.0])
    found = start.copy()
    for _ in range(STEPS):
        p = expit(x @ found)
        gradient = x.T @ (p - labels) + PRIOR * (found - start)
        step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + PRIOR * np.eye(2), gradient)
        found = found - np.clip(step, -1.0, 1.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    return max(float(found[0]), 0.0), float(found[1])
