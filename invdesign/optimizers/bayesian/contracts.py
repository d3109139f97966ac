"""What the parts of Bayesian optimization promise each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from invdesign.arrays import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Hyperparameters = dict[str, Any]  # plain JSON: numbers and lists of them


class Regressor(Protocol):
    """A model of one property, made of rows and hyperparameters: a pure function of the two."""

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through `to_botorch`."""
        ...

    def predict(
        self, x: FloatArray, source: int = 0, *, single: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations of the value itself (without noise) at x (q, d), each shape (q,).

        Worked off in blocks: q may be a million. In single precision where a first look at many is wanted.
        """
        ...

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """What the model says of each of its rows without that row: means and deviations (noise included), (n,)."""
        ...

    def condition_on(self, x: FloatArray, y: FloatArray | None = None) -> Regressor:
        """The model with more rows (k, d) of source 0, hyperparameters as they are.

        Args:
            x: shape (k, d).
            y: shape (k,); the model's own means where not given (what is pending is believed to come out so).
        """
        ...

    def to_botorch(self) -> Any:
        """A `botorch.models.model.Model` of one output: posterior of the value itself at (..., q, d), of source 0."""
        ...


@runtime_checkable
class ExplainedRegressor(Regressor, Protocol):
    """A model that tells which features matter."""

    def column_importance(self) -> FloatArray:
        """Share of each feature in what the model predicts, shape (d,)."""
        ...


class AcquisitionFunction(Protocol):
    """What evaluating a single candidate is worth: an acquisition function, larger is better."""

    @property
    def differentiable(self) -> bool: ...
    def evaluate(self, x: FloatArray) -> FloatArray:
        """Of candidates (q, d), shape (q,); without gradients, in blocks."""
        ...

    def evaluate_tensor(self, x: Tensor) -> Tensor:
        """Of candidates (q, d) in double precision, shape (q,); with gradients where `differentiable`."""
        ...


@runtime_checkable
class RoughAcquisition(AcquisitionFunction, Protocol):
    """An acquisition function with a cheaper form for a first look at many candidates."""

    def evaluate_rough(self, x: FloatArray) -> FloatArray:
        """`evaluate` in single precision: of candidates (q, d), shape (q,)."""
        ...
