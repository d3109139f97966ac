"""Anti-perovskites by CHGNet 0.3.0, from five-atom cells to hull distances and windows.

The figures were computed once, independently of this package, for cubic cells against A2Ch + AX.
"""

from __future__ import annotations

from functools import cache

import pytest
from pymatgen.core import Composition, Lattice, Structure

from invdesign.settings import load
from surrogates.relaxation.relax import relax_structure
from surrogates.stability.coverage import FORMER_SETS
from surrogates.stability.evaluators import decomposition_energy, electrochemical_window
from surrogates.stability.reference import ReferenceSet, find_earlier_set, load_shipped_set

NAME = "lithium-chalcohalides"
pytestmark = pytest.mark.slow

# (octahedron's centre, cuboctahedral site) -> meV/atom
FIGURES = {("O", "Cl"): -20.0, ("O", "Br"): -17.0, ("O", "I"): 55.0, ("S", "Cl"): 167.0}
TOLERANCE = 5.0


@cache
def relaxed(centre: str, corner: str) -> tuple[Composition, float]:
    """Composition and energy (eV/atom) of the cubic cell, space group Pm-3m."""
    positions = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]
    structure = Structure(Lattice.cubic(3.91), ["Li", "Li", "Li", centre, corner], positions)
    found = relax_structure(structure, load("potentials", "chgnet"), fmax=0.01, smax=0.05)
    assert found.converged
    return found.structure.composition, found.energy / len(structure)


def distance(centre: str, corner: str, reference: ReferenceSet) -> float:
    """Decomposition energy in meV/atom."""
    return 1000 * decomposition_energy(reference, *relaxed(centre, corner))


@pytest.mark.parametrize(("centre", "corner"), FIGURES)
def test_decomposition_energies(centre: str, corner: str) -> None:
    """Oxide chloride and bromide lie below the hull of rocksalt halides, the iodide and the sulfide above it."""
    (hash,) = FORMER_SETS
    rocksalt = find_earlier_set(NAME, hash)
    assert rocksalt is not None
    assert distance(centre, corner, rocksalt) == pytest.approx(FIGURES[centre, corner], abs=TOLERANCE)


@pytest.mark.parametrize(("corner", "rise"), [("Cl", 0.3), ("Br", 8.4), ("I", 20.5)])
def test_wurtzite_halides_lower_the_hull(corner: str, rise: float) -> None:
    """Two atoms of five gain what the potential gives for wurtzite over rocksalt (0.6, 21 and 51 meV/atom)."""
    (hash,) = FORMER_SETS
    rocksalt = find_earlier_set(NAME, hash)
    assert rocksalt is not None
    found = distance("O", corner, load_shipped_set(NAME)) - distance("O", corner, rocksalt)
    assert found == pytest.approx(rise, abs=0.5)


def test_the_control_with_sulfur_in_the_octahedron() -> None:
    """Fluoride belongs on the octahedron's centre; the other way round is hopeless."""
    assert distance("S", "F", load_shipped_set(NAME)) > 350
    assert distance("F", "S", load_shipped_set(NAME)) == pytest.approx(75.0, abs=TOLERANCE)


@pytest.mark.parametrize(("centre", "corner"), [pair for pair in FIGURES if "O" in pair])
def test_the_figures_need_lithium_oxide(centre: str, corner: str) -> None:
    """Without Li2O in the reference every oxide misses its figure by far."""
    short = load_shipped_set(NAME).without_phases("Li2O")
    assert abs(distance(centre, corner, short) - FIGURES[centre, corner]) > 20 * TOLERANCE


def test_the_oxidation_limit_of_the_oxide_iodide() -> None:
    """2.36 V, where iodate forms; without LiIO3 it would seem to last longer."""
    whole = electrochemical_window(load_shipped_set(NAME), *relaxed("O", "I"), "Li")
    assert whole.oxidation == pytest.approx(2.36, abs=0.05)
    assert whole.of_products
    short = electrochemical_window(load_shipped_set(NAME).without_phases("LiIO3"), *relaxed("O", "I"), "Li")
    assert short.oxidation > whole.oxidation + 0.05


def test_the_shipped_energies_are_this_potentials() -> None:
    """A phase relaxed again from where the set left it has the set's energy."""
    potential = load("potentials", "chgnet")
    for phase in load_shipped_set(NAME).phases:
        if phase.name in {"Li", "Li2O", "LiCl", "LiIO3", "LiOH"}:
            found = relax_structure(phase.cell.build_structure(), potential, fmax=0.02, smax=0.1)
            assert found.energy / phase.n_atoms == pytest.approx(phase.energy_per_atom, abs=5e-4)
