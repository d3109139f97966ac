"""BoTorch models of Gaussian processes, from a cached inverse Cholesky factor.

BoTorch's own models solve with the rows' covariance for every t-batch; here a pool or the restarts of a search are
one product of matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from linear_operator import to_linear_operator
from torch import Tensor

from invdesign.learning.gaussian.blocks import VARIANCE_FLOOR
from invdesign.learning.gaussian.conditioned import ConditionedRows

JOINT_JITTER = 1e-7  # relative to the prior variance: candidates may repeat or lie on rows (chosen)


class _Posterior(GPyTorchPosterior):
    """Posterior that keeps small variances.

    GPyTorch raises them to an absolute 1e-10.
    """

    @property
    def variance(self) -> Tensor:
        covariance = self.distribution.lazy_covariance_matrix
        return covariance.diagonal(dim1=-1, dim2=-2).unsqueeze(-1)  # type: ignore[no-any-return]  # gpytorch is untyped


class PosteriorModel(Model):
    """BoTorch model of one output, (value - shift) / width.

    Args:
        process: training rows with their kernel.
        source: source to predict.
        shift: subtracted from values.
        width: divisor of values.
    """

    def __init__(
        self, process: ConditionedRows, source: int = 0, shift: float = 0.0, width: float = 1.0
    ) -> None:
        super().__init__()
        self.process, self.source = process, source
        self.shift, self.width = shift, width

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def posterior(
        self,
        X: Tensor,  # noqa: N803 - BoTorch's signature
        output_indices: list[int] | None = None,  # noqa: ARG002 - there is one output
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> GPyTorchPosterior:
        """Joint distribution of the values at `X` (…, q, d).

        Args:
            X: inputs.
            output_indices: without effect.
            observation_noise: True, or variances, to add noise.
            posterior_transform: applied to the posterior, if given.
        """
        mean, covariance = self._scaled_moments(X)
        if observation_noise is not False:
            covariance = covariance + self._observation_noise(observation_noise, covariance)
        deviation = covariance.diagonal(dim1=-1, dim2=-2).sqrt()
        values, widths = self.process.outcomes.restore_units(mean, deviation, self.source)
        stretch = widths / deviation / self.width
        covariance = covariance * stretch.unsqueeze(-1) * stretch.unsqueeze(-2)
        normal = MultivariateNormal((values - self.shift) / self.width, to_linear_operator(covariance))
        posterior = _Posterior(normal)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _scaled_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (…, q) and covariances (…, q, q) on the model's scale."""
        process = self.process
        q, d = x.shape[-2:]
        cross = process.cross_covariance(x.reshape(-1, d), self.source)
        mean = (process.weights @ cross).reshape(x.shape[:-1])
        explained = process.inverse_factor @ cross
        prior = process.kernel.prior_variance(self.source)
        if q == 1:
            variance = (prior - explained.square().sum(dim=0)).clamp_min(VARIANCE_FLOOR * float(prior))
            return mean, variance.reshape(*x.shape[:-1], 1)
        parts = explained.T.reshape(*x.shape[:-1], -1)
        covariance = process.prior_covariance(x, self.source) - parts @ parts.transpose(-1, -2)
        return mean, covariance + torch.eye(q, dtype=x.dtype) * (JOINT_JITTER * float(prior))

    def _observation_noise(self, observation_noise: bool | Tensor, covariance: Tensor) -> Tensor:
        """Noise covariance of new evaluations on the model's scale."""
        if isinstance(observation_noise, Tensor):
            return torch.diag_embed(observation_noise[..., 0].expand(covariance.shape[:-1]))
        return torch.eye(covariance.shape[-1], dtype=covariance.dtype) * self.process.evaluation_noise(
            self.source
        )
