"""A comparison by sides and regions: what counts as whole, melted, opened, sheared, mixed and alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Candidate, Design, Evaluation, Input, Proposal
from invdesign.structures.site_labels import set_labels
from surrogates.relaxation.bonding import make_ions
from surrogates.relaxation.kept import StructureKept
from surrogates.relaxation.regions import make_rule, read_sites

EDGE = 4.0  # Å, of the cell in the plane


def sandwich(vacuum: float = 0.0, gap: float = 2.3) -> Structure:
    """LiF below and LiCl above, six layers each, in a cell of 4 Å; two layers at both planes may change."""
    steps = [2.0] * 5 + [gap] + [2.5] * 5 + [vacuum or gap]
    heights = np.cumsum([0.0, *steps[:-1]])
    species, places, labels = [], [], []
    for number, z in enumerate(heights):
        side, halide = ("substrate", "F") if number < 6 else ("film", "Cl")
        depth = 5 - number if number < 6 else number - 6
        for x, y in ((0, 0), (2, 2)):
            for symbol, dx in (("Li", 0), (halide, 2)):
                species.append(symbol)
                places.append([x + (dx + 2 * (number % 2)) % 4, y, z])
                labels.append((side, depth + 1, 2 <= depth <= 3))
    structure = Structure(
        Lattice.orthorhombic(EDGE, EDGE, sum(steps)), species, places, coords_are_cartesian=True
    )
    sides, layers, inner = zip(*labels, strict=True)
    set_labels(
        structure, {"side": list(sides), "layer": list(layers), "inner": list(inner), "native": species}
    )
    return structure


def moved(structure: Structure, shifts: np.ndarray, longer: float = 0.0) -> Structure:
    """The structure with displaced atoms (Å), in a cell that is longer along the normal."""
    lattice = structure.lattice.matrix.copy()
    lattice[2, 2] += longer
    return Structure(
        lattice,
        structure.species,
        structure.cart_coords + shifts,
        coords_are_cartesian=True,
        site_properties=structure.site_properties,
    )


def judged(before: Structure, after: Structure, **fields: Any) -> Evaluation:
    """What the evaluator says of a relaxation."""
    item = Input(
        Candidate(0, "key", Proposal({})),
        Design({"initial": before}),
        {},
        {"initial": before, "relaxed": after},
        0,
    )
    evaluator = StructureKept(**{"structure": "relaxed", "regions": "interface", **fields})
    (found,) = evaluator.evaluate([item])
    if found.failure is None:
        assert found.properties.keys() == evaluator.provides.keys()
    return found


def on(structure: Structure, side: str) -> np.ndarray:
    """True for sites of a side."""
    return np.array([name == side for name in structure.site_properties["side"]])


def test_a_quiet_interface_is_kept() -> None:
    """A drift, a longer cell and changes at the plane alone are no faults."""
    start = sandwich()
    shifts = np.tile([0.3, -0.2, 0.5], (len(start), 1))
    shifts[on(start, "film")] += [0.0, 0.0, 0.3]
    layers = np.array(start.site_properties["layer"])
    shifts[layers == 1] += np.random.default_rng(0).normal(0, 0.3, (int((layers == 1).sum()), 3))
    found = judged(start, moved(start, shifts, longer=0.6))
    assert found.properties["structure_kept"] == 1.0
    assert found.properties["inner_disorder"] < 0.05
    assert found.properties["side_shift"] < 0.01
    assert found.properties["largest_displacement"] < 0.1
    assert found.properties["interface_gap"] < 3.5
    assert found.properties["mixed_beyond_region"] == found.properties["isolated_atoms"] == 0


def test_each_fault_has_its_words() -> None:
    """Melted slabs, gaps, shear, mixing and isolated atoms are told apart; each loses the structure."""
    start = sandwich()
    film, inner = on(start, "film"), np.array(start.site_properties["inner"])
    still = np.zeros((len(start), 3))
    melted, opened, sheared = still.copy(), still.copy(), still.copy()
    melted[film & inner] = np.random.default_rng(1).normal(0, 0.8, (int((film & inner).sum()), 3))
    opened[film] = [0, 0, 3.0]
    sheared[film] = [1.4, 0, 0]
    for shifts, longer, word, fields in (
        (melted, 0.0, r"film melted: its inner atoms moved [01]\.\d\d Å", {}),
        (opened, 3.0, r"gap of 5\.3 Å opened", {}),
        (sheared, 0.0, r"sides sheared by 1\.40 Å \(limit 1 Å\)", {"shift": 1.0}),
    ):
        found = judged(start, moved(start, shifts, longer), displacement=None, coordination=0.0, **fields)
        assert found.properties["structure_kept"] == 0.0
        assert re.search(word, found.details["structure_kept"])


def test_a_vacuum_is_no_gap_and_atoms_in_it_are_isolated() -> None:
    """Only slices that were narrow before count; an atom 5 Å above the film is alone."""
    start = sandwich(vacuum=15.0)
    assert judged(start, start).properties["interface_gap"] < 3.0
    shifts = np.zeros((len(start), 3))
    top = int(np.argmax(start.cart_coords[:, 2]))
    shifts[top] = [0, 0, 6.0]
    found = judged(start, moved(start, shifts))
    assert found.properties["isolated_atoms"] == 1
    assert "1 isolated atoms" in found.details["structure_kept"]


def test_atoms_deep_in_the_other_side_are_mixed() -> None:
    """An anion of each side in the middle of the other counts; lithium does not where it is the working ion."""
    start = sandwich()
    film, inner = on(start, "film"), np.array(start.site_properties["inner"])
    symbols = np.array([site.specie.symbol for site in start])
    one = int(np.flatnonzero(~film & inner & (symbols == "F"))[0])
    two = int(np.flatnonzero(film & inner & (symbols == "Cl"))[0])
    shifts = np.zeros((len(start), 3))
    shifts[one] = start.cart_coords[two] - start.cart_coords[one]
    shifts[two] = -shifts[one]
    found = judged(start, moved(start, shifts))
    assert found.properties["mixed_beyond_region"] == 2
    assert "mixed beyond the region" in found.details["structure_kept"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_origin_and_order_do_not_matter(seed: int) -> None:
    """The numbers are the same from any origin, with atoms in any order, wrapped into the cell or not."""
    rng = np.random.default_rng(seed)
    start = sandwich(vacuum=12.0 * rng.integers(2))
    shifts = rng.normal(0, 0.1, (len(start), 3))
    shifts[on(start, "film")] += [0.2, 0.0, 0.8]
    end = moved(start, shifts, longer=0.5)
    order = rng.permutation(len(start))
    origin = rng.random(3)
    other = Structure(
        end.lattice,
        [end[k].specie for k in order],
        (end.frac_coords[order] + origin) % 1.0,
    )
    one, two = judged(start, end).properties, judged(start, other).properties
    assert {name: pytest.approx(value, abs=1e-6) for name, value in one.items()} == dict(two)


def tetrahedra(*ligands: str) -> Structure:
    """Isolated units of phosphorus with the given ligands, in big cells: `OOOO`, `OOON`, `OOO`."""
    corners = 1.54 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    species, places, sides = [], [], []
    for number, word in enumerate(ligands):
        centre = np.array([8.0 * number + 4, 4, 4])
        species += ["P", *word]
        places += [centre, *(centre + corners[: len(word)])]
        sides += ["host"] * (1 + len(word))
    structure = Structure(
        Lattice.orthorhombic(8.0 * len(ligands), 8, 8), species, places, coords_are_cartesian=True
    )
    set_labels(structure, {"side": sides})
    return structure


def test_units_are_whole_by_their_number_of_anions() -> None:
    """Phosphorus with four neighbours is whole, also with nitrogen among them; with three it is not."""
    rule = make_rule([tetrahedra("OOOO", "OOOO", "OOOO")])
    units = tetrahedra("OOOO", "OOON", "OOO", "ONNO")
    whole = rule.find_whole(make_ions(units, {}))
    assert list(whole.values()) == [True, True, False, True]
    stretched = tetrahedra("OOOO")
    stretched.translate_sites([1], [0.5, 0.5, 0.5], frac_coords=False)
    assert list(rule.find_whole(make_ions(stretched, {})).values()) == [False]


def test_broken_units_are_counted_against_an_intact_crystal() -> None:
    """A unit that was broken from the start is not whole and not broken by the relaxation."""
    start = tetrahedra("OOOO", "OOO", "OOOO")
    end = start.copy()
    end.translate_sites([1], [0.6, 0.6, 0.6], frac_coords=False)
    host = tetrahedra("OOOO", "OOOO", "OOOO")
    evaluator = StructureKept(structure="relaxed", regions="defect", intact=("host",))
    assert "structure:host" in evaluator.requires
    structures = {"initial": start, "relaxed": end, "host": host}
    item = Input(Candidate(0, "key", Proposal({})), Design({"initial": start}), {}, structures, 0)
    (found,) = evaluator.evaluate([item])
    assert found.properties["whole_polyanions"] == 1
    assert found.properties["broken_polyanions"] == 1
    assert found.details["whole_polyanions"] == "P: 1 of 3 units whole"
    assert found.properties["structure_kept"] == 0.0


def test_neighbours_of_a_defect_are_not_judged() -> None:
    """A unit that breaks beside a foreign atom is counted, and only one far away is a loss; one defect is no slab."""
    start = tetrahedra("OOOO", "OOON", "OOOO")
    sides = ["defect" if site.specie.symbol == "N" else "host" for site in start]
    set_labels(start, {"side": sides})
    for unit, judged_too in ((1, False), (2, True)):
        end = start.copy()
        end.translate_sites([5 * unit + 2], [0.9, -0.9, -0.9], frac_coords=False)
        found = judged(start, end, regions="defect", displacement=None)
        assert ("1 of 2 P units broken" in found.details["structure_kept"]) == judged_too
        assert found.properties["broken_polyanions"] == 1
    host, end = tetrahedra("OOOO", "OOOO", "OOOO"), tetrahedra("OOOO", "OOO", "OOOO")
    assert not read_sites(end, [host], interface=False).judged[5:9].any()  # a vacancy has no site of its own
    assert read_sites(end, [host], interface=False).judged[[0, 9]].all()
    assert read_sites(end, interface=False).judged.all()
    chain = Structure(Lattice.cubic(3.0), ["Li"], [[0, 0, 0]]) * (4, 4, 4)
    set_labels(chain, {"side": ["host"] * 63 + ["defect"]})
    assert judged(chain, chain, regions="defect").properties["isolated_atoms"] == 0


def test_structures_without_sides_and_lone_settings_are_refused() -> None:
    """The failure says what there is; limits without regions are a mistake of the campaign."""
    plain = Structure(Lattice.cubic(4.0), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    failure = judged(plain, plain).failure
    assert failure is not None
    assert "no sides on its sites" in failure.message
    failure = judged(tetrahedra("OOOO"), tetrahedra("OOOO")).failure
    assert failure is not None
    assert "this structure has 'host'; set 'regions: defect'" in failure.message
    with pytest.raises(ValidationError, match="gap need 'regions: interface'"):
        StructureKept(gap=3.0)


def test_settings_without_regions_keep_their_form() -> None:
    """Stored campaigns keep their fingerprints: no field of regions is written, no property added."""
    fields = StructureKept().model_dump(mode="json")
    assert not fields.keys() & {"regions", "intact", "melting", "gap", "shift"}
    assert len(StructureKept().provides) == 8
