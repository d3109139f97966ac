"""Histories to recommend from: a known function of three numbers and a choice, with noise where wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from invdesign import settings
from invdesign.candidate import Genome, Proposal, Status
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, SearchSpace
from invdesign.recommendation.recommend import Names, recommend
from invdesign.recommendation.values import Recommendation
from invdesign.rng import Rng, rng_for
from invdesign.testing import MemoryHistory

UNITS = {"height": "eV", "width": "Å"}
Values = Callable[[Mapping[str, Any], Rng], dict[str, float]]


def space(**parameters: Any) -> SearchSpace:
    """Numbers x, y, z and a choice c, unless told otherwise."""
    parameters = parameters or {
        "x": {"real": [0, 1]},
        "y": {"real": [0, 1]},
        "z": {"real": [0, 1]},
        "c": {"categorical": ["a", "b"]},
    }
    found: SearchSpace = settings.load("spaces", {"kind": "parameters", "parameters": parameters})
    return found


def bowl(genome: Mapping[str, Any], rng: Rng) -> dict[str, float]:
    """Least at x 0.3 and y 0; z does not matter, and `a` is worse than `b`."""
    height = (genome["x"] - 0.3) ** 2 + 0.3 * genome["y"] + (0.2 if genome["c"] == "a" else 0.0)
    return {"height": float(height), "width": float(genome["x"] + genome["y"])}


def noisy(deviation: float) -> Values:
    """The bowl with noise on its height."""

    def values(genome: Mapping[str, Any], rng: Rng) -> dict[str, float]:
        exact = bowl(genome, rng)
        return {**exact, "height": exact["height"] + deviation * float(rng.normal())}

    return values


MINIMIZE = Problem((Objective("height", "minimize"),))
TWO = Problem((Objective("height", "minimize"), Objective("width", "maximize")))
BOUNDED = Problem((Objective("height", "minimize"),), (Constraint("width", min=0.8),))


def context(
    n: int,
    values: Values = bowl,
    problem: Problem = MINIMIZE,
    *,
    where: SearchSpace | None = None,
    noise: float | None = None,
    seed: int = 0,
) -> Context:
    """A run of n random candidates; a dict of values that is empty stands for a failure."""
    where = where or space()
    history, rng = MemoryHistory(problem), rng_for(seed, 0, "cases")
    start = where.operators()["start"]
    while len(history) < n:
        genome: Genome | None = start.apply((), rng)
        assert genome is not None
        id = history.add(Proposal(genome))
        found = values(genome, rng)
        if not found:
            history.finish(id, status=Status.FAILED)
            continue
        said = {} if noise is None else dict.fromkeys(found, noise)
        history.finish(id, found, noise=said)
    return Context(where, problem, history, seed)


def advised(case: Context, **arguments: Any) -> Recommendation:
    """The recommendation of a run whose candidates have their number as formula."""
    return recommend(case, Names("no. {}".format, UNITS), **arguments)


def column(case: Context, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Measured values."""
    return case.history.column(name)
