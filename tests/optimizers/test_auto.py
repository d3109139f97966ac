"""The choice of an optimizer, beyond what the contract checks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal
from invdesign.optimizers import choice as table
from invdesign.optimizers.auto import Auto
from invdesign.optimizers.choice import (
    FEW_CANDIDATES,
    FRONT_POPULATION,
    MANY_CANDIDATES,
    SLOW_SECONDS,
    Facts,
    choose_optimizer,
    depends_on_cost,
)
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, StageView, collect_notes
from invdesign.settings import load
from invdesign.testing import MemoryHistory
from tests.examples import SPACES

SINGLE = Problem((Objective("height", "minimize"),))
DOUBLE = Problem((Objective("height", "minimize"), Objective("width", "minimize")))
SCORE = Problem(
    (Objective("height", "minimize", best=0, worst=9), Objective("width", "minimize", best=0, worst=9)),
    scalarize="desirability",
)
STAGES = (StageView("measure", frozenset({"height"})), StageView("again", frozenset({"width"})))


def reals(count: int = 4) -> Any:
    return load(
        "spaces", {"kind": "parameters", "parameters": {f"x{k}": {"real": [-5, 5]} for k in range(count)}}
    )


def mixed() -> Any:
    parameters = {"x": {"real": [-5, 5]}, "y": {"real": [-5, 5]}, "c": {"categorical": ["a", "b"]}}
    return load("spaces", {"kind": "parameters", "parameters": parameters})


def crystals() -> Any:
    return load("spaces", {"kind": "substitution", **SPACES["substitution"][0]})


def kind(space: Any, problem: Problem, candidates: int | None, slow: bool | None = None) -> str:
    return str(choose_optimizer(Facts(space, problem, candidates, slow)).settings["kind"])


class Timed(MemoryHistory):
    """A history whose first stage took so long for every finished trial, and whose second was in the cache."""

    def __init__(self, problem: Problem, seconds: float) -> None:
        super().__init__(problem)
        self.each = seconds

    def seconds(self, stage: str) -> FloatArray:
        taken = np.full(len(self), self.each if stage == "measure" else np.nan)
        taken[list(self.pending())] = np.nan
        return taken


class Loop:
    """Ask and tell as the loop does, from states that went through the store."""

    def __init__(self, optimizer: Any, space: Any, history: MemoryHistory, **more: Any) -> None:
        self.optimizer, self.space, self.history, self.more = optimizer, space, history, more
        self.event = 0
        self.state: dict[str, Any] = optimizer.start(self.context())

    def context(self) -> Context:
        self.event += 1
        return Context(self.space, self.history.problem, self.history, 1, self.event, **self.more)

    def asked(self, n: int | None = None) -> list[Proposal]:
        proposals, state = self.optimizer.ask(self.context(), self.state, n or self.optimizer.batch)
        self.state = json.loads(json.dumps(state, sort_keys=True))
        return list(proposals)

    def wave(self, n: int | None = None) -> list[int]:
        ids = [self.history.add(proposal) for proposal in self.asked(n)]
        for id in ids:
            genome = self.history.candidate(id).genome
            value = sum(float(x) ** 2 for x in genome.values() if isinstance(x, float))
            self.history.finish(id, {"height": value, "width": -value})
        self.state = self.optimizer.tell(self.context(), self.state, ids)
        return ids


# The rules.


def test_thousands_on_a_continuum() -> None:
    """One objective of real variables is CMA-ES's; combined to a score, several are one."""
    assert kind(reals(), SINGLE, 5000) == "cma"
    assert kind(reals(), SCORE, 5000) == "cma"


def test_thousands_elsewhere() -> None:
    """What CMA-ES refuses is bred, fronts with a population as wide as they are."""
    for space in (mixed(), crystals()):
        assert kind(space, SINGLE, 5000) == "genetic"
    found = choose_optimizer(Facts(reals(), DOUBLE, 5000))
    assert (found.settings["kind"], found.settings["population"]) == ("genetic", FRONT_POPULATION)


def test_no_end_given() -> None:
    """Without a number of candidates, those that can search the space share the run."""
    found = choose_optimizer(Facts(reals(), SINGLE, None))
    assert found.settings["kind"] == "portfolio"
    members: Any = found.settings["members"]
    assert [member["kind"] for member in members] == ["genetic", "cma", "swarm"]
    assert "swarm" in str(choose_optimizer(Facts(mixed(), SINGLE, None)).settings)
    assert "cma" not in str(choose_optimizer(Facts(mixed(), SINGLE, None)).settings)


def test_cost_matters_between() -> None:
    """Neither where the budget is small nor where it is very large."""
    budgets = (FEW_CANDIDATES, FEW_CANDIDATES + 1, MANY_CANDIDATES, MANY_CANDIDATES + 1, None)
    assert [depends_on_cost(Facts(reals(), SINGLE, n)) for n in budgets] == [False, True, True, False, True]


def test_models_where_candidates_are_few_or_slow() -> None:
    """A second for a proposal is little beside the candidate."""
    assert kind(reals(), SINGLE, FEW_CANDIDATES) == "bayesian"
    assert kind(crystals(), DOUBLE, 64) == "bayesian"
    assert kind(reals(), SINGLE, MANY_CANDIDATES, slow=True) == "bayesian"
    assert kind(reals(), SINGLE, None, slow=True) == "bayesian"
    assert kind(reals(), SINGLE, MANY_CANDIDATES, slow=False) == "cma"


def test_fronts_over_real_variables() -> None:
    """There the genetic algorithm with its pre-screen comes first, while candidates are few or slow."""
    for found in (
        choose_optimizer(Facts(reals(), DOUBLE, 100)),
        choose_optimizer(Facts(reals(), DOUBLE, None, slow=True)),
    ):
        assert found.settings["kind"] == "genetic"
        assert found.settings["prescreen"]
    assert kind(mixed(), DOUBLE, 100) == "bayesian"


def test_what_is_not_installed_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next rule holds where a plug-in is missing."""
    rules = [({"kind": "no such optimizer"}, "never"), ({"kind": "random"}, "instead")]
    monkeypatch.setattr(table, "_preferred_optimizers", lambda _: iter(rules))
    found = choose_optimizer(Facts(reals(), SINGLE, 10))
    assert found.settings["kind"] == "random"
    assert found.reason.endswith("; instead")


@pytest.mark.parametrize(
    ("space", "problem", "candidates", "words"),
    [
        (reals(), SINGLE, 5000, "5000 candidates, 4 variables, one objective"),
        (
            mixed(),
            DOUBLE,
            None,
            "no number of candidates given, 3 variables (1 of them choices), two objectives",
        ),
        (reals(1), SCORE, 5000, "5000 candidates, one variable, one score of two objectives"),
    ],
)
def test_it_says_why(space: Any, problem: Problem, candidates: int | None, words: str) -> None:
    """The note tells what the choice was made from."""
    assert f": {words}; " in choose_optimizer(Facts(space, problem, candidates)).reason


def test_it_counts_what_can_be_counted() -> None:
    """A pool or a list of decorations says how many candidates there are in all."""
    assert f"{len(crystals())} candidates in all" in str(Facts(crystals(), SINGLE, 5000))


# The run.


def test_it_is_the_optimizer_it_chose() -> None:
    """The same proposals, number by number, as from the chosen optimizer with the settings it says."""
    auto = Loop(Auto(), reals(), MemoryHistory(SINGLE), budget=5000)
    plain = Loop(load("optimizers", auto.state["chosen"]), reals(), MemoryHistory(SINGLE))
    for _ in range(12):
        auto.wave()
        plain.wave()
    genomes = [[loop.history.candidate(id).genome for id in range(60)] for loop in (auto, plain)]
    assert genomes[0] == genomes[1]


def test_the_choice_is_kept() -> None:
    """Another budget at a resume changes nothing; the note is the one of the day it was made."""
    loop = Loop(Auto(), reals(), MemoryHistory(SINGLE), budget=5000)
    loop.wave()
    loop.more["budget"] = 10
    loop.wave()
    assert loop.state["chosen"]["kind"] == "cma"
    assert collect_notes(loop.state)["choice"].startswith("auto chose cma: 5000 candidates, 4 variables")


def test_a_design_before_the_choice() -> None:
    """Where cost decides, a few candidates are evaluated first, and the chosen optimizer starts from them."""
    loop = Loop(Auto(design=6), mixed(), Timed(SINGLE, 0.1), budget=None, stages=STAGES)
    assert not loop.state["chosen"]
    assert collect_notes(loop.state) == {}
    assert len(loop.wave(4)) == 4
    assert not loop.state["chosen"]
    assert len(loop.wave(64)) == 2
    assert [loop.history.candidate(id).proposal.operator for id in range(6)] == ["sobol"] * 6
    assert loop.state["chosen"]["kind"] == "portfolio"
    genetic = loop.state["members"]["portfolio"]["members"]["genetic"]
    assert sorted(genetic["population"]) == list(range(6))
    assert "no number of candidates given" in collect_notes(loop.state)["choice"]
    loop.wave()


def test_slow_candidates_are_noticed() -> None:
    """The measured seconds decide, and the note says only on which side of the line they lie."""
    loop = Loop(Auto(design=4), reals(), Timed(SINGLE, 3 * SLOW_SECONDS), budget=None, stages=STAGES)
    loop.wave()
    assert loop.state["chosen"]["kind"] == "bayesian"
    assert (
        f"where a candidate takes {SLOW_SECONDS:g} s or more, models pay"
        in collect_notes(loop.state)["choice"]
    )


def test_what_the_user_says_is_not_measured() -> None:
    """Seconds and candidates as settings come before what the run knows."""
    loop = Loop(Auto(seconds=0.01), reals(), Timed(SINGLE, 3 * SLOW_SECONDS), budget=1000, stages=STAGES)
    assert loop.state["chosen"]["kind"] == "cma"
    loop = Loop(Auto(candidates=5000), mixed(), Timed(SINGLE, 0.1), budget=10, stages=STAGES)
    assert loop.state["chosen"]["kind"] == "genetic"
    assert Auto(candidates=20).foreseen(reals(), SINGLE, None) is not None
    assert Auto().foreseen(reals(), SINGLE, None) is None


def test_seeds_come_before_the_design() -> None:
    """What the user gave is evaluated first, and counts as part of it."""
    seeds = ({"x": 1.0, "y": 1.0, "c": "a"},)
    loop = Loop(Auto(design=3), mixed(), Timed(SINGLE, 0.1), stages=STAGES, seeds=seeds)
    assert [proposal.operator for proposal in loop.asked()] == ["seed", "sobol", "sobol"]


def test_a_space_smaller_than_the_design() -> None:
    """It is proposed whole, and the run ends without a choice."""
    space = load("spaces", {"kind": "parameters", "parameters": {"n": {"integer": [1, 4]}}})
    loop = Loop(Auto(design=20), space, Timed(SINGLE, 0.1), stages=STAGES)
    assert len(loop.wave()) == 4
    assert loop.wave() == []
    assert not loop.state["chosen"]
