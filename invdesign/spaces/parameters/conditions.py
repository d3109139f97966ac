"""Variables that exist only where others have certain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema

from invdesign.errors import join_complaints, nearest
from invdesign.settings import Frozen

Value = float | str


class Range(Frozen):
    """Numbers from `min` to `max`, both inclusive.

    One of them may be left out.
    """

    min: float | None = None
    """Lowest number."""
    max: float | None = None
    """Highest number."""

    @model_validator(mode="after")
    def _check_order(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        if self.low > self.high or math.isnan(self.low) or math.isnan(self.high):
            raise ValueError(f"min must not exceed max, got {self.low:g} and {self.high:g}")
        return self

    @property
    def low(self) -> float:
        """Lowest number, or minus infinity."""
        return -math.inf if self.min is None else self.min

    @property
    def high(self) -> float:
        """Highest number, or infinity."""
        return math.inf if self.max is None else self.max


Options = Annotated[tuple[int | float | str, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True)
class AnyForm:
    """Lets the JSON Schema of a union accept all accepted forms.

    Attributes:
        short: types of a short form, which validators turn into a member of the union.
    """

    short: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made: dict[str, Any] = dict(handler(schema))
        # A text matches both the linear form and the expression form, so that "oneOf" would refuse it.
        forms = [*made.pop("oneOf", []), *({"type": kind} for kind in self.short)]
        return {**made, "anyOf": forms}


def _wrap_single_value(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


def _find_form_tag(value: object) -> str | None:
    if isinstance(value, Range | Mapping):
        return "range"
    return "options" if isinstance(value, list | tuple) else None


Requirement = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Options, Tag("options")],
    Discriminator(
        _find_form_tag,
        custom_error_type="condition",
        custom_error_message="a condition is a list of values, or a range {min: low, max: high}",
    ),
    BeforeValidator(_wrap_single_value),
    AnyForm(("string", "number")),
]
When = dict[str, Requirement]


class Conditional(Protocol):
    """A variable, as far as conditions need it."""

    @property
    def when(self) -> When: ...
    @property
    def size(self) -> int | None: ...
    def explain_refusal(self, value: Value) -> str: ...
    def decode(self, u: float) -> Value: ...
    def value_at(self, place: int) -> Value: ...


def meets_requirement(requirement: Requirement, value: Value) -> bool:
    """Check whether `value` meets `requirement`."""
    if isinstance(requirement, Range):
        return not isinstance(value, str) and requirement.low <= value <= requirement.high
    return value in requirement


def describe_requirement(requirement: Requirement) -> str:
    """Describe a `requirement` in words."""
    if not isinstance(requirement, Range):
        return " or ".join(map(str, requirement))
    if requirement.min is None:
        return f"at most {requirement.max:g}"
    return (
        f"at least {requirement.min:g}"
        if requirement.max is None
        else f"{requirement.min:g} to {requirement.max:g}"
    )


@dataclass(frozen=True, eq=False)
class Tree:
    """Dependencies between variables: the existence of each, given the values of others.

    Attributes:
        variables: all of a space, by name.
    """

    variables: Mapping[str, Conditional]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names in an order of dependence.

        Every variable follows those its condition is about.

        Raises:
            ValueError: conditions form a circle.
        """
        placed: dict[str, None] = {}
        waiting = list(self.variables)
        while waiting:
            ready = [name for name in waiting if all(other in placed for other in self.variables[name].when)]
            if not ready:
                raise ValueError(
                    f"conditions form a circle: {' needs '.join(self._find_circle(waiting))}; take one of them away"
                )
            placed |= dict.fromkeys(ready)
            waiting = [name for name in waiting if name not in placed]
        return tuple(placed)

    def _find_circle(self, among: Sequence[str]) -> list[str]:
        """Find a circle of conditions among these names."""
        path = [among[0]]
        while path[-1] not in path[:-1]:
            path.append(next(name for name in self.variables[path[-1]].when if name in among))
        return path[path.index(path[-1]) :]

    @cached_property
    def conditional(self) -> frozenset[str]:
        """Names of variables with a condition."""
        return frozenset(name for name, variable in self.variables.items() if variable.when)

    def check_conditions(self) -> None:
        """Refuse conditions that make no sense.

        Raises:
            ValueError: unknown names or values, circles, conditions that are never met.
        """
        complaints = []
        for name, variable in self.variables.items():
            for other, requirement in variable.when.items():
                try:
                    self._check_requirement(name, other, requirement)
                except ValueError as error:
                    complaints.append(str(error))
        if complaints:
            raise ValueError(join_complaints(complaints))
        for name in self.order:
            self._check_possible(name)

    def _check_requirement(self, name: str, other: str, requirement: Requirement) -> None:
        """Refuse one condition of `name` on `other` that makes no sense."""
        if other not in self.variables:
            hint = nearest(other, self.variables) or f"There are {', '.join(self.variables)}."
            raise ValueError(f"'{name}' depends on '{other}', which is none of the parameters. {hint}")
        parent = self.variables[other]
        numeric = not isinstance(parent.decode(0.0), str)
        if isinstance(requirement, Range):
            if not numeric:
                raise ValueError(
                    f"'{name}' asks for numbers of '{other}', which has names; list them instead"
                )
            return
        if parent.size is None:
            raise ValueError(
                f"'{name}' lists values of the real parameter '{other}'; give a range, such as "
                f"{{{other}: {{min: {min(requirement, key=str)}}}}}"
            )
        for value in requirement:
            refusal = parent.explain_refusal(value)
            if refusal:
                raise ValueError(f"'{name}' asks for {other} = {value!r}; it must be {refusal}")

    def _check_possible(self, name: str) -> None:
        """Refuse a variable whose conditions never hold together.

        Conditions of its ancestors count, too.
        """
        demands: dict[str, list[Requirement]] = {}
        for member in (name, *self.ancestors[name]):
            for other, requirement in self.variables[member].when.items():
                demands.setdefault(other, []).append(requirement)
        for other, requirements in demands.items():
            if not self._can_meet_all(other, requirements):
                wanted = " and ".join(describe_requirement(requirement) for requirement in requirements)
                raise ValueError(f"'{name}' never exists: it needs '{other}' to be {wanted}")

    def _can_meet_all(self, name: str, requirements: Sequence[Requirement]) -> bool:
        """Check whether some value of a variable meets all requirements."""
        variable = self.variables[name]
        listed = [requirement for requirement in requirements if not isinstance(requirement, Range)]
        if listed:
            return any(all(meets_requirement(r, value) for r in requirements) for value in listed[0])
        ranges = [requirement for requirement in requirements if isinstance(requirement, Range)]
        low = max(requirement.low for requirement in ranges)
        high = min(requirement.high for requirement in ranges)
        if variable.size is not None and variable.size <= 100_000:
            return any(low <= float(variable.value_at(place)) <= high for place in range(variable.size))
        return low <= high and low <= float(variable.decode(1.0)) and float(variable.decode(0.0)) <= high

    @cached_property
    def ancestors(self) -> Mapping[str, tuple[str, ...]]:
        """By name, all variables its existence depends on, at any depth.

        Each comes after its own ancestors.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name in self.order:
            above: dict[str, None] = {}
            for other in self.variables[name].when:
                above |= dict.fromkeys((*found[other], other))
            found[name] = tuple(above)
        return found

    def variable_exists(self, name: str, values: Mapping[str, Value]) -> bool:
        """Check whether a variable exists.

        Args:
            name: of the variable.
            values: of the existing variables before it in `order`.
        """
        for other, requirement in self.variables[name].when.items():
            if other not in values or not meets_requirement(requirement, values[other]):
                return False
        return True

    def limit_bounds(
        self, present: Iterable[str], name: str, bounds: tuple[float, float], value: float | None = None
    ) -> tuple[float, float]:
        """Narrow a number's bounds so that all present variables keep existing.

        Args:
            present: names of variables that exist.
            name: of the number.
            bounds: its own.
            value: its present value, where that is known: of listed values, it keeps this one.
        """
        low, high = bounds
        for other in present:
            requirement = self.variables[other].when.get(name)
            if isinstance(requirement, Range):
                low, high = max(low, requirement.low), min(high, requirement.high)
            elif requirement is not None:
                numbers = [float(number) for number in requirement if not isinstance(number, str)]
                kept = numbers if value is None else [value]
                low, high = max(low, min(kept)), min(high, max(kept))
        return low, high
