"""Inheritance of a forked run: evaluations by cache key and measurements by genome, copied from its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, MetaData, func, insert, select, update

from invdesign.store.checksums import insert_rows, value_names, write_checksums
from invdesign.store.database import connect, sqlite_uri, translate_database_errors
from invdesign.store.schema import evaluations, inherited, measurements

START_EVENT = 0  # the event of everything inherited
SOURCE_SCHEMA = "source"
_metadata = MetaData(schema=SOURCE_SCHEMA)
_source_tables = {
    table.name: table.to_metadata(_metadata, schema=SOURCE_SCHEMA)
    for table in (evaluations, inherited, measurements)
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Selected results of the source.

    Attributes:
        evaluations: stages of the source whose evaluations are valid.
        measurements: stages of the new run by stage of the source.
        keys: genome keys in the new run by genome key in the source, for valid measurements.
        same_space: True if relaxed genomes of the source are those of the new run; else structures are adopted anew.
    """

    evaluations: Collection[str] = ()
    measurements: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    same_space: bool = True


def copy_store(source: Path, target: Path) -> None:
    """Copy the store at `source` to `target`.

    Another process may write it meanwhile.

    Raises:
        StoreError: the source is locked or damaged, or the copy cannot be written.
    """
    engine = connect(source, writable=False)
    try:
        with translate_database_errors(source), engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (sqlite_uri(target),))
    finally:
        engine.dispose()


def copy_selection(target: Path, source: Path, selection: Selection, advice: str = "") -> tuple[int, int]:
    """Copy selected results into a new store, in one transaction.

    Args:
        target: the new store's file, which has no other readers yet.
        source: the store to copy from.
        selection: the results to copy.
        advice: for the message about a full disk.

    Returns:
        Numbers of evaluations and of measurements.
    """
    engine = connect(target, writable=True, wal=False)
    try:
        with translate_database_errors(target, advice), engine.connect() as connection:
            connection.exec_driver_sql(f"ATTACH DATABASE ? AS {SOURCE_SCHEMA}", (sqlite_uri(source),))
            # SQLite attaches outside of transactions, while SQLAlchemy begins one with every statement.
            connection.commit()
            with connection.begin():
                counts = _copy_evaluations(connection, selection), _copy_measurements(connection, selection)
                connection.exec_driver_sql(_COPY_STRUCTURES)
        return counts
    finally:
        engine.dispose()


def measured_stages(source: Path) -> dict[str, set[str]]:
    """Stages with valid measurements in `source`, by genome key."""
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
    """Copy one evaluation per cache key; return their number.

    Evaluations that the source inherited come first, then its oldest own, in the order of its own cache.
    """
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
    if not selection.same_space:
        connection.execute(update(inherited).values(relaxed_genome=None, adoption_refused=None))
    write_checksums(connection, [inherited])
    return connection.scalar(select(func.count()).select_from(inherited)) or 0


def _copy_measurements(connection: Connection, selection: Selection) -> int:
    """Copy valid measurements with new numbers; return their number.

    One stage of the source may become several stages of the new run.
    """
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
