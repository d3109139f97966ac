"""What the columns of batch and results files are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from invdesign.campaign.model import Campaign
from invdesign.errors import nearest
from invdesign.properties import describe, is_structure
from invdesign.protocols import TabledSpace
from invdesign.tables.units import is_same_unit, is_unit, split_heading

CANDIDATE, STAGE, FORMULA, STRUCTURE = "candidate", "stage", "formula", "structure"
FAILURE, LABEL, NOTE, GENOME = "failure", "measurement", "note", "genome"
RESERVED_HEADINGS = (CANDIDATE, STAGE, FORMULA, STRUCTURE, FAILURE, LABEL, NOTE, GENOME)
NOISE_ENDING = "_noise"  # added to a property's name: one standard deviation of repeating the measurement
OLDER_NOISE_ENDING = "_uncertainty"  # the same in files of earlier versions
DESIGN_PREFIX = "design "  # before the name of a design column that another column has already

Kind = Literal["reserved", "value", "noise", "design"]


@dataclass(frozen=True, slots=True)
class Column:
    """What a column holds: of which property or part of the design, by name."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Layout:
    """The columns that files of a campaign may have.

    Attributes:
        stages: unit by property of every stage that says numbers.
        external: names of the stages whose results come from outside.
        lacking: structures by stage, for those that give some: no file of rows can tell such a stage's result.
        design: names of the design's columns.
    """

    stages: Mapping[str, Mapping[str, str]]
    external: tuple[str, ...]
    lacking: Mapping[str, str] = field(default_factory=dict)
    design: tuple[str, ...] = ()

    @classmethod
    def of_campaign(cls, campaign: Campaign, more: Iterable[str] = ()) -> Layout:
        """The layout of a campaign.

        Args:
            more: what its candidates' designs hold beside what their space writes in columns.
        """
        space = campaign.space
        written = space.table_columns() if isinstance(space, TabledSpace) else ()
        stages: dict[str, dict[str, str]] = {}
        lacking = {}
        for name, evaluator in campaign.evaluators.items():
            units = evaluator.provides.items()
            stages[name] = {key: describe(key, unit).unit for key, unit in units if not is_structure(key)}
            made = [key for key, _ in units if is_structure(key)]
            if made:
                lacking[name] = made[0]
        external = tuple(stage.name for stage in campaign.stages if stage.external)
        return cls(stages, external, lacking, tuple(dict.fromkeys([*written, *more])))

    @property
    def units(self) -> dict[str, str]:
        """Unit by property, of whatever stage."""
        return {name: unit for units in self.stages.values() for name, unit in units.items()}

    def property_heading(self, name: str, unit: str | None = None) -> str:
        """The heading of a property's column, with its unit where there is one."""
        unit = self.units[name] if unit is None else unit
        return f"{name} [{unit}]" if unit else name

    def design_heading(self, name: str) -> str:
        """The heading of a column of the design, set apart where another column has that name."""
        return f"{DESIGN_PREFIX}{name}" if name in RESERVED_HEADINGS or self._find_property(name) else name

    def _find_property(self, name: str) -> Column | None:
        if name in self.units:
            return Column("value", name)
        of = name.removesuffix(NOISE_ENDING).removesuffix(OLDER_NOISE_ENDING)
        return Column("noise", of) if of != name and of in self.units else None

    def find_column(self, heading: str) -> Column | str:
        """What a column with this heading holds; what is wrong with the heading, in words, where that is not known."""
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
        if (
            bare in by_heading and unit is not None and is_unit(unit)
        ):  # parameters have no unit to compare it with
            return Column("design", by_heading[bare])
        known = [*RESERVED_HEADINGS, *by_heading, *self.units, *(name + NOISE_ENDING for name in self.units)]
        hint = nearest(split_heading(heading)[0], known) or f"Known are: {', '.join(known)}."
        return f"no column of this run's files is called so. {hint} Remarks go into the column {NOTE}."

    def match_property(self, heading: str) -> tuple[Column | None, str | None]:
        """The property's column that a heading means, whatever unit it names; and that unit."""
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
