"""Creation of a store: written under a temporary name, checked, and renamed when it is whole."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, select

from invdesign.candidate import to_json
from invdesign.diskfiles import create_temporary, default_mode, sync_to_disk
from invdesign.errors import StoreError
from invdesign.store.checksums import COUNTS_ENTRY, count_rows, insert_rows, read_checked_rows
from invdesign.store.database import COMPANION_ENDINGS, connect, translate_database_errors
from invdesign.store.schema import SCHEMA_VERSION, meta, metadata
from invdesign.store.writing import set_entry


def create_store(
    path: Path, entries: Mapping[str, str], fill: Callable[[Path], object] | None, advice: str
) -> None:
    """Write a new store, or leave nothing behind (`Store.create`).

    Args:
        path: the store's file.
        entries: values of the `meta` table by key.
        fill: writes more into the file, under its temporary name.
        advice: for the message about a full disk; a default where it is empty.
    """
    advice = advice or "Nothing is left of the new run; make room, and start it again."
    with translate_database_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        temporary = create_temporary(path)
        try:
            _write_entries(temporary, entries)
            if fill is not None:
                fill(temporary)
            _finish_file(temporary)
            temporary.chmod(default_mode())
            sync_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            _remove_unfinished(path)
            raise
        with suppress(OSError):
            sync_to_disk(path.parent)


def _write_entries(path: Path, entries: Mapping[str, str]) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    rows = {"schema_version": str(SCHEMA_VERSION), "created": created, **entries}
    engine = connect(path, writable=True, wal=False)
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            insert_rows(connection, meta, [{"key": key, "value": value} for key, value in rows.items()])
    finally:
        engine.dispose()


def _finish_file(path: Path) -> None:
    """Write the row counts, empty the journal, and check the file.

    A checkpoint that a full disk prevents raises nothing when the last connection closes, so a checkpoint is requested
    here and its answer is read.
    """
    engine = connect(path, writable=True)
    try:
        with engine.connect() as connection:
            with connection.begin():
                set_entry(connection, COUNTS_ENTRY, to_json(dict(count_rows(connection))))
            answer = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    finally:
        engine.dispose()
    if tuple(answer) != (0, 0, 0):
        raise OSError(errno.ENOSPC, "its journal was not emptied, as on a full disk")
    for ending in COMPANION_ENDINGS:
        path.with_name(path.name + ending).unlink(missing_ok=True)
    engine = connect(path, writable=False, alone=True)
    try:
        with engine.connect() as connection:
            _check_written_file(connection, path)
    finally:
        engine.dispose()


def _check_written_file(connection: Connection, path: Path) -> None:
    verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if verdict != "ok":
        raise StoreError(f"{path} was not written as it should be: {verdict}")
    for _ in read_checked_rows(connection, select(meta), meta, path):
        pass


def _remove_unfinished(path: Path) -> None:
    """Remove files left by a creation that failed or was killed.

    Of links, the link itself is removed and not its target.
    """
    earlier = [
        path.with_suffix(f".new{ending}") for ending in ("", *COMPANION_ENDINGS)
    ]  # as they were named once
    for left in [*path.parent.glob(f".{path.name}.new-*"), *earlier]:
        with suppress(OSError):
            left.unlink()
