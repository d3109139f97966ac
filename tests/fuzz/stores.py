"""Seeded damage to run stores: bits, pages, lengths, journals and values; what comes of reading them.

`python -m tests.fuzz.stores CASES [SEED]` prints how often each kind of damage was harmless or found, and fails where
it was neither.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from invdesign.errors import StoreError
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE
from tests.support import finished, funnel

TABLES = ("meta", "sessions", "events", "candidates", "tasks", "evaluations", "structures")
Damage = Callable[[Path, random.Random], None]


def flip_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def overwrite_part(path: Path, rng: random.Random) -> None:
    """Noise, zeros, or another part of the file, of a sector's or a page's size."""
    content = bytearray(path.read_bytes())
    size = rng.choice([16, 512, 4096])
    start, other = (size * rng.randrange(len(content) // size) for _ in range(2))
    content[start : start + size] = rng.choice(
        [bytes(size), rng.randbytes(size), bytes(content[other : other + size])]
    )
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def add_torn_journal(path: Path, rng: random.Random) -> None:
    """A journal of a writer that was cut off, whole up to somewhere."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / STORE_FILE
        shutil.copy(path, other)
        with closing(sqlite3.connect(other)) as writer:
            writer.execute("pragma wal_autocheckpoint = 0")
            with writer:  # what a session leaves: it began, and never ended
                writer.execute("create table scratch (a)")
                writer.execute("drop table scratch")
            journal = other.with_name(f"{STORE_FILE}-wal").read_bytes()
    torn = bytearray(journal[: rng.randrange(len(journal))])
    if torn and rng.random() < 0.5:
        torn[rng.randrange(len(torn))] ^= 1 << rng.randrange(8)
    path.with_name(f"{STORE_FILE}-wal").write_bytes(torn)


def change_value(path: Path, rng: random.Random) -> None:
    """Another value in one column of one row, as a bit in the midst of it would make."""
    with closing(sqlite3.connect(path)) as connection, connection:
        table = rng.choice(TABLES)
        names = [row[1] for row in connection.execute(f"pragma table_info({table})")]
        column = rng.choice(names)
        rows = connection.execute(f"select rowid, {column} from {table}").fetchall()
        rowid, value = rng.choice(rows)
        connection.execute(
            f"update or ignore {table} set {column} = ? where rowid = ?", (changed(value, rng), rowid)
        )


def changed(value: Any, rng: random.Random) -> Any:
    """The value with one bit or character another."""
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(8))
    if isinstance(value, float):
        return value * (1 + 2.0 ** -rng.randrange(1, 50)) + 1e-9
    if isinstance(value, bytes) and value:
        at = rng.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        return value[:at] + chr(ord(value[at]) ^ (1 << rng.randrange(3))) + value[at + 1 :]
    return rng.choice([0, 1, "", "x"])


def remove_rows(path: Path, rng: random.Random) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        table = rng.choice(TABLES)
        rows = [row[0] for row in connection.execute(f"select rowid from {table}")]
        for rowid in rng.sample(rows, min(len(rows), rng.choice([1, 1, 3]))):
            connection.execute(f"delete from {table} where rowid = ?", (rowid,))


KINDS: dict[str, Damage] = {
    "bit": flip_bit,
    "part": overwrite_part,
    "length": truncate,
    "journal": add_torn_journal,
    "value": change_value,
    "rows": remove_rows,
}


def seen(folder: Path) -> str:
    """What commands that only read say of a run: status, top, show, the export of all, structures and the digest."""
    with Run.open(folder, trust_code=True) as run:
        size = len(run.history)
        said = [
            run.status().to_json(),
            run.top(),
            [run.row(id) for id in range(0, size, 5)],
            run.table().to_csv(index=False),
            [str(run.structure(id)) for id in range(0, size, 7)],
            run.digest(),
        ]
    return json.dumps(said)


def resumed(folder: Path) -> str:
    """Digest of the run after it went on to a larger budget."""
    with Run.open(folder, trust_code=True) as run:
        run.use_workers(0)
        run.change(budget={"candidates": 24})
        run.execute()
        return run.digest()


class Fuzzer:
    """Damages copies of a small finished run, and says what came of each.

    Args:
        place: where the run and its copies go.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        finished(funnel(18, population=6), place / "whole").close()
        self.content = (place / "whole" / STORE_FILE).read_bytes()
        self.said = seen(self.copied("reading"))
        self.digest = resumed(self.copied("going on"))

    def copied(self, name: str) -> Path:
        """A folder with a copy of the store."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / STORE_FILE).write_bytes(self.content)
        return folder

    def outcome(self, seed: int, *, resume: bool) -> str:
        """`harmless` or `found`, of one damage; anything else that happens is an error.

        Raises:
            AssertionError: something else was said than before the damage, without a word.
        """
        rng = random.Random(seed)
        kind = list(KINDS)[seed % len(KINDS)]
        folder = self.copied("damaged")
        KINDS[kind](folder / STORE_FILE, rng)
        try:
            said, expected = (resumed(folder), self.digest) if resume else (seen(folder), self.said)
        except StoreError as error:
            assert "Traceback" not in str(error)  # noqa: PT017 - either outcome is right
            return f"{kind}: found"
        assert said == expected, f"damage {seed} ({kind}) changed what is said"
        return f"{kind}: harmless"


def main() -> None:
    cases, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as place:
        fuzzer = Fuzzer(Path(place))
        found = Counter(fuzzer.outcome(seed, resume=seed % 10 == 9) for seed in range(first, first + cases))
    print(json.dumps(dict(sorted(found.items())), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
