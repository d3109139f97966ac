"""Tables of text, as people and spreadsheets save them: headings, then rows of cells."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.arrays import IntArray
from invdesign.tables.cells import parse_number
from invdesign.tables.guard import unguard_cell
from invdesign.tables.records import (
    Data,
    Records,
    TableError,
    TextData,
    decode_records,
    open_data,
    parse_rows,
)
from invdesign.tables.units import is_unit
from invdesign.wording import count_noun

SEPARATORS = (",", ";", "\t")
COMMENT_MARK = "#"
MAX_COLUMNS = 16_384  # as many as a sheet of Excel has
_COMPOSED = re.compile(r"[/\u00b7\u207b%\u00b0]|-\d")  # in units that are no symbols of elements too
_IN_QUOTES = re.compile(r'"[^"]*"')
_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows.

    Attributes:
        places: shape (n,), byte offsets to find the rows again.
        cells: the requested columns, n cells each.
    """

    places: IntArray
    cells: dict[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Head:
    """The headings of a table, and the lines before them.

    Attributes:
        place: byte offset of the record with the headings.
        line: its line, from 1.
        separator: character between cells.
        skipped: comment lines before it.
    """

    place: int
    line: int
    separator: str
    skipped: tuple[str, ...]


class TextTable:
    """A table of text, read in blocks or row by row.

    Cells are separated by comma, semicolon or tab.

    Attributes:
        name: name of the table in messages.
        head: place of the headings.
        headings: the columns, spaces put right; an empty one where a column has none.
        twice: headings of more than one column.
    """

    def __init__(self, data: Data, name: str) -> None:
        """Find separator, headings and the beginning of each row.

        Raises:
            TableError: there are no headings, or a quotation mark is not closed.
        """
        self.name = name
        self.head = _find_head(data, name)
        self._records = Records(data, name, head=self.head.place, separator=self.head.separator)
        self.headings = tuple(" ".join(unguard_cell(cell).split()) for cell in self._read_row(0))
        if len(self.headings) > MAX_COLUMNS:
            message = f"has {len(self.headings)} columns; at most {MAX_COLUMNS} are read"
            raise TableError(name, message, "Is its first line one of headings?", self.head.line)
        counted = Counter(filter(None, self.headings))
        self.twice = tuple(heading for heading, count in counted.items() if count > 1)
        self._place = {heading: place for place, heading in reversed(list(enumerate(self.headings)))}

    def check_headings(self) -> None:
        """Refuse headings that stand for several columns.

        Raises:
            TableError: the message names one of them.
        """
        if self.twice:
            message = f"has more than one column '{self.twice[0]}';"
            raise TableError(self.name, message, "rename all but one", self.head.line)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on lines that were left out before the headings."""
        return tuple(f"line '{line:.60}' before the headings is a comment" for line in self.head.skipped)

    def _read_row(self, index: int) -> list[str]:
        """Read the cells of record `index`.

        The headings are number 0.
        """
        try:
            rows = list(parse_rows(iter([self._records.read_text(index, index + 1)]), self.head.separator))
        except csv.Error as error:
            raise self._records.error_at(int(self._records.starts[index]), error) from error
        return rows[0] if rows else []

    def find_places(self, columns: Sequence[str]) -> list[int]:
        """Find the positions of `columns` by heading."""
        return [self._place[column] for column in columns]

    def read_blocks(self, columns: Sequence[str]) -> Iterator[Rows]:
        """Yield all rows in their order, without blank ones.

        Args:
            columns: headings of the columns to read.

        Raises:
            TableError: a row has too many or too few cells.
        """
        wanted = self.find_places(columns)
        for first, end in self._records.iterate_spans(1):
            rows, places = self._read_filled_rows(first, end, max(wanted, default=-1) + 1)
            turned = _pick_columns(rows, wanted)
            yield Rows(places, dict(zip(columns, turned, strict=True)))

    def _read_filled_rows(self, first: int, end: int, cells: int) -> tuple[list[list[str]], IntArray]:
        """Read the filled rows of `first` to `end`, with offsets.

        At least the first `cells` cells of each row are parsed.
        """
        text = self._records.read_text(first, end)
        places = self._records.starts[first:end]
        separator = self.head.separator
        whole: Sequence[Sequence[str]]
        if '"' in text:
            whole = rows = self._parse_text(text, first, end)
            widths = [len(row) for row in rows]
            blank = [k for k, row in enumerate(rows) if not any(map(str.strip, row))]
        else:
            lines = text.removesuffix("\n").split("\n")
            # One more split than needed, so that all rows are of one length where the number of cells is right.
            rows = [line.split(separator, cells) for line in lines]
            whole = _Split(lines, separator)
            widths = [line.count(separator) + 1 for line in lines]
            blank = [k for k, line in enumerate(lines) if not line.strip(separator + _SPACE)]
        self._check_rows(whole, widths, set(blank), places)
        if blank:
            out = set(blank)
            filled = [k for k in range(len(rows)) if k not in out]
            rows, places = [rows[k] for k in filled], places[filled]
        if "'" in text:
            rows = [[unguard_cell(cell) for cell in row] for row in rows]
        return rows, places

    def _check_rows(
        self, rows: Sequence[Sequence[str]], widths: Sequence[int], blank: set[int], places: IntArray
    ) -> None:
        """Refuse rows that do not fit the headings.

        Where it suffices, only rows with a wrong number of cells are looked at.

        Args:
            rows: n rows, whole.
            widths: number of cells of each, n.
            blank: positions of rows without content.
            places: offset of each, n.
        """
        count = len(self.headings)
        if "" not in self.headings and not {*widths} - {count}:
            return
        nameless = [place for place, heading in enumerate(self.headings) if not heading]
        for k, width in enumerate(widths):
            if k in blank or (width == count and not nameless):
                continue
            mistake = find_mistake(self.headings, rows[k])
            if mistake is not None:
                column, message, hint = mistake
                column = "" if column == "row" else f"({column}) "
                raise TableError(self.name, f"{column}{message}", hint, self.find_line(int(places[k])))

    def _parse_text(self, text: str, first: int, end: int) -> list[list[str]]:
        """Parse the records `first` to `end` into rows."""
        try:
            rows = list(parse_rows(io.StringIO(text, newline="\n"), self.head.separator))
        except csv.Error as error:
            raise self._records.error_at(int(self._records.starts[first]), error) from error
        if len(rows) != end - first:
            line = self._records.find_line(int(self._records.starts[first]))
            raise TableError(
                self.name, "cannot be cut into rows. A quotation mark that is not closed?", "", line
            )
        return rows

    def fetch_row(self, place: int, columns: Sequence[str]) -> dict[str, str]:
        """Read the cells of one row.

        Args:
            place: offset of the row.
            columns: headings of the columns to read.
        """
        row = next(parse_rows(iter([self._records.read_record(place)]), self.head.separator))
        return {
            name: unguard_cell(row[index])
            for name, index in zip(columns, self.find_places(columns), strict=True)
        }

    def find_line(self, place: int) -> int:
        """Line of the row at offset `place`, from 1."""
        return self._records.find_line(place)

    def read_lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line, all cells) of every filled row.

        Rows that do not fit the headings are included.
        """
        line = self.head.line + self._records.read_text(0, 1).count("\n")
        for index in range(1, len(self._records)):
            text = self._records.read_text(index, index + 1)
            row = self._read_row(index)
            if any(map(str.strip, row)):
                yield line, [unguard_cell(cell) for cell in row]
            line += text.count("\n")

    def read_columns(self, columns: Sequence[str]) -> tuple[dict[str, list[str]], list[int]]:
        """Read whole columns into memory, and the line of each row.

        Args:
            columns: headings of the columns to read.

        Raises:
            TableError: a row has too many or too few cells.
        """
        cells: dict[str, list[str]] = {name: [] for name in columns}
        places: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        for block in self.read_blocks(columns):
            places.append(block.places)
            for name in columns:
                cells[name] += block.cells[name]
        return cells, self._records.find_lines(np.concatenate(places)).tolist()


class _Split(Sequence[list[str]]):
    """Lines as rows of all their cells, split on access."""

    def __init__(self, lines: Sequence[str], separator: str) -> None:
        self._lines, self._separator = lines, separator

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: Any) -> Any:
        return self._lines[index].split(self._separator)


def open_table(path: Path) -> TextTable:
    """Open the table in a file.

    UTF-8 stays on disk.

    Args:
        path: the file.

    Raises:
        TableError: it is no table.
        UnreadableFileError: it cannot be read.
    """
    table = TextTable(open_data(path), path.name)
    table.check_headings()
    return table


def parse_table(name: str, text: str) -> TextTable:
    """Parse the table in a text.

    Args:
        name: name of the table in messages.
        text: content of the table.

    Raises:
        TableError: it is no table.
    """
    table = TextTable(TextData(text), name)
    table.check_headings()
    return table


def find_mistake(headings: Sequence[str], cells: Sequence[str]) -> tuple[str, str, str] | None:
    """Find the mistake in a row as (column, message, hint).

    None where the cells fit. Cells may be missing or blank beyond the last column that has a heading; whole numbers
    in a first column without one are the numbers of rows, as pandas writes them.

    Args:
        headings: all headings of the table.
        cells: all cells of the row.
    """
    named = max((place for place, heading in enumerate(headings, 1) if heading), default=0)
    if any(cell.strip() for cell in cells[len(headings) :]):
        hint = "A decimal comma, or text with a comma in it? Write 0.5, and text in quotation marks."
        return "row", f"has {len(cells)} cells, and there are {count_noun(len(headings), 'heading')}.", hint
    if len(cells) < named:
        hint = "Give every row a cell for each heading, empty where there is nothing."
        return (
            "row",
            f"has {count_noun(len(cells), 'cell')}, and there are {count_noun(len(headings), 'heading')}.",
            hint,
        )
    for place, (heading, cell) in enumerate(zip(headings, cells, strict=False), 1):
        if not heading and cell.strip() and not (place == 1 and cell.strip().isdecimal()):
            hint = "Give it one; where the headings take two lines, write them in one."
            return f"column {place}", f"holds '{cell.strip():.40}' and has no heading.", hint
    return None


def _pick_columns(rows: Sequence[Sequence[str]], wanted: Sequence[int]) -> list[Sequence[str]]:
    """Pick the columns `wanted` of rows.

    Rows may be of unequal length beyond these.
    """
    if not rows:
        return [() for _ in wanted]
    try:
        turned: list[Sequence[str]] = list(zip(*rows, strict=True))
    except ValueError:
        return [[row[place] for row in rows] for place in wanted]
    return [turned[place] for place in wanted]


# The head.


def find_separator(header: str, following: str = "") -> str:
    """Find the separator of columns: comma, semicolon or tab.

    Args:
        header: the line of headings.
        following: the line after it; a candidate that occurs equally often in both lines is preferred.

    Returns:
        The separator; among several the most frequent one of the headings.
    """
    bare, after = _IN_QUOTES.sub("", header), _IN_QUOTES.sub("", following)
    same = [mark for mark in SEPARATORS if bare.count(mark) and bare.count(mark) == after.count(mark)]
    return max(same if len(same) == 1 else SEPARATORS, key=bare.count)


def _find_head(data: Data, name: str) -> Head:
    """Find the headings after blank lines, `sep=;` and comments.

    A line that begins with # holds the headings where it is the last of these, and has as many cells, two or more, as
    the line after it.
    """
    held: list[tuple[int, int, str]] = []  # place, line number, text of lines that may be comments
    offset, said = 0, ""
    found: tuple[int, int, str] | None = None
    following = ""
    for number, raw in enumerate(data.lines(0), 1):
        place, text = offset, decode_records(raw)
        offset += len(raw)
        plain = text.strip()
        if found is not None:
            if plain.strip("".join(SEPARATORS)):
                following = plain
                break
        elif not plain.strip("".join(SEPARATORS)):
            continue
        elif not said and not held and _parse_separator_line(text):
            said = _parse_separator_line(text)
        elif plain.startswith(COMMENT_MARK):
            held.append((place, number, plain))
        else:
            found = (place, number, plain)
    if found is None and not held:
        raise TableError(name, "is empty: it has no header, its first line must name the columns")
    found = found or held.pop()
    separator = said or find_separator(found[2], following)
    _check_first_lines(found, following, separator, name)
    if held and found[2][:1] != COMMENT_MARK:
        cells = _count_cells(held[-1][2], separator)
        if cells > 1 and cells == _count_cells(found[2], separator):
            found = held.pop()
    return Head(found[0], found[1], separator, tuple(text for _, _, text in held))


def _check_first_lines(found: tuple[int, int, str], following: str, separator: str, name: str) -> None:
    """Refuse a title above the headings, and units below them.

    Args:
        found: place, line and text of the headings.
        following: the next line that is not blank.
        separator: separator of the headings.
        name: name of the table in messages.
    """
    words = _list_filled_cells(following, find_separator(following))
    if len(_list_filled_cells(found[2], separator)) == 1 and len(words) > 1 and all(map(_is_heading, words)):
        message = (
            f"begins with '{found[2].strip(separator):.60}', which looks like a title above the headings."
        )
        raise TableError(
            name, message, "Remove what stands above the headings, or begin it with #.", found[1]
        )
    columns, values = found[2].split(), following.split()
    spaced = not any(mark in found[2] + following for mark in SEPARATORS) and len(columns) == len(values) > 2
    if spaced and any("." in word and parse_number(word) is not None for word in values):
        message = "has columns that are separated by spaces."
        raise TableError(name, message, "Separate them with commas, semicolons or tabs.", found[1])
    units = _list_filled_cells(following, separator)
    if units and all(map(is_unit, units)) and any(map(_COMPOSED.search, units)):
        message = f"holds headings whose units ({', '.join(units):.60}) stand in a row of their own."
        hint = f"Write them into the headings, as in 'NAME [{next(filter(_COMPOSED.search, units))}]', and remove that row."
        raise TableError(name, message, hint, found[1])


def _list_filled_cells(line: str, separator: str) -> list[str]:
    """Cells of a line that are not blank."""
    cells = next(csv.reader([line], delimiter=separator), [])
    return [cell.strip() for cell in cells if cell.strip()]


def _is_heading(cell: str) -> bool:
    return cell[0].isalpha() and parse_number(cell) is None


def _parse_separator_line(line: str) -> str:
    """Parse the separator from a spreadsheet's line `sep=;`.

    Empty for any other line.
    """
    text = line.rstrip("\r\n").strip(" ").strip('"')
    if text[:4].lower() != "sep=" or len(text.rstrip()) > 5:
        return ""
    return text[4:5] if text[4:5] in SEPARATORS else "\t" if not text[4:] else ""


def _count_cells(line: str, separator: str) -> int:
    return _IN_QUOTES.sub("", line).count(separator) + 1
