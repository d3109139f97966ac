"""Examination of a damaged store: finds all damage in the readable part (`invdesign doctor RUN`)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import DatabaseError

from invdesign.store.checksums import COUNTED_TABLES, COUNTS_ENTRY, is_row_intact, key_column, row_type
from invdesign.store.schema import candidates as candidates_table
from invdesign.store.schema import evaluations, events, inherited, measurements, meta, structures
from invdesign.store.store import Store, is_structure_intact

MAX_SINGLE_READS = 1_000_000  # rows read one by one if a table cannot be scanned; chosen
MAX_SQLITE_MESSAGES = 5  # SQLite's messages about its file that are shown; chosen


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged rows of one table.

    Attributes:
        table: its name; empty for the file itself.
        keys: of rows whose values changed.
        lost: number of rows that cannot be found or read.
        message: the finding in words.
    """

    table: str
    keys: tuple[Any, ...]
    lost: int
    message: str


def examine_store(path: Path) -> list[Damage]:
    """Check every row and structure of the store at `path`.

    SQLite's own check of the file is run, too.

    Raises:
        StoreError: the store cannot be opened.
    """
    with Store.open(path, writable=False, checked=False) as store, store.open_connection() as connection:
        found = list(_check_file(connection))
        expected = _read_row_counts(connection)
        for table in (meta, *COUNTED_TABLES):
            found += _check_table(connection, table, expected.get(table.name))
        found += _check_structures(connection)
    return found


def _check_file(connection: Connection) -> Iterator[Damage]:
    try:
        said = [
            row[0] for row in connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_SQLITE_MESSAGES})")
        ]
    except DatabaseError as error:
        said = [str(error.orig)]
    if said != ["ok"]:
        shown = " ".join("; ".join(map(str, said)).split())
        yield Damage("", (), 0, f"the file itself is damaged, SQLite says: {shown:.300}")


def _read_row_counts(connection: Connection) -> dict[str, int]:
    try:
        text = connection.scalar(select(meta.c.value).where(meta.c.key == COUNTS_ENTRY))
        return {str(name): int(count) for name, count in json.loads(text or "{}").items()}
    except (DatabaseError, ValueError, TypeError, AttributeError):
        return {}


def _check_table(connection: Connection, table: Table, expected: int | None) -> Iterator[Damage]:
    bad, seen, broken = _scan_table(connection, table)
    if broken and expected is not None and table not in (meta, inherited):
        bad, seen = _read_one_by_one(connection, table, expected)
    lost = 0 if expected is None else expected - seen
    said = []
    if bad:
        said.append(f"{join_keys(bad)} {'is' if len(bad) == 1 else 'are'} not as written")
    if lost > 0:
        said.append(f"{lost} of {expected} cannot be found")
    if lost < 0:
        said.append(f"there are {seen}, and there were {expected}")
    if broken and not said:
        said.append("it cannot be read to its end")
    if said:
        yield Damage(table.name, tuple(bad), max(lost, 0), "; ".join(said))


def join_keys(keys: Sequence[Any]) -> str:
    """Join `keys` of rows for a message, at most ten."""
    shown = ", ".join(str(key)[:40] for key in keys[:10])
    return f"{shown} and {len(keys) - 10} more" if len(keys) > 10 else shown


def _scan_table(connection: Connection, table: Table) -> tuple[list[Any], int, bool]:
    """Scan a table for changed rows.

    Returns:
        Keys of changed rows, number of rows, and whether reading broke off.
    """
    bad, seen = [], 0
    at = row_type(table)._fields.index(key_column(table).name)
    try:
        cursor: Any = connection.execute(select(table).order_by(key_column(table))).cursor
        for values in iter(cursor.fetchone, None):
            seen += 1
            if not is_row_intact(values):
                bad.append(values[at])
    except (DatabaseError, sqlite3.Error):
        return bad, seen, True
    return bad, seen, False


def _read_one_by_one(connection: Connection, table: Table, expected: int) -> tuple[list[Any], int]:
    first = 0 if table in (candidates_table, events) else 1
    bad, seen = [], 0
    for number in range(first, first + min(expected, MAX_SINGLE_READS)):
        try:
            cursor: Any = connection.execute(select(table).where(key_column(table) == number)).cursor
            values = cursor.fetchone()
        except (DatabaseError, sqlite3.Error):
            continue
        if values is not None:
            seen += 1
            if not is_row_intact(values):
                bad.append(number)
    return bad, seen


def _check_structures(connection: Connection) -> Iterator[Damage]:
    """Yield the damaged or missing structures and the candidates that use them."""
    whole: set[object] = set()
    bad: set[object] = set()
    try:
        cursor: Any = connection.execute(select(structures.c.hash, structures.c.data)).cursor
        for key, data in iter(cursor.fetchone, None):
            (whole if is_structure_intact(key, data) else bad).add(key)
    except (DatabaseError, sqlite3.Error):
        pass  # structures that were not reached count as missing
    missing, owners = set(), set()
    for table, owner in ((evaluations, "candidate"), (measurements, "key"), (inherited, "cache_key")):
        try:
            for row in connection.execute(select(table.c[owner], table.c.structures)):
                lacking = set(json.loads(row.structures).values()) - whole
                if lacking:
                    missing |= lacking
                    owners.add(f"candidate {row[0]}" if table is evaluations else f"{table.name} {row[0]}")
        except (DatabaseError, sqlite3.Error, ValueError, AttributeError, TypeError):
            continue  # the finding about that table reports it
    lost = len(missing - bad)
    if bad or lost:
        of = f", of {join_keys(sorted(owners))}" if owners else ""
        message = f"{len(bad)} changed, {lost} missing{of}"
        yield Damage(structures.name, tuple(sorted(map(str, bad))), lost, message)
