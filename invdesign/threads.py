"""One numerical thread, so that results do not depend on the number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block with one thread of torch, BLAS and OpenMP; restore them after it.

    Sums are split among threads, so that last digits depend on their number: a run that is resumed with other
    limits must still propose the same.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
