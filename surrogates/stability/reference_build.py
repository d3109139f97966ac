"""Building of a reference set: published crystals are relaxed by one potential; can be interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.protocols import Potential, potential_of
from invdesign.rng import rng_for
from invdesign.settings import Settings
from surrogates.stability.reference import (
    ENERGY_DIGITS,
    Cell,
    Phase,
    PotentialRecord,
    ReferenceSet,
    RelaxationRecord,
    Skipped,
    make_reference,
)
from surrogates.stability.reference_sources import PublishedCrystal, Source

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from surrogates.relaxation.relax import OptimizerName, Relaxation

PARTIAL_FORMAT = "invdesign-reference-partial-1"
RECORDED_PACKAGES = ("invdesign", "ase", "chgnet", "numpy", "pymatgen", "sevenn", "torch")

OPTIMIZER_ORDER: tuple[OptimizerName, ...] = ("bfgs", "fire")
"""Optimizers in the order they are tried: molecular crystals are so soft that BFGS may overshoot, and FIRE does not."""

DEFAULT_RELAXATION = RelaxationRecord(fmax=0.01, smax=0.05, steps=500, starts=2)
"""Tighter than a candidate's, since every candidate is measured against it, and from two starts: a symmetric
start may stop on a saddle."""

START_STRAIN = 0.02  # largest strain component of a further start; chosen: two functionals differ by as much
START_RATTLE = 0.05  # Å, standard deviation of its displacements; chosen: breaks symmetry, breaks no molecule


@dataclass(frozen=True, slots=True)
class Progress:
    """Result of one crystal in a build.

    Attributes:
        number, total: number of the crystal, from 1, and of all.
        result: the relaxed phase, or the reason why there is none.
        seconds: time of the relaxation; 0 if an interrupted build had done it.
    """

    number: int
    total: int
    result: Phase | Skipped
    seconds: float


def build_reference(
    crystals: Sequence[Source],
    potential: Settings,
    *,
    name: str,
    title: str = "",
    systems: Sequence[str] = (),
    relaxation: RelaxationRecord = DEFAULT_RELAXATION,
    base: ReferenceSet | None = None,
    former: ReferenceSet | None = None,
    partial: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> ReferenceSet:
    """Relax all crystals and make a reference set of the phases.

    A crystal that cannot be read or relaxed (an isolated atom, an element the potential does not know, no
    convergence) is left out, reported, and listed in the set with its reason.

    Args:
        crystals: as published; several polymorphs of a compound are welcome, the hull takes the lowest.
        potential: of the `potentials` group.
        name: of the set.
        title: a line for people.
        systems: chemical systems that the set is made for.
        relaxation: number of starts, and limits on the force and stress left.
        base: a set that this one extends; its phases come first, as they are.
        former: an earlier build of this set; phases of crystals that have not changed since are taken from it.
        partial: file to which every finished phase is added at once, and from which an interrupted build goes on.
        report: called after every crystal.

    Raises:
        InvdesignError: nothing could be relaxed, `partial` or `base` belongs to another potential or relaxation, or
            a crystal has the name of a phase of `base`.
    """
    record = record_potential(potential)
    if base is not None:
        _check_base(base, record, relaxation, crystals)
    journal = _Journal(partial, record, relaxation)
    done = {**_collect_phases(former, record, relaxation), **journal.done}
    results: list[Phase | Skipped] = []
    for number, crystal in enumerate(crystals, start=1):
        began = time.perf_counter()
        fresh = isinstance(crystal, PublishedCrystal) and crystal.key not in done
        if isinstance(crystal, Skipped):
            result: Phase | Skipped = crystal
        elif fresh:
            result = _relax_crystal(crystal, potential_of(potential), relaxation)
            journal.add_result(crystal.key, result)
        else:
            result = _update_words(done[crystal.key], crystal)
        results.append(result)
        report(Progress(number, len(crystals), result, time.perf_counter() - began if fresh else 0.0))
    phases = [result for result in results if isinstance(result, Phase)]
    if not phases:
        raise InvdesignError("no structure could be relaxed; the lines above say why")
    skipped = [result for result in results if isinstance(result, Skipped)]
    return make_reference(
        name=name,
        title=title,
        potential=record,
        relaxation=relaxation,
        phases=[*(base.phases if base else ()), *phases],
        versions=_installed_versions(),
        skipped=[*(base.skipped if base else ()), *skipped],
        systems=systems,
    )


def _check_base(
    base: ReferenceSet, potential: PotentialRecord, relaxation: RelaxationRecord, crystals: Sequence[Source]
) -> None:
    """Refuse a base whose energies or names do not go with those of a build."""
    if base.potential.fingerprint != potential.fingerprint:
        raise InvdesignError(
            f"the reference set '{base.name}' has energies of {base.potential.label} "
            f"({base.potential.fingerprint}), and this build those of {potential.label} ({potential.fingerprint}): "
            "build both with the same potential"
        )
    if base.relaxation is None:
        raise InvdesignError(
            f"the energies of the reference set '{base.name}' were computed elsewhere: a build cannot extend it"
        )
    if base.relaxation != relaxation:
        raise InvdesignError(
            f"the reference set '{base.name}' was relaxed with {_describe_limits(base.relaxation)}, and this build has "
            f"{_describe_limits(relaxation)}: give the limits of the set that is extended"
        )
    taken = {phase.name for phase in base.phases}
    twice = [item.name for item in crystals if isinstance(item, PublishedCrystal) and item.name in taken]
    if twice:
        raise InvdesignError(
            f"the reference set '{base.name}' has phases of these names already: {', '.join(twice)}; give the "
            "crystals other names, or leave them out"
        )


def _describe_limits(relaxation: RelaxationRecord) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in relaxation.model_dump().items())


def _collect_phases(
    former: ReferenceSet | None, potential: PotentialRecord, relaxation: RelaxationRecord
) -> dict[str, Phase | Skipped]:
    """Phases of an earlier build by the key of their crystal; none of another potential or relaxation."""
    if former is None or former.relaxation != relaxation:
        return {}
    if former.potential.fingerprint != potential.fingerprint:
        return {}
    return {phase.start: phase for phase in former.phases if phase.start is not None}


def _update_words(result: Phase | Skipped, crystal: PublishedCrystal) -> Phase | Skipped:
    """Give an earlier result the words of its crystal today, which its key does not cover."""
    words = {"formula": crystal.formula}
    if isinstance(result, Phase):
        words |= {"title": crystal.title, "source": crystal.source, "start": crystal.key}
    return result.model_copy(update=words)


def record_potential(potential: Settings) -> PotentialRecord:
    """Record a `potential` for a reference set, without its device."""
    settings = _without_device(potential.model_dump(mode="json"))
    return PotentialRecord(
        label=potential_of(potential).label, fingerprint=potential.fingerprint, settings=settings
    )


def _without_device(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a potential, and of the one it corrects, without their device."""
    return {
        key: _without_device(value) if key == "potential" else value
        for key, value in settings.items()
        if key != "device"
    }


def _relax_crystal(
    crystal: PublishedCrystal, potential: Potential, relaxation: RelaxationRecord
) -> Phase | Skipped:
    """Relax from all starts and keep the lowest energy.

    The crystal is skipped if no start converged.
    """
    found: list[Relaxation] = []
    reason = ""
    for structure in make_starts(crystal, relaxation.starts):
        result = relax_from_start(structure, potential, relaxation)
        if isinstance(result, str):
            reason = reason or result
        else:
            found.append(result)
    if not found:
        return Skipped(name=crystal.name, reason=reason, formula=crystal.formula)
    energies = [item.energy for item in found]
    lowest = found[energies.index(min(energies))]
    apart = (max(energies) - min(energies)) / len(lowest.structure)
    return Phase(
        name=crystal.name,
        formula=crystal.formula,
        title=crystal.title,
        energy=round(lowest.energy, ENERGY_DIGITS),
        starts_apart=round(apart, ENERGY_DIGITS) if len(found) > 1 else None,
        source=crystal.source,
        start=crystal.key,
        cell=Cell.from_structure(lowest.structure),
    )


def make_starts(crystal: PublishedCrystal, number: int) -> Iterator[Structure]:
    """Yield the crystal as published, then strained and rattled copies.

    They are always the same for the same crystal.

    Args:
        crystal: as published.
        number: of starts, the published one included.
    """
    yield crystal.structure
    for start in range(1, number):
        rng = rng_for(0, start, f"reference.{crystal.key}")
        strain = rng.uniform(-START_STRAIN, START_STRAIN, (3, 3))
        structure = crystal.structure.copy()
        lattice = structure.lattice.matrix @ (np.eye(3) + (strain + strain.T) / 2)
        moved = structure.frac_coords @ lattice + rng.normal(0.0, START_RATTLE, (len(structure), 3))
        yield type(structure)(lattice, structure.species, moved, coords_are_cartesian=True)


def relax_from_start(
    structure: Structure, potential: Potential, relaxation: RelaxationRecord
) -> Relaxation | str:
    """Relax a crystal by the first optimizer that converges.

    Args:
        structure: the start.
        potential: gives energy, forces and stress.
        relaxation: limits on the force and stress left.

    Returns:
        The relaxation; if no optimizer converged, the reason in words.
    """
    found: Relaxation | str = ""
    for optimizer in OPTIMIZER_ORDER:
        found = _relax_with_optimizer(structure, potential, relaxation, optimizer)
        if not isinstance(found, str):
            break
    return found


def _relax_with_optimizer(
    structure: Structure, potential: Potential, relaxation: RelaxationRecord, optimizer: OptimizerName
) -> Relaxation | str:
    """Relax by one optimizer.

    Returns the reason in words if it fails.
    """
    from surrogates.relaxation.relax import relax_structure

    try:
        found = relax_structure(
            structure,
            potential,
            fmax=relaxation.fmax,
            smax=relaxation.smax,
            steps=relaxation.steps,
            optimizer=optimizer,
        )
    except InvdesignError as error:
        return str(error)
    if found.converged:
        return found
    return (
        f"not relaxed after {relaxation.steps} steps: {found.max_force:.3f} eV/Å (limit {relaxation.fmax:g}) and "
        f"{found.max_stress:.3f} GPa (limit {relaxation.smax:g}) are left"
    )


def _installed_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(slots=True)
class _Journal:
    """Finished phases of an unfinished build.

    A header line, then one line per crystal.
    """

    file: Path | None
    potential: PotentialRecord
    relaxation: RelaxationRecord
    done: dict[str, Phase | Skipped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is None:
            return
        if not self.file.exists():
            self._write_line(self._describe_build())
            return
        lines = self.file.read_text(encoding="utf-8").split("\n")
        if _parse_line(lines[0]) != self._describe_build():
            raise InvdesignError(
                f"{self.file} was left by a build with another potential or other limits; finish that one with "
                "its own command, or remove the file"
            )
        for line in lines[1:]:
            item = _parse_line(line)
            if item is None:
                continue
            kind = Phase if "energy" in item["result"] else Skipped
            self.done[item["key"]] = kind.model_validate_json(json.dumps(item["result"]))
        # A killed build may leave half a line, to which the next one must not be joined.
        if lines[-1]:
            self._write_text("\n")

    def _describe_build(self) -> dict[str, Any]:
        return {
            "format": PARTIAL_FORMAT,
            "potential": self.potential.fingerprint,
            "relaxation": self.relaxation.model_dump(mode="json"),
        }

    def add_result(self, key: str, result: Phase | Skipped) -> None:
        if self.file is not None:
            self._write_line({"key": key, "result": result.model_dump(mode="json")})

    def _write_line(self, item: dict[str, Any]) -> None:
        self._write_text(json.dumps(item, ensure_ascii=False, separators=(",", ":")) + "\n")

    def _write_text(self, text: str) -> None:
        assert self.file is not None
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(text)


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
