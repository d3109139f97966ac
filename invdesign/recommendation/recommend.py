"""Recommendation of a run by models of all its measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError, nearest
from invdesign.learning.calibration import DEVIATIONS_95, Calibration, judge_predictions
from invdesign.learning.importance import Importance, group_contributions, variance_shares
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.priors import PriorTable
from invdesign.optimizers.bayesian.settings import BayesianSettings, Modelling
from invdesign.problem import Merit, Problem, Scores
from invdesign.properties import words_beside
from invdesign.protocols import Context
from invdesign.recommendation.models import PropertyModel, Trials, choose_trials, fit_property
from invdesign.recommendation.values import Estimate, Member, Recommendation
from invdesign.threads import one_thread

MAX_MEMBERS = 50  # listed members of a front; chosen
MAX_RIVALS = 10  # listed beside the best if one value ranks; chosen


class RecommendationError(InvdesignError):
    """A recommendation is asked for properties that the run does not know."""

    exit_code = 2


@dataclass(frozen=True)
class Names:
    """Formula by candidate and unit by property; empty if unknown."""

    formula: Callable[[int], str]
    units: Mapping[str, str]


@dataclass(frozen=True)
class JudgedProperty:
    """A modelled property with its calibration.

    Attributes:
        model: predictions for every trial.
        calibration: of the model.
    """

    model: PropertyModel
    calibration: Calibration

    @property
    def is_believed(self) -> bool:
        """True if its means may overrule measured values.

        They may not where measured values are exact, or the model has no skill.
        """
        return self.model.noisy and self.calibration.verdict != "no better than the mean"


def recommend(
    context: Context,
    names: Names,
    *,
    optimizer: object = None,
    properties: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Recommendation:
    """Recommend candidates of a run, with credible intervals and calibration.

    The models are Gaussian processes of every property the problem reads, fitted anew: the optimizer that made the
    candidates does not matter, but if it is a Bayesian one its settings of Gaussian processes hold here too.
    The cost is limited to seconds by learning from at most 300 candidates; the result is a function of the history alone.

    Args:
        context: space, problem, history and stages of the run.
        names: of candidates and properties.
        optimizer: of the run.
        properties: to calibrate and explain; by default all that the problem reads. The choice of the best does not
            depend on them.
        notes: of the optimizer, passed on.

    Raises:
        RecommendationError: the run knows no such property.
    """
    problem = context.problem
    known = dict.fromkeys([*problem.properties, *names.units])
    for name in properties:
        if name not in known:
            hint = nearest(name, known) or f"It has {', '.join(known)}."
            raise RecommendationError(f"the run has no property '{name}'. {hint}")
    settings, groups, tables = _model_settings(optimizer)
    try:
        trials = choose_trials(context, groups, tables)
    except Exception as error:  # noqa: BLE001 - features may be computed by a third party's space
        return _empty_recommendation(
            problem, [f"The features of the candidates cannot be had: {error}"], notes
        )
    if not len(trials.ids):
        return _empty_recommendation(
            problem, ["No candidate has a value yet, so there is nothing to recommend."], notes
        )
    with one_thread():  # the digits must not depend on the number of cores
        return _recommend_from_trials(trials, names, settings, properties, notes)


def _recommend_from_trials(
    trials: Trials, names: Names, settings: GaussianSettings, properties: Sequence[str], notes: Sequence[str]
) -> Recommendation:
    problem, words = trials.context.problem, list[str]()
    judged = _judge_properties(
        trials, list(dict.fromkeys([*problem.properties, *properties])), settings, names, words
    )
    if trials.known > len(trials.ids):
        words.append(
            f"The models learn from {len(trials.ids)} of {trials.known:,} candidates: the best, and others evenly."
        )
    found = _choose_best(trials, judged, names, words)
    shown = [name for name in (properties or problem.properties) if name in judged]
    return replace(
        found,
        calibration=tuple(judged[name].calibration for name in shown),
        importance=tuple(_explain_property(trials, name, judged[name].model, found.best) for name in shown),
        words=tuple(words),
        notes=tuple(notes),
    )


def _model_settings(
    optimizer: object,
) -> tuple[GaussianSettings, Mapping[str, Sequence[str]], Sequence[PriorTable]]:
    """Settings of Gaussian processes, descriptor groups and earlier results of an optimizer."""
    if not isinstance(optimizer, Modelling):
        return GaussianSettings(), {}, ()
    if not isinstance(optimizer, BayesianSettings):
        return optimizer.gaussian, {}, ()
    return optimizer.gaussian, optimizer.groups, optimizer.prior


def _empty_recommendation(problem: Problem, words: Sequence[str], notes: Sequence[str]) -> Recommendation:
    objectives = tuple(str(objective) for objective in problem.objectives)
    return Recommendation(objectives, None, None, (), 0, 0, (), (), tuple(words), tuple(notes))


def _judge_properties(
    trials: Trials, wanted: Sequence[str], settings: GaussianSettings, names: Names, words: list[str]
) -> dict[str, JudgedProperty]:
    """Model every property; add a sentence to `words` for each failure."""
    found = {}
    for name in wanted:
        try:
            model = fit_property(trials, name, settings)
        except (ArithmeticError, RuntimeError, ValueError) as error:  # linear algebra on degenerate data
            model = f"the fit failed ({' '.join(str(error).split())[:200]})"
        if isinstance(model, str):
            words.append(f"{name} is not modelled: {model}.")
            continue
        own = model.positions
        values = trials.column(name)[own]
        wanted_as = next((item for item in trials.context.problem.objectives if item.property == name), None)
        calibration = judge_predictions(
            name,
            names.units.get(name, ""),
            trials.ids[own].tolist(),
            values,
            model.left_mean,
            model.left_deviation,
            None if wanted_as is None else wanted_as.to_minimised(values),
        )
        found[name] = JudgedProperty(model, calibration)
    return found


def _explain_property(trials: Trials, name: str, item: PropertyModel, best: Member | None) -> Importance:
    model, x = item.model, trials.x[item.positions]
    relevance = model.column_importance().tolist()
    variables, groups = variance_shares(model.predict_means, x, trials.frame.inputs, relevance)
    place = [] if best is None else np.flatnonzero(trials.ids[item.positions] == best.candidate).tolist()
    added = [group.name for group in model.kernel.plan.groups]
    parts = model.group_contributions(x) if len(added) > 1 else np.empty((len(x), 0))
    return Importance(name, variables, groups, group_contributions(added, parts, place))


# The best, and the front.


def _choose_best(
    trials: Trials, judged: Mapping[str, JudgedProperty], names: Names, words: list[str]
) -> Recommendation:
    """Choose the best or the front among candidates that meet the constraints.

    If none meets them, those that violate them least are chosen. Means of believed models rank them, else measured values.
    """
    problem, measured = trials.context.problem, trials.scores
    scores = _score_by_means(trials, judged)
    ranked = [
        int(place)
        for place in scores.order()
        if scores.merit[place] in {Merit.FEASIBLE, Merit.VIOLATING}
        and np.isfinite(scores.values[place]).all()
    ]
    found = replace(_empty_recommendation(problem, (), ()), learned_from=len(trials.ids))
    if not ranked:
        words.append("No candidate has a value of every objective yet, so none is recommended.")
        return found
    if scores.merit[ranked[0]] != Merit.FEASIBLE:
        words.append("No candidate meets every constraint; those that violate them least are listed.")
    front = _find_front(scores, ranked, judged, problem)
    best_measured = measured.front() if (measured.merit == Merit.FEASIBLE).any() else measured.order()[:1]
    member = _MemberBuilder(trials, judged, names, frozenset(best_measured.tolist()))
    if problem.n_values > 1:
        listed = tuple(member.build(place) for place in _pick_evenly(front, MAX_MEMBERS))
        return replace(found, front=listed, front_size=len(front))
    overruled = None if front[0] in member.best else int(best_measured[0])
    shown = front[: 1 + MAX_RIVALS]
    if overruled is not None:
        words.append(_overruling_sentence(int(trials.ids[overruled]), int(trials.ids[front[0]])))
        shown += [overruled] if overruled not in shown else []
    listed = tuple(member.build(place) for place in shown)
    return replace(
        found,
        best=listed[0],
        measured_best=None if overruled is None else int(trials.ids[overruled]),
        front=listed,
        front_size=max(len(front), len(listed)),
    )


def _overruling_sentence(measured: int, best: int) -> str:
    return (
        f"Candidate {measured} has the best measured value. Within the noise of its measurement the models take part of "
        f"that for luck, since its neighbours do not bear it out, and expect more of candidate {best}."
    )


def _score_by_means(trials: Trials, judged: Mapping[str, JudgedProperty]) -> Scores:
    """Scores with values from the models' means.

    Constraints are judged by measured values.
    """
    problem, scores = trials.context.problem, trials.scores

    def column_of_means(name: str) -> FloatArray:
        values = trials.column(name)
        item = judged.get(name)
        if item is None or not item.is_believed:
            return values
        return np.where(np.isfinite(values), item.model.mean, np.nan)

    values = problem.score_trials(trials.ids, column_of_means, np.zeros_like(trials.ids), scores.depth).values
    return replace(scores, values=values)


def _find_front(
    scores: Scores, ranked: Sequence[int], judged: Mapping[str, JudgedProperty], problem: Problem
) -> list[int]:
    """Positions of the front, ordered by the first value.

    With one value these are the best and its indistinguishable rivals.
    """
    level = [place for place in ranked if scores.merit[place] == scores.merit[ranked[0]]]
    if scores.merit[ranked[0]] != Merit.FEASIBLE:
        return level[: 1 + MAX_RIVALS]
    if problem.n_values > 1:
        members = np.array(level)[pareto.front(scores.values[level])]
        return [int(place) for place in members[np.argsort(scores.values[members, 0], kind="stable")]]
    values, first = scores.values[:, 0], level[0]
    item = judged.get(problem.objectives[0].property)
    if len(problem.objectives) > 1 or item is None or not item.is_believed:
        return [place for place in level if values[place] == values[first]]
    width = item.model.deviation
    apart = DEVIATIONS_95 * np.hypot(width, width[first])
    return [place for place in level if values[place] - values[first] <= apart[place]]


def _pick_evenly(places: Sequence[int], n: int) -> list[int]:
    if len(places) <= n:
        return list(places)
    chosen = np.unique(np.linspace(0, len(places) - 1, n).round().astype(np.int64))
    return [places[int(index)] for index in chosen]


@dataclass(frozen=True)
class _MemberBuilder:
    """Builds members from trials.

    Attributes:
        best: positions of the best trials by measured values.
    """

    trials: Trials
    judged: Mapping[str, JudgedProperty]
    names: Names
    best: frozenset[int]

    def build(self, place: int) -> Member:
        problem = self.trials.context.problem
        estimates = tuple(self._estimate_property(name, place) for name in problem.properties)
        means = {e.property: e.measured if e.mean is None else e.mean for e in estimates}
        desirability = None
        if problem.has_scales:
            minimised = problem.minimise_columns(lambda name: np.array([means[name]], dtype=np.float64))
            desirability = _finite_or_none(float(problem.desirability(minimised)[0]))
        id = int(self.trials.ids[place])
        return Member(id, self.names.formula(id), estimates, desirability, place in self.best)

    def _estimate_property(self, name: str, place: int) -> Estimate:
        measured = _finite_or_none(float(self.trials.column(name)[place]))
        item = self.judged.get(name)
        return Estimate(
            property=name,
            unit=self.names.units.get(name, ""),
            measured=measured,
            noise=_finite_or_none(float(self.trials.noise(name)[place])),
            systematic=_finite_or_none(float(self.trials.systematic(name)[place])),
            mean=None if item is None else float(item.model.mean[place]),
            deviation=None if item is None else float(item.model.deviation[place]),
            words=words_beside(name, lambda flag: float(self.trials.column(flag)[place])),
        )


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
