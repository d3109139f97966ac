"""Validity of generated crystals has CDVAE's verdicts, and finds atoms that overlap in every cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.generators.metrics.validity import (
    check_validity,
    find_shortest_distance,
    is_neutral,
    passes_smact,
)
from tests.generators.metrics.crystals import REFERENCE, rock_salt


@pytest.mark.parametrize(
    ("distance", "overlap", "close"), [(0.45, True, True), (0.8, False, True), (1.2, False, False)]
)
def test_distances_decide(distance: float, overlap: bool, close: bool) -> None:
    """A pair below 0.5 Å overlaps, and one below 1 Å is close."""
    pair = Structure(
        Lattice.cubic(6.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, distance]], coords_are_cartesian=True
    )
    found = check_validity(pair)
    assert (found.structure, found.spaced) == (not overlap, not close)


def test_images_count() -> None:
    """The image of another atom, and of the atom itself in a short cell, are neighbours."""
    edge = Structure(Lattice.cubic(6.0), ["Na", "Cl"], [[0, 0, 0.02], [0, 0, 0.97]])
    assert find_shortest_distance(edge) == pytest.approx(0.3)
    short = Structure(Lattice.orthorhombic(0.7, 6.0, 6.0), ["Na"], [[0, 0, 0]])
    assert find_shortest_distance(short) == pytest.approx(0.7)


def test_a_sheared_cell_hides_no_neighbour() -> None:
    """A cell whose vectors are long and nearly parallel is short once it is reduced."""
    sheared = Lattice(np.array([[3.0, 0, 0], [0.4, 2.0, 0], [0, 0, 4.0]]))
    turned = Lattice(np.array([[1, 0, 0], [40, 1, 0], [7, -30, 1]]) @ sheared.matrix)
    points = [[0, 0, 0], [0.1, 0.6, 0]]
    plain = Structure(sheared, ["Li", "H"], points, coords_are_cartesian=True)
    hidden = Structure(turned, ["Li", "H"], points, coords_are_cartesian=True, to_unit_cell=True)
    assert find_shortest_distance(hidden) == pytest.approx(find_shortest_distance(plain), abs=1e-6)


@given(st.floats(0.3, 2.0), st.integers(0, 2), st.integers(0, 1000))
def test_shortest_distance_agrees_with_all_distances(edge: float, atoms: int, seed: int) -> None:
    """The shortest distance of small cells is that of pymatgen's matrix, or an edge."""
    rng = np.random.default_rng(seed)
    structure = Structure(
        Lattice.orthorhombic(edge, 2.1, 3.3), ["Li"] * (atoms + 1), rng.random((atoms + 1, 3))
    )
    pairs = structure.distance_matrix[np.triu_indices(atoms + 1, 1)]
    shortest = min([edge, *pairs.tolist()])
    assert find_shortest_distance(structure) == pytest.approx(
        shortest if shortest <= 1.0 else math.inf, abs=1e-6
    )


@pytest.mark.parametrize(
    "lattice",
    [np.diag([0.4, 0.4, 0.5]), np.diag([np.nan, 3.0, 3.0]), np.array([[1, 0, 0], [2, 0, 0], [0, 0, 3.0]])],
)
def test_cells_that_are_none(lattice: np.ndarray) -> None:
    """A tiny, flat or undefined cell holds no valid crystal."""
    assert not check_validity(Structure(Lattice(lattice), ["Li"], [[0, 0, 0]])).structure


def test_disorder_is_invalid() -> None:
    """A partly occupied site is no crystal here."""
    mixed = Structure(Lattice.cubic(4.0), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]])
    assert not check_validity(mixed).structure


def test_compositions_have_the_verdicts_of_smact() -> None:
    """The rule of SMACT 2.5.5 as CDVAE calls it, on 400 random compositions."""
    verdicts = [passes_smact(counts) for counts, _ in REFERENCE["compositions"]]
    assert verdicts == [valid for _, valid in REFERENCE["compositions"]]
    assert 100 < sum(verdicts) < 300


@pytest.mark.parametrize(
    ("counts", "smact", "neutral"),
    [
        ({"Na": 4, "Cl": 4}, True, True),
        ({"Fe": 3}, True, True),
        ({"Li": 1, "Al": 1}, True, True),  # metals alone
        ({"Na": 1, "Cl": 2}, False, False),
        ({"Ne": 1, "O": 1}, False, False),
        ({"Fe": 3, "O": 4}, False, True),  # one state per element against mean states
        ({"Na": 2, "O": 1, "Cl": 0}, True, True),
    ],
)
def test_known_compositions(counts: dict[str, int], smact: bool, neutral: bool) -> None:
    """Both rules on compositions that chemists know."""
    assert (passes_smact(counts), is_neutral(counts)) == (smact, neutral)


def test_a_known_crystal_is_valid() -> None:
    """Rock salt passes everything."""
    found = check_validity(rock_salt())
    assert found.structure
    assert found.spaced
    assert found.smact
    assert found.neutral
    assert found.both
