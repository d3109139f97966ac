"""Symmetric starts: exact composition, distances, and the symmetry they were drawn with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from invdesign.arrays import FloatArray
from invdesign.rng import rng_for
from invdesign.spaces.crystal.symmetric import (
    MAX_ATTEMPTS,
    STRETCH,
    draw_in_group,
    draw_symmetric,
    find_group,
    order_groups,
)
from invdesign.structures.geometry import Crystal, find_closest_pair, make_crystal
from invdesign.structures.partitions import find_partitions, list_fitting_groups, list_site_classes
from invdesign.structures.symmetry import symmetry_dataset
from invdesign.structures.wyckoff import GROUPS, find_space_group

ROOM = 0.75 * np.add.outer([1.21, 0.66], [1.21, 0.66])  # Å, of aluminium and oxygen
CORUNDUM = (4, 6)
VOLUME = 85.0  # Å³ of Al4O6


def count_operations(crystal: Crystal) -> float:
    """Operations per primitive cell that spglib finds, by atoms of the crystal's cell."""
    found = symmetry_dataset(crystal.cell, crystal.positions, crystal.species.tolist(), 1e-3)
    return len(found.rotations)


@pytest.mark.parametrize("number", GROUPS)
def test_crystal_has_the_symmetry_of_its_group(number: int) -> None:
    """All operations of the group are found by spglib in a crystal drawn in it."""
    group = find_space_group(number)
    general = max(position.primitive_multiplicity for position in group.positions.values())
    counts = (general, min(kind.multiplicity for kind in list_site_classes(number)))
    room = np.full((2, 2), 0.3)
    crystal = draw_in_group(number, counts, 8.0 * sum(counts), room, rng_for(7, number, "test"))
    assert crystal is not None
    assert_array_equal(crystal.count_species(2), counts)
    assert find_closest_pair(crystal, room) is None
    assert count_operations(crystal) % len(group.rotations) == 0
    assert find_group(crystal, 1e-3) >= number or count_operations(crystal) > len(group.rotations)


@given(seed=st.integers(0, 10_000), first=st.integers(0, 9), second=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_composition_volume_and_distances_are_exact(seed: int, first: int, second: int) -> None:
    """Whatever the composition: a draw ends, and what it gives keeps the rules."""
    volume = 8.5 * (first + second)
    found = draw_symmetric((first, second), volume, ROOM, np.random.default_rng(seed))
    if found is None:
        return
    crystal, number = found
    assert_array_equal(crystal.count_species(2), [first, second])
    assert STRETCH[0] - 1e-9 <= crystal.volume / volume <= STRETCH[1] + 1e-9
    assert find_closest_pair(crystal, ROOM - 1e-9) is None
    assert number in list_fitting_groups((first, second))
    assert count_operations(crystal) % len(find_space_group(number).rotations) == 0


def test_same_generator_gives_the_same_crystal() -> None:
    first, second = (draw_symmetric(CORUNDUM, VOLUME, ROOM, rng_for(3, 4, "start")) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]
    assert_array_equal(first[0].positions, second[0].positions)
    assert_array_equal(first[0].cell, second[0].cell)


def test_groups_are_spread() -> None:
    """Many groups of all crystal systems come up, not only simple or only high ones."""
    rng = np.random.default_rng(1)
    drawn = [draw_symmetric(CORUNDUM, VOLUME, ROOM, rng) for _ in range(150)]
    groups = Counter(found[1] for found in drawn if found is not None)
    assert groups.total() > 140
    assert len(groups) > 70
    assert max(groups.values()) < 8
    assert any(number < 75 for number in groups)
    assert any(number > 194 for number in groups)


def test_only_allowed_groups_are_drawn() -> None:
    rng = np.random.default_rng(1)
    drawn = {found[1] for _ in range(20) if (found := draw_symmetric(CORUNDUM, VOLUME, ROOM, rng, [15, 167]))}
    assert drawn == {15, 167}


def test_weights_decide_which_group_comes_first() -> None:
    rng = np.random.default_rng(5)
    firsts = Counter(order_groups({2: 1.0, 14: 3.0, 62: 0.0}, rng)[0] for _ in range(2000))
    assert set(firsts) == {2, 14}
    assert_allclose(firsts[14] / 2000, 0.75, atol=0.04)


def test_composition_that_fits_no_group_gives_none() -> None:
    """Fd-3m has no positions for one atom in the primitive cell, only for two."""
    assert list_fitting_groups((1,), [227]) == ()
    assert draw_symmetric((1,), 20.0, ROOM[:1, :1], np.random.default_rng(0), [227]) is None
    assert list_fitting_groups((2,), [227, 1]) == (227, 1)


def test_atoms_without_room_give_none() -> None:
    """A cell that cannot hold the atoms ends after a bounded number of tries."""
    assert draw_symmetric(CORUNDUM, 20.0, ROOM, np.random.default_rng(0)) is None
    assert MAX_ATTEMPTS < 100


def test_one_atom_is_a_crystal_of_any_lattice() -> None:
    found = draw_symmetric((0, 1), 12.0, ROOM, np.random.default_rng(2), [225])
    assert found is not None
    assert find_group(found[0]) == 225


def test_partitions_are_counted() -> None:
    """P-1 has eight single sites and a double one with free coordinates."""
    assert find_partitions(2, (1,)).number == 1
    assert find_partitions(2, (4,)).number == 3  # four, two or no single sites
    assert find_partitions(2, (9, 1)).number == 4  # 7, 5, 3 or 1 single sites of the first, one of the second
    assert find_partitions(2, (8, 1)).number == 4  # 0, 2, 4 or 6; eight would leave none
    assert find_partitions(227, (1,)).number == 0


def test_partitions_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(find_partitions(2, (4,)).draw(rng)) for _ in range(3000))
    assert len(drawn) == 3
    assert_allclose([count / 3000 for count in drawn.values()], 1 / 3, atol=0.04)


def _rattle(crystal: Crystal, size: float) -> Crystal:
    moves = np.random.default_rng(0).normal(0.0, size, crystal.positions.shape)
    shifted: FloatArray = crystal.positions + moves @ np.linalg.inv(crystal.cell)
    return make_crystal(crystal.cell, crystal.species, shifted)


def test_group_is_found_at_a_loose_tolerance() -> None:
    """A rattled perovskite is one at 0.1 Å, and has no symmetry at 0.001 Å."""
    perovskite = make_crystal(
        3.9 * np.eye(3),
        [0, 0, 0, 1, 2],
        np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 0], [0.5] * 3]),
    )
    rattled = _rattle(perovskite, 0.01)
    assert find_group(perovskite, 1e-3) == find_group(rattled) == 221
    assert find_group(rattled, 1e-3) == 1


def test_group_of_overlapping_atoms_is_p1() -> None:
    assert find_group(make_crystal(4.0 * np.eye(3), [0, 0], np.zeros((2, 3)))) == 1
