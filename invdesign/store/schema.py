"""Tables of the run store, and conversion between rows and values."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

from invdesign.candidate import Candidate, Failure, Genome, Proposal, Status, canonical, to_json
from invdesign.measurements import Measurement
from invdesign.steps import Finished, StageResult
from invdesign.store.values import (
    check_ending,
    parse_bounded_json,
    parse_costs,
    parse_details,
    parse_json,
    parse_key,
    parse_numbers,
    parse_texts,
)

SCHEMA_VERSION = 6
CHECKSUMS_SINCE = 4  # the first schema whose rows carry checksums
CHECKSUM = "checksum"

metadata = MetaData()


def _checksum_column() -> Column[bytes]:
    """Last column of a table: the checksum of the others (`store.checksums`)."""
    return Column(CHECKSUM, LargeBinary)


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _checksum_column(),
)
sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("started", Text, nullable=False),
    Column("ended", Text),  # NULL while it runs or after a kill
    Column("reason", Text),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("environment", Text, nullable=False),
    _checksum_column(),
)
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # start, ask, tell; of the user: add, measure, withdraw, hand_out
    Column("detail", Text, nullable=False),
    Column("state", Text, nullable=False),  # the optimizer's, after the event
    Column("time", Float, nullable=False),
    Column("task", Integer),  # number of the first task its candidates may have
    Column("request", Text),  # the request it took up
    _checksum_column(),
)
candidates = Table(
    "candidates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False),  # not unique: a promotion has the key of its parent
    Column("genome", Text, nullable=False),
    Column("parents", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("memo", Text, nullable=False),
    Column("until", Text),
    Column("event", Integer, ForeignKey("events.id"), nullable=False, index=True),
    Column("status", Integer, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("formula", Text),
    Column("design", Text),  # hashes of the parts of the design
    Column("failure", Text),  # [kind, stage, message]
    Column("gate", Text),
    Column("finished", Float),
    _checksum_column(),
)
tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("members", Text, nullable=False),
    Column("status", Text, nullable=False, index=True),  # planned, done, lost
    Column("attempt", Integer, nullable=False),
    Column("lost", Text),
    _checksum_column(),
)
evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("candidate", Integer, ForeignKey("candidates.id"), nullable=False, index=True),
    Column("stage", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("noise", Text, nullable=False),
    Column("systematic", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("structures", Text, nullable=False),  # role -> hash
    Column("failure", Text),
    Column("cost", Text, nullable=False),
    Column("cache_key", Text),
    Column("source", Integer),  # the evaluation it was copied from, for a cache hit
    Column("withdrawn", Integer),  # the event that took it back
    Column("relaxed_genome", Text),  # genome of the structure it made, where the space inherits
    Column("adoption_refused", Text),  # reason why that structure has no genome
    _checksum_column(),
)
Index("evaluations_cache_key", evaluations.c.cache_key)
measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False, index=True),  # of the genome
    Column("stage", Text, nullable=False),
    Column("event", Integer, ForeignKey("events.id"), nullable=False),
    Column("properties", Text, nullable=False),
    Column("noise", Text, nullable=False),
    Column("systematic", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("structures", Text, nullable=False),
    Column("failure", Text),
    Column("label", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("withdrawn", Integer),  # the event that took it back
    _checksum_column(),
)
inherited = Table(  # evaluations of the run this one was forked from
    "inherited",
    metadata,
    Column("cache_key", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("noise", Text, nullable=False),
    Column("systematic", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("structures", Text, nullable=False),
    Column("cost", Text, nullable=False),
    Column("relaxed_genome", Text),
    Column("adoption_refused", Text),
    _checksum_column(),
)
structures = Table(
    "structures",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
CHECKSUMMED_TABLES = (meta, sessions, events, candidates, tasks, evaluations, measurements, inherited)

# From schema version n to n + 1: SQL statements, in order. A newer invdesign upgrades an older store when it opens it.
# Since a checksum covers a whole row, rows that a statement changes get new checksums afterwards.
# SQLite cannot drop a constraint: the table is made again (https://www.sqlite.org/lang_altertable.html, section 7).
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        """CREATE TABLE candidates_2 (
            id INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, genome TEXT NOT NULL, parents TEXT NOT NULL,
            operator TEXT NOT NULL, memo TEXT NOT NULL, until TEXT, event INTEGER NOT NULL REFERENCES events (id),
            status INTEGER NOT NULL, depth INTEGER NOT NULL, formula TEXT, design TEXT, failure TEXT, gate TEXT,
            finished FLOAT
        )""",
        """INSERT INTO candidates_2 SELECT id, key, genome, parents, operator, memo, until, event, status, depth,
            formula, design, failure, gate, finished FROM candidates""",
        "DROP TABLE candidates",
        "ALTER TABLE candidates_2 RENAME TO candidates",
        "CREATE INDEX ix_candidates_event ON candidates (event)",
    ),
    2: (
        "ALTER TABLE events ADD COLUMN task INTEGER",
        "ALTER TABLE events ADD COLUMN request TEXT",
        "ALTER TABLE evaluations ADD COLUMN withdrawn INTEGER",
        """CREATE TABLE measurements (
            id INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, stage TEXT NOT NULL,
            event INTEGER NOT NULL REFERENCES events (id), properties TEXT NOT NULL, uncertainties TEXT NOT NULL,
            structures TEXT NOT NULL, failure TEXT, label TEXT NOT NULL, note TEXT NOT NULL, withdrawn INTEGER
        )""",
        "CREATE INDEX ix_measurements_key ON measurements (key)",
        """CREATE TABLE inherited (
            cache_key TEXT NOT NULL PRIMARY KEY, stage TEXT NOT NULL, properties TEXT NOT NULL,
            uncertainties TEXT NOT NULL, structures TEXT NOT NULL, cost TEXT NOT NULL
        )""",
    ),
    3: tuple(f"ALTER TABLE {table.name} ADD COLUMN {CHECKSUM} BLOB" for table in CHECKSUMMED_TABLES),
    # Uncertainties are split into noise and systematic error by `store.migration`, since this depends on the campaign.
    4: tuple(
        statement
        for table in ("evaluations", "measurements", "inherited")
        for statement in (
            f"ALTER TABLE {table} RENAME COLUMN uncertainties TO noise",
            f"ALTER TABLE {table} ADD COLUMN systematic TEXT NOT NULL DEFAULT '{{}}'",
            f"ALTER TABLE {table} ADD COLUMN details TEXT NOT NULL DEFAULT '{{}}'",
        )
    ),
    5: tuple(
        f"ALTER TABLE {table} ADD COLUMN {column} TEXT"
        for table in ("evaluations", "inherited")
        for column in ("relaxed_genome", "adoption_refused")
    ),
}


def failure_to_json(failure: Failure | None) -> str | None:
    """Serialise a `failure` for its column; None stays None."""
    return None if failure is None else to_json([failure.kind, failure.stage, failure.message])


def parse_failure(text: str | None) -> Failure | None:
    """Parse a stored failure from `text`; inverse of `failure_to_json`."""
    if text is None:
        return None
    found = parse_json(text)
    if type(found) is not list or [type(item) for item in found] != [str, str, str]:
        raise ValueError(f"{text[:60]!r} is no failure: kind, stage and message")
    return Failure(*found)


def row_to_candidate(row: Any) -> Candidate:
    """Convert a `row` of the candidates table to a candidate."""
    parents = parse_bounded_json(row.parents)
    if type(parents) is not list or not all(type(id) is int for id in parents):
        raise ValueError(f"candidate {row.id} has no list of parents")
    proposal = Proposal(
        genome=parse_genome(row.genome),
        parents=tuple(parents),
        operator=row.operator,
        memo=parse_bounded_json(row.memo),
        until=row.until,
    )
    return Candidate(row.id, parse_key(row.key), proposal)


def parse_values(row: Any) -> dict[str, Any]:
    """Parse the columns of a `row` that evaluations and measurements share.

    They are fields of `StageResult` and of `Measurement`.
    """
    return {
        "properties": parse_numbers(row.properties),
        "noise": parse_numbers(row.noise),
        "systematic": parse_numbers(row.systematic),
        "details": parse_details(row.details),
        "structures": parse_texts(row.structures),
    }


def row_to_result(row: Any) -> StageResult:
    """Convert an evaluation's `row` to a result without structure data."""
    return StageResult(
        candidate=row.candidate,
        stage=row.stage,
        **parse_values(row),
        **parse_adoption(row),
        failure=parse_failure(row.failure),
        cost=parse_costs(row.cost),
        cache_key=row.cache_key,
        source=row.id,
    )


def parse_adoption(row: Any) -> dict[str, Any]:
    """Parse the relaxed genome of a `row`, or the reason why there is none; fields of `StageResult`."""
    return {
        "relaxed_genome": None if row.relaxed_genome is None else parse_genome(row.relaxed_genome),
        "adoption_refused": row.adoption_refused or "",
    }


def parse_genome(text: str) -> Genome:
    """Parse a genome from the JSON `text`.

    Raises:
        ValueError: the text is something else.
    """
    genome = parse_bounded_json(text)
    if type(genome) is not dict:
        raise ValueError(f"{text[:60]!r} is no genome")
    return genome


def candidate_to_row(candidate: Candidate, number: int) -> dict[str, Any]:
    """Convert a `candidate` of event `number` to a row."""
    proposal = candidate.proposal
    return {
        "id": candidate.id,
        "key": candidate.key,
        "genome": to_json(canonical(proposal.genome)),
        "parents": to_json(list(proposal.parents)),
        "operator": proposal.operator,
        "memo": to_json(proposal.memo),
        "until": proposal.until,
        "event": number,
        "status": int(Status.PENDING),
        "depth": 0,
    }


def ending_to_row(ending: Finished) -> dict[str, Any]:
    """Columns of a candidate's row that its `ending` changes."""
    return {
        "status": int(ending.status),
        "depth": ending.depth,
        "failure": failure_to_json(ending.failure),
        "gate": ending.gate,
        "finished": time.time(),
    }


def measurement_to_row(measurement: Measurement, number: int, event: int) -> dict[str, Any]:
    """Convert a `measurement` with `number` and `event` to a row."""
    return {
        "id": number,
        "key": measurement.key,
        "stage": measurement.stage,
        "event": event,
        "properties": to_json(dict(measurement.properties)),
        "noise": to_json(dict(measurement.noise)),
        "systematic": to_json(dict(measurement.systematic)),
        "details": to_json(dict(measurement.details)),
        "structures": to_json(dict(measurement.structures)),
        "failure": failure_to_json(measurement.failure),
        "label": measurement.label,
        "note": measurement.note,
    }


def row_to_measurement(row: Any) -> Measurement:
    """Convert a `row` to a measurement without structure data."""
    return Measurement(
        key=row.key,
        stage=row.stage,
        **parse_values(row),
        failure=parse_failure(row.failure),
        label=row.label,
        note=row.note,
        id=row.id,
        event=row.event,
        withdrawn=row.withdrawn,
    )


def parse_ending(id: int, status: int, depth: int, failure: str | None, gate: str | None) -> Finished:
    """Parse a candidate's end from columns of its row.

    Args:
        id: number of the candidate.
        status, depth: as stored.
        failure: JSON of its failure, if any.
        gate: the gate that stopped it, if any.
    """
    return Finished(id, *check_ending(status, depth), parse_failure(failure), gate or "")
