"""Conditions that fix chemical potentials: neighbouring phases, limits of elements, a voltage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from invdesign.errors import InvdesignError
from invdesign.settings import Frozen
from invdesign.structures.charges import check_element
from invdesign.structures.formulas import parse_composition
from surrogates.stability.interface import HIGHEST_VOLTAGE
from surrogates.stability.windows import Ion

End = Literal["rich", "poor"]
Limit = tuple[str, End]


class Conditions(Frozen):
    """Surroundings of a crystal that fix the chemical potentials of its elements.

    The host is always in equilibrium with them. It alone fixes the energy of defects that leave the ratio of its elements.
    """

    equilibrium_with: tuple[str, ...] = Field(default=(), strict=False)
    """Formulas of further phases in contact with the host, `[Li2O, Li3N]`; each one fixes one potential. They are phases of the
    reference set, the lowest of each composition."""
    limits: tuple[Limit, ...] = Field(default=(), strict=False)
    """Elements at the highest or lowest potential at which no phase of the set is more stable than the host: `{Li: rich}`. Several
    are taken one after the other, in their order."""
    ion: Ion | None = None
    """The ion of an electrode in contact; needed with a voltage."""
    voltage: Annotated[float, Field(ge=-HIGHEST_VOLTAGE, le=HIGHEST_VOLTAGE, allow_inf_nan=False)] | None = (
        None
    )
    """V against the metal of `ion`: its potential is that of the metal less its charge times this."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Limits may be written by element."""
        found = handler.resolve_ref_schema(handler(schema))
        ends = {"type": "object", "additionalProperties": {"enum": ["rich", "poor"]}}
        found["properties"]["limits"] = {"anyOf": [ends, found["properties"]["limits"]]}
        return found

    @field_validator("limits", mode="before")
    @classmethod
    def _list_limits(cls, value: object) -> object:
        """List limits that are written by element, since the order of lists survives storage."""
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        return [tuple(pair) if isinstance(pair, list) else pair for pair in pairs] if isinstance(
            pairs, (list, tuple)
        ) else pairs  # fmt: skip

    @field_validator("equilibrium_with")
    @classmethod
    def _check_formulas(cls, formulas: tuple[str, ...]) -> tuple[str, ...]:
        mistakes = []
        for formula in formulas:
            try:
                parse_composition(formula)
            except InvdesignError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return formulas

    @field_validator("limits")
    @classmethod
    def _check_elements(cls, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        mistakes = []
        for number, (element, _) in enumerate(limits):
            try:
                check_element(element)
            except (InvdesignError, ValueError) as error:
                mistakes.append(str(error))
            if element in [other for other, _ in limits[:number]]:
                mistakes.append(f"{element} has two limits: leave one out")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return limits

    @model_validator(mode="after")
    def _check_ion(self) -> Conditions:
        if (self.ion is None) != (self.voltage is None):
            raise ValueError(
                "'ion' and 'voltage' belong together, as in 'ion: Li, voltage: 3.5' (V against the metal of the ion)"
            )
        return self

    def __str__(self) -> str:
        """Conditions in words: `in equilibrium with Li2O, Li3N`."""
        parts = [f"in equilibrium with {', '.join(self.equilibrium_with)}"] if self.equilibrium_with else []
        parts += [f"{element}-{end}" for element, end in self.limits]
        parts += [f"at {self.voltage:g} V against {self.ion} metal"] if self.voltage is not None else []
        return ", ".join(parts) or "without conditions"
