"""Random numbers from (seed, event, stream) alone, so that a resumed run repeats them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

Rng = np.random.Generator


def derived_seed(*parts: int | str) -> int:
    """Derive a 64-bit seed from `parts`, equal on every platform and in every process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def rng_for(seed: int, event: int, stream: str) -> Rng:
    """Generator for one purpose within one event of a run.

    It is counter-based (Philox): neighbouring keys give independent streams.

    Args:
        seed: of the run.
        event: its number.
        stream: name of the purpose.
    """
    return np.random.Generator(np.random.Philox(key=derived_seed(seed, event, stream)))


@contextmanager
def borrowed_globals(seed: int) -> Iterator[None]:
    """Seed the global `random` and `numpy.random` with `seed`, and restore both afterwards.

    This is for libraries that take no generator: pyswarms draws from `numpy.random`, DEAP's operators from `random`.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the point is the legacy global generator
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
