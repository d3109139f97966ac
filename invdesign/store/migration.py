"""Migration of stores from earlier schema versions."""

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

SYSTEMATIC_SINCE = 5  # the first schema with noise and systematic error in separate columns
_COLUMNS_BEFORE = {  # columns under a checksum by schema, in order, of tables that changed since
    4: {
        evaluations: "id candidate stage properties uncertainties structures failure cost cache_key source withdrawn",
        measurements: "id key stage event properties uncertainties structures failure label note withdrawn",
        inherited: "cache_key stage properties uncertainties structures cost",
    },
    5: {
        evaluations: "id candidate stage properties noise systematic details structures failure cost cache_key source "
        "withdrawn",
        inherited: "cache_key stage properties noise systematic details structures cost",
    },
}


def migrate_store(connection: Connection, found: int) -> None:
    """Migrate a store from schema `found` to today's, over `connection`.

    Rows that were damaged before stay damaged: they get no new checksum.
    """
    # First, since Python's driver opens no transaction for statements that change tables alone.
    connection.exec_driver_sql(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),)
    )
    sealed, split = found >= CHECKSUMS_SINCE, found < SYSTEMATIC_SINCE
    changed = _COLUMNS_BEFORE.get(found, {})
    damaged = {table.name: _damaged_keys(connection, table, names) for table, names in changed.items()}
    for version in range(found, SCHEMA_VERSION):
        for statement in MIGRATIONS[version]:
            connection.exec_driver_sql(statement)
    if split:
        split_uncertainties(connection)
    if sealed:
        write_checksums(connection, changed, damaged)
        set_entry(connection, "schema_version", str(SCHEMA_VERSION))
    else:
        set_entry(connection, COUNTS_ENTRY, to_json(dict(count_rows(connection))))
        write_checksums(connection)


def _damaged_keys(connection: Connection, table: Table, columns: str) -> set[object]:
    """Keys of damaged rows of a table with its `columns` of before."""
    query = f"SELECT {', '.join(columns.split())}, {CHECKSUM} FROM {table.name}"  # noqa: S608 - our own schema
    return {
        row[0] for row in map(tuple, connection.exec_driver_sql(query)) if checksum_of(row[:-1]) != row[-1]
    }


def split_uncertainties(connection: Connection) -> None:
    """Turn uncertainties of hull distances into systematic errors, over `connection`.

    All others stay noise. Evaluators of hull distances used to give one number, for the error of their potential.
    Measurements from outside are noise. An inherited evaluation may belong to a stage that this campaign does not have:
    then the property's name decides.
    """
    kinds = _evaluator_kinds(connection)
    methods = [stage for stage, kind in kinds.items() if kind in HULL_DISTANCES]
    for table in (evaluations, inherited):
        named = or_(
            *(table.c.noise.like(f'{{"{name}": %') for name in HULL_DISTANCES)
        ) & table.c.noise.not_like("%,%")
        chosen = table.c.stage.in_(methods) | (table.c.stage.not_in(list(kinds)) & named)
        chosen &= table.c.cache_key.is_not(None)  # measurements from outside have none
        connection.execute(update(table).where(chosen).values(systematic=table.c.noise, noise="{}"))


def _evaluator_kinds(connection: Connection) -> dict[str, str]:
    """Kind of evaluator by stage; empty if the campaign is unreadable."""
    text = connection.scalar(select(meta.c.value).where(meta.c.key == "campaign"))
    try:
        stages = json.loads(text or "{}")["stages"]
        return {str(stage["name"]): str(stage["evaluator"]["kind"]) for stage in stages}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}  # reading the campaign itself reports the mistake
