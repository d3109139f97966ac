"""The models of one event: what each property learns from, when it is fitted anew, and what a user should hear of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.optimizers.bayesian.acquisition import ModelSet
from invdesign.optimizers.bayesian.contracts import Hyperparameters, Regressor
from invdesign.optimizers.bayesian.data import Rows
from invdesign.optimizers.bayesian.fidelity import source_stages
from invdesign.optimizers.bayesian.frame import Frame, KnownTrials
from invdesign.optimizers.bayesian.priors import PriorData
from invdesign.optimizers.bayesian.settings import ADDITIVE_ABOVE, Modelling
from invdesign.optimizers.common import State
from invdesign.problem import Merit
from invdesign.protocols import Context

MOST_FITTED_ROWS = 300  # rows that hyperparameters are fitted on, at most
FRESH_START_GROWTH = 1.25  # times as many rows: of many columns, fits from fresh starts take a while
FEWEST_ROWS = 2  # rows of a property without which nothing is modelled


FitFunction = Callable[[Hyperparameters | None, bool], Hyperparameters]


@dataclass
class ModellingEvent:
    """One event's view of a run while models are made: what is known, and the state as it becomes.

    Attributes:
        models: state of the regressors by property, and of the chances of success: hyperparameters, and the number
            of rows they were fitted on.
        notes: what the user should hear, by code.
        rows: by property, what its model learns from.
    """

    context: Context
    frame: Frame
    known: KnownTrials
    models: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    priors: Sequence[PriorData] = ()
    rows: dict[str, Rows] = field(default_factory=dict)


def collect_rows(event: ModellingEvent, name: str) -> tuple[Rows, int]:
    """What the model of a property learns from, and how many sources there may be.

    Every trial that has the property teaches it, however the trial ended; then what earlier stages said of it, and
    then earlier data.
    """
    context, known = event.context, event.known
    parts = [_finite_rows(known, context.history.column(name), context.history.noise(name), 0)]
    earlier = source_stages(context.stages, name)[1:]
    for number, stage in enumerate(earlier, start=1):
        y, deviation = context.history.column(name, stage), context.history.noise(name, stage)
        parts.append(_finite_rows(known, y, deviation, number))
    count = 1 + len(earlier)
    for prior in event.priors:
        own = 0 if prior.same else count
        count += own > 0
        values = prior.values.get(name)
        if values is not None:
            finite = np.isfinite(values)
            noise = prior.noise.get(name, np.full(len(values), np.nan))
            sources = np.full(int(finite.sum()), own, dtype=np.int64)
            parts.append(
                Rows(
                    event.frame.encode_genomes(prior.genomes)[finite], values[finite], noise[finite], sources
                )
            )
    return _join_rows(parts), count


def _finite_rows(known: KnownTrials, values: FloatArray, deviations: FloatArray, source: int) -> Rows:
    y = values[known.ids]
    finite = np.flatnonzero(np.isfinite(y))
    sources = np.full(len(finite), source, dtype=np.int64)
    return Rows(known.x[finite], y[finite], deviations[known.ids][finite] ** 2, sources)


def _join_rows(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.vstack([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.noise for part in parts]),
        np.concatenate([part.source for part in parts]),
    )


def build_models(options: Modelling, event: ModellingEvent) -> ModelSet | None:
    """Models of every property of which enough is known, and of success; None while an objective is not among them.

    Hyperparameters that were fitted anew, and notes, go into the event.
    """
    regressors: dict[str, Regressor] = {}
    for name in event.context.problem.properties:
        rows, sources = collect_rows(event, name)
        if len(rows) < FEWEST_ROWS or not (rows.source == 0).any():
            continue
        event.rows[name] = rows
        regressors[name] = _build_regressor(options, event, name, rows, sources)
    if not {objective.property for objective in event.context.problem.objectives} <= regressors.keys():
        return None
    return ModelSet(regressors, build_success_models(event) if options.failures else ())


def _build_regressor(
    options: Modelling, event: ModellingEvent, name: str, rows: Rows, sources: int
) -> Regressor:
    from invdesign.optimizers.bayesian.limits import describe_limit, select_rows

    order, centre = _rank_rows(event, name, rows)
    kept = rows
    if len(rows) > options.rows:
        kept = rows.select_rows(select_rows(rows, order, options.rows, centre))
        event.notes.setdefault("rows", describe_limit(options.rows))
    inputs = event.frame.inputs
    if options.model != "gaussian_process":
        from invdesign.optimizers.bayesian.forest import grow_boosted, grow_forest

        make = grow_forest if options.model == "random_forest" else grow_boosted
        seed = event.context.derived_seed(f"model of {name}")
        return make(kept, inputs, options.trees, seed)
    from invdesign.optimizers.bayesian.process import build_process, fit_hyperparameters

    few = (
        rows
        if len(rows) <= MOST_FITTED_ROWS
        else rows.select_rows(select_rows(rows, order, MOST_FITTED_ROWS, centre))
    )
    hyperparameters = _refit_if_due(
        event.models.setdefault("properties", {}),
        name,
        len(rows),
        lambda start, fresh: fit_hyperparameters(few, inputs, options.gaussian, start, sources, fresh=fresh),
        FRESH_START_GROWTH if len(inputs) > ADDITIVE_ABOVE else 1.0,
    )
    return build_process(kept, inputs, options.gaussian, hyperparameters, sources)


def _refit_if_due(states: State, name: str, n: int, fit: FitFunction, afresh: float = 1.0) -> Hyperparameters:
    """Hyperparameters from the state, or where a refit is due from a fit that starts at them.

    Fresh starts get a chance beside them whenever there are `afresh` times as many rows as when they last did.
    """
    from invdesign.optimizers.bayesian.limits import is_refit_due

    entry = states.get(name)
    if entry is None or is_refit_due(n, entry["n"]):
        fresh = entry is None or n >= afresh * entry["fresh"]
        found = fit(None if entry is None else entry["hyperparameters"], fresh)
        last = n if entry is None or fresh else entry["fresh"]
        states[name] = {"n": n, "fresh": last, "hyperparameters": found}
    return cast("Hyperparameters", states[name]["hyperparameters"])


def _rank_rows(event: ModellingEvent, name: str, rows: Rows) -> tuple[IntArray, FloatArray | None]:
    """Positions of rows from the best trial's to the worst's, other sources last; and where the best one lies."""
    known = event.known
    has = np.isfinite(event.context.history.column(name)[known.ids])
    position = np.cumsum(has) - 1
    best = known.scores.order()
    order = position[best[has[best]]]
    rest = np.arange(int(has.sum()), len(rows))
    centre = rows.x[order[0]] if len(order) else None
    return np.concatenate([order, rest]), centre


def build_success_models(event: ModellingEvent) -> tuple[Any, ...]:
    """Models of the chance that an evaluation does not fail, and that the gates let a candidate through.

    Gated trials are no failures: they teach the gates' model alone.
    """
    from invdesign.optimizers.bayesian.success import build_success_model, fit_success

    known = event.known
    merit = known.scores.merit
    works = (merit != Merit.FAILED) & (merit != Merit.INFEASIBLE)
    # Who stopped early on purpose says nothing of whether later stages would have worked; nor does who was withdrawn.
    asked = ~((merit == Merit.VIOLATING) & np.isnan(known.scores.values).any(axis=1)) & (
        merit != Merit.PENDING
    )
    questions = (
        ("evaluation", asked, works),
        ("gates", asked & works, merit != Merit.GATED),
    )
    found = []
    for name, asked, passed in questions:
        x, succeeded = known.x[asked], passed[asked]
        if not len(x) or succeeded.all():
            continue

        def fit(start: Hyperparameters | None, _: bool, x: FloatArray = x, y: Any = succeeded) -> Any:
            return fit_success(x, y, event.frame.inputs, start)

        hyperparameters = _refit_if_due(event.models.setdefault("chances", {}), name, len(x), fit)
        found.append(build_success_model(x, succeeded, event.frame.inputs, hyperparameters))
    return tuple(found)
