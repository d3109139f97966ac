"""CHGNet against its own package and against the laws of physics; ASE calculators, safe by default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.errors import PluginError
from invdesign.settings import load
from surrogates.potentials import PotentialError
from surrogates.potentials.ase import ASECalculator
from surrogates.potentials.calculator import PotentialCalculator
from surrogates.potentials.chgnet import CHGNet
from surrogates.potentials.chgnet_network import build_crystal_graph, join_graphs

ALL = frozenset({"energy", "forces", "stress"})
MODELS = ("0.3.0", "0.2.0", "r2scan")


def antiperovskite(seed: int = 0, *, mixed: bool = False) -> Atoms:
    """Li3OCl, or Li6O2ClBr, off its symmetric positions."""
    cell = Atoms(
        "Li3OCl",
        scaled_positions=[(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5,) * 3, (0,) * 3],
        cell=[3.9] * 3,
    )
    cell.pbc = True
    if mixed:
        cell = cell.repeat((1, 1, 2))
        cell.symbols[-1] = "Br"
    cell.rattle(0.08, seed=seed)
    return cell


def crystals() -> list[Atoms]:
    """Few and many angles, one atom, a dense covalent crystal, and a loose metal without angles."""
    distorted = bulk("LiF", "rocksalt", 4.1)
    distorted.set_cell(
        distorted.cell.array @ (np.eye(3) + 0.02 * np.arange(9).reshape(3, 3) / 8), scale_atoms=True
    )
    return [antiperovskite(), antiperovskite(1, mixed=True), distorted, bulk("Si"), bulk("Li", a=4.0)]


@pytest.fixture(scope="module")
def chgnet() -> CHGNet:
    """The default checkpoint, on the CPU."""
    return CHGNet(device="cpu")


# The comparison is with the package's own calculator, which announces itself and converts tensors to scalars.
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
@pytest.mark.parametrize("model", MODELS)
def test_chgnet_gives_the_numbers_of_its_package(model: str) -> None:
    """Energies, forces and stress agree with `chgnet`'s calculator within single precision."""
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet as Package

    theirs = CHGNetCalculator(
        Package.load(model_name=model, use_device="cpu", verbose=False), use_device="cpu"
    )
    ours: CHGNet = load("potentials", {"kind": "chgnet", "model": model, "device": "cpu"})
    for atoms, found in zip(crystals(), ours.compute(crystals(), ALL), strict=True):
        atoms.calc = theirs
        assert found.energy == pytest.approx(float(atoms.get_potential_energy()), abs=2e-6 * len(atoms))
        np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=5e-5)
        np.testing.assert_allclose(found.stress, atoms.get_stress(voigt=False), atol=2e-6)


@pytest.mark.parametrize("model", MODELS)
def test_chgnet_says_the_same_alone_and_in_company(model: str) -> None:
    """A crystal's numbers do not depend on what else is in the batch, but for the last digits."""
    potential: CHGNet = load("potentials", {"kind": "chgnet", "model": model, "device": "cpu"})
    for atoms, together in zip(crystals(), potential.compute(crystals(), ALL), strict=True):
        (alone,) = potential.compute([atoms], ALL)
        assert together.energy == pytest.approx(alone.energy, abs=1e-6 * len(atoms))
        np.testing.assert_allclose(together.forces, alone.forces, atol=5e-6)


def test_chgnet_gives_plain_doubles(chgnet: CHGNet) -> None:
    """The network is in single precision; what leaves it can be written as JSON and added up."""
    (found,) = chgnet.compute([antiperovskite()], ALL)
    assert type(found.energy) is float
    assert found.forces.dtype == np.float64
    assert found.stress is not None
    assert found.stress.shape == (3, 3)
    np.testing.assert_array_equal(found.stress, found.stress.T)
    np.testing.assert_allclose(found.forces.sum(axis=0), 0, atol=1e-12)


def test_chgnet_spares_what_is_not_wanted(chgnet: CHGNet) -> None:
    """Without forces and stress there is no backward pass, and the energy is the same."""
    (cheap,) = chgnet.compute([antiperovskite()], frozenset({"energy"}))
    (full,) = chgnet.compute([antiperovskite()], ALL)
    assert cheap.energy == full.energy
    assert cheap.stress is None
    assert not cheap.forces.any()


def test_forces_are_the_slope_of_the_energy(chgnet: CHGNet) -> None:
    """Forces and stress against finite differences of the energy."""
    atoms, delta = antiperovskite(2), 0.003
    (found,) = chgnet.compute([atoms], ALL)
    moved = []
    for sign in (1, -1):
        for atom, axis in ((0, 1), (3, 2)):
            moved.append(atoms.copy())
            moved[-1].positions[atom, axis] += sign * delta
        for strain in (np.diag([1.0, 0, 0]), np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])):
            moved.append(atoms.copy())
            moved[-1].set_cell(atoms.cell.array @ (np.eye(3) + sign * delta * strain), scale_atoms=True)
    energies = [item.energy for item in chgnet.compute(moved, frozenset({"energy"}))]
    slopes = (np.array(energies[:4]) - np.array(energies[4:])) / (2 * delta)
    assert found.stress is not None
    volume = atoms.get_volume()
    expected = [
        -found.forces[0, 1],
        -found.forces[3, 2],
        found.stress[0, 0] * volume,
        found.stress[0, 1] * volume,
    ]
    np.testing.assert_allclose(slopes, expected, atol=0.02)


@settings(max_examples=8, deadline=None)
@given(shift=st.tuples(*[st.floats(-20, 20)] * 3), seed=st.integers(0, 1000), copies=st.integers(1, 3))
def test_chgnet_keeps_the_symmetries_of_space(shift: tuple[float, ...], seed: int, copies: int) -> None:
    """Translated, rotated, renumbered, repeated, or in a left-handed cell, it is the same crystal."""
    potential = CHGNet(device="cpu")
    atoms = antiperovskite(seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    order = rng.permutation(len(atoms))
    other = atoms[order]
    other.positions += shift
    other.set_cell(other.cell.array @ turn)
    other.positions = other.positions @ turn
    left_handed = atoms.copy()
    left_handed.set_cell(atoms.cell.array[[1, 0, 2]])
    base, moved, mirrored, repeated = potential.compute(
        [atoms, other, left_handed, atoms.repeat((1, copies, 1))], ALL
    )
    assert base.stress is not None
    assert moved.energy == pytest.approx(base.energy, abs=2e-5)
    np.testing.assert_allclose(moved.forces, base.forces[order] @ turn, atol=3e-4)
    np.testing.assert_allclose(moved.stress, turn.T @ base.stress @ turn, atol=1e-5)
    np.testing.assert_allclose(mirrored.stress, base.stress, atol=1e-5)
    assert repeated.energy == pytest.approx(copies * base.energy, abs=copies * 2e-5)


def test_a_graph_holds_every_bond_in_both_directions() -> None:
    """Two directions per bond, and the bonds of an angle meet in its corner."""
    graph = build_crystal_graph(antiperovskite(mixed=True), 6.0, 3.0)
    assert len(graph.directed) == 2 * len(graph.vectors)
    assert (np.bincount(graph.directed[:, 2]) == 2).all()
    corner, *bonds = graph.angles.T
    for bond in bonds:
        assert (graph.ends[bond] == corner[:, None]).any(axis=1).all()
    lengths = np.linalg.norm(graph.vectors, axis=1)
    assert lengths.max() <= 6.0
    assert lengths[graph.angles[:, 1:]].max() <= 3.0
    two = join_graphs([graph, graph])
    assert two.directed[len(graph.directed) :, 0].min() == len(graph.numbers)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (bulk("Cs", a=12.0), r"Cs: 1 atom\(s\) without a neighbour within 6 Å"),
        (bulk("Po", "sc", a=3.4), "not trained on Po"),
        (bulk("Li", a=1.0), "Å\\^3 per atom"),
        (Atoms("Li", positions=[(0, 0, np.nan)], cell=[3] * 3, pbc=True), "not finite"),
        (Atoms("Li2", positions=[(0, 0, 0), (0, 0, 3)]), "Å\\^3 per atom"),
    ],
)
def test_what_chgnet_cannot_describe_is_an_error_with_a_reason(
    chgnet: CHGNet, atoms: Atoms, message: str
) -> None:
    """Isolated atoms, elements it never saw, collapsed cells, broken numbers, molecules in no cell."""
    with pytest.raises(PotentialError, match=message):
        chgnet.compute([atoms], ALL)


def test_the_fingerprint_costs_nothing() -> None:
    """Name, version and a hash of the weights are known without loading torch or chgnet."""
    code = (
        "import sys; from surrogates.potentials.chgnet import CHGNet; print(CHGNet().fingerprint);"
        "assert not {'torch', 'chgnet', 'ase', 'pymatgen', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == CHGNet().fingerprint == "chgnet-0.3.0-d14ab7c0f093"


def test_checkpoints_have_fingerprints_and_names_of_their_own() -> None:
    """Energies of two checkpoints never meet; the device does not matter."""
    potentials = [load("potentials", {"kind": "chgnet", "model": model}) for model in MODELS]
    assert len({potential.fingerprint for potential in potentials}) == len(MODELS)
    assert CHGNet(device="cpu").fingerprint == CHGNet().fingerprint
    assert potentials[0].label == "CHGNet 0.3.0"


def test_a_device_that_is_not_there_is_refused() -> None:
    """Asking for a GPU on a machine without one says so."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(PluginError, match="'cuda' was asked for, and torch finds none"):
        CHGNet(device="cuda").compute([antiperovskite()], ALL)


def test_an_ase_calculator_gives_its_own_numbers() -> None:
    """EMT through the potential is EMT."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    (found,) = ASECalculator(calculator="emt").compute([atoms], ALL)
    atoms.calc = EMT()
    assert found.energy == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(found.forces, atoms.get_forces())
    np.testing.assert_allclose(found.stress, atoms.get_stress(voigt=False))


def test_an_ase_calculator_does_not_remember() -> None:
    """The same arrangement gives the same bits, whatever came between."""
    potential = ASECalculator(calculator="emt")
    one, two = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    one.rattle(0.1, seed=1)
    two.rattle(0.3, seed=2)
    (first,), _, (again,) = (potential.compute([atoms], ALL) for atoms in (one, two, one))
    assert first.energy == again.energy
    np.testing.assert_array_equal(first.forces, again.forces)


def test_arguments_reach_the_calculator() -> None:
    """Twice the depth of the well is twice the energy, and another fingerprint."""
    shallow, deep = (
        ASECalculator(calculator="lj", arguments={"epsilon": e, "sigma": 3.4}) for e in (0.01, 0.02)
    )
    atoms = bulk("Ar", "fcc", 5.3)
    assert deep.compute([atoms], ALL)[0].energy == pytest.approx(2 * shallow.compute([atoms], ALL)[0].energy)
    assert deep.fingerprint != shallow.fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"calculator": "emtt"}, "no calculator 'emtt'.*Did you mean 'emt'.*morse"),
        ({"calculator": "vasp"}, "runs without files or commands"),
        ({"calculator": "lj", "arguments": {"sigm": 3.4}}, "no argument 'sigm'. Did you mean 'sigma'"),
        ({"calculator": "emt", "arguments": {"restart": "file"}}, "no argument 'restart'"),
        ({"calculator": "own:Calculator"}, "--trust-code"),
    ],
)
def test_calculators_that_reach_out_are_refused(fields: dict[str, Any], message: str) -> None:
    """Only calculators that touch neither files nor commands have names; code needs trust."""
    with pytest.raises(ValidationError, match=message):
        load("potentials", {"kind": "ase", **fields})


def test_trusted_code_is_a_calculator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:Class` works where code is trusted, and its file is part of the fingerprint."""
    module = tmp_path / "own_calculator.py"
    module.write_text("from ase.calculators.emt import EMT\nclass Own(EMT):\n    pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    potential = load("potentials", {"kind": "ase", "calculator": "own_calculator:Own"}, trust_code=True)
    assert potential.compute([bulk("Cu")], ALL)[0].energy == pytest.approx(-0.006, abs=0.01)
    assert "own_calculator" in potential.fingerprint
    with pytest.raises(ValidationError, match=r"cannot be loaded.*Missing"):
        load("potentials", {"kind": "ase", "calculator": "own_calculator:Missing"}, trust_code=True)


def test_an_element_without_parameters_is_named() -> None:
    """EMT knows copper, not lithium."""
    with pytest.raises(PotentialError, match="'emt' fails on Li: No EMT-potential for Li"):
        ASECalculator(calculator="emt").compute([bulk("Li")], ALL)


@pytest.mark.parametrize("fields", [{"kind": "chgnet"}, {"kind": "ase", "calculator": "emt"}])
def test_potentials_travel_as_json(fields: dict[str, Any]) -> None:
    """A worker builds the same potential from its settings."""
    potential = load("potentials", fields)
    assert load("potentials", potential.model_dump(mode="json")) == potential


def test_the_wrapper_counts_calls() -> None:
    """One call serves energy, forces and stress of one arrangement; stress is not asked for where not wanted."""
    atoms = bulk("Cu")
    atoms.calc = PotentialCalculator(ASECalculator(calculator="emt"))
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    assert atoms.calc.calls == 1
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    atoms.get_forces()
    assert atoms.calc.calls == 2
    atoms.calc = PotentialCalculator(ASECalculator(calculator="emt"), stress=False)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
