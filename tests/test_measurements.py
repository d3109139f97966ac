"""Repeated measurements become one: means, weights, scatter, failures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.candidate import Failure
from invdesign.measurements import Measurement, combine_measurements

VALUES = st.floats(min_value=-1e6, max_value=1e6).map(lambda x: round(x, 6))
SIGMAS = st.floats(min_value=1e-3, max_value=1e3).map(lambda x: round(x, 6))
PAIRS = st.lists(st.tuples(VALUES, SIGMAS), min_size=2, max_size=8)


def told(value: float, sigma: float | None = None, **fields: object) -> Measurement:
    uncertainties = {} if sigma is None else {"x": sigma}
    return Measurement("key", "experiment", {"x": value}, uncertainties, **fields)  # type: ignore[arg-type]


def failed(message: str, id: int = -1) -> Measurement:
    return Measurement("key", "experiment", failure=Failure("told", "experiment", message), id=id)


def numbers(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean and uncertainty of measurements (value, standard deviation)."""
    found = combine_measurements(
        [told(value, sigma, id=number) for number, (value, sigma) in enumerate(pairs)]
    )
    return found.properties["x"], found.noise["x"]


@given(VALUES, SIGMAS)
def test_one_measurement_is_itself(value: float, sigma: float) -> None:
    """Label, note and number included."""
    single = told(value, sigma, label="a", note="b", id=3, event=7)
    assert combine_measurements([single]) is single


@given(PAIRS, st.randoms(use_true_random=False))
def test_order_does_not_matter(pairs: list[tuple[float, float]], shuffle: object) -> None:
    """To the last bit, with and without numbers of the measurements."""
    for items in (
        [told(value, sigma) for value, sigma in pairs],
        [told(value, id=number) for number, (value, _) in enumerate(pairs)],
    ):
        mixed = list(items)
        shuffle.shuffle(mixed)  # type: ignore[attr-defined]  # a random.Random
        assert combine_measurements(mixed) == combine_measurements(items)


@given(st.lists(VALUES, min_size=2, max_size=8), SIGMAS)
def test_equal_weights_are_the_mean(values: list[float], sigma: float) -> None:
    """With one standard deviation for all, or with none; the uncertainty is that of a mean."""
    n, mean = len(values), math.fsum(values) / len(values)
    scatter = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1))
    weighted, uncertainty = numbers([(value, sigma) for value in values])
    plain = combine_measurements([told(value, id=number) for number, value in enumerate(values)])
    assert weighted == pytest.approx(mean, rel=1e-12, abs=1e-9)
    assert uncertainty == pytest.approx(max(sigma, scatter) / math.sqrt(n), rel=1e-6)
    assert plain.properties["x"] == mean
    assert plain.noise.get("x", 0.0) == pytest.approx(scatter / math.sqrt(n), rel=1e-6, abs=1e-9)


@given(PAIRS, st.floats(min_value=1e-3, max_value=1e3))
def test_another_unit_scales_all(pairs: list[tuple[float, float]], factor: float) -> None:
    """Value and uncertainty in mS/cm are a thousand times those in S/cm."""
    mean, uncertainty = numbers(pairs)
    scaled = numbers([(value * factor, sigma * factor) for value, sigma in pairs])
    assert scaled[0] == pytest.approx(mean * factor, rel=1e-9, abs=1e-6)
    assert scaled[1] == pytest.approx(uncertainty * factor, rel=1e-6)


@given(PAIRS)
def test_the_mean_lies_between_and_is_no_worse_than_the_best(pairs: list[tuple[float, float]]) -> None:
    """Agreeing measurements sharpen each other; no mean lies outside of what was measured."""
    mean, _ = numbers(pairs)
    values = [value for value, _ in pairs]
    assert min(values) - 1e-9 <= mean <= max(values) + 1e-9
    _, agreeing = numbers([(values[0], sigma) for _, sigma in pairs])
    assert agreeing <= min(sigma for _, sigma in pairs) * (1 + 1e-12)


def test_scatter_beyond_the_uncertainties_grows_them() -> None:
    """Two values ten standard deviations apart: the root of chi-square, 50, on top of 0.1 over the root of 2."""
    assert numbers([(1.0, 0.1), (2.0, 0.1)]) == (pytest.approx(1.5), pytest.approx(0.5))
    assert numbers([(1.0, 0.1), (1.05, 0.1)]) == (pytest.approx(1.025), pytest.approx(0.1 / math.sqrt(2)))


def test_the_sharper_measurement_weighs_more() -> None:
    """By the inverse square; one that is said to be exact has all the weight."""
    assert numbers([(0.0, 1.0), (5.0, 2.0)])[0] == pytest.approx(1.0)
    assert numbers([(3.0, 0.0), (5.0, 2.0)]) == (3.0, 0.0)
    assert numbers([(3.0, 0.0), (4.0, 0.0), (9.0, 1.0)]) == (3.5, pytest.approx(0.5))


def test_one_without_uncertainty_makes_all_equal() -> None:
    """Then they are averaged plainly, and their scatter tells the uncertainty."""
    found = combine_measurements([told(1.0, 0.001), told(2.0)])
    assert (found.properties["x"], found.noise["x"]) == (1.5, pytest.approx(0.5))


def test_the_same_number_twice_is_not_exact() -> None:
    """An instrument may show no more digits: nothing is known of the uncertainty."""
    found = combine_measurements([told(0.9, id=1), told(0.9, id=2)])
    assert (dict(found.properties), dict(found.noise)) == ({"x": 0.9}, {})


def test_failures_count_only_where_all_failed() -> None:
    """One success is a result; of several failures the one told last is the cause."""
    assert combine_measurements([failed("gelled"), told(2.0), failed("spilt")]).properties == {"x": 2.0}
    last = combine_measurements([failed("gelled", id=4), failed("spilt", id=2)])
    assert last.failure is not None
    assert last.failure.message == "gelled"


def test_structures_are_those_that_came_last() -> None:
    """Of those that brought any."""
    with_one = told(1.0, id=0, structures={"measured": "hash"}, blobs={"hash": b"cell"})
    found = combine_measurements([told(2.0, id=1), with_one])
    assert (found.structures, found.blobs) == ({"measured": "hash"}, {"hash": b"cell"})
    assert (found.key, found.stage, found.properties) == ("key", "experiment", {"x": 1.5})
