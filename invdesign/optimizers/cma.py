"""Covariance matrix adaptation: the `cmaes` library, for continuous spaces and whole numbers.

What it is told is the order of the candidates, never their values, so that constraints, gates and failures take the
places they have for every optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from pydantic import Field

from invdesign.candidate import Proposal
from invdesign.optimizers.cma_library import Cube, should_stop, stopping_generations
from invdesign.optimizers.common import (
    MAX_TRIES,
    Draft,
    State,
    finite_space,
    propose_seeds,
    propose_started,
    propose_unasked,
)
from invdesign.problem import Problem
from invdesign.protocols import Context, OptimizerSettings, SearchSpace, VectorSpace, is_finite
from invdesign.rng import Rng

OPERATOR = "cma"  # `Proposal.operator` of a candidate drawn from the distribution
SEPARABLE_FROM = 64  # dimensions: a full covariance would be 2,000 numbers and more in every event (chosen)
LARGEST_BATCH = 64  # chosen


class CMA(OptimizerSettings):
    """CMA-ES: a normal distribution that adapts to the shape of the valley.

    It draws from the distribution within the unit cube; the space decodes, and repairs where it must, and the
    distribution is told of the points as drawn. Whole numbers are met by CMA-ES with margin, whose distribution
    cannot collapse onto one of them. Where the library calls a search finished, or draws nothing new, another
    begins: from the middle at first, then from anywhere.

    Source:
        Hansen & Ostermeier, Evol. Comput. 9, 159 (2001); Auger & Hansen, CEC 2005, 1769 (IPOP); Hansen, GECCO 2009
        Companion, 2389 (BIPOP); Ros & Hansen, PPSN X (2008), 296 (separable); Hamano et al., GECCO 2022, 639
        (margin); Nomura & Shibata, arXiv:2402.01373 (the library).
    """

    population: int | None = Field(default=None, ge=4)
    """Candidates per generation; 4 + 3 ln(d) where not given."""
    sigma: float = Field(default=0.3, gt=0.0, le=1.0)
    """First standard deviation along every dimension, as a share of its range."""
    restarts: Literal["none", "ipop", "bipop"] = "bipop"
    """What follows a finished search: `none` (random search), `ipop` (twice the population), `bipop` (large and small populations in turn)."""
    separable: bool | None = None
    """Adapt variances alone; where not given, from 64 dimensions on."""

    @property
    def batch(self) -> int:
        """Largest number of candidates needed at once: `population`, but at least 64."""
        return max(self.population or 0, LARGEST_BATCH)

    def refusal(self, space: SearchSpace, problem: Problem) -> str:
        if not isinstance(space, VectorSpace):
            return "needs a space of points, and this space has none"
        if is_finite(space):
            return "needs a continuum to search, and this space is a finite list of candidates"
        dimensions = space.domain().dimensions
        named = [dimension.name for dimension in dimensions if dimension.kind == "categorical"]
        if named:
            shown = ", ".join(f"'{name}'" for name in named[:3]) + (", ..." if len(named) > 3 else "")
            return f"needs values in an order, and {shown} {'is' if len(named) == 1 else 'are'} categorical"
        if all(dimension.kind != "real" for dimension in dimensions):
            return "needs at least one real dimension, and this space has none"
        if problem.n_values > 1:
            return (
                f"needs one value to minimise, and there are {problem.n_values} objectives; scalarize them to one "
                "score"
            )
        return ""

    def start(self, context: Context) -> State:
        """Counters, and the first search from the middle of the cube."""
        dimensions = len(_vector_space(context).domain().dimensions)
        population = self.population or 4 + math.floor(3 * math.log(dimensions))
        return {
            "seeds": 0,
            "position": 0,
            "restarts": 0,  # large ones, for BIPOP
            "spent": [0, 0],  # candidates told to searches with large and with small populations
            "small": False,
            **_new_search([0.5] * dimensions, self.sigma, max(population, 4)),
        }

    def ask(self, context: Context, state: State, n: int) -> tuple[Sequence[Proposal], State]:
        draft = Draft(context, n)
        state = {**state, "seeds": propose_seeds(draft, state["seeds"])}
        rng = context.rng("cma")
        for _ in range(2):  # a search that draws nothing new has come to its end: the next one may
            if draft.missing and not state["finished"]:
                before = state["asked"]
                state = self._draw_candidates(draft, state, rng)
                if state["asked"] > before:
                    break
                state = self._restart_search(state, rng)
        if not draft.proposals:
            state = _propose_anything(draft, state, rng)
        return draft.proposals, state

    def tell(self, context: Context, state: State, ids: Sequence[int]) -> State:
        """Record finished candidates; after a generation, move the distribution."""
        state = {**state, "arrived": [*state["arrived"], *_ids_of_generation(context, state, ids)]}
        while len(state["arrived"]) >= state["population"] and not state["finished"]:
            state = self._advance_generation(context, state)
            if state["finished"]:
                state = self._restart_search(state, context.rng("restart"))
        return state

    def _search_cube(self, context: Context) -> Cube:
        """Cube that the library searches, made once per run."""
        cube = context.cache.get("cma cube")
        if cube is None:
            dimensions = _vector_space(context).domain().dimensions
            separable = len(dimensions) >= SEPARABLE_FROM if self.separable is None else self.separable
            cube = context.cache["cma cube"] = Cube.from_dimensions(dimensions, separable=separable)
        return cast("Cube", cube)

    def _restore_model(self, context: Context, state: State) -> object:
        cube = self._search_cube(context)
        if state["saved"] is None:
            return cube.new_model(state["mean"], state["sigma"], state["population"])
        return cube.restore_model(state["saved"], state["sigma"], state["population"])

    def _draw_candidates(self, draft: Draft, state: State, rng: Rng) -> State:
        """Draw the rest of the generation from the distribution, or one more."""
        cube = self._search_cube(draft.context)
        model = self._restore_model(draft.context, state)
        model.reseed_rng(int(rng.integers(2**32)))  # type: ignore[attr-defined]  # the library's legacy generator
        left = state["population"] - state["asked"] % state["population"]
        wanted = len(draft.proposals) + min(draft.missing, left)
        before = len(draft.proposals)
        failures = 0
        while len(draft.proposals) < wanted and failures < MAX_TRIES:
            drawn = [cube.sample_point(model) for _ in range(wanted - len(draft.proposals))]
            genomes = _vector_space(draft.context).decode(np.array([place for place, _ in drawn]))
            for genome, (_, told) in zip(genomes, drawn, strict=True):
                memo = {"search": state["search"], "generation": state["generation"], "x": told.tolist()}
                failures = 0 if draft.add_genome(genome, OPERATOR, memo=memo) else failures + 1
        return {**state, "asked": state["asked"] + len(draft.proposals) - before}

    def _advance_generation(self, context: Context, state: State) -> State:
        """Move the distribution by one generation's worth of results."""
        population = state["population"]
        ids, rest = state["arrived"][:population], state["arrived"][population:]
        scores = context.history.scores(ids)
        order = scores.order()
        place = np.empty(population)
        place[order] = np.arange(population)
        cube = self._search_cube(context)
        model = self._restore_model(context, state)
        points = [np.array(_memo_of(context, id)["x"], dtype=np.float64) for id in ids]
        model.tell(list(zip(points, place.tolist(), strict=True)))  # type: ignore[attr-defined]
        saved = cube.save_model(model)
        ends = [*state["extremes"], [ids[order[0]], ids[order[-1]]]]
        ends = ends[-stopping_generations(cube.dimensions, population) :]
        spent = list(state["spent"])
        spent[state["small"]] += population
        values = context.history.scores([id for pair in ends for id in pair]).values[:, 0].reshape(-1, 2)
        finished = should_stop(cube.restore_model(saved, state["sigma"], population), values)
        return {
            **state,
            "saved": saved,
            "generation": state["generation"] + 1,
            "asked": len(rest),
            "arrived": rest,
            "extremes": ends,
            "spent": spent,
            "finished": finished,
        }

    def _restart_search(self, state: State, rng: Rng) -> State:
        """Begin the next search, with the population its strategy gives."""
        if self.restarts == "none":
            return {**state, "finished": True}
        dimensions = len(state["mean"])
        first = self.population or max(4 + math.floor(3 * math.log(dimensions)), 4)
        small = self.restarts == "bipop" and state["spent"][1] < state["spent"][0] and state["restarts"] > 0
        restarts = state["restarts"] + (not small)
        population, sigma = first * 2 ** min(restarts, 10), self.sigma
        if small:  # Hansen (2009): between the first population and half the latest large one, smaller steps
            u = float(rng.random())
            population = max(int(first * (0.5 * population / first) ** (u * u)), first)
            sigma *= 10.0 ** (-2.0 * float(rng.random()))
        mean = rng.random(dimensions).tolist()
        begun = _new_search(mean, sigma, population, state["search"] + 1)
        return {**state, "restarts": restarts, "small": small, **begun}


def _new_search(mean: Sequence[float], sigma: float, population: int, number: int = 0) -> State:
    """State of a search without results."""
    return {
        "search": number,
        "generation": 0,
        "asked": 0,  # candidates drawn for this generation
        "arrived": [],  # those of them that finished
        "extremes": [],  # ids of the best and the worst of the last generations
        "population": population,
        "sigma": sigma,
        "mean": list(mean),
        "saved": None,
        "finished": False,
    }


def _vector_space(context: Context) -> VectorSpace:
    return cast("VectorSpace", context.space)


def _memo_of(context: Context, id: int) -> dict[str, list[float]]:
    return cast("dict[str, list[float]]", context.history.candidate(id).proposal.memo)


def _ids_of_generation(context: Context, state: State, ids: Sequence[int]) -> list[int]:
    """Keep the `ids` that this generation drew.

    Results of earlier generations are late or repeated, and ignored.
    """
    if state["finished"]:
        return []
    known = set(state["arrived"])
    own = []
    for id in dict.fromkeys(ids):
        proposal = context.history.candidate(id).proposal
        if proposal.operator != OPERATOR or not isinstance(proposal.memo, dict) or id in known:
            continue
        drawn = proposal.memo.get("search"), proposal.memo.get("generation")
        if drawn == (state["search"], state["generation"]):
            own.append(id)
    return own


def _propose_anything(draft: Draft, state: State, rng: Rng) -> State:
    """Propose anything new, after the search has finished for good."""
    finite = finite_space(draft.context.space)
    if finite is None:
        propose_started(draft, rng)
        return state
    return {**state, "position": propose_unasked(draft, finite, state["position"])}
