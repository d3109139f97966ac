"""Orderings of one supercell: symmetric images, counting and enumeration.

An ordering is an array of codes, one per site that can vary: the position of its species among its group's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.structures.symmetry import count_cycle_types

Codes = NDArray[np.uint8]

MAX_EXACT_INTEGER = 2**53  # IEEE 754: smaller integers are exact as doubles, whose products are much faster
MAX_COUNT_STEPS = 1_000_000  # chosen; additions of one count, about a second
MAX_FILLS = 2_000_000  # chosen; orderings, symmetric images included, that are tested one by one
MAX_LISTED = 50_000  # chosen; distinct orderings kept in memory
ROWS_PER_BLOCK = 50_000  # chosen; orderings tested at once
MAX_IMAGES_PER_BLOCK = 32  # chosen; symmetric images compared at once


@dataclass(frozen=True)
class SiteGroup:
    """Group of sites that may hold the same species.

    Attributes:
        name: of the group.
        species: at least two, `vacancy` may be one.
        first: its first site, among those that vary.
        stop: the end of its sites, itself not included.
    """

    name: str
    species: tuple[str, ...]
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, eq=False)
class Orderings:
    """All orderings of a supercell's n varying sites at the allowed compositions.

    Attributes:
        groups: disjoint, they cover the n sites in order.
        permutations: shape (g, n), the group of permutations that symmetry allows; they keep site groups.
        compositions: shape (c, s), distinct; atoms of each species of the first group, of the second, ...
    """

    groups: tuple[SiteGroup, ...]
    permutations: IntArray
    compositions: IntArray

    @cached_property
    def n(self) -> int:
        """Number of sites that vary."""
        return int(self.permutations.shape[1])

    @cached_property
    def base(self) -> int:
        """Largest number of species on a site."""
        return max(len(group.species) for group in self.groups)

    @cached_property
    def offsets(self) -> IntArray:
        """Column of each site's first species among the compositions, shape (n,).

        Added to a site's code, it gives the column of its species.
        """
        starts = np.cumsum([0, *(len(group.species) for group in self.groups)])[:-1]
        return np.repeat(starts, [len(group) for group in self.groups])

    def find_group(self, place: int) -> SiteGroup:
        """Group of the site `place`, one of the n that vary."""
        return self._group_by_place[place]

    @cached_property
    def _group_by_place(self) -> tuple[SiteGroup, ...]:
        return tuple(group for group in self.groups for _ in range(len(group)))

    # Symmetry. The images of an ordering are compared as numbers in base `base`, a word of digits at a time.
    # Permuting the codes and weighting the digits is one matrix product, with weights permuted beforehand.

    @cached_property
    def _words(self) -> tuple[FloatArray, ...]:
        """Weights of the digits of all images, shape (n, g) per word.

        `codes @ word` are the words of all images.
        """
        width = max(int(math.log(MAX_EXACT_INTEGER, self.base)) - 1, 1)
        words = []
        for start in range(0, self.n, width):
            stop = min(start + width, self.n)
            digits = np.float64(self.base) ** np.arange(stop - start - 1, -1, -1)
            word = np.zeros((self.n, len(self.permutations)))
            for place, weight in zip(range(start, stop), digits, strict=True):
                word[self.permutations[:, place], np.arange(len(self.permutations))] = weight
            words.append(word)
        return tuple(words)

    def to_canonical(self, codes: IntArray) -> IntArray:
        """Lexicographically smallest symmetric image of the ordering `codes` (n,)."""
        digits = codes.astype(np.float64)
        first, *others = self._words
        values = digits @ first
        alive = np.flatnonzero(values == values.min())
        for word in others:
            if len(alive) == 1:
                break
            values = digits @ word[:, alive]
            alive = alive[values == values.min()]
        image: IntArray = codes[self.permutations[alive[0]]]
        return image

    def are_smallest(self, codes: Codes) -> NDArray[np.bool_]:
        """Check which orderings are their own smallest image, shape (m,).

        Args:
            codes: the orderings, shape (m, n).
        """
        own = [codes @ word[:, self._identity] for word in self._words]
        alive, start, width = np.arange(len(codes)), 0, 2
        rows = codes.astype(np.float64)
        while start < len(self.permutations):
            chosen = slice(start, start + width)
            kept = self._have_no_smaller_image(rows, [values[alive] for values in own], chosen)
            alive, rows = alive[kept], rows[kept]
            # The first few images rule out most orderings; the rest are compared with more images at a time.
            start, width = start + width, min(2 * width, MAX_IMAGES_PER_BLOCK)
        found = np.zeros(len(codes), dtype=np.bool_)
        found[alive] = True
        return found

    @cached_property
    def _identity(self) -> int:
        return int(np.flatnonzero((self.permutations == np.arange(self.n)).all(axis=1))[0])

    def _have_no_smaller_image(
        self, rows: FloatArray, own: Sequence[FloatArray], chosen: slice
    ) -> NDArray[np.bool_]:
        """Check which orderings have no smaller image among the chosen, shape (m,).

        Args:
            rows: the orderings, shape (m, n).
            own: their words, shape (m,) each.
            chosen: range of symmetry operations.
        """
        first, *others = self._words
        images = rows @ first[:, chosen]
        smaller, equal = images < own[0][:, None], images == own[0][:, None]
        for word, mine in zip(others, own[1:], strict=True):
            images = rows @ word[:, chosen]
            smaller |= equal & (images < mine[:, None])
            equal &= images == mine[:, None]
        return np.asarray(~smaller.any(axis=1), dtype=np.bool_)

    # Compositions.

    def count_species(self, codes: IntArray) -> IntArray:
        """Atoms of each species (s,) in the ordering `codes` (n,)."""
        return np.bincount(codes + self.offsets, minlength=self.compositions.shape[1])

    def allows_composition(self, counts: IntArray) -> bool:
        """True if the composition `counts` (s,) belongs to the space."""
        return tuple(counts.tolist()) in self._allowed_counts

    @cached_property
    def _allowed_counts(self) -> frozenset[tuple[int, ...]]:
        return frozenset(map(tuple, self.compositions.tolist()))

    def find_nearest_compositions(self, counts: IntArray) -> IntArray:
        """Other compositions (k, s) that need the fewest exchanges from `counts` (s,)."""
        distance = np.abs(self.compositions - counts).sum(axis=1)
        others = distance > 0
        if not others.any():
            return self.compositions[:0]
        nearest: IntArray = self.compositions[distance == distance[others].min()]
        return nearest

    def draw_ordering(self, counts: IntArray, rng: Rng) -> IntArray:
        """Draw a random ordering (n,) of one composition.

        Every one is equally likely, symmetric images counted as different.

        Args:
            counts: the composition, shape (s,).
            rng: random generator.
        """
        drawn: IntArray = self.draw_orderings(counts, 1, rng)[0]
        return drawn

    def draw_orderings(self, counts: IntArray, draws: int, rng: Rng) -> IntArray:
        """Draw random orderings of one composition, shape (draws, n).

        Args:
            counts: the composition, shape (s,).
            draws: number of orderings.
            rng: random generator.
        """
        codes = np.empty((draws, self.n), dtype=np.int64)
        column = 0
        for group in self.groups:
            stop = column + len(group.species)
            part = np.repeat(np.arange(len(group.species)), counts[column:stop])
            codes[:, group.first : group.stop] = rng.permuted(np.tile(part, (draws, 1)), axis=1)
            column = stop
        return codes

    def move_to_composition(self, codes: IntArray, counts: IntArray, rng: Rng) -> IntArray:
        """Change as few sites of an ordering as a new composition needs.

        Args:
            codes: the ordering, shape (n,).
            counts: the new composition, shape (s,).
            rng: random generator; it chooses the sites.

        Returns:
            Shape (n,).
        """
        surplus = self.count_species(codes) - counts
        moved = codes.copy()
        if not surplus.any():
            return moved
        start = 0
        for group in self.groups:
            own = surplus[start : start + len(group.species)].tolist()
            here = codes[group.first : group.stop]
            free: list[int] = []
            for code, over in enumerate(own):
                if over > 0:
                    free += rng.permutation(np.flatnonzero(here == code))[:over].tolist()
            wanted = np.repeat(np.arange(len(own)), np.maximum(-np.asarray(own), 0))
            moved[group.first + rng.permutation(np.asarray(free, dtype=np.int64))] = wanted
            start += len(group.species)
        return moved

    # Counting and listing.

    @cached_property
    def fills(self) -> int:
        """Number of orderings, symmetric images included."""
        return sum(self._count_fills(counts) for counts in self.compositions.tolist())

    def _count_fills(self, counts: Sequence[int]) -> int:
        """Number of orderings of a composition, symmetric images included."""
        total, column = 1, 0
        for group in self.groups:
            part = counts[column : column + len(group.species)]
            total *= math.factorial(len(group)) // math.prod(map(math.factorial, part))
            column += len(group.species)
        return total

    @cached_property
    def size(self) -> int | None:
        """Exact number of distinct orderings, by Burnside's lemma.

        A permutation leaves those orderings as they are that are constant on its cycles; these are counted by
        composition. None where that would take more than `MAX_COUNT_STEPS` additions.
        """
        classes = np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups]).tolist()
        steps = total = 0
        width = self.compositions.shape[1]
        starts = self.offsets[[group.first for group in self.groups]].tolist()
        for cycles, times in count_cycle_types(self.permutations, classes).items():
            fixed = {(0,) * width: 1}
            for group, length in cycles:
                columns = range(starts[group], starts[group] + len(self.groups[group].species))
                steps += len(fixed) * len(columns)
                if steps > MAX_COUNT_STEPS:
                    return None
                fixed = _add_cycle(fixed, columns, length)
            total += times * sum(count for key, count in fixed.items() if key in self._allowed_counts)
        return total // len(self.permutations)

    @cached_property
    def countable(self) -> bool:
        """True if the distinct orderings fit the limits of memory and time."""
        if self.fills > MAX_FILLS:
            return False
        return self.size is not None and self.size <= MAX_LISTED

    @cached_property
    def distinct_orderings(self) -> Codes:
        """All distinct orderings in lexicographic order, shape (size, n).

        Only where `countable`.
        """
        kept = [
            block[self.are_smallest(block)]
            for counts in self.compositions.tolist()
            for block in self._iterate_fillings(counts)
        ]
        rows = np.concatenate(kept)
        return rows[np.lexsort(rows.T[::-1])]

    def _iterate_fillings(self, counts: Sequence[int]) -> Iterator[Codes]:
        """Iterate over all orderings of a composition in blocks.

        Symmetric images are included.
        """
        parts, column = [], 0
        for group in self.groups:
            parts.append(_list_fillings(len(group), counts[column : column + len(group.species)]))
            column += len(group.species)
        total = math.prod(len(part) for part in parts)
        for start in range(0, total, ROWS_PER_BLOCK):
            index = np.arange(start, min(start + ROWS_PER_BLOCK, total))
            digits = np.unravel_index(index, [len(part) for part in parts])
            yield np.hstack([part[digit] for part, digit in zip(parts, digits, strict=True)])


def _add_cycle(
    fixed: dict[tuple[int, ...], int], columns: Sequence[int], length: int
) -> dict[tuple[int, ...], int]:
    """Numbers of ways to reach each composition after one more cycle."""
    found: dict[tuple[int, ...], int] = {}
    for key, count in fixed.items():
        for column in columns:
            longer = (*key[:column], key[column] + length, *key[column + 1 :])
            found[longer] = found.get(longer, 0) + count
    return found


def _list_fillings(sites: int, counts: Sequence[int]) -> Codes:
    """All placements of given numbers of species on sites, shape (m, sites).

    Built up site by site.
    """
    rows: Codes = np.zeros((1, sites), dtype=np.uint8)
    left = np.asarray(counts, dtype=np.int16)[None, :]
    for site in range(sites):
        chosen, species = np.nonzero(left)
        rows, left = rows[chosen], left[chosen]
        rows[:, site] = species
        left[np.arange(len(left)), species] -= 1
    return rows
