"""Points of the unit cube for crystals on occupied sites."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.protocols import Dimension, Domain
from invdesign.spaces.crystal.rules import CrystalRules, find_fault
from invdesign.spaces.crystal_sites.cells import (
    ANGLE_NAMES,
    RATIOS,
    VOLUME,
    CellAxes,
    keep_inside,
    list_cell_columns,
)
from invdesign.spaces.crystal_sites.combinations import CombinationList
from invdesign.structures.combinations import Combination
from invdesign.structures.sited import SitedCrystal, round_sited

SITES = "sites"
ABSENT = 0.5  # coordinate of the cube for a number that a combination lacks (chosen)


@dataclass(frozen=True, eq=False)
class SiteAxes:
    """Dimensions of a space: combination, cell and free coordinates.

    Attributes:
        rules: elements, compositions, volumes and distances.
        combinations: of space group and occupied sites.
    """

    rules: CrystalRules
    combinations: CombinationList

    @cached_property
    def cell_columns(self) -> tuple[str, ...]:
        """Names of the columns of cells, those that any lattice system of the space has."""
        used = {name for member in self._samples for name in list_cell_columns(member.space_group.system)}
        return tuple(name for name in (VOLUME, *RATIOS, *ANGLE_NAMES) if name in used)

    @cached_property
    def _samples(self) -> tuple[Combination, ...]:
        """One combination per space group."""
        return tuple(own[0] for own in self.combinations.by_group.values())

    @cached_property
    def is_single(self) -> bool:
        """True if there is one combination."""
        return len(self.combinations.members) == 1

    @cached_property
    def domain(self) -> Domain:
        """Domain with the combination, if there is a choice, the cell, and the free coordinates.

        Points of one combination are near where crystals are similar; those of several are not.
        """
        members = self.combinations.members
        free = [member.free for member in members]
        first = 0 if self.is_single else 1
        dimensions = [] if self.is_single else [self._list_choices()]
        dimensions += [Dimension(name, "real") for name in self.cell_columns]
        dimensions += [Dimension(name, "real") for name in self._name_coordinates(max(free))]
        everywhere = set.intersection(
            *(set(list_cell_columns(member.space_group.system)) for member in self._samples)
        )
        conditional = [
            first + place for place, name in enumerate(self.cell_columns) if name not in everywhere
        ]
        start = first + len(self.cell_columns)
        conditional += range(start + min(free), start + max(free))
        return Domain(tuple(dimensions), conditional=tuple(conditional), climbable=self.is_single)

    def _list_choices(self) -> Dimension:
        names = tuple(member.write(self.rules.elements) for member in self.combinations.members)
        return Dimension(SITES, "categorical", choices=names)

    def _name_coordinates(self, most: int) -> list[str]:
        """Names of free coordinates: `O1 x`, of the first site of oxygen, where there is one combination."""
        if not self.is_single:
            return [f"coordinate {number}" for number in range(1, most + 1)]
        (member,) = self.combinations.members
        numbers: Counter[int] = Counter()
        names = []
        for (species, _), position in zip(member.sites, member.positions, strict=True):
            numbers[species] += 1
            site = f"{self.rules.elements[species]}{numbers[species]}"
            names += [f"{site} {axis}" for axis in position.free_axes]
        return names

    @cached_property
    def _scales(self) -> dict[int, CellAxes]:
        """Scales of cells by number of atoms; all compositions are multiples of one formula."""
        rows = self.rules.compositions.rows.tolist()
        return {sum(row): CellAxes(self.rules.volume(row)) for row in rows}

    def scale_cell(self, combination: Combination) -> CellAxes:
        """Scales of the cells of a combination."""
        size = combination.size
        if size not in self._scales:  # sites that are none of the space's
            counts = combination.count_atoms(len(self.rules.elements))
            return CellAxes(self.rules.volume(counts))
        return self._scales[size]

    def measure_cell(self, sited: SitedCrystal) -> dict[str, float]:
        """Coordinates of a crystal's cell in the cube, by column."""
        group = sited.combination.space_group
        return self.scale_cell(sited.combination).to_point(sited.cell, group.system, group.centring)

    def make_sited(
        self, combination: Combination, cell: dict[str, float], coordinates: FloatArray
    ) -> SitedCrystal:
        """Make a crystal from coordinates of its cell in the cube, moved inside where they are at a side.

        Args:
            combination: occupied sites.
            cell: coordinates by column, within [0, 1].
            coordinates: free coordinates, shape (f,).
        """
        group = combination.space_group
        inside = {name: keep_inside(cell[name]) for name in list_cell_columns(group.system)}
        numbers = self.scale_cell(combination).to_cell(inside, group.system, group.centring)
        return round_sited(combination, numbers, coordinates)

    def encode(self, sited: SitedCrystal) -> FloatArray:
        """Point of a crystal, shape (d,), within [0, 1].

        Raises:
            KeyError: its combination is none of the space's.
        """
        members = self.combinations
        place = members.places[sited.combination]
        cell = self.measure_cell(sited)
        head = [] if self.is_single else [(place + 0.5) / len(members.members)]
        point = np.full(len(self.domain.dimensions), ABSENT)
        start = len(head) + len(self.cell_columns)
        point[:start] = [*head, *(cell.get(name, ABSENT) for name in self.cell_columns)]
        point[start : start + len(sited.coordinates)] = sited.coordinates
        inside: FloatArray = np.clip(np.nan_to_num(point, nan=ABSENT), 0.0, 1.0)
        return inside

    def decode(self, point: FloatArray) -> SitedCrystal:
        """Crystal at a `point` (d,) of the cube."""
        members = self.combinations.members
        first = 0 if self.is_single else 1
        place = 0 if self.is_single else min(max(int(point[0] * len(members)), 0), len(members) - 1)
        start = first + len(self.cell_columns)
        values = np.clip(point[first:start], 0.0, 1.0).tolist()
        cell = dict(zip(self.cell_columns, values, strict=True))
        return self.make_sited(members[place], cell, point[start : start + members[place].free])

    def normalise(self, sited: SitedCrystal) -> SitedCrystal:
        """Move a crystal's cell off the sides of the cube; one that breaks a bound stays as it is."""
        cell = self.measure_cell(sited)
        if not all(0.0 <= value <= 1.0 for value in cell.values()):
            return sited
        if all(keep_inside(value) == value for value in cell.values()):
            return sited
        return self.make_sited(sited.combination, cell, sited.coordinates)

    def find_fault(self, sited: SitedCrystal) -> str:
        """Find the first rule that a crystal breaks, in words; empty if it keeps all."""
        if sited.combination not in self.combinations.places:
            name = sited.combination.write(self.rules.elements)
            return f"the sites '{name}' are none of the {len(self.combinations.members):,} of the space"
        for name, value in self.measure_cell(sited).items():
            if np.isnan(value):
                return f"the angles of the cell {list(sited.cell)} allow no volume"
            if name != VOLUME and not 0.0 <= value <= 1.0:
                return f"{name} of the cell {list(sited.cell)} is beyond the bounds of the space"
        try:
            return find_fault(sited.crystal, self.rules)
        except np.linalg.LinAlgError:
            return f"the cell {list(sited.cell)} cannot be reduced"

    def settle(self, sited: SitedCrystal) -> SitedCrystal | None:
        """Normalise a crystal that an operator made; None if it breaks a rule."""
        found = self.normalise(sited)
        return None if self.find_fault(found) else found
