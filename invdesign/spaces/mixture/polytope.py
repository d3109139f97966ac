"""Bounded polytopes: reduced coordinates, vertices, uniform samples, projection, directions.

Small ones are triangulated, so that samples are exactly uniform; larger ones are sampled by hit-and-run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng, rng_for
from invdesign.spaces.halfspaces import Halfspaces, null_space

EPS = 1e-10  # distances below this are rounding (chosen)
MAX_SUBSETS = 3_000  # subsets of faces up to which vertices are listed (chosen)
MAX_TRIANGULATED_DIMENSION = 5  # dimensions up to which a triangulation is small (chosen)
POOL_CHAINS = 512  # parallel hit-and-run chains of the pool (chosen)
BLOCK_STEPS = 32  # steps whose random numbers are drawn at once (chosen)
POOL_SWEEPS = 4  # steps per chain and squared dimension until the pool counts as mixed (chosen)


@dataclass(frozen=True, eq=False)
class Rules:
    """Bounds of n variables and m linear rules.

    They read `lower <= x <= upper` and `low <= matrix @ x <= high`.

    Attributes:
        lower, upper: shape (n,), finite.
        matrix: shape (m, n).
        low, high: shape (m,), infinite where a rule is one-sided, equal for an equation.
    """

    lower: FloatArray
    upper: FloatArray
    matrix: FloatArray
    low: FloatArray
    high: FloatArray

    def are_met(self, x: FloatArray, tolerance: FloatArray | float) -> bool:
        """Check whether `x` (n,) keeps bounds and rules.

        Bounds are kept to `EPS`, rules to `tolerance` (m,).
        """
        values = self.matrix @ x
        return bool(
            (x >= self.lower - EPS).all()
            and (x <= self.upper + EPS).all()
            and (values >= self.low - tolerance).all()
            and (values <= self.high + tolerance).all()
        )

    def restrict_to(self, kept: IntArray, lower: FloatArray) -> Rules:
        """Restrict the rules to the variables `kept` (k,), with bounds `lower` (k,).

        The other variables are 0.
        """
        return Rules(lower, self.upper[kept], self.matrix[:, kept], self.low, self.high)


@lru_cache(maxsize=64)
def _list_subsets(count: int, size: int) -> IntArray:
    """List all subsets of a given size of the numbers below `count`."""
    return np.array(list(combinations(range(count), size)), dtype=np.int64).reshape(-1, size)


class Region:
    """The points that keep some rules, in coordinates of their affine hull.

    A point is x = origin + basis @ w, with coordinates w (d,).
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        scale = np.linalg.norm(rules.matrix, axis=1)
        used = scale > 0
        keys = scale[used, None]
        matrix = rules.matrix[used] / keys
        low, high = rules.low[used] / keys[:, 0], rules.high[used] / keys[:, 0]
        width = len(rules.lower)
        eye = np.eye(width)
        pinned = rules.upper - rules.lower <= EPS
        equal = high - low <= EPS
        equations = np.vstack([eye[pinned], matrix[equal]])
        values = np.concatenate([rules.lower[pinned], 0.5 * (low[equal] + high[equal])])
        free, above, below = ~pinned, ~equal & np.isfinite(low), ~equal & np.isfinite(high)
        self._faces = np.vstack([eye[free], -eye[free], matrix[above], -matrix[below]])
        self._offsets = np.concatenate([rules.lower[free], -rules.upper[free], low[above], -high[below]])
        zero_rows = ~used
        self._consistent = bool(
            (rules.low[zero_rows] <= EPS).all()
            and (rules.high[zero_rows] >= -EPS).all()
            and (rules.lower <= rules.upper + EPS).all()
            and (low <= high + EPS).all()
        )
        self._reduce_to_hull(equations, values)

    def _reduce_to_hull(self, equations: FloatArray, values: FloatArray) -> None:
        """Set the affine hull of some equations, and the body in it."""
        width = len(self.rules.lower)
        if len(equations):
            origin = np.asarray(np.linalg.lstsq(equations, values, rcond=None)[0], dtype=np.float64)
            self._consistent &= bool(np.abs(equations @ origin - values).max() <= EPS)
        else:
            origin = np.zeros(width)
        self._set_hull(origin, null_space(equations, width))
        self._plane = (self.origin, self.basis)
        faces, offsets = self._faces @ self.basis, self._offsets - self._faces @ self.origin
        turned = _find_movable_faces(faces)
        self._consistent &= bool((offsets[~turned] <= EPS).all())
        farthest = np.maximum(np.abs(self.rules.lower), np.abs(self.rules.upper))
        radius = float(np.linalg.norm(farthest) + np.linalg.norm(origin))
        self._body = Halfspaces(faces[turned], offsets[turned], radius, EPS)

    def _set_hull(self, origin: FloatArray, basis: FloatArray) -> None:
        """Take these coordinates, and the faces in them."""
        self.origin, self.basis = origin, basis
        faces, offsets = self._faces @ basis, self._offsets - self._faces @ origin
        turned = _find_movable_faces(faces)
        norms = np.linalg.norm(faces[turned], axis=1)
        self.faces = faces[turned] / norms[:, None]
        self.offsets = offsets[turned] / norms

    @property
    def dimension(self) -> int:
        """Degrees of freedom, once the hull is known exactly.

        Before that, it is an upper limit.
        """
        return int(self.basis.shape[1])

    @cached_property
    def empty(self) -> bool:
        """True if no point keeps the rules."""
        return self.project_point(np.zeros(len(self.rules.lower))) is None

    def to_point(self, w: FloatArray) -> FloatArray:
        """Convert coordinates `w` (d,) to a point (n,)."""
        return self._clip_to_bounds(self.origin + self.basis @ w)

    def project_point(self, y: FloatArray) -> FloatArray | None:
        """Project `y` (n,) onto the polytope; None where it is empty."""
        if not self._consistent:
            return None
        origin, basis = self._plane
        w = self._body.project_point(basis.T @ (y - origin))
        return None if w is None else self._clip_to_bounds(origin + basis @ w)

    def _clip_to_bounds(self, x: FloatArray) -> FloatArray:
        return np.minimum(np.maximum(x, self.rules.lower), self.rules.upper)

    def _keep_inside(self, x: FloatArray) -> FloatArray:
        """Move a point x (n,) of the exact hull into the polytope.

        Rounding, or a hull taken as flat, may have left it outside.
        """
        origin, basis = self._plane
        if self._body.measure_excess(basis.T @ (x - origin)) <= 0.1 * EPS:
            return x
        found = self.project_point(x)
        return x if found is None else found

    def travel_range(self, x: FloatArray, direction: FloatArray) -> tuple[float, float]:
        """Distances from `x` (n,) to the border along `direction` (d,).

        They are backwards (<= 0) and forwards (>= 0).
        """
        slack = self.faces @ (self.basis.T @ (x - self.origin)) - self.offsets
        low, high = _travel_ranges(np.maximum(slack, 0.0), self.faces @ direction)
        return float(low), float(high)

    @property
    def vertices(self) -> FloatArray | None:
        """All corners (v, d) in coordinates of the exact hull.

        It is None where there are too many to list.
        """
        corners = self._corners
        return None if corners is None else (corners - self.origin) @ self.basis

    @cached_property
    def _corners(self) -> FloatArray | None:
        """All corners (v, n); finding them fixes the exact hull."""
        if self._has_many_subsets and not self.empty:
            self._find_exact_hull()
        if self.dimension == 0:
            return np.zeros((0, len(self.origin))) if self.empty else self.to_point(np.zeros(0))[None]
        if self._has_many_subsets:
            return None
        chosen = _list_subsets(len(self.faces), self.dimension)
        systems = self.faces[chosen]
        regular = np.abs(np.linalg.det(systems)) > 1e-9
        corners = np.linalg.solve(systems[regular], self.offsets[chosen[regular]][..., None])[..., 0]
        kept: FloatArray = corners[(corners @ self.faces.T >= self.offsets - EPS).all(axis=1)]
        if len(kept):
            _, first = np.unique(np.round(kept, 8), axis=0, return_index=True)
            kept = kept[np.sort(first)]
            return self._flatten_hull(self.origin + kept @ self.basis.T)
        if self.empty:
            return np.zeros((0, len(self.origin)))
        self._find_exact_hull()  # the polytope is thinner than the tolerance of corners
        return None if self.dimension else self.to_point(np.zeros(0))[None]

    @property
    def _has_many_subsets(self) -> bool:
        return math.comb(len(self.faces), self.dimension) > MAX_SUBSETS

    def _flatten_hull(self, corners: FloatArray) -> FloatArray:
        """Take the hull of `corners` (v, n) and return the corners.

        It may be flatter than the equations say.
        """
        middle = corners.mean(axis=0)
        _, singular, rows = np.linalg.svd((corners - middle) @ self.basis, full_matrices=False)
        rank = int((singular > 1e-8).sum())
        if rank < self.dimension:
            self._set_hull(middle, self.basis @ rows[:rank].T)
        return corners if rank else corners[:1]

    @cached_property
    def _simplices(self) -> tuple[FloatArray, FloatArray] | None:
        """(corners (s, d + 1, d), volumes (s,)) of a triangulation.

        It is None where it would be large.
        """
        corners = self.vertices
        if corners is None or self.dimension > MAX_TRIANGULATED_DIMENSION:
            return None
        d = self.dimension
        if d == 0 or len(corners) == d + 1:
            parts = corners[None]
        elif d == 1:
            parts = np.array([[[corners.min()], [corners.max()]]])
        else:
            from scipy.spatial import Delaunay, QhullError

            try:
                parts = corners[Delaunay(corners).simplices]
            except QhullError:  # too flat for Qhull
                return None
        edges = parts[:, 1:] - parts[:, :1]
        volumes = np.abs(np.linalg.det(edges)) / math.factorial(d) if d else np.ones(len(parts))
        return parts, volumes

    @cached_property
    def volume(self) -> float:
        """Volume in d dimensions.

        For large polytopes it is an estimate from the covariance of samples.
        """
        if self._simplices is not None:
            return float(self._simplices[1].sum())
        d = self.dimension
        _, logarithm = np.linalg.slogdet(np.atleast_2d(np.cov(self._pool.T)))
        # The factor is exact for a simplex, by the covariance of the flat Dirichlet distribution.
        factor = 0.5 * d * math.log((d + 1) * (d + 2)) + 0.5 * math.log(d + 1) - math.lgamma(d + 1)
        return math.exp(0.5 * float(logarithm) + factor)

    def sample(self, rng: Rng) -> FloatArray:
        """Draw a point (n,) uniformly with `rng`.

        It is exact in few dimensions, and by hit-and-run in many.
        """
        if self._simplices is None:
            w = self._pool[int(rng.random() * len(self._pool))]
            return self._keep_inside(
                self.to_point(self._walk_chains(w[None], 3 * self.dimension + 10, rng)[0])
            )
        parts, volumes = self._simplices
        which = 0
        if len(parts) > 1:
            steps = np.cumsum(volumes)
            which = min(int(np.searchsorted(steps, rng.random() * steps[-1])), len(parts) - 1)
        shares = rng.standard_exponential(self.dimension + 1)
        return self._keep_inside(self.to_point((shares / shares.sum()) @ parts[which]))

    def draw_corner(self, rng: Rng) -> FloatArray | None:
        """Draw a vertex (n,) with `rng`.

        It is one of all, or the end of a random direction where there are too many to list.
        """
        if self._corners is not None:
            count = len(self._corners)
            return (
                self._keep_inside(self._clip_to_bounds(self._corners[int(rng.random() * count)]))
                if count
                else None
            )
        from scipy.optimize import linprog

        aim = rng.standard_normal(self.dimension)
        free = [(None, None)] * self.dimension
        answer = linprog(aim, A_ub=-self.faces, b_ub=-self.offsets, bounds=free, method="highs")
        return self._keep_inside(self.to_point(answer.x)) if answer.x is not None else None

    @cached_property
    def _pool(self) -> FloatArray:
        """Points (p, d), spread uniformly by parallel chains.

        They are a pure function of the polytope.
        """
        centre = self._find_exact_hull()
        d = self.dimension
        rng = rng_for(0, 0, "polytope")
        return self._walk_chains(
            np.repeat(centre[None], POOL_CHAINS, axis=0), POOL_SWEEPS * d * max(d, 4), rng
        )

    def _walk_chains(self, w: FloatArray, steps: int, rng: Rng) -> FloatArray:
        """Walk chains w (c, d) by some steps of hit-and-run.

        Source:
            Smith, Oper. Res. 32, 1296 (1984).
        """
        if self.dimension == 0:
            return w
        slack = w @ self.faces.T - self.offsets
        moved = np.zeros_like(w)
        for start in range(0, steps, BLOCK_STEPS):
            directions = rng.standard_normal((min(BLOCK_STEPS, steps - start), *w.shape))
            shares = rng.random(directions.shape[:2])
            for direction, rate, share in zip(directions, directions @ self.faces.T, shares, strict=True):
                low, high = _travel_ranges(np.maximum(slack, 0.0), rate)
                step = low + share * (high - low)
                moved += step[:, None] * direction
                slack += step[:, None] * rate
        return w + moved

    def _find_exact_hull(self) -> FloatArray:
        """Take the exact hull around a point deep inside.

        Returns that point's coordinates (d,).

        Raises:
            ValueError: the polytope is empty.
        """
        inside = self._body.interior if self._consistent else None
        if inside is None:
            raise ValueError("no point keeps the rules")
        origin, basis = self._plane
        self._set_hull(origin + basis @ inside.centre, basis @ inside.basis)
        return np.zeros(self.dimension)


def _find_movable_faces(faces: FloatArray) -> NDArray[np.bool_]:
    """Mask of the `faces` (f, d) that a move can reach or leave."""
    return np.asarray(np.linalg.norm(faces, axis=1) > 1e-9)


def _travel_ranges(slack: FloatArray, rates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distances to the border, backwards and forwards (c,).

    They follow from the slack to each face and its rate, both (c, f).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        room = -slack / rates
    low = np.where(rates > 1e-14, room, -np.inf).max(axis=-1, initial=-np.inf)
    high = np.where(rates < -1e-14, room, np.inf).min(axis=-1, initial=np.inf)
    return low, high
