"""Contract of fitted models, and the names of those that recipes may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from invdesign.arrays import FloatArray

Task = Literal["regression", "classification"]
Form = Literal["linear", "kernel", "trees"]
Kind = Literal[
    "ridge", "pls", "kernel_ridge", "support_vectors", "gaussian_process", "extra_trees", "boosted_trees"
]


@dataclass(frozen=True)
class Candidate:
    """One model that training may choose: feature sets with a kind of model.

    Attributes:
        features: names of feature sets, whose columns stand side by side.
        kind: of the model.
        settings: of the model, by name; others have their defaults.
    """

    features: tuple[str, ...]
    kind: Kind
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnBlock:
    """Neighbouring columns of features that belong together: a feature set.

    Attributes:
        columns: number of them.
        alike: True if they have one unit. Then they keep their sizes beside each other; else each is standardised.
    """

    columns: int
    alike: bool = False


class FittedModel(Protocol):
    """A fitted model: plain arrays and JSON."""

    @property
    def form(self) -> Form:
        """Way of storing: linear, kernel or trees."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain JSON that, with the arrays, rebuilds the model."""
        ...

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Arrays by name."""
        ...

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict values, or probabilities of a classifier, shape (q,), from features (q, d); NaN is filled."""
        ...

    def predict_spread(self, x: FloatArray) -> FloatArray | None:
        """Predict the model's own standard deviation, shape (q,), as a measure of difficulty.

        The spread of trees, or the deviation of a Gaussian process; None if the model has none.
        """
        ...

    def predict_both(self, x: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Predict values (q,) and the model's own standard deviation, quicker than one after the other."""
        ...
