"""File or folder of a pool, identified by path, size and content hash.

The file stays in its place; only these three are stored with a run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic_core import CoreSchema

from invdesign.errors import InvdesignError
from invdesign.settings import Frozen, resolve_path, validation_context
from invdesign.structures.reading.read import SUFFIXES, is_structure_name
from invdesign.textfiles import open_regular
from invdesign.wording import count_noun, list_first

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")
DATABASE_SUFFIXES = (".db", ".json")
BYTES_PER_READ = 1 << 20  # chosen
MAX_BYTES = 50_000_000_000  # chosen; a disk reads it in minutes, while a sparse file may claim any size
MAX_NAMES_SHOWN = 3  # chosen; files named in a message


class PoolError(InvdesignError):
    """The pool cannot be used as it is."""

    exit_code = 2


class PoolFile(Frozen):
    """Location, size and content hash of a pool when its campaign was read."""

    path: str
    """Absolute path of the file or folder."""
    bytes: int = Field(ge=0)
    """Size in bytes; the total of all structure files of a folder."""
    hash: str
    """Hash of the content; a run refuses to continue with another content."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_path(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        folder, _ = validation_context(info)
        path = resolve_path(value, folder)
        _check_kind(path, value)
        try:
            size, digest = _hash_content(path)
        except (InvdesignError, OSError) as error:
            raise ValueError(getattr(error, "strerror", None) or str(error)) from error
        return {"path": str(path), "bytes": size, "hash": digest}

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the file or folder at `path`, relative to the working directory."""
        return cls.model_validate(str(path))

    def verify_content(self) -> Path:
        """Return the path if the content is still the recorded one.

        Raises:
            PoolError: it was moved, removed or changed.
        """
        path = Path(self.path)
        if not _path_passes(Path.exists, path):
            raise PoolError(
                f"the pool {path} is not there any more. Put it back, or start a new run with a campaign that "
                "names its new path"
            )
        size, digest = _hash_content(path)
        if (size, digest) != (self.bytes, self.hash):
            raise PoolError(
                f"the pool {path} has changed since this campaign was read: {self.bytes} bytes then, {size} now, "
                "with a different content. Put the former file back, or start a new run"
            )
        return path

    @classmethod
    def __get_pydantic_json_schema__(
        cls,
        schema: CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "description": "Path of a table, a file or folder of structures, or an ASE database.",
        }


def _check_kind(path: Path, name: str) -> None:
    """Refuse a path that is missing or of no readable kind."""
    if _path_passes(Path.is_dir, path):
        _check_folder(path, name)
        return
    if not _path_passes(Path.is_file, path):
        if _path_passes(Path.exists, path):
            raise ValueError(f"'{name}' is a pipe or a device; only regular files and folders are read")
        raise ValueError(f"there is no file or folder '{name}' (looked for {path})")
    suffix = path.suffix.lower()
    if suffix in {".gz", ".zip", ".bz2", ".xz", ".zst"}:
        raise ValueError(f"'{name}' is compressed, and rows could not be read one by one; unpack it first")
    if suffix not in {*TABLE_SUFFIXES, *DATABASE_SUFFIXES} and not is_structure_name(path.name):
        kinds = ", ".join([*TABLE_SUFFIXES, *DATABASE_SUFFIXES])
        raise ValueError(
            f"'{name}' is of no kind that can be read: give a table or ASE database ({kinds}), a file of structures "
            f"({', '.join(SUFFIXES)}), or a folder of such files"
        )


def _path_passes(kind: Callable[[Path], bool], path: Path) -> bool:
    """Result of a test of a path; False where the path cannot be read."""
    try:
        return kind(path)
    except OSError:  # a name that is too long, or a folder without permission
        return False


def _check_folder(path: Path, name: str) -> None:
    """Refuse a folder without structure files, or with irregular ones."""
    try:
        named = sorted(entry for entry in path.iterdir() if is_structure_file(entry))
    except OSError as error:
        raise ValueError(f"the folder '{name}' cannot be read: {error.strerror}") from error
    strange = [
        entry.name
        for entry in named
        if not _path_passes(Path.is_file, entry) and not _path_passes(Path.is_dir, entry)
    ]
    if strange:
        raise ValueError(
            f"the folder '{name}' holds entries that are no regular files, such as a broken link or a pipe: {list_first(strange, MAX_NAMES_SHOWN)}. "
            "Remove them"
        )
    if not list_structure_files(path):
        kinds = ", ".join(SUFFIXES)
        others = describe_ignored(path)
        raise ValueError(
            f"the folder '{name}' holds no structure file ({kinds}, POSCAR, CONTCAR)"
            + (f". {others}" if others else "")
        )


def list_structure_files(path: Path) -> list[Path]:
    """Structure files of the folder `path`, sorted by name; a file alone.

    Folders within it are not searched.
    """
    if not path.is_dir():
        return [path]
    return sorted(
        entry for entry in path.iterdir() if is_structure_file(entry) and _path_passes(Path.is_file, entry)
    )


def describe_ignored(path: Path) -> str:
    """Sentence on the other contents of a folder of structures.

    Empty where there are none, or for a file.

    Args:
        path: the folder or file.
    """
    if not path.is_dir():
        return ""
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry.name for entry in visible if _path_passes(Path.is_dir, entry)]
    files = [
        entry.name for entry in visible if not is_structure_file(entry) and entry.name not in set(folders)
    ]
    parts = []
    if files:
        named = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        parts.append(f"{named} ignored, not named like structure files: {list_first(files, MAX_NAMES_SHOWN)}")
    if folders:
        parts.append(
            f"{count_noun(len(folders), 'folder')} within it not searched: {list_first(folders, MAX_NAMES_SHOWN)}"
        )
    return "; ".join(parts)


def is_structure_file(path: Path) -> bool:
    """True if the name of `path` is a structure file's."""
    return not path.name.startswith(".") and is_structure_name(path.name)


def _hash_content(path: Path) -> tuple[int, str]:
    """Size and hash of a file, or of a folder's structure files.

    Raises:
        UnreadableFileError: one is no regular file, or cannot be read.
        PoolError: they are larger than `MAX_BYTES` together.
    """
    files = list_structure_files(path)
    stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    _check_size(path, sum(size for _, size, _ in stamps))
    return _hash_files(stamps)


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise PoolError(f"{path.name} has {size / 1e9:.4g} GB; a pool has {MAX_BYTES / 1e9:.4g} GB at most")


@lru_cache(maxsize=8)
def _hash_files(stamps: tuple[tuple[str, int, int], ...]) -> tuple[int, str]:
    """Size and hash of files, read once per process.

    They are read again where size or time of a file changes.
    """
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    for name, _, _ in stamps:
        if len(stamps) > 1:
            digest.update(os.fsencode(Path(name).name) + b"\0")
        length = 0
        for chunk in _read_chunks(Path(name)):
            digest.update(chunk)
            length += len(chunk)
            _check_size(Path(name), size + length)
        if len(stamps) > 1:
            digest.update(length.to_bytes(8, "little"))
        size += length
    return size, digest.hexdigest()


def _read_chunks(path: Path) -> Iterator[bytes]:
    with open_regular(path) as stream:
        while chunk := stream.read(BYTES_PER_READ):
            yield chunk
