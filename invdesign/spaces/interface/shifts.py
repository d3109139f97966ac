"""Shifts of the film over the substrate as whole numbers of a fine grid, and their symmetric images.

A shift is a pair of fractions of the cell of non-identical displacements. On a grid whose number of steps most denominators of
crystallographic translations divide, symmetry maps steps onto steps exactly, so that canonical shifts are stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.candidate import round_number
from invdesign.rng import Rng

STEPS = 1_080_000  # 2^6 3^3 5^4, chosen: below 1e-5 Å in cells of up to 10 Å, divisible by all crystallographic denominators


def to_steps(shift: FloatArray) -> IntArray:
    """Convert shifts (…, 2), fractions, to steps."""
    found: IntArray = np.rint(np.asarray(shift, dtype=np.float64) * STEPS).astype(np.int64)
    return found


def to_fractions(steps: IntArray) -> list[float]:
    """Convert a shift in steps (2,) to rounded fractions, as a genome holds them."""
    return [round_number(step / STEPS) for step in steps.tolist()]


@dataclass(frozen=True, eq=False)
class ShiftRule:
    """Shifts that a space allows on one bicrystal, with the symmetry that maps them onto each other.

    Shifts that differ by whole cells of displacements are images of each other, which permute the sites.

    Attributes:
        rotations: shape (g, 2, 2), whole numbers: the image of a shift is rotation @ shift + translation.
        translations: shape (g, 2), steps.
        grid: shape (2,), number of grid points along both vectors; None for all steps.
        fixed: shape (2,), steps, where the shift does not vary; else None.
    """

    rotations: IntArray
    translations: IntArray
    grid: IntArray | None = None
    fixed: IntArray | None = None

    @cached_property
    def _closed(self) -> BoolArray:
        """Shape (g,): operations that map allowed shifts onto allowed shifts."""
        if self.fixed is not None:
            return np.asarray((np.mod(self.map_steps(self.fixed) - self.fixed, STEPS) == 0).all(axis=1))
        if self.grid is None:
            return np.ones(len(self.rotations), dtype=np.bool_)
        images = np.einsum("gij,pj->gpi", self.rotations, self.list_points()) + self.translations[:, None]
        return np.asarray((self.nearest_allowed(images) == images).all(axis=(1, 2)))

    def map_steps(self, steps: IntArray) -> IntArray:
        """Images of a shift (2,) by all operations, shape (g, 2)."""
        found: IntArray = self.rotations @ steps + self.translations
        return found

    def nearest_allowed(self, steps: IntArray) -> IntArray:
        """Nearest allowed shifts of `steps` (…, 2)."""
        if self.fixed is not None:
            return np.broadcast_to(self.fixed, steps.shape).copy()
        if self.grid is None:
            return steps
        return self._point_steps(np.rint(steps * self.grid / STEPS).astype(np.int64))

    def _point_steps(self, places: IntArray) -> IntArray:
        """Steps of grid points (…, 2)."""
        assert self.grid is not None
        whole, rest = np.divmod(places, self.grid)
        found: IntArray = whole * STEPS + np.rint(rest * (STEPS / self.grid)).astype(np.int64)
        return found

    def list_points(self) -> IntArray:
        """All points of the grid, or the fixed shift, shape (p, 2), in steps."""
        if self.fixed is not None:
            return self.fixed[None]
        assert self.grid is not None
        axes = [np.arange(count) for count in self.grid.tolist()]
        return self._point_steps(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))

    def reduce(self, steps: IntArray, usable: BoolArray) -> tuple[IntArray, IntArray, IntArray]:
        """Smallest symmetric image of a shift, within one cell of displacements.

        Args:
            steps: shape (2,), an allowed shift.
            usable: shape (g,), operations that may be used.

        Returns:
            (the shift (2,); the operations (k,) that lead there; the whole cells (k, 2) to be taken off after each).
        """
        operations = np.flatnonzero(usable & self._closed)
        images = self.rotations[operations] @ steps + self.translations[operations]
        whole, rest = np.divmod(images, STEPS)
        order = rest[:, 0] * STEPS + rest[:, 1]
        leading = order == order.min()
        return rest[int(leading.argmax())], operations[leading], whole[leading]

    def list_distinct(self) -> IntArray:
        """Smallest images of all points of the grid, shape (p, 2), in steps; ascending."""
        every = np.ones(len(self.rotations), dtype=np.bool_)
        found = [self.reduce(point, every)[0] for point in self.list_points()]
        return np.unique(np.array(found).reshape(-1, 2), axis=0)

    def draw(self, rng: Rng) -> IntArray:
        """Draw a shift (2,), all equally likely."""
        return self.nearest_allowed(rng.integers(STEPS, size=2))


def count_grid(lengths: FloatArray, spacing: float, rotations: IntArray) -> IntArray:
    """Number of grid points (2,) along both vectors of the cell of displacements.

    They are even, so that inversions with half translations keep the grid, and equal where a rotation mixes the vectors.

    Args:
        lengths: shape (2,), of the vectors, Å.
        spacing: largest distance of neighbouring points, Å.
        rotations: shape (g, 2, 2), of the shifts.
    """
    counts = 2 * np.maximum(np.ceil(0.5 * lengths / spacing - 1e-9).astype(np.int64), 1)
    mixed = (rotations[:, 0, 1] != 0).any() or (rotations[:, 1, 0] != 0).any()
    if mixed:
        counts = np.full(2, counts.max())
        triple = any(abs(int(np.trace(rotation))) == 1 for rotation in rotations)
        if triple:  # threefold axes have translations of thirds
            counts = 6 * -(-counts // 6)
    return counts
