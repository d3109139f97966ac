"""Covariance matrix adaptation, beyond what the contract checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Genome, Proposal, Status
from invdesign.optimizers.cma import CMA
from invdesign.optimizers.cma_library import Cube, should_stop, stopping_generations
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, Dimension
from invdesign.settings import load
from invdesign.testing import MemoryHistory, check_optimizer

SINGLE = Problem((Objective("height", "minimize"),))
DOUBLE = Problem((Objective("height", "minimize"), Objective("width", "minimize")))
Fate = Callable[[Genome], tuple[dict[str, float], Status]]


def space(**parameters: Any) -> Any:
    fields = parameters or {f"x{number}": {"real": [-5, 5]} for number in range(4)}
    return load("spaces", {"kind": "parameters", "parameters": fields})


def valley(genome: Genome) -> tuple[dict[str, float], Status]:
    """An ellipsoid with axis ratio 100, turned; its bottom at 1.5."""
    x = np.array([float(str(value)) for value in genome.values()]) - 1.5
    along = x.sum() / np.sqrt(len(x))
    return {"height": float(1e4 * (x @ x - along**2) + along**2)}, Status.COMPLETE


class Loop:
    """Ask and tell as the loop does."""

    def __init__(self, cma: CMA, where: Any, problem: Problem = SINGLE, *, seed: int = 1) -> None:
        self.cma, self.where, self.problem, self.seed = cma, where, problem, seed
        self.history = MemoryHistory(problem)
        self.event = 0
        self.state: Any = cma.start(self.context())

    def context(self) -> Context:
        self.event += 1
        return Context(self.where, self.problem, self.history, self.seed, self.event)

    def ask(self, n: int | None = None) -> list[int]:
        proposals, self.state = self.cma.ask(self.context(), self.state, n or self.cma.batch)
        return [self.history.add(proposal) for proposal in proposals]

    def finish(self, ids: list[int], fate: Fate = valley) -> None:
        for id in ids:
            properties, status = fate(self.history.candidate(id).genome)
            self.history.finish(id, properties, status=status)
        self.tell(ids)

    def tell(self, ids: list[int]) -> None:
        self.state = self.cma.tell(self.context(), self.state, ids)

    def run(self, candidates: int, fate: Fate = valley) -> Loop:
        while len(self.history) < candidates and (ids := self.ask()):
            self.finish(ids, fate)
        return self

    @property
    def best(self) -> float:
        return float(np.nanmin(self.history.column("height")))


@pytest.mark.parametrize("separable", [False, True])
def test_it_descends_like_the_library(separable: bool) -> None:
    """As near to the bottom as the library itself, given the same population, step and bounds."""
    import cmaes

    def library(seed: int) -> float:
        kind = cmaes.SepCMA if separable else cmaes.CMA
        optimizer = kind(mean=np.full(4, 0.5), sigma=0.3, bounds=np.tile([0.0, 1.0], (4, 1)), seed=seed)
        best = np.inf
        for _ in range(600 // optimizer.population_size):
            points = [optimizer.ask() for _ in range(optimizer.population_size)]
            values = [valley({str(k): -5 + 10 * u for k, u in enumerate(x)})[0]["height"] for x in points]
            optimizer.tell(list(zip(points, values, strict=True)))
            best = min(best, *values)
        return best

    ours = [Loop(CMA(separable=separable), space(), seed=seed).run(600).best for seed in range(3)]
    theirs = [library(seed) for seed in range(3)]
    assert np.median(np.log10(ours)) == pytest.approx(np.median(np.log10(theirs)), abs=2.0)


def test_a_state_through_json_goes_on_to_the_last_bit() -> None:
    """Everything that moves is in the state: distribution, margin and counters."""
    mixed = space(x={"real": [0, 1]}, y={"real": [0, 1]}, n={"integer": [0, 9]})
    straight, resumed = Loop(CMA(), mixed), Loop(CMA(), mixed)
    for _ in range(20):
        straight.finish(straight.ask())
        resumed.finish(resumed.ask())
        resumed.cma = load("optimizers", json.loads(json.dumps(resumed.cma.model_dump(mode="json"))))
        resumed.state = json.loads(json.dumps(resumed.state))
    assert straight.state == resumed.state
    assert [straight.history.candidate(id) for id in range(len(straight.history))] == [
        resumed.history.candidate(id) for id in range(len(resumed.history))
    ]


def test_whole_numbers_do_not_freeze() -> None:
    """With margin, an integer that the optimum needs is found although the first best ones lie elsewhere."""

    def stepped(genome: Genome) -> tuple[dict[str, float], Status]:
        x, n = float(str(genome["x"])), int(str(genome["n"]))
        return {"height": (x - 0.3) ** 2 + (n - 17) ** 2}, Status.COMPLETE

    where = space(x={"real": [0, 1]}, y={"real": [0, 1]}, n={"integer": [0, 20]})
    for seed in range(2):
        assert Loop(CMA(), where, seed=seed).run(400, stepped).best < 1e-4


def test_failures_take_the_last_places() -> None:
    """Where half of the region fails, the best of the rest is found; no failure is told as a number."""

    def cliff(genome: Genome) -> tuple[dict[str, float], Status]:
        return ({}, Status.FAILED) if float(str(genome["x0"])) > 1.0 else valley(genome)

    assert (
        Loop(CMA(), space()).run(1500, cliff).best < 4.5
    )  # 4/3 x 0.25 x ... at the cliff, 1e4 off the valley


def test_constraints_come_first() -> None:
    """Feasible candidates rank before lower ones that violate."""
    problem = Problem(SINGLE.objectives, (Constraint("height", min=3.0),))
    loop = Loop(CMA(restarts="none"), space(), problem).run(600)
    values = loop.history.column("height")
    assert np.nanmin(values[values >= 3.0]) < 3.2


def test_a_generation_at_a_time() -> None:
    """An answer holds what is left of the generation; asked again before results, one more; told twice, once."""
    loop = Loop(CMA(population=6), space())
    first = loop.ask(4)
    second = loop.ask(50)
    assert (len(first), len(second)) == (4, 2)
    extra = loop.ask(50)
    assert len(extra) == 6
    loop.finish(first)
    loop.tell(first)
    assert loop.state["generation"] == 0
    loop.finish(second[::-1])
    assert loop.state["generation"] == 1
    loop.finish(extra)  # drawn for the generation before: late
    loop.tell(first)
    assert loop.state["generation"] == 1
    assert loop.state["arrived"] == []


def test_others_trials_are_left_alone() -> None:
    """A foreign trial, however good, says nothing of the distribution."""
    loop = Loop(CMA(), space()).run(40)
    before = json.dumps(loop.state)
    loop.finish([loop.history.add(Proposal({f"x{number}": 1.5 for number in range(4)}, operator="foreign"))])
    assert json.dumps(loop.state) == before


@pytest.mark.parametrize("restarts", ["ipop", "bipop"])
def test_a_finished_search_is_followed_by_another(restarts: str) -> None:
    """On a function with many valleys more than one search is made, the larger ones with doubled populations."""

    def many(genome: Genome) -> tuple[dict[str, float], Status]:
        x = np.array([float(str(value)) for value in genome.values()]) - 1.5
        return {"height": float(np.sum(x**2 - 10 * np.cos(2 * np.pi * x) + 10))}, Status.COMPLETE

    where = space(x={"real": [-5, 5]}, y={"real": [-5, 5]})
    loop = Loop(load("optimizers", {"kind": "cma", "restarts": restarts}), where).run(2400, many)
    assert loop.state["search"] >= 2
    assert loop.state["restarts"] >= 1
    assert loop.best < 1.0  # the best of the wrong valleys has 0.99496
    assert len(json.dumps(loop.state)) < 6000


def test_without_restarts_random_search_follows() -> None:
    """The run goes on to its budget."""
    loop = Loop(CMA(restarts="none", sigma=0.1), space(x={"real": [0, 1]}, y={"real": [0, 1]}))
    loop.run(1500, lambda genome: ({"height": 0.0}, Status.COMPLETE))
    assert loop.state["finished"]
    assert loop.history.candidate(len(loop.history) - 1).proposal.operator == "start"


@pytest.mark.parametrize(
    ("where", "problem", "reason"),
    [
        (space(x={"real": [0, 1]}, c={"categorical": ["EC", "DMC"]}), SINGLE, "'c' is categorical"),
        (space(n={"integer": [0, 4]}), SINGLE, "finite list"),
        (space(n={"integer": [0, 10**9]}), SINGLE, "at least one real dimension"),
        (space(x={"real": [0, 1]}), DOUBLE, "2 objectives; scalarize"),
        (object(), SINGLE, "needs a space of points"),
    ],
)
def test_what_it_cannot_search(where: Any, problem: Problem, reason: str) -> None:
    """Each refusal follows the optimizer's name and says why."""
    assert reason in CMA().refusal(where, problem)


def test_one_dimension_and_many() -> None:
    """A single number, and 70 with variances alone, are searched."""
    assert Loop(CMA(), space(x={"real": [-5, 5]})).run(120).best < 1e-6
    check_optimizer(CMA(), space(x={"real": [0, 1]}), problem=SINGLE, rounds=6, exhausts=False)
    wide = Loop(CMA(), space(**{f"x{number}": {"real": [-5, 5]} for number in range(70)}))
    wide.run(40)
    assert "_C" in wide.state["saved"]
    assert len(json.dumps(wide.state)) < 12_000


def test_the_library_is_asked_whether_to_stop_with_defined_values() -> None:
    """Equal values over its horizon stop a search; values not known yet never do (its array starts undefined)."""
    cube = Cube.from_dimensions([Dimension("x", "real"), Dimension("n", "integer", 0, 4)], separable=False)
    model = cube.new_model([0.5, 0.5], 0.3, 6)
    for _ in range(stopping_generations(2, 6) + 1):
        model.tell([(cube.sample_point(model)[1], float(rank)) for rank in range(6)])
    saved = cube.save_model(model)
    flat = np.zeros((stopping_generations(2, 6), 2))
    assert should_stop(cube.restore_model(saved, 0.3, 6), flat)
    assert not should_stop(cube.restore_model(saved, 0.3, 6), flat[1:])
    flat[-1, 1] = np.nan
    assert not should_stop(cube.restore_model(saved, 0.3, 6), flat)
