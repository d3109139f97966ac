"""The page on what is read says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from invdesign.structures.parents import DEFAULT_PARENT_ATOMS, MAX_PARENT_ATOMS, MAX_PRIMITIVE_SEARCH_ATOMS
from invdesign.structures.reading.documents import MAX_JSON_LENGTH, POSITION_TOLERANCE
from invdesign.structures.reading.overlaps import MIN_DISTANCE, MIN_RADIUS_SHARE, smallest_distance
from invdesign.structures.reading.raw import LIMIT_VARIABLES, LIMITS
from invdesign.structures.reading.read import POSCAR_NAMES, SUFFIXES

PAGE = (Path(__file__).parents[3] / "docs" / "reading.md").read_text(encoding="utf-8")


def row(start: str) -> list[str]:
    """The cells of a row of a table."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_formats() -> None:
    """Each suffix that is known is told."""
    for suffix in SUFFIXES:
        assert f"`{suffix}`" in PAGE
    assert all(f"`{name}...`" in PAGE for name in POSCAR_NAMES)


def test_limits() -> None:
    """Each limit with its value and its variable."""
    assert row("size of a file")[1:] == [f"{LIMITS.bytes // 10**6} MB", f"`{LIMIT_VARIABLES[0]}`"]
    assert row("size of a JSON file")[1] == f"{MAX_JSON_LENGTH // 10**6} MB"
    assert row("atoms of a cell")[1:] == [f"{LIMITS.atoms:,}", f"`{LIMIT_VARIABLES[1]}`"]
    assert row("atoms of a parent, whose")[1:] == [f"{DEFAULT_PARENT_ATOMS:,}", f"`{MAX_PARENT_ATOMS}`"]
    assert row("atoms of a parent with")[1] == f"{MAX_PRIMITIVE_SEARCH_ATOMS}"
    assert row("operations")[1:] == [f"{LIMITS.operations:,}", f"`{LIMIT_VARIABLES[2]}`"]
    assert row("structures in a file")[1:] == [f"{LIMITS.frames:,}", f"`{LIMIT_VARIABLES[3]}`"]
    low, high = LIMITS.volume_per_atom
    assert row("volume per atom")[1] == f"{low:g} to {high:,.0f} Å³"
    assert row("edges of the cell")[1] == f"{LIMITS.length[0]:g} to {LIMITS.length[1]:,.0f} Å"
    assert (
        row("angles of the cell")[1] == f"{LIMITS.angle[0]:g}° to {LIMITS.angle[1]:g}°; {LIMITS.height:g} Å"
    )
    assert row("coordinates")[1] == f"{LIMITS.coordinate:,.0f} cells"
    named = set(re.findall(r"INVDESIGN_\w+", PAGE)) - {MAX_PARENT_ATOMS}
    assert set(LIMIT_VARIABLES) <= named


@pytest.mark.parametrize(
    ("pair", "numbers"),
    [("Li-O", (3, 8)), ("O-O", (8, 8)), ("Na-Cl", (11, 17)), ("O-H", (8, 1)), ("H-H", (1, 1))],
)
def test_overlaps(pair: str, numbers: tuple[int, int]) -> None:
    """Distances by elements are those that are applied."""
    assert f"{pair} {smallest_distance(*numbers):.2f} Å" in PAGE
    assert f"closer than {MIN_RADIUS_SHARE:g} of the sum" in PAGE
    assert f"{MIN_DISTANCE:g} Å" in PAGE
    assert f"by more than {POSITION_TOLERANCE:g} Å" in PAGE
