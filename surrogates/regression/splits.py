"""Groups of rows that belong together, and folds that keep every group whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import IntArray
from invdesign.rng import rng_for
from surrogates.regression.errors import TrainingError

Fold = tuple[IntArray, IntArray]
"""Positions of training rows and of test rows, each ascending."""

LARGE_SHARE = 0.5  # of all rows in one group, above which a remark says so (chosen)


@dataclass(frozen=True, slots=True)
class GroupSizes:
    """Sizes of the groups of a data set.

    Attributes:
        rows: number of rows.
        sizes: rows by group, largest first.
    """

    rows: int
    sizes: tuple[int, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about a group that decides most of a judgement."""
        if not self.sizes or self.sizes[0] <= LARGE_SHARE * self.rows or len(self.sizes) == 1:
            return ()
        return (
            (
                f"one group holds {self.sizes[0]} of {self.rows} rows: figures by groups rest mostly on it; "
                "fewer columns of groups join fewer rows"
            ),
        )


def join_groups(columns: Mapping[str, Sequence[str]]) -> IntArray:
    """Join rows that share a value of any column to groups (union-find).

    Args:
        columns: n values by name of the column; an empty value joins nothing.

    Returns:
        Shape (n,), numbers of the groups, in order of their first rows.

    Raises:
        TrainingError: there is no column, or columns differ in length.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1:
        raise TrainingError(f"columns of groups must have one value per row, got the lengths {lengths}")
    n = next(iter(lengths.values()))
    parent = list(range(n))

    def find_root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for values in columns.values():
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value:
                a, b = find_root(first.setdefault(value, row)), find_root(row)
                parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(find_root(row), len(numbers)) for row in range(n)], dtype=np.int64)


def measure_groups(groups: IntArray) -> GroupSizes:
    """Sizes of groups, largest first.

    Args:
        groups: shape (n,), number of the group of each row.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return GroupSizes(len(groups), tuple(int(size) for size in np.sort(sizes)[::-1]))


def split_groups(groups: IntArray, folds: int, seed: int, *, balanced: bool = True) -> list[Fold]:
    """Split rows into folds of similar sizes; no group is in two folds.

    Groups go to the smallest fold, largest groups first; the seed decides among equals.

    Args:
        groups: shape (n,), number of the group of each row.
        folds: number of folds, 2 or more.
        seed: of the order.
        balanced: False for folds with equal numbers of groups, drawn at random, whatever their rows.

    Raises:
        TrainingError: there are fewer groups than folds.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if folds < 2:
        raise TrainingError(f"a split needs at least 2 folds, got {folds}")
    if len(names) < folds:
        raise TrainingError(
            f"{len(groups)} rows form {len(names)} group{'s' if len(names) != 1 else ''}, fewer than the {folds} "
            "folds: no group may be in two folds; take fewer folds, or fewer columns of groups"
        )
    rng = rng_for(seed, 0, "folds of groups")
    shuffled = rng.permutation(len(names))
    if not balanced:
        place = (np.argsort(shuffled) % folds)[member]
        return [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(folds)]
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(folds, dtype=np.int64)
    fold_of = np.empty(len(names), dtype=np.int64)
    for group in order:
        fold = int(rng.permutation(folds)[0]) if not filled.any() else int(np.argmin(filled))
        fold_of[group] = fold
        filled[fold] += sizes[group]
    place = fold_of[member]
    return [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(folds)]
