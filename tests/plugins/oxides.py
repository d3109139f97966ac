"""Oxides of strontium and titanium with known energies, for hulls: compositions of fixed charges, and polymorphs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Evaluation, Failure, Genome, Input
from invdesign.errors import Infeasible
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.protocols import EvaluatorSettings, Operator, SpaceSettings
from invdesign.spaces.parameters.space import ParameterSpace

# eV/atom by (Sr, Ti), of the potential `pedone`; the hull is SrO, SrTiO3, TiO2, and Sr2TiO4 lies 33 meV/atom above it.
ENERGIES = {(1, 0): -6.65983, (1, 1): -12.18683, (0, 1): -15.59926, (2, 1): -10.57469}


class Oxides(SpaceSettings):
    """Some SrO and some TiO2, and how far the crystal is from its lowest polymorph; none of both cannot be built."""

    @cached_property
    def _inner(self) -> ParameterSpace:
        parameters = {
            "sr": {"integer": [0, 3]},
            "ti": {"integer": [0, 3]},
            "strain": {"real": [0.0, 1.0]},
        }
        return ParameterSpace.model_validate({"parameters": parameters})

    def operators(self) -> Mapping[str, Operator]:
        return self._inner.operators()

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return self._inner.features(genomes)

    def build(self, genome: Genome) -> Design:
        from pymatgen.core import Composition

        design = self._inner.build(genome)
        sr, ti = int(design.parameters["sr"]), int(design.parameters["ti"])
        if sr + ti == 0:
            raise Infeasible("there are no atoms")
        amounts = {"Sr": sr, "Ti": ti, "O": sr + 2 * ti}
        return Design(parameters=design.parameters, composition=Composition(amounts))


class OxideEnergy(EvaluatorSettings):
    """`energy_per_atom`: what is known of the composition, or 0.1 eV/atom above SrO and TiO2; more with strain."""

    potential: str | None = "pedone"
    """Fingerprint of the potential."""
    delay: float = Field(default=0.0, ge=0)
    """Seconds one candidate takes."""
    gate_at: float | None = None
    """Energy above which candidates are stopped, eV/atom."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"parameters", "composition"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"energy_per_atom": "eV/atom"}

    @property
    def gates(self) -> Sequence[Constraint]:
        return () if self.gate_at is None else (Constraint("energy_per_atom", max=self.gate_at),)

    @property
    def potential_id(self) -> str | None:
        return self.potential

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        time.sleep(self.delay * len(inputs))
        return [self.one(item) for item in inputs]

    def one(self, item: Input) -> Evaluation:
        """The evaluation of one candidate; those under the most strain fail."""
        sr, ti, strain = (float(item.parameters[name]) for name in ("sr", "ti", "strain"))
        if strain > 0.95:
            return Evaluation(failure=Failure("error", "", "it fell apart"))
        return Evaluation(properties={"energy_per_atom": lowest_energy(int(sr), int(ti)) + 0.4 * strain**2})


def lowest_energy(sr: int, ti: int) -> float:
    """Energy of the lowest polymorph, eV/atom."""
    common = int(np.gcd(sr, ti))
    known = ENERGIES.get((sr // common, ti // common))
    if known is not None:
        return known
    share = 2 * sr / (2 * sr + 3 * ti)
    return share * ENERGIES[1, 0] + (1 - share) * ENERGIES[0, 1] + 0.1


class OxideVolume(EvaluatorSettings):
    """`volume_per_atom`, the same for all."""

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"composition"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        return {"volume_per_atom": "Å^3/atom"}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [Evaluation(properties={"volume_per_atom": 10.0}) for _ in inputs]
