"""JSON from outside, within bounds.

Numbers are finite and of limited size, nesting is limited, text holds no lone surrogates, and no key is repeated.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

MAX_DEPTH = 64  # nested levels (chosen): a genome has a few, and recursive Python code manages some hundreds
LARGEST_INTEGER = 2**63 - 1  # SQLite's integers have 64 bits (https://www.sqlite.org/datatype3.html)
MAX_NUMBER_LENGTH = 1000  # characters (chosen): the longest exact decimal form of a double has 767 digits
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def loads(text: str, *, depth: int = MAX_DEPTH) -> Any:
    """Parse standard JSON within the bounds.

    Args:
        text: the document.
        depth: largest number of nested lists and mappings.

    Raises:
        ValueError: it is no JSON, or beyond a bound; the message says which.
    """
    try:
        found = json.loads(
            text,
            parse_int=_parse_whole,
            parse_float=_parse_finite,
            parse_constant=_parse_finite,
            object_pairs_hook=unique_keys,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {depth} levels deep") from None
    if text.count("[") + text.count("{") > depth:
        check_depth(found, depth)
    if _SURROGATE.search(text):
        _check_text(found)
    return found


def _parse_whole(written: str) -> int:
    """Parse a whole number that SQLite can hold."""
    if (
        len(written) > MAX_NUMBER_LENGTH
        or not -LARGEST_INTEGER <= (number := int(written)) <= LARGEST_INTEGER
    ):
        raise ValueError(
            f"{_shorten_number(written)} is too large: whole numbers go from {-LARGEST_INTEGER} to {LARGEST_INTEGER}, 9.2e18"
        )
    return number


def _parse_finite(written: str) -> float:
    """Parse a finite number."""
    number = float(written) if len(written) <= MAX_NUMBER_LENGTH else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{_shorten_number(written)} is not a finite number")
    return number


def _shorten_number(written: str) -> str:
    return written if len(written) <= 40 else f"{written[:20]}... ({len(written)} characters)"


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a mapping of an object's `pairs`, as `object_pairs_hook` of `json`.

    Raises:
        ValueError: a key is repeated.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice[:60]!r} is repeated")
    return found


def check_depth(value: object, depth: int) -> None:
    """Refuse a `value` that is nested more than `depth` levels deep.

    Raises:
        ValueError: it is.
    """
    # Level by level: deep nesting would break recursive code.
    level = [value]
    for _ in range(depth):
        level = [
            item
            for whole in level
            if isinstance(whole, list | dict)
            for item in (whole.values() if isinstance(whole, dict) else whole)
        ]
        if not level:
            return
    if any(isinstance(item, list | dict) for item in level):
        raise ValueError(f"it is nested more than {depth} levels deep")


def _check_text(value: object) -> None:
    """Refuse halves of surrogate pairs, which no encoding can write."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text holds half a character (\\u{ord(value[error.start]):04x}), which cannot be stored"
            ) from None
