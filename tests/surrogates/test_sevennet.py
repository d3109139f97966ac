"""SevenNet against its own package and against the laws of physics; its checkpoint is read as data."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pydantic import ValidationError

from invdesign.errors import PluginError
from invdesign.settings import load
from surrogates.potentials import PotentialError, networks, sevennet
from surrogates.potentials.sevennet import SevenNet

ALL = frozenset({"energy", "forces", "stress"})
needs_sevenn = pytest.mark.skipif(find_spec("sevenn") is None, reason="needs the extra sevennet")


def crystals() -> list[Atoms]:
    """An ionic crystal of three elements, a salt under shear, a covalent crystal and a metal, none of them at rest."""
    first = Atoms(
        "Li3OCl",
        scaled_positions=[(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.5,) * 3, (0,) * 3],
        cell=[3.9] * 3,
        pbc=True,
    )
    found = [first, bulk("LiF", "rocksalt", 4.1), bulk("Si"), bulk("Li", a=3.5)]
    for number, atoms in enumerate(found):
        atoms.rattle(0.06, seed=number)
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + 0.02 * np.arange(9).reshape(3, 3) / 8), scale_atoms=True
        )
    return found


@pytest.fixture(scope="module")
def network() -> SevenNet:
    return SevenNet(device="cpu")


# --- without the package ---


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda _: None)
    with pytest.raises(PluginError, match=r"pip install 'invdesign\[sevennet\]'"):
        sevennet.find_checkpoint("7net-0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "7net-mf-0"}, "give modal, one of PBE, R2SCAN"),
        ({"modal": "PBE"}, "leave modal out"),
        ({"model": "7net-omni"}, "7net-mf-0"),
    ],
)
def test_mistakes_in_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        load("potentials", {"kind": "sevennet", **settings})


class _Harm:
    """An object that runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_a_checkpoint_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader takes tensors and arrays of numbers alone."""
    import torch

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "checkpoint.pth"
    torch.save({"model_state_dict": {"w": torch.ones(2)}, "config": {"shift": np.ones(3)}}, file)
    found = sevennet._read_checkpoint(file)
    assert found["config"]["shift"].tolist() == [1.0, 1.0, 1.0]
    torch.save({"model_state_dict": {}, "config": _Harm()}, file)
    with pytest.raises(PluginError, match="neither tensors nor arrays of numbers"):
        sevennet._read_checkpoint(file)
    assert not (tmp_path / "harm").exists()
    torch.save({"config": np.array([_Harm()], dtype=object)}, file)
    with pytest.raises(PluginError, match="neither tensors nor arrays of numbers"):
        sevennet._read_checkpoint(file)
    assert not (tmp_path / "harm").exists()


# --- with it ---


@needs_sevenn
def test_the_fingerprint_hashes_the_weights_and_loads_no_torch() -> None:
    settings = {"kind": "sevennet", "model": "7net-mf-0", "modal": "R2SCAN"}
    digest = hashlib.sha256(sevennet.find_checkpoint("7net-mf-0").read_bytes()).hexdigest()[:12]
    made = load("potentials", settings)
    assert made.fingerprint == f"sevennet-7net-mf-0-R2SCAN-{digest}"
    assert made.label == "SevenNet 7net-mf-0-R2SCAN"
    code = (
        "import sys; from invdesign.settings import load; load('potentials', 'sevennet').fingerprint; "
        "assert 'torch' not in sys.modules and 'sevenn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_sevenn
@pytest.mark.parametrize("settings", [{}, {"model": "7net-l3i5"}, {"model": "7net-mf-0", "modal": "R2SCAN"}])
@pytest.mark.filterwarnings("ignore")  # of the package's own calculator, which unpickles and announces itself
def test_the_numbers_are_those_of_the_package(settings: dict[str, Any]) -> None:
    """Energies, forces and stress agree with `sevenn`'s own calculator within single precision."""
    from sevenn.calculator import SevenNetCalculator

    ours = SevenNet(device="cpu", **settings)
    theirs = SevenNetCalculator(ours.model, device="cpu", modal=ours.modal)
    for atoms, found in zip(crystals(), ours.compute(crystals(), ALL), strict=True):
        atoms.calc = theirs
        assert found.energy == pytest.approx(float(atoms.get_potential_energy()), abs=2e-6 * len(atoms))
        np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=2e-5)
        np.testing.assert_allclose(found.stress, atoms.get_stress(voigt=False), atol=1e-6)


@needs_sevenn
def test_a_batch_gives_what_single_calls_do(network: SevenNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sevennet.BATCH_BONDS, "cpu", 10**6)
    together = network.compute(crystals(), ALL)
    for atoms, found in zip(crystals(), together, strict=True):
        alone = network.compute([atoms], ALL)[0]
        assert alone.energy == pytest.approx(found.energy, abs=1e-5)
        np.testing.assert_allclose(alone.forces, found.forces, atol=1e-5)
        np.testing.assert_allclose(alone.stress, found.stress, atol=1e-6)
        again = network.compute([atoms], ALL)[0]
        assert again.energy == alone.energy
        assert (again.forces == alone.forces).all()


@needs_sevenn
def test_forces_and_stress_are_slopes_of_the_energy(network: SevenNet) -> None:
    """Central differences, within what single precision leaves of them."""
    rng = np.random.default_rng(0)
    atoms = crystals()[0]
    found = network.compute([atoms], ALL)[0]

    def energy(changed: Atoms) -> float:
        return network.compute([changed], frozenset({"energy"}))[0].energy

    direction = rng.normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
    sides, cells = [], []
    for sign in (1, -1):
        moved, strained = atoms.copy(), atoms.copy()
        moved.positions += sign * 0.01 * direction
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * 2e-3 * strain), scale_atoms=True)
        sides.append(energy(moved))
        cells.append(energy(strained))
    assert (sides[1] - sides[0]) / 0.02 == pytest.approx(float((found.forces * direction).sum()), abs=2e-3)
    assert found.stress is not None
    slope = (cells[0] - cells[1]) / 4e-3 / atoms.get_volume()
    assert slope == pytest.approx(float((found.stress * strain).sum()), abs=2e-4)
    np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-5)


@needs_sevenn
def test_the_setting_of_the_cell_does_not_matter(network: SevenNet) -> None:
    """Moved, turned, renumbered, doubled: the same crystal."""
    for atoms in crystals():
        other = atoms.copy()
        other.translate([0.3, 0.7, 1.1])
        other.rotate(37, (1, 2, 3), rotate_cell=True)
        other = other[::-1].repeat((1, 1, 2))
        one, two = network.compute([atoms], ALL)[0], network.compute([other], ALL)[0]
        assert two.energy / 2 == pytest.approx(one.energy, abs=5e-6 * len(atoms))
        lengths = [np.sort(np.linalg.norm(item.forces, axis=1)) for item in (one, two)]
        np.testing.assert_allclose(np.repeat(lengths[0], 2), lengths[1], atol=2e-5)


@needs_sevenn
@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Po", cell=[3.3] * 3, pbc=True), "not trained on Po"),
        (Atoms("Li", cell=[12.0] * 3, pbc=True), "without a neighbour within 5 Å"),
        (Atoms("LiF", scaled_positions=[(0, 0, 0), (0.5,) * 3], cell=[0.5] * 3, pbc=True), "Å\\^3 per atom"),
        (Atoms("Li", positions=[(np.nan, 0, 0)], cell=[3.0] * 3, pbc=True), "not finite"),
    ],
)
def test_what_has_no_answer(network: SevenNet, atoms: Atoms, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        network.compute([atoms], ALL)


@needs_sevenn
def test_a_salt_relaxes_near_its_measured_lattice(network: SevenNet) -> None:
    """LiF, 4.027 Å at room temperature (R. W. G. Wyckoff, Crystal Structures, vol. 1 (1963)), within 2 %."""
    from pymatgen.core import Lattice, Structure

    from surrogates.relaxation.relax import relax_structure

    start = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Li", "F"], [[0, 0, 0], [0.5] * 3])
    found = relax_structure(start.get_primitive_structure(), network, fmax=0.02)
    assert found.converged
    assert (4 * found.structure.volume) ** (1 / 3) == pytest.approx(4.027, rel=0.02)
