"""The best of a stream of scored candidates, held in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray

DIGITS = 10  # significant digits of compared scores: sums of another order agree to 14 or so; chosen
MARGIN = 10.0 ** (
    1 - DIGITS
)  # relative; scores beyond a threshold by more than that are worse after rounding, too


def round_scores(scores: FloatArray) -> FloatArray:
    """Round `scores` (n,) to `DIGITS` significant digits.

    Last digits depend on the order of sums, so on sizes of blocks; rounded scores rank the same however they were computed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** np.clip(DIGITS - 1 - np.floor(np.log10(np.abs(scores))), -300, 300)
        rounded: FloatArray = np.round(scores * scale) / scale
    return np.where(np.isfinite(rounded), rounded, scores) + 0.0


@dataclass(frozen=True, eq=False)
class Kept:
    """Candidates that are kept.

    Attributes:
        scores: shape (n,), rounded; smaller is better.
        indices: shape (n,), numbers of the candidates.
        values: shape (n, p), their properties.
    """

    scores: FloatArray
    indices: IntArray
    values: FloatArray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, rows: IntArray) -> Kept:
        """Select `rows`, in that order."""
        return Kept(self.scores[rows], self.indices[rows], self.values[rows])

    def rank(self) -> Kept:
        """Order from best to worst; equal scores by number."""
        return self.select(np.lexsort((self.indices, self.scores)))

    @classmethod
    def join(cls, parts: list[Kept]) -> Kept:
        """Join several."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    @classmethod
    def empty(cls, width: int) -> Kept:
        """None of them, with `width` properties each."""
        return cls(np.empty(0), np.empty(0, dtype=np.int64), np.empty((0, width)))


class Best:
    """The best `most` of all candidates added so far; equal scores by number.

    They do not depend on the order in which candidates come.

    Args:
        most: number of candidates kept.
        width: number of properties of each.
        threshold: score that the best are known to reach; worse ones are passed over.
    """

    def __init__(self, most: int, width: int, threshold: float = math.inf) -> None:
        self.most = most
        self.threshold = threshold
        self._parts = [Kept.empty(width)]
        self._size = 0

    def find_candidates(self, scores: FloatArray) -> IntArray:
        """Positions of the `scores` (n,), not rounded, that may be among the best."""
        if math.isinf(self.threshold):
            return np.arange(len(scores), dtype=np.int64)
        return np.flatnonzero(scores <= self.threshold + MARGIN * abs(self.threshold))

    def add(self, kept: Kept) -> None:
        """Add candidates with rounded scores."""
        if not len(kept):
            return
        if not math.isinf(self.threshold):
            kept = kept.select(np.flatnonzero(kept.scores <= self.threshold))
        self._parts.append(kept)
        self._size += len(kept)
        if self._size >= 2 * self.most:
            self._compact()

    def list_kept(self) -> Kept:
        """The best so far, by number."""
        self._compact()
        kept = self._parts[0]
        return kept.select(np.argsort(kept.indices))

    def _compact(self) -> None:
        kept = self._parts[0] if len(self._parts) == 1 else Kept.join(self._parts)
        if len(kept) >= self.most:
            last = float(np.partition(kept.scores, self.most - 1)[self.most - 1])
            better, equal = np.flatnonzero(kept.scores < last), np.flatnonzero(kept.scores == last)
            room = self.most - len(better)
            if len(equal) > room:
                equal = equal[np.argpartition(kept.indices[equal], room - 1)[:room]]
            kept = kept.select(np.concatenate([better, equal]))
            self.threshold = min(self.threshold, last)
        self._parts, self._size = [kept], len(kept)
