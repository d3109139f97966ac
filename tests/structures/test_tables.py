"""What cells of tables stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.errors import InvdesignError
from invdesign.structures.tables import (
    composition_in,
    is_blank,
    no_number,
    number_in,
    numbers_in,
    separator_of,
    structure_in,
)

POSCAR = "rock salt\n1.0\n0 2 2\n2 0 2\n2 2 0\nLi F\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


@given(st.floats(allow_nan=False))
def test_numbers_survive_being_written(value: float) -> None:
    """A cell holds the number that was written, to the last digit, and infinity is a number."""
    assert number_in(repr(value)) == value
    assert number_in(f" {value!r} ") == value


@pytest.mark.parametrize("cell", ["", "  ", None, math.nan])
def test_blank_cells(cell: object) -> None:
    """Nothing, spaces and NaN are blank, and so no number either."""
    assert is_blank(cell)
    assert no_number(cell)


def test_words_for_nothing_are_blank_only_among_numbers() -> None:
    """NA says that there is no number, and is a word elsewhere."""
    assert no_number("N/A")
    assert not is_blank("N/A")
    assert number_in("<1e-10") is None
    assert not no_number("<1e-10")


def test_a_column_tells_missing_from_wrong() -> None:
    """Empty cells are NaN; words and infinities are wrong, and told by position."""
    values, wrong = numbers_in(["1.5", "", "n/a", "abc", "inf", 2])
    assert wrong == [3, 4]
    np.testing.assert_array_equal(values, [1.5, np.nan, np.nan, np.nan, np.nan, 2.0])
    values, wrong = numbers_in(["1", "inf"])
    assert wrong == [1]
    assert math.isnan(values[1])


@pytest.mark.parametrize(
    ("header", "separator"), [("a,b;c,d", ","), ("a;b", ";"), ("a\tb", "\t"), ("a", ",")]
)
def test_separator(header: str, separator: str) -> None:
    """The header tells what separates columns."""
    assert separator_of(header) == separator


@pytest.mark.parametrize("formula", ["", "Xx2", "steel", "12", "Li+"])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    """The message repeats what was found."""
    with pytest.raises(InvdesignError, match="is not a formula"):
        composition_in(formula)


def test_formulas() -> None:
    """Brackets and fractional amounts are read."""
    assert composition_in(" Li(Ni0.8Co0.2)O2 ").get_el_amt_dict() == {"Li": 1, "Ni": 0.8, "Co": 0.2, "O": 2}


def test_structures_are_told_apart_by_what_they_begin_with() -> None:
    """POSCAR, CIF and JSON text give the same crystal; anything else is refused under the row's name."""
    first = structure_in(POSCAR, "row 1")
    for text in (first.to(fmt="cif"), first.to(fmt="json")):
        assert structure_in(text, "row 1").composition == first.composition
    with pytest.raises(InvdesignError, match=r"^row 1 cannot be read"):
        structure_in("nonsense", "row 1")
