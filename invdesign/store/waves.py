"""Which candidates the optimizer was not told of yet, and by which event each of them is under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

USER_KINDS = ("add", "measure", "withdraw", "hand_out")


@dataclass(slots=True)
class Opening:
    """An event that set candidates on their way, and those of them the optimizer was not told of.

    Attributes:
        told: how many candidates had been told when it happened.
        task: number of the first task they may have.
        ids: their numbers, in the order of the wave.
        by_user: whether the optimizer did not ask for them, or not this time.
        parted: whether others that set out with these were told already.
    """

    event: int
    told: int
    task: int
    ids: list[int] = field(default_factory=list)
    by_user: bool = False
    parted: bool = False


def openings(events: Iterable[tuple[int, str, Mapping[str, Any], int | None]]) -> list[Opening]:
    """Openings with candidates that were not told yet, in order.

    Args:
        events: (number, kind, detail, first task), in order.
    """
    found: dict[int, Opening] = {}
    under: dict[int, int] = {}  # opening by candidate
    for number, kind, detail, task in events:
        if kind == "tell":
            for id in told_ids(detail):
                under.pop(id, None)
            continue
        for id in detail.get("withdrawn", ()):
            under.pop(id, None)
        ids = opened_ids(detail) if kind != "hand_out" else []
        if ids:
            found[number] = Opening(number, detail["told"], task or 0, ids, by_user=kind in USER_KINDS)
            under.update(dict.fromkeys(ids, number))
    waiting = []
    for number, opening in found.items():
        left = [id for id in opening.ids if under.get(id) == number]
        opening.parted = len(left) < len(opening.ids)
        opening.ids = left
        if left:
            waiting.append(opening)
    return waiting


def told_ids(detail: Mapping[str, Any]) -> list[int]:
    """Candidates a tell was about: a whole wave, or what ended of one."""
    if "ids" in detail:
        return list(detail["ids"])
    return list(range(detail["first"], detail["first"] + detail["count"]))


def opened_ids(detail: Mapping[str, Any]) -> list[int]:
    """Candidates an event set on their way: new ones, and such as go their way again."""
    again = [id for id, _ in detail.get("reopened", ())]
    return [*again, *range(detail.get("first", 0), detail.get("first", 0) + detail.get("count", 0))]
