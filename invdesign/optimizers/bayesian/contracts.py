"""Protocols of acquisition functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from invdesign.arrays import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


class AcquisitionFunction(Protocol):
    """Value of evaluating a single candidate; larger is better."""

    @property
    def differentiable(self) -> bool:
        """True if `evaluate_tensor` passes gradients."""
        ...

    def evaluate(self, x: FloatArray) -> FloatArray:
        """Values of candidates `x` (q, d), shape (q,), without gradients, in blocks."""
        ...

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Values of candidates `x` (q, d), shape (q,), in double precision.

        With gradients where `differentiable`.
        """
        ...


@runtime_checkable
class RoughAcquisition(AcquisitionFunction, Protocol):
    """Acquisition function with a cheaper form for many candidates."""

    def evaluate_rough(self, x: FloatArray) -> FloatArray:
        """Values of candidates `x` (q, d), shape (q,), in single precision."""
        ...
