"""Combine the measurements of candidates with leave-one-out predictions."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray


def combine_with_predictions(
    y: FloatArray, noise: FloatArray, mean: FloatArray, deviation: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Combine measured values with leave-one-out predictions, each result (n,).

    A measurement and the prediction from the other rows are two independent estimates of one value, weighted by
    the inverse of their variances. But a prediction far off moves the value by one standard deviation of the noise and
    no more, as it does where the errors of a model have exponential tails. So the mean never contradicts the measurement
    by more than its noise, and a value without noise is met exactly, however well or badly the model predicts.

    Args:
        y: shape (n,), measured values.
        noise: shape (n,), variance of repeating each; 0 where a repetition gives the same number.
        mean, deviation: shape (n,), predicted without the row, its noise included (`Regressor.leave_one_out`).

    Returns:
        Means and standard deviations of the values themselves.

    Source:
        Huber, Ann. Math. Stat. 35, 73 (1964): normal in the middle, exponential tails, bounded influence.
    """
    error, spread = mean - y, np.sqrt(noise)
    # With this lower bound on the variance the mean moves by one spread at most: share * |error| <= spread.
    own = np.maximum(deviation**2 - noise, spread * (np.abs(error) - spread))
    own = np.maximum(own, 0.0)
    total = noise + own
    share = np.divide(noise, total, out=np.zeros_like(total), where=total > 0.0)
    return y + share * error, np.sqrt(share * own)
