"""Trials of a run as columns in memory, read by optimizers at every ask.

The cost of a read does not grow with the run.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.candidate import Candidate, Failure, Genome, Status, Trial
from invdesign.derived import Deriver
from invdesign.errors import InvdesignError
from invdesign.problem import Merit, Problem, Scores
from invdesign.protocols import Derivation, StageView
from invdesign.standing import Standing
from invdesign.steps import Finished, StageResult, Step
from invdesign.worker import BUILD

CANDIDATES_KEPT = 20_000  # recent genomes in memory; older ones are read from the store (chosen)


class _Column:
    """A float column that doubles when full; NaN where unknown."""

    def __init__(self) -> None:
        self._data = np.full(1024, np.nan)

    def grow_to(self, length: int) -> FloatArray:
        """Array of at least `length` rows."""
        if length > len(self._data):
            larger = np.full(max(length, 2 * len(self._data)), np.nan)
            larger[: len(self._data)] = self._data
            self._data = larger
        return self._data


class RunHistory:
    """Implements `protocols.History` over arrays; older genomes are fetched when asked for.

    Args:
        problem: makes the scores.
        fetch: reads one candidate from the store.
        stages: the funnel after the build stage. Where several provide the same property, the last one's value counts; where
            not given, the latest value.
        fetch_relaxed: reads a trial's relaxed genome of one stage from the store.
        derivations: make properties of all ended trials together; their values are up to date whenever they are read.
        potential_at: gives the fingerprint of the potential of a stage, None where the stage names none.
    """

    def __init__(
        self,
        problem: Problem,
        fetch: Callable[[int], Candidate],
        stages: Sequence[StageView] = (),
        fetch_relaxed: Callable[[int, str], Genome] | None = None,
        derivations: Sequence[Derivation] = (),
        potential_at: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._problem = problem
        self.fetch = fetch
        self.fetch_relaxed = fetch_relaxed
        self.stages = tuple(stages)
        # Stages on demand come first here, so that the values of the search's own stages count.
        order = sorted(stages, key=lambda stage: not stage.on_demand)
        self._searched = 1 + sum(not stage.on_demand for stage in self.stages)
        self._last = {name: stage.name for stage in order for name in stage.provides}
        self._rank = {stage.name: number for number, stage in enumerate(order)}
        self._length = 0
        self._status = np.zeros(1024, dtype=np.int64)
        self._depth = np.zeros(1024, dtype=np.int64)
        self._values: defaultdict[str, _Column] = defaultdict(_Column)
        self._noise: defaultdict[str, _Column] = defaultdict(_Column)
        self._systematic: defaultdict[str, _Column] = defaultdict(_Column)
        self._by_stage: defaultdict[tuple[str, str], _Column] = defaultdict(_Column)
        self._noise_by_stage: defaultdict[tuple[str, str], _Column] = defaultdict(_Column)
        self._systematic_by_stage: defaultdict[tuple[str, str], _Column] = defaultdict(_Column)
        self._seconds: defaultdict[str, _Column] = defaultdict(_Column)
        self._keys: dict[bytes, int] = {}
        # Earlier trial by the number of its promotion, and the other way round.
        self._before: dict[int, int] = {}
        self._after: dict[int, int] = {}
        self._superseded: set[int] = set()
        self._outside: set[int] = set()
        self._pending: set[int] = set()
        self._details: dict[int, dict[str, str]] = {}
        self._roles: dict[int, tuple[str, ...]] = {}
        self._failures: dict[int, Failure] = {}
        self._gates: dict[int, str] = {}
        self._candidates: OrderedDict[int, Candidate] = OrderedDict()
        self._relaxed: OrderedDict[int, Genome] = OrderedDict()
        self._relaxed_at: dict[int, str] = {}  # stage of the relaxed genome by trial
        self._adoption_refused: dict[int, str] = {}
        self._formulas: dict[int, str] = {}
        self._derived = {name: _Column() for item in derivations for name in item.provides}
        self._explained: dict[str, set[int]] = {}  # trials with a derived detail, by property
        self._deriver = Deriver(derivations)
        self._potential_at = potential_at
        self._standing = Standing()

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bytes.fromhex(key) in self._keys

    def id_of(self, key: str) -> int | None:
        """Number of the latest candidate with this `key`."""
        return self._keys.get(bytes.fromhex(key))

    def add_candidate(
        self, id: int, key: str, candidate: Candidate | None = None, *, outside: bool = False
    ) -> None:
        """Add a pending candidate.

        Args:
            id: its number.
            key: hash of its genome.
            candidate: kept in memory if given.
            outside: True if it was made outside the space.
        """
        self._length = max(self._length, id + 1)
        while self._length > len(self._status):
            self._status = np.concatenate([self._status, np.zeros_like(self._status)])
            self._depth = np.concatenate([self._depth, np.zeros_like(self._depth)])
        code = bytes.fromhex(key)
        if code in self._keys:
            self._before[id] = self._keys[code]
            self._after[self._keys[code]] = id
        self._keys[code] = id
        self._pending.add(id)
        if outside or (candidate is not None and candidate.outside):
            self._outside.add(id)
        if candidate is not None:
            self._keep_candidate(candidate)

    def apply_step(self, step: Step) -> None:
        """Record the results and endings of a committed `step`."""
        for built in step.built:
            self.record_formula(built.candidate, built.formula)
        for result in step.results:
            self.record_result(result)
        for ending in step.finished:
            self.finish_trial(ending)

    def record_formula(self, id: int, formula: str) -> None:
        """Record the reduced `formula` of trial `id`, which its genome decides for good."""
        if formula:
            self._formulas[id] = sys.intern(formula)

    def formula_of(self, id: int) -> str:
        return "" if id in self._pending else self._formulas.get(id, "")

    def _find_column(self, name: str) -> _Column | None:
        """Column of property `name`, derived values up to date."""
        if name not in self._derived:
            return self._values.get(name)
        self._update_derived()
        return self._derived[name]

    def _update_derived(self) -> None:
        """Write what derivations say of the trials that ended since the last call."""
        for update in self._deriver.derive_due(self):
            for name, values in update.derived.columns.items():
                self._derived[name].grow_to(self._length)[update.ids] = values
                errors = update.derived.systematic.get(name, np.nan)
                self._systematic[name].grow_to(self._length)[update.ids] = errors
                if update.whole:
                    for id in self._explained.pop(name, ()):
                        self._details.get(id, {}).pop(name, None)
                for id, text in update.derived.details.get(name, {}).items():
                    self._details.setdefault(id, {})[name] = text
                    self._explained.setdefault(name, set()).add(id)
            if update.whole:
                self._standing = Standing()

    def record_result(self, result: StageResult) -> None:
        """Record the `result` of one stage for one trial."""
        id, stage = result.candidate, result.stage
        self._deriver.note_result(id)
        for name, value in result.properties.items():
            self._by_stage[name, stage].grow_to(self._length)[id] = value
            if self._last.get(name, stage) != stage:
                continue
            self._values[name].grow_to(self._length)[id] = value
            self._forget_remarks(name, id)  # those of an earlier stage belong to another value
        for told, columns, by_stage in (
            (result.noise, self._noise, self._noise_by_stage),
            (result.systematic, self._systematic, self._systematic_by_stage),
        ):
            for name, value in told.items():
                by_stage[name, stage].grow_to(self._length)[id] = value
                if self._last.get(name, stage) == stage:
                    columns[name].grow_to(self._length)[id] = value
        for name, text in result.details.items():
            if self._last.get(name, stage) == stage:
                self._details.setdefault(id, {})[name] = text
        if result.failure is None and "seconds" in result.cost:
            self._seconds[stage].grow_to(self._length)[id] = result.cost["seconds"]
        if result.structures:
            roles = (*self._roles.get(id, ()), *result.structures)
            self._roles[id] = tuple(map(sys.intern, dict.fromkeys(roles)))
        if result.adoption_refused:
            self._adoption_refused[id] = result.adoption_refused
        if result.relaxed_genome is not None and self.note_relaxed(id, stage):
            self._keep_relaxed(id, result.relaxed_genome)

    def note_relaxed(self, id: int, stage: str) -> bool:
        """Note that a `stage` gave trial `id` a relaxed genome; True if it is the one that counts."""
        known = self._relaxed_at.get(id, stage)
        if self._rank.get(stage, 0) < self._rank.get(known, 0):
            return False
        self._relaxed_at[id] = sys.intern(stage)
        self._relaxed.pop(id, None)
        return True

    def relaxed_genome(self, id: int) -> Genome | None:
        if id not in self._relaxed_at:
            return None
        if id in self._relaxed:
            self._relaxed.move_to_end(id)
            return self._relaxed[id]
        assert self.fetch_relaxed is not None  # given wherever a store was read
        return self._keep_relaxed(id, self.fetch_relaxed(id, self._relaxed_at[id]))

    def _keep_relaxed(self, id: int, genome: Genome) -> Genome:
        """Keep a recent relaxed genome in memory."""
        self._relaxed[id] = genome
        if len(self._relaxed) > CANDIDATES_KEPT:
            self._relaxed.popitem(last=False)
        return genome

    def _forget_remarks(self, name: str, id: int) -> None:
        """Remove errors and detail of a property's value."""
        for columns in (self._noise, self._systematic):
            if name in columns:
                columns[name].grow_to(self._length)[id] = np.nan
        if id in self._details:
            self._details[id].pop(name, None)

    def finish_trial(self, ending: Finished) -> None:
        """Record the `ending` of a trial."""
        self._status[ending.candidate] = ending.status
        self._depth[ending.candidate] = ending.depth
        if ending.failure is not None:
            self._failures[ending.candidate] = ending.failure
        if ending.gate:
            self._gates[ending.candidate] = ending.gate
        self._pending.discard(ending.candidate)
        self._deriver.note_result(ending.candidate)
        self._update_superseded(ending.candidate)

    def _update_superseded(self, id: int) -> None:
        """Update which trials of a genome are superseded: all before the latest conclusive one."""
        if id not in self._before and id not in self._after:
            return
        later = False
        for trial in reversed(self.trials_of(id)):
            if later and trial not in self._superseded:
                counted = self._score_ids([trial]).merit[0] == Merit.FEASIBLE
                self._superseded.add(trial)
                self._standing = Standing() if counted else self._standing
            elif not later and trial in self._superseded:
                self._superseded.discard(trial)
                self._standing = Standing()
            later = later or self._is_conclusive(trial)

    def _is_conclusive(self, id: int) -> bool:
        """True if a trial has ended in a way that decides its genome's value.

        A failure in a stage on demand does not: the results of the search's own stages then still count.
        """
        status, depth = self._status[id], int(self._depth[id])
        if status in {Status.PENDING, Status.WITHDRAWN}:
            return False
        searched = self._searched
        return not (status == Status.FAILED and searched <= depth <= len(self.stages))

    def trials_of(self, id: int) -> list[int]:
        """All trials of the genome of trial `id`, oldest first."""
        while id in self._before:
            id = self._before[id]
        found = [id]
        while found[-1] in self._after:
            found.append(self._after[found[-1]])
        return found

    def superseded(self) -> Sequence[int]:
        return sorted(self._superseded)

    def outside(self) -> Sequence[int]:
        return sorted(self._outside)

    def reset_trial(self, id: int) -> None:
        """Make trial `id` pending again and forget its results."""
        self._deriver.note_loss(id)
        by_stage = (self._by_stage, self._noise_by_stage, self._systematic_by_stage)
        for columns in (self._values, self._derived, self._noise, self._systematic, *by_stage, self._seconds):
            for column in columns.values():
                column.grow_to(self._length)[id] = np.nan
        self._status[id] = Status.PENDING
        self._depth[id] = 0
        for known in (
            self._roles,
            self._failures,
            self._gates,
            self._details,
            self._relaxed,
            self._relaxed_at,
            self._adoption_refused,
        ):
            known.pop(id, None)
        self._pending.add(id)
        self._update_superseded(id)
        self._standing = Standing()

    def reopen_trial(self, id: int, known: Sequence[StageResult]) -> None:
        """Make a trial pending again with some of its results.

        Args:
            id: number of the trial.
            known: the results that still count.
        """
        self.reset_trial(id)
        for result in known:
            if result.failure is None:
                self.record_result(result)

    def pending(self) -> Sequence[int]:
        return sorted(self._pending)

    def status_by_trial(self) -> NDArray[np.int64]:
        """`Status` of every trial, shape (n,)."""
        return self._status[: self._length]

    def depth_by_trial(self) -> NDArray[np.int64]:
        """Stages passed by every trial, shape (n,)."""
        return self._depth[: self._length]

    def failures_by_trial(self) -> Mapping[int, Failure]:
        """Causes by number of the trial, for failed, infeasible and withdrawn ones."""
        return self._failures

    def adoption_refusal(self, id: int) -> str:
        """Reason why trial `id` has no relaxed genome though it was relaxed; empty if there is none."""
        return "" if id in self._relaxed_at else self._adoption_refused.get(id, "")

    def property_names(self) -> tuple[str, ...]:
        """Properties known of any trial."""
        return (*self._values, *self._derived)

    def value_of(self, name: str, id: int) -> float:
        """Value of property `name` for trial `id`; NaN where unknown."""
        column = self._find_column(name)
        return float("nan") if column is None else float(column.grow_to(self._length)[id])

    def errors_of(self, name: str, id: int) -> tuple[float | None, float | None]:
        """Noise and systematic error of property `name` for trial `id`; None where unknown."""
        if name in self._derived:
            self._update_derived()
        found = [self._trial_values(columns, id).get(name) for columns in (self._noise, self._systematic)]
        return found[0], found[1]

    def column(self, name: str, stage: str | None = None) -> FloatArray:
        column = self._find_column(name) if stage is None else self._by_stage.get((name, stage))
        return self._copy_column(column)

    def earlier_values(self, id: int) -> list[tuple[str, str, float]]:
        """Values of trial `id` from stages before the one that decides the property.

        Returns:
            (property, stage, value), for each.
        """
        found = [
            (name, stage, float(column.grow_to(self._length)[id]))
            for (name, stage), column in self._find_preliminary()
        ]
        return [row for row in found if not np.isnan(row[2])]

    def preliminary_columns(self) -> dict[tuple[str, str], FloatArray]:
        """Values from stages before the one that decides the property.

        Returns:
            Shape (n,) by (property, stage).
        """
        return {key: self._copy_column(column) for key, column in self._find_preliminary()}

    def _find_preliminary(self) -> list[tuple[tuple[str, str], _Column]]:
        """Columns of stages before the one that decides their property, by (property, stage)."""
        order = [stage.name for stage in self.stages]
        known = [
            (key, column)
            for key, column in self._by_stage.items()
            if self._last.get(key[0], key[1]) != key[1]
        ]
        return sorted(known, key=lambda item: (item[0][0], order.index(item[0][1])))

    def last_stages(self) -> list[str]:
        """Name of the last stage passed, for every trial; empty before the first."""
        return [self.last_stage_of(id) for id in range(self._length)]

    def last_stage_of(self, id: int) -> str:
        """Name of the last stage that trial `id` has passed.

        It is empty where it has passed none, or the stages are not known.
        """
        names = ("", BUILD, *(stage.name for stage in self.stages))
        depth = int(self._depth[id])
        return names[depth] if depth < len(names) else ""

    def noise(self, name: str, stage: str | None = None) -> FloatArray:
        return self._copy_column(
            self._noise.get(name) if stage is None else self._noise_by_stage.get((name, stage))
        )

    def systematic(self, name: str, stage: str | None = None) -> FloatArray:
        if name in self._derived:
            self._update_derived()
        known = self._systematic.get(name) if stage is None else self._systematic_by_stage.get((name, stage))
        return self._copy_column(known)

    def potential_of(self, name: str) -> str | None:
        stage = self._last.get(name)
        try:
            return None if stage is None else self._potential_at(stage)
        except InvdesignError:  # not installed on the machine that reads the run
            return None

    def details_by_trial(self) -> Mapping[int, Mapping[str, str]]:
        """Details by property, by number of the trial."""
        self._update_derived()
        return self._details

    def seconds(self, stage: str) -> FloatArray:
        return self._copy_column(self._seconds.get(stage))

    def _copy_column(self, column: _Column | None) -> FloatArray:
        """Copy of a column, shape (n,)."""
        if column is None:
            return np.full(self._length, np.nan)
        return column.grow_to(self._length)[: self._length].copy()

    def scores(self, ids: Sequence[int] | None = None) -> Scores:
        self._update_derived()
        return self._score_ids(ids)

    def _score_ids(self, ids: Sequence[int] | None = None) -> Scores:
        """Scores of all trials or of `ids`, with derived values as they are."""
        index = np.arange(self._length) if ids is None else np.asarray(ids, dtype=np.int64)
        status, hidden = self._status[index], None
        if self._superseded:  # a genome counts once: in its latest trial
            hidden = np.isin(index, list(self._superseded))
        if self._outside:  # a search must not see results from outside the space
            made = np.isin(index, list(self._outside))
            hidden = made if hidden is None else hidden | made
            status = np.where(made, Status.PENDING, status)
        return self._score_rows(index, status, hidden)

    def outside_scores(self) -> Scores:
        """Scores of the candidates made outside the space, as if they were in it."""
        self._update_derived()
        index = np.array(self.outside(), dtype=np.int64)
        return self._score_rows(index, self._status[index])

    def _score_rows(
        self, index: NDArray[np.int64], status: NDArray[np.int64], hidden: NDArray[np.bool_] | None = None
    ) -> Scores:
        """Scores of trials at rows `index`; values of the `hidden` ones are unknown."""

        def column(name: str) -> FloatArray:
            known = self._derived.get(name) or self._values.get(name)
            values = np.full(len(index), np.nan) if known is None else known.grow_to(self._length)[index]
            return values if hidden is None else np.where(hidden, np.nan, values)

        return self._problem.score_trials(index, column, status, self._depth[index])

    def update_standing(self) -> Standing:
        """Front and extremes of the feasible trials.

        The cost is that of the trials that ended since the last call, and of all where derived values changed.
        """
        self._update_derived()
        self._standing.update(self)
        return self._standing

    def candidate(self, id: int) -> Candidate:
        """Candidate number `id`.

        Raises:
            KeyError: there is none.
        """
        if id in self._candidates:
            self._candidates.move_to_end(id)
            return self._candidates[id]
        if not 0 <= id < self._length:
            raise KeyError(f"there is no candidate {id}: the run has {self._length}")
        return self._keep_candidate(self.fetch(id))

    def _keep_candidate(self, candidate: Candidate) -> Candidate:
        """Keep a recent candidate in memory."""
        self._candidates[candidate.id] = candidate
        if len(self._candidates) > CANDIDATES_KEPT:
            self._candidates.popitem(last=False)
        return candidate

    def trial(self, id: int) -> Trial:
        self._update_derived()
        candidate = self.candidate(id)
        properties = self._trial_values({**self._values, **self._derived}, id)
        return Trial(
            candidate=candidate,
            status=Status(int(self._status[id])),
            depth=int(self._depth[id]),
            properties=properties,
            noise=self._trial_values(self._noise, id),
            systematic=self._trial_values(self._systematic, id),
            details=dict(sorted(self._details.get(id, {}).items())),
            structures=self._roles.get(id, ()),
            failure=self._failures.get(id),
            gate=self._gates.get(id, ""),
            # Of no matter where another stage gave a relaxed genome: the trial breeds.
            adoption_refused=self.adoption_refusal(id),
        )

    def _trial_values(self, columns: Mapping[str, _Column], id: int) -> dict[str, float]:
        """Known values of one trial by property."""
        values = {name: float(column.grow_to(self._length)[id]) for name, column in columns.items()}
        return {name: value for name, value in values.items() if not np.isnan(value)}
