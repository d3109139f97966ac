"""Does `auto` choose well? Final regret of every optimizer with its defaults on very different searches, and their ranks.

Run it with `OMP_NUM_THREADS=1 python benchmarks/auto.py --data FOLDER --cache auto.jsonl`; it prints a table and writes
`benchmarks/results/auto.json`. It takes hours, and can be run in pieces: `--tasks`, `--methods`, `--seeds`,
`--seed-from` and `--cache`, which collects what single seeds brought; the table is made of all that the cache holds.
FOLDER holds `obelix`, `redoxmers`, `barriers` and `ordering`; a task whose files are not there is left out.

The tasks are those of the other benchmarks, with the budgets in their names: functions of ten variables (regret: best
value above the optimum), fronts of two objectives and the front of three of 700 anti-perovskites (hypervolume missing, per cent),
the lowest ordering of LixNiO2, the best rows of three tables, and a bowl whose bottom lies where evaluations fail.
`auto` is told the number of candidates and nothing else. Where it chooses what another method is, its first seed is run
and compared, and the others are taken from there.

Ranks are by the median regret over the seeds; equal ones share their places. An optimizer that refuses a task, and
`bayesian` with 5,000 evaluations, which it is not meant for and which would take days, share the last places there;
`mean_rank_where_run` leaves such tasks out. Equally, `portfolio` runs without `bayesian` among 5,000. `worst` counts
the tasks on which a method that ran has the largest regret of all that ran. Intervals are by resampling seeds.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import continuous
import failing_region
import hypervolume
import numpy as np
import ordering
import pool
import truth_table
from common import Records, Row, driven, measured, one_thread, piecewise, print_table, row_of, write_results
from scipy.stats import rankdata

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.candidate import genome_key
from invdesign.optimizers.auto import Auto
from invdesign.pareto import hypervolume as volume_of
from invdesign.problem import Objective, Problem

Settings = Mapping[str, object]

SEEDS = 20
RESAMPLED = 1_000
MANY, FEW = 5_000, 100
POOL, REGION, ORDERING = 60, 40, 100
METHODS = ("auto", "bayesian", "genetic", "swarm", "cma", "portfolio", "random")
WITHOUT_MODELS = ("genetic", "cma", "swarm")
ONE = Problem((Objective("value", "minimize"),))
TWO = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")))


@dataclass(frozen=True)
class Task:
    """A search with a known end.

    Attributes:
        regret: of a run of an optimizer with these settings, from a seed.
        space, problem: what is searched, for what.
        evaluations: of one run.
        unit: of the regret.
    """

    name: str
    regret: Callable[[Settings, int], float]
    space: Any
    problem: Problem
    evaluations: int
    unit: str = ""


def reals(count: int) -> Any:
    parameters = {f"x{number}": {"real": [0.0, 1.0]} for number in range(count)}
    return settings.load("spaces", {"kind": "parameters", "parameters": parameters})


def function(name: str) -> Task:
    """A shifted and rotated function, the shift and the rotation drawn from the seed."""

    def regret(given: Settings, seed: int) -> float:
        plugin = settings.load("optimizers", given)
        return continuous.ours(plugin, continuous.Task(name, seed), MANY, seed)

    return Task(name, regret, reals(continuous.DIMENSIONS), ONE, MANY)


def front(name: str, evaluations: int) -> Task:
    """Two objectives of six variables."""
    task = hypervolume.TASKS[name]

    def regret(given: Settings, seed: int) -> float:
        values = hypervolume.ours(settings.load("optimizers", given), task, evaluations, seed)
        return 100.0 - task.percent(values)

    return Task(f"{name}_{evaluations}", regret, reals(task.dimensions), TWO, evaluations, "%")


def antiperovskites() -> Task:
    """700 anti-perovskites, replayed through the whole loop."""
    campaign = truth_table.antiperovskites()
    (limit,) = [item["decomposition_energy"]["max"] for item in campaign["constraints"]]
    _, volume, reference = truth_table.true_front(limit)
    table = truth_table.table()
    objectives = tuple(Objective(name, "minimize") for name in truth_table.PROPERTIES)

    def regret(given: Settings, seed: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            keys = truth_table.search(given, seed, Path(folder) / "run")
        found = [[table[key][name] for name in truth_table.PROPERTIES] for key in keys]
        covered = volume_of(truth_table.SIGNS * np.array(found), reference) if found else 0.0
        return 100.0 * (1.0 - covered / volume)

    space = settings.load("spaces", campaign["space"])
    return Task(truth_table.TASK, regret, space, Problem(objectives), truth_table.BUDGET, "%")


def orderings(path: Path) -> Task:
    """The lowest Li/vacancy ordering at the composition that random search finds last."""
    entries = ordering.read_entries(path)
    task = ordering.task_of(1, entries, ordering.Expansion.fitted(entries, ordering.cluster_sizes()))
    space = ordering.space_of(task.matrix, task.atoms)

    def regret(given: Settings, seed: int) -> float:
        plugin = settings.load("optimizers", given)
        history = driven(
            plugin,
            space,
            ONE,
            lambda genome: {"value": task.energies[genome_key(genome)]},
            ORDERING,
            seed,
        )
        return 1e3 * float(history.column("value").min() - min(task.energies.values()))

    return Task("linio2", regret, space, ONE, ORDERING, "meV/f.u.")


def rows_of_table(name: str, data: Path, work: Path) -> Task:
    """The best row of a known table."""
    table = pool.TASKS[name](data, work)
    units = {"obelix": "log10(S/cm)", "redoxmers": "V", "barriers": "eV"}

    def regret(given: Settings, seed: int) -> float:
        plugin = settings.load("optimizers", given)
        history = driven(
            plugin,
            table.space,
            ONE,
            lambda genome: {"value": float(table.values[int(str(genome["row"])) - 1])},
            POOL,
            seed,
        )
        return float(history.column("value").min() - table.values.min())

    return Task(name, regret, table.space, ONE, POOL, units[name])


def region() -> Task:
    """A bowl whose bottom lies where evaluations fail."""
    name = "half_space"

    def regret(given: Settings, seed: int) -> float:
        values = failing_region.ours(failing_region.task_of(name, seed), json.dumps(given), seed)
        return failing_region.regret(name, {"values": values, "seed": seed})

    return Task(name, regret, reals(len(failing_region.NAMES)), ONE, failing_region.TRIALS)


def makers(data: Path, work: Path) -> dict[str, Callable[[], Task]]:
    """How each task is made, by name."""
    found: dict[str, Callable[[], Task]] = {name: partial(function, name) for name in continuous.BENCHMARK}
    for evaluations in (FEW, MANY):
        for name in hypervolume.TASKS:
            found[f"{name}_{evaluations}"] = partial(front, name, evaluations)
    found[truth_table.TASK] = antiperovskites
    found["linio2"] = partial(orderings, data / "ordering" / "linio2_dft.json.gz")
    for name in pool.TASKS:
        found[name] = partial(rows_of_table, name, data, work)
    found["half_space"] = region
    return found


NAMES = tuple(makers(Path(), Path()))


def settings_of(method: str, task: Task) -> Settings:
    """What a method is on a task; whole, so that equal ones can be told."""
    given: dict[str, object] = dict(json.loads(method)) if method.startswith("{") else {"kind": method}
    if method == "auto":
        given["candidates"] = task.evaluations
    if method == "portfolio" and task.evaluations >= MANY:
        given["members"] = list(WITHOUT_MODELS)
    dump: dict[str, object] = settings.load("optimizers", given).model_dump(mode="json")
    return dump


def chosen(task: Task) -> Settings:
    """What `auto` is on a task."""
    found = Auto(candidates=task.evaluations).foreseen(task.space, task.problem, None)
    if found is None:
        found = Auto(candidates=task.evaluations, seconds=1e-6).foreseen(task.space, task.problem, None)
    assert found is not None
    return found.settings


def able(method: str, task: Task) -> bool:
    """Whether a method is run on a task."""
    if method == "bayesian" and task.evaluations >= MANY:
        return False
    return not settings.load("optimizers", settings_of(method, task)).refusal(task.space, task.problem)


def run(task: Task, method: str, seed: int, records: Records) -> Mapping[str, object]:
    """The regret of one seed; of `auto` after the first that of its twin, where it has one and both agree."""
    found: dict[str, object] = {"unit": task.unit}
    if method == "auto":
        kind = str(chosen(task)["kind"])
        found["chosen"] = kind
        if seed > 0 and kind in METHODS and settings_of(kind, task) == chosen(task):
            known, own = (_regrets(records, task.name, name) for name in (kind, "auto"))
            if seed in known and 0 in known and own.get(0) == known[0]:
                return {**found, "regret": known[seed], "as": kind}
    return {**found, "regret": task.regret(settings_of(method, task), seed)}


def _regrets(records: Records, task: str, method: str) -> dict[int, float]:
    """Regret by seed."""
    return {record["seed"]: record["regret"] for record in records.of(task, method)}


# Ranks


Table = Mapping[str, Mapping[str, Sequence[float]]]  # regrets by task and method


def ranks(table: Table, methods: Sequence[str]) -> FloatArray:
    """Shape (tasks, methods): rank of the median regret; who did not run shares the last places."""
    rows = []
    for found in table.values():
        medians = [float(np.median(found[method])) if found.get(method) else np.inf for method in methods]
        rows.append(rankdata(medians))
    return np.array(rows)


def summary(table: Table, methods: Sequence[str]) -> list[Row]:
    """Mean ranks with their intervals, and how often each method is the worst of those that ran."""
    ran = np.array([[bool(found.get(method)) for method in methods] for found in table.values()])
    own = ranks(table, methods)
    rng = np.random.default_rng(0)
    again = np.array([ranks(_resampled(table, rng), methods) for _ in range(RESAMPLED)])
    rows = []
    for column, method in enumerate(methods):
        for metric, counted in (
            ("mean_rank", np.ones(len(own), dtype=bool)),
            ("mean_rank_where_run", ran[:, column]),
        ):
            if counted.any():
                low, high = np.percentile(again[:, counted, column].mean(axis=1), [2.5, 97.5])
                values = own[counted, column]
                spread = float(np.subtract(*np.percentile(values, [75, 25])))
                value = float(values.mean())
                rows.append(
                    Row(
                        "auto",
                        "all",
                        method,
                        metric,
                        value,
                        "rank",
                        len(values),
                        spread,
                        float(low),
                        float(high),
                    )
                )
        worst = np.array([row[column] == row[there].max() for row, there in zip(own, ran, strict=True)])
        count = int((worst & ran[:, column]).sum())
        rows.append(Row("auto", "all", method, "worst", count, "tasks", int(ran[:, column].sum()), 0.0))
    return rows


def _resampled(table: Table, rng: np.random.Generator) -> Table:
    """The table with the seeds of every task and method drawn anew, with replacement."""
    return {
        task: {
            method: rng.choice(values, size=len(values)).tolist()
            for method, values in found.items()
            if values
        }
        for task, found in table.items()
    }


def measure(task: Task, methods: Sequence[str], seeds: range, records: Records) -> None:
    """Run what has not been run; `auto` last, since it may be one of the others."""
    for method in sorted(methods, key=lambda name: name == "auto"):
        if not able(method, task):
            print(f"{task.name}: {method} is left out")
            continue
        for seed in seeds:
            measured(records, (task.name, method, seed), lambda: run(task, method, seed, records))  # noqa: B023 - called at once


def main() -> None:
    parser = piecewise(__doc__, NAMES, SEEDS)
    default = Path(os.environ.get("INVDESIGN_BENCHMARK_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder with the tables")
    arguments = parser.parse_args()
    one_thread()
    records = Records(arguments.cache, arguments.fresh)
    seeds = range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS))
    with tempfile.TemporaryDirectory() as folder:
        found = makers(arguments.data, Path(folder))
        for name in arguments.tasks if not arguments.only_table else ():
            try:
                task = found[name]()
            except FileNotFoundError as error:
                print(f"{name} is left out: {error.filename} is not there; name its folder with --data")
                continue
            print(f"{name}: auto chooses {json.dumps(chosen(task))[:200]}", flush=True)
            measure(task, arguments.methods or METHODS, seeds, records)
    report(records, arguments.tasks)


def report(records: Records, tasks: Sequence[str]) -> None:
    """Print the table and write it; its ranks are of task `part` until every task has all seeds of `auto`."""
    table: dict[str, dict[str, list[float]]] = {}
    rows = []
    spent = 0.0
    for name in tasks:
        for method in METHODS:
            found = records.of(name, method)
            if found:
                values = [float(record["regret"]) for record in found]
                table.setdefault(name, {})[method] = values
                rows.append(row_of("auto", name, method, "final_regret", values, found[0]["unit"]))
                spent += sum(record["cpu_s"] for record in found)
    whole = set(table) == set(NAMES) and all(len(found.get("auto", ())) >= SEEDS for found in table.values())
    if table:
        ranked = summary(table, METHODS)
        rows = [*(ranked if whole else [replace(row, task="part") for row in ranked]), *rows]
    print_table(rows)
    print(f"{spent / 3600:.2f} hours of CPU time in all")
    if any(found.get("auto") for found in table.values()):
        write_results("auto", rows)


if __name__ == "__main__":
    main()
