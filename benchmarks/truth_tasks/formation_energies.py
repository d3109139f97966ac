"""Energies of formation of the shipped battery phases against measured enthalpies, by kind of anion, with and without the correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import Row
from truth_enthalpies import Pair, pair_phases
from truth_windows import mean_row

from surrogates.stability.known_errors import is_nonmetal_halide
from surrogates.stability.reference import load_shipped_set

SHIPPED = "battery-phases"
CORRECTED = "battery-phases+covalent-oxygen"
HALOGENS = frozenset({"F", "Cl", "Br", "I"})
CHALCOGENS = frozenset({"S", "Se", "Te"})
COVALENT = frozenset({"H", "B", "C", "N", "Si", "P", "S", "Cl", "Ge", "Se", "Br", "Te", "I"})
"""Elements that the correction calls covalently bonded to oxygen."""

KINDS: Mapping[str, str] = {
    "oxides of metals": "oxides",
    "compounds of oxygen and a nonmetal": "oxoanions",
    "halides": "halides",
    "sulfides, selenides, tellurides": "chalcogenides",
    "others (hydrides, nitrides, phosphides, borides, alloys)": "others",
}
"""Title of a kind, and its name in metrics."""


def find_kind(elements: frozenset[str]) -> str:
    """The kind of compound by its elements."""
    if "O" in elements:
        return "oxoanions" if elements & COVALENT else "oxides"
    if elements & HALOGENS:
        return "halides"
    return "chalcogenides" if elements & CHALCOGENS else "others"


def measure() -> list[Row]:
    """Mean absolute and mean signed errors over all compounds and per kind."""
    methods = {"invdesign": pair_phases(load_shipped_set(SHIPPED))}
    methods["invdesign, covalent-oxygen"] = pair_phases(load_shipped_set(CORRECTED))
    print_pairs(*methods.values())
    rows = []
    for method, pairs in methods.items():
        groups = {
            "all": pairs,
            **{kind: [p for p in pairs if find_kind(p.elements) == kind] for kind in KINDS.values()},
            "nonmetal_halides": [p for p in pairs if is_nonmetal_halide(p.elements)],
        }
        for name, group in groups.items():
            errors = [pair.error for pair in group]
            if len(errors) >= 2:
                absolute = [abs(error) for error in errors]
                rows.append(
                    mean_row("formation_energies", method, f"mae_{name}_ev_per_atom", absolute, "eV/atom")
                )
                rows.append(
                    mean_row("formation_energies", method, f"bias_{name}_ev_per_atom", errors, "eV/atom")
                )
    return rows


def print_pairs(bare: Sequence[Pair], corrected: Sequence[Pair]) -> None:
    """All compounds as a table in Markdown, by kind; the correction is shown where it changes something."""
    for title, kind in KINDS.items():
        print(f"\n{title}\n\n| compound | here | corrected | measured | error | corrected | source |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for one, other in zip(bare, corrected, strict=True):
            if find_kind(one.elements) == kind:
                differs = other.computed != one.computed
                print(
                    f"| {one.formula} | {one.computed:.2f} | {f'{other.computed:.2f}' if differs else ''} | {one.measured:.2f} "
                    f"| {one.error:+.2f} | {f'{other.error:+.2f}' if differs else ''} | {name_source(one.source)} |"
                )


def name_source(source: str) -> str:
    """A short name of a source: the first of these that it holds."""
    return next((name for name in ("Wagman", "Giauque", "SGTE", "NIST", "CRC") if name in source), source)
