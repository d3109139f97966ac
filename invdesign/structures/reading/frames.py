"""Structures in the files of a folder: found without parsing, and read one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from invdesign.errors import InvdesignError
from invdesign.structures.reading.extxyz import find_frame_offsets
from invdesign.structures.reading.raw import RawCrystal, StructureFileError
from invdesign.structures.reading.read import (
    Reading,
    find_format,
    make_reading,
    read_raw,
    read_structure,
    read_structure_bytes,
)
from invdesign.textfiles import UnreadableFileError

WHOLE_FILE = (0, -1)  # span of a whole file
# Files of several structures to keep in memory, those of extended XYZ aside, which are found by their bytes;
# chosen.
CACHED_FILES = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One structure of a file.

    Attributes:
        path: the file.
        name: name of the file, with `#1` and so on where it holds several structures.
        number: from 1; 0 where it is the only one.
        span: first byte and the one after the last, where it can be read by itself.
    """

    path: Path
    name: str
    number: int = 0
    span: tuple[int, int] = WHOLE_FILE

    def read(self) -> Reading:
        """Read the structure.

        Raises:
            StructureFileError: it cannot be read, or is no crystal.
        """
        try:
            if self.span != WHOLE_FILE:
                with self.path.open("rb") as stream:
                    stream.seek(self.span[0])
                    data = stream.read(self.span[1] - self.span[0])
                return read_structure(data, self.name, fmt=find_format(self.path.name, ""))
            if self.number:
                found = _read_crystals(self.path, _stamp_file(self.path))
                if self.number > len(found):
                    raise StructureFileError(
                        f"{self.path.name} holds {len(found)} structures, not {self.number}"
                    )
                return make_reading(found[self.number - 1])
            return read_structure(read_structure_bytes(self.path), self.name)
        except (UnreadableFileError, OSError) as error:
            raise StructureFileError(f"{self.name}: {error}") from error


def find_frames(path: Path) -> list[Frame]:
    """Find the structures in a file, in their order.

    Args:
        path: the file; one that cannot be read is a single frame, and reading that gives the error.
    """
    whole = [Frame(path, path.name)]
    try:
        kind = find_format(path.name, "")
        if kind in {"POSCAR", "GEN", "RES"}:  # these hold one
            return whole
        data = read_structure_bytes(path)
        if kind == "extended XYZ":
            spans = find_frame_offsets(data) or []
            if len(spans) > 1:
                return [Frame(path, f"{path.name}#{n}", n, span) for n, span in enumerate(spans, 1)]
            return whole
        if not _may_hold_several(data, kind):
            return whole
        count = len(_read_crystals(path, _stamp_file(path)))
    except (InvdesignError, OSError):
        return whole
    return [Frame(path, f"{path.name}#{n}", n) for n in range(1, count + 1)] if count > 1 else whole


def _may_hold_several(data: bytes, kind: str) -> bool:
    """False if the text obviously holds one structure.

    Such a file need not be parsed twice.
    """
    if kind == "CIF":
        return b"\0" in data or data.lower().count(b"data_") > 1
    if kind == "JSON":
        return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" or b"\0" in data
    return b"ANIMSTEPS" in data.upper() or b"\0" in data


def _stamp_file(path: Path) -> tuple[int, int]:
    """Size and time of a file, which change with its content."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=CACHED_FILES)
def _read_crystals(path: Path, stamp: tuple[int, int]) -> list[RawCrystal]:  # noqa: ARG001 - the stamp is for the cache
    return read_raw(read_structure_bytes(path), path.name)
