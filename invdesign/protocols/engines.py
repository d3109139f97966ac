"""Contract of engines: how tasks reach workers, and results come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from invdesign.candidate import Failure


@dataclass(frozen=True, slots=True)
class Task:
    """A batch of one stage's inputs, as it crosses to a worker.

    Attributes:
        id: number in the run.
        payload: JSON text that `worker.execute` understands.
        deadline: seconds until the worker is replaced.
        resource: `cpu` or `gpu`.
    """

    id: int
    payload: str
    deadline: float
    resource: str = "cpu"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task: the worker's JSON text, or why there is none.

    Attributes:
        lost: set where the worker died, hung or ran out of memory; its `stage` is empty.
    """

    id: int
    payload: str | None
    lost: Failure | None = None


class Engine(Protocol):
    """Where tasks run."""

    def slots(self, resource: str) -> int:
        """How many tasks can run at once."""
        ...

    def submit(self, task: Task) -> None: ...
    def next_done(self, timeout: float) -> Sequence[TaskResult]:
        """Whatever finished, waiting up to `timeout` seconds for the first; empty when nothing did."""
        ...

    def close(self) -> None:
        """Stop the workers, at once."""
        ...
