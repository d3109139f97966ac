"""Cluster correlations of orderings, the terms of a cluster expansion.

Each species of a group is a row of functions that are orthogonal over its species (+1 and -1 for two of them). A
correlation is the mean, over all clusters of one kind in the crystal, of the product of their sites' functions.
The kind of a cluster follows from the classes of its sites and their distances in the crystal, not in the supercell:
so kinds are the same for every supercell, and for symmetric images.

Source:
    Sanchez, Ducastelle & Gratias, Physica A 128, 334 (1984).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import TypeAlias

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Descriptor
from invdesign.spaces.ordered_sites.orderings import Orderings
from invdesign.structures.parents import Parent

Shell: TypeAlias = tuple[float, int, int]  # distance in Å, classes of the two sites, ascending
Triangle: TypeAlias = tuple[int, int, int]  # numbers of the shells its sides belong to, ascending

DISTANCE_TOLERANCE = 0.02  # chosen; Å, distances closer than this belong to one shell
CUTOFFS = (4.0, 6.0, 8.0, 11.0, 15.0)  # chosen; Å, the first one with enough shells is used
MAX_TRIPLET_SHELLS = 6  # chosen; sides of triplets come from this many shortest shells
ROUNDING_DIGITS = 10  # chosen; removes rounding errors, which depend on the number of rows in one call
ROWS_PER_BLOCK = 256  # chosen; orderings whose triplets are evaluated at once


@dataclass(frozen=True, eq=False)
class ClusterKinds:
    """Kinds of clusters of a crystal.

    Attributes:
        functions: number of functions of a site, per class of sites.
        shells: kinds of pairs, short ones first.
        triangles: kinds of triplets, small ones first.
    """

    functions: tuple[int, ...]
    shells: tuple[Shell, ...]
    triangles: tuple[Triangle, ...]

    @cached_property
    def width(self) -> int:
        """Number of correlations."""
        pairs = sum(len(self.list_pair_functions(shell)) for shell in self.shells)
        return sum(self.functions) + pairs + len(self.triangles) * len(self.triplet_functions)

    def descriptors(self) -> list[Descriptor]:
        """Names of the correlations, in groups of points, pairs and triplets."""
        found = [
            Descriptor(f"site {number} occupation{_number_suffix(function, functions)}", "points")
            for number, functions in enumerate(self.functions, 1)
            for function in range(functions)
        ]
        for number, shell in enumerate(self.shells, 1):
            length, own = shell[0], self.list_pair_functions(shell)
            found += [
                Descriptor(f"pair {number} at {length:.2f} Å{_number_suffix(place, len(own))}", "pairs")
                for place in range(len(own))
            ]
        for number, sides in enumerate(self.triangles, 1):
            lengths, width = (
                "-".join(f"{self.shells[side][0]:.2f}" for side in sides),
                len(self.triplet_functions),
            )
            found += [
                Descriptor(f"triplet {number} of {lengths} Å{_number_suffix(place, width)}", "triplets")
                for place in range(width)
            ]
        return found

    def list_pair_functions(self, shell: Shell) -> list[tuple[int, int]]:
        """Functions of the first and second site of a pair in `shell`.

        Sites of one class are interchangeable, so each combination is listed once.
        """
        _, first, second = shell
        both = product(range(self.functions[first]), range(self.functions[second]))
        return [(a, b) for a, b in both if first != second or a <= b]

    @cached_property
    def triplet_functions(self) -> list[tuple[int, int, int]]:
        """Functions of the three sites of a triplet, in any order."""
        return list(combinations_with_replacement(range(max(self.functions)), 3))


def _number_suffix(place: int, count: int) -> str:
    """Text that numbers one of several functions; empty for a single one."""
    return f", {place + 1} of {count}" if count > 1 else ""


def find_cluster_kinds(
    unit: Parent, classes: IntArray, functions: Sequence[int], pairs: int, triplets: int
) -> ClusterKinds:
    """Shortest kinds of pairs and smallest kinds of triplets.

    Args:
        unit: the crystal's cell.
        classes: shape (n,), of its sites, the same for symmetric sites of a group; -1 for sites that are fixed.
        functions: number of functions of each class.
        pairs: number of kinds of pairs.
        triplets: number of kinds of triplets.
    """
    varying = np.flatnonzero(classes >= 0)
    tried = ((bonds, _find_shells(bonds, classes[varying])) for bonds in _iterate_cutoffs(unit, varying))
    bonds, shells = next(found for found in tried if len(found[1]) >= pairs or found[0].reach == CUTOFFS[-1])
    shells = shells[:pairs]
    found = {
        tuple(sorted(sides))
        for *_, sides in _iterate_triangles(bonds, classes[varying], shells[:MAX_TRIPLET_SHELLS])
    }
    order = sorted(found, key=lambda sides: (shells[sides[2]][0], sum(shells[s][0] for s in sides), sides))
    return ClusterKinds(tuple(functions), tuple(shells), tuple((a, b, c) for a, b, c in order[:triplets]))


@dataclass(frozen=True, eq=False)
class _Bonds:
    """Pairs of sites within a cutoff, in both directions.

    Sites `first` and `second` (m,), distances (m,) and cutoff `reach` in Å, vectors (m, 3).
    """

    reach: float
    first: IntArray
    second: IntArray
    distance: FloatArray
    vector: FloatArray

    @classmethod
    def find_within(cls, crystal: Parent, sites: IntArray, reach: float) -> _Bonds:
        """Find the pairs within `reach` (Å) among some sites of a crystal.

        Args:
            crystal: any crystal.
            sites: shape (k,), indices of the sites; pairs refer to positions in this array.
            reach: the cutoff, Å.
        """
        from pymatgen.core import Structure

        positions = crystal.positions[sites]
        part = Structure(crystal.lattice, ["H"] * len(sites), positions)
        first, second, image, distance = part.get_neighbor_list(reach, exclude_self=True)
        vector = (positions[second] + image - positions[first]) @ crystal.lattice
        return cls(reach, first.astype(np.int64), second.astype(np.int64), distance, vector)


def _iterate_cutoffs(crystal: Parent, sites: IntArray) -> Iterator[_Bonds]:
    """Iterate over the pairs among some sites within ever larger cutoffs."""
    return (_Bonds.find_within(crystal, sites, reach) for reach in CUTOFFS)


def _find_shells(bonds: _Bonds, classes: IntArray) -> list[Shell]:
    """Shells of pairs: distances grouped by the classes of their sites."""
    shells: list[Shell] = []
    one, other = classes[bonds.first], classes[bonds.second]
    for a, b in sorted({(int(a), int(b)) for a, b in zip(one, other, strict=True) if a <= b}):
        distances = np.sort(bonds.distance[(one == a) & (other == b)])
        parts = np.split(distances, np.flatnonzero(np.diff(distances) > DISTANCE_TOLERANCE) + 1)
        shells += [(float(part.mean()), a, b) for part in parts]
    return sorted(shells)


def _assign_shells(distance: FloatArray, one: IntArray, other: IntArray, shells: Sequence[Shell]) -> IntArray:
    """Shell of each pair, shape (m,); -1 for none."""
    numbers = np.full(len(distance), -1, dtype=np.int64)
    low, high = np.minimum(one, other), np.maximum(one, other)
    for number, (length, a, b) in enumerate(shells):
        numbers[(low == a) & (high == b) & (np.abs(distance - length) < DISTANCE_TOLERANCE)] = number
    return numbers


def _iterate_triangles(
    bonds: _Bonds, classes: IntArray, shells: Sequence[Shell]
) -> Iterator[tuple[int, int, int, Triangle]]:
    """Iterate over triplets: (site, site, site, shells of the sides).

    Each comes from each of its sites and in both directions.
    """
    own = _assign_shells(bonds.distance, classes[bonds.first], classes[bonds.second], shells)
    for apex in range(len(classes)):
        arms = np.flatnonzero((bonds.first == apex) & (own >= 0))
        ends = bonds.second[arms]
        apart = np.linalg.norm(bonds.vector[arms][:, None] - bonds.vector[arms][None, :], axis=2)
        one, other = np.nonzero(apart > DISTANCE_TOLERANCE)
        third = _assign_shells(apart[one, other], classes[ends[one]], classes[ends[other]], shells)
        for a, b, side in zip(one[third >= 0], other[third >= 0], third[third >= 0], strict=True):
            yield apex, int(ends[a]), int(ends[b]), (int(own[arms[a]]), int(own[arms[b]]), int(side))


@dataclass(frozen=True, eq=False)
class Correlations:
    """Cluster correlations of a supercell's orderings.

    Attributes:
        kinds: of the crystal.
        orderings: of the supercell's n varying sites.
        crystal: the supercell.
        sites: shape (n,), indices of the sites that vary.
        classes: shape (n,), of these.
    """

    kinds: ClusterKinds
    orderings: Orderings
    crystal: Parent
    sites: IntArray
    classes: IntArray

    @cached_property
    def _bonds(self) -> _Bonds:
        longest = max((length for length, _, _ in self.kinds.shells), default=0.0)
        return _Bonds.find_within(self.crystal, self.sites, longest + DISTANCE_TOLERANCE)

    @cached_property
    def _functions(self) -> FloatArray:
        """Values of the functions per site and species, shape (n, species, functions).

        0 where a site has fewer species or functions.
        """
        table = np.zeros((self.orderings.n, self.orderings.base, max(self.kinds.functions)))
        for group in self.orderings.groups:
            size = len(group.species)
            table[group.first : group.stop, :size, : size - 1] = site_functions(size)
        return table

    @cached_property
    def _pairs(self) -> tuple[FloatArray, ...]:
        """Weight of each pair of sites (n, n) in a shell, by shell.

        From the first class of the shell to the second.
        """
        bonds = self._bonds
        one, other = self.classes[bonds.first], self.classes[bonds.second]
        numbers = _assign_shells(bonds.distance, one, other, self.kinds.shells)
        found = []
        for number, (_, first, _) in enumerate(self.kinds.shells):
            mine = (numbers == number) & (one == first)
            counts = np.zeros((self.orderings.n, self.orderings.n))
            np.add.at(counts, (bonds.first[mine], bonds.second[mine]), 1.0)
            found.append(counts / max(counts.sum(), 1.0))
        return tuple(found)

    @cached_property
    def _triplets(self) -> tuple[IntArray, ...]:
        """Sites of the triplets of each kind, shape (m, 3), in all orders."""
        shells = self.kinds.shells[:MAX_TRIPLET_SHELLS]
        members: dict[Triangle, list[tuple[int, int, int]]] = {kind: [] for kind in self.kinds.triangles}
        if members:
            for *sites, sides in _iterate_triangles(self._bonds, self.classes, shells):
                a, b, c = sorted(sides)
                if (a, b, c) in members:
                    members[a, b, c].append((sites[0], sites[1], sites[2]))
        return tuple(np.asarray(rows, dtype=np.int64).reshape(-1, 3) for rows in members.values())

    def evaluate_orderings(self, codes: IntArray) -> FloatArray:
        """Correlations (m, width) of the orderings `codes` (m, n)."""
        values = self._functions[np.arange(self.orderings.n), codes]  # shape (m, n, functions)
        columns = [
            values[:, self.classes == number, function].mean(axis=1)
            for number, functions in enumerate(self.kinds.functions)
            for function in range(functions)
        ]
        for shell, weights in zip(self.kinds.shells, self._pairs, strict=True):
            columns += [
                ((values[:, :, a] @ weights) * values[:, :, b]).sum(axis=1)
                for a, b in self.kinds.list_pair_functions(shell)
            ]
        for triplets in self._triplets:
            columns += [
                self._average_triplet(values, triplets, which) for which in self.kinds.triplet_functions
            ]
        # Adding 0.0 turns -0.0 into 0.0, so that features of equal orderings are equal to the last bit.
        return np.round(np.stack(columns, axis=1), ROUNDING_DIGITS) + 0.0

    def _average_triplet(
        self, values: FloatArray, sites: IntArray, which: tuple[int, int, int]
    ) -> FloatArray:
        """Mean product of three functions over the triplets of a kind, shape (m,)."""
        means = np.zeros(len(values))
        if not len(sites):
            return means
        for start in range(0, len(values), ROWS_PER_BLOCK):
            part = values[start : start + ROWS_PER_BLOCK]
            factors = [part[:, sites[:, corner], function] for corner, function in enumerate(which)]
            means[start : start + ROWS_PER_BLOCK] = (factors[0] * factors[1] * factors[2]).mean(axis=1)
        return means


def site_functions(species: int) -> FloatArray:
    """Orthogonal functions of a site, shape (species, species - 1).

    Each has mean 0 and mean square 1 over the species.
    """
    grid = np.linspace(1.0, -1.0, species)
    orthogonal, triangular = np.linalg.qr(np.vander(grid, species, increasing=True))
    functions: FloatArray = orthogonal[:, 1:] * np.sign(np.diag(triangular)[1:]) * np.sqrt(species)
    return functions
