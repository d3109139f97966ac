"""Parameters with listed values, and the union of all kinds of parameters."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Json, round_number
from invdesign.errors import join_complaints, nearest
from invdesign.protocols import Dimension
from invdesign.spaces.parameters.kinds import Integer, Parameter, Real, Value, is_number, mutate_polynomially
from invdesign.tables.cells import parse_number


class _Listed(Parameter):
    """A parameter whose values are listed."""

    @property
    @abstractmethod
    def choices(self) -> tuple[Value, ...]:
        """The values, in the order of the file."""

    @cached_property
    def _index(self) -> dict[Value, int]:
        return {choice: index for index, choice in enumerate(self.choices)}

    @property
    def size(self) -> int:
        return len(self.choices)

    def parse_text(self, text: str) -> Value:
        number = parse_number(text)
        meant = (choice for choice in self.choices if choice in (text, number))
        return next(meant, text)

    @cached_property
    def _rows(self) -> dict[Value, tuple[float, ...]]:
        """Features by choice.

        They are no array, since pydantic compares the cached values of models.
        """
        return {choice: self.features(choice) for choice in self.choices}

    def features_many(self, values: Sequence[Value]) -> FloatArray:
        rows = [self._rows[value] for value in values]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.absent_features))

    def encode(self, value: Value) -> float:
        return (self._index[value] + 0.5) / self.size

    def decode(self, u: float) -> Value:
        return self.choices[min(max(int(u * self.size), 0), self.size - 1)]

    def decode_many(self, u: FloatArray) -> list[Value]:
        choices, places = self.choices, np.clip((u * self.size).astype(np.int64), 0, self.size - 1)
        return [choices[place] for place in places.tolist()]


class Ordinal(_Listed):
    """One of several ordered levels: numbers, or names from low to high."""

    ordinal: tuple[int | float | str, ...] = Field(strict=False)
    """The levels in their order."""

    @field_validator("ordinal")
    @classmethod
    def _check_levels(cls, levels: tuple[Value, ...]) -> tuple[Value, ...]:
        _check_choices(levels, "ordinal", "levels")
        numbers = [level for level in levels if not isinstance(level, str)]
        if not numbers:
            return levels
        if len(numbers) < len(levels):
            raise ValueError(f"levels must be all numbers or all names, got {list(levels)}")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"levels must be finite, got {numbers}")
        plain = (
            numbers if all(isinstance(number, int) for number in numbers) else [*map(round_number, numbers)]
        )
        rising = [a < b for a, b in pairwise(plain)]
        if 0 < sum(rising) < len(rising) or len(set(plain)) < len(plain):
            raise ValueError(f"numbers must rise or fall from level to level, got {plain}; sort them")
        return tuple(plain)

    @property
    def choices(self) -> tuple[Value, ...]:
        return self.ordinal

    @property
    def numeric(self) -> bool:
        """True if the levels are numbers."""
        return not isinstance(self.ordinal[0], str)

    def build_dimension(self, name: str) -> Dimension:
        return Dimension(name, "ordinal", choices=tuple(str(level) for level in self.ordinal))

    def explain_refusal(self, value: Json) -> str:
        same_kind = isinstance(value, float | int | str) and isinstance(value, str) != self.numeric
        if same_kind and not isinstance(value, bool) and value in self._index:
            return ""
        hint = "" if self.numeric else nearest(str(value), map(str, self.ordinal))
        return f"one of {', '.join(map(str, self.ordinal))}. {hint}".strip()

    def is_measurable(self, value: Json) -> bool:
        return self.numeric and is_number(value)

    def snap_to_allowed(self, value: Value, tolerance: float) -> Value:
        if not self.numeric or isinstance(value, str):
            return value
        near = min(self.ordinal, key=lambda level: abs(float(level) - float(value)))
        return near if abs(float(near) - float(value)) <= tolerance else value

    @property
    def extent(self) -> float:
        return abs(float(self.ordinal[-1]) - float(self.ordinal[0])) if self.numeric else 0.0

    def parse_text(self, text: str) -> Value:
        value = super().parse_text(text)
        number = parse_number(text) if self.numeric and isinstance(value, str) else None
        return value if number is None or math.isinf(number) else round_number(number)

    def encode_beyond(self, value: Value) -> float:
        """Interpolate `value` between the levels, or extrapolate along the last two."""
        if value in self._index or not self.numeric:
            return self.encode(value)
        pairs = sorted((float(level), self.encode(level)) for level in self.ordinal)
        numbers, places = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        at = min(max(int(np.searchsorted(numbers, float(value))), 1), len(numbers) - 1)
        slope = (places[at] - places[at - 1]) / (numbers[at] - numbers[at - 1])
        return places[at - 1] + slope * (float(value) - numbers[at - 1])

    def features_many(self, values: Sequence[Value]) -> FloatArray:
        if all(value in self._index for value in values):
            return super().features_many(values)
        return np.array([self.features(value) for value in values], dtype=np.float64).reshape(-1, 1)

    def features(self, value: Value) -> tuple[float, ...]:
        if not self.numeric:
            return (self._index[value] / (self.size - 1),)
        low, high = sorted((float(self.ordinal[0]), float(self.ordinal[-1])))
        return ((float(value) - low) / (high - low),)

    def mutate_value(self, value: Value, r: float) -> Value:
        """Move `value` by a number of levels, mostly one.

        Farther moves are rarer; `r` is one uniform number.
        """
        place = self._index[value]
        moved = self._index[self.decode(mutate_polynomially((place + 0.5) / self.size, r))]
        if moved == place:
            moved = place + (1 if (r >= 0.5 and place < self.size - 1) or place == 0 else -1)
        return self.choices[moved]


class Categorical(_Listed):
    """One of several names, all equally distant."""

    categorical: tuple[str, ...] = Field(strict=False)
    """The names to choose from."""
    descriptors: dict[str, dict[str, float]] = Field(default={})
    """Numbers that models see of each choice: `{EC: {dielectric: 89.8}, DMC: {dielectric: 3.1}}`."""

    @field_validator("categorical")
    @classmethod
    def _check_choice_names(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        _check_choices(choices, "categorical", "choices")
        return choices

    @model_validator(mode="after")
    def _check_described_choices(self) -> Categorical:
        if not self.descriptors:
            return self
        complaints = []
        for choice in self.descriptors:
            if choice not in self.categorical:
                hint = nearest(choice, self.categorical)
                complaints.append(f"descriptors are given for '{choice}', which is no choice. {hint}".strip())
        missing = [f"'{choice}'" for choice in self.categorical if choice not in self.descriptors]
        if missing:
            complaints.append(
                f"descriptors of {', '.join(missing)} are missing; give them for every choice, or for none"
            )
        if complaints:
            raise ValueError(join_complaints(complaints))
        self._check_descriptors()
        return self

    def _check_descriptors(self) -> None:
        names = list(self.descriptors[self.categorical[0]])
        for choice, numbers in self.descriptors.items():
            odd = sorted(set(names) ^ set(numbers))
            if odd or not names:
                listed = ", ".join(odd) or "at least one"
                raise ValueError(f"every choice needs the same descriptors; '{choice}' differs in {listed}")
            if not all(map(math.isfinite, numbers.values())):
                raise ValueError(f"descriptors must be finite, got {numbers} for '{choice}'")
        for name in names:
            if len({numbers[name] for numbers in self.descriptors.values()}) == 1:
                raise ValueError(f"the descriptor '{name}' is the same for every choice; leave it out")
        known: dict[tuple[float, ...], str] = {}
        for choice in self.categorical:
            place = tuple(self.descriptors[choice][name] for name in names)
            if place in known:
                raise ValueError(
                    f"'{known[place]}' and '{choice}' have the same descriptors, so no model can tell them "
                    "apart; add one that differs"
                )
            known[place] = choice

    @property
    def choices(self) -> tuple[Value, ...]:
        return self.categorical

    @cached_property
    def _standard_descriptors(self) -> dict[str, tuple[float, ...]]:
        """Standardised descriptors by choice, names sorted.

        They have mean 0 and standard deviation 1 over the choices.
        """
        names = sorted(self.descriptors[self.categorical[0]])
        table = np.array([[self.descriptors[choice][name] for name in names] for choice in self.categorical])
        scaled = (table - table.mean(axis=0)) / table.std(axis=0)
        return {choice: tuple(row) for choice, row in zip(self.categorical, scaled.tolist(), strict=True)}

    @cached_property
    def absent_features(self) -> tuple[float, ...]:
        return (0.0,) * len(self.features(self.categorical[0]))

    def build_dimension(self, name: str) -> Dimension:
        return Dimension(name, "categorical", choices=self.categorical)

    def explain_refusal(self, value: Json) -> str:
        if isinstance(value, str) and value in self._index:
            return ""
        return f"one of {', '.join(self.categorical)}. {nearest(str(value), self.categorical)}".strip()

    def features(self, value: Value) -> tuple[float, ...]:
        if self.descriptors:
            return self._standard_descriptors[str(value)]
        return tuple(float(choice == value) for choice in self.categorical)

    @property
    def feature_names(self) -> tuple[str, ...]:
        if self.descriptors:
            return tuple(f".{name}" for name in sorted(self.descriptors[self.categorical[0]]))
        return tuple(f"={choice}" for choice in self.categorical)

    def mutate_value(self, value: Value, r: float) -> Value:
        return self.categorical[(self._index[value] + 1 + int(r * (self.size - 1))) % self.size]


def _check_choices(choices: Sequence[Value], kind: str, what: str) -> None:
    if len(choices) < 2:
        held = f"holds {choices[0]!r} alone" if choices else "is empty"
        raise ValueError(
            f"{kind} needs two or more {what}, and the list {held}; a value that never changes is no parameter: "
            "leave it out, and state it in the campaign's description"
        )
    repeated = sorted({str(choice) for choice in choices if choices.count(choice) > 1})
    if repeated:
        raise ValueError(f"{what} must differ, got more than one of {', '.join(repeated)}")


_KINDS = ("real", "integer", "ordinal", "categorical")


def _find_kind_tag(value: object) -> str | None:
    """Find the tag of a parameter's kind.

    The parameter is a file's mapping, or built already.
    """
    fields = (
        value if isinstance(value, Mapping) else value.model_dump() if isinstance(value, Parameter) else ()
    )
    # The tag differs from the key, so that the place of a mistake is found in the file.
    return next((f"{kind} parameter" for kind in _KINDS if kind in fields), None)


AnyParameter = Annotated[
    Annotated[Real, Tag("real parameter")]
    | Annotated[Integer, Tag("integer parameter")]
    | Annotated[Ordinal, Tag("ordinal parameter")]
    | Annotated[Categorical, Tag("categorical parameter")],
    Discriminator(
        _find_kind_tag,
        custom_error_type="parameter",
        custom_error_message="a parameter is {real: [low, high]}, {integer: [low, high]}, {ordinal: [levels]} "
        "or {categorical: [names]}",
    ),
]
