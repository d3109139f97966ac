"""Whether a relaxed crystal is still what it was: displacements, polyhedra, covalent units, pairs of anions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.campaign.load import campaign_from
from invdesign.candidate import Candidate, Design, Input, Proposal
from invdesign.properties import structure_fate
from invdesign.structures.prototypes import find_prototype, list_prototype_names
from surrogates.relaxation.bonding import effective_weights
from surrogates.relaxation.kept import Comparison, StructureKept, compare_structures
from surrogates.relaxation.matching import DifferentCrystalsError, match_structures

SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(
    [n for n in list_prototype_names() if n not in {"garnet", "nasicon", "argyrodite", "spinel"}]
)


def crystal(name: str) -> Structure:
    """A prototype without labels, as spaces build it."""
    found = find_prototype(name).build_structure()
    return Structure(found.lattice, found.species, found.frac_coords)


def displaced(structure: Structure, rng: np.random.Generator, most: float) -> Structure:
    """The crystal with every site moved by at most so many Å."""
    shifts = rng.normal(size=(len(structure), 3))
    shifts *= (
        most * rng.uniform(0.2, 1.0, (len(structure), 1)) / np.linalg.norm(shifts, axis=1, keepdims=True)
    )
    return Structure(
        structure.lattice, structure.species, structure.cart_coords + shifts, coords_are_cartesian=True
    )


def strained(structure: Structure, rng: np.random.Generator, most: float) -> Structure:
    """The crystal in a cell that is strained by at most so much along each axis, with its fractional positions."""
    noise = rng.uniform(-most, most, (3, 3))
    return Structure(
        structure.lattice.matrix @ (np.eye(3) + (noise + noise.T) / 2),
        structure.species,
        structure.frac_coords,
    )


def rewritten(structure: Structure, setting: np.ndarray[Any, Any], origin: Any, order: Any) -> Structure:
    """The same crystal in another setting of the cell, from another origin, its sites in another order."""
    return Structure(
        setting @ structure.lattice.matrix,
        [structure[int(k)].specie for k in order],
        (structure.frac_coords[order] + origin) @ np.linalg.inv(setting),
    )


def summary(found: Comparison) -> tuple[Any, ...]:
    """What must not depend on how a crystal is written down; numbers of atoms cancel."""
    return (
        pytest.approx(found.displacement, abs=1e-6),
        pytest.approx(found.volume_change, abs=1e-6),
        found.coordination_kept,
        found.units_kept,
        {name for name, _ in found.pairs},
    )


@settings(max_examples=25, deadline=None)
@given(NAMES, SEEDS)
def test_drift_and_strain_are_no_displacement(name: str, seed: int) -> None:
    """A crystal that only moved as a whole, or whose cell was strained, is kept, and nothing in it moved."""
    rng = np.random.default_rng(seed)
    before = crystal(name)
    after = strained(before, rng, 0.04)
    after.translate_sites(range(len(after)), rng.uniform(-1, 1, 3), to_unit_cell=bool(rng.integers(2)))
    found = compare_structures(before, after)
    assert found.displacement == pytest.approx(0, abs=1e-6)
    assert found.coordination_kept == found.units_kept == 1
    assert not found.pairs
    assert found.volume_change == pytest.approx(100 * (after.volume / before.volume - 1))
    assert compare_structures(before, before).numbers == (find_prototype(name).spacegroup,) * 2


@settings(max_examples=20, deadline=None)
@given(NAMES, SEEDS)
def test_how_a_crystal_is_written_does_not_matter(name: str, seed: int) -> None:
    """Origin, order of sites and setting of the cell, of one side or of both, change nothing; nor does a supercell."""
    rng = np.random.default_rng(seed)
    before = crystal(name)
    after = displaced(strained(before, rng, 0.02), rng, 0.15)
    plain = compare_structures(before, after)
    setting = np.eye(3, dtype=int)
    setting[0, 1] = rng.integers(-1, 2)
    setting = setting[rng.permutation(3)]
    other = rewritten(after, setting, rng.uniform(-1, 1, 3), rng.permutation(len(after)))
    assert summary(compare_structures(before, other)) == summary(plain)
    same = [rewritten(item, setting, [0.1, 0.2, 0.3], np.arange(len(item))[::-1]) for item in (before, after)]
    assert summary(compare_structures(*same)) == summary(plain)
    doubled = [item.copy().make_supercell([1, 1, 2], in_place=False) for item in (before, after)]
    large = compare_structures(*doubled)
    assert large.displacement == pytest.approx(plain.displacement, abs=1e-6)
    assert (large.coordination_kept, large.units_kept) == (plain.coordination_kept, plain.units_kept)


@settings(max_examples=30, deadline=None)
@given(NAMES, SEEDS)
def test_displacements_are_those_that_were_made(name: str, seed: int) -> None:
    """One atom that moves by d in a cell of n is found to have moved by d (1 - 1/n): the rest is drift."""
    rng = np.random.default_rng(seed)
    before, after = crystal(name), crystal(name)
    k, step = int(rng.integers(len(before))), rng.normal(size=3)
    step *= 0.3 / np.linalg.norm(step)
    after.translate_sites([k], step, frac_coords=False)
    match = match_structures(before, after)
    assert match.displacements.max() == pytest.approx(0.3 * (1 - 1 / len(before)))
    assert match.displacements.argmax() == k or len(before) <= 2


@pytest.mark.parametrize("name", list_prototype_names())
def test_every_prototype_is_itself(name: str) -> None:
    """It has polyhedra that define it, and small displacements leave all of them, and its polyanions, whole."""
    before = crystal(name)
    step = 0.05 if name == "Li10GeP2S12" else 0.1  # some of its lithium is nearly five-coordinate
    after = displaced(before, np.random.default_rng(4), step)
    found = compare_structures(before, after)
    assert found.polyhedra
    assert found.coordination_kept == found.units_kept == 1
    assert not found.pairs
    polyanion = {"olivine": "PO4", "tavorite": "PO4", "silicate": "SiO4", "argyrodite": "PS4"}.get(name)
    assert polyanion is None or {unit for unit, _ in found.units} == {polyanion}


def antiperovskite(b: str = "O", x: str = "Cl", a: float = 3.91, cells: int = 2) -> Structure:
    """Cubic Li3BX, `cells` of them along c."""
    places = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [b, x, "Li", "Li", "Li"], places).make_supercell([1, 1, cells])


@pytest.mark.parametrize(
    ("metals", "cell", "heights", "kept"),
    [
        (
            ("Pb", "Ti"),
            (3.902, 4.156),
            (0.538, 0.114, 0.617),
            True,
        ),  # A. M. Glazer, S. A. Mabud, Acta Cryst. B 34, 1065 (1978)
        (
            ("Pb", "V"),
            (3.804, 4.677),
            (0.5677, 0.2102, 0.6919),
            False,
        ),  # A. A. Belik et al., Chem. Mater. 17, 269 (2005)
    ],
)
def test_ferroelectric_perovskites(
    metals: tuple[str, str], cell: tuple[float, float], heights: tuple[float, float, float], kept: bool
) -> None:
    """From the cubic cell, PbTiO3 keeps its octahedron, distorted; the vanadium of PbVO3 is left with five oxygens."""
    species = [*metals, "O", "O", "O"]
    ideal = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    b, apex, plane = heights
    polar = [[0, 0, 0], [0.5, 0.5, b], [0.5, 0.5, apex], [0.5, 0, plane], [0, 0.5, plane]]
    before = Structure(Lattice.cubic(3.95), species, ideal)
    after = Structure(Lattice.tetragonal(*cell), species, polar)
    found = compare_structures(before, after, [metals[1]])
    assert [(item.element, item.size) for item in found.polyhedra] == [(metals[1], 6)]
    assert found.coordination_kept == kept
    assert (found.groups[0], found.numbers[1]) == ("Pm-3m", 99)


def test_a_tilted_perovskite_is_kept() -> None:
    """Octahedra that tilt by 8 degrees around c, as in I4/mcm, are still octahedra, though the cage of X is not what it was."""
    before = antiperovskite().make_supercell([2, 2, 1])
    after = before.copy()
    for k, site in enumerate(before):
        if site.specie.symbol == "Li":
            centre = min((s for s in before if s.specie.symbol == "O"), key=lambda s: s.distance(site))
            image = centre.distance_and_image(site)[1]
            arm = site.frac_coords + image - centre.frac_coords
            x, y, _ = arm @ before.lattice.matrix
            sign = (-1) ** round(sum((centre.frac_coords * [2, 2, 2])[:3] - 0.5))
            after.translate_sites([k], [-sign * 0.14 * y, sign * 0.14 * x, 0], frac_coords=False)
    found = compare_structures(before, after, symprec=0.01)
    assert found.displacement == pytest.approx(0.14 * 3.91 / 2, abs=0.01)
    assert found.coordination_kept == 1
    assert found.numbers[1] not in {0, 1, 221}


def test_a_lost_octahedron_is_named() -> None:
    """Lithium that leaves an octahedron, by 1.6 Å, costs it and its neighbour along the way, and is told."""
    before = antiperovskite("Br", "S", 4.2)
    after = before.copy()
    lithium = next(
        k for k, s in enumerate(before) if s.specie.symbol == "Li" and abs(s.frac_coords[2] - 0.5) < 0.01
    )
    after.translate_sites([lithium], [1.3, 1.3, 0], frac_coords=False)
    kept = StructureKept(called="an anti-perovskite")
    found = compare_structures(before, after)
    assert found.coordination_kept == 0
    sentence = kept.write_sentence(found, kept.list_losses(found))
    assert sentence.startswith("no longer an anti-perovskite: 2 of 2 Br octahedra lost; Li moved 1.6")
    assert re.search(r"; space group Amm2, before Pm-3m$", sentence)


def test_what_was_judged_is_said_and_other_ions_are_told() -> None:
    """Chlorine that leaves its cage for the middle of a face keeps half of its lithium: told, while the octahedra are kept."""
    before = antiperovskite()
    after = before.copy()
    chlorine = next(k for k, s in enumerate(before) if s.specie.symbol == "Cl")
    after.translate_sites([chlorine], [0.9, 0.0, 0.0], frac_coords=False)
    kept = StructureKept(called="an anti-perovskite")
    found = compare_structures(before, after)
    losses = kept.list_losses(found)
    assert losses == []
    words = kept.write_sentence(found, losses)
    pattern = r"O octahedra kept: still an anti-perovskite, but Cl has \d to 12 of 12 Li neighbours; space group \S+, before \S+"
    assert re.fullmatch(pattern, words)
    assert structure_fate({"structure_kept": 1.0}, {"structure_kept": words}) == (
        False,
        words.partition(";")[0],
    )
    same = compare_structures(before, before)
    assert kept.write_sentence(same, []).startswith(
        "O octahedra kept: still an anti-perovskite; space group "
    )
    assert (
        StructureKept(coordination=0)
        .write_sentence(same, [])
        .startswith("places kept: still the structure it")
    )
    named = StructureKept(sites=("O", "Cl")).list_losses(compare_structures(before, after, ["O", "Cl"]))
    assert named == ["1 of 2 Cl cuboctahedra lost"]


def test_the_group_of_a_rattled_start_is_told() -> None:
    """A displaced start that lies near a crystal of more symmetry is said to lie there."""
    before = displaced(crystal("antiperovskite"), np.random.default_rng(1), 0.15)
    found = compare_structures(before, crystal("antiperovskite"))
    words = StructureKept().write_sentence(found, [])
    assert re.search(r"; space group Pm-3m, before (P1|Cm) \(within 0.5 Å Pm-3m\)$", words)


def test_a_broken_polyanion_is_named() -> None:
    """An oxygen 1.9 Å from its phosphorus is no part of PO4 any more: the unit is broken."""
    before = crystal("olivine")
    after = before.copy()
    p = next(k for k, s in enumerate(before) if s.specie.symbol == "P")
    o = min(
        (k for k, s in enumerate(before) if s.specie.symbol == "O"), key=lambda k: before.get_distance(p, k)
    )
    image = before[p].distance_and_image(before[o])[1]
    bond = (before[o].frac_coords + image - before[p].frac_coords) @ before.lattice.matrix
    after.translate_sites([o], bond * (1.9 / np.linalg.norm(bond) - 1), frac_coords=False)
    found = compare_structures(before, after)
    assert found.units_kept == 0.75
    assert "1 of 4 PO4 units broken" in StructureKept().list_losses(found)


def test_a_new_pair_of_anions_is_named() -> None:
    """Two sulfurs that come to 2.1 Å of each other, where they were 3.9 Å apart, are a new pair."""
    before = antiperovskite("O", "S")
    after = before.copy()
    sulfurs = [k for k, s in enumerate(before) if s.specie.symbol == "S"]
    gap = before.get_distance(*sulfurs)
    sign = np.sign(before[sulfurs[0]].frac_coords[2] - before[sulfurs[1]].frac_coords[2]) or 1.0
    after.translate_sites(sulfurs[:1], [0, 0, -sign * (gap - 2.1)], frac_coords=False)
    found = compare_structures(before, after)
    assert [name for name, _ in found.pairs] == ["S-S"]
    assert any(loss.startswith("new S-S pair of 2.10 Å") for loss in StructureKept().list_losses(found))


def test_limits_are_settings() -> None:
    """Displacement, volume and share of polyhedra decide as the settings say; sites are named by element."""
    before = antiperovskite()
    after = displaced(before, np.random.default_rng(0), 0.1)
    after.scale_lattice(before.volume * 1.3)
    found = compare_structures(before, after)
    assert StructureKept().list_losses(found) == []
    assert StructureKept(volume_change=20).list_losses(found) == ["volume changed +30 % (limit 20 %)"]
    (moved,) = StructureKept(displacement=0.05).list_losses(found)
    assert moved.endswith("Å (limit 0.05 Å)")
    assert {item.element for item in compare_structures(before, after, ["Cl"]).polyhedra} == {"Cl"}
    assert compare_structures(before, after, ["Cl"]).polyhedra[0].size == 12
    with pytest.raises(ValueError, match="has no site P; it holds O, Cl, Li"):
        compare_structures(before, after, ["P"])


def test_a_working_ion_may_move() -> None:
    """Lithium that takes another site is no loss where it is named, and the sentence tells how far it went; the host is still judged."""
    before = crystal("olivine")
    lithium = [k for k, site in enumerate(before) if site.specie.symbol == "Li"]
    hosts = [k for k, site in enumerate(before) if site.specie.symbol == "Fe"]
    after = before.copy()
    after.translate_sites(lithium[:1], [0, 1.8, 0], frac_coords=False)
    judged, free = StructureKept(sites=["P"]), StructureKept(sites=["P"], working_ion="Li")
    (loss,) = judged.list_losses(compare_structures(before, after, ["P"]))
    assert loss.startswith("Li moved 1.7")
    found = compare_structures(before, after, ["P"], working_ion="Li")
    assert free.list_losses(found) == []
    assert found.displacement == pytest.approx(0, abs=1e-6)
    assert re.search(r"Li moved up to 1\.7\d Å, which is not judged", free.write_sentence(found, []))
    after.translate_sites(hosts[:1], [0, 1.7, 0], frac_coords=False)
    (loss,) = free.list_losses(compare_structures(before, after, ["P"], working_ion="Li"))
    assert loss.startswith("Fe moved 1.6")


def test_a_crystal_of_the_working_ion_alone_has_no_host() -> None:
    """And the fingerprint of a stage that names no ion is the one it was before ions could be named."""
    metal = Structure(Lattice.cubic(3.4), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="Li holds nothing but Li: it has no host"):
        compare_structures(metal, metal, working_ion="Li")
    assert "working_ion" not in StructureKept().model_dump(mode="json")
    assert StructureKept(working_ion="Li").model_dump(mode="json")["working_ion"] == "Li"


def test_other_atoms_are_refused() -> None:
    """A structure of another composition is no later state of this one, and the candidate fails and says so."""
    before, after = antiperovskite(), antiperovskite("S")
    with pytest.raises(DifferentCrystalsError, match="different atoms: Li6 Cl2 O2 before, Li6 S2 Cl2 after"):
        match_structures(before, after)
    item = Input(Candidate(0, "0" * 32, Proposal({})), Design(), {}, {"initial": before, "relaxed": after}, 1)
    (answer,) = StructureKept().evaluate([item])
    assert answer.failure is not None
    assert "different atoms" in answer.failure.message


@given(st.lists(st.floats(1.5, 5.0), min_size=1, max_size=12), st.floats(0.5, 2.0))
def test_weights_fall_with_distance(distances: list[float], scale: float) -> None:
    """Nearer neighbours weigh more, equal ones the same, whatever the unit of length; equal distances weigh 1."""
    values = np.sort(np.array(distances))
    weights = effective_weights(values)
    assert (np.diff(weights) <= 1e-9).all()
    np.testing.assert_allclose(effective_weights(values * scale), weights, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(effective_weights(np.full(6, scale)), 1.0)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"kind": "substitution", "parent": "antiperovskite", "sites": {"X": ["Cl", "Br"]}},
            "an anti-perovskite",
        ),
        (
            {
                "kind": "ordering",
                "parent": "layered",
                "cell": [2, 1, 1],
                "sites": {"A": {"Li": 0.5, "vacancy": 0.5}},
            },
            "an O3 layered structure",
        ),
    ],
)
def test_the_word_comes_from_the_space(space: dict[str, Any], words: str) -> None:
    """What a candidate is no longer is what its search space builds; a word of the campaign's own stands."""
    data = {
        "version": 1,
        "name": "kept",
        "space": space,
        "objectives": [{"maximize": "coordination_kept"}],
        "constraints": [{"structure_kept": {"min": 1}}],
        "budget": {"candidates": 1},
    }
    relax = {"relax": {"potential": {"kind": "ase", "calculator": "emt"}}}
    made = campaign_from({**data, "evaluate": [relax, "structure_kept"]})
    (kept,) = [item for item in made.evaluators.values() if isinstance(item, StructureKept)]
    assert (kept.before, kept.structure, kept.called) == ("initial", "relaxed", words)
    assert not made.notes or "itself" not in made.notes[0]
    (note,) = [
        text
        for text in campaign_from({**data, "evaluate": ["structure_kept", relax]}).notes
        if "itself" in text
    ]
    assert (
        note == "structure_kept: it compares the structure 'initial' with itself: put it after a relaxation"
    )
    named = campaign_from({**data, "evaluate": [relax, {"structure_kept": {"called": "a sponge"}}]})
    assert [item.called for item in named.evaluators.values() if isinstance(item, StructureKept)] == [
        "a sponge"
    ]
