"""Ewald sums against published constants and pymatgen; arrangements against going through all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.rng import rng_for
from invdesign.structures.electrostatics import COULOMB_CONSTANT, Electrostatics, Filling
from invdesign.structures.prototypes import find_prototype

MADELUNG = {  # per formula unit and nearest distance: Kittel, Introduction to Solid State Physics, 8th ed., ch. 3
    "rocksalt": (225, [[0, 0, 0], [0.5, 0.5, 0.5]], 1 / 2, 1.747565),
    "CsCl": (221, [[0, 0, 0], [0.5, 0.5, 0.5]], np.sqrt(3) / 2, 1.762675),
    "zincblende": (216, [[0, 0, 0], [0.25, 0.25, 0.25]], np.sqrt(3) / 4, 1.6381),
}


@pytest.mark.parametrize("name", list(MADELUNG))
def test_madelung_constants(name: str) -> None:
    """Binary crystals have the constants of the textbook."""
    from pymatgen.core import Lattice, Structure

    group, positions, distance, constant = MADELUNG[name]
    crystal = Structure.from_spacegroup(group, Lattice.cubic(4.0), ["Na", "Cl"], positions)
    charges = np.array([1.0 if site.specie.symbol == "Na" else -1.0 for site in crystal])
    energy = Electrostatics(crystal.lattice.matrix, crystal.frac_coords).energy(charges)
    found = -float(energy) * 4.0 * distance / COULOMB_CONSTANT / (len(crystal) / 2)
    assert found == pytest.approx(constant, abs=5e-5)


@pytest.mark.parametrize("name", ["layered", "olivine", "tavorite"])
@pytest.mark.parametrize("net", [0.0, -0.5])
def test_agrees_with_pymatgen(name: str, net: float) -> None:
    """Skewed cells, and cells with a net charge on a uniform background."""
    from pymatgen.analysis.ewald import EwaldSummation

    crystal = find_prototype(name).build_structure()
    charges = np.array(crystal.site_properties["oxidation_state"], dtype=np.float64)
    charges[0] += net
    ours = Electrostatics(crystal.lattice.matrix, crystal.frac_coords).energy(charges)
    crystal.add_oxidation_state_by_site(charges.tolist())
    assert float(ours) == pytest.approx(EwaldSummation(crystal, acc_factor=14).total_energy, rel=1e-7)


def _layer(cell: tuple[int, int, int]) -> tuple[Electrostatics, tuple[int, ...], np.ndarray]:
    """Supercell of a layered oxide: (electrostatics, lithium sites, charges)."""
    crystal = find_prototype("layered").build_structure() * cell
    charges = np.array(crystal.site_properties["oxidation_state"], dtype=np.float64)
    sites = tuple(i for i, site in enumerate(crystal) if site.specie.symbol == "Li")
    return Electrostatics(crystal.lattice.matrix, crystal.frac_coords), sites, charges


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(-2, 2), min_size=12, max_size=12), st.lists(st.floats(-1, 1), min_size=3, max_size=3)
)
def test_energy_does_not_depend_on_the_description(charges: list[float], shift: list[float]) -> None:
    """Shifting all atoms, or naming the cell by other vectors, changes nothing; energies scale with 1/length."""
    crystal = find_prototype("layered").build_structure()
    q = np.array(charges)
    cell, positions = crystal.lattice.matrix, crystal.frac_coords
    energy = float(Electrostatics(cell, positions).energy(q))
    close = pytest.approx(energy, rel=1e-7, abs=1e-7)
    assert float(Electrostatics(cell, positions + np.array(shift)).energy(q)) == close
    other = np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]])
    skewed = Electrostatics(other @ cell, positions @ np.linalg.inv(other))
    assert float(skewed.energy(q)) == close
    assert 2.0 * float(Electrostatics(2.0 * cell, positions).energy(q)) == close


def test_energies_of_many_decorations() -> None:
    """A matrix of charges gives what its rows give."""
    electrostatics, _, charges = _layer((1, 1, 1))
    rows = np.stack([charges, 0.5 * charges, -charges])
    assert electrostatics.energy(rows) == pytest.approx([float(electrostatics.energy(row)) for row in rows])
    assert electrostatics.energy(charges).shape == ()


def test_arranges_as_going_through_all_does() -> None:
    """Half the lithium of a small cell ends where no arrangement is lower."""
    electrostatics, sites, charges = _layer((2, 2, 1))
    filling = Filling(sites, (6, 6), (1.0, 0.0))
    found = electrostatics.arrange_species([filling], rng_for(0, 0, "arrange"), fixed=charges, starts=8)
    rows = np.tile(charges, (924, 1))
    rows[:, list(sites)] = 0.0
    for row, chosen in zip(rows, combinations(sites, 6), strict=True):
        row[list(chosen)] = 1.0
    assert found.energy == pytest.approx(float(electrostatics.energy(rows).min()))
    again = charges.copy()
    again[list(sites)] = np.array(filling.charges)[found.species[0]]
    assert found.energy == pytest.approx(float(electrostatics.energy(again)))


def test_arranges_several_groups_deterministically() -> None:
    """Counts of every group are kept, and the generator decides everything."""
    electrostatics, sites, charges = _layer((2, 2, 1))
    fillings = [Filling(sites[:6], (2, 4), (1.0, 0.0)), Filling(sites[6:], (3, 2, 1), (1.0, 0.0, 2.0))]
    first, second = (
        electrostatics.arrange_species(fillings, rng_for(1, 0, "arrange"), fixed=charges) for _ in range(2)
    )
    assert first.energy == second.energy
    assert [np.bincount(codes).tolist() for codes in first.species] == [[2, 4], [3, 2, 1]]


def test_swaps_end_after_the_steps_given() -> None:
    """Without a step the arrangement is the random one that it starts from."""
    electrostatics, sites, charges = _layer((2, 2, 1))
    filling = Filling(sites, (6, 6), (1.0, 0.0))
    energies = [
        electrostatics.arrange_species(
            [filling], rng_for(2, 0, "a"), fixed=charges, starts=1, steps=steps
        ).energy
        for steps in (0, 1, 2, 100)
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > energies[1] > energies[-1]


def test_a_group_of_one_site_has_nothing_to_swap() -> None:
    """Groups that cannot vary are filled as they are."""
    electrostatics, sites, _ = _layer((1, 1, 1))
    found = electrostatics.arrange_species([Filling(sites[:1], (1,), (1.0,))], rng_for(0, 0, "one"))
    assert found.species[0].tolist() == [0]


def test_bad_input_is_refused() -> None:
    """Coinciding sites and counts that do not fill the sites are named."""
    with pytest.raises(ValueError, match="sites 0 and 1 are on one place"):
        _ = Electrostatics(np.eye(3), np.array([[0.0, 0, 0], [1.0, 0, 0]])).matrix
    with pytest.raises(ValueError, match=r"counts \(1, 1\) must fill 3 sites"):
        Filling((0, 1, 2), (1, 1), (1.0, 0.0))
    with pytest.raises(ValueError, match="needs a count of 0 or more and a charge"):
        Filling((0,), (1,), (1.0, 0.0))
