"""Look-ahead: may the atoms that are left still be placed, in this group or in any?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from invdesign.generators.network.positions import load_positions
from invdesign.protocols.generators import Condition

CACHED_ROOMS = 20_000  # pairs of group and composition (chosen)
MOST_ATOMS = 52  # of a primitive cell where a condition sets no bound: the largest in the shipped data


@dataclass(frozen=True, eq=False)
class Room:
    """Places for the atoms of one composition in one space group.

    Orbits stand element by element, within an element by letter, so that each set of occupied positions has one order.

    Attributes:
        sizes: images of each position in the primitive cell.
        single: True for positions without free coordinates, which are occupied once.
        counts: atoms per element in the primitive cell.
    """

    sizes: tuple[int, ...]
    single: tuple[bool, ...]
    counts: tuple[int, ...]
    _known: dict[tuple[int, int, int, int], bool] = field(default_factory=dict, repr=False)

    @property
    def is_open(self) -> bool:
        """True if all atoms can be placed."""
        return self.can_finish(0, self.counts[0], 0, 0)

    def can_finish(self, element: int, left: int, letter: int, used: int) -> bool:
        """True if all atoms that are left can be placed.

        Args:
            element: whose atoms are placed.
            left: its atoms without a place.
            letter: first position that may still be occupied by it.
            used: bits of the single positions in use.
        """
        if left == 0:
            if element + 1 == len(self.counts):
                return True
            return self.can_finish(element + 1, self.counts[element + 1], 0, used)
        if letter == len(self.sizes):
            return False
        key = (element, left, letter, used)
        if key not in self._known:
            # The last position is the general one: try the largest first, a few steps suffice then.
            self._known[key] = any(
                self.can_finish(element, *rest) for rest in reversed(self._list_ways(left, letter, used))
            )
        return self._known[key]

    def _list_ways(self, left: int, letter: int, used: int) -> list[tuple[int, int, int]]:
        """(left, letter, used) after each position that may be next."""
        ways = []
        for place in range(letter, len(self.sizes)):
            size = self.sizes[place]
            if size > left:
                continue
            if not self.single[place]:
                ways.append((left - size, place, used))
            elif not used >> place & 1:
                ways.append((left - size, place + 1, used | 1 << place))
        return ways

    def list_open(self, element: int, left: int, letter: int, used: int) -> list[tuple[int, int, int, int]]:
        """Positions that may be next and leave the rest a place.

        Returns:
            (position, left, letter, used) of each, the last three as they are after it.
        """
        found = []
        for rest in self._list_ways(left, letter, used):
            place = rest[1] - 1 if rest[2] != used else rest[1]
            if self.can_finish(element, *rest):
                found.append((place, *rest))
        return found


@lru_cache(maxsize=CACHED_ROOMS)
def find_room(group: int, counts: tuple[int, ...]) -> Room:
    """Find the places of a composition in a space group.

    Args:
        group: number of the space group.
        counts: atoms per element in the primitive cell.
    """
    table = load_positions()
    rows = slice(int(table.start[group]), int(table.start[group] + table.count[group]))
    sizes = tuple(map(int, table.multiplicity[rows]))
    return Room(sizes, tuple(bool(free == 0) for free in table.free[rows]), counts)


@lru_cache(maxsize=CACHED_ROOMS)
def can_hold(group: int, counts: tuple[int, ...]) -> bool:
    """True if a primitive cell of a space group can hold these atoms per element."""
    return find_room(group, counts).is_open


def list_units(counts: Sequence[int], condition: Condition, most: int) -> tuple[int, ...]:
    """List the numbers of formula units that a condition allows and some group can hold.

    Args:
        counts: atoms per element in the reduced formula.
        condition: what crystals must be.
        most: largest number of units.
    """
    size = sum(counts)
    step = find_step(condition)
    high = condition.atoms[1] if condition.atoms else max(MOST_ATOMS, size * step)
    return tuple(
        units
        for units in range(1, min(most, high // size) + 1)
        if allows_units(counts, units, condition)
        and has_group(tuple(units * count for count in counts), condition.space_groups)
    )


def find_step(condition: Condition) -> int:
    """Reduced formulas in one formula unit of a condition; 1 without a formula."""
    return math.gcd(*(count for _, count in condition.formula)) if condition.formula else 1


def allows_units(counts: Sequence[int], units: int, condition: Condition) -> bool:
    """True if a condition allows this number of reduced formulas in the primitive cell."""
    atoms = units * sum(counts)
    if condition.atoms is not None and not condition.atoms[0] <= atoms <= condition.atoms[1]:
        return False
    if not condition.formula or condition.formula_units is None:
        return units % find_step(condition) == 0
    low, high = condition.formula_units
    step = find_step(condition)
    return units % step == 0 and low <= units // step <= high


@lru_cache(maxsize=CACHED_ROOMS)
def has_group(counts: tuple[int, ...], groups: tuple[int, ...]) -> bool:
    """True if one of the groups (all if empty) can hold these atoms per element."""
    return not groups or any(can_hold(group, counts) for group in groups)


@dataclass(frozen=True, eq=False)
class Patterns:
    """Reduced formulas without their elements, as a tree of counts.

    Attributes:
        all: counts in the order of placement.
    """

    all: frozenset[tuple[int, ...]]
    _next: dict[tuple[int, ...], frozenset[int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        children: dict[tuple[int, ...], set[int]] = {}
        for pattern in self.all:
            for place, count in enumerate(pattern):
                children.setdefault((len(pattern), *pattern[:place]), set()).add(count)
        self._next.update({key: frozenset(found) for key, found in children.items()})

    @property
    def kinds(self) -> frozenset[int]:
        """Numbers of elements."""
        return frozenset(len(pattern) for pattern in self.all)

    def list_counts(self, kinds: int, prefix: Sequence[int]) -> frozenset[int]:
        """Counts that may follow in a formula of `kinds` elements."""
        return self._next.get((kinds, *prefix), frozenset())


def list_small_patterns(kinds: Iterable[int], most: int) -> set[tuple[int, ...]]:
    """List reduced patterns with up to `most` atoms of each element."""
    found: set[tuple[int, ...]] = set()
    for number in kinds:
        patterns: list[tuple[int, ...]] = [()]
        for _ in range(number):
            patterns = [(*pattern, count) for pattern in patterns for count in range(1, most + 1)]
        found |= {pattern for pattern in patterns if math.gcd(*pattern) == 1}
    return found
