"""A store of an earlier schema made one of today's."""

from __future__ import annotations

import json

from sqlalchemy import Connection, Table, or_, select, update

from invdesign.candidate import to_json
from invdesign.properties import HULL_DISTANCES
from invdesign.store.checksums import COUNTS_ENTRY, checksum_of, count_rows, write_checksums
from invdesign.store.schema import (
    CHECKSUM,
    CHECKSUMS_SINCE,
    MIGRATIONS,
    SCHEMA_VERSION,
    evaluations,
    inherited,
    measurements,
    meta,
)
from invdesign.store.writing import set_entry

SYSTEMATIC_SINCE = 5  # the first schema that tells noise from errors of the method
SPLIT_TABLES = (evaluations, measurements, inherited)
_COLUMNS_BEFORE = {  # columns a checksum was over before the split, in order
    evaluations.name: "id candidate stage properties uncertainties structures failure cost cache_key source withdrawn",
    measurements.name: "id key stage event properties uncertainties structures failure label note withdrawn",
    inherited.name: "cache_key stage properties uncertainties structures cost",
}


def migrate_store(connection: Connection, found: int) -> None:
    """Bring a store from schema `found` to today's, in the transaction under way.

    Rows that were damaged before stay so: they get no checksum of their own.
    """
    # First, since Python's driver opens no transaction for statements that change tables alone.
    connection.exec_driver_sql(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),)
    )
    sealed, split = found >= CHECKSUMS_SINCE, found < SYSTEMATIC_SINCE
    damaged = (
        {table.name: _damaged_keys(connection, table) for table in SPLIT_TABLES} if sealed and split else {}
    )
    for version in range(found, SCHEMA_VERSION):
        for statement in MIGRATIONS[version]:
            connection.exec_driver_sql(statement)
    if split:
        split_uncertainties(connection)
    if sealed:
        write_checksums(connection, SPLIT_TABLES if split else (), damaged)
        set_entry(connection, "schema_version", str(SCHEMA_VERSION))
    else:
        set_entry(connection, COUNTS_ENTRY, to_json(dict(count_rows(connection))))
        write_checksums(connection)


def _damaged_keys(connection: Connection, table: Table) -> set[object]:
    """Keys of the rows of a table before the split that are not as they were written."""
    names = _COLUMNS_BEFORE[table.name].split()
    query = f"SELECT {', '.join(names)}, {CHECKSUM} FROM {table.name}"  # noqa: S608 - our own schema
    return {
        row[0] for row in map(tuple, connection.exec_driver_sql(query)) if checksum_of(row[:-1]) != row[-1]
    }


def split_uncertainties(connection: Connection) -> None:
    """Make the uncertainties of hull distances errors of the method; all others stay noise.

    Evaluators of hull distances told one number for the error of their potential. Whatever was told from outside is
    noise. An inherited evaluation may be of a stage that this campaign does not have: then the property's name decides.
    """
    kinds = _evaluator_kinds(connection)
    methods = [stage for stage, kind in kinds.items() if kind in HULL_DISTANCES]
    for table in (evaluations, inherited):
        named = or_(
            *(table.c.noise.like(f'{{"{name}": %') for name in HULL_DISTANCES)
        ) & table.c.noise.not_like("%,%")
        chosen = table.c.stage.in_(methods) | (table.c.stage.not_in(list(kinds)) & named)
        chosen &= table.c.cache_key.is_not(None)  # what was told from outside has none
        connection.execute(update(table).where(chosen).values(systematic=table.c.noise, noise="{}"))


def _evaluator_kinds(connection: Connection) -> dict[str, str]:
    """Kind of evaluator by stage, as the stored campaign says; empty where it cannot be read."""
    text = connection.scalar(select(meta.c.value).where(meta.c.key == "campaign"))
    try:
        stages = json.loads(text or "{}")["stages"]
        return {str(stage["name"]): str(stage["evaluator"]["kind"]) for stage in stages}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}  # reading the campaign itself says what is wrong with it
