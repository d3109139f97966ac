"""How a run improved: records of every objective, and the growth of the dominated hypervolume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.report.tables import Facts
from invdesign.report.text import pretty_unit
from invdesign.run.status import volume_unit

MAX_CHECKPOINTS = 200
# The curve of a larger front takes minutes: the cost grows steeply with the number of objectives.
MAX_FRONT_SIZE = {1: 10**9, 2: 10**9, 3: 10**9, 4: 10_000, 5: 1_500, 6: 300}


def find_records(facts: Facts, objective: int | None) -> tuple[IntArray, FloatArray]:
    """Where the best so far improved, among feasible candidates: numbers, and values at them.

    Args:
        objective: place of an objective, whose property is given; None gives the desirability. Where objectives
            are combined to one score, the best so far is the best by that score, whatever is asked for.
    """
    ids = facts.feasible_ids()
    combined = objective is None or facts.scalarized
    values = facts.scores.values[ids, 0] if combined else facts.minimised[ids, objective]
    if len(ids) == 0:
        return ids, values
    best = np.minimum.accumulate(values)
    at = ids[np.concatenate([[True], best[1:] < best[:-1]])]
    if objective is not None:
        return at, facts.columns[facts.objectives[objective].property][at]
    assert facts.desirability is not None
    return at, facts.desirability[at]


@dataclass(frozen=True)
class Hypervolume:
    """Growth of the dominated hypervolume, with one reference point for the whole run.

    Attributes:
        reference: shape (m,), minimised.
        given: whether the campaign gives it.
        counts: candidates proposed up to each checkpoint.
        values: hypervolume at each checkpoint, in `unit`, the product of the objectives' units.
        box: volume between `reference` and the best value of each objective; 0 where one never beats it.
    """

    reference: FloatArray
    given: bool
    counts: IntArray
    values: FloatArray
    box: float
    unit: str


def hypervolume_growth(facts: Facts) -> Hypervolume | None:
    """The hypervolume of all feasible candidates up to at most 200 numbers; None where it is out of reach.

    The reference point is the campaign's, or the one `pareto.reference_point` makes of all feasible candidates.
    """
    ids = facts.feasible_ids()
    values = facts.scores.values[ids]
    m = values.shape[1]
    if m < 2 or len(ids) == 0 or len(facts.front) > MAX_FRONT_SIZE.get(m, 0):
        return None
    problem = facts.run.campaign.problem
    best = values.min(axis=0)
    reference = problem.reference
    if reference is None:
        reference = pareto.reference_point(best, values.max(axis=0))
    counts = np.unique(np.linspace(1, len(facts), min(MAX_CHECKPOINTS, len(facts))).round().astype(np.int64))
    grown = np.zeros(len(counts))
    front, start, volume = np.empty((0, m)), 0, 0.0
    for step, count in enumerate(counts):
        end = int(np.searchsorted(ids, count))  # candidates are numbered from 0
        union = np.concatenate([front, values[start:end]])
        kept, start = pareto.extended_front(front, values[start:end]), end
        if len(kept) != len(front) or kept.max(initial=-1) >= len(
            front
        ):  # most checkpoints of a long run add nothing
            front = union[kept]
            volume = pareto.hypervolume(front, reference)
        grown[step] = volume
    box = float(np.prod(np.maximum(reference - best, 0.0)))
    unit = pretty_unit(volume_unit(problem, facts.units))
    return Hypervolume(reference, problem.reference is not None, counts, grown, box, unit)
