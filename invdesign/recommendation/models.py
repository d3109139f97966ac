"""Training rows and fits of the models of a recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.learning.data import Rows
from invdesign.learning.limits import select_rows
from invdesign.learning.measured import combine_with_predictions
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.frame import Frame, KnownTrials, make_frame
from invdesign.optimizers.bayesian.priors import PriorData, PriorTable, read_priors
from invdesign.optimizers.common import is_training_candidate
from invdesign.problem import Merit, Scores
from invdesign.protocols import Context

if TYPE_CHECKING:
    from invdesign.learning.gaussian.process import GaussianProcess

Groups = Mapping[str, Sequence[str]]

MAX_CANDIDATES = 300  # to learn from; chosen: a fit takes a second or two
MAX_MODEL_ROWS = 600  # training rows with earlier stages and earlier results; chosen
MAX_BEST_CANDIDATES = 150  # of `MAX_CANDIDATES`, the others lie evenly by number; chosen
MIN_VALUES = 6  # needed to model a property; chosen


@dataclass(frozen=True)
class Trials:
    """Candidates that a recommendation is based on.

    Attributes:
        context: of the run.
        ids: shape (n,), ascending.
        known: number of candidates with a value that the problem reads.
        scores: of these n.
        frame: encoding of genomes as inputs.
        x: shape (n, d), their inputs.
        priors: earlier results.
    """

    context: Context
    ids: IntArray
    known: int
    scores: Scores
    frame: Frame
    x: FloatArray
    priors: tuple[PriorData, ...] = ()

    def column(self, name: str) -> FloatArray:
        """Measured values of property `name`, shape (n,), NaN where unknown."""
        return self.context.history.column(name)[self.ids]

    def noise(self, name: str) -> FloatArray:
        """Noise of property `name`, shape (n,), NaN where unknown."""
        return self.context.history.noise(name)[self.ids]

    def systematic(self, name: str) -> FloatArray:
        """Systematic errors of property `name`, shape (n,), NaN where unknown."""
        return self.context.history.systematic(name)[self.ids]


def choose_trials(context: Context, groups: Groups, tables: Sequence[PriorTable] = ()) -> Trials:
    """Choose at most 300 candidates with values.

    Half of them are the best by measured values, the others lie evenly by number.

    Args:
        context: of the run.
        groups: of descriptors, for additive models.
        tables: earlier results that the run's optimizer knew.

    Raises:
        ValueError: the space's features are unavailable, or a group names one that the space does not have.
        InvdesignError: a table does not fit the space.
    """
    history, names = context.history, context.problem.properties
    scores = history.scores()
    columns: list[tuple[str, str | None]] = [(name, None) for name in names]
    columns += [(name, stage.name) for stage in context.stages for name in names if name in stage.provides]
    values = [np.isfinite(history.column(name, stage)) for name, stage in columns]
    outside = history.outside()  # never recommended, but measured and worth learning from
    counted = np.any(values, axis=0) & ((scores.merit != Merit.PENDING) | np.isin(scores.ids, outside))
    counted[[id for id in outside if not is_training_candidate(context, id)]] = False
    counted[list(history.superseded())] = False
    order = scores.order()
    ranked = scores.ids[order[counted[order]]]
    ids = _choose_ids(ranked, scores.ids[scores.front()])
    frame = make_frame(context.space, groups)
    x = frame.encode_genomes([history.candidate(int(id)).genome for id in ids])
    priors = read_priors(tables, context.space, names) if tables else ()
    return Trials(context, ids, len(ranked), history.scores(ids.tolist()), frame, x, tuple(priors))


def _choose_ids(ranked: IntArray, front: IntArray) -> IntArray:
    """Choose at most 300 ranked candidates, ascending; the front's members first."""
    if len(ranked) <= MAX_CANDIDATES:
        return np.sort(ranked)
    first = np.concatenate([front[:MAX_BEST_CANDIDATES], ranked])
    best = first[np.sort(np.unique(first, return_index=True)[1])][:MAX_BEST_CANDIDATES]
    rest = np.setdiff1d(ranked, best)
    evenly = np.linspace(0, len(rest) - 1, MAX_CANDIDATES - len(best)).round().astype(np.int64)
    return np.union1d(best, rest[evenly])


def training_rows(trials: Trials, name: str) -> tuple[Rows, int, int]:
    """Training rows of the model of a property.

    The trials' own values come first, then other sources: earlier stages, and earlier results.

    Args:
        trials: of the run.
        name: of the property.

    Returns:
        The rows, how many of them are the trials', and the number of sources.
    """
    from invdesign.optimizers.bayesian import modelling

    known = KnownTrials(trials.ids, trials.x, trials.scores, trials.x[:0])
    event = modelling.ModellingEvent(trials.context, trials.frame, known, {}, priors=trials.priors)
    rows, sources = modelling.collect_rows(event, name)
    own = int(np.isfinite(trials.column(name)).sum())
    if len(rows) > MAX_MODEL_ROWS:
        rest = np.linspace(own, len(rows) - 1, MAX_MODEL_ROWS - own).round().astype(np.int64)
        rows = rows.select_rows(np.concatenate([np.arange(own), rest]))
    return rows, own, sources


@dataclass(frozen=True)
class PropertyModel:
    """Model of one property.

    Attributes:
        model: fitted.
        positions: shape (k,), of the trials with a value, which are the first k training rows.
        left_mean, left_deviation: shape (k,), leave-one-out predictions, noise included.
        mean, deviation: shape (n,), of the value itself at every trial: at measured ones never further from the
            measurement than its noise.
        noisy: True if repeating an evaluation may give another value.
    """

    model: GaussianProcess
    positions: IntArray
    left_mean: FloatArray
    left_deviation: FloatArray
    mean: FloatArray
    deviation: FloatArray
    noisy: bool


def fit_property(trials: Trials, name: str, settings: GaussianSettings) -> PropertyModel | str:
    """Fit the model of a property, or give the reason for having none.

    Args:
        trials: to learn from.
        name: of the property.
        settings: of the Gaussian process.
    """
    from invdesign.learning.gaussian.process import build_process, fit_hyperparameters

    rows, own, sources = training_rows(trials, name)
    y = rows.y[:own]
    if own < MIN_VALUES:
        return (
            f"{own} {'candidate has' if own == 1 else 'candidates have'} a value; a model needs {MIN_VALUES}"
        )
    if np.ptp(y) <= 1e-12 * float(np.abs(y).max()):
        return f"all {own} values are the same ({y[0]:.4g})"
    if not _has_variation(rows.x[:own]):
        return "all candidates have the same features"
    inputs = trials.frame.inputs
    few = rows.select_rows(select_rows(rows, np.arange(own), MAX_CANDIDATES))
    hyperparameters = fit_hyperparameters(few, inputs, settings, None, sources)
    model = build_process(rows, inputs, settings, hyperparameters, sources)
    mean, deviation = model.predict(trials.x)
    positions = np.flatnonzero(np.isfinite(trials.column(name)))
    left = [part[:own] for part in model.leave_one_out()]
    noise = _repetition_variance(trials, name, model, settings)[:own]
    mean[positions], deviation[positions] = combine_with_predictions(y, noise, *left)
    return PropertyModel(model, positions, left[0], left[1], mean, deviation, noisy=bool((noise > 0.0).any()))


def _repetition_variance(
    trials: Trials, name: str, model: GaussianProcess, settings: GaussianSettings
) -> FloatArray:
    """Noise variance of repeating each row's evaluation, shape (n,).

    An evaluation without a stated noise is taken as exact; except for measurements from outside, whose noise the model
    learns, and where the user set the noise.
    """
    noise = model.rows.noise
    deciding = [view for view in trials.context.stages if name in view.provides][-1:]
    if any(view.external for view in deciding) or settings.noise != "auto":
        return model.repetition_variance()
    return np.where(np.isfinite(noise), noise, 0.0)


def _has_variation(x: FloatArray) -> bool:
    finite = x[:, np.isfinite(x).all(axis=0)]
    return bool((np.ptp(finite, axis=0) > 0).any()) if len(x) and finite.shape[1] else False
