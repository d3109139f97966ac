"""Best results of a run so far, updated at a cost that does not grow with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Scores

# Rows by number of objectives: a hypervolume of more takes longer than about 10 ms, with a user waiting (chosen).
LARGEST_FRONT = {1: 10**9, 2: 30_000, 3: 20_000, 4: 3_000, 5: 800, 6: 200}


class ScoredHistory(Protocol):
    """Part of a history that `Standing` reads."""

    def __len__(self) -> int: ...
    def pending(self) -> Sequence[int]: ...
    def scores(self, ids: Sequence[int] | None = None) -> Scores: ...


class Standing:
    """Front and extremes of the feasible trials.

    `update` reads the trials that ended since its last call; a trial counts once, as it ended.

    Attributes:
        front, values: numbers (k,) of the front's members, ascending, and their values to rank by (k, m).
        best_ids: shape (m,), number of the best trial in each value; the first of equals.
        best, worst: shape (m,), extremes of all feasible trials; empty while there is none.
        feasible: number of feasible trials.
    """

    def __init__(self) -> None:
        self.front: IntArray = np.empty(0, dtype=np.int64)
        self.values: FloatArray = np.empty((0, 0))
        self.best_ids: IntArray = np.empty(0, dtype=np.int64)
        self.best: FloatArray = np.empty(0)
        self.worst: FloatArray = np.empty(0)
        self.feasible = 0
        self._seen = 0  # trials below this number were read, except those in `_open`
        self._open: IntArray = np.empty(0, dtype=np.int64)
        self._volume: tuple[bytes, float] | None = None

    def update(self, history: ScoredHistory) -> None:
        """Take in the trials of `history` that ended since the last call."""
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
        """Extend front and extremes by new feasible trials."""
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
        """Default reference point of the trials so far, shape (m,); None while none is feasible."""
        return pareto.reference_point(self.best, self.worst) if self.feasible else None

    def hypervolume(self, reference: FloatArray) -> float | None:
        """Dominated volume up to `reference` (m,); None where the front is too large to wait for it."""
        if len(self.front) > LARGEST_FRONT.get(len(reference), 0):
            return None
        key = self.values.tobytes() + reference.tobytes()
        if self._volume is None or self._volume[0] != key:
            volume = pareto.hypervolume(self.values, reference) if self.feasible else 0.0
            self._volume = (key, volume)
        return self._volume[1]
