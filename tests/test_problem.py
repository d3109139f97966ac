"""From properties to minimised values, violation and an order of merit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.candidate import Status
from invdesign.problem import Constraint, Direction, Merit, Objective, Problem, Scores

NAN = float("nan")
PROBLEM = Problem(
    objectives=(Objective("voltage", "maximize"), Objective("energy", "minimize")),
    constraints=(Constraint("energy", max=0.1), Constraint("radius", min=1.0, max=2.0)),
)


def score(rows: list[tuple[Status, int, Mapping[str, float]]], problem: Problem = PROBLEM) -> Scores:
    """Scores of trials given as (status, depth, properties)."""
    return problem.score_trials(
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
    """Two broken constraints weigh more than one, each by how far it is broken in units of its bounds."""
    scores = score([complete(4.0, 0.3, 0.5), complete(4.0, 0.3, 1.5)])
    assert scores.violation == pytest.approx([2.25, 2.0])
    assert scores.tie_breakers() == pytest.approx([2.25, 2.0])


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
    assert scores.tie_breakers()[0] == np.inf


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
    aims = [
        Objective("voltage", "target", min=3.5, max=3.5),
        Objective("gap", "window", min=3.0, max=4.2),
        Objective("gap", "window", min=3.0),
        Objective("gap", "window", max=4.2),
    ]
    assert [str(item) for item in aims] == [
        "bring voltage to 3.5",
        "keep gap at 3 to 4.2",
        "keep gap at 3 or more",
        "keep gap at 4.2 or less",
    ]


def test_a_constraint_may_say_its_scale() -> None:
    """A violation is measured in units of the scale; by default of the larger bound, or of 1 where that is 0."""
    values = np.array([3.0, -1.0])
    assert Constraint("p", min=0.0, max=1.0, scale=0.5).scaled_violation(values).tolist() == [4.0, 2.0]
    assert Constraint("p", min=-4.0, max=2.0).scaled_violation(values).tolist() == [0.25, 0.0]
    assert Constraint("p", max=0.0).scaled_violation(values).tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    ("objective", "minimised"),
    [
        (Objective("p", "minimize"), [-1.0, 2.0, 5.0]),
        (Objective("p", "maximize"), [1.0, -2.0, -5.0]),
        (Objective("p", "target", min=2.5, max=2.5), [3.5, 0.5, 2.5]),
        (Objective("p", "window", min=0.0, max=2.0), [1.0, 0.0, 3.0]),
        (Objective("p", "window", min=2.0), [3.0, 0.0, 0.0]),
        (Objective("p", "window", max=2.0), [0.0, 0.0, 3.0]),
    ],
)
def test_every_objective_is_minimised(objective: Objective, minimised: list[float]) -> None:
    """Smaller is better, a target is a distance, inside a window is 0, and what is unknown stays unknown."""
    found = objective.to_minimised(np.array([-1.0, 2.0, 5.0, NAN]))
    assert np.array_equal(found, [*minimised, NAN], equal_nan=True)


@pytest.mark.parametrize(
    ("direction", "numbers", "message"),
    [
        ("target", {}, "target: needs one value"),
        ("target", {"min": 1.0, "max": 2.0}, "target: needs one value"),
        ("window", {}, "window: needs min, max or both"),
        ("window", {"min": 2.0, "max": 1.0}, r"window: min \(2\) is above max \(1\)"),
        ("minimize", {"max": 1.0}, "minimize: takes no bounds"),
        ("minimize", {"best": 1.0, "worst": 1.0}, "worst: to minimize, best must lie below worst"),
        ("maximize", {"best": 1.0, "worst": 2.0}, "worst: to maximize, worst must lie below best"),
        ("maximize", {"worst": 2.0}, "worst: needs best beside it"),
        ("window", {"min": 1.0, "best": 2.0}, "best: belongs to minimize and maximize"),
        ("maximize", {"tolerance": 1.0}, "tolerance: belongs to target and window"),
        ("window", {"min": 1.0, "tolerance": 0.0}, "tolerance: must be > 0, got 0"),
        ("minimize", {"weight": -1.0}, "weight: must be > 0, got -1"),
        ("window", {"min": 1.0, "reference": 0.0}, "reference: of a window is a distance"),
    ],
)
def test_contradictions_are_refused(direction: Direction, numbers: dict[str, float], message: str) -> None:
    """An objective made in Python is checked as one in a file is."""
    with pytest.raises(ValueError, match=f"objective p: {message}"):
        Objective("p", direction, **numbers)


JUDGED = Problem(
    (
        Objective("voltage", "maximize", best=4.0, worst=2.0, weight=3.0),
        Objective("energy", "minimize", best=0.0, worst=0.1),
        Objective("radius", "target", min=1.5, max=1.5, tolerance=0.5, weight=2.0),
    ),
    scalarize="desirability",
)


def test_the_desirability_is_the_weighted_geometric_mean() -> None:
    """By hand: 0.5^(3/6) * 0.75^(1/6) * 0.8^(2/6); at or beyond every best it is 1."""
    scores = score([complete(3.0, 0.025, 1.6), complete(9.0, -1.0, 1.5)], JUDGED)
    assert JUDGED.n_values == 1
    assert scores.values[:, 0] == pytest.approx([1 - 0.5**0.5 * 0.75 ** (1 / 6) * 0.8 ** (1 / 3), 0.0])


def test_an_undesirable_candidate_is_led_back() -> None:
    """Where one objective is no better than its worst the score is 1 and more, the further off the more."""
    rows = [complete(v, 0.0, 1.5) for v in (2.001, 2.0, 1.9, 1.0, -50.0)]
    values = score(rows, JUDGED).values[:, 0]
    assert values[0] < 1.0 == values[1]
    assert values[2:] == pytest.approx([1.0 + 0.05 / 2, 1.0 + 0.5 / 2, 1.0 + 26.0 / 2])
    assert score(rows, JUDGED).order().tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_objective_leaves_no_score() -> None:
    """A complete trial that lacks one of the combined properties ranks behind every feasible one."""
    scores = score([(Status.COMPLETE, 3, {"voltage": 4.0, "energy": 0.0}), complete(0.0, 9.0, 9.0)], JUDGED)
    assert np.isnan(scores.values[0, 0])
    assert scores.merit.tolist() == [Merit.VIOLATING, Merit.FEASIBLE]


ROWS = st.lists(st.tuples(st.floats(-10, 10), st.floats(-1, 1), st.floats(-5, 5)), min_size=2, max_size=8)


@given(ROWS)
def test_a_better_candidate_never_scores_worse(rows: list[tuple[float, float, float]]) -> None:
    """The score agrees with dominance, and a desirable candidate beats every undesirable one."""
    scores = score([complete(*row) for row in rows], JUDGED)
    minimised = JUDGED.minimise_columns(lambda name: np.array([complete(*row)[2][name] for row in rows]))
    values, overall = scores.values[:, 0], JUDGED.desirability(minimised)
    assert ((overall >= 0) & (overall <= 1)).all()
    assert np.allclose(overall, np.maximum(1 - values, 0))
    for i in range(len(rows)):
        dominated = (minimised[i] <= minimised).all(axis=1)
        assert (values[i] <= values[dominated] + 1e-12).all()


def test_a_score_needs_every_scale() -> None:
    """Without best and worst, or a tolerance, an objective cannot be combined with others."""
    with pytest.raises(
        ValueError, match="needs best and worst, or a tolerance, of every objective: minimize b"
    ):
        Problem(
            (Objective("a", "minimize", best=0.0, worst=1.0), Objective("b", "minimize")), (), "desirability"
        )


def test_the_reference_point_is_said_in_units_of_the_properties() -> None:
    """Minimised inside, in its own sign outside; it is one only where every objective has a coordinate."""
    problem = Problem(
        (
            Objective("voltage", "maximize", reference=2.0),
            Objective("energy", "minimize", reference=0.1),
            Objective("radius", "target", min=1.5, max=1.5, reference=0.5),
        )
    )
    assert problem.reference is not None
    assert problem.reference.tolist() == [-2.0, 0.1, 0.5]
    named = problem.to_property_units(problem.reference)
    assert named == {"voltage": 2.0, "energy": 0.1, "radius": 0.5}
    assert problem.to_minimised_point(named).tolist() == problem.reference.tolist()
    assert PROBLEM.reference is None
    assert JUDGED.reference is None


@pytest.mark.parametrize(
    "point", [{"voltage": 1.0}, {"voltage": 1.0, "energy": NAN}, {"voltage": 1.0, "mass": 1.0}]
)
def test_a_point_names_every_objective(point: dict[str, float]) -> None:
    """Neither fewer nor others, and finite."""
    with pytest.raises(ValueError, match="needs one finite number for each of voltage, energy, got"):
        PROBLEM.to_minimised_point(point)


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
