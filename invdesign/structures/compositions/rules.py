"""Rules that charge-neutral compositions keep: elements, states, counts and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from invdesign.structures.charges import check_element

MAX_COUNT = 100  # of one element in a formula; chosen
MAX_STATE = 9  # largest known oxidation state: iridium in IrO4+, G. Wang et al., Nature 514, 475 (2014)
MAX_ELEMENTS = 12  # in one formula; chosen
SHOWN_PROBLEMS = 10  # mistakes listed at once (chosen)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """Demands on one element of a formula, whichever element it is.

    Attributes:
        states: oxidation states, ascending; all atoms of the element have the same one.
        counts: fewest and most atoms in a formula that holds the element.
    """

    states: tuple[int, ...]
    counts: tuple[int, int]

    @property
    def is_single(self) -> bool:
        """True if there is one state."""
        return len(self.states) == 1


@dataclass(frozen=True)
class CompositionRules:
    """Rules that define a set of charge-neutral compositions.

    A composition has whole counts without a common divisor. One state of each element can be chosen so that the charges add up to
    zero.

    Attributes:
        states: oxidation states of each allowed element.
        required: groups of elements; a formula holds at least one of each group.
        elements_per_formula: fewest and most different elements in a formula.
        max_count: largest count of one element.
        counts: fewest and most atoms of single elements, where they differ from 1 and `max_count`; a formula may still lack them.
        max_atoms: largest number of atoms in a formula; None for no limit of its own.

    Raises:
        ValueError: rules that cannot be kept; all mistakes at once.
    """

    states: Mapping[str, tuple[int, ...]]
    required: tuple[tuple[str, ...], ...] = ()
    elements_per_formula: tuple[int, int] = (2, 4)
    max_count: int = 12
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    max_atoms: int | None = None

    def __post_init__(self) -> None:
        problems = list(_list_problems(self))
        if problems:
            more = len(problems) - SHOWN_PROBLEMS
            shown = problems[:SHOWN_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
            raise ValueError("; ".join(shown))

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Symbols of the allowed elements, in the order given."""
        return tuple(self.states)

    def slot(self, element: str) -> Slot:
        """Demands on an allowed `element`."""
        low, high = self.counts.get(element, (1, self.max_count))
        return Slot(tuple(sorted(set(self.states[element]))), (low, min(high, self.max_count)))

    @cached_property
    def most_atoms(self) -> int:
        """Largest number of atoms that a formula can have under all rules."""
        highest = sorted((self.slot(name).counts[1] for name in self.elements), reverse=True)
        most = sum(highest[: self.elements_per_formula[1]])
        return most if self.max_atoms is None else min(most, self.max_atoms)

    def explain_exclusion(self, counts: Mapping[str, int]) -> str:
        """Say which rule a composition breaks; empty where it keeps all of them.

        Args:
            counts: atoms by element, from 1.
        """
        for name, count in counts.items():
            if name not in self.states:
                return f"{name} is no allowed element; there are {', '.join(self.elements)}"
            low, high = self.slot(name).counts
            if not low <= count <= high:
                return f"the count of {name} must lie between {low} and {high}, got {count}"
        low, high = self.elements_per_formula
        if not low <= len(counts) <= high:
            return f"a formula must hold {low} to {high} elements, got {len(counts)}"
        for group in self.required:
            if not set(group) & set(counts):
                return f"a formula must hold {' or '.join(group)}"
        total = sum(counts.values())
        if self.max_atoms is not None and total > self.max_atoms:
            return f"a formula must hold {self.max_atoms} atoms at most, got {total}"
        divisor = math.gcd(*counts.values())
        if divisor > 1:
            return f"a formula must be reduced; divide its counts by {divisor}"
        charges = {0}
        for name, count in counts.items():
            charges = {charge + count * state for charge in charges for state in self.states[name]}
        if 0 not in charges:
            nearest = min(charges, key=lambda charge: (abs(charge), charge))
            return f"the charges of its elements never add up to zero; the nearest total is {nearest:+d}"
        return ""


def _list_problems(rules: CompositionRules) -> Iterator[str]:
    """List the mistakes of rules in words."""
    for name, states in rules.states.items():
        yield from _list_element_problems(name, states)
    low, high = rules.elements_per_formula
    if not 1 <= low <= high <= MAX_ELEMENTS:
        yield f"elements per formula must be a range within 1 and {MAX_ELEMENTS}, got {low} to {high}"
    elif low > len(rules.states):
        yield f"formulas of {low} or more elements need as many allowed elements, got {len(rules.states)}"
    if not 1 <= rules.max_count <= MAX_COUNT:
        yield f"the largest count of an element must lie between 1 and {MAX_COUNT}, got {rules.max_count}"
    if rules.max_atoms is not None and rules.max_atoms < low:
        yield f"a formula of {low} elements has {low} atoms or more, so that max_atoms {rules.max_atoms} allows none"
    yield from _list_count_problems(rules)
    yield from _list_group_problems(rules)


def _list_count_problems(rules: CompositionRules) -> Iterator[str]:
    """List the mistakes of the counts of single elements."""
    for name, (fewest, most) in rules.counts.items():
        if name not in rules.states:
            yield f"counts are given for {name}, which is no allowed element"
        if not 1 <= fewest <= most or fewest > rules.max_count:
            yield f"counts of {name} must be a range within 1 and max_count {rules.max_count}, got {fewest} to {most}"


def _list_group_problems(rules: CompositionRules) -> Iterator[str]:
    """List the mistakes of the required groups."""
    high = rules.elements_per_formula[1]
    for group in rules.required:
        if not group:
            yield "a required group names no element; name one or more, or leave the group out"
        for name in group:
            if name not in rules.states:
                yield f"{name} is required and no allowed element; add it to the elements with its states"
    if len(rules.required) > high and not _share_elements(rules.required):
        yield f"{len(rules.required)} required groups do not fit into formulas of at most {high} elements"


def _share_elements(groups: tuple[tuple[str, ...], ...]) -> bool:
    """True if an element is in two groups."""
    names = [name for group in groups for name in set(group)]
    return len(set(names)) < len(names)


def _list_element_problems(name: str, states: tuple[int, ...]) -> Iterator[str]:
    """List the mistakes of one element and its states."""
    try:
        check_element(name)
    except ValueError as error:
        yield str(error)
        return
    if not states:
        yield f"{name} has no oxidation state; give some, as in {name}: [2], or leave the element out"
    for state in states:
        if abs(state) > MAX_STATE:
            yield f"a state of {name} must lie between -{MAX_STATE} and {MAX_STATE}, got {state}"
