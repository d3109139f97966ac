"""Dynamics samples the canonical ensemble and repeats itself; diffusivities and their intervals are those of known walks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.protocols import Forces
from surrogates.potentials.ase import ASECalculator
from surrogates.transport.dynamics.arrhenius import (
    BOLTZMANN,
    ROOM_TEMPERATURE,
    fit_arrhenius,
    interval_of,
    nernst_einstein,
)
from surrogates.transport.dynamics.displacement import (
    CM2_PER_S,
    estimate_diffusion,
    lindemann_ratios,
    remove_drift,
)
from surrogates.transport.dynamics.integrator import (
    DynamicsError,
    Integrator,
    Schedule,
    rescaling_factor,
    run_dynamics,
)


@dataclass
class Harmonic:
    """Every atom is bound to its place by a spring of its own."""

    places: np.ndarray
    stiffness: float = 3.0  # eV/Å^2
    fingerprint: str = "harmonic"
    label: str = "springs"

    def prepare(self) -> None:
        pass

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> list[Forces]:
        away = [item.positions - self.places for item in atoms]
        return [Forces(self.stiffness / 2 * float((x**2).sum()), -self.stiffness * x) for x in away]


def grid(n: int = 3, apart: float = 3.0) -> Atoms:
    """A cubic grid of lithium and chlorine."""
    places = np.indices((n, n, n)).reshape(3, -1).T * apart
    symbols = ["Li" if k % 2 else "Cl" for k in range(len(places))]
    return Atoms(symbols, positions=places, cell=[n * apart] * 3, pbc=True)


def copper() -> Atoms:
    """32 atoms of copper at EMT's lattice constant."""
    corners = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]) * 3.59
    return Atoms("Cu4", positions=corners, cell=[3.59] * 3, pbc=True).repeat(2)


def kinetic_by_atom(velocities: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Kinetic energies of the atoms, eV."""
    from surrogates.transport.dynamics.integrator import ACCELERATION

    return 0.5 * atoms.get_masses() * (velocities**2).sum(axis=1) / ACCELERATION


def test_equipartition_between_elements_and_coordinates() -> None:
    """Under friction a harmonic crystal has kT/2 in every degree of freedom: light and heavy, moving and stretched."""
    atoms, temperature, steps = grid(), 600.0, 6000
    potential = Harmonic(atoms.positions.copy())
    integrator = Integrator(atoms, potential, Schedule(temperature, 2.0, steps, 100, 1), 3)
    run = integrator.start()
    kinetic, stretched = np.zeros(len(atoms)), 0.0
    for step in range(steps):
        integrator.advance(run)
        if step >= 500:
            kinetic += kinetic_by_atom(run.velocities, atoms)
            stretched += run.energy
    sampled = steps - 500
    expected = 1.5 * BOLTZMANN * temperature * (1 - 1 / len(atoms))  # the centre of mass rests
    lithium = np.array([symbol == "Li" for symbol in atoms.symbols])
    for kind in (lithium, ~lithium):
        assert kinetic[kind].mean() / sampled == pytest.approx(expected, rel=0.05)
    assert stretched / sampled / len(atoms) == pytest.approx(expected, rel=0.05)


def test_rescaling_gives_the_canonical_distribution_of_kinetic_energies() -> None:
    """Mean and variance of the kinetic energy are those of a gamma distribution, from any start."""
    rng, degrees, mean = np.random.default_rng(1), 45, 2.0
    energy, found = 20.0, []
    for _ in range(40_000):
        energy *= rescaling_factor(energy, mean, degrees, 0.1, rng) ** 2
        found.append(energy)
    sampled = np.array(found[500:])
    assert sampled.mean() == pytest.approx(mean, rel=0.02)
    assert sampled.var() == pytest.approx(2 * mean**2 / degrees, rel=0.1)


def test_production_keeps_temperature_momentum_and_energy() -> None:
    """Copper at 600 K: the mean temperature is the thermostat's, the centre rests, the energy without heat is constant."""
    atoms = copper()
    schedule = Schedule(600.0, 2.0, 200, 600, 1)
    integrator = Integrator(atoms, ASECalculator(calculator="emt"), schedule, 5)
    run = integrator.start()
    drifts = []
    while run.step < schedule.steps:
        integrator.advance(run)
        if run.step >= schedule.equilibration:
            drifts.append(integrator.conserved_energy(run) - run.reference)
    masses = atoms.get_masses()[:, None]
    assert np.abs((masses * run.velocities).sum(axis=0)).max() < 1e-10
    assert run.mean_temperature(schedule) == pytest.approx(600, rel=0.06)
    assert np.abs(drifts).max() / len(atoms) < 1e-3


def test_a_time_step_that_is_too_long_is_an_error_with_its_numbers() -> None:
    """Springs of 80 eV/Å^2 do not stand 5 fs on lithium: the atoms fly apart, and the message says when and what to do."""
    atoms = grid()
    stiff = Harmonic(atoms.positions.copy(), stiffness=80.0)
    with pytest.raises(DynamicsError, match=r"at 900 K after .* ps .*(exploded|conserved).*lower 'timestep'"):
        run_dynamics(atoms, stiff, Schedule(900.0, 5.0, 0, 400, 1), 0)


def test_without_a_number_from_the_potential_there_is_none() -> None:
    """Forces that are not finite stop the simulation."""
    atoms = grid()
    broken = Harmonic(np.full((len(atoms), 3), np.nan))
    with pytest.raises(DynamicsError, match="not finite"):
        run_dynamics(atoms, broken, Schedule(300.0, 1.0, 0, 200, 1), 0)


def walks(rng: np.random.Generator, frames: int, ions: int, diffusivity: float, spacing: float) -> np.ndarray:
    """Random walks of independent ions, in Å; diffusivity in cm^2/s, spacing in ps."""
    width = np.sqrt(2 * diffusivity / CM2_PER_S * spacing)
    steps = rng.normal(0, width, (frames - 1, ions, 3))
    return np.concatenate([np.zeros((1, ions, 3)), steps.cumsum(axis=0)])


def rattled(rng: np.random.Generator, paths: np.ndarray, width: float = 0.2) -> np.ndarray:
    """The same with vibrations."""
    return paths + rng.normal(0, width, paths.shape)


@pytest.mark.parametrize("together", [False, True])
def test_intervals_cover_the_diffusivity_of_random_walks(together: bool) -> None:
    """95 % intervals hold the true value in at least 90 % of 60 trajectories; noise is their spread, not far more.

    Ions that move `together`, in groups of four, have fewer independent walks than ions.
    """
    rng, true, spacing = np.random.default_rng(4), 2e-5, 0.05
    hits, values, widths = 0, [], []
    for number in range(60):
        paths = walks(rng, 401, 6 if together else 24, true, spacing)
        paths = np.repeat(paths, 4, axis=1) if together else paths
        found = estimate_diffusion(rattled(rng, paths), spacing, np.random.default_rng(number))
        low, high = interval_of(found.samples)
        hits += low <= true <= high
        values.append(found.diffusivity)
        widths.append(found.samples.std())
    assert np.mean(values) == pytest.approx(true, rel=0.1)
    assert hits >= (42 if together else 54)
    assert np.mean(widths) < 2.0 * np.std(values)
    if not together:
        assert np.mean(widths) > 0.8 * np.std(values)


def test_growth_counts_no_vibrations() -> None:
    """Ions that only rattle by an ångström do not diffuse; ions that walk grow by 6 D t."""
    rng, spacing = np.random.default_rng(2), 0.05
    still = estimate_diffusion(rattled(rng, np.zeros((401, 24, 3)), 1.0), spacing, rng)
    assert abs(still.growth) < 1.0
    assert still.bound > abs(still.diffusivity)
    paths = walks(rng, 401, 200, 1e-5, spacing)
    moving = estimate_diffusion(rattled(rng, paths, 0.3), spacing, rng)
    assert moving.growth == pytest.approx(6 * 0.1 * 20, rel=0.2)
    assert moving.bound > 1e-5


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 5))
@settings(max_examples=20, deadline=None)
def test_drift_of_the_framework_changes_nothing(seed: int, scale: float) -> None:
    """A crystal that drifts as a whole has the diffusivity of one at rest."""
    rng = np.random.default_rng(seed)
    frames = rattled(rng, walks(rng, 60, 10, 1e-5, 0.1))
    framework = np.arange(10) < 4
    frames[:, framework] = frames[0, framework] + rng.normal(0, 0.1, (60, 4, 3))
    drift = np.cumsum(rng.normal(0, scale, (60, 1, 3)), axis=0)
    still, moved = remove_drift(frames, framework), remove_drift(frames + drift, framework)
    a = estimate_diffusion(still[:, ~framework], 0.1, np.random.default_rng(0))
    b = estimate_diffusion(moved[:, ~framework], 0.1, np.random.default_rng(0))
    assert b.diffusivity == pytest.approx(a.diffusivity, rel=1e-6, abs=1e-12)


def test_lindemann_ratios_tell_a_melt_from_a_crystal() -> None:
    """The ratio of vibrations about sites is their width over the distance; in a melt it is far larger."""
    rng = np.random.default_rng(0)
    framework = np.ones(40, dtype=bool)
    elements = ["Cl"] * 20 + ["S"] * 20
    crystal = rattled(rng, np.zeros((200, 40, 3)), 0.15)
    ratios = lindemann_ratios(crystal, elements, framework, 3.0)
    assert ratios == pytest.approx({"Cl": 0.15 * 3**0.5 / 3, "S": 0.15 * 3**0.5 / 3}, rel=0.05)
    melt = lindemann_ratios(walks(rng, 200, 40, 5e-5, 0.05), elements, framework, 3.0)
    assert min(melt.values()) > 0.3


@given(energy=st.floats(0.05, 1.5), room=st.floats(-16, -6), noise=st.floats(0.0, 0.3))
@settings(max_examples=40, deadline=None)
def test_arrhenius_recovers_its_parameters(energy: float, room: float, noise: float) -> None:
    """Exact points give the activation energy and the extrapolation; the intervals of noisy ones hold them."""
    temperatures = [600.0, 800.0, 1000.0, 1200.0]
    slope = energy / BOLTZMANN
    true = [10**room * np.exp(-slope * (1 / t - 1 / ROOM_TEMPERATURE)) for t in temperatures]
    rng = np.random.default_rng(0)
    samples = [value * np.exp(rng.normal(0, noise, 2000)) for value in true]
    found = fit_arrhenius(temperatures, true, samples)
    assert found.activation_energy == pytest.approx(energy, abs=1e-6)
    assert found.room == pytest.approx(room, abs=1e-6)
    assert found.misfit < 1e-3 or noise < 1e-6
    low, high = interval_of(found.energies)
    assert low - 1e-9 <= energy <= high + 1e-9
    spread = noise * BOLTZMANN / np.std([1 / t for t in temperatures]) / 2  # of a fit to four points
    assert found.energies.std() == pytest.approx(spread, rel=0.1, abs=1e-6)


def test_no_line_through_a_diffusivity_that_is_not_positive() -> None:
    """There is no logarithm of it."""
    with pytest.raises(ValueError, match="not positive"):
        fit_arrhenius([600.0, 800.0, 1000.0], [1e-6, -1e-7, 1e-5], [np.full(10, 1e-6)] * 3)


def test_nernst_einstein_by_hand() -> None:
    """24 singly charged ions in 1000 Å^3 with 1e-8 cm^2/s conduct 1.5 mS/cm at 298 K; doubly charged ones four times that."""
    assert nernst_einstein(1e-8, 0.024, 1) == pytest.approx(1.497e-3, rel=1e-3)
    assert nernst_einstein(1e-8, 0.024, 2) == pytest.approx(4 * 1.497e-3, rel=1e-3)
