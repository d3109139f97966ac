"""Intersections of half-spaces: projection, and the relative interior of flat or nearly flat ones.

A polytope of a space is such a body once its equations are eliminated. Nothing here assumes an interior: a body may be
a single point, or thinner than rounding, because inequalities together force equalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import BoolArray, FloatArray

EXACT_EXCESS = 1e-12  # excess that found points stay below, where the body has such points (chosen)
# A solver sees every row widened by this, since rounding alone must not make a body empty (chosen).
ROUNDING_MARGIN = 1e-13
RANK_TOLERANCE = 1e-10  # lengths and singular values below this share of the largest are zero (chosen)
SOLVER_PASSES = 3  # each pass starts from the last answer, at the scale of the remaining violation (chosen)
REFINEMENT_SCALE = 1e-7  # of the second linear program: its tolerance, 1e-10, is then below rounding


@dataclass(frozen=True, eq=False)
class Interior:
    """The relative interior of a body.

    Attributes:
        centre: shape (f,), a point of the interior.
        basis: shape (f, d), orthonormal, the directions in which one can move.
        normals: shape (k, d), rows that limit the moves.
        room: shape (k,), slack of the centre to each of these rows.
    """

    centre: FloatArray
    basis: FloatArray
    normals: FloatArray
    room: FloatArray


@dataclass(frozen=True, eq=False)
class Halfspaces:
    """All w (f,) with normals w >= limits, a bounded body.

    Attributes:
        normals: shape (r, f), rows of lengths up to 1. A row may be much shorter, where the eliminated equations
            say nearly the same: its violation counts as it is, not as a distance.
        limits: shape (r,).
        radius: distance from the origin within which all points lie.
        tolerance: excess up to which a point counts as one of the body.
    """

    normals: FloatArray
    limits: FloatArray
    radius: float
    tolerance: float

    def measure_excess(self, w: FloatArray) -> float:
        """Violation of the worst row at `w` (f,); 0 inside."""
        return float(np.maximum.reduce(self.limits - self.normals @ w, initial=0.0))

    @property
    def empty(self) -> bool:
        """True if every point breaks a row by more than the tolerance."""
        return self.interior is None

    @cached_property
    def _live_rows(self) -> BoolArray:
        """Mask (r,) of the rows that a move can change."""
        return np.asarray(np.linalg.norm(self.normals, axis=1) > RANK_TOLERANCE)

    def project_point(self, w: FloatArray) -> FloatArray | None:
        """Project a point onto the body.

        Args:
            w: shape (f,), returned unchanged where it lies inside.

        Returns:
            The nearest point (f,); None where the body is empty.

        Source:
            Least-distance programming by non-negative least squares: Lawson & Hanson, Solving Least Squares
            Problems (Prentice-Hall, 1974), chapter 23.
        """
        normals, found = self.normals[self._live_rows], w
        for _ in range(SOLVER_PASSES if len(normals) else 0):
            need = self.limits - self.normals @ found
            if float(np.maximum.reduce(need, initial=0.0)) <= EXACT_EXCESS:
                return found
            need = need[self._live_rows]
            move, weights = find_shortest_move(normals, need)
            if self._proves_empty(normals, need, weights, found):
                return None
            if move is None:
                break
            found = found + move
        return found if self.measure_excess(found) <= EXACT_EXCESS else self._project_in_hull(w)

    def _proves_empty(
        self, normals: FloatArray, need: FloatArray, weights: FloatArray, w: FloatArray
    ) -> bool:
        """True if `weights` (l,) >= 0 prove the body empty (Farkas' lemma).

        They then contradict every move from w to a point of the body.
        """
        gain = float(need @ weights - self.tolerance * weights.sum())
        return gain > float(np.linalg.norm(weights @ normals)) * (self.radius + float(np.linalg.norm(w)))

    def _project_in_hull(self, w: FloatArray) -> FloatArray | None:
        """Project w (f,) within the affine hull of the body.

        Returns None where the body is empty.
        """
        inside = self.interior
        if inside is None:
            return None
        within = inside.basis.T @ (w - inside.centre)
        if len(within):
            for _ in range(SOLVER_PASSES):
                need = -inside.room - inside.normals @ within
                if float(np.maximum.reduce(need, initial=0.0)) <= ROUNDING_MARGIN:
                    break
                move, _ = find_shortest_move(inside.normals, need)
                within = within if move is None else within + move
        return self._step_to_boundary(inside.centre, inside.centre + inside.basis @ within)

    def _step_to_boundary(self, start: FloatArray, end: FloatArray) -> FloatArray:
        """Go from `start`, inside the body, towards `end` up to the boundary."""
        rates = self.normals @ (end - start)
        room = self.normals @ start - self.limits + max(self.measure_excess(start), 0.5 * EXACT_EXCESS)
        falling = rates < 0.0
        share = float(np.minimum.reduce(room[falling] / -rates[falling], initial=1.0))
        return start + share * (end - start)

    @cached_property
    def interior(self) -> Interior | None:
        """The relative interior; None where the body is empty."""
        count = self.normals.shape[1]
        start = _find_largest_ball(self.normals, self.limits)
        if start is not None and start[1] > self.tolerance and self.measure_excess(start[0]) <= EXACT_EXCESS:
            return self._build_interior(start[0], np.eye(count), self._live_rows)
        anchor = self._find_least_broken(np.zeros(count) if start is None else start[0])
        if self.measure_excess(anchor) > self.tolerance:
            return None
        if start is not None and start[1] > self.tolerance:
            return self._build_interior(
                self._step_to_boundary(anchor, start[0]), np.eye(count), self._live_rows
            )
        return self._build_flat_interior(anchor)

    def _build_flat_interior(self, anchor: FloatArray) -> Interior:
        """Build the interior around `anchor` of a flat body.

        In such a body some inequalities can only hold as equalities.
        """
        tight, basis = np.zeros(len(self.limits), dtype=np.bool_), np.eye(len(anchor))
        while basis.shape[1]:
            more = self._find_always_tight(anchor, ~tight & self._find_changing_rows(basis))
            if not more.any():
                break  # thin in a direction that is no row's: one of its points represents it
            tight |= more
            basis = null_space(self.normals[tight], len(anchor))
            live = ~tight & self._find_changing_rows(basis)
            limits = self.limits[live] - self.normals[live] @ anchor - self.measure_excess(anchor)
            found = _find_largest_ball(self.normals[live] @ basis, limits)
            if found is not None and found[1] > self.tolerance:
                return self._build_interior(
                    self._step_to_boundary(anchor, anchor + basis @ found[0]), basis, live
                )
        return self._build_interior(anchor, np.zeros((len(anchor), 0)), np.zeros_like(tight))

    def _find_changing_rows(self, basis: FloatArray) -> BoolArray:
        """Mask (r,) of the rows that change along `basis` (f, d)."""
        return np.asarray(np.linalg.norm(self.normals @ basis, axis=1) > RANK_TOLERANCE)

    def _build_interior(self, centre: FloatArray, basis: FloatArray, live: BoolArray) -> Interior:
        """Build the interior around `centre`, from the rows that are `live` (r,)."""
        normals = self.normals[live]
        room = np.maximum(normals @ centre - self.limits[live], 0.0)
        return Interior(centre, basis, normals @ basis, room)

    def _find_always_tight(self, anchor: FloatArray, asked: BoolArray) -> BoolArray:
        """Mask (r,) of rows without slack anywhere in the body.

        Args:
            anchor: shape (f,), a point of the body; rows with slack here need no linear program.
            asked: shape (r,), the rows to test.
        """
        # A body without a ball larger than the tolerance is at most this wide in some direction.
        width = 4.0 * (len(anchor) + 1) * self.tolerance
        tight = asked & (self.normals @ anchor - self.limits <= width)
        widened = self.limits - self.measure_excess(anchor) - self.tolerance
        for number in np.flatnonzero(tight):
            found = _solve_program(-self.normals[number], self.normals, widened)
            room = -np.inf if found is None else float(self.normals[number] @ found - self.limits[number])
            tight[number] = room <= width
        return tight

    def _find_least_broken(self, start: FloatArray) -> FloatArray:
        """Find the point (f,) with the smallest worst violation, to within rounding.

        Source:
            Iterative refinement of linear programs: Gleixner, Steffy & Wolter, INFORMS J. Comput. 28, 449 (2016).
        """
        count = len(start)
        rows = np.hstack([self.normals, np.ones((len(self.limits), 1))])
        limited = np.vstack([rows, np.eye(count + 1)[-1]])
        cost = np.eye(count + 1)[-1]
        best = start
        for scale in (1.0, REFINEMENT_SCALE):
            need = (self.limits - self.normals @ best) / scale
            found = _solve_program(cost, limited, np.append(need, -1.0))
            if found is not None:
                tried = best + scale * found[:-1]
                best = min(
                    (best, tried), key=lambda w: float(np.max(self.limits - self.normals @ w, initial=-1.0))
                )
        return best


def find_shortest_move(normals: FloatArray, need: FloatArray) -> tuple[FloatArray | None, FloatArray]:
    """Find the shortest w (f,) with normals w >= need, to within rounding.

    Args:
        normals: shape (l, f).
        need: shape (l,), some of it positive.

    Returns:
        The move, and the weights (l,) of the rows that it leans on. Without a move, None and the weights of rows that
        contradict each other; they are 0 where the solver failed.
    """
    from scipy.optimize import nnls

    size = max(float(np.abs(need).max()), ROUNDING_MARGIN)
    rows = np.concatenate([normals.T, (need - ROUNDING_MARGIN)[None, :] / size])
    target = np.zeros(len(rows))
    target[-1] = 1.0
    try:
        weights, _ = nnls(rows, target, maxiter=30 * rows.shape[1])
    except RuntimeError:  # the active sets cycled
        return None, np.zeros(len(need))
    residual = rows @ weights - target
    if -residual[-1] <= RANK_TOLERANCE:
        return None, weights
    move: FloatArray = -size * residual[:-1] / residual[-1]
    active = np.flatnonzero(weights > 0.0)
    # Meet the active rows exactly: a long move has cost the answer above as many digits.
    polished = np.asarray(
        np.linalg.lstsq(normals[active], need[active], rcond=RANK_TOLERANCE)[0], dtype=np.float64
    )
    return min((polished, move), key=lambda w: float((need - normals @ w).max())), weights


def null_space(rows: FloatArray, width: int) -> FloatArray:
    """Orthonormal basis (width, d) of the null space of `rows` (m, width).

    Args:
        rows: shape (m, width), or no row at all.
        width: number of columns.
    """
    if not len(rows):
        return np.eye(width)
    _, values, right = np.linalg.svd(rows, full_matrices=True)
    rank = int((values > RANK_TOLERANCE * values.max(initial=0.0)).sum())
    basis: FloatArray = right[rank:].T
    return basis


def _solve_program(cost: FloatArray, rows: FloatArray, limits: FloatArray) -> FloatArray | None:
    """Minimise cost x subject to rows x >= limits.

    Returns None where the solver fails.
    """
    from scipy.optimize import linprog

    result = linprog(
        cost,
        A_ub=-rows,
        b_ub=-limits,
        bounds=(None, None),
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return np.asarray(result.x, dtype=np.float64) if result.status == 0 else None


def _find_largest_ball(normals: FloatArray, limits: FloatArray) -> tuple[FloatArray, float] | None:
    """Find (centre (f,), radius) of the largest ball inside all rows (Chebyshev).

    Returns None where there is none.
    """
    reach = np.linalg.norm(normals, axis=1)
    count = normals.shape[1]
    size = np.eye(count + 1)[-1]
    rows = np.vstack([np.hstack([normals, -reach[:, None]]), size, -size])
    # The radius is limited to 1: without a row, or where the plane is a point, it would be infinite.
    found = _solve_program(-size, rows, np.concatenate([limits, [0.0, -1.0]]))
    return None if found is None else (found[:-1], float(found[-1]))
