"""Censored values: linear Tobit regression, and imputation by conditional expectations.

A censored value is known as a limit: the true value is below it (-1) or above it (1). The limit must not stand for the
value, and the row must not be dropped: both bias a model.

Source:
    Tobin, Econometrica 26, 24 (1958); Amemiya, J. Econom. 24, 3 (1984); Dempster, Laird & Rubin, J. R. Stat. Soc. B
    39, 1 (1977), the EM algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray

LEAST_PRECISION = 1e-6  # inverse residual deviation of standardised values (chosen)
MOST_PRECISION = 1e6  # the same, where the rows are met exactly (chosen)
MOST_STEPS = 500  # of the optimizer (chosen)


@dataclass(frozen=True, eq=False)
class TobitSolution:
    """Linear regression of censored values.

    Attributes:
        weights: shape (d,).
        offset: value where all columns are 0.
        deviation: standard deviation of the residuals.
    """

    weights: FloatArray
    offset: float
    deviation: float


def normal_hazard(z: FloatArray) -> FloatArray:
    """Density of the normal distribution at `z`, relative to the probability below `z`."""
    from scipy.special import log_ndtr

    hazard: FloatArray = np.exp(-0.5 * z**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(z))
    return hazard


def censored_moments(
    y: FloatArray, censoring: IntArray, mean: FloatArray, deviation: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (n,) of the true values, given limits and a prediction.

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 below `y`, 1 above, 0 equal to it.
        mean: shape (n,), predicted without the row.
        deviation: standard deviation of the prediction's error, one or (n,).

    Source:
        Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 1 (1994), section 10.1: truncated normal.
    """
    width = np.broadcast_to(np.asarray(deviation, dtype=np.float64), y.shape)
    censored = censoring != 0
    limit, sign = y[censored], -censoring[censored].astype(np.float64)
    centre, spread = mean[censored], width[censored]
    z = sign * (limit - centre) / spread  # the true value's own lies below z
    hazard = normal_hazard(z)
    means, variances = y.astype(np.float64).copy(), np.zeros(len(y))
    # Far on the wrong side of the limit both terms are large and cancel; the result stays on the right side.
    inner = np.minimum(-hazard, z)
    means[censored] = centre + sign * spread * inner
    variances[censored] = spread**2 * np.clip(1.0 - z * hazard - hazard**2, 0.0, 1.0)
    return means, variances


def impute_censored(
    y: FloatArray, censoring: IntArray, mean: FloatArray, deviation: FloatArray | float
) -> FloatArray:
    """Impute censored values by their conditional expectations, shape (n,).

    Args:
        y: shape (n,), values, or limits of censored rows.
        censoring: shape (n,), -1 below `y`, 1 above, 0 equal to it.
        mean: shape (n,), predicted without the row.
        deviation: standard deviation of the prediction's error, one or (n,).
    """
    return censored_moments(y, censoring, mean, deviation)[0]


def solve_tobit(design: FloatArray, y: FloatArray, censoring: IntArray, penalty: float) -> TobitSolution:
    """Solve linear regression of censored values by penalised maximum likelihood.

    Args:
        design: shape (n, d), centred columns.
        y: shape (n,), standardised values, or limits of censored rows.
        censoring: shape (n,), -1 below `y`, 1 above, 0 equal to it.
        penalty: on the squared weights, relative to the residual variance.

    Source:
        Olsen, Econometrica 46, 1211 (1978): divided by the deviation the likelihood has one maximum.
    """
    from scipy.optimize import minimize

    _, s, vt = np.linalg.svd(design, full_matrices=False)
    # In the directions of the rows, stretched so that all curvatures are alike: few steps suffice.
    basis = vt.T / np.sqrt(s**2 + penalty)
    pull = penalty / (s**2 + penalty)
    terms = np.hstack([design @ basis, np.full((len(y), 1), len(y) ** -0.5)])
    pull = np.append(pull, 0.0)
    objective = _NegativeLogLikelihood(terms, y, censoring, pull)
    start = np.zeros(terms.shape[1] + 1)
    start[-1] = 1.0
    bounds = [(None, None)] * terms.shape[1] + [(LEAST_PRECISION, MOST_PRECISION)]
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MOST_STEPS, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 30},
    ).x
    deviation = 1.0 / float(found[-1])
    offset = float(found[-2]) * len(y) ** -0.5 * deviation
    return TobitSolution(basis @ found[:-2] * deviation, offset, deviation)


@dataclass(frozen=True, eq=False)
class _NegativeLogLikelihood:
    """Negative log likelihood of (weights / deviation, 1 / deviation), convex.

    Attributes:
        terms: shape (n, k).
        y, censoring: shape (n,).
        pull: shape (k,), penalty on each squared weight.
    """

    terms: FloatArray
    y: FloatArray
    censoring: IntArray
    pull: FloatArray

    def __call__(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient at `theta` (k + 1,)."""
        from scipy.special import log_ndtr

        weights, precision = theta[:-1], theta[-1]
        off = precision * self.y - self.terms @ weights
        exact = self.censoring == 0
        signed = -self.censoring * off  # the probability below it is the likelihood of a censored row
        slope = np.where(exact, off, self.censoring * normal_hazard(np.where(exact, 0.0, signed)))
        value = (
            0.5 * float(off[exact] @ off[exact])
            - float(exact.sum()) * float(np.log(precision))
            - float(log_ndtr(signed[~exact]).sum())
            + 0.5 * float(self.pull @ weights**2)
        )
        gradient = np.append(
            self.pull * weights - self.terms.T @ slope, slope @ self.y - float(exact.sum()) / precision
        )
        return value, gradient
