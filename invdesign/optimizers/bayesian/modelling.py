"""Models of one event: training rows, refits and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.learning.contracts import Hyperparameters, Regressor
from invdesign.learning.data import Rows
from invdesign.learning.settings import ADDITIVE_ABOVE
from invdesign.optimizers.bayesian.acquisition import ModelSet
from invdesign.optimizers.bayesian.fidelity import source_stages
from invdesign.optimizers.bayesian.frame import Frame, KnownTrials
from invdesign.optimizers.bayesian.priors import PriorData
from invdesign.optimizers.bayesian.settings import Modelling
from invdesign.optimizers.common import State
from invdesign.problem import Merit
from invdesign.protocols import Context

MOST_FITTED_ROWS = 300  # training rows of a hyperparameter fit (chosen)
FRESH_START_GROWTH = 1.25  # growth of the rows that allows fresh starts again, for many columns (chosen)
FEWEST_ROWS = 2  # of a property, without which it has no model (chosen)


FitFunction = Callable[[Hyperparameters | None, bool], Hyperparameters]


@dataclass
class ModellingEvent:
    """State of one event while its models are built.

    Attributes:
        context: of the event.
        frame: makes inputs of genomes.
        known: finished and pending trials.
        models: state of the regressors by property, and of the models of success: hyperparameters, and the number
            of rows they were fitted on.
        notes: for the user, by code.
        priors: earlier results.
        rows: training rows by property.
    """

    context: Context
    frame: Frame
    known: KnownTrials
    models: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    priors: Sequence[PriorData] = ()
    rows: dict[str, Rows] = field(default_factory=dict)


def collect_rows(event: ModellingEvent, name: str) -> tuple[Rows, int]:
    """Collect the training rows of a property, and the number of its sources.

    Every trial that has the property counts, however the trial ended; then values of earlier stages, and then earlier
    data.

    Args:
        event: its trials and priors.
        name: of the property.
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
    """Training rows of the trials with a finite value, from one source."""
    y = values[known.ids]
    finite = np.flatnonzero(np.isfinite(y))
    sources = np.full(len(finite), source, dtype=np.int64)
    return Rows(known.x[finite], y[finite], deviations[known.ids][finite] ** 2, sources)


def _join_rows(parts: Sequence[Rows]) -> Rows:
    """Join several sets of rows into one."""
    return Rows(
        np.vstack([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.noise for part in parts]),
        np.concatenate([part.source for part in parts]),
    )


def build_models(options: Modelling, event: ModellingEvent) -> ModelSet | None:
    """Build the models of all properties with enough rows, and of success.

    Hyperparameters that were fitted anew, and notes, go into the event.

    Args:
        options: kinds and settings of the models.
        event: its trials, state and notes.

    Returns:
        None while an objective has no model.
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
    """Build the model of one property; refit it if that is due."""
    from invdesign.learning.limits import describe_limit, select_rows

    order, centre = _rank_rows(event, name, rows)
    kept = rows
    if len(rows) > options.rows:
        kept = rows.select_rows(select_rows(rows, order, options.rows, centre))
        event.notes.setdefault("rows", describe_limit(options.rows))
    inputs = event.frame.inputs
    if options.model != "gaussian_process":
        from invdesign.learning.trees import grow_boosted, grow_forest

        make = grow_forest if options.model == "random_forest" else grow_boosted
        seed = event.context.derived_seed(f"model of {name}")
        return make(kept, inputs, options.trees, seed)
    from invdesign.learning.gaussian.process import build_process, fit_hyperparameters

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
    """Hyperparameters from the state, refitted from there if that is due.

    Fresh starts are tried beside them whenever there are `afresh` times as many rows as when they last were.
    """
    from invdesign.learning.limits import is_refit_due

    entry = states.get(name)
    if entry is None or is_refit_due(n, entry["n"]):
        fresh = entry is None or n >= afresh * entry["fresh"]
        found = fit(None if entry is None else entry["hyperparameters"], fresh)
        last = n if entry is None or fresh else entry["fresh"]
        states[name] = {"n": n, "fresh": last, "hyperparameters": found}
    return cast("Hyperparameters", states[name]["hyperparameters"])


def _rank_rows(event: ModellingEvent, name: str, rows: Rows) -> tuple[IntArray, FloatArray | None]:
    """Rank rows from the best trial to the worst, other sources last.

    Also returns the inputs of the best row, or None.
    """
    known = event.known
    has = np.isfinite(event.context.history.column(name)[known.ids])
    position = np.cumsum(has) - 1
    best = known.scores.order()
    order = position[best[has[best]]]
    rest = np.arange(int(has.sum()), len(rows))
    centre = rows.x[order[0]] if len(order) else None
    return np.concatenate([order, rest]), centre


def build_success_models(event: ModellingEvent) -> tuple[Any, ...]:
    """Build the models of passing evaluation and of passing the gates.

    Gated trials count as successes in the model of evaluation, and as failures in that of the gates. A model that would see
    no failure is left out.

    Args:
        event: its trials and state.
    """
    from invdesign.optimizers.bayesian.success import build_success_model, fit_success

    known = event.known
    merit = known.scores.merit
    works = (merit != Merit.FAILED) & (merit != Merit.INFEASIBLE)
    # Candidates that stopped early on purpose, or were withdrawn, tell nothing about the success of later stages.
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
