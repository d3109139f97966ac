"""Writing within one transaction: events, steps, changes by users, and sessions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Insert, Table, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from invdesign.candidate import Candidate, Status, canonical, to_json
from invdesign.steps import StageResult, Step, UserEvent
from invdesign.store.checksums import (
    COUNTS_ENTRY,
    add_checksum,
    change_rows,
    insert_rows,
    read_checked_rows,
    update_rows,
)
from invdesign.store.schema import (
    CHECKSUM,
    candidate_to_row,
    candidates,
    ending_to_row,
    evaluations,
    events,
    failure_to_json,
    measurement_to_row,
    measurements,
    meta,
    sessions,
    structures,
    tasks,
)

REOPENED_VALUES = {"status": int(Status.PENDING), "depth": 0, "failure": None, "gate": None, "finished": None}


@dataclass(slots=True)
class Writer:
    """Writes rows within one transaction, each with its checksum.

    Attributes:
        connection: in the transaction.
        path: the store's file, for messages.
        counts: numbers of rows by table after the transaction.
        next_evaluation: first unused number of an evaluation.
    """

    connection: Connection
    path: Path
    counts: dict[str, int]
    next_evaluation: int

    def insert_rows(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert `rows` into `table`."""
        self.counts[table.name] += insert_rows(self.connection, table, rows)

    def change_rows(self, table: Table, changes: Mapping[Any, Mapping[str, Any]]) -> None:
        """Change rows of `table`; `changes` holds values by column, by key."""
        change_rows(self.connection, table, changes, self.path)

    def note_counts(self, before: Mapping[str, int]) -> None:
        """Write the row counts if they differ from `before`."""
        if self.counts != before:
            set_entry(self.connection, COUNTS_ENTRY, to_json(dict(self.counts)))

    def write_event(
        self, row: Mapping[str, Any], asked: Sequence[Candidate], user: UserEvent | None, step: Step | None
    ) -> None:
        """Write an event and everything that belongs to it.

        Args:
            row: of the events table.
            asked: candidates it asked for.
            user: the change a user made by it, if any.
            step: the step it led to, if any.
        """
        self.insert_rows(events, [row])
        number = int(row["id"])
        self.insert_rows(candidates, [candidate_to_row(candidate, number) for candidate in asked])
        if user:
            self._write_user_event(user, number)
        if step:
            self.write_step(step)

    def write_step(self, step: Step) -> None:
        """Write a `step`: results, endings, and the tasks they led to."""
        changed: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for built in step.built:
            changed[built.candidate] |= {"formula": built.formula, "design": to_json(dict(built.design))}
        for ending in step.finished:
            changed[ending.candidate] |= ending_to_row(ending)
        self.change_rows(candidates, changed)
        self._write_blobs({key: blob for result in step.results for key, blob in result.blobs.items()})
        self.insert_rows(evaluations, [self._evaluation_row(result) for result in step.results])
        self._write_tasks(step)

    def _write_blobs(self, blobs: Mapping[str, bytes]) -> None:
        if blobs:
            rows = [{"hash": key, "data": blob} for key, blob in blobs.items()]
            self.connection.execute(insert(structures).prefix_with("OR IGNORE"), rows)

    def _evaluation_row(self, result: StageResult) -> dict[str, Any]:
        self.next_evaluation += 1
        return {
            "id": self.next_evaluation - 1,
            "candidate": result.candidate,
            "stage": result.stage,
            "properties": json.dumps(dict(result.properties), sort_keys=True),
            "noise": json.dumps(dict(result.noise), sort_keys=True),
            "systematic": json.dumps(dict(result.systematic), sort_keys=True),
            "details": json.dumps(dict(result.details), sort_keys=True),
            "structures": json.dumps(dict(result.structures), sort_keys=True),
            "failure": failure_to_json(result.failure),
            "cost": json.dumps(dict(result.cost), sort_keys=True),
            "cache_key": result.cache_key,
            "source": result.source,
            "relaxed_genome": None
            if result.relaxed_genome is None
            else to_json(canonical(result.relaxed_genome)),
            "adoption_refused": result.adoption_refused or None,
        }

    def _write_tasks(self, step: Step) -> None:
        lost = {number: {"status": "lost", "lost": failure_to_json(failure)} for number, failure in step.lost}
        self.change_rows(tasks, {**{number: {"status": "done"} for number in step.done}, **lost})
        self.insert_rows(
            tasks,
            [
                {
                    "id": task.id,
                    "stage": task.stage,
                    "members": to_json(list(task.members)),
                    "status": "planned",
                    "attempt": task.attempt,
                }
                for task in step.planned
            ],
        )

    # Changes by users.

    def _write_user_event(self, user: UserEvent, event: int) -> None:
        """Write measurements, and invalidate results as of this event."""
        first = 1 + (self.connection.scalar(select(func.max(measurements.c.id))) or 0)
        numbered = enumerate(user.measurements, first)
        self.insert_rows(measurements, [measurement_to_row(item, number, event) for number, item in numbered])
        self.change_rows(measurements, {id: {"withdrawn": event} for id in user.taken_back})
        for id, stages in [
            *user.reopened,
            *[(ending.candidate, stages) for ending, stages in user.withdrawn],
        ]:
            self._take_back_evaluations(id, stages, event)
        self.change_rows(candidates, {id: REOPENED_VALUES for id, _ in user.reopened})
        self.change_rows(
            candidates, {ending.candidate: ending_to_row(ending) for ending, _ in user.withdrawn}
        )
        self._write_blobs({key: blob for item in user.measurements for key, blob in item.blobs.items()})

    def _take_back_evaluations(self, candidate: int, stages: Sequence[str], event: int) -> None:
        counted = (evaluations.c.candidate == candidate) & evaluations.c.withdrawn.is_(None)
        query = select(evaluations).where(counted, evaluations.c.stage.in_(list(stages)))
        found = list(read_checked_rows(self.connection, query, evaluations, self.path))
        self.change_rows(evaluations, {row.id: {"withdrawn": event} for row in found})

    # Sessions.

    def begin_session(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Insert a session; mark earlier ones without an end as killed.

        Args:
            row: of the sessions table, without its number.

        Returns:
            The row with its number.
        """
        query = select(sessions).order_by(sessions.c.id)
        known = list(read_checked_rows(self.connection, query, sessions, self.path))
        killed = {"ended": row["started"], "reason": "did not end cleanly"}
        self.change_rows(sessions, {other.id: killed for other in known if other.ended is None})
        whole = {**row, "id": 1 + max((other.id for other in known), default=0)}
        self.insert_rows(sessions, [whole])
        return whole

    def note_session(self, row: Mapping[str, Any]) -> None:
        """Update the `row` of the current session."""
        update_rows(self.connection, sessions, [add_checksum(sessions, row)], ("ended", "reason", "seconds"))


def set_entry(connection: Connection, key: str, value: str) -> None:
    """Write a `value` of the `meta` table under `key`, over `connection`."""
    connection.execute(_upsert_statement(), add_checksum(meta, {"key": key, "value": value}))


@cache
def _upsert_statement() -> Insert:
    """Insert a row of the `meta` table, or replace the one with its key."""
    statement = upsert(meta)
    changed = {name: statement.excluded[name] for name in ("value", CHECKSUM)}
    return statement.on_conflict_do_update(index_elements=["key"], set_=changed)
