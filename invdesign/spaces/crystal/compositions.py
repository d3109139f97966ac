"""Compositions of a cell: all that sizes, counts and charges allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.rng import Rng

MAX_COMPOSITIONS = 500_000  # compositions that are listed, some 40 MB (chosen)
MAX_PARTIAL = 4_000_000  # partly filled compositions held while listing, some 200 MB (chosen)
TOO_MANY = (
    f"more than {MAX_COMPOSITIONS:,} compositions; allow fewer atoms or elements, or narrow their counts"
)


@dataclass(frozen=True, eq=False)
class Compositions:
    """Allowed numbers of atoms per cell, each composition once.

    Attributes:
        rows: shape (m, k), atoms of each of k elements, ascending.
    """

    rows: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _keys(self) -> frozenset[tuple[int, ...]]:
        return frozenset(map(tuple, self.rows.tolist()))

    def allows(self, counts: Sequence[int] | IntArray) -> bool:
        """True if a cell may hold these numbers of atoms, one per element."""
        return tuple(map(int, counts)) in self._keys

    def draw(self, rng: Rng) -> IntArray:
        """Draw a composition, shape (k,): simple formulas rather than others.

        A formula is drawn with a weight of one over its number of atoms; its multiples are equally likely.
        """
        drawn: IntArray = self.rows[int(np.searchsorted(self._ends, rng.random() * self._ends[-1], "right"))]
        return drawn

    @cached_property
    def _ends(self) -> FloatArray:
        """Cumulated weights of the compositions, shape (m,)."""
        units = np.gcd.reduce(self.rows, axis=1)
        reduced = self.rows // units[:, None]
        _, formula = np.unique(reduced, axis=0, return_inverse=True)
        multiples = np.bincount(formula.ravel())[formula.ravel()]
        ends: FloatArray = np.cumsum(1.0 / multiples / reduced.sum(axis=1))
        return ends

    @property
    def is_single(self) -> bool:
        """True if all compositions are multiples of one formula."""
        shares = self.rows / self.rows.sum(axis=1, keepdims=True)
        return bool(np.abs(shares - shares[0]).max() < 1e-12)

    def select(self, kept: BoolArray) -> Compositions:
        """Keep compositions where `kept` (m,) is True."""
        return Compositions(self.rows[kept])


def list_formula_multiples(formula: IntArray, units: tuple[int, int]) -> Compositions:
    """List whole multiples of a `formula` (k,).

    Args:
        formula: atoms of each element in one formula unit.
        units: least and largest number of formula units.
    """
    return Compositions(np.arange(units[0], units[1] + 1, dtype=np.int64)[:, None] * formula)


def list_compositions(
    counts: Sequence[tuple[int, int]],
    atoms: tuple[int, int],
    states: Sequence[Sequence[int]] | None = None,
) -> Compositions:
    """List compositions within bounds whose charges can balance.

    Args:
        counts: least and largest number of atoms of each of k elements.
        atoms: least and largest number of all atoms.
        states: oxidation states of each element; each atom may have any of them. None asks for no balance.

    Raises:
        ValueError: there are too many to list.
    """
    charges = [(0,)] * len(counts) if states is None else [tuple(own) for own in states]
    # A row holds the atoms of the elements so far, and one total charge that they can have.
    rows, totals = np.zeros((1, 0), dtype=np.int64), np.zeros(1, dtype=np.int64)
    for column, (bounds, own) in enumerate(zip(counts, charges, strict=True)):
        later = _sum_later(counts[column + 1 :], charges[column + 1 :])
        grown, sums = [], []
        for count in range(bounds[0], min(bounds[1], atoms[1]) + 1):
            for charge in sorted(_add_charges(own, count)):
                kept = _can_finish(rows.sum(axis=1) + count, totals + charge, later, atoms)
                number = int(kept.sum())
                grown.append(np.hstack([rows[kept], np.full((number, 1), count, dtype=np.int64)]))
                sums.append(totals[kept] + charge)
        if sum(map(len, grown)) > MAX_PARTIAL:
            raise ValueError(TOO_MANY)
        rows = np.vstack(grown) if grown else np.zeros((0, column + 1), dtype=np.int64)
        totals = np.concatenate(sums) if sums else np.zeros(0, dtype=np.int64)
    found = np.unique(rows[rows.sum(axis=1) > 0], axis=0)
    if len(found) > MAX_COMPOSITIONS:
        raise ValueError(TOO_MANY)
    return Compositions(found)


@dataclass(frozen=True, slots=True)
class _Later:
    """Bounds of atoms and charge that elements still to come can add."""

    atoms: tuple[int, int]
    charge: tuple[int, int]


def _sum_later(counts: Sequence[tuple[int, int]], charges: Sequence[Sequence[int]]) -> _Later:
    lowest = sum(
        min(low * min(own), high * min(own)) for (low, high), own in zip(counts, charges, strict=True)
    )
    highest = sum(
        max(low * max(own), high * max(own)) for (low, high), own in zip(counts, charges, strict=True)
    )
    return _Later((sum(low for low, _ in counts), sum(high for _, high in counts)), (lowest, highest))


def _can_finish(sizes: IntArray, totals: IntArray, later: _Later, atoms: tuple[int, int]) -> BoolArray:
    """True where later elements can reach a size within `atoms` and no charge, shape (m,)."""
    enough = (sizes + later.atoms[1] >= atoms[0]) & (sizes + later.atoms[0] <= atoms[1])
    balanced = (totals + later.charge[0] <= 0) & (totals + later.charge[1] >= 0)
    kept: BoolArray = enough & balanced
    return kept


def _add_charges(states: Sequence[int], count: int) -> set[int]:
    """Total charges that `count` atoms can have, each in any of its states."""
    totals = {0}
    for _ in range(count):
        totals = {total + state for total in totals for state in states}
    return totals


def describe_bounds(
    elements: Sequence[str], counts: Mapping[str, tuple[int, int]], atoms: tuple[int, int]
) -> str:
    """Describe which sizes and counts were asked for: `2 to 16 atoms of Li and Si (Li 0 to 4)`."""
    narrowed = [
        f"{name} {low} to {high}" for name, (low, high) in counts.items() if (low, high) != (0, atoms[1])
    ]
    size = f"{atoms[0]} to {atoms[1]} atoms" if atoms[0] < atoms[1] else f"{atoms[0]} atoms"
    return f"{size} of {', '.join(elements)}" + (f" ({', '.join(narrowed)})" if narrowed else "")


def pack_spheres(rows: IntArray, shortest: FloatArray) -> FloatArray:
    """Smallest volume of cells that could hold atoms at given distances, shape (m,), Å³.

    Atoms of one element are equal spheres: at best they fill π/√18 of space (T. Hales, Ann. Math. 162, 1065 (2005)).
    Spheres of all elements together cannot overlap.

    Args:
        rows: shape (m, k), atoms of each element.
        shortest: shape (k, k), smallest distances, Å.
    """
    alone = np.pi / 6.0 * np.diag(shortest) ** 3 / (np.pi / np.sqrt(18.0))
    together = np.pi / 6.0 * np.min(shortest, axis=1) ** 3
    needed: FloatArray = np.maximum((rows * alone).max(axis=1), rows @ together)
    return needed
