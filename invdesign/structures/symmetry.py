"""Symmetry of a cell: permutations of its sites, and distinct decorations of them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError

SYMPREC = 1e-2  # Å; chosen: published positions have four digits, relaxed files are noisier
LOOSE_SYMPREC = 0.1  # Å; chosen: a relaxed crystal misses its symmetry by less, as two different atoms do not
MAX_WORD = 2**62  # packed words stay within int64


@contextmanager
def quiet_spglib() -> Iterator[None]:
    """Keep the warnings of spglib, also where pymatgen calls it, from users within the block."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        yield


def call_spglib(function: str, *inputs: Any, **settings: Any) -> Any:
    """Call a function of spglib by name; None where it finds nothing.

    spglib 2.7 and 2.8 announce with every call that 3.0 will raise instead of returning None; both are met. Its C code writes
    warnings to the terminal where it falls back to another tolerance, unless the environment says otherwise.
    """
    import spglib

    with quiet_spglib():
        try:
            return getattr(spglib, function)(*inputs, **settings)
        except getattr(spglib, "SpglibError", ()):
            return None


def symmetry_dataset(
    lattice: FloatArray, positions: FloatArray, numbers: Sequence[int], symprec: float = SYMPREC
) -> Any:
    """Find the space group of a cell with spglib.

    Args:
        lattice: shape (3, 3), rows are the cell's vectors in Å.
        positions: shape (n, 3), fractional.
        numbers: n integers; sites with equal ones may be mapped onto each other.
        symprec: Å.

    Returns:
        spglib's dataset: `number`, `rotations`, `translations`, `wyckoffs` and more.

    Raises:
        InvdesignError: spglib finds none, as with overlapping atoms.
    """
    dataset = call_spglib("get_symmetry_dataset", (lattice, positions, numbers), symprec=symprec)
    if dataset is None:
        raise InvdesignError("the symmetry of the cell cannot be determined; check it for overlapping atoms")
    return dataset


def site_permutations(
    lattice: FloatArray,
    positions: FloatArray,
    colours: Sequence[Hashable],
    sites: Sequence[int],
    symprec: float = SYMPREC,
) -> IntArray:
    """Permutations of some sites by a cell's space group.

    Args:
        lattice: shape (3, 3), rows are the cell's vectors in Å.
        positions: shape (n, 3), fractional.
        colours: n labels; an operation maps a site only onto sites of its colour.
        sites: k of the n; whole colours.
        symprec: Å.

    Returns:
        Shape (g, k), distinct rows that form a group: the operation moves sites[i] to sites[row[i]].

    Raises:
        InvdesignError: the symmetry cannot be determined, as with overlapping atoms.
    """
    dataset = symmetry_dataset(lattice, positions, _number_colours(colours), symprec)
    members = [
        np.asarray([k for k, site in enumerate(sites) if colours[site] == colour], dtype=np.int64)
        for colour in dict.fromkeys(colours[site] for site in sites)
    ]
    own = positions[list(sites)]

    def permute_sites(operation: int) -> IntArray:
        row = np.empty(len(sites), dtype=np.int64)
        for member in members:
            moved = _match_images(
                lattice, own[member], dataset.rotations[operation], dataset.translations[operation]
            )
            row[member] = member[moved]
        return row

    # Each operation is a representative of its rotation followed by a translation. A supercell with n translations then
    # needs 48 + n images instead of 48 n.
    kinds: dict[bytes, list[int]] = {}
    for operation, rotation in enumerate(dataset.rotations):
        kinds.setdefault(np.ascontiguousarray(rotation, dtype=np.int64).tobytes(), []).append(operation)
    unmoved = np.eye(3, dtype=np.int64).tobytes()
    translations = np.array([permute_sites(operation) for operation in kinds[unmoved]])
    rows = np.concatenate([translations[:, permute_sites(operations[0])] for operations in kinds.values()])
    return np.unique(rows, axis=0)


def _number_colours(colours: Sequence[Hashable]) -> list[int]:
    """Number the colours from 1 by first occurrence."""
    codes: dict[Hashable, int] = {}
    return [codes.setdefault(colour, len(codes) + 1) for colour in colours]


def _match_images(
    lattice: FloatArray, positions: FloatArray, rotation: IntArray, shift: FloatArray
) -> IntArray:
    """Find the site nearest to each site's image, shape (k,)."""
    apart = positions[None, :, :] - (positions @ rotation.T + shift)[:, None, :]
    apart -= np.round(apart)
    nearest: IntArray = ((apart @ lattice) ** 2).sum(axis=2).argmin(axis=1)
    if len(np.unique(nearest)) != len(nearest):
        raise InvdesignError("two sites of the cell are mapped onto one; check it for overlapping atoms")
    return nearest


def find_smallest_image(codes: IntArray, permutations: IntArray, base: int) -> IntArray:
    """Find the lexicographically smallest symmetric image of a decoration.

    Args:
        codes: shape (n,), a number in [0, base) per site.
        permutations: shape (g, n), a group.
        base: number of codes.

    Returns:
        Shape (n,).
    """
    # Codes of several sites are packed into one integer: its order is lexicographic, and only the smallest images go on.
    rows = permutations
    width = _digits_per_word(base)
    for start in range(0, len(codes), width):
        if len(rows) == 1:
            break
        chunk = codes[rows[:, start : start + width]]
        words = chunk @ _digit_weights(base, chunk.shape[1])
        rows = rows[words == words.min()]
    image: IntArray = codes[rows[0]]
    return image


def are_smallest_images(codes: IntArray, permutations: IntArray, weights: IntArray) -> NDArray[np.bool_]:
    """True for each decoration that is its own smallest image.

    Args:
        codes: shape (m, n).
        permutations: shape (g, n), a group.
        weights: shape (n,); codes @ weights orders the decorations lexicographically.

    Returns:
        Shape (m,).
    """
    own = codes @ weights
    smallest = np.ones(len(codes), dtype=np.bool_)
    alive = np.arange(len(codes))
    for row in permutations:
        kept = codes[alive][:, row] @ weights >= own[alive]
        smallest[alive[~kept]] = False
        alive = alive[kept]
    return smallest


Cycles = tuple[tuple[int, int], ...]  # (class, length) of each cycle, sorted


def count_cycle_types(permutations: IntArray, classes: Sequence[int]) -> Counter[Cycles]:
    """Count the cycle types of permutations.

    Args:
        permutations: shape (g, n).
        classes: class of each of the n sites; every permutation keeps it.
    """
    return Counter(tuple(sorted(_list_cycles(row, classes))) for row in permutations.tolist())


def _list_cycles(row: Sequence[int], classes: Sequence[int]) -> list[tuple[int, int]]:
    """List (class, length) of each cycle of one permutation."""
    seen = [False] * len(row)
    cycles = []
    for start in range(len(row)):
        length, site = 0, start
        while not seen[site]:
            seen[site] = True
            length, site = length + 1, row[site]
        if length:
            cycles.append((classes[start], length))
    return cycles


@cache
def _digits_per_word(base: int) -> int:
    """Number of digits of a base that fit into one int64 word."""
    width = 1
    while base ** (width + 1) < MAX_WORD and width < 62:
        width += 1
    return width


@cache
def _digit_weights(base: int, digits: int) -> IntArray:
    """Place values of digits, the highest first."""
    return base ** np.arange(digits - 1, -1, -1, dtype=np.int64)
