"""What was made outside the space: models learn from it, searches stay within."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from invdesign import settings
from invdesign.candidate import OUTSIDE, Proposal
from invdesign.optimizers.bayesian.frame import cached_frame, collect_trials
from invdesign.optimizers.bayesian.modelling import ModellingEvent, build_models
from invdesign.optimizers.bayesian.optimizer import Bayesian
from invdesign.optimizers.bayesian.priors import PriorTable, read_priors
from invdesign.optimizers.prescreen import Prescreen
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context
from invdesign.settings import InputFile
from invdesign.testing import MemoryHistory

NEAR = [1.0, 0.9]
PROBLEM = Problem((Objective("f", "maximize"),))


def square(d: int = 2) -> Any:
    return settings.load(
        "spaces", {"kind": "parameters", "parameters": {f"x{i}": {"real": [0, 1]} for i in range(d)}}
    )


def slope(*outside: float, d: int = 2) -> Context:
    """Trials along the diagonal that rise a little, and some beyond x0 = 1 that are much better."""
    history = MemoryHistory(PROBLEM)
    for place in np.linspace(0.0, 1.0, 7).tolist():
        id = history.add(Proposal({f"x{i}": place for i in range(d)}, operator="start"))
        history.finish(id, {"f": 0.1 * place})
    for x in outside:
        id = history.add(Proposal({"x0": x, **{f"x{i}": 0.9 for i in range(1, d)}}, operator=OUTSIDE))
        history.finish(id, {"f": 5.0})
    return Context(square(d), PROBLEM, history, seed=1, event=3)


def predicted(context: Context, x: list[float], *tables: PriorTable) -> float:
    """The mean of the Bayesian optimizer's model at a point."""
    frame = cached_frame(context)
    priors = read_priors(tables, context.space, ["f"])
    model_set = build_models(
        Bayesian(), ModellingEvent(context, frame, collect_trials(context, frame), {}, priors=priors)
    )
    assert model_set is not None
    return float(model_set.predict(["f"], np.array([x]))[0][0, 0])


@cache
def without() -> float:
    """The mean near the limit where nothing outside is known."""
    return predicted(slope(), NEAR)


def test_trials_outside_teach_the_models() -> None:
    """The mean at the limit moves towards what was measured beyond it; where it is known, it stays."""
    context = slope(1.1)
    assert predicted(context, NEAR) > without() + 0.02
    assert predicted(context, [0.5, 0.5]) == pytest.approx(0.05, abs=0.2)


def test_rows_outside_teach_the_models() -> None:
    """So do rows of an earlier table, and the note says how many lie outside, and which were too far off."""
    text = "x0,x1,f\n1.1,0.9,5\n1.2,0.9,5\n40,0.5,5\n0.5,1.00000001,0.05\n"
    table = PriorTable(table=InputFile(name="known.csv", text=text), same=True)
    (prior,) = read_priors([table], square(), ["f"])
    assert [genome["x0"] for genome in prior.genomes] == [1.1, 1.2, 0.5]
    assert prior.genomes[2]["x1"] == 1.0
    assert "3 of 4 rows are used, as the run's own (2 of them were made outside the space)" in prior.note
    assert "line 4: it lies far outside the space: x0 must be a number in [0, 1], got 40" in prior.note
    assert predicted(slope(), NEAR, table) > without() + 0.02


def test_far_outside_nothing_is_learned() -> None:
    """A value fifty ranges away would only stretch the model's length scales."""
    context = slope(50.0, 1.5)
    assert collect_trials(context, cached_frame(context)).ids.tolist() == [*range(7), 8]


@pytest.mark.parametrize("region", [False, True])
def test_a_best_outside_is_no_place_to_search_at(region: bool) -> None:
    """Proposals lie within the space, and the trust region around the best trial in it."""
    optimizer = Bayesian(batch=2, initial=2, effort=0.1, trust_region=region)
    context = slope(1.9, d=3)
    proposals, _ = optimizer.ask(context, optimizer.start(context), 2)
    assert len(proposals) == 2
    for proposal in proposals:
        context.space.build(proposal.genome)


def test_screening_learns_values_and_no_failures() -> None:
    """Models that screen children have the value; that it is no proposal is no failure."""
    context = slope(1.05)
    surrogate = Prescreen(least=6)._cached_surrogate(context)
    assert surrogate is not None
    assert surrogate.success is None
    assert surrogate.x[:, 0].max() == pytest.approx(1.05)
