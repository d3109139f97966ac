"""Widest path through a crystal: the largest sphere that travels without end between fixed spheres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray

BLOCK_VOXELS = 16  # voxels along each edge of a block, whose points see the same few ions; chosen
# Ions that can matter to one face of a voxel; chosen: a window of a crystal has three to six.
NEAREST_IONS = 8
FACE_ZOOMS = 4  # halvings of the search on a face; leaves 1/64 of its edge; chosen
MIN_VOXELS = 3  # along an axis, so that a step forwards and one backwards end in different voxels


def widest_path(cell: FloatArray, positions: FloatArray, radii: FloatArray, spacing: float = 0.25) -> float:
    """Radius of the largest sphere that percolates between fixed spheres.

    It percolates in at least one direction. The cell is cut into voxels. Two neighbours are joined by the
    widest place on their common face, and the answer is the largest width at which some way through the faces
    closes on a periodic image of itself. It errs by what a passage can narrow within one voxel, about 3
    spacing^2 / (8 (r + R)) for ions of radius r (0.01 Å for 0.25 Å), and always upwards, but for the face
    search (spacing / 64).

    Args:
        cell: shape (3, 3), lattice vectors in rows, Å.
        positions: shape (n, 3), Å; n > 0.
        radii: shape (n,), Å.
        spacing: longest edge of a voxel, Å.

    Returns:
        Å; negative where even a point cannot pass without entering a sphere.

    Source:
        The largest free sphere: Willems et al., Microporous Mesoporous Mater. 149, 134 (2012). A maximum
            spanning tree with lattice vectors finds it here in place of their Voronoi network, whose radical
            planes are not where spheres of different size are equally far.
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    reduced, _ = minkowski_reduce(cell)
    grid = _Grid.from_cell(np.asarray(reduced, dtype=np.float64), spacing)
    ions = _Ions.with_images(grid.cell, positions, radii)
    widths = _widths_at_centres(grid, ions)
    threshold = grid.percolation_width(widths)
    # A face's widest place is at most half its diagonal from its middle and the width changes no faster than
    # the place: only faces this close to the first answer can change it.
    for block in grid.group_voxels():
        for axis in range(3):
            unsure = block[np.abs(widths[axis, block] - threshold) <= grid.half_diagonal(axis)]
            if len(unsure):
                widths[axis, unsure] = _face_widths(grid, ions, axis, unsure)
    return grid.percolation_width(widths)


@dataclass(frozen=True, slots=True)
class _Ions:
    """Spheres in the cell and its 26 neighbours.

    Attributes:
        positions: shape (m, 3), Å.
        radii: shape (m,), Å.
    """

    positions: FloatArray
    radii: FloatArray

    @classmethod
    def with_images(cls, cell: FloatArray, positions: FloatArray, radii: FloatArray) -> _Ions:
        """Make the spheres of a cell and of the 26 cells around it.

        In a Minkowski-reduced cell the nearest image is never farther than the next cell.

        Args:
            cell: shape (3, 3), reduced, rows in Å.
            positions: shape (n, 3), Å.
            radii: shape (n,), Å.
        """
        inside = (positions @ np.linalg.inv(cell)) % 1.0
        shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
        return cls(((inside + shifts) @ cell).reshape(-1, 3), np.tile(radii, len(shifts)))

    def select_near(self, points: FloatArray, margin: float = 0.0) -> _Ions:
        """Select ions that can have the closest surface near some points.

        Args:
            points: shape (p, 3), Å, near each other.
            margin: Å around each point.
        """
        middle = points.mean(axis=0)
        spread = np.linalg.norm(points - middle, axis=1).max() + margin
        gaps = np.linalg.norm(self.positions - middle, axis=1) - self.radii
        keep = gaps <= gaps.min() + 2 * spread
        return _Ions(self.positions[keep], self.radii[keep])

    def measure_gaps(self, points: FloatArray) -> FloatArray:
        """Distance from each point to each surface, negative inside.

        Args:
            points: shape (p, 3), Å.

        Returns:
            Shape (p, m), Å.
        """
        squares = (points**2).sum(axis=1)[:, None] + (self.positions**2).sum(axis=1)
        squares -= 2 * points @ self.positions.T
        gaps: FloatArray = np.sqrt(np.maximum(squares, 0.0)) - self.radii
        return gaps


@dataclass(frozen=True, slots=True)
class _Grid:
    """Voxels of a cell, numbered in C order.

    Face (a, i) lies between voxel i and the next along axis a.

    Attributes:
        cell: shape (3, 3), Å.
        shape: voxels along each axis.
        index: shape (N, 3), place of each voxel.
    """

    cell: FloatArray
    shape: IntArray
    index: IntArray

    @classmethod
    def from_cell(cls, cell: FloatArray, spacing: float) -> _Grid:
        shape = np.maximum(np.ceil(np.linalg.norm(cell, axis=1) / spacing), MIN_VOXELS).astype(np.int64)
        return cls(cell, shape, np.indices(shape).reshape(3, -1).T)

    def face_centres(self, axis: int, voxels: IntArray) -> FloatArray:
        """Centres of the faces of voxels towards the next along an axis.

        Args:
            axis: number of the axis.
            voxels: numbers of p voxels.

        Returns:
            Shape (p, 3), Å.
        """
        place = self.index[voxels] + 0.5
        place[:, axis] += 0.5
        return np.asarray((place / self.shape) @ self.cell)

    def face_edges(self, axis: int) -> FloatArray:
        """The two edges of a face across `axis`.

        Shape (2, 3), Å.
        """
        others = [other for other in range(3) if other != axis]
        return np.asarray(self.cell[others] / self.shape[others, None])

    def half_diagonal(self, axis: int) -> float:
        """Half of the longer diagonal of a face across `axis`, Å."""
        one, two = self.face_edges(axis)
        return float(max(np.linalg.norm(one + two), np.linalg.norm(one - two)) / 2)

    def group_voxels(self) -> Iterator[IntArray]:
        """Voxels in groups that lie close together."""
        place = self.index // BLOCK_VOXELS
        across = (self.shape - 1) // BLOCK_VOXELS + 1
        code = (place[:, 0] * across[1] + place[:, 1]) * across[2] + place[:, 2]
        order = np.argsort(code, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(code[order])) + 1)

    def next_voxels(self, axis: int) -> tuple[IntArray, IntArray]:
        """Next voxel of each along `axis`, and the lattice vectors crossed.

        Returns:
            Shapes (N,) and (N, 3).
        """
        place = self.index.copy()
        place[:, axis] += 1
        wraps = np.zeros_like(place)
        wraps[:, axis] = place[:, axis] == self.shape[axis]
        place[:, axis] %= self.shape[axis]
        return np.ravel_multi_index(tuple(place.T), tuple(self.shape)), wraps

    def percolation_width(self, widths: FloatArray) -> float:
        """Largest width at which voxels percolate through faces that wide.

        In a maximum spanning tree every other face closes a cycle whose narrowest place is that face itself;
        the cycle percolates where the lattice vectors along it do not add up to zero.

        Args:
            widths: shape (3, N), of each face.
        """
        here = np.tile(np.arange(len(self.index)), 3)
        there, wraps = (
            np.concatenate(parts)
            for parts in zip(*(self.next_voxels(axis) for axis in range(3)), strict=True)
        )
        flat = widths.reshape(-1)
        origin = self._trace_cells(here, there, flat.max() - flat + 1.0)
        winding = (origin[here] + wraps - origin[there]).any(axis=1)
        return float(flat[winding].max())

    def _trace_cells(self, here: IntArray, there: IntArray, cost: FloatArray) -> IntArray:
        """Cell each voxel is reached in along the cheapest spanning tree.

        The tree starts at voxel 0. Shape (N, 3).
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

        count = len(self.index)
        tree = minimum_spanning_tree(csr_array((cost, (here, there)), shape=(count, count)))
        _, parent = breadth_first_order(tree, 0, directed=False)
        parent = np.where(parent < 0, 0, parent).astype(np.int64)
        step = self.index - self.index[parent]
        origin = np.where(step == 1 - self.shape, 1, np.where(step == self.shape - 1, -1, 0))
        origin[0] = 0
        while parent.any():  # pointer jumping: doubles the distance until all point to voxel 0
            origin = origin + origin[parent]
            parent = parent[parent]
        return origin


def _widths_at_centres(grid: _Grid, ions: _Ions) -> FloatArray:
    """Gap to the closest surface in the centre of each face.

    Shape (3, N), Å.
    """
    widths = np.empty((3, len(grid.index)))
    for voxels in grid.group_voxels():
        points = np.concatenate([grid.face_centres(axis, voxels) for axis in range(3)])
        widths[:, voxels] = ions.select_near(points).measure_gaps(points).min(axis=1).reshape(3, -1)
    return widths


def _face_widths(grid: _Grid, ions: _Ions, axis: int, voxels: IntArray) -> FloatArray:
    """Gap to the closest surface at the widest place of each face.

    Shape (p,), Å, of the faces of `voxels` across `axis`.
    """
    edges = grid.face_edges(axis)
    middles = grid.face_centres(axis, voxels)
    ions = ions.select_near(middles, grid.half_diagonal(axis))
    gaps = ions.measure_gaps(middles)
    nearest = np.argpartition(gaps, min(NEAREST_IONS, gaps.shape[1] - 1), axis=1)[:, :NEAREST_IONS]
    centers, radii = ions.positions[nearest] - middles[:, None], ions.radii[nearest]
    far = (centers**2).sum(axis=2)
    steps = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    pattern = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    best = np.zeros((len(voxels), 2))  # in units of the edges
    reach = 0.5
    widest = np.full(len(voxels), -np.inf)
    for _ in range(FACE_ZOOMS):
        tried = np.clip(best[:, None] + reach * pattern, -0.5, 0.5)
        places = tried @ edges
        squares = (places**2).sum(axis=2)[:, :, None] + far[:, None] - 2 * places @ centers.transpose(0, 2, 1)
        width = (np.sqrt(np.maximum(squares, 0.0)) - radii[:, None]).min(axis=2)
        chosen = width.argmax(axis=1)
        rows = np.arange(len(voxels))
        best, widest = tried[rows, chosen], np.maximum(widest, width[rows, chosen])
        reach /= 2
    return widest
