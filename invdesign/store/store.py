"""The run store: SQLite through SQLAlchemy Core, one transaction per step, the source of truth of a run."""

from __future__ import annotations

import hashlib
import json
import time
import weakref
from collections import defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, Index, Integer, Table, func, select

from invdesign.candidate import OUTSIDE, Candidate, Genome, Json, Status, to_json
from invdesign.errors import LostRunError, StoreError, nearest
from invdesign.history import RunHistory
from invdesign.measurements import Measurement, combine_measurements
from invdesign.steps import StageResult, Step, Unfinished, UserEvent
from invdesign.store.checksums import (
    COUNTED_TABLES,
    COUNTS_ENTRY,
    describe_row,
    key_column,
    read_checked_rows,
    read_checked_values,
    row_type,
    value_names,
)
from invdesign.store.creation import create_store
from invdesign.store.database import connect, copy_to_memory, damaged_store_error, translate_database_errors
from invdesign.store.digest import digest_store
from invdesign.store.migration import migrate_store
from invdesign.store.rescue import FileIdentity, rescue_store
from invdesign.store.schema import (
    SCHEMA_VERSION,
    candidates,
    evaluations,
    events,
    inherited,
    measurements,
    meta,
    parse_adoption,
    parse_ending,
    parse_genome,
    parse_values,
    row_to_candidate,
    row_to_measurement,
    row_to_result,
    sessions,
    structures,
    tasks,
)
from invdesign.store.values import (
    parse_bounded_json,
    parse_costs,
    parse_details,
    parse_json,
    parse_key,
    parse_numbers,
    parse_texts,
    translate_value_errors,
)
from invdesign.store.waves import USER_KINDS, read_opened, read_unfinished
from invdesign.store.writing import Writer, set_entry
from invdesign.structures.formulas import order_formula

STORE_FILE = "run.sqlite"
CHECK_PRIME = 1_000_003  # chosen: keeps sums of products within 64 bits
SEARCHED_INDICES = frozenset({"ix_candidates_event", "ix_evaluations_candidate", "ix_measurements_key"})
"""Indices used by readers; before a run goes on SQLite checks all indices (`Store.check_for_damage`)."""


class Store:
    """Database of one run; only the coordinating process writes it.

    A context manager; `close` closes every connection.

    Args:
        path: the SQLite file, which exists.
        writable: False for looking at a run that another process may hold.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self._writable = writable
        self._identity = FileIdentity.of_path(path)
        self._gone: LostRunError | None = None
        self._use_engine(connect(path, writable=writable))
        self._session: dict[str, Any] | None = None
        self._clock = time.monotonic()
        self._counts: dict[str, int] = {}
        self._next_evaluation = 0
        self._measured = False
        self.inherits = False  # True if it holds evaluations of the run it was forked from
        self.is_copy = False  # True for an older store that is read through a migrated copy in memory

    @classmethod
    def create(
        cls,
        path: Path,
        entries: Mapping[str, str],
        fill: Callable[[Path], object] | None = None,
        advice: str = "",
    ) -> None:
        """Write a new store: a complete one, or none.

        Args:
            path: the store's file.
            entries: values of the `meta` table by key: the campaign's text, dump, hash and so on.
            fill: writes more into the file before it appears under its name.
            advice: what to do if the disk is full.

        Raises:
            StoreError: it cannot be written.
        """
        create_store(path, entries, fill, advice)

    @classmethod
    def open(cls, path: Path, *, writable: bool = True, checked: bool = True) -> Store:
        """Open an existing store.

        Row counts and indices are checked first; also the whole file, if it is writable and a session has no end.

        Args:
            path: the store's file.
            writable: False for looking at a run that another process may hold.
            checked: False for examining a store that may be damaged.

        Raises:
            StoreError: missing, damaged, or made by a newer version.
        """
        with translate_database_errors(path):
            if not path.is_file():
                raise _missing_run_error(path)
            store = cls(path, writable=writable)
        try:
            with translate_database_errors(path):
                store._migrate_schema()
                if checked:
                    store._check_and_load_state()
        except BaseException:
            store.close()
            raise
        return store

    def _check_and_load_state(self) -> None:
        if self._writable and not self._has_ended_cleanly():
            self._check_file()
        with self._open_snapshot() as connection:
            self._counts = self._read_counts(connection)
            self._check_counts(connection)
            self._next_evaluation = 1 + (connection.scalar(select(func.max(evaluations.c.id))) or 0)
            self._measured = connection.scalar(select(measurements.c.id).limit(1)) is not None
            self.inherits = connection.scalar(select(inherited.c.cache_key).limit(1)) is not None

    def _migrate_schema(self) -> None:
        with self._engine.connect() as connection:
            query = select(meta.c.value).where(meta.c.key == "schema_version")  # older ones have no checksum
            text = connection.scalar(query) or ""
        if (
            not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 10)
            or int(text) < 1
        ):
            raise damaged_store_error(self.path, f"its schema version is {text!r:.40}")
        found = int(text)
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} has schema version {found}, this invdesign knows {SCHEMA_VERSION}: upgrade invdesign"
            )
        if found < SCHEMA_VERSION:
            if not self._writable:  # readers migrate a copy in memory
                self._use_engine(copy_to_memory(self._engine))
                self.is_copy = True
            self._upgrade_schema(found)

    def _upgrade_schema(self, found: int) -> None:
        with self._engine.begin() as connection:
            migrate_store(connection, found)

    def _has_ended_cleanly(self) -> bool:
        with self._engine.connect() as connection:
            open_sessions = connection.scalar(
                select(func.count()).select_from(sessions).where(sessions.c.ended.is_(None))
            )
        return not open_sessions

    def _check_file(self) -> None:
        """Run SQLite's own check of pages, rows and indices."""
        with self.open_connection() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if verdict != "ok":
            raise damaged_store_error(self.path, verdict)

    def _use_engine(self, engine: Engine) -> None:
        """Use this engine, and dispose of it with the store."""
        self._engine = engine
        # Python 3.13 warns of a connection that is collected open; SQLAlchemy's pool leaves those to the collector.
        weakref.finalize(self, engine.dispose)

    def close(self) -> None:
        """Close every connection to the file."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Sessions: processes that worked on the run, with times and versions. Outside the digest.

    def begin_session(self, environment: Mapping[str, Any]) -> None:
        """Record that this process now works on the run.

        Earlier sessions without an end are marked as killed.

        Args:
            environment: versions, machine and code revision, as plain JSON.
        """
        row = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            "environment": json.dumps(dict(environment), sort_keys=True),
        }
        with self._open_transaction() as writer:
            self._session = writer.begin_session(row)
        self._clock = time.monotonic()

    def end_session(self, reason: str) -> None:
        """Record the end of this process's work and its `reason`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open_transaction() as writer:
            if self._session is not None:
                said = reason.encode(errors="replace").decode()  # half a character cannot be stored
                self._session |= {"ended": now, "reason": said}
            self._update_session(writer)
        self._session = None
        # Other readers keep the journal from being removed; it is emptied, so that one file holds the run.
        with translate_database_errors(self.path), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def _update_session(self, writer: Writer) -> None:
        if self._session is not None:
            self._session["seconds"] = time.monotonic() - self._clock
            writer.note_session(self._session)

    def session_rows(self) -> list[dict[str, Any]]:
        """Rows of all sessions, in order."""
        with translate_value_errors(self.path, "table sessions"):
            return [
                {
                    **dict(zip(value_names(sessions), row, strict=False)),
                    "environment": dict(parse_bounded_json(row.environment or "{}")),
                }
                for row in self.read_rows(sessions)
            ]

    # Entries of the run itself.

    def read_entry(self, key: str) -> str:
        """Value of `key` in the `meta` table, or an empty text."""
        found = self._select_rows(select(meta).where(meta.c.key == key), meta)
        return str(found[0].value) if found else ""

    def set_entry(self, key: str, value: str) -> None:
        """Write a `value` of the `meta` table under `key`.

        These are the budget and the engine, which a resume may change.
        """
        with self._open_transaction() as writer:
            set_entry(writer.connection, key, value)

    def _read_counts(self, connection: Connection) -> dict[str, int]:
        query = select(meta).where(meta.c.key == COUNTS_ENTRY)
        found = list(read_checked_rows(connection, query, meta, self.path))
        with translate_value_errors(self.path, describe_row(meta, COUNTS_ENTRY)):
            counts = parse_bounded_json(found[0].value)
            return {table.name: int(counts[table.name]) for table in COUNTED_TABLES}

    def _check_counts(self, connection: Connection) -> None:
        """Check the row counts of tables and the entries of indices.

        A search in an incomplete table or index would leave out rows in silence.

        Raises:
            StoreError: some are missing.
        """
        ways = [
            (table.name, way)
            for table in COUNTED_TABLES
            for way in ("NOT INDEXED", *(f"INDEXED BY {index.name}" for index in table.indexes))
        ]
        counts = [f"(SELECT count(*) FROM {name} {way})" for name, way in ways]  # noqa: S608 - our own schema
        indices = [
            index for table in COUNTED_TABLES for index in table.indexes if index.name in SEARCHED_INDICES
        ]
        strange = [f"({_index_mismatch_sql(index)})" for index in indices]
        found = connection.exec_driver_sql(f"SELECT {', '.join([*counts, *strange])}").one()
        for (name, _), number in zip(ways, found[: len(ways)], strict=True):
            if number != self._counts[name]:
                raise damaged_store_error(
                    self.path, f"table {name} has {number} rows, and had {self._counts[name]}"
                )
        for index, number in zip(indices, found[len(ways) :], strict=True):
            if number:
                raise damaged_store_error(
                    self.path, f"the index {index.name} names other rows than its table has"
                )

    # Steps.

    @contextmanager
    def _open_transaction(self) -> Iterator[Writer]:
        """Open one transaction and yield its writer."""
        self.check_place()
        with translate_database_errors(self.path), self._engine.begin() as connection:
            writer = Writer(connection, self.path, dict(self._counts), self._next_evaluation)
            yield writer
            writer.note_counts(self._counts)
        self._counts, self._next_evaluation = writer.counts, writer.next_evaluation

    def check_place(self) -> None:
        """Check that the open file is still at its path.

        Raises:
            LostRunError: it was moved, deleted or replaced; the message says where its data is now.
        """
        if self._gone is None and FileIdentity.of_path(self.path) != self._identity:
            assert self._identity is not None  # it was there when it was opened
            # The pool holds at least one open connection; a new one would not find the file.
            connection = self._engine.raw_connection()
            try:
                self._gone = rescue_store(self.path, self._identity, connection.driver_connection)
            finally:
                connection.close()
        if self._gone is not None:
            raise self._gone

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
        """Write a numbered event with its state, candidates and first tasks.

        Args:
            number: of the event.
            kind: of the event.
            detail: its content, as plain JSON.
            state: the optimizer's state after the event, as JSON.
            asked: candidates it asked for.
            step: the step it led to, if any.
            task: number of the first task that candidates under way by this event may have.
            user: the change a user made by it, if any.
        """
        row = {
            "id": number,
            "kind": kind,
            "detail": to_json(detail),
            "state": state,
            "time": time.time(),
            "task": task,
            "request": user.request or None if user else None,
        }
        with self._open_transaction() as writer:
            writer.write_event(row, asked, user, step)
            self._update_session(writer)
        self._measured |= bool(user and user.measurements)

    def write_step(self, step: Step) -> None:
        """Write a `step`, results, endings and new tasks, in one transaction."""
        with self._open_transaction() as writer:
            writer.write_step(step)
            self._update_session(writer)

    # Reading.

    @contextmanager
    def open_connection(self) -> Iterator[Connection]:
        """Open a connection for reading."""
        with translate_database_errors(self.path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _open_snapshot(self) -> Iterator[Connection]:
        """Open a connection that sees no later writes."""
        with self.open_connection() as connection:
            if not self.is_copy:  # a copy does not change, and its only connection has a transaction already
                connection.exec_driver_sql("BEGIN")
            yield connection

    def _select_rows(self, query: Any, table: Table) -> list[Any]:
        """Select rows of a table and check each."""
        with self.open_connection() as connection:
            return list(read_checked_rows(connection, query, table, self.path))

    def read_rows(
        self, table: Table, columns: Sequence[str] = (), where: Any = None, order: Sequence[Any] = ()
    ) -> Iterator[Any]:
        """Stream rows of a table by id, checking each.

        Without `where` it also checks that no row is missing.

        Args:
            table: to read.
            columns: names of the wanted columns, in this order; if empty, all of them and the checksum.
            where: SQL condition.
            order: columns to order by instead of the ids.

        Raises:
            StoreError: a row is not as it was written, or rows are missing.
        """
        with self._open_snapshot() as connection:
            query = select(table).order_by(*(order or table.primary_key.columns))
            if where is None:
                found = self._scan_table(connection, table, query, self._read_counts(connection))
            else:
                found = read_checked_values(connection, query.where(where), table, self.path)
            if not columns:
                yield from map(row_type(table)._make, found)
                return
            make = _named_row(table.name, tuple(columns))._make
            if len(columns) == 1:
                at = row_type(table)._fields.index(columns[0])
                yield from (make((values[at],)) for values in found)
            else:
                yield from map(make, map(_column_picker(table, tuple(columns)), found))

    def _scan_table(
        self, connection: Connection, table: Table, query: Any, counts: Mapping[str, int]
    ) -> Iterator[tuple[Any, ...]]:
        """Iterate over all rows of a table; none may be missing."""
        expected, number = counts[table.name], 0
        for number, values in enumerate(read_checked_values(connection, query, table, self.path), 1):  # noqa: B007 - how many
            yield values
        if number != expected:
            raise damaged_store_error(self.path, f"table {table.name} has {number} rows, and had {expected}")

    def check_for_damage(self) -> None:
        """Check all data that loading the history does not read, but structures.

        So damage shows before anything is built on it. Structures are checked when they are loaded.

        Raises:
            StoreError: a row is not as it was written, rows are missing, or SQLite finds its file or indices damaged.
        """
        self._check_file()
        with self._open_snapshot() as connection:
            deque(read_checked_values(connection, select(meta), meta, self.path), maxlen=0)
            counts = self._read_counts(connection)
            for table in (sessions, events, tasks, measurements, inherited):
                deque(self._scan_table(connection, table, select(table), counts), maxlen=0)

    def last_event(self) -> tuple[int, Any] | None:
        """Number of the newest event, and the state it left."""
        found = self._select_rows(select(events).order_by(events.c.id.desc()).limit(1), events)
        with translate_value_errors(self.path, "the last event"):
            return (found[0].id, parse_bounded_json(found[0].state)) if found else None

    def history_version(self) -> tuple[int, int, int]:
        """Numbers that change whenever a trial does.

        They tell if a history that was loaded earlier is still current.
        """
        counted = (events.c.id, evaluations.c.id, tasks.c.id)
        with self.open_connection() as connection:
            newest = [connection.scalar(select(func.max(column))) or 0 for column in counted]
            planned = select(func.count()).select_from(tasks).where(tasks.c.status == "planned")
            return newest[0], newest[1], newest[2] - (connection.scalar(planned) or 0)

    def next_task_number(self) -> int:
        """First unused number of a task."""
        with self.open_connection() as connection:
            return 1 + (connection.scalar(select(func.max(tasks.c.id))) or 0)

    def worked_seconds(self) -> float:
        """Seconds of work over all sessions."""
        with translate_value_errors(self.path, "table sessions"):
            return float(sum(row.seconds for row in self._select_rows(select(sessions), sessions)))

    def load_history(self, history: RunHistory) -> RunHistory:
        """Fill an empty `history` with every trial.

        Raises:
            StoreError: a row of a candidate or an evaluation is not as it was written, or rows are missing.
        """
        with (
            self._open_snapshot() as connection,
            translate_value_errors(self.path, "candidates and evaluations"),
        ):
            counts = self._read_counts(connection)
            asked = select(candidates).order_by(candidates.c.id)
            self._fill_candidates(self._scan_table(connection, candidates, asked, counts), history)
            said = select(evaluations).order_by(evaluations.c.id)
            self._fill_evaluations(self._scan_table(connection, evaluations, said, counts), history)
        return history

    def _fill_candidates(self, rows: Iterable[tuple[Any, ...]], history: RunHistory) -> None:
        pick = _column_picker(
            candidates, ("id", "key", "operator", "formula", "status", "depth", "failure", "gate")
        )
        for number, values in enumerate(rows):
            id, key, operator, formula, status, *ended = pick(values)
            if id != number:
                raise ValueError(f"candidate {number} is missing")
            history.add_candidate(number, parse_key(key), outside=operator == OUTSIDE)
            history.record_formula(number, formula or "")
            if status != Status.PENDING:
                history.finish_trial(parse_ending(number, status, *ended))

    def _fill_evaluations(self, rows: Iterable[tuple[Any, ...]], history: RunHistory) -> None:
        size = len(history)
        names = ("id", "candidate", "stage", "failure", "withdrawn", "relaxed_genome", "adoption_refused")
        pick, said = _column_picker(evaluations, names), _column_picker(evaluations, _RESULT_COLUMNS)
        for values in rows:
            id, candidate, stage, failure, withdrawn, relaxed, refused = pick(values)
            if not 0 <= candidate < size:
                raise ValueError(f"evaluation {id} is of candidate {candidate}, which there is not")
            if failure is None and withdrawn is None:
                properties, noise, systematic, remarks, roles, cost = said(values)
                found = (
                    parse_numbers(properties),
                    parse_numbers(noise),
                    parse_numbers(systematic),
                    parse_details(remarks),
                    parse_texts(roles),
                )
                history.record_result(
                    StageResult(
                        candidate, stage, *found, cost=parse_costs(cost), adoption_refused=refused or ""
                    )
                )
                if relaxed is not None:  # parsed when it is needed
                    history.note_relaxed(candidate, stage)

    def load_unfinished(self) -> list[Unfinished]:
        """Load waves under way that were not told yet, oldest first."""
        with translate_value_errors(self.path, "the waves under way"):
            return [self._add_structures(rest) for rest in read_unfinished(self)]

    def load_opened(self, event: int) -> Unfinished:
        """Load the candidates that the event with this number started.

        Args:
            event: number of the event.

        Raises:
            KeyError: it started none, or all of them were told.
        """
        return self._add_structures(read_opened(self, event))

    def _add_structures(self, rest: Unfinished) -> Unfinished:
        return replace(rest, results=[self.with_blobs(result) for result in rest.results])

    # Changes by users.

    def user_events(self) -> list[tuple[str, dict[str, Any]]]:
        """(kind, detail) of the users' events, in order."""
        found = self.read_rows(events, where=events.c.kind.in_(USER_KINDS))
        with translate_value_errors(self.path, "table events"):
            return [(row.kind, dict(parse_json(row.detail))) for row in found]

    def has_taken_up(self, request: str) -> bool:
        """True if an event took up this `request`."""
        return bool(self._select_rows(select(events).where(events.c.request == request), events))

    def load_measurements(
        self, keys: Iterable[str] | None = None, *, withdrawn: bool = True
    ) -> list[Measurement]:
        """Load measurements in the order of their numbers.

        Args:
            keys: genomes to load them for; all by default.
            withdrawn: include measurements that were taken back.
        """
        counts = measurements.c.withdrawn.is_(None)
        if keys is not None:
            chosen = measurements.c.key.in_(list(keys))
            found = self.read_rows(measurements, where=chosen if withdrawn else chosen & counts)
        else:
            found = self.read_rows(measurements, where=None if withdrawn else counts)
        with translate_value_errors(self.path, "table measurements"):
            return [row_to_measurement(row) for row in found]

    def combine_measurements(self, keys: Sequence[str], stage: str) -> dict[str, Measurement]:
        """Combine the valid measurements of each genome at one stage.

        Args:
            keys: of the genomes.
            stage: name of the stage.

        Returns:
            One measurement by key, with structure data, for genomes that have any.
        """
        if self._writable and not self._measured:
            return {}
        told = defaultdict(list)
        for item in self.load_measurements(keys, withdrawn=False):
            if item.stage == stage:
                told[item.key].append(item)
        found = {key: combine_measurements(items) for key, items in told.items()}
        return {
            key: replace(item, blobs=self.load_blobs(item.structures.values())) if item.structures else item
            for key, item in found.items()
        }

    def load_results(self, candidate: int) -> list[StageResult]:
        """Load the results of a `candidate` in order, without structure data."""
        where = (evaluations.c.candidate == candidate) & evaluations.c.withdrawn.is_(None)
        found = self.read_rows(evaluations, where=where)
        with translate_value_errors(self.path, f"evaluations of candidate {candidate}"):
            return [row_to_result(row) for row in found]

    def _candidate_row(self, id: int) -> Any:
        """Row of a candidate.

        Raises:
            KeyError: there is none.
        """
        found = self._select_rows(select(candidates).where(candidates.c.id == id), candidates)
        if not found:
            raise KeyError(id)
        return found[0]

    def is_built(self, candidate: int) -> bool:
        """True if the build stage of a `candidate` is done."""
        with suppress(KeyError):
            return self._candidate_row(candidate).design is not None
        return False

    def display_formula(self, candidate: int) -> str:
        """Reduced formula of a `candidate` for display, or an empty text."""
        return order_formula(self.stored_formula(candidate))

    def stored_formula(self, candidate: int) -> str:
        """Formula of a `candidate` as stored.

        Folders of outside programs are named by it.
        """
        with suppress(KeyError):
            return self._candidate_row(candidate).formula or ""
        return ""

    def load_candidate(self, id: int) -> Candidate:
        """Load the candidate with number `id`.

        Raises:
            KeyError: there is none.
        """
        row = self._candidate_row(id)
        with translate_value_errors(self.path, f"candidate {id}"):
            return row_to_candidate(row)

    def load_relaxed_genome(self, id: int, stage: str) -> Genome:
        """Load the relaxed genome that a `stage` gave to the candidate with number `id`.

        Raises:
            KeyError: there is none.
        """
        where = (evaluations.c.candidate == id) & (evaluations.c.stage == stage)
        where &= evaluations.c.withdrawn.is_(None) & evaluations.c.relaxed_genome.is_not(None)
        found = self._select_rows(select(evaluations).where(where), evaluations)
        if not found:
            raise KeyError(id)
        with translate_value_errors(self.path, f"the relaxed genome of candidate {id}"):
            return parse_genome(found[-1].relaxed_genome)

    def load_structure(self, candidate: int, role: str) -> bytes | None:
        """Last compressed structure of a `candidate` under a `role`."""
        for result in reversed(self.load_results(candidate)):
            key = result.structures.get(role)
            if key is not None:
                return self.load_blobs([key])[key]
        return None

    def load_blobs(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """Compressed structures by hash, for these `hashes`.

        Raises:
            StoreError: one is missing, or not as it was written.
        """
        wanted = set(hashes)
        with self.open_connection() as connection:
            query = select(structures).where(structures.c.hash.in_(wanted))
            found: dict[str, bytes] = {row.hash: row.data for row in connection.execute(query)}
        for key in sorted(wanted):
            if not is_structure_intact(key, found.get(key)):
                how = "not as it was written" if key in found else "missing"
                raise damaged_store_error(self.path, f"structure {key[:40]} (table structures) is {how}")
        return found

    def find_cached(self, keys: Sequence[str], before: int) -> dict[str, StageResult]:
        """Find successful evaluations by cache key; the oldest of several.

        Only complete waves count, so that the result does not depend on which candidate finished first.

        Args:
            keys: cache keys.
            before: candidates with smaller numbers are searched.
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
        with translate_value_errors(self.path, "evaluations that are found again"):
            found = self._find_inherited(keys) if self.inherits else {}
            found |= {row.cache_key: row_to_result(row) for row in self._select_rows(query, evaluations)}
        return {key: self.with_blobs(result) for key, result in found.items()}

    def _find_inherited(self, keys: Sequence[str]) -> dict[str, StageResult]:
        """Find evaluations inherited from the run this one was forked from."""
        query = select(inherited).where(inherited.c.cache_key.in_(list(keys)))
        return {
            row.cache_key: StageResult(
                candidate=-1,
                stage=row.stage,
                **parse_values(row),
                **parse_adoption(row),
                cost=parse_costs(row.cost),
                cache_key=row.cache_key,
            )
            for row in self._select_rows(query, inherited)
        }

    def with_blobs(self, result: StageResult) -> StageResult:
        """Add the data of its structures to a `result`."""
        return (
            replace(result, blobs=self.load_blobs(result.structures.values()))
            if result.structures
            else result
        )

    def digest(self) -> str:
        """Hash of all results and decisions; equal for equal runs (`store.digest`)."""
        return digest_store(self)


def is_structure_intact(key: str, data: object) -> bool:
    """Check that `data` are those of the structure with hash `key`."""
    return isinstance(data, bytes) and hashlib.blake2b(data, digest_size=16).hexdigest() == key


_RESULT_COLUMNS = ("properties", "noise", "systematic", "details", "structures", "cost")


@cache
def _column_picker(table: Table, columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Function that picks two or more columns of a row."""
    names = row_type(table)._fields
    return itemgetter(*(names.index(name) for name in columns))


@cache
def _named_row(name: str, columns: tuple[str, ...]) -> Any:
    return namedtuple(name, columns)  # noqa: PYI024 - names are known at run time


def _missing_run_error(path: Path) -> StoreError:
    """Error for a folder without a run, with a suggestion."""
    folder = path.parent
    what = f"{folder} holds no run ({path.name} is missing)"
    if folder.is_dir():
        return StoreError(what)
    beside = [other.parent.name for other in folder.parent.glob(f"*/{path.name}")]
    hint = nearest(folder.name, [name for name in beside if name != folder.name])
    return StoreError(f"{what}: there is no such folder. {hint}".strip())


def _index_mismatch_sql(index: Index) -> str:
    """SQL that yields 0 if an index agrees with its table.

    For integers sums are compared, in a tenth of the time that comparing entries takes.
    """
    table, (column,) = index.table, index.columns
    assert table is not None  # of an index that belongs to one
    key, name = key_column(table).name, f'"{column.name}"'
    indexed, plain = f"{table.name} INDEXED BY {index.name}", f"{table.name} NOT INDEXED"
    if isinstance(column.type, Integer):
        total = f"SELECT sum({key} * ({name} + 1) % {CHECK_PRIME}) FROM"
        return f"SELECT ({total} {indexed}) IS NOT ({total} {plain})"
    return (
        f"SELECT count(*) FROM (SELECT {name}, {key} FROM {indexed} EXCEPT SELECT {name}, {key} FROM {plain})"  # noqa: S608 - our own schema
    )
