"""Substitution in prototypes and files."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from invdesign.candidate import Genome, genome_key, to_json
from invdesign.errors import Infeasible
from invdesign.protocols import SearchSpace, StructureSpace, VectorSpace, is_finite
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.spaces.substitution.space import SubstitutionSpace
from invdesign.structures.files import structure_to_json
from invdesign.structures.prototypes import find_prototype, list_prototype_names
from invdesign.testing import check_space

ANIONS = ["H", "F", "Cl", "Br", "I", "O", "S", "Se", "Te"]


def space(parent: str = "antiperovskite", *, folder: Path | None = None, **fields: Any) -> Any:
    """A space as a campaign file says it."""
    return load("spaces", {"kind": "substitution", "parent": parent, **fields}, folder=folder)


QUICKSTART = space(cell=[1, 1, 2], rattle=0.05, sites={"A": ["Li"], "B": ANIONS, "X": ANIONS})
ROCKSALT = space("rocksalt", scale_lattice=False, sites={"M": ["Li", "Mg"], "X": ["F", "O"]})
OLIVINE = space("olivine", sites={"A": ["Li", "Na"], "M": ["Fe", "Mn", "Al"]})
WHOLE = space(
    "argyrodite", primitive=True, sites={"X": ["Cl", "Br"], "S1": {"species": ["S", "O"], "mixed": False}}
)
LARGE = space("spinel", sites={"M": ["Mn", "Ni", "Co", "Al"], "A": ["Li", "Mg"]})
SPACES = {"quickstart": QUICKSTART, "rocksalt": ROCKSALT, "olivine": OLIVINE, "whole": WHOLE, "large": LARGE}
everywhere = pytest.mark.parametrize("one", SPACES.values(), ids=SPACES)


def drawn(one: Any, count: int = 20) -> list[dict[str, Any]]:
    """Genomes from the start operator."""
    found = [one.operators()["start"].apply((), rng_for(3, i, "test")) for i in range(count)]
    assert None not in found
    return found


@cache
def hopeless() -> Any:
    """A space in which even the ways to balance are too many to count."""
    metals = ["Mn", "Fe", "Co", "Ni", "Cr", "V"]
    return space("spinel", sites={"M": metals, "A": metals})


# The contract.


@everywhere
def test_it_keeps_the_contract(one: Any) -> None:
    """Operators, build, features, vectors, counting and adoption follow the rules for every plug-in."""
    check_space(one)


@everywhere
def test_what_it_claims_to_be_is_what_it_is(one: Any) -> None:
    """Every space takes vectors and structures; only one that can be counted through has a length."""
    assert isinstance(one, SearchSpace)
    assert isinstance(one, VectorSpace)
    assert isinstance(one, StructureSpace)
    assert is_finite(one) == (one is not LARGE)
    assert bool(one)


@everywhere
def test_it_survives_json_and_copies(one: Any) -> None:
    """A worker, a resumed run or a copy has an equal space of the same kind and fingerprint."""
    dump = json.loads(json.dumps(one.model_dump(mode="json")))
    assert dump["kind"] == "substitution"
    for again in (load("spaces", dump), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert type(again) is type(one)
        assert again.fingerprint == one.fingerprint
    assert one.genome(3) == load("spaces", dump).genome(3) if one is not LARGE else True


def test_the_order_in_which_sites_are_listed_does_not_matter() -> None:
    """Genomes and their numbers are the same, whatever order a JSON library gives the groups."""
    turned = space(cell=[1, 1, 2], rattle=0.05, sites={"X": ANIONS, "B": ANIONS, "A": ["Li"]})
    assert [turned.genome(i) for i in range(700)] == [QUICKSTART.genome(i) for i in range(700)]


def test_python_says_the_same_as_a_file() -> None:
    """The class takes lists where a file has them."""
    made = SubstitutionSpace(parent="olivine", cell=(1, 1, 1), sites={"M": ["Fe", "Mn"]})  # type: ignore[dict-item]
    assert made == space("olivine", sites={"M": ["Fe", "Mn"]})
    assert is_finite(made)


def test_the_schema_offers_the_short_form() -> None:
    """Editors accept a list of elements as well as the long form."""
    schema = SubstitutionSpace.model_json_schema()
    options = schema["properties"]["sites"]["additionalProperties"]
    forms = schema["$defs"]["SiteOptions"]["anyOf"] if "$ref" in options else options["anyOf"]
    assert {form.get("type") for form in forms} >= {"array"}


# Counting.


def test_the_quickstart_holds_seven_hundred() -> None:
    """150 with both chalcogens on B, 150 with both on X, 400 with one on each: by hand."""
    assert QUICKSTART.size() == len(QUICKSTART) == 10 * 15 + 15 * 10 + 20 * 20 == 700


@pytest.mark.parametrize(
    ("parent", "cell", "sites", "size"),
    [
        ("antiperovskite", [1, 1, 1], {"X": ["Cl", "Br", "I"]}, 3),
        ("antiperovskite", [1, 1, 3], {"X": ["Cl", "Br"]}, 4),  # necklaces of three beads: 0, 1, 2, 3 Br
        ("antiperovskite", [1, 1, 6], {"X": ["Cl", "Br"]}, 13),  # bracelets of six beads in two colours
        ("antiperovskite", [2, 2, 2], {"X": ["Cl", "Br"]}, 22),  # corners of a cube
        ("rocksalt", [1, 1, 1], {"X": ["Cl", "Br"]}, 5),  # four equivalent corners of a tetrahedron
        ("perovskite", [1, 1, 1], {"X": {"species": ["O", "S"], "mixed": False}}, 2),
    ],
)
def test_known_counts(parent: str, cell: list[int], sites: dict[str, Any], size: int) -> None:
    """Small cases whose number of distinct decorations is known."""
    one = space(parent, cell=cell, sites=sites)
    assert one.size() == size
    assert len({genome_key(one.genome(i)) for i in range(size)}) == size


PARENTS = {
    "antiperovskite": {"A": ["Li", "Na", "Mg"], "B": ["O", "S", "F"], "X": ["Cl", "F", "O"]},
    "rocksalt": {"M": ["Li", "Mn", "Mg"], "X": ["O", "F", "N"]},
    "spinel": {"A": ["Li", "Mg"], "M": ["Mn", "Al", "Ti"]},
    "lithium_nitride": {"A1": ["Li", "Co", "Na"], "A2": ["Li", "Cu", "Mg"], "X": ["N", "O", "P"]},
    "layered": {"A": ["Li", "Na", "Mg"], "M": ["Co", "Ni", "Mn"], "X": ["O", "S"]},
    "olivine": {"A": ["Li", "Mg"], "M": ["Fe", "Al"]},
}


@st.composite
def small_spaces(draw: st.DrawFn) -> Any:
    """Any parent, any options, whole groups or single sites, with or without charges."""
    parent = draw(st.sampled_from(sorted(PARENTS)))
    names = draw(st.lists(st.sampled_from(sorted(PARENTS[parent])), min_size=1, max_size=2, unique=True))
    sites = {}
    for name in names:
        options = st.lists(st.sampled_from(PARENTS[parent][name]), min_size=2, max_size=3, unique=True)
        sites[name] = {"species": draw(options), "mixed": draw(st.booleans())}
    cell = [1, 1, draw(st.integers(1, 2 if parent in {"antiperovskite", "lithium_nitride"} else 1))]
    primitive = parent in {"spinel", "layered"}
    fields = {"cell": cell, "primitive": primitive, "charge_neutral": draw(st.booleans()), "sites": sites}
    try:
        return space(parent, **fields)
    except ValidationError:
        return space(parent, **{**fields, "charge_neutral": False})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_spaces())
def test_burnside_agrees_with_going_through_all_decorations(one: Any) -> None:
    """The count by cycle types, the list, and the plain set of canonical neutral genomes are one."""
    decorations = one._decorations
    if decorations.fills > 3000:
        assert one.size() == len(decorations.packed_decorations)
        return
    found = set()
    for codes in product(*(range(radix) for radix in decorations.radices)):
        images = {tuple(np.asarray(codes)[row].tolist()) for row in decorations.permutations}
        if decorations.find_imbalance(np.asarray(codes)) == 0:
            found.add(min(images))
    assert one.size() == len(found) == len(decorations.packed_decorations)
    assert [tuple(row) for row in decorations.unpack(decorations.packed_decorations).tolist()] == sorted(
        found
    )


@pytest.mark.parametrize("one", [ROCKSALT, space("antiperovskite", cell=[1, 2, 2], sites={"X": ["Cl", "F"]})])
def test_distinct_genomes_are_distinct_crystals(one: Any) -> None:
    """By pymatgen's matcher, which knows nothing of our permutations: no two are equal, none is missing."""
    matcher = StructureMatcher(primitive_cell=False, scale=False)
    listed = [one.build(one.genome(i)).structures["initial"] for i in range(len(one))]
    assert not any(matcher.fit(a, b) for a, b in combinations(listed, 2))
    rng = rng_for(0, 0, "fills")
    for _ in range(20):
        codes = np.asarray([int(rng.random() * radix) for radix in one._decorations.radices])
        if one._decorations.find_imbalance(codes) == 0:
            genome = one._write_genome(codes)
            crystal = one.build(genome).structures["initial"]
            same = [i for i, other in enumerate(listed) if matcher.fit(crystal, other)]
            assert [one.genome(i) for i in same] == [one.canonical(genome)]


def _cycles(row: list[int]) -> int:
    """Number of cycles, by following each site to the smallest of its orbit."""
    smallest = []
    for start in range(len(row)):
        orbit, site = [start], row[start]
        while site != start:
            orbit.append(site)
            site = row[site]
        smallest.append(min(orbit))
    return len(set(smallest))


def test_huge_spaces_are_counted_without_being_listed() -> None:
    """The count stays exact where a list would be hopeless."""
    one = space(cell=[2, 2, 2], sites={"B": ["O", "S", "Se"], "X": ["Cl", "Br", "I"]})
    group = one._decorations.permutations
    assert len(group) == 8 * 48
    # All fillings balance here, so Burnside's lemma needs the number of cycles alone.
    assert one.size() * len(group) == sum(3 ** _cycles(row) for row in group.tolist())
    assert not is_finite(one)
    larger = space(cell=[3, 3, 3], sites={"B": ["O", "S"], "X": ["Cl", "Br"]})
    assert 2**54 / (27 * 48) < larger.size() < 1.001 * 2**54 / (27 * 48)


def test_a_count_that_takes_too_long_is_given_up() -> None:
    """Several mixed-valent elements on many sites: None, and the space can still be searched."""
    one = hopeless()
    assert one.size() is None
    for genome in drawn(one, 3):
        assert one._decorations.find_imbalance(one._parse_genome(genome)) == 0


# Charges.


@everywhere
def test_all_genomes_are_neutral(one: Any) -> None:
    """Operators and decoding never leave the space, whatever they start from."""
    operators = one.operators()
    pool = drawn(one)
    for i in range(60):
        for operator in operators.values():
            parents = [pool[(i + 7 * k) % len(pool)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(1, i, "child"))
            if child is not None:
                assert one._decorations.find_imbalance(one._parse_genome(child)) == 0
                assert child == one.canonical(child)
                assert child not in parents
                pool.append(child)
    points = rng_for(0, 0, "points").random((50, len(one.domain().dimensions)))
    for genome in one.decode(points):
        assert one._decorations.find_imbalance(one._parse_genome(genome)) == 0
        assert genome == one.canonical(genome)


def test_hydrogen_is_an_anion_where_the_parent_has_one() -> None:
    """H takes the sign of the site, and counts apart where it is on both kinds of site."""
    one = space(sites={"A": ["Li", "H"], "X": ["Cl", "H"]})
    assert {"A": ["H", "Li", "Li"], "X": ["H"]} in [
        {**one.genome(i), "A": sorted(one.genome(i)["A"])} for i in range(len(one))
    ]
    assert one.build({"A": ["H", "H", "H"], "X": ["H"]}).composition.reduced_formula == "H4O"


def test_sites_that_are_not_named_keep_their_charge_unless_they_are_redox_active() -> None:
    """Phosphorus stays 5+, so one F for an O needs iron to give; iron in the framework may change its charge."""
    mixed = space("olivine", sites={"X1": ["O", "F"]})
    found = [mixed.genome(i)["X1"].count("F") for i in range(len(mixed))]
    assert set(found) == {0}  # Fe2+ could not become Fe1+
    delithiated = space("olivine", sites={"A": ["Li", "Mg"], "M": ["Fe", "Mn"]}, oxidation_states={"Fe": [2]})
    assert all(set(delithiated.genome(i)["A"]) == {"Li"} for i in range(len(delithiated)))
    layered = space("layered", sites={"A": ["Li", "Mg"]})  # cobalt 2+ beside 3+
    assert any("Mg" in layered.genome(i)["A"] for i in range(len(layered)))


def test_given_oxidation_states_decide() -> None:
    """The long form overrides the common states; here copper 3+ makes what common states do not allow."""
    with pytest.raises(ValidationError, match="no charge-neutral decoration"):
        space("layered", sites={"M": ["Cu", "Zn"]})
    one = space("layered", sites={"M": {"species": ["Cu", "Zn"], "oxidation_states": {"Cu": [3]}}})
    assert [one.genome(i) for i in range(len(one))] == [{"M": ["Cu", "Cu", "Cu"]}]


def test_charges_can_be_left_out() -> None:
    """`charge_neutral: false` lets everything in."""
    one = space(cell=[1, 1, 2], charge_neutral=False, sites={"B": ["O", "F"], "X": ["Cl", "Se"]})
    assert len(one) == 9
    assert one.build({"B": ["F", "F"], "X": ["Se", "Se"]}).composition.reduced_formula == "Li3SeF"
    metal = space("rocksalt", charge_neutral=False, sites={"X": ["Cl", "Li"]})
    assert len(metal) == 5


def test_mixed_valence_is_allowed_for_one_element() -> None:
    """Manganese in LiMn2O4 is 3+ and 4+ at once."""
    one = space("spinel", primitive=True, sites={"A": ["Li", "Mg"]})
    assert sorted("".join(one.genome(i)["A"]) for i in range(len(one))) == ["LiLi", "LiMg", "MgMg"]


# Building.


def test_a_build_is_a_pure_function_of_the_genome() -> None:
    """Same genome, same structure to the last digit; another genome is displaced otherwise."""
    first, second = QUICKSTART.genome(5), QUICKSTART.genome(6)
    again = space(cell=[1, 1, 2], rattle=0.05, sites={"A": ["Li"], "B": ANIONS, "X": ANIONS})
    texts = [structure_to_json(one.build(first).structures["initial"]) for one in (QUICKSTART, again)]
    assert texts[0] == texts[1]
    moves = [_moves(QUICKSTART.build(genome).structures["initial"]) for genome in (first, second)]
    assert not np.allclose(*moves)


def _moves(structure: Structure) -> Any:
    parent = QUICKSTART._parent
    moves = structure.frac_coords - parent.positions
    return (moves - np.round(moves)) @ structure.lattice.matrix


def test_rattling_has_the_size_asked_for_and_no_drift() -> None:
    """The displacements' standard deviation is `rattle`, their mean is zero."""
    moves = np.array(
        [_moves(QUICKSTART.build(QUICKSTART.genome(i)).structures["initial"]) for i in range(60)]
    )
    assert moves.std() == pytest.approx(0.05, rel=0.1)
    assert np.abs(moves.mean(axis=1)).max() < 1e-12
    still = space(cell=[1, 1, 2], sites={"X": ["Cl", "Br"]})
    assert np.abs(_moves(still.build(still.genome(0)).structures["initial"])).max() < 1e-12


def test_structures_are_plain() -> None:
    """Elements without charges, no site properties: what storage by lattice, species and positions keeps."""
    design = QUICKSTART.build(QUICKSTART.genome(0))
    structure = design.structures["initial"]
    assert set(structure.site_properties) == set()
    assert {type(site.specie).__name__ for site in structure} == {"Element"}
    assert design.composition == structure.composition
    assert dict(design.parameters) == {}


def test_sites_stay_in_the_order_of_the_parent() -> None:
    """The genome's lists follow the supercell's sites."""
    genome = OLIVINE.genome(7)
    structure = OLIVINE.build(genome).structures["initial"]
    symbols = [site.specie.symbol for site in structure]
    assert symbols[:4] == genome["A"]
    assert symbols[4:8] == genome["M"]


@pytest.mark.parametrize("name", list_prototype_names())
def test_the_parent_itself_comes_out_as_published(name: str) -> None:
    """With its own elements everywhere, lattice and positions are the prototype's, mixed valence or not."""
    other = {"Li": "Na", "Na": "Li", "Mn": "Ti", "O": "S", "Cl": "Br", "Fe": "Mn", "V": "Ti"}
    published = find_prototype(name).build_structure()
    for site in find_prototype(name).sites:
        if site.element in other:
            neutral = name != "LiC6"  # six carbon atoms share one electron
            one = space(name, sites={site.label: [site.element, other[site.element]]}, charge_neutral=neutral)
            built = one.build({site.label: [site.element] * int(site.wyckoff[:-1])}).structures["initial"]
            assert np.allclose(built.lattice.matrix, published.lattice.matrix)
            assert np.allclose(built.frac_coords, published.frac_coords)
            assert built.species == published.species


@pytest.mark.parametrize(
    ("parent", "sites", "genome", "a", "known"),
    [
        ("rocksalt", {"M": ["Li", "Na"], "X": ["Cl", "F"]}, {"M": ["Na"] * 4, "X": ["Cl"] * 4}, 0, 5.64),
        ("rocksalt", {"M": ["Li", "Na"], "X": ["Cl", "F"]}, {"M": ["Li"] * 4, "X": ["F"] * 4}, 0, 4.03),
        ("antifluorite", {"X": ["O", "S"]}, {"X": ["S"] * 4}, 0, 5.71),
        ("antiperovskite", {"X": ["Cl", "Br"]}, {"X": ["Br"]}, 0, 4.05),
        ("olivine", {"M": ["Fe", "Mn"]}, {"M": ["Mn"] * 4}, 0, 10.45),
    ],
)
def test_the_lattice_follows_the_ions(
    parent: str, sites: dict[str, Any], genome: Genome, a: int, known: float
) -> None:
    """Lattice constants by radii come within 4 % of those measured (NaCl, LiF, Li2S, Li3OBr, LiMnPO4)."""
    scaled = space(parent, sites=sites).build(genome).structures["initial"].lattice.abc[a]
    fixed = space(parent, sites=sites, scale_lattice=False).build(genome).structures["initial"].lattice.abc[a]
    assert scaled == pytest.approx(known, rel=0.04)
    assert abs(scaled - known) < abs(fixed - known)


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ({"B": ["O", "O"]}, "must name the groups B, X; X is wrong"),
        ({"B": ["O", "O"], "X": ["Cl", "Cl"], "C": ["O"]}, "C is wrong"),
        ({"B": ["O"], "X": ["Cl", "Cl"]}, "group B must be a list of 2 species, got"),
        ({"B": "O", "X": ["Cl", "Cl"]}, "group B must be a list of 2 species, got 'O'"),
        ({"B": ["O", "Na"], "X": ["Cl", "Cl"]}, "'Na' is no option of B"),
        ({"B": ["O", 8], "X": ["Cl", "Cl"]}, "8 is no option of B"),
        ({"B": ["Cl", "Cl"], "X": ["Cl", "Cl"]}, "charges do not balance: 2 elementary charges"),
    ],
)
def test_a_wrong_genome_is_infeasible(genome: Genome, message: str) -> None:
    """The refusal says what is wrong with it."""
    with pytest.raises(Infeasible, match=message):
        QUICKSTART.build(genome)


def test_a_group_that_is_not_mixed_takes_one_name() -> None:
    """Its genome is a name, not a list."""
    assert WHOLE.genome(0)["S1"] in {"S", "O"}
    with pytest.raises(Infeasible, match="group S1 must be one species, got"):
        WHOLE.build({"S1": ["S", "S"], "X": ["Cl"]})


def test_overlapping_atoms_are_infeasible() -> None:
    """A rattle far beyond sense is refused atom by atom, not handed to a potential."""
    one = space("antiperovskite", rattle=0.5, cell=[2, 2, 2], sites={"X": ["Cl", "Br"]})
    refusals = []
    for genome in drawn(one, 20):
        try:
            distances = one.build(genome).structures["initial"].get_neighbor_list(0.5)[3]
        except Infeasible as error:
            refusals.append(str(error))
        else:
            assert len(distances) == 0
    assert 0 < len(refusals) < 20
    assert all("Å apart" in text for text in refusals)


# Vectors and features.


def test_the_domain_names_sites_and_options() -> None:
    """One categorical dimension per site, or per group that is not mixed."""
    assert [d.name for d in QUICKSTART.domain().dimensions] == ["B.1", "B.2", "X.1", "X.2"]
    assert QUICKSTART.domain().dimensions[0].choices == tuple(ANIONS)
    assert [(d.name, d.kind, d.choices) for d in WHOLE.domain().dimensions] == [
        ("S1", "categorical", ("S", "O")),
        ("X.1", "categorical", ("Cl", "Br")),
    ]


@everywhere
def test_decoding_inverts_encoding(one: Any) -> None:
    """Also for points anywhere in a genome's cell, and for none at all."""
    genomes = drawn(one)
    x = one.encode(genomes)
    assert one.decode(x) == genomes
    widths = np.array([len(d.choices) for d in one.domain().dimensions])
    shift = rng_for(0, 0, "shift").uniform(-0.49, 0.49, size=x.shape) / widths
    assert one.decode(x + shift) == genomes
    assert one.encode([]).shape == (0, x.shape[1])
    assert one.decode(np.empty((0, x.shape[1]))) == []


def test_decoding_repairs_with_the_smallest_change() -> None:
    """Of the species that balance the charge, those nearest to the point are taken; the corners decode too."""
    one = space(cell=[1, 1, 2], sites={"B": ["O", "S"], "X": ["F", "Cl", "Se"]})
    (genome,) = one.decode(np.array([[0.1, 0.1, 0.5, 0.67]]))
    assert genome == {"B": ["O", "O"], "X": ["Cl", "Cl"]}
    assert len(one.decode(np.array([[0.0] * 4, [1.0] * 4, [2.0] * 4, [-1.0] * 4]))) == 4


def test_points_of_a_space_too_large_to_count_decode_apart() -> None:
    """Where even the ways to balance are too many, points give different, neutral, canonical genomes."""
    one = hopeless()
    assert one.size() is None
    assert one._decorations._completions is None
    genomes = one.decode(rng_for(0, 0, "big").random((40, len(one.domain().dimensions))))
    assert len({to_json(genome) for genome in genomes}) == 40
    assert one.decode(one.encode(genomes)) == genomes
    for genome in genomes:
        assert one._decorations.find_imbalance(one._parse_genome(genome)) == 0
        assert genome == one.canonical(genome)


@pytest.mark.parametrize("make", [lambda: LARGE, hopeless], ids=["counted", "uncounted"])
def test_decoding_keeps_most_of_a_point(make: Any) -> None:
    """A repair changes no more sites than the charge that is left over asks for, before symmetry is applied."""
    decorations = make()._decorations
    radices = np.asarray(decorations.radices)
    for point in rng_for(0, 0, "near").random((30, len(radices))):
        codes = np.minimum((point * radices).astype(np.int64), radices - 1)
        cost = np.abs((np.arange(radices.max()) + 0.5) / radices[:, None] - point[:, None])
        repaired = decorations.balance_charges(codes, cost)
        assert repaired is not None
        assert (repaired != codes).sum() <= decorations.find_imbalance(codes)


def test_one_point_moved_along_one_axis_changes_one_group_at_a_time() -> None:
    """Without charges and symmetry in the way, the cube's axes are the sites."""
    one = space(
        "argyrodite", primitive=True, charge_neutral=False, sites={"X": ["Cl", "Br", "I"], "S2": ["S", "Se"]}
    )
    point = np.array([[0.1, 0.1], [0.1, 0.5], [0.1, 0.9], [0.9, 0.9]])
    assert [(genome["S2"], genome["X"]) for genome in one.decode(point)] == [
        (["S"], ["Cl"]),
        (["S"], ["Br"]),
        (["S"], ["I"]),
        (["Se"], ["I"]),
    ]


@everywhere
def test_features_are_the_same_for_symmetric_images(one: Any) -> None:
    """They describe the crystal, not the numbering of its sites."""
    codes = one._decorations.to_canonical(one._parse_genome(drawn(one, 1)[0]))
    images = codes[one._decorations.permutations]
    features = one._geometry.features(images)
    assert np.allclose(features, features[0])
    assert np.isfinite(features).all()


def test_features_tell_compositions_and_orders_apart() -> None:
    """All 700 differ; so do two orders of one composition, by how unlike neighbours are."""
    features = QUICKSTART.features([QUICKSTART.genome(i) for i in range(700)])
    assert len(np.unique(features.round(9), axis=0)) == 700
    chain = space(cell=[1, 1, 4], sites={"X": ["Cl", "Br"]})
    together, apart = {"X": ["Cl", "Cl", "Br", "Br"]}, {"X": ["Cl", "Br", "Cl", "Br"]}
    a, b = chain.features([together, apart])
    assert not np.allclose(a, b)
    assert np.allclose(a[:10], b[:10])


def test_blocks_are_the_features_of_the_genomes() -> None:
    """Streamed in order, each row that of its genome."""
    blocks = list(OLIVINE.blocks(64))
    assert [start for start, _ in blocks] == list(range(0, len(OLIVINE), 64))
    whole = np.vstack([rows for _, rows in blocks])
    assert np.allclose(whole, OLIVINE.features([OLIVINE.genome(i) for i in range(len(OLIVINE))]))
    with pytest.raises(IndexError, match="genome 700 of a space of 700"):
        QUICKSTART.genome(700)


# Operators.


def test_start_draws_every_decoration_equally_often() -> None:
    """Symmetric images do not make a decoration likelier."""
    one = space(cell=[1, 1, 4], sites={"X": ["Cl", "Br"]})
    assert len(one) == 6
    counts = Counter(to_json(genome) for genome in drawn(one, 1200))
    assert len(counts) == 6
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 20.5  # chi squared, 5 degrees, 0.1 %


def test_start_of_an_uncounted_space_is_uniform_over_fills() -> None:
    """Each site sees each of its species, in the proportion of the balanced fills."""
    genomes = drawn(LARGE, 200)
    lithium = np.mean([genome["A"].count("Li") for genome in genomes])
    assert len({genome_key(genome) for genome in genomes}) == 200
    assert 2 < lithium < 6


@pytest.mark.parametrize("name", ["substitute", "swap"])
def test_a_mutation_changes_little(name: str) -> None:
    """One exchange, or one substitution with what its charge asks for elsewhere."""
    for i, parent in enumerate(drawn(LARGE)):
        child = LARGE.operators()[name].apply([parent], rng_for(5, i, name))
        assert child is not None
        counts = [Counter(species for group in g.values() for species in group) for g in (parent, child)]
        moved = (counts[0] - counts[1]).total()
        assert moved == 0 if name == "swap" else 1 <= moved <= 4


def test_a_crossover_of_equals_gives_nothing_new_and_says_so() -> None:
    """None instead of a copy."""
    symmetric = {"B": ["O", "O"], "X": ["Cl", "Cl"]}
    assert QUICKSTART.operators()["crossover"].apply([symmetric, symmetric], rng_for(0, 0, "x")) is None
    alone = space("layered", sites={"M": {"species": ["Cu", "Zn"], "oxidation_states": {"Cu": [3]}}})
    (only,) = [alone.genome(i) for i in range(len(alone))]
    assert alone.operators()["substitute"].apply([only], rng_for(0, 0, "x")) is None
    assert alone.operators()["swap"].apply([only], rng_for(0, 0, "x")) is None


def test_a_child_has_species_of_its_parents() -> None:
    """Where both parents are balanced alike, crossover invents nothing."""
    mother, father = {"B": ["O", "O"], "X": ["Cl", "Cl"]}, {"B": ["S", "S"], "X": ["I", "I"]}
    for i in range(30):
        child = QUICKSTART.operators()["crossover"].apply([mother, father], rng_for(0, i, "x"))
        assert child is not None
        assert set(child["B"]) <= {"O", "S"}
        assert set(child["X"]) <= {"Cl", "I"}


def test_operators_and_points_reach_the_whole_space() -> None:
    """From one genome, mutations alone reach all 700."""
    reached = {to_json(QUICKSTART.genome(0)): QUICKSTART.genome(0)}
    operators = [QUICKSTART.operators()[name] for name in ("substitute", "swap")]
    for i in range(12_000):
        if len(reached) == 700:
            break
        parents = list(reached.values())
        child = operators[i % 2].apply([parents[i % len(parents)]], rng_for(0, i, "walk"))
        if child is not None:
            reached[to_json(child)] = child
    assert len(reached) == 700
