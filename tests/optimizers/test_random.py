"""Random search, beyond what the contract checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.candidate import Proposal
from invdesign.optimizers.random import RandomSearch
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.spaces.parameters import CountedParameterSpace
from invdesign.testing import MemoryHistory

PROBLEM = Problem((Objective("height", "minimize"),))


class CountingSpace(CountedParameterSpace):
    """Counts how often a genome is looked up by its index."""

    def genome(self, index: int) -> Any:
        LOOKED_UP.append(index)
        return super().genome(index)


LOOKED_UP: list[int] = []


def parameters(**fields: Any) -> Any:
    """A parameter space as a campaign file says it."""
    return load("spaces", {"kind": "parameters", "parameters": fields})


def proposed(space: Any, sizes: list[int], seed: int = 0) -> list[Any]:
    """Genomes of asks of these sizes, one after the other."""
    optimizer = RandomSearch()
    history = MemoryHistory(PROBLEM)
    run = [Context(space, PROBLEM, history, seed, event) for event in range(len(sizes) + 1)]
    state = optimizer.start(run[0])
    for size, context in zip(sizes, run[1:], strict=True):
        proposals, state = optimizer.ask(context, state, size)
        for proposal in proposals:
            history.add(proposal)
    return [history.candidate(id).genome for id in range(len(history))]


def test_the_last_genome_is_found_as_fast_as_the_first() -> None:
    """Exhausting a space looks every genome up once, not again and again among the few that are left."""
    LOOKED_UP.clear()
    space = CountingSpace.model_validate({"parameters": {"n": {"integer": (1, 3000)}}})
    genomes = proposed(space, [100] * 31)
    assert len(genomes) == 3000
    assert sorted(LOOKED_UP) == list(range(3000))


def test_what_others_asked_is_skipped() -> None:
    """In a portfolio, the rest of the space is proposed, and nothing twice."""
    space = parameters(n={"integer": [1, 10]})
    history = MemoryHistory(PROBLEM)
    for n in (2, 3, 5, 7):
        history.add(Proposal({"n": n}))
    context = Context(space, PROBLEM, history, 0)
    proposals, state = RandomSearch().ask(context, RandomSearch().start(context), 10)
    assert sorted(int(str(proposal.genome["n"])) for proposal in proposals) == [1, 4, 6, 8, 9, 10]
    assert state == {"seeds": 0, "position": 10}


def test_the_sizes_of_asks_do_not_matter_on_a_finite_space() -> None:
    """One by one or all at once, the same seed walks the same way."""
    space = parameters(n={"integer": [1, 40]})
    assert proposed(space, [1] * 40) == proposed(space, [40]) == proposed(space, [7, 30, 3])


def test_draws_from_a_continuum_are_uniform() -> None:
    """Every part of the range is drawn as often as any other."""
    values = np.array([genome["x"] for genome in proposed(parameters(x={"real": [0, 1]}), [50] * 40)])
    counts, _ = np.histogram(values, bins=10, range=(0, 1))
    assert counts.min() > 150  # 200 expected, standard deviation 13


def test_a_batch_holds_at_least_one() -> None:
    """The batch size is checked when the campaign is read."""
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        load("optimizers", {"kind": "random", "batch": 0})
