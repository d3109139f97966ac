"""Crystals beside a table: a folder or an archive of structure files, or cells with their text."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Never

from invdesign.errors import InvdesignError
from invdesign.structures.reading.raw import StructureFileError, current_limits
from invdesign.structures.reading.read import Reading, detect_format, is_structure_name, read_structure
from invdesign.tables.cells import Cell
from invdesign.textfiles import MEGABYTE, read_bytes

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_ARCHIVE_BYTES = 1_000 * MEGABYTE  # of all files unpacked; chosen
MAX_FILES = 200_000  # in a folder or archive; chosen


@dataclass(frozen=True)
class CrystalFiles:
    """Structure files by name without suffix.

    Attributes:
        place: name of the folder or archive.
        files: file name and content, by the name without its suffix.
    """

    place: str
    files: Mapping[str, tuple[str, bytes]]

    def read(self, key: str) -> Reading | None:
        """Read the crystal of one name; None if there is no such file.

        Raises:
            StructureFileError: it cannot be read.
        """
        found = self.files.get(key) or self.files.get(PurePosixPath(key).stem)
        return None if found is None else read_crystal(found[1], found[0])


def is_archive_name(name: str) -> bool:
    """True if `name` is that of an archive of files."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def open_crystals(place: Path) -> CrystalFiles:
    """Open a folder or archive of structure files; nothing is written to disk.

    Raises:
        InvdesignError: it is missing, damaged, too large, or holds two files of one name.
    """
    files: dict[str, tuple[str, bytes]] = {}
    for name, data in _walk_folder(place) if place.is_dir() else _walk_archive(place):
        key = PurePosixPath(name).stem
        if key in files:
            raise InvdesignError(
                f"{place.name} holds two structure files with the name '{key}': {files[key][0]} and {name}; rename one"
            )
        files[key] = (name, data)
    if not files:
        raise InvdesignError(
            f"{place.name} holds no structure files, such as .cif; name the folder they are in"
        )
    return CrystalFiles(place.name, files)


def _walk_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Iterate over name and content of the structure files of a folder."""
    limit = current_limits().bytes
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and is_structure_name(path.name)]
    for path in paths[:MAX_FILES]:
        yield path.name, read_bytes(path, limit)


def _walk_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Iterate over name and content of the structure files of an archive, in memory.

    The filter of PEP 706 refuses members that would leave the folder, links and devices, as for a file on disk.
    """
    if not is_archive_name(path.name):
        raise InvdesignError(
            f"'{path}' is neither a folder of structure files nor an archive ({', '.join(ARCHIVE_SUFFIXES)})"
        )
    with path.open("rb") if path.is_file() else _refuse_missing(path) as stream:
        total = 0
        try:
            with tarfile.open(fileobj=stream) as archive:
                for number, member in enumerate(archive):
                    safe = tarfile.data_filter(member, str(path.parent))
                    if not safe.isfile() or not is_structure_name(PurePosixPath(safe.name).name):
                        continue
                    total += safe.size
                    if total > MAX_ARCHIVE_BYTES or number > MAX_FILES:
                        raise InvdesignError(
                            f"{path.name} holds more than {MAX_ARCHIVE_BYTES // MEGABYTE} MB or {MAX_FILES} files; split it"
                        )
                    content = archive.extractfile(safe)
                    if content is not None:
                        yield PurePosixPath(safe.name).name, content.read()
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InvdesignError(f"{path.name} cannot be read as an archive: {error}") from error


def _refuse_missing(path: Path) -> Never:
    raise InvdesignError(f"there is no file or folder '{path}' with structure files")


def read_crystal(data: Cell | bytes, name: str) -> Reading:
    """Read a crystal, ordered or disordered: bytes of a file, text of a cell, or a mapping of JSON.

    Sites of one element may be closer than atoms can be, where not all are to be occupied.

    Args:
        data: the crystal.
        name: for messages; its suffix gives the format of a file.

    Raises:
        StructureFileError: it cannot be read, is no crystal, or atoms overlap.
    """
    if isinstance(data, bytes):
        return read_structure(data, name, alternatives=True)
    if isinstance(data, Mapping):
        return read_structure(json.dumps(data), name, alternatives=True, fmt="JSON")
    if not isinstance(data, str):
        raise StructureFileError(f"{name} holds no structure, but {data!r:.40}")
    return read_structure(data, name, alternatives=True, fmt=detect_format(data))
