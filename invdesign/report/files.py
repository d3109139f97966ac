"""Output files and folders that appear under their name only when they are complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invdesign.diskfiles import replace_atomically, temporary_name
from invdesign.errors import InvdesignError
from invdesign.store.store import STORE_FILE


class OutputError(InvdesignError):
    """A report or an export cannot be written to the requested place."""


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `path` on success.

    Raises:
        OutputError: `path` is a folder, pipe, device or a run's store, or the disk refuses.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if path.name == STORE_FILE:
        raise OutputError(f"{path} has the name of a run's store; choose another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` on success.

    The caller decides if an existing folder may go.

    Raises:
        OutputError: the disk refuses.
    """
    path = path.absolute()
    temporary, former = temporary_name(path), temporary_name(path, "old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(former)
        temporary.rename(path)
    except OSError as error:
        if former.exists() and not path.exists():
            former.rename(path)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
