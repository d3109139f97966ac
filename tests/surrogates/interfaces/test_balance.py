"""Atoms of an interface are written as formula units of its solids."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from surrogates.interfaces.balance import BalanceError, Solid, balance_atoms

OXIDE = Solid("substrate", {"Li": 1.0, "Co": 1.0, "O": 2.0})
SULFIDE = Solid("film", {"Li": 3.0, "P": 1.0, "S": 4.0})
METAL = Solid("film", {"Li": 1.0})


def cell(*parts: tuple[Solid, int], more: dict[str, int] | None = None) -> Structure:
    """Cell of so many formula units of each solid, with their labels, and further ions on voids."""
    atoms = [
        (symbol, solid.side, symbol)
        for solid, units in parts
        for symbol, amount in solid.amounts.items()
        for _ in range(units * int(amount))
    ]
    atoms += [(symbol, "film", "") for symbol, count in (more or {}).items() for _ in range(count)]
    symbols, sides, natives = zip(*atoms, strict=True)
    places = [[k / len(atoms), 0, 0] for k in range(len(atoms))]
    labels = {"side": list(sides), "native": list(natives)}
    return Structure(Lattice.cubic(20.0), list(symbols), places, site_properties=labels)


units = st.integers(min_value=1, max_value=12)


@settings(max_examples=40, deadline=None)
@given(units, units, st.integers(min_value=0, max_value=5))
def test_units_and_excess_are_recovered(oxide: int, sulfide: int, ions: int) -> None:
    found = balance_atoms(cell((OXIDE, oxide), (SULFIDE, sulfide), more={"Li": ions}), [OXIDE, SULFIDE], "Li")
    assert found.units == pytest.approx((oxide, sulfide))
    assert found.excess == pytest.approx(ions)


@settings(max_examples=20, deadline=None)
@given(units, units, units)
def test_labels_decide_how_much_is_open_metal(oxide: int, metal: int, ions: int) -> None:
    """Lithium of the metal and lithium from the reservoir are one element."""
    found = balance_atoms(cell((OXIDE, oxide), (METAL, metal), more={"Li": ions}), [OXIDE, METAL], "Li")
    assert found.units == pytest.approx((oxide, metal))
    assert found.excess == pytest.approx(ions)


def test_two_sides_of_one_composition_are_told_apart_by_labels() -> None:
    twin = Solid("film", OXIDE.amounts)
    structure = cell((OXIDE, 4), (twin, 6))
    assert balance_atoms(structure, [OXIDE, twin]).units == pytest.approx((4, 6))
    bare = Structure(structure.lattice, structure.species, structure.frac_coords)
    with pytest.raises(BalanceError, match="its sites have no labels 'side'"):
        balance_atoms(bare, [OXIDE, twin])


def test_every_element_out_of_balance_is_named() -> None:
    structure = cell((OXIDE, 4), (SULFIDE, 2), more={"Li": 1, "N": 2})
    structure.remove_sites([k for k, site in enumerate(structure) if site.specie.symbol == "O"][:1])
    with pytest.raises(BalanceError, match=r"1 Li too many, 2 N too many, 1 O too few.*only Li is open"):
        balance_atoms(structure, [OXIDE, SULFIDE], "Li")
