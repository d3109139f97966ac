"""Measured enthalpies of formation of crystals at 298 K, by reduced formula, and energies of formation of a reference set beside them.

The enthalpies are those of solids in the CRC Handbook of Chemistry and Physics (95th ed., 2014), which the package `chemicals` (MIT
licence; `pip install 'chemicals>=1.3'`) holds, and those of the correction for oxygen (`covalent-oxygen.enthalpies.csv`, each with its
source). Of several solids of one formula the most stable counts. Standard states are those of the tables, but for
phosphorus: tables count from the white form, and no set here has it, so all are converted to the black one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from pymatgen.core import Composition
from truth_windows import KJ_PER_EV, PAPERS

from surrogates.stability.oxygen_fit import find_elements, load_enthalpies
from surrogates.stability.reference import Phase, ReferenceSet


@dataclass(frozen=True, slots=True)
class Pair:
    """A compound with a measured enthalpy of formation.

    Attributes:
        formula: as the set writes it.
        phase: the lowest of this formula in the set.
        elements: symbols.
        computed, measured: eV/atom against the elements.
        source: of the measured value.
    """

    formula: str
    phase: str
    elements: frozenset[str]
    computed: float
    measured: float
    source: str

    @property
    def error(self) -> float:
        """eV/atom."""
        return self.computed - self.measured


@cache
def measured_enthalpies() -> dict[str, tuple[float, str]]:
    """(kJ/mol of the reduced formula, source) by reduced formula, against black phosphorus."""
    found = {**_read_handbook(), **PAPERS}
    for name, (value, source) in load_enthalpies().items():
        text = name.partition("-")[0]  # TeO2-alpha
        reduced, units = Composition(text).get_reduced_formula_and_factor()
        if not Composition(text).is_element:
            found.setdefault(reduced, (value / units, source))
    black, paper = load_enthalpies()["P"]
    return {
        formula: (value - n * black, f"{source}; {paper}")
        if (n := Composition(formula).get_el_amt_dict().get("P", 0))
        else (value, source)
        for formula, (value, source) in found.items()
    }


def _read_handbook() -> dict[str, tuple[float, str]]:
    """Solids of the CRC Handbook with a formula; compounds only."""
    try:
        from chemicals import heat_capacity, search_chemical
    except ImportError as error:
        raise SystemExit(
            "measured enthalpies need the package chemicals: pip install 'chemicals>=1.3'"
        ) from error
    found: dict[str, tuple[float, str]] = {}
    for number, row in heat_capacity.CRC_standard_data.iterrows():
        value = float(row["Hfs"]) / 1e3
        if math.isnan(value):
            continue
        try:
            text = search_chemical(number).formula
        except ValueError:  # not among its identifiers
            continue
        if re.search(r"[+-]|D", text):
            continue
        composition = Composition(text)
        reduced, units = composition.get_reduced_formula_and_factor()
        if not composition.is_element and value / units < found.get(reduced, (math.inf, ""))[0]:
            found[reduced] = (value / units, f"CRC Handbook 2014, CAS {number}")
    return found


def pair_phases(reference: ReferenceSet) -> list[Pair]:
    """Every compound of a set with a measured enthalpy, the lowest phase of its formula, sorted by formula."""
    lowest: dict[str, Phase] = {}
    for phase in reference.phases:
        reduced = str(Composition(phase.composition).reduced_formula)
        if reduced not in lowest or phase.energy_per_atom < lowest[reduced].energy_per_atom:
            lowest[reduced] = phase
    elements = find_elements(reference)
    pairs = []
    for reduced, phase in sorted(lowest.items()):
        composition = Composition(reduced)
        if reduced not in measured_enthalpies() or not set(phase.composition) <= set(elements):
            continue
        value, source = measured_enthalpies()[reduced]
        bare = sum(
            n * elements[symbol].energy_per_atom for symbol, n in composition.get_el_amt_dict().items()
        )
        pairs.append(
            Pair(
                phase.formula, phase.name, frozenset(phase.composition),
                phase.energy_per_atom - bare / composition.num_atoms,
                value / KJ_PER_EV / composition.num_atoms, source,
            )
        )  # fmt: skip
    return pairs
