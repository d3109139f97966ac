"""Molecular dynamics at constant temperature and cell, repeatable bit for bit from any step.

A step splits the equations of motion into half kicks, half drifts and an exchange of heat in the middle (BAOAB; B. Leimkuhler
and C. Matthews, Appl. Math. Res. Express 2013, 34). Two thermostats take the place of O:

- Equilibration: Langevin friction, an exact Ornstein-Uhlenbeck step. It brings every mode to its temperature, also in a
  harmonic crystal, and disturbs diffusion.
- Production: stochastic velocity rescaling (G. Bussi, D. Donadio and M. Parrinello, J. Chem. Phys. 126, 014101 (2007)). It
  scales all velocities by one number, keeps the canonical ensemble, and leaves diffusion as it is (G. Bussi and M. Parrinello,
  Comput. Phys. Commun. 179, 26 (2008)).

The centre of mass rests throughout, so there are 3 n - 3 degrees of freedom. Random numbers depend on the seed, the temperature
and the number of the step alone: nothing of a generator has to be kept for a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from invdesign.rng import rng_for
from invdesign.structures.files import MIN_ATOM_DISTANCE
from surrogates.pairs import find_pairs

if TYPE_CHECKING:
    from ase import Atoms

BOLTZMANN = 8.617333262e-5  # eV/K; CODATA 2018
ACCELERATION = 9.64853321e-3  # Å/fs^2 of 1 eV/Å on 1 amu; CODATA 2018
FRICTION = 0.01  # 1/fs, of the equilibration: velocities are new after 100 fs; chosen
RESCALING_TIME = 200.0  # fs, of the production; chosen: a few vibrations
MAX_TEMPERATURE_FACTOR = 3.0
"""Instantaneous temperature over the thermostat's above which a run has exploded. Chosen: six standard deviations of the
canonical ensemble for 8 atoms, sqrt(2 / (3 n - 3)) each."""
MAX_DRIFT = 0.02  # eV/atom by which the conserved energy may change at once; chosen: a fifth of kT at 1200 K
MAX_DRIFT_RATE = 0.005
"""eV/atom per ps by which it may change beyond that in the course of the production. Chosen: the thermostat takes up this much in
200 fs at 8 K from its temperature. CHGNet 0.3.0 at 2 fs stays far below (docs/dynamics.md)."""
RUNAWAY_REMEDY = (
    "lower 'timestep' (1 fs, or 0.5 fs with hydrogen), relax the structure first, or lower the temperatures"
)


class DynamicsError(InvdesignError):
    """A simulation ran away: hot, torn apart, or without conserved energy."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Temperature and steps of one simulation.

    Attributes:
        temperature: K.
        timestep: fs.
        equilibration: steps before anything is sampled.
        production: steps that are sampled.
        stride: steps from one frame to the next; divides `production`.
    """

    temperature: float
    timestep: float
    equilibration: int
    production: int
    stride: int

    @property
    def steps(self) -> int:
        """Number of all steps."""
        return self.equilibration + self.production

    @property
    def frames(self) -> int:
        """Number of frames, the one before the first step of the production included."""
        return self.production // self.stride + 1

    def count_frames(self, step: int) -> int:
        """Number of frames that are taken after `step` steps."""
        return max(0, (step - self.equilibration) // self.stride + 1)


@dataclass(slots=True)
class Trajectory:
    """State of a simulation and the frames it has taken, for n atoms.

    Attributes:
        step: steps done.
        positions: shape (n, 3), Å, never wrapped into the cell.
        velocities: shape (n, 3), Å/fs.
        forces: shape (n, 3), eV/Å.
        energy: potential energy, eV.
        heat: eV that the thermostats have given.
        kinetic: eV, sum of the kinetic energies after each step of the production.
        reference: eV, conserved energy at the start of the production.
        frames: shape (frames, n, 3), Å; only the first ones are filled before the end.
    """

    step: int
    positions: FloatArray
    velocities: FloatArray
    forces: FloatArray
    energy: float
    heat: float
    kinetic: float
    reference: float
    frames: FloatArray

    def to_arrays(self, schedule: Schedule) -> dict[str, NDArray[Any]]:
        """Convert to arrays by name, for a checkpoint; frames not yet taken are left out."""
        return {
            "step": np.array(self.step),
            "positions": self.positions,
            "velocities": self.velocities,
            "forces": self.forces,
            "sums": np.array([self.energy, self.heat, self.kinetic, self.reference]),
            "frames": self.frames[: schedule.count_frames(self.step)],
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], schedule: Schedule, n: int) -> Self:
        """Restore a trajectory of `n` atoms.

        Raises:
            ValueError: arrays are missing, of another shape or type, or not finite.
        """
        step = int(_check_array(arrays, "step", (), np.int64))
        if not 0 <= step <= schedule.steps:
            raise ValueError(f"step {step} is none of {schedule.steps}")
        state = {
            name: _check_array(arrays, name, (n, 3)).copy() for name in ("positions", "velocities", "forces")
        }
        energy, heat, kinetic, reference = (float(x) for x in _check_array(arrays, "sums", (4,)))
        taken = schedule.count_frames(step)
        frames = np.zeros((schedule.frames, n, 3))
        frames[:taken] = _check_array(arrays, "frames", (taken, n, 3))
        return cls(
            step=step,
            energy=energy,
            heat=heat,
            kinetic=kinetic,
            reference=reference,
            frames=frames,
            **state,
        )

    def mean_temperature(self, schedule: Schedule) -> float:
        """Mean temperature of the production, K."""
        degrees = 3 * len(self.positions) - 3
        return 2.0 * self.kinetic / (max(1, self.step - schedule.equilibration) * degrees * BOLTZMANN)


def _check_array(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...], dtype: type = np.float64
) -> NDArray[Any]:
    """Return an array if it has the shape and type, and finite numbers.

    Raises:
        ValueError: it has not.
    """
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"'{name}' is missing or not an array of finite numbers of shape {shape}")
    return array


class Integrator:
    """Integrates the motion of atoms in a fixed cell at one temperature.

    Args:
        atoms: start; periodic in all directions, two atoms or more.
        potential: gives energy and forces.
        schedule: temperature and steps.
        seed: of all random numbers.
    """

    def __init__(self, atoms: Atoms, potential: Potential, schedule: Schedule, seed: int) -> None:
        self._atoms = atoms.copy()
        self._potential = potential
        self._schedule = schedule
        self._seed = seed
        self._stream = f"dynamics {schedule.temperature!r} K"
        self._masses: FloatArray = np.asarray(atoms.get_masses(), dtype=np.float64)[:, None]
        self._thermal = BOLTZMANN * schedule.temperature
        self._degrees = 3 * len(atoms) - 3

    def start(self) -> Trajectory:
        """Start from the given positions, with velocities of the temperature.

        Raises:
            PotentialError: the potential has no answer.
        """
        rng = rng_for(self._seed, 0, self._stream)
        spread = np.sqrt(self._thermal / self._masses * ACCELERATION)
        velocities = self._rest_centre(spread * rng.standard_normal((len(self._atoms), 3)))
        positions = np.array(self._atoms.positions, dtype=np.float64)
        energy, forces = self._compute_forces(positions)
        frames = np.zeros((self._schedule.frames, len(self._atoms), 3))
        run = Trajectory(0, positions, velocities, forces, energy, 0.0, 0.0, 0.0, frames)
        self._record_frame(run)
        return run

    def advance(self, run: Trajectory) -> None:
        """Advance a trajectory by one step, in place.

        Raises:
            DynamicsError: the step shows that the simulation has run away.
            PotentialError: the potential has no answer for an arrangement.
        """
        half = 0.5 * self._schedule.timestep
        velocities = run.velocities + half * ACCELERATION * run.forces / self._masses
        positions = run.positions + half * velocities
        before = self._kinetic_energy(velocities)
        velocities = self._exchange_heat(velocities, before, run.step)
        heat = self._kinetic_energy(velocities) - before
        positions += half * velocities
        energy, forces = self._compute_forces(positions)
        velocities += half * ACCELERATION * forces / self._masses
        run.step += 1
        run.positions, run.velocities, run.forces = positions, velocities, forces
        run.energy, run.heat = energy, run.heat + heat
        kinetic = self._kinetic_energy(velocities)
        self._refuse_runaway(run, kinetic)
        if run.step > self._schedule.equilibration:
            run.kinetic += kinetic
        self._record_frame(run)

    def conserved_energy(self, run: Trajectory) -> float:
        """Energy without the heat of the thermostats, eV: constant but for errors of integration."""
        return run.energy + self._kinetic_energy(run.velocities) - run.heat

    def _record_frame(self, run: Trajectory) -> None:
        """Take a frame where one is due, and check energy and distances there."""
        plan = self._schedule
        sampled = run.step - plan.equilibration
        if sampled < 0 or sampled % plan.stride:
            return
        conserved = self.conserved_energy(run)
        if sampled == 0:
            run.reference = conserved
        run.frames[sampled // plan.stride] = run.positions
        drift = (conserved - run.reference) / len(self._atoms)
        limit = MAX_DRIFT + MAX_DRIFT_RATE * sampled * plan.timestep / 1000.0
        if abs(drift) > limit:
            raise DynamicsError(
                f"{self._describe_place(run)} the energy is not conserved: it drifted by {drift:.2g} eV/atom (limit {limit:.2g}); "
                f"{RUNAWAY_REMEDY}"
            )
        *_, distances = find_pairs(run.positions, self._atoms.cell.array, MIN_ATOM_DISTANCE)
        if len(distances):
            raise DynamicsError(
                f"{self._describe_place(run)} two atoms came as close as {distances.min():.2f} Å (limit {MIN_ATOM_DISTANCE:g} Å); "
                f"{RUNAWAY_REMEDY}"
            )

    def _refuse_runaway(self, run: Trajectory, kinetic: float) -> None:
        """Refuse numbers that are not finite, and a temperature far from the thermostat's."""
        if not np.isfinite([run.energy, kinetic, np.abs(run.forces).sum()]).all():
            raise DynamicsError(
                f"{self._describe_place(run)} the potential gave an energy or force that is not finite; {RUNAWAY_REMEDY}"
            )
        temperature = 2.0 * kinetic / (self._degrees * BOLTZMANN)
        limit = MAX_TEMPERATURE_FACTOR * self._schedule.temperature
        if temperature > limit:
            raise DynamicsError(
                f"{self._describe_place(run)} the atoms exploded: {temperature:.0f} K (limit {limit:.0f} K); {RUNAWAY_REMEDY}"
            )

    def _describe_place(self, run: Trajectory) -> str:
        """Place in the simulation, for messages: `at 1200 K after 0.31 ps`."""
        passed = run.step * self._schedule.timestep / 1000.0
        return f"at {self._schedule.temperature:g} K after {passed:.3g} ps"

    def _compute_forces(self, positions: FloatArray) -> tuple[float, FloatArray]:
        self._atoms.positions[:] = positions
        found = self._potential.compute([self._atoms], frozenset({"energy", "forces"}))[0]
        return float(found.energy), np.array(found.forces, dtype=np.float64)

    def _kinetic_energy(self, velocities: FloatArray) -> float:
        return float(0.5 * (self._masses * velocities**2).sum() / ACCELERATION)

    def _rest_centre(self, velocities: FloatArray) -> FloatArray:
        """Remove the motion of the centre of mass."""
        rest: FloatArray = velocities - (self._masses * velocities).sum(axis=0) / self._masses.sum()
        return rest

    def _exchange_heat(self, velocities: FloatArray, kinetic: float, step: int) -> FloatArray:
        """Apply the thermostat of this step.

        Args:
            velocities: shape (n, 3), Å/fs.
            kinetic: their kinetic energy, eV.
            step: steps done before.
        """
        rng = rng_for(self._seed, step + 1, self._stream)
        plan = self._schedule
        if step < plan.equilibration:
            kept = np.exp(-FRICTION * plan.timestep)
            spread = np.sqrt((1.0 - kept**2) * self._thermal / self._masses * ACCELERATION)
            # Projecting the whole keeps the ensemble: the motion of the centre is independent of all relative motion.
            return self._rest_centre(kept * velocities + spread * rng.standard_normal(velocities.shape))
        factor = rescaling_factor(
            kinetic, 0.5 * self._degrees * self._thermal, self._degrees, plan.timestep / RESCALING_TIME, rng
        )
        return self._rest_centre(factor * velocities)


def rescaling_factor(
    kinetic: float, mean: float, degrees: int, ratio: float, rng: np.random.Generator
) -> float:
    """Factor of velocities that drives the kinetic energy to its canonical distribution.

    Args:
        kinetic: kinetic energy, eV.
        mean: its canonical mean, eV.
        degrees: degrees of freedom.
        ratio: time step over relaxation time.
        rng: gives the noise.

    Source:
        G. Bussi, D. Donadio and M. Parrinello, J. Chem. Phys. 126, 014101 (2007), equations A7 and A8.
    """
    kept = np.exp(-ratio)
    first = rng.standard_normal()
    others = rng.chisquare(degrees - 1)
    fresh = (1.0 - kept) * mean / (degrees * kinetic)
    square = kept + fresh * (first**2 + others) + 2.0 * first * np.sqrt(kept * fresh)
    sign = 1.0 if first + np.sqrt(kept / fresh) >= 0 else -1.0
    return float(sign * np.sqrt(max(square, 0.0)))


def run_dynamics(
    atoms: Atoms,
    potential: Potential,
    schedule: Schedule,
    seed: int,
    restored: Trajectory | None = None,
    keep: Callable[[Trajectory], None] | None = None,
) -> Trajectory:
    """Run a simulation to its end.

    Args:
        atoms, potential, schedule, seed: as for `Integrator`.
        restored: an unfinished trajectory of exactly these arguments to go on with; the result is the same, bit for bit.
        keep: called after every step.

    Raises:
        DynamicsError: the simulation ran away.
        PotentialError: the potential has no answer for an arrangement.
    """
    integrator = Integrator(atoms, potential, schedule, seed)
    run = restored if restored is not None else integrator.start()
    while run.step < schedule.steps:
        integrator.advance(run)
        if keep is not None:
            keep(run)
    return run
