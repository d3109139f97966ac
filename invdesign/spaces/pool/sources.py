"""Where a pool's rows come from. Every source is read in blocks once, and row by row at a place after that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from invdesign.spaces.pool.file import ASE_FORMATS, DATABASES, PoolError, structure_files
from invdesign.tables.cells import Cell
from invdesign.tables.objects import read_object
from invdesign.tables.records import ROWS, Records, open_data
from invdesign.tables.text import open_table
from invdesign.tables.units import find_column

if TYPE_CHECKING:
    from pymatgen.core import Structure

IntArray = NDArray[np.int64]

STRUCTURE = "(structure)"  # the column of sources whose rows are structures; no table's header reads so
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


class TextSource:
    """CSV with commas, semicolons or tabs, as `invdesign.tables` reads it."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        self._table = open_table(path)
        self.columns = tuple(filter(None, self._table.headings))
        self.remarks = self._table.remarks

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        for rows in self._table.blocks(columns):
            yield Block(rows.places, dict(rows.cells))

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        return dict(self._table.fetch(place, columns))


class NamedSource:
    """A source of which some columns go by other names than their headings."""

    def __init__(self, source: Source, headings: Mapping[str, str]) -> None:
        """`headings`: by name, of the columns that are renamed."""
        self._source, self._headings = source, headings
        self.identifier = source.identifier
        self.columns = (*source.columns, *headings)
        self.remarks = tuple(getattr(source, "remarks", ()))

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        for block in self._source.blocks(self._asked(columns)):
            yield Block(block.places, {name: block.cells[self._heading(name)] for name in columns})

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        cells = self._source.fetch(place, self._asked(columns))
        return {name: cells[self._heading(name)] for name in columns}

    def _heading(self, name: str) -> str:
        return self._headings.get(name, name)

    def _asked(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(map(self._heading, columns)))


def name_columns(source: Source, names: Iterable[str], table: str) -> tuple[Source, dict[str, str]]:
    """A source whose columns can be asked for without the units in their headings; and heading by such name.

    Args:
        source: the source.
        names: of columns, as the user calls them.
        table: what messages call the source.

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
    """One JSON object per line; a column a line does not name is empty there."""

    identifier: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = Records(open_data(path), path.name)
        lines = self._records.text(0, min(LOOKED_AT, len(self._records))).split("\n")
        parsed = [self._parsed(line, number) for number, line in enumerate(lines, 1) if line.strip()]
        self.columns = tuple(dict.fromkeys(name for row in parsed for name in row))

    def _parsed(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line, object_pairs_hook=read_object)
        except (ValueError, RecursionError) as error:
            raise PoolError(f"{self.path.name}: line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PoolError(f"{self.path.name}: line {number} is not an object in braces: {line:.60}")
        return {
            key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()
        }

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        starts = self._records.starts
        for first, end in self._records.spans():
            # Not splitlines: strings may hold characters it takes for line ends.
            lines = self._records.text(first, end).split("\n")
            rows = [
                (int(starts[first + k]), self._parsed(line, first + k + 1))
                for k, line in enumerate(lines)
                if line.strip()
            ]
            cells: dict[str, Sequence[Cell]] = {name: [row.get(name) for _, row in rows] for name in columns}
            yield Block(np.array([place for place, _ in rows], dtype=np.int64), cells)

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        row = self._parsed(self._records.record(place), 0)
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
        from ase.db import connect

        self.path = path
        sqlite = path.suffix.lower() == ".db"
        with path.open("rb") as stream:
            start = stream.read(16)
        if sqlite and start != b"SQLite format 3\0":  # connecting would make it a database
            raise PoolError(f"{path.name} is not an SQLite file, so not an ASE database")
        try:
            self._database = connect(path, type="db" if sqlite else "json", use_lock_file=False)
            rows = list(self._database.select(limit=LOOKED_AT))
        except Exception as error:  # SQLite's, JSON's, or ASE's own
            raise PoolError(f"{path.name} cannot be read as an ASE database: {error}") from error
        pairs = dict.fromkeys(key for row in rows for key in row.key_value_pairs)
        self.columns = ("id", "formula", "energy", "natoms", *pairs, STRUCTURE)

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        places: list[int] = []
        cells: dict[str, list[Cell]] = {name: [] for name in columns}
        for row in self._database.select(sort="id"):
            places.append(row.id)
            for name in columns:
                cells[name].append(_database_cell(row, name))
            if len(places) == ROWS:
                yield Block(np.array(places, dtype=np.int64), dict(cells))
                places, cells = [], {name: [] for name in columns}
        if places:
            yield Block(np.array(places, dtype=np.int64), dict(cells))

    def fetch(self, place: int, columns: Sequence[str]) -> dict[str, Cell]:
        row = self._database.get(id=place)
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
