"""A history without a store: for tests of optimizers, and for trying one out in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from invdesign.candidate import Candidate, Failure, Proposal, Status, Trial, genome_key
from invdesign.problem import Problem, Scores

FloatArray = NDArray[np.float64]
_NOTHING: Mapping[str, float] = {}


class MemoryHistory:
    """Implements `protocols.History` over a list of trials.

    All evaluators count as one stage; finishing a trial again amends it.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._trials: list[Trial] = []
        self._keys: set[str] = set()
        self._pending: set[int] = set()

    def __len__(self) -> int:
        return len(self._trials)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, proposal: Proposal) -> int:
        """Note that `proposal` was asked; the number of the new, pending trial."""
        candidate = Candidate(len(self._trials), genome_key(proposal.genome), proposal)
        self._keys.add(candidate.key)
        self._pending.add(candidate.id)
        self._trials.append(Trial(candidate, Status.PENDING, 0, {}, {}))
        return candidate.id

    def finish(
        self,
        id: int,
        properties: Mapping[str, float] = _NOTHING,
        *,
        status: Status = Status.COMPLETE,
        depth: int = 1,
    ) -> None:
        """Note how trial `id` ended, or amend it."""
        failed = status in {Status.INFEASIBLE, Status.FAILED}
        failure = Failure(status.name.lower(), "evaluate", "as told") if failed else None
        self._pending.discard(id)
        self._trials[id] = replace(
            self._trials[id], status=status, depth=depth, properties=dict(properties), failure=failure
        )

    def candidate(self, id: int) -> Candidate:
        return self._trials[id].candidate

    def trial(self, id: int) -> Trial:
        return self._trials[id]

    def pending(self) -> Sequence[int]:
        return sorted(self._pending)

    def column(self, name: str, stage: str | None = None) -> FloatArray:  # noqa: ARG002 - there is one stage
        return _column(name, self._trials)

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        trials = self._trials if ids is None else [self._trials[id] for id in ids]
        return self.problem.score(
            np.array([trial.id for trial in trials], dtype=np.int64),
            lambda name: _column(name, trials),
            np.array([trial.status for trial in trials], dtype=np.int64),
            np.array([trial.depth for trial in trials], dtype=np.int64),
        )


def _column(name: str, trials: Sequence[Trial]) -> FloatArray:
    return np.array([trial.properties.get(name, np.nan) for trial in trials], dtype=np.float64)
