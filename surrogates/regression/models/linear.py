"""Stored form of linear models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from surrogates.regression.models.contract import Form
from surrogates.regression.models.preparing import InputScales, OutputScale, take_array


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Weighted sum of scaled features.

    Attributes:
        inputs, outputs: scales of features and of predictions.
        weights: shape (k,), of scaled features.
        offset: added to the sum.
    """

    inputs: InputScales
    outputs: OutputScale
    weights: FloatArray
    offset: float
    form: ClassVar[Form] = "linear"

    def score(self, x: FloatArray) -> FloatArray:
        """Scores (q,) of features `x` (q, d), before the scale of predictions."""
        # Not through BLAS, whose last digits depend on threads and on the number of rows.
        sums: FloatArray = np.einsum("qk,k->q", self.inputs(x), self.weights, optimize=False)
        return sums + self.offset

    def predict(self, x: FloatArray) -> FloatArray:
        return self.outputs.to_values(self.score(x))

    def predict_spread(self, x: FloatArray) -> FloatArray | None:
        del x
        return None

    def predict_both(self, x: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        return self.predict(x), None

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain JSON."""
        return {"outputs": self.outputs.config, "offset": self.offset}

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Arrays by name."""
        return {**self.inputs.arrays, "weights": self.weights}

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearModel:
        """Rebuild the model from its stored parts."""
        inputs = InputScales.from_arrays(arrays)
        weights = take_array(arrays, "weights", (len(inputs.centre),))
        return cls(inputs, OutputScale.from_config(config["outputs"]), weights, float(config["offset"]))
