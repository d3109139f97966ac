"""Points within bounds and linear constraints: projection, uniform sampling, feasibility.

Everything is computed in the variables' own ranges, scaled to [0, 1], so that variables of any unit count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.rng import Rng
from invdesign.spaces.halfspaces import EXACT_EXCESS, RANK_TOLERANCE, Halfspaces, Interior

FEASIBLE_EXCESS = 1e-9  # excess, relative to a row's range, up to which a point counts as feasible (chosen)
RESERVOIR_CHAINS = 256  # random walks that make the reservoir of `draw_point` (chosen)
WALK_STEPS = 8  # steps of each walk per dimension, twice (chosen)


@dataclass(frozen=True, eq=False)
class Frame:
    """Bounds and rows of a polytope, without the right-hand sides.

    Attributes:
        lower, upper: shape (n,), bounds.
        a: shape (m, n), rows of the inequalities.
        a_eq: shape (k, n), rows of the equalities.
    """

    lower: FloatArray
    upper: FloatArray
    a: FloatArray
    a_eq: FloatArray

    @cached_property
    def width(self) -> FloatArray:
        """Shape (n,): range of each variable, 1 where it has a single value."""
        width = self.upper - self.lower
        return np.where(width > 0.0, width, 1.0)

    @cached_property
    def norms(self) -> tuple[FloatArray, FloatArray]:
        """Lengths of the scaled rows: inequalities (m,), equalities (k,).

        The length is 1 for rows without a variable.
        """
        return _row_lengths(self.a * self.width), _row_lengths(self.a_eq * self.width)

    @cached_property
    def g(self) -> FloatArray:
        """Shape (2n + m, n): all inequalities on scaled variables z, as g z >= h."""
        eye = np.eye(len(self.lower))
        return np.vstack([eye, -eye, -self.a * self.width / self.norms[0][:, None]])

    @cached_property
    def equal(self) -> FloatArray:
        """Shape (k, n): the equalities on scaled variables, as equal z = e."""
        return self.a_eq * self.width / self.norms[1][:, None]

    @cached_property
    def plane(self) -> tuple[FloatArray, FloatArray]:
        """Solution of the equalities: (pseudo-inverse, null space).

        Their shapes are (n, k) and (n, n - rank).
        """
        return _solve_equalities(self.equal, len(self.lower))

    @cached_property
    def normals(self) -> FloatArray:
        """Shape (2n + m, n - rank): the inequalities along the basis of the plane."""
        normals: FloatArray = self.g @ self.plane[1]
        return normals


@dataclass(frozen=True, eq=False)
class Polytope:
    """All x with lower <= x <= upper, a x <= b and a_eq x = b_eq.

    Attributes:
        names: of the n variables, in the order of the columns.
        frame: bounds and rows.
        b, b_eq: shapes (m,) and (k,), right-hand sides.
    """

    names: tuple[str, ...]
    frame: Frame
    b: FloatArray
    b_eq: FloatArray

    def scale_to_unit(self, x: FloatArray) -> FloatArray:
        """Scale `x` (..., n) so that each variable's range is [0, 1]."""
        z: FloatArray = (x - self.frame.lower) / self.frame.width
        return z

    def scale_to_bounds(self, z: FloatArray) -> FloatArray:
        """Invert `scale_to_unit` for `z` (..., n).

        Points within rounding of a bound lie within the bounds then.
        """
        frame = self.frame
        return np.clip(frame.lower + z * frame.width, frame.lower, frame.upper)

    @cached_property
    def _scaled_sides(self) -> tuple[FloatArray, FloatArray]:
        """(h (2n + m,), e (k,)): right-hand sides for scaled variables."""
        frame = self.frame
        n = len(frame.lower)
        top = (frame.upper - frame.lower) / frame.width
        rows = (self.b - frame.a @ frame.lower) / frame.norms[0]
        equal = (self.b_eq - frame.a_eq @ frame.lower) / frame.norms[1]
        return np.concatenate([np.zeros(n), -top, -rows]), equal

    @cached_property
    def _scaled_tests(self) -> tuple[FloatArray, FloatArray]:
        """All rows and limits as inequalities on scaled variables.

        They are (rows (r, n), limits (r,)): no row times z may lie below its limit.
        """
        h, e = self._scaled_sides
        equal = self.frame.equal
        return np.vstack([self.frame.g, equal, -equal]), np.concatenate([h, e, -e])

    def _measure_scaled_excess(self, z: FloatArray) -> float:
        rows, limits = self._scaled_tests
        return float(np.maximum.reduce(limits - rows @ z, initial=0.0))

    def measure_excess(self, x: FloatArray) -> float:
        """Worst violation of a bound or row at `x` (n,), relative to its range.

        It is 0 inside.
        """
        return self._measure_scaled_excess(self.scale_to_unit(x))

    def contains(self, x: FloatArray, tolerance: float = FEASIBLE_EXCESS) -> bool:
        """Check whether `x` (n,) keeps all bounds and rows up to `tolerance`."""
        return self.measure_excess(x) <= tolerance

    @cached_property
    def _origin(self) -> FloatArray:
        """Shape (n,): the scaled point that solves the equalities by least squares."""
        origin: FloatArray = self.frame.plane[0] @ self._scaled_sides[1]
        return origin

    @cached_property
    def _flat_body(self) -> Halfspaces | None:
        """The inequalities in the plane of the equalities.

        It is None where those contradict each other.
        """
        h, e = self._scaled_sides
        if float(np.abs(self.frame.equal @ self._origin - e).max(initial=0.0)) > FEASIBLE_EXCESS:
            return None
        radius = len(h) ** 0.5 + float(np.linalg.norm(self._origin))  # the body lies in the unit cube
        return Halfspaces(self.frame.normals, h - self.frame.g @ self._origin, radius, FEASIBLE_EXCESS)

    def project_point(self, x: FloatArray) -> FloatArray | None:
        """Project `x` (n,) onto the polytope, by distance in scaled variables.

        Returns:
            Shape (n,), feasible to 1e-12, x itself where it is inside; None where the polytope is empty.
        """
        z = self.scale_to_unit(x)
        if self._measure_scaled_excess(z) <= EXACT_EXCESS:
            return self.scale_to_bounds(z)
        if self._flat_body is None:
            return None
        basis = self.frame.plane[1]
        found = self._flat_body.project_point(basis.T @ (z - self._origin))
        return None if found is None else self.scale_to_bounds(self._origin + basis @ found)

    def fix_columns(self, values: Mapping[int, float]) -> Polytope:
        """Reduce the polytope by holding some variables at `values` by column."""
        held = tuple(sorted(values))
        kept, frame = self._reduce_frame(held)
        chosen = np.asarray([values[column] for column in held], dtype=np.float64)
        columns = list(held)
        return Polytope(
            names=tuple(self.names[column] for column in kept),
            frame=frame,
            b=self.b - self.frame.a[:, columns] @ chosen,
            b_eq=self.b_eq - self.frame.a_eq[:, columns] @ chosen,
        )

    def _reduce_frame(self, held: tuple[int, ...]) -> tuple[list[int], Frame]:
        """Reduce, once, the frame to the columns that are not `held`."""
        known = self._reduced_frames
        if held not in known:
            kept = [column for column in range(len(self.names)) if column not in held]
            frame = self.frame
            part = Frame(frame.lower[kept], frame.upper[kept], frame.a[:, kept], frame.a_eq[:, kept])
            known[held] = (kept, part)
        return known[held]

    @cached_property
    def _reduced_frames(self) -> dict[tuple[int, ...], tuple[list[int], Frame]]:
        """Kept columns and frame by held columns."""
        return {}

    @cached_property
    def _inside(self) -> _Inside | None:
        """The relative interior in scaled variables; None where there is no point."""
        found = None if self._flat_body is None else self._flat_body.interior
        if found is None:
            return None
        basis = self.frame.plane[1]
        return _Inside(self._origin + basis @ found.centre, basis @ found.basis, found.normals, found.room)

    @property
    def empty(self) -> bool:
        """True if no point meets all bounds and rows."""
        return self._inside is None

    @property
    def freedom(self) -> int:
        """Dimension of the polytope; 0 for a single point."""
        return 0 if self._inside is None else self._inside.basis.shape[1]

    @property
    def centre(self) -> FloatArray:
        """Shape (n,): centre of the largest ball inside (Chebyshev).

        The ball is one in scaled variables.

        Raises:
            ValueError: the polytope is empty.
        """
        return self.scale_to_bounds(self._checked_interior.centre)

    @property
    def _checked_interior(self) -> _Inside:
        """The relative interior; a ValueError where the polytope is empty."""
        if self._inside is None:
            raise ValueError(f"no values of {', '.join(self.names)} meet all constraints")
        return self._inside

    def draw_point(self, rng: Rng) -> FloatArray:
        """Draw a point (n,) uniformly with `rng`, feasible to 1e-12.

        Hit-and-run steps (Smith, Oper. Res. 32, 1296 (1984)) from a random member of a fixed reservoir that
        is itself spread evenly.

        Raises:
            ValueError: the polytope is empty.
        """
        inside = self._checked_interior
        if not inside.basis.shape[1]:
            return self.scale_to_bounds(inside.centre)
        z = inside.walk_from_reservoir(rng)
        found = self.scale_to_bounds(z)
        repaired = self.project_point(found)
        assert repaired is not None  # the polytope is not empty
        return repaired


@dataclass(frozen=True, eq=False)
class _Inside(Interior):
    """The relative interior in scaled variables, with random walks in it."""

    @cached_property
    def _reservoir(self) -> tuple[FloatArray, FloatArray]:
        """Reservoir of points for walks, with their covariance's Cholesky factor.

        The points (RESERVOIR_CHAINS, f) are relative to the centre; the factor is (f, f).

        The walks have a fixed seed.
        """
        rng = np.random.Generator(np.random.Philox(key=0))
        freedom = self.basis.shape[1]
        points = np.zeros((RESERVOIR_CHAINS, freedom))
        shape = np.eye(freedom)
        for _ in range(
            2
        ):  # the second walk follows the body's covariance, so that it crosses thin bodies, too
            for _ in range(WALK_STEPS * freedom):
                points = self._step_chains(points, rng.normal(size=points.shape) @ shape.T, rng)
            covariance = np.cov(points.T).reshape(freedom, freedom)
            shape = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(freedom))
        return points, shape

    def _step_chains(self, points: FloatArray, directions: FloatArray, rng: Rng) -> FloatArray:
        """Move `points` (c, f) to random places on their lines through the body."""
        rates = directions @ self.normals.T
        slack = np.maximum(self.room + points @ self.normals.T, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            limits = slack / rates
        ahead = np.where(rates < -1e-14, -limits, np.inf).min(axis=1)
        behind = np.where(rates > 1e-14, -limits, -np.inf).max(axis=1)
        share = rng.random(len(points))
        moved: FloatArray = points + (behind + share * (ahead - behind))[:, None] * directions
        return moved

    def walk_from_reservoir(self, rng: Rng) -> FloatArray:
        """Walk some steps with `rng` from the reservoir to a scaled point (n,)."""
        points, shape = self._reservoir
        steps = 4 + len(shape) // 4
        random = rng.random(steps + 1).tolist()
        directions = rng.normal(size=(steps, len(shape))) @ shape.T
        point = points[int(random[-1] * RESERVOIR_CHAINS)]
        slack = np.maximum(self.room + self.normals @ point, 0.0)
        rates = directions @ self.normals.T
        for share, direction, rate in zip(random, directions, rates, strict=False):
            falling, rising = rate < -1e-14, rate > 1e-14
            ahead = -np.maximum.reduce(slack[falling] / rate[falling])
            behind = -np.minimum.reduce(slack[rising] / rate[rising])
            step = behind + share * (ahead - behind)
            point = point + step * direction
            slack = np.maximum(slack + step * rate, 0.0)
        walked: FloatArray = self.centre + self.basis @ point
        return walked


def build_polytope(
    names: Sequence[str],
    bounds: Sequence[tuple[float, float]],
    rows: Sequence[tuple[Mapping[str, float], float]],
    equal: Sequence[tuple[Mapping[str, float], float]],
) -> Polytope:
    """Build the polytope of named variables.

    Args:
        names: n, in the order of the columns.
        bounds: n times (lowest, highest).
        rows: (coefficients by name, highest sum).
        equal: (coefficients by name, value of the sum).
    """
    limits = np.asarray(bounds, dtype=np.float64).reshape(len(names), 2)
    lower, upper = limits[:, 0], limits[:, 1]
    a, b = _scale_rows(names, rows, upper - lower)
    a_eq, b_eq = _scale_rows(names, equal, upper - lower)
    return Polytope(tuple(names), Frame(lower, upper, a, a_eq), b, b_eq)


def _scale_rows(
    names: Sequence[str], rows: Sequence[tuple[Mapping[str, float], float]], ranges: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rows (m, n) and right-hand sides (m,), divided by each row's length.

    The length is that of the row times the ranges of its variables.
    """
    listed = [[float(weights.get(name, 0.0)) for name in names] for weights, _ in rows]
    matrix = np.asarray(listed, dtype=np.float64).reshape(len(rows), len(names))
    sides = np.asarray([side for _, side in rows], dtype=np.float64)
    scale = _row_lengths(matrix * ranges)
    return matrix / scale[:, None], sides / scale


def _row_lengths(rows: FloatArray) -> FloatArray:
    """Lengths of rows; 1 for rows of zeros."""
    lengths: FloatArray = np.linalg.norm(rows, axis=1)
    return np.where(lengths > 0.0, lengths, 1.0)


def _solve_equalities(rows: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Pseudo-inverse (n, k) and null-space basis (n, n - rank) of `rows` (k, n)."""
    if not len(rows):
        return np.zeros((n, 0)), np.eye(n)
    left, values, right = np.linalg.svd(rows, full_matrices=True)
    rank = int((values > RANK_TOLERANCE * values.max(initial=0.0)).sum()) if len(values) else 0
    inverse: FloatArray = right[:rank].T / values[:rank] @ left[:, :rank].T
    return inverse, right[rank:].T
