"""Contents of artifacts by their hash: in memory while one uses them, in folders of runs, and shipped with packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from invdesign.errors import ArtifactError
from invdesign.textfiles import UnreadableFileError, read_bytes

MAX_ARTIFACT_BYTES = 1_000_000_000  # of one artifact, which is held in memory as a whole (chosen)
FOLDER = "artifacts"  # in the folder of a run
MAX_PLACES_NAMED = 3  # in a message (chosen)


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Content:
    """Bytes with their hash; equal bytes are one object while one of them is used."""

    sha256: str
    data: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return hold_content, (self.data,)

    def __deepcopy__(self, memo: object) -> Content:
        return self


# By hash. Weak, so that the weights of a campaign are freed with it.
_in_use: WeakValueDictionary[str, Content] = WeakValueDictionary()
_folders: dict[Path, None] = {}  # of runs, the latest last
_shipped: list[Callable[[str], bytes | None]] = []


def hash_bytes(data: bytes) -> str:
    """SHA-256 of `data` in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hold_content(data: bytes) -> Content:
    """Content of `data`, found by its hash as long as it is referred to."""
    sha256 = hash_bytes(data)
    return _in_use.setdefault(sha256, Content(sha256, data))


def find_in_use(sha256: str) -> Content | None:
    """Content with this hash that is in memory; None if there is none."""
    return _in_use.get(sha256)


def use_folder(run: Path) -> None:
    """Look for contents in the folder of a `run` from now on."""
    folder = run.absolute() / FOLDER
    _folders.pop(folder, None)
    _folders[folder] = None


def add_source(find: Callable[[str], bytes | None]) -> None:
    """Look for contents by `find` from now on.

    Args:
        find: gives the bytes that belong to a hash, or None.
    """
    _shipped.append(find)


def find_content(sha256: str, form: str) -> Content:
    """Content with this hash: from memory, a folder of a run, or a package.

    Args:
        sha256: of the content.
        form: format of the content, which ends the names of files.

    Raises:
        ArtifactError: it is nowhere, or damaged.
    """
    held = find_in_use(sha256)
    if held is not None:
        return held
    faults = []
    for folder in reversed(_folders):
        path = folder / f"{sha256}.{form}"
        try:
            return read_content(path, sha256)
        except ArtifactError as error:
            faults.append(str(error))
    for find in _shipped:
        data = find(sha256)
        if data is not None and hash_bytes(data) == sha256:
            return hold_content(data)
    looked = "; ".join(faults[:MAX_PLACES_NAMED]) or "no run is open that could hold it"
    raise ArtifactError(looked)


def read_content(path: Path, sha256: str) -> Content:
    """Read the content at `path`, which must have this hash.

    Raises:
        ArtifactError: it is missing, cannot be read, or has another hash.
    """
    try:
        data = read_bytes(path, MAX_ARTIFACT_BYTES)
    except UnreadableFileError as error:
        raise ArtifactError(str(error)) from error
    found = hash_bytes(data)
    if found != sha256:
        raise ArtifactError(
            f"{path} is damaged: expected is the SHA-256 hash {sha256}, found {found} ({len(data)} bytes)"
        )
    return hold_content(data)
