"""Crystals keep their condition, whatever it is, and are a function of the arguments alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Structure

from invdesign.generators.crystal_vae import CrystalVae
from invdesign.protocols import Condition, LatentGenerator, Wish
from invdesign.structures.conditions import find_breach, find_contradiction, make_condition
from invdesign.structures.symmetry import call_spglib
from tests.generators.network.conftest import make_structures

KNOWN = ("Ba", "Br", "Ca", "Cl", "F", "K", "Li", "Mg", "Na", "O", "S", "Sr", "Ti", "Zn", "Zr")
FORMULAS = ("NaCl", "SrTiO3", "TiO2", "Li2O", "Mg3O4F2", "CaS", "BaZrO3", "K")


def count_primitive(structure: Structure) -> tuple[int, dict[str, int]]:
    """Space group and atoms by element in the primitive cell."""
    atoms = (structure.lattice.matrix, structure.frac_coords, [site.specie.Z for site in structure])
    dataset = call_spglib("get_symmetry_dataset", atoms, symprec=0.01)
    primitive = call_spglib("find_primitive", atoms, symprec=0.01)
    assert dataset is not None
    assert primitive is not None
    names = [Element.from_Z(number).symbol for number in primitive[2]]
    return int(dataset.number), dict(Counter(names))


def list_conditions() -> st.SearchStrategy[Condition]:
    """Conditions of all kinds, none that contradicts itself."""
    atoms = st.tuples(st.integers(1, 12), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    free = st.builds(
        lambda elements, required, groups, size, neutral: Condition(
            elements=tuple(sorted({*elements, *required})) if elements else (),
            required=tuple(sorted(required)),
            space_groups=tuple(sorted(groups)),
            atoms=size,
            neutral=neutral,
        ),
        st.sets(st.sampled_from(KNOWN), max_size=5),
        st.sets(st.sampled_from(KNOWN), max_size=3),
        st.sets(st.integers(1, 230), max_size=4),
        st.none() | atoms,
        st.booleans(),
    )
    fixed = st.builds(
        lambda formula, groups, size, units: Condition(
            formula=make_condition(formula=formula).formula,
            formula_units=units,
            space_groups=tuple(sorted(groups)),
            atoms=size,
        ),
        st.sampled_from(FORMULAS),
        st.sets(st.integers(1, 230), max_size=4),
        st.none() | atoms,
        st.none() | st.just((1, 4)),
    )
    return (free | fixed).filter(lambda condition: not find_contradiction(condition))


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=list_conditions(), seed=st.integers(0, 100))
def test_all_that_is_returned_keeps_the_condition(
    generator: CrystalVae, condition: Condition, seed: int
) -> None:
    samples = generator.sample(np.random.default_rng(seed), 3, condition)
    assert len(samples) <= 3
    assert len(samples) == 3 or samples.reason
    for structure in samples:
        group, counts = count_primitive(structure)
        assert find_breach(counts, group, condition) == ""


def test_a_sample_is_a_function_of_its_arguments(generator: CrystalVae) -> None:
    condition = make_condition(elements=["Ti", "O", "Sr", "Ba"])
    one = generator.sample(np.random.default_rng(4), 4, condition)
    two = generator.sample(np.random.default_rng(4), 4, condition)
    other = generator.sample(np.random.default_rng(5), 4, condition)
    assert one.structures == two.structures
    assert one.structures != other.structures


def test_more_crystals_begin_with_the_same_ones(generator: CrystalVae) -> None:
    condition = make_condition(formula="BaZrO3")
    few = generator.sample(np.random.default_rng(4), 2, condition)
    assert len(few) == 2
    assert len({sample.properties["origin"]["sites"] for sample in few}) == 2


def test_it_is_a_latent_generator(generator: CrystalVae) -> None:
    assert isinstance(generator, LatentGenerator)
    assert generator.is_heavy
    assert generator.dimension == 8


def test_codes_have_one_row_per_structure(generator: CrystalVae) -> None:
    structures = make_structures()[:3]
    strange = Structure.from_spacegroup(225, np.eye(3) * 4.9, ["Pb"], [[0, 0, 0]])
    codes = generator.encode([*structures, strange])
    assert codes.shape == (4, 8)
    assert np.isfinite(codes[:3]).all()
    assert np.isnan(codes[3]).all()


def test_properties_of_codes(generator: CrystalVae) -> None:
    codes = generator.encode(make_structures()[:3])
    together = generator.predict(codes)
    assert list(together) == ["size"]
    assert together["size"].shape == (3,)
    alone = [generator.predict(code[None])["size"][0] for code in codes]
    assert together["size"] == pytest.approx(alone, rel=1e-4)


def test_a_code_decodes_to_one_crystal_alone_or_among_others(generator: CrystalVae) -> None:
    codes = np.random.default_rng(0).normal(size=(4, 8))
    all_at_once = generator.decode(codes, make_condition())
    alone = [generator.decode(code[None], make_condition())[0] for code in codes]
    assert all_at_once == alone
    assert any(structure is not None for structure in alone)


def test_codes_decode_under_a_condition(generator: CrystalVae) -> None:
    codes = np.random.default_rng(0).normal(size=(3, 8))
    condition = make_condition(formula="SrTiO3")
    decoded = [structure for structure in generator.decode(codes, condition) if structure is not None]
    assert decoded
    assert {structure.composition.reduced_formula for structure in decoded} == {"SrTiO3"}


@pytest.mark.slow
def test_a_wish_leaves_as_many_crystals(generator: CrystalVae) -> None:
    low = Condition(wishes=(Wish("size", direction="minimize"),))
    assert len(generator.sample(np.random.default_rng(1), 3, low)) == 3


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition(required=("Pb",)), "no crystal with Pb"),
        (Condition(elements=("Pb", "U")), "no crystal with Pb, U"),
        (make_condition(formula="PbTiO3"), "no crystal with Pb"),
        (make_condition(formula="Na60Cl7"), "too large for the model"),
        (Condition(wishes=(Wish("colour", target=1.0),)), "does not predict colour; it predicts size"),
        (Condition(elements=("O",), required=("Ti",)), "required names Ti"),
    ],
)
def test_impossible_conditions_are_refused_by_name(
    generator: CrystalVae, condition: Condition, message: str
) -> None:
    assert message in generator.refusal(condition)
    assert message in generator.sample(np.random.default_rng(0), 2, condition).reason
