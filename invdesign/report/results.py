"""Objectives and results in words and numbers: best values, hypervolume, the table of the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.problem import Merit, Objective
from invdesign.properties import describe_property
from invdesign.report.growth import Hypervolume
from invdesign.report.tables import Facts
from invdesign.report.text import distance_text, format_number, goal_text, pretty_unit, with_unit
from invdesign.wording import join_words

MAX_FRONT_ROWS = 50  # listed members of a front; chosen
MAX_BEST_ROWS = 25  # listed candidates if one value ranks them; chosen
GOAL_VERBS = {"target": "bring", "window": "keep"}


def property_label(name: str, units: Mapping[str, str]) -> str:
    """Label of the property `name`; `units` by property."""
    return describe_property(name, units.get(name, "")).label


@dataclass(frozen=True, slots=True)
class ObjectiveText:
    """An objective in words, `bring` **Voltage** `to 3.5 V`, with its scale."""

    verb: str
    label: str
    goal: str
    name: str
    scale: str = ""
    structure: str = ""

    def __str__(self) -> str:
        measured = f"({self.structure})" if self.structure else ""
        return join_words(self.verb, self.label, measured, self.goal)


def objective_texts(facts: Facts) -> list[ObjectiveText]:
    """Describe every objective of `facts`."""
    return [
        _objective_text(item, facts.units, facts.structures.get(item.property, ""))
        for item in facts.objectives
    ]


def _objective_text(item: Objective, units: Mapping[str, str], structure: str) -> ObjectiveText:
    unit = units.get(item.property, "")
    scale = [
        with_unit(f"{word} {format_number(value)}", pretty_unit(unit))
        for word in ("best", "worst", "tolerance", "reference")
        if (value := getattr(item, word)) is not None
    ]
    if item.weight != 1:
        scale.append(f"weight {format_number(item.weight)}")
    verb = GOAL_VERBS.get(item.direction, item.direction)
    return ObjectiveText(
        verb,
        property_label(item.property, units),
        goal_text(item, unit),
        item.property,
        ", ".join(scale),
        structure,
    )


@dataclass(frozen=True, slots=True)
class BestValue:
    """Best value of an objective, or its value at the best score.

    Attributes:
        words: the objective.
        value: with errors and unit; empty where none is known.
        candidate: number of the first candidate with it.
        formula: of that candidate.
        alike: number of other feasible candidates with the same value.
    """

    words: str
    value: str
    candidate: int | None
    formula: str
    alike: int = 0


def best_values(facts: Facts) -> list[BestValue]:
    """Best values of `facts`: the desirability, if any, then every objective."""
    rows = []
    texts = [str(item) for item in objective_texts(facts)]
    if facts.scalarized:
        texts = ["maximize Desirability", *texts]
    for words, best in zip(texts, facts.status.best, strict=True):
        if best.candidate is None:
            rows.append(BestValue(words, "", None, ""))
            continue
        scored = facts.scalarized and not rows
        value = format_number(best.value or 0.0) if scored else facts.full_text(best.property, best.candidate)
        alike = 0 if facts.scalarized else _count_alike(facts, best.property, best.candidate)
        rows.append(BestValue(words, value, best.candidate, facts.formulas[best.candidate], alike))
    return rows


def _count_alike(facts: Facts, name: str, id: int) -> int:
    """Count feasible candidates other than `id` with its value of property `name`."""
    column = facts.columns[name]
    others = [other for other in facts.feasible_ids() if other != id]
    return int(np.isclose(column[others], column[id], rtol=1e-9, atol=1e-9).sum())


# Hypervolume.


@dataclass(frozen=True, slots=True)
class GrowthText:
    """The hypervolume in words."""

    final: str
    reference: str
    origin: str


def growth_text(facts: Facts, growth: Hypervolume) -> GrowthText:
    """Describe the final hypervolume, its reference point and that point's origin.

    Args:
        facts: of the run.
        growth: of the hypervolume.
    """
    places = [
        f"{item.property} {with_unit(_coordinate_text(item, float(value)), pretty_unit(facts.units[item.property]))}"
        for item, value in zip(facts.objectives, growth.reference, strict=True)
    ]
    final = with_unit(format_number(float(growth.values[-1])), growth.unit)
    if growth.box > 0:
        final += f" ({format_number(100 * float(growth.values[-1]) / growth.box)} % of the box)"
    origin = (
        "as the campaign gives it; candidates beyond it do not count."
        if growth.given
        else "the worst feasible value of each objective with a tenth of the range added."
    )
    return GrowthText(final, ", ".join(places), origin)


def _coordinate_text(item: Objective, value: float) -> str:
    return format_number(-value if item.direction == "maximize" else value) + (
        " off" if item.direction in {"target", "window"} else ""
    )


# The table of the front, or of the best.


@dataclass(frozen=True, slots=True)
class TableRow:
    """One candidate of the table.

    Attributes:
        cells: desirability where there is one, then objectives (of targets and windows also how far off), then
            constraints that are no objectives.
        outside: True if it was made outside the space.
        lost: `no longer an anti-perovskite` of a candidate that fell into another structure.
        name: that the space gives it.
    """

    rank: int
    id: int
    formula: str
    feasible: bool
    cells: tuple[str, ...]
    outside: bool = False
    lost: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The front by its first objective, or the best candidates in order."""

    heads: tuple[str, ...]
    rows: tuple[TableRow, ...]
    total: int


def ranking_table(facts: Facts) -> Table:
    """Table of the front or of the best candidates of `facts`.

    At most 50 members of a front, evenly chosen; the best 25 where one value ranks.
    """
    several = facts.ranked_by > 1
    ids = facts.front if several else facts.ranking
    total = len(ids)
    if several and total > MAX_FRONT_ROWS:
        ids = ids[np.unique(np.linspace(0, total - 1, MAX_FRONT_ROWS).round().astype(np.int64))]
    elif not several:
        ids = ids[:MAX_BEST_ROWS]
    rows = tuple(
        TableRow(
            rank=place,
            id=int(id),
            formula=facts.formulas[id],
            name=facts.name_of(int(id)),
            feasible=bool(facts.scores.merit[id] == Merit.FEASIBLE),
            cells=_row_cells(facts, int(id)),
            outside=int(id) in facts.outside,
            lost=words if gone else "",
        )
        for place, id in enumerate(ids, 1)
        for gone, words in [facts.describe_fate(int(id))]
    )
    return Table(_table_heads(facts), rows, total)


def _table_heads(facts: Facts) -> tuple[str, ...]:
    heads = ["Desirability"] if facts.desirability is not None else []
    for item in facts.objectives:
        heads.append(facts.property_heading(item.property))
        if item.direction in {"target", "window"}:
            heads.append(f"Off {item.direction}")
    return (*heads, *(facts.property_heading(name) for name in _other_properties(facts)))


def _other_properties(facts: Facts) -> Sequence[str]:
    """Properties of constraints that are no objectives."""
    return facts.run.campaign.problem.properties[len(facts.objectives) :]


def _row_cells(facts: Facts, id: int) -> tuple[str, ...]:
    cells = [] if facts.desirability is None else [format_number(float(facts.desirability[id]))]
    for item, value in zip(facts.objectives, facts.minimised[id], strict=True):
        cells.append(facts.cell_text(item.property, id))
        if item.direction in {"target", "window"}:
            cells.append("" if np.isnan(value) else distance_text(item, float(value)).removesuffix(" off"))
    return (*cells, *(facts.cell_text(name, id) for name in _other_properties(facts)))
