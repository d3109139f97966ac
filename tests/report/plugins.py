"""A small space of rocksalt and fluorite crystals, and evaluators of them, for the tests of reports and exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Evaluation, Failure, Genome, Input
from invdesign.errors import Infeasible
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings, Operator, SpaceSettings
from invdesign.rng import Rng

CATIONS = ("Li", "Na", "K", "Mg", "Ca")
ANIONS = ("O", "F", "Cl", "S", "Br")
SIZES = 8  # lattice constants between 3.6 and 6.4 Å


class Draw:
    """Any genome."""

    arity = 0

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome:
        return {
            "cation": CATIONS[int(rng.integers(len(CATIONS)))],
            "anion": ANIONS[int(rng.integers(len(ANIONS)))],
            "size": int(rng.integers(SIZES)),
        }


class Mix:
    """The cation of one parent, the anion and size of the other."""

    arity = 2

    def apply(self, parents: Sequence[Genome], rng: Rng) -> Genome:
        return {**parents[1], "cation": parents[0]["cation"]}


class Crystals(SpaceSettings):
    """AX rocksalts; magnesium oxide cannot be built."""

    def operators(self) -> Mapping[str, Operator]:
        return {"start": Draw(), "mix": Mix()}

    def count(self) -> int:
        return len(CATIONS) * len(ANIONS) * SIZES

    def __len__(self) -> int:
        return self.count()

    def genome(self, index: int) -> Genome:
        pair, size = divmod(index, SIZES)
        cation, anion = divmod(pair, len(ANIONS))
        return {"cation": CATIONS[cation], "anion": ANIONS[anion], "size": size}

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        yield 0, self.features([self.genome(index) for index in range(len(self))])

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return np.array([[CATIONS.index(str(g["cation"])), g["size"]] for g in genomes], dtype=np.float64)

    def build(self, genome: Genome) -> Design:
        from pymatgen.core import Lattice, Structure

        if (genome["cation"], genome["anion"]) == ("Mg", "O"):
            raise Infeasible("MgO is <b>not</b> wanted")
        faces = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        structure = Structure(
            Lattice.cubic(3.6 + 0.4 * float(str(genome["size"]))),
            [str(genome["cation"])] * 4 + [str(genome["anion"])] * 4,
            np.concatenate([faces, (faces + 0.5) % 1]),
        )
        return Design(composition=structure.composition, structures={"initial": structure})


class Squeeze(EvaluatorSettings):
    """Invents a hull distance from the density and keeps a slightly strained crystal; fails for potassium."""

    message: str = "potassium is too large"

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"structure:initial"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"decomposition_energy": "eV/atom", "density": "g/cm^3", "structure:relaxed": ""}

    @property
    def potential_id(self) -> str:
        return "toy-potential-1-abcdef"

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._one(item) for item in inputs]

    def _one(self, item: Input) -> Evaluation:
        structure: Any = item.structures["initial"].copy()
        if structure[0].specie.symbol == "K":
            return Evaluation(failure=Failure("error", "squeeze", self.message))
        density = float(structure.density)
        structure.scale_lattice(structure.volume * 0.97)
        return Evaluation(
            properties={"decomposition_energy": 0.1 * (density - 3.0) ** 2 - 0.1, "density": density},
            noise={"decomposition_energy": 0.01},
            systematic={"decomposition_energy": 0.05},
            details={"density": f"{density / 0.97:.2f} after the squeeze, <b>bold</b>"},
            structures={"relaxed": structure},
        )


class Spacing(EvaluatorSettings):
    """The lattice constant."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"structure:relaxed"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"lattice_constant": "Å"}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [
            Evaluation(properties={"lattice_constant": item.structures["relaxed"].lattice.a})
            for item in inputs
        ]


class Moody(EvaluatorSettings):
    """A cost of the parameters that fails where `kind` says so."""

    message: str = "it refused"

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"cost": "€/kg", "<b>gain</b>": "%"}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._one(item) for item in inputs]

    def _one(self, item: Input) -> Evaluation:
        x = float(item.design.parameters["x"])
        if x > 0.8:
            return Evaluation(failure=Failure("error", "moody", self.message))
        return Evaluation(properties={"cost": (x - 0.3) ** 2, "<b>gain</b>": x}, noise={"cost": 0.02})


class Limits(EvaluatorSettings):
    """An oxidation limit, half of them of decomposition products."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"oxidation_limit": "V", "window_of_products": ""}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [self._one(float(str(item.design.parameters["x"]))) for item in inputs]

    def _one(self, x: float) -> Evaluation:
        return Evaluation(
            properties={"oxidation_limit": 2.0 + x, "window_of_products": float(x > 0.5)},
            systematic={"oxidation_limit": 0.1},
            details={"oxidation_limit": "Li2O -> 1/2 Li2O2 + Li"},
        )
