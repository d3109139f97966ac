"""Structure searches with generated starts beside the same searches without: relaxations until the target is found.

    python benchmarks/generator_search.py --folder FOLDER --cache rows.jsonl

Tasks, potentials and references are those of `structure_search.py`, whose `--folder` is needed. The library of `prototypes` holds
no crystal that is made of a task's elements alone: neither the target's formula nor its chemical system, nor a part of it.
Rows go to `results/generators.json`: `expected_relaxations` per task, and `ratio_of_relaxations`, with generators over without, as
geometric mean over the tasks with a bootstrap interval over seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import Record, Records, Row, measured, merge_results, one_thread, print_table
from structure_relaxer import SharedRelaxer
from structure_search import TASKS, Ledger, execute, problem_of, warm_up

from invdesign.generators.models import MODELS
from invdesign.generators.prototypes.library import collect_library, unpack_library
from invdesign.generators.prototypes.writing import unpack_scale, write_library

SEARCHED = ("MgAl2O4_14", "Li2SiO3_12", "Al2O3_Z1-4", "Li2SiO3_Z1-3", "SrO-TiO2", "MgO-TiO2")
WITH, WITHOUT = "invdesign", "without generators"
RESAMPLES = 10_000  # of the bootstrap
MODELS_FOLDER = Path(tempfile.gettempdir()) / "invdesign-generator-search"


@cache
def write_reduced(elements: tuple[str, ...]) -> Path:
    """Write the shipped library without crystals of these elements alone; its folder.

    The distances of elements stay as they were learnt: they hold no crystal.
    """
    artifact = MODELS.read("prototypes")
    library = unpack_library(artifact.tensors())
    kept = [template for template in library.templates if not set(template.elements) <= set(elements)]
    folder = MODELS_FOLDER / "-".join(elements)
    write_library(folder, collect_library(kept), unpack_scale(artifact), "", {"without": list(elements)})
    return folder


def list_elements(name: str) -> tuple[str, ...]:
    """Elements of a task."""
    from invdesign.structures.conditions import read_formula

    space = TASKS[name].space
    return tuple(sorted(space.get("elements") or read_formula(space["formula"])))


def search(name: str, method: str, seed: int, folder: str) -> dict[str, Any]:
    """Run one seed until everything is found or the budget is spent."""
    task = TASKS[name]
    potential, references = problem_of(task, folder)
    evaluator = SharedRelaxer(folder=folder, potential=potential, role="relaxed")  # type: ignore[arg-type]  # named by the tasks
    ledger = Ledger(references, task.budget)
    space: dict[str, Any] = {"kind": "crystal", **task.space}
    if method == WITH:
        space["generators"] = [{"kind": "prototypes", "model": str(write_reduced(list_elements(name)))}]
    execute(space, evaluator, {"kind": "genetic"}, ledger, seed, hull=task.hull)
    return {"solved": ledger.solved, "relax": ledger.relaxations, "budget": task.budget}


def expect(records: Sequence[Record]) -> float:
    """Expected relaxations until the target is found: all that were spent over the runs that found it."""
    solved = sum(bool(record["solved"]) for record in records)
    return float(sum(record["relax"] for record in records) / solved) if solved else float("inf")


def tabulate(records: Records) -> list[Row]:
    """Rows of all tasks, and the ratio of both methods."""
    rows, pairs = [], []
    for name in SEARCHED:
        both = [records.of(name, method) for method in (WITH, WITHOUT)]
        for method, own in zip((WITH, WITHOUT), both, strict=True):
            if own:
                low, high = bound([own])
                rows.append(
                    Row(
                        "generators",
                        f"search, {name}",
                        method,
                        "expected_relaxations",
                        expect(own),
                        "",
                        len(own),
                        0.0,
                        low,
                        high,
                    )
                )
        if all(both) and all(np.isfinite(expect(own)) for own in both):
            pairs.append(both)
    if pairs:
        ratio = float(np.exp(np.mean([np.log(expect(own) / expect(other)) for own, other in pairs])))
        low, high = bound_ratio(pairs)
        rows.append(
            Row("generators", "search", WITH, "ratio_of_relaxations", ratio, "", len(pairs), 0.0, low, high)
        )
    return rows


def bound(groups: Sequence[Sequence[Record]]) -> tuple[float, float]:
    """95 % bootstrap interval of the expected relaxations of one group."""
    rng = np.random.default_rng(0)
    values = [expect(resample(groups[0], rng)) for _ in range(RESAMPLES // 10)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bound_ratio(pairs: Sequence[Sequence[Sequence[Record]]]) -> tuple[float, float]:
    """95 % bootstrap interval of the geometric mean of ratios."""
    rng = np.random.default_rng(0)
    values = [
        np.mean([np.log(expect(resample(own, rng)) / expect(resample(other, rng))) for own, other in pairs])
        for _ in range(RESAMPLES // 10)
    ]
    low, high = np.exp(np.percentile(values, [2.5, 97.5]))
    return float(low), float(high)


def resample(records: Sequence[Record], rng: np.random.Generator) -> list[Record]:
    """Draw as many records with replacement."""
    return [records[place] for place in rng.integers(len(records), size=len(records))]


def main() -> None:
    """Run the seeds that are missing, and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="folder of the shared tasks")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=SEARCHED, default=list(SEARCHED))
    parser.add_argument("--methods", nargs="+", choices=(WITH, WITHOUT), default=[WITH, WITHOUT])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only-table", action="store_true")
    given = parser.parse_args()
    one_thread()
    records = Records(given.cache)
    for name in [] if given.only_table else given.tasks:
        warm_up(name, "invdesign", given.folder)
        for seed in range(given.seeds):
            for method in given.methods:
                measured(
                    records,
                    (name, method, seed),
                    lambda n=name, m=method, s=seed: search(n, m, s, given.folder),
                )
    rows = tabulate(records)
    merge_results("generators", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
