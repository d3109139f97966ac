"""Simulations of one crystal at several temperatures, and the reasons why they may give no number."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.protocols import Potential
from invdesign.rng import rng_for
from invdesign.structures.cells import measure_heights
from surrogates.pairs import find_pairs
from surrogates.relaxation.relax import to_atoms
from surrogates.transport.dynamics.checkpoint import Checkpoint
from surrogates.transport.dynamics.displacement import (
    Diffusion,
    estimate_diffusion,
    lindemann_ratios,
    remove_drift,
)
from surrogates.transport.dynamics.integrator import DynamicsError, Schedule, Trajectory, run_dynamics

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

MIN_GROWTH = 10.0
"""Å^2 per ion by which the mean squared displacement must grow at every temperature: about one hop of each ion. Below it the
diffusivity is that of a few hops (X. He et al., npj Comput. Mater. 4, 18 (2018))."""
MELTING_RATIO = 0.3
"""Lindemann ratio of all elements of the framework above which it has melted. Chosen: twice the 0.15 at which crystals melt
(Lindemann's criterion; doi 10.1038/s41598-021-97124-7 gives 0.1 to 0.15); in a melt it grows without end."""
MAX_FRAMES = 1000  # frames per temperature; chosen: the shortest lag of the fit is then 50 frames
CHECKPOINT_STEPS = 100  # steps between checkpoints; chosen: about half a minute of CHGNet with 100 atoms
MAX_LONGER = 30  # times the duration up to which a longer one is proposed; chosen
HEIGHT_TOLERANCE = 1e-3  # Å by which a cell may fall short of the smallest height, against rounding; chosen


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of the simulations at all temperatures.

    Attributes:
        ion: symbol of the element that moves.
        temperatures: K, hottest first: what melts or does not move at all is found at once.
        timestep: fs.
        equilibration: ps per temperature, not sampled.
        duration: ps per temperature, sampled.
        supercell: Å, smallest distance of two opposite faces of the cell.
    """

    ion: str
    temperatures: tuple[float, ...]
    timestep: float
    equilibration: float
    duration: float
    supercell: float

    def schedule_at(self, temperature: float) -> Schedule:
        """Schedule of the simulation at one temperature; its production is a whole number of frames."""
        steps = round(self.duration * 1000 / self.timestep)
        stride = -(-steps // MAX_FRAMES)
        return Schedule(
            temperature=temperature,
            timestep=self.timestep,
            equilibration=round(self.equilibration * 1000 / self.timestep),
            production=-(-steps // stride) * stride,
            stride=stride,
        )


@dataclass(frozen=True, slots=True)
class Motion:
    """Result at one temperature.

    Attributes:
        temperature: K.
        diffusion: of the ion.
        lindemann: Lindemann ratio of each element of the framework.
        measured: K, mean temperature of the production.
    """

    temperature: float
    diffusion: Diffusion
    lindemann: dict[str, float]
    measured: float


def build_supercell(structure: Structure, height: float) -> Atoms:
    """Repeat a cell along its axes until opposite faces are at least `height` (Å) apart."""
    heights = measure_heights(structure.lattice.matrix)
    repeats = np.maximum(np.ceil((height - HEIGHT_TOLERANCE) / heights), 1).astype(int)
    return to_atoms(structure).repeat(tuple(int(n) for n in repeats))


def measure_motion(
    atoms: Atoms,
    potential: Potential,
    plan: Plan,
    temperature: float,
    seed: int,
    checkpoint: Checkpoint | None,
) -> Motion:
    """Simulate one temperature and measure how ion and framework move.

    Args:
        atoms: the supercell.
        potential: gives forces.
        plan: of all simulations.
        temperature: K.
        seed: of all random numbers.
        checkpoint: to go on from and to write; None keeps none.

    Raises:
        DynamicsError: the simulation ran away, or the framework melted.
        PotentialError: the potential has no answer for an arrangement.
    """
    schedule = plan.schedule_at(temperature)
    restored = checkpoint.read(schedule, len(atoms)) if checkpoint is not None else None
    run = run_dynamics(atoms, potential, schedule, seed, restored, keep_checkpoints(checkpoint, schedule))
    elements = atoms.get_chemical_symbols()
    framework: BoolArray = np.array([element != plan.ion for element in elements])
    frames = remove_drift(run.frames, framework)
    nearest = _nearest_distance(run.frames[0][framework], atoms)
    motion = Motion(
        temperature=temperature,
        diffusion=estimate_diffusion(
            frames[:, ~framework],
            schedule.stride * schedule.timestep / 1000.0,
            rng_for(seed, 0, f"bootstrap {temperature!r} K"),
        ),
        lindemann=lindemann_ratios(frames, elements, framework, nearest),
        measured=run.mean_temperature(schedule),
    )
    _refuse_melt(motion)
    return motion


def keep_checkpoints(checkpoint: Checkpoint | None, schedule: Schedule) -> Callable[[Trajectory], None]:
    """Return a function that writes the checkpoint where one is due."""

    def keep(run: Trajectory) -> None:
        if checkpoint is not None and (run.step % CHECKPOINT_STEPS == 0 or run.step == schedule.steps):
            checkpoint.write(run, schedule)

    return keep


def _nearest_distance(positions: FloatArray, atoms: Atoms) -> float:
    """Mean distance (Å) of atoms of the framework to their nearest neighbour in it."""
    reach = 4.0
    while True:
        first, _, _, distance = find_pairs(positions, atoms.cell.array, reach)
        if len(np.unique(first)) == len(positions):
            nearest = np.full(len(positions), np.inf)
            np.minimum.at(nearest, first, distance)
            return float(nearest.mean())
        reach *= 1.5


def _refuse_melt(motion: Motion) -> None:
    """Refuse a framework whose elements have all left their sites.

    Raises:
        DynamicsError: they have.
    """
    if min(motion.lindemann.values()) > MELTING_RATIO:
        moved = ", ".join(f"{name} {ratio:.2g}" for name, ratio in motion.lindemann.items())
        raise DynamicsError(
            f"the framework melted at {motion.temperature:g} K: root mean square displacements of {moved} nearest distances "
            f"(limit {MELTING_RATIO:g}; crystals melt at 0.1 to 0.15); use lower temperatures"
        )


def list_moved(motions: Sequence[Motion]) -> tuple[str, ...]:
    """Elements of the framework that left their sites at some temperature, though it did not melt."""
    return tuple(
        dict.fromkeys(
            name for motion in motions for name, ratio in motion.lindemann.items() if ratio > MELTING_RATIO
        )
    )


def describe_shortfall(motion: Motion, plan: Plan) -> str:
    """Describe too little diffusion at one temperature, with an upper bound; empty if there is enough."""
    found = motion.diffusion
    if found.growth >= MIN_GROWTH:
        return ""
    longer = plan.duration * MIN_GROWTH / found.growth if found.growth > 0 else math.inf
    advice = f"raise 'duration' to about {longer:.2g} ps, " if longer < MAX_LONGER * plan.duration else ""
    return (
        f"{plan.ion} moves too little at {motion.temperature:g} K for a diffusivity: its mean squared displacement grew by "
        f"{found.growth:.2g} Å^2 in {plan.duration:g} ps (at least {MIN_GROWTH:g} Å^2), so D is below "
        f"{found.bound:.1e} cm^2/s there; {advice}raise the temperatures, or give the structure the vacancies or interstitials "
        "that carry the current"
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """Checkpoints of one evaluation.

    Attributes:
        path: the candidate's folder.
        key: hash of settings, potential, structure.
        seed: of all random numbers.
    """

    path: Path
    key: str
    seed: int

    def checkpoint_at(self, temperature: float) -> Checkpoint:
        """Checkpoint of the simulation at one temperature."""
        text = f"{self.key} {self.seed} {temperature!r}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return Checkpoint(self.path / f"job.dynamics-{temperature:g}K.npz", digest)
