"""BoTorch model of predictions without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from linear_operator.operators import DiagLinearOperator
from torch import Tensor

from invdesign.arrays import FloatArray


class PointwiseModel(Model):
    """BoTorch model of one output whose points are independent of each other.

    Args:
        predict: inputs (q, d) to means and standard deviations (q,).
    """

    def __init__(self, predict: Callable[[FloatArray], tuple[FloatArray, FloatArray]]) -> None:
        super().__init__()
        self._predict = predict

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size([])

    def posterior(
        self,
        X: Tensor,  # noqa: N803 - BoTorch's name
        output_indices: list[int] | None = None,  # noqa: ARG002 - there is one output
        observation_noise: bool | Tensor = False,  # noqa: ARG002 - what is predicted is the value itself
        posterior_transform: Callable[[Any], Any] | None = None,
        **_: Any,
    ) -> Any:
        """Posterior of the value itself at `X` (..., q, d).

        Args:
            X: inputs.
            output_indices: without effect.
            observation_noise: without effect.
            posterior_transform: applied to the posterior, if given.
        """
        flat = np.asarray(X.detach().reshape(-1, X.shape[-1]).numpy(), dtype=np.float64)
        mean, deviation = (torch.as_tensor(part).reshape(X.shape[:-1]) for part in self._predict(flat))
        variance = DiagLinearOperator(deviation.square().clamp_min(1e-20))
        posterior = GPyTorchPosterior(MultivariateNormal(mean, variance))
        return posterior if posterior_transform is None else posterior_transform(posterior)
