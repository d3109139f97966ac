"""From properties to minimised values, violation and an order of merit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.candidate import Status
from invdesign.problem import Constraint, Merit, Objective, Problem, Scores

NAN = float("nan")
PROBLEM = Problem(
    objectives=(Objective("voltage", "maximize"), Objective("energy", "minimize")),
    constraints=(Constraint("energy", max=0.1), Constraint("radius", min=1.0, max=2.0)),
)


def score(rows: list[tuple[Status, int, Mapping[str, float]]], problem: Problem = PROBLEM) -> Scores:
    """Scores of trials given as (status, depth, properties)."""
    return problem.score(
        list(range(len(rows))),
        lambda name: np.array([properties.get(name, NAN) for _, _, properties in rows], dtype=np.float64),
        np.array([status for status, _, _ in rows]),
        np.array([depth for _, depth, _ in rows]),
    )


def complete(voltage: float, energy: float, radius: float) -> tuple[Status, int, Mapping[str, float]]:
    """A trial that passed all of three stages."""
    return Status.COMPLETE, 3, {"voltage": voltage, "energy": energy, "radius": radius}


def test_maximised_objectives_change_sign() -> None:
    """Values are minimised whatever the direction; what is unknown stays NaN."""
    scores = score([complete(4.0, 0.05, 1.5), (Status.PENDING, 0, {"energy": 0.2})])
    assert np.array_equal(scores.values, [[-4.0, 0.05], [NAN, 0.2]], equal_nan=True)


def test_bounds_are_inclusive() -> None:
    """On a bound is inside: violation 0, feasible."""
    scores = score([complete(4.0, 0.1, 1.0), complete(4.0, 0.1, 2.0)])
    assert scores.violation.tolist() == [0.0, 0.0]
    assert scores.merit.tolist() == [Merit.FEASIBLE, Merit.FEASIBLE]


def test_violations_add_up() -> None:
    """Two broken constraints weigh more than one, each by how far it is broken."""
    scores = score([complete(4.0, 0.3, 0.5), complete(4.0, 0.3, 1.5)])
    assert scores.violation == pytest.approx([0.7, 0.2])
    assert scores.tie() == pytest.approx([0.7, 0.2])


def test_the_order_of_merit() -> None:
    """Feasible, violating, gated (later stage first), infeasible, failed, and pending last."""
    rows = [
        (Status.PENDING, 0, {}),
        (Status.FAILED, 2, {}),
        (Status.INFEASIBLE, 0, {}),
        (Status.GATED, 1, {}),
        (Status.GATED, 2, {"energy": 0.0}),
        complete(9.0, 0.5, 1.5),
        complete(9.0, 0.2, 1.5),
        complete(1.0, 0.0, 1.5),
    ]
    scores = score(rows)
    assert scores.order().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert scores.merit[:4].tolist() == [Merit.PENDING, Merit.FAILED, Merit.INFEASIBLE, Merit.GATED]


def test_complete_but_unknown_is_no_better_than_any_violation() -> None:
    """A trial without an objective's value is violating, behind every trial whose violation is known."""
    scores = score([(Status.COMPLETE, 1, {"energy": 0.0}), complete(1.0, 99.0, 1.5)])
    assert scores.merit.tolist() == [Merit.VIOLATING, Merit.VIOLATING]
    assert scores.order().tolist() == [1, 0]
    assert scores.tie()[0] == np.inf


def test_the_front_is_of_feasible_trials_only() -> None:
    """A violating trial is on no front, however good its objectives are."""
    scores = score([complete(9.0, 5.0, 1.5), complete(3.0, 0.1, 1.5), complete(4.0, 0.1, 1.5)])
    assert scores.front().tolist() == [2]


def test_properties_are_named_once() -> None:
    """A property that is objective and constraint at once is read once, objectives first."""
    assert PROBLEM.properties == ("voltage", "energy", "radius")


def test_no_constraint_means_no_violation() -> None:
    """Without constraints every complete trial with known objectives is feasible."""
    problem = Problem((Objective("voltage", "minimize"),))
    scores = score([(Status.COMPLETE, 1, {"voltage": 1.0}), (Status.COMPLETE, 1, {})], problem)
    assert scores.merit.tolist() == [Merit.FEASIBLE, Merit.VIOLATING]


def test_they_read_aloud() -> None:
    """Objectives and constraints print as a person would write them."""
    assert [str(item) for item in (*PROBLEM.objectives, *PROBLEM.constraints)] == [
        "maximize voltage",
        "minimize energy",
        "energy <= 0.1",
        "1 <= radius <= 2",
    ]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6),
    st.floats(-1e3, 1e3),
    st.floats(0.0, 1e3),
)
def test_violation_is_the_distance_to_the_interval(values: list[float], low: float, width: float) -> None:
    """Zero inside, else the distance to the nearer bound."""
    array = np.array(values)
    found = Constraint("p", min=low, max=low + width).violation(array)
    assert np.allclose(found, np.abs(array - np.clip(array, low, low + width)), rtol=1e-9, atol=1e-9)
