"""Windows of Li3PS4 and Li6PS5Cl against published ones from density functional theory.

Published: Li3PS4 1.71 to 2.31 V, Li6PS5Cl 1.71 to 2.01 V (Y. Zhu, X. He and Y. Mo, ACS Appl. Mater. Interfaces 7, 23685 (2015)).
"""

from __future__ import annotations

from collections.abc import Iterator

from common import Row
from pymatgen.core import Composition

from surrogates.stability.reference import ReferenceSet, load_shipped_set
from surrogates.stability.windows import Window, electrochemical_window

SHIPPED = "battery-phases"
PUBLISHED = {"Li3PS4": (1.71, 2.31), "Li6PS5Cl": (1.71, 2.01)}
"""Reduction and oxidation limit against lithium, V."""


def find_window(reference: ReferenceSet, formula: str) -> Window:
    """The window of the lowest phase of a formula."""
    composition = Composition(formula)
    energy = min(
        phase.energy_per_atom
        for phase in reference.phases
        if Composition(phase.composition).reduced_formula == composition.reduced_formula
    )
    return electrochemical_window(reference, composition, energy, "Li")


def list_limits(reference: ReferenceSet) -> Iterator[tuple[str, str, float, float]]:
    """Formula, name of the limit, its value here and the published one, V."""
    for formula, published in PUBLISHED.items():
        window = find_window(reference, formula)
        yield formula, "reduction", window.reduction, published[0]
        yield formula, "oxidation", window.oxidation, published[1]


def measure() -> list[Row]:
    """The error of every limit, and the largest of all."""
    reference = load_shipped_set(SHIPPED)
    for formula in PUBLISHED:
        window = find_window(reference, formula)
        print(f"{formula}: {1000 * window.above_hull:.1f} meV/atom above the hull, {window.decomposition}")
        print(f"  reduction: {window.reduction_reaction}\n  oxidation: {window.oxidation_reaction}")
    rows, errors = [], []
    print("| phase | limit | V here | V published | error |\n| --- | --- | --- | --- | --- |")
    for formula, limit, value, published in list_limits(reference):
        errors.append(abs(value - published))
        print(f"| {formula} | {limit} | {value:.2f} | {published} | {value - published:+.2f} |")
        metric = f"{formula.lower()}_{limit}_v"
        rows.append(Row("truth", "window_sulfides", "invdesign", metric, value, "V", 1, 0.0))
    return [
        Row("truth", "window_sulfides", "invdesign", "max_error_v", max(errors), "V", len(errors), 0.0),
        *rows,
    ]
