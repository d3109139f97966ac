"""Overlaps and bottlenecks: exact where geometry is known, the same however a crystal is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from invdesign.structures.charges import assign_oxidation_states
from surrogates.filters.geometry import minimum_distance_ratio
from surrogates.transport.bottleneck import bottleneck_radius, framework_radii
from surrogates.transport.frameworks import MissingIonError
from surrogates.transport.percolation import widest_path

GRID = 0.02  # Å: what a grid of 0.25 Å may be off by
CUBE = np.eye(3)
FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])


def antiperovskite(b: str = "O", x: str = "Cl", a: float = 3.91) -> Structure:
    """Li3OCl or one of its kin."""
    sites = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5, 0.5, 0.5), (0, 0, 0)]
    return Structure(Lattice.cubic(a), ["Li", "Li", "Li", b, x], sites)


def shaken(seed: int) -> Structure:
    """Ten atoms of four kinds of anion, off their positions."""
    structure = antiperovskite()
    structure.make_supercell([1, 1, 2])
    anions = [k for k, site in enumerate(structure) if site.specie.symbol != "Li"]
    for k, symbol in zip(anions, ["O", "S", "Br", "I"], strict=True):
        structure[k] = symbol
    moves = np.random.default_rng(seed).normal(0, 0.1, (len(structure), 3))
    return Structure(
        structure.lattice, structure.species, structure.cart_coords + moves, coords_are_cartesian=True
    )


def evaluated(fields: dict[str, Any], structures: Sequence[Structure]) -> Sequence[Evaluation]:
    """What an evaluator says of these structures."""
    items = [
        Input(Candidate(k, "key", Proposal({})), Design(structures={"initial": s}), {}, {"initial": s}, 0)
        for k, s in enumerate(structures)
    ]
    found: Sequence[Evaluation] = load("evaluators", fields).evaluate(items)
    return found


@settings(max_examples=20, deadline=None)
@given(
    lattice=st.sampled_from([(CUBE, 0.5**0.5), (FCC, 6**-0.5), (BCC, 3 * 2**0.5 / 8)]),
    a=st.floats(3.0, 6.0),
    radius=st.floats(0.5, 2.5),
    place=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_lattices_of_spheres_have_known_windows(
    lattice: tuple[Any, float], a: float, radius: float, place: tuple[float, ...]
) -> None:
    """A square between four spheres, triangles between three: their circumradius less the spheres' radius.

    Simple cubic a / sqrt 2; face-centred a / sqrt 6; body-centred, where two sides are sqrt 3 a / 2 and one is a,
    3 sqrt 2 a / 8.
    """
    cell, window = lattice
    found = widest_path(a * cell, a * np.array([place]) @ cell, np.array([radius]))
    assert found == pytest.approx(a * window - radius, abs=GRID)


def test_spheres_of_two_sizes_have_their_window_nearer_the_small_ones() -> None:
    """In a simple cubic salt the widest place of a window lies off its middle, towards a small sphere.

    At a distance s from the middle it is sqrt(a^2 / 2 + s^2) - R from the two large spheres, a / sqrt 2 - s - r from
    the nearer small one, and these are equal.
    """
    a, large, small = 3.0, 1.8, 0.6
    positions = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * a
    radii = np.where(np.round(positions.sum(axis=1) / a) % 2 == 1, large, small)
    both = a / 2**0.5 - small + large
    off = (both**2 - a**2 / 2) / (2 * both)
    found = widest_path(2 * a * CUBE, positions, radii)
    assert found == pytest.approx((a**2 / 2 + off**2) ** 0.5 - large, abs=GRID)


def test_a_finer_grid_changes_little() -> None:
    """The error is that stated, and falls with the spacing."""
    coarse, usual, fine = (bottleneck_radius(shaken(1), "Li", spacing) for spacing in (0.4, 0.25, 0.12))
    assert usual == pytest.approx(fine, abs=GRID)
    assert coarse == pytest.approx(fine, abs=2.5 * GRID)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    copies=st.permutations([1, 1, 2]),
    shear=st.integers(-2, 2),
)
def test_the_bottleneck_does_not_depend_on_the_setting(
    seed: int, shift: tuple[float, ...], copies: list[int], shear: int
) -> None:
    """Moved, turned, repeated, or in a sheared cell of the same lattice, a crystal is as wide."""
    structure = shaken(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    other = Structure(
        structure.lattice.matrix @ turn, structure.species, structure.frac_coords + np.array(shift)
    )
    other.make_supercell([[copies[0], 0, 0], [shear, copies[1], 0], [0, 0, copies[2]]])
    assert bottleneck_radius(other, "Li") == pytest.approx(bottleneck_radius(structure, "Li"), abs=GRID)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), wider=st.floats(0.01, 0.5))
def test_smaller_ions_leave_more_room(seed: int, wider: float) -> None:
    """All radii smaller by some length make every way wider by that length."""
    rng = np.random.default_rng(seed)
    positions, radii = rng.uniform(0, 4, (3, 3)), rng.uniform(1.0, 2.0, 3)
    tight = widest_path(4 * CUBE, positions, radii)
    assert widest_path(4 * CUBE, positions, radii - wider) == pytest.approx(tight + wider, abs=1e-9)


def test_layers_percolate_along_themselves() -> None:
    """Sheets that no sphere can cross leave the gap between them: a way all the same, widest between two rows."""
    sheet = [(x, y, 0.0) for x in (0, 1.5, 3, 4.5) for y in (0, 1.5, 3, 4.5)]
    found = widest_path(np.diag([6.0, 6.0, 7.0]), np.array(sheet), np.full(16, 1.4))
    assert found == pytest.approx((3.5**2 + 0.75**2) ** 0.5 - 1.4, abs=GRID)


def test_overlapping_frameworks_have_negative_width() -> None:
    """Where even a point cannot pass, the number says by how much."""
    assert bottleneck_radius(antiperovskite("Te", "I", 3.9), "Li") < 0


def test_wide_anions_and_wide_cells_are_ranked() -> None:
    """The same framework in a larger cell is wider."""
    (first, second) = evaluated(
        {"kind": "bottleneck_radius", "ion": "Li"}, [antiperovskite(), antiperovskite(a=4.2)]
    )
    assert second.properties["bottleneck_radius"] > first.properties["bottleneck_radius"] + 0.1
    assert set(first.cost) == {"seconds"}


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        (antiperovskite().copy().replace_species({"Li": "Na"}), "Na3OCl has no Li"),
        (Structure(Lattice.cubic(3.5), ["Li"], [(0, 0, 0)]), "Li is nothing but Li"),
    ],
)
def test_a_candidate_without_the_ion_is_missing_something(structure: Structure, message: str) -> None:
    """No number is made up; its neighbours in the batch are not disturbed."""
    failed, healthy = evaluated({"kind": "bottleneck_radius", "ion": "Li"}, [structure, antiperovskite()])
    assert failed.failure is not None
    assert failed.failure.kind == "missing"
    assert message in failed.failure.message
    assert healthy.failure is None
    with pytest.raises(MissingIonError, match=message):
        bottleneck_radius(structure, "Li")


def test_a_grid_that_would_fill_the_memory_is_refused() -> None:
    """The message says which setting to change."""
    huge = Structure(Lattice.cubic(60), ["Li", "F"], [(0, 0, 0), (0.5, 0.5, 0.5)])
    (evaluation,) = evaluated({"kind": "bottleneck_radius", "ion": "Li"}, [huge])
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "error"
    assert "raise 'spacing'" in evaluation.failure.message


@pytest.mark.parametrize(
    ("counts", "states"),
    [
        ({"Li": 6, "O": 1, "S": 1, "Br": 1, "I": 1}, {"Li": 1, "O": -2, "S": -2, "Br": -1, "I": -1}),
        ({"Li": 7, "La": 3, "Zr": 2, "O": 12}, {"Li": 1, "La": 3, "Zr": 4, "O": -2}),
        ({"Li": 1, "Fe": 1, "P": 1, "O": 4}, {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ({"Li": 1, "V": 1, "P": 1, "O": 4, "F": 1}, {"Li": 1, "V": 3, "P": 5, "O": -2, "F": -1}),
        ({"Li": 1, "Mn": 1, "As": 1, "O": 4, "I": 1}, {"Li": 1, "Mn": 3, "As": 5, "O": -2, "I": -1}),
        ({"Na": 1, "Ni": 1, "S": 1, "O": 4, "F": 1}, {"Na": 1, "Ni": 2, "S": 6, "O": -2, "F": -1}),
        ({"Li": 6, "P": 1, "S": 5, "Cl": 1}, {"Li": 1, "P": 5, "S": -2, "Cl": -1}),
        ({"Li": 2, "S": 1, "O": 4}, {"Li": 1, "S": 6, "O": -2}),
        ({"Li": 3, "H": 1, "S": 1}, {"Li": 1, "H": -1, "S": -2}),
        ({"He": 1, "Li": 1}, {"He": 0, "Li": 1}),
        ({"Li": 1, "Mn": 2, "O": 4}, {"Li": 1, "Mn": 3.5, "O": -2}),
        ({"Li": 0.5, "Co": 1, "O": 2}, {"Li": 1, "Co": 3.5, "O": -2}),
        ({"Fe": 1, "S": 2}, {"Fe": 2, "S": -1}),
    ],
)
def test_radii_belong_to_likely_charges(counts: dict[str, float], states: dict[str, float]) -> None:
    """Charges that balance, the electronegative elements negative: sulfur in a sulfate is no sulfide."""
    assert assign_oxidation_states(tuple(counts.items())) == states


def test_radii_are_ionic() -> None:
    """Shannon's, for six neighbours."""
    assert framework_radii(antiperovskite()) == {"Li": 0.76, "O": 1.40, "Cl": 1.81}


def test_known_ratios() -> None:
    """H2 is bonded; an atom and its own image count; overlapping atoms are zero apart."""
    hydrogen = Structure(Lattice.cubic(8), ["H", "H"], [(0, 0, 0), (0.74 / 8, 0, 0)])
    assert minimum_distance_ratio(hydrogen) == pytest.approx(0.74 / 0.62)
    assert minimum_distance_ratio(Structure(Lattice.cubic(2.0), ["Li"], [(0, 0, 0)])) == pytest.approx(
        2.0 / 2.56
    )
    assert minimum_distance_ratio(Structure(Lattice.cubic(30), ["Li"], [(0, 0, 0)])) == pytest.approx(
        30 / 2.56
    )
    double = Structure(Lattice.cubic(4), ["Li", "F"], [(0, 0, 0), (0, 0, 1)], to_unit_cell=True)
    assert minimum_distance_ratio(double) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.5, 2), copies=st.integers(1, 2))
def test_the_ratio_scales_with_the_crystal(seed: int, factor: float, copies: int) -> None:
    """Twice the size is twice the ratio, and repeating the cell changes nothing."""
    structure = shaken(seed)
    other = Structure(Lattice(structure.lattice.matrix * factor), structure.species, structure.frac_coords)
    other.make_supercell([copies, 1, 1])
    assert minimum_distance_ratio(other) == pytest.approx(factor * minimum_distance_ratio(structure))


def test_the_gate_is_the_scale() -> None:
    """Candidates below the scale are stopped, those at it pass."""
    evaluator = load("evaluators", {"kind": "minimum_distance", "scale": 0.7, "structure": "relaxed"})
    (gate,) = evaluator.gates
    assert str(gate) == "0.7 <= minimum_distance_ratio"
    assert evaluator.requires == {"structure:relaxed"}
    (evaluation,) = evaluated({"kind": "minimum_distance"}, [antiperovskite()])
    assert evaluation.properties["minimum_distance_ratio"] == pytest.approx(1.955 / 1.94)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "bottleneck_radius", "ion": "Ly"}, "'Ly' is not an element symbol. Did you mean 'L"),
        ({"kind": "bottleneck_radius"}, "Field required"),
        ({"kind": "bottleneck_radius", "ion": "Li", "spacing": 0}, "greater than 0"),
        ({"kind": "minimum_distance", "scale": -1}, "greater than 0"),
        ({"kind": "minimum_distance", "structure": "a b"}, "match pattern"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", fields)
