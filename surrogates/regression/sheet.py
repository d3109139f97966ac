"""Data files as columns of cells: text tables, JSON and Parquet, plain or gzipped; and mistakes in them."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from invdesign import strictjson
from invdesign.errors import FileError, InvdesignError, Mistake
from invdesign.tables.cells import Cell
from invdesign.tables.records import TableError, TextData
from invdesign.tables.text import TextTable, find_mistake
from invdesign.tables.units import describe_missing_column, find_column, split_heading
from invdesign.textfiles import MEGABYTE, decode, read_bytes
from invdesign.wording import count_noun

MAX_BYTES = 500 * MEGABYTE  # of a data file, also unpacked; chosen
MAX_MISTAKES = 50  # mistakes that are written out; chosen
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, ".parquet")


class DataFileError(FileError):
    """All mistakes in a data file."""


@dataclass(frozen=True)
class Sheet:
    """Columns of a data file.

    Attributes:
        name: of the file.
        sha256: hash of its bytes.
        headings: the columns in their order.
        columns: n cells each, by heading; structures and lists of JSON as they are.
        rows: line of each row in a text table, else its number from 1; shape (n,).
        by_line: True if `rows` are lines.
        doubled: headings of more than one column.
        remarks: sentences on content that was passed over.
    """

    name: str
    sha256: str
    headings: tuple[str, ...]
    columns: Mapping[str, Sequence[Cell]]
    rows: tuple[int, ...]
    by_line: bool = True
    doubled: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def row_word(self) -> str:
        """Noun before a number of a row: line, or row."""
        return "line" if self.by_line else "row"

    def pick_heading(self, names: Sequence[str]) -> str | None:
        """Find the first column that has one of the usual `names`, in any capitals; None if there is none."""
        known: dict[str, str] = {}
        for heading in self.headings:
            known.setdefault(_fold_name(heading), heading)
        for heading in self.headings:
            known.setdefault(_fold_name(split_heading(heading)[0]), heading)
        return next((known[name] for name in map(_fold_name, names) if name in known), None)


def _fold_name(name: str) -> str:
    """Write a heading in lower case, with blanks in place of underscores."""
    return " ".join(name.lower().replace("_", " ").split())


@dataclass
class Mistakes:
    """Collects the mistakes in one file, which are reported together."""

    sheet: Sheet
    found: list[Mistake] = field(default_factory=list)

    def add(self, column: str, place: int | None, message: str, hint: str = "") -> None:
        """Add a mistake.

        Args:
            column: heading, or another place.
            place: position of the row; None for the whole column.
            message: the value found and the limit.
            hint: the remedy.
        """
        if place is None:
            self.found.append(Mistake(column, message, hint=hint))
        elif self.sheet.by_line:
            self.found.append(Mistake(column, message, self.sheet.rows[place], hint))
        else:
            self.found.append(Mistake(f"row {self.sheet.rows[place]}, {column}", message, hint=hint))

    def raise_any(self) -> None:
        """Raise the mistakes, ordered by row, if there are any.

        Raises:
            DataFileError: with all of them; more than fifty are counted.
        """
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda mistake: mistake.line or 0)
        shown = ordered[:MAX_MISTAKES]
        if len(ordered) > len(shown):
            more = count_noun(len(ordered) - len(shown), "mistake")
            shown.append(Mistake("more", f"{more} like these are not listed"))
        raise DataFileError(shown, self.sheet.name)

    def find_column(self, name: str, what: str, remedy: str = "Name it in full.") -> str | None:
        """Find a column that the user names; a missing, misspelt or doubled one is a mistake.

        Args:
            name: as the user gives it, with or without the unit of its heading.
            what: purpose of the column, for the message.
            remedy: what to do where several columns match.

        Returns:
            The heading, or None.
        """
        try:
            found = find_column(name, self.sheet.headings, self.sheet.name, remedy)
        except InvdesignError as error:
            self.add(what, None, str(error))
            return None
        if found is None:
            self.add(
                what,
                None,
                f"there is no column '{name}'.",
                describe_missing_column(name, self.sheet.headings),
            )
            return None
        return found.heading


def is_table_name(name: str) -> bool:
    """True if `name` is that of a table: `.csv`, `.json.gz`, `.parquet`."""
    return _split_suffixes(name)[0] in TABLE_SUFFIXES


def _split_suffixes(name: str) -> tuple[str, bool]:
    """Suffix of a file in lower case, and whether `.gz` follows it."""
    lower = name.lower()
    packed = lower.endswith(".gz")
    return Path(lower.removesuffix(".gz")).suffix, packed


def read_sheet(path: Path) -> Sheet:
    """Read the columns of a table: CSV, TSV, JSON, JSON lines or Parquet; text also gzipped.

    Raises:
        InvdesignError: it cannot be read; every row that does not fit the headings is named.
    """
    suffix, packed = _split_suffixes(path.name)
    if suffix not in TABLE_SUFFIXES:
        raise TableError(
            path.name, "is no table;", f"expected {', '.join(TABLE_SUFFIXES)}, text also with .gz behind it"
        )
    data = read_bytes(path, MAX_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    if packed:
        data = unpack_gzip(data, path.name)
    if suffix == ".parquet":
        return _read_parquet(data, path.name, sha256)
    text = decode(data, path.name, letters=suffix in TEXT_SUFFIXES)
    if suffix in TEXT_SUFFIXES:
        return _read_text(text, path.name, sha256)
    return _make_sheet(_parse_records(text, suffix, path.name), path.name, sha256)


def unpack_gzip(data: bytes, name: str) -> bytes:
    """Unpack gzipped `data` of bounded size.

    Raises:
        TableError: it is damaged, or holds more than 500 MB.
    """
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            found = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(name, f"cannot be unpacked: {error}.", "Fetch it again") from error
    if len(found) > MAX_BYTES:
        raise TableError(name, f"unpacks to more than {MAX_BYTES // MEGABYTE} MB.", "Split it")
    return found


def _read_text(text: str, name: str, sha256: str) -> Sheet:
    """Read a table of text; rows that do not fit the headings are all named."""
    table = TextTable(TextData(text), name)
    headings = tuple(dict.fromkeys(filter(None, table.headings)))
    try:
        columns, lines = table.read_columns(headings)
    except TableError as error:
        raise _find_ragged_rows(table) or error from None
    return Sheet(name, sha256, headings, columns, tuple(lines), True, table.twice, table.remarks)


def _find_ragged_rows(table: TextTable) -> DataFileError | None:
    """Error for all rows of a table with too many or too few cells; None if there are none."""
    mistakes = []
    for line, cells in table.read_lines():
        found = find_mistake(table.headings, cells)
        if found is not None:
            mistakes.append(Mistake(found[0], found[1], line, found[2]))
    return DataFileError(mistakes[:MAX_MISTAKES], table.name) if mistakes else None


def _parse_records(text: str, suffix: str, name: str) -> list[Mapping[str, Any]]:
    """Parse the objects of a JSON file: a list, an object of columns, or one object per line."""
    try:
        if suffix != ".json":
            found: Any = [strictjson.loads(line) for line in text.split("\n") if line.strip()]
        else:
            found = strictjson.loads(text)
    except ValueError as error:
        raise TableError(name, f"cannot be read as JSON: {error}") from error
    if isinstance(found, Mapping) and found and all(isinstance(cells, list) for cells in found.values()):
        lengths = {key: len(cells) for key, cells in found.items()}
        if len(set(lengths.values())) > 1:
            raise TableError(name, f"has columns of different lengths: {json.dumps(lengths):.200}")
        found = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TableError(
            name, "is no table:", "expected a list of objects, one per material, or an object of lists"
        )
    return found


def _make_sheet(records: Sequence[Mapping[str, Any]], name: str, sha256: str) -> Sheet:
    """Make columns of records; a missing key is an empty cell."""
    headings = tuple(dict.fromkeys(key for record in records for key in record))
    columns = {key: [record.get(key) for record in records] for key in headings}
    return Sheet(name, sha256, headings, columns, tuple(range(1, len(records) + 1)), False)


def _read_parquet(data: bytes, name: str, sha256: str) -> Sheet:
    """Read a table in Parquet by pyarrow."""
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise TableError(
            name, "needs pyarrow:", 'pip install "invdesign[parquet]"; or save the table as CSV'
        ) from error
    try:
        table = parquet.ParquetFile(BytesIO(data)).read()
        names = [str(heading) for heading in table.column_names]
        columns = {heading: table.column(place).to_pylist() for place, heading in enumerate(names)}
    except Exception as error:  # pyarrow raises classes of its own
        raise TableError(name, f"cannot be read as Parquet: {error}") from error
    doubled = tuple(heading for heading, count in Counter(names).items() if count > 1)
    rows = tuple(range(1, int(table.num_rows) + 1))
    return Sheet(name, sha256, tuple(dict.fromkeys(names)), columns, rows, False, doubled)
