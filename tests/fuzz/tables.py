"""Tables with slips, through every reader of tables: refused in words, or read alike.

`python -m tests.fuzz.tables 10000` tries that many; a seed gives the same tables everywhere.
"""

from __future__ import annotations

import math
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from invdesign.campaign.load import campaign_from
from invdesign.errors import InvdesignError
from invdesign.optimizers.bayesian.priors import PriorTable, read_priors
from invdesign.run.run import Run
from invdesign.settings import InputFile, load
from invdesign.sheets.results import read_results

NAMES = ("a", "b", "c", "d", "\u00e9", "=e", "'f", "g h")
SPACE = {"kind": "parameters", "parameters": {"name": {"categorical": list(NAMES)}}}
UNIT = "S/cm"
SECONDS = 20.0  # of CPU time for one table and reader; they take milliseconds
Pairs = list[tuple[str, float | str]]
Reader = Callable[[Path], Pairs]


def campaign() -> dict[str, Any]:
    """A campaign whose results are told."""
    return {
        "version": 1,
        "name": "tables",
        "space": SPACE,
        "evaluate": [{"experiment": {"provides": {"x": UNIT}}}],
        "objectives": [{"maximize": "x"}],
        "optimizer": "random",
        "budget": {"candidates": 9},
        "engine": {"kind": "local", "workers": 0},
    }


def read_pool(path: Path) -> Pairs:
    """(name, x) of a pool's rows, x as the pool takes it."""
    space = load("spaces", {"kind": "pool", "source": str(path), "id": "name", "columns": ["name", "x"]})
    designs = [space.build(space.genome(index)).parameters for index in range(len(space))]
    return [(str(design["name"]), design["x"]) for design in designs]


def read_evaluator(path: Path) -> Pairs:
    """(name, x) of the rows of an evaluator `table` that have a value."""
    table = load(
        "evaluators",
        {"kind": "table", "file": str(path), "key": "name", "text": ["name"], "provides": {"x": UNIT}},
    )
    rows = table._lookup.rows.items()
    return [(key[0], values[0]) for key, values in rows if values[0] is not None]


def read_prior(path: Path) -> Pairs:
    """(name, x) of the rows of a prior that are used."""
    table = PriorTable(table=InputFile.read(path), columns={})
    found = read_priors([table], load("spaces", SPACE), ["x"])[0]
    names = [str(genome["name"]) for genome in found.genomes]
    return [(name, x) for name, x in zip(names, found.values["x"].tolist(), strict=True) if not math.isnan(x)]


def tell_reader(run: Run) -> Reader:
    """A reader of (name, x) that are told to a run."""

    def read(path: Path) -> Pairs:
        told = [item for item in read_results(run, path).told if item.genome is not None and not item.failure]
        return [(str((item.genome or {})["name"]), item.properties["x"]) for item in told]

    return read


@contextmanager
def all_readers(folder: Path) -> Iterator[dict[str, Reader]]:
    """The readers by name; a run is made in `folder`."""
    run = Run.create(campaign_from(campaign()), folder / "run")
    try:
        yield {"pool": read_pool, "table": read_evaluator, "prior": read_prior, "tell": tell_reader(run)}
    finally:
        run.close()


NUMBERS = (
    *("1", "-2.5", "3e-4", "1.5E-3", ".5", "5.", "+5", "\u22125", "0,05", "1,234", "1 000", "1_000", "5 %", "12 nm", "<1e-10"),
    *("1e400", "inf", "nan", "#N/A", "#DIV/0!", "n.d.", "-", "\u2014", "", " ", "1.2\u00b710-3", "0x10", "5\u00b11", "abc", "\uff15"),
)  # fmt: skip
PIECES = (
    ",",
    ";",
    "\t",
    '"',
    '""',
    "\n",
    "\r",
    "\r\n",
    "'",
    "=",
    "#",
    " ",
    "\u00a0",
    "\ufeff",
    "\0",
    "0",
    "e",
    "\u2028",
    "\x0b",
)
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-32")


def make_table(rng: random.Random) -> bytes:
    """A table with columns name and x, in some dialect, with some slips."""
    separator = rng.choice(",;\t")
    heading = rng.choice(("x", "x", "x [S/cm]", "x (S/cm)", "x [mS/cm]", "x / S cm-1", "X"))
    plain = rng.random() < 0.5
    names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    written = (
        repr(rng.uniform(-9, 9)) if plain or rng.random() < 0.4 else rng.choice(NUMBERS) for _ in names
    )
    rows = [["name", heading], *map(list, zip(names, written, strict=True))]
    if rng.random() < 0.2:
        rows = [[*row, ""] for row in rows]
    lines = [separator.join(_quoted(cell, separator, rng) for cell in row) for row in rows]
    for extra in ("", separator, separator * 3, "   ", '""'):
        if rng.random() < 0.1:
            lines.insert(rng.randint(0, len(lines)), extra)
    if rng.random() < 0.15:
        lines.insert(0, rng.choice(("# a comment", "# a, comment", f"sep={separator}", "#", "sep=")))
    text = rng.choice(("\n", "\n", "\r\n", "\r")).join(lines) + rng.choice(("", "\n"))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5))):
        text = _damaged(text, rng)
    data = text.encode(rng.choice(ENCODINGS), "replace")
    if rng.random() < 0.05:
        place = rng.randrange(len(data) + 1)
        data = data[:place] + bytes([rng.randrange(256)]) + data[place:]
    return data


def _quoted(cell: str, separator: str, rng: random.Random) -> str:
    if separator in cell or '"' in cell or rng.random() < 0.1:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _damaged(text: str, rng: random.Random) -> str:
    place, length = rng.randrange(len(text) + 1), rng.randint(1, 6)
    change = rng.randrange(3)
    if change == 0:
        return text[:place] + rng.choice(PIECES) + text[place:]
    if change == 1:
        return text[:place] + text[place + length :]
    return text[:place] + text[place : place + length] + text[place:]


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raise where more CPU time is taken; without effect where the system has no such timer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds:g} s of CPU time")

    if not hasattr(signal, "setitimer"):
        yield
        return
    former = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, former)


def compare_readers(data: bytes, path: Path, readers: dict[str, Reader]) -> dict[str, Pairs]:
    """What each reader that accepts a table finds in it.

    Raises:
        AssertionError: two find different values of one name.
    """
    path.write_bytes(data)
    found: dict[str, Pairs] = {}
    for kind, reader in readers.items():
        try:
            with limited():
                found[kind] = reader(path)
        except (InvdesignError, ValidationError):
            continue
    for name in NAMES:
        said = {kind: [x for other, x in pairs if other == name] for kind, pairs in found.items()}
        values = {repr(x) for xs in said.values() for x in xs[:1] if len(xs) == 1}
        assert len(values) <= 1, f"{data!r}: {name!r} is {said}"
    return found


def run_fuzzer(count: int, folder: Path, seed: int = 0) -> dict[str, int]:
    """Try `count` tables; how many each reader accepted."""
    accepted = dict.fromkeys(("pool", "table", "prior", "tell"), 0)
    with all_readers(folder) as readers:
        for number in range(count):
            rng = random.Random(f"{seed}:{number}")
            found = compare_readers(make_table(rng), folder / f"t{number % 50}.csv", readers)
            for kind in found:
                accepted[kind] += 1
    return accepted


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(f"{run_fuzzer(int(sys.argv[1]), Path(name))}\n")
