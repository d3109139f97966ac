"""Energies of formation of a reference set beside measured enthalpies of formation at 298 K.

The enthalpies are those of `truth_windows` and of the correction for oxygen (`covalent-oxygen.enthalpies.csv`), each with its
source. Standard states are those of the tables, but for phosphorus: tables count from the white form, and no set here has it, so all
are converted to the black one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pymatgen.core import Composition
from truth_windows import KJ_PER_EV, NoDatumError, formation_of

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


def measured_enthalpy(formula: str) -> tuple[float, str]:
    """(eV per reduced formula unit against black phosphorus, source) of a compound.

    Raises:
        NoDatumError: none is known here.
    """
    reduced = str(Composition(formula).reduced_formula)
    try:
        datum = formation_of(reduced)
        value, source = datum.value, datum.source
    except NoDatumError:
        if reduced not in _of_the_correction():
            raise
        value, source = _of_the_correction()[reduced]
    phosphorus = Composition(reduced).get_el_amt_dict().get("P", 0)
    black, paper = load_enthalpies()["P"]
    return (value - phosphorus * black / KJ_PER_EV, f"{source}; {paper}") if phosphorus else (value, source)


@cache
def _of_the_correction() -> dict[str, tuple[float, str]]:
    """(eV per reduced formula unit, source) by reduced formula, of the compounds that the correction was fitted to."""
    found = {}
    for name, (value, source) in load_enthalpies().items():
        composition = Composition(name.partition("-")[0])  # TeO2-alpha
        reduced, units = composition.get_reduced_formula_and_factor()
        if not composition.is_element:
            found[reduced] = (value / units / KJ_PER_EV, source)
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
        if composition.is_element:
            continue
        try:
            value, source = measured_enthalpy(reduced)
        except NoDatumError:
            continue
        bare = sum(
            n * elements[symbol].energy_per_atom for symbol, n in composition.get_el_amt_dict().items()
        )
        pairs.append(
            Pair(
                phase.formula, phase.name, frozenset(phase.composition),
                phase.energy_per_atom - bare / composition.num_atoms,
                value / composition.num_atoms, source,
            )
        )  # fmt: skip
    return pairs
