"""Base of evaluators that compute with a potential."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.errors import InvdesignError
from invdesign.protocols import Potential, potential_of
from invdesign.roles import StructureEvaluator
from invdesign.settings import PotentialField

if TYPE_CHECKING:
    from pymatgen.core import Structure


class PotentialEvaluator(StructureEvaluator):
    """Base of evaluators that compute one structure of a candidate with a potential."""

    potential: PotentialField = Field(default="chgnet", validate_default=True)
    """Energy, forces and stress: `chgnet`, or `{kind: ase, calculator: emt}`."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the settings and of the potential's weights."""
        return f"{super().fingerprint}-{self._potential.fingerprint}"

    @property
    def _potential(self) -> Potential:
        return potential_of(self.potential)

    def prepare(self) -> None:
        """Load the potential, if it can be loaded in advance."""
        self._potential.prepare()

    def _evaluate_each(
        self, inputs: Sequence[Input], evaluate: Callable[[Structure], Evaluation]
    ) -> list[Evaluation]:
        """Evaluate the structure of each of `inputs`, and note the time.

        Args:
            inputs: the candidates.
            evaluate: makes the evaluation; an `InvdesignError` is a failure with its message.
        """
        return [_time_evaluation(lambda item: evaluate(self.structure_of(item)), item) for item in inputs]

    @staticmethod
    def _evaluate_inputs(
        inputs: Sequence[Input], evaluate: Callable[[Input], Evaluation]
    ) -> list[Evaluation]:
        """Evaluate each of `inputs` as a whole, as `_evaluate_each` does a structure of it.

        Args:
            inputs: the candidates.
            evaluate: makes the evaluation; an `InvdesignError` is a failure with its message.
        """
        return [_time_evaluation(evaluate, item) for item in inputs]


def find_known_error(potential: Potential, errors: Mapping[str, float]) -> float | None:
    """Systematic error of a quantity by a potential; None where it was not measured.

    Args:
        potential: that computes it.
        errors: by the beginning of a fingerprint, `chgnet-0.3.0`.
    """
    return next(
        (error for name, error in errors.items() if potential.fingerprint.startswith(f"{name}-")), None
    )


def _time_evaluation(evaluate: Callable[[Input], Evaluation], item: Input) -> Evaluation:
    began = time.perf_counter()
    try:
        found = evaluate(item)
    except InvdesignError as error:
        found = Evaluation(failure=Failure("error", "", str(error)))
    return replace(found, cost={"seconds": time.perf_counter() - began, **found.cost})
