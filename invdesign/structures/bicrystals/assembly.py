"""Assembly of bicrystals: both slabs in the common cell, at any shift and gap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.bicrystals.lattices import list_cosets
from invdesign.structures.bicrystals.matches import Match
from invdesign.structures.bicrystals.pairs import PairOperation, PairSymmetry, find_pair_symmetry
from invdesign.structures.bicrystals.slabs import Slab
from invdesign.structures.site_labels import FILM, LAYER, NATIVE, SIDE, SIDES, SUBSTRATE, Side

if TYPE_CHECKING:
    from pymatgen.core import Structure

Boundary = Literal["sandwich", "vacuum"]
DEFAULT_VACUUM = 15.0  # Å; chosen: beyond the reach of pair terms of the potentials


@dataclass(frozen=True, eq=False)
class Bicrystal:
    """Two slabs in one cell, a along x, b in the plane, c along the normal.

    The first plane is at z = 0.

    The substrate's highest atom is at z = 0 and all its atoms are below; the film's lowest atom is at z = gap. Sites of the substrate
    come first.

    Attributes:
        match: both slabs and their common cell.
        boundary: `sandwich` for two planes and no vacuum, `vacuum` for one plane.
        vacuum: Å above the film; 0 for a sandwich.
        elements: n symbols.
        positions: shape (n, 3), Å, at shift 0 and gap 0.
        side: n times `substrate` or `film`.
        layer: shape (n,), number of the atom's layer from the plane, from 1.
        depth: shape (n,), Å from the side's atoms at the plane.
        unit_sites: shape (n,), site of the side's parent.
    """

    match: Match
    boundary: Boundary
    vacuum: float
    elements: tuple[str, ...]
    positions: FloatArray
    side: tuple[Side, ...]
    layer: IntArray
    depth: FloatArray
    unit_sites: IntArray

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def planes_alike(self) -> bool:
        """True if the two planes of a sandwich are images of each other at every shift or at some."""
        return bool(self.symmetry.swaps.any())

    @cached_property
    def symmetry(self) -> PairSymmetry:
        """Symmetry of the pair, in compact arrays."""
        return find_pair_symmetry(self.match, flips=self.boundary == "sandwich")

    @property
    def displacement_cell(self) -> FloatArray:
        """Cell (2, 2) in Å of displacements that give different bicrystals."""
        return self.symmetry.displacement_cell

    @property
    def operations(self) -> tuple[PairOperation, ...]:
        """Operations that lead to the same bicrystal, the identity first."""
        return self.symmetry.operations

    def canonical_shift(self, shift: FloatArray, *, swaps: bool = True) -> tuple[FloatArray, tuple[int, ...]]:
        """Find the canonical one of all shifts that give the same bicrystal.

        Args:
            shift: shape (2,), fractions of the displacement cell.
            swaps: also use operations that exchange the planes of a sandwich.

        Returns:
            Canonical shift (2,) in [0, 1), and the numbers of all operations that lead from `shift` to it.
        """
        return self.symmetry.canonical_shift(shift, swaps=swaps)

    def place(self, shift: FloatArray, gap: float) -> tuple[FloatArray, FloatArray]:
        """Place the film above the substrate.

        Args:
            shift: shape (2,), fractions of the displacement cell, by which the film is moved.
            gap: Å between the highest atom of the substrate and the lowest of the film.

        Returns:
            Cell (3, 3) and positions (n, 3), Å.
        """
        return self.find_cell(gap), self.move_film(self.positions, self._is_film, shift, gap)

    def find_cell(self, gap: float) -> FloatArray:
        """Cell (3, 3) in Å at a gap in Å."""
        match = self.match
        height = match.substrate.thickness + match.film.thickness + gap
        cell = np.zeros((3, 3))
        cell[:2, :2] = match.cell
        cell[2, 2] = height + (gap if self.boundary == "sandwich" else self.vacuum)
        return cell

    def move_film(
        self, positions: FloatArray, is_film: BoolArray, shift: FloatArray, gap: float
    ) -> FloatArray:
        """Move those of m places that belong to the film by a shift and a gap.

        Args:
            positions: shape (m, 3), Å, at shift 0 and gap 0.
            is_film: shape (m,).
            shift: shape (2,), fractions of the displacement cell.
            gap: Å.

        Returns:
            Shape (m, 3), Å.
        """
        moved = positions.copy()
        moved[is_film, :2] += np.asarray(shift, dtype=np.float64) @ self.displacement_cell
        moved[is_film, 2] += gap
        return moved

    @cached_property
    def _is_film(self) -> BoolArray:
        return np.asarray(np.array(self.side) == FILM, dtype=np.bool_)

    def build_structure(
        self, shift: FloatArray, gap: float, elements: tuple[str, ...] | None = None
    ) -> Structure:
        """Build the structure with labels of its sites.

        Args:
            shift: shape (2,), fractions of the displacement cell.
            gap: Å.
            elements: n symbols in place of those of the perfect crystals.
        """
        from pymatgen.core import Structure

        cell, positions = self.place(shift, gap)
        labels = {SIDE: list(self.side), LAYER: self.layer.tolist(), NATIVE: list(self.elements)}
        return Structure(
            cell,
            list(elements or self.elements),
            positions,
            coords_are_cartesian=True,
            to_unit_cell=True,
            site_properties=labels,
        )

    def place_bulk(self, side: Side) -> tuple[FloatArray, tuple[str, ...], FloatArray, IntArray]:
        """Place one period of a side's crystal, strained in the plane as in the bicrystal.

        Returns:
            Cell (3, 3) in Å of one surface cell, the third vector from period to period; elements, positions (p, 3) in Å, and
            sites (p,) of the side's parent.
        """
        slab, _, mapping, flip = _find_side(self.match, side)
        bulk, atoms = slab.bulk_cell()
        # The cell of a turned film is left-handed as it stands; the order of its vectors in the plane is exchanged.
        cell = _map_points(bulk, mapping, flip)
        if flip < 0:
            cell[2] = -cell[2]
        if np.linalg.det(cell) < 0:
            cell = cell[[1, 0, 2]]
        elements = tuple(slab.elements[atom] for atom in atoms)
        return cell, elements, _map_points(slab.positions[atoms], mapping, flip), slab.unit_sites[atoms]

    def place_slab(
        self, side: Side, vacuum: float = DEFAULT_VACUUM
    ) -> tuple[FloatArray, IntArray, FloatArray]:
        """Place one side alone, in the bicrystal's cell in the plane.

        Returns:
            Cell (3, 3) in Å, numbers (m,) of the bicrystal's sites, and their positions (m, 3) in Å.
        """
        slab, *_ = _find_side(self.match, side)
        cell = np.zeros((3, 3))
        cell[:2, :2], cell[2, 2] = self.match.cell, slab.thickness + vacuum
        sites = np.flatnonzero(np.array(self.side) == side)
        return cell, sites, self.positions[sites]


def build_bicrystal(
    match: Match, *, boundary: Boundary = "sandwich", vacuum: float = DEFAULT_VACUUM
) -> Bicrystal:
    """Build the bicrystal of a match.

    Args:
        match: of the two slabs.
        boundary: `sandwich` for two planes without vacuum, `vacuum` for one plane below a vacuum.
        vacuum: Å, read for `vacuum` only.

    Raises:
        InvdesignError: the boundary is none, or the vacuum is too thin to part two surfaces.
    """
    if boundary not in {"sandwich", "vacuum"}:
        raise InvdesignError(f"boundary is sandwich or vacuum, got '{boundary}'")
    if boundary == "vacuum" and not vacuum > 0:
        raise InvdesignError(f"a vacuum is above 0 Å, got {vacuum}")
    slabs = match.substrate, match.film
    parts = [spread_points(match, side, slab.positions) for side, slab in zip(SIDES, slabs, strict=True)]
    counts = [len(part) for part in parts]
    cells = [count // len(slab) for count, slab in zip(counts, slabs, strict=True)]
    return Bicrystal(
        match=match,
        boundary=boundary,
        vacuum=vacuum if boundary == "vacuum" else 0.0,
        elements=sum((slab.elements * n for slab, n in zip(slabs, cells, strict=True)), ()),
        positions=np.concatenate(parts),
        side=(SUBSTRATE,) * counts[0] + (FILM,) * counts[1],
        layer=np.concatenate([np.tile(slab.atomic_layers, n) for slab, n in zip(slabs, cells, strict=True)]),
        depth=np.concatenate(
            [np.tile(-slab.positions[:, 2], n) for slab, n in zip(slabs, cells, strict=True)]
        ),
        unit_sites=np.concatenate(
            [np.tile(slab.unit_sites, n) for slab, n in zip(slabs, cells, strict=True)]
        ),
    )


def spread_points(match: Match, side: Side, points: FloatArray) -> FloatArray:
    """Repeat points of a slab in each surface cell of the common cell, in the bicrystal's frame.

    Args:
        match: of the two slabs.
        side: of the slab.
        points: shape (p, 3), Å, in the slab's frame.

    Returns:
        Shape (cells p, 3), Å, at shift 0 and gap 0: all points of the first surface cell, then those of the next.
    """
    slab, matrix, mapping, flip = _find_side(match, side)
    steps = list_cosets(matrix) @ slab.surface_lattice
    spread = np.repeat(points[None, :, :], len(steps), axis=0)
    spread[:, :, :2] += steps[:, None, :]
    return _map_points(spread.reshape(-1, 3), mapping, flip)


def _find_side(match: Match, side: Side) -> tuple[Slab, IntArray, FloatArray, float]:
    """Slab of a side, its superlattice, its map in the plane, and -1 if it is turned over."""
    if side == SUBSTRATE:
        return match.substrate, match.matrices[0], match.maps[0], 1.0
    return match.film, match.matrices[1], match.maps[1], -1.0


def _map_points(points: FloatArray, mapping: FloatArray, flip: float) -> FloatArray:
    """Map points (m, 3) from a slab's frame to the bicrystal's."""
    found = np.empty_like(points)
    found[:, :2] = points[:, :2] @ mapping
    found[:, 2] = flip * points[:, 2]
    return found
