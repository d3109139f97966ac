"""Files that appear under their name only when they are complete, and never through a symbolic link."""

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
    """Yield a temporary file that replaces `path` on success.

    It is removed on failure.

    The temporary file lies in the same folder under an unpredictable name and is readable by its owner alone; at the end
    it gets the permissions of any new file. If `path` is a symbolic link, the link is replaced, not its target.

    Args:
        path: the file to write or replace.
        durable: sync the content to disk before the rename.

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
        with suppress(OSError):  # the first error is the informative one
            temporary.unlink(missing_ok=True)
        raise


def create_temporary(path: Path) -> Path:
    """Create an empty file beside `path` under an unpredictable name.

    Existing files are never opened.
    """
    temporary = temporary_name(path)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return temporary


def temporary_name(path: Path, word: str = "new") -> Path:
    """Unpredictable file name beside `path`, with `word` for its purpose."""
    return path.with_name(f".{path.name}.{word}-{secrets.token_hex(8)}")


def default_mode() -> int:
    """Permissions of a new file under the user's umask."""
    # The mask can be read only by setting it; for that instant other threads' files are private.
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def sync_to_disk(path: Path) -> None:
    """Flush the file or folder at `path` to disk."""
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
    """Refuse symbolic links among `paths` to write or remove.

    Raises:
        StoreError: one of the paths is a link.
    """
    for path in paths:
        if path.is_symlink():
            raise StoreError(
                f"{path} is a symbolic link to {path.readlink()}, and a run writes nothing through links. "
                f"Put the file or folder itself in its place, or remove the link: rm {path}"
            )
