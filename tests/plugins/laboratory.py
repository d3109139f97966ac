"""A week in a laboratory, scripted; whoever is killed in it does again what a person would, and goes on.

`python -m tests.plugins.laboratory CAMPAIGN.yaml FOLDER SEED MOST`: as `tests.plugins.killing`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from invdesign.campaign.load import load_campaign
from invdesign.candidate import Genome, Status
from invdesign.run.run import Run
from invdesign.sheets.batch import write_batch
from invdesign.sheets.results import read_results
from tests.plugins import killing

Step = Callable[[Run, Path], None]
Row = dict[str, Any]


def measured(genome: Genome) -> Row:
    """What the laboratory finds of a recipe with parameters polymer and ratio."""
    polymer, ratio = float(genome["polymer"]), float(genome["ratio"])  # type: ignore[arg-type]
    conductivity = round(1.0 - (polymer - 4.0) ** 2 / 20.0 - (ratio - 0.3) ** 2, 4)
    return {"conductivity": conductivity, "uniformity": round(0.5 + polymer / 20.0 - ratio / 5.0, 4)}


def ask(name: str, n: int) -> Step:
    """A batch; where it was handed out and its file not written, the file is written again."""

    def step(run: Run, bench: Path) -> None:
        known = {id for file in bench.glob("batch-*.csv") for id in numbers(file)}
        if not (bench / f"batch-{name}.csv").exists():
            ids = [id for id in run.handed_out() if id not in known] or run.ask(n)
            write_batch(run, ids, bench / f"batch-{name}.csv")

    return step


def tell(name: str, rows: Callable[[Run, Path], Iterable[Row]], *, replace: bool = False) -> Step:
    """Results, told from a file."""

    def step(run: Run, bench: Path) -> None:
        file = write_rows(bench / f"results-{name}.csv", rows(run, bench))
        run.tell(read_results(run, file).told, replace=replace)

    return step


def withdraw(name: str, place: int) -> Step:
    """One of a batch counts no more."""

    def step(run: Run, bench: Path) -> None:
        id = numbers(bench / f"batch-{name}.csv")[place]
        if run.trial(id).status is not Status.WITHDRAWN:
            run.withdraw([id], "the cell was short-circuited")

    return step


def numbers(file: Path) -> list[int]:
    """Candidates in a batch file."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [int(row["candidate"]) for row in csv.DictReader(lines)]


def write_rows(file: Path, rows: Iterable[Row]) -> Path:
    """A results file of these rows."""
    rows = list(rows)
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return file


def of_batch(name: str, places: slice, **more: Any) -> Callable[[Run, Path], Iterable[Row]]:
    """Rows of some candidates of a batch."""

    def rows(run: Run, bench: Path) -> Iterable[Row]:
        for id in numbers(bench / f"batch-{name}.csv")[places]:
            yield {"candidate": id, **measured(run.trial(id).genome), **more}

    return rows


def unasked(run: Run, bench: Path) -> Iterable[Row]:
    """A recipe of the chemist's own, and one of the first batch that broke."""
    own = {"polymer": 3.5, "ratio": 0.25}
    yield {**own, **measured(own), "note": "an old favourite"}
    yield {"candidate": numbers(bench / "batch-a.csv")[3], "failure": "cracked while drying"}


WEEK: tuple[Step, ...] = (
    ask("a", 4),
    ask("b", 3),
    tell("b", of_batch("b", slice(0, 2))),  # out of order, and not all of it
    ask("c", 2),
    tell("a", of_batch("a", slice(0, 3))),
    tell("again", of_batch("a", slice(0, 2), measurement="second", uniformity=0.4)),  # repeated
    tell("own", unasked),
    tell("amended", of_batch("b", slice(1, 2), conductivity=0.125), replace=True),
    withdraw("a", 0),
    ask("d", 2),
    tell("rest", of_batch("d", slice(None))),
)


def week(campaign: Path, folder: Path) -> None:
    """Go through the week, or what is left of it; every step opens the run anew, as a command does."""
    bench = folder / "bench"
    bench.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(WEEK):
        done = bench / f"{number}.done"
        if done.exists():
            continue
        run = opened(campaign, folder)
        step(run, bench)
        run.close()
        done.touch()


def opened(campaign: Path, folder: Path) -> Run:
    """The run, made where there is none."""
    if (folder / "run.sqlite").exists():
        return Run.open(folder, trust_code=True)
    return Run.create(load_campaign(campaign, trust_code=True), folder)


def whole_week(campaign: Path, folder: Path) -> Run:
    """The week in one go, by one process that holds one run."""
    bench = folder / "bench"
    bench.mkdir(parents=True)
    run = opened(campaign, folder)
    for step in WEEK:
        step(run, bench)
    return run


if __name__ == "__main__":
    killing.main(week)
