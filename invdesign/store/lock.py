"""One process holds a run; whoever comes second is told who."""

from __future__ import annotations

import errno
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from invdesign.errors import RunLockedError, StoreError
from invdesign.store.files import refuse_links, replace_atomically

LOCK_FILE = "run.lock"
OWN_PATHS = (
    LOCK_FILE,
    "run.sqlite",
    "requests",
    "requests/refused",
    "work",
)  # what a run writes in its folder
LOCK_TIMEOUT = 0.5  # seconds: `is_held` holds the lock for an instant


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the run in `folder` (flock, which the system releases however the process ends).

    Raises:
        RunLockedError: another process holds it; the message names host and process.
    """
    from filelock import FileLock, Timeout

    refuse_links([folder / name for name in OWN_PATHS])
    holder = folder / "run.holder"
    lock = FileLock(folder / LOCK_FILE, timeout=LOCK_TIMEOUT)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"{folder} is in use by {_describe_holder(holder)}. Look at it with: invdesign status {folder}"
        ) from error
    except OSError as error:
        full = "; make room, and do it again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
        raise StoreError(f"{folder} cannot be locked: {error.strerror or error}{full}") from error
    try:
        with (
            suppress(OSError),
            replace_atomically(holder) as note,
        ):  # a full disk; the lock holds all the same
            session = {"host": socket.gethostname(), "process": os.getpid(), "session": uuid.uuid4().hex}
            note.write_text(json.dumps(session), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # the folder may be gone, and what happened in it matters more
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
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return False
    except OSError:  # a lock we may not look at: the holder's note is all there is to go by
        return (folder / "run.holder").exists()
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """True if another process has locked the file; nothing is written, so that it works on read-only media."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _describe_holder(holder: Path) -> str:
    try:
        data = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {data['process']} on {data['host']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
