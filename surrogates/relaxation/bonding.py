"""Neighbours and bonds of ions: polyhedra, covalent units and pairs of anions in a crystal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from surrogates.pairs import find_pairs

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Number of a site, and its cell's translation along the three axes.
Neighbour = tuple[int, int, int, int]
# Two sites, the smaller number first, and the translation of the second.
Bond = tuple[int, int, int, int, int]

# Weight from which an ion is a neighbour: up to 1.17 times the mean bond, as in pymatgen's EconNN.
NEIGHBOUR_WEIGHT = 0.2
# Weight below which a neighbour is lost: 1.28 times the mean bond. Chosen: the long bond of PbTiO3, 2.39 Å, has 0.06, and
# its octahedron counts as distorted; that of PbVO3, 3.00 Å, has none, and its vanadium counts as five-coordinate.
LOST_WEIGHT = 0.03
# Weight from which another ion is a neighbour too: up to 1.09 times the mean bond (chosen, above NEIGHBOUR_WEIGHT).
GAINED_WEIGHT = 0.5
NEIGHBOUR_REACH = 2.2  # times the nearest distance: farther neighbours have weights below 1e-40
# Å beyond the sum of covalent radii up to which atoms are bonded, as in the Cambridge Structural Database:
# F. H. Allen et al., J. Chem. Inf. Comput. Sci. 31, 187 (1991).
BOND_TOLERANCE = 0.4
# Times its length before, up to which a bond is the same: 1.80 Å for P-O (1.54), 2.40 Å for P-S (2.05). Chosen.
SAME_BOND_STRETCH = 1.17
# Most neighbours of a polyhedron that tilts leave whole; larger cages lose some in every tilted perovskite. Chosen.
MAX_FRAMEWORK_NEIGHBOURS = 6
ALKALI_METALS = frozenset({"Li", "Na", "K", "Rb", "Cs"})


@dataclass(frozen=True, slots=True)
class Ions:
    """Ions of a crystal at some positions.

    Attributes:
        symbols: of n sites.
        states: n oxidation states, means of mixed valence; 0 where unknown.
        lattice: shape (3, 3), rows in Å.
        positions: shape (n, 3), fractional.
    """

    symbols: tuple[str, ...]
    states: tuple[float, ...]
    lattice: FloatArray
    positions: FloatArray

    def find_pairs(self, reach: float) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
        """Find all pairs of ions within `reach` (Å), each in both directions.

        Returns:
            For p pairs: first (p,), second (p,), translation of the second in cells (p, 3), distance in Å (p,).
        """
        inside = np.floor(self.positions).astype(np.int64)
        points = (self.positions - inside) @ self.lattice
        first, second, image, distance = find_pairs(points, self.lattice, reach)
        return first, second, np.rint(image).astype(np.int64) - inside[second] + inside[first], distance


def effective_weights(distances: FloatArray) -> FloatArray:
    """Weights (k,) of an ion's neighbours, 1 at the mean bond.

    The weight is 0.5 at 1.09 and 0.2 at 1.17 times the mean bond.

    Args:
        distances: shape (k,), Å; k at least 1.

    Source:
        R. Hoppe, Z. Kristallogr. 150, 23 (1979): effective coordination numbers, mean bond lengths by iteration.
    """
    mean = float(distances.min())
    for _ in range(100):
        weights = np.exp(1.0 - np.minimum((distances / mean) ** 6, 700.0))
        after = float((weights * distances).sum() / weights.sum())
        if abs(after - mean) < 1e-6:
            break
        mean = after
    found: FloatArray = np.exp(1.0 - np.minimum((distances / mean) ** 6, 700.0))
    return found


def weigh_neighbours(ions: Ions, centres: Collection[int]) -> dict[int, dict[Neighbour, float]]:
    """Weights of the neighbours of opposite charge, by centre.

    Where no ion has the opposite charge, neighbours of any charge count.

    Args:
        ions: at their positions.
        centres: numbers of sites.
    """
    reach = NEIGHBOUR_REACH * 1.5
    while True:
        first, second, image, distance = ions.find_pairs(reach)
        signs = np.sign(ions.states)
        unlike = signs[first] * signs[second] < 0
        if not unlike.any() and (signs == signs[0]).all():
            unlike = np.ones(len(first), dtype=bool)
        rows = {centre: np.flatnonzero(unlike & (first == centre)) for centre in centres}
        nearest = max((distance[row].min(initial=np.inf) for row in rows.values()), default=0.0)
        if nearest * NEIGHBOUR_REACH <= reach or reach > 30.0:
            break
        reach = min(NEIGHBOUR_REACH * nearest + 0.1, 31.0) if np.isfinite(nearest) else 2 * reach
    found = {}
    for centre, row in rows.items():
        row = row[distance[row] <= NEIGHBOUR_REACH * distance[row].min(initial=np.inf)]  # noqa: PLW2901 - rows within reach
        weights = effective_weights(distance[row]) if len(row) else np.zeros(0)
        names: list[Neighbour] = [(int(second[k]), *image[k].tolist()) for k in row]
        found[centre] = dict(zip(names, weights.tolist(), strict=True))
    return found


def select_neighbours(weights: Mapping[Neighbour, float]) -> frozenset[Neighbour]:
    """Select the neighbours whose weight counts, from `weights` by neighbour."""
    return frozenset(name for name, weight in weights.items() if weight >= NEIGHBOUR_WEIGHT)


def has_same_neighbours(before: frozenset[Neighbour], after: Mapping[Neighbour, float]) -> bool:
    """True if an ion has the neighbours it had, and no others.

    Between the weight at which a neighbour is gained and the one at which it is lost nothing changes, so that a
    bond at a limit does not decide.

    Args:
        before: its neighbours before.
        after: weight of each neighbour after.
    """
    kept = all(after.get(name, 0.0) >= LOST_WEIGHT for name in before)
    return kept and all(name in before for name, weight in after.items() if weight >= GAINED_WEIGHT)


def count_neighbours(before: frozenset[Neighbour], after: Mapping[Neighbour, float]) -> tuple[int, int]:
    """Count the neighbours that stayed, and the new ones.

    The limits are those of `has_same_neighbours`.

    Args:
        before: neighbours before.
        after: weight of each neighbour after.
    """
    stayed = sum(after.get(name, 0.0) >= LOST_WEIGHT for name in before)
    return stayed, sum(name not in before and weight >= GAINED_WEIGHT for name, weight in after.items())


def choose_centres(ions: Ions, neighbours: Mapping[int, frozenset[Neighbour]]) -> tuple[int, ...]:
    """Choose the sites whose polyhedra define a structure.

    These are the ions of the rarer sign of charge (anions in anti-structures, else cations) with at most six
    neighbours, without alkali ions, which wander, where others are left.

    Args:
        ions: of the structure.
        neighbours: of every site.
    """
    signs = np.sign(ions.states)
    anions, cations = np.flatnonzero(signs < 0), np.flatnonzero(signs > 0)
    rarer = anions if 0 < len(anions) < len(cations) else cations if len(cations) else np.arange(len(signs))
    bonded = [int(k) for k in rarer if neighbours[int(k)]]
    still = [k for k in bonded if ions.symbols[k] not in ALKALI_METALS] or bonded
    small = [k for k in still if len(neighbours[k]) <= MAX_FRAMEWORK_NEIGHBOURS]
    if small or not still:
        return tuple(small)
    fewest = min(len(neighbours[k]) for k in still)
    return tuple(k for k in still if len(neighbours[k]) == fewest)


# Covalent bonds.


def find_covalent_bonds(ions: Ions, before: Mapping[Bond, float] | None = None) -> dict[Bond, float]:
    """Length in Å of each bond between nonmetals.

    Args:
        ions: at their positions.
        before: bonds there were; one of them counts until it is longer than 1.17 times its length then and the
            sum of covalent radii.

    Source:
        Radii: Cordero et al., Dalton Trans. 2832 (2008), through ASE; 0.4 Å beyond their sum, as in the
            Cambridge Structural Database.
    """
    from ase.data import atomic_numbers, covalent_radii

    able = np.array([_is_nonmetal(symbol) for symbol in ions.symbols])
    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in ions.symbols])
    if not able.any():
        return {}
    first, second, image, distance = ions.find_pairs(2 * float(radii[able].max()) + BOND_TOLERANCE)
    sums = radii[first] + radii[second]
    found: dict[Bond, float] = {}
    for k in np.flatnonzero(able[first] & able[second] & (distance < sums + BOND_TOLERANCE)):
        bond = name_bond(int(first[k]), int(second[k]), image[k].tolist())
        length = float(distance[k])
        limit = max(SAME_BOND_STRETCH * before[bond], float(sums[k])) if before and bond in before else np.inf
        if length <= limit:
            found[bond] = length
    return found


def _is_nonmetal(symbol: str) -> bool:
    from pymatgen.core import Element

    element = Element(symbol)
    return not (element.is_metal or element.is_noble_gas)


def name_bond(first: int, second: int, image: Sequence[int]) -> Bond:
    """One name for a bond seen from either end.

    Args:
        first: number of one site.
        second: number of the other site.
        image: translation of the second site, in cells.
    """
    a, b, c = (int(step) for step in image)
    if (first, second) > (second, first) or (first == second and (a, b, c) < (0, 0, 0)):
        return second, first, -a, -b, -c
    return first, second, a, b, c


def join_units(bonds: Collection[Bond]) -> list[frozenset[int]]:
    """Sites joined by covalent `bonds`, by unit.

    Endless chains and networks are one unit each.
    """
    parent: dict[int, int] = {}

    def find_root(k: int) -> int:
        parent.setdefault(k, k)
        while parent[k] != k:
            k = parent[k]
        return k

    for first, second, *_ in bonds:
        parent[find_root(second)] = find_root(first)
    units: dict[int, set[int]] = {}
    for k in list(parent):
        units.setdefault(find_root(k), set()).add(k)
    return [frozenset(unit) for unit in units.values()]


def select_bonds(unit: frozenset[int], bonds: Collection[Bond]) -> frozenset[Bond]:
    """Select those of `bonds` that have a site of `unit`."""
    return frozenset(bond for bond in bonds if bond[0] in unit or bond[1] in unit)


def make_ions(structure: Structure, states: Mapping[str, float]) -> Ions:
    """Return the ions of a structure.

    Args:
        structure: ordered.
        states: oxidation state by element.
    """
    symbols = tuple(site.specie.symbol for site in structure)
    return Ions(
        symbols,
        tuple(states.get(symbol, 0.0) for symbol in symbols),
        np.asarray(structure.lattice.matrix, dtype=np.float64),
        np.asarray(structure.frac_coords, dtype=np.float64),
    )
