"""The genetic algorithm, beyond what the contract checks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal, Status
from invdesign.optimizers.genetic import Genetic
from invdesign.optimizers.random import RandomSearch
from invdesign.pareto import hypervolume
from invdesign.problem import Merit, Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import load
from invdesign.testing import MemoryHistory
from tests.optimizers.genetic_runs import ONE, TWO, bowl, cube, history_of, narrow_front, parameters, searched


def test_it_finds_minima_that_random_search_does_not() -> None:
    """Three hundred trials in six dimensions come more than four times nearer than random ones, over three seeds."""
    best = {
        optimizer: sum(
            np.nanmin(searched(optimizer, cube(6), ONE, bowl, 300, seed).column("f1")) for seed in range(3)
        )
        for optimizer in (Genetic(population=20), RandomSearch())
    }
    assert best[Genetic(population=20)] < best[RandomSearch()] / 4


def test_it_finds_a_constrained_front() -> None:
    """With two objectives and a constraint, it fills three times the feasible hypervolume of random search."""
    volumes = []
    for optimizer in (Genetic(population=24), RandomSearch()):
        scores = searched(optimizer, cube(6), TWO, narrow_front, 480).scores()
        feasible = scores.merit == Merit.FEASIBLE
        volumes.append(hypervolume(scores.values[feasible], np.array([1.0, 1.0])))
    assert volumes[0] > 3.0 * volumes[1]


def test_a_run_of_a_mixed_space_breeds_as_set() -> None:
    """Where rates do not move them, shares of operators are those of the settings; parents are recorded."""
    space = parameters(x={"real": [0, 1]}, n={"integer": [1, 50]}, c={"categorical": ["a", "b"]})
    optimizer = Genetic(population=20, crossover=0.5, fresh=0.2, adaptive=False, vectors=False, patience=None)
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
    assert state["founding"] == 0


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


def test_values_are_read_anew_at_every_tell() -> None:
    """After all values moved, selection follows the new ones: the state holds no old opinion."""
    optimizer = Genetic(population=6, vectors=False, fresh=0.0, tournament=6)
    history = history_of(ONE, [(float(n),) for n in range(6)])
    space = parameters(n={"integer": [0, 1000]})
    context = Context(space, ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(6))
    assert state["population"] == [0, 1, 2, 3, 4, 5]
    for id in range(6):
        history.finish(id, {"f1": float(-id)})
    history.finish(history.add(Proposal({"n": 6})), {"f1": 1.0})
    state = optimizer.tell(context, state, [6])
    assert state["population"] == [5, 4, 3, 2, 1, 0]
    proposals, state = optimizer.ask(context, state, 20)
    mutants = Counter(p.parents for p in proposals if len(p.parents) == 1)
    assert mutants[(5,)] > mutants[(0,)]


def test_a_batch_is_half_a_generation() -> None:
    """It asks for `offspring` at a time, or for half of what it keeps; in steady state for one, with more under way."""
    assert (Genetic(population=20).batch, Genetic(population=20).overlap) == (10, 1)
    assert Genetic(population=20, offspring=7).batch == 7
    steady = Genetic(mode="steady_state", in_flight=6)
    assert (steady.batch, steady.overlap) == (1, 6)
    assert Genetic(mode="steady_state", offspring=4, in_flight=16).overlap == 4


def test_steady_state_breeds_while_others_are_under_way() -> None:
    """Told one trial of many that are pending, it answers at once, and from the newest population."""
    optimizer = Genetic(population=4, mode="steady_state", fresh=0.0)
    history = history_of(ONE, [(float(n),) for n in range(4)])
    space = parameters(n={"integer": [0, 1000]})
    pending = [history.add(Proposal({"n": 100 + n})) for n in range(3)]
    context = Context(space, ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(4))
    history.finish(pending[2], {"f1": -1.0})
    state = optimizer.tell(context, state, [pending[2]])
    assert state["population"][0] == pending[2]
    proposals, _ = optimizer.ask(context, state, 1)
    assert len(proposals) == 1
    assert proposals[0].parents


def stagnated(problem: Problem, values: Sequence[Sequence[float]], later: Sequence[float]) -> dict[str, Any]:
    """State after a population with `values` and one more generation of newcomers, all with the values `later`."""
    optimizer = Genetic(population=4, patience=1)
    history = history_of(problem, values)
    context = Context(cube(2), problem, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(4))
    ids = [history.add(Proposal({"n": 10 + n})) for n in range(4)]
    for id in ids:
        history.finish(id, {"f1": later[0], "f2": later[-1], "c": 0.0})
    return optimizer.tell(context, state, ids)


def test_without_progress_all_but_the_best_is_founded_anew() -> None:
    """A generation no better than the best counts against the patience; a better one ends the count."""
    state = stagnated(ONE, [(1.0,), (2.0,), (3.0,), (4.0,)], (5.0,))
    assert (state["population"], state["founding"], state["restarts"]) == ([0], 3, 1)
    state = stagnated(ONE, [(1.0,), (2.0,), (3.0,), (4.0,)], (0.0,))
    assert (state["restarts"], state["stale"]) == (0, 0)


def test_a_trifle_is_no_progress() -> None:
    """A gain of the best that is tiny beside the population's spread does not hold off the restart."""
    state = stagnated(ONE, [(1.0,), (2.0,), (3.0,), (4.0,)], (1.0 - 1e-4,))
    assert state["restarts"] == 1
    assert len(state["population"]) == 1


def test_with_several_objectives_a_newcomer_on_the_front_is_progress() -> None:
    """Dominated newcomers are none, and the restart keeps the front, half a population at most."""
    rows = [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (2.0, 2.0)]
    state = stagnated(TWO, rows, (3.0, 3.0))
    assert (state["restarts"], state["founding"]) == (1, 2)
    assert set(state["population"]) == {0, 1}
    assert stagnated(TWO, rows, (0.2, 0.2))["restarts"] == 0


def test_latecomers_do_not_bring_the_old_population_back() -> None:
    """What was asked before the restart joins only where it is a new best."""
    optimizer = Genetic(population=4, patience=1, mode="steady_state")
    history = history_of(ONE, [(float(n),) for n in range(4)])
    late = [history.add(Proposal({"n": 10 + n})) for n in range(2)]
    context = Context(cube(2), ONE, history, 0, 1)
    state = optimizer.tell(context, optimizer.start(context), range(4))
    worse = [history.add(Proposal({"n": 20 + n})) for n in range(4)]
    for id in worse:
        history.finish(id, {"f1": 9.0})
    state = optimizer.tell(context, state, worse)
    assert state["restarts"] == 1
    history.finish(late[0], {"f1": 0.5})
    history.finish(late[1], {"f1": -0.5})
    state = optimizer.tell(context, state, late)
    assert state["population"] == [late[1], 0]


def test_rates_follow_what_works() -> None:
    """Where only moving along the axes pays, its operators are used more often than the others."""
    history = searched(Genetic(population=20), cube(6), ONE, bowl, 600)
    late = Counter(history.candidate(id).proposal.operator for id in range(300, 600))
    assert min(late[name] for name in ("crossover", "differential", "gaussian", "simplex")) > 0
    assert late["reset"] < late["crossover"]


def test_a_turned_narrow_valley_is_followed() -> None:
    """A quadratic function with its axes turned: operators on vectors come three times nearer than the axes' alone."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    scale = 10.0 ** np.linspace(0.0, 4.0, 6)

    def valley(x: FloatArray) -> dict[str, float]:
        return {"f1": float(scale @ (turn @ (x - 0.4)) ** 2)}

    best = {
        vectors: sum(
            np.nanmin(searched(Genetic(vectors=vectors), cube(6), ONE, valley, 600, seed).column("f1"))
            for seed in range(2)
        )
        for vectors in (True, False)
    }
    assert best[True] < best[False] / 3.0


def test_many_objectives_are_searched() -> None:
    """Five objectives: the population is kept full, of feasible trials."""
    problem = Problem(tuple(Objective(f"f{n}", "minimize") for n in range(5)))

    def corners(x: FloatArray) -> dict[str, float]:
        return {f"f{n}": float((x[n] - 1.0) ** 2 + np.sum(x) / 5.0) for n in range(5)}

    history = searched(Genetic(population=12), cube(5), problem, corners, 120)
    assert len(history) == 120


def test_the_prescreen_is_asked_first() -> None:
    """With data enough, most offspring are the pre-screen's; a mapping or `true` switches it on."""
    models = {"generations": 3, "models": ["quadratic"]}
    screened = load("optimizers", {"kind": "genetic", "population": 16, "prescreen": models})
    history = searched(screened, cube(3), ONE, bowl, 48)
    plain = searched(Genetic(population=16), cube(3), ONE, bowl, 48)
    assert np.nanmin(history.column("f1")) < np.nanmin(plain.column("f1"))
    for value in (True, {}, {"explore": 0.2}):
        assert load("optimizers", {"kind": "genetic", "prescreen": value}).prescreen is not None
    assert load("optimizers", {"kind": "genetic", "prescreen": False}).prescreen is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crossover": 0.8, "fresh": 0.3}, r"crossover \+ fresh must not exceed 1, got 1.1"),
        ({"population": 1}, "greater than or equal to 2"),
        ({"crossover": 1.5}, "less than or equal to 1"),
        ({"mutation": 0.2}, "not permitted"),
        ({"in_flight": 4}, "in_flight is for mode: steady_state"),
        (
            {"mode": "steady_state", "offspring": 4, "in_flight": 6},
            "twice the offspring or more, got 6 and 4",
        ),
        ({"niching": "sharing"}, "'parents', 'restricted' or 'none'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    """Each mistake is found when the campaign is read."""
    with pytest.raises(ValidationError, match=message):
        load("optimizers", {"kind": "genetic", **fields})


def test_the_plugin_is_light_until_it_is_used() -> None:
    """Loading the class imports no library of models or of Pareto arithmetic."""
    code = (
        "import sys; import invdesign.optimizers.genetic\n"
        "assert not {'deap', 'scipy', 'sklearn', 'moocore'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
