"""Functions drawn from the models, for Thompson sampling and noisy improvement.

A drawn function is the model conditioned on values drawn jointly at some places, as if they had been evaluated without
noise: exact there, and its mean in between. That works for every kernel and every kind of input, and keeps gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.learning.contracts import Regressor
from invdesign.learning.data import Rows
from invdesign.learning.gaussian.process import GaussianProcess
from invdesign.optimizers.bayesian.acquisition import ModelSet
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction
from invdesign.rng import Rng

DISTANCE_FLOOR = 1e-8  # so that the logarithm of a distance of 0 exists (chosen)


def draw_functions(model_set: ModelSet, names: Sequence[str], places: FloatArray, rng: Rng) -> ModelSet:
    """Draw joint values of some properties and condition their models on them.

    Args:
        model_set: the models.
        names: properties to draw; the models of others stay unchanged.
        places: shape (k, d), inputs at which the values are drawn.
        rng: for the draws.
    """
    regressors = dict(model_set.regressors)
    for name in names:
        regressors[name] = _draw_function(regressors[name], places, rng)
    return ModelSet(regressors, model_set.success_models)


def _draw_function(regressor: Regressor, places: FloatArray, rng: Rng) -> Regressor:
    """Condition one regressor on values drawn at the places.

    Drawn independently of each other unless it is a Gaussian process.
    """
    normals = rng.standard_normal(len(places))
    if not isinstance(regressor, GaussianProcess):
        mean, deviation = regressor.predict(places)
        return regressor.condition_on(places, mean + deviation * normals)
    with torch.no_grad():
        posterior = regressor.to_botorch().posterior(torch.as_tensor(places))
        mean, covariance = posterior.mean[:, 0], posterior.distribution.covariance_matrix
    values = mean.numpy() + (_covariance_root(covariance) @ torch.as_tensor(normals)).numpy()
    rows = regressor.rows
    more = Rows(
        np.vstack([rows.x, places]),
        np.append(rows.y, values),
        np.append(rows.noise, np.zeros(len(places))),
        np.append(rows.source, np.zeros(len(places), dtype=np.int64)),
    )
    return replace(regressor, rows=more)


def _covariance_root(covariance: Tensor) -> Tensor:
    """Square root of a covariance that may be singular.

    Places may coincide, so a Cholesky factor need not exist.
    """
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp_min(0.0).sqrt()
    return root


class AveragedAcquisition:
    """Mean of several acquisition functions: an expectation over the unknown incumbent.

    Args:
        values: logarithms of what is averaged, one per draw.

    Source:
        Letham, Karrer, Ottoni & Bakshy, Bayesian Anal. 14, 495 (2019) (noisy expected improvement); Daulton,
        Balandat & Bakshy, Adv. Neural Inf. Process. Syst. 34, 2187 (2021) (noisy hypervolume improvement).
    """

    def __init__(self, values: Sequence[AcquisitionFunction]) -> None:
        self.values = values

    @property
    def differentiable(self) -> bool:
        """True if all averaged functions are differentiable."""
        return all(value.differentiable for value in self.values)

    def evaluate(self, x: FloatArray) -> FloatArray:
        """Logarithm of the mean at `x` (q, d), shape (q,)."""
        total = np.logaddexp.reduce([value.evaluate(x) for value in self.values], axis=0)
        found: FloatArray = total - np.log(len(self.values))
        return found

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Logarithm of the mean at `x` (q, d), shape (q,), with gradients."""
        stacked = torch.stack([value.evaluate_tensor(x) for value in self.values])
        return torch.logsumexp(stacked, dim=0) - float(np.log(len(self.values)))


class SuccessAcquisition:
    """Acquisition without a model of an objective: success weight times distance.

    It prefers candidates that probably succeed and lie far from all that was tried.

    Args:
        model_set: models of success; no regressors.
        tried: shape (n, d), inputs of all candidates that were asked.
        scale: shape (d,), extents of the inputs.
    """

    differentiable = False

    def __init__(self, model_set: ModelSet, tried: FloatArray, scale: FloatArray) -> None:
        self.model_set = model_set
        self.tried = tried / scale
        self.scale = scale

    def evaluate(self, x: FloatArray) -> FloatArray:
        """Values at `x` (q, d), shape (q,)."""
        from scipy.spatial import cKDTree

        distances, _ = cKDTree(self.tried).query(x / self.scale)
        found: FloatArray = self.model_set.log_success_weight(x) + np.log(distances + DISTANCE_FLOOR)
        return found

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Values at `x` (q, d), shape (q,), without gradients."""
        return torch.as_tensor(self.evaluate(x.detach().numpy()))
