"""Mutated campaign files get an answer each: valid, or mistakes with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fuzz.campaigns import MEMORY, made
from tests.support import ROOT, environment


def found(count: int, seed: int, *, start: int = 0, seconds: float = 30.0) -> list[dict[str, object]]:
    """What the fuzzer says of so many inputs, run in a process of limited memory."""
    options = {"--count": count, "--seed": seed, "--start": start, "--seconds": seconds}
    words = [str(word) for option in options.items() for word in option]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.campaigns", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_inputs_depend_on_seed_and_number() -> None:
    """The same seed and number give the same bytes."""
    assert made(1, 7) == made(1, 7)
    assert len({made(1, number) for number in range(20)}) > 15
    assert MEMORY > 10**9


def test_mutated_campaigns_are_answered() -> None:
    """No stack trace, hang, memory beyond its limit, or control character in some mutated campaigns."""
    assert found(40, 20) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("start", range(0, 10_000, 1000))
def test_many_mutated_campaigns_are_answered(start: int) -> None:
    """The same of ten thousand."""
    assert found(1000, 1, start=start) == []
