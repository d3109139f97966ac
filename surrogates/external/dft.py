"""Base of evaluators that use a density-functional code: running it, and checks of its outputs."""

from __future__ import annotations

import hashlib
import json
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError, PluginError
from invdesign.properties import STRUCTURE_PREFIX, Unit
from invdesign.roles import StructureEvaluator
from surrogates.external.folders import JobError, JobFolder
from surrogates.external.jobs import Plan, find_program, run_job

if TYPE_CHECKING:
    from pymatgen.core import Structure

STRUCTURE_ROLE = "dft"  # of a calculation's last structure
PROPERTY_UNITS: Mapping[str, str] = {
    "dft_energy_per_atom": "eV/atom",
    "dft_volume_per_atom": "Å^3/atom",
    "dft_band_gap": "eV",
    "dft_max_force": "eV/Å",
    "dft_max_stress": "GPa",
}
CORRECTED_ENERGY = "dft_corrected_energy_per_atom"
START_TOLERANCE = 0.01  # Å, difference from the written structure allowed in a single point; chosen
# Å and a fraction: changes that an interrupted relaxation may have made before it went on; chosen.
MAX_MOVE, MAX_STRETCH = 1.0, 0.15
HALF_OCCUPATION = 0.5  # occupation from which a state counts as filled
NOTE_FILE = "HOW_TO_RUN.txt"


class DensityFunctional(StructureEvaluator):
    """Base of evaluators that use a density-functional code.

    With a command, the code runs here; without one, the inputs are written, and the outputs collected later.
    """

    command: Annotated[str, Field(min_length=1)] | None = None
    """Command that starts the code on this machine; without it, inputs are written and outputs collected."""

    _work_folder: Path | None = PrivateAttr(default=None)

    @field_validator("command")
    @classmethod
    def _check_command(cls, command: str | None) -> str | None:
        if command is not None and not shlex.split(command):
            raise ValueError("the command is empty: leave it out to have the inputs written")
        return command

    @property
    def fingerprint(self) -> str:
        """Hash of the settings without the command, which does not change the numbers."""
        told = {key: value for key, value in self.model_dump(mode="json").items() if key != "command"}
        text = json.dumps([told, self.version], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def external(self) -> bool:
        return self.command is None

    @property
    def needs_trust(self) -> bool:
        """True if it runs a command of the campaign."""
        return self.command is not None

    def use_folder(self, folder: Path) -> None:
        """Run jobs in folders of their own below `folder`."""
        self._work_folder = folder

    def prepare(self) -> None:
        """Refuse a missing program before the first candidate.

        Raises:
            PluginError: there is no such program.
        """
        if self.command is None:
            return
        try:
            find_program(shlex.split(self.command)[0], {})
        except JobError as error:
            raise PluginError(
                f"{error}. Or leave 'command' out of the stage: its inputs are then written for you to run elsewhere, "
                "and 'invdesign collect' reads the outputs"
            ) from error

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._run_job(item) for item in inputs]

    def _run_job(self, item: Input) -> Evaluation:
        if self.command is None:
            return failed_evaluation(
                "there is no command: write the inputs, run them, and collect the outputs"
            )
        plan = self._plan_job(item, shlex.split(self.command))
        return run_job(JobFolder.for_candidate(self._work_folder, self, item), plan)

    def _plan_job(self, item: Input, command: Sequence[str]) -> Plan:
        """Describe the job of one candidate.

        Its files are always kept, since the calculation is costly.
        """
        return Plan(
            command=command,
            write=lambda folder: self.write_inputs(item, folder),
            read=lambda folder: self._read_complete(item, folder),
            success=range(256),  # the output is checked instead, and tells more
            keep="all",
        )

    def _read_complete(self, item: Input, folder: Path) -> Evaluation:
        found = self.read_outputs(item, folder)
        if found is None:
            code = JobFolder(folder).read_marker().code
            raise JobError(f"the program ended with code {code} and without complete output")
        return found

    @property
    @abstractmethod
    def provides(self) -> Mapping[str, Unit]:
        """Units by property, from `provided_units`."""

    @abstractmethod
    def write_inputs(self, item: Input, folder: Path) -> None:
        """Write the code's input files for `item` into the existing `folder`.

        See `protocols.JobEvaluator`.
        """

    @abstractmethod
    def read_outputs(self, item: Input, folder: Path) -> Evaluation | None:
        """Read the code's results for `item` from `folder`.

        Returns None while the output is missing or incomplete.
        """


class OutputError(InvdesignError):
    """An output is not usable: not converged, another structure, or other parameters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of a density-functional calculation of one crystal.

    Attributes:
        structure: the last structure, sites in the order of the candidate's structure.
        energy: eV, whole cell.
        forces: shape (n, 3), eV/Å.
        stress: shape (3, 3), GPa; of either sign convention.
        gap: eV, 0 for a metal.
        more: further properties, by name.
    """

    structure: Structure
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]
    gap: float
    more: Mapping[str, float] = field(default_factory=dict)

    def to_evaluation(self, *, relaxed: bool) -> Evaluation:
        """Convert to an evaluation.

        The structure is part of it if atoms were `relaxed`.
        """
        n = len(self.structure)
        properties = {
            "dft_energy_per_atom": self.energy / n,
            "dft_volume_per_atom": self.structure.volume / n,
            "dft_band_gap": self.gap,
            "dft_max_force": float(np.linalg.norm(self.forces, axis=1).max()),
            "dft_max_stress": float(np.abs(self.stress).max()),
            **self.more,
        }
        return Evaluation(
            properties={name: float(value) for name, value in properties.items()},
            structures={STRUCTURE_ROLE: self.structure} if relaxed else {},
        )


def provided_units(*, relaxed: bool, corrected: bool = False) -> dict[str, str]:
    """Unit by name of the properties in `Outcome.to_evaluation`.

    Args:
        relaxed: True if the calculation moves atoms, and so gives a structure.
        corrected: True if the corrected energy is given too.
    """
    units = {**PROPERTY_UNITS, **({CORRECTED_ENERGY: "eV/atom"} if corrected else {})}
    return {**units, STRUCTURE_PREFIX + STRUCTURE_ROLE: ""} if relaxed else units


def failed_evaluation(message: str) -> Evaluation:
    """Evaluation that failed, with a one-line `message`."""
    return Evaluation(failure=Failure("error", "", " ".join(message.split())[:500]))


def band_gap(energies: Sequence[NDArray[np.float64]], filled: Sequence[NDArray[np.bool_]]) -> float:
    """Fundamental band gap, eV.

    The gap is 0 if a band is filled at only some k points. A state counts as filled from occupation 0.5 on, or
    up to the Fermi energy, so that smearing does not close a gap.

    Args:
        energies: per spin channel, shape (k points, bands), eV.
        filled: True for filled states, of the same shapes.

    Raises:
        OutputError: no band is empty, so that the gap is unknown.
    """
    full, empty = [], []
    for channel, occupied in zip(energies, filled, strict=True):
        whole, none = occupied.all(axis=0), ~occupied.any(axis=0)
        if not (whole | none).all():
            return 0.0
        full.append(channel[:, whole])
        empty.append(channel[:, none])
    top = max((part.max() for part in full if part.size), default=-np.inf)
    bottom = min((part.min() for part in empty if part.size), default=np.inf)
    if not np.isfinite(bottom) or not np.isfinite(top):
        raise OutputError("no band is empty in the output, so that the band gap is unknown: use more bands")
    return max(float(bottom - top), 0.0)


def check_start(expected: Structure, found: Structure, *, relaxes: bool) -> None:
    """Refuse an output whose first structure is not the one that was written.

    Args:
        expected: sites in the order they were written in.
        found: first structure of the calculation.
        relaxes: True if atoms move; the calculation may then have continued an interrupted one.

    Raises:
        OutputError: they differ; the message names the difference.
    """
    if [site.species_string for site in expected] != [site.species_string for site in found]:
        raise OutputError(
            f"the output is of {found.formula}, and the candidate is {expected.formula}: "
            "another candidate's output, or sites in another order"
        )
    cell = np.linalg.norm(expected.lattice.matrix - found.lattice.matrix, axis=1)
    limit = MAX_STRETCH * np.array(expected.lattice.abc) if relaxes else START_TOLERANCE
    apart = found.frac_coords - expected.frac_coords
    moved = float(np.linalg.norm((apart - np.round(apart)) @ expected.lattice.matrix, axis=1).max())
    if (cell > limit).any() or moved > (MAX_MOVE if relaxes else START_TOLERANCE):
        raise OutputError(
            "the calculation started from another structure than the candidate's: lattice vectors differ by "
            f"{cell.max():.2f} Å, positions by {moved:.2f} Å"
        )


def check_parameters(asked: Mapping[str, object], ran: Mapping[str, object]) -> None:
    """Refuse an output made with other parameters than those written.

    Args:
        asked: value by name of every parameter that decides the numbers, as written.
        ran: the same parameters, as the output states them.

    Raises:
        OutputError: names each parameter that differs.
    """
    differ = [
        f"{name} {_format_value(ran.get(name))} instead of {_format_value(value)}"
        for name, value in asked.items()
        if not is_same_value(value, ran.get(name))
    ]
    if differ:
        raise OutputError(f"the calculation was run with {', '.join(differ)}")


def is_same_value(a: object, b: object) -> bool:
    """True if `a` and `b` mean the same in an input file.

    Numbers are compared to a millionth, words without regard to case, lists item by item.
    """
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(is_same_value(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= 1e-6 * max(1.0, abs(a))
    return str(a).upper() == str(b).upper()


def _format_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_format_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
