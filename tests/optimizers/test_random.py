"""Random search, beyond what the contract checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from invdesign.candidate import Proposal
from invdesign.optimizers.random import RandomSearch
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import MemoryHistory

PROBLEM = Problem((Objective("height", "minimize"),))


class CountingSpace(ParameterSpace):
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


def designed(design: str, sizes: list[int], **fields: Any) -> NDArray[np.float64]:
    """Values of `x` and `y` that a design proposes, (n, 2), the cache lost at every ask."""
    optimizer = load("optimizers", {"kind": "random", "design": design, **fields})
    space = parameters(x={"real": [0, 1]}, y={"real": [0, 1]})
    history = MemoryHistory(PROBLEM)
    state = optimizer.start(Context(space, PROBLEM, history, 3))
    for event, size in enumerate(sizes, start=1):
        proposals, state = optimizer.ask(Context(space, PROBLEM, history, 3, event), state, size)
        for proposal in proposals:
            history.add(proposal)
    genomes = [history.candidate(id).genome for id in range(len(history))]
    return np.array([[genome["x"], genome["y"]] for genome in genomes], dtype=np.float64)


@pytest.mark.parametrize("design", ["sobol", "latin_hypercube"])
def test_a_design_goes_on_where_it_was(design: str) -> None:
    """However it is asked, and without a cache, the same points come in the same order."""
    whole = designed(design, [64], batch=16)
    assert np.array_equal(designed(design, [16] * 4, batch=16), whole)
    assert np.array_equal(designed(design, [1, 2, 30, 31], batch=16), whole)


def test_sobol_is_balanced() -> None:
    """Of 64 points every cell of an 8 by 8 grid holds exactly one."""
    points = designed("sobol", [64], batch=10)
    cells, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=8, range=[[0, 1], [0, 1]])
    assert (cells == 1).all()


def test_a_latin_hypercube_fills_every_slice() -> None:
    """Each batch of ten has one point in every tenth of every dimension; the next is another one."""
    points = designed("latin_hypercube", [10, 10], batch=10)
    for block in (points[:10], points[10:]):
        assert (
            sorted((block[:, 0] * 10).astype(int))
            == sorted((block[:, 1] * 10).astype(int))
            == list(range(10))
        )
    assert not np.array_equal(points[:10], points[10:])


def test_seeds_differ_between_runs() -> None:
    """The scrambling is the run's own."""
    space = parameters(x={"real": [0, 1]}, y={"real": [0, 1]})
    optimizer = RandomSearch(design="sobol")
    found = []
    for seed in (1, 2):
        context = Context(space, PROBLEM, MemoryHistory(PROBLEM), seed)
        proposals, _ = optimizer.ask(context, optimizer.start(context), 4)
        found.append([proposal.genome for proposal in proposals])
    assert found[0] != found[1]


def test_a_design_needs_points() -> None:
    """What has no points is refused for a design, and for nothing else."""
    assert "needs a space of points for design sobol" in RandomSearch(design="sobol").refusal(Bare(), PROBLEM)  # type: ignore[arg-type]
    assert RandomSearch().refusal(Bare(), PROBLEM) == ""  # type: ignore[arg-type]


class Bare:
    """A space with operators alone."""

    operators = build = features = None
