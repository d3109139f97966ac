"""Crystals from scratch: genomes, their normal form, sameness, and structures that become genomes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.candidate import canonical, genome_key, to_json
from invdesign.errors import Infeasible
from invdesign.protocols import DescribedSpace, HintingSpace, InheritingSpace, RecognisingSpace
from invdesign.settings import load

OXIDE = {
    "elements": {"Sr": [0, 4], "Ti": [0, 4], "O": [1, 8]},
    "oxidation_states": {"Sr": 2, "Ti": 4, "O": -2},
}


def space_of(**fields: Any) -> Any:
    """A space of crystals as a campaign would make it."""
    return load("spaces", {"kind": "crystal", **fields})


ALUMINA = space_of(formula="Al2O3")
MGO = space_of(formula="MgO")
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def draw(space: Any, seed: int) -> Any:
    """A start without symmetry."""
    found = None
    rng = np.random.default_rng(seed)
    while found is None:
        found = space.operators()["random"].apply((), rng)
    return found


def distance(space: Any, first: Any, second: Any) -> float:
    """Euclidean distance of two fingerprints."""
    a, b = space.fingerprints([first, second])
    return float(np.linalg.norm(a - b))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), formula=st.sampled_from(["Al2O3", "MgO", "Li2SiO3", "C"]))
def test_the_normal_form_is_a_fixed_point(seed: int, formula: str) -> None:
    """A start, and any crystal in a sheared cell with shifted atoms, is written in one way by `canonical`."""
    space = space_of(formula=formula, formula_units=[1, 2])
    genome = draw(space, seed)
    assert to_json(genome) == to_json(space.canonical(genome)) == to_json(canonical(genome))
    rng = np.random.default_rng(seed)
    positions = (np.array(genome["positions"]) + rng.integers(-3, 4, (len(genome["positions"]), 3))).tolist()
    a, b, c, d, e, f = genome["cell"]
    other = {**genome, "cell": [a, b + 2 * a, c, d - a, e, f]}
    again = space.canonical({**genome, "positions": positions})
    assert to_json(again) == to_json(genome)
    sheared = space.canonical(other)
    assert to_json(sheared) == to_json(space.canonical(sheared))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    system=st.sampled_from(["cubic", "hexagonal", "rhombohedral", "body", "face"]),
)
def test_cells_on_the_edge_of_reduction_stay_the_same(seed: int, system: str) -> None:
    """Where lengths or products are equal, rounding does not move the choice of the cell, even with noise of 1e-6."""
    rng = np.random.default_rng(seed)
    cells = {
        "cubic": np.eye(3) * 4.2,
        "hexagonal": Lattice.hexagonal(3.1, 4.3).matrix,
        "rhombohedral": Lattice.rhombohedral(4.7, 60.0).matrix,
        "body": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) * 2.1,
        "face": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.6,
    }
    cell = cells[system] @ (np.eye(3) + 1e-6 * rng.normal(size=(3, 3)))
    shear = np.array([[1, 0, 0], [rng.integers(-2, 3), 1, 0], [rng.integers(-2, 3), rng.integers(-2, 3), 1]])
    structure = Structure(shear @ cell, ["C"], [[0.1, 0.2, 0.3]])
    space = space_of(formula="C", formula_units=1, volume_per_atom=[1, 200])
    genome = space.adopt(structure, None)
    assert genome_key(genome) == genome_key(space.canonical(genome))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cell": [1, 2, 3]}, "cell must be six numbers"),
        ({"cell": [4.2, 0, float("nan"), 0, 0, 4.2]}, "cell must be finite numbers up to 1000 Å"),
        ({"cell": [1e9, 0, 4.2, 0, 0, 4.2]}, "cell must be six numbers|finite numbers up to"),
        ({"cell": [4.2, 0, 0, 0, 0, 4.2]}, "the cell has no volume"),
        ({"cell": [True, 0, 4.2, 0, 0, 4.2]}, "cell must be six numbers"),
        ({"cell": [90.0, 0, 90.0, 0, 0, 90.0]}, "the volume must be between .* Å³ per atom"),
        ({"cell": [0.9, 0, 30.0, 0, 0, 1.3]}, "Å apart"),
        ({"counts": {"Mg": 1, "S": 1}}, "'S' is no element of the space"),
        ({"counts": {"Mg": 2}}, "the space does not allow Mg2 in a cell"),
        ({"counts": {"Mg": 1, "O": -1}}, "whole numbers from 0 to 4, got -1 of O"),
        ({"counts": {"Mg": 10**12, "O": 1}}, "whole numbers from 0 to 4"),
        ({"counts": {}}, "counts must be numbers of atoms by element"),
        ({"counts": {"Mg": 1, "O": 1.0}}, "whole numbers from 0 to 4, got 1.0 of O"),
        ({"positions": [[0, 0, 0]]}, "positions must be one per atom: 2, got 1"),
        ({"positions": [[0, 0, 0], [0, 0]]}, "three fractional coordinates"),
        ({"positions": [[0, 0, 0], [0, 0, float("inf")]]}, "finite fractional coordinates"),
        ({"positions": [[0, 0, 0], [0, 0, "x"]]}, "three fractional coordinates"),
        ({"positions": [[0, 0, 0], [0, 0, 0]]}, "Mg and O are 0.00 Å apart"),
        ({"positions": "none"}, "positions must be one per atom"),
        ({"origin": 1}, "'origin' is wrong"),
    ],
)
def test_genomes_that_are_none_are_refused_in_words(change: dict[str, Any], words: str) -> None:
    """`build` names the part of a genome that is malformed, or the rule it breaks."""
    genome = {
        "cell": [3.0, 0, 3.0, 0, 0, 3.0],
        "counts": {"Mg": 1, "O": 1},
        "positions": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }
    MGO.build(genome)
    with pytest.raises(Infeasible, match=words):
        MGO.build({**genome, **change})


def test_the_space_keeps_its_contracts_and_travels() -> None:
    """Optional contracts are recognised, and a space with its operators can be pickled."""
    for contract in (InheritingSpace, RecognisingSpace, HintingSpace, DescribedSpace):
        assert isinstance(ALUMINA, contract)
    genome = draw(ALUMINA, 1)
    again = pickle.loads(pickle.dumps(ALUMINA))
    assert to_json(draw(again, 1)) == to_json(genome)
    assert ALUMINA.count() is None
    assert ALUMINA.size() is None
    for space in (ALUMINA, space_of(**OXIDE), space_of(elements=[*"HBCNOFPSKV"], atoms=[1, 3])):
        width = space.features([draw(space, 0)]).shape[1]
        assert width == len(space.descriptors()) <= 60


def test_a_primitive_and_a_repeated_cell_are_one_crystal() -> None:
    """Fingerprints agree for 2, 4 and 8 atoms of rocksalt, and differ from zinc blende and from a denser rocksalt."""
    genomes = [MGO.adopt(SALT.get_primitive_structure(), None), MGO.adopt(SALT, None)]
    assert [sum(genome["counts"].values()) for genome in genomes] == [2, 8]
    assert distance(MGO, *genomes) < 0.1 * MGO.alike
    blende = Structure.from_spacegroup("F-43m", Lattice.cubic(4.6), ["Mg", "O"], [[0, 0, 0], [0.25] * 3])
    denser = Structure(Lattice.cubic(4.21 * 0.95), SALT.species, SALT.frac_coords)
    swapped = Structure(SALT.lattice, [{"Mg": "O", "O": "Mg"}[str(x.specie)] for x in SALT], SALT.frac_coords)
    for other, same in ((blende, False), (denser, False), (swapped, True)):
        assert (distance(MGO, genomes[0], MGO.adopt(other, None)) < MGO.alike) == same


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_noise_of_relaxations_is_no_other_crystal(seed: int) -> None:
    """Strains of 0.1 % and displacements of 0.005 Å leave a crystal alike; those of 5 % and 0.3 Å do not."""
    rng = np.random.default_rng(seed)
    genome = draw(ALUMINA, seed)
    structure = ALUMINA.build(genome).structures["initial"]
    for strain, noise, same in ((1e-3, 0.005, True), (0.05, 0.3, False)):
        cell = structure.lattice.matrix @ (np.eye(3) + strain * rng.uniform(-1, 1, (3, 3)))
        moved = structure.frac_coords + noise * rng.uniform(-1, 1, (len(structure), 3)) @ np.linalg.inv(cell)
        try:
            other = ALUMINA.adopt(Structure(cell, structure.species, moved), genome)
        except Infeasible:
            assert not same
        else:
            assert (distance(ALUMINA, genome, other) < ALUMINA.alike) == same


def test_compositions_and_stacking_are_told_apart() -> None:
    """Fingerprints of pure elements have nothing in common; face-centred and hexagonal packing differ."""
    space = space_of(elements=["Cu", "Mg"], atoms=[1, 4])
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
    hexagonal = Structure(Lattice.hexagonal(2.553, 4.169), ["Cu", "Cu"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5]])
    magnesium = Structure(Lattice.hexagonal(3.2, 5.2), ["Mg", "Mg"], [[0, 0, 0], [1 / 3, 2 / 3, 0.5]])
    a, b, c = (space.adopt(item, None) for item in (cubic, hexagonal, magnesium))
    assert distance(space, a, b) > 2 * space.alike
    assert distance(space, b, c) == pytest.approx(np.sqrt(2.0))
