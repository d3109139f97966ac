"""Cost of an interface candidate in the loop: ask, build, tell and commit, without the evaluation.

Run it with `python benchmarks/interface_overhead.py`; it prints a table and writes `benchmarks/results/interfaces.json`. LiCoO2|Li3PS4 with all
matches of nine pairs of planes, exchanges and depletion; distances of atoms are all that is computed. The time is that of 1,500 candidates
more, so that the start of the worker and the list of matches do not count.
"""

from __future__ import annotations

from typing import Any

from common import Row, merge_results, one_thread, print_table, row_of
from loop import measure

FEW, MANY, SEEDS = 500, 2_000, 3  # candidates; runs
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "genetic": {"kind": "genetic", "population": 24},
    "swarm": {"kind": "swarm", "particles": 24},
    "random": {"kind": "random"},
}


def campaign(optimizer: dict[str, Any], seed: int, size: int) -> dict[str, Any]:
    """Campaign of the space that the page of interfaces shows, with an evaluator that costs next to nothing."""
    return {
        "version": 1,
        "name": "overhead",
        "seed": seed,
        "space": {
            "kind": "interface",
            "substrate": {"parent": "layered", "planes": [[1, 1, 0], [1, 0, 4], [0, 1, 2]], "thickness": 7},
            "film": {"parent": "Li3PS4", "planes": [[0, 1, 0], [1, 0, 0], [0, 0, 1]], "thickness": 6},
            "match": {"max_area": 120, "max_strain": 0.08, "max_atoms": 130},
            "region": 4.0,
            "exchange": [
                {"substrate": "Co", "film": "P", "most": 2},
                {"substrate": "O", "film": "S", "most": 4},
            ],
            "deplete": {"ion": "Li", "from": "film", "most": 3},
        },
        "evaluate": [{"minimum_distance": {"scale": 0.1}}],
        "objectives": [{"maximize": "minimum_distance_ratio"}],
        "optimizer": optimizer,
        "budget": {"candidates": size},
        "engine": {"kind": "local", "workers": 1},
    }


def measure_candidate(optimizer: dict[str, Any], seed: int) -> float:
    """Time of one more candidate, ms."""
    few, many = (
        size * measure(campaign(optimizer, seed, size), size)["overhead_ms_per_candidate"]
        for size in (FEW, MANY)
    )
    return (many - few) / (MANY - FEW)


def main() -> None:
    """Measure each optimizer, and write the table."""
    one_thread()
    rows: list[Row] = []
    for name, optimizer in OPTIMIZERS.items():
        values = [measure_candidate(optimizer, seed) for seed in range(SEEDS)]
        rows.append(row_of("interfaces", "overhead", f"invdesign, {name}", "ask_build_tell_ms", values, "ms"))
    merge_results("interfaces", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
