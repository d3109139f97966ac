"""Empty places of a crystal, where an interstitial ion may sit."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.transport.neb.lattices import Crystal, match_points
from surrogates.voids import find_voronoi_corners, list_atom_images

# Å between an interstitial ion and any atom; chosen: lithium has 1.4 Å and more from its neighbours once they have
# given way, and a smaller place relaxes into another one.
SMALLEST_VOID = 1.3
SAME_VOID = 0.7  # Å between places that are one; chosen: half the distance of neighbouring tetrahedral places
CELL_REACH = 8.0  # Å around the cell, from which atoms are taken for its Voronoi vertices; chosen


def find_voids(crystal: Crystal) -> FloatArray:
    """Find the empty places of a crystal, widest first.

    They are the corners of the Voronoi cells of all atoms, those that lie close together merged to the widest, and
    completed by the symmetry of the crystal.

    Args:
        crystal: the host.

    Returns:
        Shape (s, 3), Å, within the cell.
    """
    fractions = crystal.positions @ np.linalg.inv(crystal.cell)
    corners = find_voronoi_corners(crystal.cell, list_atom_images(crystal.cell, fractions, CELL_REACH))
    _, room = match_points(corners, crystal.positions, crystal.cell)
    wide = np.flatnonzero(room >= SMALLEST_VOID)
    places: list[FloatArray] = []
    for k in wide[np.lexsort((*np.round(corners[wide], 3).T, -np.round(room[wide], 3)))]:
        for operation in crystal.operations:
            image = operation.move_points(corners[k : k + 1])
            if not places or match_points(image, np.array(places), crystal.cell)[1][0] > SAME_VOID:
                places.append(image[0])
    return np.array(places).reshape(-1, 3)
