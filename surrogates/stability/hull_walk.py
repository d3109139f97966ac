"""The lower convex hull along a line of compositions, by the parametric simplex method."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError

LEAST_COST = 1e-10  # eV/atom; a phase this little below the others' plane is on it; chosen
LEAST_PIVOT = 1e-9  # of an amount per amount; smaller ones are rounding; chosen
LEAST_SLOPE = 1e-12  # of an amount along the line; smaller ones are rounding; chosen
LEAST_SEGMENT = 1e-7  # of the line; products that change twice within it change once; chosen
MAX_PIVOTS = 20_000  # chosen; 200 phases of six elements need about 40
BLAND_AFTER = 2_000  # pivots after which the rule that cannot cycle chooses; chosen


def walk_hull(
    fractions: FloatArray, energies: FloatArray, start: FloatArray, end: FloatArray
) -> list[tuple[float, FloatArray]]:
    """Amounts of the most stable phases from one composition to another.

    The phases present at the start are found by the simplex method. Along the line their amounts change linearly, until one is
    used up and another comes in its place (a pivot of the dual simplex method). So all points are exact.

    Args:
        fractions: shape (n, m), of the phases; every element is among them.
        energies: shape (n,), eV/atom, against the elements: those of the lowest elemental phases are 0.
        start, end: shape (m,), fractions.

    Returns:
        Places from 0 to 1 on the line, both included, with the atoms in each phase, shape (n,), per atom; between two of them
        all amounts are linear.

    Raises:
        InvdesignError: the phases do not hold all elements, or the walk does not end.

    Source:
        Gass, Saaty, Naval Res. Logist. Q. 2, 39 (1955), for the method; Bland, Math. Oper. Res. 2, 103 (1977), for the rule
        that cannot cycle.
    """
    walk = _Walk(fractions, energies, start, end)
    walk.minimise_start()
    return walk.follow_line()


class _Walk:
    """A basis: one phase per element, the others absent.

    Args:
        fractions, energies, start, end: as in `walk_hull`.
    """

    def __init__(
        self, fractions: FloatArray, energies: FloatArray, start: FloatArray, end: FloatArray
    ) -> None:
        self._columns, self._costs = np.ascontiguousarray(fractions.T), energies
        self._start, self._step = start, end - start
        pure = fractions > 1.0 - LEAST_PIVOT
        if not pure.any(axis=0).all():
            raise InvdesignError("the phases do not hold all elements: there is no hull")
        costs = np.where(pure, energies[:, None], np.inf)
        self._basis = np.asarray(costs.argmin(axis=0))  # any mixture can be made of the elements
        self._pivots = 0

    def minimise_start(self) -> None:
        """Bring in phases until none lowers the energy at the start of the line."""
        while True:
            inverse, excess = self._price_phases()
            worst = int(excess.argmin())
            if excess[worst] >= -LEAST_COST:
                return
            if self._pivots > BLAND_AFTER:
                worst = int(np.flatnonzero(excess < -LEAST_COST)[0])
            amounts, used = inverse @ self._start, inverse @ self._columns[:, worst]
            possible = np.flatnonzero(used > LEAST_PIVOT)
            ratios = np.maximum(amounts[possible], 0.0) / used[possible]
            self._exchange_phase(self._choose_row(possible, ratios, used), worst)

    def follow_line(self) -> list[tuple[float, FloatArray]]:
        """Exchange phases along the line, and collect the places where they change."""
        inverse, excess = self._price_phases()
        found = [(0.0, self._spread_amounts(inverse, 0.0))]
        while True:
            slopes, amounts = inverse @ self._step, inverse @ self._start
            falling = np.flatnonzero(slopes < -LEAST_SLOPE)
            places = np.maximum(amounts[falling] / -slopes[falling], found[-1][0])
            place = float(places.min(initial=1.0))
            if place > 1.0 - LEAST_SEGMENT:
                return [*found, (1.0, self._spread_amounts(inverse, 1.0))]
            if place > found[-1][0] + LEAST_SEGMENT:
                found.append((place, self._spread_amounts(inverse, place)))
            row = self._choose_row(falling, places, -slopes)
            needed = inverse[row] @ self._columns
            possible = np.flatnonzero(needed < -LEAST_PIVOT)
            if not len(possible):
                raise InvdesignError("the line leaves the compositions that the phases can make")
            ratios = excess[possible] / -needed[possible]
            self._exchange_phase(row, int(possible[np.flatnonzero(ratios <= ratios.min() + LEAST_COST)[0]]))
            inverse, excess = self._price_phases()

    def _price_phases(self) -> tuple[FloatArray, FloatArray]:
        """Inverse of the basis, and the energy of each phase above the plane of those present, shape (n,)."""
        inverse = np.linalg.inv(self._columns[:, self._basis])
        excess = self._costs - (self._costs[self._basis] @ inverse) @ self._columns
        excess[self._basis] = 0.0
        return np.asarray(inverse, dtype=np.float64), excess

    def _choose_row(self, rows: IntArray, ratios: FloatArray, pivots: FloatArray) -> int:
        """Choose the row of the phase that is used up first.

        Of several at once the largest pivot is the most exact; the lowest number, when cycling must be excluded.

        Args:
            rows: shape (k,), rows of the basis in question.
            ratios: shape (k,), where each is used up.
            pivots: shape (m,), of all rows.
        """
        first = rows[ratios <= ratios.min() + LEAST_SLOPE]
        numbers = self._basis[first] if self._pivots > BLAND_AFTER else -pivots[first]
        return int(first[numbers.argmin()])

    def _exchange_phase(self, row: int, phase: int) -> None:
        """Put a `phase` into the place of another in the basis."""
        self._pivots += 1
        if self._pivots > MAX_PIVOTS:
            raise InvdesignError(
                f"the products along the line were not found in {MAX_PIVOTS} exchanges of phases"
            )
        self._basis[row] = phase

    def _spread_amounts(self, inverse: FloatArray, place: float) -> FloatArray:
        """Atoms in each of all phases at a `place` of the line, shape (n,), never negative."""
        amounts = np.zeros(len(self._costs))
        amounts[self._basis] = np.maximum(inverse @ (self._start + place * self._step), 0.0)
        return amounts
