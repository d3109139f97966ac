"""JSON objects as rows."""

from __future__ import annotations

from typing import Any


def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `json.loads`; one that says a key twice is refused.

    Raises:
        ValueError: naming the key.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # None is false
        raise ValueError(f"the key '{twice:.40}' is there more than once")
    return found
