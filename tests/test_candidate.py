"""Genomes are canonical JSON, and their keys tell them apart."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.candidate import (
    Candidate,
    Proposal,
    Status,
    Trial,
    canonical,
    genome_key,
    round_number,
    to_json,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), FLOATS, st.text(max_size=8))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(FLOATS)
def test_rounding_is_stable_and_close(number: float) -> None:
    """A rounded number stays as it is, and lies within half a unit of its 12th digit."""
    once = round_number(number)
    assert round_number(once) == once
    assert math.isclose(once, number, rel_tol=6e-12, abs_tol=5e-324)


def test_negative_zero_is_zero() -> None:
    """-0.0 and 0.0 are one genome."""
    assert to_json({"x": round_number(-0.0)}) == '{"x":0.0}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_only_finite_numbers(number: float) -> None:
    """NaN and infinity have no place in a genome."""
    with pytest.raises(ValueError, match="finite numbers only"):
        canonical({"x": number})


@given(JSON)
def test_canonical_is_idempotent_and_survives_json(value: Any) -> None:
    """A canonical genome comes back from the store as it went in."""
    once = canonical(value)
    assert to_json(canonical(once)) == to_json(once)
    assert to_json(json.loads(to_json(once))) == to_json(once)


def test_key_ignores_order_and_noise() -> None:
    """The order of keys and digits beyond the 12th make no new candidate."""
    assert genome_key({"a": 0.1 + 0.2, "b": [1, "x"]}) == genome_key({"b": (1, "x"), "a": 0.3})


@pytest.mark.parametrize(
    "other", [{"x": 1.0}, {"x": True}, {"x": "1"}, {"x": [1]}, {"y": 1}, {"x": 1, "y": None}, {}]
)
def test_key_tells_types_apart(other: dict[str, Any]) -> None:
    """1, 1.0, true and "1" are different values of different dimensions."""
    assert genome_key({"x": 1}) != genome_key(other)


def test_key_tells_the_12th_digit_apart() -> None:
    """What differs in the 12th significant digit is another candidate."""
    assert genome_key({"x": 1.00000000001}) != genome_key({"x": 1.0})


def test_key_never_changes_between_versions() -> None:
    """Stored keys stay valid: 32 hexadecimal digits of a fixed hash."""
    assert genome_key({"x": 1.5, "n": 3, "solvent": "EC"}) == "a70f27b00f63b857ba05c61a6dd48b06"


@pytest.mark.parametrize("value", [np.float32(1.0), {1, 2}, 1j, b"x"])
def test_foreign_types_are_refused(value: object) -> None:
    """Scalars of numpy and other types would be lost on the way through JSON; the message names the type."""
    with pytest.raises(TypeError, match=f"JSON values only, got {type(value).__name__}"):
        canonical({"x": value})  # type: ignore[dict-item]


def test_trial_names_its_candidate() -> None:
    """A trial answers for its candidate's number and genome."""
    trial = Trial(Candidate(4, "k", Proposal({"x": 1.0})), Status.PENDING, 0, {}, {})
    assert (trial.id, trial.genome) == (4, {"x": 1.0})
