"""Sources of a pool's rows, read in blocks once and then row by row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from invdesign.arrays import IntArray
from invdesign.spaces.pool.file import (
    BYTES_PER_READ,
    DATABASE_SUFFIXES,
    PoolError,
    describe_ignored,
    list_structure_files,
)
from invdesign.strictjson import unique_keys
from invdesign.structures.reading.databases import DatabaseRow, open_database
from invdesign.structures.reading.frames import Frame, find_frames
from invdesign.structures.reading.gate import check_crystal
from invdesign.structures.reading.raw import StructureFileError, current_limits
from invdesign.structures.reading.read import (
    Reading,
    check_ordered,
    detect_format,
    is_structure_name,
    list_partial_elements,
    make_reading,
    read_structure,
)
from invdesign.tables.cells import Cell
from invdesign.tables.records import BLOCK_ROWS, Records, open_data
from invdesign.tables.text import open_table
from invdesign.tables.units import find_column
from invdesign.textfiles import open_regular

STRUCTURE_COLUMN = "(structure)"  # column of sources whose rows are structures; unlike any table's heading
# Chosen; first rows that decide the columns of JSON lines and databases, and the kinds of columns.
ROWS_INSPECTED = 1_000
FILE_COLUMN = "file"  # column with the names of structure files


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a source.

    Attributes:
        places: shape (n,), where `fetch` finds each row again.
        cells: the requested columns, n cells each.
    """

    places: IntArray
    cells: dict[str, Sequence[Cell]]


class Source(Protocol):
    """Rows of cells, read in blocks and one by one."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        ...

    @property
    def identifier(self) -> str | None:
        """Default column that tells rows apart; None for the row's number."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on content that was not read literally, or passed over."""
        ...

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        ...

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        ...


def open_source(path: Path) -> Source:
    """Open the file or folder at `path` as a source.

    Raises:
        PoolError: its content does not fit its name.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or (is_structure_name(path.name) and suffix not in DATABASE_SUFFIXES):
        return StructureSource(path)
    if suffix in {".jsonl", ".ndjson"}:
        return JsonLinesSource(path)
    if suffix == ".parquet":
        return ParquetSource(path)
    if suffix == ".json" and _holds_structures(path):
        return StructureSource(path)
    return DatabaseSource(path) if suffix in DATABASE_SUFFIXES else TextSource(path)


class TextSource:
    """Text table with commas, semicolons or tabs, read by `invdesign.tables`."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        self._table = open_table(path)
        self.columns = tuple(filter(None, self._table.headings))
        self.remarks = self._table.remarks

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        for rows in self._table.read_blocks(columns):
            yield Block(rows.places, dict(rows.cells))

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        return dict(self._table.fetch_row(place, columns))


class NamedSource:
    """Source with some columns named otherwise than by their headings."""

    def __init__(self, source: Source, headings: Mapping[str, str]) -> None:
        """Wrap `source`; `headings` maps new names of columns to their headings."""
        self._source, self._headings = source, headings
        self.identifier = source.identifier
        self.columns = (*source.columns, *headings)
        self.remarks = source.remarks

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        for block in self._source.blocks(self._find_headings(columns)):
            yield Block(block.places, {name: block.cells[self._find_heading(name)] for name in columns})

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        cells = self._source.fetch(place, self._find_headings(columns))
        return {name: cells[self._find_heading(name)] for name in columns}

    def _find_heading(self, name: str) -> str:
        return self._headings.get(name, name)

    def _find_headings(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(map(self._find_heading, columns)))


def name_columns(source: Source, names: Iterable[str], table: str) -> tuple[Source, dict[str, str]]:
    """Source with columns named without their units, and headings by such name.

    Args:
        source: the source.
        names: of columns, as the user gives them.
        table: name of the source, for messages.

    Raises:
        InvdesignError: several columns may be meant.
    """
    headings = {}
    for name in names:
        if name not in source.columns:
            found = find_column(name, source.columns, table, "Name one in full")
            if found is not None:
                headings[name] = found.heading
    return (NamedSource(source, headings) if headings else source), headings


class JsonLinesSource:
    """Lines of one JSON object each; a missing key is an empty cell."""

    identifier: str | None = None
    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = Records(open_data(path), path.name)
        lines = self._records.read_text(0, min(ROWS_INSPECTED, len(self._records))).split("\n")
        parsed = [self._parse_line(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        self.columns = tuple(dict.fromkeys(name for row in parsed for name in row))

    def _parse_line(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise PoolError(f"{self.path.name}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PoolError(f"{self.path.name}: line {number} is not an object in braces: {line:.60}")
        return {
            key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()
        }

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        starts = self._records.starts
        for first, end in self._records.iterate_spans():
            # Not splitlines, which also splits at characters that JSON strings may contain.
            lines = self._records.read_text(first, end).split("\n")
            rows = [
                (int(starts[first + k]), self._parse_line(line, first + k + 1))
                for k, line in enumerate(lines)
                if line.strip()
            ]
            cells: dict[str, Sequence[Cell]] = {name: [row.get(name) for _, row in rows] for name in columns}
            yield Block(np.array([place for place, _ in rows], dtype=np.int64), cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        row = self._parse_line(self._records.read_record(place), 0)
        return {name: row.get(name) for name in columns}


class ParquetSource:
    """Parquet table, read by pyarrow.

    Single rows come from their row group, of which the last is kept.
    """

    identifier: str | None = None
    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        try:
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError as error:
            raise PoolError(
                f'{path.name} needs pyarrow: pip install "invdesign[parquet]"; or save the table as CSV'
            ) from error
        try:
            self._file = parquet.ParquetFile(path)
        except Exception as error:  # pyarrow raises classes of its own
            raise PoolError(f"{path.name} cannot be read as Parquet: {error}") from error
        self.path = path
        self.columns = tuple(str(name) for name in self._file.schema_arrow.names)
        sizes = [self._file.metadata.row_group(k).num_rows for k in range(self._file.num_row_groups)]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._kept: tuple[int, tuple[str, ...], Any] | None = None

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        first = 0
        for batch in self._file.iter_batches(
            batch_size=BLOCK_ROWS, columns=list(columns) or self.columns[:1]
        ):
            cells: dict[str, Sequence[Cell]] = {name: batch.column(name).to_pylist() for name in columns}
            yield Block(np.arange(first, first + batch.num_rows), cells)
            first += batch.num_rows

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        group = int(np.searchsorted(self._first, place, side="right")) - 1
        if self._kept is None or self._kept[:2] != (group, tuple(columns)):
            self._kept = (group, tuple(columns), self._file.read_row_group(group, columns=list(columns)))
        row = place - int(self._first[group])
        return {name: self._kept[2].column(name)[row].as_py() for name in columns}


def _holds_structures(path: Path) -> bool:
    """True if a JSON file holds a list or one structure.

    A database is an object of rows.
    """
    with open_regular(path) as stream:
        start = stream.read(BYTES_PER_READ).lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith(b"[") or (b'"ids"' not in start and b'"sites"' in start and b'"lattice"' in start)


class StructureSource:
    """Structures of a file or folder.

    A row has the name of its file; of several structures in a file, `FILE#1` and so on.
    """

    identifier: str | None = FILE_COLUMN
    columns = (FILE_COLUMN, STRUCTURE_COLUMN)

    def __init__(self, path: Path) -> None:
        self.path = path
        others = describe_ignored(path)
        self.remarks = (f"{path.name}: {others}",) if others else ()

    @cached_property
    def _frames(self) -> list[Frame]:
        return [frame for file in list_structure_files(self.path) for frame in find_frames(file)]

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        for first in range(0, len(self._frames), BLOCK_ROWS):
            places = np.arange(first, min(first + BLOCK_ROWS, len(self._frames)))
            frames = [self._frames[place] for place in places]
            # A structure is only read when its cell is used, so that a block holds little more than names.
            cells: dict[str, Sequence[Cell]] = {
                name: [frame.name if name == FILE_COLUMN else frame for frame in frames] for name in columns
            }
            yield Block(places, cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        frame = self._frames[place]
        return {name: frame.name if name == FILE_COLUMN else frame for name in columns}


class DatabaseSource:
    """ASE database, SQLite or JSON.

    Rows are named by their number in it; columns include the key-value pairs.
    """

    identifier: str | None = "id"
    remarks: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limits = current_limits()
        try:
            self._database = open_database(path, self._limits)
            rows = islice(self._database.read_rows(), ROWS_INSPECTED)
            pairs = dict.fromkeys(key for row in rows for key in row.pairs)
        except StructureFileError as error:
            raise PoolError(str(error)) from error
        self.columns = ("id", "formula", "energy", "natoms", *pairs, STRUCTURE_COLUMN)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Iterate over all rows in order, with these `columns`."""
        rows = self._database.read_rows()
        while taken := list(islice(rows, BLOCK_ROWS)):
            cells: dict[str, Sequence[Cell]] = {
                name: [self._read_cell(row, name) for row in taken] for name in columns
            }
            yield Block(np.array([row.id for row in taken], dtype=np.int64), cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """Read these `columns` of the row at `place`."""
        row = self._database.read_row(place)
        return {name: self._read_cell(row, name) for name in columns}

    def _read_cell(self, row: DatabaseRow, name: str) -> Cell:
        if name == STRUCTURE_COLUMN:
            return row
        if name in {"id", "energy"}:
            return row.id if name == "id" else row.energy
        if name not in {"formula", "natoms"}:
            return row.pairs.get(name)
        try:
            symbols = row.read_symbols(f"row {row.id}", self._limits)
        except StructureFileError:  # the row is refused with the reason when its structure is read
            return None
        return len(symbols) if name == "natoms" else _format_formula(symbols)


def _format_formula(symbols: Sequence[str]) -> str:
    """Formula in ASE's order, metals first."""
    from ase.formula import Formula

    return str(Formula.from_list(list(symbols)).format("metal"))


def read_structure_cell(cell: Cell, name: str, mobile: str | None = None) -> Reading:
    """Read the ordered structure of a cell.

    Args:
        cell: text of a structure file; a place in a file; a row of a database.
        name: of the cell, for messages.
        mobile: element whose own sites may be occupied in part.

    Raises:
        StructureFileError: it cannot be read, is no crystal, is disordered, or atoms overlap.
    """
    if isinstance(cell, dict):
        cell = json.dumps(cell)
    if isinstance(cell, str):
        reading = read_structure(cell, name, fmt=detect_format(cell))
    elif isinstance(cell, Frame):
        reading = cell.read()
    elif isinstance(cell, DatabaseRow):
        limits = current_limits()
        reading = make_reading(check_crystal(cell.build_crystal(name, limits), limits))
    else:
        raise PoolError(f"{name} holds no structure, but {cell!r:.40}")
    try:
        check_ordered(reading.structure, reading.name, mobile)
    except StructureFileError as error:
        held = list_partial_elements(reading.structure)
        if mobile is not None or len(held) > 1:
            raise
        raise StructureFileError(
            f"{error}; or name the ion that moves, '{held.pop()}', as 'mobile' of the pool, for stages that take it out"
        ) from None
    return reading
