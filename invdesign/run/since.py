"""Changes of a run since a request was made: what it refers to must be as its author saw it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from invdesign.candidate import Genome, Json, genome_key
from invdesign.errors import RefusedError
from invdesign.history import RunHistory
from invdesign.measurements import Measurement
from invdesign.run.requests import Request, Seen
from invdesign.store.schema import candidates, events
from invdesign.store.store import Store

CHANGING_EVENTS = ("measure", "withdraw")  # events after which a candidate may say something else


@dataclass(frozen=True, slots=True)
class ChangesSince:
    """User events unknown to the author of a request.

    Attributes:
        known: whether it is on record what the author knew; else nothing is checked.
        behind: events of the requests it was left behind: its author knew that they come first.
        touched: number of the latest unknown event by candidate that it changed.
        told: measurements that unknown events recorded or took back: to tell them again says nothing new.
    """

    known: bool = False
    behind: frozenset[int] = frozenset()
    touched: Mapping[int, int] = field(default_factory=dict)
    told: Sequence[Measurement] = ()

    def unseen_measurements(self, found: Collection[Measurement], takes: Collection[int]) -> list[int]:
        """Measurements a request would withdraw without its author knowing them.

        Args:
            found: measurements that count now.
            takes: numbers of those that the request names.
        """
        if not self.known:
            return []
        return [item.id for item in found if item.id not in takes and item.event not in self.behind]


def find_changes_since(seen: Seen | None, store: Store, history: RunHistory) -> ChangesSince:
    """Find user events after a request was made.

    Events of the requests it was queued behind do not count.

    Args:
        seen: state of the run that the request was made for.
        store: the run's.
        history: the run's.

    Raises:
        RefusedError: it was made for another run, whose place this one took.
    """
    if seen is None:
        return ChangesSince()
    check_same_run(seen, store)
    rows = [
        row
        for row in store.read_rows(events, ("id", "kind", "detail", "request"), events.c.id > seen.event)
        if row.kind in CHANGING_EVENTS
    ]
    expected = set(seen.waiting)
    behind = frozenset(row.id for row in rows if row.request in expected)
    unknown = [row for row in rows if row.id not in behind]
    if not unknown:
        return ChangesSince(True, behind)
    touched: dict[int, int] = {}
    for row in unknown:
        detail = json.loads(row.detail)
        for id in (*(id for id, _ in detail.get("reopened", ())), *detail.get("withdrawn", ())):
            touched[id] = row.id
    numbers = {row.id for row in unknown}
    told = []
    for item in store.load_measurements():
        latest = max(numbers & {item.event, item.withdrawn}, default=None, key=lambda event: event or 0)
        id = history.id_of(item.key)
        for trial in history.trials_of(id) if latest is not None and id is not None else ():
            touched[trial] = max(latest or 0, touched.get(trial, 0))
        if latest is not None:
            told.append(item)
    return ChangesSince(True, behind, touched, told)


def check_same_run(seen: Seen, store: Store) -> None:
    """Refuse a request for a state that the run never had.

    Args:
        seen: state that the request was made for.
        store: the run's.

    Raises:
        RefusedError: it was made for another run, whose place this one took.
    """
    last = store.last_event()
    if seen.event > (-1 if last is None else last[0]):
        raise RefusedError(
            "this request was made for another run in this folder, with more behind it. Nothing was changed."
        )


def resolve_request(
    store: Store, kind: str, detail: Mapping[str, Json], waiting: Sequence[str], budget: str
) -> tuple[dict[str, Json], Seen]:
    """Complete a request by the measurements it withdraws and the present state.

    Args:
        store: the run's.
        kind: what is wanted.
        detail: what `kind` needs.
        waiting: ids of the requests that come before it.
        budget: name of the last change of the budget.
    """
    last = store.last_event()
    seen = Seen(-1 if last is None else last[0], budget, tuple(waiting))
    whole = dict(detail)
    keys = _keys_of_taken_results(store, kind, detail)
    if keys is not None:
        whole["takes"] = [item.id for item in store.load_measurements(keys, withdrawn=False)] if keys else []
    return whole, seen


def _keys_of_taken_results(store: Store, kind: str, detail: Mapping[str, Json]) -> set[str] | None:
    """Keys of genomes whose measurements a request withdraws.

    None if it names the measurements, or withdraws none.
    """
    if kind == "withdraw" and not detail.get("measurements"):
        return _keys_of_candidates(store, cast("list[int]", detail.get("ids") or []))
    if kind == "tell" and detail.get("replace"):
        rows = cast("list[dict[str, Any]]", detail["results"])
        told = [row["candidate"] for row in rows if row.get("candidate") is not None]
        own = {genome_key(cast("Genome", row["genome"])) for row in rows if row.get("candidate") is None}
        return _keys_of_candidates(store, told) | own
    return None


def _keys_of_candidates(store: Store, ids: Collection[int]) -> set[str]:
    wanted = set(ids)
    return {row.key for row in store.read_rows(candidates, ("id", "key")) if row.id in wanted}


def is_same(request: Request, kind: str, detail: Mapping[str, Json]) -> bool:
    """True if a `request` has this `kind` and `detail`."""
    return request.kind == kind and request.detail == detail
