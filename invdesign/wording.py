"""Small pieces of text that several rooms write."""

from __future__ import annotations

import math
from collections.abc import Sequence

LARGEST_LOG_DENSITY = 100.0  # larger ones say no more; chosen


def format_duration(seconds: float, *, fine: bool = False) -> str:
    """Write a time in the two units that fit it: `12 s`, `3 min 20 s`, `2 h 5 min`; empty for NaN.

    Args:
        seconds: the time.
        fine: below a minute give three digits, as `4.53 s` or `1.2 ms`.

    Examples:
        >>> format_duration(7260)
        '2 h 1 min'
        >>> format_duration(0.0012, fine=True)
        '1.2 ms'
    """
    if math.isnan(seconds):
        return ""
    if fine and seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s" if fine else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def join_words(*parts: str) -> str:
    """Join texts by spaces; empty ones leave no gap."""
    return " ".join(filter(None, parts))


def count_noun(number: int, noun: str) -> str:
    """Write a `number` with its `noun`, which takes an s unless there is one.

    Examples:
        >>> count_noun(2, "candidate")
        '2 candidates'
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def list_first(items: Sequence[object], most: int, between: str = ", ") -> str:
    """List the first `most` of `items`, and how many more there are.

    Args:
        items: all of them.
        most: number of those that are written.
        between: text between two of them.

    Examples:
        >>> list_first([3, 5, 8, 13], 2)
        '3, 5 and 2 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(map(str, items[:most])) + more


def shorten_text(text: str, most: int) -> str:
    """Shorten `text` to `most` characters, the last three of them dots.

    Examples:
        >>> shorten_text("antiperovskite", 9)
        'antipe...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write `rows` of cells as lines whose columns are aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def format_log_density(value: float) -> str:
    """Format a mean negative logarithm of a density; `> 100` where a value lies many deviations outside."""
    return f"{value:.2f}" if value <= LARGEST_LOG_DENSITY else f"> {LARGEST_LOG_DENSITY:g}"
