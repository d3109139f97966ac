"""Linear constraints: how they are written, why they contradict, and the points that meet them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import linprog, minimize

from invdesign.rng import rng_for
from invdesign.spaces.linear import (
    LinearConstraint,
    build_feasible_polytope,
    check_consistent,
    check_names,
    find_contradiction,
)
from invdesign.spaces.polytope import Polytope


def constraint(value: Any) -> LinearConstraint:
    """A constraint as a campaign file says it."""
    return LinearConstraint.model_validate_json(json.dumps(value))


def unit(names: str) -> dict[str, tuple[float, float]]:
    """Bounds from 0 to 1 for one-letter names."""
    return dict.fromkeys(names, (0.0, 1.0))


# How they are written.


@pytest.mark.parametrize(
    ("short", "fields", "words"),
    [
        ("a + 2*b <= 3", {"sum": {"a": 1.0, "b": 2.0}, "max": 3.0}, "a + 2*b <= 3"),
        ("a = 1 - b", {"sum": {"a": 1.0, "b": 1.0}, "equal": 1.0}, "a + b = 1"),
        ("1 <= a - b <= 2", {"sum": {"a": 1.0, "b": -1.0}, "min": 1.0, "max": 2.0}, "1 <= a - b <= 2"),
        ("3 >= a >= 1", {"sum": {"a": 1.0}, "min": 1.0, "max": 3.0}, "1 <= a <= 3"),
        ("0.3 >= (a + b)/2", {"sum": {"a": 0.5, "b": 0.5}, "min": None, "max": 0.3}, "0.5*a + 0.5*b <= 0.3"),
        ("2*(a - 1) >= -b", {"sum": {"a": 2.0, "b": 1.0}, "min": 2.0}, "2*a + b >= 2"),
        ("a + b + 1 <= 2 + b", {"sum": {"a": 1.0}, "max": 1.0}, "a <= 1"),
        ({"sum": {"Al3+": 1, "Ta": -2}, "max": 0.5}, {"sum": {"Al3+": 1.0, "Ta": -2.0}, "max": 0.5}, "Al3+ - 2*Ta <= 0.5"),
    ],
)  # fmt: skip
def test_short_and_long_forms_are_one(short: Any, fields: dict[str, Any], words: str) -> None:
    """What is written in a line gives the same constraint, and reads back in a person's words."""
    read = constraint(short)
    assert read == constraint(fields)
    assert str(read) == words
    assert LinearConstraint.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a * b <= 3", "'a \\* b <= 3' is no linear constraint; write one such as"),
        ("a + b", "is no linear constraint"),
        ("3 <= 4", "is no linear constraint"),
        ("a <= b <= c", "is no linear constraint"),
        ("a <= 2 = b", "is no linear constraint"),
        ("__import__('os')", "is no linear constraint"),
        ("a <= 1e999", "is no linear constraint"),
        ({"sum": {"a": 1}}, "needs a limit: give min, max or equal"),
        ({"sum": {}, "max": 1}, "at least 1 item"),
        ({"sum": {"a": 0}, "max": 1}, "the weight of 'a' is 0; leave it out"),
        ({"sum": {"a": 1}, "min": 2, "max": 1}, "min must not exceed max, got 2 and 1"),
        ({"sum": {"a": 1}, "equal": 2, "max": 1}, "give equal alone"),
        ({"sum": {"a": "1"}, "max": 1}, "valid number"),
        ({"sum": {"a": 1}, "mx": 1}, "Extra inputs"),
    ],
)
def test_constraints_that_say_nothing_are_refused(value: Any, message: str) -> None:
    """Each mistake says what is allowed."""
    with pytest.raises(ValidationError, match=message):
        constraint(value)


@pytest.mark.parametrize("limit", ["min", "max", "equal"])
def test_limits_are_finite(limit: str) -> None:
    """Infinity is no limit."""
    with pytest.raises(ValidationError, match="limits must be finite"):
        LinearConstraint.model_validate({"sum": {"a": 1.0}, limit: float("inf")})


def test_unknown_names_are_found() -> None:
    """With the nearest one that exists."""
    check_names([constraint("salt <= 1")], ["salt", "water"], "components")
    with pytest.raises(
        ValueError, match=r"names 'sald', which is none of the components. Did you mean 'salt'"
    ):
        check_names([constraint("sald <= 1")], ["salt", "water"], "components")


def test_violation_is_a_share_of_the_largest_term() -> None:
    """Zero within rounding; a missing name is a KeyError."""
    one = constraint("a + b <= 1")
    assert one.measure_violation({"a": 0.1 + 0.2, "b": 0.7}) == 0.0
    assert one.measure_violation({"a": 1.0, "b": 1.0}) == pytest.approx(1.0)
    assert constraint("a - b = 0").measure_violation({"a": 0.0, "b": 0.0}) == 0.0
    assert constraint("a >= 200").measure_violation({"a": 100.0}) == pytest.approx(0.5)
    with pytest.raises(KeyError):
        one.weighted_sum({"a": 1.0})


# Contradictions.


@pytest.mark.parametrize(
    ("constraints", "found"),
    [
        (["a + b >= 3", "c <= 0.5"], {"a + b >= 3", "a <= 1", "b <= 1"}),
        (["a + b >= 1.5", "c <= 0.5", "a + b + c <= 1"], {"a + b >= 1.5", "a + b + c <= 1", "c >= 0"}),
        (["a >= 0.6", "b >= 0.6", "a + b <= 1", "c = 0.3"], {"a >= 0.6", "b >= 0.6", "a + b <= 1"}),
        (["a + b = 1", "a + b = 1.1"], {"a + b = 1", "a + b = 1.1"}),
        (["0.2 <= a - b <= 0.4", "b >= 0.9"], {"a - b >= 0.2", "b >= 0.9", "a <= 1"}),
        (["a + b >= 0.5", "a + b <= 1.5", "c = 0.5"], set()),
        (["a = 1", "b = 0", "a + b = 1"], set()),
    ],
)
def test_the_smallest_contradiction_is_named(constraints: list[str], found: set[str]) -> None:
    """Only what is needed is listed, bounds included, in the words of the file."""
    assert set(find_contradiction(unit("abc"), [constraint(c) for c in constraints])) == found


def test_whole_numbers_contradict_where_reals_do_not() -> None:
    """2n + 2m = 5 has no whole solution; the message says that this is why."""
    bounds = {"n": (0.0, 10.0), "m": (0.0, 10.0)}
    constraints = [constraint("2*n + 2*m = 5"), constraint("n <= 4")]
    check_consistent(bounds, constraints)
    assert find_contradiction(bounds, constraints, ["n", "m"]) == ("2*n + 2*m = 5",)
    with pytest.raises(ValueError, match=r"no values meet 2\*n \+ 2\*m = 5 with whole numbers; loosen it"):
        check_consistent(bounds, constraints, ["n", "m"])


def test_the_message_lists_the_set() -> None:
    """In one sentence, with a remedy."""
    constraints = [constraint("a >= 0.6"), constraint("a + b <= 0.5")]
    with pytest.raises(
        ValueError, match=r"meet a >= 0.6, a \+ b <= 0.5 and b >= 0 together; loosen one of them"
    ):
        check_consistent(unit("ab"), constraints)


@st.composite
def systems(draw: st.DrawFn) -> tuple[dict[str, tuple[float, float]], list[LinearConstraint]]:
    """A few variables with bounds of any size and a few constraints with small weights."""
    names = [f"v{i}" for i in range(draw(st.integers(2, 6)))]
    weights = st.dictionaries(
        st.sampled_from(names), st.integers(-3, 3).filter(bool).map(float), min_size=1, max_size=4
    )
    scale = draw(st.sampled_from([1.0, 1e-6, 1e6]))
    bounds = {name: (0.0, scale * draw(st.sampled_from([0.5, 1.0, 3.0]))) for name in names}
    found = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["max", "min", "equal"]))
        limit = scale * draw(st.integers(-2, 6)) / 2.0
        found.append(LinearConstraint.model_validate({"sum": draw(weights), kind: limit}))
    return bounds, found


def _feasible(bounds: dict[str, tuple[float, float]], constraints: list[LinearConstraint]) -> bool:
    body = build_feasible_polytope(bounds, constraints)
    result = linprog(
        np.zeros(len(bounds)),
        A_ub=body.frame.a if len(body.b) else None,
        b_ub=body.b if len(body.b) else None,
        A_eq=body.frame.a_eq if len(body.b_eq) else None,
        b_eq=body.b_eq if len(body.b_eq) else None,
        bounds=list(bounds.values()),
    )
    return bool(result.status == 0)


@settings(max_examples=20, deadline=None)
@given(systems())
def test_contradictions_are_irreducible(
    system: tuple[dict[str, tuple[float, float]], list[LinearConstraint]],
) -> None:
    """A set is found exactly where a plain linear program finds no point, and no statement can be left out."""
    bounds, constraints = system
    found = find_contradiction(bounds, constraints)
    assert bool(found) != _feasible(bounds, constraints)
    for left_out in found:
        rest = [constraint(words) for words in found if words != left_out]
        free = {name: (-1e9 * (high or 1), 1e9 * (high or 1)) for name, (_, high) in bounds.items()}
        assert not rest or _feasible(free, rest)


@settings(max_examples=40, deadline=None)
@given(systems(), st.integers(0, 1000))
def test_every_repaired_and_drawn_point_is_feasible(
    system: tuple[dict[str, tuple[float, float]], list[LinearConstraint]], seed: int
) -> None:
    """To 1e-12 of the ranges, wherever it starts; what is feasible already stays; an empty body gives None."""
    bounds, constraints = system
    body = build_feasible_polytope(bounds, constraints)
    rng = rng_for(seed, 0, "points")
    widths = np.array([high for _, high in bounds.values()])
    points = (rng.random((5, len(widths))) * 1.6 - 0.3) * widths
    assert body.empty != _feasible(bounds, constraints)
    for point in points:
        found = body.project_point(point)
        assert (found is None) == body.empty
        if found is not None:
            assert body.measure_excess(found) < 1e-12
            again = body.project_point(found)
            assert again is not None
            assert np.allclose(again, found, atol=1e-12 * widths.max())
    if not body.empty:
        assert body.contains(body.centre)
        assert body.measure_excess(body.draw_point(rng)) < 1e-12


# The points that meet them.


def simplex(n: int, *more: str) -> Polytope:
    """Fractions x0, x1, ... that add up to 1, with more constraints."""
    names = [f"x{i}" for i in range(n)]
    whole = {"sum": dict.fromkeys(names, 1), "equal": 1}
    return build_feasible_polytope(dict.fromkeys(names, (0.0, 1.0)), [constraint(c) for c in (whole, *more)])


def test_repairing_gives_the_nearest_point() -> None:
    """As a general solver finds it."""
    body = simplex(6, "x0 + 2*x1 - x2 <= 0.1", "x3 + x4 >= 0.4")
    rng = rng_for(0, 0, "nearest")
    for _ in range(10):
        point = rng.uniform(-0.3, 1.3, 6)
        found = body.project_point(point)
        assert found is not None
        reference = minimize(
            lambda x, point=point: ((x - point) ** 2).sum(),
            body.centre,
            bounds=[(0, 1)] * 6,
            constraints=[
                {"type": "eq", "fun": lambda x: x.sum() - 1},
                {"type": "ineq", "fun": lambda x: 0.1 - (x[0] + 2 * x[1] - x[2])},
                {"type": "ineq", "fun": lambda x: x[3] + x[4] - 0.4},
            ],
        )
        assert ((found - point) ** 2).sum() == pytest.approx(reference.fun, abs=1e-5)


def test_drawn_points_fill_a_simplex_evenly() -> None:
    """Means, variances and marginals are those of the flat Dirichlet distribution."""
    body = simplex(4)
    rng = rng_for(0, 0, "flat")
    points = np.array([body.draw_point(rng) for _ in range(3000)])
    assert np.allclose(points.mean(axis=0), 0.25, atol=0.015)
    assert np.allclose(points.var(axis=0), 3 / 80, atol=0.004)
    assert np.allclose((points < 0.1).mean(axis=0), 1 - 0.9**3, atol=0.03)


def test_drawn_points_fill_thin_bodies() -> None:
    """A strip a thousand times longer than wide is crossed from end to end."""
    body = build_feasible_polytope(
        unit("ab"), [constraint({"sum": {"a": 1, "b": -1}, "min": -1e-3, "max": 1e-3})]
    )
    rng = rng_for(0, 0, "thin")
    points = np.array([body.draw_point(rng) for _ in range(1000)])
    assert np.allclose(np.quantile(points[:, 0], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.06)


@pytest.mark.parametrize(
    ("constraints", "freedom"),
    [
        (["a + b + c = 1"], 2),
        (["a + b + c = 1", "a + b + c = 1"], 2),
        (["a + b >= 2"], 1),  # both at their bounds
        (["a + b <= 0", "c = 0.5"], 0),
        (["a - b >= 0", "a - b <= 0"], 2),
    ],
)
def test_flat_bodies_are_recognised(constraints: list[str], freedom: int) -> None:
    """Inequalities that can only be met as equalities count as such; a single point is drawn as itself."""
    body = build_feasible_polytope(unit("abc"), [constraint(c) for c in constraints])
    assert body.freedom == freedom
    points = [body.draw_point(rng_for(i, 0, "flat")) for i in range(5)]
    assert all(body.contains(point, 1e-12) for point in points)
    assert len({tuple(point) for point in points}) == (5 if freedom else 1)


def test_an_empty_body_says_so() -> None:
    """No centre, nothing drawn, nothing repaired."""
    body = build_feasible_polytope(unit("ab"), [constraint("a + b >= 3")])
    assert body.empty
    assert body.freedom == 0
    assert body.project_point(np.zeros(2)) is None
    with pytest.raises(ValueError, match="no values of a, b meet all constraints"):
        body.draw_point(rng_for(0, 0, "none"))


def test_some_variables_can_be_fixed() -> None:
    """The rest is the polytope of the others; with all fixed, only whether they fit is left."""
    body = simplex(3, "x0 <= 0.5")
    rest = body.fix_columns({0: 0.25})
    assert rest.names == ("x1", "x2")
    found = rest.project_point(np.array([0.75, 0.5]))
    assert found is not None
    assert np.allclose(found, [0.5, 0.25])
    assert body.fix_columns({0: 0.6}).project_point(np.zeros(2)) is None
    assert body.fix_columns({0: 0.5, 1: 0.25, 2: 0.25}).project_point(np.zeros(0)) is not None
    assert body.fix_columns({0: 0.5, 1: 0.25, 2: 0.2}).project_point(np.zeros(0)) is None


def test_the_same_generator_gives_the_same_point() -> None:
    """Also from another object, whatever was drawn before."""
    first, second = simplex(5), simplex(5)
    second.draw_point(rng_for(9, 9, "other"))
    a, b = first.draw_point(rng_for(1, 1, "same")), second.draw_point(rng_for(1, 1, "same"))
    assert a.tolist() == b.tolist()


def test_a_random_body_of_fifteen_is_drawn_and_repaired_exactly() -> None:
    """The size of a large formulation."""
    body = simplex(15, "x0 + 2*x1 - x2 <= 0.3", "x3 + x4 >= 0.2")
    rng = rng_for(0, 0, "fifteen")
    excess = [body.measure_excess(body.draw_point(rng)) for _ in range(200)]
    repaired = [body.project_point(rng.uniform(-1, 2, 15)) for _ in range(200)]
    assert max(excess) < 1e-12
    assert max(body.measure_excess(point) for point in repaired if point is not None) < 1e-12
    assert all(point is not None for point in repaired)


def test_assumed_bounds_hold() -> None:
    """Rounding never leaves the bounds themselves."""
    body = build_feasible_polytope({"a": (0.1, 0.3), "b": (-7.0, 11.0)}, [constraint("a + b <= 0.35")])
    for i in range(50):
        point = body.draw_point(rng_for(i, 0, "bounds"))
        assert 0.1 <= point[0] <= 0.3
        assert -7.0 <= point[1] <= 11.0
