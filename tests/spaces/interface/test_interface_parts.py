"""Shifts and their symmetry, and sites that exchange atoms, without a bicrystal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.arrays import IntArray
from invdesign.rng import rng_for
from invdesign.spaces.interface.shifts import STEPS, ShiftRule, count_grid, to_fractions, to_steps
from invdesign.spaces.interface.sites import Sublattice, Transfer, VaryingSites
from invdesign.spaces.ordered_sites.orderings import SiteGroup

TURN = np.array([[0, -1], [1, -1]])  # a third of a turn in a hexagonal lattice
MIRROR = np.array([[0, 1], [1, 0]])
FRACTIONS = st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))


def group(*generators: tuple[IntArray, tuple[float, float]]) -> tuple[IntArray, IntArray]:
    """Rotations and translations in steps of the group that some operations generate."""
    found = {((1, 0, 0, 1), (0, 0)): (np.eye(2, dtype=np.int64), np.zeros(2, dtype=np.int64))}
    new = list(found.values())
    makers = [(turn, to_steps(np.array(shift))) for turn, shift in generators]
    while new:
        made = []
        for turn, shift in new:
            for own, moved in makers:
                both = own @ turn, np.mod(own @ shift + moved, STEPS)
                key = (tuple(both[0].ravel().tolist()), tuple(both[1].tolist()))
                if key not in found:
                    found[key] = both
                    made.append(both)
        new = made
    turns, shifts = zip(*found.values(), strict=True)
    return np.array(turns), np.array(shifts)


HEXAGONAL = group((TURN, (1 / 3, 2 / 3)), (MIRROR, (0.0, 0.0)))
OBLIQUE = group((-np.eye(2, dtype=np.int64), (0.5, 0.25)))


@given(shift=FRACTIONS, number=st.integers(0, 5))
@pytest.mark.parametrize("operations", [HEXAGONAL, OBLIQUE], ids=["hexagonal", "oblique"])
def test_symmetric_shifts_have_one_canonical_form(
    operations: tuple[IntArray, IntArray], shift: tuple[float, float], number: int
) -> None:
    """Every image of a shift reduces to the same one, which reduces to itself and survives being written down."""
    rule = ShiftRule(*operations)
    every = np.ones(len(operations[0]), dtype=np.bool_)
    steps = to_steps(np.array(shift))
    smallest, leading, whole = rule.reduce(steps, every)
    image = rule.map_steps(steps)[number % len(every)]
    assert (rule.reduce(image, every)[0] == smallest).all()
    assert (rule.reduce(smallest, every)[0] == smallest).all()
    assert (to_steps(np.array(to_fractions(smallest))) == smallest).all()
    assert len(leading) >= 1
    for operation, cells in zip(leading.tolist(), whole, strict=True):
        assert (rule.map_steps(steps)[operation] - cells * STEPS == smallest).all()


@pytest.mark.parametrize("operations", [HEXAGONAL, OBLIQUE], ids=["hexagonal", "oblique"])
def test_a_grid_is_a_set_of_orbits(operations: tuple[IntArray, IntArray]) -> None:
    """The distinct points and their images are the grid, without overlaps: so their number is that of the orbits."""
    counts = count_grid(np.array([3.1, 3.1]), 0.5, operations[0])
    rule = ShiftRule(*operations, grid=counts)
    points = {tuple(point) for point in rule.list_points().tolist()}
    assert len(points) == counts.prod()
    assert (3.1 / counts <= 0.5).all()
    orbits = [
        {tuple(image) for image in np.mod(rule.map_steps(shift), STEPS).tolist()}
        for shift in rule.list_distinct()
    ]
    assert set.union(*orbits) == points
    assert sum(map(len, orbits)) == len(points)


def test_a_fixed_shift_leaves_the_symmetry_that_keeps_it() -> None:
    """Operations that move the one allowed shift are none of the space's."""
    turns, shifts = OBLIQUE
    fixed = to_steps(np.array([0.25, 0.125]))
    every = np.ones(len(turns), dtype=np.bool_)
    assert len(ShiftRule(turns, shifts, fixed=fixed).reduce(fixed, every)[1]) == 2
    other = to_steps(np.array([0.1, 0.1]))
    assert len(ShiftRule(turns, shifts, fixed=other).reduce(other, every)[1]) == 1


def sites(most: tuple[int, int] = (2, 3)) -> VaryingSites:
    """Three cobalt and two phosphorus sites that exchange; lithium leaves the film's three sites for two voids."""
    lattices = (
        Sublattice("substrate Co", "substrate", (0,), ("Co", "P"), 5.0),
        Sublattice("film P", "film", (1,), ("P", "Co"), 5.0),
        Sublattice("film Li", "film", (2,), ("Li", "vacancy"), 5.0),
        Sublattice("substrate voids", "substrate", (), ("vacancy", "Li"), 5.0),
    )
    transfers = (
        Transfer("Co-P", ((0, 1), (1, 1)), most[0]),
        Transfer("Li from film", ((2, 1), (3, 1)), most[1]),
    )
    ends = np.cumsum([0, 3, 2, 3, 2]).tolist()
    groups = tuple(
        SiteGroup(lattice.name, lattice.species, first, stop)
        for lattice, first, stop in zip(lattices, ends[:-1], ends[1:], strict=True)
    )
    return VaryingSites(
        lattices, transfers, np.arange(10), groups, np.linspace(0.5, 4.5, 10), np.zeros((10, 2))
    )


def test_exchanges_conserve_the_composition() -> None:
    """Each allowed number of transfers puts as many atoms on one side as it takes from there, and no more than fit."""
    own = sites()
    assert own.amounts.tolist() == [[a, b] for a in range(3) for b in range(3)]
    rng = rng_for(0, 0, "keys")
    for amounts in own.amounts:
        codes = own.place_by_keys(amounts, rng.random(10))
        names = [
            group.species[code] for group in own.groups for code in codes[group.first : group.stop].tolist()
        ]
        assert sorted(names) == sorted(["Co"] * 3 + ["P"] * 2 + ["Li"] * 3 + ["vacancy"] * 2)
        found = own.find_amounts(codes)
        assert found is not None
        assert found.tolist() == amounts.tolist()


def test_unequal_numbers_are_not_allowed() -> None:
    """An atom that is on neither side any more is a change of composition."""
    codes = np.zeros(10, dtype=np.int64)
    codes[0] = 1
    assert sites().find_amounts(codes) is None


def test_two_transfers_share_a_sublattice() -> None:
    """Cobalt for phosphorus and for silicon: together no more foreign atoms than there are sites."""
    lattices = (
        Sublattice("substrate Co", "substrate", (0,), ("Co", "P", "Si"), 5.0),
        Sublattice("film P", "film", (1,), ("P", "Co"), 5.0),
        Sublattice("film Si", "film", (2,), ("Si", "Co"), 5.0),
    )
    transfers = (Transfer("Co-P", ((0, 1), (1, 1)), 2), Transfer("Co-Si", ((0, 2), (2, 1)), 2))
    groups = (
        SiteGroup("substrate Co", ("Co", "P", "Si"), 0, 3),
        SiteGroup("film P", ("P", "Co"), 3, 5),
        SiteGroup("film Si", ("Si", "Co"), 5, 7),
    )
    own = VaryingSites(lattices, transfers, np.arange(7), groups, np.ones(7), np.zeros((7, 2)))
    assert own.amounts.sum(axis=1).max() == 3
    codes = own.place_by_keys(np.array([1, 2]), np.linspace(0.0, 1.0, 7))
    assert codes.tolist() == [1, 2, 2, 0, 1, 1, 1]
