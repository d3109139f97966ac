"""Cluster correlations of orderings: what a linear model of their energy is a sum of.

Each species of a group is a row of functions that are orthogonal over its species (+1 and -1 for two of them). A
correlation is the mean, over all clusters of one kind in the crystal, of the product of their sites' functions.
Kinds are told apart by which sites they join and how far apart these are, in the crystal, not in the supercell:
so they are the same for every supercell, and for symmetric images.

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
from invdesign.spaces.ordering.sites import Orderings
from invdesign.structures.parents import Parent

Shell: TypeAlias = tuple[float, int, int]  # distance in Å, classes of the two sites, ascending
Triangle: TypeAlias = tuple[int, int, int]  # numbers of the shells its sides belong to, ascending

DISTANCE_TOLERANCE = 0.02  # Å: distances nearer than that are one
CUTOFFS = (4.0, 6.0, 8.0, 11.0, 15.0)  # Å; the first that holds enough shells is used
MAX_TRIPLET_SHELLS = 6  # triplets are made of that many shortest shells
ROUNDING_DIGITS = (
    10  # correlations are exact but for rounding, which depends on how many are computed together
)
ROWS_PER_BLOCK = 256  # orderings whose triplets are looked at together


@dataclass(frozen=True, eq=False)
class ClusterKinds:
    """Kinds of clusters of a crystal.

    Attributes:
        functions: per class of sites, how many functions its species have.
        shells: kinds of pairs, short ones first.
        triangles: kinds of triplets, small ones first.
    """

    functions: tuple[int, ...]
    shells: tuple[Shell, ...]
    triangles: tuple[Triangle, ...]

    @cached_property
    def width(self) -> int:
        """How many correlations there are."""
        pairs = sum(len(self.list_pair_functions(shell)) for shell in self.shells)
        return sum(self.functions) + pairs + len(self.triangles) * len(self.triplet_functions)

    def descriptors(self) -> list[Descriptor]:
        """What the correlations are, in their order: points, pairs and triplets are a group each."""
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
        """Functions of the first and second site of a pair: those of like sites are interchangeable."""
        _, first, second = shell
        both = product(range(self.functions[first]), range(self.functions[second]))
        return [(a, b) for a, b in both if first != second or a <= b]

    @cached_property
    def triplet_functions(self) -> list[tuple[int, int, int]]:
        """Functions of the three sites of a triplet, in any order."""
        return list(combinations_with_replacement(range(max(self.functions)), 3))


def _number_suffix(place: int, count: int) -> str:
    """Which of several functions of one cluster; nothing where there is one."""
    return f", {place + 1} of {count}" if count > 1 else ""


def find_cluster_kinds(
    unit: Parent, classes: IntArray, functions: Sequence[int], pairs: int, triplets: int
) -> ClusterKinds:
    """The shortest kinds of pairs and the smallest of triplets.

    Args:
        unit: the crystal's cell.
        classes: shape (n,), of its sites, the same for symmetric sites of a group; -1 for sites that are fixed.
        functions: how many functions each class has.
        pairs, triplets: how many kinds.
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
    """Pairs of sites up to some distance, both ways: sites (m,), distances (m,) in Å, vectors (m, 3)."""

    reach: float
    first: IntArray
    second: IntArray
    distance: FloatArray
    vector: FloatArray

    @classmethod
    def find_within(cls, crystal: Parent, sites: IntArray, reach: float) -> _Bonds:
        """Pairs among some sites of a crystal, by their positions among these."""
        from pymatgen.core import Structure

        positions = crystal.positions[sites]
        part = Structure(crystal.lattice, ["H"] * len(sites), positions)
        first, second, image, distance = part.get_neighbor_list(reach, exclude_self=True)
        vector = (positions[second] + image - positions[first]) @ crystal.lattice
        return cls(reach, first.astype(np.int64), second.astype(np.int64), distance, vector)


def _iterate_cutoffs(crystal: Parent, sites: IntArray) -> Iterator[_Bonds]:
    """Pairs among some sites up to ever larger distances."""
    return (_Bonds.find_within(crystal, sites, reach) for reach in CUTOFFS)


def _find_shells(bonds: _Bonds, classes: IntArray) -> list[Shell]:
    shells: list[Shell] = []
    one, other = classes[bonds.first], classes[bonds.second]
    for a, b in sorted({(int(a), int(b)) for a, b in zip(one, other, strict=True) if a <= b}):
        distances = np.sort(bonds.distance[(one == a) & (other == b)])
        parts = np.split(distances, np.flatnonzero(np.diff(distances) > DISTANCE_TOLERANCE) + 1)
        shells += [(float(part.mean()), a, b) for part in parts]
    return sorted(shells)


def _assign_shells(distance: FloatArray, one: IntArray, other: IntArray, shells: Sequence[Shell]) -> IntArray:
    """Shape (m,): the shell each pair belongs to, -1 for none."""
    numbers = np.full(len(distance), -1, dtype=np.int64)
    low, high = np.minimum(one, other), np.maximum(one, other)
    for number, (length, a, b) in enumerate(shells):
        numbers[(low == a) & (high == b) & (np.abs(distance - length) < DISTANCE_TOLERANCE)] = number
    return numbers


def _iterate_triangles(
    bonds: _Bonds, classes: IntArray, shells: Sequence[Shell]
) -> Iterator[tuple[int, int, int, Triangle]]:
    """Every triplet, from each of its sites and both ways round: (site, site, site, shells of the sides)."""
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
        sites: shape (n,), which of its sites vary.
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
        """Shape (n, species, functions): the functions of each species of each site, 0 where there is none."""
        table = np.zeros((self.orderings.n, self.orderings.base, max(self.kinds.functions)))
        for group in self.orderings.groups:
            size = len(group.species)
            table[group.first : group.last, :size, : size - 1] = site_functions(size)
        return table

    @cached_property
    def _pairs(self) -> tuple[FloatArray, ...]:
        """Per shell, shape (n, n): the share of its pairs that join two sites, from first class to second."""
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
        """Per kind, shape (m, 3): its triplets' sites, in all orders."""
        shells = self.kinds.shells[:MAX_TRIPLET_SHELLS]
        members: dict[Triangle, list[tuple[int, int, int]]] = {kind: [] for kind in self.kinds.triangles}
        if members:
            for *sites, sides in _iterate_triangles(self._bonds, self.classes, shells):
                a, b, c = sorted(sides)
                if (a, b, c) in members:
                    members[a, b, c].append((sites[0], sites[1], sites[2]))
        return tuple(np.asarray(rows, dtype=np.int64).reshape(-1, 3) for rows in members.values())

    def evaluate_orderings(self, codes: IntArray) -> FloatArray:
        """Shape (m, width) of orderings (m, n)."""
        values = self._functions[np.arange(self.orderings.n), codes]  # (m, n, functions)
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
        # Not -0.0 either: features of equal orderings are equal to the last bit.
        return np.round(np.stack(columns, axis=1), ROUNDING_DIGITS) + 0.0

    def _average_triplet(
        self, values: FloatArray, sites: IntArray, which: tuple[int, int, int]
    ) -> FloatArray:
        means = np.zeros(len(values))
        if not len(sites):
            return means
        for start in range(0, len(values), ROWS_PER_BLOCK):
            part = values[start : start + ROWS_PER_BLOCK]
            factors = [part[:, sites[:, corner], function] for corner, function in enumerate(which)]
            means[start : start + ROWS_PER_BLOCK] = (factors[0] * factors[1] * factors[2]).mean(axis=1)
        return means


def site_functions(species: int) -> FloatArray:
    """Shape (species, species - 1): functions of a site, of mean 0, orthogonal, with mean square 1 over its species."""
    grid = np.linspace(1.0, -1.0, species)
    orthogonal, triangular = np.linalg.qr(np.vander(grid, species, increasing=True))
    functions: FloatArray = orthogonal[:, 1:] * np.sign(np.diag(triangular)[1:]) * np.sqrt(species)
    return functions
