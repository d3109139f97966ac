"""Phases of a run by composition, and the hulls of their chemical systems."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.stability.lower_hull import (
    SPAN_TOLERANCE,
    hull_energies,
    project_onto_span,
    unreached_fractions,
)

FRACTION_DIGITS = 12  # of atomic fractions: what differs by less is one composition (chosen)
ABOVE_HULL = 1e-6  # eV/atom: a phase this far above the hull does not change it (chosen)

Composition = tuple[tuple[str, float], ...]
"""Symbols in alphabetical order with their atomic fractions."""


@lru_cache(maxsize=65536)
def parse_fractions(formula: str) -> Composition | None:
    """Atomic fractions of a stored formula; None if it is none."""
    from pymatgen.core import Composition as Parsed

    try:
        return to_fractions(Parsed(formula).get_el_amt_dict())
    except (ValueError, KeyError, ArithmeticError):
        return None


def to_fractions(amounts: Mapping[str, float]) -> Composition | None:
    """Atomic fractions of `amounts` of atoms; None if there are none."""
    total = sum(amounts.values())
    if not total > 0:
        return None
    return tuple(
        (symbol, round(amount / total, FRACTION_DIGITS))
        for symbol, amount in sorted(amounts.items())
        if amount
    )


@dataclass(slots=True)
class Lowest:
    """Lowest phase of one composition; infinite energy while there is none.

    Attributes:
        composition: its atomic fractions.
        elements: their symbols.
        formula: as the phase was given.
        candidate: number of the trial; None for a phase of a reference set.
        name: of a phase of a reference set.
        missing: elements without a competing phase, where the hull is not known.
    """

    composition: Composition
    elements: frozenset[str]
    formula: str
    energy: float = math.inf
    candidate: int | None = None
    name: str = ""
    missing: tuple[str, ...] = ()


class PhaseTable:
    """Lowest phase of each composition, and the hull at it.

    The hull at a composition is that of all phases of its elements. It is a function of the set of phases that were added,
    whatever their order. It is not known at a composition that is no mixture of others, except at the ends of the system:
    the elements; compounds named as ends; else, in a system whose compositions span fewer dimensions than its elements
    allow (SrO-TiO2 of fixed charges), compounds that mixed ones contain, and of whose elements nothing else was found.

    Args:
        ends: compositions at the ends of the system, where the user names them.

    Attributes:
        rows: the phases.
        hull: shape (n,), eV/atom, energy of the hull at each; NaN where it is not known.
    """

    def __init__(self, ends: Iterable[Composition] = ()) -> None:
        self._ends = frozenset(ends)
        self._places: dict[Composition, int] = {}
        self._systems: dict[frozenset[str], list[int]] = {}
        self._added: set[int] = set()
        self._lowered: set[int] = set()
        self._unreached: dict[frozenset[str], FloatArray] = {}
        self.rows: list[Lowest] = []
        self.hull: FloatArray = np.empty(0)
        self._surface: FloatArray = np.empty(0)  # the hull also where it is not known

    def place_of(self, composition: Composition) -> int:
        """Row of a composition; -1 if no phase has it."""
        return self._places.get(composition, -1)

    def add_phase(
        self, composition: Composition, formula: str, energy: float, candidate: int | None, name: str = ""
    ) -> int:
        """Add a phase and return its row; `update_hull` is due then.

        Args:
            composition: atomic fractions.
            formula: for people.
            energy: eV/atom.
            candidate: number of the trial; None for a phase of a reference set.
            name: of a phase of a reference set.
        """
        place = self._places.setdefault(composition, len(self.rows))
        if place == len(self.rows):
            elements = frozenset(symbol for symbol, _ in composition)
            self.rows.append(Lowest(composition, elements, formula))
            self._systems.setdefault(elements, []).append(place)
            self._added.add(place)
        row = self.rows[place]
        if energy < row.energy:
            row.energy, row.candidate, row.name = energy, candidate, name
            self._lowered.add(place)
        elif energy == row.energy and _comes_before(candidate, row.candidate):
            row.candidate, row.name = candidate, name  # as if they had been added in order
        return place

    def update_hull(self) -> bool:
        """Compute the hulls that the phases added since the last call may change.

        Returns:
            True if the hull at an earlier composition changed, or the elements that it lacks.
        """
        moved = [place for place in self._lowered if self._may_move_hull(place)]
        if not moved:
            self._lowered.clear()
            return False
        changed = {self.rows[place].elements for place in moved}
        new = {self.rows[place].elements for place in self._added}
        # A new composition may also change which compounds are the ends of the systems that it belongs to.
        larger = [system for system in self._systems if any(other <= system for other in new)]
        due = [
            system
            for system in self._systems
            if any(other <= system for other in changed) or any(system <= other for other in larger)
        ]
        before, missing = self.hull, [row.missing for row in self.rows]
        unknown = np.full(len(self.rows) - len(before), np.nan)
        self.hull, self._surface = np.append(before, unknown), np.append(self._surface, unknown)
        for system in sorted(due, key=sorted):
            self._update_system(system)
        self._added.clear()
        self._lowered.clear()
        known = slice(len(before))
        same = np.array_equal(before, self.hull[known], equal_nan=True)
        return not same or missing[known] != [row.missing for row in self.rows[known]]

    def _may_move_hull(self, place: int) -> bool:
        """True if a phase that was added is at a new composition, or not clearly above the hull."""
        return place in self._added or not self.rows[place].energy > self._surface[place] + ABOVE_HULL

    def _update_system(self, system: frozenset[str]) -> None:
        """Compute the hull at the compositions of exactly these elements."""
        places = self._list_phases(system)
        fractions = self._tabulate_fractions(places, system)
        hull = hull_energies(fractions, np.array([self.rows[place].energy for place in places]))
        own = np.array([self.rows[place].elements == system for place in places])
        missing = self._find_missing(places, fractions, system)
        for at in np.flatnonzero(own).tolist():
            self.rows[places[at]].missing = missing.get(at, ())
            self._surface[places[at]] = hull[at]
            self.hull[places[at]] = np.nan if at in missing else hull[at]

    def _list_phases(self, system: frozenset[str]) -> list[int]:
        """Rows of the phases of these elements, by composition."""
        found = [place for other, places in self._systems.items() if other <= system for place in places]
        return sorted(found, key=lambda place: self.rows[place].composition)

    def _tabulate_fractions(self, places: Sequence[int], system: frozenset[str]) -> FloatArray:
        """Atomic fractions of phases, shape (n, m), elements in alphabetical order."""
        columns = {symbol: column for column, symbol in enumerate(sorted(system))}
        fractions = np.zeros((len(places), len(columns)))
        for at, place in enumerate(places):
            for symbol, fraction in self.rows[place].composition:
                fractions[at, columns[symbol]] = fraction
        return fractions

    def _find_missing(
        self, places: Sequence[int], fractions: FloatArray, system: frozenset[str]
    ) -> dict[int, tuple[str, ...]]:
        """Elements without a competing phase, by position among the phases, where the hull is not known."""
        if len(system) == 1:
            return {}
        if len(self._unreached.get(system, ())) != len(places):  # phases only ever join
            self._unreached[system] = unreached_fractions(fractions)
        left, symbols = self._unreached[system], sorted(system)
        return {
            at: tuple(symbols[column] for column in np.flatnonzero(left[at] > SPAN_TOLERANCE))
            for at in np.flatnonzero(left.any(axis=1)).tolist()
            if not self._is_end(self.rows[places[at]].composition, system, len(places))
        }

    def _is_end(self, composition: Composition, system: frozenset[str], count: int) -> bool:
        """True if a composition is an end of the system, at which the hull is its own lowest phase.

        Args:
            composition: no mixture of others.
            system: its elements.
            count: number of phases of these elements.
        """
        return composition in self._ends if self._ends else self._is_compound_end(system, count)

    def _is_compound_end(self, system: frozenset[str], count: int) -> bool:
        """True if the only compound of these elements is an end of larger systems.

        Args:
            system: elements of the compound.
            count: number of phases of these elements.
        """
        larger = [other for other in self._systems if system < other]
        return count == 1 and bool(larger) and all(self._spans_few_dimensions(other) for other in larger)

    def _spans_few_dimensions(self, system: frozenset[str]) -> bool:
        """True if the compositions of a system span fewer dimensions than its elements allow."""
        fractions = self._tabulate_fractions(self._list_phases(system), system)
        return bool(project_onto_span(fractions).shape[1] < len(system) - 1)


def _comes_before(candidate: int | None, other: int | None) -> bool:
    """True if a trial has a smaller number; phases of a reference set come before trials."""
    return candidate is not None and other is not None and candidate < other
