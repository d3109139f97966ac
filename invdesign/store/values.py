"""Parsers of stored values, within bounds: a store may come from anywhere, and disks change bits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invdesign.candidate import Status, clean_detail
from invdesign.store.database import damaged_store_error
from invdesign.strictjson import LARGEST_INTEGER, check_depth
from invdesign.structures.reading.raw import StructureFileError
from invdesign.wording import shorten_text

MAX_JSON_DEPTH = (
    100  # levels of nested JSON; chosen: beyond any campaign, and within Python's recursion limit
)
MAX_STAGES = 1000  # of a funnel; chosen: beyond any
_KEY_PATTERN = re.compile(r"[0-9a-f]{32}")
_LONG_NUMBER = re.compile(r"(?<![.\d])\d{19,}")
_WRONG_VALUE_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    StructureFileError,
)


@contextmanager
def translate_value_errors(path: Path, what: str) -> Iterator[None]:
    """Translate errors about malformed values within the block into `StoreError`.

    Args:
        path: the store's file.
        what: the part of the store that is read, for the message.

    Raises:
        StoreError: a value has a form that this part of the store cannot have.
    """
    try:
        yield
    except _WRONG_VALUE_ERRORS as error:
        said = (
            f"{type(error).__name__}: {error}" if isinstance(error, KeyError | AttributeError) else str(error)
        )
        raise damaged_store_error(path, f"{what}: {' '.join(said.split())[:200]}") from error


def _refuse_constant(written: str) -> float:
    raise ValueError(f"{written} is not a finite number")


_DECODER, _STRICT = json.JSONDecoder(), json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Parse the JSON `text` of a column.

    Args:
        text: as stored.
        finite: refuse NaN and Infinity; only costs may have them.

    Raises:
        ValueError: it is no JSON, nested too deeply, or holds half a surrogate pair.
    """
    if text == "{}":  # the most frequent value by far
        return {}
    try:
        value, end = (_STRICT if finite else _DECODER).raw_decode(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep") from None
    if end != len(text):
        raise ValueError(f"text follows the value at character {end}")
    if len(text) > MAX_JSON_DEPTH and text.count("[") + text.count("{") > MAX_JSON_DEPTH:
        check_depth(value, MAX_JSON_DEPTH)
    if "\\u" in text:
        # UnicodeEncodeError, a ValueError, for half a surrogate pair.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_bounded_json(text: str, *, finite: bool = True) -> Any:
    """Parse JSON `text` with integers of at most 64 bits.

    Args:
        text: as stored.
        finite: refuse NaN and Infinity.

    Raises:
        ValueError: as `parse_json`, or an integer is too large.
    """
    value = parse_json(text, finite=finite)
    if _LONG_NUMBER.search(text):
        _check_integers(value)
    return value


def _child_values(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check_integers(value: object) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"a whole number of {len(str(value))} digits is too large")
    for item in _child_values(value):
        _check_integers(item)


def parse_numbers(text: str) -> dict[str, float]:
    """Parse finite numbers by name from the JSON `text`.

    Raises:
        ValueError: the text is something else.
    """
    found = parse_json(text)
    if type(found) is not dict:
        raise ValueError(f"expected numbers by name, got {_shorten_value(found)}")
    for name, value in found.items():
        if type(value) is float and math.isfinite(value):
            continue
        if type(value) is not int or abs(value) > LARGEST_INTEGER:
            raise ValueError(f"{name[:60]} is {_shorten_value(value)}, not a finite number")
    return found


def parse_costs(text: str) -> dict[str, float]:
    """Parse numbers by name, possibly infinite or NaN, from `text`.

    Raises:
        ValueError: the text is something else.
    """
    found = parse_json(text, finite=False)
    if type(found) is not dict or not all(
        type(value) is float or (type(value) is int and abs(value) <= LARGEST_INTEGER)
        for value in found.values()
    ):
        raise ValueError(f"expected numbers by name, got {_shorten_value(found)}")
    return found


def parse_texts(text: str) -> dict[str, str]:
    """Parse texts by name from the JSON `text`.

    Raises:
        ValueError: the text is something else.
    """
    found = parse_json(text)
    if type(found) is not dict or not all(type(value) is str for value in found.values()):
        raise ValueError(f"expected texts by name, got {_shorten_value(found)}")
    return found


def parse_details(text: str) -> dict[str, str]:
    """Parse details by property from `text`, in `clean_detail` form.

    Raises:
        ValueError: the text is something else.
    """
    found = parse_texts(text)
    for name, line in found.items():
        if line != clean_detail(line):
            raise ValueError(f"the detail of {name[:60]} is {_shorten_value(line)}, not one printable line")
    return found


def parse_key(text: str) -> str:
    """Check that `text` is a genome's key, and return it.

    Raises:
        ValueError: it is not.
    """
    if _KEY_PATTERN.fullmatch(text) is None:
        raise ValueError(f"{_shorten_value(text)} is no key of a genome")
    return text


def check_ending(status: int, depth: int) -> tuple[Status, int]:
    """Check `status` and `depth` of a candidate, and return them.

    Raises:
        ValueError: there is no such status, or no funnel is that deep.
    """
    if not 0 <= depth <= MAX_STAGES:
        raise ValueError(f"a candidate cannot have passed {_shorten_value(depth)} stages")
    return Status(status), depth


def _shorten_value(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a number of thousands of digits"
    return shorten_text(text, 60)
