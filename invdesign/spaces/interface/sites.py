"""Sites of an interface whose species may change: groups, transfers of atoms, and their allowed numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.ordered_sites.amounts import MAX_COMPOSITIONS, describe_wide_ranges
from invdesign.spaces.ordered_sites.orderings import Orderings, SiteGroup
from invdesign.spaces.ordered_sites.random_keys import place_by_keys
from invdesign.structures.site_labels import Side

NATIVE = 0  # code of a site that holds what the solid has there: the first species of its group


@dataclass(frozen=True)
class Sublattice:
    """Sublattice of one side whose species may change, the same in all matches.

    Attributes:
        name: of its group of sites in genomes.
        side: of the interface.
        unit_sites: sites of the parent's cell; empty for voids.
        species: what its sites may hold, the native one first: an element or `vacancy`.
        deep: largest depth of its sites, Å.
    """

    name: str
    side: Side
    unit_sites: tuple[int, ...]
    species: tuple[str, ...]
    deep: float

    @property
    def is_void(self) -> bool:
        """True for places that are empty in the solid."""
        return not self.unit_sites


@dataclass(frozen=True)
class Transfer:
    """Transfer of atoms between two sublattices that leaves the composition as it is.

    Attributes:
        name: for columns of points and features, such as `Co-P`.
        ends: (number of a sublattice, code of the foreign species there), one per side.
        most: most pairs of sites.
    """

    name: str
    ends: tuple[tuple[int, int], tuple[int, int]]
    most: int


@dataclass(frozen=True, eq=False)
class VaryingSites:
    """The n sites of one bicrystal whose species may change, group after group, from the plane downwards.

    Attributes:
        sublattices: of all groups.
        transfers: between them.
        places: shape (n,), index of each site among all sites of the bicrystal.
        groups: of the n sites, one per sublattice.
        depth: shape (n,), Å from the plane.
        lateral: shape (n, 2), fractions of the cell in the plane.
    """

    sublattices: tuple[Sublattice, ...]
    transfers: tuple[Transfer, ...]
    places: IntArray
    groups: tuple[SiteGroup, ...]
    depth: FloatArray
    lateral: FloatArray

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def amounts(self) -> IntArray:
        """Allowed numbers of each transfer, shape (c, t), none of any first.

        Raises:
            ValueError: there are too many combinations.
        """
        most = [min(item.most, *(len(self.groups[g]) for g, _ in item.ends)) for item in self.transfers]
        if np.prod([number + 1.0 for number in most]) > MAX_COMPOSITIONS:
            raise ValueError(describe_wide_ranges())
        rows = np.array(list(product(*(range(number + 1) for number in most))), dtype=np.int64)
        kept = (self._count_foreign(rows) <= [len(group) for group in self.groups]).all(axis=1)
        found: IntArray = rows[kept]
        return found

    def _count_foreign(self, amounts: IntArray) -> IntArray:
        """Foreign atoms on each sublattice at given numbers of transfers (c, t), shape (c, sublattices)."""
        taken = np.zeros((len(self.transfers), len(self.groups)), dtype=np.int64)
        for row, item in enumerate(self.transfers):
            for group, _ in item.ends:
                taken[row, group] += 1
        found: IntArray = amounts @ taken
        return found

    @cached_property
    def _columns(self) -> IntArray:
        """First column of each sublattice among the counts of species, shape (sublattices,)."""
        return np.cumsum([0, *(len(group.species) for group in self.groups)])[:-1].astype(np.int64)

    def count_species(self, amounts: IntArray) -> IntArray:
        """Numbers of each species of each sublattice (c, s) at given numbers of transfers (c, t)."""
        width = sum(len(group.species) for group in self.groups)
        step = np.zeros((len(self.transfers), width), dtype=np.int64)
        for row, item in enumerate(self.transfers):
            for group, code in item.ends:
                step[row, self._columns[group] + code] += 1
                step[row, self._columns[group]] -= 1
        native = np.zeros(width, dtype=np.int64)
        native[self._columns] = [len(group) for group in self.groups]
        found: IntArray = native + amounts @ step
        return found

    @cached_property
    def orderings(self) -> Orderings:
        """Orderings of the sites at the allowed compositions, without symmetry."""
        compositions = np.unique(self.count_species(self.amounts), axis=0)
        return Orderings(self.groups, np.arange(len(self), dtype=np.int64)[None], compositions)

    @cached_property
    def _amounts_by_counts(self) -> dict[bytes, IntArray]:
        rows = self.count_species(self.amounts)
        return {row.tobytes(): amount for row, amount in zip(rows[::-1], self.amounts[::-1], strict=True)}

    def find_amounts(self, codes: IntArray) -> IntArray | None:
        """Numbers of transfers (t,) of an ordering `codes` (n,); None where it is not allowed."""
        return self._amounts_by_counts.get(self.orderings.count_species(codes).tobytes())

    def nearest_amounts(self, wanted: FloatArray | IntArray) -> IntArray:
        """Allowed numbers of transfers (t,) nearest to `wanted` (t,)."""
        found: IntArray = self.amounts[int(((self.amounts - wanted) ** 2).sum(axis=1).argmin())]
        return found

    def place_by_keys(self, amounts: IntArray, keys: FloatArray) -> IntArray:
        """Ordering (n,) with the species of each group on its sites in the order of their keys.

        Args:
            amounts: shape (t,), allowed numbers of transfers.
            keys: shape (n,); native species take the sites with the smallest.
        """
        return place_by_keys(self.groups, self.count_species(amounts[None])[0], keys)
