"""Shares of variables and groups: known functions give back what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign.arrays import FloatArray
from invdesign.learning.data import Inputs
from invdesign.learning.importance import group_contributions, variance_shares

INPUTS = Inputs(
    ("a", "b", "c", "d"), ("number", "number", "category", "number"), (("ab", (0, 1)), ("cd", (2, 3)))
)


def cube(n: int = 200, d: int = 4) -> FloatArray:
    """Uniform points."""
    return np.random.default_rng(1).random((n, d))


def test_a_linear_function_is_shared_by_squares_of_its_slopes() -> None:
    """Of 2a + b, a carries four fifths of the variance, and what is not in it carries nothing."""
    variables, groups = variance_shares(lambda x: 2 * x[:, 0] + x[:, 1], cube(1000), INPUTS, [None] * 4)
    effects = {share.name: share.effect for share in variables}
    assert effects["a"] == pytest.approx(0.8, abs=0.08)
    assert effects["b"] == pytest.approx(0.2, abs=0.05)
    assert effects["c"] == effects["d"] == 0.0
    assert [share.name for share in variables][:2] == ["a", "b"]
    assert {share.name: round(share.effect, 1) for share in groups} == {"ab": 1.0, "cd": 0.0}


def test_trends_say_the_direction_and_categories_have_none() -> None:
    """A variable that lowers the property has a negative trend; no order, no trend."""
    variables, _ = variance_shares(lambda x: -x[:, 0] + x[:, 2], cube(), INPUTS, [0.5, 0.0, 0.5, 0.0])
    found = {share.name: share for share in variables}
    assert found["a"].trend is not None
    assert found["a"].trend < -0.5
    assert found["c"].trend is None
    assert found["a"].relevance == 0.5


def test_many_columns_cost_no_more_predictions() -> None:
    """With many columns fewer candidates are shuffled: the number of predictions is bounded."""
    asked = []

    def means(x: FloatArray) -> FloatArray:
        asked.append(len(x))
        result: FloatArray = x.sum(axis=1)
        return result

    names = tuple(f"x{i}" for i in range(150))
    inputs = Inputs(names, ("number",) * 150, tuple((name, (i,)) for i, name in enumerate(names)))
    variance_shares(means, cube(300, 150), inputs, [None] * 150)
    assert sum(asked) < 25_000


def test_a_constant_model_depends_on_nothing() -> None:
    """No variance is lost where there is none."""
    variables, groups = variance_shares(lambda x: np.ones(len(x)), cube(20), INPUTS, [None] * 4)
    assert {share.effect for share in (*variables, *groups)} == {0.0}


def test_contributions_are_sorted_by_spread_and_told_beyond_their_mean() -> None:
    """The group that varies most comes first; the best candidate's part is beside the mean."""
    parts = np.array([[1.0, 0.0], [3.0, 0.1], [5.0, 0.2]])
    found = group_contributions(["big", "small"], parts, [2])
    assert [item.group for item in found] == ["big", "small"]
    assert found[0].of_best == pytest.approx(2.0)
    assert sum(item.share for item in found) == pytest.approx(1.0)
    assert group_contributions(["all"], np.empty((3, 0)), []) == ()
