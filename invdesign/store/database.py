"""Connections to SQLite, network file systems, and database errors in words for users."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from invdesign.diskfiles import refuse_links
from invdesign.errors import StoreError
from invdesign.store.lock import is_held

SQLITE_TIMEOUT = 30  # seconds to wait for a lock of SQLite's; chosen
COMPANION_ENDINGS = ("-wal", "-shm", "-journal")  # endings of the files SQLite keeps beside a database
IMMUTABLE_MODE = "ro&immutable=1"  # SQLite's mode for a file that does not change
DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def translate_database_errors(path: Path, advice: str = "") -> Iterator[None]:
    """Translate database errors within the block into `StoreError`.

    Args:
        path: the store's file.
        advice: for a full disk; by default to resume the run.

    Raises:
        StoreError: the disk is full, the file is damaged, locked, or cannot be written.
    """
    try:
        yield
    except DatabaseError as error:
        raise _explain_error(path, str(error.orig or error), advice) from error
    except sqlite3.Error as error:  # of the driver's own cursor
        raise _explain_error(path, str(error), advice) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged_store_error(path, error) from error
    except OSError as error:
        raise unwritable_error(path, error, advice) from error


def _explain_error(path: Path, text: str, advice: str) -> StoreError:
    if "disk is full" in text or "disk I/O error" in text:
        return StoreError(f"{path} cannot be written: {text}. {advice or resume_advice(path.parent)}")
    if any(sign in text for sign in _DAMAGE_SIGNS):
        return damaged_store_error(path, text)
    if "readonly" in text or "unable to open" in text:
        return StoreError(f"{path} cannot be opened for writing: {text}. Check its permissions.")
    if "locked" in text:
        return StoreError(f"{path} is locked by another process: {text}.")
    return StoreError(f"{path}: {text}")


_DAMAGE_SIGNS = ("malformed", "not a database", "no such table", "no such column", "Could not decode")


def resume_advice(folder: Path) -> str:
    """Advice to make room and resume the run in `folder`."""
    return f"Everything up to the last step is kept; make room, then: invdesign resume {folder}"


def unwritable_error(path: Path, error: OSError, advice: str = "") -> StoreError:
    """Error for a `path` that cannot be written.

    Args:
        path: of the store.
        error: from the system.
        advice: for a full disk; by default to resume the run.
    """
    what = f"{path} cannot be written: {error.strerror or error}"
    return StoreError(
        f"{what}. {advice or resume_advice(path.parent)}" if error.errno in DISK_FULL_ERRORS else what
    )


class DamagedError(StoreError):
    """A store's contents differ from the data written to it."""


def damaged_store_error(path: Path, what: object) -> StoreError:
    """Error for a damaged store, or a file that is none.

    Args:
        path: the file.
        what: the finding.
    """
    return DamagedError(
        f"{path} is damaged, or is no run store ({what}). Keep a copy of the folder; "
        f"invdesign doctor {path.parent} says what is damaged and what can be done about it. What SQLite can still read "
        f"is recovered by: sqlite3 {path} .recover"
    )


def connect(path: Path, *, writable: bool, wal: bool = True, alone: bool = False) -> Engine:
    """Open an engine for an existing SQLite file.

    The journal mode is one that the file system allows.

    Args:
        path: the file.
        writable: False opens it for reading only.
        wal: False for a file without other readers yet: after every transaction all data is in that one file.
        alone: read the file without a journal beside it.

    Raises:
        StoreError: the file or one of SQLite's files beside it is a symbolic link.
    """
    refuse_links([path.with_name(path.name + ending) for ending in (*COMPANION_ENDINGS, *[""] * writable)])
    place, mode, temporary = (
        (path, "rw", None) if writable else (path, IMMUTABLE_MODE, None) if alone else _choose_reading(path)
    )
    # Quoted twice, since SQLAlchemy unquotes once.
    address = f"sqlite:///{quote(sqlite_uri(place), safe=':/')}?mode={mode}&uri=true"
    engine = create_engine(address, connect_args={"timeout": SQLITE_TIMEOUT})
    network = is_on_network(path)

    def set_pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        if writable:
            # WAL needs shared memory, which network file systems lack, unless one process holds the file alone.
            if network:
                cursor.execute("PRAGMA locking_mode=EXCLUSIVE")
            cursor.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
            cursor.execute(f"PRAGMA synchronous={'NORMAL' if wal else 'FULL'}")
        cursor.close()

    event.listen(engine, "connect", set_pragmas)
    if temporary is not None:
        event.listen(engine, "engine_disposed", lambda _: shutil.rmtree(temporary, ignore_errors=True))
    return engine


def sqlite_uri(path: Path) -> str:
    """SQLite's URI of `path`.

    The path may hold `?`, `#`, `%` or bytes that are no text.
    """
    return f"file:{quote(os.fsencode(path.absolute()))}"


def _choose_reading(path: Path) -> tuple[Path, str, Path | None]:
    """Choose file, SQLite mode and temporary folder for reading a store.

    In a folder without write permission SQLite cannot share a journal with other processes. Without a running process the
    file alone is complete and does not change; where a journal was left, both are copied and the copy is read. The
    temporary folder is None where no copy was made; the caller removes it in the end.
    """
    if may_write(path.parent) or is_held(path.parent):
        return path, "ro", None
    journal = path.with_name(f"{path.name}-wal")
    if not journal.is_file() or not journal.stat().st_size:
        return path, IMMUTABLE_MODE, None
    folder = Path(tempfile.mkdtemp(prefix="invdesign-"))
    try:
        for file in (path, journal):
            shutil.copyfile(file, folder / file.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / path.name, "ro", folder


def may_write(folder: Path) -> bool:
    """True if files can be created in `folder`."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def copy_to_memory(engine: Engine) -> Engine:
    """Copy the database of `engine` into memory and close the original."""
    copy = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    try:
        with engine.connect() as source, copy.connect() as target:
            original, other = source.connection.driver_connection, target.connection.driver_connection
            assert original is not None
            original.backup(other)
    except BaseException:
        copy.dispose()
        raise
    engine.dispose()
    return copy


_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs"}
)


def is_on_network(path: Path) -> bool:
    """True if `path` lies on a network file system.

    The mount table decides.
    """
    import psutil

    resolved = path.resolve()
    mounts = [p for p in psutil.disk_partitions(all=True) if resolved.is_relative_to(p.mountpoint)]
    closest = max(mounts, key=lambda p: len(p.mountpoint), default=None)
    return closest is not None and closest.fstype.lower() in _NETWORK_FILE_SYSTEMS
