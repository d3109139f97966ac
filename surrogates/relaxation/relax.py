"""Relaxation of a crystal's atoms and cell to the nearest minimum of a potential."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, model_serializer, model_validator

from invdesign import registry
from invdesign.arrays import BoolArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.properties import Unit
from invdesign.protocols import Forces, Potential
from invdesign.roles import INITIAL
from invdesign.settings import STORED_FOLDER, validation_context
from invdesign.structures.files import MIN_ATOM_DISTANCE
from invdesign.structures.formulas import write_formula
from invdesign.structures.site_labels import INNER, SIDE, read_labels
from invdesign.threads import one_thread
from surrogates.pairs import find_pairs
from surrogates.potentials.evaluator import PotentialEvaluator
from surrogates.relaxation.descent import FreeCell, Freedom, fire, quasi_newton

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

OptimizerName = Literal["bfgs", "fire"]

GPA = 160.21766208  # GPa per eV/Å^3
# Calls of a relaxation of some 64 atoms to 0.1 eV/Å, as benchmarks/interface_exchange.py and benchmarks/defects.py count them.
TYPICAL_CALLS = 60
MAX_VOLUME_FACTOR = 3.0  # change of volume, either way, beyond which a potential is not believed; chosen


class RelaxationError(InvdesignError):
    """A relaxation ran away.

    The cell exploded or collapsed, two atoms fell onto each other, or the start cannot be relaxed at all.
    """


@dataclass(frozen=True, slots=True)
class Relaxation:
    """Result of a relaxation.

    Attributes:
        structure: the relaxed crystal, sites in their given order.
        energy: eV, whole cell.
        max_force: eV/Å, the largest force left on an atom that may move.
        max_stress: GPa, the largest component of the stress left, or that along the normal; NaN for a fixed cell.
        steps: moves of the optimiser.
        calls: evaluations of the potential.
        converged: True if force (and stress, with a free cell) came below their limits.
        highest_force: eV/Å, the largest force on an atom that may move, at any step.
    """

    structure: Structure
    energy: float
    max_force: float
    max_stress: float
    steps: int
    calls: int
    converged: bool
    highest_force: float


def relax_structure(
    structure: Structure,
    potential: Potential,
    *,
    fmax: float = 0.02,
    smax: float = 0.05,
    steps: int = 500,
    cell: FreeCell = True,
    held: BoolArray | None = None,
    optimizer: OptimizerName = "bfgs",
) -> Relaxation:
    """Relax atoms and cell together until both forces and stress are small.

    The criterion is our own: the largest force on an atom and the largest stress component, each against its
    limit. ASE's filters fold the stress into a force divided by the number of atoms, and a small symmetric cell
    of wrong volume then counts as converged before the first step.

    Args:
        structure: start; ordered.
        potential: gives forces, and stress where `cell` is true.
        fmax: largest force allowed, eV/Å.
        smax: largest stress component allowed, GPa; ignored for a fixed cell.
        steps: most moves of the optimiser.
        cell: True if the cell may change too; `normal` if only along the normal of the plane of a and b, which stay exactly.
            The stress along the normal alone then has to fall below `smax`.
        held: shape (n,), True for atoms that keep their place in the cell. Forces on them are not judged.
        optimizer: `bfgs` (`descent.quasi_newton`), or `fire` where that is misled.

    Raises:
        RelaxationError: the structure is disordered, nothing may move, the volume changed threefold, two atoms came closer than
            0.5 Å, or the potential's numbers are not finite.
        PotentialError: the potential has no answer for an arrangement on the way.
    """
    if not structure.is_ordered:
        raise RelaxationError(
            f"{write_formula(structure.composition)} has partly occupied sites, and a potential needs whole atoms: give an "
            "ordered occupation of them, or leave this stage out"
        )
    freedom = Freedom(cell, held)
    if not cell and held is not None and held.all():
        raise RelaxationError(
            "all atoms are held in a fixed cell, so nothing can relax: name fewer labels, or free the cell"
        )
    atoms = to_atoms(structure)
    start = atoms.get_volume()
    counted = CallCounter(potential)
    moves = {"bfgs": quasi_newton, "fire": fire}[optimizer](atoms, counted, freedom)
    highest = 0.0
    for done, found in enumerate(moves):
        _refuse_runaway(atoms, found, start)
        force, stress = _measure_residuals(atoms, found, freedom)
        highest = max(highest, force)
        converged = force <= fmax and (stress <= smax or not cell)
        if converged or done == steps:
            break
    return Relaxation(
        structure=_place_sites(structure, atoms, cell),
        energy=found.energy,
        max_force=force,
        max_stress=stress,
        steps=done,
        calls=counted.calls,
        converged=converged,
        highest_force=highest,
    )


@dataclass(slots=True)
class CallCounter:
    """A potential that counts the arrangements it computes."""

    potential: Potential
    calls: int = 0

    @property
    def fingerprint(self) -> str:
        return self.potential.fingerprint

    @property
    def label(self) -> str:
        return self.potential.label

    def prepare(self) -> None:
        self.potential.prepare()

    def compute(self, atoms: Sequence[Atoms], want: frozenset[str]) -> Sequence[Forces]:
        self.calls += len(atoms)
        return self.potential.compute(atoms, want)


def to_atoms(structure: Structure) -> Atoms:
    """Convert a `structure` to ASE's object, periodic in all directions.

    Elements, positions and cell are carried over, nothing else.
    """
    from ase import Atoms

    return Atoms(
        numbers=[site.specie.Z for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def _place_sites(structure: Structure, atoms: Atoms, cell: FreeCell) -> Structure:
    """Move the sites of `structure` to the positions and cell of `atoms`."""
    from pymatgen.core import Structure

    lattice = atoms.cell.array.copy()
    if cell == "normal":  # every digit, where an exponential of no strain left rounding
        lattice[:2] = structure.lattice.matrix[:2]
    return Structure(
        lattice,
        structure.species,
        atoms.get_scaled_positions(wrap=False),
        site_properties=structure.site_properties,
    )


def _measure_residuals(atoms: Atoms, found: Forces, freedom: Freedom) -> tuple[float, float]:
    """Largest force and stress component left on coordinates that may change.

    Returns:
        (eV/Å, GPa); NaN for the stress of a fixed cell.
    """
    force = float(np.linalg.norm(found.forces[freedom.moving], axis=1).max(initial=0.0))
    if found.stress is None:
        return force, float("nan")
    return force, freedom.find_residual_stress(found.stress, atoms.cell.array) * GPA


def _refuse_runaway(atoms: Atoms, found: Forces, start: float) -> None:
    """Refuse numbers that are not finite, a volume changed threefold, and overlapping atoms."""
    stress = np.zeros(1) if found.stress is None else found.stress
    if not np.isfinite([found.energy, np.abs(found.forces).sum(), np.abs(stress).sum()]).all():
        raise RelaxationError("the potential gave an energy, force or stress that is not finite")
    ratio = atoms.get_volume() / start
    if not 1 / MAX_VOLUME_FACTOR < ratio < MAX_VOLUME_FACTOR:
        raise RelaxationError(
            f"the cell's volume changed by a factor {ratio:.2g} (limit {MAX_VOLUME_FACTOR:g} either way)"
        )
    shortest = _shortest_distance(atoms)
    if shortest < MIN_ATOM_DISTANCE:
        raise RelaxationError(f"two atoms came as close as {shortest:.2f} Å (limit {MIN_ATOM_DISTANCE:g} Å)")


def _shortest_distance(atoms: Atoms) -> float:
    *_, distance = find_pairs(atoms.positions, atoms.cell.array, MIN_ATOM_DISTANCE)
    return float(distance.min(initial=np.inf))


Positive = Annotated[float, Field(gt=0)]


def find_labelled_sites(structure: Structure, names: Sequence[str]) -> BoolArray:
    """Find the sites that carry one of some labels.

    Args:
        structure: with labels of sites.
        names: sides, or `inner`.

    Returns:
        Shape (n,), True for sites on one of the sides, or deeper than the region that may change.

    Raises:
        RelaxationError: no site carries one of the labels; the message lists those that are there.
    """
    labels = read_labels(structure)
    sides = labels.get(SIDE, [""] * len(structure))
    inner = labels.get(INNER, [False] * len(structure))
    counts = Counter(str(side) for side in sides if side)
    if any(inner):
        counts[INNER] = sum(map(bool, inner))
    strange = [name for name in names if name not in counts]
    if strange:
        there = ", ".join(f"'{name}' ({count} sites)" for name, count in counts.items())
        raise RelaxationError(
            f"no site carries the label {' or '.join(map(repr, strange))}; "
            + (
                f"there are {there}"
                if there
                else "the structure has no labels of sites, as interfaces and defects have"
            )
        )
    return np.array(
        [side in names or (INNER in names and deep) for side, deep in zip(sides, inner, strict=True)],
        dtype=bool,
    )


class Relax(PotentialEvaluator):
    """Relaxes a candidate's atoms and cell."""

    fmax: Positive = 0.02
    """Largest force left on an atom, eV/Å."""
    smax: Positive = 0.05
    """Largest stress component left, GPa; not asked of a fixed cell."""
    steps: Annotated[int, Field(ge=0)] = 500
    """Most moves of the optimiser; 0 takes the energy of the cell as it is (with `unconverged: keep`)."""
    cell: FreeCell = True
    """True if the cell may change; `normal` if only its length along the normal of the plane of a and b, for interfaces."""
    fixed: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), strict=False)
    """Labels of sites whose atoms are held: a side (`substrate`, `film`), or `inner` for atoms far from the plane."""
    optimizer: OptimizerName = "bfgs"
    """`bfgs` needs the fewest calls; `fire` several times more, for rough landscapes."""
    unconverged: Literal["fail", "keep"] = "fail"
    """Treatment of a candidate that is not relaxed after `steps`."""

    @model_validator(mode="before")
    @classmethod
    def _restore_structure_role(cls, fields: object, info: ValidationInfo) -> object:
        """Add the initial structure's role to stored settings without one.

        Earlier versions knew no other.
        """
        if isinstance(fields, dict) and validation_context(info)[0] == STORED_FOLDER:
            return {"structure": INITIAL, **fields}
        return fields

    @model_serializer(mode="wrap")
    def _omit_initial_structure(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the structure's role if it is the initial one, and held atoms if there are none.

        So relaxations keep the fingerprint they had before there were such fields.
        """
        fields: dict[str, Any] = {"kind": registry.name_of(type(self)), **handler(self)}
        if not self.fixed:
            fields.pop("fixed", None)
        return {name: value for name, value in fields.items() if (name, value) != ("structure", INITIAL)}

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Energy, volume, residual force and stress, steps, and the relaxed crystal."""
        units = {
            "energy_per_atom": "eV/atom",
            "volume_per_atom": "Å^3/atom",
            "max_force": "eV/Å",
            "max_stress": "GPa",
            "relaxation_steps": "",
            "structure:relaxed": "",
        }
        if not self.cell:
            del units["max_stress"]
        return units

    @property
    def potential_id(self) -> str:
        """Fingerprint of the potential, since a hull holds energies of one potential."""
        return self._potential.fingerprint

    def estimate_seconds(self, structure: Structure) -> float:
        """Estimate the time of a relaxation on this machine, s, by timing one call.

        Args:
            structure: ordered.

        Raises:
            PotentialError: the potential cannot be loaded, or has no answer.
        """
        atoms, want = [to_atoms(structure)], frozenset({"energy", "forces", "stress"})
        with one_thread():
            self._potential.prepare()
            self._potential.compute(atoms, want)  # the first call is slower than all others
            began = time.perf_counter()
            self._potential.compute(atoms, want)
            return min(TYPICAL_CALLS, self.steps + 1) * (time.perf_counter() - began)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Relax each of `inputs`.

        A runaway or unconverged one is a failure with its reason.
        """
        return self._evaluate_each(inputs, self._relax_candidate)

    def _relax_candidate(self, structure: Structure) -> Evaluation:
        found = relax_structure(
            structure,
            self._potential,
            fmax=self.fmax,
            smax=self.smax,
            steps=self.steps,
            cell=self.cell,
            held=find_labelled_sites(structure, self.fixed) if self.fixed else None,
            optimizer=self.optimizer,
        )
        cost = {"potential_calls": float(found.calls)}
        if not found.converged and self.unconverged == "fail":
            return Evaluation(failure=Failure("error", "", self._describe_residuals(found)), cost=cost)
        n = len(structure)
        values = {
            "energy_per_atom": found.energy / n,
            "volume_per_atom": found.structure.volume / n,
            "max_force": found.max_force,
            "max_stress": found.max_stress,
            "relaxation_steps": float(found.steps),
        }
        kept = {name: value for name, value in values.items() if name in self.provides}
        return Evaluation(
            kept,
            structures={"relaxed": found.structure},
            cost=cost,
            details=self._note_missing_forces(found, n),
        )

    def _note_missing_forces(self, found: Relaxation, n: int) -> dict[str, str]:
        """Note on the energy that it may be no minimum.

        It is given if no force was above the limit at any step.
        """
        if n == 1 or not found.converged or found.highest_force > self.fmax:
            return {}
        return {
            "energy_per_atom": f"no force was above {self.fmax:g} eV/Å at any step: a minimum, or a symmetric or flat "
            "place above one; rattle the start to tell"
        }

    def _describe_residuals(self, found: Relaxation) -> str:
        stress = f", {found.max_stress:.2g} GPa (limit {self.smax:g})" if self.cell else ""
        return (
            f"not relaxed after {found.steps} steps: {found.max_force:.2g} eV/Å (limit {self.fmax:g}){stress} left; "
            "raise 'steps', or set 'unconverged: keep'"
        )
