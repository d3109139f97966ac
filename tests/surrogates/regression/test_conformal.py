"""Intervals cover rows of new groups, and scores take censored values for what they tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from surrogates.regression.conformal import bound_scores, fit_difficulty, grouped_quantile
from surrogates.regression.scores import concordance, rank_area, ranked_probability_scores


@pytest.mark.parametrize("largest", [1, 5, 20])
def test_rows_of_new_groups_are_covered(largest: int) -> None:
    rng = np.random.default_rng(largest)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        groups = np.repeat(np.arange(count), rng.integers(1, largest + 1, count))
        return np.abs(rng.normal(size=count)[groups] + rng.normal(size=len(groups))), groups

    shares = []
    for _ in range(40):
        scores, groups = draw(60)
        shares.append(float((draw(60)[0] <= grouped_quantile(scores, 0.9, groups)).mean()))
    assert 0.85 <= np.mean(shares) <= 0.95


def test_without_censoring_the_quantile_is_the_one_of_split_conformal_prediction() -> None:
    scores = np.arange(1.0, 100.0)
    # ceil(0.9 * 100) = 90th of 99 scores
    assert grouped_quantile(scores, 0.9, np.arange(99)) == 90.0


def test_errors_that_are_only_lower_limits_widen_the_quantile() -> None:
    rng = np.random.default_rng(0)
    true = rng.exponential(size=4000)
    cut = rng.exponential(scale=2.0, size=4000)
    seen, at_least = np.minimum(true, cut), true > cut
    own = np.arange(4000)
    found = grouped_quantile(seen, 0.8, own, at_least)
    assert found == pytest.approx(np.log(5.0), rel=0.08)  # of the exponential distribution
    assert grouped_quantile(seen, 0.8, own) < 0.8 * found


def test_a_prediction_on_the_right_side_of_a_limit_tells_nothing() -> None:
    errors, at_least, idle = bound_scores(
        np.array([1.0, 1.0, 1.0]), np.array([0, -1, -1]), np.array([0.5, 3.0, 0.0])
    )
    assert errors[:2].tolist() == [0.5, 2.0]
    assert at_least.tolist() == [False, True, False]
    assert idle.tolist() == [False, False, True]


def test_difficulty_finds_the_term_that_errors_follow_and_never_falls() -> None:
    rng = np.random.default_rng(1)
    distance, spread = rng.random(500), rng.random(500)
    found = fit_difficulty(np.abs(rng.normal(size=500)) * (0.2 + 2.0 * distance), distance, spread)
    assert found.by_distance > 4 * found.by_spread
    assert min(found.base, found.by_distance, found.by_spread) >= 0
    none = fit_difficulty(np.ones(20), np.zeros(20), np.zeros(20))
    assert none.expect_errors(np.zeros(1), np.zeros(1))[0] == pytest.approx(1.0)


def test_area_counts_ties_half() -> None:
    assert rank_area(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == pytest.approx(0.875)


def test_concordance_compares_a_limit_only_with_values_beyond_it() -> None:
    y, mean = np.array([-10.0, -12.0, -3.0]), np.array([-9.0, -5.0, -4.0])
    # below -10 against -12 is unknown; both are below -3, and predicted so
    assert concordance(y, np.array([-1, 0, 0]), mean) == 1.0
    assert concordance(y, np.array([0, 0, 0]), mean) == pytest.approx(2 / 3)
    assert concordance(y[:2], np.array([-1, -1]), mean[:2]) is None


@pytest.mark.parametrize("value", [-1.3, 0.2, 2.0])
def test_ranked_probability_scores_are_their_integrals(value: float) -> None:
    mean, deviation = 0.4, 0.7
    below = quad(lambda t: norm.cdf(t, mean, deviation) ** 2, -12, value)[0]
    above = quad(lambda t: norm.sf(t, mean, deviation) ** 2, value, 12)[0]
    y = np.full(3, value)
    found = ranked_probability_scores(y, np.array([0, -1, 1]), np.full(3, mean), np.full(3, deviation))
    assert found == pytest.approx([below + above, above, below], abs=1e-7)
