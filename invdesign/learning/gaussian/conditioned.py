"""Training rows of a Gaussian process with their Cholesky factor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from invdesign.learning.data import Rows
from invdesign.learning.gaussian.fitting import ScaledRows, factorise_covariance
from invdesign.learning.gaussian.kernels import (
    MEAN_VARIANCE,
    OFFSET_VARIANCE,
    Kernel,
    Prepared,
    cast_points,
)
from invdesign.learning.gaussian.scaling import ColumnScales, OutcomeScales
from invdesign.learning.settings import GaussianSettings


def scale_rows(
    rows: Rows, columns: ColumnScales, outcomes: OutcomeScales, settings: GaussianSettings
) -> ScaledRows:
    """Convert training rows to the model's scale.

    Args:
        rows: n rows in the units of the columns and the property.
        columns: the scales of the inputs.
        outcomes: the scales of the values, by source.
        settings: a standard deviation of evaluations, where it is given, is fixed.
    """
    numbers, categories = columns.scale_inputs(
        columns.fill_missing(torch.from_numpy(np.array(rows.x, dtype=np.float64)))
    )
    fixed = None
    if settings.noise != "auto":
        fixed = torch.from_numpy(outcomes.scale_noise(rows, np.full(len(rows), settings.noise**2)))
    return ScaledRows(
        numbers=numbers,
        categories=categories,
        sources=torch.from_numpy(np.array(rows.source, dtype=np.int64)),
        y=torch.from_numpy(outcomes.scale_values(rows)),
        noise=torch.from_numpy(outcomes.scale_noise(rows, rows.noise)),
        fixed=fixed,
    )


@dataclass(frozen=True)
class ConditionedRows:
    """Training rows of a Gaussian process, with cached linear algebra.

    Attributes:
        rows: training rows, n of them.
        settings: those of the fit.
        columns, outcomes: the scales of inputs and values.
        kernel: the covariance function of scaled values.
    """

    rows: Rows
    settings: GaussianSettings
    columns: ColumnScales
    outcomes: OutcomeScales
    kernel: Kernel

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def scaled_rows(self) -> ScaledRows:
        """Training rows on the model's scale."""
        return scale_rows(self.rows, self.columns, self.outcomes, self.settings)

    @cached_property
    def row_noise(self) -> Tensor:
        """Scaled noise variance of each row, shape (n,)."""
        parameters = self.kernel.parameters
        return self.scaled_rows.noise_variances(parameters["noise"], parameters["extra"])

    @cached_property
    def inverse_factor(self) -> Tensor:
        """Inverse (n, n) of the lower Cholesky factor of the rows' covariance."""
        known = self.scaled_rows
        with torch.no_grad():
            covariance = self.kernel.row_covariance(known.numbers, known.categories, known.sources)
            factor = factorise_covariance(covariance + torch.diag(self.row_noise))
            identity = torch.eye(len(self.rows), dtype=torch.float64)
            inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
        return inverse

    @cached_property
    def weights(self) -> Tensor:
        """Inverse covariance times outcomes, shape (n,)."""
        return self.inverse_factor.T @ (self.inverse_factor @ self.scaled_rows.y)

    @cached_property
    def prepared_rows(self) -> tuple[Prepared, ...]:
        """Prepared training rows, one entry per component of the kernel.

        All rows for f_0, and a source's own rows for its own component.
        """
        known = self.scaled_rows
        every = [self.kernel.prepare_points(known.numbers, known.categories, 0)]
        for source in range(1, self.kernel.plan.sources):
            own = known.sources == source
            every.append(self.kernel.prepare_points(known.numbers[own], known.categories[own], source))
        return tuple(every)

    def scale_inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled numbers and categories of inputs `x` (…, d)."""
        return self.columns.scale_inputs(self.columns.fill_missing(x))

    def cross_covariance(self, x: Tensor, source: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Covariance (n, q) of the training rows with values at `x`.

        Args:
            x: shape (q, d), inputs.
            source: source of the values at `x`.
            dtype: precision of the result.
        """
        numbers, categories = self.scale_inputs(x)
        kernel, sources = self.kernel, self.scaled_rows.sources
        total = kernel.component_covariance(
            cast_points(self.prepared_rows[0], dtype),
            cast_points(kernel.prepare_points(numbers, categories, 0), dtype),
            0,
        )
        if kernel.plan.sources > 1:
            shares = (kernel.row_shares(sources) * kernel.source_share(source)).to(dtype)
            total = total * shares[:, None]
        if source:
            mine = cast_points(kernel.prepare_points(numbers, categories, source), dtype)
            own = (
                kernel.component_covariance(cast_points(self.prepared_rows[source], dtype), mine, source)
                + OFFSET_VARIANCE
            )
            total = total.index_add(0, torch.nonzero(sources == source).reshape(-1), own)
        return total + MEAN_VARIANCE

    def prior_covariance(self, x: Tensor, source: int) -> Tensor:
        """Prior covariance (…, q, q) of the values of `source` at `x` (…, q, d)."""
        numbers, categories = self.scale_inputs(x)
        kernel = self.kernel
        base = kernel.prepare_points(numbers, categories, 0)
        total = kernel.component_covariance(base, base, 0) * kernel.source_share(source) ** 2
        if source:
            own = kernel.prepare_points(numbers, categories, source)
            total = total + kernel.component_covariance(own, own, source) + OFFSET_VARIANCE
        return total + MEAN_VARIANCE

    def evaluation_noise(self, source: int = 0) -> float:
        """Scaled noise variance of one more evaluation at `source`."""
        own = self.row_noise[self.scaled_rows.sources == source]
        return float(own.median()) if len(own) else float(self.kernel.parameters["noise"][source])
