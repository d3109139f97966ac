"""The vocabulary of properties."""

from __future__ import annotations

import re

from invdesign.properties import HULL_DISTANCES, TRUTH_SECTIONS, describe_property
from tests.support import ROOT


def test_tables_of_truth_are_there() -> None:
    """A property names sections of docs/truth.md that exist."""
    text = (ROOT / "docs" / "truth.md").read_text(encoding="utf-8")
    assert set(TRUTH_SECTIONS) <= set(re.findall(r"^## (.+)$", text, re.MULTILINE))


def test_a_remark_says_where_a_property_is_compared() -> None:
    """Also with a suffix; a property that nobody compared has none."""
    for name in (*HULL_DISTANCES, "energy_above_hull_7net"):
        assert describe_property(name).remark.endswith("'Hull of battery phases, each left out'.")
    assert not describe_property("largest_displacement").remark
