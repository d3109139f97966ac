"""What every benchmark shares: rows, medians with spread, the results file, a table; records of finished seeds."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from invdesign.candidate import Genome, Status
from invdesign.problem import Problem
from invdesign.protocols import Context
from invdesign.testing import MemoryHistory

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure; `spread` is the distance between the quartiles, over n repetitions or seeds.

    `low` and `high` bound the median with 95 % confidence (bootstrap); None where there are too few values.
    """

    benchmark: str
    task: str
    method: str
    metric: str
    value: float
    unit: str
    n: int
    spread: float
    low: float | None = None
    high: float | None = None


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """(median, interquartile range) of some values."""
    if len(values) < 2:
        return values[0], 0.0
    low, _, high = quantiles(values, n=4)
    return median(values), high - low


def interval_of(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median of some values (10,000 resamples, percentiles, fixed seed)."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(np.asarray(values), size=(10_000, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def row_of(benchmark: str, task: str, method: str, metric: str, values: Sequence[float], unit: str) -> Row:
    """The median of one value per seed, with its spread and interval."""
    value, spread = spread_of(values)
    low, high = interval_of(values) if len(values) >= 5 else (None, None)
    return Row(benchmark, task, method, metric, value, unit, len(values), spread, low, high)


def write_results(name: str, rows: Sequence[Row]) -> None:
    """Replace `results/NAME.json`."""
    date = datetime.now(UTC).date().isoformat()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    data = [{**asdict(row), "date": date, "machine": machine} for row in rows]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def merge_results(name: str, rows: Sequence[Row], *, gone: Iterable[str] = ()) -> None:
    """Put rows into `results/NAME.json`: those of the same task, method and metric are replaced, the others stay.

    Args:
        name: of the file.
        rows: what was measured now.
        gone: methods whose former rows are taken out.
    """
    path = RESULTS / f"{name}.json"
    former = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    write_results(name, rows)
    fresh = {_place(row): row for row in json.loads(path.read_text(encoding="utf-8"))}
    left = set(gone)
    kept = [row for row in former if row["method"] not in left and _place(row) not in fresh]
    text = json.dumps(_sorted([*fresh.values(), *kept], former), indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _place(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["method"], row["metric"]


def _sorted(rows: list[dict[str, Any]], former: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By budget or metric's family and task in the order they came in first, ours before the peers."""
    tasks = list(dict.fromkeys([*(row["task"] for row in former), *(row["task"] for row in rows)]))
    metrics = list(dict.fromkeys([*(row["metric"] for row in former), *(row["metric"] for row in rows)]))
    return sorted(
        rows,
        key=lambda row: (
            tasks.index(row["task"]),
            metrics.index(row["metric"]),
            not row["method"].startswith("invdesign"),
        ),
    )


Record = dict[str, Any]
Seed = tuple[str, str, int]  # task, method, seed


class Records:
    """What single seeds brought, one JSON line each: a script can be run in pieces, and is never run twice.

    Args:
        path: the file that lines are added to; None keeps them in memory.
        fresh: methods whose lines in the file are passed over.
    """

    def __init__(self, path: Path | None, fresh: Iterable[str] = ()) -> None:
        self._path = path
        self._found: dict[Seed, Record] = {}
        again = set(fresh)
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                if record["method"] not in again:
                    self._found[record["task"], record["method"], record["seed"]] = record

    def __contains__(self, seed: object) -> bool:
        return seed in self._found

    def add(self, seed: Seed, record: Mapping[str, Any]) -> None:
        """Note what a seed brought; a former note of it is replaced."""
        task, method, number = seed
        line = {"task": task, "method": method, "seed": number, **record}
        self._found[seed] = line
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def of(self, task: str, method: str) -> list[Record]:
        """What the seeds of a method on a task brought, in the order of the seeds."""
        found = sorted(key for key in self._found if key[:2] == (task, method))
        return [self._found[key] for key in found]

    def methods(self, task: str) -> list[str]:
        """Methods with anything on a task, in the order of their first seeds."""
        return list(dict.fromkeys(key[1] for key in self._found if key[0] == task))


def piecewise(description: str | None, tasks: Sequence[str], seeds: int) -> argparse.ArgumentParser:
    """The options of a script that can be run in pieces."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=list(tasks))
    parser.add_argument("--methods", nargs="+", help="names, or JSON of an optimizer's settings")
    parser.add_argument(
        "--seeds", type=int, help=f"runs per task and method ({seeds}, fewer where a peer is slow)"
    )
    parser.add_argument("--seed-from", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--cache", type=Path, help="file with a JSON line per finished seed; they are not run again"
    )
    parser.add_argument("--fresh", nargs="+", default=[], help="methods that are run again all the same")
    parser.add_argument("--only-table", action="store_true", help="run nothing: write what the cache holds")
    return parser


def measured(records: Records, seed: Seed, run: Callable[[], Mapping[str, Any]]) -> None:
    """Run a seed that has not been run, note it with its CPU time, and say so."""
    if seed in records:
        return
    started = time.process_time()
    found = run()
    seconds = time.process_time() - started
    records.add(seed, {**found, "cpu_s": round(seconds, 3)})
    print(f"{seed[0]:12} {seed[1]:24} seed {seed[2]:4d} {seconds:9.2f} s CPU", flush=True)


def one_thread() -> None:
    """One thread for torch and the libraries below numpy, so that CPU times can be compared.

    Torch is limited where it is imported; the others read the environment when they are loaded, so a caller sets
    OMP_NUM_THREADS=1 as well.
    """
    import torch

    torch.set_num_threads(1)


Evaluate = Callable[[Genome], Mapping[str, float] | None]


def driven(
    plugin: Any,
    space: Any,
    problem: Problem,
    evaluate: Evaluate,
    evaluations: int,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> MemoryHistory:
    """The history of one of our optimizers: asked and told as the loop does.

    Args:
        plugin: the optimizer.
        space: what it searches.
        problem: the objectives.
        evaluate: properties of a genome; None where the evaluation fails.
        evaluations: how many.
        seed: of the run.
        stop: whether enough was found, looked at after every evaluation.
    """
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    event = 0

    def context() -> Context:
        return Context(space, problem, history, seed, event, (), cache, budget=evaluations)

    state = plugin.start(context())
    while len(history) < evaluations:
        event += 1
        wanted = min(plugin.batch, evaluations - len(history))
        proposals, state = plugin.ask(context(), state, wanted)
        if not proposals:
            break
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            properties = evaluate(history.candidate(id).genome)
            if properties is None:
                history.finish(id, status=Status.FAILED, depth=0)
            else:
                history.finish(id, properties)
            if stop():
                return history
        event += 1
        state = plugin.tell(context(), state, ids)
    return history


def print_table(rows: Sequence[Row]) -> None:
    """The rows, aligned."""
    for row in rows:
        value = f"{row.value:.4g} ± {row.spread:.2g} {row.unit}"
        interval = "" if row.low is None else f" [{row.low:.4g}, {row.high:.4g}]"
        print(f"{row.task:24} {row.method:16} {row.metric:28} {value:24} n={row.n}{interval}")
