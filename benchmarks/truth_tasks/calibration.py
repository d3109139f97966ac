"""Share of hull distances inside their leave-one-out intervals, in the models of the quickstart's recommendation.

The shipped campaign runs with five seeds, in the folders of `structure_kept`, the shipped seed first: a run that is there is read as
it is. An interval of honest width holds 68 % of the values.
"""

from __future__ import annotations

from common import Row

from invdesign.learning.calibration import DEVIATIONS_95
from truth_tasks.structure_kept import finished_run

PROPERTY = "decomposition_energy"
OTHERS = ("oxidation_limit", "bottleneck_radius")
SEEDS = range(7, 12)
TASK, METHOD = "calibration", "invdesign"
Rows = list[tuple[float, float, float]]


def left_out(seed: int) -> dict[str, Rows]:
    """(Measured, predicted without it, standard deviation) of every candidate with a value, by property."""
    run = finished_run("quickstart", seed)
    try:
        found = run.recommend([PROPERTY, *OTHERS]).calibration
    finally:
        run.close()
    return {
        item.property: [(row.measured, row.predicted, row.deviation) for row in item.rows] for item in found
    }


def inside(rows: Rows, widths: float) -> float:
    """Percent of the values within so many standard deviations of their prediction."""
    return (
        100.0
        * sum(abs(measured - mean) <= widths * deviation for measured, mean, deviation in rows)
        / len(rows)
    )


def measure() -> list[Row]:
    """Percent of the values of all seeds inside their central 68 % and 95 %, and the error of the predictions."""
    seeds = [left_out(seed) for seed in SEEDS]
    rows = {name: [row for found in seeds for row in found[name]] for name in (PROPERTY, *OTHERS)}
    hull = rows[PROPERTY]
    rmse = (sum((measured - mean) ** 2 for measured, mean, _ in hull) / len(hull)) ** 0.5
    found = [
        ("within_68_percent_interval", inside(hull, 1.0), "%", len(hull)),
        ("within_95_percent_interval", inside(hull, DEVIATIONS_95), "%", len(hull)),
        ("rmse", rmse, "eV/atom", len(hull)),
        *(
            (f"{name}_within_{percent}_percent_interval", inside(rows[name], widths), "%", len(rows[name]))
            for name in OTHERS
            for percent, widths in ((68, 1.0), (95, DEVIATIONS_95))
        ),
    ]
    return [Row("truth", TASK, METHOD, metric, value, unit, n, 0.0) for metric, value, unit, n in found]
