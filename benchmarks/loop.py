"""The loop's own cost: everything but the evaluators, with a free evaluator.

Run it with `python benchmarks/loop.py`; it prints a table and writes `benchmarks/results/loop.json`. Each size
runs in a fresh process, so that memory is that size's own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from common import Row, print_table, spread_of, write_results

SIZES = (10_000, 100_000)
SEEDS = {10_000: (1, 2, 3), 100_000: (1,)}


def campaign(size: int, seed: int) -> dict[str, object]:
    """A genetic search over ten real parameters with an evaluator that costs next to nothing."""
    return {
        "version": 1,
        "name": f"loop-{size}",
        "seed": seed,
        "space": {"kind": "parameters", "parameters": {f"x{n}": {"real": [0, 1]} for n in range(10)}},
        "evaluate": [{"landscape": {"function": "zdt1", "batch_size": 50}}],
        "objectives": [{"minimize": "f1"}, {"minimize": "f2"}],
        "optimizer": {"kind": "genetic", "population": 100},
        "budget": {"candidates": size},
        "engine": {"kind": "local", "workers": 1},
    }


def measure(data: Mapping[str, object], size: int) -> dict[str, float]:
    """One run of a campaign of `size` candidates in this process: overhead, memory, and the time to open it again."""
    from invdesign.campaign.load import campaign_from
    from invdesign.run.run import Run

    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(campaign_from(data), Path(folder) / "run")
        started = time.perf_counter()
        run.execute()
        wall = time.perf_counter() - started
        costs = sum(_evaluator_seconds(run))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        run.close()
        started = time.perf_counter()
        again = Run.open(Path(folder) / "run")
        assert len(again.history) == size
        reopen = time.perf_counter() - started
        again.close()
    return {
        "overhead_ms_per_candidate": 1000 * (wall - costs) / size,
        "reopen_s": reopen,
        "coordinator_rss_mb": peak,
    }


def _evaluator_seconds(run: object) -> list[float]:
    from invdesign.store.schema import evaluations

    return [json.loads(row.cost)["seconds"] for row in run.store.read_rows(evaluations, ("cost",))]  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=2, type=int, metavar=("SIZE", "SEED"), help="measure one run, print JSON"
    )
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(campaign(*arguments.one), arguments.one[0])))
        return
    rows = []
    units = {"overhead_ms_per_candidate": "ms", "reopen_s": "s", "coordinator_rss_mb": "MB"}
    for size in SIZES:
        found = []
        for seed in SEEDS[size]:
            command = [sys.executable, __file__, "--one", str(size), str(seed)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(answer.stdout))
        for metric, unit in units.items():
            median, spread = spread_of([one[metric] for one in found])
            rows.append(Row("loop", f"toy_{size}", "invdesign", metric, median, unit, len(found), spread))
    print_table(rows)
    write_results("loop", rows)


if __name__ == "__main__":
    main()
