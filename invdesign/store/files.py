"""Files that appear under their name only when they are whole, and never through a symbolic link."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from invdesign.errors import StoreError
from invdesign.textfiles import check_replaceable


@contextmanager
def replace_atomically(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A new, empty file in the same folder; it replaces `path` at the end, or vanishes where writing failed.

    It is made anew under a name that cannot be foreseen, readable by its owner alone; at the end it has the permissions
    of any new file. Where `path` is a symbolic link, the link is replaced, not the file it leads to.

    Args:
        durable: whether the content is on disk before it takes the name.

    Raises:
        OSError: the disk refuses.
    """
    check_replaceable(path)
    temporary = create_temporary(path)
    try:
        yield temporary
        temporary.chmod(default_mode())
        if durable:
            sync_to_disk(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one that says something
            temporary.unlink(missing_ok=True)
        raise


def create_temporary(path: Path) -> Path:
    """Make an empty file beside `path` under a name that cannot be foreseen; nothing that exists is opened."""
    temporary = temporary_name(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return temporary


def temporary_name(path: Path, word: str = "new") -> Path:
    """A name beside `path` that cannot be foreseen."""
    return path.with_name(f".{path.name}.{word}-{secrets.token_hex(8)}")


def default_mode() -> int:
    """Permissions of a new file under the user's umask."""
    mask = os.umask(
        0o077
    )  # it can be read only by setting it; for that instant other threads' files are private
    os.umask(mask)
    return 0o666 & ~mask


def sync_to_disk(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError) if path.is_dir() else _raise_all():  # some file systems sync no folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _raise_all() -> Iterator[None]:
    yield


def refuse_links(paths: Iterator[Path] | list[Path]) -> None:
    """Refuse symbolic links in places of a run's folder that are written or removed.

    Raises:
        StoreError: one of the paths is a link.
    """
    for path in paths:
        if path.is_symlink():
            raise StoreError(
                f"{path} is a symbolic link to {path.readlink()}, and a run writes nothing through links. "
                f"Put the file or folder itself in its place, or remove the link: rm {path}"
            )
