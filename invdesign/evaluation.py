"""The funnel: stages from cheap to costly, gates between them, tasks, and the evaluation cache.

Tasks are filled by the candidates and their results alone, never by the order in which workers finish. So a run gives the
same numbers on one worker, on many, and after any interruption.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from invdesign.candidate import Candidate, Failure, Status
from invdesign.errors import RunError
from invdesign.measurements import Measurement
from invdesign.problem import Constraint
from invdesign.properties import STRUCTURE_PREFIX, describe_property, is_structure
from invdesign.protocols import Batch, Evaluator, StageView, Task, TaskResult
from invdesign.rng import derived_seed
from invdesign.steps import Built, Finished, PlannedTask, StageResult, Step, Unfinished
from invdesign.worker import ADOPT, BUILD

BUILD_BATCH = 16  # designs per task (chosen)
BUILD_TIMEOUT = 60.0  # seconds per design (chosen)
CRASH_ATTEMPTS = 2  # of a single candidate: another task or the machine may be to blame (chosen)


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the funnel.

    Attributes:
        evaluator: None for the first stage, in which the space builds designs.
        gates: conditions that a candidate must meet to go on.
        timeout: seconds one candidate may take.
        on_demand: True if only promotions enter it.
    """

    name: str
    evaluator: Evaluator | None
    gates: tuple[Constraint, ...]
    timeout: float
    on_demand: bool = False

    @property
    def external(self) -> bool:
        """True if its results come from outside the run."""
        return self.evaluator is not None and self.evaluator.external

    @property
    def batch(self) -> Batch:
        """Preferred batch of this stage."""
        return Batch(BUILD_BATCH) if self.evaluator is None else self.evaluator.batch

    @property
    def view(self) -> StageView:
        """The stage as an optimizer sees it."""
        provides = frozenset(self.evaluator.provides if self.evaluator is not None else ())
        return StageView(self.name, provides, self.on_demand, self.external)

    def cache_key(self, state: _Progress) -> str:
        """Hash of the evaluator and the values of exactly what it requires.

        Args:
            state: of the candidate.
        """
        assert self.evaluator is not None
        values = {name: state.cache_value(name) for name in sorted(self.evaluator.requires)}
        text = json.dumps([self.evaluator.fingerprint, values])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


BUILD_STAGE = Stage(BUILD, None, (), BUILD_TIMEOUT)


@dataclass(slots=True)
class _Progress:
    """Results of one candidate on its way through the stages."""

    candidate: Candidate
    stage: int = 0
    finished: bool = False
    design: dict[str, str] = field(default_factory=dict)
    properties: dict[str, float] = field(default_factory=dict)
    structures: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    held: StageResult | None = None  # waits until its structure is adopted

    def cache_value(self, name: str) -> float | str:
        """Value of a required name in a cache key.

        It is a number, or the hash of a structure or of a part of the design.
        """
        if is_structure(name) and name.removeprefix(STRUCTURE_PREFIX) in self.structures:
            return self.structures[name.removeprefix(STRUCTURE_PREFIX)]
        if name in self.properties:
            return self.properties[name]
        return self.design.get(name, "")


def _find_no_measurements(keys: Sequence[str], stage: str) -> Mapping[str, Measurement]:  # noqa: ARG001
    """Return no measurements."""
    return {}


def _result_from_measurement(told: Measurement, id: int) -> StageResult:
    """Convert a measurement to a stage's result for one candidate.

    It has no cache key, so that no other genome finds it.
    """
    failure = None if told.failure is None else Failure(told.failure.kind, told.stage, told.failure.message)
    return StageResult(
        candidate=id,
        stage=told.stage,
        properties=dict(sorted(told.properties.items())) if failure is None else {},
        noise=dict(sorted(told.noise.items())) if failure is None else {},
        systematic=dict(sorted(told.systematic.items())) if failure is None else {},
        details=dict(sorted(told.details.items())) if failure is None else {},
        structures=dict(sorted(told.structures.items())) if failure is None else {},
        blobs=told.blobs if failure is None else {},
        failure=failure,
    )


class Wave:
    """The candidates of one ask on their way through the stages.

    Args:
        candidates: in the order of their numbers.
        stages: the funnel, `BUILD_STAGE` first.
        cached: finds earlier evaluations by cache key (`Store.cached`).
        numbers: numbers of the tasks to plan; waves that are under way at once share them.
        told: number of candidates whose results the optimizer had when it was asked for these: the cache looks no further. All
            before these where not given.
        measured: finds results from outside by key of the genome (`Store.measured`).
        inherits_from: roles of structures that the space adopts (`InheritingSpace`).
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        stages: Sequence[Stage],
        cached: Callable[[Sequence[str], int], Mapping[str, StageResult]],
        numbers: Iterator[int],
        told: int | None = None,
        measured: Callable[[Sequence[str], str], Mapping[str, Measurement]] = _find_no_measurements,
        inherits_from: Sequence[str] = (),
    ) -> None:
        self._stages = tuple(stages)
        self._automatic = sum(not stage.on_demand for stage in stages)
        self._has_external = any(stage.external for stage in stages)
        self._cached = cached
        self._measured = measured
        self._numbers = numbers
        self._inherits_from = frozenset(inherits_from)
        self._order = [candidate.id for candidate in candidates]
        self._told = min(self._order) if told is None else told
        self._members = {candidate.id: _Progress(candidate) for candidate in candidates}
        self._assigned: list[set[int]] = [set() for _ in stages]
        self._cursor = [0] * len(stages)
        self._waiting: list[list[int]] = [[] for _ in stages]
        self._in_flight: dict[int, PlannedTask] = {}
        self._obsolete: list[int] = []  # tasks of before an interruption that are planned anew
        self._undecided = len(self._order)

    @property
    def done(self) -> bool:
        """True if every candidate has ended."""
        return self._undecided == 0

    @property
    def ids(self) -> list[int]:
        """Numbers of the candidates, ascending; reopened ones come first."""
        return self._order

    @property
    def idle(self) -> bool:
        """True if only the user can move it on: open candidates wait at external stages."""
        return not self._in_flight and all(
            state.finished or self._waits_for_user(state) for state in self._members.values()
        )

    @property
    def ended(self) -> list[int]:
        """Numbers of the candidates that have ended."""
        return [id for id in self._order if self._members[id].finished]

    def list_waiting(self) -> dict[int, str]:
        """Name of the external stage by number of the candidate that waits there."""
        return {
            id: self._stages[state.stage].name
            for id, state in self._members.items()
            if not state.finished and self._waits_for_user(state)
        }

    def release_candidate(self, id: int) -> None:
        """Take candidate `id` out of this wave."""
        self._close_candidate(self._members[id])

    def _waits_for_user(self, state: _Progress) -> bool:
        """True if a candidate waits at an external stage."""
        return self._stages[state.stage].external and state.held is None

    def count_for_last_stage(self, told: Collection[int] = ()) -> int:
        """Number of candidates that are to run the search's own last stage.

        Args:
            told: candidates not to count.
        """
        return sum(
            self._find_last_stage(state) >= self._automatic - 1
            for id, state in self._members.items()
            if id not in told
        )

    def _find_last_stage(self, state: _Progress) -> int:
        """Number of the last stage that a candidate is to run."""
        until = state.candidate.proposal.until
        for number, stage in enumerate(self._stages):
            if stage.name == until:
                return number
        return self._automatic - 1

    def awaits_task(self, task: int) -> bool:
        """True if the result of task number `task` is awaited by this wave."""
        return task in self._in_flight

    def count_by_stage(self) -> list[int]:
        """Number of candidates that are now in each stage."""
        counts = [0] * len(self._stages)
        for state in self._members.values():
            if not state.finished:
                counts[state.stage] += 1
        return counts

    # Resume.

    def restore(self, rest: Unfinished) -> None:
        """Restore the progress that was committed before an interruption.

        Args:
            rest: the wave as the store holds it.
        """
        for id, hashes in rest.designs.items():
            self._members[id].design = dict(hashes)
            self._members[id].stage = 1
        index = {stage.name: number for number, stage in enumerate(self._stages)}
        for result in rest.results:
            if result.failure is None:
                state = self._members[result.candidate]
                self._store_values(state, result)
                state.stage = max(state.stage, index[result.stage] + 1)
        for ending in rest.finished:
            self._close_candidate(self._members[ending.candidate])
        for task in rest.tasks:
            if task.stage == ADOPT:  # its structure comes again from where it came
                self._obsolete += [task.id] if task.id in rest.planned else []
                continue
            self._assigned[index[task.stage]].update(task.members)
            if task.id in rest.planned:
                self._in_flight[task.id] = task

    def list_unfinished_tasks(self) -> list[Task]:
        """Tasks to submit again after `restore`."""
        return [self.encode_task(planned) for planned in self._in_flight.values()]

    # One step: task results in, endings and new tasks out.

    def apply_results(self, results: Sequence[TaskResult] = ()) -> Step:
        """Apply task `results` and plan the next tasks, as one step to be committed.

        Raises:
            RunError: workers cannot be set up at all.
        """
        step = Step(done=self._obsolete)
        self._obsolete = []
        for result in results:
            planned = self._in_flight.pop(result.id)
            if result.lost is not None:
                self._retry_lost_task(planned, result.lost, step)
                continue
            step.done.append(planned.id)
            answers = json.loads(result.payload or "[]")
            for id, answer in zip(planned.members, answers, strict=True):
                self._apply_answer(self._members[id], planned.stage, answer, step)
        for number in range(len(self._stages)):
            self._plan_stage(number, step)
        return step

    def _retry_lost_task(self, planned: PlannedTask, cause: Failure, step: Step) -> None:
        """Retry a lost task by halves.

        A single candidate is tried once more after a crash, and then fails.
        """
        if cause.kind == "setup":
            raise RunError(f"no worker can be set up: {cause.message}")
        step.lost.append((planned.id, cause))
        members = planned.members
        if len(members) > 1:
            middle = len(members) // 2
            for half in (members[:middle], members[middle:]):
                self._plan_task(planned.stage, half, step, planned.attempt + 1)
        elif cause.kind == "crash" and planned.attempt + 1 < CRASH_ATTEMPTS:
            self._plan_task(planned.stage, members, step, planned.attempt + 1)
        elif planned.stage == ADOPT:
            self._apply_adoption(self._members[members[0]], {"adoption_refused": cause.message}, step)
        else:
            state = self._members[members[0]]
            self._fail_candidate(state, Failure(cause.kind, planned.stage, cause.message), step)

    def _apply_answer(self, state: _Progress, stage: str, answer: Mapping[str, Any], step: Step) -> None:
        """Read a worker's answer for one candidate."""
        failure = Failure(*answer["failure"]) if "failure" in answer else None
        if stage == BUILD:
            self._apply_build(state, answer, failure, step)
            return
        if stage == ADOPT:
            self._apply_adoption(state, answer, step)
            return
        # Sorted as the store returns them, so that a resumed run sees every mapping in the same order.
        packed = {role: base64.b64decode(text) for role, text in sorted(answer.get("structures", {}).items())}
        hashes = {role: hashlib.blake2b(blob, digest_size=16).hexdigest() for role, blob in packed.items()}
        result = StageResult(
            candidate=state.candidate.id,
            stage=stage,
            properties=dict(sorted(answer.get("properties", {}).items())),
            noise=dict(sorted(answer.get("noise", {}).items())),
            systematic=dict(sorted(answer.get("systematic", {}).items())),
            details=dict(sorted(answer.get("details", {}).items())),
            structures=hashes,
            blobs={hashes[role]: blob for role, blob in packed.items()},
            failure=failure,
            cost=answer.get("cost", {}),
            cache_key=self._stages[state.stage].cache_key(state),
            relaxed_genome=answer.get("relaxed_genome"),
            adoption_refused=answer.get("adoption_refused", ""),
        )
        self._apply_result(state, result, step)

    def _apply_adoption(self, state: _Progress, answer: Mapping[str, Any], step: Step) -> None:
        """Complete a held result by the answer of the worker that adopted its structure."""
        held, state.held = state.held, None
        if held is None or state.finished:
            return
        genome, reason = answer.get("relaxed_genome"), answer.get("adoption_refused", "")
        self._apply_result(state, replace(held, relaxed_genome=genome, adoption_refused=reason), step)

    def _apply_build(
        self, state: _Progress, answer: Mapping[str, Any], failure: Failure | None, step: Step
    ) -> None:
        """Take a built design to the next stage, or end its candidate."""
        if failure is None:
            state.design = dict(answer["design"])
            state.stage = 1
            step.built.append(Built(state.candidate.id, answer["formula"], state.design))
        elif failure.kind == "infeasible":
            step.finished.append(Finished(state.candidate.id, Status.INFEASIBLE, 0, failure))
            self._close_candidate(state)
        else:
            self._fail_candidate(state, failure, step)

    def _hold_or_apply(self, state: _Progress, result: StageResult, step: Step) -> None:
        """Apply a result that no worker made; first a worker adopts its structure if children inherit it."""
        decided = result.failure is not None or result.relaxed_genome is not None or result.adoption_refused
        if decided or self._inherits_from.isdisjoint(result.structures):
            self._apply_result(state, result, step)
            return
        state.held = result
        self._plan_task(ADOPT, (state.candidate.id,), step)

    def _apply_result(self, state: _Progress, result: StageResult, step: Step) -> None:
        """Record a stage's result, and move or end its candidate."""
        step.results.append(result)
        if result.failure is not None:
            self._fail_candidate(state, result.failure, step)
            return
        self._store_values(state, result)
        stage = self._stages[state.stage]
        closed = explain_closed_gate(stage.gates, state.properties)
        if closed:
            step.finished.append(
                Finished(state.candidate.id, Status.GATED, state.stage, gate=f"{stage.name}: {closed}")
            )
            self._close_candidate(state)
        elif state.stage >= self._find_last_stage(state):
            step.finished.append(Finished(state.candidate.id, Status.COMPLETE, state.stage + 1))
            self._close_candidate(state)
        else:
            state.stage += 1

    def _store_values(self, state: _Progress, result: StageResult) -> None:
        """Keep a result's values for the stages that follow."""
        state.properties.update(result.properties)
        state.structures.update(result.structures)
        state.blobs.update(result.blobs)

    def _fail_candidate(self, state: _Progress, failure: Failure, step: Step) -> None:
        """End a candidate with a failure."""
        step.finished.append(Finished(state.candidate.id, Status.FAILED, state.stage, failure))
        self._close_candidate(state)

    def _close_candidate(self, state: _Progress) -> None:
        """Close a candidate that has ended, and free its structures."""
        if not state.finished:
            state.finished = True
            state.blobs.clear()
            self._undecided -= 1

    # Planning.

    def _plan_stage(self, number: int, step: Step) -> None:
        """Plan batches of candidates at one stage, in the order of numbers.

        A batch that is not full is planned when no other candidate can arrive.
        """
        if self._stages[number].external:
            here = [
                id
                for id, state in self._members.items()
                if not state.finished and state.stage == number and state.held is None
            ]
            self._apply_measurements(number, here, step)
            return
        size = self._stages[number].batch.size
        arrived = self._apply_measurements(number, self._collect_arrived(number, any_order=size == 1), step)
        waiting = self._waiting[number]
        waiting += self._apply_cached_results(number, arrived, step)
        while len(waiting) >= size or (waiting and self._is_upstream_decided(number)):
            self._plan_task(self._stages[number].name, tuple(waiting[:size]), step)
            del waiting[:size]

    def _apply_measurements(self, number: int, here: Sequence[int], step: Step) -> list[int]:
        """Apply results from outside; return the candidates that still need evaluation."""
        stage = self._stages[number]
        if stage.evaluator is None or not here:
            return list(here)
        keys = {id: self._members[id].candidate.key for id in here}
        told = self._measured(list(keys.values()), stage.name)
        for id, key in keys.items():
            if key in told:
                self._hold_or_apply(self._members[id], _result_from_measurement(told[key], id), step)
        return [id for id, key in keys.items() if key not in told]

    def _is_upstream_decided(self, number: int) -> bool:
        """True if no candidate can still arrive at a stage.

        Candidates waiting for the user do not count.
        """
        if not self._has_external:
            return self._cursor[number] == len(self._order)
        return all(
            state.finished or state.stage >= number or self._waits_for_user(state)
            for state in self._members.values()
        )

    def _collect_arrived(self, number: int, *, any_order: bool) -> list[int]:
        """Numbers of candidates that have newly arrived at a stage.

        Args:
            number: of the stage.
            any_order: False keeps the order of numbers, and stops at the first one that is still upstream.
        """
        arrived = []
        if not any_order and self._has_external:
            return self._collect_past_waiting(number)
        if any_order:
            for id, state in self._members.items():
                if not state.finished and state.stage == number and id not in self._assigned[number]:
                    arrived.append(id)
                    self._assigned[number].add(id)
            return arrived
        while self._cursor[number] < len(self._order):
            id = self._order[self._cursor[number]]
            state = self._members[id]
            if not state.finished and state.stage < number:
                break  # still upstream: batches must not depend on the time of arrival
            if not state.finished and state.stage == number and id not in self._assigned[number]:
                arrived.append(id)
                self._assigned[number].add(id)
            self._cursor[number] += 1
        return arrived

    def _collect_past_waiting(self, number: int) -> list[int]:
        """Collect arrivals in order as `_collect_arrived`, skipping candidates that wait for the user."""
        arrived = []
        for id in self._order:
            state = self._members[id]
            if not state.finished and state.stage < number and not self._waits_for_user(state):
                break
            if not state.finished and state.stage == number and id not in self._assigned[number]:
                arrived.append(id)
                self._assigned[number].add(id)
        return arrived

    def _apply_cached_results(self, number: int, arrived: Sequence[int], step: Step) -> list[int]:
        """Apply results from the cache; return the candidates that still need evaluation."""
        stage = self._stages[number]
        if stage.evaluator is None or not arrived:
            return list(arrived)
        keys = {id: stage.cache_key(self._members[id]) for id in arrived}
        hits = self._cached(list(keys.values()), self._told)
        for id in arrived:
            if keys[id] in hits:
                hit = hits[keys[id]]
                self._hold_or_apply(
                    self._members[id], replace(hit, candidate=id, stage=stage.name, cost={}), step
                )
        return [id for id in arrived if keys[id] not in hits]

    def _plan_task(self, stage: str, members: tuple[int, ...], step: Step, attempt: int = 0) -> None:
        """Plan a task of one stage for some candidates."""
        planned = PlannedTask(next(self._numbers), stage, members, attempt)
        self._in_flight[planned.id] = planned
        step.planned.append(planned)

    def encode_task(self, planned: PlannedTask) -> Task:
        """Encode a `planned` task for a worker."""
        if planned.stage == ADOPT:
            members = [self._encode_adoption(self._members[id]) for id in planned.members]
            return Task(planned.id, json.dumps({"stage": ADOPT, "members": members}), BUILD_TIMEOUT)
        stage = next(stage for stage in self._stages if stage.name == planned.stage)
        members = [self._encode_member(stage, self._members[id]) for id in planned.members]
        payload = json.dumps({"stage": planned.stage, "members": members})
        return Task(planned.id, payload, stage.timeout * len(members), stage.batch.resource)

    def _encode_adoption(self, state: _Progress) -> dict[str, Any]:
        """Encode a candidate with the structures of its held result."""
        assert state.held is not None  # it has one until the answer comes
        structures = {
            role: base64.b64encode(state.held.blobs[key]).decode()
            for role, key in state.held.structures.items()
            if role in self._inherits_from
        }
        return {"genome": dict(state.candidate.genome), "structures": structures}

    def _encode_member(self, stage: Stage, state: _Progress) -> dict[str, Any]:
        """Encode one candidate with everything the stage requires."""
        member: dict[str, Any] = {
            "id": state.candidate.id,
            "key": state.candidate.key,
            "genome": dict(state.candidate.genome),
        }
        if state.candidate.outside:
            member["outside"] = True
        if stage.evaluator is None:
            return member
        requires = stage.evaluator.requires
        # In the funnel's order: `latest` is the last one.
        roles = [role for role in state.structures if STRUCTURE_PREFIX + role in requires]
        member["properties"] = {
            name: state.properties[name] for name in sorted(requires) if name in state.properties
        }
        member["structures"] = {
            role: base64.b64encode(state.blobs[state.structures[role]]).decode() for role in roles
        }
        member["seed"] = derived_seed(stage.cache_key(state)) >> 1  # fits a signed 64-bit integer
        return member


def explain_closed_gate(gates: Sequence[Constraint], properties: Mapping[str, float]) -> str:
    """Explain which gate stops a candidate, in words; empty if none does.

    Args:
        gates: conditions of one stage.
        properties: of the candidate, by name.
    """
    for gate in gates:
        value = properties.get(gate.property, np.nan)
        if not _passes_gate(gate, value):
            shown = f"{value:.4g}"
            shown = repr(value) if _passes_gate(gate, float(shown)) else shown
            unit = describe_property(gate.property).unit
            return f"{gate.property} is {shown}{' ' + unit if unit else ''}, must be {gate}"
    return ""


def _passes_gate(gate: Constraint, value: float) -> bool:
    return bool(gate.violation(np.array([value]))[0] <= 0)
