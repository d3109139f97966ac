"""Rows of a file of results or candidates, with its mistakes; the meaning of cells is left to callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from invdesign import strictjson
from invdesign.errors import Mistake, ResultsError
from invdesign.tables.cells import Cell, is_blank
from invdesign.tables.records import WORKBOOK_SIGNATURES, TableError, TextData
from invdesign.tables.text import TextTable, find_mistake
from invdesign.textfiles import MEGABYTE, UnreadableFileError, decode, read_bytes, read_text

MAX_BYTES = 200 * MEGABYTE  # of a file of results, which is read whole; chosen
HEAD_LINE = 1  # of the headings if nothing comes before them


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its place and its filled cells by heading.

    Attributes:
        line: in the file, or number among the entries of a JSON file.
        cells: filled ones, by heading.
    """

    line: int
    cells: Mapping[str, Cell]


@dataclass
class Table:
    """Rows of a file, and mistakes in its form.

    Attributes:
        source: name of the file in messages.
        headings: of its columns.
        rows: with filled cells.
        mistakes: found so far.
        lines: True if rows have lines; entries of a JSON file are counted.
        head: line of the headings.
    """

    source: str
    headings: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    lines: bool = True
    head: int = HEAD_LINE

    def add_mistake(self, row: Row | None, column: str, message: str, hint: str = "") -> None:
        """Record a mistake.

        Args:
            row: with the mistake; None for the headings.
            column: its heading, or `row` or `file`.
            message: the finding.
            hint: the remedy.
        """
        if not self.lines:
            entry = "every entry" if row is None else f"entry {row.line}"
            self.mistakes.append(Mistake(f"{entry}, {column}", message, None, hint))
            return
        line = self.head if row is None else row.line
        self.mistakes.append(Mistake(column, message, line, hint))

    def row_place(self, row: Row) -> str:
        """Place of a `row` in words."""
        return f"line {row.line}" if self.lines else f"entry {row.line}"


def read_table(path: Path) -> Table:
    """Read the rows of a CSV or JSON file.

    Args:
        path: CSV with comma, semicolon or tab, or JSON with a list of objects.

    Raises:
        ResultsError: the file is missing, empty, no text, or no such list.
    """
    table = Table(path.name)
    try:
        if path.suffix.lower() == ".json":
            _read_json(table, read_text(path, MAX_BYTES))
        else:
            _read_csv(table, TextTable(TextData(_read_file_text(path)), path.name))
    except TableError as error:
        column = "row" if error.line is not None else "file"
        raise ResultsError([Mistake(column, error.message, error.line, error.hint)], path.name) from error
    except UnreadableFileError as error:
        raise _file_error(path, str(error)) from error
    return table


def _file_error(path: Path, message: str) -> ResultsError:
    return ResultsError([Mistake("file", message)], path.name)


def _read_file_text(path: Path) -> str:
    data = read_bytes(path, MAX_BYTES)
    if data.startswith(WORKBOOK_SIGNATURES):
        raise _file_error(
            path, "this is a workbook or an archive. In the spreadsheet, save it as 'CSV UTF-8'."
        )
    text = decode(data, path.name, letters=True)
    if not text.strip():
        raise _file_error(path, "the file is empty. It needs a line of headings and a line per result.")
    return text


# CSV.


def _read_csv(table: Table, text: TextTable) -> None:
    table.head, table.headings = text.head.line, text.headings
    for heading in text.twice:
        table.add_mistake(None, heading, "there is more than one column of this heading.")
    for line, cells in text.read_lines():
        row = Row(line, _drop_blank(dict(zip(table.headings, cells, strict=False))))
        mistake = find_mistake(table.headings, cells)
        if mistake is not None:
            table.add_mistake(row, *mistake)
        if row.cells:
            table.rows.append(row)


def _drop_blank(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Drop blank cells, and strip space around text."""
    return {
        heading: cell.strip() if isinstance(cell, str) else cell
        for heading, cell in cells.items()
        if heading and not (isinstance(cell, str) and is_blank(cell)) and cell is not None
    }


# JSON.


def _read_json(table: Table, text: str) -> None:
    table.lines = False
    try:
        entries = strictjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultsError([Mistake("file", f"this is no JSON: {error}")], table.source) from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        message = 'expected a list of objects, such as [{"candidate": 0, "conductivity": 0.4}]'
        raise ResultsError([Mistake("file", message)], table.source)
    table.headings = tuple(dict.fromkeys(str(key).strip() for entry in entries for key in entry))
    for number, entry in enumerate(entries, 1):
        cells = _drop_blank({str(key).strip(): cell for key, cell in entry.items()})
        if cells:
            table.rows.append(Row(number, cells))
