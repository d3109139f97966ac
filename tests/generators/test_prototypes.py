"""The generator `prototypes`: known frameworks for a formula, swaps without one, and libraries of the user's own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

import invdesign
from invdesign.errors import Infeasible, InvdesignError
from invdesign.generators.prototypes.generator import PrototypeGenerator
from invdesign.generators.prototypes.library import (
    collect_library,
    pack_library,
    read_template,
    unpack_library,
)
from invdesign.protocols import ORIGIN, Condition, KnownCrystal, TrainingSet
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.structures.conditions import find_breach, make_condition
from invdesign.structures.guard_rails import find_symmetry, read_crystal
from invdesign.structures.prototypes import find_prototype

ROCK_SALTS = {("Na", "Cl"): 5.64, ("Li", "F"): 4.03, ("Mg", "O"): 4.21, ("K", "Br"): 6.6, ("Ca", "S"): 5.69}


@cache
def load_shipped() -> PrototypeGenerator:
    """Load the generator with the shipped library, once."""
    generator = PrototypeGenerator()
    generator.prepare()
    return generator


@pytest.fixture(scope="module")
def shipped() -> PrototypeGenerator:
    """The generator with the shipped library."""
    return load_shipped()


def plain(structure: Structure) -> Structure:
    """A crystal without properties of its sites."""
    return Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)


def known_crystals() -> list[Structure]:
    """Rock salts, a perovskite and a spinel."""
    found = [
        Structure.from_spacegroup(225, Lattice.cubic(a), pair, [[0, 0, 0], [0.5, 0, 0]])
        for pair, a in ROCK_SALTS.items()
    ]
    found.append(
        Structure.from_spacegroup(
            221, Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
        )
    )
    found.append(plain(find_prototype("spinel").build_structure(primitive=True)))
    return found


def train_small(folder: Path) -> PrototypeGenerator:
    """A library of a few crystals."""
    crystals = [KnownCrystal(f"known-{n}", crystal) for n, crystal in enumerate(known_crystals())]
    PrototypeGenerator.train(TrainingSet(tuple(crystals), about="Crystals everybody knows."), folder)
    made: PrototypeGenerator = load("generators", {"kind": "prototypes", "model": str(folder)})
    return made


@pytest.mark.parametrize("formula", ["Li3PS4", "Li2ZrO3", "Li3YCl6"])
def test_formulas_of_electrolytes_are_delivered(formula: str) -> None:
    """Twenty crystals of exactly the formula, each with its template."""
    found = invdesign.generate(formula, n=20)
    assert len(found) == 20
    assert {crystal.composition.reduced_formula for crystal in found} == {formula}
    assert all(crystal.properties[ORIGIN]["template"] for crystal in found)


def test_a_spinel_is_found_for_a_formula(shipped: PrototypeGenerator) -> None:
    """ZnCr2O4 without its own entry: the first proposals hold the spinel."""
    wanted = plain(find_prototype("spinel").build_structure(primitive=True))
    wanted.replace_species({"Li": "Zn", "Mn": "Cr"})
    wanted.scale_lattice(8.33**3 / 4.0)  # Å³; Hill et al., Phys. Chem. Miner. 4, 317 (1979)
    condition = make_condition(formula="ZnCr2O4")
    found = shipped.sample(rng_for(0, 0, "test"), 5, condition)
    assert any(StructureMatcher().fit(wanted, crystal) for crystal in found)
    volume = next(s.volume / len(s) for s in found if StructureMatcher().fit(wanted, s))
    assert volume == pytest.approx(wanted.volume / len(wanted), rel=0.15)


CONDITIONS = st.builds(
    lambda elements, count, groups, low, high, neutral: make_condition(
        elements=elements,
        required=elements[:count],
        space_groups=groups,
        atoms=(min(low, high), max(low, high)),
        neutral=neutral,
    ),
    elements=st.lists(
        st.sampled_from(["Li", "Na", "Mg", "Al", "Ti", "P", "O", "S", "Cl", "F"]),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    count=st.integers(0, 2),
    groups=st.lists(st.sampled_from(["1-2", "3-15", "62", "142-194", "195-230"]), max_size=3, unique=True),
    low=st.integers(2, 12),
    high=st.integers(2, 24),
    neutral=st.booleans(),
)


@given(condition=CONDITIONS, seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_conditions_are_kept(condition: Condition, seed: int) -> None:
    """Elements, required ones, space groups, sizes and charges: no sample breaks one."""
    for crystal in load_shipped().sample(rng_for(seed, 0, "test"), 4, condition):
        elements = sorted({site.specie.symbol for site in crystal})
        read = read_crystal(crystal, elements)
        symmetry = None if read is None else find_symmetry(read)
        if read is None or symmetry is None:
            continue
        counts = read.count_species(len(elements)) // symmetry[1]
        assert find_breach(dict(zip(elements, counts.tolist(), strict=True)), symmetry[0], condition) == ""


def test_refusals_name_the_cause(shipped: PrototypeGenerator) -> None:
    """An unknown element, and a formula without any framework of the required size."""
    assert "Og" in shipped.refusal(make_condition(formula="LiOg"))
    assert "Li3PS4" in shipped.refusal(make_condition(formula="Li3PS4", space_groups=[230], atoms=(160, 200)))
    assert shipped.refusal(make_condition(elements=["Li"], required=["Li"], atoms=(199, 200)))


def test_ratios_without_any_framework_are_derived(tmp_path: Path) -> None:
    """Two elements share a site, and one element takes two sites, where no crystal has the ratios."""
    small = train_small(tmp_path / "small")
    mixed = small.sample(rng_for(0, 0, "test"), 3, make_condition(formula="NaKCl2"))
    assert len(mixed)
    assert all(crystal.composition.get_el_amt_dict() == {"Na": 1, "K": 1, "Cl": 2} for crystal in mixed)
    joined = small.sample(rng_for(0, 0, "test"), 3, make_condition(formula="Ti2O3"))
    assert all(crystal.composition.reduced_formula == "Ti2O3" for crystal in joined)


def test_a_library_of_ten_crystals(tmp_path: Path) -> None:
    """A user's own few crystals make a generator; its card names the data."""
    small = train_small(tmp_path / "small")
    found = small.sample(rng_for(0, 0, "test"), 30, make_condition(formula="LiCl"))
    assert found[0].composition.reduced_formula == "LiCl"
    assert "are all the crystals" in found.reason
    assert "Crystals everybody knows." in (tmp_path / "small" / "card.md").read_text()
    assert small.fingerprint != PrototypeGenerator().fingerprint


def test_a_library_round_trip() -> None:
    """Packed and unpacked, a library holds the same crystals."""
    templates = [read_template(crystal, f"known-{n}") for n, crystal in enumerate(known_crystals())]
    library = collect_library(templates)
    again = unpack_library(pack_library(library))
    assert again.sites == library.sites
    assert again.sources == library.sources
    assert np.array_equal(again.cells, library.cells)
    assert np.array_equal(again.coordinates, library.coordinates)
    for template, crystal in zip(again.templates, known_crystals(), strict=True):
        sited = template.sited.crystal
        built = Structure(sited.cell, [template.elements[k] for k in sited.species], sited.positions)
        assert StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5, scale=False).fit(built, crystal)


def test_damage_is_told_in_words() -> None:
    """Arrays that are cut off or missing are no library."""
    packed = pack_library(collect_library([read_template(known_crystals()[0], "one")]))
    with pytest.raises(InvdesignError, match="library of prototypes is damaged"):
        unpack_library({**packed, "sites": packed["sites"][:-3]})
    with pytest.raises(InvdesignError, match="library of prototypes is damaged"):
        unpack_library({name: array for name, array in packed.items() if name != "cells"})
    with pytest.raises(Infeasible, match="partly occupied"):
        read_template(Structure(Lattice.cubic(4), [{"Li": 0.5, "Na": 0.5}], [[0, 0, 0]]), "disordered")


def test_temperature_orders_and_mixes(shipped: PrototypeGenerator) -> None:
    """At 0 the likeliest come first whatever the seed; above, seeds differ."""
    condition = make_condition(formula="LiCoO2")
    calm = PrototypeGenerator(temperature=0.0)
    first, second = (calm.sample(rng_for(seed, 0, "t"), 5, condition) for seed in (1, 2))
    assert [c.properties[ORIGIN] for c in first] == [c.properties[ORIGIN] for c in second]
    probabilities = [c.properties[ORIGIN]["probability"] for c in first]
    assert probabilities == sorted(probabilities, reverse=True)
    warm = PrototypeGenerator(temperature=3.0)
    drawn = [
        [c.properties[ORIGIN]["template"] for c in warm.sample(rng_for(s, 0, "t"), 5, condition)]
        for s in (1, 2)
    ]
    assert drawn[0] != drawn[1]
