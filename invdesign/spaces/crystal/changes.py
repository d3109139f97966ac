"""Operators that change the composition, or the size of the cell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.spaces.crystal.operators import RATTLES, TRIES
from invdesign.spaces.crystal.rules import CrystalRules, settle
from invdesign.spaces.crystal.supercells import repeat_axis
from invdesign.spaces.operators import find_settled
from invdesign.structures.geometry import Crystal, displace_atoms, make_crystal

VOID_TRIES = 60  # random points, of which the one with most room takes an added atom (chosen)
STEP_ATOMS = 6  # atoms by which neighbouring compositions differ at most, where there are any (chosen)


def repeat(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Repeat the parent along one axis as often as the space allows, and rattle the atoms.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents
    counts = rules.count_atoms(parent)
    times = [n for n in range(2, 1 + rules.most_atoms) if rules.compositions.allows(n * counts)]
    if not times:
        return None
    large = repeat_axis(parent, times=int(rng.choice(times)), axis=int(rng.integers(3)))
    drawn = (displace_atoms(large, rng.uniform(*RATTLES), rng) for _ in range(TRIES))
    return find_settled(drawn, partial(settle, rules=rules))


def add_atoms(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Add atoms in the largest voids, to a neighbouring composition.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    return _change_composition(parents[0], rules, rng, 1)


def remove_atoms(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Remove random atoms, to a neighbouring composition.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    return _change_composition(parents[0], rules, rng, -1)


def transmute(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Turn atoms into those of other elements, to a neighbouring composition.

    Where charges must balance, atoms may come or go with them.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    return _change_composition(parents[0], rules, rng, 0)


def _change_composition(parent: Crystal, rules: CrystalRules, rng: Rng, sign: int) -> Crystal | None:
    """Take a crystal to a composition near its own.

    Args:
        parent: the crystal.
        rules: of the space.
        rng: the only source of randomness.
        sign: 1 for more atoms of no element less, -1 for the reverse, 0 for elements that take each other's place.
    """
    counts = rules.count_atoms(parent)
    change = rules.compositions.rows - counts
    up, down = (change > 0).any(axis=1), (change < 0).any(axis=1)
    allowed = (up & ~down) if sign > 0 else (down & ~up) if sign < 0 else (up & down)
    size = np.abs(change).sum(axis=1)
    if not allowed.any():
        return None
    near = np.flatnonzero(allowed & (size <= max(STEP_ATOMS, int(size[allowed].min()))))
    drawn = (_with_counts(parent, change[int(rng.choice(near))], rules, rng) for _ in range(TRIES))
    return find_settled(drawn, partial(settle, rules=rules))


def _with_counts(parent: Crystal, change: IntArray, rules: CrystalRules, rng: Rng) -> Crystal:
    """Change a crystal's numbers of atoms; new atoms take the places of removed ones first, then voids.

    Args:
        parent: the crystal.
        change: shape (k,), atoms of each element to add or, below 0, to remove.
        rules: of the space.
        rng: the only source of randomness.
    """
    removed: list[int] = []
    for kind in np.flatnonzero(change < 0).tolist():
        atoms = np.flatnonzero(parent.species == kind)
        removed += rng.choice(atoms, size=int(-change[kind]), replace=False).tolist()
    added = np.repeat(np.arange(len(change)), np.maximum(change, 0))
    rng.shuffle(added)
    free = parent.positions[rng.permutation(np.array(removed, dtype=np.int64))]
    kept = np.setdiff1d(np.arange(len(parent)), removed)
    species, positions = parent.species[kept], parent.positions[kept]
    counts = rules.count_atoms(parent)
    scale = rules.volume(counts + change).typical / rules.volume(counts).typical
    cell = parent.cell * np.cbrt(scale) if rules.cell is None else parent.cell
    for number, kind in enumerate(added.tolist()):
        place = free[number] if number < len(free) else _find_void(cell, species, positions, kind, rules, rng)
        species = np.append(species, kind)
        positions = np.vstack([positions, place])
    return make_crystal(cell, species, positions)


def _find_void(
    cell: FloatArray, species: IntArray, positions: FloatArray, kind: int, rules: CrystalRules, rng: Rng
) -> FloatArray:
    """Point (3,) with most room for an atom, relative to what it needs, of some random ones."""
    drawn = rng.random((VOID_TRIES, 3))
    if not len(positions):
        first: FloatArray = drawn[0]
        return first
    apart = drawn[:, None, :] - positions[None, :, :]
    apart -= np.round(apart)
    distance = np.sqrt(((apart @ cell) ** 2).sum(axis=2)) / rules.room[kind, species]
    best: FloatArray = drawn[int(distance.min(axis=1).argmax())]
    return best
