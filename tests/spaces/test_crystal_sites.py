"""Crystals on occupied sites: combinations, cells, points of the cube, operators, and what relaxation makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Genome, to_json
from invdesign.errors import Infeasible
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.crystal_sites import CrystalSitesSpace
from invdesign.spaces.crystal_sites.combinations import (
    MAX_COMBINATIONS,
    count_combinations,
    list_combinations,
    plan_combinations,
)
from invdesign.structures.combinations import parse_combination
from invdesign.structures.symmetry import symmetry_dataset

RUTILE = {"space_group": 136, "sites": {"Ti": ["a"], "O": ["f"]}}
BAYER = {"space_group": 14, "sites": {"Ti": ["e"], "O": ["e", "e"]}}
PEROVSKITE = {"space_group": 221, "sites": {"Sr": ["a"], "Ti": ["b"], "O": ["c"]}}


def space_of(**given: Any) -> CrystalSitesSpace:
    space = load("spaces", {"kind": "crystal_sites", **given})
    assert isinstance(space, CrystalSitesSpace)
    return space


TITANIA = space_of(formula="TiO2", sites=[RUTILE, BAYER])
ONLY_RUTILE = space_of(formula="TiO2", sites=[RUTILE])
ALUMINA = space_of(formula="Al2O3", formula_units=2, space_groups=[2, 12, "160-167", 227])


def draw(space: CrystalSitesSpace, seed: int, name: str = "start", *parents: Genome) -> Genome:
    for attempt in range(20):
        found = space.operators()[name].apply(parents, rng_for(seed, attempt, "test"))
        if found is not None:
            return found
    raise AssertionError(f"{name} gave nothing")


def build(space: CrystalSitesSpace, genome: Genome) -> Structure:
    return space.build(genome).structures["initial"]


def find_number(structure: Structure) -> int:
    numbers = [site.specie.Z for site in structure]
    return int(symmetry_dataset(structure.lattice.matrix, structure.frac_coords, numbers).number)


def test_rutile_is_built_from_its_published_numbers() -> None:
    """Group, letters and numbers of a textbook give the crystal that pymatgen builds from them."""
    genome = {"sites": "136: O f, Ti a", "cell": [4.594, 2.959], "coordinates": [0.305]}
    expected = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    found = build(ONLY_RUTILE, genome)
    assert len(found) == 6
    assert StructureMatcher(scale=False, stol=1e-3, ltol=1e-4).fit(found, expected)


def test_cell_is_primitive() -> None:
    """Rock salt has two atoms in the primitive cell, and its cell is the one of the conventional parameter."""
    space = space_of(formula="MgO", sites=[{"space_group": 225, "sites": {"Mg": ["a"], "O": ["b"]}}])
    found = build(space, {"sites": "225: Mg a, O b", "cell": [4.212], "coordinates": []})
    assert len(found) == 2
    assert_allclose(found.volume, 4.212**3 / 4)
    assert find_number(found) == 225


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_crystals_have_at_least_the_symmetry_of_their_group(seed: int) -> None:
    genome = draw(ALUMINA, seed)
    structure = build(ALUMINA, genome)
    numbers = [site.specie.Z for site in structure]
    dataset = symmetry_dataset(structure.lattice.matrix, structure.frac_coords, numbers, 1e-3)
    group = parse_combination(str(genome["sites"]), ("Al", "O")).space_group
    assert len(dataset.rotations) % len(group.rotations) == 0
    assert structure.composition.reduced_formula == "Al2O3"
    assert len(structure) == 10


@pytest.mark.parametrize("space", [TITANIA, ONLY_RUTILE, ALUMINA], ids=["two", "one", "many"])
def test_points_and_genomes_belong_to_each_other(space: CrystalSitesSpace) -> None:
    """Decoding a point gives a genome whose own point gives it again, at the corners too."""
    width = len(space.domain().dimensions)
    rng = np.random.default_rng(0)
    points = np.vstack(
        [rng.random((40, width)), np.zeros(width), np.ones(width), rng.integers(0, 2, (20, width))]
    )
    genomes = list(space.decode(points))
    again = list(space.decode(space.encode(genomes)))
    assert list(map(to_json, genomes)) == list(map(to_json, again))
    assert [space.canonical(genome) for genome in genomes] == genomes


def test_atoms_that_are_too_close_move_apart() -> None:
    """Most random points of rutile and a monoclinic cell can be built, though atoms of most would overlap."""
    width = len(TITANIA.domain().dimensions)
    built = 0
    for genome in TITANIA.decode(np.random.default_rng(3).random((60, width))):
        try:
            built += bool(TITANIA.build(genome))
        except Infeasible:
            continue
    assert built > 48


def test_coordinates_that_a_combination_lacks_are_conditional() -> None:
    domain = TITANIA.domain()
    names = [item.name for item in domain.dimensions]
    assert names[:3] == ["sites", "volume", "b/a"]
    assert domain.dimensions[0].choices == ("14: O ee, Ti e", "136: O f, Ti a")
    assert {names[column] for column in domain.conditional} == {
        "b/a",
        "beta",
        *(f"coordinate {number}" for number in range(2, 10)),
    }
    assert not domain.climbable


def test_one_combination_has_named_coordinates() -> None:
    domain = ONLY_RUTILE.domain()
    assert [item.name for item in domain.dimensions] == ["volume", "c/a", "O1 x"]
    assert domain.climbable
    assert not domain.conditional


def test_starts_meet_all_groups() -> None:
    groups = {str(draw(ALUMINA, seed)["sites"]).split(":")[0] for seed in range(60)}
    assert groups == {"2", "12", "160", "161", "162", "163", "164", "165", "166", "167", "227"}


@pytest.mark.parametrize("name", ["cell", "move", "redraw"])
def test_mutations_keep_the_sites(name: str) -> None:
    for seed in range(5):
        parent = draw(TITANIA, seed)
        child = draw(TITANIA, seed, name, parent)
        assert child["sites"] == parent["sites"]
        assert child != parent
        assert (child["cell"] == parent["cell"]) is (name != "cell")


def test_crossover_lies_between_parents_of_one_combination() -> None:
    for seed in range(10):
        first, second = draw(ONLY_RUTILE, seed), draw(ONLY_RUTILE, seed + 50)
        child = draw(ONLY_RUTILE, seed, "crossover", first, second)
        points = ONLY_RUTILE.encode([first, second, child])
        low, high = points[:2].min(axis=0), points[:2].max(axis=0)
        assert ((points[2, :2] >= low[:2] - 1e-4) & (points[2, :2] <= high[:2] + 1e-4)).all()


def test_sites_change_with_the_volume_kept() -> None:
    parent = draw(TITANIA, 4)
    child = draw(TITANIA, 4, "sites", parent)
    assert child["sites"] != parent["sites"]
    volumes = [build(TITANIA, genome).volume / len(build(TITANIA, genome)) for genome in (parent, child)]
    assert 0.75 < volumes[1] / volumes[0] < 1.25


def distort(structure: Structure, seed: int, size: float, strain: float = 0.0) -> Structure:
    rng = np.random.default_rng(seed)
    moves = rng.normal(0.0, size, (len(structure), 3)) @ np.linalg.inv(structure.lattice.matrix)
    lattice = structure.lattice.matrix @ (np.eye(3) + strain * rng.normal(size=(3, 3)))
    return Structure(lattice, structure.species, structure.frac_coords + moves)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_relaxed_crystal_is_adopted_as_it_is(seed: int) -> None:
    """What a symmetric relaxation makes of a crystal, with drift and noise, becomes a genome of the same sites."""
    genome = draw(ALUMINA, seed)
    moved = (
        draw(ALUMINA, seed, "move", draw(ALUMINA, seed, "cell", genome)) if genome["coordinates"] else genome
    )
    assert moved["sites"] == genome["sites"]
    relaxed = build(ALUMINA, moved)
    # The relaxed cell keeps the vectors of the parent, not those that reduction would choose for its own.
    parent = ALUMINA._read_genome(genome)
    child = ALUMINA._read_genome(moved)
    cell = np.linalg.inv(parent.basis) @ child.combination.space_group.primitive @ child.conventional
    rotated = cell @ np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    positions = child.place_atoms() @ parent.basis + 0.013
    found = ALUMINA.adopt(distort(Structure(rotated, relaxed.species, positions), seed, 1e-4), genome)
    assert found["sites"] == genome["sites"]
    assert StructureMatcher(scale=False, stol=0.02, ltol=1e-3, angle_tol=0.1).fit(
        build(ALUMINA, found), relaxed
    )
    assert_allclose(build(ALUMINA, found).volume, relaxed.volume, rtol=1e-5)


def test_lost_symmetry_is_refused_with_its_reason() -> None:
    genome = {"sites": "136: O f, Ti a", "cell": [4.594, 2.959], "coordinates": [0.305]}
    structure = build(TITANIA, genome)
    with pytest.raises(Infeasible, match=r"symmetry of space group 136 .* was lost: an atom is 0\.\d+ Å"):
        TITANIA.adopt(distort(structure, 0, 0.2), genome)
    with pytest.raises(Infeasible, match=r"no longer tetragonal: it is strained by \d+\.\d%"):
        TITANIA.adopt(distort(structure, 0, 0.0, strain=0.1), genome)
    blown = Structure(structure.lattice.matrix * 2.0, structure.species, structure.frac_coords)
    with pytest.raises(Infeasible, match="volume must be between"):
        TITANIA.adopt(blown, genome)
    with pytest.raises(Infeasible, match="holds Zr"):
        TITANIA.adopt(structure.copy().replace_species({"Ti": "Zr"}), genome)


def test_seed_is_recognised_in_any_setting() -> None:
    """A perovskite with strontium at the origin is one with strontium in the centre, in any cell."""
    structure = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    )
    other = {"space_group": 221, "sites": {"Sr": ["b"], "Ti": ["a"], "O": ["d"]}}
    for sites, expected in ((PEROVSKITE, "221: O c, Sr a, Ti b"), (other, "221: O d, Sr b, Ti a")):
        space = space_of(formula="SrTiO3", sites=[sites])
        large = structure.copy()
        large.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
        large.translate_sites(range(len(large)), [0.1, 0.2, 0.3])
        for given_structure in (structure, large):
            found = space.adopt(given_structure, None)
            assert found["sites"] == expected
            assert_allclose(found["cell"], [3.905], atol=1e-4)


def test_seed_of_another_group_is_refused() -> None:
    tetragonal = Structure.from_spacegroup(
        "P4mm", Lattice.tetragonal(3.9, 4.1), ["Sr", "Ti", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.45], [0.5, 0.5, 0.0], [0.5, 0, 0.5]],
    )  # fmt: skip
    space = space_of(formula="SrTiO3", sites=[PEROVSKITE])
    with pytest.raises(Infeasible, match=r"space group 99 \(P4mm\), which is none"):
        space.adopt(tetragonal, None)


@pytest.mark.parametrize(
    ("group", "counts"), [(2, (2, 3)), (225, (1, 1)), (221, (1, 1, 3)), (136, (2, 4)), (62, (4, 4))]
)
def test_combinations_are_counted_as_they_are_listed(group: int, counts: tuple[int, ...]) -> None:
    found = list(list_combinations(group, counts))
    assert len(set(found)) == len(found) == count_combinations(group, counts)
    assert {member.count_atoms(len(counts)) for member in found} == {counts}
    names = [member.write(["A", "B", "C"]) for member in found]
    assert [parse_combination(name, ("A", "B", "C")) for name in names] == found


def test_many_combinations_are_spread_over_the_groups() -> None:
    """Where not all fit, every group has its share, those with few are complete, and the choice repeats itself."""
    found, again = (plan_combinations(range(1, 231), [(4, 6)]) for _ in range(2))
    assert found.members == again.members
    assert len(found.members) <= MAX_COMBINATIONS < found.total
    assert not found.is_complete
    assert len(found.by_group) == 181
    assert len(found.by_group[167]) == count_combinations(167, (4, 6))
    assert max(map(len, found.by_group.values())) < 200


def test_left_out_combinations_are_said() -> None:
    (remark,) = space_of(formula="Al2O3", formula_units=2).remarks
    assert remark.startswith(
        "of 2,208,704 combinations of space group and occupied sites, 10,000 are searched"
    )
    assert not TITANIA.remarks


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"formula": "TiO2", "sites": [PEROVSKITE]}, "'Sr' is no element of the formula"),
        ({"formula": "TiO2", "sites": [{"space_group": 136, "sites": {"Ti": ["z"], "O": ["f"]}}]}, "positions abcdefghijk, not 'z'"),
        ({"formula": "TiO2", "sites": [{"space_group": 136, "sites": {"Ti": ["a", "a"], "O": ["f"]}}]}, "occupied once"),
        ({"formula": "Ti2O3", "sites": [RUTILE]}, "hold O4Ti2 in the primitive cell, which is not a multiple of Ti2O3"),
        ({"formula": "TiO2", "formula_units": [3, 4], "sites": [RUTILE]}, "not 3 to 4 times TiO2"),
        ({"formula": "TiO2", "sites": [RUTILE], "space_groups": [136]}, "leave 'space_groups' out"),
        ({"formula": "TiO2", "sites": [{"space_group": 231, "sites": {"Ti": ["a"]}}]}, "less than or equal to 230"),
        ({"formula": "MgO", "formula_units": 1, "space_groups": [227]}, r"P1 \(1\) fits any composition"),
        ({"formula": "MgO", "volume_per_atom": [9, 9]}, "a lower and a higher bound"),
        ({"formula": "Mg0.5O"}, "whole atoms"),
    ],
)  # fmt: skip
def test_settings_that_leave_nothing_are_refused(settings_: Mapping[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        CrystalSitesSpace.model_validate(settings_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": "136"}, "written as '221: O c, Sr a, Ti b'"),
        ({"sites": "136: O f, Ti b"}, "none of the 2 of the space"),
        ({"sites": "136: O f, Ti a, X b"}, "'X' is no element"),
        ({"cell": [4.594]}, "cell must hold 2 numbers"),
        ({"cell": [4.594, -1.0]}, "above 0"),
        ({"cell": [4.594, float("nan")]}, "numbers up to"),
        ({"cell": [4.594, 40.0]}, "c/a of the cell .* is beyond the bounds"),
        ({"cell": [8.0, 8.0]}, "volume must be between"),
        ({"coordinates": []}, "coordinates must hold 1 numbers"),
        ({"coordinates": [0.02]}, "Å apart"),
        ({"other": 1}, "'other' is wrong"),
    ],
)
def test_broken_genomes_are_refused(change: Mapping[str, Any], message: str) -> None:
    genome = {"sites": "136: O f, Ti a", "cell": [4.594, 2.959], "coordinates": [0.305], **change}
    with pytest.raises(Infeasible, match=message):
        TITANIA.build(genome)


def test_space_survives_its_settings() -> None:
    again = load("spaces", json.loads(TITANIA.model_dump_json()))
    assert again == TITANIA
    assert to_json(draw(again, 3)) == to_json(draw(TITANIA, 3))
