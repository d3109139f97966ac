"""Phases of a chemical system as arrays, once per reference set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.formulas import order_formula, parse_composition, tidy_formula
from surrogates.stability.coverage import require_coverage
from surrogates.stability.reference import Phase, ReferenceSet


@dataclass(frozen=True, eq=False)
class PhaseArrays:
    """Competing phases of a chemical system.

    Attributes:
        symbols: the m elements, in alphabetical order.
        names, formulas: of the n phases.
        fractions: shape (n, m), atomic fractions.
        energies: shape (n,), eV/atom.
        units: shape (n,), atoms in a formula unit.
    """

    symbols: tuple[str, ...]
    names: tuple[str, ...]
    formulas: tuple[str, ...]
    fractions: FloatArray
    energies: FloatArray
    units: FloatArray

    def lowest_energy(self, fractions: FloatArray) -> float | None:
        """Energy of the lowest phase of a composition, eV/atom; None if no phase has it.

        Args:
            fractions: shape (m,), atomic fractions.
        """
        same = np.abs(self.fractions - fractions).max(axis=1) < SAME_COMPOSITION
        return float(self.energies[same].min()) if same.any() else None


SAME_COMPOSITION = 1e-6  # of an atomic fraction; formulas of people have at most four decimals; chosen


def tabulate_phases(reference: ReferenceSet, elements: Iterable[str]) -> PhaseArrays:
    """Tabulate the phases of a set that consist of some elements.

    Args:
        reference: the competing phases.
        elements: symbols of the chemical system.

    Raises:
        MissingReferenceError: an element or a binary edge of the system is missing.
    """
    return _tabulate_system(reference, tuple(sorted(set(elements))))


@lru_cache(maxsize=128)
def _tabulate_system(reference: ReferenceSet, symbols: tuple[str, ...]) -> PhaseArrays:
    require_coverage(reference, symbols)
    phases = reference.select_phases(symbols)
    formulas, units = zip(*(read_formula_unit(phase) for phase in phases), strict=True)
    fractions = np.array([[p.composition.get(s, 0) / p.n_atoms for s in symbols] for p in phases])
    energies = np.array([phase.energy_per_atom for phase in phases])
    atoms = np.array(units, dtype=float)
    for array in (fractions, energies, atoms):
        array.setflags(write=False)  # they are shared
    return PhaseArrays(symbols, tuple(phase.name for phase in phases), formulas, fractions, energies, atoms)


def read_formula_unit(phase: Phase) -> tuple[str, float]:
    """Formula of a `phase`, and the atoms in it.

    The formula is the one of the set where it can be read and is that of the cell, and reduced from the cell otherwise.
    """
    from pymatgen.core import Composition

    cell = Composition(phase.composition)
    try:
        written = parse_composition(phase.formula)
    except InvdesignError:
        written = None
    if written is not None and written.fractional_composition.almost_equals(cell.fractional_composition):
        return tidy_formula(phase.formula), float(written.num_atoms)
    formula, factor = cell.get_reduced_formula_and_factor()
    return order_formula(formula), float(cell.num_atoms / factor)
