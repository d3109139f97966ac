"""Parameters with numbers: their values, and their places in the unit interval.

A kind maps its values to [0, 1] and back, varies them there, and gives the features that a model sees. A new kind is
one more class; a rule between parameters belongs to the space.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import Field, field_validator, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import SIGNIFICANT_DIGITS, Json, round_number
from invdesign.protocols import Dimension
from invdesign.settings import Frozen
from invdesign.spaces.parameters.conditions import When
from invdesign.tables.cells import parse_number

Value = float | str  # of one parameter; an integer parameter's is an int

LARGEST_INTEGER = 2**50  # cell centres of larger ranges would not survive the unit interval in doubles
LARGEST_LOG_INTEGER = 2**40  # nor would those of larger numbers survive logarithm and exponential
MOST_DECIMALS = 22  # 10**22 is the largest power of ten that a double holds exactly
# Numbers nearer than this are the same, as a share of the range, or of the number on a logarithmic scale (chosen).
SAME_TOLERANCE = 1e-6
CUBE_TOLERANCE = 1e-9  # rounding error of a coordinate of the unit cube (chosen)
ETA_MUTATION = 20.0  # distribution index of Deb et al. (2002), section V
ETA_CROSSOVER = 20.0  # of the same source


def mutate_polynomially(u: float, r: float, eta: float = ETA_MUTATION) -> float:
    """Bounded polynomial mutation of a coordinate.

    Written out because DEAP's draws from the global `random`, whose seeding costs ten times the mutation.

    Args:
        u: in [0, 1].
        r: uniform random number in [0, 1).
        eta: distribution index; the larger, the shorter the steps.

    Source:
        Deb, Multi-Objective Optimization using Evolutionary Algorithms (Wiley, 2001), section 4.2.3, in the
        bounded form of the authors' NSGA-II code.
    """
    power = 1.0 / (eta + 1.0)
    if r < 0.5:
        step = (2.0 * r + (1.0 - 2.0 * r) * (1.0 - u) ** (eta + 1.0)) ** power - 1.0
    else:
        step = 1.0 - (2.0 * (1.0 - r) + 2.0 * (r - 0.5) * u ** (eta + 1.0)) ** power
    return float(min(max(u + step, 0.0), 1.0))


def cross_simulated_binary(a: float, b: float, r: float, eta: float = ETA_CROSSOVER) -> float:
    """Bounded simulated binary crossover on [0, 1]; the child nearer to `a`.

    Args:
        a: coordinate of the nearer parent.
        b: coordinate of the other parent.
        r: uniform random number in [0, 1).
        eta: distribution index; the larger, the nearer the child.

    Source:
        Deb & Agrawal, Complex Systems 9, 115 (1995); bounded form of the authors' NSGA-II code.
    """
    distance = abs(a - b)
    if distance < 1e-14:
        return a
    room = a if a < b else 1.0 - a  # between the child's parent and the bound on its side
    alpha = 2.0 - (1.0 + 2.0 * room / distance) ** -(eta + 1.0)
    spread = r * alpha if r * alpha <= 1.0 else 1.0 / (2.0 - r * alpha)
    spread **= 1.0 / (eta + 1.0)
    child = 0.5 * (a + b) + math.copysign(0.5 * spread * distance, a - b)
    return min(max(child, 0.0), 1.0)


class Parameter(Frozen):
    """One variable: its values, and their places in the unit interval."""

    when: When = Field(default={})
    """Values of others that let it exist: `{solvent: [EC, DMC]}`, or `{temperature: {min: 300, max: 500}}`."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Number of values; None for a continuum."""

    @abstractmethod
    def build_dimension(self, name: str) -> Dimension:
        """Build the dimension that optimizers on vectors see, under `name`."""

    @abstractmethod
    def explain_refusal(self, value: Json) -> str:
        """Describe the allowed values if `value` is none of them.

        The text is empty where `value` is allowed.
        """

    def is_measurable(self, value: Json) -> bool:  # noqa: ARG002 - of names, none is
        """True if a refused `value` can still be made and measured."""
        return False

    def snap_to_allowed(self, value: Value, tolerance: float) -> Value:  # noqa: ARG002 - names are exact
        """Replace `value` by the allowed number within `tolerance`, if there is one."""
        return value

    @property
    def extent(self) -> float:
        """Distance between the largest and the smallest allowed number; 0 for names."""
        return 0.0

    def matching_tolerance(self, value: float) -> float:  # noqa: ARG002 - the same everywhere but on a logarithmic scale
        """Distance within which `value` counts as an allowed number."""
        return SAME_TOLERANCE * self.extent

    @abstractmethod
    def parse_text(self, text: str) -> Value:
        """Parse the value that the user means by `text`.

        Text without a value is returned as it is, for `explain_refusal` to name.
        """

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Encode an allowed `value` as a coordinate in [0, 1]."""

    def encode_beyond(self, value: Value) -> float:
        """Encode any `value`.

        A number that is not allowed may lie beyond [0, 1] or between two places.
        """
        return self.encode(value)

    @abstractmethod
    def decode(self, u: float) -> Value:
        """Decode coordinate `u` to its value.

        It inverts `encode`, and spreads uniform numbers uniformly over the values.
        """

    def value_at(self, place: int) -> Value:
        """Value number `place`, from 0, of values that can be counted."""
        return self.decode((place + 0.5) / (self.size or 1))

    def encode_many(self, values: Sequence[Value]) -> FloatArray:
        """Apply `encode_beyond` to n `values`; shape (n,)."""
        return np.array([self.encode_beyond(value) for value in values], dtype=np.float64)

    def decode_many(self, u: FloatArray) -> list[Value]:
        """Apply `decode` to n coordinates `u` (n,) in [0, 1]."""
        return [self.decode(place) for place in u.tolist()]

    def features(self, value: Value) -> tuple[float, ...]:
        """Features of `value` for a model, always the same number of them."""
        return (self.encode(value),)

    def features_many(self, values: Sequence[Value]) -> FloatArray:
        """Features (n, f) of n `values`."""
        return self.encode_many(values)[:, None]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features after the parameter's name.

        An empty one is the parameter itself.
        """
        return ("",)

    @cached_property
    def absent_features(self) -> tuple[float, ...]:
        """Features where the parameter does not exist."""
        return (0.5,) * len(self.features(self.decode(0.0)))

    @abstractmethod
    def mutate_value(self, value: Value, r: float) -> Value:
        """Move `value` to a neighbour by one uniform random number `r`.

        It stays only where there is no other value.
        """

    def cross_values(self, a: Value, b: Value, r: float) -> Value:
        """Pick parent value `a` or `b` by one uniform number `r`."""
        return a if r < 0.5 else b


def is_number(value: Json) -> bool:
    """True if `value` of a genome is a finite number."""
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def clip_rounding(u: float) -> float:
    """Clip coordinate `u` to [0, 1] where only rounding took it beyond."""
    near = min(max(u, 0.0), 1.0)
    return near if abs(near - u) < CUBE_TOLERANCE else u


class Real(Parameter):
    """A real number.

    Its values are those with 12 significant digits of the number and of the range.
    """

    real: tuple[float, float] = Field(strict=False)
    """Lowest and highest value, inclusive."""
    log: bool = False
    """True if it varies by factors, not by differences; the values are then positive."""

    @field_validator("real")
    @classmethod
    def _check_bounds(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not math.isfinite(bounds[1] - bounds[0]):
            raise ValueError(f"bounds must be finite, got [{bounds[0]}, {bounds[1]}]")
        low, high = round_number(bounds[0]), round_number(bounds[1])
        if low >= high:
            raise ValueError(f"the low bound must be below the high one, got [{bounds[0]:g}, {bounds[1]:g}]")
        return low, high

    @model_validator(mode="after")
    def _check_log_bounds(self) -> Real:
        if self.log and self.real[0] <= 0.0:
            raise ValueError(f"log needs a low bound above 0, got {self.real[0]:g}; a small one will do")
        if self.log and not math.isfinite(self.real[1] / self.real[0]):
            raise ValueError(f"a range of more than 300 decades is too wide, got {list(self.real)}")
        return self

    @cached_property
    def _decimals(self) -> int:
        low, high = self.real
        return SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(high - low))

    @cached_property
    def _grid_scale(self) -> float:
        """Steps of the grid per unit, where rounding to whole steps is exact decimal rounding.

        Otherwise it is 0.
        """
        largest = max(map(abs, self.real))
        if self.log or not 0 <= self._decimals <= MOST_DECIMALS:
            return 0.0
        scale = 10.0**self._decimals
        return scale if largest * scale <= 10.0**SIGNIFICANT_DIGITS else 0.0

    @cached_property
    def _span(self) -> float:
        """Length of the range, logarithmic where the values vary by factors."""
        low, high = self.real
        return math.log(high / low) if self.log else high - low

    @property
    def size(self) -> None:
        return None

    def build_dimension(self, name: str) -> Dimension:
        return Dimension(name, "real", *self.real)

    def explain_refusal(self, value: Json) -> str:
        low, high = self.real
        if isinstance(value, float | int) and not isinstance(value, bool) and low <= value <= high:
            return ""
        return f"a number in [{low:g}, {high:g}]"

    def is_measurable(self, value: Json) -> bool:
        return is_number(value) and (not self.log or float(value) > 0.0)  # type: ignore[arg-type]  # a number

    def snap_to_allowed(self, value: Value, tolerance: float) -> Value:
        low, high = self.real
        near = min(max(float(value), low), high)
        return near if abs(near - float(value)) <= tolerance else value

    @property
    def extent(self) -> float:
        return self.real[1] - self.real[0]

    def matching_tolerance(self, value: float) -> float:
        return SAME_TOLERANCE * abs(value) if self.log else super().matching_tolerance(value)

    def parse_text(self, text: str) -> Value:
        number = parse_number(text)
        return text if number is None or math.isinf(number) else round_number(number)

    def encode_beyond(self, value: Value) -> float:
        low = self.real[0]
        if self.log:
            return clip_rounding((math.log(float(value)) - math.log(low)) / self._span)
        return clip_rounding((float(value) - low) / self._span)

    def encode(self, value: Value) -> float:
        low = self.real[0]
        u = math.log(float(value) / low) / self._span if self.log else (float(value) - low) / self._span
        return min(max(u, 0.0), 1.0)

    def decode(self, u: float) -> float:
        low, high = self.real
        if self.log:
            return min(max(round_number(low * math.exp(u * self._span)), low), high)
        return self.snap_to_grid(low + u * self._span)

    def snap_to_grid(self, value: float) -> float:
        """Round `value` to the grid, within the bounds."""
        low, high = self.real
        if self._grid_scale:
            # Both operations are exact to the last bit, so numpy's give the same (`decode_many`).
            value = round(value * self._grid_scale) / self._grid_scale
        elif self.log:
            value = round_number(value)
        else:
            # Without the grid, values near 0 would not survive the unit interval: 1 - 1e-20 is 1 in doubles.
            value = round_number(round(value, self._decimals))
        return low if value < low else min(value, high)

    def grid_step(self, value: float) -> float:
        """Distance of neighbouring values on the grid near `value`."""
        size = max(abs(value), abs(self.real[0]) if self.log else 0.0)
        digits = 10.0 ** (math.floor(math.log10(size)) + 1 - SIGNIFICANT_DIGITS) if size else 0.0
        return digits if self.log else max(digits, 10.0**-self._decimals)

    def encode_many(self, values: Sequence[Value]) -> FloatArray:
        if self.log:
            return super().encode_many(values)
        u = (np.array(values, dtype=np.float64) - self.real[0]) / self._span
        near = np.clip(u, 0.0, 1.0)
        return np.where(np.abs(near - u) < CUBE_TOLERANCE, near, u)

    def decode_many(self, u: FloatArray) -> list[Value]:
        if not self._grid_scale:
            return super().decode_many(u)
        low, high = self.real
        steps = np.rint((low + u * self._span) * self._grid_scale) / self._grid_scale
        found: list[Value] = (np.clip(steps, low, high) + 0.0).tolist()
        return found

    def mutate_value(self, value: Value, r: float) -> float:
        u = self.encode(value)
        moved = self.decode(mutate_polynomially(u, r))
        # A step off a bound ends where it began: the mirrored number leads inwards.
        return moved if moved != value else self.decode(mutate_polynomially(u, 1.0 - r))

    def cross_values(self, a: Value, b: Value, r: float) -> float:
        if r < 0.5:  # half of the variables exchange within their range, as in the authors' NSGA-II code
            near, far = (a, b) if r < 0.25 else (b, a)
            return self.decode(cross_simulated_binary(self.encode(near), self.encode(far), 4.0 * (r % 0.25)))
        return self.decode(self.encode(a if r < 0.75 else b))


class Integer(Parameter):
    """A whole number.

    Each has an equal share of the unit interval, or of its logarithm.
    """

    integer: tuple[int, int] = Field(strict=False)
    """Lowest and highest value, inclusive."""
    log: bool = False
    """True if it varies by factors, not by differences; the values are then positive."""

    @field_validator("integer")
    @classmethod
    def _check_bounds(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        low, high = bounds
        if low > high:
            raise ValueError(f"the low bound must not exceed the high one, got [{low}, {high}]")
        if high - low >= LARGEST_INTEGER:
            raise ValueError(
                f"a range may hold 2^50 whole numbers, got [{low}, {high}]; use a real parameter"
            )
        return bounds

    @model_validator(mode="after")
    def _check_log_bounds(self) -> Integer:
        low, high = self.integer
        if self.log and not 1 <= low <= high <= LARGEST_LOG_INTEGER:
            raise ValueError(f"log needs bounds from 1 to 2^40, got [{low}, {high}]")
        return self

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Logarithms of the outer ends of the first and last cells.

        A cell is the share of one value.
        """
        return math.log(self.integer[0] - 0.5), math.log(self.integer[1] + 0.5)

    @property
    def size(self) -> int:
        return self.integer[1] - self.integer[0] + 1

    def build_dimension(self, name: str) -> Dimension:
        return Dimension(name, "integer", float(self.integer[0]), float(self.integer[1]))

    def explain_refusal(self, value: Json) -> str:
        low, high = self.integer
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return ""
        return f"a whole number in [{low}, {high}]"

    def is_measurable(self, value: Json) -> bool:
        return is_number(value) and (not self.log or float(value) > 0.5)  # type: ignore[arg-type]  # a number

    def snap_to_allowed(self, value: Value, tolerance: float) -> Value:
        low, high = self.integer
        near = min(max(round(float(value)), low), high)
        return near if abs(near - float(value)) <= min(tolerance, 0.49) else value

    @property
    def extent(self) -> float:
        return float(self.integer[1] - self.integer[0])

    def parse_text(self, text: str) -> Value:
        number = parse_number(text)
        if number is None or math.isinf(number):
            return text
        return int(number) if number.is_integer() else round_number(number)

    def encode(self, value: Value) -> float:
        if self.log:
            start, end = self._ends
            return (math.log(float(value)) - start) / (end - start)
        return (float(value) - self.integer[0] + 0.5) / self.size

    def decode(self, u: float) -> int:
        low, high = self.integer
        if self.log:
            start, end = self._ends
            return min(max(math.floor(math.exp(start + u * (end - start)) + 0.5), low), high)
        return low + min(max(int(u * self.size), 0), self.size - 1)

    def encode_many(self, values: Sequence[Value]) -> FloatArray:
        if self.log:
            return super().encode_many(values)
        places: FloatArray = (np.array(values, dtype=np.float64) - self.integer[0] + 0.5) / self.size
        return places

    def decode_many(self, u: FloatArray) -> list[Value]:
        if self.log:
            return super().decode_many(u)
        places = np.clip((u * self.size).astype(np.int64), 0, self.size - 1) + self.integer[0]
        found: list[Value] = places.tolist()
        return found

    def mutate_value(self, value: Value, r: float) -> int:
        moved = self.decode(mutate_polynomially(self.encode(value), r))
        if moved != value:
            return moved
        low, high = self.integer  # a step shorter than 1 becomes 1, inwards at a bound
        step = 1 if (r >= 0.5 and moved < high) or moved == low else -1
        return min(max(moved + step, low), high)

    def value_at(self, place: int) -> int:
        return self.integer[0] + place
