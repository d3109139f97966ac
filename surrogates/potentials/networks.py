"""Shared parts of networks: checkpoint, device, batches, and the check of what they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import PluginError
from surrogates.potentials import PotentialError

if TYPE_CHECKING:
    from ase import Atoms

Device = Literal["cpu", "cuda", "mps"]
# Å^3 per atom. Chosen: hydrogen at 500 GPa has 1.2, and a collapsed cell has endless neighbours.
MIN_VOLUME_PER_ATOM = 1.0


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


def find_packaged_checkpoint(package: str, place: str, *, potential: str, model: str, install: str) -> Path:
    """Find a checkpoint that comes with a package, without importing the package.

    Args:
        package: that holds the file.
        place: of the file in the package.
        potential: name of the potential, for messages.
        model: name of the checkpoint, for messages.
        install: what `pip install` takes.

    Raises:
        PluginError: the package is not installed, or lacks this checkpoint.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(
            f"the potential '{potential}' needs the package {package}: install it with `pip install {install}`."
        )
    path = Path(spec.submodule_search_locations[0]) / place
    if not path.is_file():
        raise PluginError(f"the installed {package} has no checkpoint {model} (looked for {path}).")
    return path


@cache
def hash_checkpoint(path: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, read once per process."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def check_crystal(atoms: Atoms, network: str, knows: Callable[[int], bool]) -> float:
    """Check that a crystal is one that a network can be asked about.

    Args:
        atoms: the crystal.
        network: name, for messages.
        knows: whether the network was trained on an atomic number.

    Returns:
        Volume of the cell, Å^3.

    Raises:
        PotentialError: an element is unknown to the network, a number is not finite, or the cell is too small.
    """
    formula = atoms.get_chemical_formula()
    unseen = sorted({s for s, z in zip(atoms.symbols, atoms.numbers, strict=True) if not knows(int(z))})
    if unseen:
        raise PotentialError(f"{network} was not trained on {', '.join(unseen)} (in {formula})")
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise PotentialError(f"{formula} has positions or cell vectors that are not finite")
    volume = abs(float(np.linalg.det(atoms.cell.array)))
    per_atom = volume / max(len(atoms), 1)
    if per_atom < MIN_VOLUME_PER_ATOM:
        raise PotentialError(
            f"{formula} has {per_atom:.2g} Å^3 per atom (at least {MIN_VOLUME_PER_ATOM:g}): no crystal has"
        )
    return volume


def check_neighbours(atoms: Atoms, first: IntArray, reach: float) -> None:
    """Refuse a crystal with atoms that have no neighbour.

    Args:
        atoms: the crystal.
        first: shape (b,), first atom of each bond.
        reach: longest bond, Å.

    Raises:
        PotentialError: an atom has none.
    """
    isolated = len(atoms) - len(np.unique(first))
    if isolated:
        raise PotentialError(
            f"{atoms.get_chemical_formula()}: {isolated} atom(s) without a neighbour within {reach:g} Å"
        )
