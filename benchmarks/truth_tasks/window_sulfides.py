"""Windows of Li3PS4 and Li6PS5Cl against published ones from density functional theory.

Published: Li3PS4 1.71 to 2.31 V, Li6PS5Cl 1.71 to 2.01 V (Y. Zhu, X. He and Y. Mo, ACS Appl. Mater. Interfaces 7, 23685 (2015)).
"""

from __future__ import annotations

from common import Row
from pymatgen.core import Composition

from surrogates.stability.reference import load_shipped_set
from surrogates.stability.windows import electrochemical_window

SHIPPED = "battery-phases"
PUBLISHED = {"Li3PS4": (1.71, 2.31), "Li6PS5Cl": (1.71, 2.01)}
"""Reduction and oxidation limit against lithium, V."""


def measure() -> list[Row]:
    """The error of every limit, and the largest of all."""
    reference = load_shipped_set(SHIPPED)
    rows, errors = [], []
    print("| phase | limit | V here | reaction | V published | error |")
    print("| --- | --- | --- | --- | --- | --- |")
    for formula, limits in PUBLISHED.items():
        composition = Composition(formula)
        energy = min(
            phase.energy_per_atom
            for phase in reference.phases
            if Composition(phase.composition).reduced_formula == composition.reduced_formula
        )
        window = electrochemical_window(reference, composition, energy, "Li")
        found = (window.reduction, window.oxidation)
        reactions = (window.reduction_reaction, window.oxidation_reaction)
        for name, value, published, reaction in zip(
            ("reduction", "oxidation"), found, limits, reactions, strict=True
        ):
            errors.append(abs(value - published))
            print(
                f"| {formula} | {name} | {value:.2f} | {reaction} | {published} | {value - published:+.2f} |"
            )
            rows.append(
                Row(
                    "truth", "window_sulfides", "invdesign", f"{formula.lower()}_{name}_v", value, "V", 1, 0.0
                )
            )
        above = 1000 * window.above_hull
        print(f"{formula}: {above:.1f} meV/atom above the hull, {window.decomposition}")
    return [
        Row("truth", "window_sulfides", "invdesign", "max_error_v", max(errors), "V", len(errors), 0.0),
        *rows,
    ]
