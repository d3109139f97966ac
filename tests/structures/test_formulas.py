"""What cells of tables stand for."""

from __future__ import annotations

import pytest

from invdesign.errors import InvdesignError
from invdesign.spaces.pool.sources import structure_from
from invdesign.structures.formulas import composition_in

POSCAR = "rock salt\n1.0\n0 2 2\n2 0 2\n2 2 0\nLi F\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


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
    first = structure_from(POSCAR, "row 1").structure
    for text in (first.to(fmt="cif"), first.to(fmt="json")):
        assert structure_from(text, "row 1").structure.composition == first.composition
    with pytest.raises(InvdesignError, match=r"^row 1 cannot be read"):
        structure_from("nonsense", "row 1")
