"""Kinds of defects with their numbers, and the charge that they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from invdesign.errors import count_text
from invdesign.settings import Frozen
from invdesign.spaces.ordered_sites.amounts import REST, VACANCY, Amount, Range, SiteChoice
from invdesign.spaces.ordered_sites.charges import FormalCharges
from invdesign.structures.charges import check_element
from invdesign.structures.parents import Parent

INTERSTITIAL = "interstitial"  # name of the voids, as a group of sites
MAX_SUGGESTED = 6  # chosen; defects that a message suggests to add
FORMS = "'N on O', 'vacancy O' or 'interstitial Li'"


@dataclass(frozen=True)
class DefectKind:
    """A kind of point defect.

    Attributes:
        name: as a campaign writes it, `N on O`.
        place: label, Wyckoff site or element of the host's sites, or `interstitial`.
        species: element on the site, or `vacancy`.
    """

    name: str
    place: str
    species: str


def parse_kind(name: str) -> DefectKind:
    """Read `N on O`, `vacancy O` or `interstitial Li`.

    Raises:
        ValueError: it is none of these; the message says how to write one.
    """
    words = name.split()
    match words:
        case [species, "on", place]:
            return DefectKind(" ".join(words), place, check_element(species))
        case ["vacancy", place]:
            return DefectKind(" ".join(words), place, VACANCY)
        case ["interstitial", species]:
            return DefectKind(" ".join(words), INTERSTITIAL, check_element(species))
    raise ValueError(f"'{name}' is no defect; write {FORMS}")


class Counts(Frozen):
    """Number of defects of one kind: `2`, or bounds as `{max: 2}`, inclusive."""

    min: int = Field(default=0, ge=0)
    """Fewest in the cell."""
    max: int = Field(ge=1)
    """Most in the cell."""

    @model_validator(mode="before")
    @classmethod
    def _expand_number(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 1:
                raise ValueError(
                    f"a number of defects is 1 or more, got {value}; leave the kind out for none"
                )
            return {"min": value, "max": value}
        if not isinstance(value, Mapping | Counts):
            raise ValueError(f"expected a number of defects (2) or bounds ({{max: 2}}), got {value!r}")  # noqa: TRY004 - pydantic's
        return value

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is above max: {self.min} and {self.max}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1}, handler(schema)]}


def check_kinds(counts: Mapping[str, Counts]) -> dict[str, Counts]:
    """Check the names of all kinds at once; return them with single blanks.

    Args:
        counts: numbers by the name of the kind.

    Raises:
        ValueError: some are no kinds, or named twice.
    """
    found: dict[str, Counts] = {}
    mistakes = []
    for name, count in counts.items():
        try:
            kind = parse_kind(name)
        except ValueError as error:
            mistakes.append(str(error))
            continue
        if kind.name in found:
            mistakes.append(f"'{kind.name}' is named twice")
        found[kind.name] = count
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return found


def choose_species(unit: Parent, counts: Mapping[str, Counts]) -> dict[str, SiteChoice]:
    """Species on each group of sites that may hold a defect, the host's own first.

    Args:
        unit: cell of the host; its voids are sites named `interstitial`, where interstitials are asked for.
        counts: numbers of defects by kind.

    Raises:
        ValueError: a place is not in the host, or a defect is none there.
    """
    groups: dict[str, dict[str, Amount]] = {}
    mistakes = []
    for name, count in counts.items():
        kind = parse_kind(name)
        try:
            native = VACANCY if kind.place == INTERSTITIAL else unit.elements[unit.find_sites(kind.place)[0]]
        except ValueError as error:
            mistakes.append(str(error))
            continue
        if native == kind.species:
            mistakes.append(f"'{name}' is no defect: the host has {native} there")
            continue
        group = groups.setdefault(kind.place, {native: REST})
        group[kind.species] = count.max if count.min == count.max else Range(min=count.min, max=count.max)
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return {place: SiteChoice(species=group) for place, group in sorted(groups.items())}


def measure_charge(formal: FormalCharges, kind: DefectKind, sites: Sequence[int]) -> float | None:
    """Charge that a defect brings to the cell by formal charges; None where one is unknown.

    Args:
        formal: charges.
        kind: of the defect.
        sites: of its place, in the unit cell.
    """
    native = VACANCY if kind.place == INTERSTITIAL else formal.unit.elements[sites[0]]
    new, old = (formal.list_states(species, kind.place, sites) for species in (kind.species, native))
    if not new or not old:
        return None
    return sum(new) / len(new) - sum(old) / len(old)


def describe_charge(
    formal: FormalCharges, counts: Mapping[str, int], sites: Mapping[str, Sequence[int]]
) -> str:
    """Message on the charge of a set of defects, with what would balance it.

    Args:
        formal: charges.
        counts: defects by kind, the most nearly balanced set that the settings allow.
        sites: of each place in the unit cell.
    """
    unit = formal.unit
    charges = {
        name: measure_charge(formal, parse_kind(name), sites[parse_kind(name).place]) for name in counts
    }
    total = sum(n * (charges[name] or 0.0) for name, n in counts.items())
    listed = ", ".join(f"{n} '{name}' of {charges[name]:+g}" for name, n in counts.items() if n)
    options: list[tuple[int, int, str]] = []
    cations = sorted({e for e, s in zip(unit.elements, unit.states, strict=True) if s is not None and s > 0})
    others = [f"vacancy {e}" for e in dict.fromkeys(unit.elements) if e != VACANCY]
    others += [f"interstitial {e}" for e in cations]
    for rank, name in enumerate([*counts, *(name for name in others if name not in counts)]):
        kind = parse_kind(name)
        own = () if kind.place == INTERSTITIAL else unit.find_sites(kind.place)
        charge = measure_charge(formal, kind, own)
        more = -total / charge if charge else 0.0
        if 0 < more <= MAX_SUGGESTED and more == round(more):
            options.append((round(more), rank, f"'{name}: {counts.get(name, 0) + round(more)}'"))
    options.sort()
    remedy = f"write {' or '.join(text for *_, text in options[:3])}, " if options else ""
    return (
        f"charges do not balance: {listed} leave {total:+g} in the cell, and only neutral cells are computed, since no machine-learned "
        f"potential here knows charge; {remedy}change the numbers or oxidation_states (an element with two of them takes up charge), "
        "or set charge_neutral: false"
    )


def describe_counts(counts: Mapping[str, int]) -> str:
    """Text of numbers of defects: `2 N on O, 1 vacancy O`."""
    return ", ".join(f"{count_text(n)} {name}" for name, n in counts.items())
