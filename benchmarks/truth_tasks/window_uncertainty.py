"""Share of measured limits within one standard deviation of the computed ones, over every task with limits."""

from __future__ import annotations

import importlib
import pkgutil

from common import Row
from truth_windows import Comparison, mean_row

import truth_tasks

METHOD = "invdesign"


def compare_limits() -> tuple[Comparison, ...]:
    """The limits of every other task of windows: those with a function `compare_limits`."""
    found: list[Comparison] = []
    for module in pkgutil.iter_modules(truth_tasks.__path__):
        if module.name.startswith("window_") and module.name != "window_uncertainty":
            found += importlib.import_module(f"truth_tasks.{module.name}").compare_limits()
    return tuple(found)


def measure() -> list[Row]:
    """Coverage in percent, with the median of error over deviation beside it."""
    found = compare_limits()
    covered = [100.0 * item.covered for item in found]
    ratios = [abs(item.error) / item.sigma for item in found]
    for item in found:
        print(
            f"{item.formula:8} {item.value:.2f} ± {item.sigma:.2f} V, measured {item.measured:.2f}  {item.reaction}"
        )
    return [
        mean_row("window_uncertainty", METHOD, "coverage_68_percent", covered, "%"),
        mean_row("window_uncertainty", METHOD, "error_over_deviation", ratios, ""),
    ]
