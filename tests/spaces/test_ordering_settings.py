"""What a campaign may say about orderings, and what it is told where that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from invdesign.settings import load
from invdesign.spaces.ordered_sites.amounts import (
    AmountBounds,
    Range,
    SiteChoice,
    list_fillings,
    resolve_amounts,
)

HALF = {"A": {"Li": 0.5, "vacancy": 0.5}}


def space_of(**fields: Any) -> Any:
    """An ordering space as a campaign would make it."""
    return load("spaces", {"kind": "ordering", "parent": "layered", "cell": [2, 2, 1], **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sites": {"B": ["Li", "vacancy"]}}, "layered has no site 'B'"),
        ({"sites": {"A": ["Li"]}}, "nothing to order: every site takes a single species"),
        ({"sites": {"A": []}}, "at least 1"),
        ({"sites": {"A": ["Li", "vacancie"]}}, "'vacancie' is not an element symbol"),
        ({"sites": {"A": "Li"}}, r"expected species, got 'Li'; write \[Li, vacancy\]"),
        ({"sites": {"A": ["Li", "Li"]}}, "Li is named more than once"),
        ({"sites": {"A": ["Li", "vacancy"], "3a": ["Li", "vacancy"]}}, "name the same sites"),
        (
            {"sites": {"A": {"Li": 0.4, "vacancy": 0.6}}},
            r"is 4.8 Li, not a whole number; the nearest that fit are 4 \(4/12\) and 5 \(5/12\), and cells 5 or 10",
        ),
        ({"sites": {"A": {"Li": 13, "vacancy": "rest"}}}, "13 Li do not fit on the 12 sites 'A'"),
        ({"sites": {"A": {"Li": 4, "vacancy": 6}}}, "4 Li, 6 vacancy are fewer than that"),
        ({"sites": {"A": {"Li": 0.5, "vacancy": 0.75}}}, "6 Li, 9 vacancy are more than that"),
        ({"sites": {"A": {"Li": "half", "vacancy": "rest"}}}, "'half' is no amount"),
        ({"sites": {"A": {"Li": "1/0", "vacancy": "rest"}}}, "'1/0' is no amount"),
        ({"sites": {"A": {"Li": f"{10**400}/3", "vacancy": "rest"}}}, "is no amount"),
        ({"sites": {"A": {"Li": "1e999999999", "vacancy": "rest"}}}, "got inf"),
        ({"sites": {"A": {"Li": 1.5, "vacancy": "rest"}}}, "a fraction of the sites between 0.0 and 1.0"),
        ({"sites": {"A": {"Li": {"min": 0.51, "max": 0.55}, "vacancy": "rest"}}}, "no whole number of Li"),
        ({"sites": {"A": {"Li": {"min": 0.8, "max": 0.2}, "vacancy": "rest"}}}, "min is above max"),
        (
            {"sites": {"A": {"Li": {"min": 0.25, "max": 3}, "vacancy": "rest"}}},
            "3 atoms and a fraction do not mix",
        ),
        ({"sites": HALF, "cell": [2, 2]}, "expected three repeats"),
        ({"sites": HALF, "cell": [0, 2, 1]}, "repeated once or more"),
        ({"sites": HALF, "cell": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "span no volume"),
        ({"sites": HALF, "cells": [[1, 1, 1]]}, "give either 'cell' or 'cells'"),
        ({"sites": HALF, "cell": [1, 1, 1], "cells": [[2, 1, 1], [2, 1, 1]]}, "is named twice"),
        (
            {"sites": HALF, "cell": [1, 1, 1], "cells": [[2, 1, 1], [1, 1, 1]]},
            r"cell \[1, 1, 1\]: 0.5 of the 3 sites",
        ),
        ({"sites": HALF, "cell": [9, 9, 9]}, "a supercell of 8748 atoms is too large"),
        ({"sites": {"A": {"Li": 1, "vacancy": "rest"}}}, "there is a single ordering"),
        ({"sites": HALF, "oxidation_states": {"Li": [1], "Co": [3]}}, "charges balance at no composition"),
        ({"sites": HALF, "oxidation_states": {"Na": [1]}}, "oxidation_states name Na"),
        ({"sites": {"M": {"Co": 0.5, "Al": 0.5}}, "prerank": {"keep": 0.1}}, "species of different charge"),
        ({"sites": HALF, "parent": "layred"}, "layered"),
        ({"sites": HALF, "parent": "missing.cif"}, "there is no file"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], words: str) -> None:
    """Each with what was found and what would do."""
    with pytest.raises(ValidationError, match=words):
        space_of(**fields)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A file that is no structure."""
    file = tmp_path / "broken.cif"
    file.write_text("not a crystal")
    with pytest.raises(ValidationError, match=r"broken.cif cannot be read as CIF"):
        space_of(parent=str(file), sites=HALF)


def test_too_much_symmetry_is_refused() -> None:
    """Before it takes minutes and gigabytes."""
    with pytest.raises(
        ValidationError, match="symmetry operations on 864 sites are more than can be gone through"
    ):
        space_of(parent="rocksalt", cell=[6, 6, 6], sites={"M": {"Li": 0.5, "vacancy": 0.5}})


def test_files_are_parents(tmp_path: Path) -> None:
    """A crystal of the user's own is ordered as a prototype is."""
    from invdesign.structures.prototypes import find_prototype

    file = tmp_path / "own.cif"
    find_prototype("layered").build_structure().to(str(file))
    own = space_of(parent=str(file), sites={"Li": {"Li": 0.5, "vacancy": 0.5}})
    assert own.size() == space_of(sites=HALF).size()
    again = load("spaces", own.model_dump(mode="json"))
    assert again == own


@pytest.mark.parametrize(
    "amounts",
    [
        {"Li": 6, "vacancy": 6},
        {"Li": 0.5, "vacancy": "rest"},
        {"Li": "1/2", "vacancy": "1/2"},
        {"Li": {"min": 6, "max": 6}, "vacancy": "rest"},
        {"Li": {"min": 0.5, "max": 0.5}, "vacancy": "rest"},
    ],
)
def test_amounts_can_be_said_in_several_ways(amounts: dict[str, Any]) -> None:
    """Atoms, fractions, ratios, ranges and the rest."""
    space = space_of(sites={"A": amounts})
    assert {genome["A"].count("Li") for genome in map(space.genome, range(len(space)))} == {6}
    assert load("spaces", space.model_dump(mode="json")) == space


def test_a_range_up_to_one_means_all_sites() -> None:
    """`{min: 0.25, max: 1}` is a range of fractions: a whole bound beside a fraction is none of atoms."""
    assert Range(min=0.25, max=1).count_most(12) == 12
    assert Range(min=0.25, max=1).count_fewest(12) == 3
    assert Range(min=1, max=2).count_most(12) == 2
    assert (Range().count_fewest(5), Range().count_most(5)) == (0, 5)


def test_fractions_may_be_rounded() -> None:
    """0.333 of 12 sites is 4, as a person writes it; 0.35 is not."""
    choice = SiteChoice.model_validate({"Li": 0.333, "vacancy": "rest"})
    assert resolve_amounts("A", choice, 12) == AmountBounds((4, 0), (4, 12))
    with pytest.raises(ValueError, match="not a whole number"):
        resolve_amounts("A", SiteChoice.model_validate({"Li": 0.35, "vacancy": "rest"}), 12)


def test_fillings_are_all_that_the_bounds_allow() -> None:
    """Compared with going through everything."""
    bounds = AmountBounds((0, 1, 0), (3, 4, 2))
    wanted = [(a, b, c) for a in range(4) for b in range(1, 5) for c in range(3) if a + b + c == 5]
    assert list_fillings(bounds, 5) == wanted


def test_too_many_compositions_are_refused() -> None:
    """Wide ranges of many species are not listed without end."""
    sites = {"A": ["Li", "Na", "K", "vacancy"], "M": ["Ni", "Mn", "Co", "Al", "Fe"]}
    with pytest.raises(ValidationError, match="more than 100000 compositions"):
        space_of(cell=[4, 4, 1], sites=sites)


def test_single_species_replace_the_parents() -> None:
    """A group with one species is filled with it, beside one that is ordered."""
    space = space_of(sites={**HALF, "M": ["Ni"]})
    structure = space.build(space.genome(0)).structures["initial"]
    assert structure.composition.formula == "Li6 Ni12 O24"
    assert set(space.genome(0)) == {"A"}
