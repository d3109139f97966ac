"""Candidates of a space by number, and the blocks in which they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

from invdesign.arrays import IntArray
from invdesign.candidate import Candidate, Input, Proposal, genome_key
from invdesign.protocols import FiniteSpace, SearchSpace
from invdesign.rng import derived_seed
from invdesign.structures.compositions import NeutralCompositions, SetClass

ROWS = 65_536  # count vectors prepared at once, some 20 MB with ten pairs of elements (chosen)
KEPT_CLASSES = 16  # prepared classes (chosen)


@dataclass(frozen=True, eq=False)
class Block:
    """Compositions of several element sets with the same counts.

    Attributes:
        own: class of the sets.
        row: number of the first count vector among those of the class.
        counts: shape (m, k).
        first, last: range of the sets in the class.
    """

    own: SetClass
    row: int
    counts: IntArray
    first: int
    last: int


class CompositionStream:
    """Compositions of a space, by number and by element sets."""

    def __init__(self, listed: NeutralCompositions) -> None:
        self.listed = listed
        self.elements = listed.rules.elements
        self._counts = lru_cache(maxsize=KEPT_CLASSES)(self._list_counts)

    def __len__(self) -> int:
        return self.listed.count()

    def plan_units(self, size: int) -> IntArray:
        """Limits of work units as numbers of element sets, shape (units + 1,).

        Args:
            size: compositions per unit; a unit holds whole element sets, so at least one.
        """
        limits = [0]
        held = 0
        for own in self.listed.classes:
            place = 0
            while place < own.n_sets:
                taken = min(own.n_sets - place, max((size - held) // own.n_vectors, 0))
                if taken == 0 and held == 0:
                    taken = 1
                place += taken
                held += taken * own.n_vectors
                if place < own.n_sets or held >= size:
                    limits.append(own.first_set + place)
                    held = 0
        if limits[-1] < self.listed.n_sets:
            limits.append(self.listed.n_sets)
        return np.array(limits, dtype=np.int64)

    def count_unit(self, first: int, last: int) -> int:
        """Number of compositions of the element sets from `first` up to `last`."""
        return sum(own.n_vectors * (b - a) for own, a, b in self._list_ranges(first, last))

    def iterate_blocks(self, first: int, last: int) -> Iterator[Block]:
        """Iterate over the compositions of the element sets from `first` up to, but not including, `last`."""
        for own, a, b in self._list_ranges(first, last):
            row = 0
            for counts in self._iterate_counts(own):
                yield Block(own, row, counts, a, b)
                row += len(counts)

    def _list_ranges(self, first: int, last: int) -> Iterator[tuple[SetClass, int, int]]:
        """Iterate over classes with a range of sets in each."""
        starts = self._first_sets()
        number = int(np.searchsorted(starts, first, side="right")) - 1
        while number < len(starts) and starts[number] < last:
            own = self.listed.classes[number]
            yield own, max(first - own.first_set, 0), min(last - own.first_set, own.n_sets)
            number += 1

    @lru_cache(maxsize=1)  # noqa: B019 - streams live as long as the process
    def _first_sets(self) -> IntArray:
        return np.array([own.first_set for own in self.listed.classes], dtype=np.int64)

    def _iterate_counts(self, own: SetClass) -> Iterator[IntArray]:
        if own.n_vectors <= ROWS:
            yield self._counts(own)
            return
        for found in self.listed.list_vectors(own.slots):
            for row in range(0, len(found), ROWS):
                yield found[row : row + ROWS].astype(np.int64)

    def _list_counts(self, own: SetClass) -> IntArray:
        return np.concatenate(list(self.listed.list_vectors(own.slots))).astype(np.int64)

    def list_compositions(self, indices: IntArray) -> list[dict[str, float]]:
        """Amounts by element of the compositions with given numbers, shape (n,)."""
        found: list[dict[str, float]] = [{} for _ in range(len(indices))]
        firsts = np.array([own.first for own in self.listed.classes], dtype=np.int64)
        numbers = np.searchsorted(firsts, indices, side="right") - 1
        for number in np.unique(numbers).tolist():
            own = self.listed.classes[number]
            places = np.flatnonzero(numbers == number)
            sets, rows = np.divmod(indices[places] - own.first, own.n_vectors)
            members = self.listed.pick_members(own, sets)
            counts = self._pick_counts(own, rows)
            for place, chosen, amounts in zip(
                places.tolist(), members.tolist(), counts.tolist(), strict=True
            ):
                found[place] = {
                    self.elements[member]: float(n) for member, n in zip(chosen, amounts, strict=True)
                }
        return found

    def _pick_counts(self, own: SetClass, rows: IntArray) -> IntArray:
        """Count vectors of a class at given `rows` (n,), shape (n, k)."""
        if own.n_vectors <= ROWS:
            return self._counts(own)[rows]
        found = np.empty((len(rows), len(own.slots)), dtype=np.int64)
        first = 0
        for block in self.listed.list_vectors(own.slots):
            here = np.flatnonzero((rows >= first) & (rows < first + len(block)))
            found[here] = block[rows[here] - first]
            first += len(block)
        return found


def make_input(space: SearchSpace, index: int) -> Input:
    """Input of an evaluator for candidate number `index` of a space that can be counted through.

    Raises:
        Infeasible: the genome has no design.
    """
    genome = cast("FiniteSpace", space).genome(index)
    key = genome_key(genome)
    design = space.build(genome)
    return Input(
        Candidate(index, key, Proposal(genome)), design, {}, dict(design.structures), derived_seed(key) >> 1
    )
