"""How much of the true Pareto front do 64 proposals find? A whole space of crystals, computed once and replayed.

`python benchmarks/truth_table.py build` evaluates every decoration of `benchmarks/antiperovskites.yaml`
(about 40 CPU minutes; stop it and start it again as you like) and writes `results/antiperovskite_truth_table.json`.
`python benchmarks/truth_table.py` replays searches from that table: genetic, plain and with its pre-screen, beside
random, 20 seeds, and writes `results/front_recall.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, Row, print_table, row_of, write_results

from invdesign.campaign.document import read_document
from invdesign.campaign.load import campaign_from
from invdesign.candidate import Evaluation, Failure, Input, genome_key
from invdesign.pareto import front, hypervolume
from invdesign.protocols import EvaluatorSettings
from invdesign.run.run import Run

ROOT = Path(__file__).resolve().parents[1]
CAMPAIGN = ROOT / "benchmarks" / "antiperovskites.yaml"
TABLE = RESULTS / "antiperovskite_truth_table.json"
PROPERTIES = ("decomposition_energy", "oxidation_limit", "bottleneck_radius")
SIGNS = np.array([1.0, -1.0, -1.0])  # minimised values from the properties
SEEDS = range(20)
BUDGET = 64
TASK = "antiperovskite_64"


def antiperovskites() -> dict[str, Any]:
    """The campaign as plain data."""
    return dict(read_document(CAMPAIGN).value)  # type: ignore[arg-type]  # a mapping, by its own validation


# The table.


def build(folder: Path, workers: int | None) -> None:
    """Evaluate every decoration, in a run like any other, and write the table."""
    campaign = antiperovskites() | {
        "name": "antiperovskite truth table",
        "optimizer": {"kind": "random", "batch": 32},
    }
    campaign["budget"] = {"candidates": 1_000_000}
    run = (
        Run.open(folder) if (folder / "run.sqlite").exists() else Run.create(campaign_from(campaign), folder)
    )
    if workers is not None:
        run.use_workers(workers)
    status = run.execute(lambda now: print(f"\r{now.counts['asked']} asked", end="", flush=True))
    print(f"\n{status.reason}")
    if status.state != "finished":
        print("Go on with the same command.")
        return
    rows = [run.row(id) for id in range(len(run.history))]
    table = [
        {
            "genome": row["genome"],
            "formula": row["formula"],
            "status": row["status"],
            **{name: round(row["properties"][name], 6) for name in PROPERTIES if name in row["properties"]},
        }
        for row in rows
    ]
    table.sort(key=lambda row: json.dumps(row["genome"], sort_keys=True))
    lines = ",\n".join(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in table)
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(table)} decorations in {TABLE}")


@cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """Rows of the table by candidate key."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {genome_key(row["genome"]): row for row in rows}


class Replay(EvaluatorSettings):
    """Answers from the table instead of relaxing."""

    table_hash: str
    """Hash of the table, so that a changed table is a changed evaluator."""

    @property
    def requires(self) -> frozenset[str]:
        # What tells candidates apart: an evaluator that required nothing would be asked once, and cached.
        return frozenset({"structure:initial"})

    @property
    def provides(self) -> Mapping[str, str]:
        return {"decomposition_energy": "eV/atom", "oxidation_limit": "V", "bottleneck_radius": "Å"}

    def evaluate(self, inputs: Sequence[Input]) -> Sequence[Evaluation]:
        return [_looked_up(item.candidate.key) for item in inputs]


def _looked_up(key: str) -> Evaluation:
    row = table()[key]
    if row["status"] != "complete":
        return Evaluation(failure=Failure("missing", "", row["status"]))
    return Evaluation({name: row[name] for name in PROPERTIES})


# The replay.


def true_front(limit: float) -> tuple[set[str], float, np.ndarray]:
    """(keys on the front of all feasible decorations, its hypervolume, the reference point)."""
    rows = {key: row for key, row in table().items() if row["status"] == "complete"}
    feasible = [key for key, row in rows.items() if row["decomposition_energy"] <= limit]
    values = SIGNS * np.array([[rows[key][name] for name in PROPERTIES] for key in feasible])
    reference = values.max(axis=0) + 1e-9
    return {feasible[n] for n in front(values)}, hypervolume(values, reference), reference


def search(optimizer: Mapping[str, Any], seed: int, folder: Path) -> list[str]:
    """Keys of the feasible candidates one replayed search found."""
    data = antiperovskites()
    digest = hashlib.sha256(TABLE.read_bytes()).hexdigest()[:16]
    data |= {
        "seed": seed,
        "evaluate": [{"truth_table:Replay": {"table_hash": digest}}],
        "optimizer": dict(optimizer),
        "budget": {"candidates": BUDGET},
        "engine": {"kind": "local", "workers": 0},
        "max_failure_rate": 1.0,
    }
    run = Run.create(campaign_from(data, folder=Path(__file__).parent, trust_code=True), folder)
    run.execute()
    scores = run.history.scores()
    keys = [run.history.candidate(int(id)).key for id in scores.ids[scores.merit == 0]]
    run.close()
    return keys


def replay() -> list[Row]:
    """Genetic, and genetic with its pre-screen, beside random."""
    (limit,) = [item["decomposition_energy"]["max"] for item in antiperovskites()["constraints"]]
    keys, volume, reference = true_front(limit)
    rows = []
    for method, optimizer in methods().items():
        found, covered = [], []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                proposed = search(optimizer, seed, Path(folder) / "run")
            found.append(float(len(keys.intersection(proposed))))
            values = SIGNS * np.array([[table()[key][name] for name in PROPERTIES] for key in proposed])
            covered.append(100 * hypervolume(values, reference) / volume if proposed else 0.0)
        rows.append(row_of("front_recall", TASK, method, "front_points_found", found, f"of {len(keys)}"))
        rows.append(row_of("front_recall", TASK, method, "hypervolume_percent", covered, "%"))
    return rows


def methods() -> dict[str, Mapping[str, Any]]:
    """Settings of the optimizers by method."""
    ours = antiperovskites()["optimizer"]
    screened = {"kind": "genetic", "population": 16, "offspring": 4, "prescreen": {}}
    return {"invdesign": ours, "invdesign_screened": screened, "random": {"kind": "random"}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["build", "replay"], default="replay")
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / "truth-table")
    parser.add_argument("--workers", type=int, help="worker processes; one per core by default")
    arguments = parser.parse_args()
    if arguments.what == "build":
        build(arguments.run_dir, arguments.workers)
        return
    rows = replay()
    print_table(rows)
    write_results("front_recall", rows)


if __name__ == "__main__":
    main()
