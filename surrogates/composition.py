"""Judgements by composition alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.structures.charges import charge_imbalance, check_element, oxidation_states

if TYPE_CHECKING:
    from pymatgen.core import Composition

BATCH = 64
FINEST = 1000  # largest denominator of a fractional amount

ElementSymbol = Annotated[str, AfterValidator(check_element)]
States = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]


class ChargeNeutrality(EvaluatorSettings):
    """Refuses compositions whose oxidation states cannot add up to nothing."""

    oxidation_states: dict[ElementSymbol, States] = Field(default_factory=dict)
    """States allowed for an element, in place of its common ones: `{Fe: [2, 3]}`."""

    @property
    def requires(self) -> frozenset[str]:
        """The composition."""
        return frozenset({"composition"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The smallest charge left over."""
        return {"charge_imbalance": "e"}

    @property
    def gates(self) -> Sequence[Constraint]:
        """Nothing left over."""
        return (Constraint("charge_imbalance", max=0.0),)

    @property
    def batch(self) -> Batch:
        """Many: one costs less than its trip to a worker."""
        return Batch(BATCH)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """One number each; an element without a known state is a failure that names it."""
        return [self._evaluate(item.design.composition) for item in inputs]

    def _evaluate(self, composition: Composition | None) -> Evaluation:
        began = time.perf_counter()
        if composition is None:
            return Evaluation(failure=Failure("missing", "", "the candidate has no composition"))
        counts, scale = whole_counts(composition)
        states = {name: self.oxidation_states.get(name) or oxidation_states(name) for name in counts}
        left = charge_imbalance(counts, states) / scale
        return Evaluation({"charge_imbalance": left}, cost={"seconds": time.perf_counter() - began})


def whole_counts(composition: Composition) -> tuple[dict[str, int], int]:
    """Whole numbers of atoms, and by what the amounts were multiplied: Li0.5CoO2 is LiCo2O4 and 2."""
    amounts = {
        str(name): Fraction(float(amount)).limit_denominator(FINEST)
        for name, amount in composition.get_el_amt_dict().items()
    }
    scale = lcm(*(amount.denominator for amount in amounts.values()))
    return {name: int(amount * scale) for name, amount in amounts.items()}, scale
