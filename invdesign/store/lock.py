"""Lock of a run: one process holds it.

The message to a second one names the holder.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from invdesign.diskfiles import refuse_links, replace_atomically
from invdesign.errors import RunLockedError, StoreError

LOCK_FILE = "run.lock"
# Paths that a run writes in its folder.
OWN_PATHS = (LOCK_FILE, "run.sqlite", "requests", "requests/refused", "work", "artifacts")
LOCK_TIMEOUT = 0.5  # seconds: `is_held` holds the lock for an instant


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold the lock of the run in `folder` within the block.

    The lock is a flock, which the system releases however the process ends.

    Raises:
        RunLockedError: another process holds it; the message names host and process.
        StoreError: the folder holds links where the run writes, or cannot be locked.
    """
    refuse_links([folder / name for name in OWN_PATHS])
    holder = folder / "run.holder"

    def refuse() -> str:
        return f"{folder} is in use by {_describe_holder(holder)}. Look at it with: invdesign status {folder}"

    with hold_lock(folder / LOCK_FILE, refuse):
        try:
            # On a full disk the note is missing, and the lock still holds.
            with suppress(OSError), replace_atomically(holder) as note:
                session = {"host": socket.gethostname(), "process": os.getpid(), "session": uuid.uuid4().hex}
                note.write_text(json.dumps(session), encoding="utf-8")
            yield
        finally:
            with suppress(OSError):  # the folder may be gone, and the first error matters more
                holder.unlink(missing_ok=True)


@contextmanager
def hold_lock(path: Path, refuse: Callable[[], str]) -> Iterator[None]:
    """Hold the lock file `path` within the block; the system releases it however the process ends.

    Args:
        path: of a file in a folder that exists.
        refuse: makes the message to a second process.

    Raises:
        RunLockedError: another process holds it.
        StoreError: the folder cannot be locked.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=LOCK_TIMEOUT)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(refuse()) from error
    except OSError as error:
        full = "; make room, and do it again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
        raise StoreError(f"{path.parent} cannot be locked: {error.strerror or error}{full}") from error
    try:
        yield
    finally:
        lock.release()


def holding_session(folder: Path) -> str:
    """Session that holds the run in `folder`; empty if unreadable."""
    try:
        return str(json.loads((folder / "run.holder").read_text(encoding="utf-8"))["session"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def is_held(folder: Path) -> bool:
    """True if a process is working on the run in `folder`."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return False
    except OSError:  # a lock without read permission: only the holder's note is left to judge by
        return (folder / "run.holder").exists()
    try:
        return _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    """True if another process has locked the file.

    Nothing is written, so this also works on read-only media.
    """
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
