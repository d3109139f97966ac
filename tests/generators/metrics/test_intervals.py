"""Intervals hold known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.generators.metrics.distributions import measure_jensen_shannon, measure_wasserstein
from invdesign.generators.metrics.intervals import measure_share


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 27.75), (5, 10, 23.66, 76.34), (10, 10, 72.25, 100.0), (90, 100, 82.56, 94.48)],
)
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    """Ends as tabulated for Wilson's interval."""
    found = measure_share(hits, n)
    assert (found.value, found.low, found.high) == (
        100 * hits / n,
        pytest.approx(low, abs=0.01),
        pytest.approx(high, abs=0.01),
    )


def test_nothing_to_count() -> None:
    """No samples give no value and the widest interval."""
    found = measure_share(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high, found.n) == (0.0, 100.0, 0)


@given(st.integers(1, 500), st.data())
def test_a_share_lies_in_its_interval(n: int, data: st.DataObject) -> None:
    """The value is never outside."""
    found = measure_share(data.draw(st.integers(0, n)), n)
    assert 0 <= found.low <= found.value <= found.high <= 100


def test_wasserstein_of_shifted_samples() -> None:
    """A shift by 2 is a distance of 2, in the interval, and the same at every call."""
    numbers = np.random.default_rng(0).normal(size=500)
    found = measure_wasserstein((numbers + 2).tolist(), numbers.tolist())
    assert found.value == pytest.approx(2.0)
    assert found.low < 2.0 < found.high < 2.3
    assert measure_wasserstein((numbers + 2).tolist(), numbers.tolist()) == found


def test_wasserstein_of_nothing() -> None:
    """An empty sample has no distance."""
    assert math.isnan(measure_wasserstein([], [1.0]).value)


@pytest.mark.parametrize(
    ("own", "other", "distance"),
    [([225, 62], [62, 225], 0.0), ([1, 1], [230], 1.0), ([1, 2], [1], math.sqrt(0.311278))],
)
def test_jensen_shannon(own: list[int], other: list[int], distance: float) -> None:
    """Equal samples are 0 apart, those without a common group 1, and halves beside a whole 0.558."""
    assert measure_jensen_shannon(own, other).value == pytest.approx(distance, abs=1e-5)
