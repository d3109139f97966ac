"""Trust regions around the best trial, for spaces of many dimensions.

Source:
    Eriksson, Pearce, Gardner, Turner & Poloczek, NeurIPS 2019 (TuRBO); several objectives after Daulton, Eriksson,
    Balandat & Bakshy, UAI 2022 (MORBO), with one region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from invdesign import pareto
from invdesign.arrays import BoolArray, FloatArray
from invdesign.optimizers.common import State
from invdesign.problem import Scores
from invdesign.rng import Rng

# Sides of the cube, and counts, of the paper's section 2 and its supplement.
FIRST_SIDE, LARGEST_SIDE, SMALLEST_SIDE = 0.8, 1.6, 0.5**7
SUCCESSES_TO_GROW = 3  # batches in a row that improve
FEWEST_FAILURES_TO_SHRINK = 4  # candidates in a row that do not improve
MOVED_DIMENSIONS = 20  # of a candidate, on average
LARGEST_SIDE_RATIO = 4.0  # of one side to the mean side (chosen)
MOST_HYPERVOLUME_OBJECTIVES = 3  # with more, members of the front have equal shares (chosen)


@dataclass(frozen=True)
class Box:
    """Part of the unit cube to stay in.

    Attributes:
        low, high: shape (d,), within [0, 1]; along a periodic axis it may reach beyond, at most one period long.
    """

    low: FloatArray
    high: FloatArray

    def __len__(self) -> int:
        return len(self.low)

    def nearest_points(self, x: FloatArray) -> FloatArray:
        """Nearest points of the box to points `x` (n, d)."""
        inside: FloatArray = np.clip(x, self.low, self.high)
        return inside


def start_region(d: int, batch: int) -> State:
    """Initial state of a region in `d` dimensions, as plain JSON.

    `length` is the side of the region as a share of the cube's; `since` the number of the first candidate that was
    proposed after the last restart: the centre is the best trial from there on.

    Args:
        d: dimensions.
        batch: candidates asked for at a time.
    """
    return {
        "dimensions": int(d),
        "batch": int(batch),
        "length": FIRST_SIDE,
        "successes": 0,
        "failures": 0,
        "restarts": 0,
        "since": 0,
    }


def batches_before_shrinking(d: int, batch: int) -> int:
    """Batches in a row without improvement before the region halves.

    Args:
        d: dimensions.
        batch: candidates asked for at a time.
    """
    return math.ceil(max(FEWEST_FAILURES_TO_SHRINK / batch, d / batch))


def update_region(state: State, better: bool, batch: int, number: int = 0) -> State:
    """Update the region's state after a batch.

    Args:
        state: before.
        better: True if the batch holds a better trial (in `Scores.order`; with several objectives, one that moves
            the front) than all since the last restart.
        batch: number of candidates it held.
        number: of the run's next candidate, remembered in `since` where the region restarts.

    Returns:
        A new state. Where the region had become too small it starts anew, as large as at first: its `restarts` is one
        more then, and the caller should propose a few candidates from the whole space.
    """
    successes = state["successes"] + 1 if better else 0
    failures = 0 if better else state["failures"] + 1
    length = state["length"]
    if successes >= SUCCESSES_TO_GROW:
        length, successes = min(2.0 * length, LARGEST_SIDE), 0
    elif failures >= batches_before_shrinking(state["dimensions"], max(batch, 1)):
        length, failures = 0.5 * length, 0
    told = {**state, "length": length, "successes": successes, "failures": failures}
    if length >= SMALLEST_SIDE:
        return told
    fresh = start_region(state["dimensions"], state["batch"])
    return {**fresh, "restarts": state["restarts"] + 1, "since": int(number)}


def region_box(
    state: State, centre: FloatArray, weights: FloatArray | None = None, periodic: BoolArray | None = None
) -> Box:
    """Box of the region around a centre.

    Args:
        state: of the region.
        centre: shape (d,), in the cube.
        weights: shape (d,), relative lengths of the sides, larger for columns that matter less. All sides are equal
            where not given.
        periodic: shape (d,), axes whose ends are one point; None if none are.
    """
    sides = (
        np.ones(len(centre)) if weights is None else _relative_sides(np.asarray(weights, dtype=np.float64))
    )
    half = 0.5 * float(state["length"]) * sides
    low, high = np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
    if periodic is None:
        return Box(low, high)
    around = np.minimum(half, 0.5)
    return Box(np.where(periodic, centre - around, low), np.where(periodic, centre + around, high))


def _relative_sides(weights: FloatArray) -> FloatArray:
    """Scale weights to a product of 1.

    So the volume of the region depends on its length alone. Outliers are clipped after that.
    """
    safe = np.where(np.isfinite(weights) & (weights > 0.0), weights, 1.0)
    relative = safe / np.exp(np.log(safe).mean())
    clipped: FloatArray = np.clip(relative, 1.0 / LARGEST_SIDE_RATIO, LARGEST_SIDE_RATIO)
    return clipped


def draw_in_region(box: Box, centre: FloatArray, rng: Rng, n: int) -> FloatArray:
    """Draw points (n, d) of a region that differ from the centre in some dimensions.

    In many dimensions a point that differs in all of them is far from the centre wherever it lies.

    Args:
        box: the region.
        centre: shape (d,).
        rng: of the points.
        n: number of points.

    Source:
        Section 2 and supplement of the paper: Sobol points, of which each coordinate is taken with probability
        min(1, 20 / d).
    """
    d = len(centre)
    points = box.low + draw_sobol(n, d, rng) * (box.high - box.low)
    taken = rng.random((n, d)) < min(1.0, MOVED_DIMENSIONS / d)
    bare = np.flatnonzero(~taken.any(axis=1))
    taken[bare, rng.integers(d, size=len(bare))] = True
    return np.where(taken, points, box.nearest_points(centre[None])[0])


def draw_sobol(n: int, d: int, rng: Rng) -> FloatArray:
    """Draw the first `n` points (n, d) of a scrambled Sobol sequence, seeded by `rng`."""
    from scipy.stats import qmc

    engine = qmc.Sobol(d, rng=np.random.Generator(np.random.Philox(int(rng.integers(2**63)))))
    points: FloatArray = engine.random(1 << max(n - 1, 0).bit_length())[:n]
    return points


def choose_centre(scores: Scores, rng: Rng) -> int | None:
    """Choose the trial to centre a region on, by position; None if there is none.

    The best in the order of merit, so that with constraints the region goes where they are met. Of a front, one
    member by chance, in proportion to the hypervolume that only it dominates.

    Args:
        scores: of the trials.
        rng: of the draw.
    """
    if not len(scores.ids):
        return None
    front = scores.front()
    if scores.values.shape[1] == 1 or len(front) < 2:
        return int(scores.order()[0])
    weights = _hypervolume_contributions(scores.values[front])
    steps = np.cumsum(weights)
    return int(
        front[min(int(np.searchsorted(steps, rng.random() * steps[-1], side="right")), len(front) - 1)]
    )


def _hypervolume_contributions(values: FloatArray) -> FloatArray:
    """Hypervolume that only each row of a front (n, m) dominates, shape (n,).

    Equal shares in many objectives.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    if values.shape[1] > MOST_HYPERVOLUME_OBJECTIVES:
        return np.ones(len(values))
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    reference = pareto.reference_point(np.zeros(values.shape[1]), np.ones(values.shape[1]))
    whole = pareto.hypervolume(scaled, reference)
    rows = range(len(values))
    alone = [whole - pareto.hypervolume(np.delete(scaled, row, axis=0), reference) for row in rows]
    found: FloatArray = np.maximum(np.array(alone), 0.0)
    return found if found.sum() > 0.0 else np.ones(len(values))
