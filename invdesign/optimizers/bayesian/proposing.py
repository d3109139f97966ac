"""One ask of Bayesian optimization, from what is known to proposals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
import torch

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Genome
from invdesign.optimizers.bayesian.acquisition import SAMPLES, Marginal, Measure, Outlook, Reached
from invdesign.optimizers.bayesian.candidates import Listed, New, bred
from invdesign.optimizers.bayesian.contracts import ExplainedRegressor, Value
from invdesign.optimizers.bayesian.draws import Averaged, Hope, drawn
from invdesign.optimizers.bayesian.fidelity import (
    Fidelities,
    fidelities,
    fidelity_stages,
    in_words,
    stage_costs,
)
from invdesign.optimizers.bayesian.frame import Frame, Known, frame_of, known_trials
from invdesign.optimizers.bayesian.goals import Goals, known_goals
from invdesign.optimizers.bayesian.modelling import Event, chances_of, outlook_of
from invdesign.optimizers.bayesian.priors import Prior, prior_rows
from invdesign.optimizers.bayesian.search import search_vector
from invdesign.optimizers.bayesian.settings import BayesianSettings
from invdesign.optimizers.bayesian.staging import Staging, sourced
from invdesign.optimizers.bayesian.threads import one_thread
from invdesign.optimizers.bayesian.trust import Box, centre_row, region_box, start_region
from invdesign.optimizers.common import Draft, State, by_arity
from invdesign.problem import Problem
from invdesign.protocols import Context
from invdesign.rng import Rng

ANCHORS = 20  # of the best trials, where searches start
BY_VOLUME = 3  # objectives up to which hypervolume is gained; more are scalarized
MANY = 20  # variables above which a search keeps to a region
FANTASIES = 8  # draws of what the best so far really is
FRONTS = 4  # draws of what the front so far really is: each takes time
FEWEST_SAMPLES = 16
NOISY = 1e-3  # share of known noise in the variance of a property from which values are not taken as they are
BASELINE = 20  # trials that may really be the best
PLACES = 250  # where a drawn function is fixed
SINGLE = ("log_ei", "noisy_ei", "ucb", "thompson")
SEVERAL = ("log_ehvi", "log_nehvi", "parego", "thompson")


def propose(settings: BayesianSettings, draft: Draft, state: State) -> State:
    """Fill a draft with what the models promise most of; the state to go on with.

    The draft stays unfilled where there is nothing to learn from, or nothing new is left.
    """
    with one_thread():
        context = draft.context
        frame = frame_of(context, settings.groups)
        known = known_trials(context, frame)
        models = {kind: dict(entries) for kind, entries in state["models"].items()}
        event = Event(context, frame, known, models, dict(state["notes"]), _priors(settings, context))
        for prior in event.priors:
            event.notes[f"prior {prior.name}"] = prior.note
        costs, ladder = _fidelities(settings, event, state["costs"])
        region = state["region"]
        if len(known.ids):
            asking = _Asking(settings, draft, event, region, ladder)
            asking.fill()
            region = asking.region
        return {**state, "models": event.models, "region": region, "costs": costs, "notes": event.notes}


def _fidelities(
    settings: BayesianSettings, event: Event, costs: dict[str, float]
) -> tuple[dict[str, float], Fidelities | None]:
    """What stages cost, from the state or where it does not say from now on; and the fidelities, if there are any."""
    context = event.context
    if not settings.fidelity or not fidelity_stages(context.stages, context.problem):
        return costs, None
    costs = costs or stage_costs(context, settings.costs)
    ladder = fidelities(context.stages, context.problem, costs) if costs else None
    if ladder is not None:
        event.notes.setdefault("fidelity", in_words(ladder, given=bool(settings.costs)))
    return costs, ladder


def _priors(settings: BayesianSettings, context: Context) -> Sequence[Prior]:
    """Earlier results as the space understands them; kept in the cache."""
    if settings.prior and "bayesian priors" not in context.cache:
        found = prior_rows(settings.prior, context.space, context.problem.properties)
        context.cache["bayesian priors"] = found
    return cast("Sequence[Prior]", context.cache.get("bayesian priors", ()))


def acquisition_for(asked: str, problem: Problem, *, noise: bool) -> tuple[str, str]:
    """The acquisition function for a problem, and what to say where it is not the one asked for."""
    several = problem.n_values > 1
    if not several:
        suited = "noisy_ei" if noise else "log_ei"
    elif problem.n_values <= BY_VOLUME:
        suited = "log_nehvi" if noise else "log_ehvi"
    else:
        suited = "parego"
    allowed = SEVERAL if several else SINGLE
    if asked == "auto":
        return suited, ""
    if asked in allowed:
        return asked, ""
    what = f"{problem.n_values} objectives" if several else "one objective"
    return (
        suited,
        f"acquisition {asked} cannot optimise {what}: {suited} is used (possible: {', '.join(allowed)})",
    )


class _Asking:
    """The candidates of one ask, chosen one after the other."""

    def __init__(
        self,
        settings: BayesianSettings,
        draft: Draft,
        event: Event,
        region: State,
        ladder: Fidelities | None = None,
    ) -> None:
        self.settings = settings
        self.draft = draft
        self.event = event
        self.context: Context = draft.context
        self.frame: Frame = event.frame
        self.known: Known = event.known
        self.listed = Listed(self.frame, self.context)
        self.outlook = outlook_of(settings, event)
        self.taken = np.vstack([self.known.pending, self.frame.of([p.genome for p in draft.proposals])])
        self.staging = None
        if ladder is not None and self.outlook is not None and sourced(self.outlook.regressors):
            self.staging = Staging(ladder, draft, self.known.scores, self.known.x, self.frame.of)
            self.lists = [Listed(self.frame, self.context) for _ in range(len(ladder))]
        self.region = self._regional(region)
        own = ~np.isin(self.known.ids, self.context.history.outside())  # searches start within the space
        since = np.flatnonzero(own & (self.known.ids >= self.region.get("since", 0)))
        order = since[self.known.scores.at(since).order()[:ANCHORS]]
        self.best = [self.context.history.candidate(int(id)).genome for id in self.known.ids[order]]
        self.box = self._box(since)

    def _regional(self, region: State) -> State:
        """The state of the trust region; empty where there is none."""
        asked = self.settings.trust_region
        numbers = self.frame.inputs.kinds.count("number")
        if self.frame.points is None or asked is False or (asked == "auto" and numbers <= MANY):
            return {}
        if not region:
            self.event.notes["trust region"] = (
                f"{numbers} variables: the search keeps to a region around the best trial (TuRBO)"
            )
        return region or start_region(len(self.frame.inputs), self.settings.batch)

    def _box(self, since: IntArray) -> Box | None:
        """The part of the cube to stay in: longer along variables that matter less."""
        row = centre_row(self.known.scores.at(since), self.context.rng("centre")) if self.region else None
        if row is None or self.outlook is None:
            return None
        found = [item for item in self.outlook.regressors.values() if isinstance(item, ExplainedRegressor)]
        matter = np.mean([regressor.importance() for regressor in found], axis=0)
        weights = np.maximum(matter, 1e-3) ** -0.5
        return region_box(self.region, self.known.x[since[row]], weights)

    @cached_property
    def scattered(self) -> bool:
        """Whether values of an objective are known to scatter, so that the best seen may not be the best.

        Evaluators or the user say so. What a model calls noise may be what it cannot follow, and does not count.
        """
        found = [self.event.rows[objective.property] for objective in self.context.problem.objectives]
        return self.settings.gaussian.noise not in {"auto", 0.0} or any(
            bool((rows.noise > NOISY * np.var(rows.y)).any()) for rows in found
        )

    def fill(self) -> None:
        """Add candidates to the draft until it is full or nothing new is found."""
        while self.draft.missing:
            rng = self.context.rng(f"candidate {len(self.draft.proposals)}")
            if self.staging is not None and not self._constant():
                if not self._staged(self.staging, rng):
                    return
                continue
            value, operator = self._value(rng)
            genome = self._found(value, rng)
            if genome is None or not self.draft.add(genome, operator):
                return
            self.taken = np.vstack([self.taken, self.frame.of([genome])])

    def _staged(self, staging: Staging, rng: Rng) -> bool:
        """Add the candidate and stage of highest value per cost; whether there was one."""
        assert self.outlook is not None
        name, note = acquisition_for(self.settings.acquisition, self.context.problem, noise=False)
        if note:
            self.event.notes["acquisition"] = note
        outlook, goals = staging.believing(self.outlook), self._goals(name, rng)
        self.best = staging.promising(outlook, goals, ANCHORS) or self.best
        measure: Measure = "bound" if name == "ucb" else "improvement" if goals.single else "hypervolume"
        found = self._marginal(outlook, goals, measure, staging.at_the_end)
        believed = self._marginal(outlook, goals, measure, staging.anywhere)

        def search(value: Value, new: New, level: int) -> Genome | None:
            return self._found(value, rng, new, self.lists[level])

        choice = staging.choice(found, believed, search)
        return choice is not None and staging.take(choice, name)

    def _found(
        self, value: Value, rng: Rng, new: New | None = None, listed: Listed | None = None
    ) -> Genome | None:
        """The new genome of highest value."""
        new, effort = new or self.draft.accepts, self.settings.effort
        if self.frame.finite is not None:
            return (listed or self.listed).best(value, new)
        if self.frame.points is None:
            return bred(self.frame, value, self.best, new, rng, effort)
        found = search_vector(
            self.context, self.frame.points, value, self.best, self.box, rng, 1, effort, new
        )
        return found[0][0] if found else None

    # What a candidate is worth.

    def _value(self, rng: Rng) -> tuple[Value, str]:
        """The acquisition function for the next candidate, and its name."""
        if self.outlook is None:
            return self._hope(), "hope"
        problem = self.context.problem
        names = [objective.property for objective in problem.objectives]
        name, note = acquisition_for(self.settings.acquisition, problem, noise=self.scattered)
        if note:
            self.event.notes["acquisition"] = note
        outlook = self.outlook.conditioned(self.taken)
        goals = self._goals(name, rng)
        if self._constant():
            self.event.notes["constant"] = (
                f"every trial so far has the same {' and '.join(names)}: candidates are chosen where least is known"
            )
            return self._marginal(outlook, goals, "curiosity"), "curiosity"
        if name == "thompson":
            return self._marginal(drawn(outlook, goals.names, self._places(rng), rng), goals, "sample"), name
        if name in {"noisy_ei", "log_nehvi"}:
            return self._averaged(outlook, goals, rng), name
        measures: dict[str, Measure] = {"ucb": "bound", "log_ehvi": "hypervolume"}
        return self._marginal(outlook, goals, measures.get(name, "improvement")), name

    def _marginal(
        self,
        outlook: Outlook,
        goals: Goals,
        measure: Measure,
        believed: FloatArray | None = None,
        *,
        draws: int = 0,
    ) -> Marginal:
        """The acquisition function; `believed` (k, d) count beside trials, by default what is under way.

        Where the outlook is one of several draws, each has its part of the samples.
        """
        seed = self.context.derived_seed(f"samples {len(self.draft.proposals)}")
        believed = self.taken if believed is None else believed
        reached = self._reached(outlook, goals, believed, modelled=self.scattered or draws > 0)
        samples = max(SAMPLES // max(draws, 1), FEWEST_SAMPLES)
        beta = self.settings.beta
        return Marginal(outlook, goals, reached, measure, beta=beta, seed=seed, samples=samples)

    def _averaged(self, outlook: Outlook, goals: Goals, rng: Rng) -> Value:
        """An improvement over a best that is not known exactly."""
        measure: Measure = "improvement" if goals.single else "hypervolume"
        baseline = self._baseline(outlook, goals)
        if not len(baseline):
            return self._marginal(outlook, goals, measure)
        count = FANTASIES if goals.single else FRONTS
        draws = [drawn(outlook, goals.names, baseline, rng) for _ in range(count)]
        return Averaged([self._marginal(draw, goals, measure, draws=count) for draw in draws])

    def _baseline(self, outlook: Outlook, goals: Goals) -> FloatArray:
        """Inputs (k, d) of feasible trials and pending candidates that may be the best."""
        places = np.vstack([self.known.x[self.known.feasible], self.taken])
        if len(places) <= BASELINE:
            return places
        mean, _ = outlook.predicted(goals.names, places)
        values = goals.values(torch.as_tensor(mean)).numpy()
        order = (
            np.argsort(pareto.ranks(-values), kind="stable")
            if values.shape[1] > 1
            else np.argsort(-values[:, 0])
        )
        return places[order[:BASELINE]]

    def _hope(self) -> Value:
        """Nothing is known of an objective: go where an evaluation may succeed, away from what was tried."""
        chances = chances_of(self.event) if self.settings.failures else ()
        self.event.notes["no values"] = (
            f"none of {len(self.known.ids)} finished trials has values of all objectives: candidates are chosen by "
            "their chance of success, far from what was tried"
        )
        tried = np.vstack([self.known.x, self.taken])
        extent = np.ptp(tried, axis=0)
        return Hope(Outlook({}, chances), tried, np.where(extent > 0.0, extent, 1.0))

    def _constant(self) -> bool:
        """Whether the objectives of more than one trial are all the same."""
        found = [self.event.rows[objective.property].y for objective in self.context.problem.objectives]
        return all(len(y) > 1 and float(np.ptp(y)) == 0.0 for y in found)

    def _goals(self, name: str, rng: Rng) -> Goals:
        problem = self.context.problem
        weights = None
        if problem.n_values > 1 and name == "parego":
            weights = rng.dirichlet(np.ones(problem.n_values))
        assert self.outlook is not None
        return known_goals(problem, list(self.outlook.regressors), self.known.scores.values, weights)

    def _reached(self, outlook: Outlook, goals: Goals, believed: FloatArray, *, modelled: bool) -> Reached:
        """Feasible trials, and of those believed the ones that probably are, at the values the models give them.

        Values that do not scatter are taken as they are.
        """
        feasible = self.known.feasible
        if modelled:
            mean, _ = outlook.predicted(goals.names, self.known.x[feasible])
            parts = [goals.values(torch.as_tensor(mean)).numpy()]
        else:
            parts = [goals.scaled(self.known.scores.values[feasible])]
        if len(believed):
            centre, width = outlook.predicted(goals.names, believed)
            holds = goals.log_feasible(torch.as_tensor(centre), torch.as_tensor(width)).exp().numpy()
            chosen = holds * outlook.probability(believed) >= 0.5
            parts.append(goals.values(torch.as_tensor(centre[chosen])).numpy())
        reference = self.context.problem.reference
        scaled = None if reference is None or goals.single else goals.scaled(reference[None])[0]
        return Reached(np.vstack(parts), scaled)

    def _places(self, rng: Rng) -> FloatArray:
        """Where a drawn function is fixed: around the best trials, and all over the space."""
        near = self.frame.of(self.best)
        if self.frame.finite is not None:
            numbers = rng.choice(len(self.frame.finite), min(PLACES, len(self.frame.finite)), replace=False)
            return self.frame.of([self.frame.finite.genome(int(number)) for number in numbers])
        if self.frame.points is None:
            starts = [operator for _, operator in by_arity(self.context.space)[0]]
            made = [starts[k % len(starts)].apply((), rng) for k in range(PLACES - len(near))]
            return np.vstack([near, self.frame.of([genome for genome in made if genome is not None])])
        wide = rng.random((PLACES // 2, near.shape[1]))
        steps = rng.normal(scale=0.1, size=(PLACES - len(wide), near.shape[1]))
        close = near[np.arange(len(steps)) % len(near)] + steps
        return np.clip(np.vstack([wide, close]), 0.0, 1.0)
