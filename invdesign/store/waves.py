"""Waves under way: candidates the optimizer was not told of yet, by the event that started them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, Table, func, select

from invdesign.candidate import Status
from invdesign.steps import PlannedTask, Unfinished
from invdesign.store.schema import (
    candidates,
    evaluations,
    events,
    parse_ending,
    row_to_candidate,
    row_to_result,
    tasks,
)
from invdesign.store.values import parse_bounded_json, parse_texts

USER_KINDS = ("add", "measure", "withdraw", "hand_out")
NO_EVENT = 2**62
PlannedRow = tuple[PlannedTask, str]  # a task and its status


class ReadableStore(Protocol):
    """Read access to a store."""

    def open_connection(self) -> AbstractContextManager[Connection]: ...
    def read_rows(
        self, table: Table, columns: Sequence[str] = (), where: Any = None, order: Sequence[Any] = ()
    ) -> Iterator[Any]: ...


@dataclass(slots=True)
class Opening:
    """An event with started candidates that were not told yet.

    Attributes:
        event: its number.
        told: number of candidates that had been told when it happened.
        task: number of the first task they may have.
        ids: their numbers, in the order of the wave.
        by_user: True if a user caused the event, not the optimizer.
        parted: True if other candidates of the same event were told already.
    """

    event: int
    told: int
    task: int
    ids: list[int] = field(default_factory=list)
    by_user: bool = False
    parted: bool = False


def find_openings(events: Iterable[tuple[int, str, Mapping[str, Any], int | None]]) -> list[Opening]:
    """Find openings with candidates that were not told yet, in order.

    Args:
        events: (number, kind, detail, first task), in order.
    """
    found: dict[int, Opening] = {}
    under: dict[int, int] = {}  # event of the opening by candidate
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
    """Candidates in a tell's `detail`, a whole wave or part."""
    if "ids" in detail:
        return list(detail["ids"])
    return list(range(detail["first"], detail["first"] + detail["count"]))


def opened_ids(detail: Mapping[str, Any]) -> list[int]:
    """Candidates started or reopened by an event with this `detail`."""
    again = [id for id, _ in detail.get("reopened", ())]
    return [*again, *range(detail.get("first", 0), detail.get("first", 0) + detail.get("count", 0))]


def read_unfinished(store: ReadableStore) -> list[Unfinished]:
    """Read waves under way from `store`, oldest first, without structure data."""
    waiting = _read_openings(store)
    if not waiting:
        return []
    since = _tasks_since(store, min(opening.task for opening in waiting))
    return [_restore_wave(store, opening, since) for opening in waiting]


def read_opened(store: ReadableStore, event: int) -> Unfinished:
    """Read the candidates that one event started, without structure data.

    Args:
        store: to read from.
        event: number of the event.

    Raises:
        KeyError: the event started none, or all of them were told.
    """
    for opening in _read_openings(store, event):
        if opening.event == event:
            return _restore_wave(store, opening, _tasks_since(store, opening.task))
    raise KeyError(event)


def _read_openings(store: ReadableStore, since: int = 0) -> list[Opening]:
    with store.open_connection() as connection:
        # A tell with ids is about part of a wave, whose rest waits for the user.
        parted = (events.c.kind == "tell") & events.c.detail.contains('"ids"')
        unusual = events.c.kind.in_(USER_KINDS) | parted
        by_user = select(func.count()).select_from(events).where(unusual)
        steered = connection.scalar(by_user)
        if not steered:  # waves are told in the order of asking, so only the last ones are read
            query = select(func.count()).select_from(events).where(events.c.kind == "tell")
            told = connection.scalar(query) or 0
            asks = select(events.c.id).where(events.c.kind == "ask").order_by(events.c.id)
            since = connection.scalar(asks.offset(told).limit(1)) or NO_EVENT
    rows = store.read_rows(events, where=events.c.id >= since)
    kinds = ("ask", "tell", *USER_KINDS) if steered else ("ask",)
    return find_openings(
        (row.id, row.kind, parse_bounded_json(row.detail), row.task) for row in rows if row.kind in kinds
    )


def _restore_wave(store: ReadableStore, opening: Opening, since: Sequence[PlannedRow]) -> Unfinished:
    ids = set(opening.ids)
    low, high = min(ids), max(ids)
    asked = store.read_rows(candidates, where=candidates.c.id.between(low, high))
    found = {row.id: row for row in asked if row.id in ids}
    rows = [found[id] for id in opening.ids]
    within = evaluations.c.candidate.between(low, high) & evaluations.c.withdrawn.is_(None)
    results = [
        row_to_result(row) for row in store.read_rows(evaluations, where=within) if row.candidate in ids
    ]
    wave_tasks = [
        (task, status)
        for task, status in since
        if task.id >= opening.task and not ids.isdisjoint(task.members)
    ]
    return Unfinished(
        asked=[row_to_candidate(row) for row in rows],
        told=opening.told,
        designs={row.id: parse_texts(row.design) for row in rows if row.design},
        results=results,
        finished=[
            parse_ending(row.id, row.status, row.depth, row.failure, row.gate)
            for row in rows
            if row.status != Status.PENDING
        ],
        tasks=[task for task, _ in wave_tasks],
        planned=frozenset(task.id for task, status in wave_tasks if status == "planned"),
        by_user=opening.by_user,
        parted=opening.parted,
        event=opening.event,
    )


def _tasks_since(store: ReadableStore, first: int) -> list[PlannedRow]:
    """Tasks from this number on with their status, in order."""
    return [
        (PlannedTask(row.id, row.stage, tuple(parse_bounded_json(row.members)), row.attempt), row.status)
        for row in store.read_rows(tasks, where=tasks.c.id >= first)
    ]
