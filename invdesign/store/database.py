"""Connections, file systems and database errors in words a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from invdesign.errors import StoreError


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Database errors as errors a user can act on.

    Raises:
        StoreError: the disk is full, the file is damaged, locked, or cannot be written.
    """
    try:
        yield
    except DatabaseError as error:
        text = str(error.orig or error)
        if "disk is full" in text or "disk I/O error" in text:
            raise StoreError(
                f"{path} cannot be written: {text}. Everything up to the last step is kept; "
                f"make room, then: invdesign resume {path.parent}"
            ) from error
        if "malformed" in text or "not a database" in text:
            raise StoreError(
                f"{path} is damaged ({text}). Keep a copy of the folder; what can be read is recovered by: "
                f"sqlite3 {path} .recover"
            ) from error
        if "readonly" in text or "unable to open" in text:
            raise StoreError(
                f"{path} cannot be opened for writing: {text}. Check its permissions."
            ) from error
        if "locked" in text:
            raise StoreError(f"{path} is locked by another process: {text}.") from error
        raise StoreError(f"{path}: {text}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def connect(path: Path, *, writable: bool) -> Engine:
    """An engine for the SQLite file, journalled as its file system allows."""
    mode = "rwc" if writable else "ro"
    engine = create_engine(f"sqlite:///file:{path}?mode={mode}&uri=true", connect_args={"timeout": 30})
    network = on_network(path)

    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        if writable:
            # WAL needs shared memory, which network file systems lack, unless one process holds the file alone.
            if network:
                cursor.execute("PRAGMA locking_mode=EXCLUSIVE")
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    event.listen(engine, "connect", configure)
    return engine


_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs"}
)


def on_network(path: Path) -> bool:
    """Whether the file lies on a network file system, as far as the mount table tells."""
    import psutil

    resolved = path.resolve()
    mounts = [p for p in psutil.disk_partitions(all=True) if resolved.is_relative_to(p.mountpoint)]
    closest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return closest is not None and closest.fstype.lower() in _NETWORK
