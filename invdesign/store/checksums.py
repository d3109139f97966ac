"""A checksum in every row: values that changed on disk are found when they are read.

The checksum is BLAKE2b, 8 bytes, over the row's values as a tuple of Python literals in ASCII, which every version of
Python writes alike. It finds damage; it does not protect against deliberate forgery.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Insert, Select, Table, Update, bindparam, func, insert, select, update

from invdesign.errors import StoreError
from invdesign.store.database import damaged_store_error
from invdesign.store.schema import CHECKSUM, CHECKSUMMED_TABLES, meta

ROWS_PER_FETCH = 5000  # chosen: few calls, and a few MB at a time
COUNTS_ENTRY = "rows"  # key in `meta` of the numbers of rows of the tables
COUNTED_TABLES = tuple(table for table in CHECKSUMMED_TABLES if table is not meta)
Change = Mapping[str, Any]


def checksum_of(values: tuple[object, ...]) -> bytes:
    """Checksum of a row's `values`, 8 bytes."""
    return blake2b(ascii(values).encode(), digest_size=8).digest()


def add_checksum(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Build a whole row of plain values with its checksum.

    Args:
        table: the row's table.
        row: values by column; missing ones are NULL.
    """
    values = {name: _to_plain_value(row.get(name)) for name in value_names(table)}
    return {**values, CHECKSUM: checksum_of(tuple(values.values()))}


def _to_plain_value(value: Any) -> Any:
    """Convert a value to the plain type that SQLite returns."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    return value


@cache
def value_names(table: Table) -> tuple[str, ...]:
    """Names of the columns of `table` except the checksum."""
    return tuple(column.name for column in table.c if column.name != CHECKSUM)


@cache
def row_type(table: Table) -> Any:
    """Named tuple type with the columns of `table`."""
    return namedtuple(table.name, [*value_names(table), CHECKSUM])  # noqa: PYI024 - names are known at run time


def key_column(table: Table) -> Any:
    """Primary key column of `table`."""
    return next(iter(table.primary_key.columns))


def is_row_intact(values: tuple[Any, ...]) -> bool:
    """Check that a row's `values` agree with their checksum."""
    return bool(checksum_of(values[:-1]) == values[-1])


def read_checked_rows(
    connection: Connection,
    query: Select[Any],
    table: Table,
    path: Path,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Any]:
    """Iterate over rows of one table, checking each.

    Args:
        connection: to the store.
        query: selects all columns of `table`.
        table: the rows' table.
        path: the store's file, for the message.
        parameters: of the query.

    Raises:
        StoreError: a row is not as it was written.
    """
    return map(row_type(table)._make, read_checked_values(connection, query, table, path, parameters))


def read_checked_values(
    connection: Connection,
    query: Select[Any],
    table: Table,
    path: Path,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[tuple[Any, ...]]:
    """Iterate over rows as plain tuples, checking each.

    Args:
        connection: to the store.
        query: selects all columns of `table`.
        table: the rows' table.
        path: the store's file, for the message.
        parameters: of the query.

    Raises:
        StoreError: a row is not as it was written.
    """
    # The driver's cursor is used directly: SQLAlchemy's rows would cost as much time as the checksums.
    cursor: Any = connection.execute(query, parameters).cursor
    while batch := cursor.fetchmany(ROWS_PER_FETCH):
        for values in batch:
            if blake2b(ascii(values[:-1]).encode(), digest_size=8).digest() != values[-1]:
                raise damaged_row_error(path, table, row_type(table)._make(values))
        yield from batch


def damaged_row_error(path: Path, table: Table, row: Any) -> StoreError:
    """Error for a damaged `row` of `table` at `path`."""
    return damaged_store_error(
        path, f"{describe_row(table, getattr(row, key_column(table).name))} is not as it was written"
    )


_ROW_WORDS = {
    "meta": "the entry {!r} of table meta",
    "sessions": "session {} (table sessions)",
    "events": "event {} (table events)",
    "candidates": "candidate {} (table candidates)",
    "tasks": "task {} (table tasks)",
    "evaluations": "evaluation {} (table evaluations)",
    "measurements": "measurement {} (table measurements)",
    "inherited": "the inherited evaluation {} (table inherited)",
}


def describe_row(table: Table, key: object) -> str:
    """Name the row of `table` with this `key`."""
    shown = key if isinstance(key, int) else str(key)[:40]
    return _ROW_WORDS[table.name].format(shown)


# Writing.


def insert_rows(connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert rows with their checksums; return their number.

    Args:
        connection: to the store, in a transaction.
        table: their table.
        rows: values by column.
    """
    whole = [add_checksum(table, row) for row in rows]
    if whole:
        connection.execute(_insert_statement(table), whole)
    return len(whole)


# A statement that is kept is not written anew for every transaction.


@cache
def _insert_statement(table: Table) -> Insert:
    return insert(table)


@cache
def _select_statement(table: Table) -> Select[Any]:
    """Select the rows of a `table` with the keys `keys`."""
    return select(table).where(key_column(table).in_(bindparam("keys", expanding=True)))


@cache
def _update_statement(table: Table, names: tuple[str, ...]) -> Update:
    """Update the columns `names` of the row of a `table` with the key `at`."""
    changed: dict[str, Any] = {name: bindparam(name) for name in names}
    return update(table).where(key_column(table) == bindparam("at")).values(changed)


def update_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], names: Iterable[str]
) -> None:
    """Update columns of rows that have their checksums.

    Args:
        connection: to the store, in a transaction.
        table: their table.
        rows: whole rows.
        names: columns that changed, without the checksum.
    """
    changed, key = tuple(sorted({*names, CHECKSUM})), key_column(table).name
    values = [{"at": row[key], **{name: row[name] for name in changed}} for row in rows]
    connection.execute(_update_statement(table, changed), values)


def change_rows(connection: Connection, table: Table, changes: Mapping[Any, Change], path: Path) -> None:
    """Change values of rows and update their checksums.

    Args:
        connection: to the store, in a transaction.
        table: their table.
        changes: new values by column, by key of the row.
        path: the store's file, for messages.

    Raises:
        StoreError: a row was damaged before: it must not get a checksum of its own.
    """
    if not changes:
        return
    key, names = key_column(table), value_names(table)
    keys = list(changes)
    found = {}
    for start in range(0, len(keys), 500):  # SQLite takes some thousand values in one statement
        wanted = {"keys": keys[start : start + 500]}
        rows = read_checked_rows(connection, _select_statement(table), table, path, wanted)
        found.update({getattr(row, key.name): row for row in rows})
    missing = changes.keys() - found.keys()
    if missing:
        raise damaged_store_error(path, f"{describe_row(table, min(missing))} is missing")
    whole = [
        add_checksum(table, {**dict(zip(names, found[one], strict=False)), **changes[one]}) for one in changes
    ]
    update_rows(connection, table, whole, {name for one in changes.values() for name in one})


def write_checksums(
    connection: Connection,
    tables: Iterable[Table] = CHECKSUMMED_TABLES,
    except_for: Mapping[str, Container[Any]] = MappingProxyType({}),
) -> None:
    """Give every row of these tables its checksum.

    Args:
        connection: to the store, in a transaction.
        tables: the tables to go through.
        except_for: keys, by table, of damaged rows; they keep the checksum they have, so that the damage stays known.
    """
    for table in tables:
        key, names = key_column(table), value_names(table)
        query = select(*(table.c[name] for name in names))
        at, damaged_keys = names.index(key.name), except_for.get(table.name, ())
        rows = [row for row in map(tuple, connection.execute(query)) if row[at] not in damaged_keys]
        if rows:
            summed = [{"at": row[at], CHECKSUM: checksum_of(row)} for row in rows]
            connection.execute(_update_statement(table, (CHECKSUM,)), summed)


def count_rows(connection: Connection) -> dict[str, int]:
    """Count the rows of each table over `connection`."""
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in COUNTED_TABLES
    }
