"""Names of the columns in files of batches and results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from invdesign.campaign.model import Campaign
from invdesign.errors import nearest
from invdesign.properties import describe_property, is_structure
from invdesign.protocols import TabledSpace
from invdesign.tables.units import is_same_unit, is_unit, split_heading

CANDIDATE, STAGE, FORMULA, STRUCTURE = "candidate", "stage", "formula", "structure"
FAILURE, LABEL, NOTE, GENOME = "failure", "measurement", "note", "genome"
RESERVED_HEADINGS = (CANDIDATE, STAGE, FORMULA, STRUCTURE, FAILURE, LABEL, NOTE, GENOME)
NOISE_ENDING = "_noise"  # of the column with one standard deviation of repeating the measurement
OLDER_NOISE_ENDING = "_uncertainty"  # the same in files of earlier versions
DESIGN_PREFIX = "design "  # of a design column whose name another column has

Kind = Literal["reserved", "value", "noise", "design"]


@dataclass(frozen=True, slots=True)
class Column:
    """Meaning of a column: its kind, and the name of its property or design part."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Layout:
    """Columns that files of a campaign may have.

    Attributes:
        stages: unit by property, for every stage that gives numbers.
        external: names of the stages whose results come from outside.
        lacking: a structure by stage, for stages that give structures, which no file of rows can hold.
        design: names of the design's columns.
    """

    stages: Mapping[str, Mapping[str, str]]
    external: tuple[str, ...]
    lacking: Mapping[str, str] = field(default_factory=dict)
    design: tuple[str, ...] = ()

    @classmethod
    def of_campaign(cls, campaign: Campaign, more: Iterable[str] = ()) -> Layout:
        """Make the layout of a `campaign`.

        Args:
            campaign: to read.
            more: parameters of designs beside the columns of the space.
        """
        space = campaign.space
        written = space.table_columns() if isinstance(space, TabledSpace) else ()
        stages: dict[str, dict[str, str]] = {}
        lacking = {}
        for name, evaluator in campaign.evaluators.items():
            units = evaluator.provides.items()
            stages[name] = {
                key: describe_property(key, unit).unit for key, unit in units if not is_structure(key)
            }
            made = [key for key, _ in units if is_structure(key)]
            if made:
                lacking[name] = made[0]
        external = tuple(stage.name for stage in campaign.stages if stage.external)
        return cls(stages, external, lacking, tuple(dict.fromkeys([*written, *more])))

    @property
    def units(self) -> dict[str, str]:
        """Unit by property, over all stages."""
        return {name: unit for units in self.stages.values() for name, unit in units.items()}

    def property_heading(self, name: str, unit: str | None = None) -> str:
        """Heading of a property's column.

        Args:
            name: of the property.
            unit: to write; the property's own by default, none if empty.
        """
        unit = self.units[name] if unit is None else unit
        return f"{name} [{unit}]" if unit else name

    def design_heading(self, name: str) -> str:
        """Heading of the design column `name`, prefixed where that is taken."""
        return f"{DESIGN_PREFIX}{name}" if name in RESERVED_HEADINGS or self._find_property(name) else name

    def _find_property(self, name: str) -> Column | None:
        if name in self.units:
            return Column("value", name)
        of = name.removesuffix(NOISE_ENDING).removesuffix(OLDER_NOISE_ENDING)
        return Column("noise", of) if of != name and of in self.units else None

    def find_column(self, heading: str) -> Column | str:
        """Find the meaning of a column by its `heading`; else a message."""
        if heading in RESERVED_HEADINGS:
            return Column("reserved", heading)
        by_heading = {self.design_heading(name): name for name in self.design}
        if heading in by_heading:
            return Column("design", by_heading[heading])
        found, unit = self.match_property(heading)
        if found is not None:
            same = unit is None or is_same_unit(unit, self.units[found.name])
            return found if same else self._unit_message(found, str(unit))
        bare, unit = split_heading(heading)
        # Parameters have no unit to compare it with.
        if bare in by_heading and unit is not None and is_unit(unit):
            return Column("design", by_heading[bare])
        known = [*RESERVED_HEADINGS, *by_heading, *self.units, *(name + NOISE_ENDING for name in self.units)]
        hint = nearest(split_heading(heading)[0], known) or f"Known are: {', '.join(known)}."
        return f"no column of this run's files is called so. {hint} Remarks go into the column {NOTE}."

    def match_property(self, heading: str) -> tuple[Column | None, str | None]:
        """Property column and unit in a `heading`, whatever the unit; None if unknown."""
        name, unit = split_heading(heading)
        return self._find_property(name), unit

    def _unit_message(self, found: Column, unit: str) -> str:
        name = found.name + (NOISE_ENDING if found.kind == "noise" else "")
        wanted = self.units[found.name]
        right = self.property_heading(name, wanted)
        has = f"in {wanted}" if wanted else "a number without unit"
        return (
            f"is in {unit or 'no unit'} by its heading, and in the campaign {found.name} is {has}: convert the "
            f"numbers, and head the column '{right}'"
        )
