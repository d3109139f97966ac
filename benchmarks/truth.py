"""Values here against experiment and literature, task by task: hulls, windows, charges, barriers, calibration.

`python benchmarks/truth.py` runs every task and writes `benchmarks/results/truth.json`; `python benchmarks/truth.py NAME ...`
runs some, and leaves the rows of the others as they are. Tables with every source stand in `docs/truth.md`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import time

import truth_tasks
from common import merge_results, print_table


def task_names() -> list[str]:
    """Names of all tasks, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(truth_tasks.__path__))


def run_tasks(names: list[str]) -> None:
    """Measure some tasks, one after the other, and write the rows of each as soon as it is done."""
    for name in names:
        began = time.monotonic()
        rows = importlib.import_module(f"truth_tasks.{name}").measure()
        merge_results("truth", rows)
        print_table(rows)
        print(f"{name}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tasks", nargs="*", metavar="NAME", help=f"by default all of {', '.join(task_names())}"
    )
    wanted = parser.parse_args().tasks or task_names()
    if unknown := set(wanted) - set(task_names()):
        parser.error(f"there is no task {', '.join(sorted(unknown))}; there are {', '.join(task_names())}")
    run_tasks(wanted)
