"""Every phase of the shipped battery phases against the hull of all others: are stable phases told from unstable ones?

A phase is stable if the Materials Project puts it on its own hull (within `ON`), as the tables of the shared crystals say; phases that
they do not list have no label and are left out, and so are elements. The score is the signed decomposition energy against the
hull without the phase: negative where it is more stable than all others together. INVDESIGN_BENCHMARK_DATA names the folder with
`crystals/`.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import Row
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from invdesign.arrays import FloatArray
from surrogates.stability.hulls import to_pd_entry
from surrogates.stability.reference import Phase, ReferenceSet, load_shipped_set

SHIPPED = "battery-phases"
DATA = Path(
    os.environ.get("INVDESIGN_BENCHMARK_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
FAR = (
    0.025  # eV/atom: what is nearer to the hull than this, and not on it, may be stable at ambient conditions
)
ON = 0.001  # eV/atom: the tables round, and cells of one phase differ by as much
RESAMPLES = 2000


def read_distances() -> dict[str, float]:
    """eV/atom above the hull of the Materials Project, by its number."""
    csv.field_size_limit(1 << 30)
    found = {}
    for name in ("mp20_binary_ternary.csv.gz", "mpts52.csv.gz"):
        with gzip.open(DATA / "crystals" / name, "rt") as stream:
            found.update({row["material_id"]: float(row["e_above_hull"]) for row in csv.DictReader(stream)})
    return found


def decomposition_without(reference: ReferenceSet, phase: Phase) -> float | None:
    """Energy of a phase against the hull of all others, eV/atom; None where no mixture has its composition."""
    others: list[PDEntry] = [
        to_pd_entry(other) for other in reference.select_phases(phase.composition) if other.name != phase.name
    ]
    if any(
        not any(set(e.composition.chemical_system.split("-")) == {s} for e in others)
        for s in phase.composition
    ):
        return None
    diagram = PhaseDiagram(others)
    return float(phase.energy_per_atom - diagram.get_hull_energy_per_atom(Composition(phase.composition)))


def area_under_curve(scores: FloatArray, labels: FloatArray) -> float:
    """Probability that a labelled phase has a lower score than another, ties half."""
    on, off = scores[labels > 0], scores[labels == 0]
    return float(np.mean([np.mean((off > value) + 0.5 * (off == value)) for value in on]))


def interval(scores: FloatArray, labels: FloatArray) -> tuple[float, float]:
    """95 % bootstrap interval of the area, phases drawn with replacement."""
    rng = np.random.default_rng(0)
    found = []
    while len(found) < RESAMPLES:
        rows = rng.integers(len(scores), size=len(scores))
        if 0 < labels[rows].sum() < len(rows):
            found.append(area_under_curve(scores[rows], labels[rows]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def measure() -> list[Row]:
    """Area under the curve, and the share of phases on the right side of zero.

    An unstable phase whose stable form is not in the set has nothing to be compared with; `with_another_form` leaves out those of which
    the set has no other form at all.
    """
    reference = load_shipped_set(SHIPPED)
    distances = read_distances()
    labelled: list[tuple[Phase, float, float]] = []
    for phase in reference.phases:
        mp_id = re.search(r"mp-\d+", phase.source)
        if (
            mp_id
            and mp_id[0] in distances
            and len(phase.composition) > 1
            and not phase.source.startswith("Model")
        ):
            score = decomposition_without(reference, phase)
            if score is not None:
                labelled.append((phase, score, distances[mp_id[0]]))
    scores = np.array([score for _, score, _ in labelled])
    labels = np.array([float(above <= ON) for *_, above in labelled])
    print_worst(labelled)
    low, high = interval(scores, labels)
    clear = np.array([above <= ON or above >= FAR for *_, above in labelled])
    clear_bounds = interval(scores[clear], labels[clear])
    formulas = [str(Composition(phase.composition).reduced_formula) for phase in reference.phases]
    held = np.array(
        [formulas.count(str(Composition(phase.composition).reduced_formula)) > 1 for phase, *_ in labelled]
    )
    fair = held | (labels > 0)
    fair_bounds = interval(scores[fair], labels[fair])
    right = ((scores <= 0) == (labels > 0)).astype(float)
    n, on = len(labels), int(labels.sum())

    def row(
        metric: str, value: float, unit: str, count: int, bounds: Sequence[float | None] = (None, None)
    ) -> Row:
        return Row("truth", "hull_leave_one_out", "invdesign", metric, value, unit, count, 0.0, *bounds)

    return [
        row("auc", area_under_curve(scores, labels), "", n, (low, high)),
        row("on_hull", on, "phases", n),
        row(
            "auc_without_near_ones",
            area_under_curve(scores[clear], labels[clear]),
            "",
            int(clear.sum()),
            clear_bounds,
        ),
        row(
            "auc_with_another_form",
            area_under_curve(scores[fair], labels[fair]),
            "",
            int(fair.sum()),
            fair_bounds,
        ),
        row("right_side_of_zero", 100 * float(right.mean()), "%", n),
        row("on_hull_found_stable", 100 * float((scores[labels > 0] <= 0).mean()), "%", on),
        row("off_hull_found_unstable", 100 * float((scores[labels == 0] > 0).mean()), "%", n - on),
        row(
            "off_hull_with_another_form_found_unstable",
            100 * float((scores[held & (labels == 0)] > 0).mean()),
            "%",
            int((held & (labels == 0)).sum()),
        ),
    ]


def print_worst(labelled: Sequence[tuple[Phase, float, float]]) -> None:
    """Phases on the wrong side, worst first."""
    wrong = [item for item in labelled if (item[1] <= 0) != (item[2] <= ON)]
    print("| phase | here, meV/atom | Materials Project, meV/atom |\n| --- | --- | --- |")
    for phase, score, above in sorted(wrong, key=lambda item: -abs(item[1]))[:20]:
        print(f"| {phase.name} | {1000 * score:+.0f} | {1000 * above:.0f} |")
