"""Bayesian optimization: models of the properties decide what is worth an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.candidate import Proposal
from invdesign.optimizers.bayesian.fidelity import fidelity_stages, stop_early
from invdesign.optimizers.bayesian.priors import explain_refusal
from invdesign.optimizers.bayesian.settings import BayesianSettings
from invdesign.optimizers.common import Draft, State, finite_space
from invdesign.optimizers.random import MOST_SOBOL_DIMENSIONS, RandomSearch
from invdesign.problem import Problem
from invdesign.protocols import Context, SearchSpace, VectorSpace

FEWEST_INITIAL, MOST_INITIAL = 8, 20  # trials before models are made, by default (chosen)
INITIAL_WITH_PRIOR = 3  # trials before models are made, given earlier results (chosen)


class Bayesian(BayesianSettings):
    """Maximises an acquisition function over models of properties and of failure.

    The first candidates are a design that fills the space. From then on every objective and constraint has a model of
    its property, learned from all trials that have it. Candidates are chosen one after the other, under models
    conditioned on their own predictions at pending candidates.
    """

    @property
    def overlap(self) -> int:
        """Number of asks that may be under way at once."""
        return self.asks

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        """Reason against the priors or groups of descriptors; empty if they fit.

        Args:
            space: to be searched.
            problem: its properties must be in the priors.
        """
        from invdesign.optimizers.bayesian.frame import make_frame

        if self.groups:
            try:
                make_frame(space, self.groups)
            except ValueError as error:
                return f"cannot group the descriptors: {error}"
        return explain_refusal(self.prior, space, problem.properties) if self.prior else ""

    def start(self, context: Context) -> State:
        """Initial state for a `context`: the design's counters, no models, no notes."""
        design = self._initial_design(context.space).start(context)
        return {"design": design, "models": {}, "region": {}, "costs": {}, "notes": {}}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        """Propose up to `n` candidates: the first design, then by the models.

        Args:
            context: the event.
            state: of the optimizer.
            n: number of candidates wanted.
        """
        draft = Draft(context, n)
        design = self._initial_design(context.space)
        # After a restart, a trust region begins with a design of its own.
        left = self._initial_trials(context.space) - (len(context.history) - state["region"].get("since", 0))
        if state["design"]["seeds"] < len(context.seeds) or left > 0:
            draft.n = min(n, max(left, 1))
            state = {**state, "design": design.fill_draft(draft, state["design"])}
            stages = fidelity_stages(context.stages, context.problem) if self.fidelity else ()
            if stages:
                stop_early(draft, stages, len(context.history), self._initial_trials(context.space))
            draft.n = n
        if draft.missing:
            from invdesign.optimizers.bayesian.proposing import propose

            state = propose(self, draft, state)
        if draft.missing:
            state = {**state, "design": design.fill_draft(draft, state["design"])}
        return draft.proposals, state

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Update the trust region; everything else is read from the history.

        Args:
            context: the event.
            state: of the optimizer.
            ids: of the trials that ended.
        """
        if not state["region"]:
            return state
        from invdesign.optimizers.bayesian.trust import update_region

        since = state["region"]["since"]
        finished = np.setdiff1d(np.arange(since, len(context.history)), context.history.pending())
        scores = context.history.scores(finished.tolist())
        best = scores.front() if context.problem.n_values > 1 else scores.order()[:1]
        better = bool(np.isin(finished[best], list(ids)).any())
        return {**state, "region": update_region(state["region"], better, len(ids), len(context.history))}

    def _initial_trials(self, space: SearchSpace) -> int:
        """Number of trials before models are built."""
        if self.initial is not None:
            return self.initial
        if self.prior:
            return INITIAL_WITH_PRIOR
        variables = len(space.domain().dimensions) if isinstance(space, VectorSpace) else FEWEST_INITIAL
        return min(max(2 * variables, FEWEST_INITIAL), MOST_INITIAL)

    def _initial_design(self, space: SearchSpace) -> RandomSearch:
        """Generator of the first candidates: a Sobol sequence in a cube, else random."""
        if isinstance(space, VectorSpace) and finite_space(space) is None:
            domain = space.domain()
            if domain.climbable and len(domain.dimensions) <= MOST_SOBOL_DIMENSIONS:
                return RandomSearch(batch=16, design="sobol")
        return RandomSearch()
