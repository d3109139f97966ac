"""Wrapper of the `cmaes` library: distributions that survive JSON to the last bit.

The library is seeded once and drops its generator when it is pickled. Here a distribution is rebuilt at every event
from the numbers that move, its generator is seeded from the event, and its factorisation is made anew from the same
covariance each time, so that a resumed run repeats it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.periodic import periodic_mask, take_shortest_way, wrap_into_cube
from invdesign.protocols import Dimension

Saved: TypeAlias = dict[str, Any]  # JSON: what moves in a distribution

STATE_FIELDS = (
    "_mean",
    "_sigma",
    "_p_sigma",
    "_pc",
    "_g",
)  # beside the covariance, in the library's own names
MAX_GRID_VALUES = (
    1_000  # an integer or ordinal dimension with more values than this is as good as real (chosen)
)
Model: TypeAlias = Any  # of the library, which has no types it exports


@dataclass(frozen=True, slots=True)
class Cube:
    """Unit cube that the library searches, with a grid along integer dimensions.

    Attributes:
        bounds: shape (d, 2).
        steps: shape (d,), distance of the grid's points; 0 along a continuum.
        separable: adapt the variances alone, at a cost that grows with d and not with its square.
        periodic: shape (d,), axes whose ends are one point, which have no bounds. None if none are.
    """

    bounds: FloatArray
    steps: FloatArray
    separable: bool
    periodic: BoolArray | None = None

    @classmethod
    def from_dimensions(cls, dimensions: Sequence[Dimension], *, separable: bool) -> Cube:
        """Make the cube of a space's `dimensions`.

        Cells of an integer dimension have equal shares and are evaluated at their centre. With `separable` there is no grid.
        """
        counts = np.array([_count_grid_values(dimension) for dimension in dimensions], dtype=np.float64)
        steps = np.where(counts > 0, 1.0 / np.maximum(counts, 1.0), 0.0)
        bounds = np.stack([0.5 * steps, 1.0 - 0.5 * steps], axis=1)
        periodic = periodic_mask(dimensions)
        if periodic is not None:
            bounds = np.where(periodic[:, None], np.array([-np.inf, np.inf]), bounds)
        return cls(bounds, np.zeros_like(steps) if separable else steps, separable, periodic)

    @property
    def dimensions(self) -> int:
        """Number of dimensions, d."""
        return len(self.steps)

    def new_model(self, mean: Sequence[float], sigma: float, population: int) -> Model:
        """New distribution: CMA-ES with margin on a grid, else CMA-ES or separable.

        Args:
            mean: shape (d,).
            sigma: initial step size.
            population: candidates per generation.
        """
        import cmaes

        centre = np.clip(np.array(mean, dtype=np.float64), self.bounds[:, 0], self.bounds[:, 1])
        common = {"mean": centre, "sigma": sigma, "bounds": self.bounds, "population_size": population}
        if self.separable:
            return cmaes.SepCMA(**common)
        return cmaes.CMAwM(steps=self.steps, **common) if (self.steps > 0).any() else cmaes.CMA(**common)

    def save_model(self, model: Model) -> Saved:
        """Write the state of a `model` as JSON."""
        inner = vars(model).get("_cma", model)
        state = inner.__getstate__()
        found: Saved = {name: np.asarray(state[name]).tolist() for name in STATE_FIELDS}
        if self.periodic is not None:
            found["_mean"] = wrap_into_cube(np.asarray(state["_mean"]), self.periodic).tolist()
        name = "_C" if self.separable else "_c_1d"
        found[name] = state[name].tolist()
        if inner is not model:
            found["margin"] = vars(model)["_A"].tolist()  # CMAwM alone; its other numbers follow from these
        return found

    def restore_model(self, saved: Saved, sigma: float, population: int) -> Model:
        """Restore a distribution from its saved state.

        Args:
            saved: from `save_model`.
            sigma: what it started from; the library's tolerances are relative to that.
            population: as it started with.
        """
        model = self.new_model(saved["_mean"], sigma, population)
        inner = vars(model).get("_cma", model)
        numbers = {name: _to_array(value) for name, value in saved.items() if name != "margin"}
        inner.__setstate__({**inner.__getstate__(), **numbers, "_B": None, "_D": None})
        if "margin" in saved:
            vars(model)["_A"][:] = saved["margin"]
        return model

    def sample_point(self, model: Model) -> tuple[FloatArray, FloatArray]:
        """Sample a `model`: point to evaluate and point to tell, each shape (d,).

        They differ along a grid, and where a periodic axis was crossed: the image nearest to the mean is told, so that the mean
        of images is a circular one.
        """
        answer = model.ask()
        place, told = answer if isinstance(answer, tuple) else (answer, answer)
        if self.periodic is None:
            return place, told
        mean = vars(model).get("_cma", model).mean
        return wrap_into_cube(place, self.periodic), mean + take_shortest_way(told - mean, self.periodic)


def _count_grid_values(dimension: Dimension) -> int:
    """Number of values of an integer dimension; 0 for a continuum."""
    if dimension.kind == "real":
        return 0
    count = len(dimension.choices) or round(dimension.high - dimension.low) + 1
    return count if 1 < count <= MAX_GRID_VALUES else 0


def _to_array(value: Any) -> Any:
    return np.array(value, dtype=np.float64) if isinstance(value, list) else value


def stopping_generations(dimensions: int, population: int) -> int:
    """Number of generations the library compares before it stops a search.

    Args:
        dimensions: d.
        population: candidates per generation.
    """
    return 10 + -(-30 * dimensions // population)


def should_stop(model: Model, extremes: FloatArray) -> bool:
    """True if the library calls the search finished: no progress, or degenerate.

    Args:
        model: a restored one; it is spoilt by the question.
        extremes: shape (k, 2), best and worst value of the last generations; NaN where unknown.
    """
    inner = vars(model).get("_cma", model)
    kept = 2 * stopping_generations(model.dim, model.population_size)
    history = np.full(kept, np.nan)  # NaN: too few values to tell
    if 2 * len(extremes) >= kept:
        history = extremes[-kept // 2 :].ravel()
    inner.__setstate__({**inner.__getstate__(), "_funhist_values": history})
    with np.errstate(all="ignore"):
        return bool(inner.should_stop())
