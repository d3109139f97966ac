"""Bayesian optimization as a whole: it finds what is there, keeps its promises, and survives bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from invdesign import settings
from invdesign.candidate import Genome, Status, to_json
from invdesign.optimizers.bayesian.optimizer import Bayesian
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context
from invdesign.testing import MemoryHistory

ONE = Problem((Objective("f", "minimize"),))
TWO = Problem((Objective("f", "minimize"), Objective("g", "maximize")))
MANY = Problem(tuple(Objective(f"f{number}", "minimize") for number in range(5)))
QUICK: dict[str, Any] = {"batch": 3, "initial": 6, "effort": 0.1}
Evaluate = Callable[[dict[str, float]], dict[str, float] | None]


def cube(d: int = 2) -> Any:
    """A space of d real parameters."""
    return settings.load(
        "spaces", {"kind": "parameters", "parameters": {f"x{i}": {"real": [0, 1]} for i in range(d)}}
    )


def searched(
    optimizer: Bayesian, space: Any, problem: Problem, evaluate: Evaluate, budget: int, seed: int = 0
) -> tuple[MemoryHistory, dict[str, Any]]:
    """A run in memory; what `evaluate` says None of fails."""
    history = MemoryHistory(problem)
    cache: dict[str, object] = {}
    state: Any = optimizer.start(Context(space, problem, history, seed))
    event = 0
    while len(history) < budget:
        event += 1
        context = Context(space, problem, history, seed, event, (), cache)
        proposals, state = optimizer.ask(context, state, min(optimizer.batch, budget - len(history)))
        if not proposals:
            break
        ids = [history.add(proposal) for proposal in proposals]
        for id in ids:
            found = evaluate(dict(history.candidate(id).genome))  # type: ignore[arg-type]
            if found is None:
                history.finish(id, status=Status.FAILED, depth=1)
            else:
                history.finish(id, found)
        event += 1
        state = optimizer.tell(Context(space, problem, history, seed, event, (), cache), state, ids)
    return history, state


def bowl(genome: Genome) -> dict[str, float]:
    """Two bowls and more, by the numbers of a genome."""
    x = np.array([value for value in genome.values() if isinstance(value, float)])
    more = {f"f{number}": float(((x - number / 5) ** 2).sum()) for number in range(5)}
    return {"f": float(((x - 0.3) ** 2).sum()), "g": -float(((x - 0.8) ** 2).sum()), **more}


def test_it_finds_the_bottom_of_a_bowl() -> None:
    """A few model-based candidates after the design are far better than the design."""
    history, _ = searched(Bayesian(batch=2, initial=6, effort=0.3), cube(3), ONE, bowl, 14)
    values = history.column("f")
    assert values[6:].min() < 0.1 * values[:6].min()


@pytest.mark.parametrize("acquisition", ["log_ei", "noisy_ei", "ucb", "thompson"])
def test_acquisitions_of_one_objective(acquisition: str) -> None:
    """Each of them goes where the values are small."""
    history, state = searched(Bayesian(**QUICK, acquisition=acquisition), cube(), ONE, bowl, 12)
    assert np.median(history.column("f")[6:]) < np.median(history.column("f")[:6])
    assert {history.candidate(id).proposal.operator for id in range(6, 12)} == {acquisition}
    assert not state["notes"]


@pytest.mark.parametrize("acquisition", ["log_ehvi", "log_nehvi", "parego", "thompson"])
def test_acquisitions_of_two_objectives(acquisition: str) -> None:
    """Each of them keeps near the segment between the two optima."""
    history, _ = searched(Bayesian(**QUICK, acquisition=acquisition), cube(), TWO, bowl, 12)
    points = np.array([[*history.candidate(id).genome.values()] for id in range(12)], dtype=float)
    away = np.abs(points[:, 0] - points[:, 1])
    assert np.median(away[6:]) < np.median(away[:6])


def test_many_objectives_are_scalarized() -> None:
    """From four objectives on, a new weighting for every candidate."""
    history, _ = searched(Bayesian(**QUICK), cube(), MANY, bowl, 9)
    assert history.candidate(8).proposal.operator == "parego"


@pytest.mark.parametrize("model", ["random_forest", "boosted_trees"])
def test_trees_take_the_place_of_gaussian_processes(model: str) -> None:
    """Without gradients, the search goes on."""
    history, _ = searched(Bayesian(**QUICK, model=model), cube(), ONE, bowl, 12)
    assert np.median(history.column("f")[6:]) < np.median(history.column("f")[:6])


def test_known_noise_is_averaged_out() -> None:
    """With uncertainties the best is not the luckiest, and improvements are over what it may be."""
    history = MemoryHistory(ONE)
    optimizer = Bayesian(**QUICK)
    space, seed = cube(), 0
    state: Any = optimizer.start(Context(space, ONE, history, seed))
    for event in (1, 2, 3):
        proposals, state = optimizer.ask(Context(space, ONE, history, seed, event), state, 3)
        for proposal in proposals:
            id = history.add(proposal)
            history.finish(id, {"f": bowl(proposal.genome)["f"]}, noise={"f": 0.2})
    assert history.candidate(8).proposal.operator == "noisy_ei"


def test_failing_region_is_left() -> None:
    """A half that always fails and promises most is hardly asked for once it is known."""

    def evaluate(genome: dict[str, float]) -> dict[str, float] | None:
        return None if genome["x0"] > 0.5 else {"f": -genome["x0"] - genome["x1"]}

    history, _ = searched(Bayesian(batch=2, initial=6, effort=0.3), cube(), ONE, evaluate, 24)
    late = [history.trial(id).status for id in range(14, 24)]
    assert late.count(Status.FAILED) <= 3
    assert np.nanmin(history.column("f")) < -1.2


def test_constraints_are_kept() -> None:
    """What violates a constraint is left for what does not."""
    problem = Problem((Objective("f", "minimize"),), (Constraint("g", min=-0.25),))
    history, _ = searched(Bayesian(**QUICK), cube(), problem, bowl, 18)
    assert (history.column("g")[12:] >= -0.3).mean() >= 0.5


# Bad input.


def test_all_failed() -> None:
    """Without one value it goes on, away from what failed, and says so."""
    history, state = searched(Bayesian(**QUICK), cube(), ONE, lambda _: None, 12)
    assert len(history) == 12
    assert "none of 9 finished trials has values" in state["notes"]["no values"]


def test_constant_objective() -> None:
    """Where all values are the same it explores, and says so."""
    history, state = searched(Bayesian(**QUICK), cube(), ONE, lambda _: {"f": 1.0}, 12)
    assert len(history) == 12
    assert "same f" in state["notes"]["constant"]


def test_acquisition_that_does_not_fit() -> None:
    """Expected improvement of two objectives becomes a gain of hypervolume, and says so."""
    history, state = searched(Bayesian(**QUICK, acquisition="log_ei"), cube(), TWO, bowl, 9)
    assert history.candidate(8).proposal.operator == "log_ehvi"
    assert "log_ei cannot optimise 2 objectives" in state["notes"]["acquisition"]


def test_space_smaller_than_the_batch() -> None:
    """All of a small space is proposed, each genome once, and then nothing."""
    space = settings.load("spaces", {"kind": "parameters", "parameters": {"n": {"integer": [0, 6]}}})
    optimizer = Bayesian(batch=20, initial=3)
    history, _ = searched(optimizer, space, ONE, lambda genome: {"f": float(genome["n"])}, 50)
    assert len(history) == 7


def test_repeated_features(tmp_path: Any) -> None:
    """Rows that agree in all features, and columns that are the same or constant, do no harm."""
    rows = "\n".join(f"{i},{i % 5},{i % 5},1,{(i % 5 - 2) ** 2}" for i in range(30))
    (tmp_path / "pool.csv").write_text(f"id,a,b,c,y\n{rows}\n", encoding="utf-8")
    pool = {"kind": "pool", "source": "pool.csv", "id": "id", "columns": ["a", "b", "c"]}
    space = settings.load("spaces", pool, folder=tmp_path)
    truth = {str(i): float((i % 5 - 2) ** 2) for i in range(30)}
    history, _ = searched(Bayesian(**QUICK), space, ONE, lambda g: {"f": truth[str(g["row"])]}, 15)
    assert history.column("f").min() == 0.0


def test_groups_that_do_not_exist() -> None:
    """They are refused by name when the campaign is read."""
    refusal = Bayesian(groups={"size": ("radius",)}).refusal(cube(), ONE)
    assert "group 'size' names 'radius'" in refusal
    assert "x0" in refusal


# What is remembered.


def test_many_variables_get_a_trust_region() -> None:
    """Beyond 20 variables the state holds a region, and its note says so."""
    history, state = searched(Bayesian(**QUICK), cube(24), ONE, bowl, 15)
    assert len(history) == 15
    assert state["region"]["length"] > 0.0
    assert "24 variables" in state["notes"]["trust region"]


def test_state_is_plain_and_small() -> None:
    """Hyperparameters as numbers; nothing that grows with the trials."""
    space = cube(4)
    _, early = searched(Bayesian(**QUICK), space, ONE, bowl, 9)
    _, late = searched(Bayesian(**QUICK), space, ONE, bowl, 18)
    assert len(to_json(late)) < 1.2 * len(to_json(early)) + 100


def test_a_model_is_a_function_of_history_and_state() -> None:
    """An ask without the cache, from a state that went through JSON, is the same to the last bit."""
    space, optimizer = cube(3), Bayesian(**QUICK)
    history, state = searched(optimizer, space, TWO, bowl, 12)
    cache: dict[str, object] = {}
    first, after = optimizer.ask(Context(space, TWO, history, 0, 99, (), cache), state, 3)
    again, same = optimizer.ask(Context(space, TWO, history, 0, 99, (), cache), state, 3)
    fresh, other = Bayesian(**QUICK).ask(Context(space, TWO, history, 0, 99), state, 3)
    assert [p.genome for p in first] == [p.genome for p in again] == [p.genome for p in fresh]
    assert to_json(after) == to_json(same) == to_json(other)
