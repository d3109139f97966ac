"""Filter by composition: charge balance."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from invdesign.candidate import Evaluation, Failure, Input
from invdesign.problem import Constraint
from invdesign.properties import Unit
from invdesign.protocols import Batch, EvaluatorSettings
from invdesign.structures.charges import ElementSymbol, States, is_alloy, scale_to_whole_counts
from invdesign.structures.neutrality import balance_charges

if TYPE_CHECKING:
    from pymatgen.core import Composition

BATCH_SIZE = 64  # candidates in a task; chosen


class ChargeNeutrality(EvaluatorSettings):
    """Refuses compositions whose oxidation states cannot balance."""

    # 2: polyatomic ions, mean states, nonmetals positive only beside their partners.
    version: ClassVar[str] = "2"

    oxidation_states: dict[ElementSymbol, States] = Field(default_factory=dict)
    """States allowed for an element, in place of those of the rule: `{Fe: [2, 3]}`, `{Cl: [1]}`."""
    metallic: Literal["allow", "refuse"] = "refuse"
    """Treatment of alloys, whose charges mean nothing: metals and metalloids alone (LiAl, Li15Si4), and
    carbides, nitrides, hydrides and phosphides of transition metals without an alkali metal (Fe3C, Ni2P)."""

    @property
    def requires(self) -> frozenset[str]:
        """The composition."""
        return frozenset({"composition"})

    @property
    def provides(self) -> Mapping[str, Unit]:
        """The smallest charge imbalance."""
        return {"charge_imbalance": "e"}

    @property
    def gates(self) -> Sequence[Constraint]:
        """No imbalance."""
        return (Constraint("charge_imbalance", max=0.0),)

    @property
    def batch(self) -> Batch:
        """Many candidates: one costs less than its transfer to a worker."""
        return Batch(BATCH_SIZE)

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        """Return the imbalance of each of `inputs`.

        An element without a known oxidation state is a failure that names it.
        """
        return [self._evaluate_composition(item.design.composition) for item in inputs]

    def _evaluate_composition(self, composition: Composition | None) -> Evaluation:
        began = time.perf_counter()
        if composition is None:
            return Evaluation(failure=Failure("missing", "", "the candidate has no composition"))
        try:
            left = self.smallest_imbalance(composition.get_el_amt_dict())
        except ValueError as error:
            return Evaluation(failure=Failure("error", "", str(error)))
        return Evaluation({"charge_imbalance": left}, cost={"seconds": time.perf_counter() - began})

    def smallest_imbalance(self, amounts: Mapping[str, float]) -> float:
        """Smallest charge left by any choice of oxidation states, in elementary charges.

        Args:
            amounts: atoms by element; the charge is that of this formula as given.

        Raises:
            ValueError: no oxidation state of an element is known.
        """
        counts, scale = scale_to_whole_counts(amounts)
        if self.metallic == "allow" and is_alloy(counts):
            return 0.0
        return float(balance_charges(counts, self.oxidation_states).imbalance / scale)
