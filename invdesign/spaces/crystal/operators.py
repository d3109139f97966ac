"""Operators on crystals: children of one parent or of two.

Each is a function of parents, rules and generator. `settle` decides if what it made is a crystal of the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.spaces.crystal.compositions import Compositions
from invdesign.spaces.crystal.rules import CrystalRules, settle
from invdesign.spaces.crystal.starts import draw_cell_shape
from invdesign.spaces.operators import find_settled
from invdesign.structures.geometry import Crystal, displace_atoms, make_crystal

TRIES = 20  # of an operator with new random numbers, until a child keeps the rules (chosen)
CUT_RANGE = (0.25, 0.75)  # part of the child that the first parent gives (chosen)
TURNED_SHARE = 0.5  # of the children, whose parents' axes are permuted differently (chosen)
SHIFTED_SHARE = 0.5  # of the children, whose slabs are shifted within the plane of the cut (chosen)
STRAINS = (0.05, 0.35)  # standard deviations of strain components, drawn evenly (chosen)
RATTLES = (0.2, 1.0)  # Å, standard deviations of displacements, drawn evenly (chosen)
MOVED_SHARE = (0.3, 1.0)  # of the atoms that a rattle moves, drawn evenly (chosen)
MAX_SWAPS = 4  # pairs that a permutation swaps at most (chosen)


def splice(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Join a slab of one parent and a slab of the other.

    The axes of the second parent are permuted at random, both are shifted at random, and the child's cell is a mean of
    theirs. Of every species the atoms that lie deepest within their slab are taken, so that the counts come out exactly.

    Args:
        parents: two.
        rules: of the space.
        rng: the only source of randomness.

    Source:
        Glass, Oganov & Hansen, Comput. Phys. Commun. 175, 713 (2006); Deaven & Ho, Phys. Rev. Lett. 75, 288 (1995).
    """

    def join() -> Crystal:
        first, second = parents
        if rules.cell is None:
            first, second = _permute_axes(first, second, rng)
        return _join_slabs(first, second, _mix_counts(first, second, rules, rng), rng)

    return find_settled((join() for _ in range(TRIES)), partial(settle, rules=rules))


def _mix_counts(first: Crystal, second: Crystal, rules: CrystalRules, rng: Rng) -> IntArray:
    """Draw the composition of a child: that of a parent, or one between them."""
    own, other = rules.count_atoms(first), rules.count_atoms(second)
    if (own == other).all():
        return own
    wanted = own + rng.random() * (other - own)
    return nearest_composition(rules.compositions, wanted, own + other, rng)


def nearest_composition(compositions: Compositions, wanted: FloatArray, most: IntArray, rng: Rng) -> IntArray:
    """Nearest allowed composition to `wanted` (k,); of several at the same distance a random one.

    Args:
        compositions: of the space.
        wanted: shape (k,), atoms of each element, also fractions.
        most: shape (k,), largest numbers there may be; at least one composition keeps them.
        rng: for ties.
    """
    rows = compositions.rows[(compositions.rows <= most).all(axis=1)]
    distance = ((rows - wanted) ** 2).sum(axis=1)
    nearest = np.flatnonzero(distance <= distance.min() + 1e-9)
    chosen: IntArray = rows[int(rng.choice(nearest))]
    return chosen


def _permute_axes(first: Crystal, second: Crystal, rng: Rng) -> tuple[Crystal, Crystal]:
    """Number the axes of two crystals anew, alike or each its own way."""
    order, signs = _draw_axes(rng)
    turned = _turn_axes(first, order, signs)
    if rng.random() < TURNED_SHARE:
        order, signs = _draw_axes(rng)
    return turned, _turn_axes(second, order, signs)


def _draw_axes(rng: Rng) -> tuple[IntArray, FloatArray]:
    """Draw an order of the axes, and signs of which none or two are negative."""
    order = rng.permutation(3)
    signs = np.ones(3)
    signs[order[:2]] = rng.choice((-1.0, 1.0))
    return order, signs


def _turn_axes(crystal: Crystal, order: IntArray, signs: FloatArray) -> Crystal:
    """Number the axes of a crystal anew, and turn some of them round."""
    cell, positions = signs[:, None] * crystal.cell[order], signs * crystal.positions[:, order]
    return make_crystal(cell, crystal.species, positions)


def _join_slabs(first: Crystal, second: Crystal, counts: IntArray, rng: Rng) -> Crystal:
    """Join slabs of two crystals along the first axis, at random shifts.

    Args:
        first, second: they hold at least the atoms of the child together.
        counts: shape (k,), atoms of each element in the child.
        rng: the only source of randomness.
    """
    share = rng.uniform(*CUT_RANGE)
    shifts = rng.random((2, 3))
    if rng.random() >= SHIFTED_SHARE:  # within the plane of the cut the parents stay as they are
        shifts[:, 1:] = 0.0
    ours = np.mod(first.positions + shifts[0], 1.0)
    theirs = np.mod(second.positions + shifts[1], 1.0)
    # Depth outside of the own slab: the slabs are centred at 0 and at 1/2.
    out_of_ours = np.abs(ours[:, 0] - np.round(ours[:, 0])) - 0.5 * share
    out_of_theirs = np.abs(theirs[:, 0] - 0.5) - 0.5 * (1.0 - share)
    species = np.concatenate([first.species, second.species])
    positions = np.vstack([ours, theirs])
    outside = np.concatenate([out_of_ours, out_of_theirs])
    chosen: list[int] = []
    for kind, count in enumerate(counts.tolist()):
        atoms = np.flatnonzero(species == kind)
        chosen += atoms[np.argsort(outside[atoms], kind="stable")[:count]].tolist()
    cell = mean_cell(first, second, share, int(counts.sum()))
    return make_crystal(cell, species[chosen], positions[chosen])


def mean_cell(first: Crystal, second: Crystal, share: float, atoms: int) -> FloatArray:
    """Cell between those of two crystals, with the mean volume per atom, shape (3, 3).

    Args:
        first, second: crystals.
        share: weight of the first.
        atoms: of the child.
    """
    upright = [np.linalg.cholesky(crystal.cell @ crystal.cell.T) for crystal in (first, second)]
    cell = share * upright[0] + (1.0 - share) * upright[1]
    per_atom = share * first.volume / len(first) + (1.0 - share) * second.volume / len(second)
    scaled: FloatArray = cell * np.cbrt(per_atom * atoms / abs(np.linalg.det(cell)))
    return scaled


def permute(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Swap atoms of different elements, one to four pairs.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents
    if (parent.species == parent.species[0]).all():
        return None

    def swap() -> Crystal | None:
        species = parent.species.copy()
        for _ in range(int(rng.integers(1, MAX_SWAPS + 1))):
            one = int(rng.integers(len(species)))
            other = int(rng.choice(np.flatnonzero(species != species[one])))
            species[one], species[other] = species[other], species[one]
        if (species == parent.species).all():  # swaps may undo each other
            return None
        return make_crystal(parent.cell, species, parent.positions)

    return find_settled((swap() for _ in range(TRIES)), partial(settle, rules=rules))


def strain(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Strain the cell at constant volume, and rattle the atoms a little.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents

    def bend() -> Crystal | None:
        size = rng.uniform(*STRAINS)
        bent = rng.normal(0.0, size, (3, 3))
        cell = parent.cell @ (np.eye(3) + 0.5 * (bent + bent.T))
        volume = abs(float(np.linalg.det(cell)))
        if volume < 0.1 * parent.volume:
            return None
        cell *= np.cbrt(parent.volume / volume)
        return displace_atoms(Crystal(cell, parent.species, parent.positions), RATTLES[0], rng)

    return find_settled((bend() for _ in range(TRIES)), partial(settle, rules=rules))


def rattle(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Displace some of the atoms.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents
    inverse = np.linalg.inv(parent.cell)

    def move() -> Crystal:
        moved = rng.random(len(parent)) < rng.uniform(*MOVED_SHARE)
        if not moved.any():
            moved[int(rng.integers(len(parent)))] = True
        moves = rng.normal(0.0, rng.uniform(*RATTLES), parent.positions.shape) * moved[:, None]
        return make_crystal(parent.cell, parent.species, parent.positions + moves @ inverse)

    return find_settled((move() for _ in range(TRIES)), partial(settle, rules=rules))


def change_lattice(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Give the atoms a new cell of the parent's volume.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents

    def place() -> Crystal:
        turned = _turn_axes(parent, *_draw_axes(rng))
        cell = draw_cell_shape(rng) * np.cbrt(parent.volume)
        return make_crystal(cell, turned.species, turned.positions)

    return find_settled((place() for _ in range(TRIES)), partial(settle, rules=rules))
