"""Kill all kinds of work on runs, at random statements, file operations and moments, and begin each anew.

`python -m tests.plugins.everywhere WORK CAMPAIGN.yaml FOLDER SEED MOST KILLS` does the work once without a kill; then in
forked processes, of which each is killed (SIGKILL) before a random one of its next MOST statements, commits and file
operations, or at a random moment; over several runs, until so many processes were killed. Prints one JSON object: kills,
runs, at what they died, and how many runs ended with another digest.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invdesign.campaign.load import load_campaign
from invdesign.candidate import Status
from invdesign.run.fork import fork
from invdesign.run.requests import write_request
from invdesign.run.run import Run
from invdesign.sheets.batch import write_batch
from tests.plugins import crystals, killing, laboratory
from tests.plugins.laboratory import Row, numbers, write_rows
from tests.support import here

MOST_SECONDS = 3.0  # a moment to be killed at lies within so many, or within the time the work takes
GENOMES: list[Any] = [
    {"x": 0.1, "y": 0.9, "n": 1},
    {"x": 0.5, "y": 0.25, "n": 0},
    {"x": 0.7, "y": 0.7, "n": 1},
]
Step = Callable[[Path], None]  # in the run's folder


def typed(*arguments: object) -> None:
    """Type a command, which must succeed."""
    done = here(*arguments)
    if done.returncode != 0:
        raise SystemExit(f"{arguments}: {done.returncode}: {done.stderr}")


def do_all(folder: Path, steps: list[Step]) -> None:
    """Go through the steps, or what is left of them: a person who was interrupted does the last one again."""
    notes = folder.parent / f"{folder.name}.done"
    notes.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(steps):
        if not (notes / str(number)).exists():
            step(folder)
            (notes / str(number)).touch()


# Requests that wait before a run begins.


def requests_first(campaign: Path, folder: Path) -> None:
    """Everything users may want, left under the same names in every folder."""
    if not (folder / "run.sqlite").exists():
        folder.mkdir(parents=True, exist_ok=True)
        told = {"genome": {"x": 0.3, "y": 0.3, "n": 0}, "properties": {"height": 0.5}, "stage": "Height"}
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("add", {"genomes": GENOMES, "until": None}),
            ("withdraw", {"ids": [0], "reason": "wrong cell", "again": True}),
            ("tell", {"results": [told], "replace": False}),
            ("tell", {"results": [told], "replace": True}),
            ("withdraw", {"ids": [1], "reason": "wrong cell", "again": False}),
            ("withdraw", {"ids": [99], "reason": "no such candidate"}),
            ("budget", {"candidates": 20}),
            ("withdraw", {"measurements": [1], "reason": "misread", "again": True}),
            ("stop", {"session": "that ended before it was seen"}),
        ]
        for number, (kind, detail) in enumerate(wanted):
            write_request(folder, kind, detail, id=f"{number:020d}-wanted")
    killing.attempt_here(campaign, folder)


# A person who steers a run at the command line.


def steered(campaign: Path, folder: Path) -> None:
    """Run, add, withdraw, another budget, results of a computed stage, and on."""
    file = folder.parent / f"{folder.name}.json"
    table = folder.parent / f"{folder.name}.csv"

    def add(folder: Path) -> None:
        file.write_text(json.dumps(GENOMES), encoding="utf-8")
        typed("add", folder, file, "--trust-code")

    def withdraw(id: int, *options: str) -> Step:
        def step(folder: Path) -> None:
            run = Run.open(folder, trust_code=True)
            known = run.trial(id).status is Status.WITHDRAWN
            run.close()
            if not known:
                typed("withdraw", folder, id, "--reason", "a doubt", "--trust-code", *options)

        return step

    def tell(folder: Path) -> None:
        write_rows(table, [{"candidate": 3, "height": 0.25, "stage": "Height"}])
        typed("tell", folder, table, "--replace", "--trust-code", "--workers", 0)

    def resume(folder: Path) -> None:
        killing.attempt_here(campaign, folder)  # by the command a report would be written each time

    do_all(
        folder,
        [
            resume,
            add,
            withdraw(0),
            lambda folder: typed("budget", folder, "--candidates", 20, "--trust-code"),
            withdraw(1, "--again"),
            resume,
            tell,
            withdraw(2),
            lambda folder: typed("budget", folder, "--candidates", 24, "--trust-code"),
            resume,
        ],
    )


# A person in a laboratory.


class Bench:
    """A bench beside a run's folder, where batches and results lie."""

    def __init__(self, campaign: Path, folder: Path) -> None:
        self.campaign = campaign
        self.place = folder.parent / f"{folder.name}.bench"
        self.place.mkdir(parents=True, exist_ok=True)

    def batch(self, name: str) -> list[int]:
        """Numbers of a batch's candidates."""
        return numbers(self.place / f"batch-{name}.csv")

    def ask(self, name: str, n: int) -> Step:
        """A batch; one that was handed out and has no file is written first."""

        def step(folder: Path) -> None:
            batch = self.place / f"batch-{name}.csv"
            if batch.exists():
                return
            known = {id for file in self.place.glob("batch-*.csv") for id in numbers(file)}
            run = laboratory.opened(self.campaign, folder)
            out = [id for id in run.handed_out() if id not in known]
            if out:
                write_batch(run, out, batch)
            run.close()
            if not out:
                typed("ask", folder, "-n", n, "--output", batch, "--trust-code")

        return step

    def tell(self, batch: str, places: slice, *options: str, **more: Any) -> Step:
        """Results of some of a batch."""

        def step(folder: Path) -> None:
            run = Run.open(folder, trust_code=True)
            rows: list[Row] = [
                {"candidate": id, **laboratory.measured(run.trial(id).genome), **more}
                for id in self.batch(batch)[places]
            ]
            run.close()
            file = write_rows(self.place / f"results-{batch}.csv", rows)
            typed("tell", folder, file, "--trust-code", *options)

        return step

    def withdraw(self, batch: str, place: int, *options: str) -> Step:
        """One of a batch is taken back, unless a look shows that it is already."""

        def step(folder: Path) -> None:
            id = self.batch(batch)[place]
            if counting(folder, id):
                typed("withdraw", folder, id, "--reason", "a leak", "--trust-code", *options)

        return step

    def withdraw_measurement(self, number: int) -> Step:
        """The same of one measurement."""

        def step(folder: Path) -> None:
            if number in counting(folder):
                typed("withdraw", folder, "--measurement", number, "--reason", "misread", "--trust-code")

        return step

    def add(self, folder: Path) -> None:
        """A recipe of the chemist's own."""
        file = self.place / "own.json"
        file.write_text(json.dumps([{"polymer": 3.5, "ratio": 0.25}]), encoding="utf-8")
        typed("add", folder, file, "--trust-code")


def counting(folder: Path, id: int | None = None) -> list[int]:
    """Numbers of the measurements that count."""
    run = Run.open(folder, trust_code=True)
    run.close()
    return [item.id for item in run.measurements(id) if item.withdrawn is None]


def at_the_bench(campaign: Path, folder: Path) -> None:
    """Ask, tell, tell anew, withdraw for good and to be measured again, add, and another budget, by commands."""
    bench = Bench(campaign, folder)
    do_all(
        folder,
        [
            bench.ask("a", 4),
            bench.tell("a", slice(0, 3)),
            bench.withdraw("a", 0, "--again"),
            bench.tell("a", slice(0, 1), conductivity=0.5),
            bench.add,
            bench.ask("b", 3),
            bench.tell("b", slice(0, 2)),
            bench.tell("b", slice(0, 2), "--replace", conductivity=0.25),
            bench.withdraw("b", 1),
            lambda folder: typed("budget", folder, "--candidates", 9, "--trust-code"),
            bench.withdraw_measurement(1),
            bench.ask("c", 4),
            bench.tell("c", slice(None)),
        ],
    )


# Forks and promotions.


def forked(campaign: Path, folder: Path) -> None:
    """A run, a fork of it, and both to their ends."""
    source = folder.parent / f"{folder.name}.source"
    killing.attempt_here(campaign, source)
    if not (folder / "run.sqlite").exists():
        fork(source, folder, load_campaign(campaign, trust_code=True), top=6, candidates=20, trust_code=True)
    killing.attempt_here(campaign, folder)


def promoted(campaign: Path, folder: Path) -> None:
    """A search, its best sent on to a stage on demand, one of them taken back, and more sent on."""

    def begin(folder: Path) -> None:
        killing.attempt_here(campaign, folder)

    def promote(*options: object) -> Step:
        return lambda folder: typed("promote", folder, "--trust-code", "--workers", 0, *options)

    def chosen(folder: Path) -> list[int]:
        note = folder.parent / f"{folder.name}.chosen"
        if not note.exists():
            run = Run.open(folder, trust_code=True)
            note.write_text(",".join(str(row["candidate"]) for row in run.top(4)), encoding="utf-8")
            run.close()
        return [int(part) for part in note.read_text(encoding="utf-8").split(",")]

    def send(places: slice) -> Step:
        return lambda folder: promote("--candidates", ",".join(map(str, chosen(folder)[places])))(folder)

    do_all(folder, [begin, send(slice(0, 2)), send(slice(1, 4)), begin])


# Crystals whose relaxed structures are told.


def relaxed_outside(campaign: Path, folder: Path) -> None:
    """Ask, tell what became of the crystals, take some back, tell again, and go on from what they became."""

    def ask(name: str, n: int) -> Step:
        def step(folder: Path) -> None:
            run = laboratory.opened(campaign, folder)
            note = notes / name
            if not note.exists():
                known = [id for file in notes.glob("batch-*") for id in json.loads(file.read_text())]
                ids = [id for id in run.handed_out() if id not in known] or run.ask(n)
                note.write_text(json.dumps(ids), encoding="utf-8")
            run.close()

        return step

    def tell(name: str, places: slice, fate: crystals.Fate = "settle") -> Step:
        def step(folder: Path) -> None:
            run = Run.open(folder, trust_code=True)
            ids = json.loads((notes / name).read_text(encoding="utf-8"))[places]
            run.tell([crystals.tell_settled(run, id, fate) for id in ids])
            run.close()

        return step

    def withdraw(id: int, *, again: bool) -> Step:
        def step(folder: Path) -> None:
            if counting(folder, id):
                run = Run.open(folder, trust_code=True)
                run.withdraw([id], "a doubt", again=again)
                run.close()

        return step

    notes = folder.parent / f"{folder.name}.notes"
    notes.mkdir(parents=True, exist_ok=True)
    steps = [
        ask("batch-a", 4),
        tell("batch-a", slice(0, 3)),
        tell("batch-a", slice(3, 4), "collapse"),
        withdraw(0, again=False),
        withdraw(1, again=True),
        ask("batch-b", 3),
        tell("batch-a", slice(1, 2)),
        tell("batch-b", slice(None)),
        ask("batch-c", 2),
    ]
    do_all(folder, steps)


WORKS: dict[str, killing.Work] = {
    "search": killing.attempt_here,
    "week": laboratory.week,
    "requests": requests_first,
    "steered": steered,
    "bench": at_the_bench,
    "forked": forked,
    "promoted": promoted,
    "relaxed outside": relaxed_outside,
}


# Killing.


def count_files(count: Callable[[str], None]) -> None:
    """Count file operations as statements: between them and the database's a request may be left twice."""
    for name in ("fsync", "replace", "unlink"):
        original = getattr(os, name)

        def counted(*args: Any, _original: Any = original, _name: str = name, **options: Any) -> Any:
            count(_name)
            return _original(*args, **options)

        setattr(os, name, counted)


def attempt(campaign: Path, folder: Path, statements: int, seconds: float, work: killing.Work) -> str | None:
    """Work in a child that is killed before a statement, or after so many seconds where no number is given."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        if statements:
            killing.die_after(statements, writer, count_files)
        work(campaign, folder)
        os._exit(0)
    os.close(writer)
    if not statements:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not os.waitid(
            os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.002)
        if not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as lines:
        died_at = lines.read()
    _, status = os.waitpid(child, 0)
    if status not in {0, signal.SIGKILL}:
        raise SystemExit(f"a child ended with {status}")
    return (died_at or "a moment") if status else None


def digest_of(folder: Path) -> str:
    run = Run.open(folder, trust_code=True)
    run.close()
    return run.digest()


def main() -> None:
    name, (campaign, folder), (seed, most, wanted) = (
        sys.argv[1],
        map(Path, sys.argv[2:4]),
        map(int, sys.argv[4:]),
    )
    work, rng = WORKS[name], random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    work(campaign, folder / "warm")  # what a first run imports and compiles, no child has to
    began = time.monotonic()
    work(campaign, folder / "whole")
    seconds = min(time.monotonic() - began, MOST_SECONDS)
    reference = digest_of(folder / "whole")
    at: Counter[str] = Counter()
    runs = differences = 0
    while at.total() < wanted:
        run = folder / f"run-{runs}"
        while True:
            statements = 0 if rng.random() < 0.4 else rng.randint(1, most)
            died_at = attempt(campaign, run, statements, rng.uniform(0.0, seconds), work)
            if died_at is None:
                break
            at[died_at] += 1
        runs += 1
        differences += digest_of(run) != reference
        shutil.rmtree(run)
    print(json.dumps({"kills": at.total(), "runs": runs, "differences": differences, "at": dict(at)}))  # noqa: T201


if __name__ == "__main__":
    main()
