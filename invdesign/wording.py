"""Small pieces of text that several rooms write."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


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


def list_numbers(numbers: Iterable[object], most: int) -> str:
    """List the first `most` of `numbers`, and how many more there are."""
    listed = [str(number) for number in numbers]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write `rows` of cells as lines whose columns are aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
