"""Share of hull distances inside their leave-one-out intervals, in the models of the quickstart's recommendation.

The shipped campaign `antiperovskite_electrolyte.yaml` is run with five seeds, into `runs/truth_calibration/seed-N` beside the
benchmarks: a run that is there goes on or is read as it is. An interval of honest width holds 68 % of the values.
"""

from __future__ import annotations

from pathlib import Path

from common import Row
from ruamel.yaml import YAML

import invdesign

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "campaigns" / "antiperovskite_electrolyte.yaml"
RUNS = ROOT / "runs" / "truth_calibration"
PROPERTY = "decomposition_energy"
SEEDS = range(1, 6)
TASK, METHOD = "calibration", "leave-one-out"


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


def left_out(seed: int) -> list[tuple[float, float, float]]:
    """(Measured, predicted without it, standard deviation) of every candidate with a hull distance."""
    run = searched(seed)
    try:
        (found,) = run.recommend([PROPERTY]).calibration
    finally:
        run.close()
    return [(row.measured, row.predicted, row.deviation) for row in found.rows]


def measure() -> list[Row]:
    """Percent of the values of all seeds inside the central 68 % and 95 %, and the error of the predictions."""
    rows = [row for seed in SEEDS for row in left_out(seed)]
    off = [abs(measured - mean) / deviation for measured, mean, deviation in rows]
    mean_square = sum((measured - mean) ** 2 for measured, mean, _ in rows) / len(rows)

    def row(metric: str, value: float, unit: str) -> Row:
        return Row("truth", TASK, METHOD, metric, value, unit, len(rows), 0.0)

    return [
        row("within_68_percent_interval", 100.0 * sum(each <= 1.0 for each in off) / len(off), "%"),
        row("within_95_percent_interval", 100.0 * sum(each <= 1.959964 for each in off) / len(off), "%"),
        row("rmse", mean_square**0.5, "eV/atom"),
    ]
