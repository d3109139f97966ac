"""Interfaces of two solids: symmetry, conservation, structures, recognition, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome
from invdesign.errors import Infeasible
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.interface import InterfaceSpace
from invdesign.spaces.interface.building import REFERENCES
from invdesign.spaces.interface.settings import SolidChoice
from invdesign.spaces.interface.terminations import list_side_slabs
from invdesign.structures.bicrystals import list_slabs, make_solid
from invdesign.structures.bicrystals.cuts import count_cut_bonds, describe_slab
from invdesign.structures.files import structure_to_cif
from invdesign.structures.site_labels import INNER, LAYER, NATIVE, SIDE

LAYERED = {"parent": "layered", "planes": [[1, 1, 0]], "thickness": 5.0}
SALT = {"parent": "rocksalt", "planes": [[1, 1, 0]], "thickness": 5.5}
OXIDE = {"parent": "antifluorite", "planes": [[1, 1, 0], [1, 0, 0]], "thickness": 4.0}
METAL = {"metal": "Li", "planes": [[1, 0, 0], [1, 1, 0]], "thickness": 5.0}
LIMITS = {"max_area": 95, "max_strain": 0.06}
MIXED: dict[str, Any] = {
    "substrate": LAYERED,
    "film": SALT,
    "match": LIMITS,
    "region": 3.0,
    "exchange": [{"substrate": "M", "film": "M", "most": 2}, {"substrate": "O", "film": "X", "most": 3}],
    "deplete": {"ion": "Li", "from": "substrate", "most": 2},
    "gap": {"min": 1.8, "max": 2.6},
}
CONTACT: dict[str, Any] = {
    "substrate": OXIDE,
    "film": METAL,
    "match": {"max_area": 45, "max_strain": 0.08},
    "shift": {"spacing": 0.8},
}


def space(fields: Mapping[str, Any], **changes: Any) -> InterfaceSpace:
    return cast("InterfaceSpace", load("spaces", {"kind": "interface", **fields, **changes}))


def start(own: InterfaceSpace, number: int, operator: str = "start") -> Genome:
    genome = own.operators()[operator].apply((), rng_for(0, number, operator))
    assert genome is not None
    return genome


def initial(own: InterfaceSpace, genome: Genome) -> Structure:
    return own.build(genome).structures["initial"]


def distances(structure: Structure) -> list[tuple[str, str, float]]:
    """Sorted distances up to 4.5 Å by elements: equal for congruent crystals, whatever their origin and order."""
    first, second, _, length = structure.get_neighbor_list(4.5, exclude_self=True)
    names = [site.specie.symbol for site in structure]
    return sorted(
        (names[i], names[j], float(d))
        for i, j, d in zip(first.tolist(), second.tolist(), length.tolist(), strict=True)
    )


def environments(structure: Structure) -> FloatArray:
    """A number per atom, sorted, from its neighbours' distances and directions: equal for congruent crystals."""
    first, second, image, length = structure.get_neighbor_list(6.0, exclude_self=True)
    numbers = np.array(structure.atomic_numbers, dtype=np.float64)
    weights = numbers[second] * np.exp(-((length / 2.5) ** 2))
    vectors = structure.cart_coords[second] + image @ structure.lattice.matrix - structure.cart_coords[first]
    sums = np.zeros((len(structure), 3))
    np.add.at(sums, first, weights[:, None] * vectors)
    near = np.bincount(first, weights, minlength=len(structure))
    found: FloatArray = np.sort(100.0 * numbers + near + 0.37 * np.linalg.norm(sums, axis=1))
    return found


def are_congruent(a: Structure, b: Structure) -> bool:
    one, other = environments(a), environments(b)
    return len(one) == len(other) and bool(np.allclose(one, other, atol=2e-3))


@given(number=st.integers(0, 10_000), a=st.integers(-2, 2), b=st.integers(-2, 2))
@settings(max_examples=40, deadline=None)
def test_the_canonical_genome_is_the_same_interface(number: int, a: int, b: int) -> None:
    """A shift by whole cells of displacements permutes the atoms that changed; the crystal stays what it is."""
    own = space(MIXED)
    genome = start(own, number)
    shift = cast("list[float]", genome["shift"])
    moved = {**genome, "shift": [shift[0] + a, shift[1] + b]}
    canonical = own.canonical(moved)
    assert own.canonical(canonical) == canonical
    low, high = cast("list[float]", canonical["shift"])
    assert 0.0 <= low < 1.0
    assert 0.0 <= high < 1.0
    assert are_congruent(initial(own, moved), initial(own, canonical))


@given(number=st.integers(0, 10_000), chosen=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_symmetric_images_are_one_genome(number: int, chosen: int) -> None:
    """Images by the operations of the bicrystal, as it states them, have one canonical genome."""
    own = space(MIXED, deplete=[])
    genome = start(own, number)
    cell = next(cell for cell in own._plan.cells if cell.name == genome["match"])
    operation = cell.bicrystal.operations[chosen % len(cell.bicrystal.operations)]
    if operation.swaps_planes:
        return
    codes = own._reader.parse(genome).codes
    occupants = cell.list_occupants(codes)
    moved = list(occupants)
    for site, target in enumerate(operation.permutation.tolist()):
        moved[target] = occupants[site]
    image: dict[str, Any] = {**genome, "shift": operation.move_shift(np.array(genome["shift"])).tolist()}
    for group in cell.sites.groups:
        places = cell.sites.places[group.first : group.stop].tolist()
        image[group.name] = [moved[place] for place in places]
    assert own.canonical(image) == own.canonical(genome)


@given(number=st.integers(0, 10_000), chosen=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("fields", [MIXED, {**CONTACT, "shift": "free"}], ids=["mixed", "contact"])
def test_unmixed_interfaces_are_one_with_their_other_plane(
    fields: Mapping[str, Any], number: int, chosen: int
) -> None:
    """Without exchanged atoms, operations that exchange the two planes of a sandwich give the same genome, too."""
    own = space(fields)
    genome = start(own, number, "abrupt" if "abrupt" in own.operators() else "start")
    cell = next(cell for cell in own._plan.cells if cell.name == genome["match"])
    operation = cell.bicrystal.operations[chosen % len(cell.bicrystal.operations)]
    image = {**genome, "shift": operation.move_shift(np.array(genome["shift"])).tolist()}
    assert own.canonical(image) == own.canonical(genome)
    assert are_congruent(initial(own, image), initial(own, genome))


def test_a_fixed_shift_and_a_vacuum() -> None:
    """All candidates lie at the one shift, below a vacuum of the wanted thickness; deep sites stay as they are."""
    own = space(
        MIXED,
        boundary="vacuum",
        vacuum=12.0,
        shift=[0.25, 0.4],
        gap=2.0,
        deplete=[],
        exchange=[{"substrate": "M", "film": "M", "most": 2, "deep": 1.5}],
    )
    assert "shift" not in own.operators()
    for number in range(5):
        genome = start(own, number)
        assert set(genome) == {"match", "substrate M", "film M"}
        structure = initial(own, genome)
        heights = np.sort(structure.cart_coords[:, 2])
        room = np.append(np.diff(heights), heights[0] + structure.lattice.c - heights[-1])
        assert room.max() == pytest.approx(12.0, abs=0.01)
        cell = next(cell for cell in own._plan.cells if cell.name == genome["match"])
        assert cell.sites.depth.max() <= 1.5 + 1e-3


def test_solids_from_files(tmp_path: Path) -> None:
    """A user's two CIF files make an interface; a plane that the file's cell does not have as thought is seen in the notes."""
    own = space(CONTACT)
    match = own._plan.cells[0].bicrystal.match
    for name, solid in (("oxide.cif", match.substrate.solid), ("metal.cif", match.film.solid)):
        structure = solid.parent.build_structure()
        (tmp_path / name).write_text(structure_to_cif(structure), encoding="utf-8")
    fields = {
        **CONTACT,
        "substrate": {"parent": "oxide.cif", "planes": [[1, 0, 0]], "layers": 2},
        "film": {"parent": "metal.cif", "planes": [[1, 0, 0]], "layers": 4},
    }
    found = load("spaces", {"kind": "interface", **fields}, folder=tmp_path)
    assert found.count()
    assert any("planes refer to the cell of oxide.cif: a 4.6" in remark for remark in found.remarks)
    again = load("spaces", found.model_dump(mode="json"))
    assert again.canonical(found.genome(0)) == found.genome(0)


def test_every_candidate_keeps_the_composition() -> None:
    """Exchanged atoms and ions in voids are those of the two solids, with whatever operator they were moved."""
    own = space(MIXED)
    pool = [start(own, number, name) for number in range(6) for name in ("start", "abrupt")]
    for name, operator in own.operators().items():
        for number in range(8):
            parents = [pool[(number + 5 * k) % len(pool)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(0, number, name))
            if child is None:
                continue
            abrupt = {key: value for key, value in child.items() if key in {"match", "shift", "gap"}}
            cell = next(cell for cell in own._plan.cells if cell.name == child["match"])
            for group in cell.sites.groups:
                abrupt[group.name] = [group.species[0]] * len(group)
            assert initial(own, child).composition == initial(own, abrupt).composition


def count_foreign(own: InterfaceSpace, genome: Genome) -> list[int]:
    placed = own._reader.parse(genome)
    found = own._plan.cells[placed.match].sites.find_amounts(placed.codes)
    assert found is not None
    assert len(found) == len(own._plan.cells[0].sites.transfers)
    return cast("list[int]", found.tolist())


def test_operators_change_what_they_say() -> None:
    """`abrupt` exchanges nothing; `shift` and `gap` leave species, `exchange` leaves the shift; `rematch` keeps the numbers."""
    own = space(MIXED)
    assert list(own.operators()) == [
        "start",
        "abrupt",
        "shift",
        "gap",
        "exchange",
        "deplete",
        "rematch",
        "crossover",
    ]
    for number in range(10):
        assert count_foreign(own, start(own, number, "abrupt")) == [0, 0, 0]
        parent = start(own, number)
        for name, kept in (
            ("gap", {"match", "shift"}),
            ("exchange", {"match", "gap"}),
            ("shift", {"match", "gap"}),
        ):
            child = own.operators()[name].apply([parent], rng_for(1, number, name))
            assert child is not None
            assert {key: child[key] for key in kept} == {key: parent[key] for key in kept}
            if name != "exchange":
                assert count_foreign(own, child) == count_foreign(own, parent)
        depleted = own.operators()["deplete"].apply([parent], rng_for(1, number, "deplete"))
        assert depleted is not None
        assert count_foreign(own, depleted)[:2] == count_foreign(own, parent)[:2]
        other = own.operators()["rematch"].apply([parent], rng_for(1, number, "rematch"))
        assert other is not None
        assert other["match"] != parent["match"]
        assert count_foreign(own, other) == count_foreign(own, parent)


def test_exchange_stays_within_the_region_of_the_first_plane() -> None:
    """Foreign atoms lie within the region; labels say where, and what the solid has there."""
    own = space(MIXED)
    for number in range(5):
        structure = initial(own, start(own, number))
        assert set(structure.site_properties) == {SIDE, LAYER, INNER, NATIVE}
        foreign = [site for site in structure if site.properties[NATIVE] != site.specie.symbol]
        assert foreign
        assert not any(site.properties[INNER] for site in foreign)
        assert all(site.properties[NATIVE] in {"Co", "O", "Li", "Cl", "F", ""} for site in foreign)
        assert {site.properties[SIDE] for site in structure} == {"substrate", "film"}


def test_voids_are_empty_places_of_the_other_side() -> None:
    """An ion in a void has room, and lies between the atoms of its side."""
    own = space(MIXED, exchange=[], gap=2.2)
    found = 0
    for number in range(10):
        structure = initial(own, start(own, number))
        for site in structure:
            if site.properties[NATIVE] == "":
                found += 1
                assert site.specie.symbol == "Li"
                assert site.properties[SIDE] == "film"
                near = [n.nn_distance for n in structure.get_neighbors(site, 4.0)]
                assert min(near) > 1.2
    assert found > 3


def test_references_are_both_bulks_and_both_slabs() -> None:
    """Each has its solid's composition and the plane of the candidate, and is the same for all candidates of a match."""
    own = space(MIXED)
    one, other = (own.build(start(own, number)).structures for number in (1, 2))
    assert list(one) == [*REFERENCES, "initial"]
    assert own.reference_structures == REFERENCES
    film = own._plan.cells[0].bicrystal.match.film.solid.parent.build_structure()
    for side, formula in (("substrate", "LiCoO2"), ("film", film.composition.reduced_formula)):
        bulk, slab = one[f"{side}_bulk"], one[f"{side}_slab"]
        assert bulk.composition.reduced_formula == slab.composition.reduced_formula
        assert bulk.composition.reduced_formula == formula
        assert np.allclose(slab.lattice.matrix[:2], one["initial"].lattice.matrix[:2])
        assert min(d for *_, d in distances(bulk)) > 1.5
        assert are_bulk_like(bulk, slab)
        assert set(slab.site_properties) == {SIDE, LAYER, INNER, NATIVE}
    atoms = len(one["substrate_slab"]) + len(one["film_slab"])
    assert atoms == len(one["initial"])
    assert own.build(start(own, 1)).structures["film_bulk"] is one["film_bulk"]
    assert other.keys() == one.keys()


def are_bulk_like(bulk: Structure, slab: Structure) -> bool:
    """True if every distance of the slab's atoms is one of the bulk's."""
    known = {(a, b, round(d, 2)) for a, b, d in distances(bulk)}
    near = {(a, b, round(d + e, 2)) for a, b, d in known for e in (-0.01, 0.0, 0.01)}
    return all((a, b, round(d, 2)) in near for a, b, d in distances(slab))


@pytest.mark.parametrize("fields", [MIXED, CONTACT], ids=["mixed", "contact"])
def test_a_relaxed_interface_is_recognised(fields: Mapping[str, Any]) -> None:
    """Species and match stay; shift and gap follow the film, whatever the drift, the stretch and the displacements."""
    own = space(fields, shift="free")
    for number in range(6):
        genome = start(own, number)
        structure = initial(own, genome)
        rng = rng_for(0, number, "relax")
        film = np.array([site.properties[SIDE] == "film" for site in structure])
        moves = rng.normal(scale=0.08, size=(len(structure), 3)) + np.array([0.2, -0.3, 0.1])
        moves[film] += [0.25, 0.1, 0.15]
        matrix = structure.lattice.matrix.copy()
        matrix[2, 2] += 0.15
        places = structure.frac_coords @ matrix + moves  # a relaxed normal stretches all heights alike
        species = [site.specie for site in structure]
        relaxed = Structure(matrix, species, places, coords_are_cartesian=True)
        for parent in (genome, None):
            found = own.adopt(relaxed, parent)
            assert found is not None
            assert found["match"] == genome["match"]
            assert count_foreign(own, found) == count_foreign(own, genome)
            if "gap" in found:
                wanted = min(cast("float", genome["gap"]) + 0.15, 2.6)
                assert abs(cast("float", found["gap"]) - wanted) < 0.12


def test_another_crystal_is_none_of_the_space() -> None:
    """A bulk, an interface with an atom too many, and a molten one are not recognised."""
    own = space(MIXED)
    genome = start(own, 1)
    design = own.build(genome).structures
    assert own.adopt(design["film_bulk"], genome) is None
    more = design["initial"].copy()
    more.append("Li", [0.5, 0.5, 0.5], properties={SIDE: "film", LAYER: 1, INNER: False, NATIVE: ""})
    assert own.adopt(more, genome) is None
    molten = design["initial"].copy()
    molten.perturb(2.5)
    assert own.adopt(molten, genome) is None


def test_matches_and_a_grid_of_shifts_can_be_counted() -> None:
    """The number is that of interfaces that differ: no two are congruent."""
    own = space(CONTACT)
    size = own.count()
    assert size is not None
    assert own.size() == size
    built = [initial(own, own.genome(index)) for index in range(size)]
    alike = [(i, j) for i in range(size) for j in range(i) if are_congruent(built[i], built[j])]
    assert not alike


def test_points_near_an_end_of_the_shift_are_near() -> None:
    """The axes of the shift are periodic, and of a space of shifts alone near points are similar interfaces."""
    own = space(MIXED, exchange=[], deplete=[])
    domain = own.domain()
    assert [item.name for item in domain.dimensions if item.periodic] == ["shift a", "shift b"]
    assert domain.climbable
    assert not space(MIXED).domain().climbable


def test_features_tell_exchanged_from_unmixed_interfaces() -> None:
    """Foreign atoms by depth are those of the genome, and only charged exchanges move charge."""
    own = space(MIXED)
    names = [item.name for item in own.descriptors()]
    genome = start(own, 3)
    cell = next(cell for cell in own._plan.cells if cell.name == genome["match"])
    values = dict(zip(names, own.features([genome])[0].tolist(), strict=True))
    foreign = sum(value for name, value in values.items() if name.startswith("foreign on")) * cell.area
    assert foreign == pytest.approx(2 * sum(count_foreign(own, genome)))
    abrupt = dict(zip(names, own.features([start(own, 3, "abrupt")])[0].tolist(), strict=True))
    assert abrupt["charge of the film"] == pytest.approx(0.0)
    assert abrupt["electrostatic energy of exchanges"] == pytest.approx(0.0)


def test_remarks_name_cells_terminations_and_matches() -> None:
    """The notes print the cell that planes refer to, the terminations, and atoms, area and strain of the matches."""
    text = " ".join(space(MIXED).remarks)
    for part in (
        "substrate: planes refer to the cell of layered: a 2.816",
        "(110)1",
        "matches",
        "atoms",
        "strain",
    ):
        assert part in text


def test_terminations_that_cut_polyanions_are_named_and_left_out() -> None:
    """Of Li3PS4 some surfaces leave PS4 whole and others do not; the notes count the bonds."""
    solid = make_solid("Li3PS4")
    slabs = list_slabs(solid, (1, 0, 0), layers=1)
    cut = {slab.label: count_cut_bonds(slab) for slab in slabs}
    assert not all(cut.values())
    assert any(cut.values())
    assert all(set(kinds) <= {"P-S"} for kinds in cut.values())
    for slab in slabs:  # a whole PS4 has four bonds
        assert sum(cut[slab.label].values()) <= 4 * slab.elements.count("P")
    choice = SolidChoice.model_validate(
        {"parent": "Li3PS4", "planes": [[1, 0, 0]], "layers": 1, "keep_bonds": True}
    )
    kept = list_side_slabs("film", choice, solid)
    assert [slab.label for slab in kept] == [label for label, kinds in cut.items() if not kinds]
    assert "P-S bonds" in " ".join(map(describe_slab, slabs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match": {"max_area": 60, "max_strain": 0.03}}, "The nearest is .* raise max_"),
        ({"film": LAYERED}, "are the same crystal"),
        ({"region": 8.0}, "Å thick, and the region .* layers instead of"),
        ({"exchange": [{"substrate": "Q", "film": "X", "most": 1}]}, "has no site 'Q'"),
        ({"exchange": [{"substrate": "A", "film": "M", "most": 1}]}, "both are Li, so nothing would change"),
        ({"exchange": [{"substrate": "M", "film": "M", "most": 1}] * 2}, "given twice"),
        ({"deplete": {"ion": "Na", "from": "film", "most": 1}}, "has no site 'Na'"),
        ({"match": {**LIMITS, "names": ["(110)1|(100)9 1x1|1x1"]}}, "there is no match .* there are:"),
        ({"film": {**SALT, "terminations": [7]}}, "has the terminations 1, and none of them is chosen"),
        ({"film": {**SALT, "planes": [[0, 0, 0]]}}, "no plane"),
        ({"film": {**SALT, "planes": [[1, 1, 0], [1, 1, 0]]}}, "named twice"),
        ({"film": {**SALT, "layers": 2}}, "either 'layers' or 'thickness'"),
        ({"film": {**METAL, "parent": "rocksalt"}}, "either 'parent'"),
        ({"gap": {"min": 3.0, "max": 2.0}}, "min must be below max"),
        ({"gap": -1.0}, "between 0 and 20"),
        (
            {"match": {"max_area": 70, "max_strain": 0.06, "names": ["(110)1|(110)1 1x3|(0 1;-4 1)"]}, "exchange": [], "deplete": [], "gap": 2.0, "shift": [0.0, 0.0]},
            "a single interface",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(changes: Mapping[str, Any], message: str) -> None:
    """Each message says what was found and what to change."""
    with pytest.raises(ValueError, match=message):
        space(MIXED, **changes)


def test_an_exchange_without_sites_says_which_side_lacks_them() -> None:
    """No site of a sublattice within its depth, on any match."""
    with pytest.raises(ValueError, match=r"no Co within 0\.1 Å of the plane"):
        space(
            MIXED,
            substrate={"parent": "layered", "planes": [[0, 0, 1]], "thickness": 9.0, "terminations": [1]},
            film={"parent": "rocksalt", "planes": [[1, 1, 1]], "thickness": 5.0},
            match={"max_area": 115, "max_strain": 0.04, "max_atoms": 400},
            exchange=[{"substrate": "M", "film": "M", "most": 1, "deep": 0.1}],
            deplete=[],
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match": "(111)1"}, "no match of the space"),
        ({"shift": [0.5]}, "two fractions"),
        ({"gap": 9.0}, "from 1.8 to 2.6"),
        ({"film X": ["O"]}, "must be a list of"),
    ],
)
def test_malformed_genomes_are_infeasible(changes: Mapping[str, Any], message: str) -> None:
    """Every fault of a genome has its sentence."""
    own = space(MIXED)
    with pytest.raises(Infeasible, match=message):
        own.build({**start(own, 1), **changes})


def test_unequal_exchange_is_infeasible() -> None:
    """A genome with an atom that comes from nowhere has no design."""
    own = space(MIXED)
    genome = dict(start(own, 1, "abrupt"))
    species = list(cast("list[str]", genome["substrate M"]))
    genome["substrate M"] = ["Li", *species[1:]]
    with pytest.raises(Infeasible, match="numbers of exchanged atoms"):
        own.build(genome)
