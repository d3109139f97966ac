"""Preparation of features: missing values, constant columns, scales; and the scale of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import ArtifactError
from invdesign.learning.target_scale import TargetScale
from surrogates.regression.models.settings import FitError

CONSTANT_TOLERANCE = 1e-12  # spread, relative to the size, that is rounding (chosen)
INDICATOR_SHARE = 0.05  # of missing values, from which a column says so (chosen)
POWERS = np.linspace(-2.0, 4.0, 25)  # exponents of the power transform that are tried (chosen)
LARGEST_TRANSFORMED = 1e6  # of a feature after its power transform: a steep power overflows (chosen)
LARGEST_SCALED = 1e6  # standard deviations beyond which a feature is as far away as can be (chosen)


@dataclass(frozen=True, eq=False)
class InputScales:
    """Scales of features (…, d): what is missing is filled, what varies is standardised.

    Attributes:
        fill: shape (d,), median of each column.
        kept: shape (k,), columns that vary.
        missing: shape (m,), columns with an indicator of missing values.
        powers: shape (k,), exponents of the power transform, or (0,) for none.
        before: shape (2, k), means and deviations before the power transform, or (2, 0).
        centre, spread: shape (k + m,).
    """

    fill: FloatArray
    kept: IntArray
    missing: IntArray
    powers: FloatArray
    before: FloatArray
    centre: FloatArray
    spread: FloatArray

    @classmethod
    def from_rows(cls, x: FloatArray, *, power: bool, indicators: bool) -> InputScales:
        """Fit the scales to rows `x` (n, d).

        Args:
            x: features, NaN where missing.
            power: True for a power transform.
            indicators: True for columns that say where values are missing.

        Raises:
            FitError: no column varies.
        """
        fill = column_medians(x)
        absent = ~np.isfinite(x)
        filled = np.where(absent, fill, x)
        kept = _varying_columns(filled)
        share = absent.mean(axis=0)
        often = (share > INDICATOR_SHARE) & (share < 1.0)
        missing = np.flatnonzero(often) if indicators else np.zeros(0, dtype=np.int64)
        if not len(kept) + len(missing):
            raise FitError(
                "no feature varies among the rows: nothing can be learnt from them; add other features"
            )
        values = filled[:, kept]
        powers, before = np.zeros(0), np.zeros((2, 0))
        if power:
            before = np.stack([values.mean(axis=0), values.std(axis=0)])
            values = (values - before[0]) / before[1]
            powers = np.array([_fit_power(column) for column in values.T])
            values = raise_to_power(values, powers)
        values = np.hstack([values, absent[:, missing]])
        return cls(fill, kept, missing, powers, before, values.mean(axis=0), values.std(axis=0))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Scaled features (q, k + m) of `x` (q, d)."""
        check_width(x, len(self.fill))
        absent = ~np.isfinite(x)
        values = np.where(absent, self.fill, x)[:, self.kept]
        if len(self.powers):
            values = raise_to_power((values - self.before[0]) / self.before[1], self.powers)
        scaled: FloatArray = (np.hstack([values, absent[:, self.missing]]) - self.centre) / self.spread
        return np.clip(scaled, -LARGEST_SCALED, LARGEST_SCALED)

    def rescale(self, centre: FloatArray, spread: FloatArray, columns: IntArray) -> InputScales:
        """Scales of (scaled - centre) / spread of some scaled `columns`; without a power transform of the others."""
        k = len(self.kept)
        first, last = columns[columns < k], columns[columns >= k] - k
        powered = bool(len(self.powers))
        return InputScales(
            self.fill,
            self.kept[first],
            self.missing[last],
            self.powers[first] if powered else self.powers,
            self.before[:, first] if powered else self.before,
            self.centre[columns] + centre * self.spread[columns],
            self.spread[columns] * spread,
        )

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays to store."""
        return {
            "input_fill": self.fill,
            "input_kept": self.kept.astype(np.int32),
            "input_missing": self.missing.astype(np.int32),
            "input_powers": self.powers,
            "input_before": self.before,
            "input_centre": self.centre,
            "input_spread": self.spread,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> InputScales:
        """Rebuild the scales from stored `arrays`.

        Raises:
            ArtifactError: arrays are missing, or do not fit together.
        """
        fill = take_array(arrays, "input_fill", (None,))
        d = len(fill)
        kept = take_index(arrays, "input_kept", d)
        missing = take_index(arrays, "input_missing", d)
        powers = take_array(arrays, "input_powers", (None,))
        if len(powers) not in {0, len(kept)}:
            raise ArtifactError(f"array input_powers has {len(powers)} values, needs 0 or {len(kept)}")
        wide = len(kept) + len(missing)
        return cls(
            fill,
            kept,
            missing,
            powers,
            take_array(arrays, "input_before", (2, len(powers))),
            take_array(arrays, "input_centre", (wide,)),
            take_array(arrays, "input_spread", (wide,)),
        )


@dataclass(frozen=True)
class OutputScale:
    """Scale of predictions, from a model's scores.

    Attributes:
        scale: from scores to values, or to log odds.
        logistic: True for a classifier, whose predictions are probabilities.
    """

    scale: TargetScale
    logistic: bool = False

    @classmethod
    def standardise(cls, y: FloatArray, *, compress: bool) -> OutputScale:
        """Scale that standardises values `y` (n,), and may compress outliers."""
        if compress:
            return cls(TargetScale.from_values(y))
        return cls(TargetScale(float(y.mean()), float(y.std()) or 1.0, False, 0.0, 1.0))

    @classmethod
    def log_odds(cls, slope: float = 1.0, offset: float = 0.0) -> OutputScale:
        """Scale of a classifier whose log odds are `slope` times its score plus `offset`."""
        return cls(TargetScale(0.0, 1.0, False, offset, slope), logistic=True)

    @classmethod
    def as_they_are(cls) -> OutputScale:
        """Scale of scores that are values or probabilities already."""
        return cls(TargetScale(0.0, 1.0, False, 0.0, 1.0))

    def to_values(self, score: FloatArray) -> FloatArray:
        """Values, or probabilities, of scores (q,)."""
        values, _ = self.scale.to_property_scale(score, np.zeros(1))
        if not self.logistic:
            return values
        probability: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * values))
        return probability

    def to_deviations(self, score: FloatArray, deviation: FloatArray) -> FloatArray:
        """Standard deviations of values (q,), from those of scores."""
        return self.scale.to_property_scale(score, deviation)[1]

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self.scale), "logistic": self.logistic}

    @classmethod
    def from_config(cls, config: Any) -> OutputScale:
        """Rebuild the scale from stored JSON.

        Raises:
            ArtifactError: it is no such scale.
        """
        try:
            numbers = {name: float(config[name]) for name in ("centre", "width", "mean", "deviation")}
            flags = {name: config[name] for name in ("compressed", "logistic")}
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the scale of predictions is damaged: {error!r}") from None
        if not all(np.isfinite(value) for value in numbers.values()) or not all(
            isinstance(flag, bool) for flag in flags.values()
        ):
            raise ArtifactError(f"the scale of predictions is damaged: {config}")
        return cls(TargetScale(compressed=flags["compressed"], **numbers), flags["logistic"])


def column_medians(x: FloatArray) -> FloatArray:
    """Median of the finite values of each column (d,); 0 for none."""
    medians = np.zeros(x.shape[1])
    for column in range(x.shape[1]):
        finite = x[np.isfinite(x[:, column]), column]
        if len(finite):
            medians[column] = np.median(finite)
    return medians


def _varying_columns(x: FloatArray) -> IntArray:
    """Columns of `x` (n, d) that vary by more than rounding."""
    wide = x.std(axis=0) > CONSTANT_TOLERANCE * (1.0 + np.abs(x).max(axis=0))
    return np.flatnonzero(wide & np.isfinite(wide))


def check_width(x: FloatArray, width: int) -> None:
    """Refuse features `x` that have not `width` columns.

    Raises:
        FitError: they have another shape.
    """
    if x.ndim != 2 or x.shape[1] != width:
        raise FitError(f"the model takes features of shape (rows, {width}), got {x.shape}")


def raise_to_power(x: FloatArray, powers: FloatArray) -> FloatArray:
    """Transform columns `x` (n, k) by the exponents `powers` (k,).

    Source:
        Yeo & Johnson, Biometrika 87, 954 (2000).
    """
    above, below = np.log1p(np.maximum(x, 0.0)), -np.log1p(np.maximum(-x, 0.0))
    transformed = np.where(x >= 0.0, _box_cox(above, powers), -_box_cox(-below, 2.0 - powers))
    return np.clip(transformed, -LARGEST_TRANSFORMED, LARGEST_TRANSFORMED)


def _box_cox(logarithm: FloatArray, powers: FloatArray) -> FloatArray:
    """Box-Cox transform of exp(logarithm) for exponents `powers`."""
    safe = np.where(powers == 0.0, 1.0, powers)
    transformed: FloatArray = np.where(
        powers == 0.0, logarithm, np.expm1(np.minimum(safe * logarithm, 700.0)) / safe
    )
    return transformed


def _fit_power(values: FloatArray) -> float:
    """Exponent of `POWERS` under which standardised `values` (n,) are most nearly normal."""
    slope = np.sign(values) * np.log1p(np.abs(values))
    spread = raise_to_power(values[:, None], POWERS).var(axis=0)
    likelihood = -0.5 * len(values) * np.log(np.maximum(spread, 1e-300)) + (POWERS - 1.0) * slope.sum()
    return float(POWERS[int(np.argmax(likelihood))])


# Reading of stored arrays.


def take_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]
) -> NDArray[np.float64]:
    """Take a stored array as float64.

    Args:
        arrays: all stored ones.
        name: of the array.
        shape: expected; None for any length.

    Raises:
        ArtifactError: it is missing, has another shape, or holds NaN.
    """
    found = _find_array(arrays, name)
    if found.ndim != len(shape) or any(
        b is not None and a != b for a, b in zip(found.shape, shape, strict=True)
    ):
        wanted = tuple("any" if length is None else length for length in shape)
        raise ArtifactError(f"array {name} has shape {found.shape}, needs {wanted}")
    if np.isnan(found).any():
        raise ArtifactError(f"array {name} holds values that are no numbers")
    return np.asarray(found, dtype=np.float64)


def take_index(arrays: Mapping[str, NDArray[Any]], name: str, below: int, least: int = 0) -> IntArray:
    """Take a stored array of whole numbers, from `least` to less than `below`.

    Raises:
        ArtifactError: it is missing, or numbers are out of range.
    """
    found = _find_array(arrays, name)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ArtifactError(f"array {name} must be a row of whole numbers")
    if len(found) and not (least <= int(found.min()) and int(found.max()) < below):
        raise ArtifactError(f"array {name} holds numbers outside {least} to {below - 1}")
    return found.astype(np.int64)


def _find_array(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise ArtifactError(f"array {name} is missing from the stored model")
    return np.asarray(arrays[name])
