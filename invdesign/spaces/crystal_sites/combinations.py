"""Combinations of a space group with the Wyckoff positions that the atoms of each element occupy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from invdesign.errors import InvdesignError, nearest
from invdesign.rng import Rng
from invdesign.spaces.crystal.symmetric import Partitions, SiteClass, find_partitions, list_site_classes
from invdesign.structures.wyckoff import SpaceGroup, WyckoffPosition, find_space_group

MAX_COMBINATIONS = 10_000  # combinations of a space (chosen)
DRAWS_PER_COMBINATION = (
    5  # draws after which combinations of a group that were not met yet are left out (chosen)
)

Sites = tuple[tuple[int, str], ...]  # (species, letter)


@dataclass(frozen=True)
class Combination:
    """A space group with its occupied positions.

    Attributes:
        group: number of the space group.
        sites: (species, letter) of each occupied position, by species and letter.
    """

    group: int
    sites: Sites

    @property
    def space_group(self) -> SpaceGroup:
        """Space group with its positions."""
        return find_space_group(self.group)

    @cached_property
    def positions(self) -> tuple[WyckoffPosition, ...]:
        """Occupied positions, in the order of `sites`."""
        known = self.space_group.positions
        return tuple(known[letter] for _, letter in self.sites)

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Places of each site's free coordinates among all of them."""
        ends = list(itertools.accumulate((position.free for position in self.positions), initial=0))
        return tuple(slice(start, end) for start, end in itertools.pairwise(ends))

    @cached_property
    def free(self) -> int:
        """Number of free coordinates."""
        return sum(position.free for position in self.positions)

    @property
    def size(self) -> int:
        """Number of atoms in the primitive cell."""
        return sum(position.primitive_multiplicity for position in self.positions)

    def count_atoms(self, kinds: int) -> tuple[int, ...]:
        """Number of atoms of each of `kinds` species in the primitive cell."""
        counts = [0] * kinds
        for (species, _), position in zip(self.sites, self.positions, strict=True):
            counts[species] += position.primitive_multiplicity
        return tuple(counts)

    def write(self, elements: Sequence[str]) -> str:
        """Write the combination, `221: O c, Sr a, Ti b`, with a letter per occupied position."""
        letters: dict[str, str] = {}
        for species, letter in self.sites:
            letters[elements[species]] = letters.get(elements[species], "") + letter
        return f"{self.group}: " + ", ".join(f"{name} {own}" for name, own in letters.items())


def order_letter(letter: str) -> tuple[bool, str]:
    """Sort key of a letter: A follows z."""
    return letter.isupper(), letter


def make_combination(group: int, sites: Iterable[tuple[int, str]]) -> Combination:
    """Make a combination of sites in any order."""
    return Combination(group, tuple(sorted(sites, key=lambda site: (site[0], order_letter(site[1])))))


def read_sites(group: int, letters: Mapping[str, Iterable[str]], elements: Sequence[str]) -> Combination:
    """Read occupied positions by element.

    Args:
        group: number of the space group.
        letters: letters of the occupied positions by element.
        elements: symbols, sorted.

    Raises:
        ValueError: the group, an element or a letter does not exist, or a position without free coordinates is occupied twice.
    """
    try:
        known = find_space_group(group).positions
    except InvdesignError as error:
        raise ValueError(str(error)) from error
    sites = []
    for name, own in letters.items():
        if name not in elements:
            raise ValueError(
                f"{name!r} is no element of the formula ({', '.join(elements)}). {nearest(name, elements)}".strip()
            )
        for letter in own:
            if letter not in known:
                raise ValueError(
                    f"space group {group} ({find_space_group(group).symbol}) has the positions {''.join(known)}, "
                    f"not {letter!r}"
                )
            sites.append((elements.index(name), letter))
    used = [letter for _, letter in sites]
    twice = sorted({letter for letter in used if not known[letter].free and used.count(letter) > 1})
    if twice:
        raise ValueError(
            f"position {twice[0]} of space group {group} is one point ({known[twice[0]].coordinates}): it is occupied once"
        )
    return make_combination(group, sites)


@lru_cache(maxsize=2 * MAX_COMBINATIONS)
def parse_combination(text: str, elements: tuple[str, ...]) -> Combination:
    """Parse `221: O c, Sr a, Ti b`.

    Raises:
        ValueError: it is not written so, or `read_sites` refuses it.
    """
    found = re.fullmatch(r"\s*(\d{1,3})\s*:\s*(.*)", text)
    entries = [entry.split() for entry in found[2].split(",")] if found else []
    if not found or any(len(entry) != 2 for entry in entries):
        raise ValueError(f"sites are written as '221: O c, Sr a, Ti b', got {text!r:.100}")
    return read_sites(int(found[1]), dict(entries), elements)


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
