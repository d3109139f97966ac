"""Bands: saddles of known landscapes, ASE's barrier in fewer calls, symmetry, and paths that keep atoms apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.mep import NEB
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure

from invdesign.arrays import FloatArray
from invdesign.protocols import Potential, potential_of
from invdesign.settings import load
from surrogates.potentials.calculator import PotentialCalculator
from surrogates.transport.neb.band import CollapseError, relax_band
from surrogates.transport.neb.defects import Defects, Ends
from surrogates.transport.neb.hops import find_hops
from surrogates.transport.neb.lattices import Crystal, smallest_supercell
from surrogates.transport.neb.path import interpolate_path

COPPER = 29
FORCES = frozenset({"energy", "forces"})
Compute = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def emt() -> Potential:
    """Effective medium theory."""
    return potential_of(load("potentials", {"kind": "ase", "calculator": "emt"}))


def copper(a: float = 3.58) -> Structure:
    """The primitive cell."""
    return Structure(Lattice(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * a / 2), ["Cu"], [(0, 0, 0)])


@pytest.fixture(scope="module")
def vacancy() -> Ends:
    """Both ends of a vacancy's hop in copper."""
    crystal = Crystal.from_structure(copper())
    supercell = smallest_supercell(crystal, 7.0)
    defects = Defects(crystal, crystal.positions, COPPER, "vacancy", supercell, emt(), 0.02, 100)
    (hop,) = find_hops(crystal, crystal.positions, 3.0)
    return defects.find_ends(hop.hop, hop.reversals)


def computed(ends: Ends) -> Compute:
    """Energies and forces of arrangements of these atoms."""
    potential = emt()

    def compute(places: FloatArray) -> tuple[FloatArray, FloatArray]:
        atoms = [Atoms(numbers=ends.numbers, positions=p, cell=ends.cell, pbc=True) for p in places]
        found = potential.compute(atoms, FORCES)
        return np.array([item.energy for item in found]), np.array([item.forces for item in found])

    return compute


def ase_band(ends: Ends, path: FloatArray) -> tuple[float, int]:
    """Barrier by ASE's climbing band from the same path, and its calls."""
    images = [Atoms(numbers=ends.numbers, positions=p, cell=ends.cell, pbc=True) for p in path]
    for image in images:
        image.calc = PotentialCalculator(emt(), stress=False)
    calculators = [image.calc for image in images[1:-1]]
    BFGS(NEB(images, climb=True, method="improvedtangent"), logfile=None).run(fmax=0.05, steps=100)
    highest = max(image.get_potential_energy() for image in images)
    return highest - ends.energies[0], sum(one.calls for one in calculators)


def test_a_vacancy_in_copper_has_the_barrier_of_ase(vacancy: Ends) -> None:
    """The same path within 5 meV, without symmetry too, from fewer calls of the potential."""
    path = interpolate_path(vacancy.start, vacancy.end, vacancy.cell, 5)
    expected, calls = ase_band(vacancy, path)
    plain = relax_band(path, vacancy.energies, computed(vacancy))
    mirrored = relax_band(path, vacancy.energies, computed(vacancy), mirror=vacancy.mirrors[0])
    for band in (plain, mirrored):
        assert band.converged
        assert band.residual <= 0.05
        assert band.energies.max() - vacancy.energies[0] == pytest.approx(expected, abs=0.005)
    assert mirrored.calls < plain.calls < calls


def test_a_symmetric_path_stays_symmetric(vacancy: Ends) -> None:
    """Symmetry gives the second half exactly: image for image the same energies, and the ends are exchanged."""
    np.testing.assert_allclose(vacancy.mirrors[0](vacancy.start), vacancy.end, atol=1e-9)
    path = interpolate_path(vacancy.start, vacancy.end, vacancy.cell, 5)
    band = relax_band(path, vacancy.energies, computed(vacancy), mirror=vacancy.mirrors[0])
    energies, _ = computed(vacancy)(band.path)
    np.testing.assert_allclose(energies, energies[::-1], atol=1e-9)
    np.testing.assert_allclose(energies, band.energies, atol=1e-9)


def valley(tilt: float) -> Compute:
    """One particle in two wells of unequal depth, joined by a curved valley."""

    def compute(places: FloatArray) -> tuple[FloatArray, FloatArray]:
        x, y, z = places[:, 0, 0], places[:, 0, 1], places[:, 0, 2]
        off = y - 0.5 * x**2
        energies = (x**2 - 1) ** 2 + tilt * x + 4 * off**2 + z**2
        forces = np.zeros_like(places)
        forces[:, 0, 0] = -(4 * x * (x**2 - 1) + tilt - 8 * off * x)
        forces[:, 0, 1], forces[:, 0, 2] = -8 * off, -2 * z
        return energies, forces

    return compute


@pytest.mark.parametrize("tilt", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("images", [3, 4, 7])
def test_the_climbing_image_finds_the_saddle(tilt: float, images: int) -> None:
    """The energy of the highest image is that of the stationary point, wherever it lies between the images."""
    low, middle, high = np.sort(np.roots([4, 0, -4, tilt]).real)
    ends = [np.array([[x, 0.5 * x**2, 0.0]]) for x in (low, high)]
    path = ends[0] + np.linspace(0, 1, images + 2)[:, None, None] * (ends[1] - ends[0])
    compute = valley(tilt)
    energies, _ = compute(np.array(ends))
    band = relax_band(path, (float(energies[0]), float(energies[1])), compute, fmax=0.02)
    assert band.converged
    assert band.energies.max() == pytest.approx((middle**2 - 1) ** 2 + tilt * middle, abs=1e-3)
    assert band.path[band.highest, 0, 0] == pytest.approx(middle, abs=0.02)


def test_a_band_that_runs_out_of_steps_says_so() -> None:
    """It is returned as it is, not as converged."""
    path = np.linspace([[-1.0, 0.5, 0.5]], [[1.0, 0.5, 0.0]], 5)
    band = relax_band(path, (0.0, 0.0), valley(0.0), steps=1, fmax=1e-3)
    assert not band.converged
    assert band.residual > 1e-3
    assert band.moves == 1


def test_a_hopeless_band_is_left_early() -> None:
    """A path far above one that is known already costs no more calls."""
    path = np.linspace([[-1.0, 0.5, 0.0]], [[1.0, 0.5, 0.0]], 7)
    full = relax_band(path, (0.0, 0.0), valley(0.0), fmax=1e-3)
    left = relax_band(path, (0.0, 0.0), valley(0.0), fmax=1e-3, hopeless=0.5)
    assert left.abandoned
    assert not full.abandoned
    assert left.calls < full.calls


def test_images_that_become_one_are_refused() -> None:
    """Two images that lie on each other and cannot part in a move are no path."""
    path = np.array([[[x, 0.0, 0.0]] for x in (-30.0, 0.0, 1e-3, 15.0, 30.0)])

    def push(places: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.zeros(len(places)), np.ones_like(places)

    with pytest.raises(CollapseError, match="images 1 and 2 of the band became one"):
        relax_band(path, (0.0, 0.0), push)


def test_a_path_keeps_atoms_apart() -> None:
    """An atom that would pass another at 0.4 Å goes around it; atoms that are far away stay."""
    cell = np.eye(3) * 12.0
    start = np.array([[4.0, 6.0, 6.0], [6.0, 6.4, 6.0], [1.0, 1.0, 1.0]])
    end = start + np.array([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    path = interpolate_path(start, end, cell, 7)
    np.testing.assert_allclose(path[[0, -1]], [start, end])
    assert np.linalg.norm(path[:, 0] - path[:, 1], axis=1).min() > 1.2
    np.testing.assert_allclose(path[:, 2] - start[2], 0.0, atol=1e-9)


def test_a_path_through_the_border_of_the_cell_does_not_jump() -> None:
    """Atoms move straight, whatever images of the cell they pass."""
    cell = np.eye(3) * 6.0
    start = np.array([[5.5, 3.0, 3.0], [3.0, 3.0, 0.5]])
    end = start + np.array([[1.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    path = interpolate_path(start, end, cell, 5)
    assert np.linalg.norm(np.diff(path, axis=0), axis=2).max() < 0.5
