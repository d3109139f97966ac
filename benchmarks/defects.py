"""How many relaxations does a search for the lowest arrangement of a defect complex take, beside random starts?

`OMP_NUM_THREADS=1 python benchmarks/defects.py --tasks lipon` searches two nitrogen atoms on oxygen sites and an oxygen vacancy in
64 atoms of Li3PO4 with CHGNet, the cell fixed, to 0.1 eV/Å: 100 relaxations of each of 3 seeds, then prints a table and writes
`results/defects.json`. A relaxation takes some 7 seconds on one core. `--methods`, `--seeds`, `--seed-from` and `--budget` run it in pieces.
Every relaxation is appended to `runs/defects/relaxations.jsonl` (or `--cache`); none is done twice, so that an interrupted run
goes on where it was. `--only-table` relaxes nothing and writes what the cache holds of whole seeds.

`invdesign` is `genetic` as the space `defect` hints. `starts` draws from all start operators of the space, without a
search. `random` puts the defects on random sites, with small displacements of 0.1 Å and no other distortion; `random, distorted` stretches
bonds and turns atoms into gaps at random as well.

`best_ev`: energy of the lowest cell of a seed above the lowest of all. `quantile_of_random`: share of all relaxations of `random` that
are as low as the best of a seed, or lower. `bridging`: share of relaxed cells with a nitrogen atom bonded to two phosphorus atoms;
`bridging_of_best`: the number of such atoms in the lowest cell of a seed; `whole`: share of cells in which all phosphorus atoms keep four
neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Row, driven, merge_results, one_thread, piecewise, print_table, row_of
from pymatgen.core import Structure
from relaxed_cells import RelaxedCells

from invdesign.candidate import Genome, genome_key
from invdesign.problem import Objective, Problem
from invdesign.rng import rng_for
from invdesign.settings import load

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "runs" / "defects" / "relaxations.jsonl"
ENERGY = "energy"
PROBLEM = Problem(objectives=(Objective(property=ENERGY, direction="minimize"),))
BUDGET, SEEDS = 100, 3
BOND = 2.1  # Å; longer is no bond of phosphorus with oxygen or nitrogen, which have 1.5 to 1.8 Å
NEIGHBOURS = 4  # of phosphorus in phosphates

TASKS: Mapping[str, Mapping[str, Any]] = {
    "lipon": {
        "parent": "lithium_phosphate",
        "cell": [[1, 1, 0], [-1, 1, 0], [0, 0, 2]],
        "defects": {"N on O": 2, "vacancy O": 1},
    }
}
PLAIN = {"bonds": 0.0, "toward": False, "rattle": 0.1}


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        optimizer: its settings; None to draw from the operator `start` alone.
        distort: of the space.
    """

    optimizer: Mapping[str, Any] | None
    distort: Mapping[str, Any] | bool = True


OURS, RANDOM = "invdesign", "random"
METHODS: Mapping[str, Method] = {
    OURS: Method({"kind": "genetic", "population": 12, "prescreen": True}),  # as the space hints
    "starts": Method({"kind": "random"}),
    RANDOM: Method(None, PLAIN),
    "random, distorted": Method(None),
}


def describe_bonds(structure: Structure) -> dict[str, Any]:
    """Count bridging and apical nitrogen, and check that phosphorus keeps its four neighbours."""
    symbols = np.asarray([site.specie.symbol for site in structure])
    near = np.asarray(structure.distance_matrix) < BOND
    phosphorus, nitrogen = symbols == "P", symbols == "N"
    anions = nitrogen | (symbols == "O")
    bonds = near[nitrogen][:, phosphorus].sum(axis=1)
    return {
        "bridging": int((bonds == 2).sum()),
        "apical": int((bonds == 1).sum()),
        "whole": bool((near[phosphorus][:, anions].sum(axis=1) == NEIGHBOURS).all()),
    }


def search(task: str, method: str, seed: int, budget: int, relaxations: RelaxedCells) -> list[dict[str, Any]]:
    """Relaxations of one seed, in their order.

    Args:
        task: name.
        method: name.
        seed: of the run.
        budget: number of relaxations.
        relaxations: what was relaxed before, and takes what is relaxed now.
    """
    how = METHODS[method]
    space = load("spaces", {"kind": "defect", **TASKS[task], "distort": how.distort})
    distort = json.dumps(how.distort, sort_keys=True)
    done: list[dict[str, Any]] = []

    def evaluate(genome: Genome) -> Mapping[str, float] | None:
        key = f"{task} {distort} {genome_key(genome)}"
        record = relaxations.relax(key, space, genome, cell=False, describe=describe_bonds)
        done.append(record)
        return None if record["energy"] is None else {ENERGY: record["energy"]}

    if how.optimizer is None:
        start = space.operators()["start"]
        for number in range(budget):
            genome = start.apply((), rng_for(seed, number, "start"))
            if genome is not None:
                evaluate(genome)
    else:
        driven(load("optimizers", dict(how.optimizer)), space, PROBLEM, evaluate, budget, seed)
    return done


def list_rows(task: str, found: Mapping[str, list[list[dict[str, Any]]]], budget: int) -> list[Row]:
    """Rows of a task.

    Args:
        task: name.
        found: by method, the relaxations of each seed.
        budget: number of relaxations of a seed.
    """
    energies = {
        method: [[r["energy"] for r in seed if r["energy"] is not None] for seed in seeds]
        for method, seeds in found.items()
    }
    lowest = min(min(seed) for seeds in energies.values() for seed in seeds if seed)
    drawn = np.asarray([energy for seed in energies.get(RANDOM, []) for energy in seed])
    rows = [Row("defects", task, "all", "lowest", lowest, "eV", len(found), 0.0)]
    if len(drawn):
        limit = float(np.quantile(drawn, 0.01))
        rows.append(Row("defects", task, RANDOM, "one_percent_ev", limit - lowest, "eV", len(drawn), 0.0))
    for method, seeds in found.items():
        best = [min(seed) for seed in energies[method]]
        relaxed = [[r for r in seed if r["energy"] is not None] for seed in seeds]
        winners = [min(seed, key=lambda r: r["energy"]) for seed in relaxed]
        columns = {
            f"best_at_{budget}_ev": ([value - lowest for value in best], "eV"),
            "bridging": ([float(np.mean([r["bridging"] > 0 for r in seed])) for seed in relaxed], ""),
            "whole": ([float(np.mean([r["whole"] for r in seed])) for seed in relaxed], ""),
            "bridging_of_best": ([float(r["bridging"]) for r in winners], ""),
            "relaxation_s": ([float(np.median([r["seconds"] for r in seed])) for seed in relaxed], "s"),
        }
        if len(drawn):
            columns["quantile_of_random"] = ([float((drawn <= value).mean()) for value in best], "")
        rows += [
            row_of("defects", task, method, name, values, unit) for name, (values, unit) in columns.items()
        ]
    return rows


def main() -> None:
    """Run what is asked for, and write the table."""
    parser = piecewise(__doc__, list(TASKS), SEEDS)
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"relaxations of one seed ({BUDGET})")
    arguments = parser.parse_args()
    one_thread()
    relaxations = RelaxedCells(arguments.cache or CACHE, idle=arguments.only_table)
    seeds = range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS))
    for task in arguments.tasks:
        found: dict[str, list[list[dict[str, Any]]]] = {}
        for method in arguments.methods or list(METHODS):
            for seed in seeds:
                try:
                    done = search(task, method, seed, arguments.budget, relaxations)
                except LookupError:
                    continue  # a seed that is not finished, and nothing is to be relaxed
                found.setdefault(method, []).append(done)
        if found:
            rows = list_rows(task, found, arguments.budget)
            if arguments.budget == BUDGET:
                merge_results("defects", rows)
            print_table(rows)


if __name__ == "__main__":
    main()
