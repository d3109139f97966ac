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

import numpy as np

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure; `spread` is the distance between the quartiles, over n repetitions or seeds.

    `low` and `high` bound the median with 95 % confidence (bootstrap); None where there are too few values.
    """

    benchmark: str
    task: str
    method: str
    metric: str
    value: float
    unit: str
    n: int
    spread: float
    low: float | None = None
    high: float | None = None


def spread_of(values: Sequence[float]) -> tuple[float, float]:
    """(median, interquartile range) of some values."""
    if len(values) < 2:
        return values[0], 0.0
    low, _, high = quantiles(values, n=4)
    return median(values), high - low


def interval_of(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median of some values (10,000 resamples, percentiles, fixed seed)."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(np.asarray(values), size=(10_000, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def row_of(benchmark: str, task: str, method: str, metric: str, values: Sequence[float], unit: str) -> Row:
    """The median of one value per seed, with its spread and interval."""
    value, spread = spread_of(values)
    low, high = interval_of(values) if len(values) >= 5 else (None, None)
    return Row(benchmark, task, method, metric, value, unit, len(values), spread, low, high)


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
        interval = "" if row.low is None else f" [{row.low:.4g}, {row.high:.4g}]"
        print(f"{row.task:24} {row.method:16} {row.metric:28} {value:24} n={row.n}{interval}")
