"""The run store: SQLite through SQLAlchemy Core, one transaction per step, the source of truth of a run."""

from __future__ import annotations

import json
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, func, insert, select, update

from invdesign.candidate import OUTSIDE, Candidate, Json, Status, to_json
from invdesign.errors import StoreError
from invdesign.history import RunHistory
from invdesign.measurements import Measurement, combined
from invdesign.steps import StageResult, Step, Unfinished, UserEvent
from invdesign.store.database import clear_errors, connect, damaged, in_memory
from invdesign.store.digest import digest
from invdesign.store.schema import (
    MIGRATIONS,
    SCHEMA_VERSION,
    candidate_from,
    candidate_row,
    candidates,
    ending_from,
    ending_row,
    evaluations,
    events,
    failure_json,
    inherited,
    measurement_from,
    measurements,
    meta,
    metadata,
    result_from,
    sessions,
    structures,
    tasks,
)
from invdesign.store.user import write_user_event
from invdesign.store.waves import USER_KINDS, opened, unfinished

FILE = "run.sqlite"


class Store:
    """One run's database. Only the coordinating process writes it.

    Args:
        path: the SQLite file.
        writable: False for looking at a run that another process may hold.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self._writable = writable
        self._hold(connect(path, writable=writable))
        self._session: int | None = None
        self._clock = time.monotonic()
        self._next_evaluation = 0
        self._measured = False
        self.inherits = False  # whether it was forked from a run that had evaluations
        self.is_copy = False  # whether this is an older store, read as it would be today

    @classmethod
    def create(
        cls, path: Path, entries: Mapping[str, str], fill: Callable[[Path], object] | None = None
    ) -> None:
        """Write a new store holding `entries` (the campaign's text, dump, hash, ...).

        It appears under its name only when it is whole.

        Args:
            fill: writes more into the file before that.

        Raises:
            StoreError: it cannot be written.
        """
        unfinished = path.with_suffix(".new")
        with clear_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            store = cls(unfinished)
            with store._engine.begin() as connection:
                metadata.create_all(connection)
                created = datetime.now(UTC).isoformat(timespec="seconds")
                rows = {"schema_version": str(SCHEMA_VERSION), "created": created, **entries}
                connection.execute(insert(meta), [{"key": k, "value": v} for k, v in rows.items()])
            store.close()
            if fill is not None:
                fill(unfinished)
            unfinished.replace(path)

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> Store:
        """An existing store, checked first where its last session did not end cleanly.

        Raises:
            StoreError: missing, damaged, or made by another version.
        """
        if not path.is_file():
            raise StoreError(f"{path.parent} holds no run ({path.name} is missing)")
        store = cls(path, writable=writable)
        try:
            with clear_errors(path):
                store._check_version()
                if writable and not store._ended_cleanly():
                    store._quick_check()
                with store._engine.connect() as connection:
                    store._next_evaluation = 1 + (connection.scalar(select(func.max(evaluations.c.id))) or 0)
                    store._measured = connection.scalar(select(measurements.c.id).limit(1)) is not None
                    store.inherits = connection.scalar(select(inherited.c.cache_key).limit(1)) is not None
        except StoreError:
            store.close()
            raise
        return store

    def _check_version(self) -> None:
        text = self.entry("schema_version")
        if not text.isdecimal():
            raise damaged(self.path, f"its schema version is {text!r}")
        found = int(text)
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema version {found}, this invdesign knows {SCHEMA_VERSION}: upgrade invdesign"
            )
        if found < SCHEMA_VERSION:
            if not self._writable:  # a reader looks at a copy as it would be
                self._hold(in_memory(self._engine))
                self.is_copy = True
            with self._engine.begin() as connection:
                # First, since Python's driver opens no transaction for statements that change tables alone.
                connection.execute(
                    update(meta).where(meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION))
                )
                for version in range(found, SCHEMA_VERSION):
                    for statement in MIGRATIONS[version]:
                        connection.exec_driver_sql(statement)

    def _ended_cleanly(self) -> bool:
        with self._engine.connect() as connection:
            open_sessions = connection.scalar(
                select(func.count()).select_from(sessions).where(sessions.c.ended.is_(None))
            )
        return not open_sessions

    def _quick_check(self) -> None:
        with self._engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise damaged(self.path, verdict)

    # Sessions: who worked on the run, when, with which versions. Outside the digest.

    def begin_session(self, environment: Mapping[str, Any]) -> None:
        """Note that this process now works on the run; sessions that never ended were killed."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with clear_errors(self.path), self._engine.begin() as connection:
            connection.execute(
                update(sessions)
                .where(sessions.c.ended.is_(None))
                .values(ended=now, reason="did not end cleanly")
            )
            row = {
                "started": now,
                "seconds": 0.0,
                "environment": json.dumps(dict(environment), sort_keys=True),
            }
            result = connection.execute(insert(sessions), row)
            self._session = int(result.inserted_primary_key[0])  # type: ignore[index]  # one integer key
        self._clock = time.monotonic()

    def end_session(self, reason: str) -> None:
        """Note that this process is done, and why."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with clear_errors(self.path), self._engine.begin() as connection:
            self._touch(connection)
            connection.execute(
                update(sessions).where(sessions.c.id == self._session).values(ended=now, reason=reason)
            )
        self._session = None
        # What others still read keeps the journal from being removed: empty it, so that one file is the run.
        with clear_errors(self.path), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def _touch(self, connection: Connection) -> None:
        if self._session is not None:
            seconds = time.monotonic() - self._clock
            connection.execute(update(sessions).where(sessions.c.id == self._session).values(seconds=seconds))

    def session_rows(self) -> list[dict[str, Any]]:
        """All sessions, in order."""
        with clear_errors(self.path), self._engine.connect() as connection:
            rows = connection.execute(select(sessions).order_by(sessions.c.id)).mappings()
            return [{**row, "environment": json.loads(row["environment"] or "{}")} for row in rows]

    def _hold(self, engine: Engine) -> None:
        """Work through this engine, and close its connections with the store, also where nobody calls `close`."""
        self._engine = engine
        # Python 3.13 warns of a connection that is collected open; SQLAlchemy's pool leaves those to the collector.
        weakref.finalize(self, engine.dispose)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    # Entries of the run itself.

    def entry(self, key: str) -> str:
        """A value of the `meta` table; an empty string where there is none."""
        with clear_errors(self.path), self._engine.connect() as connection:
            return connection.scalar(select(meta.c.value).where(meta.c.key == key)) or ""

    def set_entry(self, key: str, value: str) -> None:
        """Write a value of the `meta` table (the budget, the engine: what a resume may change)."""
        with clear_errors(self.path), self._engine.begin() as connection:
            connection.execute(insert(meta).prefix_with("OR REPLACE"), {"key": key, "value": value})

    # Steps.

    def write_event(
        self,
        number: int,
        kind: str,
        detail: Json,
        state: str,
        asked: Sequence[Candidate] = (),
        step: Step | None = None,
        *,
        task: int | None = None,
        user: UserEvent | None = None,
    ) -> None:
        """One numbered event with the state it left, the candidates it asked for and their first tasks.

        Args:
            task: number of the first task that candidates under way by this event may have.
            user: what a user did by it.
        """
        with clear_errors(self.path), self._engine.begin() as connection:
            row = {
                "id": number,
                "kind": kind,
                "detail": to_json(detail),
                "state": state,
                "time": time.time(),
                "task": task,
                "request": user.request or None if user else None,
            }
            connection.execute(insert(events), row)
            if asked:
                connection.execute(insert(candidates), [candidate_row(c, number) for c in asked])
            if user:
                write_user_event(connection, user, number)
                self._write_blobs(
                    connection, {key: blob for item in user.measurements for key, blob in item.blobs.items()}
                )
            if step:
                self._write_step(connection, step)
            self._touch(connection)
        self._measured |= bool(user and user.measurements)

    def _write_blobs(self, connection: Connection, blobs: Mapping[str, bytes]) -> None:
        if blobs:
            rows = [{"hash": key, "data": blob} for key, blob in blobs.items()]
            connection.execute(insert(structures).prefix_with("OR IGNORE"), rows)

    def write_step(self, step: Step) -> None:
        """Results, endings and the tasks they led to, in one transaction."""
        with clear_errors(self.path), self._engine.begin() as connection:
            self._write_step(connection, step)
            self._touch(connection)

    def _write_step(self, connection: Connection, step: Step) -> None:
        if step.built:
            connection.execute(
                update(candidates).where(candidates.c.id == bindparam("at")),
                [
                    {"at": b.candidate, "formula": b.formula, "design": to_json(dict(b.design))}
                    for b in step.built
                ],
            )
        self._write_blobs(
            connection, {key: blob for result in step.results for key, blob in result.blobs.items()}
        )
        if step.results:
            connection.execute(insert(evaluations), [self._evaluation_row(result) for result in step.results])
        if step.finished:
            connection.execute(
                update(candidates).where(candidates.c.id == bindparam("at")),
                [ending_row(ending) for ending in step.finished],
            )
        self._write_tasks(connection, step)

    def _write_tasks(self, connection: Connection, step: Step) -> None:
        if step.done:
            connection.execute(
                update(tasks).where(tasks.c.id == bindparam("at")),
                [{"at": number, "status": "done"} for number in step.done],
            )
        if step.lost:
            connection.execute(
                update(tasks).where(tasks.c.id == bindparam("at")),
                [{"at": n, "status": "lost", "lost": failure_json(failure)} for n, failure in step.lost],
            )
        if step.planned:
            rows = [
                {
                    "id": task.id,
                    "stage": task.stage,
                    "members": to_json(list(task.members)),
                    "status": "planned",
                    "attempt": task.attempt,
                }
                for task in step.planned
            ]
            connection.execute(insert(tasks), rows)

    def _evaluation_row(self, result: StageResult) -> dict[str, Any]:
        row = {
            "id": self._next_evaluation,
            "candidate": result.candidate,
            "stage": result.stage,
            "properties": json.dumps(dict(result.properties), sort_keys=True),
            "uncertainties": json.dumps(dict(result.uncertainties), sort_keys=True),
            "structures": json.dumps(dict(result.structures), sort_keys=True),
            "failure": failure_json(result.failure),
            "cost": json.dumps(dict(result.cost), sort_keys=True),
            "cache_key": result.cache_key,
            "source": result.source,
        }
        self._next_evaluation += 1
        return row

    # Reading.

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by."""
        with clear_errors(self.path), self._engine.connect() as connection:
            yield connection

    def rows(self, table: Table, columns: Sequence[str] = (), where: Any = None) -> Iterator[Any]:
        """Rows of a table in the order of their ids, streamed."""
        chosen = [table.c[name] for name in columns] if columns else [table]
        query = select(*chosen).order_by(table.c.id)
        if where is not None:
            query = query.where(where)
        with clear_errors(self.path), self._engine.connect() as connection:
            yield from connection.execution_options(yield_per=5000).execute(query)

    def last_event(self) -> tuple[int, Any] | None:
        """(number, the state it left) of the newest event."""
        with clear_errors(self.path), self._engine.connect() as connection:
            row = connection.execute(select(events).order_by(events.c.id.desc()).limit(1)).first()
        return None if row is None else (row.id, json.loads(row.state))

    def mark(self) -> tuple[int, int, int]:
        """Changes whenever a trial does: tells whether a history that was loaded earlier still holds."""
        counted = (events.c.id, evaluations.c.id, tasks.c.id)
        with clear_errors(self.path), self._engine.connect() as connection:
            newest = [connection.scalar(select(func.max(column))) or 0 for column in counted]
            done = select(func.count()).select_from(tasks).where(tasks.c.status == "planned")
            return newest[0], newest[1], newest[2] - (connection.scalar(done) or 0)

    def next_task(self) -> int:
        """A number no task has."""
        with clear_errors(self.path), self._engine.connect() as connection:
            return 1 + (connection.scalar(select(func.max(tasks.c.id))) or 0)

    def seconds(self) -> float:
        """Seconds of work over all sessions."""
        with clear_errors(self.path), self._engine.connect() as connection:
            return float(connection.scalar(select(func.sum(sessions.c.seconds))) or 0.0)

    def load_history(self, history: RunHistory) -> RunHistory:
        """Fill an empty history with every trial."""
        try:
            with clear_errors(self.path):
                self._fill(history)
        except (ValueError, TypeError) as error:
            raise damaged(self.path, error) from error
        return history

    def _fill(self, history: RunHistory) -> None:
        names = ("id", "key", "operator", "status", "depth", "failure", "gate")
        for id, key, operator, status, depth, failure, gate in self.rows(candidates, names):
            history.add(id, key, outside=operator == OUTSIDE)
            if status != Status.PENDING:
                history.finish(ending_from(id, status, depth, failure, gate))
        said = ("candidate", "stage", "properties", "uncertainties", "structures", "cost")
        counts = evaluations.c.failure.is_(None) & evaluations.c.withdrawn.is_(None)
        for candidate, stage, *texts in self.rows(evaluations, said, counts):
            properties, uncertainties, roles, cost = map(json.loads, texts)
            history.record(StageResult(candidate, stage, properties, uncertainties, roles, cost=cost))

    def unfinished(self) -> list[Unfinished]:
        """What was set on its way and not told yet, oldest first, with what is known of it."""
        return [self._restored(rest) for rest in unfinished(self)]

    def opened(self, event: int) -> Unfinished:
        """What the event with this number set on its way.

        Raises:
            KeyError: nothing.
        """
        return self._restored(opened(self, event))

    def _restored(self, rest: Unfinished) -> Unfinished:
        return replace(rest, results=[self.with_blobs(result) for result in rest.results])

    # What users did.

    def user_events(self) -> list[tuple[str, dict[str, Any]]]:
        """(kind, detail) of what users did, in order."""
        query = (
            select(events.c.kind, events.c.detail).where(events.c.kind.in_(USER_KINDS)).order_by(events.c.id)
        )
        with clear_errors(self.path), self._engine.connect() as connection:
            return [(kind, json.loads(detail)) for kind, detail in connection.execute(query)]

    def took_up(self, request: str) -> bool:
        """Whether an event took this request up."""
        query = select(func.count()).select_from(events).where(events.c.request == request)
        with clear_errors(self.path), self._engine.connect() as connection:
            return bool(connection.scalar(query))

    def measurements(self, keys: Iterable[str] | None = None, *, withdrawn: bool = True) -> list[Measurement]:
        """Measurements in the order of their numbers, of all genomes or of those with these keys.

        Args:
            withdrawn: whether those that count no more are among them.
        """
        query = select(measurements).order_by(measurements.c.id)
        if keys is not None:
            query = query.where(measurements.c.key.in_(list(keys)))
        if not withdrawn:
            query = query.where(measurements.c.withdrawn.is_(None))
        with clear_errors(self.path), self._engine.connect() as connection:
            return [measurement_from(row) for row in connection.execute(query)]

    def measured(self, keys: Sequence[str], stage: str) -> dict[str, Measurement]:
        """What counts of the measurements of genomes at a stage, by key of the genome."""
        if self._writable and not self._measured:
            return {}
        told = defaultdict(list)
        for item in self.measurements(keys, withdrawn=False):
            if item.stage == stage:
                told[item.key].append(item)
        found = {key: combined(items) for key, items in told.items()}
        return {
            key: replace(item, blobs=self.blobs(item.structures.values())) if item.structures else item
            for key, item in found.items()
        }

    def results(self, candidate: int) -> list[StageResult]:
        """What stages say of a candidate, in the order they said it, without the structures' data."""
        where = (evaluations.c.candidate == candidate) & evaluations.c.withdrawn.is_(None)
        return [result_from(row) for row in self.rows(evaluations, where=where)]

    def is_built(self, candidate: int) -> bool:
        """Whether the build stage is done for a candidate."""
        with clear_errors(self.path), self._engine.connect() as connection:
            query = select(candidates.c.design).where(candidates.c.id == candidate)
            return connection.scalar(query) is not None

    def formula(self, candidate: int) -> str:
        """Reduced formula of a candidate; empty where it has none, or was not built yet."""
        with clear_errors(self.path), self._engine.connect() as connection:
            return connection.scalar(select(candidates.c.formula).where(candidates.c.id == candidate)) or ""

    def candidate(self, id: int) -> Candidate:
        """The candidate with this number.

        Raises:
            KeyError: there is none.
        """
        with clear_errors(self.path), self._engine.connect() as connection:
            row = connection.execute(select(candidates).where(candidates.c.id == id)).first()
        if row is None:
            raise KeyError(id)
        return candidate_from(row)

    def structure(self, candidate: int, role: str) -> bytes | None:
        """The compressed structure the last stage made for this candidate under this role."""
        with clear_errors(self.path), self._engine.connect() as connection:
            query = select(evaluations.c.structures).where(
                evaluations.c.candidate == candidate, evaluations.c.withdrawn.is_(None)
            )
            found = connection.execute(query.order_by(evaluations.c.id.desc())).scalars()
            for text in found:
                key = json.loads(text).get(role)
                if key is not None:
                    return connection.scalar(select(structures.c.data).where(structures.c.hash == key))
        return None

    def blobs(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """Compressed structures by hash."""
        with clear_errors(self.path), self._engine.connect() as connection:
            query = select(structures).where(structures.c.hash.in_(list(hashes)))
            return {row.hash: row.data for row in connection.execute(query)}

    def cached(self, keys: Sequence[str], before: int) -> dict[str, StageResult]:
        """Successful evaluations of candidates below number `before`, by cache key; the oldest where several are.

        Only waves that are complete count, so that what is found does not depend on who finished first.
        """
        if before == 0 and not self.inherits:
            return {}
        query = (
            select(evaluations)
            .where(evaluations.c.cache_key.in_(list(keys)))
            .where(evaluations.c.candidate < before)
            .where(evaluations.c.failure.is_(None), evaluations.c.withdrawn.is_(None))
            .order_by(evaluations.c.candidate.desc())
        )
        with clear_errors(self.path), self._engine.connect() as connection:
            found = self._inherited(connection, keys) if self.inherits else {}
            found |= {row.cache_key: result_from(row) for row in connection.execute(query)}
        return {key: self.with_blobs(result) for key, result in found.items()}

    def _inherited(self, connection: Connection, keys: Sequence[str]) -> dict[str, StageResult]:
        """What the run this one was forked from had evaluated."""
        query = select(inherited).where(inherited.c.cache_key.in_(list(keys)))
        return {
            row.cache_key: StageResult(
                candidate=-1,
                stage=row.stage,
                properties=json.loads(row.properties),
                uncertainties=json.loads(row.uncertainties),
                structures=json.loads(row.structures),
                cost=json.loads(row.cost),
                cache_key=row.cache_key,
            )
            for row in connection.execute(query)
        }

    def with_blobs(self, result: StageResult) -> StageResult:
        """The result with the data of its structures."""
        return replace(result, blobs=self.blobs(result.structures.values())) if result.structures else result

    def digest(self) -> str:
        """Hash of everything a search found and decided; equal for runs that are equal (`store.digest`)."""
        return digest(self)
