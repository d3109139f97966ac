"""Share of the checksums in the time that opening a large store takes.

Run it with `python benchmarks/store_open.py`; it prints a table and writes `benchmarks/results/store_open.json`. One run
is opened with and without the check of every row, in turns, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import Row, print_table, row_of, write_results
from loop import campaign
from sqlalchemy import Connection, Select

import invdesign.store.store as opening
from invdesign.campaign.load import campaign_from
from invdesign.run.run import Run
from invdesign.store.checksums import ROWS_PER_FETCH

TIMES = 7


def plain_values(connection: Connection, query: Select[Any], *_: object) -> Iterator[tuple[Any, ...]]:
    """Rows as `read_checked_values` gives them, none of them checked."""
    cursor: Any = connection.execute(query).cursor
    while batch := cursor.fetchmany(ROWS_PER_FETCH):
        yield from batch


@contextmanager
def without_checks() -> Iterator[None]:
    """Within the block stores are opened without checking rows, and without counting them."""
    with (
        patch.object(opening, "read_checked_values", plain_values),
        patch.object(opening.Store, "_check_counts", lambda *_: None),
    ):
        yield


def opening_seconds(folder: Path, size: int) -> float:
    """CPU seconds to open a run and load its history; it waits for nothing but the system's cache."""
    started = time.process_time()
    with Run.open(folder) as run:
        assert len(run.history) == size
    return time.process_time() - started


def measure(size: int) -> list[Row]:
    """CPU seconds of opening with and without the check, and its share of them."""
    checked, plain = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        with Run.create(campaign_from(campaign(size, 1)), folder) as run:
            run.execute()
        opening_seconds(folder, size)  # modules are imported, and the file is in the system's cache
        for _ in range(TIMES):
            checked.append(opening_seconds(folder, size))
            with without_checks():
                plain.append(opening_seconds(folder, size))
    shares = [100 * (1 - b / a) for a, b in zip(checked, plain, strict=True)]
    task = f"toy_{size}"
    return [
        row_of("store_open", task, "invdesign", "open_cpu_s", checked, "s"),
        row_of("store_open", task, "invdesign_unchecked", "open_cpu_s", plain, "s"),
        row_of("store_open", task, "invdesign", "share_of_checks", shares, "%"),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    found = [row for size in parser.parse_args().sizes for row in measure(size)]
    print_table(found)
    write_results("store_open", found)
