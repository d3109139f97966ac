"""Which exchange of atoms lowers the energy of LiCoO2|Li3PS4, and how soon does a search find the lowest interface?

`OMP_NUM_THREADS=1 python benchmarks/interface_exchange.py --tasks search kinds` relaxes sandwiches with CHGNet to 0.1 eV/Å, the cell free along its
normal, prints a table and writes `results/interfaces.json`. A relaxation takes some 6 seconds on one core. Every one is appended to
`runs/interfaces/relaxations.jsonl` (or `--cache`), none is done twice; `--methods`, `--seeds`, `--seed-from` run it in pieces, and `--only-table`
relaxes nothing and writes what the cache holds.

`search`: one match of 64 atoms, shift and exchanges of Co with P and of O with S vary. `invdesign` is `genetic` as the space hints, 100
relaxations of each seed; `random` draws 150. `best_of_100_ev` and `best_of_150_ev` are the lowest energies of a seed above the lowest of all.

`kinds`: one match of 96 atoms at the best of `REGISTRIES` unmixed registries. Eight interfaces with one exchange of each kind, on sites drawn
at random, each rattled by 0.05 Å; beside them as many unmixed ones, rattled in the same way: the control. `co_p_ev` and `o_s_ev` are medians over the
eight, less the median of the control; `best_less_best` compares the lowest ones. `bulk_tier_spearman` is the rank correlation of both
kinds' energies at the plane with those between the two bulks (evaluator `exchange_energy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Row, driven, merge_results, one_thread, piecewise, print_table, row_of
from relaxed_cells import RelaxedCells
from scipy.stats import spearmanr

from invdesign.candidate import Candidate, Genome, Input, Proposal, genome_key
from invdesign.problem import Objective, Problem
from invdesign.rng import rng_for
from invdesign.settings import load

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "runs" / "interfaces" / "relaxations.jsonl"
ENERGY = "energy"
PROBLEM = Problem(objectives=(Objective(property=ENERGY, direction="minimize"),))
SEEDS = 3
BUDGETS: Mapping[str, int] = {"invdesign": 100, "random": 150}
GENETIC = {"kind": "genetic", "population": 12, "prescreen": True}  # as the space hints
REGISTRIES = 8  # shifts of the unmixed interface that are relaxed, to choose one of them
EXCHANGES = 8
RATTLE = 0.05  # Å
KINDS: Mapping[str, tuple[str, str]] = {"co_p": ("Co", "P"), "o_s": ("O", "S")}

SEARCH: Mapping[str, Any] = {
    "kind": "interface",
    "substrate": {"parent": "layered", "planes": [[1, 1, 0]], "thickness": 5},
    "film": {"parent": "Li3PS4", "planes": [[1, 0, 0]], "layers": 1},
    "match": {"max_strain": 0.08, "names": ["(110)1|(100)1 (1 1;0 2)|(0 1;-1 1)"]},
    "region": 4.0,
    "exchange": [{"substrate": "Co", "film": "P", "most": 2}, {"substrate": "O", "film": "S", "most": 4}],
}
MIXING: Mapping[str, Any] = {
    "kind": "interface",
    "substrate": {"parent": "layered", "planes": [[1, 1, 0]], "thickness": 5},
    "film": {"parent": "Li3PS4_gamma", "planes": [[0, 1, 0]], "layers": 1},
    "match": {"max_strain": 0.05, "names": ["(110)1|(010)1 (1 2;0 4)|(2 0;3 1)"]},
    "region": 4.0,
}


def search(method: str, seed: int, cells: RelaxedCells) -> list[float]:
    """Energies of the relaxations of one seed in eV, failed ones left out.

    Args:
        method: name.
        seed: of the run.
        cells: relaxed before, and takes what is relaxed now.
    """
    space: Any = load("spaces", dict(SEARCH))
    energies: list[float] = []

    def evaluate(genome: Genome) -> Mapping[str, float] | None:
        found = cells.relax(f"search {genome_key(genome)}", space, genome, cell="normal")["energy"]
        energies.extend([] if found is None else [found])
        return None if found is None else {ENERGY: found}

    if method == "invdesign":
        driven(load("optimizers", dict(GENETIC)), space, PROBLEM, evaluate, BUDGETS[method], seed)
    else:
        start = space.operators()["start"]
        for number in range(BUDGETS[method]):
            evaluate(start.apply((), rng_for(seed, number, "start")))
    return energies


def list_search_rows(found: Mapping[str, Sequence[Sequence[float]]]) -> list[Row]:
    """Rows of the task `search`; energies by method and seed."""
    lowest = min(min(seed) for seeds in found.values() for seed in seeds)
    return [
        row_of(
            "interfaces",
            "exchange",
            method,
            f"best_of_{BUDGETS[method]}_ev",
            [min(e) - lowest for e in seeds],
            "eV",
        )
        for method, seeds in found.items()
    ]


def relax_kinds(cells: RelaxedCells) -> dict[str, list[float]]:
    """Energies in eV of unmixed interfaces (`control`) and of interfaces with one exchange, by kind."""
    plain: Any = load("spaces", dict(MIXING))
    start = plain.operators()["start"]
    registries = []
    for number in range(REGISTRIES):
        genome = start.apply((), rng_for(0, number, "registry"))
        record = cells.relax(f"kinds {genome_key(genome)}", plain, genome, cell="normal")
        if record["energy"] is not None:
            registries.append((record["energy"], number, genome))
    shift = min(registries)[2]["shift"]
    found: dict[str, list[float]] = {}
    for kind in ("control", *KINDS):
        for number in range(EXCHANGES):
            space, genome = _draw_exchange(kind, shift, number)
            key = f"kinds {kind} {number} {genome_key(genome)}"
            energy = cells.relax(key, space, genome, cell="normal")["energy"]
            if energy is not None:
                found.setdefault(kind, []).append(energy)
    return found


def _draw_exchange(kind: str, shift: Any, number: int) -> tuple[Any, Genome]:
    """Space and genome of one interface at a shift: unmixed (`control`), or with one exchange on random sites.

    The pattern of displacements follows from the genome, so that each unmixed one has a slightly different shift.
    """
    rng = rng_for(0, number, kind)
    if kind == "control":
        space: Any = load("spaces", {**MIXING, "rattle": RATTLE})
        moved = [round(float(x) + 1e-3 * (number + 1), 6) for x in shift]
        (match,) = MIXING["match"]["names"]
        return space, space.canonical({"match": match, "shift": moved})
    substrate, film = KINDS[kind]
    rule = {"substrate": substrate, "film": film, "most": 1}
    space = load("spaces", {**MIXING, "rattle": RATTLE, "exchange": [rule]})
    while True:
        genome = dict(space.operators()["start"].apply((), rng))
        genome["shift"] = shift
        if any(film in genome[name] for name in genome if name.startswith("substrate")):
            return space, space.canonical(genome)


def compute_bulk_tier() -> dict[str, float]:
    """Energy of one exchange between the two bulks in eV, by kind."""
    evaluator: Any = load("evaluators", "exchange_energy")
    found = {}
    for kind in KINDS:
        space, genome = _draw_exchange(kind, [0.0, 0.0], 0)
        design = space.build(genome)
        candidate = Candidate(0, genome_key(genome), Proposal(genome))
        (result,) = evaluator.evaluate([Input(candidate, design, {}, design.structures, 1)])
        if result.failure is not None:
            raise RuntimeError(result.failure.message)
        found[kind] = result.properties["bulk_exchange_energy"]
    return found


def list_kind_rows(found: Mapping[str, Sequence[float]]) -> list[Row]:
    """Rows of the task `kinds`; energies by kind."""
    control = np.asarray(found["control"])
    rows, plane, tiers = [], [], []
    bulk = compute_bulk_tier()
    for kind in KINDS:
        values = (np.asarray(found[kind]) - np.median(control)).tolist()
        rows.append(row_of("interfaces", "exchange", "invdesign", f"{kind}_ev", values, "eV"))
        best = float(min(found[kind]) - control.min())
        rows.append(
            Row(
                "interfaces",
                "exchange",
                "invdesign",
                f"{kind}_best_less_best_ev",
                best,
                "eV",
                len(values),
                0.0,
            )
        )
        rows.append(Row("interfaces", "exchange", "bulks alone", f"{kind}_ev", bulk[kind], "eV", 1, 0.0))
        plane += values
        tiers += [bulk[kind]] * len(values)
    spread = float(np.ptp(control))
    rows.append(Row("interfaces", "exchange", "unmixed", "range_ev", spread, "eV", len(control), 0.0))
    correlation = float(spearmanr(plane, tiers).statistic)
    rows.append(Row("interfaces", "exchange", "bulks alone", "spearman", correlation, "", len(plane), 0.0))
    return rows


def main() -> None:
    """Run what is asked for, and write the table."""
    parser = piecewise(__doc__, ["search", "kinds"], SEEDS)
    arguments = parser.parse_args()
    one_thread()
    cells = RelaxedCells(arguments.cache or CACHE, idle=arguments.only_table)
    rows: list[Row] = []
    if "search" in arguments.tasks:
        found: dict[str, list[list[float]]] = {}
        for seed in range(arguments.seed_from, arguments.seed_from + (arguments.seeds or SEEDS)):
            for method in arguments.methods or list(BUDGETS):
                try:
                    found.setdefault(method, []).append(search(method, seed, cells))
                except LookupError:
                    continue  # a seed that is not finished, and nothing is to be relaxed
        rows += list_search_rows({method: seeds for method, seeds in found.items() if seeds})
    if "kinds" in arguments.tasks:
        rows += list_kind_rows(relax_kinds(cells))
    merge_results("interfaces", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
