"""Combinations of a space group with the Wyckoff positions that the atoms of each element occupy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from invdesign.errors import InvdesignError, nearest
from invdesign.structures.wyckoff import SpaceGroup, WyckoffPosition, find_space_group

CACHED_COMBINATIONS = 20_000  # parsed texts (chosen)

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


@lru_cache(maxsize=CACHED_COMBINATIONS)
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
