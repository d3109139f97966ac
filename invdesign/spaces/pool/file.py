"""The file or folder a pool stands on. It stays where it is; path, size and a hash of the content travel."""

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

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")
DATABASE_SUFFIXES = (".db", ".json")
BYTES_PER_READ = 1 << 20
MAX_BYTES = 50_000_000_000  # chosen: what a disk hands over in minutes; a sparse file may claim any size
MAX_NAMES_SHOWN = 3


class PoolError(InvdesignError):
    """The pool cannot be used as it is."""

    exit_code = 2


class PoolFile(Frozen):
    """Where a pool lies and what it held when the campaign was read."""

    path: str
    """Absolute path of the file or folder."""
    bytes: int = Field(ge=0)
    """Size; of all structure files of a folder together."""
    hash: str
    """Of the content; a run refuses to go on with another one."""

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
        """The file or folder at `path`, relative to the working directory."""
        return cls.model_validate(str(path))

    def verify_content(self) -> Path:
        """The path, where the content is still the one that was named.

        Raises:
            PoolError: it was moved, removed or changed.
        """
        path = Path(self.path)
        if not _is_a(Path.exists, path):
            raise PoolError(
                f"the pool {path} is not there any more. Put it back where it was, or start a new run with a "
                "campaign that names its new place"
            )
        size, digest = _hash_content(path)
        if (size, digest) != (self.bytes, self.hash):
            raise PoolError(
                f"the pool {path} has changed since this campaign was read: {self.bytes} bytes then, {size} now, "
                "and another content. Put the former one back, or start a new run"
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
    """Refuse what is not there or is of no kind that can be read."""
    if _is_a(Path.is_dir, path):
        _check_folder(path, name)
        return
    if not _is_a(Path.is_file, path):
        if _is_a(Path.exists, path):
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


def _is_a(kind: Callable[[Path], bool], path: Path) -> bool:
    try:
        return kind(path)
    except OSError:  # a name too long, a folder that may not be looked into
        return False


def _check_folder(path: Path, name: str) -> None:
    """Refuse a folder without structure files, or with names of such that are no regular files."""
    try:
        named = sorted(entry for entry in path.iterdir() if is_structure_file(entry))
    except OSError as error:
        raise ValueError(f"the folder '{name}' cannot be read: {error.strerror}") from error
    strange = [
        entry.name for entry in named if not _is_a(Path.is_file, entry) and not _is_a(Path.is_dir, entry)
    ]
    if strange:
        raise ValueError(
            f"the folder '{name}' holds what is no file, such as a link that leads nowhere or a pipe: {_shorten_list(strange)}. "
            "Take it out"
        )
    if not list_structure_files(path):
        kinds = ", ".join(SUFFIXES)
        others = describe_ignored(path)
        raise ValueError(
            f"the folder '{name}' holds no structure file ({kinds}, POSCAR, CONTCAR)"
            + (f". {others}" if others else "")
        )


def list_structure_files(path: Path) -> list[Path]:
    """The structure files of a folder, not of folders within it, in the order of their names; of a file, itself."""
    if not path.is_dir():
        return [path]
    return sorted(
        entry for entry in path.iterdir() if is_structure_file(entry) and _is_a(Path.is_file, entry)
    )


def describe_ignored(path: Path) -> str:
    """A sentence on what else is in a folder of structures; empty where there is nothing, or for a file."""
    if not path.is_dir():
        return ""
    visible = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry.name for entry in visible if _is_a(Path.is_dir, entry)]
    files = [
        entry.name for entry in visible if not is_structure_file(entry) and entry.name not in set(folders)
    ]
    said = []
    if files:
        named = "1 file is" if len(files) == 1 else f"{len(files)} files are"
        said.append(f"{named} passed over, not named as structure files are: {_shorten_list(files)}")
    if folders:
        named = "1 folder" if len(folders) == 1 else f"{len(folders)} folders"
        said.append(f"{named} within it not looked into: {_shorten_list(folders)}")
    return "; ".join(said)


def _shorten_list(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (
        f" and {len(names) - MAX_NAMES_SHOWN} more" if names[MAX_NAMES_SHOWN:] else ""
    )


def is_structure_file(path: Path) -> bool:
    """Whether the name is that of a structure file."""
    return not path.name.startswith(".") and is_structure_name(path.name)


def _hash_content(path: Path) -> tuple[int, str]:
    """(size, hash) of a file, or of the structure files of a folder.

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
    """Read once per process, unless size or time of a file changes."""
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
