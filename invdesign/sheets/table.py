"""A file of rows as somebody saved it: encodings, separators, lines; what the cells mean is not known here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from invdesign import strictjson
from invdesign.errors import Mistake, ResultsError
from invdesign.structures.tables import is_blank, separator_of

Cell = object  # text; from JSON also numbers, true and false, lists and mappings
_ZIP, _UTF16 = b"PK\x03\x04", (b"\xff\xfe", b"\xfe\xff")
HEAD = 1  # line of the headings where nothing comes before them


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its line in the file, or its number among the entries of a JSON file, and its filled cells by heading."""

    line: int
    cells: Mapping[str, Cell]


@dataclass
class Table:
    """What a file holds, and what is wrong with its form.

    Attributes:
        source: the file, as messages call it.
        lines: whether rows have lines; entries of a JSON file are counted.
        head: line of the headings.
    """

    source: str
    headings: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    lines: bool = True
    head: int = HEAD

    def complain(self, row: Row | None, column: str, message: str, hint: str = "") -> None:
        """Take note of a mistake in a row, or in the headings where it is None."""
        if not self.lines:
            entry = "every entry" if row is None else f"entry {row.line}"
            self.mistakes.append(Mistake(f"{entry}, {column}", message, None, hint))
            return
        line = self.head if row is None else row.line
        self.mistakes.append(Mistake(column, message, line, hint))

    def place(self, row: Row) -> str:
        """Where a row stands, in words."""
        return f"line {row.line}" if self.lines else f"entry {row.line}"


def read_table(path: Path) -> Table:
    """The rows of a CSV file (comma, semicolon or tab), or of a JSON file (a list of objects).

    Raises:
        ResultsError: the file is missing, empty, no text, or no such list.
    """
    text = _text_of(path)
    table = Table(path.name)
    if path.suffix.lower() == ".json":
        _read_json(table, text)
    else:
        _read_csv(table, text)
    return table


def _refused(path: Path, message: str) -> ResultsError:
    return ResultsError([Mistake("file", message)], path.name)


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _refused(path, f"there is no such file (looked for {path})") from None
    except IsADirectoryError:
        raise _refused(path, "this is a folder; name the file with the results") from None
    if data.startswith(_ZIP):
        raise _refused(path, "this is a workbook or an archive. In the spreadsheet, save it as 'CSV UTF-8'.")
    try:
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"line {line} is no UTF-8 text. In the spreadsheet, save the file as 'CSV UTF-8'."
        raise _refused(path, message) from None
    if "\0" in text:
        raise _refused(path, "this is no text. Results are a CSV file, or a JSON file that ends in .json.")
    if not text.strip():
        raise _refused(path, "the file is empty. It needs a line of headings and a line per result.")
    return text


# CSV.


def _read_csv(table: Table, text: str) -> None:
    records = _records(text)
    try:
        line, head = next(records)
        table.head = line
        table.headings = tuple(cell.strip() for cell in head)
        _check_headings(table)
        for line, cells in records:
            row = Row(line, _filled(dict(zip(table.headings, cells, strict=False))))
            _check_width(table, row, cells)
            if row.cells:
                table.rows.append(row)
    except csv.Error as error:
        message = f"this line cannot be read: {error}. A quotation mark that is not closed?"
        table.complain(Row(line, {}), "row", message)


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, cells) of every record that is not blank; `sep=;`, of spreadsheets, is none."""
    lines = text.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.strip())
    first = lines[start].strip()
    separator = separator_of(first)
    if first.lower().startswith("sep=") and len(first) == len("sep=;"):
        separator, start = first[-1], start + 1
    elif first.lower() == "sep=":  # a tab, stripped
        separator, start = "\t", start + 1
    reader = csv.reader(io.StringIO("".join(lines[start:]), newline=""), delimiter=separator, strict=True)
    line = start + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield line, cells
        line = start + reader.line_num + 1


def _filled(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Cells that hold something, text without the space around it."""
    return {
        heading: cell.strip() if isinstance(cell, str) else cell
        for heading, cell in cells.items()
        if heading and not (isinstance(cell, str) and is_blank(cell)) and cell is not None
    }


def _check_headings(table: Table) -> None:
    for heading in sorted(
        {heading for heading in table.headings if table.headings.count(heading) > 1} - {""}
    ):
        table.complain(None, heading, "there is more than one column of this heading.")


def _check_width(table: Table, row: Row, cells: list[str]) -> None:
    width = len(table.headings)
    if any(cell.strip() for cell in cells[width:]):
        table.complain(
            row,
            "row",
            f"has {len(cells)} cells, and there are {width} headings.",
            "A decimal comma, or text with a comma in it? Write 0.5, and text in quotation marks.",
        )
    for place, (heading, cell) in enumerate(zip(table.headings, cells, strict=False), 1):
        if not heading and cell.strip():
            table.complain(row, f"column {place}", f"holds '{cell.strip():.40}' and has no heading.")


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
        cells = _filled({str(key).strip(): cell for key, cell in entry.items()})
        if cells:
            table.rows.append(Row(number, cells))
