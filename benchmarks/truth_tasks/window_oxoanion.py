"""Voltages at which oxoanion salts of lithium form and decompose, with and without the correction for oxygen.

A limit is the voltage of a reaction between crystals, from energies of CHGNet 0.3.0 here and from enthalpies of formation
at 298 K there. `uncorrected` takes the energies as they are, `invdesign` with the correction `covalent-oxygen`, fitted
without any compound of the reaction. Li2SO3 is left out: no enthalpy of it was at hand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from common import Row
from pymatgen.core import Composition
from truth_windows import formation_of

from surrogates.stability.oxygen_fit import (
    Coefficients,
    Sample,
    find_elements,
    fit_coefficients,
    formation_of_unit,
    load_compounds,
    shipped_samples,
)

FORMED: Mapping[str, Mapping[str, float]] = {
    "LiIO3": {"LiI": -1, "Li2O": -3, "LiIO3": 1, "Li": 6},
    "LiClO4": {"LiCl": -1, "Li2O": -4, "LiClO4": 1, "Li": 8},
    "Li2SO4": {"Li2S": -1, "Li2O": -4, "Li2SO4": 1, "Li": 8},
    "LiNO3": {"N2": -0.5, "Li2O": -3, "LiNO3": 1, "Li": 5},
    "Li3PO4": {"P": -1, "Li2O": -4, "Li3PO4": 1, "Li": 5},
    "Li2CO3": {"C": -1, "Li2O": -3, "Li2CO3": 1, "Li": 4},
    "LiBO2": {"B": -1, "Li2O": -2, "LiBO2": 1, "Li": 3},
    "Li2SiO3": {"Si": -1, "Li2O": -3, "Li2SiO3": 1, "Li": 4},
    "LiOH": {"LiH": -1, "Li2O": -1, "LiOH": 1, "Li": 2},
}
"""Oxidation of lithium oxide beside a binary lithium compound, or the element it has become by then."""

DECOMPOSED: Mapping[str, Mapping[str, float]] = {
    "LiIO3": {"LiIO3": -1, "I2O5": 0.5, "O2": 0.25, "Li": 1},
    "Li2SO4": {"Li2SO4": -1, "SO3": 1, "O2": 0.5, "Li": 2},
    "Li3PO4": {"Li3PO4": -1, "P2O5": 0.5, "O2": 0.75, "Li": 3},
    "Li2CO3": {"Li2CO3": -1, "CO2": 1, "O2": 0.5, "Li": 2},
    "LiBO2": {"LiBO2": -1, "B2O3": 0.5, "O2": 0.25, "Li": 1},
    "Li2SiO3": {"Li2SiO3": -1, "SiO2": 1, "O2": 0.5, "Li": 2},
    "LiOH": {"LiOH": -1, "H2O": 0.5, "O2": 0.25, "Li": 1},
}
"""Oxidation of the salt to the oxide of its acid and oxygen."""

Table = dict[str, tuple[str, float, float, float]]
"""(reaction, measured, uncorrected, corrected) by salt, V."""


def measure() -> list[Row]:
    """Mean absolute errors over both kinds of limit, and the error of every single one."""
    rows: list[Row] = []
    for kind, reactions in (("formed", FORMED), ("decomposed", DECOMPOSED)):
        table = compare_limits(reactions)
        for method, column in (("invdesign", 3), ("uncorrected", 2)):
            errors = {salt: line[column] - line[1] for salt, line in table.items()}
            metric = "mae_v" if kind == "formed" else f"mae_{kind}_v"
            rows.append(_row(method, metric, float(np.mean(np.abs(list(errors.values())))), len(errors)))
            rows += [_row(method, f"error_{kind}_{salt}_v", error, 1) for salt, error in errors.items()]
        for salt, (reaction, measured, without, corrected) in table.items():
            print(f"{salt:8s} {reaction:36s} {measured:6.2f} {without:6.2f} {corrected:6.2f}")
    return rows


def compare_limits(reactions: Mapping[str, Mapping[str, float]]) -> Table:
    """Every limit from measured, computed and corrected energies."""
    samples = {sample.formula: sample for sample in shipped_samples()}
    table: Table = {}
    for salt, reaction in reactions.items():
        fit = fit_coefficients([sample for sample in samples.values() if sample.formula not in reaction])
        measured = {f: samples[f].measured if f in samples else formation_of(f).value for f in reaction}
        computed = {f: _computed(f) for f in reaction}
        corrected = {f: energy + _added(samples.get(f), fit) for f, energy in computed.items()}
        measured_limit, without, with_correction = (
            sum(n * energies[f] for f, n in reaction.items()) / reaction["Li"]
            for energies in (measured, computed, corrected)
        )
        table[salt] = (write_reaction(reaction), measured_limit, without, with_correction)
    return table


def _computed(formula: str) -> float:
    """Energy of formation as computed, eV per formula unit."""
    if Composition(formula).is_element:
        return 0.0
    compounds = load_compounds()
    (phase,) = (phase for phase in compounds.phases if phase.formula == formula)
    return formation_of_unit(phase, find_elements(compounds))


def _added(sample: Sample | None, fit: Coefficients) -> float:
    """Correction of a formula unit, eV."""
    return 0.0 if sample is None else fit.predict(sample) * sample.n_oxygen


def write_reaction(reaction: Mapping[str, float]) -> str:
    """`LiI + 3 Li2O -> LiIO3 + 6 Li`."""

    def side(sign: float) -> str:
        terms = [(formula, sign * n) for formula, n in reaction.items() if sign * n > 0]
        return " + ".join(formula if n == 1 else f"{n:g} {formula}" for formula, n in terms)

    return f"{side(-1)} -> {side(1)}"


def _row(method: str, metric: str, value: float, n: int) -> Row:
    return Row("truth", "window_oxoanion", method, metric, value, "V", n, 0.0)
