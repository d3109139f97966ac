"""Interfaces as points of the unit cube.

Match, shift, gap, numbers of transfers, and a random key per site.

Random keys: Bean, ORSA J. Comput. 6, 154 (1994). The sites of a group in the order of their keys take its species in turn, the
native one first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Dimension, Domain
from invdesign.spaces.interface.genomes import GAP, MATCH, SHIFT, GenomeReader, Placed
from invdesign.spaces.interface.shifts import STEPS, to_steps
from invdesign.spaces.interface.sites import VaryingSites
from invdesign.spaces.ordered_sites.random_keys import count_keys, list_key_columns, write_keys

ABSENT = 0.5  # coordinate of a key whose site a match lacks (chosen)


@dataclass(frozen=True, eq=False)
class InterfaceAxes:
    """Dimensions of a space of interfaces.

    Attributes:
        reader: of the space, with its cells; groups and transfers are the same in all.
    """

    reader: GenomeReader

    @cached_property
    def _sites(self) -> tuple[VaryingSites, ...]:
        return tuple(cell.sites for cell in self.reader.cells)

    @cached_property
    def _most(self) -> IntArray:
        """Most of each transfer in any match, shape (t,)."""
        found: IntArray = np.max([own.amounts.max(axis=0) for own in self._sites], axis=0)
        return found

    @cached_property
    def _keys_per_group(self) -> tuple[int, ...]:
        return count_keys([own.groups for own in self._sites])

    @cached_property
    def _key_columns(self) -> tuple[IntArray, ...]:
        """Column of each site's key, shape (n,) per match."""
        start = self._starts[3]
        return tuple(list_key_columns(own.groups, self._keys_per_group, start) for own in self._sites)

    @property
    def _match_axes(self) -> int:
        """Number of dimensions that choose the match, 0 or 1."""
        return int(len(self.reader.cells) > 1)

    @cached_property
    def _starts(self) -> tuple[int, int, int, int]:
        """First column of shift, gap, numbers and keys."""
        shift = self._match_axes
        gap = shift + 2 * self.reader.shifts
        numbers = gap + int(self.reader.gaps is not None)
        return shift, gap, numbers, numbers + len(self._most)

    @cached_property
    def width(self) -> int:
        """Number of dimensions."""
        return self._starts[3] + sum(self._keys_per_group)

    @cached_property
    def domain(self) -> Domain:
        """Domain with match, shift, gap, numbers of transfers and keys, each only where it varies.

        Near points are similar where only match, shift and gap vary.
        """
        dimensions = []
        if self._match_axes:
            names = tuple(cell.name for cell in self.reader.cells)
            dimensions.append(Dimension(MATCH, "categorical", choices=names))
        if self.reader.shifts:
            dimensions += [Dimension(f"{SHIFT} {axis}", "real", periodic=True) for axis in "ab"]
        if self.reader.gaps is not None:
            dimensions.append(Dimension(GAP, "real", *self.reader.gaps))
        for item, most in zip(self._sites[0].transfers, self._most.tolist(), strict=True):
            dimensions.append(Dimension(item.name, "integer", 0.0, float(most)))
        conditional: list[int] = []
        start = self._starts[3]
        for i, places in enumerate(self._keys_per_group):
            name = self._sites[0].groups[i].name
            dimensions += [Dimension(f"{name}.{place + 1}", "real") for place in range(places)]
            conditional += range(start + min(len(own.groups[i]) for own in self._sites), start + places)
            start += places
        return Domain(tuple(dimensions), conditional=tuple(conditional), climbable=not self._keys_per_group)

    def encode(self, placed: Placed) -> FloatArray:
        """Point (width,) of a code, which decodes to it."""
        cells, own = self.reader.cells, self._sites[placed.match]
        shift, gap, numbers, start = self._starts
        point = np.full(self.width, ABSENT)
        if self._match_axes:
            point[0] = (placed.match + 0.5) / len(cells)
        if self.reader.shifts:
            point[shift:gap] = placed.shift / STEPS
        if self.reader.gaps is not None:
            low, high = self.reader.gaps
            point[gap] = min(max((placed.gap - low) / (high - low), 0.0), 1.0)
        if len(self._most):
            amounts = own.find_amounts(placed.codes)
            assert amounts is not None
            point[numbers:start] = (amounts + 0.5) / (self._most + 1.0)
            point[self._key_columns[placed.match]] = write_keys(own.groups, placed.codes)
        return point

    def decode(self, point: FloatArray) -> Placed:
        """Canonical code at a `point` (width,) of the unit cube."""
        cells = self.reader.cells
        number = min(int(point[0] * len(cells)), len(cells) - 1) if self._match_axes else 0
        cell, own = cells[number], self._sites[number]
        first, gap_column, numbers, start = self._starts
        wanted = to_steps(point[first:gap_column]) if self.reader.shifts else np.zeros(2, np.int64)
        gap = cell.gap
        if self.reader.gaps is not None:
            low, high = self.reader.gaps
            gap = self.reader.round_gap(low + point[gap_column] * (high - low))
        codes = np.zeros(len(own), dtype=np.int64)
        if len(self._most):
            scaled = np.clip(point[numbers:start], 0.0, 1.0) * (self._most + 1.0)
            amounts = own.nearest_amounts(np.minimum(np.floor(scaled), self._most))
            codes = own.place_by_keys(amounts, point[self._key_columns[number]])
        placed = Placed(number, cell.shifts.nearest_allowed(wanted), gap, codes)
        return self.reader.to_canonical(placed)
