"""Stored form of kernel models: training rows with weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import ArtifactError
from invdesign.learning.limits import squared_distances
from invdesign.learning.quick import matern_kernel
from surrogates.regression.models.contract import Form
from surrogates.regression.models.preparing import InputScales, OutputScale, take_array, take_index

KernelName = Literal["rbf", "matern", "laplacian"]
KERNELS: tuple[KernelName, ...] = get_args(KernelName)
PAIRS_PER_BLOCK = 1_000_000  # covariances that are computed together (chosen)
LEAST_VARIANCE = 1e-9  # share of the prior variance; rounding could make it negative (chosen)


def correlate(a: FloatArray, b: FloatArray, kernel: KernelName) -> FloatArray:
    """Correlations (n, q) of rows `a` (n, k) and `b` (q, k), whose unit is the length scale."""
    if kernel == "laplacian":
        from scipy.spatial.distance import cdist

        near: FloatArray = np.exp(-cdist(a, b, "cityblock"))
        return near
    squares = squared_distances(a, b)
    return np.exp(-0.5 * squares) if kernel == "rbf" else matern_kernel(squares)[0]


@dataclass(frozen=True, eq=False)
class KernelModel:
    """Weighted sum of the correlations with training rows.

    Attributes:
        inputs, outputs: scales of features, in length scales, and of predictions.
        kernel: name of the correlation.
        rows: shape (n, k), scaled training rows; float32 or float64.
        weights: shape (n,).
        offset: added to the sum.
        variance: prior variance and that of the unknown mean; zeros without standard deviations.
        places: shape (m,), training rows from which standard deviations follow.
        factor: lower triangle of the inverse Cholesky factor of the covariance of these rows, row by row,
            m (m + 1) / 2 numbers, float32 or float64; none without standard deviations.
    """

    inputs: InputScales
    outputs: OutputScale
    kernel: KernelName
    rows: NDArray[Any]
    weights: FloatArray
    offset: float
    variance: tuple[float, float] = (0.0, 0.0)
    places: IntArray | None = None
    factor: NDArray[Any] | None = None
    form: ClassVar[Form] = "kernel"

    def _blocks(self, x: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Correlations (q, n), block by block."""
        from threadpoolctl import threadpool_limits

        rows = self.rows.astype(np.float64)
        size = max(PAIRS_PER_BLOCK // max(len(rows), 1), 1)
        with threadpool_limits(limits=1):  # last digits of products depend on the number of threads
            for low in range(0, len(x), size):
                block = slice(low, min(low + size, len(x)))
                yield block, correlate(self.inputs(x[block]), rows, self.kernel)

    def score(self, x: FloatArray) -> FloatArray:
        """Scores (q,) of features `x` (q, d), before the scale of predictions."""
        scores = np.empty(len(x))
        for block, correlations in self._blocks(x):
            scores[block] = correlations @ self.weights + self.offset
        return scores

    def predict(self, x: FloatArray) -> FloatArray:
        return self.outputs.to_values(self.score(x))

    def predict_spread(self, x: FloatArray) -> FloatArray | None:
        return None if self.factor is None else self.predict_both(x)[1]

    def predict_both(self, x: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        if self.factor is None or self.places is None:
            return self.predict(x), None
        m = len(self.places)
        inverse = np.zeros((m, m))
        inverse[np.tril_indices(m)] = self.factor
        prior, mean = self.variance
        scores, variances = np.empty(len(x)), np.empty(len(x))
        for block, correlations in self._blocks(x):
            scores[block] = correlations @ self.weights + self.offset
            explained = (inverse @ (prior * correlations[:, self.places] + mean).T) ** 2
            variances[block] = prior + mean - explained.sum(axis=0)
        deviations = np.sqrt(np.maximum(variances, LEAST_VARIANCE * (prior + mean)))
        return self.outputs.to_values(scores), self.outputs.to_deviations(scores, deviations)

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain JSON."""
        return {
            "outputs": self.outputs.config,
            "kernel": self.kernel,
            "offset": self.offset,
            "variance": list(self.variance),
        }

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Arrays by name."""
        stored = {**self.inputs.arrays, "rows": self.rows, "weights": self.weights}
        if self.factor is None or self.places is None:
            return stored
        return {**stored, "places": self.places.astype(np.int32), "factor": self.factor}

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> KernelModel:
        """Rebuild the model from its stored parts."""
        inputs = InputScales.from_arrays(arrays)
        rows = take_array(arrays, "rows", (None, len(inputs.centre)))
        n = len(rows)
        if config["kernel"] not in KERNELS:
            raise ArtifactError(f"kernel {config['kernel']!r} is unknown; there are {', '.join(KERNELS)}")
        prior, mean = config["variance"]
        places = take_index(arrays, "places", n) if "places" in arrays else None
        m = 0 if places is None else len(places)
        return cls(
            inputs,
            OutputScale.from_config(config["outputs"]),
            config["kernel"],
            np.asarray(arrays["rows"]),
            take_array(arrays, "weights", (n,)),
            float(config["offset"]),
            (float(prior), float(mean)),
            places,
            None if places is None else take_array(arrays, "factor", (m * (m + 1) // 2,)),
        )
