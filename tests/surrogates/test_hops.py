"""Hops between the sites of an ion: those there are, grouped by symmetry, and where they lead."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from invdesign.arrays import FloatArray
from invdesign.structures.prototypes import find_prototype
from surrogates.transport.neb.hops import HopClass, find_hops
from surrogates.transport.neb.lattices import Crystal, list_cells, smallest_supercell
from surrogates.transport.passes import find_percolation_heights

LITHIUM = 3


def hops_of(structure: Structure, reach: float) -> tuple[HopClass, ...]:
    """Hops of lithium."""
    crystal = Crystal.from_structure(structure)
    return find_hops(crystal, crystal.positions[crystal.numbers == LITHIUM], reach)


def percolates(classes: tuple[HopClass, ...]) -> int:
    """Number of directions in which the hops lead without end."""
    edges = [(1.0, hop.start, hop.end, np.array(hop.cells)) for one in classes for hop in one.members]
    return int(np.isfinite(find_percolation_heights(edges)).sum())


@pytest.mark.parametrize(
    ("name", "lengths", "members"),
    [
        (
            "antiperovskite",
            [2.76],
            [12],
        ),  # edges of the octahedra: eight for each of three ions, each counted twice
        ("antifluorite", [2.31], [6]),  # a simple cubic net of two ions: six for each
        ("layered", [2.82], [3]),  # a triangular layer
        ("olivine", [3.00], [4]),  # the channel along the short axis
        ("spinel", [3.57], [4]),  # a diamond net of two ions
    ],
)
def test_known_crystals_have_the_hops_of_the_literature(
    name: str, lengths: list[float], members: list[int]
) -> None:
    """Neighbours by symmetry, without the hops that two shorter ones replace."""
    found = hops_of(find_prototype(name).build_structure(primitive=True), 4.0)
    assert [round(one.length, 2) for one in found] == lengths
    assert [len(one.members) for one in found] == members


def test_a_hop_knows_the_symmetry_that_reverses_it() -> None:
    """The two ends of an edge of the octahedron are exchanged by two operations."""
    (edge,) = hops_of(find_prototype("antiperovskite").build_structure(primitive=True), 4.5)
    assert len(edge.reversals) == 2


@pytest.mark.parametrize(
    ("sides", "directions"),
    [((3.0, 6.0, 7.0), 1), ((3.0, 3.2, 7.0), 2), ((3.0, 3.2, 3.4), 3), ((5.0, 6.0, 7.0), 0)],
)
def test_a_chain_a_layer_and_a_net_lead_in_one_two_and_three_directions(
    sides: tuple[float, float, float], directions: int
) -> None:
    """Only hops within reach count."""
    crystal = Structure(Lattice.orthorhombic(*sides), ["Li", "F"], [(0, 0, 0), (0.5, 0.5, 0.5)])
    assert percolates(hops_of(crystal, 4.0)) == directions


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.sampled_from(["antiperovskite", "olivine", "lithium_nitride"]))
def test_hops_do_not_depend_on_how_a_crystal_is_written(random: object, name: str) -> None:
    """Turned, shifted, in another order of atoms: the same lengths and numbers of hops."""
    rng = np.random.default_rng(random.randrange(10**6))  # type: ignore[attr-defined]  # hypothesis' Random
    structure = find_prototype(name).build_structure(primitive=True)
    turn = Rotation.random(random_state=rng).as_matrix()
    order = rng.permutation(len(structure))
    moved = Structure(
        structure.lattice.matrix @ turn.T,
        [structure[int(k)].specie for k in order],
        structure.frac_coords[order] + rng.random(3),
    )
    one, other = hops_of(structure, 4.0), hops_of(moved, 4.0)
    assert [len(hop.members) for hop in one] == [len(hop.members) for hop in other]
    assert [hop.length for hop in one] == pytest.approx([hop.length for hop in other])


@settings(max_examples=25)
@given(
    st.tuples(*[st.floats(2.5, 6.0)] * 3),
    st.tuples(*[st.floats(60.0, 120.0)] * 3),
    st.floats(5.0, 9.0),
)
def test_a_supercell_keeps_images_apart(
    sides: tuple[float, ...], angles: tuple[float, ...], apart: float
) -> None:
    """No lattice vector of the supercell is shorter than asked, and no cell is lost."""
    a, b, g = np.cos(np.deg2rad(angles))
    if 1 + 2 * a * b * g - a**2 - b**2 - g**2 < 0.1:
        return  # hardly a cell
    lattice = Lattice.from_parameters(*sides, *angles)
    crystal = Crystal.from_structure(Structure(lattice, ["Li"], [(0, 0, 0)]))
    supercell = smallest_supercell(crystal, apart)
    whole = np.array([step for step in product((-2, -1, 0, 1, 2), repeat=3) if any(step)])
    assert np.linalg.norm(whole @ supercell @ lattice.matrix, axis=1).min() >= apart - 1e-6
    assert len(list_cells(supercell)) == round(abs(np.linalg.det(supercell)))


def test_a_supercell_is_small_and_keeps_the_symmetry() -> None:
    """Sixteen cells of Li2O keep images 8 Å apart; its conventional cells would take 32."""
    crystal = Crystal.from_structure(find_prototype("antifluorite").build_structure(primitive=True))
    supercell = smallest_supercell(crystal, 8.0)
    assert abs(round(float(np.linalg.det(supercell)))) == 16
    inverse: FloatArray = np.linalg.inv(supercell)
    for operation in crystal.operations:
        turned = supercell @ operation.whole.T @ inverse
        np.testing.assert_allclose(turned, np.rint(turned), atol=1e-9)
