"""What ask, tell and commit cost per candidate, store included, beside Optuna's journal and SQLite storages.

Run it with `python benchmarks/optimizer_overhead.py`; it prints a table and writes
`benchmarks/results/optimizer_overhead.json`. Every run is a fresh process on a problem of ten real variables and two
objectives with an evaluator that costs next to nothing; its own time is taken off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Row, print_table, row_of, write_results
from loop import campaign, measure

OPTIMIZERS: dict[str, dict[str, object]] = {
    "genetic": {"kind": "genetic"},
    "genetic_steady_state": {"kind": "genetic", "mode": "steady_state"},
    "swarm": {"kind": "swarm"},
}
SIZES = (10_000, 100_000)
OF_SIZE = {"genetic": SIZES, "swarm": SIZES, "genetic_steady_state": SIZES[:1]}
PEERS = ("optuna_journal", "optuna_sqlite")
PEER_TRIALS = 2_000  # their cost per trial grows with the history: 10,000 take minutes and are worse


def measured(name: str, size: int, seed: int) -> dict[str, float]:
    """One run of ours, or of a peer's random sampler with its storage."""
    if name in OPTIMIZERS:
        return measure({**campaign(size, seed), "optimizer": OPTIMIZERS[name]}, size)
    return {"overhead_ms_per_candidate": _optuna(name, size, seed)}


def _optuna(name: str, trials: int, seed: int) -> float:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study"
        storage = (
            JournalStorage(JournalFileBackend(str(path)))
            if name == "optuna_journal"
            else f"sqlite:///{path}.sqlite"
        )
        study = optuna.create_study(
            storage=storage,
            sampler=optuna.samplers.RandomSampler(seed=seed),
            directions=["minimize", "minimize"],
        )
        started = time.perf_counter()
        for _ in range(trials):
            trial = study.ask()
            x = [trial.suggest_float(f"x{n}", 0.0, 1.0) for n in range(10)]
            study.tell(trial, [x[0], sum(x)])
        return 1000 * (time.perf_counter() - started) / trials


def rows_of(name: str, size: int, seeds: int) -> list[Row]:
    """The figures of one optimizer at one size, each seed in a process of its own."""
    found = []
    for seed in range(1, seeds + 1):
        command = [sys.executable, __file__, "--one", name, str(size), str(seed)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(answer.stdout.splitlines()[-1]))
    ours = name in OPTIMIZERS
    task, method = (f"{name}_{size}", "invdesign") if ours else (f"random_{size}", name)
    metrics = {"overhead_ms_per_candidate": ("ms_per_candidate", "ms"), "reopen_s": ("reopen_s", "s")}
    return [
        row_of("optimizer_overhead", task, method, metric, [one[key] for one in found], unit)
        for key, (metric, unit) in metrics.items()
        if key in found[0]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SIZE", "SEED"), help="measure one, print JSON")
    parser.add_argument("--seeds", type=int, default=3, help="seeds at 10,000 candidates; one at 100,000")
    arguments = parser.parse_args()
    if arguments.one:
        name, size, seed = arguments.one
        print(json.dumps(measured(name, int(size), int(seed))))
        return
    rows = [row for name in PEERS for row in rows_of(name, PEER_TRIALS, arguments.seeds)]
    for name, sizes in OF_SIZE.items():
        for size in sizes:
            rows += rows_of(name, size, arguments.seeds if size == SIZES[0] else 1)
    print_table(rows)
    write_results("optimizer_overhead", rows)


if __name__ == "__main__":
    main()
