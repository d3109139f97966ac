"""Several optimizers in one run, beyond what the contract checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from invdesign.candidate import Proposal, Status
from invdesign.optimizers import bandit
from invdesign.optimizers.members import find_asker, member_context, name_members
from invdesign.optimizers.portfolio import Portfolio
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, collect_notes
from invdesign.rng import rng_for
from invdesign.settings import load
from invdesign.testing import MemoryHistory

SINGLE = Problem((Objective("height", "minimize"),))
DOUBLE = Problem((Objective("height", "minimize"), Objective("width", "minimize")))
BOUNDED = Problem((Objective("height", "minimize"),), (Constraint("width", max=1.0),))
REALS = {f"x{number}": {"real": [-5.0, 5.0]} for number in range(4)}


def space(**parameters: Any) -> Any:
    return load("spaces", {"kind": "parameters", "parameters": parameters or REALS})


def portfolio(*members: Any, **more: Any) -> Any:
    return load("optimizers", {"kind": "portfolio", "members": list(members), **more})


class Loop:
    """Ask and tell as the loop does; the height is the square of the distance to 1.5."""

    def __init__(self, optimizer: Any, *, where: Any = None, problem: Problem = SINGLE, **more: Any) -> None:
        self.optimizer, self.where, self.problem, self.more = optimizer, where or space(), problem, more
        self.history = MemoryHistory(problem)
        self.event = 0
        self.state: Any = optimizer.start(self.context())

    def context(self) -> Context:
        self.event += 1
        return Context(self.where, self.problem, self.history, 1, self.event, **self.more)

    def wave(self, n: int | None = None, wanted: float = 1.5) -> list[int]:
        proposals, self.state = self.optimizer.ask(self.context(), self.state, n or self.optimizer.batch)
        ids = [self.history.add(proposal) for proposal in proposals]
        for id in ids:
            x = np.array([float(str(value)) for value in self.history.candidate(id).genome.values()])
            found = {"height": float(np.sum((x - wanted) ** 2)), "width": float(np.sum((x + wanted) ** 2))}
            self.history.finish(id, found)
        self.state = self.optimizer.tell(self.context(), self.state, ids)
        return ids

    def until(self, trials: int) -> None:
        while len(self.history) < trials:
            self.wave()

    def askers(self) -> list[str]:
        return [find_asker(self.history.candidate(id).proposal) for id in range(len(self.history))]


def told(problem: Problem, *rows: dict[str, float]) -> MemoryHistory:
    """A history of complete trials with these properties."""
    history = MemoryHistory(problem)
    for number, row in enumerate(rows):
        history.finish(history.add(Proposal({"n": number})), row)
    return history


def test_the_better_member_is_asked_more() -> None:
    """On a smooth valley CMA-ES earns more than random search, and gets most of the run."""
    loop = Loop(portfolio({"kind": "random", "batch": 8}, "cma"))
    loop.until(400)
    asked = loop.state["asked"]
    assert asked["cma"] > 2 * asked["random"] > 0
    assert asked == {name: loop.askers().count(name) for name in ("cma", "random")}


def test_nobody_starves() -> None:
    """Every member keeps its least share of the batches."""
    loop = Loop(portfolio({"kind": "random", "batch": 8}, "cma", least=0.3))
    loop.until(400)
    assert loop.state["asked"]["random"] > 0.2 * 400


def test_a_member_knows_its_own_notes_alone() -> None:
    """Memos of another swarm would move particles that are not one's own; values and lineage are everybody's."""
    loop = Loop(portfolio("swarm", {"kind": "swarm", "particles": 10}))
    loop.until(120)
    first = member_context("swarm", loop.context(), "portfolio").history
    second = member_context("swarm 2", loop.context(), "portfolio").history
    askers = loop.askers()
    assert set(askers) == {"swarm", "swarm 2"}
    for id, asker in enumerate(askers):
        memos = [view.candidate(id).proposal.memo for view in (first, second)]
        assert [memo is not None for memo in memos] == [asker == "swarm", asker == "swarm 2"]
        assert first.trial(id).properties == loop.history.trial(id).properties
    assert len(first) == len(loop.history)
    np.testing.assert_array_equal(first.column("height"), loop.history.column("height"))


def test_members_draw_numbers_of_their_own() -> None:
    """Two members with equal settings do not propose the same."""
    loop = Loop(portfolio("genetic", "genetic", half_life=1))
    contexts = [member_context(name, loop.context(), "portfolio") for name in ("genetic", "genetic 2")]
    assert len({context.seed for context in contexts}) == 2
    loop.until(64)
    assert min(loop.state["asked"].values()) > 0


def test_seeds_come_first_and_earn_nothing() -> None:
    """What the user gave is nobody's merit."""
    seeds = tuple({f"x{k}": value for k in range(4)} for value in (1.5, 1.0))
    loop = Loop(portfolio("genetic", "cma"), seeds=seeds)
    assert [loop.history.candidate(id).genome for id in loop.wave()] == list(seeds)
    assert loop.askers() == ["", ""]
    assert all(credit == [0.0, 0.0] for credit in loop.state["credit"].values())
    loop.wave()
    assert "" not in loop.askers()[2:]


def test_who_has_nothing_left_passes_on() -> None:
    """A small space is proposed whole although members come to their ends at different times."""
    loop = Loop(portfolio("random", "genetic"), where=space(n={"integer": [0, 30]}))
    for _ in range(40):
        loop.wave(4, wanted=3.0)
    assert len(loop.history) == 31


def test_a_member_that_refuses_is_left_out() -> None:
    """It is said once; only where all refuse, the portfolio does."""
    mixed = space(**REALS, c={"categorical": ["a", "b"]})
    loop = Loop(portfolio("genetic", "cma"), where=mixed, problem=DOUBLE)
    assert set(loop.state["members"]) == {"genetic"}
    note = collect_notes(loop.state)["without cma"]
    assert note == "portfolio goes on without cma: it needs values in an order, and 'c' is categorical"
    refusal = portfolio("cma", {"kind": "cma", "sigma": 0.1}).refusal(mixed, SINGLE)
    assert refusal.startswith("has no member that can: cma needs values in an order")
    assert "; cma 2 needs" in refusal


def test_fewer_at_once() -> None:
    """The limit holds for every member, and for what the run asks."""
    optimizer = portfolio("genetic", "swarm", at_once=5)
    assert optimizer.batch == 5
    assert portfolio("genetic", "swarm").batch == 10
    assert portfolio("genetic", {"kind": "swarm", "particles": 4}, at_once=50).batch == 16
    loop = Loop(optimizer)
    assert len(loop.wave(20)) == 5


def test_names_are_different() -> None:
    """The second of a kind has a number."""
    assert list(name_members(portfolio("random", "genetic", "random", "random").members)) == [
        "random",
        "genetic",
        "random 2",
        "random 3",
    ]


def test_portfolios_can_be_nested() -> None:
    """Every one of them signs, and reads its own signature only."""
    loop = Loop(portfolio("swarm", {"kind": "portfolio", "members": ["swarm", "random"]}))
    loop.until(200)
    assert set(loop.askers()) == {"swarm", "portfolio"}


def test_settings_that_make_no_sense() -> None:
    """One member is no portfolio, and shares sum to one at most."""
    with pytest.raises(ValidationError, match="two members or more, got 1"):
        portfolio("genetic")
    with pytest.raises(ValidationError, match=r"least must be 1 / 3 or less for 3 members, got 0.4"):
        portfolio("genetic", "random", "swarm", least=0.4)
    with pytest.raises(ValidationError, match=r"no optimizer 'swam'\. Did you mean 'swarm'\?"):
        portfolio("genetic", "swam")
    with pytest.raises(ValidationError, match=r"members\.1\.particels"):
        portfolio("genetic", {"kind": "swarm", "particels": 3})
    with pytest.raises(ValidationError, match="no optimizer 'parameters'"):
        portfolio("genetic", {"kind": "parameters"})


def test_default_members() -> None:
    """Without settings, all kinds that learn take part."""
    kinds = [member.model_dump()["kind"] for member in Portfolio().members]
    assert {"genetic", "cma", "swarm"} <= set(kinds)
    assert "random" not in kinds


# The bandit.


def test_gain_of_one_objective() -> None:
    """The way of the best, as a share of its new distance to the median; nothing where it stays."""
    history = told(SINGLE, *({"height": height} for height in (4.0, 2.0, 6.0, 1.0, 3.0)))
    assert bandit.measure_gain(history, [0, 1, 2], [3]) == pytest.approx(1.0 / (1.0 + 2.0))
    assert bandit.measure_gain(history, [0, 1, 2], [4]) == 0.0
    assert bandit.measure_gain(history, [0, 1, 2], [3, 4]) == bandit.measure_gain(history, [0, 1, 2], [3])


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.integers(-50, 50), min_size=4, max_size=8),
    scale=st.sampled_from([0.25, 4.0, 1024.0]),
    shift=st.integers(-100, 100),
)
def test_gain_knows_no_scale(values: list[int], scale: float, shift: int) -> None:
    """Another unit, or another zero, of the objectives changes no gain."""
    new, known = [0, 1], list(range(2, len(values)))
    for problem, width in ((SINGLE, 0.0), (DOUBLE, -1.0)):
        rows = [{"height": float(value), "width": width * value**2} for value in values]
        moved = [{name: scale * (value + shift) for name, value in row.items()} for row in rows]
        first, second = (bandit.measure_gain(told(problem, *items), known, new) for items in (rows, moved))
        assert first == pytest.approx(second, abs=1e-9)
        assert 0.0 <= first <= 1.0


def test_gain_of_several_objectives() -> None:
    """A share of the volume for what extends the front, nothing for what it dominates."""
    rows = [(0.0, 1.0), (1.0, 0.0), (0.5, 0.2), (0.8, 0.8)]
    history = told(DOUBLE, *({"height": a, "width": b} for a, b in rows))
    assert 0.2 < bandit.measure_gain(history, [0, 1], [2]) < 0.7
    assert bandit.measure_gain(history, [0, 1, 2], [3]) == 0.0
    assert bandit.choose_elite(history, [0, 1], [2, 3]) == [0, 1, 2]


def test_gain_of_many_objectives() -> None:
    """Beyond five, the share of the front that is new."""
    problem = Problem(tuple(Objective(f"g{k}", "minimize") for k in range(7)))
    rows = [{f"g{k}": float((k + number) % 7) for k in range(7)} for number in range(4)]
    assert bandit.measure_gain(told(problem, *rows), [0, 1, 2], [3]) == 0.25


def test_gain_before_anything_is_feasible() -> None:
    """Less violation counts, and a better class counts most; failures are worth nothing."""
    rows = [{"height": 1.0, "width": width} for width in (3.0, 2.0, 4.0, 0.5)]
    history = told(BOUNDED, *rows)
    failed = history.add(Proposal({"n": -1}))
    history.finish(failed, status=Status.FAILED)
    assert 0.0 < bandit.measure_gain(history, [0, 2], [1]) < 1.0
    assert bandit.measure_gain(history, [0, 1, 2], [3]) == 1.0
    assert bandit.measure_gain(history, [3], [0]) == 0.0
    assert bandit.measure_gain(history, [], [failed]) == 0.0
    assert bandit.measure_gain(history, [], [0]) == 1.0
    assert bandit.choose_elite(history, [0], [1, failed]) == [1]


def test_rewards_are_places() -> None:
    """The largest gain is worth most, none nothing, and only the order of gains matters."""
    earlier = [0.0, 0.1, 0.2, 0.3]
    assert bandit.rank_gain(0.0, earlier) == 0.0
    assert bandit.rank_gain(0.5, earlier) == pytest.approx(0.9)
    assert bandit.rank_gain(0.15, earlier) == bandit.rank_gain(0.12, earlier) == pytest.approx(0.5)
    assert bandit.rank_gain(0.1, []) == 0.5


def test_credit_is_forgotten() -> None:
    """What was earned before counts less with every batch, whoever asked for it."""
    credit = bandit.credit_member({"a": [1.0, 0.0], "b": [0.5, 0.5]}, "b", 0.25, kept=0.5)
    assert credit == {"a": [0.5, 0.0], "b": [0.5, 1.0]}


def test_the_order_names_everyone_once() -> None:
    """Who earned goes first most of the time, and everyone has a turn where that finds nothing."""
    credit = {"a": [9.0, 1.0], "b": [1.0, 9.0], "c": [1.0, 9.0]}
    orders = [bandit.sample_order(credit, 0.05, rng_for(0, event, "test")) for event in range(300)]
    assert all(sorted(found) == ["a", "b", "c"] for found in orders)
    firsts = [found[0] for found in orders]
    assert 240 < firsts.count("a") < 300
    assert firsts.count("b") > 3
