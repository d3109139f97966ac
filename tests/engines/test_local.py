"""Tasks in worker processes: answered, replaced when they hang or die, and gone when the engine closes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from invdesign.engines.local import InlineEngine, LocalEngine, ProcessEngine, usable_cores
from invdesign.protocols import Engine, Task, TaskResult
from invdesign.settings import load
from invdesign.worker import Setup
from tests.plugins.faults import Sick
from tests.run.test_faults import EXPECTED
from tests.support import ROOT, alive, children, wait_until

WORDS = sorted({"healthy", *EXPECTED})


def setup() -> Setup:
    space: Any = load("spaces", {"kind": "parameters", "parameters": {"sickness": {"categorical": WORDS}}})
    return Setup.from_plugins(space, {"s": Sick()}, [str(ROOT)])


def task(id: int, *words: str, deadline: float = 30.0) -> Task:
    members = [
        {
            "id": n,
            "key": f"{word}",
            "genome": {"sickness": word},
            "properties": {},
            "structures": {},
            "seed": 1,
        }
        for n, word in enumerate(words)
    ]
    return Task(id, json.dumps({"stage": "s", "members": members}), deadline)


def all_done(engine: Engine, count: int) -> dict[int, TaskResult]:
    found: dict[int, TaskResult] = {}
    assert wait_until(lambda: found.update({r.id: r for r in engine.next_done(0.2)}) or len(found) >= count)
    return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Two workers with 0.7 GB each."""
    engine = LocalEngine(workers=2, memory=0.7).open(setup())
    yield engine
    engine.close()


def causes(found: dict[int, TaskResult]) -> list[str]:
    return [found[id].lost.kind if found[id].lost else "" for id in sorted(found)]  # type: ignore[union-attr]  # just checked


def test_answers_cross_as_text(engine: Engine) -> None:
    """Each task is answered once, under its number."""
    for id in range(8):
        engine.submit(task(id, "healthy", "healthy"))
    found = all_done(engine, 8)
    assert sorted(found) == list(range(8))
    for result in found.values():
        assert [answer["properties"] for answer in json.loads(result.payload or "")] == [{"health": 1.0}] * 2
    assert list(engine.next_done(0.0)) == []


def test_lost_workers_are_replaced(engine: Engine) -> None:
    """Hanging, leaving, killed: each is told with its cause, and the engine goes on."""
    for id, word in enumerate(["sleeps", "exits", "killed", "healthy", "spins", "healthy"]):
        engine.submit(task(id, word, deadline=2.0))
    found = all_done(engine, 6)
    assert causes(found) == ["timeout", "crash", "crash", "", "timeout", ""]
    assert found[0].lost is not None
    assert found[0].lost.message == "not done after 2 s"
    assert found[1].lost is not None
    assert found[1].lost.message == "the worker exited with code 3"
    engine.submit(task(7, "healthy"))
    assert all_done(engine, 1)[7].lost is None


def test_memory_is_limited(engine: Engine) -> None:
    """A hungry evaluation fails alone, and its worker lives on."""
    engine.submit(task(1, "healthy", "eats", "healthy"))
    found = json.loads(all_done(engine, 1)[1].payload or "")
    assert [answer.get("failure", [""])[0] for answer in found] == ["", "memory", ""]


def test_a_task_that_is_none(engine: Engine) -> None:
    """What a worker cannot even read is the task's failure, not the engine's end."""
    engine.submit(Task(1, "no json", 5.0))
    found = all_done(engine, 1)
    assert found[1].lost is not None
    assert found[1].lost.kind == "error"
    assert "JSONDecodeError" in found[1].lost.message


def test_closing_stops_at_once() -> None:
    """Closing leaves no process, whatever they are at; closing twice, or an engine never used, is no matter."""
    engine = LocalEngine(workers=2).open(setup())
    before = {process.pid for process in children(os.getpid())}
    for id in range(4):
        engine.submit(task(id, "sleeps", deadline=600.0))
    assert wait_until(lambda: len(children(os.getpid())) >= len(before) + 2)
    mine = [
        p
        for p in children(os.getpid())
        if p.pid not in before and "resource_tracker" not in " ".join(p.cmdline())
    ]
    engine.close()
    assert alive(mine) == []
    engine.close()
    LocalEngine(workers=2).open(setup()).close()


def test_without_processes() -> None:
    """`workers: 0` runs tasks here, in order; short ones come back together."""
    engine = LocalEngine(workers=0).open(setup())
    assert isinstance(engine, InlineEngine)
    assert engine.slots("cpu") == 1
    for id in range(3):
        engine.submit(task(id, "healthy", "raises"))
    done = [*engine.next_done(1.0)]
    assert done
    while found := engine.next_done(1.0):
        done += found
    answers = json.loads(done[0].payload or "")
    assert [answer.get("failure", [""])[0] for answer in answers] == ["", "error"]
    assert [result.id for result in done] == [0, 1, 2]
    engine.close()


def test_workers_by_default() -> None:
    """As many as cores this process may use."""
    engine = LocalEngine().open(setup())
    assert isinstance(engine, ProcessEngine)
    assert engine.slots("cpu") == usable_cores() == len(os.sched_getaffinity(0))
