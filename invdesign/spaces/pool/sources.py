"""Where a pool's rows come from. Every source is read in blocks once, and row by row at a place after that."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from invdesign.spaces.pool.file import ASE_FORMATS, DATABASES, PoolError, structure_files
from invdesign.structures.tables import Cell, separator_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

IntArray = NDArray[np.int64]

STRUCTURE = "(structure)"  # the column of sources whose rows are structures; no table's header reads so
ROWS = 20_000  # per block
BYTES = 16_000_000  # per block of a text file
LOOKED_AT = 1_000  # lines whose keys are a JSON table's columns
FILE = "file"  # the column of a folder


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow each other.

    Attributes:
        places: shape (n,), where each can be found again.
        cells: the asked columns, n cells each.
    """

    places: IntArray
    cells: dict[str, Sequence[Cell]]


class Source(Protocol):
    """Rows of cells, read in blocks and one by one."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns there are."""
        ...

    @property
    def identifier(self) -> str | None:
        """The column that tells rows apart where the user names none; None: their numbers do."""
        ...

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """All rows in their order."""
        ...

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        """The row at a place."""
        ...


def open_source(path: Path) -> Source:
    """The source a file or folder is.

    Raises:
        PoolError: it cannot be read as what its name says.
    """
    if path.is_dir():
        return FolderSource(path)
    suffix = path.suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        return JsonLinesSource(path)
    if suffix == ".parquet":
        return ParquetSource(path)
    return DatabaseSource(path) if suffix in DATABASES else TextSource(path)


class _Lines:
    """A text file cut into records; a newline within quotes does not end one, where quotes count."""

    def __init__(self, path: Path, *, quoted: bool) -> None:
        self.path = path
        self.quoted = quoted

    @cached_property
    def starts(self) -> IntArray:
        """Shape (records + 1,): byte offsets where each record begins, and the end of the last."""
        ends = [np.zeros(1, dtype=np.int64)]
        offset, quotes = 0, 0
        with self.path.open("rb") as stream:
            while chunk := stream.read(BYTES):
                data = np.frombuffer(chunk, dtype=np.uint8)
                newlines = np.flatnonzero(data == ord("\n"))
                if self.quoted:
                    marks = np.flatnonzero(data == ord('"'))
                    outside = (quotes + np.searchsorted(marks, newlines)) % 2 == 0
                    newlines, quotes = newlines[outside], quotes + len(marks)
                ends.append(newlines + offset + 1)
                offset += len(chunk)
        if quotes % 2:
            raise PoolError(
                f"{self.path.name} has a quotation mark that is never closed; write cells that hold one in quotes, with "
                "their own quotation marks doubled"
            )
        starts = np.concatenate(ends)
        return starts if starts[-1] == offset else np.append(starts, offset)

    def spans(self, first: int) -> Iterator[tuple[int, int]]:
        """(first, last + 1) of the records of each block, from record `first` on."""
        last = len(self.starts) - 1
        while first < last:
            by_size = int(np.searchsorted(self.starts, self.starts[first] + BYTES))
            end = min(max(by_size, first + 1), first + ROWS, last)
            yield first, end
            first = end

    def text(self, start: int, end: int) -> str:
        """The bytes from `start` to `end` as text."""
        with self.path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(end - start)
        try:
            return data.decode("utf-8-sig" if start == 0 else "utf-8")
        except UnicodeDecodeError as error:
            raise PoolError(
                f"{self.path.name} is not UTF-8 text at byte {start + error.start}; save it as UTF-8"
            ) from error

    def record(self, start: int) -> str:
        """The record that begins at `start`."""
        index = int(np.searchsorted(self.starts, start))
        return self.text(start, int(self.starts[index + 1]))


class TextSource:
    """CSV with commas, semicolons or tabs; the first line names the columns."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = _Lines(path, quoted=True)
        starts = self._lines.starts
        header = self._lines.text(0, int(starts[1])) if len(starts) > 1 else ""
        if not header.strip():
            raise PoolError(f"{path.name} has no header: its first line must name the columns")
        self._separator = separator_of(header)
        self.columns = tuple(name.strip() for name in self._parsed(header)[0])

    def _parsed(self, text: str) -> list[list[str]]:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=self._separator))

    def _index(self, columns: Sequence[str]) -> list[int]:
        for name in columns:
            if self.columns.count(name) > 1:
                raise PoolError(f"{self.path.name} has more than one column '{name}'; rename all but one")
        return [self.columns.index(name) for name in columns]

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        wanted = self._index(columns)
        starts, number = self._lines.starts, 1
        for first, end in self._lines.spans(1):
            rows, widths = self._rows(first, end, max(wanted, default=-1) + 1)
            places = starts[first:end]
            if [] in rows or [""] in rows:  # blank lines are no rows
                filled = [k for k, row in enumerate(rows) if row not in ([], [""])]
                rows, widths = [rows[k] for k in filled], [widths[k] for k in filled]
                places = places[filled]
            for k, width in enumerate(widths):
                if width != len(self.columns):
                    self._ragged(self._lines.record(int(places[k])), width, number + k)
            number += len(rows)
            turned = list(zip(*rows, strict=True)) if rows else [()] * len(self.columns)
            yield Block(places, {name: turned[column] for name, column in zip(columns, wanted, strict=True)})

    def _rows(self, first: int, end: int, cells: int) -> tuple[list[list[str]], list[int]]:
        """The records `first` to `end`, at least the first `cells` of each parsed, and how many each has."""
        starts = self._lines.starts
        text = self._lines.text(int(starts[first]), int(starts[end]))
        if '"' not in text and "\r" not in text:
            lines = text.removesuffix("\n").split("\n")
            # One more split than needed, so that all rows are of one length where the number of cells is right.
            rows = [line.split(self._separator, cells) for line in lines]
            return rows, [line.count(self._separator) + 1 for line in lines]
        try:
            rows = self._parsed(text)
        except csv.Error as error:
            raise PoolError(f"{self.path.name} cannot be read as CSV: {error}") from error
        if len(rows) != end - first:
            raise PoolError(
                f"{self.path.name} has a quotation mark within an unquoted cell, between its records {first} and {end}; "
                "write such a cell in quotes, with its own quotation marks doubled"
            )
        return rows, [len(row) for row in rows]

    def _ragged(self, record: str, width: int, number: int) -> None:
        raise PoolError(
            f"{self.path.name}: row {number} has {width} cells, the header names {len(self.columns)} columns: "
            f"{record.strip():.80}"
        )

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        row = self._parsed(self._lines.record(place))[0]
        return {name: row[index] for name, index in zip(columns, self._index(columns), strict=True)}


class JsonLinesSource:
    """One JSON object per line; a column a line does not name is empty there."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = _Lines(path, quoted=False)
        starts = self._lines.starts
        end = min(LOOKED_AT, len(starts) - 1)
        lines = self._lines.text(0, int(starts[end])).split("\n") if end else []
        parsed = [self._parsed(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        self.columns = tuple(dict.fromkeys(name for row in parsed for name in row))

    def _parsed(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PoolError(f"{self.path.name}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PoolError(f"{self.path.name}: line {number} is not an object in braces: {line:.60}")
        return {
            key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()
        }

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        starts = self._lines.starts
        for first, end in self._lines.spans(0):
            # Not splitlines: strings may hold characters it takes for line ends.
            lines = self._lines.text(int(starts[first]), int(starts[end])).split("\n")
            rows = [
                (int(starts[first + k]), self._parsed(line, first + k + 1))
                for k, line in enumerate(lines)
                if line.strip()
            ]
            cells: dict[str, Sequence[Cell]] = {name: [row.get(name) for _, row in rows] for name in columns}
            yield Block(np.array([place for place, _ in rows], dtype=np.int64), cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        row = self._parsed(self._lines.record(place), 0)
        return {name: row.get(name) for name in columns}


class ParquetSource:
    """A Parquet table, by pyarrow; single rows come from their row group, of which the last is kept."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        try:
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError as error:
            raise PoolError(
                f'{path.name} needs pyarrow: pip install "invdesign[parquet]"; or save the table as CSV'
            ) from error
        try:
            self._file = parquet.ParquetFile(path)
        except Exception as error:  # pyarrow's own kinds
            raise PoolError(f"{path.name} cannot be read as Parquet: {error}") from error
        self.path = path
        self.columns = tuple(str(name) for name in self._file.schema_arrow.names)
        sizes = [self._file.metadata.row_group(k).num_rows for k in range(self._file.num_row_groups)]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._kept: tuple[int, tuple[str, ...], Any] | None = None

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        first = 0
        for batch in self._file.iter_batches(batch_size=ROWS, columns=list(columns) or self.columns[:1]):
            cells: dict[str, Sequence[Cell]] = {name: batch.column(name).to_pylist() for name in columns}
            yield Block(np.arange(first, first + batch.num_rows), cells)
            first += batch.num_rows

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        group = int(np.searchsorted(self._first, place, side="right")) - 1
        if self._kept is None or self._kept[:2] != (group, tuple(columns)):
            self._kept = (group, tuple(columns), self._file.read_row_group(group, columns=list(columns)))
        row = place - int(self._first[group])
        return {name: self._kept[2].column(name)[row].as_py() for name in columns}


class FolderSource:
    """The structure files of a folder; a row is called as its file."""

    identifier: str | None = FILE
    columns = (FILE, STRUCTURE)

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _files(self) -> list[Path]:
        return structure_files(self.path)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        for first in range(0, len(self._files), ROWS):
            places = np.arange(first, min(first + ROWS, len(self._files)))
            files = [self._files[place] for place in places]
            # A structure is read when its cell is looked at, so that a block is as small as its names.
            cells: dict[str, Sequence[Cell]] = {
                name: [file.name if name == FILE else file for file in files] for name in columns
            }
            yield Block(places, cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        file = self._files[place]
        return {name: file.name if name == FILE else file for name in columns}


class DatabaseSource:
    """An ASE database, SQLite or JSON; rows are called by their number in it, and hold key-value pairs."""

    identifier: str | None = "id"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._type = "db" if path.suffix.lower() == ".db" else "json"
        with path.open("rb") as stream:
            start = stream.read(16)
        if self._type == "db" and start != b"SQLite format 3\0":  # connecting would make it a database
            raise PoolError(f"{path.name} is not an SQLite file, so not an ASE database")
        try:
            with self._opened() as database:
                rows = list(database.select(limit=LOOKED_AT))
        except Exception as error:  # SQLite's, JSON's, or ASE's own
            raise PoolError(f"{path.name} cannot be read as an ASE database: {error}") from error
        pairs = dict.fromkeys(key for row in rows for key in row.key_value_pairs)
        self.columns = ("id", "formula", "energy", "natoms", *pairs, STRUCTURE)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The database; as a context, since ASE leaves connections that it opens by itself to the garbage collector."""
        from ase.db import connect

        with connect(self.path, type=self._type, use_lock_file=False) as database:
            yield database

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        places: list[int] = []
        cells: dict[str, list[Cell]] = {name: [] for name in columns}
        with self._opened() as database:
            for row in database.select(sort="id"):
                places.append(row.id)
                for name in columns:
                    cells[name].append(_database_cell(row, name))
                if len(places) == ROWS:
                    yield Block(np.array(places, dtype=np.int64), dict(cells))
                    places, cells = [], {name: [] for name in columns}
        if places:
            yield Block(np.array(places, dtype=np.int64), dict(cells))

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        with self._opened() as database:
            row = database.get(id=place)
        return {name: _database_cell(row, name) for name in columns}


def _database_cell(row: Any, name: str) -> Cell:
    if name == STRUCTURE:
        return row.toatoms()
    value = row.get(name)
    return value.item() if isinstance(value, np.generic) else value


def structure_from(cell: Cell, name: str) -> Structure:
    """The structure a cell holds, names or spells.

    Args:
        cell: CIF, POSCAR or JSON text; a path; ASE's atoms.
        name: what it is called in messages.

    Raises:
        InvdesignError: unreadable, unknown elements, partial occupancies, no cell, or atoms closer than 0.5 Å.
    """
    from invdesign.structures.files import parse_structure
    from invdesign.structures.tables import structure_in

    if isinstance(cell, str):
        return structure_in(cell, name)
    if isinstance(cell, dict):
        return structure_in(json.dumps(cell), name)
    if not isinstance(cell, Path):
        return _from_atoms(cell, name)
    if cell.suffix.lower() in ASE_FORMATS:
        return _from_atoms(_read_by_ase(cell), name)
    from invdesign.settings import InputFile

    try:
        text = cell.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PoolError(f"{name} is not a text file that can be read: {error}") from error
    return parse_structure(InputFile(name=cell.name, text=text))


def _read_by_ase(path: Path) -> Any:
    from ase.io import read

    try:
        frames = read(path, index=":", format=ASE_FORMATS[path.suffix.lower()])
    except Exception as error:  # every format raises its own
        raise PoolError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if len(frames) != 1:
        raise PoolError(f"{path.name} holds {len(frames)} structures; give each its own file")
    return frames[0]


def _from_atoms(atoms: Any, name: str) -> Structure:
    from pymatgen.core import Structure

    from invdesign.structures.files import check_distances

    if not len(atoms) or abs(atoms.cell.volume) < 1e-6:
        raise PoolError(f"{name} has no atoms or no unit cell")
    if 0 in atoms.numbers:
        raise PoolError(f"{name} has atoms of no element")
    structure = Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False))
    check_distances(structure, name)
    return structure
