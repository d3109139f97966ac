"""Supervisor of one outside program: no process of it outlives the job.

Started as `python -I -S supervisor.py` in a session of its own, with the standard library alone. The first line
on its standard input is the order, as JSON; the pipe then stays open as long as the worker lives. When it
closes, or the parent is another, the program and all processes it started are ended: SIGTERM, and half a second
later SIGKILL. Where the program ends by itself, its background processes are ended too, and only then the
marker's state is `ended`. A program that got SIGTERM together with this process, as a batch system sends it to
all of a job, was lost: it has not ended by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KILL_DELAY = 0.5  # seconds between SIGTERM and SIGKILL; chosen
SIGNAL_DELAY = 0.3  # seconds for a signal to all of a batch job's processes to reach this one too; chosen
POLL_INTERVAL = 0.2  # seconds between checks of the parent; chosen
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
SIGTERM_CODES = (-signal.SIGTERM, 128 + signal.SIGTERM)  # the latter is how a shell reports it
ON_LINUX = sys.platform == "linux"


def main() -> int:
    """Carry out the order on standard input.

    Returns 0 if the marker holds how the program ended.
    """
    stopped: list[int] = []
    wake = _wake_on_child_exit()
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    order = _read_order()
    if order is None:
        return 1
    if ON_LINUX:
        # Orphans of the program become children of this process, and are found.
        _set_process_option(PR_SET_CHILD_SUBREAPER, 1)
    marker = Path(order["marker"])
    began = time.time()
    try:
        program = _start_program(order)
    except OSError as error:
        _write_marker(
            marker, order["said"], state="ended", error=f"cannot be started: {error.strerror or error}"
        )
        return 0
    _write_marker(marker, order["said"], state="running", pid=program.pid, began=began)
    code = _watch_program(program, order["parent"], wake, stopped)
    _end_all(program.pid)
    if code in SIGTERM_CODES:
        time.sleep(SIGNAL_DELAY)
    if code is None or (code in SIGTERM_CODES and (stopped or os.getppid() != order["parent"])):
        return 1
    _write_marker(marker, order["said"], state="ended", code=code, began=began, seconds=time.time() - began)
    return 0


def _read_order() -> dict[str, Any] | None:
    """Read the order from standard input.

    It holds command, environment, streams, marker and parent. Returns None if the pipe closed.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return None
        line += part
    order: dict[str, Any] = json.loads(line)
    return order


def _start_program(order: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the program in its own process group, with default signal handling."""
    mode = "ab" if order["append"] else "wb"
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(Path(order["stdin"] or os.devnull).open("rb"))
        out = stack.enter_context(Path(order["stdout"]).open(mode))
        errors = stack.enter_context(Path(order["stderr"]).open(mode))
        return subprocess.Popen(  # noqa: S603 - it runs the campaign's program
            order["command"],
            executable=order["program"],
            env=order["environment"],
            stdin=source,
            stdout=out,
            stderr=errors,
            process_group=0,
            close_fds=False,  # every process that may write in the folder holds its lock
            preexec_fn=_reset_signals,  # noqa: PLW1509 - this process has one thread
        )


def _reset_signals() -> None:
    """Set default signal handling in the program, and its death with this process."""
    if ON_LINUX:
        _set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)  # in case this process is killed itself
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _set_process_option(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _wake_on_child_exit() -> int:
    """Return a file descriptor that becomes readable when a child ends.

    SIGINT and SIGHUP, which are meant for the program, are ignored here.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _watch_program(
    program: subprocess.Popen[bytes], parent: int, wake: int, stopped: list[int]
) -> int | None:
    """Wait for the program's exit code, negative for a signal.

    None if, before it ended, the parent was gone or this process received SIGTERM.
    """
    while True:
        code = program.poll()
        if code is not None:
            return code
        ready, _, _ = select.select([0, wake], [], [], POLL_INTERVAL)
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        if stopped or os.getppid() != parent or (0 in ready and not os.read(0, 4096)):
            return program.poll()  # it may have ended in this very moment


def _end_all(group: int) -> None:
    """End the program's process group and every process below this one."""
    if not _is_any_left(group):
        return
    _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + KILL_DELAY
    while _is_any_left(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    known: set[int] = set()
    for _ in range(500):  # a process forked during the killing is found in the next round
        known.update(_find_descendants())
        if not _is_any_left(group) and not known:
            return
        _signal_group(group, signal.SIGKILL)
        for pid in known:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        known = {pid for pid in known if _process_exists(pid)}
        time.sleep(0.01)


def _is_any_left(group: int) -> bool:
    """True if the group or this process has a process left.

    Ended children are reaped.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, 0)
        return True
    return False


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _find_descendants() -> set[int]:
    """All processes that this one started, directly or not."""
    children: dict[int, list[int]] = {}
    for pid, parent in _list_parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def _list_parents() -> Iterator[tuple[int, int]]:
    """Yield (process, parent) of all processes of the machine."""
    if ON_LINUX:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    # The name in parentheses may hold blanks and parentheses of its own.
                    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                    yield int(entry.name), int(fields[1])
        return
    listing = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
    )
    for line in listing.stdout.splitlines():
        pid, parent = map(int, line.split()[:2])
        yield pid, parent


def _write_marker(marker: Path, said: Mapping[str, Any], **now: Any) -> None:
    """Replace the marker atomically, so that no reader sees half of one."""
    fresh = marker.with_name(marker.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({**said, **now}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(marker)


if __name__ == "__main__":
    sys.exit(main())
