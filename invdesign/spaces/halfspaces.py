"""Intersections of half-spaces: the nearest point, and the relative interior of flat or nearly flat ones.

Polytopes of a space are this once their equations are eliminated. Nothing here assumes an interior: a body may be a
single point, or thinner than rounding, because inequalities together force equalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import BoolArray, FloatArray

EXACT_EXCESS = 1e-12  # excess that points found here stay below, where the body has such points
ROUNDING_MARGIN = (
    1e-13  # rows are widened by this before a solver sees them: rounding alone must not make a body empty
)
RANK_TOLERANCE = 1e-10  # lengths and singular values below this share of the largest are zero
SOLVER_PASSES = 3  # of a solver; each starts from the last one's answer, at the scale of what that left
REFINEMENT_SCALE = 1e-7  # scale of the second linear program: its tolerance (1e-10) is then below rounding


@dataclass(frozen=True, eq=False)
class Interior:
    """The relative interior of a body.

    Attributes:
        centre: shape (f,), a point of it.
        basis: shape (f, d), orthonormal, the directions in which one can move.
        normals: shape (k, d), rows that limit the moves.
        room: shape (k,), how far the centre is from each.
    """

    centre: FloatArray
    basis: FloatArray
    normals: FloatArray
    room: FloatArray


@dataclass(frozen=True, eq=False)
class Halfspaces:
    """All w (f,) with normals w >= limits, which are bounded.

    Attributes:
        normals: shape (r, f), rows of lengths up to 1. A row may be much shorter, where the equations that were
            eliminated say nearly the same: what it is broken by counts as it is, not as a distance.
        limits: shape (r,).
        radius: distance from the origin within which all points lie.
        tolerance: excess up to which a point counts as one of the body.
    """

    normals: FloatArray
    limits: FloatArray
    radius: float
    tolerance: float

    def measure_excess(self, w: FloatArray) -> float:
        """By how much w (f,) breaks the worst row; 0 inside."""
        return float(np.maximum.reduce(self.limits - self.normals @ w, initial=0.0))

    @property
    def empty(self) -> bool:
        """True if every point breaks a row by more than the tolerance."""
        return self.interior is None

    @cached_property
    def _live_rows(self) -> BoolArray:
        """Shape (r,): which rows a move can change."""
        return np.asarray(np.linalg.norm(self.normals, axis=1) > RANK_TOLERANCE)

    def project_point(self, w: FloatArray) -> FloatArray | None:
        """The point nearest to w (f,), w itself where it is one; None where the body is empty.

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
        """True if `weights` (l,) >= 0 contradict every move from w to a point of the body (Farkas' lemma)."""
        gain = float(need @ weights - self.tolerance * weights.sum())
        return gain > float(np.linalg.norm(weights @ normals)) * (self.radius + float(np.linalg.norm(w)))

    def _project_in_hull(self, w: FloatArray) -> FloatArray | None:
        """The point nearest to w (f,), sought within the affine hull of the body, where it has an interior."""
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
        """The last point of the way from `start`, a point of the body, to `end` that breaks no row."""
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
        """The interior around a point of the body where some inequalities can only be met as equalities."""
        tight, basis = np.zeros(len(self.limits), dtype=np.bool_), np.eye(len(anchor))
        while basis.shape[1]:
            more = self._find_always_tight(anchor, ~tight & self._find_changing_rows(basis))
            if not more.any():
                break  # thin in a direction that is no row's: one of its points stands for it
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
        """Shape (r,): which rows change along the directions of `basis` (f, d)."""
        return np.asarray(np.linalg.norm(self.normals @ basis, axis=1) > RANK_TOLERANCE)

    def _build_interior(self, centre: FloatArray, basis: FloatArray, live: BoolArray) -> Interior:
        normals = self.normals[live]
        room = np.maximum(normals @ centre - self.limits[live], 0.0)
        return Interior(centre, basis, normals @ basis, room)

    def _find_always_tight(self, anchor: FloatArray, asked: BoolArray) -> BoolArray:
        """Shape (r,): which of the rows `asked` (r,) have no room anywhere in the body.

        Args:
            anchor: shape (f,), a point of the body; rows with room here need no linear program.
        """
        width = (
            4.0 * (len(anchor) + 1) * self.tolerance
        )  # a body is at most so wide where no ball of it is larger
        tight = asked & (self.normals @ anchor - self.limits <= width)
        widened = self.limits - self.measure_excess(anchor) - self.tolerance
        for number in np.flatnonzero(tight):
            found = _solve_program(-self.normals[number], self.normals, widened)
            room = -np.inf if found is None else float(self.normals[number] @ found - self.limits[number])
            tight[number] = room <= width
        return tight

    def _find_least_broken(self, start: FloatArray) -> FloatArray:
        """The point (f,) that breaks the worst row least, to within rounding.

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
    """The shortest w (f,) with normals w >= need; None where it is not found.

    Args:
        normals: shape (l, f).
        need: shape (l,), some of it positive.

    Returns:
        The move, and the weights (l,) of the rows that it leans on, or that contradict each other.
    """
    from scipy.optimize import nnls

    size = max(float(np.abs(need).max()), ROUNDING_MARGIN)
    rows = np.concatenate([normals.T, (need - ROUNDING_MARGIN)[None, :] / size])
    target = np.zeros(len(rows))
    target[-1] = 1.0
    try:
        weights, _ = nnls(rows, target, maxiter=30 * rows.shape[1])
    except RuntimeError:  # it went round in circles
        return None, np.zeros(len(need))
    residual = rows @ weights - target
    if -residual[-1] <= RANK_TOLERANCE:
        return None, weights
    move: FloatArray = -size * residual[:-1] / residual[-1]
    active = np.flatnonzero(weights > 0.0)
    # The rows it stops at, met exactly: the answer above has lost as many digits as the way is long.
    polished = np.asarray(
        np.linalg.lstsq(normals[active], need[active], rcond=RANK_TOLERANCE)[0], dtype=np.float64
    )
    return min((polished, move), key=lambda w: float((need - normals @ w).max())), weights


def null_space(rows: FloatArray, width: int) -> FloatArray:
    """Orthonormal basis (width, d) of what `rows` (m, width) map to zero."""
    if not len(rows):
        return np.eye(width)
    _, values, right = np.linalg.svd(rows, full_matrices=True)
    rank = int((values > RANK_TOLERANCE * values.max(initial=0.0)).sum())
    basis: FloatArray = right[rank:].T
    return basis


def _solve_program(cost: FloatArray, rows: FloatArray, limits: FloatArray) -> FloatArray | None:
    """The x that minimises cost x with rows x >= limits; None where the solver finds none."""
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
    """(centre (f,), radius) of the largest ball that keeps all rows (Chebyshev); None where there is none."""
    reach = np.linalg.norm(normals, axis=1)
    count = normals.shape[1]
    size = np.eye(count + 1)[-1]
    rows = np.vstack([np.hstack([normals, -reach[:, None]]), size, -size])
    # A ball without limit would have no centre: where no row is left, or the plane is a point.
    found = _solve_program(-size, rows, np.concatenate([limits, [0.0, -1.0]]))
    return None if found is None else (found[:-1], float(found[-1]))
