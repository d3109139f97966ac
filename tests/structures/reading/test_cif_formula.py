"""Chemical formulas in the spellings of CIFs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.structures.reading.cif_formula import compare_formula, parse_formula, write_formula

ELEMENTS = st.sampled_from(["Li", "Na", "C", "Co", "O", "Cl", "Mn"])


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("Na3 P1 S4", {"Na": 3, "P": 1, "S": 4}),
        ("Na 3 P 1 S 4", {"Na": 3, "P": 1, "S": 4}),
        ("(Li0.9 Mg0.1)2 O", {"Li": 1.8, "Mg": 0.2, "O": 1}),
        ("C12 H16 O6, 2(H2 O)", {"C": 12, "H": 20, "O": 8}),
        ("Mg2+, 2(N O3 1-)", None),
        ("Mg 2+, 2(N O3 1-)", {"Mg": 1, "N": 2, "O": 6}),
        ("Na+ F-", {"Na": 1, "F": 1}),
        ("Fe3+ O2-", None),
        ("Fe.98 O", {"Fe": 0.98, "O": 1}),
        ("Mg D2 O2", {"Mg": 1, "H": 2, "O": 2}),
        ("Zn0.50(2) O", {"Zn": 0.5, "O": 1}),
        ("Na1-x Co O2", None),
        ("Wat2", None),
        (")(", None),
        ("", None),
    ],
)
def test_spellings(text: str, amounts: dict[str, float] | None) -> None:
    """Brackets, charges, multipliers and blanks are understood; what is not understood is nothing."""
    formula = parse_formula(text)
    assert (formula and dict(formula.amounts)) == (amounts and pytest.approx(amounts))


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.dictionaries(ELEMENTS, st.integers(1, 60), min_size=1, max_size=5),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_ratio_law(amounts: dict[str, int], units: int, other: int) -> None:
    """Contents agree with a formula exactly if they are a multiple of it."""
    formula = parse_formula(" ".join(f"{element}{amount}" for element, amount in amounts.items()))
    assert formula is not None
    contents = {element: float(amount * units) for element, amount in amounts.items()}
    same = compare_formula(formula, contents, {})
    assert same.agrees
    assert same.units == pytest.approx(units, rel=0.01)
    first = next(iter(contents))
    changed = {**contents, first: contents[first] + other}
    assert compare_formula(formula, changed, {}).agrees == (len(contents) == 1)


def test_written() -> None:
    """A formula of contents has the smallest whole numbers."""
    assert write_formula({"O": 12.0, "Co": 6.0, "Li": 6.0}) == "Co Li O2"
    assert write_formula({"Na": 1.4, "O": 4.0}) == "Na1.4 O4"
