"""Processes that this one starts: with a safe import path, without interrupts, following their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

from invdesign.errors import INTERRUPTED

if TYPE_CHECKING:
    from pebble import ProcessPool

# Any value keeps the working folder out of a new process's path (docs.python.org/3.11/using/cmdline.html).
SAFE_PATH = "PYTHONSAFEPATH"
SAFE_PATH_MARK = "invdesign"  # its value where the run has set it, not the user
_start_lock = threading.Lock()


@contextmanager
def safe_path() -> Iterator[None]:
    """Start Python processes with a safe import path within the block.

    Python puts the working folder first for `python -c`, by which multiprocessing starts processes: a `socket.py` there
    would be imported instead of Python's own. Workers remove the variable again (`worker.initialize`), so that it does
    not affect programs they start.
    """
    if os.environ.get(SAFE_PATH):
        yield
        return
    os.environ[SAFE_PATH] = SAFE_PATH_MARK
    try:
        yield
    finally:
        os.environ.pop(SAFE_PATH, None)


@contextmanager
def stop_at_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM within the block.

    A second SIGINT leaves at once.

    What the block writes must be whole at any moment. An interactive Python survives the second one, with all it holds.
    In other threads than the main one signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        stop.set()
        if len(received) > 1 and number == signal.SIGINT:
            if is_interactive():
                raise KeyboardInterrupt
            os._exit(INTERRUPTED)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_interactive() -> bool:
    """True in a notebook, in IPython, or at the prompt.

    What such a Python holds must outlive an interrupt.
    """
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)


@contextmanager
def block_interrupts() -> Iterator[None]:
    """Start threads and processes that ignore Ctrl-C within the block.

    The terminal sends it to the whole process group.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Multiprocessing unblocks interrupts after starting its resource tracker, so that is started before.
    with safe_path():
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _WorkerProcess(SpawnProcess):
    """A spawned process that does not import the user's script.

    Workers need nothing from it, and a script without an `if __name__ == "__main__"` guard would start its run
    again in each of them.
    """

    def start(self) -> None:
        with _start_lock, safe_path():
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class CleanSpawn(SpawnContext):
    """Context of multiprocessing that spawns processes without the user's script."""

    Process = _WorkerProcess


def start_pool(workers: int, initializer: Callable[..., None], arguments: tuple[Any, ...]) -> ProcessPool:
    """Start a pool of spawned processes that ignore Ctrl-C.

    Args:
        workers: number of processes.
        initializer: called in each of them first.
        arguments: of the initializer.
    """
    from pebble import ProcessPool

    # BLAS reads these at its first import, which in workers comes before any code of this package.
    for name in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")
    with block_interrupts():
        pool = ProcessPool(
            max_workers=workers, initializer=initializer, initargs=arguments, context=CleanSpawn()
        )
        # A pool starts its threads and processes with its first task, so give it one while interrupts are blocked.
        pool.schedule(os.getpid)
    return pool


def limit_threads() -> None:
    """Limit numerical libraries to one thread.

    Two threads per process were measured 20 times slower than one when all cores are busy.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def follow_parent() -> None:
    """End this process when the coordinating process ends, even if it was killed."""
    coordinator = multiprocessing.parent_process()
    # The process that started this one, not the parent by now: it may have been killed during the imports.
    parent = os.getppid() if coordinator is None or coordinator.pid is None else coordinator.pid

    def exit_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True, name="follow-parent").start()


def start_child() -> None:
    """Make a started process a quiet child.

    No interrupts, one numerical thread, an end with its parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.environ.get(SAFE_PATH) == SAFE_PATH_MARK:
        del os.environ[SAFE_PATH]
    limit_threads()
    follow_parent()
