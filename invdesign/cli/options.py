"""Arguments and options shared by commands."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from invdesign.strictjson import LARGEST_INTEGER

MAX_WORKERS = 1024  # as in the settings of the local engine
MAX_QUOTED_DIGITS = 30  # of a number in a message (chosen)


def quote_argument(text: str) -> str:
    """Quote `text` of the command line for a message."""
    return (
        f"'{text}'"
        if len(text) <= MAX_QUOTED_DIGITS
        else f"'{text[:MAX_QUOTED_DIGITS]}...' ({len(text)} characters)"
    )


def parse_integer(text: str, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Parse a whole number within limits.

    Args:
        text: as the user wrote it.
        least: smallest allowed number.
        most: largest allowed number.

    Raises:
        ValueError: it is no such number; the message says what is allowed.
    """
    digits = text.strip()
    known = len(digits) <= MAX_QUOTED_DIGITS and digits.isascii() and digits.removeprefix("-").isdecimal()
    number = int(digits) if known else least - 1
    if not least <= number <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, got {quote_argument(text)}")
    return number


def integer_parser(least: int, most: int = LARGEST_INTEGER) -> Callable[[Any], int]:
    """Parser of whole numbers from `least` to `most`, for an option."""

    def integer(value: Any) -> int:
        try:
            return parse_integer(str(value), least, most)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return integer


def number_parser(least: float) -> Callable[[Any], float]:
    """Parser of finite numbers from `least` on, for an option."""

    def number(value: Any) -> float:
        text = str(value)
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (math.isfinite(found) and found >= least):
            raise typer.BadParameter(f"must be a number from {least:g} on, got {quote_argument(text)}")
        return found

    return number


COUNT = integer_parser(1)  # how many
NUMBER = integer_parser(0)  # of a candidate or measurement

RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the run.")]
CampaignFile = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Let the campaign import code from its own folder (module:name)."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        parser=integer_parser(0, MAX_WORKERS), help="Worker processes; 0 evaluates in this process."
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        parser=number_parser(0.0),
        metavar="SECONDS",
        help="How long to wait for the process that works on it.",
    ),
]
