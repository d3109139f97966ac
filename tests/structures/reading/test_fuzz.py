"""Mutated structure files: nothing is run, nothing hangs, no trace, and no other crystal."""

from __future__ import annotations

import pytest

from tests.fuzz.cif import mutate_texts
from tests.fuzz.structures import SEEDS, check_text


@pytest.mark.parametrize("name", SEEDS)
def test_mutations(name: str) -> None:
    """Each is refused with a reason, or read as the crystal that another library reads of it."""
    read = sum(check_text(name, text) for text in mutate_texts(seed=2, count=150, texts=SEEDS[name]))
    assert 5 < read < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_many_mutations(name: str) -> None:
    """Ten thousand of each format."""
    assert sum(check_text(name, text) for text in mutate_texts(seed=3, count=10_000, texts=SEEDS[name])) > 300
