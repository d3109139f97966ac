"""Connections, file systems and database errors in words a user can act on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

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
        if any(sign in text for sign in _DAMAGE):
            raise damaged(path, text) from error
        if "readonly" in text or "unable to open" in text:
            raise StoreError(
                f"{path} cannot be opened for writing: {text}. Check its permissions."
            ) from error
        if "locked" in text:
            raise StoreError(f"{path} is locked by another process: {text}.") from error
        raise StoreError(f"{path}: {text}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged(path, error) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "Could not decode")


def damaged(path: Path, what: object) -> StoreError:
    """The error for a file that is no whole run store."""
    return StoreError(
        f"{path} is damaged, or is no run store ({what}). Keep a copy of the folder; what can be read is "
        f"recovered by: sqlite3 {path} .recover"
    )


def connect(path: Path, *, writable: bool) -> Engine:
    """An engine for the SQLite file, journalled as its file system allows."""
    mode = "rwc" if writable else "ro"
    # A folder's name may hold ?, # or %. Quoted twice: SQLAlchemy undoes one, SQLite the other.
    address = f"sqlite:///file:{quote(quote(str(path)))}?mode={mode}&uri=true"
    engine = create_engine(address, connect_args={"timeout": 30})
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


def in_memory(engine: Engine) -> Engine:
    """A copy of a database that lives in memory, for one process to do with as it likes."""
    copy = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.connect() as source, copy.connect() as target:
        original, other = source.connection.driver_connection, target.connection.driver_connection
        assert original is not None
        original.backup(other)
    engine.dispose()
    return copy


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
