"""Scores of predictions, censored values among them."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray


def rank_area(positive: FloatArray, negative: FloatArray) -> float:
    """Area under the ROC curve: probability that a positive score is above a negative one, ties half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    n = len(positive)
    return float((ranks.sum() - n * (n + 1) / 2.0) / (n * len(negative)))


def concordance(y: FloatArray, censoring: IntArray, mean: FloatArray) -> float | None:
    """Share of comparable pairs that predictions order as their values (c-index), ties half; None without a pair.

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 where the value is below `y`, 1 where it is above, 0 where it is `y`.
        mean: shape (n,), predictions.

    Source:
        Harrell et al., J. Am. Med. Assoc. 247, 2543 (1982), for values censored on either side.
    """
    # Row i is surely below row j if i has a known value or an upper limit, j a known value or a lower limit.
    below, above = censoring <= 0, censoring >= 0
    exact = (censoring == 0)[:, None] & (censoring == 0)[None, :]
    surely = (y[:, None] < y[None, :]) | ((y[:, None] == y[None, :]) & ~exact)
    pairs = surely & below[:, None] & above[None, :]
    count = int(pairs.sum())
    if not count:
        return None
    difference = mean[None, :] - mean[:, None]
    return float(((difference > 0) & pairs).sum() + 0.5 * ((difference == 0) & pairs).sum()) / count


def ranked_probability_scores(
    y: FloatArray, censoring: IntArray, mean: FloatArray, deviation: FloatArray
) -> FloatArray:
    """Continuous ranked probability scores of normal distributions, shape (n,), in the unit of `y`.

    Of a censored row only the side of its limit counts where its value surely is not.

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 where the value is below `y`, 1 where it is above, 0 where it is `y`.
        mean, deviation: shape (n,), of the predictions.

    Source:
        Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007); censored: Avati et al., Proc. UAI 2019 (survival-CRPS).
    """
    z = (y - mean) / deviation
    above = _square_tail(z)  # integral of (1 - F)² above the value
    below = _square_tail(-z)  # integral of F² below it
    scores: FloatArray = deviation * (
        np.where(censoring <= 0, above, 0.0) + np.where(censoring >= 0, below, 0.0)
    )
    return scores


def _square_tail(a: FloatArray) -> FloatArray:
    """Integral of the squared upper tail of the standard normal distribution above `a`, by parts."""
    from scipy.special import ndtr

    tail, density = ndtr(-a), np.exp(-0.5 * a**2) / np.sqrt(2.0 * np.pi)
    whole: FloatArray = -a * tail**2 + 2.0 * density * tail - ndtr(-np.sqrt(2.0) * a) / np.sqrt(np.pi)
    floored: FloatArray = np.maximum(whole, 0.0)
    return floored


def interval_coverage(y: FloatArray, lower: FloatArray, upper: FloatArray, rows: BoolArray) -> float | None:
    """Share of `rows` whose value is in its interval; None without a row."""
    inside = (lower <= y) & (y <= upper)
    return float(inside[rows].mean()) if rows.any() else None
