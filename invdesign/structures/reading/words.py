"""Strict parsing of numbers, element symbols and lines of structure files."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from invdesign.structures.charges import element_symbols
from invdesign.structures.reading.raw import StructureFileError

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eEdD][+-]?[0-9]{1,4})?")
_SPECIES = re.compile(r"([A-Z][a-z]?)(?:[0-9]*\.?[0-9]*[+-]|[+-][0-9]*\.?[0-9]*)?")
ISOTOPES = {"D": "H", "T": "H"}  # isotopes are not told apart
MAX_SHOWN_LENGTH = 40  # characters of a file in a message; chosen


def parse_number(text: str) -> float | None:
    """Parse `text` as a finite number, else None.

    Fortran's `1.0d0` is a number.
    """
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace("d", "e").replace("D", "e"))
    return value if math.isfinite(value) else None


@lru_cache(maxsize=1)
def _element_set() -> frozenset[str]:
    return frozenset(element_symbols())


def parse_element(text: str) -> str | None:
    """Parse the element of a symbol with or without charge.

    Examples are `Li`, `Li+` and `O2-`.

    Args:
        text: the symbol; deuterium and tritium are hydrogen.

    Returns:
        The element, or None where there is none.
    """
    match = _SPECIES.fullmatch(text)
    if match is None:
        return None
    symbol = ISOTOPES.get(match[1], match[1])
    return symbol if symbol in _element_set() else None


def element_from_number(number: int) -> str | None:
    """Symbol of the element with an atomic `number`.

    None where there is none.
    """
    symbols = element_symbols()
    return symbols[number - 1] if 0 < number <= len(symbols) else None


def shorten_line(text: str) -> str:
    """Shorten a line of `text` for a message."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_LENGTH else f"{line[:MAX_SHOWN_LENGTH]}..."


class Lines:
    """Lines of a file, taken one after the other.

    Every error names file and line.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.lines = text.split("\n")
        while self.lines and not self.lines[-1].strip():
            self.lines.pop()
        self.next = 0

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def left(self) -> int:
        """Number of lines that are not taken yet."""
        return len(self.lines) - self.next

    def peek(self) -> str:
        """Return the next line without taking it.

        Empty at the end.
        """
        return self.lines[self.next] if self.next < len(self.lines) else ""

    def take_line(self, expected: str) -> str:
        """Take the next line.

        Args:
            expected: the meaning of the line, for the message where there is none.

        Raises:
            StructureFileError: the file ends here.
        """
        if self.next >= len(self.lines):
            raise StructureFileError(
                f"{self.name} ends after line {len(self.lines)}, where {expected} should follow"
            )
        self.next += 1
        return self.lines[self.next - 1]

    def line_error(self, message: str) -> StructureFileError:
        """Error with a `message` for the line that was taken last."""
        return StructureFileError(f"{self.name}, line {max(self.next, 1)}: {message}")

    def parse_numbers(self, words: Sequence[str], expected: str) -> list[float]:
        """Parse words as numbers.

        Args:
            words: the words.
            expected: their meaning, for the message.

        Raises:
            StructureFileError: one is no finite number.
        """
        found = []
        for word in words:
            value = parse_number(word)
            if value is None:
                raise self.line_error(f"expected {expected}, and '{shorten_line(word)}' is no finite number")
            found.append(value)
        return found

    def parse_vector(self, words: Sequence[str], expected: str) -> Vector:
        """Parse the first three words as numbers.

        Args:
            words: the words.
            expected: their meaning, for the message.

        Raises:
            StructureFileError: there are fewer, or one is no finite number.
        """
        if len(words) < 3:
            raise self.line_error(
                f"expected {expected}, three numbers, got '{shorten_line(' '.join(words))}'"
            )
        x, y, z = self.parse_numbers(words[:3], expected)
        return x, y, z

    def take_matrix(self, expected: str) -> Matrix:
        """Take three lines of three numbers each.

        Args:
            expected: the meaning of a line, for the message.

        Raises:
            StructureFileError: they have another form.
        """
        a, b, c = (self.parse_vector(self.take_line(expected).split(), expected) for _ in range(3))
        return a, b, c

    def parse_count(self, word: str, expected: str) -> int:
        """Parse a whole number of at least 0.

        Args:
            word: the word.
            expected: its meaning, for the message.

        Raises:
            StructureFileError: it is none.
        """
        if not re.fullmatch(r"[0-9]{1,12}", word):
            raise self.line_error(f"expected {expected}, a whole number, got '{shorten_line(word)}'")
        return int(word)
