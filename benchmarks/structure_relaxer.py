"""Evaluators of `structure_search.py`, and the ledger that counts their relaxations.

They stand in a module of their own, so that a run can load them by name. The ledger belongs to the process: the runs of the
benchmark evaluate in it (`workers: 0`).
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import STRUCTURE_PREFIX, Unit
from invdesign.protocols import EvaluatorSettings
from invdesign.roles import INITIAL
from surrogates.relaxation.relax import Relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCE = 2e-3  # eV/atom above the reference that counts as found, as in the shared tasks
EXPLODED = 100.0  # eV/atom: the shared relaxer gives 1,000 to what ran away
DISPLACEMENT = 0.05  # Å, standard deviation of the perturbed atoms (chosen)
ENERGY = "energy_per_atom"


@dataclass
class Ledger:
    """Relaxations of one run, and what they found.

    Args:
        references: lowest energy known by reduced formula, eV/atom.
        budget: number of relaxations after which the run is stopped.
        stop: stops the run.

    Attributes:
        relaxations: done so far.
        calls: evaluations of the potential.
        seconds: CPU seconds of the relaxations.
        minima: each time an energy was the lowest of its formula: number of the relaxation, formula, eV/atom, atoms.
        found: relaxation by which a reference was reached, by formula.
    """

    references: Mapping[str, float]
    budget: int
    stop: Callable[[], None] = lambda: None
    relaxations: int = 0
    calls: int = 0
    seconds: float = 0.0
    minima: list[tuple[int, str, float, int]] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)

    @property
    def solved(self) -> bool:
        """True if every reference was reached."""
        return bool(self.references) and self.found.keys() == self.references.keys()

    @property
    def ended(self) -> bool:
        """True if all is found or the budget spent."""
        return self.solved or self.relaxations >= self.budget

    def add_relaxation(
        self, formula: str, energy: float | None, atoms: int, calls: int, seconds: float
    ) -> None:
        """Count a relaxation; stop the run if all is found or the budget spent.

        Args:
            formula: reduced.
            energy: eV/atom; None where the relaxation failed.
            atoms: in the cell.
            calls: evaluations of the potential.
            seconds: of CPU.
        """
        self.relaxations += 1
        self.calls += calls
        self.seconds += seconds
        if energy is not None:
            lowest = min((other for _, name, other, _ in self.minima if name == formula), default=np.inf)
            if energy < lowest:
                self.minima.append((self.relaxations, formula, round(energy, 5), atoms))
            if energy < self.references.get(formula, -np.inf) + TOLERANCE:
                self.found.setdefault(formula, self.relaxations)
        if self.ended:
            self.stop()


_open: list[Ledger] = []


def open_ledger(ledger: Ledger) -> None:
    """Let the evaluators of this process count in `ledger` from now on."""
    _open[:] = [ledger]


def current_ledger() -> Ledger:
    """The ledger that the evaluators count in; one without references if none was opened."""
    if not _open:
        open_ledger(Ledger({}, sys.maxsize))
    return _open[0]


@cache
def import_shared(name: str, folder: str) -> ModuleType:
    """Import a module of the shared folder of structure tasks.

    Args:
        name: `pots` (potentials and relaxer) or `tasks`.
        folder: of the shared tasks.

    Raises:
        SystemExit: the folder has no such module, or numba is missing.
    """
    if not (Path(folder) / f"{name}.py").is_file():
        raise SystemExit(
            f"{folder} holds no {name}.py: give the folder of the shared structure tasks with --folder"
        )
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"the shared tasks need {error.name}: pip install {error.name}") from error


class SharedRelaxer(EvaluatorSettings):
    """Relaxes atoms and cell with a potential and the relaxer of the shared tasks."""

    folder: str
    """Folder of the shared tasks."""
    potential: Literal["pedone", "ma"]
    """`pedone` (Pedone et al., J. Phys. Chem. B 110, 11780 (2006)) or `ma` (Matsui & Akaogi, Mol. Simul. 6, 239 (1991))."""
    role: str = "relaxed"
    """Role of the relaxed structure; any other than `relaxed` is inherited by no child."""

    @property
    def requires(self) -> frozenset[str]:
        """The structure that the space built."""
        return frozenset({STRUCTURE_PREFIX + INITIAL})

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Energy and the relaxed structure."""
        return {ENERGY: "eV/atom", STRUCTURE_PREFIX + self.role: ""}

    @property
    def potential_id(self) -> str:
        """Name of the potential."""
        return f"shared-{self.potential}"

    def prepare(self) -> None:
        """Compile the relaxer, so that no relaxation is charged with it."""
        compile_relaxer(self.folder, self.potential)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Relax each of `inputs`; one that ran away is a failure."""
        return [self._relax(item.structures[INITIAL]) for item in inputs]

    def _relax(self, structure: Structure) -> Evaluation:
        from surrogates.relaxation.relax import to_atoms

        pots = import_shared("pots", self.folder)
        atoms, before, started = to_atoms(structure), pots.COUNT["calls"], time.process_time()
        energy = float(pots.relax_crystal(atoms, _make_calculator(self.folder, self.potential))) / len(atoms)
        exploded = energy > EXPLODED
        current_ledger().add_relaxation(
            structure.composition.reduced_formula,
            None if exploded else energy,
            len(atoms),
            pots.COUNT["calls"] - before,
            time.process_time() - started,
        )
        if exploded:
            return Evaluation(failure=Failure("error", "", "the relaxation ran away"))
        return Evaluation({ENERGY: energy}, structures={self.role: _from_atoms(atoms, structure)})


class CountedRelax(Relax):
    """The evaluator `relax`, counted."""

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Relax each of `inputs` and note its energy."""
        return [self._count(item) for item in inputs]

    def _count(self, item: Input) -> Evaluation:
        started = time.process_time()
        structure = self.structure_of(item)
        evaluation = super().evaluate([item])[0]
        current_ledger().add_relaxation(
            structure.composition.reduced_formula,
            evaluation.properties.get(ENERGY),
            len(structure),
            int(evaluation.cost.get("potential_calls", 0)),
            time.process_time() - started,
        )
        return evaluation


class Perturber(EvaluatorSettings):
    """Stands for a relaxer that costs nothing: displaces atoms at random, and draws an energy."""

    @property
    def requires(self) -> frozenset[str]:
        """The structure that the space built."""
        return frozenset({STRUCTURE_PREFIX + INITIAL})

    @property
    def provides(self) -> Mapping[str, Unit]:
        """Energy and the perturbed structure."""
        return {ENERGY: "eV/atom", STRUCTURE_PREFIX + "relaxed": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Perturb each of `inputs`; its own time is counted as that of the relaxation."""
        return [self._perturb(item) for item in inputs]

    def _perturb(self, item: Input) -> Evaluation:
        from pymatgen.core import Structure

        started = time.process_time()
        rng, start = np.random.default_rng(item.seed), item.structures[INITIAL]
        moved = start.cart_coords + rng.normal(scale=DISPLACEMENT, size=(len(start), 3))
        structure = Structure(start.lattice, start.species, moved, coords_are_cartesian=True)
        energy = float(rng.normal())
        seconds = time.process_time() - started
        current_ledger().add_relaxation("", None, len(start), 0, seconds)
        return Evaluation({ENERGY: energy}, structures={"relaxed": structure})


@cache
def _make_calculator(folder: str, potential: str) -> Any:
    return import_shared("pots", folder).PairCrystal(potential)


@cache
def compile_relaxer(folder: str, potential: str) -> None:
    """Relax a small crystal once, which compiles the shared relaxer."""
    from ase import Atoms

    pots = import_shared("pots", folder)
    symbols, edge = (["Ti", "O", "O"], 3.5) if potential == "ma" else (["Mg", "O"], 3.0)
    positions = np.arange(len(symbols))[:, None] * np.full(3, edge / len(symbols))
    atoms = Atoms(symbols, positions=positions, cell=np.eye(3) * edge, pbc=True)
    pots.relax_crystal(atoms, pots.PairCrystal(potential))


def _from_atoms(atoms: Any, start: Structure) -> Structure:
    from pymatgen.core import Structure

    return Structure(np.asarray(atoms.cell), start.species, atoms.get_scaled_positions())
