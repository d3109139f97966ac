"""Mixtures as crystals: the smallest supercell that holds them, arranged the same way each time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from invdesign.errors import Infeasible
from invdesign.settings import load
from invdesign.structures.files import structure_to_json


def space(**fields: Any) -> Any:
    """A mixture space."""
    return load("spaces", {"kind": "mixture", **fields})


def halides(**options: Any) -> Any:
    """Chlorine and bromine on the corners of the anti-perovskite."""
    structure = {"parent": "antiperovskite", "cell": {"max_atoms": 40}, **options}
    return space(mixtures={"X": ["Cl", "Br"]}, structure=structure)


def test_genomes_are_the_fractions_that_cells_hold() -> None:
    """Up to eight unit cells: all fractions with a denominator up to 8, each once."""
    found = halides()
    shares = {round(found.genome(i)["X"].get("Cl", 0.0), 9) for i in range(len(found))}
    assert shares == {round(n / d, 9) for d in range(1, 9) for n in range(d + 1)}
    assert len(found) == len(shares)


@pytest.mark.parametrize(("share", "cells"), [(0.5, 2), (0.333333333333, 3), (0.625, 8), (1.0, 1)])
def test_the_smallest_supercell_is_taken(share: float, cells: int) -> None:
    """A half needs two unit cells, five eighths need eight; the composition is that of the genome."""
    design = halides().build({"X": {"Cl": share, "Br": 1 - share} if share < 1 else {"Cl": 1.0}})
    structure = design.structures["initial"]
    assert len(structure) == 5 * cells
    assert structure.composition["Cl"] == round(share * cells)
    assert design.composition == structure.composition
    assert design.parameters["Cl"] == share


def test_fractions_that_no_cell_holds_are_refused_with_the_nearest() -> None:
    """A seed of the user's between the fractions of the cells is not rounded behind their back."""
    with pytest.raises(
        Infeasible, match=r"no allowed supercell holds .* nearest that can be held are Cl 0\.25, Br 0\.75"
    ):
        halides(cell={"multiples": [[1, 2, 2]]}).build({"X": {"Cl": 0.3, "Br": 0.7}})


def test_steps_of_the_file_and_of_the_cells_are_both_kept() -> None:
    """Steps of a quarter in cells of up to eight: quarters alone."""
    structure = {"parent": "antiperovskite", "cell": {"max_atoms": 40}}
    found = space(mixtures={"X": {"components": ["Cl", "Br"], "step": 0.25}}, structure=structure)
    shares = [found.genome(i)["X"].get("Cl", 0.0) for i in range(len(found))]
    assert sorted(shares) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_bounds_below_one_leave_the_fractions_of_cells_what_they_are() -> None:
    """Where no component may fill its sites, fractions are still those that a cell holds."""
    structure = {"parent": "antiperovskite", "cell": {"max_atoms": 20}}
    found = space(mixtures={"X": {"components": {"Cl": [0.3, 0.7], "Br": [0.3, 0.7]}}}, structure=structure)
    shares = sorted(found.genome(i)["X"]["Cl"] for i in range(len(found)))
    assert shares == pytest.approx([1 / 3, 0.5, 2 / 3])
    for index in range(len(found)):
        assert found.build(found.genome(index)).composition["Li"] % 3 == 0


def test_crystals_repeat() -> None:
    """The same genome is the same crystal in another space object, rattled or not."""
    genome = {"X": {"Cl": 0.375, "Br": 0.625}}
    texts = {structure_to_json(halides(rattle=0.05).build(genome).structures["initial"]) for _ in range(2)}
    assert len(texts) == 1


def test_equal_charges_are_arranged_at_random_in_pairs() -> None:
    """Chlorine and bromine in eight cells: no arrangement of four and four has more random pairs."""
    from invdesign.structures.quasirandom import Sublattice

    structure = halides(scale_lattice=False).build({"X": {"Cl": 0.5, "Br": 0.5}}).structures["initial"]
    assert len(structure) == 10
    structure = (
        halides(cell={"multiples": [[2, 2, 2]]}).build({"X": {"Cl": 0.5, "Br": 0.5}}).structures["initial"]
    )
    sites = [site for site in structure if site.specie.symbol in {"Cl", "Br"}]
    sublattice = Sublattice(structure.lattice.matrix, np.array([site.frac_coords for site in sites]))
    codes = np.array([int(site.specie.symbol == "Br") for site in sites])
    others = [sublattice.measure_misfit(np.random.default_rng(n).permutation(codes), 2) for n in range(300)]
    assert sublattice.measure_misfit(codes, 2) <= min(others) + 1e-12


def test_charges_are_arranged_by_electrostatics() -> None:
    """Half of the lithium of LiCoO2 taken out: vacancies and ions lie lower than random arrangements do."""
    from invdesign.structures.electrostatics import Electrostatics

    found = space(
        mixtures={"A": {"components": ["Li+"], "total": [0.25, 0.75]}, "M": {"components": ["Co", "Al3+"]}},
        mixed_valence={"Co": [3, 4]},
        structure={"parent": "layered", "cell": {"multiples": [[2, 2, 1]]}, "scale_lattice": False},
    )
    design = found.build({"A": {"Li+": 0.5}, "M": {"Co": 1.0}})
    structure = design.structures["initial"]
    assert Counter(site.specie.symbol for site in structure) == {"Li": 6, "Co": 12, "O": 24}
    parent = load(
        "spaces",
        {
            "kind": "mixture",
            "mixtures": {"M": ["Co", "Al"]},
            "structure": {"parent": "layered", "cell": {"multiples": [[2, 2, 1]]}},
        },
    )
    full = parent.build({"M": {"Co": 1.0}}).structures["initial"]
    lithium = [i for i, site in enumerate(full) if site.specie.symbol == "Li"]
    charges = np.array([{"Li": 1.0, "Co": 3.5, "O": -2.0}[site.specie.symbol] for site in full])
    sums = Electrostatics(full.lattice.matrix, full.frac_coords)

    def energy(kept: np.ndarray) -> float:
        own = charges.copy()
        own[[i for n, i in enumerate(lithium) if n not in kept]] = 0.0
        return float(sums.energy(own))

    def is_kept(site: int) -> bool:
        return any(
            other.specie.symbol == "Li"
            and np.allclose((other.frac_coords - full[site].frac_coords + 0.5) % 1, 0.5, atol=1e-6)
            for other in structure
        )

    ours = energy(np.array([n for n, i in enumerate(lithium) if is_kept(i)]))
    drawn = [energy(np.random.default_rng(n).permutation(12)[:6]) for n in range(200)]
    assert ours <= min(drawn) + 1e-6


def test_the_lattice_follows_the_radii() -> None:
    """Iodide on every corner makes a larger cell than chloride, whose own is the published one."""
    found = space(
        mixtures={"X": ["Cl", "I"]}, structure={"parent": "antiperovskite", "cell": {"max_atoms": 10}}
    )
    small, large = (found.build({"X": {name: 1.0}}).structures["initial"].lattice.a for name in ("Cl", "I"))
    assert small == pytest.approx(3.91)
    assert large > small


def test_the_lattice_of_the_parent_itself_is_the_published_one() -> None:
    """Also where an element is of mixed valence, whose mean charge is that of the parent."""
    found = space(
        mixtures={"M": ["Fe", "Mg2+"]},
        mixed_valence={"Fe": [2, 3]},
        structure={"parent": "olivine", "cell": {"max_atoms": 28}},
    )
    lattice = found.build({"M": {"Fe": 1.0}}).structures["initial"].lattice
    assert sorted(lattice.abc) == pytest.approx([4.69, 6.01, 10.33], abs=0.03)


def test_sites_may_be_named_apart_from_their_mixture() -> None:
    """One mixture on the sulfide and halide sites of an argyrodite, by labels."""
    found = space(
        mixtures={"anions": {"components": ["S2-", "Cl-", "Br-"], "present_from": 0.1}},
        structure={
            "parent": "argyrodite",
            "primitive": True,
            "cell": {"multiples": [[1, 1, 1], [1, 1, 2]]},
            "sites": {"S2": "anions", "X": "anions"},
        },
    )
    genome = next(g for g in map(found.genome, range(len(found))) if len(g["anions"]) == 3)
    structure = found.build(genome).structures["initial"]
    assert genome["anions"]["S2-"] == pytest.approx(0.5)  # what balances the charges
    assert structure.composition["Cl"] + structure.composition["Br"] == 2
