"""Orderings: distinct ones are counted and listed exactly, and operators, vectors and structures agree on them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.candidate import genome_key, to_json
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import is_finite
from invdesign.rng import rng_for
from invdesign.settings import load


def space_of(**fields: Any) -> Any:
    """An ordering space as a campaign would make it."""
    return load("spaces", {"kind": "ordering", "parent": "layered", **fields})


HALF = {"A": {"Li": 0.5, "vacancy": 0.5}}
SMALL = space_of(cell=[2, 2, 1], sites=HALF)
RANGE = space_of(cell=[2, 2, 1], sites={"A": {"Li": {"min": 0.25}, "vacancy": "rest"}})
LARGE = space_of(cell=[4, 4, 1], sites=HALF, prerank={"keep": 0.1})
MIXED = space_of(
    cells=[[2, 1, 1], [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]],
    sites={"A": {"Li": "rest", "vacancy": {"max": 0.5}}, "M": {"Ni": "1/3", "Mn": "1/3", "Co": "1/3"}},
)
SPACES = {"small": SMALL, "range": RANGE, "large": LARGE, "mixed": MIXED}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())


def some(space: Any, count: int = 10) -> list[dict[str, Any]]:
    """Genomes from all start operators."""
    starts = [operator for operator in space.operators().values() if operator.arity == 0]
    made = [
        operator.apply((), rng_for(0, number, "some"))
        for operator, number in itertools.product(starts, range(count))
    ]
    return [dict(genome) for genome in made if genome is not None]


def crystal(space: Any, genome: Any) -> Any:
    """The structure of a genome."""
    return space.build(genome).structures["initial"]


def test_distinct_orderings_are_those_of_structure_matching() -> None:
    """An independent comparison of all fillings of a small cell finds as many distinct crystals."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    space = space_of(primitive=True, cell=[2, 2, 2], sites={"A": {"Li": 4, "vacancy": 4}})
    assert is_finite(space)
    built = [
        crystal(space, {"A": ["Li" if site in chosen else "vacancy" for site in range(8)]})
        for chosen in itertools.combinations(range(8), 4)
    ]
    matcher = StructureMatcher(primitive_cell=False, ltol=0.05, stol=0.05, angle_tol=2)
    assert len(space) == len(matcher.group_structures(built))


def test_listed_orderings_are_the_smallest_images_of_all() -> None:
    """Canonical forms of all fillings are exactly what is listed, and Burnside's count agrees."""
    for space in (SMALL, RANGE):
        sites = len(space.genome(0)["A"])
        lowest = 0 if space is RANGE else sites // 2
        fewest = 3 if space is RANGE else lowest
        fillings = (
            {"A": list(filling)}
            for filling in itertools.product(["Li", "vacancy"], repeat=sites)
            if filling.count("Li") >= fewest and (space is RANGE or filling.count("Li") == fewest)
        )
        every = {genome_key(space.canonical(genome)) for genome in fillings}
        listed = [genome_key(space.genome(index)) for index in range(len(space))]
        assert len(set(listed)) == len(listed) == space.size()
        assert set(listed) == every


@each_space
def test_symmetric_images_are_one_genome_with_the_same_numbers(space: Any) -> None:
    """Every image has the canonical genome, the correlations and the electrostatic energy of its original."""
    for genome in some(space, 4):
        number = int(genome.get("cell", 0))
        orderings = space._cells[number].orderings
        names = [group.name for group in orderings.groups]
        flat = [species for name in names for species in genome[name]]
        for row in orderings.permutations[:: max(len(orderings.permutations) // 7, 1)]:
            moved = [flat[place] for place in row]
            image = dict(genome)
            for group in orderings.groups:
                image[group.name] = moved[group.first : group.stop]
            assert space.canonical(image) == genome
            assert space.features([image])[0] == pytest.approx(space.features([genome])[0], abs=1e-7)


def test_symmetric_images_are_the_same_crystal() -> None:
    """What is taken for symmetric has the same neighbours at the same distances."""
    (genome,) = some(SMALL, 1)[:1]
    permutations = SMALL._cells[0].orderings.permutations
    assert len(permutations) == 12 * 12  # R-3m has twelve operations, the cell twelve lattice points

    def distances(structure: Any) -> Any:
        lithium = [i for i, site in enumerate(structure) if site.specie.symbol == "Li"]
        return np.sort(structure.distance_matrix[np.ix_(lithium, lithium)].ravel()).tolist()

    own = distances(crystal(SMALL, genome))
    for row in permutations[::11]:
        image = {"A": [genome["A"][place] for place in row]}
        assert distances(crystal(SMALL, image)) == pytest.approx(own)


@each_space
def test_amounts_are_kept_by_every_operator(space: Any) -> None:
    """What operators give is canonical, of an allowed composition, and not a parent."""
    genomes = some(space)
    for name, operator in space.operators().items():
        for number in range(30):
            parents = [genomes[(number + 3 * k) % len(genomes)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(1, number, name))
            if child is None:
                continue
            assert space.canonical(child) == child
            assert to_json(child) not in {to_json(parent) for parent in parents}
            space.build(child)


def test_shift_moves_one_atom_along_the_range() -> None:
    """A neighbouring composition, and at the ends of the range only inwards."""
    genome = {"A": ["Li"] * 3 + ["vacancy"] * 9}
    child = RANGE.operators()["shift"].apply([genome], rng_for(0, 0, "shift"))
    assert child is not None
    assert child["A"].count("Li") == 4
    assert "shift" not in SMALL.operators()


def test_swap_reaches_every_ordering() -> None:
    """From any ordering all others of the composition are found by swaps alone."""
    assert is_finite(SMALL)
    known = {to_json(SMALL.genome(0)): SMALL.genome(0)}
    swap = SMALL.operators()["swap"]
    for number in range(3_000):
        parents = list(known.values())
        child = swap.apply([parents[number % len(parents)]], rng_for(2, number, "swap"))
        if child is not None:
            known[to_json(child)] = child
    assert len(known) == len(SMALL)


def test_electrostatic_starts_are_low_and_different() -> None:
    """They lie below nearly all random orderings, and do not all fall into one."""
    operators = LARGE.operators()
    plain = space_of(cell=[4, 4, 1], sites=HALF)
    random = [plain.operators()["start"].apply((), rng_for(3, i, "random")) for i in range(100)]
    ranked = [operators["start"].apply((), rng_for(3, i, "ranked")) for i in range(30)]
    favoured = [operators["electrostatic"].apply((), rng_for(3, i, "favoured")) for i in range(30)]
    energies = np.sort(plain.ewald_energy([genome for genome in random if genome]))
    assert np.median(LARGE.ewald_energy([g for g in ranked if g])) < energies[20]
    assert np.median(LARGE.ewald_energy([g for g in favoured if g])) < energies[5]
    assert len({to_json(genome) for genome in favoured if genome}) > 20


@pytest.mark.parametrize("name", list(SPACES))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_point_is_an_ordering(name: str, data: st.DataObject) -> None:
    """Any point decodes to a canonical genome that can be built, and that survives the way there and back."""
    space = SPACES[name]
    width = len(space.domain().dimensions)
    point = data.draw(st.lists(st.floats(-0.5, 1.5), min_size=width, max_size=width))
    (genome,) = space.decode(np.array([point]))
    assert space.canonical(genome) == genome
    assert list(space.decode(space.encode([genome]))) == [genome]


def test_keys_and_fractions_mean_what_they_say() -> None:
    """The first species goes to the sites with the smallest keys, as many as the fraction says."""
    names = [dimension.name for dimension in RANGE.domain().dimensions]
    assert names[0] == "A: Li"
    assert names[1:] == [f"A.{site}" for site in range(1, 13)]
    assert [
        genome["A"].count("Li") for genome in RANGE.decode(np.array([[0.0] * 13, [0.49] * 13, [1.0] * 13]))
    ] == [
        3,
        6,
        12,
    ]


def test_charges_decide_compositions_where_states_are_given() -> None:
    """Lithium can leave as far as nickel can be oxidised; without states the host is not asked."""
    sites = {"A": ["Li", "vacancy"], "M": ["Ni"]}
    free = space_of(cell=[2, 1, 1], sites=sites)
    bound = space_of(cell=[2, 1, 1], sites=sites, oxidation_states={"Ni": [3, 4]})
    rigid = space_of(cell=[2, 1, 1], sites=sites, oxidation_states={"Ni": [3, 4]}, charge_neutral=False)
    diluted = space_of(
        cell=[2, 1, 1],
        sites={"A": ["Li", "vacancy"], "M": {"Ni": 0.5, "Al": 0.5}},
        oxidation_states={"Ni": [3, 4]},
    )
    lithium = [
        {genome["A"].count("Li") for genome in map(space.genome, range(len(space)))}
        for space in (free, bound, rigid, diluted)
    ]
    assert lithium == [set(range(7)), set(range(7)), set(range(7)), {3, 4, 5, 6}]


def test_structures_leave_vacancies_out() -> None:
    """Atoms sit on the parent's sites in their order, and vacant ones are not there."""
    genome = SMALL.genome(0)
    structure = crystal(SMALL, genome)
    assert structure.composition.formula == "Li6 Co12 O24"
    design = SMALL.build(genome)
    assert design.composition == structure.composition


def test_rattling_repeats_itself() -> None:
    """The same genome is displaced the same way; another one differently."""
    space = space_of(cell=[2, 2, 1], sites=HALF, rattle=0.05)
    first, second = (crystal(space, space.genome(0)) for _ in range(2))
    assert np.array_equal(first.frac_coords, second.frac_coords)
    still = crystal(SMALL, SMALL.genome(0))
    moves = (first.frac_coords - still.frac_coords) @ still.lattice.matrix
    assert 0.02 < np.abs(moves).mean() < 0.08


@each_space
def test_relaxed_structures_are_recognised(space: Any) -> None:
    """After strain and displacement, with or without knowing what it was made from."""
    for genome in some(space, 2)[:2]:
        structure = crystal(space, genome)
        structure.apply_strain([0.03, -0.02, 0.01])
        structure.perturb(0.08)
        assert space.adopt(structure, genome) == genome


def test_structures_are_recognised_in_other_cells() -> None:
    """Other vectors, another origin, another order of atoms."""
    from pymatgen.core import Structure

    genome = SMALL.genome(20 % len(SMALL))
    structure = crystal(SMALL, genome)
    other = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    moved = Structure(
        other @ structure.lattice.matrix,
        structure.species[::-1],
        structure.frac_coords[::-1] @ np.linalg.inv(other) + [0.1, 0.2, 0.3],
    )
    assert SMALL.adopt(moved, None) == genome
    repeated = structure.copy()
    repeated.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    assert SMALL.adopt(repeated, None) == genome


def test_strange_structures_are_not_adopted() -> None:
    """Another composition, another framework, an atom off its site."""
    structure = crystal(SMALL, SMALL.genome(0))
    other = structure.copy()
    other.replace_species({"Li": "Na"})
    assert SMALL.adopt(other, None) is None
    fewer = structure.copy()
    fewer.remove_sites([0])
    assert SMALL.adopt(fewer, SMALL.genome(0)) is None
    displaced = structure.copy()
    displaced.translate_sites([0], [0.0, 0.0, 0.08])
    assert SMALL.adopt(displaced, SMALL.genome(0)) is None


def test_all_sites_may_vary() -> None:
    """Where nothing is fixed, a crystal is recognised by all of its sites."""
    space = space_of(
        parent="rocksalt", cell=[1, 1, 2], sites={"M": {"Li": 0.5, "Mn": 0.5}, "X": {"O": 0.75, "F": 0.25}}
    )
    genome = some(space, 1)[0]
    assert space.adopt(crystal(space, genome), None) is not None


def test_correlations_fit_a_pair_hamiltonian() -> None:
    """Energies of pairs are linear in the correlations: a fit on some orderings predicts all others."""
    space = space_of(
        primitive=True,
        cell=[3, 2, 2],
        sites={"A": ["Li", "vacancy"]},
        clusters={"pairs": 6, "triplets": 0},
        electrostatics=False,
    )
    assert is_finite(space)
    genomes = [space.genome(index) for index in range(0, len(space), 3)]

    def energy(genome: Any) -> float:
        structure = crystal(space, genome)
        structure.remove_species(["Co", "O"])
        if not len(structure):
            return 0.0
        distances = structure.get_neighbor_list(3.2)[3]
        return 0.3 * len(structure) + float((1.0 / distances).sum())

    y = np.array([energy(genome) for genome in genomes])
    x = np.column_stack([np.ones(len(genomes)), space.features(genomes)])
    solution = np.linalg.lstsq(x[::2], y[::2], rcond=None)[0]
    assert x[1::2] @ solution == pytest.approx(y[1::2], abs=1e-6)


def test_functions_of_sites_are_orthogonal() -> None:
    """Random orderings have correlations near zero: features are centred and independent."""
    space = space_of(cell=[4, 4, 1], sites=HALF, electrostatics=False)
    genomes = [space.operators()["start"].apply((), rng_for(4, i, "x")) for i in range(200)]
    x = space.features([genome for genome in genomes if genome])
    assert np.abs(x.mean(axis=0)).max() < 0.05


def test_several_supercells_share_their_features() -> None:
    """The same crystal described by two supercells has the same correlations and electrostatic energy."""
    space = space_of(cells=[[2, 1, 1], [2, 2, 1]], sites={"A": {"Li": 0.5, "vacancy": 0.5}})
    small = ["Li" if place % 2 else "vacancy" for place in range(6)]
    structure = crystal(space, {"cell": 0, "A": small})
    structure.make_supercell([1, 2, 1])
    adopted = space.adopt(structure, {"cell": 1, "A": ["Li"] * 6 + ["vacancy"] * 6})
    assert adopted is not None
    assert adopted["cell"] == 1
    x = space.features([{"cell": 0, "A": small}, adopted])
    assert x[0] == pytest.approx(x[1], abs=1e-6)


def test_larger_spaces_are_not_listed() -> None:
    """Their size is known exactly all the same."""
    assert not is_finite(LARGE)
    size = LARGE.size()
    assert size is not None
    assert size > 10**10


@pytest.mark.parametrize(
    ("genome", "words"),
    [
        ({}, "must name the groups A; A is wrong"),
        ({"A": ["Li"] * 11}, "must be a list of 12 species"),
        ({"A": ["Li"] * 11 + ["Na"]}, "'Na' is no option of A"),
        ({"A": ["Li"] * 12}, "does not allow 12 Li on A, 0 vacancy on A"),
    ],
)
def test_malformed_genomes_are_refused(genome: dict[str, Any], words: str) -> None:
    """In words that say what a genome must be."""
    with pytest.raises(Infeasible, match=words):
        SMALL.build(genome)


def test_wrong_supercells_are_refused() -> None:
    """The number of a supercell is checked."""
    genome = some(MIXED, 1)[0]
    with pytest.raises(Infeasible, match="cell must be a number from 0 to 1, got 2"):
        MIXED.build({**genome, "cell": 2})


def test_energies_need_charges() -> None:
    """An element without a known charge is said so."""
    space = space_of(cell=[2, 2, 1], sites={"A": {"Li": 0.5, "Ar": 0.5}})
    assert "electrostatic" not in space.operators()
    with pytest.raises(InvdesignError, match="charge is not known"):
        space.ewald_energy([space.genome(0)])
