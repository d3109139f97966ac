"""Conductivities of `diffusivity` with CHGNet 0.3.0 beside measured ones.

Simulated are the crystals of `campaigns/conductor_dynamics.yaml`. Run it to its end, then keep its numbers:

    invdesign run campaigns/conductor_dynamics.yaml
    cd benchmarks && python -m truth_tasks.diffusivity ../runs/conductor_dynamics

`measure` compares what `results/conductor_dynamics.json` keeps, and simulates nothing. Measured are conductivities at room temperature in OBELiX
(arXiv:2502.14234, CC BY 4.0; `obelix/train.csv` of the folder that INVDESIGN_BENCHMARK_DATA names), all of the same formula and space group;
their median counts. They are of real samples, with defects, disorder and mostly grain boundaries; simulated are perfect ordered crystals.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np
from common import Row
from truth_windows import mean_row

from invdesign import Run

TASK = "diffusivity"
DATA = Path(
    os.environ.get("INVDESIGN_BENCHMARK_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
KEPT = Path(__file__).resolve().parents[1] / "results" / "conductor_dynamics.json"
MEASURED = {
    "Li10GeP2S12": ("Li10GeP2S12", 137),
    "Li6PS5Cl-F-43m": ("Li6PS5Cl", 216),
    "Li6PS5I-F-43m": ("Li6PS5I", 216),
    "Li3N-P6/mmm": ("Li3N", 191),
    "Li3PS4-Pmn2_1": ("Li3PS4", 31),
}
"""Formula and space group in OBELiX by name of the simulated crystal; Li10GeP2S12 is simulated in an ordered cell of lower symmetry."""
NUMBERS = ("activation_energy", "diffusivity_298", "conductivity_298")


def keep_run(folder: Path) -> None:
    """Write the numbers of the candidates of a run that have ended."""
    with Run.open(folder) as run:
        rows = [run.row(number) for number in range(len(run.history))]
    found = [
        {
            "name": row["genome"]["row"],
            "values": {name: row["properties"][name] for name in NUMBERS if name in row["properties"]},
            "noise": {name: row["noise"][name] for name in NUMBERS if name in row["noise"]},
            "details": {name: row["details"][name] for name in NUMBERS if name in row["details"]},
            "failure": row["failure"][2] if row["failure"] else "",
        }
        for row in rows
        if row["status"] in {"complete", "failed"}
    ]
    text = json.dumps(sorted(found, key=lambda row: row["name"]), indent=1, ensure_ascii=False)
    KEPT.write_text(f"{text}\n", encoding="utf-8")


def read_measured(formula: str, spacegroup: int) -> list[float]:
    """log10(S/cm) of all samples of a compound, without upper bounds."""
    found = []
    with (DATA / "obelix" / "train.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            value = row["Ionic conductivity (S cm-1)"]
            if (
                row["Reduced Composition"] == formula
                and row["Space group #"] == str(spacegroup)
                and not value.startswith("<")
            ):
                found.append(float(np.log10(float(value))))
    return sorted(found)


def measure() -> list[Row]:
    """Errors of conductivities, decades."""
    errors = []
    print("| crystal | log10 of S/cm, measured (samples) | here | activation energy, eV | error, decades |")
    print("| --- | --- | --- | --- | --- |")
    for row in json.loads(KEPT.read_text(encoding="utf-8")):
        known = read_measured(*MEASURED[row["name"]])
        median = statistics.median(known)
        samples = f"{median:.1f} ({len(known)}: {known[0]:.1f} to {known[-1]:.1f})"
        if row["failure"]:
            print(f"| {row['name']} | {samples} | {row['failure']} | | |")
            continue
        here, energy = row["values"]["conductivity_298"], row["values"]["activation_energy"]
        errors.append(here - median)
        print(
            f"| {row['name']} | {samples} | {here:.1f} ± {row['noise']['conductivity_298']:.1f} "
            f"| {energy:.2f} ± {row['noise']['activation_energy']:.2f} | {errors[-1]:+.1f} |"
        )
    rms = float(np.sqrt(np.mean(np.square(errors))))
    return [
        mean_row(TASK, "invdesign", "mae_decades", [abs(error) for error in errors], "decades"),
        mean_row(TASK, "invdesign", "mean_error_decades", errors, "decades"),
        Row("truth", TASK, "invdesign", "rms_decades", rms, "decades", len(errors), 0.0),
    ]


if __name__ == "__main__":
    keep_run(Path(sys.argv[1]))
