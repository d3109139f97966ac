"""Scale of the values of a property, for models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray

OUTLIER_RANGES = 6.0  # times the interquartile range: farther from the median values are compressed (chosen)


@dataclass(frozen=True)
class TargetScale:
    """Scale of a property: standardised, and compressed if it has outliers."""

    centre: float
    width: float
    compressed: bool
    mean: float
    deviation: float

    @classmethod
    def from_values(cls, y: FloatArray) -> TargetScale:
        """Make the scale for values `y` (n,)."""
        low, centre, high = np.percentile(y, [25.0, 50.0, 75.0])
        width = float(high - low) or float(np.std(y)) or 1.0
        compressed = bool(np.abs(y - centre).max() > OUTLIER_RANGES * width)
        values = np.arcsinh((y - centre) / width) if compressed else (y - centre) / width
        deviation = float(values.std()) or 1.0
        return cls(float(centre), width, compressed, float(values.mean()), deviation)

    def to_model_scale(self, y: FloatArray) -> FloatArray:
        """Convert values `y` (n,) to the scale of the models."""
        values = (y - self.centre) / self.width
        values = np.arcsinh(values) if self.compressed else values
        return (values - self.mean) / self.deviation

    def to_property_scale(self, mean: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert predictions back to the property's unit.

        Args:
            mean: shape (n,), on the models' scale.
            deviation: shape (n,), standard deviations on that scale.
        """
        values = np.clip(mean * self.deviation + self.mean, -1e6, 1e6)
        deviation = deviation * self.deviation
        if self.compressed:
            values = np.clip(values, -50.0, 50.0)  # sinh of more overflows
            values, deviation = np.sinh(values), deviation * np.cosh(values)
        return values * self.width + self.centre, deviation * self.width
