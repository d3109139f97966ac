"""What optimizers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from invdesign.candidate import Genome, Proposal
from invdesign.optimizers import common
from invdesign.optimizers.common import (
    Draft,
    finite_space,
    operators_by_arity,
    propose_seeds,
    propose_unasked,
)
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, SearchSpace
from invdesign.settings import load
from invdesign.testing import MemoryHistory

PROBLEM = Problem((Objective("height", "minimize"),))


def parameters(**fields: Any) -> Any:
    """A parameter space as a campaign file says it."""
    return load("spaces", {"kind": "parameters", "parameters": fields})


SMALL = parameters(n={"integer": [0, 5]})


def context(space: SearchSpace = SMALL, seed: int = 0, seeds: Sequence[Genome] = ()) -> Context:
    """A run in which nothing happened yet."""
    return Context(space, PROBLEM, MemoryHistory(PROBLEM), seed, seeds=tuple(seeds))


def test_a_draft_takes_only_what_is_new() -> None:
    """Nothing, what the history has, and what the draft has already are turned down."""
    run = context()
    run.history.add(Proposal({"n": 1}))  # type: ignore[attr-defined]  # a MemoryHistory
    draft = Draft(run, 3)
    added = [draft.add_genome(genome, "start") for genome in (None, {"n": 1}, {"n": 2}, {"n": 2})]
    assert added == [False, False, True, False]
    assert (draft.missing, len(draft.proposals)) == (2, 1)


def test_seeds_are_taken_from_where_the_last_ask_ended() -> None:
    """The position moves past seeds that are known, and stops where the draft is full."""
    run = context(seeds=[{"n": 1}, {"n": 1}, {"n": 2}, {"n": 3}])
    draft = Draft(run, 2)
    assert propose_seeds(draft, 0) == 3
    assert [proposal.genome for proposal in draft.proposals] == [{"n": 1}, {"n": 2}]
    assert propose_seeds(Draft(run, 2), 4) == 4


def test_seeds_are_made_canonical() -> None:
    """Digits beyond the 12th, which a person may write, do not make a second candidate."""
    draft = Draft(context(seeds=[{"x": 0.1 + 0.2}, {"x": 0.3}]), 5)
    propose_seeds(draft, 0)
    assert [proposal.genome for proposal in draft.proposals] == [{"x": 0.3}]
    assert draft.proposals[0].operator == "seed"


def test_operators_are_grouped_in_the_order_of_their_names() -> None:
    """The order a space lists its operators in cannot change a run."""
    names = {arity: [name for name, _ in items] for arity, items in operators_by_arity(SMALL).items()}
    assert names == {0: ["start"], 1: ["mutate", "reset"], 2: ["crossover"]}


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"n": {"integer": [0, 5]}}, True),
        ({"n": {"integer": [1, 10_000_000]}}, True),
        ({"n": {"integer": [0, 10_000_000]}}, False),
        ({"x": {"real": [0, 1]}}, False),
    ],
)
def test_what_can_be_counted_through(fields: dict[str, Any], counted: bool) -> None:
    """A continuum and a space of more than ten million genomes are drawn from instead."""
    assert (finite_space(parameters(**fields)) is not None) == counted


def test_what_is_left_is_drawn_evenly() -> None:
    """Over many runs, every genome is as often first, and as often last, as any other."""
    orders = []
    for seed in range(1200):
        draft = Draft(context(seed=seed), 6)
        propose_unasked(draft, SMALL, 0)
        orders.append([int(str(proposal.genome["n"])) for proposal in draft.proposals])
    for place in (0, 5):
        counts = np.bincount([order[place] for order in orders], minlength=6)
        assert counts.min() > 150  # 200 expected, standard deviation 13
    assert all(sorted(order) == [0, 1, 2, 3, 4, 5] for order in orders)


def test_the_order_outlives_the_cache() -> None:
    """An emptied cache changes nothing: the order depends on the seed alone."""
    run = context()
    first, second = Draft(run, 3), Draft(run, 3)
    assert propose_unasked(first, SMALL, 0) == 3
    run.cache.clear()
    assert propose_unasked(second, SMALL, 3) == 6
    found = {str(proposal.genome) for draft in (first, second) for proposal in draft.proposals}
    assert len(found) == 6


def test_giving_up_on_a_space_that_gives_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `TRIES` draws in a row without a new genome, fewer proposals are returned."""
    draws = []
    single = parameters(x={"real": [0, 1]})
    made = {"start": common_operator(lambda: draws.append(1) or {"x": 0.5})}
    monkeypatch.setitem(single.__dict__, "_operators", made)
    draft = Draft(context(single), 4)
    common.propose_started(draft, context(single).rng("start"))
    assert len(draft.proposals) == 1
    assert len(draws) == 1 + common.MAX_TRIES


def common_operator(make: Any) -> Any:
    """A start operator around a function without arguments."""
    from invdesign.spaces.operators import GenomeOperator

    return GenomeOperator(0, lambda parents, rng: make())
