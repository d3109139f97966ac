"""Formulas and structures in the cells of tables."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.errors import InvdesignError
from invdesign.spaces.pool.sources import read_structure_cell
from invdesign.structures.charges import element_symbols
from invdesign.structures.formulas import (
    describe_likely_slip,
    order_formula,
    parse_composition,
    tidy_formula,
    write_formula,
)

POSCAR = "rock salt\n1.0\n0 2 2\n2 0 2\n2 2 0\nLi F\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


READ = {
    " Li(Ni0.8Co0.2)O2 ": {"Li": 1, "Ni": 0.8, "Co": 0.2, "O": 2},
    "Na 3 Zr 2 Si 2 P O 12": {"Na": 3, "Zr": 2, "Si": 2, "P": 1, "O": 12},
    "Na\u2083PS\u2084": {"Na": 3, "P": 1, "S": 4},
    "Na\u2082.\u2089Sb\u2080.\u2089W\u2080.\u2081S\u2084": {"Na": 2.9, "Sb": 0.9, "W": 0.1, "S": 4},
    "Na\u2082\u00b7\u2089PS\u2084": {"Na": 2.9, "P": 1, "S": 4},
    "LiCl\u00b7H2O": {"Li": 1, "Cl": 1, "H": 2, "O": 1},
    "LiCl.H2O": {"Li": 1, "Cl": 1, "H": 2, "O": 1},
    "MgCl2\u22c56H2O": {"Mg": 1, "Cl": 2, "H": 12, "O": 6},
    "2MgO\u00b7SiO2": {"Mg": 2, "Si": 1, "O": 4},
    "NaOD": {"Na": 1, "O": 1, "H": 1},
    "[Li{Na}]2\u00a0O": {"Li": 2, "Na": 2, "O": 1},
    "Na.5CoO2": {"Na": 0.5, "Co": 1, "O": 2},
}


@pytest.mark.parametrize("formula", READ)
def test_formulas_as_they_are_printed(formula: str) -> None:
    """Brackets, fractions, subscripts, hydrates, spaces, deuterium."""
    assert parse_composition(formula).get_el_amt_dict() == pytest.approx(READ[formula])


@pytest.mark.parametrize(
    ("formula", "remedy"),
    [
        ("", "names no element"),
        ("Xx2", "'Xx' is not an element symbol"),
        ("steel", "'s' cannot be read here"),
        ("12", "begins with an amount"),
        ("Na+", "charges are no part of it"),
        ("Fe3+", "charges are no part of it"),
        ("BF\u2084\u207b", "charges are no part of it"),
        ("Na1-xCoO2", "amounts are not fixed"),
        ("NaxCoO2", "amounts are not fixed"),
        ("NaCoO2-\u03b4", "amounts are not fixed"),
        ("Na0,7CoO2", "write Na0.7CoO2, with a decimal point"),
        ("(Na,K)Cl", "a list of elements has no amounts"),
        ("60Na2S-40P2S5", "write 60Na2S\u00b740P2S5, where its amounts are moles"),
        ("67Na2S\u201333P2S5 (mol%)", "write 67Na2S\u00b733P2S5, where"),
        ("60Na2S-40P2S5 (wt%)", "joined by raised dots; multiply out"),
        ("\u03b2-Na3PS4", "write Na3PS4 alone"),
        ("tetragonal Na3SbS4", "write Na3SbS4 alone"),
        ("Na3SbS4 glass", "write Na3SbS4 alone"),
        ("Ca-doped Na3PS4", "write Na3PS4 alone"),
        ("Na3PS4:Ca", "write Na3PS4 alone"),
        ("CaCl2:2H2O", "write CaCl2\u00b72H2O"),
        ("NaNi1/3Fe1/3Mn1/3O2", "write NaNi0.3333Fe0.3333Mn0.3333O2"),
        ("NaNi(1/2)Mn(1/2)O2", "write NaNi0.5Mn0.5O2"),
        ("Na2S/P2S5", "'/' cannot be read here"),
        ("Na2S + NaCl", "may part two formulas; leave them out"),
        ("Na-2O", "cannot be negative"),
        ("MgSO4.7H2O", "write MgSO4\u00b77H2O"),
        ("MgCl2 6H2O", "write that with a raised dot"),
        ("Na2\u00b79PS4", "may be a decimal point"),
        ("NaNi0\u00b75Mn0\u00b75O2", "may be a decimal point"),
        ("LICL", "Did you mean LiCl?"),
        ("nafepo4", "Did you mean NaFePO4?"),
        ("Na<sub>2</sub>S", "it holds markup; write Na2S"),
        ("Na$_2$S", "it holds markup; write Na2S"),
        ("Na\u0421l", "cyrillic capital letter es"),
        ("Na3PS4 (NPS)", "write Na3PS4"),
        ("NaF NaCl", "its spaces may part two formulas"),
        ("Na2O x", "'x' cannot be read after a space"),
        ("Na(OH", "a bracket is not closed"),
        ("NaOH)", "brackets do not match"),
        ("Na2O@3", "'@' cannot be read here"),
        ("Na0", "all its amounts are 0"),
        ("Na" * 300, "longer than 400 characters"),
    ],
)
def test_what_is_no_formula_is_refused(formula: str, remedy: str) -> None:
    """The message repeats what was found, and says what to write."""
    with pytest.raises(
        InvdesignError, match=f"'{re.escape(formula.strip()[:60])}' is not a formula: .*{re.escape(remedy)}"
    ):
        parse_composition(formula)


@given(st.lists(st.tuples(st.sampled_from(element_symbols()), st.integers(1, 99)), min_size=1, max_size=6))
def test_formulas_come_back(parts: list[tuple[str, int]]) -> None:
    """A formula of any elements and amounts is read as pymatgen's own; in subscripts too."""
    text = "".join(f"{symbol}{amount}" for symbol, amount in parts)
    assert parse_composition(text) == Composition(text)
    subscripts = str.maketrans("0123456789", "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089")
    assert parse_composition(text.translate(subscripts)) == Composition(text)


@given(
    st.text(alphabet="LiNaCOPoSHFex0123456789.,()[]{}+-\u00b7\u2082\u207b <>_$ ", max_size=20)
    | st.text(max_size=20)
)
def test_no_text_is_a_stack_trace(text: str) -> None:
    """Any text is a composition with positive amounts, or refused in words."""
    with suppress(InvdesignError):
        assert sum(parse_composition(text).values()) > 0
    describe_likely_slip(text)


@pytest.mark.parametrize(
    ("formula", "doubt"),
    [
        ("NaFePo4", "read with Po (polonium); P and O are written PO"),
        ("NaNo3", "read with No (nobelium); N and O are written NO"),
        ("Na3OCI", "read with C (carbon) and I (iodine); chlorine is written Cl"),
        ("NaCOO2", "cobalt is written Co"),
        ("NaSNS2", "tin is written Sn"),
        ("NaFePO4", ""),
        ("Na2CO3", ""),
        ("CH3COONa", ""),
        ("KSCN", ""),
        ("Na3OCl", ""),
    ],
)
def test_slips_that_are_formulas(formula: str, doubt: str) -> None:
    """Rare elements, and capitals that may be one element, are pointed out; carbonates and acetates are none."""
    assert doubt in describe_likely_slip(formula)
    assert bool(doubt) == bool(describe_likely_slip(formula))


def test_structures_are_told_apart_by_what_they_begin_with() -> None:
    """POSCAR, CIF and JSON text give the same crystal; anything else is refused under the row's name."""
    first = read_structure_cell(POSCAR, "row 1").structure
    for text in (first.to(fmt="cif"), first.to(fmt="json")):
        assert read_structure_cell(text, "row 1").structure.composition == first.composition
    with pytest.raises(InvdesignError, match=r"^row 1 cannot be read"):
        read_structure_cell("nonsense", "row 1")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Li3ClO", "Li3OCl"),
        ("LiAlPClO4", "LiAlPO4Cl"),
        ("Li12SBr(ClO)3", "Li12SO3BrCl3"),
        ("Li0.45Co1O2", "Li0.45CoO2"),
        ("H4NCl", "NH4Cl"),
        ("Li6PClO5", "Li6PO5Cl"),
        ("Li2ClO", "Li2OCl"),
        ("LiO4Cl", "LiClO4"),
        ("O7Cl2", "Cl2O7"),
        ("PCl3O", "POCl3"),
        ("FeClO", "FeOCl"),
        ("AlCl3O12", "AlCl3O12"),
        ("HClO4", "HClO4"),
        ("LiHO", "LiOH"),
        ("Li2HClO", "Li2OHCl"),
        ("CaH2O2", "Ca(OH)2"),
        ("Li3HO", "Li3HO"),
        ("H2O", "H2O"),
        ("NaHCO3", "NaHCO3"),
        ("KPH2O4", "KH2PO4"),
        ("Li2PNO2", "Li2PO2N"),
        ("LiNO3", "LiNO3"),
        ("O2", "O2"),
        ("no. 3", "no. 3"),
        ("", ""),
    ],
)
def test_formulas_are_shown_in_the_usual_order(stored: str, shown: str) -> None:
    """Oxides before halides, oxidised halogens before oxygen, no brackets over what is no group; what is no formula stays."""
    assert order_formula(stored) == shown


def test_formulas_with_groups_in_brackets_stay() -> None:
    """As reference sets have them; only one without groups is put in order."""
    assert [tidy_formula(text) for text in ("Li3Sc2(PO4)3", "LiBr(H2O)", "Li6PClO5")] == [
        "Li3Sc2(PO4)3",
        "LiBr(H2O)",
        "Li6PO5Cl",
    ]


@given(
    st.dictionaries(
        st.sampled_from(["H", "Li", "N", "O", "F", "Al", "P", "S", "Cl", "Br", "Zr"]),
        st.integers(1, 99),
        min_size=1,
    )
)
def test_a_formula_that_is_shown_is_the_composition(amounts: dict[str, int]) -> None:
    """Ordering elements changes no amount, and ordering twice nothing."""
    composition = Composition(amounts)
    shown = write_formula(composition)
    assert parse_composition(shown).almost_equals(Composition(composition.reduced_formula))
    assert order_formula(shown) == shown
