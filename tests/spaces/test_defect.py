"""Defects in a host: symmetric images are one, counts are exact, complexes stay together, and distortions are local."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.candidate import genome_key, to_json
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import ReferencedSpace, is_finite
from invdesign.rng import rng_for
from invdesign.settings import load


def space_of(**fields: Any) -> Any:
    """A space of defects as a campaign would make it."""
    return load("spaces", {"kind": "defect", "parent": "lithium_phosphate", **fields})


NITROGEN = {"N on O": 2, "vacancy O": 1}
PHOSPHATE = space_of(cell=[2, 2, 1], defects=NITROGEN)
COMPLEX = space_of(cell=[2, 2, 1], defects=NITROGEN, within=4.0)
FRENKEL = space_of(defects={"vacancy Li": {"max": 2}, "interstitial Li": {"max": 2}}, within=6.0)
PLAIN = space_of(
    parent="rocksalt",
    cell=[2, 1, 1],
    defects={"vacancy M": {"max": 2}, "vacancy X": {"max": 2}},
    distort=False,
)
SPACES = {"phosphate": PHOSPHATE, "complex": COMPLEX, "frenkel": FRENKEL, "plain": PLAIN}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())


def some(space: Any, count: int = 8) -> list[dict[str, Any]]:
    """Genomes of all operators."""
    made: list[dict[str, Any]] = []
    for name, operator in sorted(space.operators().items(), key=lambda item: item[1].arity):
        for number in range(count):
            parents = [made[(number + k) % len(made)] for k in range(operator.arity)]
            child = operator.apply(parents, rng_for(0, number, name))
            made += [] if child is None else [dict(child)]
    return made


def crystal(space: Any, genome: Any) -> Any:
    """The structure of a genome."""
    return space.build(genome).structures["initial"]


def defect_sites(genome: Any) -> list[int]:
    return [site for name, sites in genome.items() if name != "distortion" for site in sites]


def test_distinct_arrangements_are_those_of_structure_matching() -> None:
    """An independent comparison of all placements in a small cell finds as many distinct crystals."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    space = space_of(defects={"N on O": 1, "vacancy Li": 1}, charge_neutral=False, distort=False)
    assert is_finite(space)
    built = [
        crystal(space, {"N on O": [o], "vacancy Li": [li]})
        for o, li in itertools.product(range(8, 16), range(6))
    ]
    matcher = StructureMatcher(
        primitive_cell=False, attempt_supercell=False, ltol=0.01, stol=0.02, angle_tol=0.1
    )
    assert len(matcher.group_structures(built)) == len(space)


def test_a_complex_is_counted_exactly() -> None:
    """The arrangements within a distance are those of all arrangements that keep to it."""
    free = space_of(cell=[2, 1, 1], defects=NITROGEN, distort=False)
    near = space_of(cell=[2, 1, 1], defects=NITROGEN, distort=False, within=4.0)
    host = free.build(free.genome(0)).structures["host"]
    kept = {
        genome_key(genome)
        for genome in (free.genome(k) for k in range(len(free)))
        if all(host.get_distance(a, b) <= 4.0 for a, b in itertools.combinations(defect_sites(genome), 2))
    }
    assert {genome_key(near.genome(k)) for k in range(len(near))} == kept
    assert COMPLEX.count_arrangements() == 33
    assert COMPLEX.size() is None  # distortions are numbers


@each_space
def test_images_by_symmetry_are_one_genome(space: Any) -> None:
    """An operation of the host's space group, applied to the sites, leaves genome and structure what they are."""
    orderings = space._cell.ordered.orderings
    for genome in some(space, 4):
        codes, _ = space._parse_genome(genome)
        for row in orderings.permutations[:: max(len(orderings.permutations) // 5, 1)]:
            image = {**genome, **space._cell.write_sites(codes[row])}
            assert genome_key(space.canonical(image)) == genome_key(space.canonical(genome))
            built, wanted = crystal(space, image), crystal(space, genome)
            assert built.species == wanted.species
            assert np.array_equal(built.frac_coords, wanted.frac_coords)


@each_space
def test_every_way_to_a_genome_keeps_numbers_and_distances(space: Any) -> None:
    """Operators, decoding and adoption give balanced, canonical genomes of the space."""
    rng = rng_for(0, 0, "points")
    decoded = space.decode(rng.random((20, len(space.domain().dimensions))))
    made = [*some(space), *decoded]
    adopted = [space.adopt(crystal(space, genome), genome) for genome in made[:10]]
    for genome in [*made, *(genome for genome in adopted if genome is not None)]:
        assert to_json(space.canonical(genome)) == to_json(genome)
        codes, _ = space._parse_genome(genome)
        assert space._cell.keeps_rule(codes)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_relaxed_structures_are_adopted(seed: int) -> None:
    """Atoms that moved by tenths of an ångström, together or alone, still show where the defects are."""
    rng = rng_for(0, seed, "adopt")
    genome = COMPLEX.operators()["start"].apply((), rng)
    structure = crystal(COMPLEX, {**genome, "distortion": {"bond": 0.0, "toward": 0.0, "pair": 0, "seed": 0}})
    for site, kick in enumerate(rng.normal(scale=0.1, size=(len(structure), 3))):
        structure.translate_sites([site], kick, frac_coords=False)
    structure.translate_sites(list(range(len(structure))), [0.02, -0.01, 0.03])
    assert to_json(COMPLEX.adopt(structure, genome)) == to_json(genome)


def test_foreign_structures_are_not_adopted() -> None:
    structure = crystal(PHOSPHATE, some(PHOSPHATE, 1)[0])
    assert COMPLEX.adopt(COMPLEX.build(some(COMPLEX, 1)[0]).structures["host"], None) is None
    structure.replace(0, "Na")
    assert PHOSPHATE.adopt(structure, None) is None
    lacking = COMPLEX.build(some(COMPLEX, 1)[0]).structures["host"].copy()
    lacking.remove_sites([32])
    substituted = space_of(cell=[2, 2, 1], defects={"N on O": 1}, charge_neutral=False)
    assert substituted.adopt(lacking, None) is None


def test_a_facing_start_is_a_bridge_between_two_polyanions() -> None:
    """The atom ends at bond length from both centres, whose groups keep their bonds."""
    for number in range(6):
        genome = dict(PHOSPHATE.operators()["facing"].apply((), rng_for(0, number, "facing")))
        assert genome["distortion"]["toward"] >= 0.8
        genome["distortion"] = {**genome["distortion"], "toward": 1.0, "bond": 0.0, "seed": 0}
        structure = crystal(PHOSPHATE, genome)
        phosphorus = [k for k, site in enumerate(structure) if site.specie.symbol == "P"]
        bridges = [
            bonds
            for k, site in enumerate(structure)
            if site.specie.symbol == "N"
            for bonds in [sorted(structure.get_distance(k, p) for p in phosphorus)]
            if bonds[1] < 2.0
        ]
        assert len(bridges) == 1
        assert to_json(PHOSPHATE.adopt(structure, genome)) == to_json(genome)
        assert bridges[0][0] == pytest.approx(bridges[0][1], abs=0.15)
        anions = [k for k, site in enumerate(structure) if site.specie.symbol in {"O", "N"}]
        for p in phosphorus:
            assert sum(structure.get_distance(p, k) < 1.9 for k in anions) == 4


def test_a_split_vacancy_where_atoms_belong_to_no_centre() -> None:
    """In rock salt an atom beside a vacancy goes halfway to it."""
    space = space_of(parent="rocksalt", cell=[2, 2, 2], defects={"Mg on M": 1, "vacancy M": 1})
    genome = dict(space.operators()["facing"].apply((), rng_for(0, 1, "facing")))
    genome["distortion"] = {**genome["distortion"], "toward": 1.0, "bond": 0.0, "seed": 0}
    design = space.build(genome)
    structure, host = design.structures["initial"], design.structures["host"]
    magnesium = next(site for site in structure if site.specie.symbol == "Mg")
    sites = [host[genome[name][0]] for name in ("Mg on M", "vacancy M")]
    ways = [site.distance(magnesium) for site in sites]
    assert ways[0] == pytest.approx(ways[1], abs=1e-3)
    assert ways[0] == pytest.approx(sites[0].distance(sites[1]) / 2, abs=1e-3)


def test_bonds_are_stretched_at_the_defect_alone() -> None:
    """Far atoms stay where they are, and without a distortion all do."""
    genome = {**some(COMPLEX, 1)[0], "distortion": {"bond": 0.2, "toward": 0.0, "pair": 0, "seed": 0}}
    plain = crystal(COMPLEX, {**genome, "distortion": {"bond": 0.0, "toward": 0.0, "pair": 0, "seed": 0}})
    host = COMPLEX.build(genome).structures["host"]
    assert all(min(site.distance(other) for other in host) < 1e-6 for site in plain)
    moved = crystal(COMPLEX, genome)
    moves = np.array([a.distance(b) for a, b in zip(plain, moved, strict=True)])
    centres = [host[site] for site in defect_sites(COMPLEX.canonical(genome))]
    near = np.array([min(site.distance(centre) for centre in centres) for site in plain])
    assert 1 <= (moves > 0.05).sum() <= 4
    assert near[moves > 0.05].max() < 2.5


def test_designs_hold_the_host_and_labels_of_sites() -> None:
    genome = some(PHOSPHATE, 1)[0]
    design = PHOSPHATE.build(genome)
    assert isinstance(PHOSPHATE, ReferencedSpace)
    assert list(design.structures) == [*PHOSPHATE.reference_structures, "initial"]
    host, initial = design.structures.values()
    assert set(host.site_properties["side"]) == {"host"}
    foreign = [site for site in initial if site.properties["native"] != site.specie.symbol]
    assert [site.specie.symbol for site in foreign] == ["N", "N"]
    assert all(site.properties["side"] == "defect" for site in foreign)
    assert len(initial) == len(host) - 1


def test_interstitials_stand_in_voids() -> None:
    genome = next(g for g in some(FRENKEL) if g["interstitial Li"])
    structure = crystal(FRENKEL, genome)
    voids = [site for site in structure if site.properties["native"] == ""]
    assert len(voids) == len(genome["interstitial Li"])
    assert {site.specie.symbol for site in voids} == {"Li"}


REFUSALS = {
    "unbalanced": (
        {"defects": {"N on O": 2}},
        r"leave -2 in the cell.*'vacancy O: 1' or 'interstitial Li: 2'",
    ),
    "charge": ({"defects": NITROGEN, "charge": 1}, "no machine-learned potential here knows charge"),
    "unknown kinds, all at once": (
        {"defects": {"Q on O": 1, "hole": 2, "vacancy O": 1}},
        r"'Q' is not an element symbol.*'hole' is no defect; write 'N on O', 'vacancy O' or 'interstitial Li'",
    ),
    "no such site": ({"defects": {"N on B": 1}}, "no site 'B'.*elements: Li, P, O"),
    "no defect": ({"defects": {"O on O": 1}}, "'O on O' is no defect: the host has O there"),
    "no number": ({"defects": {"vacancy O": "two"}}, r"expected a number of defects \(2\) or bounds"),
    "none": ({"defects": {"vacancy O": 0}}, "1 or more, got 0"),
    "bounds": ({"defects": {"vacancy O": {"min": 3, "max": 2}}}, "min is above max: 3 and 2"),
    "too many": ({"defects": {"vacancy O": 40, "N on O": 80}}, "do not fit on the 8 sites 'O'"),
    "too near": (
        {"defects": {"vacancy Li": 1, "interstitial Li": 1}, "within": 0.5},
        "no arrangement of 1 vacancy Li, 1 interstitial Li within 0.5 Å of one another; raise 'within'",
    ),
    "no void": (
        {"defects": {"vacancy Li": 1, "interstitial Li": 1}, "voids": {"room": 3.5}},
        "no void with 3.5 Å to its atoms.*lower voids.room",
    ),
    "states": ({"defects": NITROGEN, "oxidation_states": {"Co": [3]}}, "oxidation_states name Co"),
    "overlapping names": ({"defects": {"N on O": 2, "vacancy X1": 1}}, "name the same sites"),
}


@pytest.mark.parametrize(("fields", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_mistakes_are_refused_with_a_remedy(fields: Any, message: str) -> None:
    with pytest.raises((InvdesignError, ValueError), match=f"(?s){message}"):
        space_of(**fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N on O": [32]}, "does not allow 1 N on O, 1 vacancy O"),
        ({"N on O": [0, 33]}, r"can be on the sites of O \(32 of them between 32 and 63\), got 0"),
        ({"N on O": [32, 32]}, "names a site twice"),
        ({"N on O": "all"}, "must be a list of sites"),
        ({"vacancy O": None}, "must be a list of sites"),
        ({"distortion": {"bond": 0.1}}, "distortion holds the numbers"),
        ({"more": 1}, "more is wrong"),
    ],
)
def test_malformed_genomes_are_refused(change: Any, message: str) -> None:
    with pytest.raises(Infeasible, match=message):
        PHOSPHATE.build({**some(PHOSPHATE, 1)[0], **change})


def test_defects_that_are_too_far_apart_are_refused() -> None:
    genome = next(g for g in some(PHOSPHATE, 20) if max(defect_sites(g)) and not _keeps(g))
    with pytest.raises(Infeasible, match="Å apart; all are within 4 Å of one another"):
        COMPLEX.build(genome)


def _keeps(genome: Any) -> bool:
    return bool(COMPLEX._cell.keeps_rule(PHOSPHATE._parse_genome(genome)[0]))


def test_an_element_with_two_states_takes_up_charge() -> None:
    fields = {"parent": "layered", "cell": [2, 2, 1], "defects": {"vacancy Li": 1}}
    with pytest.raises((InvdesignError, ValueError), match="charges do not balance"):
        space_of(**fields)
    assert space_of(**fields, oxidation_states={"Co": [3, 4]}).count_arrangements() == 1


def test_near_images_are_remarked_upon() -> None:
    assert any(
        "a defect and its image are 4.9 Å apart" in remark for remark in space_of(defects=NITROGEN).remarks
    )
    assert not space_of(cell=[2, 2, 2], defects=NITROGEN).remarks


def test_features_name_distances_and_distortions() -> None:
    genomes = some(PHOSPHATE, 3)
    names = [descriptor.name for descriptor in PHOSPHATE.descriptors()]
    rows = PHOSPHATE.features(genomes)
    assert rows.shape == (len(genomes), len(names))
    host = PHOSPHATE.build(genomes[0]).structures["host"]
    a, b = genomes[0]["N on O"]
    column = names.index("shortest distance of N on O and N on O")
    assert rows[0, column] == pytest.approx(host.get_distance(a, b), abs=1e-4)
    assert rows[0, names.index("stretch of bonds")] == genomes[0]["distortion"]["bond"]
