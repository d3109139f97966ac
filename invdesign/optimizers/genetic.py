"""Genetic algorithm: NSGA-II for several objectives, niches for one, constraints by feasibility rules.

Variation is the space's: its operators know what a mutation of a crystal or a mixture is. On spaces that lie in a
unit cube, operators that follow the shape of the population compete with them (`vectors`), at rates that are learned
(`rates`). Selection is in `survival`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal, Self, cast

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal
from invdesign.optimizers.breeding import Breeder, BreedingPool, MemberCache, Offspring, cached_kit
from invdesign.optimizers.common import MAX_TRIES, Draft, State, finite_space, propose_seeds, propose_unasked
from invdesign.optimizers.prescreen import Prescreen
from invdesign.optimizers.progress import count_stagnation, find_latecomers, learn_rates
from invdesign.optimizers.survival import (
    Niching,
    Ranking,
    count_tries,
    find_repeated,
    is_alike,
    order_equals,
    rank_trials,
    select_best,
    select_by_niche,
    select_unlike,
)
from invdesign.optimizers.vectors import Steps
from invdesign.protocols import Context, InheritingSpace, OptimizerSettings, RecognisingSpace
from invdesign.rng import Rng, borrowed_globals

MIN_LEARNED_FRESH = 0.1  # share of starts from which their rates are learned; fewer are no evidence (chosen)
MAX_TRIES_PER_OPERATOR = 10  # of the `MAX_TRIES` per proposal, before the operator is drawn anew (chosen)
DEFAULT_IN_FLIGHT = 8  # asks under way at once in steady state, where not given (chosen)
POPULATION_OPERATORS = frozenset(
    {"gaussian", "simplex"}
)  # their children descend from the population, not from a pair


def _expand_switch(value: object) -> object:
    """Expand `true` and `false` to all default settings, or none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Genetic(OptimizerSettings):
    """Genetic algorithm: NSGA-II, or with niches for one objective; optionally asynchronous.

    The first `population` proposals come from the space's start operators. Later ones have parents, which win
    tournaments by feasibility, then Pareto dominance, then crowding distance. Which operator makes a child is drawn at
    rates that follow the success of its recent children. A child that was asked before is bred again, up to 100
    times; then a countable space gives any genome that is left.

    Source:
        Deb, Pratap, Agarwal & Meyarivan, IEEE Trans. Evol. Comput. 6, 182 (2002), constraints as in section VI.
        The sources of niching, operators and rates stand with them.
    """

    population: int = Field(default=32, ge=2)
    """Survivors that breed (mu)."""
    founders: float = Field(default=1.0, ge=1.0)
    """Starts before the first child is bred, over `population`; the best of them survive."""
    offspring: int | None = Field(default=None, ge=1)
    """Candidates asked for at a time (lambda); where not given half the population, a quarter with a pre-screen, 1 in steady state."""
    mode: Literal["generational", "steady_state"] = "generational"
    """Whether to wait for all candidates of an ask, or to breed again as soon as one has finished."""
    in_flight: int | None = Field(default=None, ge=2)
    """Candidates under way at once in steady state; 8 where not given."""
    crossover: float = Field(default=0.6, ge=0.0, le=1.0)
    """Share of children with two parents or more, as set; rates move it."""
    fresh: float = Field(default=0.02, ge=0.0, le=1.0)
    """Probability that a child has no parents: a new start, against early convergence."""
    tournament: int = Field(default=2, ge=1)
    """How many individuals a parent must win against, itself included."""
    adaptive: bool = True
    """Whether operators are used at rates that follow their success, or always at the shares as set."""
    vectors: bool = True
    """Whether operators on the unit cube compete with the space's own, where the space lies in one."""
    niching: Niching = "parents"
    """With one objective, whom a newcomer competes with: its nearest parent, the nearest member (restricted), all (none)."""
    patience: int | None = Field(default=30, ge=1)
    """Generations without progress after which all but the elite are founded anew; never where null."""
    prescreen: Annotated[
        Prescreen | None, BeforeValidator(_expand_switch, json_schema_input_type=Prescreen | bool | None)
    ] = None
    """Models that choose which offspring are evaluated: `true`, or a mapping with their settings."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crossover + self.fresh > 1.0:
            total = self.crossover + self.fresh
            raise ValueError(
                f"crossover + fresh must not exceed 1, got {total:g}; mutation gets what is left"
            )
        if self.in_flight is not None and self.mode != "steady_state":
            raise ValueError("in_flight is for mode: steady_state; a generation has `offspring` under way")
        if self.in_flight is not None and self.in_flight < 2 * self.batch:
            raise ValueError(
                f"in_flight must be twice the offspring or more, got {self.in_flight} and {self.batch}"
            )
        return self

    @property
    def batch(self) -> int:
        """Candidates per ask: half a population by default.

        A quarter with a pre-screen, one in steady state.
        """
        if self.offspring is not None:
            return self.offspring
        return 1 if self.mode == "steady_state" else max(self.population // (4 if self.prescreen else 2), 1)

    @property
    def overlap(self) -> int:
        """Number of asks under way at once."""
        if self.mode == "generational":
            return 1
        return max((self.in_flight or DEFAULT_IN_FLIGHT) // self.batch, 2)

    def start(self, context: Context) -> State:  # noqa: ARG002 - the contract's signature
        """Counters, ids of the population, and learned rates of operators."""
        return {
            "seeds": 0,
            "position": 0,
            "founding": round(self.founders * self.population),
            "population": [],
            "sound": 0,
            "credit": {},
            "steps": Steps().to_list(),
            "stale": 0,
            "restarts": 0,
            "since": 0,
        }

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        seeds = propose_seeds(draft, state["seeds"])
        brood = _Brood(self, draft, state)
        brood.propose_screened()
        position = brood.fill_draft(context.rng("variation"), state["position"])
        founding = max(state["founding"] - len(draft.proposals), 0)
        return draft.proposals, {**state, "seeds": seeds, "position": position, "founding": founding}

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Let newcomers compete, credit their operators, restart on stagnation."""
        population: list[int] = state["population"]
        arrived = sorted(set(ids) - set(population))
        if not arrived:
            return state
        ranked = rank_trials(context.history, [*population, *arrived])
        worthless: Collection[int] = ()
        if isinstance(context.space, RecognisingSpace):
            kept, worthless, tried = self._select_crystals(context, state, ranked)
            state = {**state, "tried": tried}
        else:
            kept = self._select_survivors(context, state, ranked, arrived)
        sound = set(ranked.ids[: ranked.count_with_results])
        new = {**state, "population": kept, "sound": sum(id in sound for id in kept)}
        if len(kept) >= self.population and self.founders == 1.0:
            new["founding"] = 0
        if self.adaptive:
            kit = cached_kit(context, vectors=self.vectors)
            learned = (*kit.names, *(kit.starts if self.fresh >= MIN_LEARNED_FRESH else ()))
            new |= learn_rates(context.history, state, ranked, learned, worthless)
        if self.patience is None or len(population) < self.population:
            return new
        return count_stagnation(new, ranked, arrived, self.population, self.patience, len(context.history))

    def _select_survivors(
        self, context: Context, state: State, ranked: Ranking, arrived: Sequence[int]
    ) -> list[int]:
        """Population after the newcomers in `ranked` have competed, best first."""
        population: list[int] = state["population"]
        late = find_latecomers(state, ranked)
        if late:
            ranked = rank_trials(context.history, [id for id in ranked.ids if id not in late])
            arrived = [id for id in arrived if id not in late]
        if self.niching == "none" or ranked.scores.values.shape[1] > 1:
            return select_best(ranked, self.population)
        rivals = self._find_rivals(context, population, ranked, arrived)
        return select_by_niche(
            ranked, population, arrived, self.population, rivals, MemberCache(context).load_features
        )

    def _select_crystals(
        self, context: Context, state: State, ranked: Ranking
    ) -> tuple[list[int], set[int], dict[str, int]]:
        """Population of crystals of which no two are alike, best first; worthless newcomers; tries by composition.

        What breeds nothing survives only where there is nothing else.
        """
        late = find_latecomers(state, ranked)
        space, cache = cast("RecognisingSpace", context.space), MemberCache(context)
        breeding = set(cache.find_breeding(ranked.ids[: ranked.count_with_results]))
        barren = {id for id in ranked.ids if id not in breeding}
        fit = rank_trials(context.history, [id for id in ranked.ids if id in breeding and id not in late])
        if not fit.ids:
            return select_best(ranked, self.population), barren, state.get("tried", {})
        niches = [space.niche(member.genome) for member in cache.load_members(fit.ids)]
        fingerprints = cache.load_fingerprints(fit.ids)
        kept = select_unlike(fit, self.population, fingerprints, space.alike, niches)
        worthless = barren | find_repeated(fit.ids, fingerprints, space.alike, state["population"])
        tried = count_tries(state.get("tried", {}), fit, niches, set(state["population"]))
        return order_equals(kept, fit, niches, tried), worthless, tried

    def _find_rivals(
        self, context: Context, population: Sequence[int], ranked: Ranking, arrived: Sequence[int]
    ) -> dict[int, Sequence[int]]:
        """Members that each newcomer competes with, by newcomer.

        Without an entry it competes with the worst member.
        """
        rivals: dict[int, Sequence[int]] = {}
        for id in set(ranked.ids[: ranked.count_with_results]).intersection(arrived):
            proposal = context.history.candidate(id).proposal
            if self.niching == "restricted":
                rivals[id] = population
            elif proposal.operator not in POPULATION_OPERATORS:
                rivals[id] = proposal.parents[:2]
        return rivals


class _Brood:
    """One ask of the genetic algorithm."""

    def __init__(self, settings: Genetic, draft: Draft, state: State) -> None:
        self.settings = settings
        self.draft = draft
        self.context = draft.context
        self.founding = state["founding"]
        known = MemberCache(self.context)
        # From what failed there is nothing to inherit, and an infeasible genome may be malformed.
        self.parents = known.load_members(state["population"][: state["sound"]])
        kit = cached_kit(self.context, vectors=settings.vectors)
        crossover = settings.crossover / (1.0 - settings.fresh) if settings.fresh < 1.0 else 1.0
        credit = state["credit"] if settings.adaptive else None
        self.breeder = Breeder(kit, crossover, settings.tournament, credit, Steps(*state["steps"]))
        self.pool = BreedingPool(self.parents, kit, known.encode_members)
        self.seen: list[FloatArray] = []  # fingerprints of members and of children of this ask
        if isinstance(self.context.space, RecognisingSpace):
            self.seen += list(known.load_fingerprints([cast("int", member.id) for member in self.parents]))
        elif isinstance(self.context.space, InheritingSpace):
            draft.bar_genomes(member.genome for member in self.parents)

    def propose_screened(self) -> None:
        """Propose offspring that the pre-screen chooses, if it knows enough."""
        if self.settings.prescreen is None or not self.draft.missing:
            return
        rng, n = self.context.rng("prescreen"), self.draft.missing
        # Not for its models' sake, which are given their seeds: importing scikit-learn draws from the global random.
        with borrowed_globals(self.context.derived_seed("prescreen")):
            children = self.settings.prescreen.choose_offspring(
                self.context, self.parents, self.breeder.breed_child, n, rng
            )
        for child in children:
            self._add_child(child)

    def fill_draft(self, rng: Rng, position: int) -> int:
        """Fill the draft until nothing is missing or nothing new is found.

        Args:
            rng: for the draws.
            position: in a countable space.

        Returns:
            The position to go on with.
        """
        names = [self._draw_operator(rng, number) for number in range(self.draft.missing)]
        for name, child in zip(names, self.breeder.make_children(names, self.pool, rng), strict=True):
            self._add_child(child) or self._propose_child(name, rng)
        while self.draft.missing:
            tries = range(MAX_TRIES // MAX_TRIES_PER_OPERATOR)
            if any(self._propose_child(self._draw_operator(rng, 0), rng) for _ in tries):
                continue
            finite = finite_space(self.context.space)
            return position if finite is None else propose_unasked(self.draft, finite, position)
        return position

    def _draw_operator(self, rng: Rng, ahead: int) -> str:
        """Draw an operator for a child that has `ahead` others before it."""
        founder = len(self.draft.proposals) + ahead < self.founding
        fresh = founder or rng.random() < self.settings.fresh
        return self.breeder.draw_operator(0 if fresh else len(self.parents), rng)

    def _propose_child(self, name: str, rng: Rng) -> bool:
        """Propose a child of one operator, with retries.

        They keep duplicates from changing the operators' shares.
        """
        return any(
            self._add_child(self.breeder.make_child(name, self.pool, rng))
            for _ in range(MAX_TRIES_PER_OPERATOR)
        )

    def _add_child(self, child: Offspring | None) -> bool:
        if child is None:
            return False
        if not isinstance(self.context.space, RecognisingSpace):
            return self._add_to_draft(child)
        fingerprint: FloatArray = self.context.space.fingerprints([child.genome])[0]
        if self.seen and is_alike(fingerprint, np.array(self.seen), self.context.space.alike):
            return False
        added = self._add_to_draft(child)
        if added:
            self.seen.append(fingerprint)
        return added

    def _add_to_draft(self, child: Offspring) -> bool:
        return self.draft.add_genome(child.genome, child.operator, child.parents, child.memo)
