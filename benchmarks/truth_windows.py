"""Limits of windows from measured enthalpies of formation, and computed ones set against them.

Energies here are those of crystals at 0 K, and the potential's scale was fitted to enthalpies of formation at 298 K. A
limit is therefore compared with the voltage of its reaction from enthalpies; the entropy of a gas (0.2 to 0.3 V for
half a molecule per ion) is in neither. Where Gibbs energies are known, `measured_limit` takes them as well.

The enthalpies come from the package `chemicals` (MIT licence; `pip install 'chemicals>=1.3'`), which holds the tables of the CRC
Handbook of Chemistry and Physics (95th ed., 2014) and of the NIST Chemistry WebBook (doi:10.18434/T4M88Q).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from common import Row, spread_of
from pymatgen.core import Composition

from surrogates.stability.evaluators import relative_energy_error
from surrogates.stability.reference import ReferenceSet
from surrogates.stability.windows import CHARGES, Ion, Reaction, electrochemical_window, window_deviations

KJ_PER_EV = 96.48533212
"""kJ/mol in 1 eV per formula unit (Faraday's constant, CODATA 2018)."""

Kind = Literal["enthalpy", "gibbs"]

NUMBERS = {
    "LiF": "7789-24-4", "LiCl": "7447-41-8", "LiBr": "7550-35-8", "LiI": "10377-51-2", "LiH": "7580-67-8",
    "Li2O": "12057-24-8", "Li2O2": "12031-80-0", "Li2S": "12136-58-2", "Li3N": "26134-62-3",
    "LiOH": "1310-65-2", "LiClO4": "7791-03-9", "Li2SO4": "10377-48-7", "Li3PO4": "10377-52-3",
    "LiNO3": "7790-69-4", "LiNO2": "13568-33-7", "Li2CO3": "554-13-2", "LiBO2": "13453-69-5",
    "NaCl": "7647-14-5", "NaBr": "7647-15-6", "Na2O": "1313-59-3", "Na2O2": "1313-60-6", "NaO2": "12034-12-7",
    "Na2S": "1313-82-2", "Na2SO4": "7757-82-6", "NaClO3": "7775-09-9", "NaClO4": "7601-89-0",
    "B2O3": "1303-86-2", "Al2O3": "1344-28-1", "Al2S3": "1302-81-4", "AlCl3": "7446-70-0", "AlP": "20859-73-8",
    "AlPO4": "7784-30-7", "GeS": "12025-32-0", "In2O3": "1312-43-2", "InBr3": "13465-09-3", "InCl": "13465-10-6",
    "InCl3": "10025-82-8", "PBr5": "7789-69-7", "PCl5": "10026-13-8", "PI3": "13455-01-1", "ICl": "7790-99-0", "P3N5": "17739-47-8",
    "SO3": "7446-11-9", "SeO2": "7446-08-4", "TeBr4": "10031-27-3", "TeCl4": "10026-07-0", "TeO2": "7446-07-3",
    "ScBr3": "13465-59-3", "ScCl3": "10361-84-9", "YCl3": "10361-92-9", "Y2O3": "1314-36-9", "La2O3": "1312-81-8",
    "TiCl2": "10049-06-6", "TiCl3": "7705-07-9", "TiO": "12137-20-1", "Ti2O3": "1344-54-3", "Ti3O5": "12065-65-5",
    "TiO2": "1317-80-2", "ZrCl4": "10026-11-6", "ZrO2": "1314-23-4", "Nb2O5": "1313-96-8", "NbO": "12034-57-0",
    "NbO2": "12034-59-2", "MnCl2": "7773-01-5", "MnO": "1344-43-0", "Mn2O3": "1317-34-6", "Mn3O4": "1317-35-7",
    "MnO2": "1313-13-9", "MnS": "18820-29-6", "FeCl2": "7758-94-3", "FeO": "1345-25-1", "Fe2O3": "1309-37-1",
    "Fe3O4": "1317-61-9", "FeS": "1317-37-9", "FeS2": "1317-66-4", "CoCl2": "7646-79-9", "CoO": "1307-96-6",
    "Co3O4": "1308-06-1", "CoS": "1317-42-6", "NiCl2": "7718-54-9", "NiS": "16812-54-7",
}  # fmt: skip
"""CAS number by formula, of solids of which `chemicals` knows an enthalpy of formation."""

PAPERS: dict[str, tuple[float, str]] = {
    "PCl3": (
        -326.8,
        "CRC Handbook 2014: the liquid (-319.7) less its enthalpy of fusion (7.1), both in chemicals",
    ),
    "Li2Se": (
        -401.66,
        "SGTE, Thermodynamic Properties of Inorganic Materials, Landolt-Boernstein IV/19 (Springer, Berlin, 1999)",
    ),
}
"""Enthalpy of formation in kJ/mol and its source by formula, of solids that `chemicals` does not know as such."""


class NoDatumError(LookupError):
    """No measured value of a phase is at hand."""


@dataclass(frozen=True, slots=True)
class Datum:
    """A measured energy of formation at 298 K.

    Attributes:
        value: eV per formula unit.
        source: where it was published.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class MeasuredLimit:
    """The voltage of a reaction from measured values.

    Attributes:
        value: V against the ion's metal.
        sources: of every compound that takes part.
    """

    value: float
    sources: tuple[str, ...]


def formation_of(formula: str, kind: Kind = "enthalpy") -> Datum:
    """Measured enthalpy or Gibbs energy of formation of a solid, or of an element as it is at 298 K.

    Raises:
        NoDatumError: none is known here.
    """
    composition = Composition(formula)
    if composition.is_element:
        return Datum(0.0, "by definition")
    reduced, factor = composition.get_reduced_formula_and_factor()
    if kind == "enthalpy" and reduced in PAPERS:
        value, source = PAPERS[reduced]
        return Datum(factor * value / KJ_PER_EV, source)
    if reduced not in NUMBERS:
        raise NoDatumError(
            f"no {kind} of formation of {formula} is known here; add it to PAPERS with its source"
        )
    value, table = _looked_up(NUMBERS[reduced], formula, kind)
    return Datum(factor * value / KJ_PER_EV, f"{reduced}: {table}, in chemicals")


def measured_limit(reaction: Mapping[str, float], ion: Ion = "Li", kind: Kind = "enthalpy") -> MeasuredLimit:
    """Voltage at which a reaction gives off the ion, from measured energies of formation.

    Args:
        reaction: formula units by formula, reactants negative, with the ion's metal: `{"LiF": -1, "F2": 0.5, "Li": 1}`.
        ion: the working ion.
        kind: of the energies.

    Raises:
        ValueError: the reaction is not balanced, or exchanges no ions.
        NoDatumError: a phase has no measured value.
    """
    ions = reaction.get(ion, 0.0)
    if not ions:
        raise ValueError(f"the reaction exchanges no {ion}: {dict(reaction)}")
    left: dict[str, float] = {}
    for formula, amount in reaction.items():
        for symbol, count in Composition(formula).get_el_amt_dict().items():
            left[symbol] = left.get(symbol, 0.0) + amount * count
    if any(abs(amount) > 1e-6 for amount in left.values()):
        raise ValueError(f"the reaction is not balanced: {left} is left over of {dict(reaction)}")
    data = {formula: formation_of(formula, kind) for formula in reaction}
    energy = sum(amount * data[formula].value for formula, amount in reaction.items())
    compounds = [formula for formula in reaction if not Composition(formula).is_element]
    return MeasuredLimit(
        energy / (CHARGES[ion] * ions), tuple(dict.fromkeys(data[formula].source for formula in compounds))
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A computed limit and the measured voltage of the reaction that sets it.

    Attributes:
        formula: of the phase or the mixture.
        reaction: that sets the limit.
        value: V, computed.
        sigma: V, one standard deviation given for it.
        measured: V, from enthalpies at 298 K.
        gibbs: V, from Gibbs energies at 298 K; None where one is not known.
        sources: of the measured values.
    """

    formula: str
    reaction: str
    value: float
    sigma: float
    measured: float
    gibbs: float | None
    sources: tuple[str, ...]

    @property
    def error(self) -> float:
        """V."""
        return self.value - self.measured

    @property
    def covered(self) -> bool:
        """True if the measured limit lies within one standard deviation."""
        return abs(self.error) <= self.sigma


def compare_limit(
    reference: ReferenceSet,
    formula: str,
    side: Literal["oxidation", "reduction"] = "oxidation",
    ion: Ion = "Li",
) -> Comparison:
    """Set a limit of a phase of the set, or of a composition that decomposes, against experiment.

    Args:
        reference: the competing phases.
        formula: where the set has a phase of this composition, its own window is taken, with the energy of the lowest;
            elsewhere that of the decomposition products.
        side: which limit.
        ion: the working ion.

    Raises:
        NoDatumError: a phase of the reaction has no measured value.
        ValueError: no reaction sets this limit.
    """
    composition = Composition(formula)
    energies = [
        phase.energy_per_atom
        for phase in reference.phases
        if Composition(phase.composition).reduced_formula == composition.reduced_formula
    ]
    energy = min(energies, default=float("inf"))
    window = electrochemical_window(reference, composition, energy, ion)
    reaction = window.oxidation_reaction if side == "oxidation" else window.reduction_reaction
    if reaction is None:
        raise ValueError(f"no reaction sets the {side} limit of {formula}")
    amounts = as_amounts(reaction)
    measured = measured_limit(amounts, ion)
    try:
        gibbs = measured_limit(amounts, ion, "gibbs").value
    except NoDatumError:
        gibbs = None
    value = window.oxidation if side == "oxidation" else window.reduction
    deviations = window_deviations(reference, composition, window, ion, relative_energy_error(reference))
    sigma = deviations[f"{side}_limit"]
    return Comparison(formula, str(reaction), value, sigma, measured.value, gibbs, measured.sources)


def print_comparisons(found: Sequence[Comparison]) -> None:
    """The limits as a table in Markdown."""
    print("| phase | reaction | V here | ± | V from enthalpies | error | V from Gibbs energies | source |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for item in found:
        gibbs = "" if item.gibbs is None else f"{item.gibbs:.2f}"
        print(
            f"| {item.formula} | {item.reaction} | {item.value:.2f} | {item.sigma:.2f} | {item.measured:.2f} | "
            f"{item.error:+.2f} | {gibbs} | {'; '.join(item.sources)} |"
        )


def mean_row(task: str, method: str, metric: str, values: Sequence[float], unit: str) -> Row:
    """The mean of some values, with the distance between their quartiles."""
    return Row("truth", task, method, metric, mean(values), unit, len(values), spread_of(values)[1])


def as_amounts(reaction: Reaction) -> dict[str, float]:
    """The reaction of a limit as `measured_limit` takes it: by formula, reactants negative, with the metal."""
    amounts: dict[str, float] = {}
    for sign, side in ((-1.0, reaction.reactants), (1.0, reaction.products)):
        for name, units in side.items():
            formula = reaction.formulas.get(name, name)
            amounts[formula] = amounts.get(formula, 0.0) + sign * units
    return {**amounts, reaction.ion: amounts.get(reaction.ion, 0.0) + reaction.ions}


def _looked_up(number: str, formula: str, kind: Kind) -> tuple[float, str]:
    """A value in kJ/mol from `chemicals`, and the name of its table."""
    try:
        from chemicals import heat_capacity, reaction
    except ImportError as error:
        raise SystemExit(
            "measured enthalpies need the package chemicals: pip install 'chemicals>=1.3'"
        ) from error
    if kind == "gibbs":
        table = heat_capacity.CRC_standard_data
        value = table.at[number, "Gfs"] if number in table.index else float("nan")
        if math.isnan(value):
            raise NoDatumError(f"the CRC Handbook has no Gibbs energy of formation of {formula}")
        return float(value) / 1e3, "CRC Handbook 2014"
    names = {"CRC": "CRC Handbook 2014", "WEBBOOK": "NIST WebBook"}
    for method in reaction.Hfs_methods(number):
        return float(reaction.Hfs(number, method=method)) / 1e3, names.get(method, method)
    raise NoDatumError(f"chemicals has no enthalpy of formation of solid {formula}")
