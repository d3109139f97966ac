"""Starts with symmetry or translations, and fresh starts that are like a parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.spaces.crystal.compositions import Compositions
from invdesign.spaces.crystal.rules import CrystalRules, settle
from invdesign.spaces.crystal.starts import draw_p1, draw_with_room
from invdesign.spaces.crystal.supercells import draw_supercell, make_supercell
from invdesign.spaces.crystal.symmetric import draw_symmetric, find_group
from invdesign.spaces.operators import find_settled
from invdesign.structures.geometry import Crystal, displace_atoms, find_neighbours

# Å, standard deviations by which symmetric starts leave their saddle points (chosen). Displaced by 0.08 Å, 77 % of the starts of
# MgO relaxed to its minimum, and 17 % without (Pedone potential).
SADDLE_RATTLE = (0.05, 0.08)
TRIES = 5  # compositions and crystals of a start, until one keeps the rules (chosen)
SYMMETRIC_SUBCELLS = 0.5  # share of sub-cells with symmetry (chosen)
START_SHARES = {"random": 0.2, "repeated": 0.15, "symmetric": 0.65}  # of starts, at first (chosen)
LIKE_DISTANCE = 0.85  # share of the parent's shortest distances that a start like it keeps (chosen)
LIKE_VOLUME = (0.95, 1.1)  # of the parent's volume, between which a start like it lies (chosen)
BONDED = 1.5  # times the room of starts: farther atoms say nothing of distances (chosen)
LOWEST_GROUP = 3  # the first space group with more than an inversion


def draw_symmetric_start(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a crystal with the symmetry of a random space group, rattled a little.

    Args:
        parents: none.
        rules: of the space.
        rng: the only source of randomness.
    """
    del parents

    def draw() -> Crystal | None:
        return _draw_rattled(rules.compositions.draw(rng), rules, rng)

    return find_settled((draw() for _ in range(TRIES)), partial(settle, rules=rules))


def _draw_rattled(counts: IntArray, rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a symmetric crystal with `counts` (k,), off its saddle point."""
    drawn = draw_symmetric(counts, rules.volume(counts).typical, rules.room, rng, rules.space_groups)
    return None if drawn is None else leave_saddle(drawn[0], rng)


def leave_saddle(crystal: Crystal, rng: Rng) -> Crystal:
    """Displace atoms by less than 0.1 Å, so that relaxation leaves a symmetric saddle point."""
    return displace_atoms(crystal, rng.uniform(*SADDLE_RATTLE), rng)


def draw_repeated(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a small crystal, and rattle a random supercell of it a little.

    Args:
        parents: none.
        rules: of the space.
        rng: the only source of randomness.
    """
    del parents

    def draw() -> Crystal | None:
        counts = rules.compositions.draw(rng)
        whole = int(np.gcd.reduce(counts))
        divisors = [n for n in range(2, whole + 1) if whole % n == 0]
        if not divisors:
            return None
        n = int(rng.choice(divisors))
        small = _draw_subcell(counts // n, rules, rng)
        return None if small is None else leave_saddle(make_supercell(small, draw_supercell(n, rng)), rng)

    return find_settled((draw() for _ in range(TRIES)), partial(settle, rules=rules))


def _draw_subcell(counts: IntArray, rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a crystal with `counts` (k,), with symmetry or without."""
    volume = rules.volume(counts)
    if rng.random() < SYMMETRIC_SUBCELLS:
        drawn = draw_symmetric(counts, volume.typical, rules.room, rng, rules.space_groups)
        return None if drawn is None else drawn[0]
    own = replace(rules, compositions=Compositions(counts[None, :]))
    return draw_p1((), own, rng)


# Like a parent.


def draw_anew(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a start of any kind with the formula of a parent, in a cell of any size.

    So a search of several compositions starts more often where compositions are on the hull.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents
    counts = rules.count_atoms(parent)
    rows = rules.compositions.rows
    own = rows[(rows * counts.sum() == counts * rows.sum(axis=1, keepdims=True)).all(axis=1)]
    kept = replace(rules, compositions=Compositions(own))
    if rules.cell is not None:
        return draw_p1((), kept, rng)
    makers = (draw_p1, draw_repeated, draw_symmetric_start)
    return makers[int(rng.choice(len(makers), p=list(START_SHARES.values())))]((), kept, rng)


def draw_like(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a start without symmetry that has the volume and the shortest distances of a parent.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.
    """
    (parent,) = parents
    low, high = (share * parent.volume for share in LIKE_VOLUME)
    return draw_with_room(rules.count_atoms(parent), (low, high), find_room(parent, rules), rules, rng)


def draw_symmetric_like(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a start that has the space group, the volume and the shortest distances of a parent.

    None for a parent without rotations and planes.

    Args:
        parents: one.
        rules: of the space.
        rng: the only source of randomness.

    Source:
        Wang et al., Natl. Sci. Rev. 10, nwad128 (2023) (MAGUS: symmetry kept from good structures).
    """
    (parent,) = parents
    group = find_group(parent)
    if group < LOWEST_GROUP or group not in rules.space_groups:
        return None
    drawn = draw_symmetric(rules.count_atoms(parent), parent.volume, find_room(parent, rules), rng, (group,))
    return None if drawn is None else settle(leave_saddle(drawn[0], rng), rules)


def find_room(crystal: Crystal, rules: CrystalRules) -> FloatArray:
    """Distances (k, k) that a start like this crystal keeps, Å: a share of its shortest ones."""
    found = BONDED * rules.room
    first, second, distance = find_neighbours(crystal, float(found.max()))
    np.minimum.at(found, (crystal.species[first], crystal.species[second]), distance)
    return np.maximum(LIKE_DISTANCE * found, rules.shortest)
