"""Numbers of neutral reduced formulas, without listing them.

Formulas whose counts share a divisor d are formulas of counts divided by d; Möbius inversion over d leaves the reduced ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import IntArray
from invdesign.structures.compositions.rules import Slot
from invdesign.structures.compositions.vectors import iterate_leading_counts

WordArray = NDArray[np.uint64]
Slots = tuple[Slot, ...]
Codes = tuple[int, ...]  # slots by their numbers: tens of thousands of classes are looked up by them
MAX_CHARGES = 3_000_000_000  # of elements with several states, some minutes (chosen)
MAX_CELLS = 20_000_000  # of a table of reachable charges held at once, bytes (chosen)


def count_reduced(profiles: Iterable[Slots], max_atoms: int) -> dict[Slots, int]:
    """Count the neutral reduced formulas of each class of element sets.

    Args:
        profiles: demands on the elements of each class; elements with several states come first.
        max_atoms: largest number of atoms.

    Raises:
        ValueError: elements with several states make this too long.
    """
    distinct = list(set(profiles))
    if _estimate_charges(distinct) > MAX_CHARGES:
        raise ValueError(
            "the elements with several states combine in too many ways to be counted; give fewer elements several states, or "
            "lower max_count or the elements per formula"
        )
    numbers: dict[Slot, int] = {}
    coded = [tuple(numbers.setdefault(slot, len(numbers)) for slot in profile) for profile in distinct]
    totals = dict.fromkeys(coded, 0)
    largest = max((slot.counts[1] for slot in numbers), default=0)
    for divisor in range(1, min(largest, max_atoms) + 1):
        sign = _moebius(divisor)
        if not sign:
            continue
        divided = [_divide_counts(slot, divisor) for slot in numbers]
        kept = [own for own in coded if all(divided[code] is not None for code in own)]
        if not kept:
            continue
        counter = _Counter([slot or Slot((0,), (1, 1)) for slot in divided], max_atoms // divisor, kept)
        for own, number in counter.count(kept).items():
            totals[own] += sign * number
    return {profile: totals[own] for profile, own in zip(distinct, coded, strict=True)}


def _estimate_charges(profiles: Iterable[Slots]) -> int:
    """Number of total charges to be looked at: counts times choices of states, but for the last element with several states."""
    several = {tuple(slot for slot in profile if not slot.is_single)[:-1] for profile in profiles}
    return sum(
        math.prod((slot.counts[1] - slot.counts[0] + 1) * len(slot.states) for slot in leading)
        for leading in several
    )


def can_balance(profile: Sequence[Slot]) -> bool:
    """True if the elements of a class have charges of both signs, or none."""
    lowest = [slot.states[0] for slot in profile]
    highest = [slot.states[-1] for slot in profile]
    if max(lowest) > 0 or min(highest) < 0:
        return min(lowest) < 0 < max(highest)
    return True


def _moebius(number: int) -> int:
    """Möbius function of a `number` from 1."""
    sign = 1
    for prime in range(2, number + 1):
        if number % prime == 0:
            number //= prime
            if number % prime == 0:
                return 0
            sign = -sign
    return sign


def _divide_counts(slot: Slot, divisor: int) -> Slot | None:
    """Divide the counts of a slot; None where no multiple of the `divisor` is among them."""
    low, high = -(-slot.counts[0] // divisor), slot.counts[1] // divisor
    return Slot(slot.states, (low, high)) if low <= high else None


@dataclass(frozen=True)
class _Reached:
    """Counts of some elements by the charges that they can reach.

    Each row of counts is one bit, so that 64 of them are moved at once. Rows with as many atoms are together, from a whole word on.

    Attributes:
        bits: shape (charges, words).
        atoms: shape (g,), atoms of each group of rows.
        starts: shape (g,), first word of each group.
    """

    bits: WordArray
    atoms: IntArray
    starts: IntArray

    def count_by_atoms(self, bits: WordArray) -> IntArray:
        """Count the rows set in `bits` (c, words) by their atoms, shape (c, g)."""
        ways: IntArray = np.add.reduceat(np.bitwise_count(bits), self.starts, axis=1, dtype=np.int64)
        return ways


class _Counter:
    """Counts neutral formulas, reduced or not, by tables of atoms and charge.

    A table has the shape (atoms + 1, charges); charges run from -`charge` to `charge`, since others cannot be balanced any more.
    """

    def __init__(self, slots: Sequence[Slot], max_atoms: int, profiles: Sequence[Codes]) -> None:
        self.slots = slots
        self.atoms = max_atoms
        used = [slots[code] for code in {code for profile in profiles for code in profile}]
        others = max(map(len, profiles)) - 1
        most = min(max_atoms - 1, others * max(slot.counts[1] for slot in used))
        highest = max(0, *(slot.states[-1] for slot in used))
        lowest = max(0, *(-slot.states[0] for slot in used))
        self.charge = max(0, min(highest, lowest) * most)

    @property
    def width(self) -> int:
        """Number of charges of a table."""
        return 2 * self.charge + 1

    def count(self, profiles: Iterable[Codes]) -> dict[Codes, int]:
        """Count the neutral formulas of each class, given by the numbers of its slots."""
        by_leading: dict[Codes, dict[Codes, list[Codes]]] = defaultdict(lambda: defaultdict(list))
        for profile in profiles:
            cut = sum(not self.slots[code].is_single for code in profile)
            by_leading[profile[: max(cut - 1, 0)]][profile[:cut]].append(profile[cut:])
        found: dict[Codes, int] = {}
        for leading, classes in by_leading.items():
            tables = self._tabulate_several(leading, {own for own in classes if any(classes[own])})
            closed = self._count_several(leading, [own for own in classes if () in classes[own]])
            found.update(closed)
            for own, table in tables.items():
                for tail, number in self._count_tails(table, [tail for tail in classes[own] if tail]).items():
                    found[own + tail] = number
        return found

    def _count_several(self, leading: Codes, classes: Sequence[Codes]) -> dict[Codes, int]:
        """Count the neutral formulas of elements with several states each, which begin with `leading`."""
        found = dict.fromkeys(classes, 0)
        for block in self._pack_reached(leading) if classes else ():
            for own in classes:
                slot = self.slots[own[-1]]
                for count in range(slot.counts[0], min(slot.counts[1], self.atoms) + 1):
                    rows = [self.charge - state * count for state in slot.states]
                    united = np.bitwise_or.reduce(
                        [block.bits[row] for row in rows if 0 <= row < self.width]
                        or [np.zeros_like(block.bits[0])]
                    )
                    ways = block.count_by_atoms(united[None])[0]
                    found[own] += int(ways[block.atoms + count <= self.atoms].sum())
        return found

    def _tabulate_several(self, leading: Codes, classes: Iterable[Codes]) -> dict[Codes, IntArray]:
        """Tabulate the counts of elements with several states by atoms and by reachable charge.

        Counts that reach several charges are in several columns, and in each one once.

        Args:
            leading: all but the last of them.
            classes: with the last of them, or without any.
        """
        tables = {own: np.zeros((self.atoms + 1, self.width), dtype=np.int64) for own in classes}
        if () in tables:
            tables[()][0, self.charge] = 1
        for block in self._pack_reached(leading) if any(tables) else ():
            for own, table in tables.items():
                if not own:
                    continue
                slot = self.slots[own[-1]]
                for count in range(slot.counts[0], min(slot.counts[1], self.atoms) + 1):
                    ways = block.count_by_atoms(self._unite_shifted(block.bits, slot, count))
                    kept = block.atoms + count <= self.atoms
                    table[block.atoms[kept] + count] += ways.T[kept]
        return tables

    def _unite_shifted(self, bits: WordArray, slot: Slot, count: int) -> WordArray:
        """Reachable charges after `count` atoms of an element in any of its states."""
        united = np.zeros_like(bits)
        for state in slot.states:
            shift = state * count
            if abs(shift) < self.width:
                target = united[max(shift, 0) : self.width + min(shift, 0)]
                target |= bits[max(-shift, 0) : self.width - max(shift, 0)]
        return united

    def _pack_reached(self, codes: Codes) -> Iterator[_Reached]:
        """Iterate over the counts of some elements, with the charges that they can reach, in blocks."""
        rows = max(1, MAX_CELLS // self.width)
        for counts, totals in iterate_leading_counts([self.slots[code] for code in codes], self.atoms, rows):
            sums = counts.sum(axis=1, dtype=np.int64)
            order = np.argsort(sums, kind="stable")
            atoms, sizes = np.unique(sums, return_counts=True)
            words = -(-sizes // 64)
            starts = np.cumsum(words) - words
            place = np.arange(len(sums)) + np.repeat(64 * starts - (np.cumsum(sizes) - sizes), sizes)
            ordered = totals[order]
            inside = np.abs(ordered) <= self.charge
            reached = np.zeros((self.width, 64 * int(words.sum())), dtype=np.bool_)
            reached[ordered[inside] + self.charge, np.broadcast_to(place[:, None], ordered.shape)[inside]] = (
                True
            )
            yield _Reached(np.packbits(reached, axis=1).view(np.uint64), atoms, starts)

    def _count_tails(self, table: IntArray, tails: Sequence[Codes]) -> Mapping[Codes, int]:
        """Count neutral formulas that continue `table` by elements of one state each.

        Tails with a common beginning share its table.
        """
        found: dict[Codes, int] = {}
        by_first: dict[int, list[Codes]] = defaultdict(list)
        ends: list[int] = []
        for tail in tails:
            if len(tail) == 1:
                ends.append(tail[0])
            else:
                by_first[tail[0]].append(tail[1:])
        if ends:
            below = np.cumsum(table, axis=0).ravel()
            for code in ends:
                found[(code,)] = int(below[self._balancing_cells[code]].sum())
        for code, longer in by_first.items():
            for tail, number in self._count_tails(self._add_single(table, code), longer).items():
                found[(code, *tail)] = number
        return found

    @cached_property
    def _balancing_cells(self) -> list[IntArray]:
        """Per slot of one state, cells of a flat table of formulas with at most so many atoms, which it balances."""
        found = []
        for slot in self.slots:
            counts = np.arange(slot.counts[0], min(slot.counts[1], self.atoms) + 1)
            charges = -slot.states[0] * counts
            inside = np.abs(charges) <= self.charge
            found.append((self.atoms - counts[inside]) * self.width + charges[inside] + self.charge)
        return found

    def _add_single(self, table: IntArray, code: int) -> IntArray:
        """Add an element of one state to all formulas of a table."""
        slot = self.slots[code]
        grown = np.zeros_like(table)
        for count in range(slot.counts[0], min(slot.counts[1], self.atoms) + 1):
            shift = slot.states[0] * count
            if abs(shift) < self.width:
                target = grown[count:, max(shift, 0) : self.width + min(shift, 0)]
                target += table[: self.atoms + 1 - count, max(-shift, 0) : self.width - max(shift, 0)]
        return grown
