"""Gradient ascent from many starts at once, within bounds and linear rules.

The cost of evaluating an acquisition function hardly depends on the number of points, so all starts climb
together, each with its own steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction

FIRST_STEP_LENGTH = 0.1  # as a share of the cube's side (chosen)
LEAST_GAIN_SHARE = 1e-4  # of the promised gain, for a step to be accepted (Armijo's condition; usual value)
SHORTEST_STEP_SHARE = 1e-4  # of a planned step, below which the ascent ends (chosen)
LEAST_PROMISED_GAIN = 1e-7  # relative to the value, below which the ascent ends (chosen)
DAMPING_SHARE = 0.2  # Powell (1978): least curvature along a step, relative to the model's
RANK_TOLERANCE = 1e-10  # singular values below this share of the largest are zero (chosen)


@dataclass(frozen=True)
class LinearRules:
    """Linear rules on d coordinates: `above @ x >= least`, `equal @ x == sums`.

    Attributes:
        above: shape (m, d).
        least: shape (m,).
        equal: shape (k, d).
        sums: shape (k,).
    """

    above: FloatArray
    least: FloatArray
    equal: FloatArray
    sums: FloatArray

    def __bool__(self) -> bool:
        return len(self.above) + len(self.equal) > 0

    def largest_violation(self, x: FloatArray) -> FloatArray:
        """Largest violation of a rule by each point of `x` (n, d), shape (n,).

        0 where all rules are kept.
        """
        short = np.maximum(self.least - x @ self.above.T, 0.0).max(axis=1, initial=0.0)
        off = np.abs(x @ self.equal.T - self.sums).max(axis=1, initial=0.0)
        worst: FloatArray = np.maximum(short, off)
        return worst


def null_space_basis(rows: FloatArray, width: int) -> FloatArray:
    """Orthonormal basis (width, r) of the null space of `rows` (k, width).

    Args:
        rows: shape (k, width); k may be 0.
        width: number of columns.
    """
    if not len(rows) or not width:
        return np.eye(width)
    _, singular, right = np.linalg.svd(rows)
    rank = int((singular > RANK_TOLERANCE * max(float(singular[0]), 1e-300)).sum())
    basis: FloatArray = right[rank:].T
    return basis


class FreeSubspace:
    """Directions and faces of the free coordinates, with the others held.

    Args:
        rows: rules on d coordinates.
        x: shape (d,), a point that keeps them.
        free: shape (d,), coordinates that may move.
        low, high: shape (d,), bounds.
    """

    def __init__(
        self, rows: LinearRules, x: FloatArray, free: BoolArray, low: FloatArray, high: FloatArray
    ) -> None:
        self.free = free
        width = int(free.sum())
        self.basis = null_space_basis(rows.equal[:, free], width)
        eye = np.eye(width)
        above = rows.above[:, free]
        held = rows.least - rows.above[:, ~free] @ x[~free]
        touched = (np.abs(above) > RANK_TOLERANCE).any(axis=1)
        self._faces = np.vstack([eye, -eye, above[touched]])
        self._offsets = np.concatenate([low[free], -high[free], held[touched]])
        self.normals = self._faces @ self.basis

    def face_distances(self, x: FloatArray) -> FloatArray:
        """Slack of a point `x` (d,) in each face's rule, shape (f,); 0 beyond it."""
        found: FloatArray = np.maximum(self._faces @ x[self.free] - self._offsets, 0.0)
        return found

    def largest_multiples(self, x: FloatArray, moves: FloatArray) -> FloatArray:
        """Largest multiple of each move that stays within the faces, shape (n,).

        Args:
            x: shape (d,), a point.
            moves: shape (n, r), along the basis.
        """
        rates = moves @ self.normals.T
        room = self.face_distances(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(rates < -1e-14, room / -rates, np.inf)
        found: FloatArray = times.min(axis=1, initial=np.inf)
        return found


class Ascent:
    """Ascent from one start by sequential quadratic programming, asked and told.

    Every point it asks for keeps all rules that the start keeps. The quadratic program of each step is solved as a
    least-distance problem by non-negative least squares.

    Args:
        part: free directions at the start.
        x: shape (d,), the start.

    Source:
        Lawson & Hanson, Solving Least Squares Problems (SIAM, 1995), chapter 23; damped BFGS updates of Powell,
        Lect. Notes Math. 630, 144 (1978).
    """

    def __init__(self, part: FreeSubspace, x: FloatArray) -> None:
        self.part = part
        self.x = x.copy()
        self.value = -np.inf
        self.done = part.basis.shape[1] == 0
        self._slope = np.zeros(part.basis.shape[1])  # of the cost, along the basis
        self._curvature: FloatArray | None = None
        self._move = np.zeros(part.basis.shape[1])
        self._share = 0.0
        self._begun = False

    @property
    def next_point(self) -> FloatArray:
        """Next point (d,) to evaluate."""
        if not self._begun:
            return self.x
        point = self.x.copy()
        point[self.part.free] += self._share * (self.part.basis @ self._move)
        return point

    def tell(self, value: float, gradient: FloatArray) -> None:
        """Process the `value` and its `gradient` (d,) at the point asked for.

        A step that gains enough is accepted and the next one planned; else it is shortened.
        """
        slope = -(self.part.basis.T @ gradient[self.part.free])
        sound = bool(np.isfinite(value) and np.isfinite(slope).all())
        if not self._begun:
            self._begun = True
            self.done = not sound
            if sound:
                self.value, self._slope = value, slope
                # A first curvature for which the free step along the gradient has the wanted length.
                self._curvature = np.eye(len(slope)) * max(
                    float(np.linalg.norm(slope)) / FIRST_STEP_LENGTH, 1e-8
                )
                self._plan_step()
            return
        promised = -float(self._slope @ self._move) * self._share
        if sound and value >= self.value + LEAST_GAIN_SHARE * promised:
            gained = value - self.value
            point = self.next_point
            self._update_curvature(self._share * self._move, slope - self._slope)
            self.x, self.value, self._slope = point, value, slope
            if gained <= LEAST_PROMISED_GAIN * (1.0 + abs(value)) and self._share == 1.0:
                self.done = True
                return
            self._plan_step()
            return
        self._share *= self._shrink_factor(value, promised) if sound else 0.25
        self.done = self._share < SHORTEST_STEP_SHARE

    def _shrink_factor(self, value: float, promised: float) -> float:
        """Factor on a failed step, at the top of the parabola through both its ends."""
        lost = self.value + promised - value
        return min(max(0.5 * promised / lost, 0.1), 0.5) if lost > 0.0 else 0.5

    def _update_curvature(self, step: FloatArray, change: FloatArray) -> None:
        """Damped BFGS update of the curvature.

        Damping keeps the curvature positive definite where the function is not concave.
        """
        curvature = self._curvature
        assert curvature is not None
        bent = curvature @ step
        own = float(step @ bent)
        found = float(step @ change)
        if own <= 0.0:
            return
        if found < DAMPING_SHARE * own:
            share = (1.0 - DAMPING_SHARE) * own / (own - found)
            change = share * change + (1.0 - share) * bent
            found = float(step @ change)
        if found > 1e-14:
            curvature += np.outer(change, change) / found - np.outer(bent, bent) / own

    def _plan_step(self) -> None:
        """Plan the next step: the best of the quadratic model within the faces."""
        assert self._curvature is not None
        self._move = _solve_step(
            self._curvature, self._slope, self.part.normals, -self.part.face_distances(self.x)
        )
        self._share = min(1.0, float(self.part.largest_multiples(self.x, self._move[None])[0]))
        promised = -float(self._slope @ self._move) * self._share
        self.done = not promised > LEAST_PROMISED_GAIN * (1.0 + abs(self.value))


def _solve_step(
    curvature: FloatArray, slope: FloatArray, normals: FloatArray, need: FloatArray
) -> FloatArray:
    """Minimise slope w + w curvature w / 2 subject to normals w >= need.

    Here w has shape (r,) and need <= 0, so that w = 0 is feasible. With curvature = L L^T and u = L^T w the problem
    becomes that of the shortest distance from the unconstrained minimum.
    """
    from scipy.linalg import solve_triangular

    try:
        factor = np.linalg.cholesky(curvature)
    except np.linalg.LinAlgError:
        factor = np.eye(len(slope)) * np.sqrt(max(float(np.trace(curvature)) / len(slope), 1e-8))
    centre = -solve_triangular(factor, slope, lower=True, check_finite=False)
    turned = solve_triangular(factor, normals.T, lower=True, check_finite=False).T
    lacking = need - turned @ centre
    away = _least_distance(turned, lacking) if lacking.max(initial=0.0) > 0.0 else np.zeros_like(centre)
    if away is None:
        return np.zeros_like(slope)
    found: FloatArray = solve_triangular(factor.T, centre + away, lower=False, check_finite=False)
    return found


def _least_distance(normals: FloatArray, need: FloatArray) -> FloatArray | None:
    """Shortest w (r,) with normals w >= need; None if it is not found.

    Dual form: the residual of a non-negative least-squares problem points to it (Lawson & Hanson, chapter 23).
    """
    from scipy.optimize import nnls

    size = float(np.abs(need).max())
    # In units of the largest need, so that the tolerances of the solver fit.
    rows = np.concatenate([normals.T, need[None, :] / size])
    target = np.zeros(len(rows))
    target[-1] = 1.0
    try:
        weights, _ = nnls(rows, target)
    except RuntimeError:  # too many iterations; the ascent ends where it is
        return None
    rest = rows @ weights - target
    if -rest[-1] <= 1e-14:
        return None
    move: FloatArray = -size * rest[:-1] / rest[-1]
    return move


def climb(
    value: AcquisitionFunction,
    starts: FloatArray,
    free: BoolArray,
    low: FloatArray,
    high: FloatArray,
    rows: LinearRules,
    rounds: int,
) -> FloatArray:
    """Climb along gradients from some starts.

    Args:
        value: differentiable acquisition function.
        starts: shape (n, d), within bounds and rules.
        free: shape (n, d), coordinates of each that may move.
        low, high: shape (n, d), bounds of each.
        rows: linear rules.
        rounds: evaluations of all starts together, at most.

    Returns:
        Shape (n, d), none worse than its start.
    """
    if rows or (low != low[0]).any() or (high != high[0]).any():
        return _climb_with_rules(value, starts, free, low, high, rows, rounds)
    return _climb_in_box(value, starts, free, low[0], high[0], rounds)


def _climb_with_rules(
    value: AcquisitionFunction,
    starts: FloatArray,
    free: BoolArray,
    low: FloatArray,
    high: FloatArray,
    rows: LinearRules,
    rounds: int,
) -> FloatArray:
    """Climb from all starts together under linear rules, by `Ascent`."""
    climbs = [
        Ascent(FreeSubspace(rows, *each), each[0]) for each in zip(starts, free, low, high, strict=True)
    ]
    for _ in range(rounds):
        active = [climb for climb in climbs if not climb.done]
        if not active:
            break
        values, gradients = value_and_gradient(value, np.array([climb.next_point for climb in active]))
        for climb, own, gradient in zip(active, values.tolist(), gradients, strict=True):
            climb.tell(own, gradient)
    return np.array([climb.x for climb in climbs]).reshape(starts.shape)


def _climb_in_box(
    value: AcquisitionFunction,
    starts: FloatArray,
    free: BoolArray,
    low: FloatArray,
    high: FloatArray,
    rounds: int,
) -> FloatArray:
    """Climb by L-BFGS-B from all starts together; held coordinates have no slope."""
    from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

    best, tops = starts.copy(), np.full(len(starts), -np.inf)

    def negated_value(x: FloatArray, batch_indices: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Negated values and gradients; records the best point of each start.

        Undefined values count as far worse than the best, so that the line search turns back.
        """
        values, gradients = value_and_gradient(value, x)
        rows = np.asarray(batch_indices)
        sound = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        better = sound & (values > tops[rows])
        best[rows[better]], tops[rows[better]] = x[better], values[better]
        worst = np.where(np.isfinite(tops[rows]), tops[rows], 0.0) - 1e3
        slopes = np.where(sound[:, None] & free[rows], gradients, 0.0)
        return -np.where(sound, values, worst), -slopes

    bounds = list(zip(low.tolist(), high.tolist(), strict=True))
    fmin_l_bfgs_b_batched(  # type: ignore[no-untyped-call]  # BoTorch's copy of SciPy's driver has no types
        negated_value, starts, bounds=bounds, maxiter=rounds, pgtol=1e-6, maxls=8, pass_batch_indices=True
    )
    return best


def value_and_gradient(value: AcquisitionFunction, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Evaluate values (n,) and gradients (n, d) at points.

    Args:
        value: differentiable acquisition function.
        x: shape (n, d).
    """
    import torch

    points = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    values = value.evaluate_tensor(points)
    (gradients,) = torch.autograd.grad(values.sum(), points)
    return values.detach().numpy(), gradients.numpy()
