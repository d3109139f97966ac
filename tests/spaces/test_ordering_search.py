"""Orderings are searched by optimizers: models on their correlations find the lowest one in few evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np

from invdesign.candidate import genome_key
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.testing import MemoryHistory

SPACE = {
    "kind": "ordering",
    "parent": "layered",
    "primitive": True,
    "cell": [4, 3, 2],
    "sites": {"A": {"Li": 5, "vacancy": "rest"}},
}


def found_after(settings: dict[str, Any], space: Any, energies: dict[str, float], seed: int) -> int:
    """How many evaluations a search needs until the lowest of `energies` (by key) is told."""
    optimizer = load("optimizers", settings)
    problem = Problem((Objective("energy", "minimize"),))
    history, cache = MemoryHistory(problem), dict[str, object]()
    lowest = min(energies.values())
    state = optimizer.start(Context(space, problem, history, seed, 0, (), cache))
    for event in range(1, 1_000, 2):
        context = Context(space, problem, history, seed, event, (), cache)
        proposals, state = optimizer.ask(context, state, optimizer.batch)
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            energy = energies[history.candidate(id).key]
            history.finish(id, {"energy": energy})
            if energy == lowest:
                return id + 1
        state = optimizer.tell(Context(space, problem, history, seed, event + 1, (), cache), state, ids)
    raise AssertionError("the lowest ordering was not found")


def test_models_of_correlations_find_the_lowest_ordering() -> None:
    """A linear model, fitted on the run's own data, leaves a small part of what random search needs."""
    space = load("spaces", SPACE)
    weights = np.random.default_rng(5).normal(size=13) / np.arange(1, 14)
    x = np.vstack([block[:, :13] for _, block in space.blocks(500)])
    energies = {genome_key(space.genome(i)): float(value) for i, value in enumerate(np.round(x @ weights, 9))}
    assert len(energies) == len(space) > 800
    linear = {"models": ["linear"], "generations": 6, "children": 40}
    screened = {"kind": "genetic", "population": 16, "prescreen": linear}
    needed = [found_after(screened, space, energies, seed) for seed in range(3)]
    assert np.median(needed) < len(space) / 10
