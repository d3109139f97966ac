"""Objectives and constraints in the form of a campaign file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from invdesign.campaign.document import Place
from invdesign.problem import DIRECTIONS, Constraint, Direction, Objective, find_objective_flaws
from invdesign.settings import Frozen

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
One = Field(min_length=1, max_length=1)
Complaint = tuple[Place, str, str]  # where, what, and a hint


class Bounds(Frozen):
    """Inclusive bounds of a property, in its unit; at least one."""

    min: Number | None = None
    """Smallest allowed value."""
    max: Number | None = None
    """Largest allowed value."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g})")
        return self


class Limits(Bounds):
    """Bounds of a constraint."""

    scale: Positive | None = None
    """A violation by this much weighs 1 beside those of other constraints; by default the larger bound's magnitude."""


class Aim(Frozen):
    """One objective: property, goal, and scale beside other objectives."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [word]} for word in DIRECTIONS]})

    minimize: Name | None = None
    """Property that should be as small as possible."""
    maximize: Name | None = None
    """Property that should be as large as possible."""
    target: Annotated[dict[str, Number], One] | None = None
    """Property and the value it should come close to, as {voltage: 3.5}."""
    window: Annotated[dict[str, Bounds], One] | None = None
    """Property and the interval it should lie in, as {band_gap: {min: 3.0, max: 4.2}}; one end may be open."""
    best: Number | None = None
    """For minimize or maximize: value from which the property is fully satisfying."""
    worst: Number | None = None
    """For minimize or maximize: value from which the property is useless."""
    tolerance: Positive | None = None
    """For target or window: distance at which a candidate is useless."""
    weight: Positive | None = None
    """Weight in the desirability, beside the other objectives; 1 by default."""
    reference: Number | None = None
    """Coordinate of the hypervolume's reference point, in the property's unit; for target or window a distance."""

    @model_validator(mode="after")
    def _check_direction(self) -> Self:
        given = [word for word in DIRECTIONS if getattr(self, word) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"an objective has one of {', '.join(DIRECTIONS)}; this one has {found}")
        return self

    @property
    def direction(self) -> Direction:
        """Direction of the objective: minimize, maximize, target or window."""
        return next(word for word in DIRECTIONS if getattr(self, word) is not None)

    @property
    def property_name(self) -> str:
        """Name of the property."""
        value = getattr(self, self.direction)
        return value if isinstance(value, str) else str(next(iter(value)))

    def objective_numbers(self) -> dict[str, float]:
        """Arguments of `Objective` besides property and direction, as far as given."""
        low = high = None
        if self.target is not None:
            ((_, low),) = self.target.items()
            high = low
        if self.window is not None:
            ((_, bounds),) = self.window.items()
            low, high = bounds.min, bounds.max
        found = {"min": low, "max": high, "best": self.best, "worst": self.worst}
        found |= {"tolerance": self.tolerance, "weight": self.weight, "reference": self.reference}
        return {name: value for name, value in found.items() if value is not None}

    def has_scale(self) -> bool:
        """True if it defines fully satisfying and useless values."""
        return self.tolerance is not None or (self.best is not None and self.worst is not None)


def named_properties(item: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Properties that an objective names, each with its place; tolerates mistakes.

    Args:
        item: one objective as the file has it.
    """
    for word in DIRECTIONS:
        value = item.get(word)
        if isinstance(value, str):
            yield (word,), value
        elif isinstance(value, dict) and word in {"target", "window"}:
            yield from (((word, name), name) for name in value)


def read_objectives(
    items: list[dict[str, Any]], scalarize: Any
) -> tuple[tuple[Objective, ...], list[Complaint]]:
    """Read the objectives and list their mistakes.

    The mistakes are those that the header's own check cannot see.

    Args:
        items: as the file has them.
        scalarize: `desirability` where the file asks for it.

    Returns:
        The objectives, none if one has a mistake; the complaints.
    """
    aims = [(number, aim) for number, aim in enumerate(map(_parse_aim, items)) if aim is not None]
    complaints: list[Complaint] = [
        ((number, key), message, "")
        for number, aim in aims
        for key, message in find_objective_flaws(aim.direction, **aim.objective_numbers())
    ]
    if not complaints and len(aims) == len(items):  # else what is missing may be what is misspelt
        complaints += [*_missing_scales(aims, scalarize), *_missing_references(aims)]
    names = [name for item in items for _, name in named_properties(item)]
    twice = sorted({name for name in names if names.count(name) > 1})
    complaints += [((), f"{name} is an objective twice", "") for name in twice]
    if complaints or len(aims) < len(items):
        return (), complaints
    return tuple(
        Objective(aim.property_name, aim.direction, **aim.objective_numbers()) for _, aim in aims
    ), complaints


def _parse_aim(item: dict[str, Any]) -> Aim | None:
    try:
        return Aim.model_validate_json(json.dumps(item))
    except ValidationError:  # the header's own check has told of it
        return None


def _missing_scales(aims: list[tuple[int, Aim]], scalarize: Any) -> Iterator[Complaint]:
    """Complain about objectives without a scale where one is needed."""
    some = any(aim.has_scale() for _, aim in aims)
    weighted = [number for number, aim in aims if aim.weight is not None]
    if scalarize is None and not some:
        for number in weighted:
            hint = "Give every objective best and worst (or a tolerance), or take the weight out."
            yield (number, "weight"), "counts in a desirability only, and the objectives have no scale.", hint
        return
    for number, aim in aims:
        if not aim.has_scale():
            plain = aim.direction in {"minimize", "maximize"}
            lacks = "best and worst" if plain else "tolerance"
            why = "scalarize: desirability" if scalarize is not None else "A desirability"
            yield (
                (number,),
                f"{why} needs the {lacks} of every objective, and this one has none.",
                f"Give {lacks}.",
            )


def _missing_references(aims: list[tuple[int, Aim]]) -> Iterator[Complaint]:
    lacking = [number for number, aim in aims if aim.reference is None]
    if lacking and len(lacking) < len(aims):
        for number in lacking:
            hint = "Give one to this objective too, or take the others out."
            yield (number,), "other objectives have a reference, and this one has none.", hint


def dump_objective(objective: Objective) -> list[Any]:
    """Write an `objective` as plain JSON.

    Direction, property, and the numbers that differ from their defaults.
    """
    numbers = {
        field.name: getattr(objective, field.name)
        for field in fields(objective)[2:]
        if getattr(objective, field.name) != field.default
    }
    return [objective.direction, objective.property, *([numbers] if numbers else [])]


def load_objective(data: list[Any]) -> Objective:
    """Read an objective from `data` that `dump_objective` wrote."""
    direction, name, *rest = data
    return Objective(name, direction, **(rest[0] if rest else {}))


def dump_constraint(constraint: Constraint) -> list[Any]:
    """Write a `constraint` as plain JSON, for `Constraint(*row)`.

    Property, bounds, and the scale if given.
    """
    row: list[Any] = [constraint.property, constraint.min, constraint.max]
    return row if constraint.scale is None else [*row, constraint.scale]
