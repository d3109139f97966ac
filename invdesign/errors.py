"""Exceptions for users.

A message gives the value found, the place, what is allowed and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

INTERRUPTED = 130  # exit code of a command that a signal stopped, as of shells
# C0 (except tab and newline) and C1, marks that change the direction of text, halves of surrogate pairs.
_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_control_characters(text: str) -> str:
    """Replace control characters in `text` by visible escapes.

    A name from a foreign file could otherwise move the cursor, rename the window, or make a line read as another one.
    """
    return _CONTROL_CHARACTERS.sub(lambda found: _escape_code(ord(found[0])), text)


def _escape_code(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


class InvdesignError(Exception):
    """A mistake or condition that the user can act on.

    The command line prints it without a stack trace.
    """

    exit_code = 1

    def __str__(self) -> str:
        return escape_control_characters(super().__str__())

    def _render_traceback_(self) -> list[str]:
        """Lines that a notebook shows instead of a traceback.

        The place of the error in the code says nothing that the message does not.
        """
        return [f"{type(self).__name__}: {self}"]


class PluginError(InvdesignError):
    """A plug-in is unknown, broken, or needs an extra that is not installed."""

    exit_code = 2


class Infeasible(InvdesignError):  # noqa: N818 - the design's name: a statement about a genome, not a fault
    """`SearchSpace.build` refuses a genome; the trial becomes infeasible, with this message."""


class MissingReferenceError(InvdesignError):
    """An element or competing phase that a property needs is not in the reference set."""


class ArtifactError(InvdesignError):
    """An artifact is missing, damaged, of another version, or in a format that could run code."""

    exit_code = 3


class StoreError(InvdesignError):
    """A run store is damaged, of another version, or cannot be written."""

    exit_code = 3


class RunLockedError(StoreError):
    """Another process is working on the run."""

    exit_code = 4


class LostRunError(StoreError):
    """A run's store was moved, deleted or replaced while a process worked on it.

    Args:
        message: for the user.
        place: folder with the data now; None where it could not be saved.
    """

    exit_code = 5

    def __init__(self, message: str, place: Path | None = None) -> None:
        super().__init__(message)
        self.place = place


class RunError(InvdesignError):
    """A run cannot go on: it exists already, is missing, or fails too often."""

    exit_code = 3


class RefusedError(RunError):
    """A run refuses a request, and is unchanged."""


class CampaignChangedError(InvdesignError):
    """The campaign differs from the stored one in what decides results.

    Budget, engine, description and failure rate are free to change; functions and files are compared, too.
    """

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a campaign file.

    Attributes:
        path: place in the campaign, such as `space.sites.A`.
        message: the value found and what is allowed.
        line: 1-based line in the file; None where the campaign did not come from a file.
        hint: the nearest valid name or the next step; may be empty.
    """

    path: str
    message: str
    line: int | None = None
    hint: str = ""


class FileError(InvdesignError):
    """All mistakes in a file."""

    exit_code = 2
    closing = ""
    """What is said after the mistakes."""

    def __init__(self, mistakes: Iterable[Mistake], source: str) -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        super().__init__(self._format_mistakes())

    def _format_mistakes(self) -> str:
        count = len(self.mistakes)
        lines = [f"{self.source}: {count} mistake{'s' if count != 1 else ''}"]
        for mistake in self.mistakes:
            place = f"{self.source}:{mistake.line}" if mistake.line is not None else self.source
            hint = f" {mistake.hint}" if mistake.hint else ""
            where = mistake.path.replace("\n", "\\n") or "(top level)"
            lines.append(f"  {place}: {where}: {mistake.message}{hint}")
        if self.closing:
            lines.append(self.closing)
        return "\n".join(lines)


class CampaignError(FileError):
    """All mistakes in a campaign file."""

    def __init__(self, mistakes: Iterable[Mistake], source: str = "campaign", command: str = "") -> None:
        self.command = command
        self.closing = f"Then check it again with: {command}" if command else ""
        super().__init__(mistakes, source)


class ResultsError(FileError):
    """All mistakes in a file of results."""

    closing = "Nothing was recorded."


def count_text(number: int) -> str:
    """Write a `number` in digits, or as a power of ten where it is long."""
    return str(number) if abs(number) < 10**15 else f"about 10^{len(str(abs(number))) - 1}"


def candidates_text(count: int) -> str:
    """State the number and range of a run's candidates, given their `count`.

    It is part of messages about a candidate that does not exist.
    """
    return f"this run has {count} (0 to {count - 1})" if count else "this run has none yet"


def join_complaints(complaints: Sequence[str]) -> str:
    """Join `complaints` to one sentence.

    Examples:
        >>> join_complaints(["x is negative.", "y is missing"])
        'x is negative; also, y is missing'
    """
    return "; also, ".join([*(complaint.removesuffix(".") for complaint in complaints[:-1]), complaints[-1]])


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Suggest the allowed name closest to `name`: 'Did you mean ...?', or an empty string.

    Args:
        name: as the user wrote it.
        allowed: the valid names.

    Examples:
        >>> nearest("genetc", ["genetic", "swarm"])
        "Did you mean 'genetic'?"
    """
    known = list(allowed)
    same = [word for word in known if str(word).casefold() == str(name).casefold()]
    close = same or get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""
