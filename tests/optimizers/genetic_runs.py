"""Runs of the genetic algorithm in memory, for its tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.testing import MemoryHistory

ONE = Problem((Objective("f1", "minimize"),))
TWO = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")), (Constraint("c", max=0.0),))


def parameters(**fields: Any) -> Any:
    """A parameter space as a campaign file says it."""
    return load("spaces", {"kind": "parameters", "parameters": fields})


def cube(dimensions: int, low: float = 0.0, high: float = 1.0) -> Any:
    """Real parameters x1, x2, ... with the same bounds."""
    return parameters(**{f"x{i + 1}": {"real": [low, high]} for i in range(dimensions)})


def history_of(problem: Problem, values: Sequence[Sequence[float]], violation: float = 0.0) -> MemoryHistory:
    """Complete trials with these objective values."""
    history = MemoryHistory(problem)
    for number, row in enumerate(values):
        history.finish(history.add(Proposal({"n": number})), {"f1": row[0], "f2": row[-1], "c": violation})
    return history


Fitness = Callable[[FloatArray], Mapping[str, float]]


def searched(
    optimizer: Any, space: Any, problem: Problem, fitness: Fitness, trials: int, seed: int = 0
) -> MemoryHistory:
    """A run in memory, generation by generation."""
    history = MemoryHistory(problem)
    event = 0

    def context() -> Context:
        return Context(space, problem, history, seed, event)

    state = optimizer.start(context())
    while len(history) < trials:
        event += 1
        proposals, state = optimizer.ask(context(), state, min(optimizer.batch, trials - len(history)))
        ids = [history.add(proposal) for proposal in proposals]
        for id, row in zip(ids, space.encode([proposal.genome for proposal in proposals]), strict=True):
            history.finish(id, fitness(row))
        event += 1
        state = optimizer.tell(context(), state, ids)
    return history


def bowl(x: FloatArray) -> dict[str, float]:
    """Least at 0.3 in every variable."""
    return {"f1": float(np.sum((x - 0.3) ** 2))}


def narrow_front(x: FloatArray) -> dict[str, float]:
    """ZDT1, whose front is where all but the first variable are 0; feasible where the first is at most 0.6."""
    g = 1.0 + 9.0 * float(np.mean(x[1:]))
    return {"f1": float(x[0]), "f2": g - float(np.sqrt(x[0] * g)), "c": max(0.0, float(x[0]) - 0.6)}
