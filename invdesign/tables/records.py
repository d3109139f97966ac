"""Records of a text file by byte offsets: found once in blocks, then read one at a time."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import IntArray
from invdesign.errors import InvdesignError
from invdesign.textfiles import MEGABYTE, UnreadableFileError, decode, read_bytes

BLOCK_BYTES = 16_000_000  # chosen
BLOCK_ROWS = 20_000  # chosen
MAX_RECODED_BYTES = 500 * MEGABYTE  # chosen: a file in another encoding than UTF-8 is held in memory
MAX_LINE_BYTES = 200 * MEGABYTE  # chosen
_UTF8_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
WORKBOOK_SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods are archives; .xls is an OLE file
_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")


class TableError(InvdesignError):
    """A table cannot be read.

    Attributes:
        name: name of the table.
        line: line of the fault, or None.
        message: the fault, as in "line 3 MESSAGE".
        hint: the remedy.
    """

    exit_code = 2

    def __init__(self, name: str, message: str, hint: str = "", line: int | None = None) -> None:
        self.name, self.message, self.hint, self.line = name, message, hint, line
        place = f"{name}: line {line} " if line is not None else f"{name} "
        super().__init__(f"{place}{message} {hint}".strip())


class Data(Protocol):
    """UTF-8 text with newlines and without byte order mark.

    Offsets begin at 0.
    """

    def lines(self, start: int) -> Iterator[bytes]:
        """Yield lines with their ends from offset `start`."""
        ...

    def chunks(self, start: int) -> Iterator[bytes]:
        """Yield blocks of whole lines from offset `start`."""
        ...

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from `start` to `end`."""
        ...


class _Recode(Exception):  # noqa: N818 - no fault: the file is read in another way
    """The file must be decoded in memory.

    It is no UTF-8, or has lines that end in carriage returns alone.
    """


class FileData:
    """A file of UTF-8 text, which stays on disk."""

    def __init__(self, path: Path, mark: int) -> None:
        """Open `path`; the text begins after `mark` bytes."""
        self._path, self._mark = path, mark

    def lines(self, start: int) -> Iterator[bytes]:
        """Yield lines with their ends, from offset `start`."""
        with self._path.open("rb") as stream:
            stream.seek(start + self._mark)
            while line := stream.readline(MAX_LINE_BYTES):
                yield line

    def chunks(self, start: int) -> Iterator[bytes]:
        """Yield blocks of whole lines, from offset `start`."""
        with self._path.open("rb") as stream:
            stream.seek(start + self._mark)
            while chunk := stream.read(BLOCK_BYTES):
                yield chunk if chunk.endswith(b"\n") else chunk + stream.readline(MAX_LINE_BYTES)

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from `start` to `end`."""
        with self._path.open("rb") as stream:
            stream.seek(start + self._mark)
            return stream.read(end - start)


class TextData:
    """Text in memory."""

    def __init__(self, text: str) -> None:
        plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self._bytes = plain.encode("utf-8", "surrogatepass")

    def lines(self, start: int) -> Iterator[bytes]:
        """Yield lines with their ends, from offset `start`."""
        while start < len(self._bytes):
            end = self._bytes.find(b"\n", start) + 1 or len(self._bytes)
            yield self._bytes[start:end]
            start = end

    def chunks(self, start: int) -> Iterator[bytes]:
        """Yield the text from offset `start` in one block."""
        if start < len(self._bytes):
            yield self._bytes[start:]

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from `start` to `end`."""
        return self._bytes[start:end]


def open_data(path: Path) -> Data:
    """Open the text of a file.

    UTF-8 stays on disk; other text is decoded in memory.

    Args:
        path: the file; its encoding is one of those of `textfiles.decode`.

    Raises:
        TableError: it is a workbook, or no text.
        UnreadableFileError: it cannot be read, or is too large to be decoded in memory.
    """
    if not path.is_file():
        read_bytes(path, MAX_RECODED_BYTES)  # raises with the reason
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(WORKBOOK_SIGNATURES):
        raise TableError(
            path.name, "is a workbook or an archive.", "In the spreadsheet, save it as 'CSV UTF-8'."
        )
    if not start.startswith(_WIDE_MARKS):
        data = FileData(path, len(_UTF8_MARK) if start.startswith(_UTF8_MARK) else 0)
        try:
            for chunk in data.chunks(0):
                _check_plain(chunk, path.name)
        except _Recode:
            pass
        else:
            return data
    try:
        return TextData(decode(read_bytes(path, MAX_RECODED_BYTES), path.name, letters=True))
    except UnreadableFileError as error:
        if "too large" in str(error):
            raise TableError(
                path.name, f"is no UTF-8 text, and too large to be read as another: {error}. Save it as UTF-8"
            ) from error
        raise


def _check_plain(chunk: bytes, name: str) -> None:
    """Refuse text that must be decoded first.

    `chunk` holds whole lines.
    """
    if b"\0" in chunk:
        raise TableError(name, "is not a text file: it holds zero bytes")
    if b"\r" in chunk and chunk.count(b"\r") != chunk.count(b"\r\n"):
        raise _Recode
    if not chunk.isascii():
        try:
            codecs.decode(chunk, "utf-8")
        except UnicodeDecodeError:
            raise _Recode from None


class Records:
    """Records of a text from `head` on.

    A newline within quotes ends none, where quotes count.
    """

    def __init__(self, data: Data, name: str, *, head: int = 0, separator: str | None = None) -> None:
        """Find the records.

        `separator` separates cells, None where quotes do not count.
        """
        self.data, self.name, self.head = data, name, head
        self.starts = self._find_starts(separator)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _find_starts(self, separator: str | None) -> IntArray:
        """Find the offsets of all records, shape (n + 1,).

        The last offset is the end of the text. Where each quotation mark stands at an end of its cell, or beside
        another, their number before a newline decides whether it is within a cell. Otherwise the CSV parser decides,
        row by row.
        """
        ends = [np.full(1, self.head, dtype=np.int64)]
        offset, quotes = self.head, 0
        for chunk in self.data.chunks(self.head):
            data = np.frombuffer(chunk, dtype=np.uint8)
            newlines = np.flatnonzero(data == _NEWLINE)
            if separator is not None and (quotes % 2 or b'"' in chunk):
                marks = np.flatnonzero(data == _QUOTE)
                if not _are_quotes_well_placed(data, marks, quotes, ord(separator)):
                    return self._find_starts_by_parsing(separator)
                outside = (quotes + np.searchsorted(marks, newlines)) % 2 == 0
                newlines, quotes = newlines[outside], quotes + len(marks)
            ends.append(newlines + offset + 1)
            offset += len(chunk)
        if quotes % 2 and separator is not None:
            return self._find_starts_by_parsing(separator)  # raises with the line
        starts = np.concatenate(ends)
        return starts if starts[-1] == offset else np.append(starts, offset)

    def _find_starts_by_parsing(self, separator: str) -> IntArray:
        """Find the offsets with the CSV parser, row by row.

        Raises:
            TableError: a quotation mark is not closed, or followed by something else than a separator.
        """
        consumed = begin = self.head

        def lines() -> Iterator[str]:
            nonlocal consumed
            for line in self.data.lines(self.head):
                consumed += len(line)
                yield decode_records(line)

        starts = []
        try:
            for _ in parse_rows(lines(), separator):
                starts.append(begin)
                begin = consumed
        except csv.Error as error:
            raise self.error_at(begin, error) from error
        return np.array([*starts, begin], dtype=np.int64)

    def error_at(self, place: int, error: csv.Error) -> TableError:
        """Build the error for the record at byte offset `place`.

        It explains the `error` of the CSV parser.
        """
        if "unexpected end" in str(error):
            message = "has a quotation mark that is never closed."
        else:
            message = f"cannot be read: {error}. A quotation mark that is not closed?"
        hint = "Write cells that hold one in quotes, with their own quotation marks doubled"
        return TableError(self.name, message, hint, self.find_line(place))

    def find_line(self, place: int) -> int:
        """Line of the record that begins at offset `place`, from 1."""
        return int(self.find_lines(np.array([place]))[0])

    def find_lines(self, places: IntArray) -> IntArray:
        """Lines (n,) of the records at offsets `places` (n,).

        Lines count from 1.
        """
        found = np.ones(len(places), dtype=np.int64)
        offset = 0
        for chunk in self.data.chunks(0):
            newlines = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == _NEWLINE) + offset
            found += np.searchsorted(newlines, places)
            offset += len(chunk)
        return found

    def iterate_spans(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """Yield (first, last + 1) of blocks of records from `first` on."""
        while first < len(self):
            by_size = int(np.searchsorted(self.starts, self.starts[first] + BLOCK_BYTES))
            end = min(max(by_size, first + 1), first + BLOCK_ROWS, len(self))
            yield first, end
            first = end

    def read_text(self, first: int, end: int) -> str:
        """Read the records `first` to `end` as text."""
        return decode_records(self.data.read(int(self.starts[first]), int(self.starts[end])))

    def read_record(self, place: int) -> str:
        """Read the record that begins at offset `place`."""
        index = int(np.searchsorted(self.starts, place))
        return self.read_text(index, index + 1)


def decode_records(data: bytes) -> str:
    """Decode the `data` of whole records."""
    text = data.decode("utf-8", "surrogatepass")
    return text.replace("\r\n", "\n") if "\r" in text else text


def parse_rows(lines: Iterator[str], separator: str) -> Iterator[list[str]]:
    """Parse rows of cells.

    Cells may be longer than the parser's own limit of 128 kB, as genomes and structures are.

    Args:
        lines: text with line ends.
        separator: character between cells.
    """
    csv.field_size_limit(2**31 - 1)
    return csv.reader(lines, delimiter=separator, strict=True)


def _are_quotes_well_placed(data: NDArray[np.uint8], marks: IntArray, before: int, separator: int) -> bool:
    """True if quotation marks stand at cell ends or in pairs.

    Args:
        data: bytes of whole lines.
        marks: offsets of quotation marks in it, shape (m,).
        before: number of quotation marks before it.
        separator: code of the character between cells.
    """
    if not len(marks):
        return True
    padded = np.concatenate([np.full(1, _NEWLINE, np.uint8), data, np.full(1, _NEWLINE, np.uint8)])
    opening = (np.arange(len(marks)) + before) % 2 == 0
    left, right = padded[marks[opening]], padded[marks[~opening] + 2]
    starts = (left == separator) | (left == _NEWLINE) | (left == _QUOTE)
    ends = (right == separator) | (right == _NEWLINE) | (right == _QUOTE) | (right == _RETURN)
    return bool(starts.all() and ends.all())
