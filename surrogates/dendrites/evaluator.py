"""The evaluator `dendrite_rank`: candidates ranked by the initiation of dendrites on lithium metal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from invdesign.arrays import FloatArray
from invdesign.candidate import Evaluation, Failure, Input
from invdesign.properties import Unit, describe_property, mark_extrapolation
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.rng import rng_for
from surrogates.dendrites.criterion import (
    LITHIUM_MOLAR_VOLUME,
    poisson_ratio,
    stability_parameter,
)

SHEAR, BULK = "log10_shear_modulus", "log10_bulk_modulus"
STABILITY, CHANCE = "dendrite_stability", "dendrite_stable_probability"
DRAWS = 2_000  # of both moduli within their intervals: the probability is then known to 1 % (chosen)
HALF_WIDTH_90 = 1.6448536269514722  # standard deviations from the middle to an end of an interval of 90 %
ION_RADIUS = 0.76  # Å, of six-coordinate Li+: Shannon, Acta Crystallogr. A 32, 751 (1976)
ION_VOLUME = 4.0 / 3.0 * np.pi * ION_RADIUS**3 * 0.602214076  # cm^3/mol
BATCH_SIZE = 64  # candidates in a task (chosen)


class DendriteRank(EvaluatorSettings):
    """Ranks electrolytes by how a flat interface with lithium metal resists dendrites.

    It reads the shear and bulk moduli of an earlier stage. It speaks of the initiation at a flat interface of isotropic solids,
    not of cracks, pores or grain boundaries, and ranks: absolute values depend on the wave that is assumed.

    Source:
        Ahmad et al., ACS Cent. Sci. 4, 996 (2018); see `criterion`.
    """

    volume_ratio: Annotated[float, Field(ge=0.0, le=20.0)] = round(ION_VOLUME / LITHIUM_MOLAR_VOLUME, 3)
    """Molar volume of lithium in the electrolyte over that in the metal; by default that of a sphere with the ionic radius."""
    intervals: bool = False
    """Read the intervals of both moduli too; a campaign sets it where an earlier stage provides them."""
    flags: tuple[str, ...] = ()
    """Flags of the moduli that are read; a campaign sets those that earlier stages provide."""

    def reading_from(self, known: Collection[str]) -> DendriteRank:
        """Copy that reads the intervals and flags of the moduli among the `known` properties."""
        marks = [describe_property(name).mark for name in (SHEAR, BULK)]
        flags = tuple(dict.fromkeys(mark.flag for mark in marks if mark is not None and mark.flag in known))
        return self.model_copy(update={"intervals": set(_list_ends()) <= set(known), "flags": flags})

    @property
    def requires(self) -> frozenset[str]:
        """Both moduli, with their intervals and flags where they are known."""
        return frozenset((SHEAR, BULK, *(_list_ends() if self.intervals else ()), *self.flags))

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The stability parameter, its flag, and the probability of stability where intervals are known."""
        found: dict[str, Unit] = {STABILITY: "kJ/mol/nm"}
        if self.flags:
            found[mark_extrapolation(STABILITY).flag] = ""
        if self.intervals:
            found[CHANCE] = ""
        return found

    @property
    def batch(self) -> Batch:
        """Many candidates: one costs less than its transfer to a worker."""
        return Batch(BATCH_SIZE)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the stability parameter of each of `inputs`."""
        return [self._rank(item) for item in inputs]

    def _rank(self, item: Input) -> Evaluation:
        shear, bulk = item.properties[SHEAR], item.properties[BULK]
        value = self._find_parameter(np.array([shear]), np.array([bulk]))[0]
        if not np.isfinite(value):
            return Evaluation(
                failure=Failure(
                    "error", "", f"moduli of 10^{shear:.3g} and 10^{bulk:.3g} GPa are no elastic solid"
                )
            )
        properties = {STABILITY: float(value)}
        if self.flags:
            properties[mark_extrapolation(STABILITY).flag] = max(item.properties[flag] for flag in self.flags)
        if not self.intervals:
            return Evaluation(properties)
        # Moduli of one model family err together or apart; apart is what the intervals alone support.
        rng = rng_for(item.seed, 0, "dendrites")
        drawn = self._find_parameter(self._draw(item, SHEAR, rng), self._draw(item, BULK, rng))
        properties[CHANCE] = float((drawn < 0.0).mean())
        return Evaluation(properties, systematic={STABILITY: float(drawn.std())})

    def _draw(self, item: Input, name: str, rng: np.random.Generator) -> FloatArray:
        """Draw logarithms of a modulus within its interval."""
        low, high = (item.properties[end] for end in (f"{name}_lower", f"{name}_upper"))
        deviation = max(high - low, 0.0) / (2.0 * HALF_WIDTH_90)
        return rng.normal(item.properties[name], deviation, DRAWS)

    def _find_parameter(self, shear: FloatArray, bulk: FloatArray) -> FloatArray:
        """Stability parameter from logarithms of moduli, shape (n,)."""
        g, k = 10.0**shear, 10.0**bulk
        return stability_parameter(g, poisson_ratio(k, g), self.volume_ratio)


def _list_ends() -> tuple[str, ...]:
    """Names of the ends of both moduli's intervals."""
    return tuple(f"{name}_{end}" for name in (SHEAR, BULK) for end in ("lower", "upper"))
