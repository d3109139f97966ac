"""What a run has found so far, kept up to date at a cost that does not grow with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Scores

# Hypervolumes of larger fronts take more than about 10 ms: their cost grows steeply with the number of objectives.
LARGEST_FRONT = {1: 10**9, 2: 30_000, 3: 20_000, 4: 3_000, 5: 800, 6: 200}


class ScoredHistory(Protocol):
    """What is read of a history."""

    def __len__(self) -> int: ...
    def pending(self) -> Sequence[int]: ...
    def scores(self, ids: Sequence[int] | None = None) -> Scores: ...


class Standing:
    """The front and the extremes of the feasible trials.

    `update` looks at trials that finished since it looked last; a trial counts once, as it ended.

    Attributes:
        front, values: numbers (k,) of the front's members, ascending, and what they are ranked by (k, m).
        best_ids: shape (m,), number of the best trial in each value; the first of equals.
        best, worst: shape (m,), extremes of all feasible trials; empty while there is none.
        feasible: how many trials are feasible.
    """

    def __init__(self) -> None:
        self.front: IntArray = np.empty(0, dtype=np.int64)
        self.values: FloatArray = np.empty((0, 0))
        self.best_ids: IntArray = np.empty(0, dtype=np.int64)
        self.best: FloatArray = np.empty(0)
        self.worst: FloatArray = np.empty(0)
        self.feasible = 0
        self._seen = 0  # numbers below were looked at, but for those in `_open`
        self._open: IntArray = np.empty(0, dtype=np.int64)
        self._volume: tuple[bytes, float] | None = None

    def update(self, history: ScoredHistory) -> None:
        """Take up what finished since the last time."""
        pending = np.asarray(history.pending(), dtype=np.int64)
        candidates = np.concatenate([self._open, np.arange(self._seen, len(history))])
        finished = np.setdiff1d(candidates, pending, assume_unique=True)
        self._open = np.intersect1d(candidates, pending, assume_unique=True)
        self._seen = len(history)
        if len(finished) == 0:
            return
        scores = history.scores(finished.tolist())
        chosen = scores.merit == Merit.FEASIBLE
        if chosen.any():
            self._add_feasible(scores.ids[chosen], scores.values[chosen])

    def _add_feasible(self, ids: IntArray, values: FloatArray) -> None:
        if self.feasible == 0:
            self.values = np.empty((0, values.shape[1]))
            self.best, self.worst = values[0], values[0]
            self.best_ids = np.full(values.shape[1], ids[0])
        self.feasible += len(ids)
        at = values.argmin(axis=0)
        low = values.min(axis=0)
        better = (low < self.best) | ((low == self.best) & (ids[at] < self.best_ids))
        self.best_ids = np.where(better, ids[at], self.best_ids)
        self.best = np.minimum(self.best, low)
        self.worst = np.maximum(self.worst, values.max(axis=0))
        union_ids = np.concatenate([self.front, ids])
        union = np.concatenate([self.values, values])
        kept = pareto.extend_front(self.values, values)
        kept = kept[np.argsort(union_ids[kept])]
        self.front, self.values = union_ids[kept], union[kept]

    def reference_point(self) -> FloatArray | None:
        """Shape (m,), the reference point the trials themselves give; None while none is feasible."""
        return pareto.reference_point(self.best, self.worst) if self.feasible else None

    def hypervolume(self, reference: FloatArray) -> float | None:
        """Dominated volume, or None where the front is too large to measure while the user waits."""
        if len(self.front) > LARGEST_FRONT.get(len(reference), 0):
            return None
        key = self.values.tobytes() + reference.tobytes()
        if self._volume is None or self._volume[0] != key:
            volume = pareto.hypervolume(self.values, reference) if self.feasible else 0.0
            self._volume = (key, volume)
        return self._volume[1]
