"""Barriers in bond-valence site energies: as published for known crystals, the same however they are written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.settings import load
from invdesign.structures.prototypes import find_prototype
from surrogates.transport.bond_valence import (
    BARRIER_DEVIATION,
    UnknownPairError,
    _map_energies,
    migration_barriers,
    pair_parameters,
    site_energies,
)
from surrogates.transport.frameworks import MissingIonError

GRID = 0.05  # eV: what a grid of 0.2 Å may be off by
SETTING = 0.001  # eV; 7e-7 at most over 140 crystals, each in two settings


def antiperovskite(b: str = "O", x: str = "Cl", a: float = 3.91, ion: str = "Li") -> Structure:
    """Li3OCl or one of its kin."""
    sites = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5, 0.5, 0.5), (0, 0, 0)]
    return Structure(Lattice.cubic(a), [ion] * 3 + [b, x], sites)


def alone(anion: str, ion: str = "Li", size: float = 17.0) -> Structure:
    """An ion and one counter ion, as far from their images as their energies reach."""
    return Structure(Lattice.cubic(size), [ion, anion], [(0.4, 0.3, 0.2), (0, 0, 0)])


def evaluated(fields: dict[str, Any], structures: Sequence[Structure]) -> Sequence[Evaluation]:
    """What the evaluator says of these structures."""
    items = [
        Input(Candidate(k, "key", Proposal({})), Design(structures={"initial": s}), {}, {"initial": s}, 0)
        for k, s in enumerate(structures)
    ]
    found: Sequence[Evaluation] = load("evaluators", {"kind": "migration_barrier", **fields}).evaluate(items)
    return found


def test_barriers_carry_the_error_of_the_method() -> None:
    """Beside each barrier stands what the method errs by; it is no noise, which models would learn from."""
    (found,) = evaluated({"ion": "Li"}, [antiperovskite()])
    assert found.systematic == dict.fromkeys(found.properties, BARRIER_DEVIATION)
    assert not found.noise


@pytest.mark.parametrize(
    ("ion", "anion", "state", "depth"),
    [
        ("Li", "N", -3, 2.054953),
        ("Li", "O", -2, 0.98816),
        ("Li", "Te", -2, 0.88544),
        ("Na", "Cl", -1, 0.315458),
        ("Na", "S", -2, 0.630673),
        ("K", "I", -1, 0.190106),
    ],
)
def test_depths_are_those_tabulated(ion: str, anion: str, state: int, depth: float) -> None:
    """The depth follows from distance, softness, charges and rows; BVlain 0.25.1 tabulates it."""
    assert pair_parameters(ion, anion, state)[1] == pytest.approx(depth, rel=2e-5)


@pytest.mark.parametrize(("ion", "anion"), [("Li", "F"), ("Na", "Cl")])
def test_one_bond_is_deepest_at_its_length(ion: str, anion: str) -> None:
    """Half of the pair's depth, at the tabulated distance from the counter ion."""
    size, spacing = 17.0, 0.25
    energies = site_energies(alone(anion, ion, size), ion, spacing)
    _, depth, length, _ = pair_parameters(ion, anion, -1)
    assert energies.min() == pytest.approx(-depth / 2, abs=0.01)
    along = energies[: len(energies) // 2, 0, 0]
    assert np.argmin(along) * size / len(energies) == pytest.approx(length, abs=spacing)


# BVlain 0.25.1, with its covalent radii of softBV, on a grid of 0.2 Å; levels found to 0.02 eV.
BVLAIN = [
    ("olivine", (0.447, 3.626, 3.626)),
    ("tavorite", (0.850, 0.857, 1.523)),
    ("antiperovskite", (0.498, 0.498, 0.498)),
    ("lithium_phosphate", (0.520, 0.527, 0.894)),
    ("spinel", (0.300, 0.300, 0.300)),
]


@pytest.mark.parametrize(("name", "barriers"), BVLAIN)
def test_barriers_of_known_crystals(name: str, barriers: tuple[float, float, float]) -> None:
    """As another program has them: LiFePO4 conducts along one channel, spinel in all directions."""
    found = migration_barriers(find_prototype(name).build_structure(primitive=True), "Li")
    assert found == pytest.approx(barriers, abs=0.06)


def test_layers_conduct_along_themselves() -> None:
    """In LiCoO2 a way across the oxygen layers is ten times as high as one between them."""
    one, two, three = migration_barriers(find_prototype("layered").build_structure(primitive=True), "Li")
    assert two - one < GRID
    assert three > 5 * two


def check_setting(seed: int, copies: list[int], shear: int) -> None:
    """Moved, turned, repeated, or in a sheared cell of the same lattice, a crystal has the same barriers."""
    rng = np.random.default_rng(seed)
    structure = antiperovskite("O", "Br", 4.0)
    moved = structure.frac_coords + rng.normal(scale=0.01, size=(5, 3))
    structure = Structure(structure.lattice, structure.species, moved)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    other = Structure(
        structure.lattice.matrix @ turn, structure.species, structure.frac_coords + rng.uniform(size=3)
    )
    other.make_supercell([[copies[0], 0, 0], [shear, copies[1], 0], [0, 0, copies[2]]])
    assert migration_barriers(other, "Li", 0.3) == pytest.approx(
        migration_barriers(structure, "Li", 0.3), abs=SETTING
    )


SETTINGS = {"copies": st.permutations([1, 1, 2]), "shear": st.integers(-1, 1)}


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), **SETTINGS)
@example(seed=869, copies=[2, 1, 1], shear=1)  # 0.08 eV apart where barriers are those of the grid
def test_barriers_do_not_depend_on_the_setting(seed: int, copies: list[int], shear: int) -> None:
    """Moved, turned, repeated, or in a sheared cell of the same lattice, a crystal has the same barriers."""
    check_setting(seed, copies, shear)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), **SETTINGS)
def test_barriers_do_not_depend_on_many_settings(seed: int, copies: list[int], shear: int) -> None:
    """The same over some hundred crystals."""
    check_setting(seed, copies, shear)


@pytest.mark.parametrize("name", ["lithium_phosphate", "spinel"])
def test_barriers_do_not_depend_on_the_grid(name: str) -> None:
    """Passes are located beside the grid: a coarse one finds what a finer one does."""
    structure = find_prototype(name).build_structure(primitive=True)
    coarse, fine = (migration_barriers(structure, "Li", spacing) for spacing in (0.45, 0.35))
    assert coarse == pytest.approx(fine, abs=SETTING)


def test_derivatives_are_those_of_the_energy() -> None:
    """Gradients and second derivatives agree with differences, at points anywhere."""
    cell, images, _ = _map_energies(antiperovskite(), "Li", 0.5, ())
    points = np.random.default_rng(0).uniform(-1.0, 2.0, size=(6, 3)) @ cell
    energies, gradients, seconds = images.expand_energies(cell, points)
    inside = (points @ np.linalg.inv(cell)) % 1.0 @ cell
    assert energies == pytest.approx(np.concatenate([images.energies_at(point[None]) for point in inside]))
    for axis, step in enumerate(1e-5 * np.eye(3)):
        up, down = images.expand_energies(cell, points + step), images.expand_energies(cell, points - step)
        assert (up[0] - down[0]) / 2e-5 == pytest.approx(gradients[:, axis], rel=1e-6, abs=1e-6)
        assert (up[1] - down[1]) / 2e-5 == pytest.approx(seconds[:, axis], rel=1e-6, abs=1e-5)


def test_room_and_soft_anions_lower_the_barrier() -> None:
    """A wider cell, and sulfide in place of oxide in a cell that suits it."""
    cells = [antiperovskite(), antiperovskite(a=4.1), antiperovskite("S", "I", 4.75)]
    oxide, wide, sulfide = (migration_barriers(cell, "Li")[0] for cell in cells)
    assert wide < oxide
    assert sulfide < oxide


def test_the_ion_is_the_first_named_that_is_there() -> None:
    """A list serves spaces that exchange the ion that moves; the ions of other kinds stand still."""
    lithium, sodium = antiperovskite(), antiperovskite(a=4.5, ion="Na")
    found = evaluated({"ion": ["Li", "Na"], "spacing": 0.3}, [lithium, sodium])
    expected = [migration_barriers(lithium, "Li", 0.3), migration_barriers(sodium, "Na", 0.3)]
    for evaluation, barriers in zip(found, expected, strict=True):
        assert list(evaluation.properties.values()) == list(barriers)
        assert set(evaluation.properties) == {f"migration_barrier_{n}d" for n in (1, 2, 3)}
        assert set(evaluation.cost) == {"seconds"}
    mixed = lithium.copy()
    mixed[0] = "Na"
    assert evaluated({"ion": ["Na", "Li"], "spacing": 0.3}, [mixed])[0].properties[
        "migration_barrier_1d"
    ] == pytest.approx(migration_barriers(mixed, "Na", 0.3)[0])


@pytest.mark.parametrize(
    ("structure", "ion", "error", "message"),
    [
        (antiperovskite(), "Na", MissingIonError, "Li3OCl has no Na"),
        (Structure(Lattice.cubic(3.5), ["Li"], [(0, 0, 0)]), "Li", MissingIonError, "Li is nothing but Li"),
        (
            antiperovskite("S", "H"),
            "Li",
            UnknownPairError,
            r"for Li\+ and H-; there are for N3-, O2-, F-, S2-",
        ),
        (antiperovskite("N", "N", ion="Na"), "Na", UnknownPairError, r"for Na\+ and N"),
    ],
    ids=["no ion", "no framework", "hydride", "nitride"],
)
def test_what_has_no_barrier_is_missing_something(
    structure: Structure, ion: str, error: type[Exception], message: str
) -> None:
    """No number is made up; its neighbours in the batch are not disturbed."""
    healthy_one = antiperovskite(ion=ion, a=4.2)
    failed, healthy = evaluated({"ion": ion}, [structure, healthy_one])
    assert failed.failure is not None
    assert failed.failure.kind == "missing"
    assert healthy.failure is None
    with pytest.raises(error, match=message):
        migration_barriers(structure, ion)


def test_a_grid_that_would_fill_the_memory_is_refused() -> None:
    """The message says which setting to change."""
    (evaluation,) = evaluated({"ion": "Li"}, [alone("F", size=60.0)])
    assert evaluation.failure is not None
    assert evaluation.failure.kind == "error"
    assert "raise 'spacing'" in evaluation.failure.message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ion": "Mg"}, "Input should be 'Li', 'Na' or 'K'"),
        ({"ion": []}, "at least 1 item"),
        ({}, "Field required"),
        ({"ion": "Li", "spacing": 0.01}, "greater than or equal to 0.05"),
        ({"ion": "Li", "structure": "a b"}, "match pattern"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ValidationError, match=message):
        load("evaluators", {"kind": "migration_barrier", **fields})


def test_charges_can_be_given() -> None:
    """A cation of a higher charge pushes lithium harder: another barrier."""
    structure = antiperovskite("Fe", "F", 4.2)
    usual, ferrous, ferric = (
        evaluated({"ion": "Li", "spacing": 0.3, "oxidation_states": states}, [structure])[0].properties
        for states in ({}, {"Fe": [2]}, {"Fe": [3]})
    )
    assert ferric["migration_barrier_1d"] != ferrous["migration_barrier_1d"]
    assert usual == ferrous
