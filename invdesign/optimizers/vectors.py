"""Operators on the unit cube, for every vector space.

They follow the shape and the scale of the population.

The space's own operators know what a variable means, but move along the axes. These do not care how the axes lie:
turning the search space turns what they propose. Categories, which lie in no order, are inherited instead of moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray
from invdesign.candidate import Json
from invdesign.periodic import nearest_images, take_shortest_way, wrap_into_cube
from invdesign.protocols import Dimension, SearchSpace, VectorSpace
from invdesign.rng import Rng

BEST = 0.15  # share of the population that `differential` moves towards; Zhang & Sanderson use 0.05 to 0.2 of 100
# Of the step length and the crossover rate around their centres; Zhang & Sanderson (2009)
SPREAD_OF_STEPS = 0.1
LARGEST_SIMPLEX = (
    20  # parents of one child: what a child costs and records must not grow with the space (chosen)
)
MIN_PARENTS = 4  # points that every operator here needs (chosen)


@dataclass(frozen=True, slots=True)
class Steps:
    """Step sizes of the operators, learned from their successes.

    Attributes:
        length: centre of the step length F of `differential`.
        mixing: centre of its crossover rate CR: share of the variables that move.
        width: standard deviations of `gaussian`, in units of those of the better half.
    """

    length: float = 0.5
    mixing: float = 0.7
    width: float = 1.0

    def to_list(self) -> list[float]:
        """Write the steps for the state; `Steps(*listed)` reads them."""
        return [self.length, self.mixing, self.width]


class Points:
    """A population on the unit cube.

    Args:
        x: shape (n, d), best first, n >= `MIN_PARENTS`.
        categorical: shape (d,), which columns are categories.
        periodic: shape (d,), which columns are periodic; None if none are. Along these, `x` then holds the images nearest to
            the best point.
    """

    def __init__(
        self, x: FloatArray, categorical: NDArray[np.bool_], periodic: BoolArray | None = None
    ) -> None:
        self.x = nearest_images(x, x[:1], periodic)
        self.categorical = categorical if categorical.any() else None
        self.periodic = periodic

    def pull_inside(self, x: FloatArray, base: FloatArray) -> FloatArray:
        """Put components that left the cube halfway between `base` and the side; periodic ones wrap."""
        pulled = _pull_inside(x, base)
        return (
            pulled
            if self.periodic is None
            else np.where(self.periodic, wrap_into_cube(x, self.periodic), pulled)
        )

    @cached_property
    def better(self) -> tuple[FloatArray, FloatArray]:
        """Weighted mean of the better half (d,), and its deviations (n / 2, d).

        The weights fall logarithmically with the rank, as in Hansen & Ostermeier, Evol. Comput. 9, 159 (2001).
        """
        half = self.x[: max(len(self.x) // 2, 2)]
        weights = math.log(len(half) + 0.5) - np.log(np.arange(1, len(half) + 1))
        return weights @ half / weights.sum(), (half - half.mean(axis=0)) / math.sqrt(len(half))


@dataclass(frozen=True, slots=True)
class Move:
    """A proposed point.

    Attributes:
        x: shape (d,), within the unit cube.
        parents: rows of the population it was made from.
        memo: what the operator will want to know of it when it has succeeded.
    """

    x: FloatArray
    parents: tuple[int, ...]
    memo: Json = None


VectorOperator = Callable[[Points, Steps, int, Rng], Move]


def move_differentially(points: Points, steps: Steps, chosen: int, rng: Rng) -> Move:
    """Move row `chosen` of `points` by differential evolution (current-to-pbest/1/bin).

    `steps` has the centres of step length and crossover rate, `rng` draws.

    Source:
        Storn & Price, J. Glob. Optim. 11, 341 (1997); Zhang & Sanderson, IEEE Trans. Evol. Comput. 13, 945 (2009).
    """
    x, n = points.x, len(points.x)
    r = rng.random(4 + x.shape[1])
    length = _draw_step_length(steps.length, rng)
    mixing = min(max(steps.mixing + SPREAD_OF_STEPS * float(rng.standard_normal()), 0.0), 1.0)
    best = int(r[0] * max(2.0, BEST * n))
    plus, minus = _draw_two_others(n, chosen, float(r[1]), float(r[2]))
    moved = x[chosen] + length * (x[best] - x[chosen] + x[plus] - x[minus])
    moving = r[4:] < mixing
    moving[int(r[3] * len(moving))] = True
    kept = wrap_into_cube(x[chosen], points.periodic)
    child = np.where(moving, points.pull_inside(moved, x[chosen]), kept)
    if points.categorical is not None:
        child = np.where(points.categorical & moving, x[(best, plus)[int(rng.integers(2))]], child)
    return Move(child, (chosen, best, plus, minus), [round(length, 6), round(mixing, 6)])


def draw_gaussian(points: Points, steps: Steps, chosen: int, rng: Rng) -> Move:  # noqa: ARG001 - an operator's signature
    """Draw a point from the normal distribution of the better half of `points`.

    It is centred at their weighted mean; `steps` has its width, `rng` draws. `chosen` is not used.

    The covariance is never written out: a sum of the deviations with normal weights has it. Its parent is the
    member of the better half that is nearest to it.

    Source:
        Larrañaga & Lozano (eds.), Estimation of Distribution Algorithms (Kluwer, 2002), chapter 8 (EMNA).
    """
    mean, deviations = points.better
    child = points.pull_inside(mean + steps.width * (rng.standard_normal(len(deviations)) @ deviations), mean)
    half = points.x[: len(deviations)]
    if points.categorical is not None:
        donors = rng.integers(len(half), size=len(child))
        child = np.where(points.categorical, half[donors, np.arange(len(child))], child)
    apart = take_shortest_way(half - child, points.periodic)
    nearest = int(np.argmin((apart**2).sum(axis=1)))
    return Move(child, (nearest,))


def cross_simplex(points: Points, steps: Steps, chosen: int, rng: Rng) -> Move:  # noqa: ARG001 - an operator's signature
    """Cross parents by the simplex crossover: draw from their expanded simplex.

    The parents are row `chosen` of `points` and others drawn by `rng`: d + 1 in all, at most 20 and at most half the points,
    but 3 in any case. `steps` is not used.

    Source:
        Tsutsui, Yamamura & Higuchi, Proc. GECCO 1999, 657; its expansion rate sqrt(k + 1) for k parents.
    """
    n, d = points.x.shape
    k = min(d + 1, LARGEST_SIMPLEX, max(3, n // 2))
    rows = rng.choice(n, k, replace=False, shuffle=False)
    rows = rows if chosen in rows else np.append(rows[:-1], chosen)
    corners = points.x[rows]
    centre = corners.mean(axis=0)
    # With uniform numbers u_t^(1/t), the recursion of the paper gives corner t the weight below.
    shares = np.append(rng.random(k - 1) ** (1.0 / np.arange(1, k)), 1.0)
    after = np.cumprod(shares[::-1])[::-1]
    weights = after - np.append(0.0, after[:-1])
    child = points.pull_inside(centre + math.sqrt(k + 1) * (weights @ (corners - centre)), centre)
    if points.categorical is not None:
        donors = rng.integers(k, size=d)
        child = np.where(points.categorical, corners[donors, np.arange(d)], child)
    apart = take_shortest_way(corners - child, points.periodic)
    order = np.argsort((apart**2).sum(axis=1), kind="stable")
    return Move(child, tuple(int(row) for row in rows[order]))


OPERATORS: Mapping[str, VectorOperator] = {
    "differential": move_differentially,
    "gaussian": draw_gaussian,
    "simplex": cross_simplex,
}
CENTRAL_OPERATORS = frozenset(
    {"gaussian"}
)  # searches around the middle of the better half: for one objective


def movable_dimensions(space: SearchSpace) -> tuple[Dimension, ...]:
    """Dimensions of a `space` for operators on vectors; none without an order."""
    if not isinstance(space, VectorSpace):
        return ()
    dimensions = space.domain().dimensions
    return dimensions if any(item.kind != "categorical" for item in dimensions) else ()


def _draw_step_length(centre: float, rng: Rng) -> float:
    """Draw a step length: a positive Cauchy number, at most 1."""
    while True:
        length = centre + SPREAD_OF_STEPS * math.tan(math.pi * (float(rng.random()) - 0.5))
        if length > 0.0:
            return min(length, 1.0)


def _draw_two_others(n: int, chosen: int, r: float, s: float) -> tuple[int, int]:
    """Two different rows of n, other than `chosen`, from two uniform numbers."""
    first = int(r * (n - 1))
    second = int(s * (n - 2))
    first += first >= chosen
    low, high = sorted((first, chosen))
    second += second >= low
    second += second >= high
    return first, second


def _pull_inside(x: FloatArray, base: FloatArray) -> FloatArray:
    """Put components that left the cube halfway between `base` and the side."""
    return np.where(x < 0.0, 0.5 * base, np.where(x > 1.0, 0.5 * (1.0 + base), x))
