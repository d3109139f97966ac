"""Randomness depends on (seed, event, stream) alone."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.rng import borrowed_globals, derived_seed, rng_for


def seed_globals(seed: int) -> None:
    """Seed what libraries of old draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the legacy global is what is lent


def draw_globals() -> tuple[float, float]:
    """One number from each."""
    return random.random(), np.random.random()  # noqa: NPY002


def test_derived_seed_is_the_same_in_every_process() -> None:
    """Python's salted hashes play no part: another process derives the same seed."""
    code = "from invdesign.rng import derived_seed; print(derived_seed(7, 'ask', 3))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(output) == derived_seed(7, "ask", 3)


def test_derived_seed_never_changes_between_versions() -> None:
    """A stored run can be resumed by a later version: the derivation is fixed for good."""
    assert derived_seed(7, 3, "deap") == 12598244587643345696
    assert rng_for(7, 3, "deap").integers(10**9) == 130866125


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=4))
def test_derived_seed_fits_64_bits(parts: list[int | str]) -> None:
    """Any parts give a seed that numpy and `random` accept."""
    assert 0 <= derived_seed(*parts) < 2**64


def test_types_and_borders_of_parts_matter() -> None:
    """1 and "1", or "ab" + "c" and "a" + "bc", are different purposes."""
    assert len({derived_seed(1, "1"), derived_seed("1", 1), derived_seed("11"), derived_seed(11)}) == 4
    assert derived_seed("ab", "c") != derived_seed("a", "bc")


def test_rng_for_repeats_and_separates() -> None:
    """The same event and stream repeat; any other seed, event or stream is independent."""
    first = rng_for(1, 2, "a").random(4)
    assert np.array_equal(first, rng_for(1, 2, "a").random(4))
    others = [rng_for(2, 2, "a"), rng_for(1, 3, "a"), rng_for(1, 2, "b")]
    assert all(not np.array_equal(first, other.random(4)) for other in others)


def test_neighbouring_events_are_uncorrelated() -> None:
    """The first draws of consecutive events spread evenly over [0, 1)."""
    draws = np.array([rng_for(0, event, "x").random() for event in range(2000)])
    counts, _ = np.histogram(draws, bins=10, range=(0.0, 1.0))
    assert counts.min() > 140
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.07


def test_borrowed_globals_seed_and_restore() -> None:
    """Inside, both global generators depend on the seed alone; outside, they go on as if nothing had been."""
    seed_globals(5)
    undisturbed = draw_globals()
    seed_globals(5)
    with borrowed_globals(2**63 + 1):
        inside = draw_globals()
    assert draw_globals() == undisturbed
    with borrowed_globals(2**63 + 1):
        assert draw_globals() == inside


def test_borrowed_globals_restore_after_an_error() -> None:
    """An exception inside gives the generators back all the same."""
    state = random.getstate()
    with pytest.raises(ValueError, match="empty range"), borrowed_globals(1):
        random.randrange(0)
    assert random.getstate() == state
