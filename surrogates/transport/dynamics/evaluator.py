"""Evaluator of diffusivity, activation energy and conductivity by molecular dynamics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from invdesign.candidate import Evaluation, Failure, Input, clean_detail
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import Potential
from invdesign.structures.formulas import write_formula
from surrogates.external.folders import JobError, JobFolder, job_key
from surrogates.potentials.evaluator import PotentialEvaluator, find_known_error
from surrogates.relaxation.relax import CallCounter
from surrogates.stability.windows import CHARGES, Ion
from surrogates.transport.dynamics.arrhenius import (
    ROOM_TEMPERATURE,
    Arrhenius,
    fit_arrhenius,
    interval_of,
    nernst_einstein,
)
from surrogates.transport.dynamics.integrator import BOLTZMANN, DynamicsError
from surrogates.transport.dynamics.measurement import (
    Folder,
    Motion,
    Plan,
    build_supercell,
    describe_shortfall,
    list_moved,
    measure_motion,
)
from surrogates.transport.errors import BARRIER_ERRORS
from surrogates.transport.frameworks import DisorderError, MissingIonError, choose_ion, split_framework

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

Ions = Annotated[tuple[Ion, ...], Field(strict=False, min_length=1)]
Temperature = Annotated[float, Field(ge=100, le=3000)]
Temperatures = Annotated[tuple[Temperature, ...], Field(strict=False, min_length=3)]
MIN_STEPS = 200  # of a production: below, there are too few lags for a slope; chosen
BENT = 3.0  # standard deviations of a point from the Arrhenius line from which a detail says so; chosen


class Diffusivity(PotentialEvaluator):
    """Diffusivity of an ion by molecular dynamics at several temperatures.

    It gives the activation energy, and by extrapolation diffusivity and conductivity at 298 K. An evaluation that was killed
    goes on from its last checkpoint, and its result is the same bit for bit.
    """

    ion: Ion | Ions
    """The ion that moves; of several, `[Li, Na]`, the first that a structure holds."""
    temperatures: Temperatures = (800.0, 1000.0, 1200.0)
    """Three or more temperatures, K."""
    duration: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Time that is sampled at each temperature, ps."""
    equilibration: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """Time before it at each temperature, ps, which is not sampled."""
    timestep: Annotated[float, Field(ge=0.1, le=5)] = 2.0
    """Time step, fs; 0.5 to 1 fs with hydrogen."""
    supercell: Annotated[float, Field(ge=0, le=50)] = 10.0
    """Smallest distance of two opposite faces of the simulated cell, Å: the crystal is repeated until it is reached."""
    unconverged: Literal["fail", "keep"] = "fail"
    """Treatment of a candidate whose ions move by less than 10 Å^2 at some temperature, or no faster at higher ones."""

    _work_folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len(set(self.temperatures)) < 3:
            raise ValueError(f"three different temperatures are needed, got {list(self.temperatures)}")
        steps = round(self.duration * 1000 / self.timestep)
        if steps < MIN_STEPS:
            raise ValueError(
                f"a duration of {self.duration:g} ps is {steps} steps of {self.timestep:g} fs; at least {MIN_STEPS} are needed"
            )
        return self

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Activation energy, diffusivity and conductivity at 298 K, and a flag of convergence."""
        return {
            "activation_energy": "eV",
            "diffusivity_298": "log10(cm^2/s)",
            "conductivity_298": "log10(S/cm)",
            "diffusion_converged": "",
        }

    def use_folder(self, folder: Path) -> None:
        """Keep checkpoints in the candidates' folders in `folder`; without this call there are none."""
        self._work_folder = folder

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Simulate each of `inputs`.

        Dynamics that melts, explodes or hardly diffuses is a failure with its numbers.
        """
        return [self._evaluate_candidate(item) for item in inputs]

    def _evaluate_candidate(self, item: Input) -> Evaluation:
        structure = self.structure_of(item)
        try:
            if self._work_folder is None:
                return self._measure_structure(structure, item.seed, None)
            folder = JobFolder.for_candidate(self._work_folder, self, item)
            with folder.hold_lock():
                return self._measure_once(folder, item, structure)
        except JobError as error:  # another process holds the folder
            return Evaluation(failure=Failure(error.kind, "", str(error)))

    def _measure_once(self, folder: JobFolder, item: Input, structure: Structure) -> Evaluation:
        """Measure, unless a result stands in the folder already; then remove its files."""
        evaluation = folder.read_evaluation()
        if evaluation is None:
            folder.write_marker(state="running", attempt=0)
            evaluation = self._measure_structure(
                structure, item.seed, Folder(folder.path, job_key(self, item), item.seed)
            )
            folder.record_evaluation(evaluation)
        folder.remove_files()
        return evaluation

    def _measure_structure(self, structure: Structure, seed: int, folder: Folder | None) -> Evaluation:
        """Measure a structure; a reason for no number is a failure, and the cost counts this process alone."""
        began = time.perf_counter()
        potential = CallCounter(self._potential)
        try:
            found = self._simulate_temperatures(structure, potential, seed, folder)
        except MissingIonError as error:
            found = Evaluation(failure=Failure("missing", "", str(error)))
        except (InvdesignError, ValueError) as error:
            found = Evaluation(failure=Failure("error", "", str(error)))
        cost = {"seconds": time.perf_counter() - began, "potential_calls": float(potential.calls)}
        return replace(found, cost=cost)

    def _simulate_temperatures(
        self, structure: Structure, potential: Potential, seed: int, folder: Folder | None
    ) -> Evaluation:
        """Simulate all temperatures, hottest first.

        Raises:
            MissingIonError: there is no such ion, or nothing but it.
            ValueError: sites are partly occupied, or a diffusivity is not positive.
            DynamicsError: a simulation ran away, melted, or moved too little.
            PotentialError: the potential has no answer for an arrangement.
        """
        plan = self._plan_for(structure)
        atoms = build_supercell(structure, self.supercell)
        motions: list[Motion] = []
        shortfalls: list[str] = []
        for temperature in plan.temperatures:
            checkpoint = folder.checkpoint_at(temperature) if folder is not None else None
            motion = measure_motion(atoms, potential, plan, temperature, seed, checkpoint)
            shortfall = describe_shortfall(motion, plan)
            if shortfall and (self.unconverged == "fail" or motion.diffusion.diffusivity <= 0):
                raise DynamicsError(shortfall)
            motions.append(motion)
            shortfalls += [shortfall] if shortfall else []
        return self._to_evaluation(atoms, plan, motions, shortfalls)

    def _plan_for(self, structure: Structure) -> Plan:
        """Plan of the simulations of one structure.

        Raises:
            MissingIonError: there is no such ion, or nothing but it.
            ValueError: sites are partly occupied.
        """
        ion = choose_ion(structure, self.ion)
        split_framework(structure, ion)
        if not structure.is_ordered:
            raise DisorderError(
                f"sites of {ion} in {write_formula(structure.composition)} are partly occupied, and dynamics needs whole atoms: "
                "give an ordered occupation of them"
            )
        return Plan(
            ion=ion,
            temperatures=tuple(sorted(set(self.temperatures), reverse=True)),
            timestep=self.timestep,
            equilibration=self.equilibration,
            duration=self.duration,
            supercell=self.supercell,
        )

    def _to_evaluation(
        self, atoms: Atoms, plan: Plan, motions: Sequence[Motion], shortfalls: Sequence[str]
    ) -> Evaluation:
        line = fit_arrhenius(
            [motion.temperature for motion in motions],
            [motion.diffusion.diffusivity for motion in motions],
            [motion.diffusion.samples for motion in motions],
        )
        if line.activation_energy <= 0:
            flat = _describe_flat_line(plan, motions)
            if self.unconverged == "fail":
                raise DynamicsError(flat)
            shortfalls = [*shortfalls, flat]
        ions = atoms.get_chemical_symbols().count(plan.ion)
        # log10 of the conductivity of 1 cm^2/s
        per_diffusivity = math.log10(nernst_einstein(1.0, ions / atoms.get_volume(), CHARGES[plan.ion]))
        values = {
            "activation_energy": line.activation_energy,
            "diffusivity_298": line.room,
            "conductivity_298": line.room + per_diffusivity,
            "diffusion_converged": 0.0 if shortfalls else 1.0,
        }
        spread = float(line.rooms.std())
        noise = {
            "activation_energy": float(line.energies.std()),
            "diffusivity_298": spread,
            "conductivity_298": spread,
        }
        sentences = _describe_line(atoms, plan, motions, line, per_diffusivity)
        sentences["diffusion_converged"] = "; ".join([*shortfalls, *_describe_oddities(motions, line)])
        return Evaluation(
            values,
            noise=noise,
            systematic=self._method_errors(),
            details={name: clean_detail(text) for name, text in sentences.items() if text},
        )

    def _method_errors(self) -> dict[str, float]:
        """Errors of the potential's barriers, where they are known.

        A barrier that is wrong by E changes the diffusivity at 298 K by the factor exp(E / kT).
        """
        error = find_known_error(self._potential, BARRIER_ERRORS)
        if error is None:
            return {}
        decades = error / (BOLTZMANN * ROOM_TEMPERATURE * math.log(10))
        return {
            "activation_energy": error,
            "diffusivity_298": decades,
            "conductivity_298": decades,
        }


def _describe_line(
    atoms: Atoms, plan: Plan, motions: Sequence[Motion], line: Arrhenius, per_diffusivity: float
) -> dict[str, str]:
    """Sentences beside the three numbers, with their 95 % intervals."""
    points = _list_diffusivities(motions)
    grown = ", ".join(f"{m.diffusion.growth:.3g}" for m in motions)
    energy, room = interval_of(line.energies), interval_of(line.rooms)
    bulk = tuple(end + per_diffusivity for end in room)
    hottest, coldest = motions[0].temperature, motions[-1].temperature
    return {
        "activation_energy": f"95 % interval {energy[0]:.3f} to {energy[1]:.3f} eV; diffusivity of {plan.ion} {points} (cm^2/s); "
        f"mean squared displacements grew by {grown} Å^2 in {plan.duration:g} ps; {len(atoms)} atoms in a fixed cell",
        "diffusivity_298": f"95 % interval {room[0]:.2f} to {room[1]:.2f}; extrapolated from {coldest:g} to {hottest:g} K along one "
        "Arrhenius line",
        "conductivity_298": f"bulk, by Nernst and Einstein with a Haven ratio of 1; 95 % interval {bulk[0]:.2f} to {bulk[1]:.2f}; "
        f"extrapolated from {coldest:g} to {hottest:g} K along one Arrhenius line",
    }


def _list_diffusivities(motions: Sequence[Motion]) -> str:
    return ", ".join(f"{m.diffusion.diffusivity:.2e} at {m.temperature:g} K" for m in motions)


def _describe_flat_line(plan: Plan, motions: Sequence[Motion]) -> str:
    """Say that ions move no faster at higher temperatures."""
    return (
        f"the diffusivity of {plan.ion} does not rise with temperature: {_list_diffusivities(motions)} (cm^2/s), so nothing can be "
        "extrapolated to 298 K: the ions move as in a melt, or the temperatures lie too close. Take lower ones further apart, or a longer 'duration'"
    )


def _describe_oddities(motions: Sequence[Motion], line: Arrhenius) -> list[str]:
    """Sentences on observations that do not stop a candidate."""
    found = []
    if line.misfit > BENT:
        found.append(
            f"a temperature lies {line.misfit:.1f} standard deviations off the Arrhenius line: the mechanism or the phase may "
            "change between the temperatures"
        )
    low, _ = interval_of(line.energies)
    if low <= 0 < line.activation_energy:
        found.append(
            "the 95 % interval of the activation energy holds 0: the extrapolation to 298 K may mean nothing"
        )
    moved = list_moved(motions)
    if moved:
        found.append(f"{', '.join(moved)} of the framework left their sites too")
    return found
