"""The funnel: who shares a task, what is remembered and what stops depend on candidates and results, never on time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.candidate import Candidate, Failure, Proposal, Status, genome_key
from invdesign.errors import RunError
from invdesign.evaluation import BUILD_STAGE, Stage, Wave, explain_closed_gate
from invdesign.history import RunHistory
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import TaskResult
from invdesign.run.status import stage_counts
from invdesign.steps import PlannedTask, StageResult, Step, Unfinished
from invdesign.worker import Worker
from tests.plugins.steps import Crystal, Density, Height, Picky
from tests.support import campaign, funnel

SPACE = Picky()


def candidates(
    genomes: Sequence[Mapping[str, Any]], first: int = 0, until: str | None = None
) -> list[Candidate]:
    return [
        Candidate(first + n, genome_key(genome), Proposal(dict(genome), until=until))
        for n, genome in enumerate(genomes)
    ]


def stages(sizes: Sequence[int] = (1, 1, 4), gate: float = 1.7, *, sickly: bool = True) -> tuple[Stage, ...]:
    height, crystal, density = sizes
    return (
        BUILD_STAGE,
        Stage("height", Height(batch_size=height), (Constraint("height", max=gate),), 5.0),
        Stage("crystal", Crystal(batch_size=crystal), (), 5.0),
        Stage("density", Density(batch_size=density, sickly=sickly), (), 5.0),
    )


def nothing_cached(keys: Sequence[str], before: int) -> dict[str, StageResult]:
    return {}


class Play:
    """A wave played through with an engine whose tasks end in the order, and in the groups, that `order` says.

    Tasks with a candidate in `deadly` lose their worker.
    """

    def __init__(self, wave: Wave, funnel: Sequence[Stage], deadly: frozenset[int] = frozenset()) -> None:
        self.wave = wave
        self.worker = Worker(
            SPACE, {stage.name: stage.evaluator for stage in funnel if stage.evaluator is not None}
        )
        self.deadly = deadly
        self.flying: dict[int, PlannedTask] = {}
        self.steps: list[Step] = []
        self.payloads: dict[tuple[str, tuple[int, ...], int], str] = {}

    def take(self, step: Step) -> None:
        if not step:
            return
        self.steps.append(step)
        for planned in step.planned:
            self.fly(planned)

    def fly(self, planned: PlannedTask) -> None:
        self.flying[planned.id] = planned
        key = (planned.stage, planned.members, planned.attempt)
        assert key not in self.payloads, f"{key} went out twice"
        self.payloads[key] = self.wave.encode_task(planned).payload

    def result(self, planned: PlannedTask) -> TaskResult:
        if planned.stage == "crystal" and self.deadly & set(planned.members):
            return TaskResult(planned.id, None, Failure("crash", "", "the worker exited with code 9"))
        return TaskResult(planned.id, self.worker.execute(self.wave.encode_task(planned).payload))

    def on(self, order: Sequence[int], most: int = 10**9) -> Play:
        """Play until the wave is done, or for that many steps."""
        self.take(self.wave.apply_results())
        draws = iter(order)
        while not self.wave.done and len(self.steps) < most:
            assert self.flying, "nothing is under way and the wave is not done"
            waiting = sorted(self.flying)
            chosen = {waiting[next(draws, 0) % len(waiting)] for _ in range(1 + next(draws, 0) % 3)}
            self.take(
                self.wave.apply_results(
                    [
                        self.result(self.flying.pop(id))
                        for id in sorted(chosen, reverse=next(draws, 0) % 2 == 1)
                    ]
                )
            )
        return self

    def tasks(self) -> dict[tuple[str, tuple[int, ...], int], str]:
        """Payload by what was sent out: stage, members, attempt."""
        return self.payloads

    def found(self) -> dict[tuple[int, str], Any]:
        """Everything said of every candidate, without what it cost."""
        results = {(r.candidate, r.stage): replace(r, cost={}) for step in self.steps for r in step.results}
        endings = {(f.candidate, "end"): f for step in self.steps for f in step.finished}
        return results | endings


def played(
    genomes: Sequence[Mapping[str, Any]],
    funnel: Sequence[Stage],
    order: Sequence[int] = (),
    deadly: frozenset[int] = frozenset(),
) -> Play:
    return Play(Wave(candidates(genomes), funnel, nothing_cached, count(1)), funnel, deadly).on(order)


GENOMES = st.lists(
    st.fixed_dictionaries(
        {
            "x": st.integers(0, 1000).map(lambda n: n / 1000),
            "y": st.integers(0, 1000).map(lambda n: n / 1000),
            "n": st.integers(0, 1),
        }
    ),
    min_size=1,
    max_size=14,
    unique_by=genome_key,
)
ORDERS = st.lists(st.integers(0, 100), max_size=80)
SIZES = st.tuples(*[st.sampled_from([1, 2, 3, 5])] * 3)
DEADLY = st.frozensets(st.integers(0, 13), max_size=2)


@settings(deadline=None, max_examples=80)
@given(GENOMES, SIZES, ORDERS, DEADLY)
def test_the_order_of_completion_is_nothing(
    genomes: list[dict[str, Any]], sizes: tuple[int, int, int], order: list[int], deadly: frozenset[int]
) -> None:
    """Whatever ends first, the same tasks go out with the same payloads, and the same is found."""
    funnel = stages(sizes)
    one, other = played(genomes, funnel, (), deadly), played(genomes, funnel, order, deadly)
    assert other.tasks() == one.tasks()
    assert other.found() == one.found()


@settings(deadline=None, max_examples=80)
@given(GENOMES, SIZES, ORDERS, ORDERS, DEADLY, st.integers(1, 30))
def test_going_on_after_an_interruption(
    genomes: list[dict[str, Any]],
    sizes: tuple[int, int, int],
    before: list[int],
    after: list[int],
    deadly: frozenset[int],
    kept: int,
) -> None:
    """Restored after any committed step, a wave plans what is left, nothing twice, and finds the same."""
    funnel = stages(sizes)
    whole = played(genomes, funnel, (), deadly)
    asked = candidates(genomes)
    first = Play(Wave(asked, funnel, nothing_cached, count(1)), funnel, deadly).on(before, kept)
    rest = unfinished(asked, first.steps)
    second = Play(Wave(asked, funnel, nothing_cached, count(1000)), funnel, deadly)
    second.wave.restore(rest)
    again = [task for task in rest.tasks if task.id in rest.planned]
    assert [task.id for task in second.wave.list_unfinished_tasks()] == [task.id for task in again]
    for task in again:
        second.fly(task)
    second.on(after)
    assert first.found() | second.found() == whole.found()
    assert first.tasks() | second.tasks() == whole.tasks()
    sent_twice = first.tasks().keys() & second.tasks().keys()
    assert sent_twice == {(task.stage, task.members, task.attempt) for task in again}


def unfinished(asked: Sequence[Candidate], steps: Sequence[Step]) -> Unfinished:
    """What a store would hold after these steps."""
    gone = {id for step in steps for id in (*step.done, *(number for number, _ in step.lost))}
    tasks = [task for step in steps for task in step.planned]
    return Unfinished(
        asked=asked,
        told=asked[0].id,
        designs={b.candidate: b.design for step in steps for b in step.built},
        results=[result for step in steps for result in step.results],
        finished=[ending for step in steps for ending in step.finished],
        tasks=tasks,
        planned=frozenset(task.id for task in tasks if task.id not in gone),
    )


@settings(deadline=None)
@given(GENOMES, SIZES, ORDERS, DEADLY)
def test_counts_add_up(
    genomes: list[dict[str, Any]], sizes: tuple[int, int, int], order: list[int], deadly: frozenset[int]
) -> None:
    """At any moment, what entered a stage passed it, was stopped in it, or is in it; and enters the next."""
    funnel = stages(sizes)
    asked = candidates(genomes)
    history = RunHistory(Problem((Objective("density", "maximize"),)), asked.__getitem__)
    for one in asked:
        history.add_candidate(one.id, one.key, one)
    play = Play(Wave(asked, funnel, nothing_cached, count(1)), funnel, deadly)
    this: Any = _Funnel(funnel)
    while not play.wave.done:
        play.on(order, len(play.steps) + 1)
        history.apply_step(play.steps[-1])
        inside = play.wave.count_by_stage()
        counts = stage_counts(this, history, inside)
        assert counts[0].entered == len(genomes)
        for number, stage in enumerate(counts):
            assert stage.entered == stage.passed + stage.gated + stage.failed + inside[number]
            if number:
                assert stage.entered == counts[number - 1].passed
    assert counts[-1].passed == int((history.status_by_trial() == Status.COMPLETE).sum())
    assert {f.candidate for step in play.steps for f in step.finished} == set(range(len(genomes)))


class _Funnel:
    """All that counting needs of a campaign."""

    def __init__(self, funnel: tuple[Stage, ...]) -> None:
        self.funnel = funnel


LOW = [{"x": n / 100, "y": 0.5, "n": 0} for n in range(10)]  # healthy candidates, below every gate


def test_full_batches_in_the_order_of_numbers() -> None:
    """A batch goes out when it is full, or when nothing upstream is left, always in the order of numbers."""
    funnel = stages((4, 1, 3), sickly=False)
    members = [key[:2] for key in played(LOW, funnel).tasks()]
    assert [m for stage, m in members if stage == "build"] == [tuple(range(10))]
    assert [m for stage, m in members if stage == "height"] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert [m for stage, m in members if stage == "density"] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9,)]


def test_a_batch_waits_for_who_is_undecided() -> None:
    """A slow candidate holds back the batch it may belong to: who shares it must not depend on when."""
    funnel = stages((1, 1, 2), sickly=False)
    play = Play(Wave(candidates(LOW[:3]), funnel, nothing_cached, count(1)), funnel)
    play.take(play.wave.apply_results())
    play.take(play.wave.apply_results([play.result(play.flying.pop(1))]))  # all are built
    slow = next(task for task in play.flying.values() if task.members == (0,))
    while play.flying.keys() != {slow.id}:
        id = max(play.flying)
        play.take(play.wave.apply_results([play.result(play.flying.pop(id))]))
    assert {task[0] for task in play.tasks()} == {"build", "height", "crystal"}
    play.on(())
    assert [key[1] for key in play.tasks() if key[0] == "density"] == [(0, 1), (2,)]


def test_deadlines_scale_with_the_task() -> None:
    """A task of three has three times the time of one, and a seed for each member that depends on what it is."""
    funnel = stages((3, 1, 1))
    wave = Wave(candidates(LOW[:3]), funnel, nothing_cached, count(1))
    play = Play(wave, funnel)
    play.take(wave.apply_results())
    play.take(wave.apply_results([play.result(play.flying.pop(1))]))
    (planned,) = play.flying.values()
    task = wave.encode_task(planned)
    assert task.deadline == 15.0
    seeds = [member["seed"] for member in json.loads(task.payload)["members"]]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_until() -> None:
    """A proposal that names its last stage is complete after it."""
    funnel = stages()
    for until, depth, tasks in (
        ("height", 2, {"build", "height"}),
        ("density", 4, {"build", "height", "crystal", "density"}),
    ):
        play = Play(Wave(candidates(LOW[:1], until=until), funnel, nothing_cached, count(1)), funnel).on(())
        (ending,) = [f for step in play.steps for f in step.finished]
        assert (ending.status, ending.depth) == (Status.COMPLETE, depth)
        assert {key[0] for key in play.tasks()} == tasks


def test_endings() -> None:
    """Refused, broken, gated, failed and complete candidates end where they stopped, with their cause."""
    genomes = [
        {"x": x, "y": y, "n": n} for x, y, n in [(0.8, 0, 0), (0.95, 0, 0), (0.7, 0.9, 1), (0.1, 0.1, 0)]
    ]
    play = played(genomes, stages(gate=1.5))
    endings = {f.candidate: f for step in play.steps for f in step.finished}
    assert endings[0] == replace(
        endings[0],
        status=Status.INFEASIBLE,
        depth=0,
        failure=Failure("infeasible", "build", "x is 0.80, more than 0.75"),
    )
    assert endings[1] == replace(
        endings[1],
        status=Status.FAILED,
        depth=0,
        failure=Failure("error", "build", "ZeroDivisionError: this space has a fault"),
    )
    assert endings[2] == replace(
        endings[2],
        status=Status.GATED,
        depth=1,
        failure=None,
        gate="height: height is 2.3, must be height <= 1.5",
    )
    assert endings[3].depth >= 3


def test_a_worker_lost_over_a_batch() -> None:
    """The batch is halved until the culprit is alone; its neighbours are evaluated, and nobody else is blamed."""
    play = played(LOW[:8], stages((1, 8, 1), sickly=False), deadly=frozenset({5}))
    members = [key[1:] for key in play.tasks() if key[0] == "crystal"]
    assert members == [
        ((0, 1, 2, 3, 4, 5, 6, 7), 0),
        ((0, 1, 2, 3), 1),
        ((4, 5, 6, 7), 1),
        ((4, 5), 2),
        ((6, 7), 2),
        ((4,), 3),
        ((5,), 3),
    ]
    endings = {f.candidate: f for step in play.steps for f in step.finished}
    assert endings[5].failure == Failure("crash", "crystal", "the worker exited with code 9")
    assert [endings[id].status for id in range(8) if id != 5] == [Status.COMPLETE] * 7


def test_workers_that_cannot_be_set_up() -> None:
    """That is no candidate's fault."""
    funnel = stages()
    wave = Wave(candidates(LOW), funnel, nothing_cached, count(1))
    wave.apply_results()
    with pytest.raises(RunError, match="no worker can be set up: no weights"):
        wave.apply_results([TaskResult(1, None, Failure("setup", "", "no weights"))])


def test_the_cache() -> None:
    """What an earlier wave found for the same inputs is taken over, with its structures, and not evaluated again."""
    funnel = stages(sickly=False)
    earlier = played(LOW[:4], funnel)
    known = {r.cache_key: r for step in earlier.steps for r in step.results if r.cache_key}
    asked_before = []

    def cached(keys: Sequence[str], before: int) -> dict[str, StageResult]:
        asked_before.append(before)
        return {key: known[key] for key in keys if key in known}

    wave = Wave(candidates(LOW[:4] + LOW[6:8], first=100), funnel, cached, count(1))
    later = Play(wave, funnel).on(())
    assert set(asked_before) == {100}
    sent = {(key[0], id) for key in later.tasks() for id in key[1] if key[0] != "build"}
    assert sent == {(stage, id) for stage in ("height", "crystal", "density") for id in (104, 105)}
    for (id, stage), result in later.found().items():
        if stage != "end" and id < 104:
            original = earlier.found()[id - 100, stage]
            assert result == replace(original, candidate=id)
        elif stage == "end":
            assert result.status is Status.COMPLETE


def test_cache_keys() -> None:
    """The key is the evaluator with the values of exactly what it requires: nothing else changes it."""
    funnel = stages()
    plays = [played([genome], funnel) for genome in (LOW[1], LOW[2])]
    keys = [{r.stage: r.cache_key for step in play.steps for r in step.results} for play in plays]
    assert all(keys[0][stage] != keys[1][stage] for stage in ("height", "crystal", "density"))
    slower = (funnel[0], replace(funnel[1], evaluator=Height(delay=1e-9)), *funnel[2:])
    other = {r.stage: r.cache_key for step in played([LOW[1]], slower).steps for r in step.results}
    assert other["height"] != keys[0]["height"]  # its settings changed
    assert other["crystal"] == keys[0]["crystal"]  # the value it read did not
    renamed = (funnel[0], replace(funnel[1], name="h", timeout=9.0), *funnel[2:])
    other = {r.stage: r.cache_key for step in played([LOW[1]], renamed).steps for r in step.results}
    assert other["h"] == keys[0]["height"]


@pytest.mark.parametrize(
    ("gate", "value", "text"),
    [
        (Constraint("height", max=1.5), 2.3, "height is 2.3, must be height <= 1.5"),
        (Constraint("height", min=0.5, max=1.5), 0.25, "height is 0.25, must be 0.5 <= height <= 1.5"),
        (Constraint("decomposition_energy", max=0.15), 0.2, "decomposition_energy is 0.2 eV/atom, must be decomposition_energy <= 0.15"),
        (Constraint("height", min=0.5), float("nan"), "height is nan, must be 0.5 <= height"),
        (Constraint("height", max=1.5), 1.5000001, "height is 1.5000001, must be height <= 1.5"),
        (Constraint("height", max=1.5), 1.5, ""),
        (Constraint("height", min=1.5), 1.5, ""),
    ],
)  # fmt: skip
def test_what_a_gate_says(gate: Constraint, value: float, text: str) -> None:
    """Value, unit and bounds; bounds are inclusive, and what is unknown does not pass."""
    assert explain_closed_gate([gate], {gate.property: value}) == text
    assert bool(explain_closed_gate([gate], {})) is True


def test_a_campaign_has_the_same_funnel() -> None:
    """The stages of a campaign are these stages."""
    found = campaign(funnel()).funnel
    assert found[0] is BUILD_STAGE
    assert [stage.batch.size for stage in found] == [16, 1, 1, 4]
