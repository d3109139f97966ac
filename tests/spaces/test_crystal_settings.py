"""What a campaign may say about crystals, and what it is told where that cannot be."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.errors import CampaignError
from invdesign.settings import load
from invdesign.spaces.crystal.compositions import list_compositions, pack_spheres
from invdesign.structures.volumes import estimate_volume
from tests.support import campaign, relaxing


def space_of(**fields: Any) -> Any:
    """A space of crystals as a campaign would make it."""
    return load("spaces", {"kind": "crystal", **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "give either 'formula' or 'elements'"),
        ({"formula": "MgO", "elements": ["Mg", "O"]}, "give either 'formula' or 'elements'"),
        ({"formula": "MgO2x"}, "is not a formula"),
        ({"formula": "Li0.5CoO2"}, "Li0.5; a cell holds whole atoms"),
        ({"formula": "MgO", "formula_units": 0}, "formula_units must be 1 or more, got 0"),
        ({"formula": "MgO", "formula_units": [4, 1]}, r"lower bound is above the upper one: \[4, 1\]"),
        ({"formula": "MgO", "formula_units": 101}, "give 202 atoms; at most 200"),
        ({"formula": "MgO", "atoms": 4}, "'atoms' belong to 'elements'"),
        ({"elements": ["Mg", "O"], "formula_units": 2, "atoms": 4}, "'formula_units' belong to 'formula'"),
        ({"elements": ["Mg", "O"]}, "give 'atoms'"),
        ({"elements": [], "atoms": 4}, "at least"),
        ({"elements": ["Mg", "Mg"], "atoms": 4}, "Mg is named more than once"),
        ({"elements": ["Mgg"], "atoms": 4}, "'Mgg' is not an element symbol"),
        ({"elements": {"Mg": [0, 2], "O": [0, 2]}, "atoms": [9, 12]}, "no cell has 9 to 12 atoms of Mg, O"),
        (
            {"elements": ["Mg", "O"], "atoms": [3, 3], "oxidation_states": {"Mg": 2, "O": -2}},
            r"charges balance at no composition of 3 atoms of Mg, O with Mg \+2, O -2",
        ),
        (
            {"formula": "MgO2", "oxidation_states": {"Mg": 2, "O": -2}},
            "the charges of MgO2 balance at no number",
        ),
        ({"formula": "MgO", "oxidation_states": {"Mg": 2}}, "must name every element .* O is missing"),
        ({"formula": "MgO", "oxidation_states": {"Mg": 2, "O": -2, "S": -2}}, "S is none of them"),
        ({"formula": "MgO", "volume_per_atom": [20, 10]}, "leave no volume: 20 is above 10"),
        ({"formula": "MgO", "volume_per_atom": [0, 10]}, "greater than 0"),
        (
            {"formula": "MgO", "volume_per_atom": [8, 12], "cell": [4, 4, 4, 90, 90, 90]},
            "leave 'volume_per_atom' out",
        ),
        ({"formula": "MgO", "min_distances": {"Mg-S": 2}}, "min_distances name S"),
        ({"formula": "MgO", "min_distances": {"MgO": 2}}, "'MgO' is no pair of elements"),
        ({"formula": "MgO", "min_distances": {"Mg-O": 0}}, "above 0 and at most 10 Å, got 0"),
        ({"formula": "MgO", "min_distances": {"Mg-O": 2, "O-Mg": 1.9}}, "one pair of elements"),
        ({"formula": "MgO", "min_distances": {"O-O": 9}}, "cannot be packed: .* need .* Å³ per atom"),
        ({"formula": "MgO", "volume_per_atom": [0.1, 0.3]}, "cannot be packed"),
        ({"formula": "MgO", "formula_units": 40, "cell": [3, 3, 3, 90, 90, 90]}, "the fixed cell has 0.338"),
        ({"formula": "MgO", "cell": [4, 4, 4, 10, 10, 150]}, "cell has no volume"),
        ({"formula": "MgO", "cell": [[4, 0, 0], [0, 4, 0], [4, 4, 0]]}, "cell has no volume|cell is flat"),
        ({"formula": "MgO", "space_groups": [0]}, "numbers from 1 to 230"),
        ({"formula": "MgO", "space_groups": ["62-"]}, "no number or range|numbers from 1"),
        ({"formula": "MgO", "space_groups": ["Pnma"]}, "'Pnma' is no number or range of space groups"),
        (
            {"elements": {n: [0, 30] for n in ("Li", "Na", "K", "Rb", "Cs", "Fr")}, "atoms": [1, 60]},
            "more than 500,000 compositions",
        ),
    ],
)
def test_settings_that_leave_nothing_are_refused(fields: dict[str, Any], words: str) -> None:
    """The message names what was found and what is allowed, when the campaign is read."""
    with pytest.raises(ValidationError, match=words):
        space_of(**fields)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_compositions_are_all_that_balance(data: st.DataObject) -> None:
    """The list is that of counting through every composition and every assignment of states."""
    kinds = data.draw(st.integers(1, 3))
    bounds = [tuple(sorted(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))))) for _ in range(kinds)]
    states = [
        data.draw(st.lists(st.integers(-3, 4), min_size=1, max_size=2, unique=True)) for _ in range(kinds)
    ]
    atoms = tuple(sorted(data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))))
    wanted = set()
    for counts in product(*(range(low, high + 1) for low, high in bounds)):
        choices = [own for count, own in zip(counts, states, strict=True) for _ in range(count)]
        if atoms[0] <= sum(counts) <= atoms[1] and any(sum(chosen) == 0 for chosen in product(*choices)):
            wanted.add(counts)
    found = list_compositions(bounds, atoms, states)
    assert {tuple(row) for row in found.rows.tolist()} == wanted
    assert len(found) == len(wanted)
    assert all(found.allows(counts) for counts in wanted)


def test_compositions_that_cannot_be_packed_are_left_out() -> None:
    """Of a fixed cell's compositions those remain whose atoms fit in."""
    space = space_of(elements={"Ar": [1, 20]}, cell=[6, 6, 6, 90, 90, 90], min_distances={"Ar-Ar": 3.0})
    counts = {
        space.operators()["random"].apply((), np.random.default_rng(seed))["counts"]["Ar"]
        for seed in range(40)
        if space.operators()["random"].apply((), np.random.default_rng(seed))
    }
    assert max(counts) <= 11  # 216 Å³ x sqrt(2) / 27 Å³
    assert pack_spheres(np.array([[11], [12]]), np.array([[3.0]])) == pytest.approx([210.02, 229.1], abs=0.1)


@pytest.mark.parametrize(
    ("counts", "volume"),
    [
        ({"Mg": 1, "O": 1}, 18.7),
        ({"Al": 4, "O": 6}, 85.0),
        ({"Sr": 1, "Ti": 1, "O": 3}, 59.6),
        ({"Li": 2, "Si": 1, "O": 3}, 58.3),
        ({"Li": 15, "Si": 4}, 305.0),
        ({"Al": 4}, 66.4),
        ({"Ga": 1, "As": 1}, 45.2),
    ],
)
def test_volumes_of_crystals_are_near_their_estimates(counts: dict[str, int], volume: float) -> None:
    """Ions where charges balance, else elements: within the range that starts are drawn from, widened by a tenth."""
    assert 0.8 < volume / estimate_volume(counts) < 1.4


def test_numbers_and_ranges_are_the_same_settings() -> None:
    """A number stands for a range, and a state for a list of one; the dump gives an equal space."""
    a = space_of(
        elements={"Mg": 1, "O": [1, 1]}, oxidation_states={"Mg": 2, "O": [-2]}, space_groups=[2, "3-5"]
    )
    assert a == load("spaces", a.model_dump(mode="json"))
    assert a.operators()["random"].apply((), np.random.default_rng(0))["counts"] == {"Mg": 1, "O": 1}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"formula": "Al2Ox"}, "space.formula: 'Al2Ox' is not a formula"),
        ({"formula": "MgO", "formula_units": "one"}, 'space.formula_units: must be a whole number or [low, high], got "one"'),
        ({"formula": "MgO", "formula_units": [4, 1]}, "space.formula_units: the lower bound is above"),
        ({"elements": {"Mg": [4, 0], "O": 2}}, "space.elements.Mg: the lower bound is above the upper one: [4, 0]"),
        ({"formula": "MgO", "volume_per_atom": [5, 1]}, "space.volume_per_atom: the bounds leave no volume"),
        ({"formula": "MgO", "min_distances": {"Mg-Xx": 1}}, "space.min_distances: 'Xx' is not an element symbol"),
        ({"formula": "MgO", "cell": [4, 4, 4]}, "space.cell: must be [a, b, c, alpha, beta, gamma] in Å and degrees"),
        ({"formula": "MgO", "space_groups": [231]}, "space.space_groups: space groups have numbers from 1 to 230"),
        ({"formula": "MgO", "oxidation_states": {"Mg": [2, 2], "O": -2}}, "space.oxidation_states: Mg has a state twice"),
    ],
)  # fmt: skip
def test_mistakes_name_their_setting(fields: dict[str, Any], told: str) -> None:
    """Reading a campaign gives one mistake, at the place of the setting, for each wrong one."""
    with pytest.raises(CampaignError) as raised:
        campaign(relaxing(space={"kind": "crystal", **fields}))
    (mistake,) = raised.value.mistakes
    assert told in f"{mistake.path}: {mistake.message}"


def test_one_space_group_may_stand_alone() -> None:
    """A number in place of a list of one."""
    assert space_of(formula="MgO", space_groups=225) == space_of(formula="MgO", space_groups=[225])
