"""How many evaluations find the best tavorite? All 320 decorations, computed once and replayed.

The landscape is that of crystals as they are built: `campaigns/tavorite_screen.yaml` without its relaxation. That makes it a
benchmark of optimizers and no statement on tavorites, whose barriers move by an eV when they are relaxed
(`docs/evaluators.md`).

`python benchmarks/tavorite.py --build` evaluates every decoration (about three CPU minutes; stop it and start it again as
you like) and writes `results/tavorite_truth_table.json`.
`OMP_NUM_THREADS=1 python benchmarks/tavorite.py` replays searches from that table and writes `results/tavorite.json`. It
can be run in pieces: `--methods`, `--seeds`, `--seed-from` and `--cache FILE.jsonl`, which collects what single seeds
brought; the figures are made of all that the cache holds.

`invdesign` is `bayesian` and `invdesign_genetic` is `genetic` with its pre-screen, each with the settings below and no
others; `random` draws without repetition. Found is the decoration with the lowest barrier, in how many evaluations
(failed and gated ones count). `space_for_90_percent` is the share of the space evaluated when nine of ten seeds have
found it, and `found_at_30_percent` the share of seeds that have when three tenths are. After R. Jalem et al., Sci. Rep.
8, 5845 (2018), who found the best of 318 tavorites by density-functional theory nine times of ten with about 30 % of
the evaluations; their values are others, so the figures are beside each other, not the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    RESULTS,
    Record,
    Records,
    Row,
    driven,
    measured,
    merge_results,
    one_thread,
    piecewise,
    print_table,
    row_of,
)

from invdesign import settings
from invdesign.campaign.document import read_document
from invdesign.campaign.load import campaign_from
from invdesign.candidate import Genome, genome_key
from invdesign.problem import Objective, Problem
from invdesign.run.run import Run

ROOT = Path(__file__).resolve().parents[1]
CAMPAIGN = ROOT / "campaigns" / "tavorite_screen.yaml"
TABLE = RESULTS / "tavorite_truth_table.json"
BUILDS_IN = ROOT / "runs" / "tavorite-truth-table"
TASK = "tavorite"
PROPERTIES = (
    "minimum_distance_ratio",
    "migration_barrier_1d",
    "migration_barrier_2d",
    "migration_barrier_3d",
)
SOUGHT = "migration_barrier_1d"
PROBLEM = Problem((Objective(SOUGHT, "minimize"),))
SEEDS = 50
WRITTEN_FROM = 20  # seeds: fewer are a quick look and stay out of the results
SHARE = 0.3  # of the space, at which seeds are counted
MOST_SEEDS = 0.9  # of the seeds, for which evaluations are counted

METHODS: Mapping[str, Mapping[str, Any]] = {
    "invdesign": {"kind": "bayesian"},
    "invdesign_genetic": {"kind": "genetic", "population": 16, "offspring": 4, "prescreen": {}},
    "random": {"kind": "random"},
}


def campaign() -> dict[str, Any]:
    """The campaign as plain data, without its relaxation, the displacements that serve it, and what follows from it."""
    data = dict(read_document(CAMPAIGN).value)  # type: ignore[arg-type]  # a mapping, by its own validation
    stages = [stage for stage in data["evaluate"] if stage != "structure_kept" and "relax" not in stage]
    space = {name: value for name, value in data["space"].items() if name != "rattle"}
    return data | {"space": space, "evaluate": stages, "constraints": []}


# The table.


def build(folder: Path, workers: int | None) -> None:
    """Evaluate every decoration, in a run like any other, and write the table."""
    data = campaign() | {"name": "tavorite truth table", "optimizer": {"kind": "random", "batch": 32}}
    data |= {"budget": {"candidates": 1_000_000}, "max_failure_rate": 1.0}
    run = Run.open(folder) if (folder / "run.sqlite").exists() else Run.create(campaign_from(data), folder)
    if workers is not None:
        run.use_workers(workers)
    status = run.execute(lambda now: print(f"\r{now.counts['asked']} asked", end="", flush=True))
    print(f"\n{status.reason}")
    if status.state != "finished":
        print("Go on with the same command.")
        return
    rows = [written(run.row(id)) for id in range(len(run.history))]
    run.close()
    rows.sort(key=lambda row: json.dumps(row["genome"], sort_keys=True))
    lines = ",\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(rows)} decorations in {TABLE}")


def written(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the table keeps of a candidate."""
    found = {name: round(row["properties"][name], 6) for name in PROPERTIES if name in row["properties"]}
    return {"genome": row["genome"], "formula": row["formula"], "status": row["status"], **found}


@cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """Rows of the table by candidate key."""
    return {genome_key(row["genome"]): row for row in json.loads(TABLE.read_text(encoding="utf-8"))}


@cache
def best() -> float:
    """The lowest barrier of all, eV."""
    return min(row[SOUGHT] for row in table().values() if row["status"] == "complete")


@cache
def space() -> Any:
    """The campaign's space."""
    return settings.load("spaces", campaign()["space"])


# The replay.


def looked_up(genome: Genome) -> Mapping[str, float] | None:
    """What the campaign's evaluators say of a decoration; None where they failed or a gate stopped it."""
    row = table()[genome_key(genome)]
    return {SOUGHT: row[SOUGHT]} if row["status"] == "complete" else None


def search(method: str, seed: int) -> Mapping[str, Any]:
    """In how many evaluations a seed found the best decoration; none of the space is evaluated twice."""
    fields = METHODS.get(method) or json.loads(method)
    optimizer = settings.load("optimizers", dict(fields))
    values: list[float] = []

    def evaluate(genome: Genome) -> Mapping[str, float] | None:
        properties = looked_up(genome)
        values.append(math.inf if properties is None else properties[SOUGHT])
        return properties

    driven(
        optimizer,
        space(),
        PROBLEM,
        evaluate,
        len(table()),
        seed,
        stop=lambda: bool(values) and values[-1] <= best(),
    )
    found = bool(values) and values[-1] <= best()
    return {"evaluations": len(values) if found else len(table()) + 1}


def rows_of(method: str, found: list[Record]) -> list[Row]:
    """The figures of one method."""
    evaluations = np.array([float(record["evaluations"]) for record in found])
    size = len(table())
    needed = np.sort(evaluations)[math.ceil(MOST_SEEDS * len(evaluations)) - 1]
    share = float(np.mean(evaluations <= SHARE * size))
    n = len(found)
    return [
        row_of(TASK, TASK, method, "median_evaluations_to_best", evaluations.tolist(), f"of {size}"),
        Row(TASK, TASK, method, "space_for_90_percent", float(100 * needed / size), "%", n, 0.0),
        Row(TASK, TASK, method, "found_at_30_percent", 100 * share, "% of seeds", n, 0.0),
    ]


def main() -> None:
    parser = piecewise(__doc__, [TASK], SEEDS)
    parser.add_argument("--build", action="store_true", help="compute the table of all decorations")
    parser.add_argument("--run-dir", type=Path, default=BUILDS_IN, help="where the table is computed")
    parser.add_argument("--workers", type=int, help="worker processes; one per core by default")
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.run_dir, arguments.workers)
        return
    one_thread()
    records = Records(arguments.cache, arguments.fresh)
    if not arguments.only_table:
        for method in arguments.methods or METHODS:
            for seed in range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS)):
                measured(records, (TASK, method, seed), lambda: search(method, seed))  # noqa: B023 - called at once
    figures = [row for method in records.methods(TASK) for row in rows_of(method, records.of(TASK, method))]
    print_table(figures)
    kept = [row for row in figures if row.n >= WRITTEN_FROM and not row.method.startswith("{")]
    if kept:
        merge_results(TASK, kept)


if __name__ == "__main__":
    main()
