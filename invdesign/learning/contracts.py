"""Protocols of the models of a property."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from invdesign.arrays import FloatArray

Hyperparameters = dict[str, Any]  # plain JSON: numbers and lists of them


class Regressor(Protocol):
    """Model of one property: a pure function of rows and hyperparameters."""

    @property
    def differentiable(self) -> bool:
        """True if gradients flow through `to_botorch`."""
        ...

    def predict(
        self, x: FloatArray, source: int = 0, *, single: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Predict means and standard deviations, without noise, each shape (q,).

        Args:
            x: shape (q, d), inputs; q may be a million, worked off in blocks.
            source: source to predict; 0 is the target.
            single: True for single precision, for a first look at many candidates.
        """
        ...

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Leave-one-out means and standard deviations, noise included, each shape (n,)."""
        ...

    def condition_on(self, x: FloatArray, y: FloatArray | None = None) -> Regressor:
        """Condition the model on more rows of source 0; hyperparameters stay.

        Args:
            x: shape (k, d), inputs of the rows.
            y: shape (k,), values; None takes the model's own means, as believed of pending candidates.
        """
        ...

    def to_botorch(self) -> Any:
        """Return a BoTorch `Model` of one output, the value itself at source 0.

        Its posterior takes inputs (..., q, d).
        """
        ...


@runtime_checkable
class ExplainedRegressor(Regressor, Protocol):
    """Regressor that knows the importance of its input columns."""

    def column_importance(self) -> FloatArray:
        """Share of each input column in the predictions, shape (d,)."""
        ...
