"""Functions drawn from the models: what Thompson sampling follows, and what noisy improvements average over.

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
from invdesign.optimizers.bayesian.acquisition import Outlook
from invdesign.optimizers.bayesian.contracts import Regressor, Value
from invdesign.optimizers.bayesian.data import Rows
from invdesign.optimizers.bayesian.process import GaussianProcess
from invdesign.rng import Rng

JITTER = 1e-8


def drawn(outlook: Outlook, names: Sequence[str], places: FloatArray, rng: Rng) -> Outlook:
    """The outlook in which some properties take values drawn jointly at places (k, d); others stay as they are."""
    regressors = dict(outlook.regressors)
    for name in names:
        regressors[name] = _fixed(regressors[name], places, rng)
    return Outlook(regressors, outlook.chances)


def _fixed(regressor: Regressor, places: FloatArray, rng: Rng) -> Regressor:
    normals = rng.standard_normal(len(places))
    if not isinstance(regressor, GaussianProcess):
        mean, deviation = regressor.predict(places)
        return regressor.conditioned(places, mean + deviation * normals)
    with torch.no_grad():
        posterior = regressor.model().posterior(torch.as_tensor(places))
        mean, covariance = posterior.mean[:, 0], posterior.distribution.covariance_matrix
    values = mean.numpy() + (_root(covariance) @ torch.as_tensor(normals)).numpy()
    rows = regressor.rows
    more = Rows(
        np.vstack([rows.x, places]),
        np.append(rows.y, values),
        np.append(rows.noise, np.zeros(len(places))),
        np.append(rows.source, np.zeros(len(places), dtype=np.int64)),
    )
    return replace(regressor, rows=more)


def _root(covariance: Tensor) -> Tensor:
    """A square root of a covariance that may be singular: places may coincide."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp_min(0.0).sqrt()
    return root


class Averaged:
    """The mean of several values: an expectation over what the best so far really is.

    Source:
        Letham, Karrer, Ottoni & Bakshy, Bayesian Anal. 14, 495 (2019) (noisy expected improvement); Daulton,
        Balandat & Bakshy, Adv. Neural Inf. Process. Syst. 34, 2187 (2021) (noisy hypervolume improvement).
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = values

    @property
    def differentiable(self) -> bool:
        return all(value.differentiable for value in self.values)

    def flat(self, x: FloatArray) -> FloatArray:
        total = np.logaddexp.reduce([value.flat(x) for value in self.values], axis=0)
        found: FloatArray = total - np.log(len(self.values))
        return found

    def tensor(self, x: Tensor) -> Tensor:
        stacked = torch.stack([value.tensor(x) for value in self.values])
        return torch.logsumexp(stacked, dim=0) - float(np.log(len(self.values)))


class Hope:
    """The value of candidates while nothing is known of an objective: the chance of success, far from what was tried.

    Args:
        outlook: chances of success; no regressors.
        tried: shape (n, d), inputs of all that was asked.
        scale: shape (d,), extents of the inputs.
    """

    differentiable = False

    def __init__(self, outlook: Outlook, tried: FloatArray, scale: FloatArray) -> None:
        self.outlook = outlook
        self.tried = tried / scale
        self.scale = scale

    def flat(self, x: FloatArray) -> FloatArray:
        from scipy.spatial import cKDTree

        distances, _ = cKDTree(self.tried).query(x / self.scale)
        found: FloatArray = self.outlook.log_chance(x) + np.log(distances + JITTER)
        return found

    def tensor(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.flat(x.detach().numpy()))
