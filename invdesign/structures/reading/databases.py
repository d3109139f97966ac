"""ASE databases, SQLite and JSON: numbers, positions, cell and key-value pairs of every row.

ASE itself would build objects from a row's constraints, calculators and data. They are ignored here, and a database
is opened for reading only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from invdesign.structures.reading.documents import parse_json
from invdesign.structures.reading.gate import SLAB_MESSAGE, check_count, to_fractional
from invdesign.structures.reading.raw import (
    MAX_FRAMES,
    Limits,
    RawCrystal,
    RawSite,
    StructureFileError,
    current_limits,
)
from invdesign.structures.reading.words import Matrix, element_from_number
from invdesign.textfiles import UnreadableFileError, decode, read_bytes

REQUIRED_COLUMNS = frozenset({"id", "numbers", "positions", "cell", "pbc", "energy", "key_value_pairs"})
SELECT_ROWS = "SELECT id, numbers, positions, cell, pbc, energy, key_value_pairs FROM systems"
SQLITE_HEADER = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """A row as stored.

    Numbers, positions and cell are parsed when they are asked for.

    Attributes:
        id: its number.
        fields: `numbers`, `positions`, `cell`, `pbc`: bytes of SQLite, or values of JSON.
        energy: eV, or None.
        pairs: key-value pairs that are numbers, text or truth values.
    """

    id: int
    fields: Mapping[str, object]
    energy: float | None = None
    pairs: Mapping[str, int | float | str | bool] = field(default_factory=dict)

    def read_numbers(self, name: str, limits: Limits) -> list[int]:
        """Parse the atomic numbers (n,).

        Args:
            name: name of the row in messages.
            limits: limits on the number of atoms.

        Raises:
            StructureFileError: they cannot be read.
        """
        found = _parse_array(self.fields["numbers"], "<i4", name, "atomic numbers")
        check_count(len(found), name, limits)
        whole = [int(number) for number in found.tolist()]
        if whole != found.tolist():
            raise StructureFileError(f"{name} has atomic numbers that are no whole numbers")
        return whole

    def read_symbols(self, name: str, limits: Limits) -> list[str]:
        """Parse the elements of the atoms (n,).

        Args:
            name: name of the row in messages.
            limits: limits on the number of atoms.

        Raises:
            StructureFileError: an atomic number is that of no element.
        """
        symbols = [element_from_number(number) for number in self.read_numbers(name, limits)]
        if None in symbols:
            raise StructureFileError(f"{name} has atoms of no element (atom {symbols.index(None) + 1})")
        return [str(symbol) for symbol in symbols]

    def build_crystal(self, name: str, limits: Limits) -> RawCrystal:
        """Build the crystal of the row.

        Args:
            name: name of the row in messages.
            limits: limits on sizes and numbers.

        Raises:
            StructureFileError: it is not periodic in all directions, or cannot be read.
        """
        symbols = self.read_symbols(name, limits)
        if not all(_parse_periodicity(self.fields["pbc"])):
            raise StructureFileError(f"{name} is not periodic in all directions: it is {SLAB_MESSAGE}")
        cell = _parse_array(self.fields["cell"], "<f8", name, "a cell")
        points = _parse_array(self.fields["positions"], "<f8", name, "positions")
        if len(cell) != 9 or len(points) != 3 * len(symbols):
            raise StructureFileError(
                f"{name} has no cell, or not three coordinates for each of its {len(symbols)} atoms"
            )
        a, b, c = (tuple(row) for row in cell.reshape(3, 3).tolist())
        lattice: Matrix = (a, b, c)
        places = to_fractional(lattice, points.reshape(-1, 3), name, limits)
        sites = (RawSite({symbol: 1.0}, place, symbol) for symbol, place in zip(symbols, places, strict=True))
        return RawCrystal(name, lattice, tuple(sites))


def _parse_array(value: object, kind: str, name: str, what: str) -> Any:
    """Parse numbers into a flat array.

    The value is bytes of SQLite, a list, or an array as ASE writes it in JSON.
    """
    if isinstance(value, bytes) and not len(value) % np.dtype(kind).itemsize:
        return np.frombuffer(value, dtype=kind)
    if isinstance(value, Mapping):
        held = value.get("array", value)
        parts = held.get("__ndarray__") if isinstance(held, Mapping) else held
        if isinstance(held, Mapping):
            parts = parts[2] if isinstance(parts, list) and len(parts) == 3 else None
        value = parts
    rows = value if isinstance(value, list) else None
    if rows is not None:
        flat = [item for row in rows for item in (row if isinstance(row, list) else [row])]
        # Rows of unlike lengths would shift the coordinates of all atoms behind them.
        even = len({len(row) if isinstance(row, list) else 0 for row in rows}) <= 1
        if even and all(
            isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 1 << 31
            for item in flat
        ):
            return np.asarray(flat, dtype=np.float64)
    raise StructureFileError(f"{name} has no {what} that can be read")


def _parse_periodicity(value: object) -> Sequence[bool]:
    """Periodicity along each axis.

    False where the value cannot be read.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return [bool(value & bit) for bit in (1, 2, 4)]
    if isinstance(value, Mapping):
        parts = value.get("__ndarray__")
        value = parts[2] if isinstance(parts, list) and len(parts) == 3 else None
    return [flag is True for flag in value] if isinstance(value, list) and len(value) == 3 else [False]


def _parse_pairs(value: object) -> dict[str, int | float | str | bool]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, int | float | str | bool)}


def _parse_energy(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class Database(Protocol):
    """Rows of an ASE database."""

    def read_rows(self) -> Iterator[DatabaseRow]:
        """Yield all rows by their numbers."""
        ...

    def read_row(self, id: int) -> DatabaseRow:
        """Read the row of number `id`."""
        ...


def open_database(path: Path, limits: Limits | None = None) -> Database:
    """Open the database in a file.

    It is JSON by its suffix, else SQLite.

    Args:
        path: the file.
        limits: limits on sizes and numbers; those of the environment where not given.

    Raises:
        StructureFileError: it is no ASE database.
    """
    limits = limits or current_limits()
    return JsonDatabase(path, limits) if path.suffix.lower() == ".json" else SqliteDatabase(path, limits)


class SqliteDatabase:
    """An SQLite database, opened for reading only."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self._limits = path, limits
        try:
            start = _read_header(path)
        except OSError as error:
            raise StructureFileError(f"{path.name} cannot be read: {error}") from error
        if start != SQLITE_HEADER:
            raise StructureFileError(f"{path.name} is not an SQLite file, so not an ASE database")
        with closing(self._open_connection()) as connection:
            self._check_schema(connection)

    def _open_connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._limits.bytes)
        return connection

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        """Refuse all but a plain table.

        A view or a computed column could compute forever.
        """
        try:
            kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'systems'").fetchall()
            columns = (
                connection.execute("PRAGMA table_xinfo(systems)").fetchall() if kinds == [("table",)] else []
            )
        except sqlite3.Error as error:
            raise StructureFileError(
                f"{self.path.name} cannot be read as an ASE database: {error}"
            ) from error
        plain = {row[1] for row in columns if not row[6]}
        if not plain >= REQUIRED_COLUMNS:
            raise StructureFileError(
                f"{self.path.name} is no ASE database: it has no table of systems as ASE writes it"
            )

    def read_rows(self) -> Iterator[DatabaseRow]:
        """Yield all rows by their numbers.

        Raises:
            StructureFileError: there are too many, or the file is damaged.
        """
        try:
            with closing(self._open_connection()) as connection:
                for number, values in enumerate(connection.execute(f"{SELECT_ROWS} ORDER BY id")):
                    if number >= self._limits.frames:
                        raise StructureFileError(
                            f"{self.path.name} has more than {self._limits.frames} rows; set the environment variable {MAX_FRAMES}"
                        )
                    yield self._build_row(values)
        except sqlite3.Error as error:
            raise StructureFileError(
                f"{self.path.name} cannot be read as an ASE database: {error}"
            ) from error

    def read_row(self, id: int) -> DatabaseRow:
        """Read the row of number `id`.

        Raises:
            StructureFileError: there is none, or the file is damaged.
        """
        try:
            with closing(self._open_connection()) as connection:
                found = connection.execute(f"{SELECT_ROWS} WHERE id = ?", (id,)).fetchone()
        except sqlite3.Error as error:
            raise StructureFileError(
                f"{self.path.name} cannot be read as an ASE database: {error}"
            ) from error
        if found is None:
            raise StructureFileError(f"{self.path.name} has no row {id}")
        return self._build_row(found)

    def _build_row(self, values: Sequence[Any]) -> DatabaseRow:
        id, numbers, positions, cell, pbc, energy, pairs = values
        fields = {"numbers": numbers, "positions": positions, "cell": cell, "pbc": pbc}
        held = parse_json(pairs, f"{self.path.name}, row {id}") if isinstance(pairs, str) and pairs else {}
        return DatabaseRow(int(id), fields, _parse_energy(energy), _parse_pairs(held))


def _read_header(path: Path) -> bytes:
    """Read the first bytes.

    Connecting to any other file would make it a database.
    """
    if not path.is_file():
        raise OSError("it is no regular file")
    with path.open("rb") as stream:
        return stream.read(len(SQLITE_HEADER))


class JsonDatabase:
    """A database in one JSON file."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self._limits = path, limits
        if not self._ids:
            raise StructureFileError(f"{path.name} is no ASE database: it has no rows with numbers")

    @cached_property
    def _held(self) -> Mapping[str, object]:
        try:
            text = decode(read_bytes(self.path, self._limits.bytes), self.path.name)
        except UnreadableFileError as error:
            raise StructureFileError(str(error)) from error
        found = parse_json(text, self.path.name)
        return found if isinstance(found, dict) else {}

    @cached_property
    def _ids(self) -> list[int]:
        ids = [
            int(key) for key, row in self._held.items() if key.isdecimal() and len(key) < 16 and _is_row(row)
        ]
        if len(ids) > self._limits.frames:
            raise StructureFileError(
                f"{self.path.name} has more than {self._limits.frames} rows; set the environment variable {MAX_FRAMES}"
            )
        return sorted(ids)

    def read_rows(self) -> Iterator[DatabaseRow]:
        """Yield all rows by their numbers."""
        return map(self.read_row, self._ids)

    def read_row(self, id: int) -> DatabaseRow:
        """Read the row of number `id`.

        Raises:
            StructureFileError: there is none.
        """
        found = self._held.get(str(id))
        if not isinstance(found, Mapping) or not _is_row(found):
            raise StructureFileError(f"{self.path.name} has no row {id}")
        fields = {key: found.get(key) for key in ("numbers", "positions", "cell", "pbc")}
        return DatabaseRow(
            id, fields, _parse_energy(found.get("energy")), _parse_pairs(found.get("key_value_pairs"))
        )


def _is_row(value: object) -> bool:
    return isinstance(value, Mapping) and "numbers" in value and "positions" in value
