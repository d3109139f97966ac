"""Gaussian processes of a property: fits, predictions, leave-one-out errors, contributions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.learning.contracts import Hyperparameters
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.gaussian.blocks import (
    VARIANCE_FLOOR,
    block_slices,
    predict_in_blocks,
    predict_means,
    restore_units,
)
from invdesign.learning.gaussian.conditioned import ConditionedRows, scale_rows
from invdesign.learning.gaussian.fitting import ParameterPrior, fit_parameters, to_natural
from invdesign.learning.gaussian.hyperparameters import read_hyperparameters, write_hyperparameters
from invdesign.learning.gaussian.kernels import MEAN_VARIANCE, Group, Kernel, Plan, to_tensors
from invdesign.learning.gaussian.scaling import ColumnScales, OutcomeScales
from invdesign.learning.settings import GaussianSettings

FEWEST_FITTED_ROWS = 3  # for a fit of hyperparameters (chosen)
IMPORTANCE_ROWS = 200  # rows whose pairs measure the importance of a column (chosen)


def plan_kernel(columns: ColumnScales, inputs: Inputs, settings: GaussianSettings, n_sources: int) -> Plan:
    """Plan the kernel of some columns.

    Args:
        columns: scales of the inputs; constant columns are left out.
        inputs: description of the columns.
        settings: kind of kernel.
        n_sources: number of sources.
    """
    positions = {column: position for position, column in enumerate(columns.numbers)}
    codes = {column: position for position, column in enumerate(columns.categories)}
    named = inputs.groups if settings.is_additive(inputs) else ()
    if not named:
        named = (("all", tuple(range(len(inputs)))),)
    groups = tuple(
        Group(
            name,
            tuple(positions[column] for column in sorted(members) if column in positions),
            tuple(codes[column] for column in sorted(members) if column in codes),
        )
        for name, members in named
    )
    return Plan(
        smoothness="rbf" if settings.kernel == "rbf" else "matern",
        groups=groups,
        d_numbers=len(positions),
        d_categories=len(codes),
        sources=n_sources,
        warp=settings.warp and inputs.cube,
        periodic=tuple(positions[column] for column in inputs.periodic) if inputs.cube else (),
    )


def fit_hyperparameters(
    rows: Rows,
    inputs: Inputs,
    settings: GaussianSettings,
    start: Hyperparameters | None = None,
    n_sources: int = 1,
    *,
    fresh: bool = True,
) -> Hyperparameters:
    """Fit hyperparameters of highest posterior probability; deterministic.

    Args:
        rows: n rows; few or constant ones give the prior's hyperparameters.
        inputs: description of the columns.
        settings: of the model and the fit.
        start: of an earlier fit, where the search begins; what does not fit the columns is ignored.
        n_sources: number of sources that may ever appear in the rows.
        fresh: True to try fresh starts beside `start` while rows are few.
    """
    n_sources = _count_sources(rows, n_sources)
    columns = ColumnScales.from_rows(rows.x, inputs)
    plan = plan_kernel(columns, inputs, settings, n_sources)
    prior = ParameterPrior.for_plan(plan, cube=inputs.cube)
    outcomes = OutcomeScales.from_rows(rows, n_sources)
    known = scale_rows(rows, columns, outcomes, settings)
    if len(rows) < FEWEST_FITTED_ROWS or float(np.ptp(known.y.numpy())) == 0.0:
        return write_hyperparameters(to_natural(prior.mean), plan, columns)
    warm = read_hyperparameters(start, plan, columns, prior) if start else None
    return write_hyperparameters(
        fit_parameters(plan, prior, known, settings.iterations, warm, fresh=fresh), plan, columns
    )


def build_process(
    rows: Rows,
    inputs: Inputs,
    settings: GaussianSettings,
    hyperparameters: Hyperparameters | None = None,
    n_sources: int = 1,
) -> GaussianProcess:
    """Build the Gaussian process of rows and hyperparameters, without a fit.

    Args:
        rows: n rows, n >= 0.
        inputs: description of the columns.
        settings: those of the fit.
        hyperparameters: of a fit; the prior's for columns that they lack.
        n_sources: number of sources that may ever appear in the rows.
    """
    n_sources = _count_sources(rows, n_sources)
    columns = ColumnScales.from_rows(rows.x, inputs)
    plan = plan_kernel(columns, inputs, settings, n_sources)
    values = read_hyperparameters(
        hyperparameters, plan, columns, ParameterPrior.for_plan(plan, cube=inputs.cube)
    )
    kernel = Kernel(plan, to_tensors(values))
    outcomes = OutcomeScales.from_rows(rows, n_sources)
    found = write_hyperparameters(values, plan, columns)
    return GaussianProcess(rows, settings, columns, outcomes, kernel, inputs, found)


def _count_sources(rows: Rows, said: int) -> int:
    """Number of sources, at least that of the rows."""
    return max(said, 1 + int(rows.source.max(initial=0)))


@dataclass(frozen=True)
class GaussianProcess(ConditionedRows):
    """Gaussian process conditioned on rows: a `Regressor`.

    Attributes:
        inputs: description of the columns.
        hyperparameters: the kernel's and the noise's, as plain JSON.
    """

    inputs: Inputs
    hyperparameters: Hyperparameters

    @property
    def differentiable(self) -> bool:
        """True: gradients flow through `to_botorch`."""
        return True

    def repetition_variance(self) -> FloatArray:
        """Variance of repeating each row's evaluation, shape (n,).

        As stated with the value, else as the model learned it or was given it.
        """
        learned = self.outcomes.restore_noise(self.rows, self.row_noise.numpy())
        return np.where(np.isfinite(self.rows.noise), self.rows.noise, learned)

    def predict(
        self, x: FloatArray, source: int = 0, *, single: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Predict means and standard deviations, without noise, each shape (q,), in blocks.

        Args:
            x: shape (q, d); NaN reads as the mean of the rows.
            source: source to predict.
            single: True for single precision, for screening, where rounding allows it.
        """
        return predict_in_blocks(self, x, source, single=single)

    def predict_means(self, x: FloatArray, source: int = 0) -> FloatArray:
        """Predict means alone, shape (q,), at a tenth of the work of `predict`.

        Args:
            x: shape (q, d), inputs.
            source: source to predict.
        """
        return predict_means(self, x, source)

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Leave-one-out means and standard deviations, noise included, each shape (n,).

        In closed form: no row is really left out.

        Source:
            Rasmussen & Williams (2006), equation 5.12; Sundararajan & Keerthi, Neural Comput. 13, 1103 (2001).
        """
        precision = (self.inverse_factor**2).sum(dim=0)  # diagonal of the inverse covariance
        mean, deviation = self.scaled_rows.y - self.weights / precision, precision.rsqrt()
        means, deviations = np.empty(len(self)), np.empty(len(self))
        for source in range(self.kernel.plan.sources):
            own = self.rows.source == source
            means[own], deviations[own] = restore_units(self.outcomes, mean[own], deviation[own], source)
        return means, deviations

    def condition_on(self, x: FloatArray, y: FloatArray | None = None, source: int = 0) -> GaussianProcess:
        """Condition the model on more rows; scales and hyperparameters stay.

        Args:
            x: shape (k, d), inputs.
            y: shape (k,), values; None takes the model's own means.
            source: of the rows.
        """
        values = self.predict(x, source)[0] if y is None else np.asarray(y, dtype=np.float64)
        rows = Rows(
            np.vstack([self.rows.x, x]),
            np.append(self.rows.y, values),
            np.append(self.rows.noise, np.full(len(x), np.nan)),
            np.append(self.rows.source, np.full(len(x), source, dtype=np.int64)),
        )
        return replace(self, rows=rows)

    def to_botorch(self, source: int = 0, shift: float = 0.0, width: float = 1.0) -> Any:
        """Return a BoTorch model of (value - shift) / width.

        Acquisition functions hold absolute tolerances: shift and width that make the values numbers around 1 keep
        them meaningful.

        Args:
            source: source to predict.
            shift: subtracted from values.
            width: divisor of values.
        """
        from invdesign.learning.gaussian.posterior import PosteriorModel

        return PosteriorModel(self, source, shift, width)

    def column_importance(self) -> FloatArray:
        """Importance of each column, shape (d,), sum 1 (all 0 if no column varies).

        The share of the prior variance between two rows that differ in that column alone, averaged over pairs of
        rows: a column along which the property is flat within the rows' spread gets nothing.
        """
        rows = (
            self.scaled_rows.numbers[:: max(len(self) // IMPORTANCE_ROWS, 1)],
            self.scaled_rows.categories[:: max(len(self) // IMPORTANCE_ROWS, 1)],
        )
        found = np.zeros(len(self.inputs))
        for position, group in enumerate(self.kernel.plan.groups):
            for kind, members in enumerate((group.numbers, group.categories)):
                names = (self.columns.numbers, self.columns.categories)[kind]
                for member in members:
                    found[names[member]] = self._column_variance(rows, kind, member, position)
        found = np.maximum(np.nan_to_num(found), 0.0)
        total = found.sum()
        return found / total if total > 0.0 else found

    def _column_variance(self, rows: tuple[Tensor, Tensor], kind: int, member: int, group: int) -> float:
        """Variance of a group's component between rows that differ in one column alone.

        `kind` is 0 for numbers and 1 for categories.
        """
        alone = [torch.zeros_like(part) for part in rows]
        alone[kind][:, member] = rows[kind][:, member]
        prepared = self.kernel.prepare_points(alone[0], alone[1], 0)
        with torch.no_grad():
            same = self.kernel.group_covariance(prepared, prepared, 0, group)
        return float(self.kernel.parameters["scale"][0, group] - same.mean())

    @property
    def baseline(self) -> float:
        """Mean of the property as far as the rows tell, in its unit.

        Contributions are added to it.
        """
        return float(self._constant_part()[1])

    def _constant_part(self) -> tuple[Tensor, Tensor]:
        """Posterior mean of the constant component, scaled and in the property's unit."""
        constant = MEAN_VARIANCE * self.weights.sum()
        return constant, self.outcomes.restore_units(constant, torch.zeros(()), 0)[0]

    def group_contributions(self, x: FloatArray) -> FloatArray:
        """Contribution of each group of an additive kernel at `x`, in the property's unit.

        `baseline` and the contributions add up to the prediction of source 0.

        Args:
            x: shape (q, d), inputs.

        Returns:
            Shape (q, groups).

        Source:
            Duvenaud, Nickisch & Rasmussen, NeurIPS 2011, section 3.3.
        """
        kernel = self.kernel
        weights = self.weights * kernel.row_shares(self.scaled_rows.sources)
        constant, baseline = self._constant_part()
        found = np.empty((len(x), len(kernel.plan.groups)))
        with torch.no_grad():
            for chosen in block_slices(len(x), len(self)):
                prepared = kernel.prepare_points(
                    *self.scale_inputs(torch.from_numpy(np.array(x[chosen], dtype=np.float64))), 0
                )
                parts = [
                    weights @ kernel.group_covariance(self.prepared_rows[0], prepared, 0, g)
                    for g in range(found.shape[1])
                ]
                scaled = torch.stack(parts, dim=1)
                total = scaled.sum(dim=1)
                gain = self.outcomes.restore_units(constant + total, torch.zeros_like(total), 0)[0] - baseline
                # Where outcomes were compressed, all parts are stretched alike, so that they still add up.
                unit = self.outcomes.scales[0].deviation * self.outcomes.scales[0].width
                stretch = torch.where(
                    total.abs() > VARIANCE_FLOOR, gain / torch.where(total == 0.0, 1.0, total), unit
                )
                found[chosen] = (scaled * stretch[:, None]).numpy()
        return found
