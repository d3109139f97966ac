"""Dimensions of the network that bonds up to a growing length form in a crystal."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray, IntArray

DIMENSIONS = 3
Vector = tuple[int, int, int]


class GrowingNetwork:
    """Components of sites joined by bonds that are added one by one, with the directions in which each is endless.

    A component holds translations that lead from a site to an image of itself; the rank of these is its dimension: 0 of a
    molecule, 1 of a chain, 2 of a layer, 3 of a framework.

    Args:
        sites: number of sites in the cell.
    """

    def __init__(self, sites: int) -> None:
        self._parent = list(range(sites))
        self._offset: list[Vector] = [(0, 0, 0)] * sites  # cell of a site relative to that of its parent
        self._loops: list[list[Vector]] = [[] for _ in range(sites)]
        self._size = [1] * sites

    def _find(self, site: int) -> tuple[int, Vector]:
        """Find the root of a site, and the site's cell relative to the root's."""
        x = y = z = 0
        while self._parent[site] != site:
            dx, dy, dz = self._offset[site]
            x, y, z = x + dx, y + dy, z + dz
            site = self._parent[site]
        return site, (x, y, z)

    def add_bond(self, first: int, second: int, image: Vector) -> bool:
        """Add the bond from a site to the image of another in the cell `image`.

        Returns:
            True if components or their dimensions changed.
        """
        (root, own), (other, their) = self._find(first), self._find(second)
        shift = (
            own[0] + image[0] - their[0],
            own[1] + image[1] - their[1],
            own[2] + image[2] - their[2],
        )
        if root == other:
            return self._add_loop(root, shift)
        if self._size[root] < self._size[other]:
            root, other, shift = other, root, (-shift[0], -shift[1], -shift[2])
        self._parent[other], self._offset[other] = root, shift
        self._size[root] += self._size[other]
        for loop in self._loops[other]:
            self._add_loop(root, loop)
        return True

    def _add_loop(self, root: int, loop: Vector) -> bool:
        """Add a translation to a component, if it is independent of those there."""
        loops = self._loops[root]
        if len(loops) == DIMENSIONS or loop == (0, 0, 0) or not _is_independent(loop, loops):
            return False
        loops.append(loop)
        return True

    def measure_dimensions(self) -> tuple[int, int]:
        """Least and largest dimension of the components."""
        found = [len(self._loops[site]) for site, parent in enumerate(self._parent) if site == parent]
        return min(found), max(found)


def _is_independent(vector: Vector, others: list[Vector]) -> bool:
    """True if an integer vector is no combination of at most two independent others."""
    if not others:
        return True
    a, b, c = others[0]
    x, y, z = vector
    normal = (b * z - c * y, c * x - a * z, a * y - b * x)
    if len(others) == 1:
        return normal != (0, 0, 0)
    p, q, r = others[1]
    return normal[0] * p + normal[1] * q + normal[2] * r != 0


def find_thresholds(sites: int, bonds: IntArray, images: IntArray, lengths: FloatArray) -> FloatArray:
    """Find the lengths of bonds at which the network of a crystal gains dimensions.

    Args:
        sites: number of sites in the cell.
        bonds: shape (b, 2), first and second site.
        images: shape (b, 3), cell of the second site.
        lengths: shape (b,), in any unit.

    Returns:
        Shape (2, 3): lengths up to which bonds are needed for one site, and for all sites, to belong to a component of 1, 2
        and 3 dimensions; NaN where there are not enough bonds.
    """
    network = GrowingNetwork(sites)
    found = np.full((2, DIMENSIONS), np.nan)
    for place in np.argsort(lengths, kind="stable").tolist():
        first, second = bonds[place].tolist()
        x, y, z = images[place].tolist()
        if not network.add_bond(first, second, (x, y, z)):
            continue
        least, largest = network.measure_dimensions()
        for row, dimension in enumerate((largest, least)):
            fresh = found[row, :dimension]
            fresh[np.isnan(fresh)] = lengths[place]
        if least == DIMENSIONS:
            break
    return found
