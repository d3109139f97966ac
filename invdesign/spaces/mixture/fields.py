"""Sets of feasible mixtures: a polytope, a listed lattice, or lattices too large to list.

Points are arrays (n,) of fractions in the units of the system; every point that a field returns keeps all rules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray
from invdesign.rng import Rng
from invdesign.spaces.mixture.lattice import round_to_steps
from invdesign.spaces.mixture.polytope import Region, Rules
from invdesign.spaces.mixture.supports import Supports
from invdesign.spaces.mixture.system import GRID, System

SAME_POINT = 1e-9  # fractions closer than this are one point of a lattice (chosen)
# Scales of a mutation's step, as shares of the way between the borders (chosen).
SHORTEST_STEP, LONGEST_STEP = 0.005, 0.5
MAX_NEIGHBOURS = 24  # points of a listed lattice that a mutation chooses from (chosen)
MAX_TRIES = 8  # lines or steps tried for a neighbour (chosen)


class Field(ABC):
    """The points of a mixture space."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.supports = Supports(system)

    @abstractmethod
    def draw_uniform(self, rng: Rng) -> FloatArray | None:
        """Draw a point with `rng`, uniformly over the field."""

    @abstractmethod
    def draw_corner(self, rng: Rng) -> FloatArray | None:
        """Draw a corner of the feasible set with `rng`."""

    @abstractmethod
    def draw_neighbour(self, x: FloatArray, rng: Rng) -> FloatArray | None:
        """Draw a neighbour of point `x` (n,) with `rng`."""

    @abstractmethod
    def repair_point(self, y: FloatArray) -> FloatArray | None:
        """Find a feasible point near `y` (n,).

        It is y itself where y is feasible.
        """

    @abstractmethod
    def settle_point(self, y: FloatArray, present: BoolArray) -> FloatArray | None:
        """Find a feasible point near `y` (n,) with the components `present` (n,).

        Other components may be present where these alone are not feasible.
        """


class Continuum(Field):
    """Every feasible mixture, to eleven decimals."""

    def draw_uniform(self, rng: Rng) -> FloatArray | None:
        return self._round_to_grid(self.supports.sample(rng))

    def draw_corner(self, rng: Rng) -> FloatArray | None:
        return self._round_to_grid(self.supports.draw_corner(rng))

    def draw_neighbour(self, x: FloatArray, rng: Rng) -> FloatArray | None:
        """Step from `x` in a random direction drawn with `rng`.

        The step may have any length up to the border; half of the directions trade two components.
        """
        moved = move_along_line(self.supports, x, rng)
        return None if moved is None else self._round_to_grid(moved)

    def repair_point(self, y: FloatArray) -> FloatArray | None:
        kept = np.rint(y * GRID) / GRID
        return kept if self.system.is_feasible(kept) else self._round_to_grid(self.supports.repair_point(y))

    def settle_point(self, y: FloatArray, present: BoolArray) -> FloatArray | None:
        return self._round_to_grid(self.supports.project_onto(present, y))

    def _round_to_grid(self, x: FloatArray | None) -> FloatArray | None:
        """Round x to the grid with exact sums.

        One fraction takes the rest.
        """
        if x is None:
            return None
        present, rules = x > 0.5 / GRID, self.system.rules
        low = np.ceil(np.where(present, self.system.least, 0.0) * GRID - 1e-3)
        high = np.floor(np.where(present, rules.upper, 0.0) * GRID + 1e-3)
        units = np.minimum(np.maximum(np.rint(x * GRID), low), high)
        for group in self.system.groups:
            if group.total[0] == group.total[1]:
                own = group.members
                left = float(np.rint(group.total[0] * GRID) - units[own].sum())
                room = high[own] - units[own] if left > 0 else units[own] - low[own]
                # The largest fraction with room for the rest takes it, so that its share changes least.
                fitting = np.where(room >= abs(left), units[own], -1.0)
                units[own[int(fitting.argmax())]] += left
        rounded = units / GRID
        return rounded if self.system.is_feasible(rounded) else None


def move_along_line(supports: Supports, x: FloatArray, rng: Rng) -> FloatArray | None:
    """Move a point on a random line within its region.

    Args:
        supports: the regions.
        x: shape (n,), the point.
        rng: of the direction and the length.

    Returns:
        Shape (n,); None where the region is one point.
    """
    present = supports.system.find_present(x)
    region = supports.find_region(present)
    own = x[present]
    for _ in range(MAX_TRIES):
        if region.dimension == 0:
            return None
        direction = rng.standard_normal(region.dimension)
        if len(own) > 2 and rng.random() < 0.5:
            first, second = int(rng.random() * len(own)), int(rng.random() * len(own))
            direction = region.basis[first] - region.basis[second]
        length = float(np.linalg.norm(direction))
        if length < 1e-9:
            continue
        low, high = region.travel_range(own, direction / length)
        if high - low < 1e-9:
            region.vertices  # noqa: B018 - finds the exact hull, which may be flatter
            continue
        scale = SHORTEST_STEP * (LONGEST_STEP / SHORTEST_STEP) ** rng.random() * (high - low)
        step = min(max(scale * float(rng.standard_normal()), low), high)
        moved = x.copy()
        moved[present] = own + region.basis @ (direction / length) * step
        return np.minimum(np.maximum(moved, supports.system.rules.lower), supports.system.rules.upper)
    return None


class Listed(Field):
    """A lattice whose points are all known.

    Args:
        system: of the bounds and rules, without steps.
        points: shape (p, n), all different.
        written: shape (p, n), the same as they are written.
    """

    def __init__(self, system: System, points: FloatArray, written: FloatArray) -> None:
        super().__init__(system)
        self.points = points
        self.written = written

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import KDTree

        return KDTree(self.points)

    @cached_property
    def _corners(self) -> FloatArray:
        """Rim of the lattice: points with the most extreme fractions.

        These are the fractions at their least or their most.
        """
        ends = (self.points == self.points.min(axis=0)) | (self.points == self.points.max(axis=0))
        score = ends.sum(axis=1)
        rim: FloatArray = self.points[score >= np.quantile(score, 0.9)]
        return rim

    def draw_uniform(self, rng: Rng) -> FloatArray | None:
        return self._point_at(int(rng.random() * len(self.points)))

    def draw_corner(self, rng: Rng) -> FloatArray | None:
        corner: FloatArray = self._corners[int(rng.random() * len(self._corners))]
        return corner

    def draw_neighbour(self, x: FloatArray, rng: Rng) -> FloatArray | None:
        """Draw one of the points nearest to `x` with `rng`.

        Nearer ones are drawn more often.
        """
        near = self._nearest_indices(x, MAX_NEIGHBOURS)[1:]
        return None if not len(near) else self._point_at(near[int(rng.random() ** 2 * len(near))])

    def repair_point(self, y: FloatArray) -> FloatArray | None:
        return self._point_at(self._nearest_indices(y, 1)[0])

    def settle_point(self, y: FloatArray, present: BoolArray) -> FloatArray | None:
        """Take the nearest point to `y` without components other than `present`.

        Only the nearest points of all are looked at; where none of them fits, the nearest is taken.
        """
        near = self._nearest_indices(y, MAX_NEIGHBOURS)
        fitting = (self.points[near][:, ~present] == 0).all(axis=1)
        return self._point_at(near[int(fitting.argmax())])

    def _point_at(self, index: int) -> FloatArray:
        """Point number `index` of the lattice."""
        row: FloatArray = self.points[index]
        return row

    def find_index(self, x: FloatArray) -> int | None:
        """Find the number of point `x` (n,).

        Returns None where it is no point of the lattice.
        """
        distance, index = self._tree.query(x)
        return int(index) if distance <= SAME_POINT * len(x) else None

    def written_values(self, x: FloatArray) -> FloatArray:
        """Fractions of point `x` (n,) as they are written."""
        found = self.find_index(x)
        return x if found is None else self.written[found]

    def _nearest_indices(self, y: FloatArray, count: int) -> NDArray[np.int64]:
        """Numbers of the nearest points, nearest first.

        Ties go to the lower number.
        """
        distance, index = self._tree.query(y, k=min(count, len(self.points)))
        distance, index = np.atleast_1d(distance), np.atleast_1d(index)
        order = np.lexsort((index, np.round(distance, 10)))
        return index[order].astype(np.int64)


class Stepped(Field):
    """One or more lattices too large to list.

    A point belongs to the first that holds it.

    Args:
        system: of the bounds and rules, without steps.
        lattices: the same with the steps of each lattice.
    """

    def __init__(self, system: System, lattices: Sequence[System]) -> None:
        super().__init__(system)
        self.lattices = tuple(lattices)

    def draw_uniform(self, rng: Rng) -> FloatArray | None:
        return self._snap_to_lattices(self.supports.sample(rng))

    def draw_corner(self, rng: Rng) -> FloatArray | None:
        return self._snap_to_lattices(self.supports.draw_corner(rng))

    def draw_neighbour(self, x: FloatArray, rng: Rng) -> FloatArray | None:
        """Step from `x` with `rng`, then onto a lattice.

        Steps that end where they began are taken again, longer.
        """
        factor = 1.0
        for _ in range(MAX_TRIES):
            moved = move_along_line(self.supports, x, rng)
            if moved is None:
                return None
            found = self._snap_to_lattices(self.supports.repair_point(x + factor * (moved - x)))
            if found is not None and np.abs(found - x).max() > SAME_POINT:
                return found
            factor *= 2.0
        return None

    def repair_point(self, y: FloatArray) -> FloatArray | None:
        for lattice in self.lattices:
            kept = match_to_steps(lattice, y)
            if kept is not None:
                return kept
        return self._snap_to_lattices(self.supports.repair_point(y))

    def settle_point(self, y: FloatArray, present: BoolArray) -> FloatArray | None:
        return self._snap_to_lattices(self.supports.project_onto(present, y))

    def _snap_to_lattices(self, x: FloatArray | None) -> FloatArray | None:
        """Find the nearest offer of any lattice for a feasible x.

        Ties go to the first lattice.
        """
        if x is None:
            return None
        offers = [
            found for lattice in self.lattices if (found := _complete_on_lattice(lattice, x)) is not None
        ]
        if not offers:
            return None
        distance = [round(float(np.abs(offer - x).sum()), 9) for offer in offers]
        return offers[int(np.argmin(distance))]


def match_to_steps(lattice: System, y: FloatArray) -> FloatArray | None:
    """Match a point to the grid of a lattice's steps.

    Args:
        lattice: the system with steps.
        y: shape (n,).

    Returns:
        The point on the grid where y lies there and is feasible; else None.
    """
    even = lattice.steps > 0
    size = np.where(even, lattice.steps, 1.0)
    kept = np.where(even, np.rint(y / size) * size, np.rint(y * GRID) / GRID)
    near = np.abs(kept - y).max() <= SAME_POINT
    return kept if near and lattice.is_feasible(kept) else None


def _complete_on_lattice(lattice: System, x: FloatArray) -> FloatArray | None:
    """Find a point of the lattice near x.

    The steps are taken first; the fractions without steps are fitted to them.
    """
    even = lattice.steps > 0
    if even.all():
        return round_to_steps(lattice, x)
    size = np.where(even, lattice.steps, 1.0)
    held = np.where(even, np.rint(x / size) * size, x)
    found = _fit_unstepped(lattice, held, x)
    if found is not None:
        return found
    solved = lattice.solve_nearest(x)
    return None if solved is None else _fit_unstepped(lattice, solved, solved)


def _fit_unstepped(lattice: System, held: FloatArray, x: FloatArray) -> FloatArray | None:
    """Move the unstepped fractions within the rules, with the stepped ones fixed.

    The stepped ones are those of `held`.

    They stay as near to x as the rules allow.
    """
    even, rules = lattice.steps > 0, lattice.rules
    present = lattice.find_present(held)
    lower = np.where(even | ~present, held, np.where(present, lattice.least, 0.0))
    upper = np.where(even | ~present, held, rules.upper)
    fitted = Region(Rules(lower, upper, rules.matrix, rules.low, rules.high)).project_point(x)
    if fitted is None:
        return None
    rounded = np.where(even, held, np.rint(fitted * GRID) / GRID)
    return rounded if lattice.is_feasible(rounded) else None
