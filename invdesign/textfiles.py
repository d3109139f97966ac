"""Text files of users: regular files of limited size, in common encodings."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from invdesign.errors import InvdesignError

MEGABYTE = 10**6
# No Western language has four accented letters in a row, and no table has control characters.
_FOREIGN = re.compile("[\u00a1-\u00ff]{4,}|[\u0080-\u009f]")
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


class UnreadableFileError(InvdesignError):
    """A file is missing, too large, not a regular file, or not text."""

    exit_code = 2


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open the regular file at `path` for reading.

    Pipes and devices are refused, so that nothing is waited for.

    Raises:
        UnreadableFileError: missing, a folder, a pipe or device, or not allowed to be read.
    """
    try:
        # O_NONBLOCK: opening a pipe that has no writer would never return.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise UnreadableFileError(f"there is no such file (looked for {path})") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UnreadableFileError(f"{path.name} cannot be read: {_describe_error(error)}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableFileError(f"{path.name} is a folder; name a file in it")
        if not stat.S_ISREG(mode):
            raise UnreadableFileError(f"{path.name} is a pipe or a device; only regular files are read")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    except OSError as error:
        raise UnreadableFileError(f"{path.name} cannot be read: {_describe_error(error)}") from error
    finally:
        os.close(descriptor)


def read_bytes(path: Path, limit: int) -> bytes:
    """Read the regular file at `path`, of at most `limit` bytes.

    Raises:
        UnreadableFileError: missing, a folder, a pipe or device, too large, or not allowed to be read.
    """
    with open_regular(path) as stream:
        data = stream.read(limit + 1)  # the stated size may be false, or grow
        size = max(os.fstat(stream.fileno()).st_size, len(data))
    if len(data) > limit:
        raise UnreadableFileError(
            f"{path.name} is too large: {size / MEGABYTE:.7g} MB, at most {limit / MEGABYTE:.7g} MB are read"
        )
    return data


def check_replaceable(path: Path) -> None:
    """Refuse to replace what is no regular file, as in `--output /dev/null`.

    Args:
        path: of the file to write. Pipes, devices and folders are refused, and all within `/dev` (but `/dev/shm`),
            `/proc` and `/sys`.

    Raises:
        OSError: there is one; a privileged user would remove it for all processes.
    """
    places = {path.absolute(), *path.absolute().parents, *path.resolve().parents}
    if {Path("/dev"), Path("/proc"), Path("/sys")} & places and Path("/dev/shm") not in places:  # noqa: S108 - files in memory
        raise OSError(errno.EINVAL, "it belongs to the system; name a file elsewhere")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a pipe, a device or a folder; name a file")


def decode(data: bytes, name: str, *, fallback: str | None = "latin-1", letters: bool = False) -> str:
    """Decode a text file by its byte order mark, as UTF-8, or by a fallback.

    Line ends become single newlines.

    Args:
        data: the file's bytes.
        name: of the file, for messages.
        fallback: encoding of text that is not UTF-8, or None to refuse it; "latin-1" includes the dashes and quotation marks
            that Windows adds to it.
        letters: refuse text that is neither UTF-8 nor Western European, since its words matter.

    Raises:
        UnreadableFileError: it is no text in these encodings.
    """
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if fallback is None or encoding != "utf-8":
            line = data[: error.start].count(b"\n") + 1
            raise UnreadableFileError(
                f"{name} is no {encoding.removesuffix('-sig').upper()} text at line {line}; save it as UTF-8"
            ) from None
        text = _decode_western(data) if fallback == "latin-1" else data.decode(fallback)
        strange = _FOREIGN.search(text) if letters else None
        if strange is not None:
            line = text.count("\n", 0, strange.start()) + 1
            raise UnreadableFileError(
                f"{name} is no UTF-8 text, and in line {line} no Western European either: it would be read as "
                f"{strange[0]!r:.40}; save it as UTF-8 (in a spreadsheet as 'CSV UTF-8')"
            ) from None
    if "\0" in text:
        raise UnreadableFileError(f"{name} is not a text file: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_western(data: bytes) -> str:
    """Decode as Windows-1252, or as Latin-1 if it holds bytes that have no meaning there."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_text(path: Path, limit: int, *, fallback: str | None = "latin-1", letters: bool = False) -> str:
    """Read and decode a text file; see `read_bytes` and `decode`.

    Args:
        path: of the file.
        limit: bytes.
        fallback: encoding of text that is not UTF-8; None to refuse it.
        letters: refuse text that is neither UTF-8 nor Western European.

    Raises:
        UnreadableFileError: the file cannot be read, or is no text.
    """
    return decode(read_bytes(path, limit), path.name, fallback=fallback, letters=letters)


def _describe_error(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
