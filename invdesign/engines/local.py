"""Worker processes on this machine, under pebble, which replaces a worker that hangs, dies or exceeds its memory."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from invdesign.candidate import Failure
from invdesign.engines import EngineSettings
from invdesign.errors import PluginError, RunError
from invdesign.processes import start_pool
from invdesign.protocols import Engine, Task, TaskResult
from invdesign.registry import FOREIGN_ERRORS
from invdesign.worker import Setup, Worker, execute, initialize

if TYPE_CHECKING:
    from pebble import ProcessPool

MAX_POOLS = 3  # in a row without a result, for a passing shortage of memory; chosen
_POOL_LOST = Failure("lost", "", "the pool lost its workers")
_NO_WORKER = Failure(
    "setup",
    "",
    "the worker processes die before they can take a task. Perhaps what they load needs more memory than there "
    "is: start fewer with --workers, or look closer with --workers 0",
)


class LocalEngine(EngineSettings):
    """Engine of worker processes on this machine.

    `workers: 0` evaluates in the coordinating process: no deadline, no protection from a crash, easy to debug.
    """

    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Worker processes; by default one per core this process may use."""
    memory: Annotated[float, Field(gt=0)] | None = None
    """GB (1e9 bytes) one worker may allocate; by default its share of 80 % of the machine."""

    def open(self, setup: Setup) -> Engine:
        """Start the engine for a run, with the workers' `setup`.

        Raises:
            RunError: the evaluators cannot be set up, or a function cannot be sent to workers.
        """
        workers = usable_cores() if self.workers is None else self.workers
        if workers == 0:
            return InlineEngine(setup)
        return ProcessEngine(setup, workers, int(self.memory * 1e9) if self.memory else _fair_share(workers))


def usable_cores() -> int:
    """Number of cores this process may use.

    Under SLURM or taskset these are fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _fair_share(workers: int) -> int:
    import psutil

    return int(0.8 * psutil.virtual_memory().total / workers)


# Seconds: results of shorter tasks share a transaction, which takes some milliseconds itself (chosen).
INLINE_SECONDS = 0.01


class InlineEngine:
    """Engine that runs tasks in this process, one per `next_done`, or several short ones."""

    def __init__(self, setup: Setup) -> None:
        try:
            self._worker = Worker.from_setup(setup)
            self._worker.prepare()
        except FOREIGN_ERRORS as error:
            raise RunError(f"the evaluators cannot be set up: {type(error).__name__}: {error}") from error
        self._queue: queue.SimpleQueue[Task] = queue.SimpleQueue()

    def slots(self, resource: str) -> int:  # noqa: ARG002 - everything runs here
        return 1

    def submit(self, task: Task) -> None:
        self._queue.put(task)

    def next_done(self, timeout: float) -> Sequence[TaskResult]:  # noqa: ARG002 - it runs the task instead of waiting
        began = time.monotonic()
        done: list[TaskResult] = []
        while not self._queue.empty() and (not done or time.monotonic() - began < INLINE_SECONDS):
            task = self._queue.get()
            done.append(TaskResult(task.id, self._worker.execute(task.payload)))
        return done

    def close(self) -> None:
        """Do nothing; there is nothing to stop."""


class ProcessEngine:
    """Engine with a pebble pool of spawned processes.

    Spawned, not forked: a fork of a process that holds threads or a loaded model may hang. A pool whose workers died
    without a task (killed while loading a model, or between two tasks) is unusable in pebble; it is replaced, and its
    tasks go to the next one.
    """

    def __init__(self, setup: Setup, workers: int, memory_bytes: int) -> None:
        self._setup = pickle.dumps(setup)  # pickled here, since errors in the pool's thread would be lost
        self._workers = workers
        self._memory = memory_bytes
        self._done: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()
        self._open: dict[int, Task] = {}
        self._pool: ProcessPool | None = None
        self._broken_in_a_row = 0

    def slots(self, resource: str) -> int:  # noqa: ARG002 - local workers take any task
        return self._workers

    def submit(self, task: Task) -> None:
        self._open[task.id] = task
        if self._pool is None:
            self._pool = start_pool(self._workers, initialize, (self._setup, self._memory))
        try:
            future = self._pool.schedule(execute, args=(task.payload,), timeout=task.deadline)
        except RuntimeError:  # the pool has just lost its workers
            self._done.put(TaskResult(task.id, None, _POOL_LOST))
            return
        future.add_done_callback(lambda done: self._done.put(self._to_result(task, done)))

    def _to_result(self, task: Task, future: Future[str]) -> TaskResult:
        from pebble import ProcessExpired

        try:
            return TaskResult(task.id, future.result())
        except FutureTimeoutError:
            return TaskResult(task.id, None, Failure("timeout", "", f"not done after {task.deadline:g} s"))
        except ProcessExpired as error:
            return TaskResult(task.id, None, Failure("crash", "", _exit_message(error.exitcode)))
        except MemoryError:
            limit = f"{self._memory / 1e9:.3g} GB"
            return TaskResult(
                task.id, None, Failure("memory", "", f"needed more than the {limit} a worker may use")
            )
        except PluginError as error:
            return TaskResult(task.id, None, Failure("setup", "", str(error)))
        except (BrokenProcessPool, CancelledError):
            return TaskResult(task.id, None, _POOL_LOST)
        except FOREIGN_ERRORS as error:  # whatever crossed the pipe becomes the task's cause
            return TaskResult(task.id, None, Failure("error", "", f"{type(error).__name__}: {error}"))

    def next_done(self, timeout: float) -> Sequence[TaskResult]:
        try:
            results = [self._done.get(timeout=timeout)]
        except queue.Empty:
            return []
        while not self._done.empty():
            results.append(self._done.get())
        answered = [result for result in results if result.lost is not _POOL_LOST]
        for result in answered:
            del self._open[result.id]
        self._broken_in_a_row = 0 if answered else self._broken_in_a_row
        return answered if len(answered) == len(results) else [*answered, *self._replace_pool()]

    def _replace_pool(self) -> list[TaskResult]:
        """Give every open task to a new pool, up to `MAX_POOLS` in a row.

        After the last of them, every open task fails.
        """
        self._broken_in_a_row += 1
        self.close()
        self._done = queue.SimpleQueue()
        if self._broken_in_a_row < MAX_POOLS:
            for task in list(self._open.values()):
                self.submit(task)
            return []
        return [TaskResult(id, None, _NO_WORKER) for id in self._open]

    def close(self) -> None:
        """Kill the workers.

        Their tasks are planned in the store and run again on resume.
        """
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None


def _exit_message(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
        hint = ", often the system's out-of-memory killer" if name == "SIGKILL" else ""
        return f"the worker was killed by {name}{hint}"
    return f"the worker exited with code {exit_code}"
