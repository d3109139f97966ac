"""Operators on the unit cube."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.optimizers.vectors import (
    OPERATORS,
    Points,
    Steps,
    cross_simplex,
    draw_gaussian,
    movable_dimensions,
    move_differentially,
)
from invdesign.rng import rng_for
from invdesign.settings import load

NONE = np.zeros(3, dtype=np.bool_)


def points(n: int = 12, d: int = 3, seed: int = 0) -> Points:
    """A population in the middle of the cube."""
    return Points(0.4 + 0.2 * np.random.default_rng(seed).random((n, d)), np.zeros(d, dtype=np.bool_))


@pytest.mark.parametrize("name", list(OPERATORS))
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 30),
    d=st.integers(1, 30),
    width=st.sampled_from([0.3, 1.0, 4.0]),
    seed=st.integers(0, 999),
)
def test_children_stay_in_the_cube_and_name_their_parents(
    name: str, n: int, d: int, width: float, seed: int
) -> None:
    """From populations of any size and shape, on the surface of the cube too."""
    x = np.round(np.random.default_rng(seed).random((n, d)))
    move = OPERATORS[name](
        Points(x, np.zeros(d, dtype=np.bool_)), Steps(width=width), seed % n, rng_for(seed, 0, name)
    )
    assert move.x.shape == (d,)
    assert ((move.x >= 0.0) & (move.x <= 1.0)).all()
    assert move.parents
    assert all(0 <= row < n for row in move.parents)


@pytest.mark.parametrize("name", list(OPERATORS))
def test_categories_are_inherited(name: str) -> None:
    """A column of categories never gets a value that no parent has."""
    x = np.random.default_rng(1).random((10, 3))
    x[:, 1] = np.tile([0.25, 0.75], 5)
    population = Points(x, np.array([False, True, False]))
    seen = {OPERATORS[name](population, Steps(), n % 10, rng_for(n, 0, "c")).x[1] for n in range(60)}
    assert seen == {0.25, 0.75}


@pytest.mark.parametrize("name", ["gaussian", "simplex"])
def test_they_turn_with_the_space(name: str) -> None:
    """A population that is turned has children that are turned by as much: no axis is preferred."""
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    straight = points()
    turned = Points((straight.x - 0.5) @ turn + 0.5, NONE)
    for seed in range(20):
        child = OPERATORS[name](straight, Steps(), 3, rng_for(seed, 0, "t")).x
        other = OPERATORS[name](turned, Steps(), 3, rng_for(seed, 0, "t")).x
        assert other == pytest.approx((child - 0.5) @ turn + 0.5)


def test_a_differential_child_notes_its_steps() -> None:
    """Step length in (0, 1], crossover rate in [0, 1]; its first parent is the one it starts from."""
    for seed in range(50):
        move = move_differentially(points(), Steps(), 5, rng_for(seed, 0, "d"))
        assert isinstance(move.memo, list)
        length, mixing = move.memo
        assert isinstance(length, float)
        assert isinstance(mixing, float)
        assert 0.0 < length <= 1.0
        assert 0.0 <= mixing <= 1.0
        assert move.parents[0] == 5
        assert 5 not in move.parents[2:]


def test_gaussian_draws_have_the_covariance_of_the_better_half() -> None:
    """Over many draws, around the weighted mean, and scaled by the width."""
    population = points(40)
    half = population.x[:20]
    drawn = np.array(
        [draw_gaussian(population, Steps(width=0.5), 0, rng_for(n, 0, "g")).x for n in range(4000)]
    )
    assert drawn.mean(axis=0) == pytest.approx(population.better[0], abs=0.003)
    assert np.cov(drawn.T) == pytest.approx(0.25 * np.cov(half.T, bias=True), abs=1e-4)


def test_a_simplex_child_keeps_mean_and_covariance() -> None:
    """With the paper's expansion rate, children spread about as far as their parents, around the same centre."""
    population = points(6)
    drawn = np.array([cross_simplex(population, Steps(), n % 6, rng_for(n, 0, "s")).x for n in range(2000)])
    assert drawn.mean(axis=0) == pytest.approx(population.x.mean(axis=0), abs=0.015)
    ratio = drawn.var(axis=0) / population.x.var(axis=0)
    assert (ratio > 0.5).all()
    assert (ratio < 2.0).all()


def test_where_nothing_lies_in_an_order_there_is_nothing_to_follow() -> None:
    """Categories alone, or no unit cube, leave variation to the space."""
    names = load("spaces", {"kind": "parameters", "parameters": {"c": {"categorical": ["a", "b"]}}})
    mixed = load(
        "spaces",
        {"kind": "parameters", "parameters": {"c": {"categorical": ["a", "b"]}, "x": {"real": [0, 1]}}},
    )
    assert movable_dimensions(names) == ()
    assert [dimension.kind for dimension in movable_dimensions(mixed)] == ["categorical", "real"]
