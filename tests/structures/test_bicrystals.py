"""Bicrystals: every match is right and listed once, and the symmetry of a pair holds for its atoms."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.settings import InputFile
from invdesign.structures.bicrystals import (
    Bicrystal,
    Match,
    NoMatchError,
    Slab,
    build_bicrystal,
    check_bicrystal,
    check_region,
    drop_turned_sandwiches,
    list_matches,
    list_slabs,
    make_solid,
)
from invdesign.structures.bicrystals.lattices import (
    adjugate,
    determinant,
    hermite_form,
    list_cosets,
    number_cosets,
    sum_lattice,
)
from invdesign.structures.bicrystals.matches import (
    TURNED_OVER,
    MatchLimits,
    canonical_map,
    pair_superlattices,
    point_group,
)

Planes = tuple[tuple[int, int, int], ...]

AXES: Planes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
CUBIC: Planes = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
# Substrate, its planes, film, its planes, Å², strain: cubic, hexagonal, orthorhombic, monoclinic and triclinic members.
PAIRS: dict[str, tuple[str, Planes, str, Planes, float, float]] = {
    "cubic": ("lithium", CUBIC, "antifluorite", CUBIC, 70.0, 0.05),
    "hexagonal": ("lithium_nitride", ((0, 0, 1), (1, 0, 0)), "antifluorite", CUBIC, 60.0, 0.05),
    "polar": ("layered", ((0, 0, 1),), "LiNbO3", ((0, 0, 1),), 40.0, 0.075),
    "orthorhombic": ("layered", ((1, 1, 0), (1, 0, 4)), "Li3PS4_gamma", ((0, 1, 0), (1, 0, 0)), 95.0, 0.05),
    "monoclinic": ("layered", ((0, 0, 1), (1, 0, 4)), "Li3InCl6", ((0, 0, 1),), 115.0, 0.05),
    "triclinic": ("lithium", ((1, 1, 0),), "Li7P3S11", ((1, 0, 0),), 155.0, 0.05),
}
FEW = 6  # matches of a pair whose atoms are compared


@cache
def list_pair_slabs(pair: str) -> tuple[list[Slab], list[Slab]]:
    """Slabs of one period of both solids of a pair."""
    substrate, lower, film, upper, _, _ = PAIRS[pair]
    return tuple(  # type: ignore[return-value]
        [slab for plane in planes for slab in list_slabs(make_solid(name), plane, layers=1)]
        for name, planes in ((substrate, lower), (film, upper))
    )


@cache
def list_pair_matches(pair: str, strained: str = "film") -> list[Match]:
    """Matches of a pair within its limits."""
    substrates, films = list_pair_slabs(pair)
    area, strain = PAIRS[pair][4:]
    return list_matches(substrates, films, max_area=area, max_strain=strain, strained=strained)  # type: ignore[arg-type]


@cache
def build_few(pair: str, boundary: str) -> list[Bicrystal]:
    """Bicrystals of some matches of a pair, spread over the list."""
    matches = list_pair_matches(pair)
    step = max(1, len(matches) // FEW)
    return [build_bicrystal(match, boundary=boundary) for match in matches[::step]]  # type: ignore[arg-type]


def measure_distances(bicrystal: Bicrystal, cell: FloatArray, positions: FloatArray) -> FloatArray:
    """Shortest distances of all pairs of atoms, images included, shape (n, n)."""
    reach = (0,) if bicrystal.boundary == "vacuum" else (-1, 0, 1)
    apart = (positions[:, None] - positions[None]) @ np.linalg.inv(cell)
    apart[..., :2] -= np.round(apart[..., :2])
    steps = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in reach])
    found: FloatArray = np.min([np.linalg.norm((apart + step) @ cell, axis=2) for step in steps], axis=0)
    return found


class TestEveryPair:
    """Laws for matches of solids of every crystal system."""

    @pytest.mark.parametrize("strained", ["film", "substrate", "both"])
    @pytest.mark.parametrize("pair", PAIRS)
    def test_bicrystals_pass_the_checks(self, pair: str, strained: str) -> None:
        """Cell, map, strain, gap, compositions and both crystals are right, whichever side is strained."""
        matches = list_pair_matches(pair, strained)
        assert matches
        for match in matches[:: max(1, len(matches) // FEW)]:
            for boundary in ("sandwich", "vacuum"):
                bicrystal = build_bicrystal(match, boundary=boundary)  # type: ignore[arg-type]
                assert check_bicrystal(bicrystal) == []
                assert len(bicrystal) == match.atoms
                assert match.strain <= PAIRS[pair][5] + 1e-9
                assert match.area <= PAIRS[pair][4] + 1e-6

    @pytest.mark.parametrize("pair", PAIRS)
    def test_names_tell_matches_apart_and_do_not_depend_on_limits(self, pair: str) -> None:
        """Tighter limits list fewer matches under the same names."""
        names = [match.name for match in list_pair_matches(pair)]
        assert len(set(names)) == len(names)
        tighter = max(match.area for match in list_pair_matches(pair)[: (len(names) + 1) // 2])
        substrates, films = list_pair_slabs(pair)
        fewer = list_matches(substrates, films, max_area=tighter + 0.01, max_strain=PAIRS[pair][5])
        assert {match.name for match in fewer} <= set(names)

    @pytest.mark.parametrize("boundary", ["sandwich", "vacuum"])
    @pytest.mark.parametrize("pair", PAIRS)
    def test_operations_keep_all_distances(self, pair: str, boundary: str) -> None:
        """The image of a shift, with permuted sites, has the same elements at the same distances."""
        shift, gap = np.array([0.317, 0.169]), 2.1
        for bicrystal in build_few(pair, boundary):
            before = measure_distances(bicrystal, *bicrystal.place(shift, gap))
            operations = bicrystal.operations
            for operation in operations[:: max(1, len(operations) // 8)]:
                image = bicrystal.place(operation.move_shift(shift), gap)
                after = measure_distances(bicrystal, *image)
                row = operation.permutation
                assert [bicrystal.elements[site] for site in row] == list(bicrystal.elements)
                assert np.abs(before - after[row][:, row]).max() < 0.02
                sides = np.array(bicrystal.side)
                assert (sides[row] == sides).all()
                if not operation.swaps_planes:
                    assert np.abs(bicrystal.depth[row] - bicrystal.depth).max() < 0.02

    @pytest.mark.parametrize("pair", PAIRS)
    def test_operations_are_a_group(self, pair: str) -> None:
        """Products of operations are operations, so the canonical shift does not depend on where one starts."""
        for bicrystal in build_few(pair, "sandwich"):
            operations = bicrystal.operations
            cells = bicrystal.symmetry.supercell.astype(float).T
            known = {
                (one.rotation.tobytes(), one.permutation.tobytes()): one.translation for one in operations
            }
            assert len(known) == len(operations)
            assert (operations[0].permutation == np.arange(len(bicrystal))).all()
            for first in operations[:6]:
                for second in operations[-6:]:
                    key = (second.rotation @ first.rotation, second.permutation[first.permutation])
                    product = known[key[0].tobytes(), key[1].tobytes()]
                    apart = second.move_shift(first.translation) - product
                    whole = np.linalg.solve(cells, apart)
                    assert np.abs(whole - np.round(whole)).max() < 1e-8


@given(
    pair=st.sampled_from(sorted(PAIRS)),
    number=st.integers(0, FEW - 1),
    shift=st.tuples(*[st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1 / 6, 0.25, 1 / 3, 0.5, 0.75]))] * 2),
    choice=st.integers(0, 10_000),
    swaps=st.booleans(),
)
@settings(max_examples=150)
def test_equal_bicrystals_have_one_canonical_shift(
    pair: str, number: int, shift: tuple[float, float], choice: int, swaps: bool
) -> None:
    """It is the same for every image of a shift, stays as it is, and the stated operations lead to it."""
    few = build_few(pair, "sandwich")
    bicrystal = few[number % len(few)]
    operations = [one for one in bicrystal.operations if swaps or not one.swaps_planes]
    found, leading = bicrystal.canonical_shift(np.array(shift), swaps=swaps)
    assert (found >= 0).all()
    assert (found < 1).all()
    image = operations[choice % len(operations)].move_shift(np.array(shift))
    # A shift within the tolerance of two equal ones may be taken for either.
    for other in (image, found):
        again = bicrystal.canonical_shift(other, swaps=swaps)[0]
        assert np.abs(again - found).max() < 1e-5
    cells = bicrystal.symmetry.supercell.astype(float).T
    assert leading
    for index in leading:
        whole = np.linalg.solve(cells, bicrystal.operations[index].move_shift(np.array(shift)) - found)
        assert np.abs(whole - np.round(whole)).max() < 1e-5


def test_checks_find_what_is_wrong() -> None:
    """A moved atom, another element, overlapping sides and a map that misses the common cell are each found."""
    right = build_few("orthorhombic", "sandwich")[0]
    moved = right.positions.copy()
    moved[3, 0] += 0.4
    flat = right.positions * [1.0, 1.0, 0.8]
    swapped = ("S", *right.elements[1:])
    bent = replace(right.match, maps=(right.match.maps[0], right.match.maps[1] * 1.001))
    for wrong, words in (
        (replace(right, positions=moved), "the substrate is not a piece of layered"),
        (replace(right, positions=flat), "is not a piece of"),
        (replace(right, elements=swapped), "the composition of the substrate is no multiple"),
        (replace(right, match=bent), "the superlattice of the film is not the common cell"),
    ):
        assert any(words in fault for fault in check_bicrystal(wrong)), words


def test_shifts_by_displacement_cells_give_the_same_crystal() -> None:
    """The structure at a shift is that at a whole number of displacement cells more, by pymatgen's comparison."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, primitive_cell=False, scale=False)
    bicrystal = build_bicrystal(list_pair_matches("cubic")[0])
    assert np.linalg.det(bicrystal.displacement_cell) < bicrystal.match.area / 2
    here = bicrystal.build_structure(np.array([0.3, 0.1]), 2.0)
    assert matcher.fit(here, bicrystal.build_structure(np.array([1.3, 0.1]), 2.0))
    assert matcher.fit(here, bicrystal.build_structure(np.array([0.3, 3.1]), 2.0))
    assert not matcher.fit(here, bicrystal.build_structure(np.array([0.8, 0.1]), 2.0))


@pytest.mark.parametrize("pair", ["cubic", "hexagonal", "orthorhombic", "triclinic"])
def test_every_match_of_zur_and_mcgill_is_found(pair: str) -> None:
    """The matches of pymatgen's ZSLGenerator within the strain are among ours, up to symmetry."""
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    area, strain = PAIRS[pair][4:]
    compared = 0
    for substrate in list_pair_slabs(pair)[0]:
        for film in list_pair_slabs(pair)[1]:
            lower, upper = substrate.surface_lattice, film.surface_lattice @ TURNED_OVER
            groups = point_group(substrate), point_group(film)
            ours = {
                canonical_map(adjugate(second) @ first, determinant(second), *groups)
                for first, second in pair_superlattices(substrate, film, MatchLimits(area, strain))
            }
            generator = ZSLGenerator(
                max_area=area, max_length_tol=1.2 * strain, max_angle_tol=0.08, max_area_ratio_tol=0.3
            )
            flat = [np.hstack([lattice, np.zeros((2, 1))]) for lattice in (upper, lower)]
            for found in generator(*flat):
                second, first = (
                    np.round(np.array(vectors)[:, :2] @ np.linalg.inv(lattice)).astype(np.int64)
                    for vectors, lattice in (
                        (found.film_sl_vectors, upper),
                        (found.substrate_sl_vectors, lower),
                    )
                )
                stretch = np.linalg.svd(np.linalg.solve(second @ upper, first @ lower))[1]
                if np.abs(stretch - 1).max() < strain:
                    compared += 1
                    key = canonical_map(adjugate(second) @ first, determinant(second), *groups)
                    assert key in ours
    assert compared


@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("layered", (0, 0, 1)),
        ("layered", (1, 0, 4)),
        ("Li3PS4", (0, 1, 0)),
        ("Li3PS4_gamma", (0, 0, 1)),
        ("Li3InCl6", (1, 0, 0)),
        ("LiNbO3", (0, 1, 2)),
        ("antifluorite", (1, 1, 1)),
    ],
)
def test_no_surface_of_pymatgen_is_missing(name: str, plane: tuple[int, int, int]) -> None:
    """Both sides of a plane have at least the terminations that pymatgen lists with labels."""
    from pymatgen.core.surface import SlabGenerator

    solid = make_solid(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = SlabGenerator(solid.parent.build_structure(), plane, 1, 3, in_unit_planes=True)
        theirs = generator.get_slabs(ftol=0.25)
    assert len(list_slabs(solid, plane, layers=1)) >= len(theirs)


class TestSlabs:
    """Surfaces of a plane."""

    def test_an_asymmetric_slab_may_face_with_either_side(self) -> None:
        """Layered oxides have four surfaces of (001): below and above lithium, and below and above cobalt."""
        slabs = list_slabs(make_solid("layered"), (0, 0, 1), layers=2)
        assert [slab.label for slab in slabs] == ["(001)1", "(001)2", "(001)3", "(001)4"]
        assert sorted(slab.elements[0] for slab in slabs) == ["Co", "Li", "O", "O"]
        assert all(slab.stoichiometric and slab.polar and not slab.symmetric for slab in slabs)

    def test_equal_sides_with_excess_are_listed_on_request_only(self) -> None:
        """A slab with lithium on both sides holds more lithium than its crystal."""
        solid = make_solid("layered")
        added = [
            slab for slab in list_slabs(solid, (0, 0, 1), layers=2, excess=True) if not slab.stoichiometric
        ]
        assert {slab.label for slab in added} == {"(001)1s", "(001)2s", "(001)3s", "(001)4s"}
        assert all(slab.symmetric for slab in added)
        assert all(slab.stoichiometric for slab in list_slabs(solid, (0, 0, 1), layers=2))

    def test_a_neutral_plane_is_not_polar(self) -> None:
        """Each plane (110) of a layered oxide holds whole formula units; lithium metal has no charges to part."""
        assert [slab.polar for slab in list_slabs(make_solid("layered"), (1, 1, 0), layers=2)] == [False]
        assert [slab.polar for slab in list_slabs(make_solid("lithium"), (1, 0, 0), layers=2)] == [False]

    def test_thickness_gives_enough_layers(self) -> None:
        """Periods are added until the slab is at least as thick, counting the space between periods."""
        slab = list_slabs(make_solid("lithium"), (1, 0, 0), thickness=10.0)[0]
        assert slab.layers * float(slab.stack[2]) >= 10.0 > (slab.layers - 1) * float(slab.stack[2])

    def test_multiples_of_a_plane_are_the_plane(self) -> None:
        """The slab of (220) is that of (110)."""
        solid = make_solid("antifluorite")
        assert [s.label for s in list_slabs(solid, (2, 2, 0), layers=1)] == [
            s.label for s in list_slabs(solid, (1, 1, 0), layers=1)
        ]

    def test_planes_refer_to_the_cell_of_the_file(self) -> None:
        """The cell is described with lengths, angles and space group, so that a wrong setting is noticed."""
        structure = make_solid("Li3PS4_gamma").parent.build_structure()
        solid = make_solid(InputFile(name="gamma.cif", text=structure.to(fmt="cif")))
        assert (
            solid.describe_cell()
            == "gamma.cif: a 7.708, b 6.535, c 6.136 Å, angles 90.0, 90.0, 90.0 degrees, Pmn2_1"
        )

    @pytest.mark.parametrize("plane", [(0, 0, 0), (1, 0), (0.5, 1, 0)])
    def test_a_wrong_plane_is_refused(self, plane: tuple[int, ...]) -> None:
        """Indices are three whole numbers."""
        with pytest.raises(InvdesignError, match="a plane is three whole numbers"):
            list_slabs(make_solid("lithium"), plane, layers=1)

    def test_a_slab_within_the_region_is_refused(self) -> None:
        """The message gives the number of layers that suffices."""
        solid = make_solid("layered")
        slab = list_slabs(solid, (1, 1, 0), layers=2)[0]
        with pytest.raises(InvdesignError, match=r"give 5 layers instead of 2"):
            check_region(slab, 5.0, side="substrate")
        check_region(list_slabs(solid, (1, 1, 0), layers=5)[0], 5.0, side="substrate")


class TestErrors:
    """Mistakes, and limits within which nothing matches."""

    def test_no_match_names_the_nearest_and_the_limits_to_raise(self) -> None:
        """The limits that the message asks for admit the match it names."""
        substrates, films = list_pair_slabs("orthorhombic")
        with pytest.raises(NoMatchError, match=r"raise max_area to 81 and max_atoms to 52") as error:
            list_matches(substrates, films, max_area=60, max_strain=0.05, max_atoms=50)
        found = list_matches(substrates, films, max_area=81, max_strain=0.05, max_atoms=52)
        assert any(match.name in str(error.value) for match in found)

    def test_one_solid_twice_is_refused(self) -> None:
        """Film and substrate are the same crystal, also where one is given by its file."""
        structure = make_solid("antifluorite").parent.build_structure().get_primitive_structure()
        file = InputFile(name="oxide.cif", text=structure.to(fmt="cif"))
        slabs = [list_slabs(make_solid(source), (1, 1, 1), layers=1) for source in ("antifluorite", file)]
        with pytest.raises(InvdesignError, match="are the same crystal"):
            list_matches(*slabs, max_area=60, max_strain=0.05)

    @pytest.mark.parametrize(
        ("limits", "words"),
        [
            ({"max_area": 0, "max_strain": 0.05}, "max_area is an area"),
            ({"max_area": 60, "max_strain": 5}, "max_strain is a share"),
            ({"max_area": 60, "max_strain": 0.05, "max_atoms": 0}, "at least 2 atoms"),
            ({"max_area": 60, "max_strain": 0.05, "strained": "none"}, "strained is film, substrate or both"),
        ],
    )
    def test_wrong_limits_are_refused(self, limits: dict[str, float], words: str) -> None:
        """Each limit says what it is."""
        with pytest.raises(InvdesignError, match=words):
            list_matches(*list_pair_slabs("cubic"), **limits)  # type: ignore[arg-type]


def test_a_sandwich_turned_over_is_listed_once() -> None:
    """Its second plane, seen from the other side, is the first plane of another match."""
    matches = list_pair_matches("polar")
    kept = drop_turned_sandwiches(matches)
    assert len(kept) == len(matches) // 2  # no surface of LiNbO3 or LiCoO2 along c equals the opposite one
    for match in (one for one in matches if one not in kept):
        assert any(
            sorted(one.substrate.elements) == sorted(match.substrate.elements)
            and one.area == pytest.approx(match.area)
            for one in kept
        )


def test_equal_planes_of_a_sandwich_are_known() -> None:
    """Two slabs with equal surfaces make two equal planes; with a vacuum there is one plane only."""
    name = "(111)1|(111)2 (1 1;0 3)|(3 2;4 5)"
    symmetric = next(match for match in list_pair_matches("cubic") if match.name == name)
    assert symmetric.substrate.symmetric
    assert symmetric.film.symmetric
    assert build_bicrystal(symmetric, boundary="sandwich").planes_alike
    assert not build_bicrystal(symmetric, boundary="vacuum").planes_alike
    assert not build_bicrystal(list_pair_matches("polar")[0], boundary="sandwich").planes_alike


def test_references_of_both_sides_are_those_of_the_bicrystal() -> None:
    """Bulk cells are as dense as the strained sides; slabs alone are the bicrystal's own sites."""
    for bicrystal in build_few("orthorhombic", "sandwich"):
        for side, slab, multiple in zip(
            ("substrate", "film"),
            (bicrystal.match.substrate, bicrystal.match.film),
            bicrystal.match.multiples,
            strict=True,
        ):
            cell, elements, positions, sites = bicrystal.place_bulk(side)  # type: ignore[arg-type]
            assert np.linalg.det(cell) == pytest.approx(bicrystal.match.area / multiple * slab.stack[2])
            assert len(elements) == len(positions) == len(sites) == slab.period
            from pymatgen.core import Structure

            strained = Structure(cell, elements, positions, coords_are_cartesian=True)
            perfect = slab.solid.parent.build_structure()
            nearest = [
                min(one.nn_distance for one in structure.get_neighbors(structure[atom], 4.0))
                for structure, atom in ((strained, 0), (perfect, int(sites[0])))
            ]
            assert nearest[0] == pytest.approx(nearest[1], rel=2 * bicrystal.match.strain)
            box, numbers, places = bicrystal.place_slab(side)  # type: ignore[arg-type]
            assert np.abs(box[:2, :2] - bicrystal.match.cell).max() < 1e-9
            assert {bicrystal.side[number] for number in numbers} == {side}
            assert len(places) == multiple * len(slab)


@given(
    first=st.tuples(*[st.integers(-4, 4)] * 4).filter(lambda m: m[0] * m[3] != m[1] * m[2]),
    second=st.tuples(*[st.integers(-4, 4)] * 4).filter(lambda m: m[0] * m[3] != m[1] * m[2]),
)
@settings(max_examples=100)
def test_lattices_of_whole_numbers(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Hermite's form keeps the lattice, cosets are numbered as listed, a sum holds both lattices."""
    matrix, other = (np.array(numbers, dtype=np.int64).reshape(2, 2) for numbers in (first, second))
    form = hermite_form(matrix)
    assert determinant(form) == abs(determinant(matrix))
    assert not ((matrix @ adjugate(form)) % determinant(form)).any()
    cosets = list_cosets(matrix)
    assert len(cosets) == abs(determinant(matrix))
    assert (number_cosets(matrix, cosets + other[0] @ matrix) == np.arange(len(cosets))).all()
    basis, size = sum_lattice(matrix, other)
    for lattice in (matrix, other):
        shares = np.linalg.inv(lattice) @ np.linalg.inv(basis / size)
        assert np.abs(shares - np.round(shares)).max() < 1e-9
