"""Orderings as points of the unit cube: random keys and fractions.

Random keys: Bean, ORSA J. Comput. 6, 154 (1994). The sites of a group in the order of their keys take its species
in turn, as many of each as the composition has. One more dimension per free amount holds its fraction of the sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Dimension, Domain
from invdesign.spaces.ordered_sites.orderings import Orderings, SiteGroup


def count_keys(cells: Sequence[Sequence[SiteGroup]]) -> tuple[int, ...]:
    """Largest number of sites of each group over all cells, which is the number of its keys.

    Cells with fewer sites use the first of these keys.

    Args:
        cells: groups of each cell, those of one name at the same place.
    """
    return tuple(max(map(len, groups)) for groups in zip(*cells, strict=True))


def list_key_columns(groups: Sequence[SiteGroup], keys_per_group: Sequence[int], start: int) -> IntArray:
    """Column of each site's key in a point, shape (n,).

    Args:
        groups: of the n sites.
        keys_per_group: number of keys of each group.
        start: column of the first key.
    """
    starts = np.cumsum([start, *keys_per_group])[:-1].tolist()
    columns = [first + np.arange(len(group)) for first, group in zip(starts, groups, strict=True)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *columns])


def write_keys(groups: Sequence[SiteGroup], codes: IntArray) -> FloatArray:
    """Keys (n,) of an ordering `codes` (n,): the middle of the range of each species."""
    sizes = np.repeat([len(group.species) for group in groups], [len(group) for group in groups])
    keys: FloatArray = (codes + 0.5) / sizes
    return keys


def place_by_keys(groups: Sequence[SiteGroup], counts: IntArray, keys: FloatArray) -> IntArray:
    """Ordering (n,) with the species of each group on its sites in the order of their keys.

    Args:
        groups: of the n sites.
        counts: shape (s,), atoms of each species of each group.
        keys: shape (n,); the first species of a group takes the sites with the smallest.
    """
    codes = np.empty(len(keys), dtype=np.int64)
    column = 0
    for group in groups:
        order = np.argsort(keys[group.first : group.stop], kind="stable")
        here = counts[column : column + len(group.species)]
        codes[group.first + order] = np.repeat(np.arange(len(group.species)), here)
        column += len(group.species)
    return codes


@dataclass(frozen=True, eq=False)
class Axes:
    """Dimensions of orderings: supercell, free amounts and keys of sites.

    Attributes:
        cells: orderings of each supercell; their groups have the same names and species.
    """

    cells: tuple[Orderings, ...]

    @cached_property
    def _cell_axes(self) -> int:
        """Number of dimensions that choose the supercell, 0 or 1."""
        return int(len(self.cells) > 1)

    @cached_property
    def _keys_per_group(self) -> tuple[int, ...]:
        return count_keys([cell.groups for cell in self.cells])

    @cached_property
    def _key_columns(self) -> tuple[IntArray, ...]:
        """Column of each site's key, shape (n,) per supercell."""
        start = self._cell_axes + len(self._free_columns)
        return tuple(list_key_columns(cell.groups, self._keys_per_group, start) for cell in self.cells)

    @cached_property
    def _free_columns(self) -> tuple[int, ...]:
        """Columns of the compositions that vary independently.

        The last varying column of each group follows from the others and is left out.
        """
        varying = [np.ptp(cell.compositions, axis=0) > 0 for cell in self.cells]
        columns = np.flatnonzero(np.any(varying, axis=0)).tolist()
        group_of = [i for i, group in enumerate(self.cells[0].groups) for _ in group.species]
        last = {group_of[column]: column for column in columns}
        return tuple(column for column in columns if column != last[group_of[column]])

    @cached_property
    def _site_totals(self) -> tuple[FloatArray, ...]:
        """Sites of the group of each free amount, shape (free,) per supercell."""
        found = []
        for cell in self.cells:
            sites = np.asarray([len(group) for group in cell.groups for _ in group.species], dtype=np.float64)
            found.append(sites[list(self._free_columns)])
        return tuple(found)

    @cached_property
    def domain(self) -> Domain:
        """Domain with one dimension per supercell choice, free amount and key.

        The choice of the supercell is categorical and there only where there are several.
        """
        groups = self.cells[0].groups
        dimensions = []
        if self._cell_axes:
            numbers = tuple(str(number) for number in range(len(self.cells)))
            dimensions.append(Dimension("cell", "categorical", choices=numbers))
        labels = [f"{group.name}: {species}" for group in groups for species in group.species]
        dimensions += [Dimension(labels[column], "real") for column in self._free_columns]
        for group, places in zip(groups, self._keys_per_group, strict=True):
            dimensions += [Dimension(f"{group.name}.{place + 1}", "real") for place in range(places)]
        return Domain(tuple(dimensions), climbable=False)

    @cached_property
    def width(self) -> int:
        """Number of dimensions."""
        return self._cell_axes + len(self._free_columns) + sum(self._keys_per_group)

    def encode_ordering(self, number: int, codes: IntArray) -> FloatArray:
        """Centre of the points that decode to an ordering, shape (width,).

        Args:
            number: of the supercell.
            codes: the ordering, shape (n,).
        """
        cell = self.cells[number]
        point = np.full(self.width, 0.5)
        if self._cell_axes:
            point[0] = (number + 0.5) / len(self.cells)
        start = self._cell_axes + len(self._free_columns)
        point[self._cell_axes : start] = (
            cell.count_species(codes)[list(self._free_columns)] / self._site_totals[number]
        )
        point[self._key_columns[number]] = write_keys(cell.groups, codes)
        return point

    def decode_point(self, point: FloatArray) -> tuple[int, IntArray]:
        """Supercell's number and ordering (n,) at a `point` (width,) of the unit cube."""
        number = min(int(point[0] * len(self.cells)), len(self.cells) - 1) if self._cell_axes else 0
        cell = self.cells[number]
        start = self._cell_axes + len(self._free_columns)
        counts = self._find_nearest_composition(number, point[self._cell_axes : start])
        return number, place_by_keys(cell.groups, counts, point[self._key_columns[number]])

    def _find_nearest_composition(self, number: int, fractions: FloatArray) -> IntArray:
        """Composition (s,) of a supercell nearest to `fractions` (free,) of its sites."""
        compositions = self.cells[number].compositions
        if len(compositions) == 1:
            only: IntArray = compositions[0]
            return only
        amounts = compositions[:, list(self._free_columns)] / self._site_totals[number]
        chosen: IntArray = compositions[int(((amounts - fractions) ** 2).sum(axis=1).argmin())]
        return chosen
