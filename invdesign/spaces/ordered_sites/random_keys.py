"""Orderings as points of the unit cube: random keys and fractions.

Random keys: Bean, ORSA J. Comput. 6, 154 (1994). The sites of a group in the order of their keys take its species
in turn, as many of each as the composition has. One more dimension per free amount holds its fraction of the sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Dimension, Domain
from invdesign.spaces.ordered_sites.orderings import Orderings


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
        """Largest number of sites per group over all supercells.

        Smaller supercells use the first of these keys.
        """
        return tuple(
            max(len(cell.groups[i]) for cell in self.cells) for i in range(len(self.cells[0].groups))
        )

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
        for group, places in zip(cell.groups, self._keys_per_group, strict=True):
            keys = (codes[group.first : group.stop] + 0.5) / len(group.species)
            point[start : start + len(group)] = keys
            start += places
        return point

    def decode_point(self, point: FloatArray) -> tuple[int, IntArray]:
        """Supercell's number and ordering (n,) at a `point` (width,) of the unit cube."""
        number = min(int(point[0] * len(self.cells)), len(self.cells) - 1) if self._cell_axes else 0
        cell = self.cells[number]
        start = self._cell_axes + len(self._free_columns)
        counts = self._find_nearest_composition(number, point[self._cell_axes : start])
        codes = np.empty(cell.n, dtype=np.int64)
        column = 0
        for group, places in zip(cell.groups, self._keys_per_group, strict=True):
            order = np.argsort(point[start : start + len(group)], kind="stable")
            here = counts[column : column + len(group.species)]
            codes[group.first + order] = np.repeat(np.arange(len(group.species)), here)
            start, column = start + places, column + len(group.species)
        return number, codes

    def _find_nearest_composition(self, number: int, fractions: FloatArray) -> IntArray:
        """Composition (s,) of a supercell nearest to `fractions` (free,) of its sites."""
        compositions = self.cells[number].compositions
        if len(compositions) == 1:
            only: IntArray = compositions[0]
            return only
        amounts = compositions[:, list(self._free_columns)] / self._site_totals[number]
        chosen: IntArray = compositions[int(((amounts - fractions) ** 2).sum(axis=1).argmin())]
        return chosen
