"""Counts of the elements of neutral formulas, listed for one class of element sets at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from invdesign.structures.compositions.rules import Slot

CountArray = NDArray[np.int16]
Int32Array = NDArray[np.int32]
WORD = 64  # bits of a mask
BLOCK_ROWS = 1_000_000  # counts or charges examined at once, some 50 MB (chosen)


def iterate_vector_blocks(
    slots: Sequence[Slot], max_atoms: int, rows: int = BLOCK_ROWS
) -> Iterator[CountArray]:
    """Iterate over the counts of all neutral reduced formulas of one class, ascending, in blocks.

    The leading counts are run through; the last one follows from the charge that they leave.

    Args:
        slots: demands on each of the k elements.
        max_atoms: largest number of atoms.
        rows: largest number of candidates examined at once; a block has no more rows.

    Yields:
        Shape (m, k); blocks without rows are left out.
    """
    last = slots[-1]
    for counts, totals in iterate_leading_counts(
        slots[:-1], max_atoms - last.counts[0], rows // (last.counts[1] - last.counts[0] + 1)
    ):
        found = list(find_balancing_counts(totals, last))
        # Most leading counts cannot be balanced; only the bits of the others are looked at.
        possible = np.flatnonzero(np.any([masks != 0 for masks, _, _ in found], axis=0))
        fits = np.concatenate(
            [
                (masks[possible, None] >> np.arange(size, dtype=np.uint64)) & np.uint64(1)
                for masks, size, _ in found
            ],
            axis=1,
        )
        row, number = np.nonzero(fits)
        block = np.empty((len(row), len(slots)), dtype=np.int16)
        block[:, :-1] = counts[possible[row]]
        block[:, -1] = number + last.counts[0]
        # Column by column: numpy's reductions along short rows are several times slower.
        kept = (reduce(np.add, block.T) <= max_atoms) & (reduce(np.gcd, block.T) == 1)
        if kept.any():
            yield block[kept]


def iterate_leading_counts(
    slots: Sequence[Slot], max_atoms: int, rows: int
) -> Iterator[tuple[CountArray, Int32Array]]:
    """Iterate over counts of some elements, ascending, with the total charges that they can have.

    Args:
        slots: demands on each of the k elements.
        max_atoms: largest number of atoms.
        rows: largest number of charges in a block.

    Yields:
        (counts (m, k), total charges (m, a) of the a choices of states, with repetitions).
    """
    sizes = tuple(slot.counts[1] - slot.counts[0] + 1 for slot in slots)
    lowest = np.array([slot.counts[0] for slot in slots], dtype=np.int16)
    step = max(1, rows // math.prod(len(slot.states) for slot in slots))
    for first in range(0, math.prod(sizes), step):
        numbers = np.arange(first, min(first + step, math.prod(sizes)), dtype=np.int64)
        counts = np.zeros((len(numbers), len(slots)), dtype=np.int16)
        if sizes:
            counts[:] = np.stack(np.unravel_index(numbers, sizes), axis=1)
        counts += lowest
        if slots:
            counts = counts[reduce(np.add, counts.T) <= max_atoms]
        if len(counts):
            yield counts, _add_charges(counts, slots)


def _add_charges(counts: CountArray, slots: Sequence[Slot]) -> Int32Array:
    """Total charges of counts (m, k) for every choice of states, shape (m, a)."""
    totals = np.zeros((len(counts), 1), dtype=np.int32)
    for column, slot in enumerate(slots):
        added = counts[:, column, None] * np.array(slot.states, dtype=np.int32)
        totals = (totals[:, :, None] + added[:, None, :]).reshape(len(counts), -1)
    return totals


def find_balancing_counts(totals: Int32Array, last: Slot) -> Iterator[tuple[NDArray[np.uint64], int, int]]:
    """Find the counts of a last element that balance any of the charges of the others, as bits.

    Args:
        totals: shape (m, a), charges of the others.
        last: demands on the last element.

    Yields:
        (masks (m,), number of counts in them, count of the lowest bit), `WORD` counts at a time.
    """
    reach = int(np.abs(totals).max(initial=0))
    for low in range(last.counts[0], last.counts[1] + 1, WORD):
        high = min(low + WORD - 1, last.counts[1])
        # A table from each charge to the counts that balance it is faster than divisions.
        table = np.zeros(2 * reach + 1, dtype=np.uint64)
        for state in last.states:
            for count in range(low, high + 1):
                if abs(state * count) <= reach:
                    table[reach - state * count] |= np.uint64(1 << (count - low))
        masks = reduce(np.bitwise_or, table[totals.T + reach])
        yield masks, high - low + 1, low
