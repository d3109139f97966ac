"""Choice of the device that a network runs on, and of the batches that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeVar

from invdesign.arrays import FloatArray
from invdesign.errors import PluginError

Device = Literal["cpu", "cuda", "mps"]


class BondGraph(Protocol):
    """Graph of one crystal, with the vectors of its bonds, shape (b, 3)."""

    @property
    def vectors(self) -> FloatArray:
        """Å, a row per bond."""
        ...


G = TypeVar("G", bound=BondGraph)


def choose_device(wanted: str) -> Device:
    """Device for a setting `wanted`: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        PluginError: torch finds no such device.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PluginError("device 'cuda' was asked for, and torch finds none; use 'auto' or 'cpu'.")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise PluginError("device 'mps' was asked for, and torch finds none; use 'auto' or 'cpu'.")
    return "cpu" if wanted == "cpu" else "cuda" if wanted == "cuda" else "mps"


def split_into_batches(graphs: Sequence[G], limit: int) -> Iterator[list[G]]:
    """Split the graphs into runs of at most `limit` bonds together.

    A run may also be a single larger graph.
    """
    chunk: list[G] = []
    bonds = 0
    for graph in graphs:
        if chunk and bonds + len(graph.vectors) > limit:
            yield chunk
            chunk, bonds = [], 0
        chunk.append(graph)
        bonds += len(graph.vectors)
    if chunk:
        yield chunk
