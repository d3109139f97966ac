"""Stages as fidelities: which they are, what they cost, and how far the first candidates run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from invdesign.candidate import Proposal
from invdesign.optimizers.bayesian.fidelity import (
    Fidelities,
    build_fidelities,
    describe_fidelities,
    fidelity_stages,
    is_whole_due,
    source_stages,
    stage_costs,
    stop_early,
)
from invdesign.optimizers.common import Draft
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, StageView
from invdesign.testing import MemoryHistory

ONE = Problem((Objective("e", "minimize"),))
TWO = Problem((Objective("e", "minimize"), Objective("gap", "maximize")), (Constraint("size", max=1.0),))


def funnel(*stages: tuple[str, str]) -> tuple[StageView, ...]:
    """Stages by name with what they provide, separated by blanks."""
    return tuple(StageView(name, frozenset(provides.split())) for name, provides in stages)


GEOMETRY = ("geometry", "size")
LEARNED, POINT, RELAXED = ("learned", "e gap"), ("point", "e"), ("relaxed", "e structure:relaxed")
WINDOW = ("window", "gap")
LADDER = (GEOMETRY, LEARNED, POINT, RELAXED, WINDOW)


def context(stages: tuple[StageView, ...], history: MemoryHistory | None = None) -> Context:
    return Context(None, ONE, history or MemoryHistory(ONE), 0, stages=stages)  # type: ignore[arg-type]  # no space


@pytest.mark.parametrize(
    ("stages", "problem", "expected"),
    [
        ((RELAXED,), ONE, ()),
        ((GEOMETRY, RELAXED), ONE, ()),
        ((POINT, RELAXED), ONE, ("point", "relaxed")),
        ((POINT, RELAXED, GEOMETRY), ONE, ("point", "geometry")),  # the whole funnel decides feasibility
        (LADDER, ONE, ("learned", "point", "window")),
        (LADDER, TWO, ("learned", "point", "window")),
        ((GEOMETRY, LEARNED, WINDOW), TWO, ("learned", "window")),
        ((GEOMETRY, GEOMETRY, RELAXED), TWO, ()),  # a constraint alone makes no fidelity
        ((), ONE, ()),
    ],
)
def test_stages(stages: tuple[tuple[str, str], ...], problem: Problem, expected: tuple[str, ...]) -> None:
    """Stages that say an objective's property before a later one does, and the funnel's last."""
    views = funnel(*stages)
    assert fidelity_stages(views, problem) == expected
    assert (build_fidelities(views, problem, {}) is not None) == bool(expected)


def ladder(costs: Mapping[str, float]) -> Fidelities:
    found = build_fidelities(funnel(*LADDER), TWO, costs)
    assert found is not None
    return found


def test_levels() -> None:
    """Costs add up along the funnel; what is read of a property at each level is the latest that was said."""
    found = ladder({"geometry": 1.0, "learned": 2.0, "point": 7.0, "relaxed": 80.0, "window": 10.0})
    assert (found.costs, found.depths, found.target) == ((3.0, 10.0, 100.0), (3, 4, 6), 2)
    assert source_stages(funnel(*LADDER), "e") == ("relaxed", "point", "learned")
    assert found.readings == {"e": (2, 1, 0), "gap": (1, 1, 0), "size": (0, 0, 0)}
    assert [found.until_stage(level) for level in range(3)] == ["learned", "point", None]
    assert [found.level_of(until) for until in ("learned", "point", "window", None, "relaxed")] == [
        0,
        1,
        2,
        2,
        2,
    ]
    assert [found.level_at_depth(depth) for depth in range(7)] == [-1, -1, -1, 0, 1, 1, 2]
    assert (found.cost_to_reach(2), found.cost_to_reach(2, 1), found.cost_to_reach(1, 0)) == (
        100.0,
        90.0,
        7.0,
    )
    assert "learned (3), point (10), window (100)" in describe_fidelities(found, given=True)
    assert "learned (3 s)" in describe_fidelities(found, given=False)


def test_a_property_that_is_said_later() -> None:
    """A candidate that stops before any stage says it has no reading of it."""
    found = build_fidelities(funnel(POINT, RELAXED, WINDOW), TWO, {})
    assert found is not None
    assert found.readings["gap"] == (None, 0)


def test_nothing_is_free() -> None:
    """Stages without a cost count a little, so that value per cost stays finite."""
    assert min(ladder({"window": 50.0}).costs) == pytest.approx(0.005)
    assert min(ladder({}).costs) > 0.0


def test_costs_are_measured() -> None:
    """Medians of the seconds of what ran, to one digit; nothing before the last stage was seen to run."""
    stages, history = funnel(POINT, RELAXED), MemoryHistory(ONE)
    assert stage_costs(context(stages, history), {}) == {}
    for number, seconds in enumerate(({"point": 0.13}, {"point": 0.16}, {"point": 0.17, "relaxed": 27.4})):
        history.add(Proposal({"n": number}))
        assert stage_costs(context(stages, history), {}) == {}
        history.finish(number, {"e": 1.0}, seconds=seconds)
    assert stage_costs(context(stages, history), {}) == {"point": 0.2, "relaxed": 30.0}
    assert stage_costs(context(stages, history), {"relaxed": 5.0}) == {"point": 0.0, "relaxed": 5.0}


def test_the_first_design() -> None:
    """Its first candidates run all stages, and so do the user's; the others stop at the first stage."""
    stages = funnel(POINT, RELAXED)
    draft = Draft(context(stages), 10)
    for number in range(10):
        draft.add_genome({"n": number}, "seed" if number == 8 else "sobol")
    stop_early(draft, ("point", "relaxed"), 1, 20)
    assert [proposal.until for proposal in draft.proposals] == [None] * 4 + ["point"] * 4 + [None, "point"]
    assert [proposal.genome["n"] for proposal in draft.proposals] == list(range(10))


def test_early_stages_do_not_take_all() -> None:
    """A whole candidate is due when as much went into early stages as one costs."""
    stages, history = funnel(POINT, RELAXED), MemoryHistory(ONE)
    found = build_fidelities(stages, ONE, {"point": 1.0, "relaxed": 4.0})
    assert found is not None
    due = []
    for number in range(8):
        history.add(Proposal({"n": number}, until=None if number == 0 else "point"))
        due.append(is_whole_due(context(stages, history), found))
    assert due == [False] * 6 + [True] * 2
    history.add(Proposal({"n": 9}))
    assert not is_whole_due(context(stages, history), found)
    assert np.isfinite(found.costs).all()
