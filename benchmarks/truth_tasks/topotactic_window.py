"""Limits of `topotactic_window` with CHGNet 0.3.0 beside the measured plateaus of insertion compounds.

No measured topotactic window of an electrolyte is known to us: what is measured there is where it decomposes. Insertion compounds
show the same two limits. Where a couple changes in two phases, the plateau is where both are in equilibrium; the first ion then leaves
the discharged phase at that voltage or above, and enters the charged one at that voltage or below. So each plateau is a bound of one limit:
`within_bound` counts those that hold within the error given, `excess_v` is the limit less the plateau, positive in the direction that the
bound allows, and `rms_excess_v` the error that the evaluator gives. Measured plateaus, their sources and the crystals are those of `voltage_couples`.
"""

from __future__ import annotations

import math

from common import Row
from truth_windows import mean_row

from surrogates.electrode.window import TopotacticWindow
from truth_tasks.voltage_couples import COUPLES, evaluate_couple

TASK = "topotactic_window"
BOUNDS = {
    "FePO4 / LiFePO4": "oxidation",
    "MnPO4 / LiMnPO4": "oxidation",
    "Mn2O4 / LiMn2O4": "oxidation",
    "LiMn2O4 / Li2Mn2O4": "reduction",
    "LiTi2O4 / Li2Ti2O4": "reduction",
}
"""Limit of the common crystal that the plateau of a couple bounds."""


def measure() -> list[Row]:
    """Every limit beside its plateau."""
    evaluator = TopotacticWindow.model_validate({"ion": "Li"})
    excesses, errors = [], []
    print("| couple | limit | bound by the plateau, V | here, V | excess, V | host moves, Å |")
    print("| --- | --- | --- | --- | --- | --- |")
    for couple in COUPLES:
        side = BOUNDS.get(couple.name)
        if side is None:
            continue
        found = evaluate_couple(couple, evaluator)
        value = found.properties[f"topotactic_{side}_limit"]
        errors.append(found.systematic[f"topotactic_{side}_limit"])
        excesses.append(value - couple.measured if side == "oxidation" else couple.measured - value)
        sign = ">=" if side == "oxidation" else "<="
        moved = found.properties["host_displacement"]
        print(
            f"| {couple.name} | {side} | {sign} {couple.measured:.2f} | {value:.2f} | {excesses[-1]:+.2f} | {moved:.2f} |",
            flush=True,
        )
    held = [float(excess >= -error) for excess, error in zip(excesses, errors, strict=True)]
    return [
        Row("truth", TASK, "invdesign", "within_bound", sum(held), "limits", len(held), 0.0),
        mean_row(TASK, "invdesign", "excess_v", excesses, "V"),
        mean_row(
            TASK, "invdesign", "rms_excess_v", [math.sqrt(sum(e**2 for e in excesses) / len(excesses))], "V"
        ),
    ]
