"""Starts and operators of crystals: rules kept, the same child by the same numbers, and what each of them changes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import IntArray
from invdesign.candidate import Genome, to_json
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.crystal import CrystalSpace
from invdesign.spaces.crystal.fresh import LIKE_DISTANCE, LIKE_VOLUME, find_room
from invdesign.spaces.crystal.operators import mean_cell
from invdesign.spaces.crystal.starts import draw_cell_shape
from invdesign.spaces.crystal.supercells import draw_supercell, make_supercell
from invdesign.spaces.crystal.symmetric import find_group
from invdesign.structures.geometry import Crystal, find_neighbours, make_crystal
from invdesign.structures.symmetry import call_spglib

CUBE = [4.21, 4.21, 4.21, 90, 90, 90]
SPACES: dict[str, dict[str, Any]] = {
    "formula": {"formula": "Al2O3", "formula_units": 1},
    "units": {"formula": "MgO", "formula_units": [1, 4]},
    "oxide": {
        "elements": {"Sr": [0, 2], "Ti": [0, 2], "O": [1, 6]},
        "oxidation_states": {"Sr": 2, "Ti": 4, "O": -2},
    },
    "alloy": {"elements": ["Li", "Si"], "atoms": [1, 6]},
    "element": {"elements": {"C": [2, 8]}},
    "atom": {"elements": {"Cu": 1}},
    "fixed": {"elements": {"Mg": [1, 4], "O": [1, 4]}, "cell": CUBE},
}
EVERYWHERE = {"like", "random"}
SHAPES = {"lattice", "splice", "strain", "symmetric", "symmetric_like"}
CHANGES = {"add", "anew", "remove"}
OFFERED = {
    "formula": EVERYWHERE | SHAPES | {"permute", "rattle"},
    "units": EVERYWHERE | SHAPES | CHANGES | {"permute", "rattle", "repeat", "repeated"},
    "oxide": EVERYWHERE | SHAPES | CHANGES | {"permute", "rattle", "repeat", "repeated", "transmute"},
    "alloy": EVERYWHERE | SHAPES | CHANGES | {"permute", "rattle", "repeat", "repeated", "transmute"},
    "element": EVERYWHERE | SHAPES | CHANGES | {"rattle", "repeat", "repeated"},
    "atom": EVERYWHERE | SHAPES,
    "fixed": EVERYWHERE | CHANGES | {"permute", "rattle", "splice", "transmute"},
}
# For some parents these make nothing: without symmetry, at the end of the compositions, or of one element.
CHOOSY = {"symmetric_like", "repeat", "permute", "transmute", *CHANGES}
TRIES = 20


@cache
def space_of(name: str) -> CrystalSpace:
    """A space of crystals by its name here."""
    found: CrystalSpace = load("spaces", {"kind": "crystal", **SPACES[name]})
    return found


@cache
def pool(name: str) -> tuple[Genome, ...]:
    """Some starts of each kind."""
    own = space_of(name).operators()
    starts = {start: operator for start, operator in own.items() if operator.arity == 0}
    made = [
        operator.apply((), rng_for(0, number, start))
        for start, operator in starts.items()
        for number in range(16)
    ]
    return tuple(genome for genome in made if genome is not None)


def read(name: str, genome: Genome) -> Crystal:
    """Arrays of a genome."""
    return space_of(name)._read_genome(genome)


def draw(name: str, operator: str, number: int) -> tuple[list[Genome], Genome | None]:
    """Parents from the pool, and what the operator makes of them."""
    own = space_of(name).operators()[operator]
    rng = rng_for(1, number, operator)
    parents = [pool(name)[row] for row in rng.integers(len(pool(name)), size=own.arity)]
    return parents, own.apply(parents, rng)


def children(name: str, operator: str) -> list[tuple[list[Crystal], Crystal]]:
    """Parents and children of an operator, without tries that made none."""
    drawn = [draw(name, operator, number) for number in range(TRIES)]
    return [
        ([read(name, item) for item in parents], read(name, child))
        for parents, child in drawn
        if child is not None
    ]


@pytest.mark.parametrize("name", SPACES)
def test_operators_that_can_make_nothing_are_not_offered(name: str) -> None:
    """Each space has the starts and operators that its rules leave something to do."""
    assert space_of(name).operators().keys() == OFFERED[name]


@pytest.mark.parametrize(
    ("name", "operator"), [(name, way) for name in SPACES for way in sorted(OFFERED[name])]
)
def test_operators_keep_the_rules(name: str, operator: str) -> None:
    """Children are canonical and can be built; the same numbers make the same child; most tries make one."""
    space, made = space_of(name), 0
    for number in range(TRIES):
        parents, child = draw(name, operator, number)
        again = draw(name, operator, number)[1]
        assert to_json(again) == to_json(child)
        if child is None:
            continue
        made += 1
        assert to_json(space.canonical(child)) == to_json(child)
        design = space.build(child)  # composition, volume and distances
        crystal = read(name, child)
        assert len(design.structures["initial"]) == len(crystal)
        assert np.isfinite(space.features([child])).all()
        assert all(to_json(parent) in map(to_json, pool(name)) for parent in parents)  # nobody changed them
    if operator != "symmetric_like":  # displaced starts have no symmetry
        assert made >= (1 if operator in CHOOSY else 0.75 * TRIES)


@pytest.mark.parametrize("name", ["units", "oxide", "alloy", "element"])
def test_repeats_are_made_of_most_parents_that_have_room(name: str) -> None:
    """A parent with an allowed multiple is repeated mostly: the displacements are drawn again where they fail."""
    space, rules = space_of(name), space_of(name)._rules
    counts = [rules.count_atoms(read(name, genome)) for genome in pool(name)]
    small = [
        genome
        for genome, own in zip(pool(name), counts, strict=True)
        if any(rules.compositions.allows(n * own) for n in range(2, 9))
    ]
    assert small
    made = [space.operators()["repeat"].apply([small[n % len(small)]], rng_for(2, n, "r")) for n in range(10)]
    found = [read(name, child) for child in made if child is not None]
    assert len(found) >= 7


# What each changes, and what it keeps.


def shapes(crystal: Crystal) -> list[float]:
    """Squared lengths and products of a cell's vectors."""
    metric = crystal.cell @ crystal.cell.T
    return [float(value) for value in metric[np.triu_indices(3)]]


@pytest.mark.parametrize("name", ["formula", "oxide", "element"])
def test_rattles_keep_the_cell(name: str) -> None:
    """Only positions change; at least one does."""
    for (parent,), child in children(name, "rattle"):
        assert shapes(child) == pytest.approx(shapes(parent), abs=1e-4)
        assert (child.species == parent.species).all()
        assert not np.allclose(child.positions, parent.positions, atol=1e-5)


@pytest.mark.parametrize("operator", ["strain", "lattice"])
@pytest.mark.parametrize("name", ["formula", "oxide", "atom"])
def test_changes_of_the_cell_keep_the_volume(name: str, operator: str) -> None:
    """Composition and volume stay, and the shape is another one."""
    for (parent,), child in children(name, operator):
        assert (child.species == parent.species).all()
        assert child.volume == pytest.approx(parent.volume, rel=1e-4)
        assert shapes(child) != pytest.approx(shapes(parent), abs=1e-3)


def test_permutations_keep_the_places() -> None:
    """Atoms swap places, and as many of each element are there; cell and places stay."""
    for (parent,), child in children("oxide", "permute"):
        assert sorted(child.species.tolist()) == sorted(parent.species.tolist())
        assert shapes(child) == pytest.approx(shapes(parent), abs=1e-4)
        places = {tuple(row) for row in np.round(parent.positions, 5).tolist()}
        assert {tuple(row) for row in np.round(child.positions, 5).tolist()} == places
        assert not np.array_equal(child.positions, parent.positions)


@pytest.mark.parametrize("name", ["units", "oxide", "alloy", "element", "fixed"])
def test_atoms_come_go_and_change(name: str) -> None:
    """More of no element less, less of no element more, and elements that take each other's place."""
    rules = space_of(name)._rules
    for operator in sorted({"add", "remove", "transmute", "repeat"} & OFFERED[name]):
        found = children(name, operator)
        assert found
        for (parent,), child in found:
            change = rules.count_atoms(child) - rules.count_atoms(parent)
            assert change.any()
            if operator in {"add", "repeat"}:
                assert (change >= 0).all()
            elif operator == "remove":
                assert (change <= 0).all()
            else:
                assert change.min() < 0 < change.max()
            if operator == "repeat":
                counts = rules.count_atoms(parent)
                assert (rules.count_atoms(child) * counts.sum() == counts * len(child)).all()
                assert child.volume / len(child) == pytest.approx(parent.volume / len(parent), rel=1e-4)


def test_charges_balance() -> None:
    """No operator leaves the compositions whose charges are balanced."""
    for operator in sorted(OFFERED["oxide"]):
        for _, child in children("oxide", operator):
            oxygen, strontium, titanium = child.count_species(3).tolist()
            assert 2 * strontium + 4 * titanium == 2 * oxygen


@pytest.mark.parametrize("name", ["formula", "units", "fixed"])
def test_starts_like_a_parent(name: str) -> None:
    """They have its composition, nearly its volume, and keep away from each other as its atoms do."""
    rules = space_of(name)._rules
    for (parent,), child in children(name, "like"):
        assert (child.species == parent.species).all()
        low, high = (1.0, 1.0) if name == "fixed" else LIKE_VOLUME
        assert low - 1e-4 <= child.volume / parent.volume <= high + 1e-4
        first, second, distance = find_neighbours(child, 4.0)
        needed = find_room(parent, rules)[child.species[first], child.species[second]]
        between = first != second  # images of an atom are as far apart as the cell is long
        assert (distance >= 0.7 * needed)[
            between
        ].all()  # a share of the room, where atoms do not fit in otherwise
        assert (find_room(parent, rules) >= LIKE_DISTANCE * rules.shortest).all()


def test_symmetric_starts_have_symmetry() -> None:
    """Most have a group above P-1 within their displacements; where groups are given, it is one of them."""
    groups = [find_group(child, 0.35) for _, child in children("units", "symmetric")]
    assert np.mean(np.array(groups) > 2) > 0.5
    salt: CrystalSpace = load(
        "spaces", {"kind": "crystal", "formula": "MgO", "formula_units": 1, "space_groups": [225, 216]}
    )
    starts = [salt.operators()["symmetric"].apply((), rng_for(0, number, "s")) for number in range(8)]
    found = [salt._read_genome(genome) for genome in starts if genome is not None]
    assert len(found) == 8
    # Displacements along a diagonal leave the subgroup 160 of both.
    assert {find_group(crystal, 0.5) for crystal in found} <= {160, 216, 225}


def prototypes() -> dict[int, Genome]:
    """Rock salt, caesium chloride, zinc blende, nickel arsenide and wurtzite of MgO, by group."""
    from pymatgen.core import Lattice, Structure

    cubic, hexagonal = Lattice.cubic(4.2), Lattice.hexagonal(3.3, 5.2)
    found = {
        225: Structure.from_spacegroup(225, cubic, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        221: Structure.from_spacegroup(221, Lattice.cubic(2.7), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        216: Structure.from_spacegroup(216, Lattice.cubic(4.6), ["Mg", "O"], [[0, 0, 0], [0.25] * 3]),
        194: Structure.from_spacegroup(194, hexagonal, ["Mg", "O"], [[0, 0, 0], [1 / 3, 2 / 3, 0.25]]),
        186: Structure.from_spacegroup(
            186, hexagonal, ["Mg", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]
        ),
    }
    return {
        group: space_of("units").adopt(item.get_primitive_structure(), None) for group, item in found.items()
    }


@pytest.mark.parametrize("group", [225, 221, 216, 194, 186])
def test_starts_with_the_symmetry_of_a_parent(group: int) -> None:
    """They have its group, or a supergroup, within their displacements, and its volume; without symmetry there are none."""
    space, parent = space_of("units"), prototypes()[group]
    assert find_group(read("units", parent)) == group
    made = [space.operators()["symmetric_like"].apply([parent], rng_for(3, n, "like")) for n in range(12)]
    found = [read("units", genome) for genome in made if genome is not None]
    assert len(found) >= 6
    assert all(
        child.count_species(2).tolist() == read("units", parent).count_species(2).tolist() for child in found
    )
    groups = [max(find_group(child, within) for within in (0.2, 0.3, 0.4)) for child in found]
    assert np.mean(np.array(groups) >= 3) > 0.7  # displacements hide some of the operations
    assert group in groups
    triclinic = next(genome for genome in pool("units") if find_group(read("units", genome)) == 1)
    assert space.operators()["symmetric_like"].apply([triclinic], rng_for(3, 0, "like")) is None


# Splices.


def parts_of(child: Crystal, parent: Crystal) -> list[set[int]]:
    """Atoms of a child that are atoms of the parent, by every shift that brings one of them there."""
    found = []
    for mine in range(len(child)):
        for theirs in np.flatnonzero(parent.species == child.species[mine]).tolist():
            moved = parent.positions + child.positions[mine] - parent.positions[theirs]
            apart = child.positions[:, None] - moved[None]
            near = np.abs(apart - np.round(apart)).max(axis=2) < 1e-5
            near &= child.species[:, None] == parent.species[None]
            found.append(set(np.flatnonzero(near.any(axis=1)).tolist()))
    return found


def test_splices_take_slabs_of_both_parents() -> None:
    """In a fixed cell every atom lies where a shifted parent has one, and both parents gave some."""
    space = space_of("fixed")
    made = 0
    for number in range(20):
        rng = rng_for(4, number, "splice")
        parents = [pool("fixed")[row] for row in rng.choice(len(pool("fixed")), 2, replace=False)]
        genome = space.operators()["splice"].apply(parents, rng)
        if genome is None:
            continue
        made += 1
        child = read("fixed", genome)
        ours, theirs = (parts_of(child, read("fixed", parent)) for parent in parents)
        pairs = [(a, b) for a in ours for b in theirs if len(a | b) == len(child)]
        assert pairs, "an atom belongs to no parent"
        assert any(a and b for a, b in pairs)
    assert made >= 12


def test_splices_of_one_crystal_can_give_it_back() -> None:
    """Of a parent with itself: its volume, and among many children some that are the parent again or nearly so."""
    space = space_of("units")
    (parent,) = [genome for genome in pool("units") if len(read("units", genome)) == 2][:1]
    made = [space.operators()["splice"].apply([parent, parent], rng_for(5, n, "s")) for n in range(60)]
    found = [genome for genome in made if genome is not None]
    assert len(found) > 40
    volume = read("units", parent).volume
    assert all(read("units", genome).volume == pytest.approx(volume, rel=1e-3) for genome in found)
    prints = space.fingerprints([parent, *found])
    apart = np.linalg.norm(prints[1:] - prints[0], axis=1)
    others = space.fingerprints([genome for genome in pool("units") if genome != parent])
    assert apart.min() < 0.5 * np.linalg.norm(others - prints[0], axis=1).min()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0), atoms=st.integers(1, 30))
def test_mean_cells_have_the_mean_volume(seed: int, share: float, atoms: int) -> None:
    """Between two crystals the volume per atom is the weighted mean, whatever the orientation of the cells."""
    rng = np.random.default_rng(seed)
    both = []
    for _ in range(2):
        size = int(rng.integers(1, 6))
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        cell = draw_cell_shape(rng) * rng.uniform(2.0, 6.0) @ turn
        both.append(make_crystal(cell, np.zeros(size, dtype=np.int64), rng.random((size, 3))))
    per_atom = [crystal.volume / len(crystal) for crystal in both]
    cell = mean_cell(both[0], both[1], share, atoms)
    wanted = (share * per_atom[0] + (1.0 - share) * per_atom[1]) * atoms
    assert np.linalg.det(cell) == pytest.approx(wanted, rel=1e-9)


# Supercells.


def is_hermite(matrix: IntArray, n: int) -> bool:
    """True for a lower triangular matrix of that determinant, with entries below each diagonal one in its column."""
    (a, x, y), (b, c, z), (d, e, f) = matrix.tolist()
    return x == y == z == 0 and a * c * f == n and 0 <= b < c and 0 <= d < f and 0 <= e < f


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_supercells_are_drawn_in_normal_form(n: int, seed: int) -> None:
    """Each drawn matrix has the wanted size."""
    assert is_hermite(draw_supercell(n, np.random.default_rng(seed)), n)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_supercells_are_the_same_crystal(n: int, seed: int) -> None:
    """They hold n times the atoms in n times the volume, and have the fingerprint of the small cell."""
    name, rng = "units", np.random.default_rng(seed)
    small = [crystal for crystal in (read(name, genome) for genome in pool(name)) if len(crystal) == 2]
    crystal = small[seed % len(small)]
    large = make_supercell(crystal, draw_supercell(n, rng))
    assert large.volume == pytest.approx(n * crystal.volume)
    assert (large.count_species(2) == n * crystal.count_species(2)).all()
    space = space_of(name)
    genomes = [space.canonical(space._write_genome(item)) for item in (crystal, large)]
    first, second = space.fingerprints(genomes)
    assert np.linalg.norm(first - second) < 0.1 * space.alike


def test_repeated_starts_hold_a_smaller_cell() -> None:
    """Before they are displaced they are supercells: spglib finds a smaller cell within the displacements."""
    halves = 0
    for _, child in children("units", "repeated"):
        found = call_spglib("find_primitive", (child.cell, child.positions, child.species + 1), symprec=0.4)
        halves += found is not None and len(found[2]) < len(child)
    assert halves >= 0.6 * TRIES


def test_anew_keeps_the_formula_and_draws_the_size() -> None:
    """Starts with the formula of the parent come in cells of several sizes."""
    space = space_of("units")
    parent = next(genome for genome in pool("units") if len(genome["positions"]) == 4)  # type: ignore[arg-type]
    made = [space.operators()["anew"].apply([parent], rng_for(9, n, "anew")) for n in range(20)]
    sizes = {len(genome["positions"]) for genome in made if genome is not None}  # type: ignore[arg-type]
    assert sizes <= {2, 4, 6, 8}
    assert len(sizes) > 1


def test_simple_formulas_and_frequent_sizes_are_drawn_most() -> None:
    """SrO and TiO2 come more often than Sr2TiO4, two or four formula units more often than three."""
    space = load(
        "spaces",
        {
            "kind": "crystal",
            "elements": {"Sr": [0, 4], "Ti": [0, 4], "O": [1, 8]},
            "oxidation_states": {"Sr": 2, "Ti": 4, "O": -2},
        },
    )
    compositions, rng = space._rules.compositions, rng_for(0, 0, "drawn")
    drawn = np.array([compositions.draw(rng) for _ in range(4000)])
    units = np.gcd.reduce(drawn, axis=1)
    reduced = [tuple(row) for row in (drawn // units[:, None]).tolist()]  # O, Sr, Ti
    assert reduced.count((1, 1, 0)) > reduced.count((2, 0, 1)) > reduced.count((4, 2, 1)) > 0
    titania = units[[row == (2, 0, 1) for row in reduced]].tolist()
    assert titania.count(2) > titania.count(4) > titania.count(1) > titania.count(3)
