"""Share of measured limits within one standard deviation of the computed ones, over salts and oxoanion salts."""

from __future__ import annotations

from collections.abc import Mapping

from common import Row
from pymatgen.core import Composition
from truth_windows import Comparison, mean_row

from surrogates.potentials.correction import CORRECTION_SEPARATOR
from surrogates.stability.evaluators import relative_energy_error
from surrogates.stability.reference import load_shipped_set
from surrogates.stability.windows import CHARGES
from truth_tasks import window_binaries, window_oxoanion

CORRECTION = "covalent-oxygen"
SETS = {
    "uncorrected": window_binaries.SHIPPED,
    "invdesign": f"{window_binaries.SHIPPED}{CORRECTION_SEPARATOR}{CORRECTION}",
}
"""Sets by method: the potential as it is, and with the correction for oxygen, fitted without the phases of a limit."""


def measure() -> list[Row]:
    """Coverage in percent, with the mean of error over deviation beside it, of each set."""
    rows: list[Row] = []
    for method, name in SETS.items():
        found = [
            *window_binaries.compare_limits(name),
            *compare_oxoanions(name, corrected=method == "invdesign"),
        ]
        for item in found:
            text = f"{item.value:.2f} ± {item.sigma:.2f} V, measured {item.measured:.2f}"
            print(f"{method:11} {item.formula:8} {text}  {item.reaction}")
        covered = [100.0 * item.covered for item in found]
        ratios = [abs(item.error) / item.sigma for item in found]
        rows += [
            mean_row("window_uncertainty", method, "coverage_68_percent", covered, "%"),
            mean_row("window_uncertainty", method, "error_over_deviation", ratios, ""),
        ]
    return rows


def compare_oxoanions(name: str, *, corrected: bool) -> list[Comparison]:
    """The limits at which oxoanion salts form and decompose, with the deviation of a set's energies."""
    per_atom = relative_energy_error(load_shipped_set(name))
    found = []
    for reactions in (window_oxoanion.FORMED, window_oxoanion.DECOMPOSED):
        for salt, line in window_oxoanion.compare_limits(reactions).items():
            text, measured, without, with_correction = line
            value = with_correction if corrected else without
            sigma = per_atom * atoms_per_charge(reactions[salt])
            found.append(Comparison(salt, text, value, sigma, measured, None, ()))
    return found


def atoms_per_charge(reaction: Mapping[str, float]) -> float:
    """Atoms of the reactants per unit of charge exchanged: how fast an error of their energies moves the limit."""
    atoms = sum(-n * Composition(formula).num_atoms for formula, n in reaction.items() if n < 0)
    return float(atoms) / (CHARGES["Li"] * reaction["Li"])
