"""Settings of a mixture: components, bounds, counts, supercells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from invdesign.settings import Frozen, parse_name_list
from invdesign.spaces.mixture.charges import is_ion, parse_species

Pair = Annotated[tuple[float, float], Field(strict=False)]


class Component(Frozen):
    """Limits of one component: `{min: 0.1, max: 0.5}`, in short `[0.1, 0.5]`."""

    min: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Least fraction; above 0 the component is always present."""
    max: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Greatest fraction; the mixture's total where not given, 1 where that is free."""
    step: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """The fraction is a multiple of it; the mixture's step where not given."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(f"bounds are two numbers, [least, greatest], got {list(value)}")
            return {"min": value[0], "max": value[1]}
        if type(value) in {int, float}:
            raise ValueError(
                f"bounds are two numbers; a fraction that never changes is [{value:g}, {value:g}]"
            )
        return value

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min must not exceed max, got {self.min:g} and {self.max:g}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        bounds = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        return {"anyOf": [{"type": "null"}, bounds, handler(schema)]}


class Mixture(Frozen):
    """Fractions of some components that add up to a total.

    The short form is the list of their names.
    """

    components: dict[str, Component] = Field(min_length=1)
    """Limits by name, or a list of names: ions (`La3+`), elements, formulas, or any names (solvents, salts)."""
    total: float | Pair | Literal["free"] = 1.0
    """Sum of the fractions, or `[least, greatest]`, or `free`: the bounds of the components alone."""
    step: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Every fraction is a multiple of it; any value where not given."""
    at_most: int | None = Field(default=None, ge=1)
    """Largest number of present components."""
    at_least: int = Field(default=0, ge=0)
    """Smallest number of present components."""
    present_from: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Least fraction of a component that is present; below it there is only 0."""
    multiplicity: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Atoms (or formula units) per formula unit that a sum of 1 stands for: 2 for Zr in Li7La3Zr2O12. Where it is
    given, components are elements, ions or formulas; ions have 1 where it is not."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: object) -> object:
        fields = {"components": value} if isinstance(value, list | tuple) else value
        if not isinstance(fields, Mapping) or not isinstance(fields.get("components"), list | tuple):
            return fields
        return {**fields, "components": {name: {} for name in parse_name_list(fields["components"])}}

    @field_validator("total")
    @classmethod
    def _check_total(cls, total: float | tuple[float, float] | str) -> float | tuple[float, float] | str:
        if isinstance(total, str):
            return total
        low, high = total if isinstance(total, tuple) else (total, total)
        if not (math.isfinite(high) and 0.0 <= low <= high and high > 0.0):
            raise ValueError(f"a total is above 0, or [least, greatest], or free; got {total}")
        return total

    @model_validator(mode="after")
    def _check_components(self) -> Self:
        for name in filter(is_ion, self.components):
            parse_species(name)
        count = len(self.components)
        fixed = isinstance(self.total, float | int) or (
            isinstance(self.total, tuple) and self.total[0] == self.total[1]
        )
        if count == 1 and fixed:
            raise ValueError(
                f"a mixture of {next(iter(self.components))} alone has nothing to choose; name another component, "
                "let its total be a range or free, or put it under `fixed`"
            )
        for name, component in self.components.items():
            if component.min > self.upper_bound(name):
                hint = ""
                if 1.0 < component.min <= 100.0 and self.range[1] == 1.0:
                    hint = ". Per cent? Divide by 100, or say total: 100"
                raise ValueError(
                    f"{name} has min {component.min:g}, which is more than its greatest fraction can be, "
                    f"{self.upper_bound(name):g}{hint}"
                )
        if self.at_least > min(count, self.at_most or count):
            raise ValueError(
                f"at_least {self.at_least} must not exceed at_most and the {count} components there are"
            )
        if self.at_least > 1 and self.present_from == 0.0:
            raise ValueError(
                f"at_least {self.at_least} needs present_from: the least fraction that counts as present, "
                "such as 0.01"
            )
        required = [name for name, component in self.components.items() if component.min > 0]
        if self.at_most is not None and len(required) > self.at_most:
            raise ValueError(
                f"{', '.join(required)} have a min above 0, so they are always present, but at_most is {self.at_most}"
            )
        return self

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest sum that the total allows.

        The bounds may allow less.
        """
        if isinstance(self.total, tuple):
            return self.total
        if isinstance(self.total, str):
            return 0.0, sum(1.0 if c.max is None else c.max for c in self.components.values())
        return float(self.total), float(self.total)

    def upper_bound(self, name: str) -> float:
        """Greatest fraction of component `name`."""
        given = self.components[name].max
        if given is None:
            return 1.0 if isinstance(self.total, str) else self.range[1]
        return min(given, self.range[1])

    def component_step(self, name: str) -> float:
        """Step of component `name`; 0 for none."""
        return self.components[name].step or self.step or 0.0

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
        full = handler(schema)
        resolved = handler.resolve_ref_schema(full)
        named = resolved["properties"]["components"]
        if "anyOf" not in named:
            kept = {key: named.pop(key) for key in list(named) if key not in {"title", "description"}}
            named["anyOf"] = [names, kept]
        return {"anyOf": [names, full]}


class Cells(Frozen):
    """Supercells that a mixture may be realised in."""

    max_atoms: int | None = Field(default=None, ge=1)
    """Every number of unit cells up to so many atoms, each as compact as it can be."""
    multiples: tuple[Annotated[tuple[int, int, int], Field(strict=False)], ...] = Field(
        default=(), strict=False
    )
    """These repetitions of the unit cell along its axes, instead."""

    @model_validator(mode="after")
    def _check_one_choice(self) -> Self:
        if (self.max_atoms is None) == (not self.multiples):
            raise ValueError(
                "give max_atoms, such as {max_atoms: 40}, or multiples, such as [[1, 1, 2], [2, 2, 2]]"
            )
        wrong = [multiple for multiple in self.multiples if min(multiple) < 1]
        if wrong:
            raise ValueError(f"repetitions are 1 or more, got {list(wrong[0])}")
        return self
