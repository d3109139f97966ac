"""Unique, new and matching crystals are found by structure, whatever their cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.errors import InvdesignError
from invdesign.generators.metrics.distinct import (
    LOOSE,
    STRICT,
    KnownCrystals,
    Matcher,
    find_new,
    find_symmetries,
    find_unique,
    match_at_k,
)
from tests.generators.metrics.crystals import (
    caesium_chloride,
    reference_crystals,
    rock_salt,
    shake,
    zinc_blende,
)


def test_unique_crystals() -> None:
    """Another cell, size or small displacement is no other crystal; another structure or element is."""
    salt = rock_salt()
    crystals = [
        salt,
        salt.get_primitive_structure(),
        rock_salt(edge=6.0),
        shake(salt, 0.05),
        caesium_chloride(),
        rock_salt("K"),
        caesium_chloride(edge=3.9),
    ]
    assert find_unique(crystals, Matcher()).tolist() == [True, False, False, False, True, True, False]


def test_new_crystals() -> None:
    """Only crystals that match a known one of their formula are not new."""
    known = KnownCrystals([rock_salt(), zinc_blende()])
    crystals = [
        rock_salt().get_primitive_structure(),
        caesium_chloride(),
        rock_salt("Zn", "S"),
        zinc_blende(edge=5.6),
    ]
    assert find_new(crystals, known, Matcher()).tolist() == [False, True, True, False]
    assert known.frameworks == {"225:a|b", "216:a|c"}


@pytest.mark.parametrize("tolerances", [STRICT, LOOSE])
def test_verdicts_are_those_of_pymatgen(tolerances: dict[str, float]) -> None:
    """Reducing each crystal once changes no verdict of `StructureMatcher`."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    plain, ours = StructureMatcher(**tolerances), Matcher(tolerances)
    for place, crystal in enumerate(reference_crystals()[:6]):
        larger = shake(crystal * (2, 1, 1), 0.6 * place / 6, seed=place)
        for one, other in ((crystal, larger), (larger, crystal)):
            assert ours.is_same(one, other) == plain.fit(one, other)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)))
def test_the_number_of_unique_crystals_has_no_order(order: list[int]) -> None:
    """Any order of five crystals of three structures has three unique ones."""
    crystals = [
        rock_salt(),
        caesium_chloride(),
        rock_salt(edge=5.8),
        zinc_blende("Na", "Cl"),
        caesium_chloride(edge=3.6),
    ]
    assert find_unique([crystals[place] for place in order], Matcher()).sum() == 3


@pytest.mark.parametrize("edges", [(2.0, 2.0, 90.0), (1e9, 1e9, 1e9)])
def test_cells_that_cannot_be_compared_are_counted(edges: tuple[float, float, float]) -> None:
    """A needle of a cell and an empty one match nothing, and the failure is counted once."""
    strange = Structure(Lattice.orthorhombic(*edges), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0.5]])
    matcher = Matcher()
    assert not matcher.is_same(strange, strange)
    assert not matcher.is_same(strange, caesium_chloride())
    assert matcher.failures == 1


def test_crystals_without_symmetry_are_marked() -> None:
    """Atoms at one place have no space group and no framework."""
    twice = Structure(Lattice.cubic(4.0), ["Li", "Li"], [[0, 0, 0], [0, 0, 0]])
    assert [(found.number, found.label) for found in find_symmetries([rock_salt(), twice])] == [
        (225, "225:a|b"),
        (0, ""),
    ]


def test_match_rates() -> None:
    """Any polymorph counts, at the try that proposed it; fewer proposals than tries are allowed."""
    proposals = [
        [caesium_chloride(), shake(rock_salt(), 0.1)],
        [zinc_blende("K"), zinc_blende("K", edge=6.0), rock_salt("K", edge=6.3)],
        [rock_salt("Rb")],
        [],
    ]
    targets = [
        [zinc_blende("Na", "Cl"), rock_salt()],
        [rock_salt("K", "Cl", edge=6.2)],
        [caesium_chloride("Rb")],
        [rock_salt("Li")],
    ]
    found = match_at_k(proposals, targets, ks=(1, 2, 5))
    assert found.first.tolist() == [2, 3, 0, 0]
    assert [found.rates[k].value for k in (1, 2, 5)] == [0.0, 25.0, 50.0]
    assert found.failures == 0


def test_match_rates_need_targets() -> None:
    """Lists of other lengths, and a formula without a known structure, are refused."""
    with pytest.raises(InvdesignError, match="proposals for 1 formulas and targets for 2"):
        match_at_k([[]], [[rock_salt()], [rock_salt()]])
    with pytest.raises(InvdesignError, match="formula number 0 has no known structure"):
        match_at_k([[rock_salt()]], [[]])


def test_marks_of_nothing() -> None:
    """No crystals give no marks."""
    assert (
        find_unique([], Matcher()).shape == find_new([], KnownCrystals([]), Matcher()).shape == np.shape([])
    )
