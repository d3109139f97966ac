"""Genetic algorithm: NSGA-II on DEAP, for one objective or several, constraints by feasibility rules.

Variation is the space's: its operators know what a mutation of a crystal or a mixture is. Selection is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from invdesign.candidate import Proposal
from invdesign.optimizers.common import (
    TRIES,
    Draft,
    State,
    by_arity,
    countable,
    one_of,
    propose_seeds,
    propose_unasked,
)
from invdesign.problem import Merit
from invdesign.protocols import Context, History, Operator, OptimizerSettings
from invdesign.rng import Rng, borrowed_globals

TRIES_OF_A_KIND = 10  # of the `TRIES` per proposal, before crossover, mutation or start is drawn anew
LARGEST = 1e150  # objective values are clipped here, so that no difference of two overflows into NaN


@dataclass(slots=True)
class Individual:
    """A finished trial as DEAP sees it: anything with a `fitness`."""

    id: int
    fitness: Any


class Genetic(OptimizerSettings):
    """NSGA-II with (mu + lambda) survival, asynchronous: it breeds from whatever has finished.

    The first `population` proposals come from the space's start operators. Later ones are, each by chance, a
    crossover, a mutation (what `crossover` and `fresh` leave) or a fresh start; within each the space's operators
    are used equally often. Parents win tournaments of `tournament` by feasibility, then Pareto dominance, then
    crowding distance. A child that was asked before is bred again, up to 100 times; then a countable space gives
    any genome that is left.

    Source:
        Deb, Pratap, Agarwal & Meyarivan, IEEE Trans. Evol. Comput. 6, 182 (2002), constraints as in section VI;
        Fortin, Grenier & Parizeau, Proc. GECCO 2013, 615 (the sort); DEAP, J. Mach. Learn. Res. 13, 2171 (2012).
    """

    population: int = Field(default=32, ge=2)
    """Survivors that breed (mu)."""
    offspring: int | None = Field(default=None, ge=1)
    """Candidates asked for at a time (lambda); as many as `population` where not given."""
    crossover: float = Field(default=0.6, ge=0.0, le=1.0)
    """Probability that a child has two parents."""
    fresh: float = Field(default=0.1, ge=0.0, le=1.0)
    """Probability that a child has none: a new start, against early convergence."""
    tournament: int = Field(default=2, ge=1)
    """How many individuals a parent must win against, itself included."""

    @model_validator(mode="after")
    def _probabilities(self) -> Genetic:
        if self.crossover + self.fresh > 1.0:
            total = self.crossover + self.fresh
            raise ValueError(
                f"crossover + fresh must not exceed 1, got {total:g}; mutation gets what is left"
            )
        return self

    @property
    def batch(self) -> int:
        """One generation."""
        return self.offspring or self.population

    def start(self, context: Context) -> State:  # noqa: ARG002 - the contract's signature
        """Counters, the ids of the population, and the ids that finished since it was selected."""
        return {"seeds": 0, "position": 0, "asked": 0, "population": [], "arrived": []}

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        seeds = propose_seeds(draft, state["seeds"])
        population = survivors(context.history, [*state["population"], *state["arrived"]], self.population)
        breeding = _Breeding(self, draft, population, state["asked"])
        with borrowed_globals(context.derived_seed("deap")):
            position = breeding.fill(context.rng("variation"), state["position"])
        return draft.proposals, {
            "seeds": seeds,
            "position": position,
            "asked": state["asked"] + len(draft.proposals),
            "population": [individual.id for individual in population],
            "arrived": [],
        }

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Note what finished; once a generation's worth did, only the survivors are remembered."""
        present = {*state["population"], *state["arrived"]}
        arrived = [*state["arrived"], *(id for id in dict.fromkeys(ids) if id not in present)]
        if len(arrived) < self.population:
            return {**state, "arrived": arrived}
        chosen = survivors(context.history, [*state["population"], *arrived], self.population)
        return {**state, "population": [individual.id for individual in chosen], "arrived": []}


class _Breeding:
    """One ask of the genetic algorithm under way."""

    def __init__(self, settings: Genetic, draft: Draft, population: Sequence[Individual], asked: int) -> None:
        self.settings = settings
        self.draft = draft
        # An infeasible genome may be malformed, and there is nothing to inherit from it.
        self.parents = [item for item in population if item.fitness.merit != Merit.INFEASIBLE]
        self.founding = 0 if len(population) >= settings.population else settings.population - asked
        operators = by_arity(draft.context.space)
        self.starts = operators[0]
        self.mutations = operators.get(1, []) if self.parents else []
        self.crossovers = [
            item
            for arity, items in sorted(operators.items())
            if 2 <= arity <= len(self.parents)
            for item in items
        ]

    def fill(self, rng: Rng, position: int) -> int:
        """Propose until nothing is missing or nothing new is found; the position in a countable space."""
        while self.draft.missing:
            if any(self._propose(rng) for _ in range(TRIES // TRIES_OF_A_KIND)):
                continue
            finite = countable(self.draft.context.space)
            return position if finite is None else propose_unasked(self.draft, finite, position)
        return position

    def _propose(self, rng: Rng) -> bool:
        """A child of one kind, tried often enough that duplicates do not change the shares of the kinds."""
        kind = self._kind(rng.random())
        return any(self._bred(*one_of(kind, rng), rng) for _ in range(TRIES_OF_A_KIND))

    def _bred(self, name: str, operator: Operator, rng: Rng) -> bool:
        parents = self._mates(operator.arity)
        history = self.draft.context.history
        child = operator.apply([history.candidate(id).genome for id in parents], rng)
        return self.draft.add(child, name, parents)

    def _kind(self, chance: float) -> Sequence[tuple[str, Operator]]:
        """The operators to choose from: of the kind drawn, or of the nearest kind the space has."""
        if len(self.draft.proposals) < self.founding or chance < self.settings.fresh:
            return self.starts
        if chance < self.settings.fresh + self.settings.crossover:
            return self.crossovers or self.mutations or self.starts
        return self.mutations or self.crossovers or self.starts

    def _mates(self, count: int) -> list[int]:
        """Ids of `count` different winners of tournaments, drawn from the global `random`, as DEAP does."""
        from deap import tools

        pool = self.parents
        mates: list[int] = []
        while len(mates) < count:
            (winner,) = tools.selTournament(pool, 1, self.settings.tournament)
            mates.append(winner.id)
            if len(mates) < count:
                pool = [item for item in pool if item is not winner]
        return mates


def survivors(history: History, ids: Sequence[int], k: int) -> list[Individual]:
    """The best k of the finished trials `ids`, by the order of merit; among feasible ones by NSGA-II.

    Failed and infeasible trials survive only where there is nothing better, pending ones never. Among equals
    the newer survive, so that the search drifts over plateaus instead of standing still. The answer depends on
    the set of ids, not on their order.
    """
    scores = history.scores(sorted(set(ids), reverse=True)) if ids else None
    if scores is None:
        return []
    make = fitness_type(scores.values.shape[1])
    values = np.clip(np.nan_to_num(scores.values, nan=LARGEST), -LARGEST, LARGEST)
    rows = zip(
        scores.ids.tolist(), values.tolist(), scores.merit.tolist(), scores.tie().tolist(), strict=True
    )
    found = [Individual(id, make(row, merit, tie)) for id, row, merit, tie in rows if merit != Merit.PENDING]
    chosen = _best_feasible([item for item in found if item.fitness.merit == Merit.FEASIBLE], k)
    others = sorted((item for item in found if item.fitness.merit != Merit.FEASIBLE), key=_standing)
    if chosen or (others and others[0].fitness.merit <= Merit.GATED):
        others = [item for item in others if item.fitness.merit <= Merit.GATED]
    return chosen + others[: k - len(chosen)]


def _standing(individual: Individual) -> tuple[int, float]:
    standing: tuple[int, float] = individual.fitness.standing
    return standing


def _best_feasible(individuals: list[Individual], k: int) -> list[Individual]:
    if not individuals:
        return []
    if len(individuals[0].fitness.wvalues) == 1:  # DEAP's logarithmic sort is for two objectives or more
        return sorted(individuals, key=lambda item: item.fitness.wvalues, reverse=True)[:k]
    from deap import tools

    chosen: list[Individual] = tools.selNSGA2(individuals, k, nd="log")
    return chosen


@cache
def fitness_type(objectives: int) -> Callable[[Sequence[float], int, float], Any]:
    """DEAP's fitness for that many minimised objectives, extended by the order of merit.

    A class of our own for each number of objectives: DEAP's `creator` would keep them in a module's globals.
    """
    from deap import base

    class ConstrainedFitness(base.Fitness):  # type: ignore[misc]  # deap has no types
        """Minimised values, and (merit, tie): smaller is better, and decides before the values do."""

        weights = (-1.0,) * objectives

        def __init__(self, values: Sequence[float] = (), merit: int = 0, tie: float = 0.0) -> None:
            super().__init__(values)
            self.merit = merit
            self.standing = (merit, tie)
            self.crowding_dist = 0.0

        def dominates(self, other: Any, obj: slice = slice(None)) -> bool:
            """Constrained dominance (Deb et al. 2002, definition 1, with our order of merit)."""
            if self.standing != other.standing:
                return bool(self.standing < other.standing)
            return self.merit == Merit.FEASIBLE and bool(super().dominates(other, obj))

        def __gt__(self, other: Any) -> bool:
            """Wins a tournament against `other`: it dominates, or is less crowded where neither does."""
            if self.dominates(other):
                return True
            return not other.dominates(self) and self.crowding_dist > other.crowding_dist

    return ConstrainedFitness
