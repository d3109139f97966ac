"""Permutations of sites, smallest images, cycle types."""

from __future__ import annotations

from itertools import permutations as orders
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.arrays import IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.symmetry import (
    are_smallest_images,
    count_cycle_types,
    find_smallest_image,
    site_permutations,
    symmetry_dataset,
)

CUBE = 4.0 * np.eye(3)
CHAIN = np.array([[0, 0, z] for z in (0.0, 0.25, 0.5, 0.75)])


def dihedral(n: int) -> IntArray:
    """The symmetry group of a ring of n sites."""
    ring = np.arange(n)
    rows = [np.roll(ring, k) for k in range(n)]
    return np.unique([*rows, *(row[::-1] for row in rows)], axis=0)


def test_a_chain_has_the_symmetry_of_a_ring() -> None:
    """Four equal atoms along an axis of a periodic cell move as the corners of a square do."""
    found = site_permutations(np.diag([4.0, 4.0, 8.0]), CHAIN, ["x"] * 4, range(4))
    assert np.array_equal(found, dihedral(4))


def test_colours_break_symmetry() -> None:
    """An operation maps a site only onto sites of its colour, and sites left out still count."""
    lattice = np.diag([4.0, 4.0, 8.0])
    assert len(site_permutations(lattice, CHAIN, ["x", "y", "x", "y"], range(4))) == 4
    assert site_permutations(lattice, CHAIN, ["x", "y", "x", "z"], [0, 2]).tolist() == [[0, 1], [1, 0]]
    assert site_permutations(lattice, CHAIN, ["x", "y", "u", "z"], [0, 2]).tolist() == [[0, 1]]


def test_permutations_form_a_group_and_keep_distances() -> None:
    """Products are members, and every member maps the crystal onto itself."""
    from invdesign.structures.prototypes import find_prototype

    structure = find_prototype("argyrodite").build_structure()
    sulphur = [i for i, site in enumerate(structure) if site.specie.symbol == "S"]
    found = site_permutations(
        structure.lattice.matrix, structure.frac_coords, [s.species_string for s in structure], sulphur
    )
    members = {tuple(row) for row in found.tolist()}
    assert len(members) == 96  # 24 rotations, 4 translations
    assert all(tuple(a[b]) in members for a, b in product(found[:10], found[-10:]))
    distances = structure.distance_matrix[np.ix_(sulphur, sulphur)]
    for row in found:
        assert np.allclose(distances[np.ix_(row, row)], distances, atol=1e-6)


def test_overlapping_atoms_have_no_symmetry() -> None:
    """What spglib refuses is an error with a cause."""
    with pytest.raises(InvdesignError, match="overlapping atoms"):
        symmetry_dataset(CUBE, np.zeros((2, 3)), [1, 1])


@given(st.integers(1, 7), st.integers(2, 5), st.randoms(use_true_random=False))
def test_the_smallest_image_is_the_smallest(n: int, base: int, random: object) -> None:
    """It is the lexicographic minimum over the group, the same for all images of a decoration."""
    codes = np.array([random.randrange(base) for _ in range(n)], dtype=np.int64)  # type: ignore[attr-defined]
    group = dihedral(n)
    best = find_smallest_image(codes, group, base)
    assert best.tolist() == min(codes[row].tolist() for row in group)
    for row in group:
        assert np.array_equal(find_smallest_image(codes[row], group, base), best)


def test_long_decorations_are_compared_in_words() -> None:
    """More sites than fit one 64-bit word are compared word by word."""
    n, base = 150, 9
    codes = np.full(n, 8, dtype=np.int64)
    codes[70] = 0
    codes[71] = 3
    best = find_smallest_image(codes, dihedral(n), base)
    assert best[:2].tolist() == [0, 3]
    assert best.tolist() == min(codes[row].tolist() for row in dihedral(n))


@pytest.mark.parametrize(("n", "base"), [(4, 2), (5, 3), (6, 2)])
def test_exactly_one_image_of_each_decoration_is_smallest(n: int, base: int) -> None:
    """Going through all decorations finds one per orbit: the number of bracelets."""
    codes = np.array(list(product(range(base), repeat=n)), dtype=np.int64)
    weights = base ** np.arange(n - 1, -1, -1, dtype=np.int64)
    group = dihedral(n)
    kept = codes[are_smallest_images(codes, group, weights)]
    assert {tuple(row) for row in kept.tolist()} == {min(tuple(row[p]) for p in group) for row in codes}
    assert len(kept) == {(4, 2): 6, (5, 3): 39, (6, 2): 13}[n, base]  # OEIS A000029, A027671


def test_cycle_types_of_all_permutations_of_four() -> None:
    """The conjugacy classes of S4, kept apart by class."""
    group = np.array(list(orders(range(4))), dtype=np.int64)
    types = count_cycle_types(group, [7, 7, 7, 7])
    assert {tuple(length for _, length in cycles): times for cycles, times in types.items()} == {
        (1, 1, 1, 1): 1,
        (1, 1, 2): 6,
        (2, 2): 3,
        (1, 3): 8,
        (4,): 6,
    }
    split = count_cycle_types(np.array([[0, 1, 2], [1, 0, 2]]), [0, 0, 1])
    assert split == {((0, 1), (0, 1), (1, 1)): 1, ((0, 2), (1, 1)): 1}
