"""Bayesian optimization: models of the properties decide what is worth an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from invdesign.candidate import Proposal
from invdesign.optimizers.bayesian.fidelity import fidelity_stages, shortened
from invdesign.optimizers.bayesian.priors import PriorTable, prior_refusal
from invdesign.optimizers.bayesian.settings import Modelling
from invdesign.optimizers.common import Draft, State, countable
from invdesign.optimizers.random import MOST_SOBOL_DIMENSIONS, RandomSearch
from invdesign.problem import Problem
from invdesign.protocols import Context, OptimizerSettings, SearchSpace, VectorSpace

Acquisition = Literal["auto", "log_ei", "noisy_ei", "ucb", "thompson", "log_ehvi", "log_nehvi", "parego"]
FEWEST, MOST = 8, 20  # trials before models are made, where the user does not say
OWN = 3  # of them where there are earlier results


class Bayesian(Modelling, OptimizerSettings):
    """Proposes what an acquisition function expects most of, by models of properties and of failure.

    The first candidates are a design that fills the space. From then on every objective and constraint has a model of
    its property, learned from all trials that have it, and candidates are chosen one after the other: each by models
    that believe the pending ones to come out as predicted.
    """

    batch: int = Field(default=4, ge=1)
    """Candidates asked for at a time."""
    asks: int = Field(default=1, ge=1)
    """How many asks may be under way at once; with `batch` 1 and as many asks as workers, none waits for another."""
    initial: int | None = Field(default=None, ge=2)
    """Candidates of the first design; where not given, twice the number of variables, between 8 and 20, or 3 with a
    prior."""
    acquisition: Acquisition = "auto"
    """What is maximised: `log_ei`, `noisy_ei`, `ucb`, `thompson`, `log_ehvi`, `log_nehvi`, `parego`; `auto` takes what
    suits the objectives and their noise."""
    beta: float = Field(default=2.0, gt=0.0)
    """Standard deviations of optimism of `ucb`."""
    fidelity: bool = True
    """Whether candidates may stop at a stage that says an objective's property before a later stage says it again."""
    costs: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default={})
    """Cost of each stage by name, in any unit, for choosing stages; measured in seconds where none is given."""
    groups: dict[str, tuple[str, ...]] = Field(default={}, strict=False)
    """Descriptors by group, for additive models: names of columns, or of groups that the space has."""
    trust_region: Literal["auto"] | bool = "auto"
    """Whether the search keeps near the best trial, as near as its luck allows; `auto` where more than 20 variables
    are numbers."""
    effort: float = Field(default=1.0, gt=0.0, le=10.0)
    """How long an acquisition function is searched for its maximum, relative to what usually suffices."""
    prior: tuple[PriorTable, ...] = Field(default=(), strict=False)
    """What is known already, of earlier runs (`run: DIR`) or from tables (`table: FILE`)."""

    @property
    def overlap(self) -> int:
        return self.asks

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        """What its tables of known results, or its groups of descriptors, do not share with the space."""
        from invdesign.optimizers.bayesian.frame import make_frame

        if self.groups:
            try:
                make_frame(space, self.groups)
            except ValueError as error:
                return f"cannot group the descriptors: {error}"
        return prior_refusal(self.prior, space, problem.properties) if self.prior else ""

    def start(self, context: Context) -> State:
        """The design's counters, no models, nothing to tell."""
        design = self._design(context.space).start(context)
        return {"design": design, "models": {}, "region": {}, "costs": {}, "notes": {}}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        design = self._design(context.space)
        # A trust region that starts anew begins with a design of its own.
        left = self._initial(context.space) - (len(context.history) - state["region"].get("since", 0))
        if state["design"]["seeds"] < len(context.seeds) or left > 0:
            draft.n = min(n, max(left, 1))
            state = {**state, "design": design.fill(draft, state["design"])}
            stages = fidelity_stages(context.stages, context.problem) if self.fidelity else ()
            if stages:
                shortened(draft, stages, len(context.history), self._initial(context.space))
            draft.n = n
        if draft.missing:
            from invdesign.optimizers.bayesian.proposing import propose

            state = propose(self, draft, state)
        if draft.missing:
            state = {**state, "design": design.fill(draft, state["design"])}
        return draft.proposals, state

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """A trust region counts its luck; everything else is read from the history when it is asked again."""
        if not state["region"]:
            return state
        from invdesign.optimizers.bayesian.trust import told_region

        since = state["region"]["since"]
        finished = np.setdiff1d(np.arange(since, len(context.history)), context.history.pending())
        scores = context.history.scores(finished.tolist())
        best = scores.front() if context.problem.n_values > 1 else scores.order()[:1]
        better = bool(np.isin(finished[best], list(ids)).any())
        return {**state, "region": told_region(state["region"], better, len(ids), len(context.history))}

    def _initial(self, space: SearchSpace) -> int:
        """How many trials there are to be before models are made."""
        if self.initial is not None:
            return self.initial
        if self.prior:
            return OWN
        variables = len(space.domain().dimensions) if isinstance(space, VectorSpace) else FEWEST
        return min(max(2 * variables, FEWEST), MOST)

    def _design(self, space: SearchSpace) -> RandomSearch:
        """The first candidates: along a Sobol sequence where points stand for genomes, else at random."""
        if isinstance(space, VectorSpace) and countable(space) is None:
            domain = space.domain()
            if domain.climbable and len(domain.dimensions) <= MOST_SOBOL_DIMENSIONS:
                return RandomSearch(batch=16, design="sobol")
        return RandomSearch()
