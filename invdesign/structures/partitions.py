"""Partitions of the atoms of a primitive cell over the Wyckoff positions of a space group."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from invdesign.rng import Rng
from invdesign.structures.wyckoff import GROUPS, find_space_group

CACHED_PARTITIONS = 20_000  # pairs of group and composition; memory of some 10 kB each at most (chosen)


@dataclass(frozen=True)
class SiteClass:
    """Positions of a space group between which a partition does not distinguish.

    Attributes:
        multiplicity: number of images in the primitive cell.
        capacity: number of times the class may be occupied; None where its positions have free parameters.
        letters: of its positions.
    """

    multiplicity: int
    capacity: int | None
    letters: tuple[str, ...]


@cache
def list_site_classes(number: int) -> tuple[SiteClass, ...]:
    """List the classes of positions of a space group, the largest multiplicity first."""
    letters: dict[tuple[int, bool], list[str]] = defaultdict(list)
    for letter, position in find_space_group(number).positions.items():
        letters[position.primitive_multiplicity, position.free > 0].append(letter)
    return tuple(
        SiteClass(multiplicity, None if free else len(names), tuple(names))
        for (multiplicity, free), names in sorted(letters.items(), reverse=True)
    )


@dataclass(frozen=True, eq=False)
class Partitions:
    """Partitions of atoms over the classes of positions of a space group, counted and drawn.

    Attributes:
        classes: of the space group.
        counts: number of atoms per species in the primitive cell.
        by_letter: True if positions of one class are told apart.
    """

    classes: tuple[SiteClass, ...]
    counts: tuple[int, ...]
    by_letter: bool = False
    _known: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False)

    @property
    def number(self) -> int:
        """Number of partitions; 0 where the composition does not fit the group."""
        return self.count_rest(0, 0, self.counts[0], self.capacities)

    @property
    def capacities(self) -> tuple[int, ...]:
        return tuple(kind.capacity or 0 for kind in self.classes)

    def _most_used(self, place: int, left: int, capacities: tuple[int, ...]) -> int:
        """Highest number of times that the class at `place` can be occupied."""
        kind = self.classes[place]
        most = left // kind.multiplicity
        return most if kind.capacity is None else min(most, capacities[place])

    def count_rest(self, species: int, place: int, left: int, capacities: tuple[int, ...]) -> int:
        """Count the ways to place the atoms that are left.

        Args:
            species: whose atoms are placed.
            place: of the next class.
            left: atoms of the species without a place.
            capacities: remaining number of uses per class; 0 for classes with free parameters.
        """
        if left == 0:
            if species + 1 == len(self.counts):
                return 1
            return self.count_rest(species + 1, 0, self.counts[species + 1], capacities)
        if place == len(self.classes):
            return 0
        key = (species, place, left, *capacities)
        if key not in self._known:
            size = self.classes[place].multiplicity
            self._known[key] = sum(
                self._count_letters(place, used, capacities)
                * self.count_rest(species, place + 1, left - used * size, rest)
                for used, rest in self.list_uses(place, left, capacities)
            )
        return self._known[key]

    def _count_letters(self, place: int, used: int, capacities: tuple[int, ...]) -> int:
        """Count the choices of positions for `used` uses of a class; 1 where they are not told apart."""
        if not self.by_letter:
            return 1
        kind = self.classes[place]
        if kind.capacity is None:
            return math.comb(len(kind.letters) + used - 1, used)
        return math.comb(capacities[place], used)

    def list_uses(
        self, place: int, left: int, capacities: tuple[int, ...]
    ) -> list[tuple[int, tuple[int, ...]]]:
        """(number of uses, capacities after them) of the class at `place`."""
        if self.classes[place].capacity is None:
            return [(used, capacities) for used in range(self._most_used(place, left, capacities) + 1)]
        before, own, after = capacities[:place], capacities[place], capacities[place + 1 :]
        return [
            (used, (*before, own - used, *after))
            for used in range(self._most_used(place, left, capacities) + 1)
        ]

    def draw(self, rng: Rng) -> list[tuple[int, int, int]]:
        """Draw one partition, each equally often.

        Returns:
            (species, place of the class, number of uses), for classes in use.
        """
        drawn = []
        capacities = self.capacities
        for species, count in enumerate(self.counts):
            left, place = count, 0
            while left:
                uses = self.list_uses(place, left, capacities)
                size = self.classes[place].multiplicity
                ways = [
                    self._count_letters(place, used, capacities)
                    * self.count_rest(species, place + 1, left - used * size, rest)
                    for used, rest in uses
                ]
                used, capacities = uses[draw_index(ways, rng)]
                if used:
                    drawn.append((species, place, used))
                left, place = left - used * size, place + 1
        return drawn


def draw_index(weights: Sequence[int], rng: Rng) -> int:
    """Draw an index with a probability proportional to its weight, which may be a large integer."""
    total = sum(weights)
    if total == weights[-1]:
        return len(weights) - 1
    mark = rng.random() * total
    return next(
        (index for index, reached in enumerate(itertools.accumulate(weights)) if mark < reached),
        max(index for index, weight in enumerate(weights) if weight),
    )


@lru_cache(maxsize=CACHED_PARTITIONS)
def find_partitions(number: int, counts: tuple[int, ...], by_letter: bool = False) -> Partitions:
    """Find the partitions of a composition in a space group.

    Args:
        number: of the space group.
        counts: atoms per species in the primitive cell, at least one species with atoms.
        by_letter: True if positions of one class are told apart.
    """
    return Partitions(list_site_classes(number), counts, by_letter)


def list_fitting_groups(counts: Sequence[int], groups: Sequence[int] = GROUPS) -> tuple[int, ...]:
    """List the space groups whose positions can hold the atoms of a primitive cell.

    Args:
        counts: atoms per species.
        groups: numbers of the space groups to choose from.
    """
    key = tuple(int(count) for count in counts)
    return tuple(number for number in groups if find_partitions(number, key).number)
