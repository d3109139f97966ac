"""Selection of a batch of candidates by predicted scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Scores

SHORTLIST = 120  # candidates whose hypervolume is computed (chosen)
BY_VOLUME = 3  # objectives up to which the hypervolume is computed; more are spread instead (chosen)
MARGIN = 0.1  # of the front's extent, by which the reference point lies behind it (chosen)
ELITE = 10  # trials whose distances say how large the region is that a search has closed in on (chosen)
APART = 0.2  # of that distance: two candidates nearer than that are the same guess (chosen)


def sort_by_merit(scores: Scores) -> IntArray:
    """Sort candidates from best to worst.

    By merit, then Pareto rank or violation, then the less crowded.

    Args:
        scores: of n candidates.

    Returns:
        Positions, shape (n,).
    """
    rank = scores.tie_breakers()
    feasible = np.flatnonzero(scores.merit == Merit.FEASIBLE)
    rank[feasible] = pareto.ranks(scores.values[feasible])
    room = np.zeros(len(rank))
    if scores.values.shape[1] > 1:
        for level in np.unique(rank[feasible]):
            front = feasible[rank[feasible] == level]
            room[front] = pareto.crowding_distance(scores.values[front])
    return np.lexsort((-room, rank, scores.merit))


@dataclass(frozen=True)
class Region:
    """Scores of n candidates or trials, with their scaled features (n, d)."""

    scores: Scores
    x: FloatArray

    def spacing(self) -> float:
        """Median distance between the best: size of the region the search has reached."""
        best = self.x[self.scores.order()[:ELITE]]
        if len(best) < 2:
            return 0.0
        distances = np.linalg.norm(best[:, None] - best[None, :], axis=-1)
        return float(np.median(distances[np.triu_indices(len(best), 1)]))


def choose_batch(
    attitudes: Sequence[Region], seen: Region, taken: FloatArray, taken_x: FloatArray, n: int
) -> list[int]:
    """Choose candidates to evaluate together, best first.

    With several objectives, those that add most hypervolume; with one, the best that lie apart from each other.

    Args:
        attitudes: the same q candidates, judged by different attitudes; each pick takes the next one.
        seen: finished trials.
        taken: shape (k, m), values that trials under way will probably have.
        taken_x: shape (l, d), where trials under way lie.
        n: how many are wanted.

    Returns:
        n positions, fewer only where there are fewer candidates.
    """
    x = attitudes[0].x
    objectives = seen.scores.values.shape[1]
    near = APART * seen.spacing()
    left = np.ones(len(x), dtype=bool)  # not chosen
    apart = np.ones(len(x), dtype=bool)  # nor a neighbour of what is
    for point in taken_x:
        apart &= np.linalg.norm(x - point, axis=1) > near
    chosen: list[int] = []
    for number in range(min(n, len(x))):
        scores = attitudes[number % len(attitudes)].scores
        rows = np.flatnonzero(apart) if apart.any() else np.flatnonzero(left)
        order = rows[sort_by_merit(scores.select_rows(rows))]
        row = int(order[0])
        if 1 < objectives <= BY_VOLUME and scores.merit[row] == Merit.FEASIBLE:
            row = _largest_volume_gain(scores, order[:SHORTLIST], seen.scores, taken)
            taken = np.vstack([taken, attitudes[0].scores.values[row]])
        chosen.append(row)
        left[row] = False
        apart &= left & (np.linalg.norm(x - x[row], axis=1) > near)
    return chosen


def _largest_volume_gain(scores: Scores, order: IntArray, seen: Scores, taken: FloatArray) -> int:
    """Feasible row of `order` that adds most hypervolume; the first on a tie."""
    order = order[scores.merit[order] == Merit.FEASIBLE]
    known, new = np.vstack([seen.values[seen.front()], taken]), scores.values[order]
    joint = np.vstack([known, new])
    joint = joint[pareto.front(joint)]
    low, high = joint.min(axis=0), joint.max(axis=0)
    extent = np.where(high > low, high - low, 1.0)
    reference = np.full(len(low), 1.0 + MARGIN)
    known, new = (known - low) / extent, (new - low) / extent
    known = known[pareto.front(known)]
    gains = [pareto.hypervolume(np.vstack([known, row[None]]), reference) for row in new]
    return int(order[int(np.argmax(gains))])
