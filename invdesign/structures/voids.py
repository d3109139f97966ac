"""Empty places of a crystal.

Corners of the Voronoi cells of its atoms, merged and completed by symmetry.

Source:
    V. A. Blatov and A. P. Shevchenko, Acta Crystallogr. A 59, 34 (2003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.cells import list_translations, match_points, shorten_vectors
from invdesign.structures.symmetry import LOOSE_SYMPREC, symmetry_dataset

# Å between a place and any atom; chosen: lithium has 1.4 Å and more from its neighbours once they have given way, and a smaller
# place relaxes into another one.
SMALLEST_ROOM = 1.3
SAME_VOID = 0.7  # Å between places that are one; chosen: half the distance of neighbouring tetrahedral places
ATOM_REACH = (
    8.0  # Å around the cell, from which atoms are taken for its Voronoi corners; chosen: no void is as wide
)
MAX_CENTRINGS = 20  # chosen; steps of a place to the symmetry element it nearly lies on, mostly one or two
SAME_POINT = 1e-3  # Å; chosen: images of a place on a symmetry element agree to rounding


@dataclass(frozen=True, eq=False)
class Voids:
    """Places of a crystal where a further atom may sit, those of one orbit next to each other and the widest first.

    Attributes:
        cell: shape (3, 3), rows in Å.
        points: shape (v, 3), Å.
        room: shape (v,), distance to the nearest atom, Å.
        orbits: shape (v,), number of the orbit of symmetric images, from 0.
    """

    cell: FloatArray
    points: FloatArray
    room: FloatArray
    orbits: IntArray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def fractions(self) -> FloatArray:
        """Fractional positions, shape (v, 3), from 0 to 1."""
        inside: FloatArray = np.mod(np.round(self.points @ np.linalg.inv(self.cell), 10), 1.0)
        return inside

    @property
    def multiplicities(self) -> IntArray:
        """Number of places of each orbit, shape (orbits,)."""
        return np.bincount(self.orbits)

    @property
    def distinct(self) -> IntArray:
        """Index of the first place of each orbit, shape (orbits,)."""
        first: IntArray = np.unique(self.orbits, return_index=True)[1].astype(np.int64)
        return first


def find_voids(
    cell: FloatArray,
    fractions: FloatArray,
    numbers: Sequence[int],
    *,
    room: float = SMALLEST_ROOM,
    apart: float = SAME_VOID,
    symprec: float = LOOSE_SYMPREC,
    closed: bool = True,
) -> Voids:
    """Find the empty places of a crystal.

    They are the corners of the Voronoi cells of all atoms; of those that lie close together only the widest is kept.

    Args:
        cell: shape (3, 3), rows in Å.
        fractions: shape (n, 3), fractional positions of the atoms.
        numbers: n integers; symmetry may map atoms with equal ones onto each other.
        room: least distance to any atom, Å.
        apart: places nearer to each other are one, Å.
        symprec: tolerance of the symmetry, Å.
        closed: move a place onto the symmetry element that it nearly lies on, so that every image of a place is one too. Otherwise
            a place stays where it is, and images that are near another place are left out.

    Raises:
        InvdesignError: the symmetry cannot be determined, as with overlapping atoms.
    """
    positions = fractions @ cell
    inverse = np.linalg.inv(cell)
    dataset = symmetry_dataset(cell, fractions, list(numbers), symprec)
    # Rotations and translations of Cartesian positions, x -> x R^T + t.
    rotations = [cell.T @ rotation @ inverse.T for rotation in dataset.rotations]
    shifts = [shift @ cell for shift in dataset.translations]
    corners = find_voronoi_corners(cell, list_atom_images(cell, fractions, ATOM_REACH))
    distances = match_points(corners, positions, cell)[1]
    wide = np.flatnonzero(distances >= room)
    places: list[FloatArray] = []
    orbits: list[int] = []
    for k in wide[np.lexsort((*np.round(corners[wide], 3).T, -np.round(distances[wide], 3)))]:
        point: FloatArray | None = corners[k]
        if closed:
            point = _centre_on_symmetry(corners[k], rotations, shifts, cell, apart)
            if point is None or match_points(point[None], positions, cell)[1][0] < room:
                continue
            if places and match_points(point[None], np.array(places), cell)[1][0] <= apart:
                continue
        orbit = orbits[-1] + 1 if orbits else 0
        for rotation, shift in zip(rotations, shifts, strict=True):
            image = point @ rotation.T + shift
            if not places or match_points(image[None], np.array(places), cell)[1][0] > apart:
                places.append(image)
                orbits.append(orbit)
    found = np.array(places).reshape(-1, 3)
    free = match_points(found, positions, cell)[1] if len(found) else np.zeros(0)
    return Voids(cell, found, free, np.asarray(orbits, dtype=np.int64))


def _centre_on_symmetry(
    point: FloatArray,
    rotations: Sequence[FloatArray],
    shifts: Sequence[FloatArray],
    cell: FloatArray,
    apart: float,
) -> FloatArray | None:
    """Move a point to the mean of its images within a distance, until these are itself.

    None if they never are.

    Args:
        point: shape (3,), Å.
        rotations: of the symmetry operations x -> x R^T + t, Cartesian.
        shifts: their translations, Å.
        cell: shape (3, 3), rows in Å.
        apart: distance of images that are to be one, Å.
    """
    for _ in range(MAX_CENTRINGS):
        images = np.array(
            [rotation @ point + shift for rotation, shift in zip(rotations, shifts, strict=True)]
        )
        away = shorten_vectors(images - point, cell)
        near = np.linalg.norm(away, axis=1) <= apart
        step = away[near].mean(axis=0)
        if np.linalg.norm(away[near], axis=1).max() < SAME_POINT:
            return point
        point = point + step
    return None


def list_atom_images(cell: FloatArray, fractions: FloatArray, reach: float) -> FloatArray:
    """Positions of the atoms of a cell and of the cells around it.

    Args:
        cell: shape (3, 3), rows in Å.
        fractions: shape (n, 3), fractional positions.
        reach: Å around the cell.

    Returns:
        Shape (m n, 3), Å: all atoms in their order, cell after cell.
    """
    images: FloatArray = (np.mod(fractions, 1.0) + list_translations(cell, reach)[:, None, :]).reshape(
        -1, 3
    ) @ cell
    return images


def find_voronoi_corners(cell: FloatArray, images: FloatArray) -> FloatArray:
    """Find the corners within a cell, which have four or more atoms at one distance and none nearer.

    Args:
        cell: shape (3, 3), rows in Å.
        images: of `list_atom_images`, with a reach wider than any void.

    Returns:
        Shape (c, 3), Å.
    """
    from scipy.spatial import Voronoi

    corners = Voronoi(images).vertices
    fractions = corners @ np.linalg.inv(cell)
    inside: FloatArray = corners[((fractions >= -1e-6) & (fractions < 1.0 - 1e-6)).all(axis=1)]
    return inside
