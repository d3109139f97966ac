"""One process holds a run; whoever comes second is told who."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from invdesign.errors import RunLockedError, StoreError

PATIENCE = 0.5  # seconds: `is_held` holds the lock for an instant


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run in `folder` (flock, which the system releases however the process ends).

    Raises:
        RunLockedError: another process holds it; the message names host and process.
    """
    from filelock import FileLock, Timeout

    holder = folder / "run.holder"
    lock = FileLock(folder / "run.lock", timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"{folder} is in use by {_who(holder)}. Look at it with: invdesign status {folder}"
        ) from error
    except OSError as error:
        raise StoreError(f"{folder} cannot be locked: {error.strerror or error}") from error
    try:
        with suppress(OSError):  # a full disk; the lock holds all the same
            note = {"host": socket.gethostname(), "process": os.getpid(), "session": uuid.uuid4().hex}
            holder.write_text(json.dumps(note), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def holding_session(folder: Path) -> str:
    """Name of the session that holds the run; empty where its note cannot be read."""
    try:
        return str(json.loads((folder / "run.holder").read_text(encoding="utf-8"))["session"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_held(folder: Path) -> bool:
    """Whether a process works on the run in `folder` now."""
    from filelock import FileLock, Timeout

    if not (folder / "run.lock").exists():
        return False
    try:
        with FileLock(folder / "run.lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder we may only read: its note is all there is to go by
        return (folder / "run.holder").exists()


def _who(holder: Path) -> str:
    try:
        data = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {data['process']} on {data['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"
