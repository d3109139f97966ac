"""Matching of a crystal before and after a relaxation, site by site.

The displacements are free of drift, strain and choice of cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from pymatgen.core import Structure


# Å. Chosen: half of the shortest distances of unlike ions in solids, so that sites that moved less are surely the same.
CLEAR_DISPLACEMENT = 0.5
# Largest strain along a principal axis at which cells are still seen as the same setting (chosen).
MAX_STRAIN = 0.3
MAX_ANGLE = 20.0  # degrees between settings that are compared (chosen)
MAX_SETTINGS = 48  # operations of the cubic lattice: no lattice has more
MAX_ANCHORS = 12  # sites of the rarest element that are tried as the image of the first (chosen: cost)
# Sites up to which other settings and orders are searched (0.2 s); larger cells are taken as given (chosen: cost).
MAX_SITES = 300


class DifferentCrystalsError(ValueError):
    """Two structures do not hold the same atoms."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two structures of n sites in one order and one setting.

    Attributes:
        before, after: shape (3, 3), lattices, rows in Å.
        start: shape (n, 3), fractional positions before.
        moved: shape (n, 3), displacements in fractions of the cell; their mean is 0.
        order: shape (n,), number of each site in the structure after.
    """

    before: FloatArray
    after: FloatArray
    start: FloatArray
    moved: FloatArray
    order: IntArray

    @property
    def displacements(self) -> FloatArray:
        """Displacements in the cell after, shape (n,), Å.

        Free of drift and of strain.
        """
        found: FloatArray = np.linalg.norm(self.moved @ self.after, axis=1)
        return found

    @property
    def spread(self) -> float:
        """Root mean square displacement, Å."""
        return float(np.sqrt((self.displacements**2).mean()))

    @property
    def end(self) -> FloatArray:
        """Fractional positions after, shape (n, 3).

        No site changes its periodic image.
        """
        found: FloatArray = self.start + self.moved
        return found


def match_sites(before: Structure, after: Structure) -> Match:
    """Match the sites of a structure before and after a relaxation in their given order, where it is the same.

    Equal atoms keep their names then: two slabs sheared against each other are so also where exchanged names of equal atoms would need
    shorter ways. In another order, or a cell in another setting, it is `match_structures`.

    Args:
        before: ordered.
        after: the same atoms in a cell of the same size.

    Raises:
        DifferentCrystalsError: they do not hold the same atoms.
    """
    cells = np.asarray(before.lattice.matrix), np.asarray(after.lattice.matrix)
    same = len(before) == len(after) and bool((_list_symbols(before) == _list_symbols(after)).all())
    if same and _largest_strain(*cells) <= MAX_STRAIN:
        return _match_in_order(before, cells[1], np.asarray(after.frac_coords))
    return match_structures(before, after)


def match_structures(before: Structure, after: Structure) -> Match:
    """Match the sites of a structure before and after a relaxation.

    Where sites moved little in their given order and setting, that is the match. Else orders of equal atoms,
    origins and settings of the cell are tried, and the smallest root mean square displacement counts.

    Args:
        before: ordered.
        after: the same atoms in a cell of the same size.

    Raises:
        DifferentCrystalsError: they do not hold the same atoms.
    """
    symbols, others = _list_symbols(before), _list_symbols(after)
    if sorted(symbols) != sorted(others):
        raise DifferentCrystalsError(
            f"the structures hold different atoms: {before.formula} before, {after.formula} after"
        )
    best: Match | None = None
    if (symbols == others).all():
        best = _match_in_order(before, np.asarray(after.lattice.matrix), np.asarray(after.frac_coords))
    if best is not None and (len(symbols) > MAX_SITES or best.displacements.max() < CLEAR_DISPLACEMENT):
        return best
    for lattice, positions in _list_settings(before, after):
        found = _match_in_setting(before, symbols, lattice, positions, others)
        if best is None or found.spread < best.spread - 1e-9:
            best = found
        if best.displacements.max() < CLEAR_DISPLACEMENT:
            break
    assert best is not None
    return best


def _list_symbols(structure: Structure) -> NDArray[np.str_]:
    return np.array([site.specie.symbol for site in structure])


def _wrap_fractions(fractions: FloatArray) -> FloatArray:
    found: FloatArray = fractions - np.round(fractions)
    return found


def _remove_drift(apart: FloatArray) -> FloatArray:
    """Differences of positions without the common translation.

    Shape (n, 3), nearest images. The first guess of the translation is a mean on the circle, which no boundary
    of the cell splits.
    """
    drift = np.angle(np.exp(2j * np.pi * apart).mean(axis=0)) / (2 * np.pi)
    moved = _wrap_fractions(apart - drift)
    for _ in range(5):
        moved = _wrap_fractions(moved - moved.mean(axis=0))
    found: FloatArray = moved - moved.mean(axis=0)
    return found


def _match_in_order(before: Structure, lattice: FloatArray, positions: FloatArray) -> Match:
    start = np.asarray(before.frac_coords, dtype=np.float64)
    moved = _remove_drift(positions - start)
    return Match(np.asarray(before.lattice.matrix), lattice, start, moved, np.arange(len(start)))


def _list_settings(before: Structure, after: Structure) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield the structure after in all settings near the one before.

    The first is the setting as given, if it is near.

    Yields:
        (lattice, fractional positions).
    """
    lattice, positions = np.asarray(after.lattice.matrix), np.asarray(after.frac_coords)
    if (
        _largest_strain(np.asarray(before.lattice.matrix), lattice) <= MAX_STRAIN
        or len(positions) > MAX_SITES
    ):
        yield lattice, positions
    if len(positions) > MAX_SITES:
        return
    seen = 0
    for other, _, scale in after.lattice.find_all_mappings(before.lattice, ltol=MAX_STRAIN, atol=MAX_ANGLE):
        if abs(abs(np.linalg.det(scale)) - 1.0) > 1e-6:
            continue
        yield np.asarray(other.matrix), positions @ np.linalg.inv(scale)
        seen += 1
        if seen == MAX_SETTINGS:
            return
    if not seen:
        yield lattice, positions


def _largest_strain(before: FloatArray, after: FloatArray) -> float:
    """Largest relative change of length along a principal axis, without rotations."""
    ratio = np.linalg.solve(before @ before.T, after @ after.T)
    stretch = np.sqrt(np.abs(np.linalg.eigvals(ratio)))
    return float(np.abs(stretch - 1.0).max())


def _match_in_setting(
    before: Structure,
    symbols: NDArray[np.str_],
    lattice: FloatArray,
    positions: FloatArray,
    others: NDArray[np.str_],
) -> Match:
    """Match in one setting by the order and origin of smallest displacement."""
    start = np.asarray(before.frac_coords, dtype=np.float64)
    names, counts = np.unique(symbols, return_counts=True)
    rarest = names[counts.argmin()]
    anchor = start[np.flatnonzero(symbols == rarest)[0]]
    best: Match | None = None
    for image in np.flatnonzero(others == rarest)[:MAX_ANCHORS]:
        drift = positions[image] - anchor
        for _ in range(2):  # the second round uses the drift found by the first order
            order = _assign_sites(start + drift, symbols, lattice, positions, others)
            moved = _remove_drift(positions[order] - start)
            drift = drift + _wrap_fractions(positions[order] - start - drift - moved)[0]
        found = Match(np.asarray(before.lattice.matrix), lattice, start, moved, order)
        if best is None or found.spread < best.spread - 1e-9:
            best = found
    assert best is not None
    return best


def _assign_sites(
    expected: FloatArray,
    symbols: NDArray[np.str_],
    lattice: FloatArray,
    positions: FloatArray,
    others: NDArray[np.str_],
) -> IntArray:
    """Number of the site after for each site before.

    Shape (n,), by least squared distances.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.empty(len(symbols), dtype=np.int64)
    for name in np.unique(symbols):
        mine, theirs = np.flatnonzero(symbols == name), np.flatnonzero(others == name)
        apart = _wrap_fractions(positions[theirs][None, :] - expected[mine][:, None]) @ lattice
        rows, columns = linear_sum_assignment((apart**2).sum(axis=2))
        order[mine[rows]] = theirs[columns]
    return order
