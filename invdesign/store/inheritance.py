"""What a run that was forked from another takes along: evaluations by cache key, and measurements by genome."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, MetaData, func, insert, select

from invdesign.store.checksums import insert_rows, value_names, write_checksums
from invdesign.store.database import connect, sqlite_uri, translate_database_errors
from invdesign.store.schema import evaluations, inherited, measurements

START_EVENT = 0  # the event that everything inherited belongs to
SOURCE_SCHEMA = "source"
_metadata = MetaData(schema=SOURCE_SCHEMA)
_source_tables = {
    table.name: table.to_metadata(_metadata, schema=SOURCE_SCHEMA)
    for table in (evaluations, inherited, measurements)
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take along.

    Attributes:
        evaluations: stages of the source whose evaluations hold.
        measurements: stages of the new run by stage of the source.
        keys: genomes' keys in the new run by their keys in the source, of measured ones that hold.
    """

    evaluations: Collection[str] = ()
    measurements: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


def copy_store(source: Path, target: Path) -> None:
    """A copy of a store as it is at this moment, also while another process writes it.

    Raises:
        StoreError: it is locked or damaged, or the copy cannot be written.
    """
    engine = connect(source, writable=False)
    try:
        with translate_database_errors(source), engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (sqlite_uri(target),))
    finally:
        engine.dispose()


def copy_selection(target: Path, source: Path, selection: Selection, advice: str = "") -> tuple[int, int]:
    """Copy what was selected from one store into a new one that nobody reads yet, in one transaction.

    Args:
        advice: what to do where the disk is full.

    Returns:
        How many evaluations and how many measurements.
    """
    engine = connect(target, writable=True, wal=False)
    try:
        with translate_database_errors(target, advice), engine.connect() as connection:
            connection.exec_driver_sql(f"ATTACH DATABASE ? AS {SOURCE_SCHEMA}", (sqlite_uri(source),))
            connection.commit()  # SQLite attaches outside of transactions, SQLAlchemy counts every statement to one
            with connection.begin():
                counts = _copy_evaluations(connection, selection), _copy_measurements(connection, selection)
                connection.exec_driver_sql(_COPY_STRUCTURES)
        return counts
    finally:
        engine.dispose()


def measured_stages(source: Path) -> dict[str, set[str]]:
    """Stages of which a genome has measurements that count, by its key."""
    engine = connect(source, writable=False)
    query = select(measurements.c.key, measurements.c.stage).where(measurements.c.withdrawn.is_(None))
    found: dict[str, set[str]] = {}
    try:
        with translate_database_errors(source), engine.connect() as connection:
            for key, stage in connection.execute(query.order_by(measurements.c.id)):
                found.setdefault(key, set()).add(stage)
    finally:
        engine.dispose()
    return found


def _copy_evaluations(connection: Connection, selection: Selection) -> int:
    """One of each cache key: what the source had inherited itself, then the oldest, as its own cache had it."""
    columns = value_names(inherited)
    before, own = _source_tables[inherited.name], _source_tables[evaluations.name]
    holds = (
        own.c.stage.in_(list(selection.evaluations))
        & own.c.cache_key.is_not(None)
        & own.c.failure.is_(None)
        & own.c.withdrawn.is_(None)
    )
    for query in (
        select(*[before.c[name] for name in columns]),
        select(*[own.c[name] for name in columns]).where(holds).order_by(own.c.candidate, own.c.id),
    ):
        connection.execute(insert(inherited).prefix_with("OR IGNORE").from_select(list(columns), query))
    write_checksums(connection, [inherited])
    return connection.scalar(select(func.count()).select_from(inherited)) or 0


def _copy_measurements(connection: Connection, selection: Selection) -> int:
    """Those that count, numbered anew; a stage of the source may be several of the new run."""
    old = _source_tables[measurements.name]
    query = select(old).where(old.c.withdrawn.is_(None)).order_by(old.c.id)
    found = [row for row in connection.execute(query).mappings() if row["key"] in selection.keys]
    told = [(row, stage) for row in found for stage in selection.measurements.get(row["stage"], ())]
    rows = [
        {**row, "id": number, "key": selection.keys[row["key"]], "stage": stage, "event": START_EVENT}
        for number, (row, stage) in enumerate(told, 1)
    ]
    return insert_rows(connection, measurements, rows)


_COPY_STRUCTURES = """
INSERT OR IGNORE INTO main.structures SELECT * FROM source.structures WHERE hash IN (
    SELECT value FROM main.inherited, json_each(inherited.structures)
    UNION SELECT value FROM main.measurements, json_each(measurements.structures)
)
"""
