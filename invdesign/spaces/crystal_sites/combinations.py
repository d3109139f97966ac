"""Combinations of a space group with the Wyckoff positions that the atoms of each element occupy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.rng import Rng
from invdesign.structures.combinations import Combination, Sites, make_combination
from invdesign.structures.partitions import Partitions, SiteClass, find_partitions, list_site_classes

MAX_COMBINATIONS = 10_000  # combinations of a space (chosen)
DRAWS_PER_COMBINATION = (
    5  # draws after which combinations of a group that were not met yet are left out (chosen)
)


def list_partitions(partitions: Partitions) -> Iterator[list[tuple[int, int, int]]]:
    """Iterate over the partitions of a composition, each as (species, place of the class, number of uses)."""
    classes, counts = partitions.classes, partitions.counts

    def extend(
        species: int, place: int, left: int, capacities: tuple[int, ...]
    ) -> Iterator[list[tuple[int, int, int]]]:
        if left == 0 and species + 1 == len(counts):
            yield []
        elif left == 0:
            yield from extend(species + 1, 0, counts[species + 1], capacities)
        elif place < len(classes):
            for used, rest in partitions.list_uses(place, left, capacities):
                after = left - used * classes[place].multiplicity
                if partitions.count_rest(species, place + 1, after, rest):
                    own = [(species, place, used)] if used else []
                    yield from (own + later for later in extend(species, place + 1, after, rest))

    if partitions.number:
        yield from extend(0, 0, counts[0], partitions.capacities)


def list_combinations(group: int, counts: tuple[int, ...]) -> Iterator[Combination]:
    """Iterate over all combinations of a space group for the atoms of a primitive cell.

    Args:
        group: number of the space group.
        counts: atoms per species.
    """
    classes = list_site_classes(group)
    for partition in list_partitions(find_partitions(group, counts)):
        yield from (
            make_combination(group, sites) for sites in _list_letters(partition, classes, frozenset())
        )


def _list_letters(
    partition: Sequence[tuple[int, int, int]], classes: Sequence[SiteClass], taken: frozenset[str]
) -> Iterator[Sites]:
    """Iterate over the letters of a partition; `taken` positions have no room left."""
    if not partition:
        yield ()
        return
    species, place, used = partition[0]
    kind = classes[place]
    letters = [letter for letter in kind.letters if letter not in taken]
    choose = itertools.combinations_with_replacement if kind.capacity is None else itertools.combinations
    for chosen in choose(letters, used):
        more = taken if kind.capacity is None else taken | set(chosen)
        for later in _list_letters(partition[1:], classes, more):
            yield (*((species, letter) for letter in chosen), *later)


def count_combinations(group: int, counts: tuple[int, ...]) -> int:
    """Count the combinations that `list_combinations` gives."""
    return find_partitions(group, counts, by_letter=True).number


def draw_combination(group: int, counts: tuple[int, ...], rng: Rng) -> Combination:
    """Draw a combination of a space group, each partition over its classes of positions equally often."""
    classes = list_site_classes(group)
    unused = [list(kind.letters) for kind in classes]
    drawn = find_partitions(group, counts).draw(rng)
    choices = iter(rng.random(sum(used for _, _, used in drawn)).tolist())
    sites = []
    for species, place, used in drawn:
        for _ in range(used):
            letters = unused[place]
            chosen = int(next(choices) * len(letters))
            sites.append(
                (species, letters[chosen] if classes[place].capacity is None else letters.pop(chosen))
            )
    return make_combination(group, sites)


@dataclass(frozen=True, eq=False)
class CombinationList:
    """Combinations of a space.

    Attributes:
        members: combinations, by group.
        total: number of combinations that there are.
    """

    members: tuple[Combination, ...]
    total: int

    @property
    def is_complete(self) -> bool:
        """True if all combinations that there are belong to the space."""
        return len(self.members) == self.total

    @cached_property
    def places(self) -> Mapping[Combination, int]:
        """Places of combinations."""
        return {member: place for place, member in enumerate(self.members)}

    @cached_property
    def by_group(self) -> Mapping[int, tuple[Combination, ...]]:
        """Combinations by space group."""
        return {
            group: tuple(own)
            for group, own in itertools.groupby(self.members, key=lambda member: member.group)
        }

    def draw(self, rng: Rng) -> Combination:
        """Draw a combination: each space group equally often, and each of its combinations."""
        groups = list(self.by_group.values())
        own = groups[int(rng.random() * len(groups))]
        return own[int(rng.random() * len(own))]


def plan_combinations(groups: Sequence[int], rows: Sequence[tuple[int, ...]]) -> CombinationList:
    """List the combinations of space groups and compositions, at most `MAX_COMBINATIONS`.

    Where there are more, every group and composition has the same share; those with fewer are listed completely, the others
    are sampled in a way that depends on nothing else.

    Args:
        groups: numbers of the space groups.
        rows: atoms per species in the primitive cell, per composition.

    Raises:
        ValueError: no space group fits.
    """
    totals = {(group, row): count_combinations(group, row) for group in sorted(groups) for row in rows}
    totals = {key: total for key, total in totals.items() if total}
    if not totals:
        raise ValueError(
            "no space group of space_groups has positions for these atoms; P1 (1) fits any composition"
        )
    found: dict[tuple[int, tuple[int, ...]], list[Combination]] = {}
    left = MAX_COMBINATIONS
    for place, (key, total) in enumerate(sorted(totals.items(), key=lambda item: (item[1], item[0]))):
        share = left // (len(totals) - place)
        found[key] = list(list_combinations(*key)) if total <= share else _sample_combinations(*key, share)
        left -= len(found[key])
    members = tuple(member for key in sorted(found) for member in found[key])
    return CombinationList(members, sum(totals.values()))


def _sample_combinations(group: int, counts: tuple[int, ...], number: int) -> list[Combination]:
    """Sample up to `number` different combinations of a group."""
    rng = np.random.default_rng([group, *counts])
    drawn: dict[Combination, None] = {}
    for _ in range(DRAWS_PER_COMBINATION * number):
        drawn[draw_combination(group, counts, rng)] = None
        if len(drawn) == number:
            break
    return list(drawn)
