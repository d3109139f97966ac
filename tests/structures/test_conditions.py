"""Conditions on generated crystals: read from words, refused where two parts contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from invdesign.protocols import Condition, Wish
from invdesign.structures.conditions import find_breach, list_sizes, make_condition, read_wish


def test_a_condition_from_words() -> None:
    """Elements are sorted, a formula is reduced, ranges of space groups are spelled out."""
    condition = make_condition(
        elements=["S", "Li", "P"], required=["Li"], formula="Li6P2S8", space_groups=["195-197"], atoms=(8, 24)
    )
    assert condition.elements == ("Li", "P", "S")
    assert condition.formula == (("Li", 3), ("P", 1), ("S", 4))
    assert condition.space_groups == (195, 196, 197)
    assert list_sizes(condition) == [8, 16, 24]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"elements": ["Xx"]}, "'Xx' is not an element symbol"),
        ({"formula": "Li0.5CoO2"}, "a cell holds whole atoms"),
        (
            {"elements": ["Li", "Cl"], "required": ["Na"]},
            "required names Na, and elements allow Cl, Li alone",
        ),
        ({"formula": "Li3PS4", "required": ["Na"]}, "required names Na, and the formula Li3PS4 holds none"),
        ({"formula": "Li3PS4", "elements": ["Li", "P"]}, "the formula Li3PS4 holds S"),
        ({"formula": "Li3PS4", "atoms": (9, 15)}, "atoms allow 9 to 15 .* multiples of 8 atoms"),
        ({"formula": "MgO", "formula_units": 1, "space_groups": [230]}, "space_groups allow 230"),
        ({"formula": "Li3Cl", "neutral": True}, "not neutral"),
        ({"formula_units": 2}, "without a formula"),
        ({"required": ["Li", "P", "S"], "atoms": 2}, "required names 3 elements, and atoms allow 2"),
        ({"atoms": (5, 3)}, "the lower first"),
        ({"space_groups": [231]}, "from 1 to 230"),
    ],
)
def test_contradictions_are_named(parts: dict[str, Any], message: str) -> None:
    """The message names the two parts that cannot be kept together."""
    with pytest.raises(ValueError, match=message):
        make_condition(**parts)


@pytest.mark.parametrize(
    ("counts", "group", "breach"),
    [
        ({"Li": 6, "P": 2, "S": 8}, 31, ""),
        ({"Li": 6, "P": 2, "O": 8}, 31, "not allowed"),
        ({"Li": 2, "S": 1}, 31, "P, which is required"),
        ({"Li": 7, "P": 1, "S": 6}, 31, "Li7PS6, not Li3PS4"),
        ({"Li": 3, "P": 1, "S": 4}, 31, "8 atoms"),
        ({"Li": 6, "P": 2, "S": 8}, 62, "space group 62"),
    ],
)
def test_breaches_are_named(counts: dict[str, int], group: int, breach: str) -> None:
    """The first part of the condition that a crystal breaks."""
    condition = Condition(
        elements=("Li", "P", "S"),
        required=("P",),
        formula=(("Li", 3), ("P", 1), ("S", 4)),
        formula_units=(2, 4),
        space_groups=(31,),
    )
    found = find_breach(counts, group, condition)
    assert breach in found
    assert bool(breach) == bool(found)


def test_wishes_from_words() -> None:
    """A target, a window or a direction; anything else is refused with an example."""
    assert read_wish("band_gap=2.0") == Wish("band_gap", target=2.0)
    assert read_wish("band_gap = 1.5..3") == Wish("band_gap", window=(1.5, 3.0))
    assert read_wish("e_above_hull=minimize") == Wish("e_above_hull", direction="minimize")
    for text in ("band_gap", "band_gap=", "=2", "band_gap=3..1", "band_gap=nan", "band_gap=small"):
        with pytest.raises(ValueError, match=r"a wish is NAME=2\.0"):
            read_wish(text)
