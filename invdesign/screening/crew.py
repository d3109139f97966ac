"""Processes that work on the units of a screen."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Self

from invdesign.errors import PluginError, RunError
from invdesign.problem import Problem
from invdesign.processes import start_child, start_pool
from invdesign.registry import FOREIGN_ERRORS
from invdesign.screening.scanning import Scanner
from invdesign.screening.tiers import Tier
from invdesign.worker import Setup, Worker

QUEUED = 2  # units per process under way, so that none waits for the next; chosen

_scanner: Scanner | None = None
_broken = ""


def make_scanner(setup: Setup, problem: Problem, tiers: Sequence[Tier]) -> Scanner:
    """Make the scanner of this process, with its models loaded.

    Args:
        setup: space and evaluators.
        problem: of the campaign.
        tiers: their evaluators are replaced by those of the setup.
    """
    worker = Worker.from_setup(setup)
    worker.prepare()
    own = [replace(tier, evaluator=worker.evaluators[tier.name]) for tier in tiers]
    return Scanner(worker.space, problem, own)


def start_worker(packed: bytes) -> None:
    """Make this process a worker of a screen; an error is kept and answered to every task.

    Args:
        packed: the arguments of `make_scanner`, pickled by the process that started this one.
    """
    global _scanner, _broken  # noqa: PLW0603 - one scanner per process, by construction
    start_child()
    try:
        _scanner = make_scanner(*pickle.loads(packed))  # noqa: S301 - from who started us
    except FOREIGN_ERRORS as error:  # kept for `call_scanner`
        _broken = f"{type(error).__name__}: {' '.join(str(error).split())}"


def call_scanner(method: str, arguments: tuple[Any, ...]) -> Any:
    """Call a `method` of the scanner of this process.

    Raises:
        PluginError: it could not be made.
    """
    if _scanner is None:
        raise PluginError(_broken or "the worker was not initialized")
    return _call(_scanner, method, arguments)


def _call(scanner: Scanner, method: str, arguments: tuple[Any, ...]) -> Any:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):  # last digits of products may depend on the number of threads
        return getattr(scanner, method)(*arguments)


class Crew:
    """Runs methods of scanners: in worker processes, or with `workers` 0 at once in this one.

    Args:
        setup, problem, tiers: as of `make_scanner`.
        workers: number of processes.

    Raises:
        RunError: a function cannot be sent to workers, or the evaluators cannot be set up.
    """

    def __init__(self, setup: Setup, problem: Problem, tiers: Sequence[Tier], workers: int) -> None:
        self.slots = QUEUED * workers or 1
        self._workers = workers
        self._arguments = (setup, problem, tuple(replace(tier, evaluator=None) for tier in tiers))  # type: ignore[arg-type]  # they are in the setup
        self._own: Scanner | None = None
        self._pool: Any = None

    def __enter__(self) -> Self:
        if self._workers:
            self._pool = start_pool(self._workers, start_worker, (pickle.dumps(self._arguments),))
            return self
        try:
            self._own = make_scanner(*self._arguments)
        except FOREIGN_ERRORS as error:
            raise RunError(f"the evaluators cannot be set up: {type(error).__name__}: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """Call a `method` of a scanner soon."""
        if self._own is None:
            found: Future[Any] = self._pool.schedule(call_scanner, args=(method, arguments))
            return found
        done: Future[Any] = Future()
        try:
            done.set_result(_call(self._own, method, arguments))
        except FOREIGN_ERRORS as error:
            done.set_exception(error)
        return done

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a `method` of a scanner, and wait for its result."""
        return read_result(lambda: self.submit(method, *arguments).result())


def read_result(read: Callable[[], Any]) -> Any:
    """Result of a task.

    Raises:
        RunError: the process was lost or the evaluators cannot be set up.
    """
    from pebble import ProcessExpired

    try:
        return read()
    except ProcessExpired as error:
        raise RunError(
            "a worker process died, perhaps for want of memory. Everything up to the last unit is kept: start the same "
            "command again, with fewer --workers, or look closer with --workers 0"
        ) from error
    except PluginError as error:
        raise RunError(f"the evaluators cannot be set up: {error}") from error
