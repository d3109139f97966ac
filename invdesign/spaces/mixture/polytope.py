"""Bounded polytopes: reduced coordinates, vertices, exactly uniform samples, projection, directions.

Small ones are triangulated, so that samples are exactly uniform; larger ones are sampled by hit-and-run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from invdesign.rng import Rng, rng_for

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

EPS = 1e-10  # distances below this are rounding
MANY = 3_000  # subsets of faces up to which vertices are listed
TRIANGULATED = 5  # dimensions up to which a triangulation is small
CHAINS = 512  # parallel hit-and-run chains of the pool
BLOCK = 32  # steps whose random numbers are drawn at once
SWEEPS = 4  # steps per chain and squared dimension before the pool is taken as mixed


@dataclass(frozen=True, eq=False)
class Rules:
    """Bounds of n variables and m linear rules: `lower <= x <= upper` and `low <= matrix @ x <= high`.

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

    def held(self, x: FloatArray, tolerance: FloatArray | float) -> bool:
        """Whether x (n,) keeps the bounds to `EPS` and the rules to `tolerance` (m,)."""
        values = self.matrix @ x
        return bool(
            (x >= self.lower - EPS).all()
            and (x <= self.upper + EPS).all()
            and (values >= self.low - tolerance).all()
            and (values <= self.high + tolerance).all()
        )

    def within(self, kept: IntArray, lower: FloatArray) -> Rules:
        """The rules for the variables `kept` (k,) with the others 0, and other lower bounds (k,)."""
        return Rules(lower, self.upper[kept], self.matrix[:, kept], self.low, self.high)


@lru_cache(maxsize=64)
def _subsets(count: int, size: int) -> IntArray:
    return np.array(list(combinations(range(count), size)), dtype=np.int64).reshape(-1, size)


def _null_space(matrix: FloatArray, width: int) -> FloatArray:
    """Orthonormal basis (width, d) of what `matrix` (m, width) maps to zero."""
    if not len(matrix):
        return np.eye(width)
    _, singular, rows = np.linalg.svd(matrix)
    rank = int((singular > EPS * max(1.0, singular[0])).sum())
    return rows[rank:].T


class Region:
    """The points that keep some rules, in coordinates w (d,) of their affine hull: x = origin + basis @ w."""

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
        self._reduce(equations, values)

    def _reduce(self, equations: FloatArray, values: FloatArray) -> None:
        """Set the affine hull of some equations, and the faces in its coordinates."""
        width = len(self.rules.lower)
        self._equations, self._values = equations, values
        if len(equations):
            self.origin = np.linalg.lstsq(equations, values, rcond=None)[0]
            self._consistent &= bool(np.abs(equations @ self.origin - values).max() <= EPS)
        else:
            self.origin = np.zeros(width)
        self.basis = _null_space(equations, width)
        self._set_faces()

    def _set_faces(self) -> None:
        faces = self._faces @ self.basis
        offsets = self._offsets - self._faces @ self.origin
        norms = np.linalg.norm(faces, axis=1) if faces.shape[1] else np.zeros(len(faces))
        turned = norms > 1e-9
        self._consistent &= bool((offsets[~turned] <= EPS).all())
        self.faces = faces[turned] / norms[turned, None]
        self.offsets = offsets[turned] / norms[turned]

    @property
    def dimension(self) -> int:
        """Degrees of freedom, once the hull is known exactly; before, an upper limit."""
        return int(self.basis.shape[1])

    @cached_property
    def empty(self) -> bool:
        """Whether no point keeps the rules."""
        return not self._consistent or self._nearest(np.zeros(self.dimension)) is None

    def point(self, w: FloatArray) -> FloatArray:
        """The point (n,) at coordinates w (d,)."""
        x: FloatArray = self.origin + self.basis @ w
        return np.minimum(np.maximum(x, self.rules.lower), self.rules.upper)

    def project(self, y: FloatArray) -> FloatArray | None:
        """The nearest point to y (n,), None where the polytope is empty."""
        if not self._consistent:
            return None
        w = self._nearest(self.basis.T @ (y - self.origin))
        return None if w is None else self.point(w)

    def _nearest(self, target: FloatArray) -> FloatArray | None:
        """Nearest coordinates to `target` (d,), by least-distance programming.

        Source:
            Lawson & Hanson, Solving Least Squares Problems (SIAM, 1995), chapter 23, algorithm LDP.
        """
        from scipy.optimize import nnls

        w = target
        for _ in range(4):  # a second pass takes out what the first left by rounding
            short = self.offsets - self.faces @ w
            if not len(short) or short.max() <= 0.1 * EPS:
                return w
            size = max(float(np.abs(short).max()), 1e-6)
            stacked = np.vstack([self.faces.T, short / size])
            aim = np.zeros(len(stacked))
            aim[-1] = 1.0
            try:
                solution, residual = nnls(stacked, aim)
            except RuntimeError:
                return None
            if residual < 1e-9:
                return None
            rest = stacked @ solution - aim
            w = w - size * rest[:-1] / rest[-1]
        return w if (self.offsets - self.faces @ w).max() <= EPS else None

    def span(self, x: FloatArray, direction: FloatArray) -> tuple[float, float]:
        """How far one can go from x (n,) along `direction` (d,), backwards (<= 0) and forwards (>= 0)."""
        slack = self.faces @ (self.basis.T @ (x - self.origin)) - self.offsets
        low, high = _spans(np.maximum(slack, 0.0), self.faces @ direction)
        return float(low), float(high)

    @cached_property
    def vertices(self) -> FloatArray | None:
        """All corners in coordinates (v, d), of the exact hull; None where there are too many to list."""
        if self.dimension == 0:
            return np.zeros((0 if self.empty else 1, 0))
        if math.comb(len(self.faces), self.dimension) > MANY:
            return None
        chosen = _subsets(len(self.faces), self.dimension)
        systems = self.faces[chosen]
        regular = np.abs(np.linalg.det(systems)) > 1e-9
        corners = np.linalg.solve(systems[regular], self.offsets[chosen[regular]][..., None])[..., 0]
        kept: FloatArray = corners[(corners @ self.faces.T >= self.offsets - EPS).all(axis=1)]
        if len(kept) == 0:
            return kept
        _, first = np.unique(np.round(kept, 8), axis=0, return_index=True)
        return self._settled(kept[np.sort(first)])

    def _settled(self, corners: FloatArray) -> FloatArray:
        """`corners` (v, d) in coordinates of their own hull, which may be flatter than the equations say."""
        middle = corners.mean(axis=0)
        _, singular, rows = np.linalg.svd(corners - middle, full_matrices=False)
        rank = int((singular > 1e-8).sum())
        if rank == self.dimension:
            return corners
        flat = rows[:rank].T
        self.origin = self.origin + self.basis @ middle
        self.basis = self.basis @ flat
        self._set_faces()
        inside: FloatArray = (corners - middle) @ flat
        return inside

    @cached_property
    def _simplices(self) -> tuple[FloatArray, FloatArray] | None:
        """(corners (s, d + 1, d), volumes (s,)) of a triangulation; None where it would be large."""
        corners = self.vertices
        if corners is None or self.dimension > TRIANGULATED:
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
            except QhullError:  # flatter than Qhull can see
                return None
        edges = parts[:, 1:] - parts[:, :1]
        volumes = np.abs(np.linalg.det(edges)) / math.factorial(d) if d else np.ones(len(parts))
        return parts, volumes

    @cached_property
    def volume(self) -> float:
        """Volume in d dimensions; of large polytopes an estimate from the covariance of samples."""
        if self._simplices is not None:
            return float(self._simplices[1].sum())
        d = self.dimension
        _, logarithm = np.linalg.slogdet(np.atleast_2d(np.cov(self._pool.T)))
        # The factor is a simplex's: det cov of a flat Dirichlet distribution on it.
        factor = 0.5 * d * math.log((d + 1) * (d + 2)) + 0.5 * math.log(d + 1) - math.lgamma(d + 1)
        return math.exp(0.5 * float(logarithm) + factor)

    def sample(self, rng: Rng) -> FloatArray:
        """A point (n,), uniformly distributed: exactly in few dimensions, by hit-and-run in many."""
        if self._simplices is None:
            w = self._pool[int(rng.random() * len(self._pool))]
            return self.point(self._walked(w[None], 3 * self.dimension + 10, rng)[0])
        parts, volumes = self._simplices
        which = 0
        if len(parts) > 1:
            steps = np.cumsum(volumes)
            which = min(int(np.searchsorted(steps, rng.random() * steps[-1])), len(parts) - 1)
        shares = rng.standard_exponential(self.dimension + 1)
        return self.point((shares / shares.sum()) @ parts[which])

    def corner(self, rng: Rng) -> FloatArray | None:
        """A vertex (n,): one of all at random, or the end of a random direction."""
        if self.vertices is not None:
            count = len(self.vertices)
            return self.point(self.vertices[int(rng.random() * count)]) if count else None
        from scipy.optimize import linprog

        aim = rng.standard_normal(self.dimension)
        free = [(None, None)] * self.dimension
        answer = linprog(aim, A_ub=-self.faces, b_ub=-self.offsets, bounds=free, method="highs")
        return self.point(answer.x) if answer.x is not None else None

    @cached_property
    def _pool(self) -> FloatArray:
        """Points (p, d), spread uniformly by parallel chains; a pure function of the polytope."""
        centre = self._centre()
        d = self.dimension
        rng = rng_for(0, 0, "polytope")
        return self._walked(np.repeat(centre[None], CHAINS, axis=0), SWEEPS * d * max(d, 4), rng)

    def _walked(self, w: FloatArray, steps: int, rng: Rng) -> FloatArray:
        """Chains w (c, d) after some steps of hit-and-run.

        Source:
            Smith, Oper. Res. 32, 1296 (1984).
        """
        if self.dimension == 0:
            return w
        slack = w @ self.faces.T - self.offsets
        moved = np.zeros_like(w)
        for start in range(0, steps, BLOCK):
            directions = rng.standard_normal((min(BLOCK, steps - start), *w.shape))
            shares = rng.random(directions.shape[:2])
            for direction, rate, share in zip(directions, directions @ self.faces.T, shares, strict=True):
                low, high = _spans(np.maximum(slack, 0.0), rate)
                step = low + share * (high - low)
                moved += step[:, None] * direction
                slack += step[:, None] * rate
        return w + moved

    def _centre(self) -> FloatArray:
        """Centre of the largest ball inside (d,), after faces that are always touched became equations."""
        from scipy.optimize import linprog

        while True:
            d = self.dimension
            ball = np.column_stack([-self.faces, np.ones(len(self.faces))])
            aim = np.zeros(d + 1)
            aim[-1] = -1.0
            bounds = [(None, None)] * d + [(0.0, None)]
            answer = linprog(aim, A_ub=ball, b_ub=-self.offsets, bounds=bounds, method="highs")
            if answer.x is None or answer.x[-1] > 1e-8:
                return np.zeros(d) if answer.x is None else np.asarray(answer.x[:d])
            self._flatten(linprog)
            if self.dimension == 0:
                return np.zeros(0)

    def _flatten(self, linprog: object) -> None:
        """Give up the coordinates in which there is no room."""
        assert callable(linprog)
        free = [(None, None)] * self.dimension
        ends = []
        for face in self.faces:
            answer = linprog(-face, A_ub=-self.faces, b_ub=-self.offsets, bounds=free, method="highs")
            ends.append(np.asarray(answer.x) if answer.x is not None else np.zeros(self.dimension))
        self._settled(np.asarray(ends))


def _spans(slack: FloatArray, rates: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far one can go backwards and forwards (c,) from points with some slack to each face, both (c, f)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        room = -slack / rates
    low = np.where(rates > 1e-14, room, -np.inf).max(axis=-1, initial=-np.inf)
    high = np.where(rates < -1e-14, room, np.inf).min(axis=-1, initial=np.inf)
    return low, high
