"""Output streams that show control characters instead of obeying them.

Text of campaigns, files and stores cannot control the terminal.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from invdesign.errors import escape_control_characters


class VisibleStream(io.TextIOBase):
    """Stream that writes control characters as visible escapes."""

    def __init__(self, plain: TextIO) -> None:
        super().__init__()
        self.plain = plain

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute
        return self.plain.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]  # the base class has an attribute
        return self.plain.errors

    def write(self, text: str) -> int:
        shown = escape_control_characters(text)
        try:
            self.plain.write(shown)
        except UnicodeEncodeError:  # a terminal that cannot show Å
            encoding = self.encoding or "ascii"
            self.plain.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        self.plain.flush()

    def isatty(self) -> bool:
        return self.plain.isatty()

    def fileno(self) -> int:
        return self.plain.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def visible_output() -> Iterator[None]:
    """Escape control characters in all output within the block."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", VisibleStream(sys.stdout))
    sys.stderr = cast("TextIO", VisibleStream(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def plain_stream(stream: TextIO) -> TextIO:
    """The `stream` itself, for displays that draw with control characters."""
    return stream.plain if isinstance(stream, VisibleStream) else stream
