"""What every benchmark shares: rows, medians with spread, the results file, a table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure; `spread` is the distance between the quartiles, over n repetitions or seeds."""

    benchmark: str
    task: str
    method: str
    metric: str
    value: float
    unit: str
    n: int
    spread: float


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """(median, interquartile range) of some values."""
    if len(values) < 2:
        return values[0], 0.0
    low, _, high = quantiles(values, n=4)
    return median(values), high - low


def write_results(name: str, rows: Sequence[Row]) -> None:
    """Replace `results/NAME.json`."""
    date = datetime.now(UTC).date().isoformat()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    data = [{**asdict(row), "date": date, "machine": machine} for row in rows]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def print_table(rows: Sequence[Row]) -> None:
    """The rows, aligned."""
    for row in rows:
        value = f"{row.value:.4g} ± {row.spread:.2g} {row.unit}"
        print(f"{row.task:24} {row.method:16} {row.metric:28} {value:24} n={row.n}")
