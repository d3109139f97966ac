"""Which rows a model learns from, and when it is fitted anew."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.learning.data import Rows
from invdesign.learning.limits import describe_limit, is_refit_due, scale_to_ranges, select_rows


def rows_of(x: np.ndarray, source: np.ndarray | None = None) -> Rows:
    n = len(x)
    sources = np.zeros(n, dtype=np.int64) if source is None else source
    return Rows(x, x.sum(axis=1), np.full(n, np.nan), sources)


def order_of(rows: Rows) -> np.ndarray:
    return np.argsort(rows.y, kind="stable")


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 300), most=st.integers(2, 120), own=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_as_many_as_allowed(n: int, most: int, own: float, seed: int) -> None:
    """Exactly min(n, most) different rows, ascending; at least half of them the run's own where there are so many."""
    rng = np.random.default_rng(seed)
    source = (rng.random(n) > own).astype(np.int64)
    rows = rows_of(rng.random((n, 3)), source)
    centre = rows.x[0] if seed % 2 else None
    chosen = select_rows(rows, order_of(rows), most, centre)
    assert len(chosen) == min(n, most)
    assert (np.diff(chosen) > 0).all()
    if n > most:
        assert (source[chosen] == 0).sum() >= min((source == 0).sum(), most // 2)
    np.testing.assert_array_equal(chosen, select_rows(rows, order_of(rows), most, centre))


def test_what_stays() -> None:
    """The best, the newest and the nearest stay, and every region keeps a row."""
    rng = np.random.default_rng(0)
    rows = rows_of(np.vstack([0.2 * rng.random((2000, 2)), 0.8 + 0.2 * rng.random((20, 2))]))
    order, centre = order_of(rows), np.array([0.1, 0.1])
    chosen = set(select_rows(rows, order, 200, centre).tolist())
    assert set(order[:60].tolist()) <= chosen
    assert {2018, 2019} <= chosen
    near = np.argsort(((rows.x - centre) ** 2).sum(axis=1))[:30]
    assert len(set(near.tolist()) & chosen) >= 29
    assert sum(index >= 2000 for index in chosen) >= 5


def test_rows_that_order_leaves_out() -> None:
    """Rows without a rank count as the worst; NaN and constant columns do not matter."""
    x = np.random.default_rng(1).random((50, 3))
    x[:, 1] = np.nan
    x[3, 0] = np.nan
    x[:, 2] = 7.0
    rows = Rows(x, np.arange(50.0), np.full(50, np.nan))
    chosen = select_rows(rows, np.array([7, 8, 9]), 10, x[7])
    assert {7, 8, 9} <= set(chosen.tolist())


def test_columns_become_comparable() -> None:
    """Columns get ranges of 1 whatever their units, and what is missing lies in the middle."""
    x = np.array([[0.0, 1e6, 5.0], [1e-3, 3e6, 5.0], [np.nan, 2e6, 5.0]])
    np.testing.assert_allclose(scale_to_ranges(x), [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]])


def test_every_row_counts_at_first() -> None:
    """With few rows every new one is a reason to fit, and none is not; so is having lost rows."""
    assert all(is_refit_due(n, n - 1) for n in range(1, 30))
    assert not any(is_refit_due(n, n) for n in range(1, 2000))
    assert is_refit_due(10, 20)


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_fits_grow_with_the_logarithm(batch: int) -> None:
    """From 30 rows on, ten times the rows cost the same number of fits again."""
    fits: list[int] = []
    for n in range(batch, 10_001, batch):
        if is_refit_due(n, fits[-1] if fits else 0):
            fits.append(n)
    late = sum(n > 1000 for n in fits)
    assert late <= np.log(10) / np.log(1.05) + 2
    assert all(b - a <= 0.05 * a + batch for a, b in pairwise(fits))


def test_the_sentence() -> None:
    """What a user hears names the number of rows and which they are."""
    assert "1500 rows at most" in describe_limit(1500)
