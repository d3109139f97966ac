"""Polytopes of mixtures: projection is exact, samples are uniform, flat ones are recognised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.rng import rng_for
from invdesign.spaces.mixture.polytope import Region, Rules


def simplex(size: int, *rows: tuple[list[float], float, float], upper: float = 1.0) -> Region:
    """Fractions that add up to 1, with further rules (weights, least, most)."""
    every = [([1.0] * size, 1.0, 1.0), *rows]
    matrix, low, high = (np.array([row[i] for row in every], dtype=float) for i in range(3))
    return Region(Rules(np.zeros(size), np.full(size, upper), matrix, low, high))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000))
def test_projection_is_the_nearest_point(size: int, seed: int) -> None:
    """No sampled point of the polytope is nearer to a target than its projection, which keeps all rules."""
    rng = np.random.default_rng(seed)
    weights = rng.random(size)
    region = simplex(size, (weights.tolist(), -np.inf, float(weights.mean())))
    target = rng.normal(size=size)
    found = region.project_point(target)
    assert found is not None
    assert region.rules.are_met(found, 1e-9)
    points = np.array([region.sample(rng_for(seed, n, "near")) for n in range(20)])
    assert (np.linalg.norm(points - target, axis=1) >= np.linalg.norm(found - target) - 1e-9).all()


def test_samples_of_a_simplex_have_the_moments_of_the_flat_dirichlet_distribution() -> None:
    """Mean 1/4 and variance 3/80 of each of four fractions."""
    region = simplex(4)
    points = np.array([region.sample(rng_for(0, n, "moments")) for n in range(4_000)])
    assert points.mean(axis=0) == pytest.approx(np.full(4, 0.25), abs=0.015)
    assert points.var(axis=0) == pytest.approx(np.full(4, 3 / 80), abs=0.004)
    assert region.volume == pytest.approx(2 / 6)  # sqrt(4) / 3!


def test_hit_and_run_agrees_with_the_exact_way() -> None:
    """In nine dimensions the moments are those of the flat Dirichlet distribution too, and the volume is near."""
    region = simplex(10)
    assert region.vertices is None
    points = np.array([region.sample(rng_for(0, n, "walk")) for n in range(1_000)])
    assert points.mean(axis=0) == pytest.approx(np.full(10, 0.1), abs=0.015)
    assert points.var(axis=0) == pytest.approx(np.full(10, 9 / 1100), abs=0.002)
    exact = np.sqrt(10) / 362_880
    assert exact / 3 < region.volume < exact * 3


def test_a_polytope_that_is_flatter_than_its_equations_is_sampled() -> None:
    """Rules a + b <= 0.2 and a + b >= 0.2 by way of c <= 0.8 leave a line, which is found and kept to."""
    region = simplex(3, ([1.0, 1.0, 0.0], -np.inf, 0.2), upper=0.8)
    assert region.vertices is not None
    assert region.dimension == 1
    point = region.sample(rng_for(0, 0, "flat"))
    assert point[2] == pytest.approx(0.8, abs=1e-12)


def test_an_empty_polytope_says_so() -> None:
    """Contradicting rules leave no point to project to, and no vertex."""
    region = simplex(3, ([1.0, 0.0, 0.0], 0.7, np.inf), ([0.0, 1.0, 0.0], 0.7, np.inf))
    assert region.empty
    assert region.project_point(np.zeros(3)) is None
    assert len(region.vertices if region.vertices is not None else [0]) == 0


def test_spans_end_at_the_border() -> None:
    """From the centre of a simplex both ends of a line lie on it, and beyond them nothing does."""
    region = simplex(3)
    centre = np.full(3, 1 / 3)
    low, high = region.travel_range(centre, np.array([1.0, 0.0]))
    for end in (low, high):
        point = centre + region.basis @ np.array([end, 0.0])
        assert point.min() == pytest.approx(0.0, abs=1e-12)
