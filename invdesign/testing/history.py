"""History without a store, for tests of optimizers and for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Candidate, Failure, Genome, Proposal, Status, Trial, genome_key
from invdesign.problem import Problem, Scores

Values = Mapping[str, float]
_NOTHING: Values = {}


@dataclass(frozen=True, slots=True)
class _StageValues:
    """Results of single stages for one trial."""

    values: Mapping[str, Values] = field(default_factory=dict)
    noise: Mapping[str, Values] = field(default_factory=dict)
    systematic: Mapping[str, Values] = field(default_factory=dict)
    seconds: Values = field(default_factory=dict)


class MemoryHistory:
    """Implements `protocols.History` over a list of trials.

    All evaluators count as one stage, unless `finish` gets the values of each stage. Finishing a trial again amends it.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._trials: list[Trial] = []
        self._said: dict[int, _StageValues] = {}
        self._keys: dict[str, int] = {}
        self._before: dict[int, int] = {}
        self._pending: set[int] = set()
        self._relaxed: dict[int, Genome] = {}
        self._formulas: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._trials)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def id_of(self, key: str) -> int | None:
        return self._keys.get(key)

    def add(self, proposal: Proposal) -> int:
        """Add a pending trial for a `proposal`; return its number."""
        candidate = Candidate(len(self._trials), genome_key(proposal.genome), proposal)
        if candidate.key in self._keys:
            self._before[candidate.id] = self._keys[candidate.key]
        self._keys[candidate.key] = candidate.id
        self._pending.add(candidate.id)
        self._trials.append(Trial(candidate, Status.PENDING, 0, {}))
        return candidate.id

    def finish(
        self,
        id: int,
        properties: Values = _NOTHING,
        *,
        status: Status = Status.COMPLETE,
        depth: int = 1,
        noise: Values = _NOTHING,
        systematic: Values = _NOTHING,
        by_stage: Mapping[str, Values] | None = None,
        noise_by_stage: Mapping[str, Values] | None = None,
        systematic_by_stage: Mapping[str, Values] | None = None,
        seconds: Values = _NOTHING,
        structures: Sequence[str] = (),
        relaxed_genome: Genome | None = None,
        adoption_refused: str = "",
        formula: str = "",
    ) -> None:
        """End trial `id`, or amend it.

        Args:
            id: number of the trial.
            properties: values by property, of the last stage that provides each.
            status: of the trial.
            depth: number of stages passed, the build stage included where `Context.stages` are given.
            noise: standard deviation of repeating `properties`, where known.
            systematic: standard deviation of their method, where known.
            by_stage: values of every stage that ran, for funnels in which several provide the same property.
            noise_by_stage, systematic_by_stage: their standard deviations.
            seconds: time of every stage that ran.
            structures: roles of the structures that evaluations made.
            relaxed_genome: genome of the structure it became, where its space inherits.
            adoption_refused: reason why that structure has no genome.
            formula: reduced formula of its composition, where it has one.
        """
        failed = status in {Status.INFEASIBLE, Status.FAILED}
        failure = Failure(status.name.lower(), "evaluate", "as told") if failed else None
        self._pending.discard(id)
        self._trials[id] = replace(
            self._trials[id],
            status=status,
            depth=depth,
            properties=dict(properties),
            noise=dict(noise),
            systematic=dict(systematic),
            failure=failure,
            structures=tuple(structures),
            adoption_refused=adoption_refused,
        )
        self._formulas[id] = formula
        self._relaxed.pop(id, None)
        if relaxed_genome is not None:
            self._relaxed[id] = relaxed_genome
        self._said.pop(id, None)
        if by_stage or seconds:
            self._said[id] = _StageValues(
                by_stage or {}, noise_by_stage or {}, systematic_by_stage or {}, seconds
            )

    def candidate(self, id: int) -> Candidate:
        return self._trials[id].candidate

    def trial(self, id: int) -> Trial:
        return self._trials[id]

    def relaxed_genome(self, id: int) -> Genome | None:
        return self._relaxed.get(id)

    def formula_of(self, id: int) -> str:
        return self._formulas.get(id, "")

    def status_by_trial(self) -> IntArray:
        return np.array([trial.status for trial in self._trials], dtype=np.int64)

    def pending(self) -> Sequence[int]:
        return sorted(self._pending)

    def superseded(self) -> Sequence[int]:
        return sorted(old for new, old in self._before.items() if new not in self._pending)

    def outside(self) -> Sequence[int]:
        return [trial.id for trial in self._trials if trial.candidate.outside]

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        if stage is None:
            return _property_column(name, self._trials)
        return self._collect_column(
            lambda trial, said: (said.values.get(stage, {}) if said else trial.properties).get(name)
        )

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        return self._collect_column(
            lambda trial, said: (
                said.noise.get(stage, {}) if said and stage is not None else trial.noise
            ).get(name)
        )

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        return self._collect_column(
            lambda trial, said: (
                said.systematic.get(stage, {}) if said and stage is not None else trial.systematic
            ).get(name)
        )

    def potential_of(self, name: str) -> str | None:
        del name  # no stage of this history names a potential
        return None

    def seconds(self, stage: str) -> FloatArray:
        return self._collect_column(lambda _, said: said.seconds.get(stage) if said else None)

    def _collect_column(self, known: Callable[[Trial, _StageValues | None], float | None]) -> FloatArray:
        """Collect one number per trial, shape (n,), NaN where there is none."""
        found = [known(trial, self._said.get(trial.id)) for trial in self._trials]
        return np.array([np.nan if value is None else value for value in found], dtype=np.float64)

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        trials = self._trials if ids is None else [self._trials[id] for id in ids]
        outside = set(self.outside())
        hidden = outside | set(self.superseded() if self._before else ())
        counted = [replace(trial, properties={}) if trial.id in hidden else trial for trial in trials]
        status = [Status.PENDING if trial.id in outside else trial.status for trial in trials]
        return self.problem.score_trials(
            np.array([trial.id for trial in trials], dtype=np.int64),
            lambda name: _property_column(name, counted),
            np.array(status, dtype=np.int64),
            np.array([trial.depth for trial in trials], dtype=np.int64),
        )


def _property_column(name: str, trials: Sequence[Trial]) -> FloatArray:
    return np.array([trial.properties.get(name, np.nan) for trial in trials], dtype=np.float64)
