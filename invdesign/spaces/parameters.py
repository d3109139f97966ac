"""Named process, composition or model variables: real, integer and categorical.

Every parameter maps its values to the unit interval and back, and varies them there; a new kind of parameter
(ordinal, logarithmic) is one more class, and a rule between parameters belongs to the space.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from invdesign import registry
from invdesign.candidate import SIGNIFICANT_DIGITS, Design, Genome, Json, rounded
from invdesign.errors import Infeasible, nearest
from invdesign.protocols import Dimension, Domain, Operator
from invdesign.rng import Rng
from invdesign.settings import Frozen, Settings
from invdesign.spaces.counted import Counted

FloatArray = NDArray[np.float64]
Value = float | str  # of one parameter; an integer parameter's is an int

COUNTABLE = 10_000_000  # above this many genomes, counting a space through is of no use
LARGEST_INTEGER = 2**50  # cell centres of larger ranges would not survive the unit interval in doubles
ETA_MUTATION = 20.0  # distribution indices of Deb et al. (2002), section V
ETA_CROSSOVER = 20.0


def polynomial(u: float, r: float, eta: float = ETA_MUTATION) -> float:
    """Bounded polynomial mutation of `u` in [0, 1] by one uniform random number `r` in [0, 1).

    Written out because DEAP's draws from the global `random`, whose seeding costs ten times the mutation.

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


def simulated_binary(a: float, b: float, r: float, eta: float = ETA_CROSSOVER) -> float:
    """The child nearer to `a` of a bounded simulated binary crossover on [0, 1], by one uniform number `r`.

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
    """One variable: which values it has, and how they lie in the unit interval."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many values it has; None for a continuum."""

    @abstractmethod
    def dimension(self, name: str) -> Dimension:
        """What optimizers on vectors are told of it."""

    @abstractmethod
    def refusal(self, value: Json) -> str:
        """What is allowed instead of `value`; empty where it is allowed."""

    @abstractmethod
    def encode(self, value: Value) -> float:
        """Place of an allowed value in [0, 1]."""

    @abstractmethod
    def decode(self, u: float) -> Value:
        """The value at `u`; inverts `encode`, and spreads uniform numbers uniformly over the values."""

    @abstractmethod
    def features(self, value: Value) -> tuple[float, ...]:
        """Numbers a model can learn from, always as many."""

    @abstractmethod
    def mutated(self, value: Value, r: float) -> Value:
        """A neighbour of `value`, by one uniform random number; itself only where there is no other."""

    def crossed(self, a: Value, b: Value, r: float) -> Value:
        """One of both parents' values, by one uniform random number."""
        return a if r < 0.5 else b


class Real(Parameter):
    """A real number. Its values are those with 12 significant digits of the number and of the range."""

    real: tuple[float, float] = Field(strict=False)
    """Lowest and highest value, inclusive."""

    @field_validator("real")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not math.isfinite(bounds[1] - bounds[0]):
            raise ValueError(f"bounds must be finite, got [{bounds[0]}, {bounds[1]}]")
        low, high = rounded(bounds[0]), rounded(bounds[1])
        if low >= high:
            raise ValueError(f"the low bound must be below the high one, got [{bounds[0]:g}, {bounds[1]:g}]")
        return low, high

    @cached_property
    def _decimals(self) -> int:
        low, high = self.real
        return SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(high - low))

    @property
    def size(self) -> None:
        return None

    def dimension(self, name: str) -> Dimension:
        return Dimension(name, "real", *self.real)

    def refusal(self, value: Json) -> str:
        low, high = self.real
        if isinstance(value, float | int) and not isinstance(value, bool) and low <= value <= high:
            return ""
        return f"a number in [{low:g}, {high:g}]"

    def encode(self, value: Value) -> float:
        low, high = self.real
        return min(max((float(value) - low) / (high - low), 0.0), 1.0)

    def decode(self, u: float) -> float:
        low, high = self.real
        # Without the grid, values near 0 would not survive the unit interval: 1 - 1e-20 is 1 in doubles.
        value = rounded(round(low + u * (high - low), self._decimals))
        return min(max(value, low), high)

    def features(self, value: Value) -> tuple[float, ...]:
        return (self.encode(value),)

    def mutated(self, value: Value, r: float) -> float:
        u = self.encode(value)
        moved = self.decode(polynomial(u, r))
        return moved if moved != value else self.decode(polynomial(u, 1.0 - r))  # off a bound, inwards

    def crossed(self, a: Value, b: Value, r: float) -> float:
        if r < 0.5:  # half of the variables exchange within their range, as in the authors' NSGA-II code
            near, far = (a, b) if r < 0.25 else (b, a)
            return self.decode(simulated_binary(self.encode(near), self.encode(far), 4.0 * (r % 0.25)))
        return self.decode(self.encode(a if r < 0.75 else b))


class Integer(Parameter):
    """A whole number; each has an equal share of the unit interval."""

    integer: tuple[int, int] = Field(strict=False)
    """Lowest and highest value, inclusive."""

    @field_validator("integer")
    @classmethod
    def _ordered(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        low, high = bounds
        if low > high:
            raise ValueError(f"the low bound must not exceed the high one, got [{low}, {high}]")
        if high - low >= LARGEST_INTEGER:
            raise ValueError(
                f"a range may hold 2^50 whole numbers, got [{low}, {high}]; use a real parameter"
            )
        return bounds

    @property
    def size(self) -> int:
        return self.integer[1] - self.integer[0] + 1

    def dimension(self, name: str) -> Dimension:
        return Dimension(name, "integer", float(self.integer[0]), float(self.integer[1]))

    def refusal(self, value: Json) -> str:
        low, high = self.integer
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return ""
        return f"a whole number in [{low}, {high}]"

    def encode(self, value: Value) -> float:
        return (int(value) - self.integer[0] + 0.5) / self.size

    def decode(self, u: float) -> int:
        return self.integer[0] + min(max(int(u * self.size), 0), self.size - 1)

    def features(self, value: Value) -> tuple[float, ...]:
        return (self.encode(value),)

    def mutated(self, value: Value, r: float) -> int:
        moved = self.decode(polynomial(self.encode(value), r))
        if moved != value:
            return moved
        low, high = self.integer  # the step was shorter than 1: take 1, inwards at a bound
        step = 1 if (r >= 0.5 and moved < high) or moved == low else -1
        return min(max(moved + step, low), high)


class Categorical(Parameter):
    """One of several names, none nearer to another."""

    categorical: tuple[str, ...] = Field(strict=False, min_length=1)
    """The names to choose from."""

    @field_validator("categorical")
    @classmethod
    def _distinct(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({choice for choice in choices if choices.count(choice) > 1})
        if repeated:
            raise ValueError(f"choices must differ, got more than one of {', '.join(repeated)}")
        return choices

    @cached_property
    def _index(self) -> dict[str, int]:
        return {choice: index for index, choice in enumerate(self.categorical)}

    @property
    def size(self) -> int:
        return len(self.categorical)

    def dimension(self, name: str) -> Dimension:
        return Dimension(name, "categorical", choices=self.categorical)

    def refusal(self, value: Json) -> str:
        if isinstance(value, str) and value in self._index:
            return ""
        return f"one of {', '.join(self.categorical)}. {nearest(str(value), self.categorical)}".strip()

    def encode(self, value: Value) -> float:
        return (self._index[str(value)] + 0.5) / self.size

    def decode(self, u: float) -> str:
        return self.categorical[min(max(int(u * self.size), 0), self.size - 1)]

    def features(self, value: Value) -> tuple[float, ...]:
        return tuple(float(choice == value) for choice in self.categorical)

    def mutated(self, value: Value, r: float) -> str:
        others = max(self.size - 1, 1)
        return self.categorical[(self._index[str(value)] + 1 + int(r * others)) % self.size]


_KINDS = ("real", "integer", "categorical")


def _kind(value: object) -> str | None:
    """The key a parameter is recognised by, in a file's mapping or in a built parameter."""
    fields = (
        value if isinstance(value, Mapping) else value.model_dump() if isinstance(value, Parameter) else ()
    )
    return next((kind for kind in _KINDS if kind in fields), None)


AnyParameter = Annotated[
    Annotated[Real, Tag("real")]
    | Annotated[Integer, Tag("integer")]
    | Annotated[Categorical, Tag("categorical")],
    Discriminator(
        _kind,
        custom_error_type="parameter",
        custom_error_message="a parameter is {real: [low, high]}, {integer: [low, high]} or {categorical: [names]}",
    ),
]


@dataclass(frozen=True, slots=True)
class ParameterOperator:
    """An operator of a parameter space."""

    arity: int
    make: Callable[[Sequence[Genome], Rng], Genome | None]

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        return self.make(parents, rng)


def natural_order(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key that puts x2 before x10."""
    return tuple((text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name))


class ParameterSpace(Settings):
    """All combinations of the values of named parameters.

    A genome holds one value per parameter: `{"x": 1.5, "n": 3, "solvent": "EC"}`. Parameters are taken in the
    natural order of their names (x2 before x10), whatever order a file lists them in. The space can be counted
    (`len`, `genome`, `blocks`) where no parameter is real and there are at most ten million genomes.
    """

    parameters: dict[str, AnyParameter] = Field(min_length=1)
    """Parameter by name: `{real: [low, high]}`, `{integer: [low, high]}` or `{categorical: [names]}`."""

    @model_validator(mode="after")
    def _counted(self) -> Self:
        size = self.size()
        if type(self) is ParameterSpace and size is not None and size <= COUNTABLE:
            # What a space can do follows from its settings, so its class does: a finite space has a length.
            object.__setattr__(self, "__class__", CountedParameterSpace)
        return self

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kind = ParameterSpace if type(self) is CountedParameterSpace else type(self)
        return {"kind": registry.name_of(kind), **handler(self)}

    @cached_property
    def _ordered(self) -> tuple[tuple[str, Parameter], ...]:
        names = sorted(self.parameters, key=lambda name: (natural_order(name), name))
        return tuple((name, self.parameters[name]) for name in names)

    @cached_property
    def _movable(self) -> tuple[str, ...]:
        return tuple(name for name, parameter in self._ordered if parameter.size != 1)

    @cached_property
    def _operators(self) -> dict[str, Operator]:
        return {
            "start": ParameterOperator(0, self._start),
            "mutate": ParameterOperator(1, self._mutate),
            "reset": ParameterOperator(1, self._reset),
            "crossover": ParameterOperator(2, self._crossover),
        }

    def operators(self) -> Mapping[str, Operator]:
        """`start` (uniform), `mutate` (near), `reset` (one parameter anew), `crossover`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """The parameters by name, in natural order.

        Raises:
            Infeasible: a parameter is missing, unknown, or has a value it does not allow.
        """
        values: dict[str, float | str] = {}
        for name, parameter in self._ordered:
            if name not in genome:
                raise Infeasible(f"the genome lacks the parameter '{name}'; it has {_listed(genome)}")
            value = genome[name]
            refusal = parameter.refusal(value)
            if refusal:
                raise Infeasible(f"parameter '{name}' must be {refusal}, got {value!r}")
            allowed = _value(genome, name)
            values[name] = float(allowed) if parameter.size is None else allowed
        unknown = [name for name in genome if name not in self.parameters]
        if unknown:
            hint = nearest(unknown[0], self.parameters)
            raise Infeasible(f"the space has no parameter '{unknown[0]}'. {hint}".strip())
        return Design(parameters=values)

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d): numbers scaled to [0, 1], one column per choice of a categorical parameter."""
        rows = [
            [
                number
                for name, parameter in self._ordered
                for number in parameter.features(_value(genome, name))
            ]
            for genome in genomes
        ]
        return np.array(rows, dtype=np.float64).reshape(len(genomes), self._width)

    @cached_property
    def _width(self) -> int:
        return sum(len(parameter.features(parameter.decode(0.0))) for _, parameter in self._ordered)

    def domain(self) -> Domain:
        return Domain(tuple(parameter.dimension(name) for name, parameter in self._ordered))

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        rows = [
            [parameter.encode(_value(genome, name)) for name, parameter in self._ordered]
            for genome in genomes
        ]
        return np.array(rows, dtype=np.float64).reshape(len(genomes), len(self._ordered))

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points (n, d); what lies outside the unit cube is moved to its surface."""
        return [self._at(row) for row in np.clip(x, 0.0, 1.0).tolist()]

    def size(self) -> int | None:
        """How many genomes there are; None with a real parameter."""
        sizes = [parameter.size for _, parameter in self._ordered]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def _at(self, point: Sequence[float]) -> dict[str, Json]:
        return {name: parameter.decode(u) for (name, parameter), u in zip(self._ordered, point, strict=True)}

    def _cleaned(self, genome: Genome) -> dict[str, Json]:
        """`genome` with its reals on their grid: one a person wrote may hold more digits."""
        return {
            name: parameter.decode(parameter.encode(_value(genome, name)))
            for name, parameter in self._ordered
        }

    def _start(self, parents: Sequence[Genome], rng: Rng) -> Genome:  # noqa: ARG002 - an operator's signature
        return self._at(rng.random(len(self._ordered)).tolist())

    def _mutate(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Every parameter moves to a neighbour with probability 1/d, at least one does."""
        if not self._movable:
            return None
        count = len(self._movable)
        chance = rng.random(2 * count + 1).tolist()
        moving = {name for name, r in zip(self._movable, chance, strict=False) if r * count < 1.0}
        moving = moving or {self._movable[int(chance[-1] * count)]}
        child = self._cleaned(parents[0])
        for name, r in zip(self._movable, chance[count:], strict=False):
            if name in moving:
                child[name] = self.parameters[name].mutated(_value(child, name), r)
        return child

    def _reset(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """One parameter is drawn anew from its whole range."""
        if not self._movable:
            return None
        which, u = rng.random(2).tolist()
        name = self._movable[int(which * len(self._movable))]
        return {**self._cleaned(parents[0]), name: self.parameters[name].decode(u)}

    def _crossover(self, parents: Sequence[Genome], rng: Rng) -> Genome:
        """Reals by simulated binary crossover, others from either parent."""
        first, second = parents
        return {
            name: parameter.crossed(_value(first, name), _value(second, name), r)
            for (name, parameter), r in zip(
                self._ordered, rng.random(len(self._ordered)).tolist(), strict=True
            )
        }


class CountedParameterSpace(ParameterSpace, Counted):
    """A parameter space that can be counted through: no parameter is real, and at most ten million genomes."""

    def numbered(self, index: int) -> Genome:
        """Genome number `index`; the last parameter runs fastest."""
        values: dict[str, Json] = {}
        for name, parameter in reversed(self._ordered):
            index, digit = divmod(index, parameter.size or 1)
            values[name] = parameter.decode((digit + 0.5) / (parameter.size or 1))
        return {name: values[name] for name, _ in self._ordered}

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """(index of the first row, features (<= size, d)) of a countable space, streamed."""
        sizes = [parameter.size or 1 for _, parameter in self._ordered]
        tables = [
            np.array([parameter.features(parameter.decode((digit + 0.5) / n)) for digit in range(n)])
            for n, (_, parameter) in zip(sizes, self._ordered, strict=True)
        ]
        for start in range(0, len(self), size):
            digits = np.unravel_index(np.arange(start, min(start + size, len(self))), sizes)
            yield start, np.hstack([table[digit] for table, digit in zip(tables, digits, strict=True)])


def _value(genome: Genome, name: str) -> Value:
    value = genome[name]
    assert isinstance(value, float | int | str)  # what `build` accepts
    return value


def _listed(genome: Genome) -> str:
    return ", ".join(map(str, genome)) or "none"
