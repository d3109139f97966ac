"""Optimizer that chooses another one by space, objectives, budget and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from pydantic import Field

from invdesign.candidate import Json, Proposal, to_json
from invdesign.optimizers.choice import SLOW_SECONDS, Choice, Facts, choose_optimizer, depends_on_cost
from invdesign.optimizers.common import State, finite_space
from invdesign.optimizers.random import RandomSearch
from invdesign.problem import Problem
from invdesign.protocols import AnyOptimizer, Context, OptimizerSettings, SearchSpace, VectorSpace
from invdesign.settings import load

LARGEST_BATCH = 64  # chosen
DESIGN = "design"  # what proposes the first candidates where their cost decides


class Auto(OptimizerSettings):
    """Chooses an optimizer once, explains why, and continues as that optimizer.

    Where the choice depends on an unknown cost of candidates, a design of a few candidates is evaluated
    first: it fills the space evenly, and whatever is chosen starts from it. The choice and its settings are
    remembered: a resumed run goes on with them, whatever its budget has become.
    """

    candidates: int | None = Field(default=None, ge=1)
    """How many candidates to plan for; those of the budget where not given."""
    seconds: float | None = Field(default=None, gt=0.0)
    """What a candidate takes, all stages together; measured where not given and where it matters."""
    design: int = Field(default=8, ge=1)
    """Candidates evaluated first where their cost decides."""

    @property
    def batch(self) -> int:
        """Largest batch of any optimizer; the chosen one asks for its own."""
        return LARGEST_BATCH

    def foreseen(self, space: SearchSpace, problem: Problem, candidates: int | None) -> Choice | None:
        """Choice for a run of `candidates`; None if their cost decides.

        Args:
            space: what is searched.
            problem: objectives and constraints.
            candidates: of the budget; None where it has no such number.
        """
        facts = Facts(space, problem, self.candidates or candidates)
        if self.seconds is not None:
            return choose_optimizer(replace(facts, slow=self.seconds >= SLOW_SECONDS))
        return None if depends_on_cost(facts) else choose_optimizer(facts)

    def start(self, context: Context) -> State:
        """Start with the choice, or with the design that precedes it."""
        found = self.foreseen(context.space, context.problem, context.budget)
        if found is None and context.stages:
            design = self._initial_design(context).start(_inner_context(context, DESIGN))
            return {"chosen": None, "members": {DESIGN: design}, "notes": {}}
        facts = Facts(context.space, context.problem, self.candidates or context.budget)
        return _start_chosen(context, found or choose_optimizer(facts))

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        if state["chosen"] is None:
            name, plugin = DESIGN, cast("AnyOptimizer", self._initial_design(context))
            n = min(n, max(self.design - len(context.history), 1))
        else:
            name, plugin = _load_chosen(context, state["chosen"])
        inner = state["members"][name]
        proposals, inner = plugin.ask(_inner_context(context, name), inner, min(n, plugin.batch))
        return proposals, {**state, "members": {name: inner}}

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Pass results on; once the design is evaluated, choose."""
        if state["chosen"] is not None:
            name, plugin = _load_chosen(context, state["chosen"])
            inner = plugin.tell(_inner_context(context, name), state["members"][name], ids)
            return {**state, "members": {name: inner}}
        pending = context.history.pending()
        if len(context.history) - len(pending) < self.design:
            return state
        facts = Facts(context.space, context.problem, self.candidates or context.budget)
        begun = _start_chosen(
            context, choose_optimizer(replace(facts, slow=_mean_seconds(context) >= SLOW_SECONDS))
        )
        left_out = [*pending, *context.history.outside()]
        finished = np.setdiff1d(np.arange(len(context.history)), left_out).tolist()
        return self.tell(context, begun, finished)

    def _initial_design(self, context: Context) -> RandomSearch:
        """Initial design that fills the space evenly.

        Spaces without points, and countable ones, get random candidates.
        """
        even = isinstance(context.space, VectorSpace) and finite_space(context.space) is None
        found = RandomSearch(design="sobol" if even else "random", batch=self.design)
        return RandomSearch(batch=self.design) if found.refusal(context.space, context.problem) else found


def _start_chosen(context: Context, found: Choice) -> State:
    """State in which the chosen optimizer starts."""
    name, plugin = _load_chosen(context, found.settings)
    return {
        "chosen": found.settings,
        "members": {name: plugin.start(_inner_context(context, name))},
        "notes": {"choice": f"auto chose {found.reason}"},
    }


def _load_chosen(context: Context, settings: dict[str, Json]) -> tuple[str, AnyOptimizer]:
    """Kind and optimizer of these settings, built once per run."""
    name = f"auto {to_json(settings)}"
    if name not in context.cache:
        context.cache[name] = load("optimizers", settings)
    return str(settings["kind"]), cast("AnyOptimizer", context.cache[name])


def _inner_context(context: Context, name: str) -> Context:
    """Context of the inner optimizer, with a cache of its own."""
    cache = cast("dict[str, object]", context.cache.setdefault(f"auto: {name}", {}))
    return replace(context, cache=cache)


def _mean_seconds(context: Context) -> float:
    """Mean seconds per finished candidate over all stages; 0 if unknown.

    External stages count as slow.
    """
    if any(stage.external for stage in context.stages):
        return float("inf")
    history = context.history
    finished = np.setdiff1d(np.arange(len(history)), history.pending())
    taken = sum(np.nan_to_num(history.seconds(stage.name)[finished]) for stage in context.stages)
    return float(np.mean(taken))
