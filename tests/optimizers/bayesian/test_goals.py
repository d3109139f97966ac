"""The problem in torch is the problem: the same values, and the right chance that constraints hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from invdesign.optimizers.bayesian.goals import goals_for
from invdesign.problem import Constraint, Objective, Problem

PROBLEMS = {
    "plain": Problem((Objective("a", "minimize"), Objective("b", "maximize"))),
    "target": Problem((Objective("a", "target", min=0.5, max=0.5),)),
    "window": Problem((Objective("a", "window", min=0.2, max=0.4), Objective("b", "window", max=1.0))),
    "desirability": Problem(
        (
            Objective("a", "minimize", best=-1.0, worst=1.0, weight=2.0),
            Objective("b", "target", min=0.0, max=0.0, tolerance=1.5),
        ),
        scalarize="desirability",
    ),
}
NUMBERS = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=6)


@pytest.mark.parametrize("name", PROBLEMS)
@given(rows=NUMBERS)
def test_values_are_those_of_the_problem(name: str, rows: list[tuple[float, float]]) -> None:
    """Samples of properties become what the problem scores, turned round and scaled."""
    problem = PROBLEMS[name]
    columns = dict(zip(("a", "b"), np.array(rows).T, strict=True))
    scored = problem.score_trials(
        np.arange(len(rows)), columns.__getitem__, np.ones(len(rows), int), np.zeros(len(rows), int)
    )
    goals = goals_for(problem, ["a", "b"], scored.values)
    samples = torch.as_tensor(np.stack([columns[name] for name in goals.names], axis=1))
    np.testing.assert_allclose(
        goals.objective_values(samples).numpy(), goals.scale_minimised(scored.values), atol=1e-9
    )


def test_larger_values_are_better() -> None:
    """What is minimised comes out with its sign turned."""
    goals = goals_for(PROBLEMS["plain"], ["a", "b"], np.array([[0.0, 0.0], [1.0, 2.0]]))
    values = goals.objective_values(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64))
    assert values[1, 0] < values[0, 0]
    assert values[2, 1] > values[0, 1]


@pytest.mark.parametrize(
    ("limits", "chance"),
    [
        ({"max": 1.0}, norm.cdf(0.5)),
        ({"min": 1.0}, norm.sf(0.5)),
        ({"min": -1.0, "max": 1.0}, norm.cdf(0.5) - norm.cdf(-0.5)),
    ],
)
def test_chance_of_constraints(limits: dict[str, float], chance: float) -> None:
    """It is the probability that a Gaussian lies within the bounds."""
    problem = Problem((Objective("a", "minimize"),), (Constraint("b", **limits),))
    goals = goals_for(problem, ["a", "b"], np.zeros((1, 1)))
    mean, deviation = torch.zeros(1, 2, dtype=torch.float64), torch.full((1, 2), 2.0, dtype=torch.float64)
    assert float(goals.log_feasibility(mean, deviation).exp()) == pytest.approx(chance)


def test_constraints_of_unknown_properties_wait() -> None:
    """A constraint of which nothing is known yet tells no candidates apart."""
    problem = Problem((Objective("a", "minimize"),), (Constraint("b", max=1.0),))
    assert goals_for(problem, ["a"], np.zeros((1, 1))).problem.constraints == ()


def test_weights_make_one_value() -> None:
    """A Chebyshev scalarization ranks the ideal point first and counts the worst objective."""
    minimised = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.6], [0.2, 0.2]])
    goals = goals_for(PROBLEMS["plain"], ["a", "b"], minimised, np.array([0.5, 0.5]))
    assert goals.single
    values = goals.scale_minimised(minimised)[:, 0]
    assert values.argmax() == 3
    assert values[2] > max(values[0], values[1])
