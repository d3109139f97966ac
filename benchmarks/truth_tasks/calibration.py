"""Share of hull distances inside their leave-one-out intervals, in the models of the quickstart's recommendation.

The shipped campaign `antiperovskite_electrolyte.yaml` is run with five seeds, into `runs/truth_calibration/seed-N` beside the
benchmarks: a run that is there goes on or is read as it is. An interval of honest width holds 68 % of the values.
"""

from __future__ import annotations

from pathlib import Path

from common import Row
from ruamel.yaml import YAML

import invdesign
from invdesign.recommendation.values import WITHIN

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "campaigns" / "antiperovskite_electrolyte.yaml"
RUNS = ROOT / "runs" / "truth_calibration"
PROPERTY = "decomposition_energy"
OTHERS = ("oxidation_limit", "bottleneck_radius")
SEEDS = range(1, 6)
TASK, METHOD = "calibration", "leave-one-out"
Rows = list[tuple[float, float, float]]


def searched(seed: int) -> invdesign.Run:
    """The run of the shipped campaign with this seed, finished."""
    folder = RUNS / f"seed-{seed}"
    if not folder.is_dir():
        document = YAML(typ="safe").load(CAMPAIGN)
        campaign = invdesign.campaign_from({**document, "seed": seed}, folder=CAMPAIGN.parent)
        invdesign.Run.create(campaign, folder).close()
    run = invdesign.Run.open(folder)
    run.execute()
    return run


def left_out(seed: int) -> dict[str, Rows]:
    """(Measured, predicted without it, standard deviation) of every candidate with a value, by property."""
    run = searched(seed)
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
        ("within_95_percent_interval", inside(hull, WITHIN), "%", len(hull)),
        ("rmse", rmse, "eV/atom", len(hull)),
        *(
            (f"{name}_within_68_percent_interval", inside(rows[name], 1.0), "%", len(rows[name]))
            for name in OTHERS
        ),
    ]
    return [Row("truth", TASK, METHOD, metric, value, unit, n, 0.0) for metric, value, unit, n in found]
