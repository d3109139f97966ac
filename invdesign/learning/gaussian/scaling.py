"""Scales of a Gaussian process's columns and outcomes, from the rows alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invdesign.arrays import FloatArray
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.target_scale import TargetScale

CONSTANT_TOLERANCE = 1e-10  # spread, relative to the size, that is rounding (chosen)
FEWEST_FOR_SCALE = 4  # rows of a source, for a scale of its own (chosen)
LARGEST_CENTRE_GAP = 3.0  # between sources on one scale, in summed standard deviations (chosen)
LARGEST_WIDTH_RATIO = 8.0  # of sources on one scale (chosen)
LARGEST_COMPRESSED = 30.0  # compressed value: sinh of this is still far within the range of floats (chosen)


@dataclass(frozen=True)
class ColumnScales:
    """Scaling of inputs (…, d) for a kernel.

    Columns of the unit cube are left as they are; features that vary are standardised, those that do not are left
    out. What is not a number is read as the mean of its column.

    Attributes:
        numbers: columns that are numbers and vary.
        categories: columns that are categories.
        centre, spread: of the number columns, shape (d_n,).
        fill: shape (d,), what stands in for NaN.
    """

    numbers: tuple[int, ...]
    categories: tuple[int, ...]
    centre: FloatArray
    spread: FloatArray
    fill: FloatArray

    @classmethod
    def from_rows(cls, x: FloatArray, inputs: Inputs) -> ColumnScales:
        """Fit the scaling to rows `x` (n, d), described by `inputs`."""
        finite = np.isfinite(x)
        known = finite.sum(axis=0)
        zeroed = np.where(finite, x, 0.0)
        fill = zeroed.sum(axis=0) / np.maximum(known, 1)
        filled = np.where(finite, x, fill)
        wide = inputs.cube | (
            _column_deviation(filled) > CONSTANT_TOLERANCE * (1.0 + np.abs(filled).max(axis=0, initial=0.0))
        )
        numbers = [c for c, kind in enumerate(inputs.kinds) if kind == "number" and wide[c]]
        if inputs.cube:
            centre, spread = np.zeros(len(numbers)), np.ones(len(numbers))
            fill = np.where(known > 0, fill, 0.5)
        else:
            centre, spread = fill[numbers], _column_deviation(filled)[numbers]
        for column in inputs.categories:  # the mean of categories is no category
            fill[column] = _commonest_value(x[finite[:, column], column])
        return cls(tuple(numbers), inputs.categories, centre, spread, fill)

    def fill_missing(self, x: Tensor) -> Tensor:
        """Replace NaN and infinite values of `x` (…, d)."""
        return torch.where(torch.isfinite(x), x, torch.from_numpy(self.fill))

    def scale_inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled numbers (…, d_n) and categories (…, d_c) of inputs `x` (…, d) without NaN."""
        numbers = _select_columns(x, self.numbers)
        return (numbers - torch.from_numpy(self.centre)) / torch.from_numpy(self.spread), _select_columns(
            x, self.categories
        )


def _select_columns(x: Tensor, columns: tuple[int, ...]) -> Tensor:
    """Select columns; all of them without a copy."""
    if columns == tuple(range(x.shape[-1])):
        return x
    return x[..., list(columns)]


def _column_deviation(x: FloatArray) -> FloatArray:
    """Standard deviation of each column; 0 for no rows."""
    deviation: FloatArray = x.std(axis=0) if len(x) else np.zeros(x.shape[1])
    return deviation


def _commonest_value(values: FloatArray) -> float:
    """Commonest value, the smallest of equals; 0 for none."""
    if not len(values):
        return 0.0
    options, counts = np.unique(values, return_counts=True)
    return float(options[np.argmax(counts)])


@dataclass(frozen=True)
class OutcomeScales:
    """Scales of a property's values, one per source.

    Sources whose values are about as large as those of source 0 share its scale, so that a common offset is
    evidence; others (another functional, another unit) are standardised by themselves.
    """

    scales: tuple[TargetScale, ...]

    @classmethod
    def from_rows(cls, rows: Rows, n_sources: int) -> OutcomeScales:
        """Fit the scales to `rows` of `n_sources` sources."""
        own = [rows.y[rows.source == source] for source in range(n_sources)]
        target = own[0]
        alike = [
            source
            for source in range(1, n_sources)
            if len(own[source]) and _can_share_scale(target, own[source])
        ]
        pooled = [target] if len(target) >= FEWEST_FOR_SCALE else [target, *(own[source] for source in alike)]
        first = scale_of_values(np.concatenate(pooled))
        scales = [first]
        for source in range(1, n_sources):
            shared = source in alike or len(own[source]) < FEWEST_FOR_SCALE
            scales.append(first if shared else scale_of_values(own[source]))
        return cls(tuple(scales))

    def scale_values(self, rows: Rows) -> FloatArray:
        """Scaled values of `rows`, shape (n,)."""
        values = np.empty(len(rows))
        for source, scale in enumerate(self.scales):
            chosen = rows.source == source
            values[chosen] = scale.to_model_scale(rows.y[chosen])
        return values

    def scale_noise(self, rows: Rows, variance: FloatArray) -> FloatArray:
        """Scale noise variances, to first order.

        Args:
            rows: n rows; their values set the slope of the scale.
            variance: shape (n,), in the property's own unit.
        """
        values = np.empty(len(rows))
        for source, scale in enumerate(self.scales):
            chosen = rows.source == source
            values[chosen] = variance[chosen] * _scaling_slope(scale, rows.y[chosen]) ** 2
        return values

    def restore_noise(self, rows: Rows, variance: FloatArray) -> FloatArray:
        """Convert noise variances back to the property's unit; the inverse of `scale_noise`.

        Args:
            rows: n rows.
            variance: shape (n,), scaled.
        """
        values = np.empty(len(rows))
        for source, scale in enumerate(self.scales):
            chosen = rows.source == source
            values[chosen] = variance[chosen] / _scaling_slope(scale, rows.y[chosen]) ** 2
        return values

    def restore_units(self, mean: Tensor, deviation: Tensor, source: int) -> tuple[Tensor, Tensor]:
        """Convert predictions back to the property's own unit.

        Where values were compressed, the result is the median and half the width of the central 68 %. These grow with the
        scaled values and stay finite where exact moments of a stretched Gaussian do not.

        Args:
            mean: scaled, any shape.
            deviation: scaled, of that shape.
            source: of the predictions.
        """
        scale = self.scales[source]
        values = mean * scale.deviation + scale.mean
        width = deviation * scale.deviation
        if scale.compressed:
            values = values.clamp(-LARGEST_COMPRESSED, LARGEST_COMPRESSED)
            # (sinh(v + w) - sinh(v - w)) / 2 = cosh(v) sinh(w): half the width of the central 68 %.
            width = torch.cosh(values) * torch.sinh(width.clamp(max=LARGEST_COMPRESSED))
            values = torch.sinh(values)
        return values * scale.width + scale.centre, width * scale.width


def scale_of_values(y: FloatArray) -> TargetScale:
    """Scale of values `y` (n,); width 1 if they do not vary."""
    if not len(y):
        return TargetScale(0.0, 1.0, False, 0.0, 1.0)
    if np.ptp(y) <= CONSTANT_TOLERANCE * np.abs(y).max():
        return TargetScale(float(y[0]), 1.0, False, 0.0, 1.0)
    return TargetScale.from_values(y)


def _can_share_scale(target: FloatArray, other: FloatArray) -> bool:
    """True if two samples may share a scale."""
    if not len(target):
        return True
    far = abs(float(np.median(target) - np.median(other)))
    widths = [max(float(np.std(values)), 1e-300) for values in (target, other)]
    near = far <= LARGEST_CENTRE_GAP * (widths[0] + widths[1])
    if min(len(target), len(other)) < FEWEST_FOR_SCALE:
        return near
    return near and 1.0 / LARGEST_WIDTH_RATIO <= widths[0] / widths[1] <= LARGEST_WIDTH_RATIO


def _scaling_slope(scale: TargetScale, y: FloatArray) -> FloatArray:
    """Derivative of scaled values by values, at y (n,)."""
    steep = 1.0 / (scale.width * scale.deviation)
    if not scale.compressed:
        return np.full(len(y), steep)
    slope: FloatArray = steep / np.sqrt(1.0 + ((y - scale.centre) / scale.width) ** 2)
    return slope
