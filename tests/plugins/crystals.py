"""Evaluators that move atoms, and a space of crystals that shows who adopts, and what children inherit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from invdesign.candidate import Evaluation, Genome, Input, genome_key
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings, Operator
from invdesign.rng import Rng
from invdesign.run.run import Run
from invdesign.run.told import Told
from invdesign.spaces.crystal import CrystalSpace

if TYPE_CHECKING:
    from pymatgen.core import Structure

VOLUME = 11.0  # Å³ per atom, to which a cell settles half way
BOND = 2.1  # Å, of a nearest neighbour without energy
Fate = Literal["settle", "collapse", "explode", "fall apart", "lose an atom", "change an element"]


def spoil(structure: Structure, fate: Fate) -> Structure:
    """What a failed relaxation makes of a structure."""
    from pymatgen.core import Structure

    spoilt = structure.copy()
    if fate == "collapse":
        spoilt.scale_lattice(0.02 * structure.volume)
    elif fate == "explode":
        spoilt.scale_lattice(60.0 * structure.volume)
    elif fate == "fall apart":
        cell = np.array(structure.lattice.matrix)
        longer = cell.copy()
        longer[2] *= 2.3  # a slab with a vacuum above it, of a volume that the space allows
        spoilt = Structure(longer, structure.species, structure.cart_coords, coords_are_cartesian=True)
    elif fate == "lose an atom":
        spoilt.remove_sites([0])
    elif fate == "change an element":
        spoilt.replace(0, "Xe")
    return spoilt


class Settling(EvaluatorSettings):
    """Takes the cell half way to a volume; `energy_per_atom` grows with bonds that are too long or too short."""

    fate: Fate = "settle"
    """What becomes of the crystals."""
    half: bool = False
    """Whether only about half of the crystals have that fate; the others settle."""
    role: Literal["relaxed", "dft"] = "relaxed"
    """Name of the structure."""
    start: Literal["initial", "relaxed"] = "initial"
    """Structure to begin with."""
    energy: str = "energy_per_atom"
    """Name of the energy."""
    log: str = ""
    """File that gets a line per evaluation."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({f"structure:{self.start}"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {self.energy: "eV/atom", f"structure:{self.role}": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        if self.log:
            write_line(self.log, [item.candidate.id for item in inputs])
        return [self._settle(item) for item in inputs]

    def _settle(self, item: Input) -> Evaluation:
        settled = settle_structure(item.structures[self.start])
        distances = np.array(settled.distance_matrix)
        np.fill_diagonal(distances, min(settled.lattice.abc))
        value = float(np.mean((distances.min(axis=1) - BOND) ** 2))
        if not self.half or int(1e5 * value) % 2:
            settled = spoil(settled, self.fate)
        return Evaluation(properties={self.energy: value}, structures={self.role: settled})


def settle_structure(structure: Structure) -> Structure:
    """What `Settling` makes of a structure without another fate."""
    settled = structure.copy()
    settled.scale_lattice(0.5 * (structure.volume + VOLUME * len(structure)))
    return settled


class Measured(Settling):
    """The same, told from outside."""

    @property
    def external(self) -> bool:
        return True

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        raise AssertionError("nobody may evaluate this")


def tell_settled(run: Run, id: int, fate: Fate = "settle") -> Told:
    """The result of a candidate as somebody outside would find it."""
    settled = spoil(settle_structure(run.design(id).structures["initial"]), fate)
    return Told(id, properties={"energy_per_atom": 0.1 * id}, structures={"relaxed": settled})


class SpyingSpace(CrystalSpace):
    """A space of crystals that writes down which process adopts, and what operators get and give.

    Its `adopt` may also do what no space should.
    """

    adopted: str = ""
    """File that gets the number of the process at each adoption."""
    bred: str = ""
    """File that gets name, parents and child of each operator."""
    adopting: Literal[
        "well", "raise", "exit", "none", "list", "number", "nan", "another", "hang", "die", "die once"
    ] = "well"
    """What `adopt` does."""
    edition: int = Field(default=0, ge=0)
    """Makes another space of the same crystals."""

    def operators(self) -> Mapping[str, Operator]:
        own = super().operators()
        if not self.bred:
            return own
        return {name: SpyingOperator(name, operator, self.bred) for name, operator in own.items()}

    def adopt(self, structure: Structure, parent: Genome | None) -> Any:
        if self.adopted:
            write_line(self.adopted, os.getpid())
        if self.adopting == "raise":
            raise ZeroDivisionError("this space\nhas a fault")
        if self.adopting == "exit":
            raise SystemExit(3)
        if self.adopting == "hang":
            time.sleep(3600.0)
        if self.adopting == "die" or (
            self.adopting == "die once" and len(read_lines(Path(self.adopted))) == 1
        ):
            os._exit(9)
        found: dict[str, Any] = dict(super().adopt(structure, parent))
        if self.adopting == "nan":
            return {**found, "cell": [float("nan")] * 6}
        if self.adopting == "another":
            return {**found, "counts": {"Mg": 1, "O": 2}}
        return {"none": None, "list": [found], "number": 7}.get(self.adopting, found)


@dataclass(frozen=True)
class SpyingOperator:
    """An operator that writes down what it gets and gives."""

    name: str
    inner: Operator
    file: str

    @property
    def arity(self) -> int:
        return self.inner.arity

    @property
    def share(self) -> float:
        """How often it is used at first."""
        return float(getattr(self.inner, "share", 1.0))

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        child = self.inner.apply(parents, rng)
        if child is not None:
            write_line(self.file, [self.name, [genome_key(item) for item in parents], genome_key(child)])
        return child


def write_line(file: str, value: Any) -> None:
    """Add a line of JSON to a file."""
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(value) + "\n")


def read_lines(file: Path) -> list[Any]:
    """Lines of JSON in a file, which need not exist."""
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )
