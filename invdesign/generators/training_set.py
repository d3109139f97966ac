"""Crystals to learn from: tables with CIF texts, structure files, folders of them, and ASE databases."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from invdesign.errors import InvdesignError
from invdesign.protocols import KnownCrystal, TrainingSet
from invdesign.structures.reading.databases import open_database
from invdesign.structures.reading.gate import check_crystal
from invdesign.structures.reading.raw import StructureFileError, current_limits
from invdesign.structures.reading.read import (
    Reading,
    is_structure_name,
    make_reading,
    read_structure_bytes,
    read_structures,
)
from invdesign.tables.cells import parse_number
from invdesign.tables.text import TextTable, open_table, parse_table
from invdesign.textfiles import decode, read_bytes

STRUCTURE_COLUMN = "cif"  # of a table
NAME_COLUMNS = ("material_id", "id", "name")  # of a table, the first of which names its crystals
DATABASE_SUFFIXES = (".db",)
MAX_LEFT_OUT_SHARE = (
    0.5  # of the crystals of one source, above which it is refused; chosen: then it is something else
)
MAX_SHOWN = 5  # crystals left out that a message names (chosen)
MAX_TABLE_BYTES = 2_000_000_000  # of an unpacked table (chosen)


def describe_left_out(training: TrainingSet) -> str:
    """Describe the crystals that were not read in one sentence; empty if there are none."""
    if not training.left_out:
        return ""
    shown = "; ".join(f"{name}: {reason}" for name, reason in training.left_out[:MAX_SHOWN])
    more = " and others" if len(training.left_out) > MAX_SHOWN else ""
    total = len(training.left_out) + len(training.crystals)
    return f"{len(training.left_out)} of {total} crystals were left out: {shown}{more}"


def read_training_set(paths: Sequence[Path], about: str = "") -> TrainingSet:
    """Read crystals to learn from.

    Args:
        paths: tables (CSV, also packed as .csv.gz) with a column `cif`, structure files, folders of those, and ASE databases.
        about: text on source and licence.

    Raises:
        InvdesignError: a source is missing or of no readable kind, or most of its crystals cannot be read.
    """
    crystals: list[KnownCrystal] = []
    left_out: list[tuple[str, str]] = []
    sources: list[tuple[str, str]] = []
    for path in paths:
        if not path.exists():
            raise InvdesignError(
                f"there is no file or folder '{path}' to learn from; name a table, a folder or a database"
            )
        read = list(_read_source(path))
        own = [entry for entry in read if isinstance(entry, KnownCrystal)]
        refused = [entry for entry in read if not isinstance(entry, KnownCrystal)]
        if not own or len(refused) > MAX_LEFT_OUT_SHARE * len(read):
            reason = f"; {refused[0][0]}: {refused[0][1]}" if refused else ""
            raise InvdesignError(f"{path.name}: {len(own)} of {len(read)} crystals can be read{reason}")
        crystals += own
        left_out += refused
        sources += _hash_files(path)
    return TrainingSet(tuple(crystals), tuple(left_out), tuple(sources), about)


def _read_source(path: Path) -> Iterator[KnownCrystal | tuple[str, str]]:
    """Iterate over the crystals of a source, or name and reason where one is left out."""
    if path.is_dir():
        for file in _list_files(path):
            yield from _read_file(file)
    elif path.suffix.lower() in DATABASE_SUFFIXES:
        yield from _read_database(path)
    elif is_structure_name(path.name):
        yield from _read_file(path)
    else:
        yield from _read_table(_open_table(path))


def _list_files(folder: Path) -> list[Path]:
    """List the structure files of a folder, sorted."""
    return [file for file in sorted(folder.iterdir()) if file.is_file() and is_structure_name(file.name)]


def _read_file(path: Path) -> Iterator[KnownCrystal | tuple[str, str]]:
    """Read the crystals of a structure file."""
    try:
        readings = read_structures(read_structure_bytes(path), path.name)
    except InvdesignError as error:
        yield path.name, str(error)
        return
    for number, reading in enumerate(readings, 1):
        name = path.stem if len(readings) == 1 else f"{path.stem} {number}"
        yield _take_ordered(reading, name)


def _take_ordered(reading: Reading, name: str) -> KnownCrystal | tuple[str, str]:
    try:
        properties = {
            key: float(value) for key, value in reading.properties.items() if isinstance(value, int | float)
        }
        return KnownCrystal(name, reading.ordered, properties)
    except StructureFileError as error:
        return name, str(error)


def _read_database(path: Path) -> Iterator[KnownCrystal | tuple[str, str]]:
    """Read the crystals of an ASE database."""
    limits = current_limits()
    for row in open_database(path).read_rows():
        name = f"row {row.id}"
        try:
            reading = make_reading(check_crystal(row.build_crystal(name, limits), limits))
        except InvdesignError as error:
            yield name, str(error)
            continue
        taken = _take_ordered(reading, name)
        pairs = {key: float(value) for key, value in row.pairs.items() if isinstance(value, int | float)}
        yield KnownCrystal(name, taken.structure, pairs) if isinstance(taken, KnownCrystal) else taken


def _open_table(path: Path) -> TextTable:
    """Open a table, also a packed one.

    Raises:
        InvdesignError: it cannot be unpacked, or is no table with a column `cif`.
    """
    if path.suffix.lower() == ".gz":
        table = parse_table(path.name, decode(_unpack_file(path), path.name))
    else:
        table = open_table(path)
    if STRUCTURE_COLUMN not in table.headings:
        raise InvdesignError(
            f"{path.name} has no column '{STRUCTURE_COLUMN}' with the crystals as CIF; its columns are "
            f"{', '.join(filter(None, table.headings))}"
        )
    return table


def _unpack_file(path: Path) -> bytes:
    """Unpack a file packed by gzip.

    Raises:
        InvdesignError: it is damaged, or unpacks to more than `MAX_TABLE_BYTES`.
    """
    try:
        with gzip.open(path) as packed:
            data = packed.read(MAX_TABLE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvdesignError(f"{path.name} cannot be unpacked: {error}") from error
    if len(data) > MAX_TABLE_BYTES:
        raise InvdesignError(f"{path.name} unpacks to more than {MAX_TABLE_BYTES:,} bytes; divide the table")
    return data


def _read_table(table: TextTable) -> Iterator[KnownCrystal | tuple[str, str]]:
    """Read the crystals of a table with a column of CIF texts."""
    named = next((name for name in NAME_COLUMNS if name in table.headings), None)
    others = [name for name in table.headings if name and name not in {STRUCTURE_COLUMN, named}]
    number = 0
    for rows in table.read_blocks([*filter(None, [named]), STRUCTURE_COLUMN, *others]):
        cells = rows.cells
        for place, text in enumerate(cells[STRUCTURE_COLUMN]):
            number += 1
            name = str(cells[named][place]) if named else f"row {number}"
            values = {column: parse_number(cells[column][place]) for column in others}
            properties = {column: value for column, value in values.items() if value is not None}
            yield _read_cif(str(text), name, number, properties)


def _read_cif(
    text: str, name: str, number: int, properties: Mapping[str, float]
) -> KnownCrystal | tuple[str, str]:
    """Read the crystal of one row of a table."""
    place = f"row {number} ({name})" if name != f"row {number}" else name
    try:
        readings = read_structures(text, f"{name}.cif", fmt="CIF")
        if len(readings) != 1:
            return place, f"the cell holds {len(readings)} crystals, and a row is one"
        return KnownCrystal(name, readings[0].ordered, properties)
    except InvdesignError as error:
        return place, str(error)


def _hash_files(path: Path) -> Iterable[tuple[str, str]]:
    """Name and SHA-256 of each file of a source; of a folder one hash of all."""
    files = _list_files(path) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        if path.is_dir():
            total.update(file.name.encode())
        total.update(read_bytes(file, MAX_TABLE_BYTES))
    return [(path.name, total.hexdigest())]
