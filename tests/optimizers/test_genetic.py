"""The genetic algorithm, beyond what the contract checks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from invdesign.candidate import Proposal, Status
from invdesign.optimizers.genetic import Genetic, fitness_type, survivors
from invdesign.optimizers.random import RandomSearch
from invdesign.pareto import hypervolume, ranks
from invdesign.problem import Constraint, Merit, Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.testing import MemoryHistory

FloatArray = NDArray[np.float64]
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


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30), st.integers(1, 30))
def test_survivors_are_of_the_best_fronts(rows: list[tuple[int, int]], k: int) -> None:
    """No survivor lies on a worse front than one that did not survive, by an independent sort."""
    history = history_of(TWO, rows)
    chosen = [individual.id for individual in survivors(history, range(len(rows)), k)]
    assert len(chosen) == len(set(chosen)) == min(k, len(rows))
    rank = ranks(np.array(rows, dtype=np.float64))
    left = [rank[id] for id in range(len(rows)) if id not in chosen]
    assert not left or rank[chosen].max() <= min(left)


def test_the_ends_of_a_front_survive() -> None:
    """Crowding keeps the extremes and drops from where it is dense."""
    rows = [(0.0, 1.0), (0.1, 0.9), (0.11, 0.89), (0.12, 0.88), (0.5, 0.5), (1.0, 0.0)]
    chosen = {individual.id for individual in survivors(history_of(TWO, rows), range(6), 4)}
    assert {0, 4, 5} <= chosen


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 20))
def test_with_one_objective_the_best_survive(values: list[int], k: int) -> None:
    """The k smallest values, the newer of equals."""
    history = history_of(ONE, [(value,) for value in values])
    chosen = [individual.id for individual in survivors(history, range(len(values)), k)]
    assert chosen == sorted(range(len(values)), key=lambda number: (values[number], -number))[:k]


def test_survivors_do_not_depend_on_the_order_of_arrival() -> None:
    """Results that come in another order leave the same population, in the same order."""
    rng = np.random.default_rng(3)
    history = history_of(TWO, rng.integers(0, 20, (60, 2)).tolist())
    ids = list(range(60))
    first = [individual.id for individual in survivors(history, ids, 25)]
    shuffled = [individual.id for individual in survivors(history, rng.permutation(ids).tolist(), 25)]
    assert first == shuffled


def merits() -> MemoryHistory:
    """One trial of each kind, worst first."""
    history = MemoryHistory(TWO)
    for number in range(8):
        history.add(Proposal({"n": number}))
    history.finish(1, status=Status.FAILED)
    history.finish(2, status=Status.INFEASIBLE)
    history.finish(3, status=Status.GATED, depth=1)
    history.finish(4, status=Status.GATED, depth=2)
    history.finish(5, {"f1": 0.0, "f2": 0.0, "c": 0.9})
    history.finish(6, {"f1": 9.0, "f2": 9.0, "c": 0.1})
    history.finish(7, {"f1": 9.0, "f2": 9.0, "c": 0.0})
    return history


def test_survival_by_feasibility_rules() -> None:
    """Feasible, violating by violation, gated by depth; failed and infeasible ones do not survive beside them."""
    history = merits()
    assert [individual.id for individual in survivors(history, range(8), 8)] == [7, 6, 5, 4, 3]
    assert [individual.id for individual in survivors(history, range(8), 2)] == [7, 6]


def test_where_all_failed_the_failed_survive() -> None:
    """With nothing better, infeasible and then failed trials make the population; pending ones never."""
    assert [individual.id for individual in survivors(merits(), [0, 1, 2], 8)] == [2, 1]
    assert survivors(merits(), [0], 8) == []
    assert survivors(merits(), [], 8) == []


def test_infinite_values_do_not_confuse_the_crowding() -> None:
    """An objective that is infinite counts as very bad; DEAP never computes inf - inf."""
    rows = [(0.0, 1.0), (1.0, 0.0), (float("inf"), -1.0), (0.5, 0.5), (float("-inf"), 2.0)]
    found = survivors(history_of(TWO, rows), range(5), 5)
    assert len(found) == 5
    assert not any(np.isnan(individual.fitness.crowding_dist) for individual in found)


def test_tournaments_by_constrained_dominance() -> None:
    """Merit decides first, then violation, then dominance, then crowding."""
    make = fitness_type(2)
    feasible, better = make((1.0, 1.0), Merit.FEASIBLE, 0.0), make((0.5, 1.0), Merit.FEASIBLE, 0.0)
    violating = make((0.0, 0.0), Merit.VIOLATING, 0.1)
    worse = make((0.0, 0.0), Merit.VIOLATING, 0.2)
    lonely = make((0.0, 2.0), Merit.FEASIBLE, 0.0)
    lonely.crowding_dist = 1.0
    assert better > feasible > violating > worse
    assert lonely > better
    assert not better > lonely
    assert not violating.dominates(make((1.0, 1.0), Merit.VIOLATING, 0.1))


def test_it_finds_minima_that_random_search_does_not() -> None:
    """Four hundred trials in six dimensions come more than four times nearer than random ones, over five seeds."""
    best = {
        optimizer: sum(
            np.nanmin(searched(optimizer, cube(6), ONE, bowl, 400, seed).column("f1")) for seed in range(5)
        )
        for optimizer in (Genetic(population=20), RandomSearch())
    }
    assert best[Genetic(population=20)] < best[RandomSearch()] / 4


def test_it_finds_a_constrained_front() -> None:
    """With two objectives and a constraint, it fills three times the feasible hypervolume of random search."""
    volumes = []
    for optimizer in (Genetic(population=24), RandomSearch()):
        scores = searched(optimizer, cube(6), TWO, narrow_front, 720).scores()
        feasible = scores.merit == Merit.FEASIBLE
        volumes.append(hypervolume(scores.values[feasible], np.array([1.0, 1.0])))
    assert volumes[0] > 3.0 * volumes[1]


def test_a_run_of_a_mixed_space_breeds_as_set() -> None:
    """Shares of crossover, fresh starts and mutations are those of the settings; parents are recorded."""
    space = parameters(x={"real": [0, 1]}, n={"integer": [1, 50]}, c={"categorical": ["a", "b"]})
    optimizer = Genetic(population=20, crossover=0.5, fresh=0.2)
    history = searched(optimizer, space, ONE, bowl, 1020)
    proposals = [history.candidate(id).proposal for id in range(20, 1020)]
    share = Counter(proposal.operator for proposal in proposals)
    assert {len(p.parents) for p in proposals if p.operator == "crossover"} == {2}
    assert all(p.parents[0] != p.parents[1] for p in proposals if p.operator == "crossover")
    assert share["crossover"] == pytest.approx(500, abs=60)
    assert share["start"] == pytest.approx(200, abs=50)
    assert share["mutate"] == pytest.approx(share["reset"], abs=60)


def test_the_first_population_is_founded_by_starts() -> None:
    """Before `population` were asked, all come from start operators, however few have finished."""
    optimizer = Genetic(population=8)
    history = MemoryHistory(ONE)
    run = [Context(cube(2), ONE, history, 0, event) for event in range(4)]
    state = optimizer.start(run[0])
    proposals, state = optimizer.ask(run[1], state, 5)
    ids = [history.add(proposal) for proposal in proposals]
    for id in ids[:2]:
        history.finish(id, {"f1": float(id)})
    state = optimizer.tell(run[2], state, ids[:2])
    proposals, state = optimizer.ask(run[3], state, 40)
    operators = [proposal.operator for proposal in proposals]
    assert operators[:3] == ["start"] * 3
    assert len(set(operators)) > 2
    assert {id for proposal in proposals for id in proposal.parents} == {0, 1}
    assert state["asked"] == 45


def test_others_trials_found_a_population_too() -> None:
    """In a portfolio it breeds at once from what others found."""
    optimizer = Genetic(population=4, fresh=0.0)
    history = MemoryHistory(ONE)
    space = cube(2)
    for number in range(4):
        id = history.add(Proposal({"x1": 0.1 * number, "x2": 0.5}))
        history.finish(id, {"f1": float(number)})
    context = Context(space, ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(4))
    proposals, _ = optimizer.ask(context, state, 6)
    assert all(proposal.parents for proposal in proposals)


def test_nothing_is_bred_from_a_malformed_genome() -> None:
    """Infeasible genomes, which may hold anything, are no parents even where there is nothing else."""
    optimizer = Genetic(population=2, fresh=0.0)
    history = MemoryHistory(ONE)
    for number in range(3):
        history.finish(history.add(Proposal({"nonsense": number})), status=Status.INFEASIBLE)
    context = Context(cube(2), ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(3))
    proposals, _ = optimizer.ask(context, state, 5)
    assert [proposal.operator for proposal in proposals] == ["start"] * 5


def test_a_small_space_is_bred_from_and_then_used_up() -> None:
    """Where breeding finds nothing new, what is left is proposed, down to the last genome."""
    space = parameters(n={"integer": [1, 6]}, m={"integer": [1, 6]})
    history = searched(Genetic(population=4), space, ONE, bowl, 36)
    operators = Counter(history.candidate(id).proposal.operator for id in range(36))
    assert operators["crossover"] + operators["mutate"] + operators["reset"] > 10


def test_values_are_read_anew_at_every_ask() -> None:
    """After all values moved, selection follows the new ones: the state holds no old opinion."""
    optimizer = Genetic(population=6, offspring=6, fresh=0.0, tournament=6)
    history = history_of(ONE, [(float(n),) for n in range(6)])
    space = parameters(n={"integer": [0, 1000]})
    context = Context(space, ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(6))
    for id in range(6):
        history.finish(id, {"f1": float(-id)})
    proposals, state = optimizer.ask(context, state, 20)
    assert state["population"] == [5, 4, 3, 2, 1, 0]
    mutants = Counter(p.parents for p in proposals if len(p.parents) == 1)
    assert mutants[(5,)] > mutants[(0,)]


def test_a_batch_is_a_generation() -> None:
    """It asks for `offspring` at a time, or for as many as it keeps."""
    assert (Genetic(population=20).batch, Genetic(population=20, offspring=7).batch) == (20, 7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crossover": 0.8, "fresh": 0.3}, r"crossover \+ fresh must not exceed 1, got 1.1"),
        ({"population": 1}, "greater than or equal to 2"),
        ({"crossover": 1.5}, "less than or equal to 1"),
        ({"mutation": 0.2}, "not permitted"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is found when the campaign is read."""
    with pytest.raises(ValidationError, match=message):
        load("optimizers", {"kind": "genetic", **fields})


def test_the_plugin_is_light_until_it_is_used() -> None:
    """Loading the class imports no DEAP, and using it registers nothing in DEAP's global `creator`."""
    code = (
        "import sys; from invdesign.optimizers.genetic import fitness_type\n"
        "assert 'deap' not in sys.modules\n"
        "fitness_type(2); import deap.creator as creator\n"
        "assert not any('Fitness' in name for name in vars(creator)), vars(creator)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
