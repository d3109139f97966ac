"""Windows and the reactions that set their limits: the laws they obey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition

from invdesign.errors import MissingReferenceError
from invdesign.structures.formulas import write_formula
from surrogates.stability.hulls import phase_diagram
from surrogates.stability.reference import ReferenceSet, load_shipped_set
from surrogates.stability.windows import (
    CHARGES,
    ON_HULL,
    Reaction,
    electrochemical_window,
    products,
    window_deviations,
)
from tests.surrogates.references import made

NAME = "lithium-chalcohalides"
ELEMENTS = {"Li": -2.0, "O": -5.0, "Cl": -1.8}


def phase_energy(formula: str) -> float:
    """eV/atom, of the lowest phase of this formula in the shipped set."""
    return min(
        phase.energy_per_atom
        for phase in load_shipped_set(NAME).phases
        if formula in {phase.name, phase.formula}
    )


def hull(reference: ReferenceSet, composition: Composition) -> float:
    """eV/atom, of a set's hull."""
    diagram = phase_diagram(reference, composition.get_el_amt_dict())
    return float(diagram.get_hull_energy_per_atom(composition))


def imbalance(reaction: Reaction, candidate: Composition) -> dict[str, float]:
    """Atoms of each element, products less reactants; the candidate goes by its reduced formula."""
    left = {reaction.ion: reaction.ions}
    for sign, side in ((-1.0, reaction.reactants), (1.0, reaction.products)):
        for name, amount in side.items():
            for symbol, count in Composition(reaction.formulas.get(name, name)).get_el_amt_dict().items():
                left[symbol] = left.get(symbol, 0.0) + sign * amount * count
    assert set(left) <= set(candidate.get_el_amt_dict())
    return left


def energy_of(reference: ReferenceSet, formula: str, candidate: Composition, energy: float) -> float:
    """EV per formula unit of a phase of the set, or of the candidate."""
    unit = Composition(formula)
    if unit.reduced_formula == candidate.reduced_formula:
        return unit.num_atoms * energy
    return unit.num_atoms * min(
        phase.energy_per_atom
        for phase in reference.phases
        if Composition(phase.composition).reduced_formula == unit.reduced_formula
    )


def test_the_window_of_a_salt_is_its_formation_energy() -> None:
    """LiI is stable against the metal, and gives off lithium where iodine forms."""
    window = electrochemical_window(load_shipped_set(NAME), Composition("LiI"), phase_energy("LiI"), "Li")
    expected = phase_energy("Li") + phase_energy("I2") - 2 * phase_energy("LiI")
    assert window.reduction == pytest.approx(0.0, abs=1e-7)
    assert window.oxidation == pytest.approx(expected, abs=1e-6)
    assert not window.of_products


def test_a_sulfate_is_reduced_by_lithium() -> None:
    """Its window does not reach down to the metal."""
    window = electrochemical_window(
        load_shipped_set(NAME), Composition("Li2SO4"), phase_energy("Li2SO4"), "Li"
    )
    assert 1.0 < window.reduction < window.oxidation
    assert window.width == pytest.approx(window.oxidation - window.reduction)


@pytest.mark.parametrize(("ion", "oxide"), [("Li", "Li2O"), ("Mg", "MgO"), ("Al", "Al2O3")])
def test_voltage_counts_the_ions_charge(ion: Any, oxide: str) -> None:
    """Magnesium carries two electrons, aluminium three."""
    composition = Composition(oxide)
    reference = made({ion: -2.0, "O": -5.0, oxide: -6.0})
    window = electrochemical_window(reference, composition, -6.0, ion)
    bare = sum(
        amount * {ion: -2.0, "O": -5.0}[symbol] for symbol, amount in composition.get_el_amt_dict().items()
    )
    formation = composition.num_atoms * -6.0 - bare
    assert window.oxidation == pytest.approx(-formation / (composition[ion] * CHARGES[ion]), abs=1e-6)


@st.composite
def systems(draw: st.DrawFn) -> tuple[ReferenceSet, Composition, float]:
    """Random hulls of Li-O-Cl, a composition in it, and the candidate's distance to the hull."""
    formulas = ("Li2O", "LiCl", "Li2O2", "LiClO4", "Cl2O", "LiClO2", "Li5OCl3", "Cl2O7")
    depths = draw(st.lists(st.floats(0.05, 2.0), min_size=len(formulas), max_size=len(formulas)))
    energies = dict(ELEMENTS)
    for formula, depth in zip(formulas, depths, strict=True):
        fractions = Composition(formula).fractional_composition.get_el_amt_dict()
        energies[formula] = round(sum(x * ELEMENTS[symbol] for symbol, x in fractions.items()) - depth, 6)
    composition = draw(st.sampled_from(("Li3OCl", "Li4O2Cl", "Li7O2Cl3", "LiClO3", "LiOCl")))
    return made(energies), Composition(composition), draw(st.sampled_from((-0.3, -0.02, 0.0, 0.1)))


@settings(max_examples=40, deadline=None)
@given(system=systems())
def test_limits_are_the_slopes_of_the_hull(system: tuple[ReferenceSet, Composition, float]) -> None:
    """Toward less lithium and toward more, of the hull with the candidate where it lies below."""
    reference, composition, offset = system
    diagram = phase_diagram(reference, ["Li", "O", "Cl"])
    n, step = composition.num_atoms, 1e-5
    energy = diagram.get_hull_energy_per_atom(composition) + offset
    if offset < 0:
        diagram = phase_diagram(reference, ["Li", "O", "Cl"], [PDEntry(composition, n * energy)])

    def total(lithium: float) -> float:
        amounts = {**composition.get_el_amt_dict(), "Li": lithium}
        return float(diagram.get_hull_energy(Composition(amounts)))

    here = composition["Li"]
    window = electrochemical_window(reference, composition, energy, "Li")
    assert window.oxidation == pytest.approx(-2.0 - (total(here) - total(here - step)) / step, abs=2e-3)
    assert window.reduction == pytest.approx(-2.0 - (total(here + step) - total(here)) / step, abs=2e-3)
    assert 0 <= window.reduction <= window.oxidation + 1e-6
    assert window.of_products == (offset > 0)


def test_a_window_closes_where_the_phase_meets_its_products() -> None:
    """From below, the own window narrows to that of the products."""
    reference, formula = load_shipped_set(NAME), Composition("Li3OCl")
    widths = [
        electrochemical_window(reference, formula, hull(reference, formula) - x, "Li").width
        for x in (0.1, 0.01, 0.0)
    ]
    assert widths == sorted(widths, reverse=True)
    above = electrochemical_window(reference, formula, hull(reference, formula) + 0.2, "Li")
    assert above.width == pytest.approx(widths[-1], abs=1e-6)


def test_what_forms_beyond_a_limit_is_told() -> None:
    """Iodide with oxide gives iodate; that is what sets the oxidation limit of Li3OI."""
    reference = load_shipped_set(NAME)
    beyond = products(reference, Composition("Li3OI"), ion="Li", change="oxidised")
    assert set(beyond) == {"Li2O", "LiI-wurtzite", "LiIO3"}
    assert set(products(reference, Composition("Li3OI"), ion="Li", change="reduced")) == {
        "Li2O",
        "LiI-wurtzite",
        "Li",
    }


# --- laws ---


@settings(max_examples=20, deadline=None)
@given(system=systems(), scale=st.sampled_from((2.0, 3.0, 0.25)))
def test_a_window_knows_no_scale_and_no_order(
    system: tuple[ReferenceSet, Composition, float], scale: float
) -> None:
    """The same phase as a larger formula, its elements and the set's phases in another order."""
    reference, composition, offset = system
    energy = hull(reference, composition) + offset
    amounts = composition.get_el_amt_dict()
    other = Composition({symbol: scale * amounts[symbol] for symbol in reversed(list(amounts))})
    turned = reordered(reference)
    first = electrochemical_window(reference, composition, energy, "Li")
    for again in (
        electrochemical_window(reference, other, energy, "Li"),
        electrochemical_window(turned, composition, energy, "Li"),
    ):
        assert again.reduction == pytest.approx(first.reduction, abs=1e-6)
        assert again.oxidation == pytest.approx(first.oxidation, abs=1e-6)
        assert again.of_products == first.of_products


def reordered(reference: ReferenceSet) -> ReferenceSet:
    """The same phases, last first."""
    return reference.model_copy(update={"phases": tuple(reversed(reference.phases))})


@settings(max_examples=20, deadline=None)
@given(system=systems())
def test_an_irrelevant_phase_changes_nothing(system: tuple[ReferenceSet, Composition, float]) -> None:
    """A phase with an element of its own, and one far above the hull."""
    reference, composition, offset = system
    energy = hull(reference, composition) + offset
    more = made({**energies_in(reference), "NaCl": -9.0, "Na": -1.0, "LiO2": 1.0})
    first = electrochemical_window(reference, composition, energy, "Li")
    again = electrochemical_window(more, composition, energy, "Li")
    assert (again.reduction, again.oxidation) == pytest.approx((first.reduction, first.oxidation), abs=1e-7)
    assert [str(x) for x in (again.reduction_reaction, again.oxidation_reaction)] == [
        str(x) for x in (first.reduction_reaction, first.oxidation_reaction)
    ]


def energies_in(reference: ReferenceSet) -> dict[str, float]:
    """eV/atom by formula."""
    return {phase.formula: phase.energy_per_atom for phase in reference.phases}


@settings(max_examples=50, deadline=None)
@given(system=systems())
def test_a_limit_is_the_voltage_of_its_reaction(system: tuple[ReferenceSet, Composition, float]) -> None:
    """Every reaction is balanced in every element, and its energies give the limit of the linear program."""
    reference, composition, offset = system
    energy = hull(reference, composition) + offset
    window = electrochemical_window(reference, composition, energy, "Li")
    limits = {"reduction": window.reduction, "oxidation": window.oxidation}
    for name, limit in limits.items():
        reaction: Reaction | None = getattr(window, f"{name}_reaction")
        if reaction is None:
            assert limit == pytest.approx(0.0, abs=1e-6)
            continue
        assert (reaction.ions > 0) == (name == "oxidation")
        assert max(map(abs, imbalance(reaction, composition).values())) < 1e-6
        assert min(reaction.reactants.values()) == pytest.approx(1.0)
        change = sum(
            sign
            * amount
            * energy_of(reference, phase, composition, min(energy, hull(reference, composition)))
            for sign, side in ((-1, reaction.reactants), (1, reaction.products))
            for phase, amount in side.items()
        )
        assert (change + reaction.ions * -2.0) / reaction.ions == pytest.approx(limit, abs=1e-5)
        assert reaction.voltage == pytest.approx(limit, abs=1e-6)
        own = list(reaction.reactants) == [write_formula(composition)]
        assert own or window.of_products


def test_the_reaction_of_a_salt_is_written_as_chemists_do() -> None:
    """Its own reaction below the hull, that of the phase consumed above it."""
    reference = load_shipped_set(NAME)
    salt = electrochemical_window(reference, Composition("LiCl"), phase_energy("LiCl"), "Li")
    assert str(salt.oxidation_reaction) == "LiCl -> 1/2 Cl2 + Li"
    assert salt.reduction_reaction is None
    sulfate = electrochemical_window(reference, Composition("Li2SO4"), phase_energy("Li2SO4"), "Li")
    assert str(sulfate.reduction_reaction) == "Li2SO4 + 8 Li -> 4 Li2O + Li2S"
    level = hull(reference, Composition("Li3OI"))
    own, theirs = (
        electrochemical_window(reference, Composition("Li3OI"), level + offset, "Li")
        for offset in (-0.01, 0.05)
    )
    assert str(own.oxidation_reaction) == "Li3OI -> 2/3 LiI + 1/3 LiIO3 + 2 Li"
    assert str(theirs.oxidation_reaction) == "LiI + 3 Li2O -> LiIO3 + 6 Li"
    assert (own.decomposition, set(theirs.decomposition)) == (("Li3OI",), {"Li2O", "LiI"})


# --- the tolerance ---


@pytest.mark.parametrize("name", ["LiF", "LiCl", "LiBr", "LiI", "Li2O", "Li2S", "Li2Se", "Li2Te", "LiH"])
def test_a_salt_relaxed_again_is_on_the_hull(name: str) -> None:
    """Another relaxation ends a few tenths of a meV/atom higher; the window stays the phase's own and the same."""
    reference, formula, energy = load_shipped_set(NAME), Composition(name), phase_energy(name)
    first, again = (electrochemical_window(reference, formula, energy + x, "Li") for x in (0.0, 3e-4))
    assert not again.of_products
    assert (again.reduction, again.oxidation) == pytest.approx((first.reduction, first.oxidation), abs=1e-6)
    assert str(again.oxidation_reaction) == str(first.oxidation_reaction)


@pytest.mark.parametrize(("offset", "of_products"), [(0.9 * ON_HULL, False), (1.1 * ON_HULL, True)])
def test_the_hull_is_a_millielectronvolt_thick(offset: float, of_products: bool) -> None:
    """Limits do not jump where the name of the window changes."""
    reference, formula = load_shipped_set(NAME), Composition("Li3OCl")
    level = hull(reference, formula)
    window = electrochemical_window(reference, formula, level + offset, "Li")
    below = electrochemical_window(reference, formula, level - 1e-7, "Li")
    assert window.of_products == of_products
    assert (window.reduction, window.oxidation) == pytest.approx((below.reduction, below.oxidation), abs=1e-5)


def test_what_a_window_needs_is_named() -> None:
    """The metal in the set, and the ion where a change is asked for."""
    with pytest.raises(MissingReferenceError, match="lacks the element Li"):
        electrochemical_window(made({"O": -5.0, "Li2O": -6.0}), Composition("Li2O"), -6.0, "Li")
    with pytest.raises(ValueError, match="name the working ion: Li2O is oxidised by its exchange"):
        products(load_shipped_set(NAME), Composition("Li2O"), change="oxidised")
    with pytest.raises(ValueError, match="H2O has no Li"):
        products(load_shipped_set(NAME), Composition("H2O"), ion="Li", change="oxidised")


# --- uncertainty ---


@pytest.mark.parametrize(
    ("ion", "formula", "atoms_per_charge"), [("Li", "LiCl", 2.0), ("Mg", "MgO", 1.0), ("Al", "Al2O3", 5 / 6)]
)
def test_the_deviation_of_a_limit_counts_atoms_per_charge(
    ion: Any, formula: str, atoms_per_charge: float
) -> None:
    """By hand: LiCl gives off one electron from two atoms, MgO two from two, Al2O3 six from five."""
    composition = Composition(formula)
    anion = next(symbol for symbol in composition.get_el_amt_dict() if symbol != ion)
    reference = made({ion: -2.0, anion: -5.0, formula: -6.0})
    window = electrochemical_window(reference, composition, -6.0, ion)
    found = window_deviations(reference, composition, window, ion, 0.05)
    assert found["oxidation_limit"] == pytest.approx(0.05 * atoms_per_charge)


@settings(max_examples=20, deadline=None)
@given(system=systems(), shift=st.floats(1e-6, 1e-4))
def test_the_deviation_is_the_slope_of_the_limit(
    system: tuple[ReferenceSet, Composition, float], shift: float
) -> None:
    """Below the hull, an error of the candidate's energy moves each limit by that many volts."""
    reference, composition, offset = system
    energy = hull(reference, composition) - 0.05 - abs(offset)
    less, first, more = (
        electrochemical_window(reference, composition, energy + x, "Li") for x in (shift, 0.0, -shift)
    )
    found = window_deviations(reference, composition, first, "Li", shift)
    if str(less.oxidation_reaction) == str(first.oxidation_reaction) == str(more.oxidation_reaction):
        assert found.get("oxidation_limit", 0.0) == pytest.approx(more.oxidation - first.oxidation, abs=2e-6)
    if str(less.reduction_reaction) == str(first.reduction_reaction) == str(more.reduction_reaction):
        assert found.get("reduction_limit", 0.0) == pytest.approx(first.reduction - more.reduction, abs=2e-6)


def test_near_the_hull_the_next_reaction_bounds_the_deviation() -> None:
    """By hand: Li20S19 below LiS and Li2S gives off one ion of 39 atoms; that reaction alone would err by 1.95 V.

    50 meV/atom lower it turns to sulfur at 2.10 V, and 50 higher it is LiS and Li2S, whose limit is 1.90 V.
    """
    reference = made({"Li": 0.0, "S": 0.0, "LiS": -1.0, "Li2S": -1.3})
    composition = Composition("Li20S19")
    on_hull = -(19 * 2.0 + 1.9) / 39
    window = electrochemical_window(reference, composition, on_hull - 0.002, "Li")
    assert str(window.oxidation_reaction) == "Li20S19 -> 19 LiS + Li"
    assert window.oxidation == pytest.approx(1.9 + 0.078)
    found = window_deviations(reference, composition, window, "Li", 0.05)
    lower = (19 * 2.0 + 1.9 + 39 * 0.052) / 20
    expected = np.sqrt(((lower - window.oxidation) ** 2 + 0.078**2) / 2)
    assert found["oxidation_limit"] == pytest.approx(expected, abs=1e-4)
    assert found["oxidation_limit"] < 0.11


def test_limits_of_products_move_with_the_energies_of_the_phases_that_react() -> None:
    """LiI and 3 Li2O are 11 atoms, and give off 6 ions; the width's deviation is the sum of both limits'."""
    reference, composition = load_shipped_set(NAME), Composition("Li3OI")
    window = electrochemical_window(reference, composition, hull(reference, composition) + 0.1, "Li")
    assert str(window.oxidation_reaction) == "LiI + 3 Li2O -> LiIO3 + 6 Li"
    found = window_deviations(reference, composition, window, "Li", 0.05)
    assert found == {
        "oxidation_limit": pytest.approx(0.05 * 11 / 6, rel=0.02),
        "window_width": pytest.approx(found["oxidation_limit"]),
    }
    narrow = window_deviations(reference, composition, window, "Li", 1e-3)
    assert narrow["oxidation_limit"] == pytest.approx(1e-3 * 11 / 6)
