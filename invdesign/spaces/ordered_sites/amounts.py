"""Amounts of species: from campaign settings to numbers of atoms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from invdesign.settings import Frozen, parse_name_list
from invdesign.spaces.framework import LISTED_SPECIES
from invdesign.structures.charges import check_element

VACANCY = "vacancy"
REST = "rest"
# Chosen; largest distance of a fraction from one with a whole number of atoms: 0.333 of 6 sites is 2 atoms.
FRACTION_TOLERANCE = 1e-3
MAX_COMPOSITIONS = 100_000  # chosen; compositions of one supercell
MAX_CELL_MULTIPLE = 24  # chosen; largest multiple of the cell that a message suggests


def _check_share(value: float | str) -> int | float | str:
    if isinstance(value, str):
        try:
            number = _parse_number(value)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(
                f"'{value}' is no amount; write a number of atoms (3), a fraction (0.25 or '1/3') or rest"
            ) from error
        _check_share(number)
    elif value < 0 or (isinstance(value, float) and not value <= 1):
        raise ValueError(
            f"got {value}; a number of atoms is whole (6), a fraction of the sites between 0.0 and 1.0"
        )
    return value


def _check_amount(value: float | str) -> int | float | str:
    return value if value == REST else _check_share(value)


Share = Annotated[int | float | str, AfterValidator(_check_share)]


class Range(Frozen):
    """Bounds of an amount, inclusive."""

    min: Share = 0
    """Number of atoms (whole) or fraction of the sites."""
    max: Share = 1.0
    """Number of atoms (whole) or fraction of the sites."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self._are_fractions():
            for bound in (self.min, self.max):
                if isinstance(bound, int) and bound > 1:
                    raise ValueError(f"{bound} atoms and a fraction do not mix in one range; use one of them")
        if self.count_fewest(1_000_000) > self.count_most(1_000_000):
            raise ValueError(f"min is above max: {self.min} and {self.max}")
        return self

    def _are_fractions(self) -> bool:
        """True if the bounds are fractions of the sites.

        One fraction makes the other bound one too, so that 1 means all sites.
        """
        return not (isinstance(self.min, int) and isinstance(self.max, int))

    def count_fewest(self, sites: int) -> int:
        """Fewest atoms on that many `sites`."""
        return (
            math.ceil(_parse_number(self.min) * sites - _allowed_rounding(sites))
            if self._are_fractions()
            else int(self.min)
        )

    def count_most(self, sites: int) -> int:
        """Most atoms on that many `sites`."""
        if not self._are_fractions():
            return min(int(self.max), sites)
        return min(math.floor(_parse_number(self.max) * sites + _allowed_rounding(sites)), sites)


def _parse_number(amount: float | str) -> float:
    """Read 0.25, `0.25` or `1/3`.

    Raises:
        ValueError, ArithmeticError: it is no number, or one too large for a float.
    """
    # Of a decimal a fraction would write out every power of ten.
    return float(Fraction(amount)) if isinstance(amount, str) and "/" in amount else float(amount)


def _allowed_rounding(sites: int) -> float:
    """Largest distance of an amount of atoms from a whole number."""
    return min(FRACTION_TOLERANCE * sites, 0.2)


Amount = Annotated[int | float | str, AfterValidator(_check_amount)] | Range


class SiteChoice(Frozen):
    """Species allowed on a group of sites, with their amounts.

    `[Li, vacancy]`, `{Li: 0.5, vacancy: rest}`, or the long form.
    """

    species: dict[str, Amount] = Field(min_length=1)
    """Amount by element or `vacancy`: atoms (3), a fraction of the sites (0.25 or "1/3"), a range, or `rest`."""
    oxidation_states: dict[str, int] = Field(default={})
    """Charge by element on these sites, where it differs from the element's elsewhere."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return {"species": dict.fromkeys(parse_name_list(value), REST)}
        if isinstance(value, str):
            raise ValueError(f"expected species, got '{value}'; write [{value}, {VACANCY}]")  # noqa: TRY004 - pydantic's
        if isinstance(value, Mapping) and "species" in value:
            species = value["species"]
            listed = isinstance(species, list | tuple)
            return {**value, "species": dict.fromkeys(parse_name_list(species), REST) if listed else species}
        return {"species": value} if isinstance(value, Mapping) else value

    @field_validator("species")
    @classmethod
    def _check_species(cls, species: dict[str, Any]) -> dict[str, Any]:
        for name in species:
            if name != VACANCY:
                check_element(name)
        return species

    @model_validator(mode="after")
    def _check_states(self) -> Self:
        unknown = sorted(set(self.oxidation_states) - set(self.species))
        if unknown:
            raise ValueError(
                f"oxidation_states name {', '.join(unknown)}, which is none of {', '.join(self.species)}"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        amount = {"anyOf": [{"type": ["number", "string"]}, {"type": "object", "additionalProperties": True}]}
        mapping = {"type": "object", "additionalProperties": amount, "minProperties": 1}
        return {"anyOf": [LISTED_SPECIES, handler(schema), mapping]}


@dataclass(frozen=True)
class AmountBounds:
    """Fewest and most atoms of each species on k sites."""

    low: tuple[int, ...]
    high: tuple[int, ...]


def resolve_amounts(name: str, choice: SiteChoice, sites: int) -> AmountBounds:
    """Convert a group's amounts to bounds on numbers of atoms.

    Args:
        name: of the group, for messages.
        choice: species with their amounts.
        sites: number of the group's sites in the cell.

    Raises:
        ValueError: an amount does not fit, or the amounts together do not fill the sites; the message names
            the nearest amounts that fit and how much larger the cell must be.
    """
    low, high = [], []
    for species, amount in choice.species.items():
        if isinstance(amount, Range):
            fewest, most = amount.count_fewest(sites), amount.count_most(sites)
            if fewest > most:
                raise ValueError(_describe_empty_range(name, species, amount, sites))
        elif amount == REST:
            fewest, most = 0, sites
        else:
            fewest = most = _count_atoms(name, species, amount, sites)
        low.append(fewest)
        high.append(most)
    if sum(low) > sites or sum(high) < sites:
        parts = ", ".join(
            f"{a if a == b else f'{a} to {b}'} {s}" for s, a, b in zip(choice.species, low, high, strict=True)
        )
        which = "more" if sum(low) > sites else "fewer"
        raise ValueError(
            f"'{name}' has {sites} sites in the cell, and {parts} are {which} than that; "
            f"let one species be '{REST}'"
        )
    return AmountBounds(tuple(low), tuple(high))


def _count_atoms(name: str, species: str, amount: float | str, sites: int) -> int:
    """Number of atoms of an amount on a group of sites.

    Raises:
        ValueError: it is larger than the group, or not a whole number.
    """
    if isinstance(amount, int):
        if amount > sites:
            raise ValueError(
                f"{amount} {species} do not fit on the {sites} sites '{name}' of the cell; "
                "take a larger cell, or a fraction as 0.5"
            )
        return amount
    share = _parse_number(amount)
    if _is_whole_number(share, sites):
        return round(share * sites)
    below, above = math.floor(share * sites), math.ceil(share * sites)
    raise ValueError(
        f"{amount} of the {sites} sites '{name}' is {share * sites:.4g} {species}, not a whole number; the "
        f"nearest that fit are {below} ({below}/{sites}) and {above} ({above}/{sites}){_suggest_larger_cells(share, sites)}"
    )


def _is_whole_number(share: float, sites: int) -> bool:
    return abs(share * sites - round(share * sites)) <= _allowed_rounding(sites)


def _suggest_larger_cells(share: float, sites: int) -> str:
    """Text on multiples of the cell in which a fraction fits."""
    times = [n for n in range(2, MAX_CELL_MULTIPLE + 1) if _is_whole_number(share, n * sites)][:3]
    return f", and cells {' or '.join(map(str, times))} times as large fit" if times else ""


def _describe_empty_range(name: str, species: str, amount: Range, sites: int) -> str:
    """Message for a range without a whole number of atoms."""
    times = next(
        (
            n
            for n in range(2, MAX_CELL_MULTIPLE + 1)
            if amount.count_fewest(n * sites) <= amount.count_most(n * sites)
        ),
        None,
    )
    larger = f"; a cell {times} times as large has one" if times else ""
    return (
        f"no whole number of {species} on the {sites} sites '{name}' lies between "
        f"{amount.min} and {amount.max}{larger}"
    )


def list_fillings(bounds: AmountBounds, sites: int) -> list[tuple[int, ...]]:
    """All numbers of atoms within `bounds` that fill `sites`, in lexicographic order.

    Raises:
        ValueError: there are more than 100,000.
    """
    found: list[tuple[int, ...]] = [()]
    for i, (low, high) in enumerate(zip(bounds.low, bounds.high, strict=True)):
        least, most = sum(bounds.low[i + 1 :]), sum(bounds.high[i + 1 :])
        longer = []
        for start in found:
            left = sites - sum(start)
            counts = range(max(low, left - most), min(high, left - least) + 1)
            longer += [(*start, count) for count in counts]
        found = longer
        if len(found) > MAX_COMPOSITIONS:
            raise ValueError(describe_wide_ranges())
    return found


def combine_fillings(groups: Sequence[Sequence[tuple[int, ...]]]) -> list[tuple[int, ...]]:
    """All combinations of one filling per group.

    Args:
        groups: fillings of each group.

    Raises:
        ValueError: there are more than 100,000.
    """
    if math.prod(map(len, groups)) > MAX_COMPOSITIONS:
        raise ValueError(describe_wide_ranges())
    found: list[tuple[int, ...]] = [()]
    for options in groups:
        found = [(*start, *option) for start in found for option in options]
    return found


def describe_wide_ranges() -> str:
    """Message for ranges that allow too many compositions."""
    return (
        f"the ranges allow more than {MAX_COMPOSITIONS} compositions; fix some amounts or narrow the ranges"
    )
