"""Structures that become crystals of a space, and those that are none of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign.load import load_campaign
from invdesign.errors import CampaignError, Infeasible
from invdesign.settings import load
from invdesign.structures.files import structure_to_cif


def space_of(**fields: Any) -> Any:
    """A space of crystals as a campaign would make it."""
    return load("spaces", {"kind": "crystal", **fields})


SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MGO = space_of(formula="MgO", formula_units=4)
GENOME = MGO.adopt(SALT, None)


def stretched(factor: float) -> Structure:
    """Rocksalt in a larger or smaller cell."""
    return Structure(Lattice(SALT.lattice.matrix * factor), SALT.species, SALT.frac_coords)


def fallen_apart() -> Structure:
    """Rocksalt cut into slabs 7 Å apart."""
    cell = SALT.lattice.matrix * np.array([1.0, 1.0, 2.2])
    return Structure(cell, SALT.species, SALT.frac_coords * np.array([1.0, 1.0, 1 / 2.2]))


def without_last() -> Structure:
    """Rocksalt without one oxygen atom."""
    return Structure(SALT.lattice, SALT.species[:-1], SALT.frac_coords[:-1])


def half_filled() -> Structure:
    """Rocksalt with half of its oxygen."""
    return Structure(SALT.lattice, [{site.specie: 0.5} for site in SALT], SALT.frac_coords)


def not_finite() -> Structure:
    """Rocksalt with an atom nowhere."""
    positions = SALT.frac_coords.copy()
    positions[0] = np.nan
    return Structure(SALT.lattice, SALT.species, positions)


def flat() -> Structure:
    """Rocksalt in a cell without height."""
    return Structure(SALT.lattice.matrix * np.array([1.0, 1.0, 1e-9]), SALT.species, SALT.frac_coords)


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (stretched(0.5), "the volume must be between"),
        (stretched(2.0), "the volume must be between"),
        (stretched(1e4), "the volume must be between"),
        (fallen_apart(), "falls apart: parts of it are more than 5 Å from the rest"),
        (without_last(), "the atoms changed: Mg4O4 became Mg4O3"),
        (half_filled(), "partly occupied sites"),
        (not_finite(), "not finite"),
        (flat(), "collapsed, or cannot be reduced|the volume must be between"),
        (
            Structure(SALT.lattice, ["Mg"] * 4 + ["S"] * 4, SALT.frac_coords),
            "holds S; the space has Mg, O alone",
        ),
        (Structure(SALT.lattice, [], []), "no atoms"),
        (Structure(SALT.lattice, SALT.species, SALT.frac_coords * 0.3), "Å apart"),
    ],
)
def test_results_of_relaxations_that_are_no_crystal_are_refused(structure: Structure, words: str) -> None:
    """A changed number of atoms, a collapse, an explosion and parts that drifted apart each have their reason."""
    with pytest.raises(Infeasible, match=words):
        MGO.adopt(structure, GENOME)


def test_another_size_of_the_cell_is_fitted_to_the_space() -> None:
    """Primitive, conventional and repeated cells become the size that the space allows, and one crystal."""
    large = SALT.copy()
    large.make_supercell((2, 1, 1))
    for structure in (SALT.get_primitive_structure(), SALT, large):
        for parent in (None, GENOME):
            found = MGO.adopt(structure, parent)
            assert found["counts"] == {"Mg": 4, "O": 4}
            a, b = MGO.fingerprints([found, GENOME])
            assert np.linalg.norm(a - b) < 0.1 * MGO.alike
    with pytest.raises(Infeasible, match="does not allow Mg4O3 in a cell, nor multiples"):
        MGO.adopt(without_last(), None)


def test_layers_are_no_fallen_crystals() -> None:
    """Graphite with its gap of 3.35 Å, and caesium with neighbours 5.3 Å apart, hold together."""
    layers = Structure(
        Lattice.hexagonal(2.46, 6.7),
        ["C"] * 4,
        [[0, 0, 0], [1 / 3, 2 / 3, 0], [0, 0, 0.5], [2 / 3, 1 / 3, 0.5]],
    )
    assert space_of(formula="C").adopt(layers, None)["counts"] == {"C": 4}
    metal = Structure(Lattice.cubic(6.14), ["Cs", "Cs"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert space_of(formula="Cs").adopt(metal, None)["counts"] == {"Cs": 2}


def test_a_fixed_cell_takes_structures_in_it_alone() -> None:
    """The cell stays as given, also where a structure is turned or written in another basis of its lattice."""
    lattice = Lattice.from_parameters(4.0, 4.4, 4.8, 80, 95, 100)
    fixed = space_of(formula="MgO", formula_units=4, cell=[4.0, 4.4, 4.8, 80, 95, 100])
    structure = Structure(lattice, SALT.species, SALT.frac_coords + 0.05)
    genome = fixed.adopt(structure, None)
    built = fixed.build(genome).structures["initial"]
    assert built.lattice.abc == pytest.approx((4.0, 4.4, 4.8), abs=1e-5)
    shear = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    other = Structure(shear @ lattice.matrix, structure.species, structure.frac_coords @ np.linalg.inv(shear))
    a, b = fixed.fingerprints([genome, fixed.adopt(other, None)])
    assert np.linalg.norm(a - b) < 0.1 * fixed.alike
    with pytest.raises(Infeasible, match="not the fixed one"):
        fixed.adopt(SALT, None)
    with pytest.raises(Infeasible, match="must be the fixed one"):
        fixed.build({**genome, "cell": GENOME["cell"]})


CAMPAIGN = """
version: 1
name: seeded
space: {kind: crystal, formula: MgO, formula_units: [1, 4]}
evaluate: [minimum_distance]
objectives: [maximize: minimum_distance_ratio]
optimizer: random
budget: {candidates: 4}
seeds: [seed.cif]
"""


def test_structures_of_users_are_seeds(tmp_path: Path) -> None:
    """A file of the composition becomes a genome; one of another composition, or disordered, is refused by name."""
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    (tmp_path / "seed.cif").write_text(structure_to_cif(SALT))
    campaign = load_campaign(tmp_path / "campaign.yaml")
    assert campaign.seeds[0]["counts"] == {"Mg": 4, "O": 4}
    for structure, words in (
        (without_last(), "seeds.0.: .*Mg4O3 in a cell, nor multiples"),
        (half_filled(), "seeds"),
    ):
        (tmp_path / "seed.cif").write_text(structure.to(fmt="cif"))
        with pytest.raises(CampaignError, match=words):
            load_campaign(tmp_path / "campaign.yaml")
