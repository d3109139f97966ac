"""One match of an interface as its candidates need it: sites that vary, symmetry, placement, charges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.spaces.interface.shifts import STEPS, ShiftRule
from invdesign.spaces.interface.sites import VaryingSites
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.structures.bicrystals.lattices import number_cosets
from invdesign.structures.cells import list_translations

if TYPE_CHECKING:
    from invdesign.structures.bicrystals import Bicrystal

CONTACT_GRID = 4  # shifts along each vector over which the gap at contact is averaged (chosen)
# Share of the sum of two ionic radii at which atoms touch (chosen: over all shifts some ions of one sign always meet, and
# rigid contact at full radii would part the sides by 3 Å, where relaxed interfaces are 2.0 to 2.6 Å apart)
CONTACT_SHARE = 0.85
LEAST_GAP = 0.5  # Å, of the default gap: interlocking surfaces touch later than their atoms' planes (chosen)


@dataclass(frozen=True, eq=False)
class SiteSymmetry:
    """Permutations of the n varying sites of a bicrystal by its symmetry.

    Attributes:
        usable: shape (g,): operations that leave the first plane where it is, and map varying sites onto varying sites.
        sources: shape (g, n): site that each site's species comes from.
        moves: shape (t, n): the same for vectors of the displacement lattice, by class modulo the bicrystal's cell.
        supercell: shape (2, 2), the bicrystal's cell in displacement cells, in Hermite's form.
    """

    usable: BoolArray
    sources: IntArray
    moves: IntArray
    supercell: IntArray

    def permute(self, codes: IntArray, operations: IntArray, whole: IntArray) -> IntArray:
        """Images of an ordering (n,), shape (k, n).

        Args:
            codes: the ordering.
            operations: shape (k,).
            whole: shape (k, 2), cells of displacements that are taken off the shift after each.
        """
        classes = number_cosets(self.supercell, -whole)
        turned = codes[self.sources[operations]]
        found: IntArray = np.take_along_axis(turned, self.moves[classes], axis=1)
        return found


@dataclass(frozen=True, eq=False)
class InterfaceCell:
    """A bicrystal of m sites, voids included, with what varies on it.

    Attributes:
        bicrystal: without voids.
        sites: the n sites whose species may change.
        shifts: allowed shifts and their symmetry.
        symmetry: how operations and whole cells of displacements permute the varying sites.
        gap: Å, where it does not vary.
        natives: m elements of the two solids; empty for voids.
        charges: shape (m,), formal charges of these.
        site_charges: charge of each species of each group, one group after the other.
        positions: shape (m, 3), Å, at no shift and no gap.
        is_film: shape (m,), True for the film.
        layers: shape (m,), number of the layer on its side, 1 at the plane.
        depth: shape (m,), Å from the first plane.
        inner: shape (m,), True for sites deeper than the region.
        cache: what other modules keep of the cell.
    """

    bicrystal: Bicrystal
    sites: VaryingSites
    shifts: ShiftRule
    symmetry: SiteSymmetry
    gap: float
    natives: tuple[str, ...]
    charges: FloatArray
    site_charges: FloatArray
    positions: FloatArray
    is_film: BoolArray
    layers: IntArray
    depth: FloatArray
    inner: BoolArray
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the match."""
        return self.bicrystal.match.name

    @property
    def strain(self) -> float:
        """Largest strain of the strained side."""
        return float(self.bicrystal.match.strain)

    @property
    def area(self) -> float:
        """Area of the cell in the plane, Å²."""
        return float(self.bicrystal.match.area)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Elements that its sites may hold."""
        foreign = {name for group in self.sites.groups for name in group.species}
        return frozenset({*self.natives, *foreign} - {"", VACANCY})

    @cached_property
    def to_shift(self) -> FloatArray:
        """Matrix (2, 2) that turns a displacement in Å, as a row, into fractions of the cell of displacements."""
        return np.asarray(np.linalg.inv(self.bicrystal.displacement_cell), dtype=np.float64)

    # Symmetry.

    @cached_property
    def distinct_shifts(self) -> IntArray:
        """Distinct shifts on the grid, shape (k, 2), in steps."""
        return self.shifts.list_distinct()

    def to_canonical(self, shift: IntArray, codes: IntArray) -> tuple[IntArray, IntArray]:
        """Smallest symmetric image.

        Of the shift first, then of the species among operations that lead to it.

        Args:
            shift: shape (2,), steps.
            codes: shape (n,).
        """
        usable = self.symmetry.usable
        if not codes.any():  # an unmixed interface has the same two planes where they are images
            return self.shifts.reduce(shift, np.ones_like(usable))[0], codes
        smallest, operations, whole = self.shifts.reduce(shift, usable)
        images = np.unique(self.symmetry.permute(codes, operations, whole), axis=0)
        return smallest, images[0]

    # Geometry.

    def place(self, shift: IntArray, gap: float) -> tuple[FloatArray, FloatArray]:
        """Cell and positions of all sites at a shift and a gap.

        Args:
            shift: shape (2,), steps.
            gap: Å.

        Returns:
            (rows in Å, shape (3, 3); positions in Å, shape (m, 3)).
        """
        moved = self.bicrystal.move_film(self.positions, self.is_film, shift / STEPS, gap)
        return self.bicrystal.find_cell(gap), moved

    # Contents.

    def list_occupants(self, codes: IntArray) -> list[str]:
        """Content of all m sites in the ordering `codes` (n,): an element, or `vacancy`."""
        found = [name or VACANCY for name in self.natives]
        places, groups = self.sites.places.tolist(), self.sites.groups
        listed = codes.tolist()
        for group in groups:
            for place in range(group.first, group.stop):
                found[places[place]] = group.species[listed[place]]
        return found

    def list_charges(self, codes: IntArray) -> FloatArray:
        """Formal charges of all m sites in the ordering `codes` (n,), shape (m,)."""
        found = self.charges.copy()
        if len(self.sites):
            found[self.sites.places] = self.site_charges[codes + self.sites.orderings.offsets]
        return found


def list_images_in_plane(plane: FloatArray, reach: float) -> FloatArray:
    """Lattice vectors in the plane within a distance of a cell, and some farther ones, shape (k, 3), Å.

    Args:
        plane: shape (2, 2), vectors in Å.
        reach: Å; atoms may lie one cell outside of it.
    """
    steps = list_translations(plane, reach, beyond=1)
    images = np.zeros((len(steps), 3))
    images[:, :2] = steps @ plane
    return images


def find_contact_gap(
    displacements: FloatArray,
    below: tuple[FloatArray, FloatArray],
    above: tuple[FloatArray, FloatArray],
    images: FloatArray,
) -> float:
    """Gap at which atoms of both sides touch, averaged over shifts, Å.

    Args:
        displacements: shape (2, 2), cell of non-identical displacements, Å.
        below: positions (k, 3) and radii (k,) of the substrate's atoms near the plane, at no shift and no gap.
        above: the same of the film's.
        images: shape (i, 3), lattice vectors in the plane.
    """
    sums = CONTACT_SHARE * (below[1][:, None] + above[1][None, :])
    apart = above[0][None, :] - below[0][:, None]
    gaps = []
    for a in range(CONTACT_GRID):
        for b in range(CONTACT_GRID):
            move = np.array([a, b]) / CONTACT_GRID @ displacements
            lateral = apart[None, :, :, :2] + images[:, None, None, :2] + move
            squares = sums**2 - (lateral**2).sum(axis=-1)
            needed = np.where(squares > 0.0, np.sqrt(np.maximum(squares, 0.0)) - apart[..., 2], 0.0)
            gaps.append(float(needed.max(initial=0.0)))
    return round(max(float(np.mean(gaps)), LEAST_GAP), 2)


def order_by_depth(depth: FloatArray, lateral: FloatArray, members: Sequence[int]) -> list[int]:
    """Order sites from the plane downwards; those of one depth by their place in the plane."""
    own = np.asarray(members, dtype=np.int64)
    keys = (np.round(lateral[own, 1], 4), np.round(lateral[own, 0], 4), np.round(depth[own], 3))
    return [int(own[place]) for place in np.lexsort(keys)]
