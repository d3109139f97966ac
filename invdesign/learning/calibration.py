"""Calibration of a model: its leave-one-out predictions beside the measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from invdesign.arrays import FloatArray

# Standard deviations on either side that hold 95 % of a normal distribution
DEVIATIONS_95 = 1.959963984540054
MIN_SKILL = 0.1  # R² below which a model counts as no better than the mean; chosen
UNLIKELY_CHANCE = 0.01  # significance level of the binomial tests of coverage; chosen
ROUGH_SKILL = 0.4  # R² from which a model predicts roughly; chosen
SHARE_INSIDE_68 = 0.6826894921370859  # of a normal distribution, within one standard deviation
MIN_VALUES = 30  # needed to judge shares; chosen: the share of 68 % has then a standard error of 8.5 %
MIN_DIFFERENT = 10  # values other than the most frequent one, needed to judge shares; chosen
TOLERANCE_68, TOLERANCE_95 = 0.1, 0.04  # of good shares from 68 % on both sides, and below 95 %; chosen
MIN_FOR_QUARTER = 16  # values needed for the range of their best quarter; chosen

Verdict = Literal[
    "well calibrated",
    "intervals too wide",
    "intervals too narrow",
    "too few to tell",
    "no better than the mean",
]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Leave-one-out prediction of a candidate; the deviation includes its noise."""

    candidate: int
    measured: float
    predicted: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Accuracy of a model's leave-one-out predictions.

    Attributes:
        property, unit: of the property.
        rows: the predictions.
        rmse: root mean square error, in the property's unit.
        r2: share of the variance it predicts, relative to the mean of the other rows; negative where it is worse.
        rank_correlation: Spearman's; None if the predictions do not vary.
        inside_68, inside_95: share of values inside the central 68 % and 95 % of their predictions.
        log_density: mean negative logarithm of the predicted density at the values; smaller is better.
        mean_log_density: the same for a normal distribution with the mean and spread of the other rows.
        widen: factor by which intervals must be widened so that those of 95 % hold 95 %.
        verdict: in a few words; `words` in a sentence or two.
        best_span: range of the best quarter of the values, in the property's unit; None if the property is no
            objective, or with few values.
    """

    property: str
    unit: str
    rows: tuple[LeftOut, ...]
    rmse: float
    r2: float
    rank_correlation: float | None
    inside_68: float
    inside_95: float
    log_density: float
    mean_log_density: float
    widen: float
    verdict: Verdict
    words: str
    best_span: float | None = None


def judge_predictions(
    name: str,
    unit: str,
    ids: Sequence[int],
    y: FloatArray,
    mean: FloatArray,
    deviation: FloatArray,
    minimised: FloatArray | None = None,
) -> Calibration:
    """Judge leave-one-out predictions.

    Args:
        name, unit: of the property.
        ids: n candidates, 3 or more.
        y, mean, deviation: shape (n,), measured and predicted without the row, noise included.
        minimised: shape (n,), measured values as numbers of which smaller is better; None if the property is no
            objective.

    Source:
        Coverage and predictive density as in Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007).
    """
    deviation = np.maximum(deviation, _negligible_deviation(y))
    error = mean - y
    off = np.abs(error) / deviation
    others, spread = _predict_from_mean(y)
    r2 = 1.0 - float((error**2).sum() / max(float(((others - y) ** 2).sum()), 1e-300))
    counts = int((off <= 1.0).sum()), int((off <= DEVIATIONS_95).sum())
    verdict = _judge_calibration(r2, *counts, y)
    found = Calibration(
        property=name,
        unit=unit,
        rows=tuple(
            LeftOut(int(id), float(a), float(b), float(c))
            for id, a, b, c in zip(ids, y, mean, deviation, strict=True)
        ),
        rmse=float(np.sqrt((error**2).mean())),
        r2=r2,
        rank_correlation=rank_correlation(y, mean),
        inside_68=counts[0] / len(y),
        inside_95=counts[1] / len(y),
        log_density=_negative_log_density(y, mean, deviation),
        mean_log_density=_negative_log_density(y, others, spread),
        widen=float(np.quantile(off, 0.95)) / DEVIATIONS_95,
        verdict=verdict,
        words="",
        best_span=None if minimised is None or len(y) < MIN_FOR_QUARTER else _best_quarter_span(y, minimised),
    )
    return _add_words(found)


def _best_quarter_span(y: FloatArray, minimised: FloatArray) -> float:
    """Range of the best quarter of values (n,)."""
    best = y[np.argsort(minimised, kind="stable")[: len(y) // 4]]
    return float(np.ptp(best))


def _predict_from_mean(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Leave-one-out mean and predictive deviation of values (n,), each shape (n,)."""
    n = len(y)
    others = (y.sum() - y) / (n - 1)
    squares = ((y**2).sum() - y**2) / (n - 1) - others**2
    spread = np.sqrt(np.maximum(squares, 0.0) * (n - 1) / max(n - 2, 1) * n / (n - 1))
    return others, np.maximum(spread, _negligible_deviation(y))


def _negligible_deviation(y: FloatArray) -> float:
    """Deviation that is negligible beside values (n,), but safe to divide by."""
    return max(1e-12 * float(np.ptp(y)), 1e-15 * float(np.abs(y).max()), 1e-100)


def _negative_log_density(y: FloatArray, mean: FloatArray, deviation: FloatArray) -> float:
    return float(
        (0.5 * ((y - mean) / deviation) ** 2 + np.log(deviation)).mean() + 0.5 * math.log(2 * math.pi)
    )


def rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Spearman's rank correlation of `a` and `b`; None if either is constant."""
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _judge_calibration(r2: float, inside_68: int, inside_95: int, y: FloatArray) -> Verdict:
    """Judge a model by its skill and the coverage of its intervals.

    The shares inside must be near 68 % and 95 %. With few values they decide only if honest intervals would hardly ever
    give them (binomial test).
    """
    from scipy.stats import binom

    n = len(y)
    if r2 < MIN_SKILL:
        return "no better than the mean"
    if min(binom.cdf(inside_95, n, 0.95), binom.cdf(inside_68, n, SHARE_INSIDE_68)) < UNLIKELY_CHANCE:
        return "intervals too narrow"
    if n < MIN_VALUES or n - int(np.unique(y, return_counts=True)[1].max()) < MIN_DIFFERENT:
        return "too few to tell"
    share = inside_68 / n - SHARE_INSIDE_68
    if inside_95 / n < 0.95 - TOLERANCE_95 or share < -TOLERANCE_68:
        return "intervals too narrow"
    return "intervals too wide" if share > TOLERANCE_68 else "well calibrated"


def _add_words(found: Calibration) -> Calibration:
    """Add a sentence or two on the verdict."""
    unit = f" {found.unit}" if found.unit else ""
    error = f"R² {found.r2:.2f}, usually off by {found.rmse:.2g}{unit}"
    if found.best_span:
        error += f", where the best quarter spans {found.best_span:.2g}{unit}"
    n, in_68, in_95 = len(found.rows), 100 * found.inside_68, 100 * found.inside_95
    held = f"intervals of 68 and 95 % hold {in_68:.0f} and {in_95:.0f} % of {n} values"
    predicts = f"It predicts unseen candidates {_skill_words(found)} ({error})"
    if found.verdict == "no better than the mean":
        words = (
            f"It predicts unseen candidates no better than the mean of all values does ({error}): intervals and "
            "importance say little, and candidates are judged by their measured values. More evaluations, or "
            "features that tell more of this property, may help."
        )
    elif found.verdict == "intervals too narrow":
        words = f"{predicts}. Its intervals are too narrow: {held}."
        if found.widen > 1.0:
            words += f" Read them as {found.widen:.1f} times as wide."
    elif found.verdict == "intervals too wide":
        words = f"{predicts}. Its intervals are wider than they need be: {held}."
    elif found.verdict == "too few to tell":
        words = f"{predicts}. Whether its intervals are right, too few values tell: {held}."
    else:
        words = f"{predicts} and is well calibrated: {held}."
    return replace(found, words=words)


def _skill_words(found: Calibration) -> str:
    """Grade the skill by the share of the variance.

    It is at most roughly if the error covers the best quarter.
    """
    if found.best_span is not None and found.rmse >= found.best_span:
        word = "roughly" if found.r2 >= ROUGH_SKILL else "poorly"
        return f"{word}, and does not tell the best quarter apart"
    for least, word in ((0.9, "very well"), (0.7, "well"), (ROUGH_SKILL, "roughly")):
        if found.r2 >= least:
            return word
    return "poorly"
