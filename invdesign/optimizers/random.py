"""Random search: the baseline every other optimizer must beat."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from invdesign.candidate import Proposal
from invdesign.optimizers.common import (
    Draft,
    State,
    countable,
    propose_seeds,
    propose_started,
    propose_unasked,
)
from invdesign.protocols import Context, OptimizerSettings


class RandomSearch(OptimizerSettings):
    """Draws candidates at random, none twice.

    From a countable space without replacement, every genome equally likely, until it is exhausted; from others
    by their start operators, until 100 draws in a row gave nothing new.
    """

    batch: int = Field(default=16, ge=1)
    """Candidates asked for at a time."""

    def start(self, context: Context) -> State:  # noqa: ARG002 - the contract's signature
        """Nothing proposed yet: counters of seeds and of the finite space's genomes used up."""
        return {"seeds": 0, "position": 0}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        seeds = propose_seeds(draft, state["seeds"])
        position = state["position"]
        finite = countable(context.space)
        if finite is None:
            propose_started(draft, context.rng("random"))
        else:
            position = propose_unasked(draft, finite, position)
        return draft.proposals, {"seeds": seeds, "position": position}

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:  # noqa: ARG002
        """Nothing is learned."""
        return state
