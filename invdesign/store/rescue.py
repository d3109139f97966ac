"""Rescue of a store whose file was moved, deleted or replaced during a run."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from invdesign.diskfiles import create_temporary, default_mode, sync_to_disk
from invdesign.errors import LostRunError


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Device and inode of a file."""

    device: int
    inode: int

    @classmethod
    def of_path(cls, path: Path) -> FileIdentity | None:
        """Identity of the file at `path`; None if unreadable."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino)


def rescue_store(path: Path, identity: FileIdentity, connection: Any) -> LostRunError:
    """Save a store whose file disappeared; return the error to raise.

    Args:
        path: the file's former place.
        identity: of the file when it was opened.
        connection: the driver's, open on the file since before.

    Returns:
        The error, whose message says where the data is now.
    """
    found = _find_moved_file(identity)
    if found is not None and found.name == path.name and _empty_journal(connection):
        return LostRunError(
            f"{path} was moved to {found} while the run was at work. Everything up to the last step is there; go on with: "
            f"invdesign resume {found.parent}",
            found.parent,
        )
    happened = (
        f"{path} was {'replaced by another file' if path.exists() else 'deleted'} while the run was at work"
    )
    try:
        place = _copy_database(connection, path)
    except (OSError, sqlite3.Error) as error:
        return LostRunError(f"{happened}, and what it held could not be saved: {error}")
    return LostRunError(
        f"{happened}. Everything up to the last step was saved to {place}; go on with: invdesign resume {place.parent}",
        place.parent,
    )


def _find_moved_file(identity: FileIdentity) -> Path | None:
    """Find the present path of an open file.

    Only Linux tells; elsewhere the result is None.
    """
    with suppress(OSError):
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if FileIdentity.of_path(entry) == identity:
                    name = entry.readlink()
                    if FileIdentity.of_path(name) == identity:
                        return name
    return None


def _empty_journal(connection: Any) -> bool:
    """Write the journal into the file; True on success.

    File and journal may have been separated by the move.
    """
    with suppress(sqlite3.Error):
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    return False


def _copy_database(connection: Any, path: Path) -> Path:
    """Copy the open database into the run's or a new folder.

    The new folder is used where the run's own still exists.

    Raises:
        OSError, sqlite3.Error: the copy cannot be written.
    """
    folder = _make_rescue_folder(path.parent)
    temporary = create_temporary(folder / path.name)
    with closing(sqlite3.connect(temporary)) as target:
        connection.backup(target)
    temporary.chmod(default_mode())
    sync_to_disk(temporary)
    temporary.replace(folder / path.name)
    return folder / path.name


def _make_rescue_folder(folder: Path) -> Path:
    rescued = folder.with_name(f"{folder.name}.rescued")
    more = (folder.with_name(f"{folder.name}.rescued-{number}") for number in count(2))
    for place in chain([folder, rescued], more):
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        return place
    raise AssertionError  # there is always a further name
