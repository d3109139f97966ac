"""Progress of a run: records of every objective, and growth of the dominated hypervolume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.report.tables import Facts
from invdesign.report.text import pretty_unit
from invdesign.run.status import volume_unit

MAX_CHECKPOINTS = 200  # points of the curve; chosen
# By number of objectives; chosen, since the curve of a larger front takes minutes.
MAX_FRONT_SIZE = {1: 10**9, 2: 10**9, 3: 10**9, 4: 10_000, 5: 1_500, 6: 300}


def find_records(facts: Facts, objective: int | None) -> tuple[IntArray, FloatArray]:
    """Find improvements of the best value among feasible candidates.

    Args:
        facts: of the run.
        objective: place of the objective whose property is returned; None returns the desirability. If objectives
            are combined to one score, the records are those of the score in both cases.

    Returns:
        Numbers of the candidates, and the values at them.
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
        given: True if the campaign gives it.
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
    """Hypervolume of the feasible candidates of `facts` up to at most 200 numbers.

    The reference point is the campaign's, or `pareto.reference_point` of all feasible candidates.

    Returns:
        None with a single ranking value, without feasible candidates, or for a front too large to measure.
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
        kept, start = pareto.extend_front(front, values[start:end]), end
        # Most checkpoints of a long run add nothing, so the volume is computed only for a changed front.
        if len(kept) != len(front) or kept.max(initial=-1) >= len(front):
            front = union[kept]
            volume = pareto.hypervolume(front, reference)
        grown[step] = volume
    box = float(np.prod(np.maximum(reference - best, 0.0)))
    unit = pretty_unit(volume_unit(problem, facts.units))
    return Hypervolume(reference, problem.reference is not None, counts, grown, box, unit)
