"""Trust regions: where there are many dimensions, a search stays near the best it knows, as near as its luck allows.

Source:
    Eriksson, Pearce, Gardner, Turner & Poloczek, NeurIPS 2019 (TuRBO); several objectives after Daulton, Eriksson,
    Balandat & Bakshy, UAI 2022 (MORBO), with one region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray
from invdesign.optimizers.common import State
from invdesign.problem import Scores
from invdesign.rng import Rng

# Sides of the cube, and counts, of the paper's section 2 and its supplement.
FIRST_SIDE, LARGEST_SIDE, SMALLEST_SIDE = 0.8, 1.6, 0.5**7
SUCCESSES_TO_GROW = 3  # batches in a row that improve before the region doubles
FEWEST_FAILURES_TO_SHRINK = 4  # candidates in a row that do not improve, at least, before it halves
MOVED_DIMENSIONS = 20  # dimensions that a candidate differs in from the centre, on average, at most
LARGEST_SIDE_RATIO = 4.0  # how much longer or shorter than the mean one side may be
MOST_HYPERVOLUME_OBJECTIVES = 3  # objectives up to which the hypervolume is computed


@dataclass(frozen=True)
class Box:
    """A part of the unit cube to stay in.

    Attributes:
        low, high: shape (d,), within [0, 1].
    """

    low: FloatArray
    high: FloatArray

    def __len__(self) -> int:
        return len(self.low)

    def nearest_points(self, x: FloatArray) -> FloatArray:
        """The points of it nearest to points (n, d)."""
        inside: FloatArray = np.clip(x, self.low, self.high)
        return inside


def start_region(d: int, batch: int) -> State:
    """The state of a region in d dimensions, asked for `batch` candidates at a time: plain JSON.

    `length` is the side of the region as a share of the cube's; `since` the number of the first candidate that was
    proposed after the last restart: the centre is the best trial from there on.
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
    """Batches in a row that do not improve before the region halves."""
    return math.ceil(max(FEWEST_FAILURES_TO_SHRINK / batch, d / batch))


def update_region(state: State, better: bool, batch: int, number: int = 0) -> State:
    """The state after a batch.

    Args:
        state: before.
        better: whether the batch holds a better trial (in `Scores.order`; with several objectives, one that moves
            the front) than all since the last restart.
        batch: how many candidates it held.
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


def region_box(state: State, centre: FloatArray, weights: FloatArray | None = None) -> Box:
    """The region around a centre (d,).

    Args:
        state: of the region.
        centre: shape (d,), in the cube.
        weights: shape (d,), length scales of the model: the region is longer along columns that matter less. All
            sides are equal where not given.
    """
    sides = (
        np.ones(len(centre)) if weights is None else _relative_sides(np.asarray(weights, dtype=np.float64))
    )
    half = 0.5 * float(state["length"]) * sides
    return Box(np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0))


def _relative_sides(weights: FloatArray) -> FloatArray:
    """Weights with a product of 1, so that the volume depends on the length alone."""
    safe = np.where(np.isfinite(weights) & (weights > 0.0), weights, 1.0)
    relative = safe / np.exp(np.log(safe).mean())
    clipped: FloatArray = np.clip(relative, 1.0 / LARGEST_SIDE_RATIO, LARGEST_SIDE_RATIO)
    return clipped


def draw_in_region(box: Box, centre: FloatArray, rng: Rng, n: int) -> FloatArray:
    """Points (n, d) of a region, each different from the centre in a random part of its dimensions.

    In many dimensions a point that differs in all of them is far from the centre wherever it lies.

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
    """The first n points (n, d) of a scrambled Sobol sequence, seeded by `rng`."""
    from scipy.stats import qmc

    engine = qmc.Sobol(d, rng=np.random.Generator(np.random.Philox(int(rng.integers(2**63)))))
    points: FloatArray = engine.random(1 << max(n - 1, 0).bit_length())[:n]
    return points


def choose_centre(scores: Scores, rng: Rng) -> int | None:
    """Position of the trial to centre a region on; None where there is none.

    The best in the order of merit, so that with constraints the region goes where they are met. Of a front, one
    member by chance, in proportion to the hypervolume that only it dominates.
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
    """Shape (n,): hypervolume that only each row of a front (n, m) dominates; equal shares in many objectives."""
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
