"""How a run improved: records of every objective, and the growth of the dominated hypervolume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign import pareto
from invdesign.report.tables import Facts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHECKPOINTS = 200
# Hypervolumes of larger fronts take minutes: their cost grows steeply with the number of objectives.
LARGEST_FRONT = {1: 10**9, 2: 10**9, 3: 10**9, 4: 10_000, 5: 1_500, 6: 300}


def records(facts: Facts, objective: int) -> tuple[IntArray, FloatArray]:
    """Where an objective's best feasible value improved: numbers, and the values in the property's own sign."""
    ids = facts.feasible()
    values = facts.scores.values[ids, objective]
    if len(ids) == 0:
        return ids, values
    best = np.minimum.accumulate(values)
    improved = np.concatenate([[True], best[1:] < best[:-1]])
    sign = facts.run.campaign.problem.objectives[objective].minimised(np.ones(1))[0]
    return ids[improved], sign * best[improved]


@dataclass(frozen=True)
class Hypervolume:
    """Growth of the dominated hypervolume.

    Attributes:
        reference: shape (m,), minimised.
        counts: candidates proposed up to each checkpoint.
        values: hypervolume at each checkpoint, in the product of the objectives' units.
        box: hypervolume of the box between `reference` and the best value of each objective.
    """

    reference: FloatArray
    counts: IntArray
    values: FloatArray
    box: float


def hypervolume_growth(facts: Facts) -> Hypervolume | None:
    """The hypervolume of all feasible candidates up to at most 200 numbers; None where it is out of reach.

    The reference point is the worst value of each objective among the feasible candidates, and a tenth of
    their range beyond it, so that every feasible candidate counts.
    """
    ids = facts.feasible()
    values = facts.scores.values[ids]
    if len(ids) == 0 or len(facts.front) > LARGEST_FRONT.get(values.shape[1], 0):
        return None
    best, worst = values.min(axis=0), values.max(axis=0)
    margin = np.where(worst > best, 0.1 * (worst - best), 0.1 * np.maximum(np.abs(worst), 1.0))
    reference = worst + margin
    counts = np.unique(np.linspace(1, len(facts), min(CHECKPOINTS, len(facts))).round().astype(np.int64))
    grown = np.empty(len(counts))
    front, start = np.empty((0, values.shape[1])), 0
    for step, count in enumerate(counts):
        end = int(np.searchsorted(ids, count))  # candidates are numbered from 0
        if end > start:
            union = np.concatenate([front, values[start:end]])
            front, start = union[pareto.front(union)], end
        grown[step] = pareto.hypervolume(front, reference)
    return Hypervolume(reference, counts, grown, float(np.prod(reference - best)))
