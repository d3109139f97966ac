"""Contract of engines, which send tasks to workers and return their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from invdesign.candidate import Failure


@dataclass(frozen=True, slots=True)
class Task:
    """Batch of one stage's inputs, in the form that is sent to a worker.

    Attributes:
        id: number in the run.
        payload: JSON text that `worker.execute` reads.
        deadline: seconds until the worker is replaced.
        resource: `cpu` or `gpu`.
    """

    id: int
    payload: str
    deadline: float
    resource: str = "cpu"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """Answer of a worker to a task, or the cause of its loss.

    Attributes:
        id: number of the task.
        payload: JSON text of the worker; None where the task was lost.
        lost: set where the worker died, hung or ran out of memory; its `stage` is empty.
    """

    id: int
    payload: str | None
    lost: Failure | None = None


class Engine(Protocol):
    """Runs tasks on workers."""

    def slots(self, resource: str) -> int:
        """Number of tasks on `resource` (`cpu` or `gpu`) that can run at once."""
        ...

    def submit(self, task: Task) -> None:
        """Queue a `task`."""
        ...

    def next_done(self, timeout: float) -> Sequence[TaskResult]:
        """Results of finished tasks; empty if none finished in time.

        Args:
            timeout: seconds to wait for the first one.
        """
        ...

    def close(self) -> None:
        """Stop the workers at once."""
        ...
