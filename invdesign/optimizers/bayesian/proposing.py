"""One ask of Bayesian optimization, from the known trials to proposals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
import torch

from invdesign import pareto
from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.candidate import Genome
from invdesign.learning.contracts import ExplainedRegressor
from invdesign.optimizers.bayesian.acquisition import (
    N_SAMPLES,
    Incumbents,
    MarginalAcquisition,
    Measure,
    ModelSet,
)
from invdesign.optimizers.bayesian.candidates import FiniteSearch, IsNew, breed_best
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction
from invdesign.optimizers.bayesian.draws import AveragedAcquisition, SuccessAcquisition, draw_functions
from invdesign.optimizers.bayesian.fidelity import (
    Fidelities,
    build_fidelities,
    describe_fidelities,
    fidelity_stages,
    stage_costs,
)
from invdesign.optimizers.bayesian.frame import Frame, KnownTrials, cached_frame, collect_trials
from invdesign.optimizers.bayesian.goals import Goals, goals_for
from invdesign.optimizers.bayesian.modelling import ModellingEvent, build_models, build_success_models
from invdesign.optimizers.bayesian.priors import PriorData, read_priors
from invdesign.optimizers.bayesian.search import search_vector
from invdesign.optimizers.bayesian.settings import BayesianSettings
from invdesign.optimizers.bayesian.staging import StageChooser, can_relate_sources
from invdesign.optimizers.bayesian.trust import Box, choose_centre, region_box, start_region
from invdesign.optimizers.common import Draft, State, inherited_genomes, operators_by_arity
from invdesign.periodic import bring_into_cube, periodic_mask
from invdesign.problem import Problem
from invdesign.protocols import Context
from invdesign.rng import Rng
from invdesign.threads import one_thread

MOST_ANCHORS = 20  # of the best trials, where searches start (chosen)
MOST_HYPERVOLUME_OBJECTIVES = 3  # with more, objectives are scalarized (chosen)
REGION_VARIABLES = 20  # numbers above which a search keeps to a trust region (chosen)
N_FANTASIES = 8  # draws of the unknown incumbent (chosen)
N_FRONT_FANTASIES = 4  # draws of the unknown front: each takes time (chosen)
FEWEST_SAMPLES = 16  # quasi-random samples per draw (chosen)
# Share of stated noise in a property's variance up to which values are taken as exact (chosen)
NEGLIGIBLE_NOISE = 1e-3
MOST_BASELINE = 20  # trials that may really be the best (chosen)
DRAWN_PLACES = 250  # inputs at which a drawn function is fixed (chosen)
SINGLE_OBJECTIVE = ("log_ei", "noisy_ei", "ucb", "thompson")
MULTI_OBJECTIVE = ("log_ehvi", "log_nehvi", "parego", "thompson")


def propose(settings: BayesianSettings, draft: Draft, state: State) -> State:
    """Fill a draft by the models; return the new state.

    The draft stays unfilled where there is nothing to learn from, or nothing new is left.

    Args:
        settings: of the optimizer.
        draft: of the ask.
        state: of the optimizer.
    """
    with one_thread():
        context = draft.context
        frame = cached_frame(context, settings.groups)
        known = collect_trials(context, frame)
        models = {kind: dict(entries) for kind, entries in state["models"].items()}
        event = ModellingEvent(
            context, frame, known, models, dict(state["notes"]), _cached_priors(settings, context)
        )
        for prior in event.priors:
            event.notes[f"prior {prior.name}"] = prior.note
        costs, ladder = _prepare_fidelities(settings, event, state["costs"])
        region = state["region"]
        if len(known.ids):
            asking = _AskState(settings, draft, event, region, ladder)
            asking.fill_draft()
            region = asking.region
        return {**state, "models": event.models, "region": region, "costs": costs, "notes": event.notes}


def _prepare_fidelities(
    settings: BayesianSettings, event: ModellingEvent, costs: dict[str, float]
) -> tuple[dict[str, float], Fidelities | None]:
    """Costs of the stages, from the state or measured now, and the fidelities.

    The fidelities are None where there is nothing to choose.
    """
    context = event.context
    if not settings.fidelity or not fidelity_stages(context.stages, context.problem):
        return costs, None
    costs = costs or stage_costs(context, settings.costs)
    ladder = build_fidelities(context.stages, context.problem, costs) if costs else None
    if ladder is not None:
        event.notes.setdefault("fidelity", describe_fidelities(ladder, given=bool(settings.costs)))
    return costs, ladder


def _cached_priors(settings: BayesianSettings, context: Context) -> Sequence[PriorData]:
    """Earlier results as the space understands them; kept in the cache."""
    if settings.prior and "bayesian priors" not in context.cache:
        found = read_priors(settings.prior, context.space, context.problem.properties)
        context.cache["bayesian priors"] = found
    return cast("Sequence[PriorData]", context.cache.get("bayesian priors", ()))


def choose_acquisition(asked: str, problem: Problem, *, noise: bool) -> tuple[str, str]:
    """Choose the acquisition function for a problem.

    Args:
        asked: by the settings; `auto` takes the most suitable.
        problem: its number of values decides.
        noise: True if values of an objective are noisy.

    Returns:
        Its name, and a note where it is not the one asked for.
    """
    several = problem.n_values > 1
    if not several:
        suited = "noisy_ei" if noise else "log_ei"
    elif problem.n_values <= MOST_HYPERVOLUME_OBJECTIVES:
        suited = "log_nehvi" if noise else "log_ehvi"
    else:
        suited = "parego"
    allowed = MULTI_OBJECTIVE if several else SINGLE_OBJECTIVE
    if asked == "auto":
        return suited, ""
    if asked in allowed:
        return asked, ""
    what = f"{problem.n_values} objectives" if several else "one objective"
    return (
        suited,
        f"acquisition {asked} cannot optimise {what}: {suited} is used (possible: {', '.join(allowed)})",
    )


class _AskState:
    """State of one ask, whose candidates are chosen one after the other."""

    def __init__(
        self,
        settings: BayesianSettings,
        draft: Draft,
        event: ModellingEvent,
        region: State,
        ladder: Fidelities | None = None,
    ) -> None:
        self.settings = settings
        self.draft = draft
        self.event = event
        self.context: Context = draft.context
        self.frame: Frame = event.frame
        self.trials: KnownTrials = event.known
        self.finite_search = FiniteSearch(self.frame, self.context)
        self.model_set = build_models(settings, event)
        self.pending_x = np.vstack(
            [self.trials.pending, self.frame.encode_genomes([p.genome for p in draft.proposals])]
        )
        self.staging = None
        if (
            ladder is not None
            and self.model_set is not None
            and can_relate_sources(self.model_set.regressors)
        ):
            self.staging = StageChooser(
                ladder, draft, self.trials.scores, self.trials.x, self.frame.encode_genomes
            )
            self.level_searches = [FiniteSearch(self.frame, self.context) for _ in range(len(ladder))]
        self.region = self._region_state(region)
        own = ~np.isin(self.trials.ids, self.context.history.outside())  # searches start within the space
        since = np.flatnonzero(own & (self.trials.ids >= self.region.get("since", 0)))
        order = since[self.trials.scores.select_rows(since).order()[:MOST_ANCHORS]]
        self.anchors = inherited_genomes(self.draft, self.trials.ids[order].tolist())
        self.box = self._region_box(since)

    def _region_state(self, region: State) -> State:
        """State of the trust region; empty where there is none."""
        asked = self.settings.trust_region
        numbers = self.frame.inputs.kinds.count("number")
        if self.frame.points is None or asked is False or (asked == "auto" and numbers <= REGION_VARIABLES):
            return {}
        if not region:
            self.event.notes["trust region"] = (
                f"{numbers} variables: the search keeps to a region around the best trial (TuRBO)"
            )
        return region or start_region(len(self.frame.inputs), self.settings.batch)

    def _region_box(self, since: IntArray) -> Box | None:
        """Box of the trust region: longer along variables that matter less."""
        row = (
            choose_centre(self.trials.scores.select_rows(since), self.context.rng("centre"))
            if self.region
            else None
        )
        if row is None or self.model_set is None:
            return None
        found = [item for item in self.model_set.regressors.values() if isinstance(item, ExplainedRegressor)]
        matter = np.mean([regressor.column_importance() for regressor in found], axis=0)
        weights = np.maximum(matter, 1e-3) ** -0.5
        return region_box(self.region, self.trials.x[since[row]], weights, self._periodic)

    @property
    def _periodic(self) -> BoolArray | None:
        """Shape (d,), periodic columns of the cube that is searched; None if none are."""
        points = self.frame.points
        return None if points is None else periodic_mask(points.domain().dimensions)

    @cached_property
    def values_scatter(self) -> bool:
        """True if values of an objective are known to be noisy.

        The best value seen may not be the best then. Evaluators or the user must state the noise: the noise a model learns
        may be what it cannot follow, and does not count.
        """
        found = [self.event.rows[objective.property] for objective in self.context.problem.objectives]
        return self.settings.gaussian.noise not in {"auto", 0.0} or any(
            bool((rows.noise > NEGLIGIBLE_NOISE * np.var(rows.y)).any()) for rows in found
        )

    def fill_draft(self) -> None:
        """Add candidates to the draft until it is full or nothing new is found."""
        while self.draft.missing:
            rng = self.context.rng(f"candidate {len(self.draft.proposals)}")
            if self.staging is not None and not self._is_constant():
                if not self._add_staged(self.staging, rng):
                    return
                continue
            value, operator = self._next_acquisition(rng)
            genome = self._maximise_acquisition(value, rng)
            if genome is None or not self.draft.add_genome(genome, operator):
                return
            self.pending_x = np.vstack([self.pending_x, self.frame.encode_genomes([genome])])

    def _add_staged(self, staging: StageChooser, rng: Rng) -> bool:
        """Add the candidate and stage of highest value per cost; False if there is none."""
        assert self.model_set is not None
        name, note = choose_acquisition(self.settings.acquisition, self.context.problem, noise=False)
        if note:
            self.event.notes["acquisition"] = note
        model_set, goals = staging.condition_on_pending(self.model_set), self._build_goals(name, rng)
        self.anchors = staging.rank_finished(model_set, goals, MOST_ANCHORS) or self.anchors
        measure: Measure = "bound" if name == "ucb" else "improvement" if goals.single else "hypervolume"
        found = self._build_acquisition(model_set, goals, measure, staging.pending_whole)
        believed = self._build_acquisition(model_set, goals, measure, staging.pending_or_stopped)

        def search_level(value: AcquisitionFunction, new: IsNew, level: int) -> Genome | None:
            return self._maximise_acquisition(value, rng, new, self.level_searches[level])

        choice = staging.choose_stage(found, believed, search_level)
        return choice is not None and staging.propose_choice(choice, name)

    def _maximise_acquisition(
        self,
        value: AcquisitionFunction,
        rng: Rng,
        new: IsNew | None = None,
        listed: FiniteSearch | None = None,
    ) -> Genome | None:
        """Return the new genome of highest acquisition value, or None."""
        new, effort = new or self.draft.would_accept, self.settings.effort
        if self.frame.finite is not None:
            return (listed or self.finite_search).find_best(value, new)
        if self.frame.points is None:
            return breed_best(self.frame, value, self.anchors, new, rng, effort)
        found = search_vector(
            self.context, self.frame.points, value, self.anchors, self.box, rng, 1, effort, new
        )
        return found[0][0] if found else None

    # Acquisition functions.

    def _next_acquisition(self, rng: Rng) -> tuple[AcquisitionFunction, str]:
        """Build the acquisition function for the next candidate; return it with its name."""
        if self.model_set is None:
            return self._success_acquisition(), "hope"
        problem = self.context.problem
        names = [objective.property for objective in problem.objectives]
        name, note = choose_acquisition(self.settings.acquisition, problem, noise=self.values_scatter)
        if note:
            self.event.notes["acquisition"] = note
        model_set = self.model_set.condition_on(self.pending_x)
        goals = self._build_goals(name, rng)
        if self._is_constant():
            self.event.notes["constant"] = (
                f"every trial so far has the same {' and '.join(names)}: candidates are chosen where least is known"
            )
            return self._build_acquisition(model_set, goals, "curiosity"), "curiosity"
        if name == "thompson":
            return self._build_acquisition(
                draw_functions(model_set, goals.names, self._pick_places(rng), rng), goals, "sample"
            ), name
        if name in {"noisy_ei", "log_nehvi"}:
            return self._average_over_fantasies(model_set, goals, rng), name
        measures: dict[str, Measure] = {"ucb": "bound", "log_ehvi": "hypervolume"}
        return self._build_acquisition(model_set, goals, measures.get(name, "improvement")), name

    def _build_acquisition(
        self,
        model_set: ModelSet,
        goals: Goals,
        measure: Measure,
        believed: FloatArray | None = None,
        *,
        draws: int = 0,
    ) -> MarginalAcquisition:
        """Build an acquisition function of marginals.

        `believed` (k, d) are the candidates that count beside the trials, by default all pending ones. Where the models are
        one of several draws, each draw has its part of the samples.
        """
        seed = self.context.derived_seed(f"samples {len(self.draft.proposals)}")
        believed = self.pending_x if believed is None else believed
        incumbents = self._find_incumbents(
            model_set, goals, believed, modelled=self.values_scatter or draws > 0
        )
        samples = max(N_SAMPLES // max(draws, 1), FEWEST_SAMPLES)
        beta = self.settings.beta
        return MarginalAcquisition(
            model_set, goals, incumbents, measure, beta=beta, seed=seed, samples=samples
        )

    def _average_over_fantasies(self, model_set: ModelSet, goals: Goals, rng: Rng) -> AcquisitionFunction:
        """Average an improvement over draws of the unknown incumbent."""
        measure: Measure = "improvement" if goals.single else "hypervolume"
        baseline = self._baseline_inputs(model_set, goals)
        if not len(baseline):
            return self._build_acquisition(model_set, goals, measure)
        count = N_FANTASIES if goals.single else N_FRONT_FANTASIES
        draws = [draw_functions(model_set, goals.names, baseline, rng) for _ in range(count)]
        return AveragedAcquisition(
            [self._build_acquisition(draw, goals, measure, draws=count) for draw in draws]
        )

    def _baseline_inputs(self, model_set: ModelSet, goals: Goals) -> FloatArray:
        """Inputs (k, d) of feasible trials and pending candidates that may be the best."""
        places = np.vstack([self.trials.x[self.trials.feasible], self.pending_x])
        if len(places) <= MOST_BASELINE:
            return places
        mean, _ = model_set.predict(goals.names, places)
        values = goals.objective_values(torch.as_tensor(mean)).numpy()
        order = (
            np.argsort(pareto.ranks(-values), kind="stable")
            if values.shape[1] > 1
            else np.argsort(-values[:, 0])
        )
        return places[order[:MOST_BASELINE]]

    def _success_acquisition(self) -> AcquisitionFunction:
        """Build the acquisition for an objective without values: success weight and distance."""
        success_models = build_success_models(self.event) if self.settings.failures else ()
        self.event.notes["no values"] = (
            f"none of {len(self.trials.ids)} finished trials has values of all objectives: candidates are chosen by "
            "their chance of success, far from what was tried"
        )
        tried = np.vstack([self.trials.x, self.pending_x])
        extent = np.ptp(tried, axis=0)
        return SuccessAcquisition(ModelSet({}, success_models), tried, np.where(extent > 0.0, extent, 1.0))

    def _is_constant(self) -> bool:
        """True if each objective has one value in all of several trials."""
        found = [self.event.rows[objective.property].y for objective in self.context.problem.objectives]
        return all(len(y) > 1 and float(np.ptp(y)) == 0.0 for y in found)

    def _build_goals(self, name: str, rng: Rng) -> Goals:
        """Build the goals of an acquisition; random weights for `parego`."""
        problem = self.context.problem
        weights = None
        if problem.n_values > 1 and name == "parego":
            weights = rng.dirichlet(np.ones(problem.n_values))
        assert self.model_set is not None
        return goals_for(problem, list(self.model_set.regressors), self.trials.scores.values, weights)

    def _find_incumbents(
        self, model_set: ModelSet, goals: Goals, believed: FloatArray, *, modelled: bool
    ) -> Incumbents:
        """Values of the feasible trials, and of candidates believed feasible.

        Trials count at the values the models give them if `modelled`, else (without noise) at their own.
        """
        feasible = self.trials.feasible
        if modelled:
            mean, _ = model_set.predict(goals.names, self.trials.x[feasible])
            parts = [goals.objective_values(torch.as_tensor(mean)).numpy()]
        else:
            parts = [goals.scale_minimised(self.trials.scores.values[feasible])]
        if len(believed):
            centre, width = model_set.predict(goals.names, believed)
            holds = goals.log_feasibility(torch.as_tensor(centre), torch.as_tensor(width)).exp().numpy()
            chosen = holds * model_set.success_probability(believed) >= 0.5
            parts.append(goals.objective_values(torch.as_tensor(centre[chosen])).numpy())
        reference = self.context.problem.reference
        scaled = None if reference is None or goals.single else goals.scale_minimised(reference[None])[0]
        return Incumbents(np.vstack(parts), scaled)

    def _pick_places(self, rng: Rng) -> FloatArray:
        """Pick inputs at which a drawn function is fixed.

        Around the best trials, and all over the space.
        """
        near = self.frame.encode_genomes(self.anchors)
        if self.frame.finite is not None:
            numbers = rng.choice(
                len(self.frame.finite), min(DRAWN_PLACES, len(self.frame.finite)), replace=False
            )
            return self.frame.encode_genomes([self.frame.finite.genome(int(number)) for number in numbers])
        if self.frame.points is None:
            starts = [operator for _, operator in operators_by_arity(self.context.space)[0]]
            made = [starts[k % len(starts)].apply((), rng) for k in range(DRAWN_PLACES - len(near))]
            return np.vstack(
                [near, self.frame.encode_genomes([genome for genome in made if genome is not None])]
            )
        wide = rng.random((DRAWN_PLACES // 2, near.shape[1]))
        steps = rng.normal(scale=0.1, size=(DRAWN_PLACES - len(wide), near.shape[1]))
        close = near[np.arange(len(steps)) % len(near)] + steps
        return bring_into_cube(np.vstack([wide, close]), self._periodic)
