"""Supercells of a crystal by an integer matrix, and named groups of sites."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import numpy as np
from pydantic import BeforeValidator

from invdesign.arrays import IntArray
from invdesign.errors import InvdesignError, count_text
from invdesign.structures.parents import Parent

Matrix: TypeAlias = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

MAX_ATOMS = 2_000  # chosen; atoms of a supercell, and the largest entry of its matrix
MAX_LATTICE_POINTS = 3_000_000  # chosen; lattice points tested around a skewed cell, about 100 MB


def _check_cell(value: object) -> object:
    """Check three repeats, or three rows of three integers."""
    rows = value if isinstance(value, list | tuple) else []
    repeats = len(rows) == 3 and all(_is_whole(item) for item in rows)
    matrix = len(rows) == 3 and all(
        isinstance(row, list | tuple) and len(row) == 3 and all(_is_whole(item) for item in row)
        for row in rows
    )
    if not repeats and not matrix:
        raise ValueError(
            f"expected three repeats, as [2, 2, 1], or three rows of three integers, got {value}"
        )
    largest = max(abs(int(item)) for item in (rows if repeats else [item for row in rows for item in row]))
    if largest > MAX_ATOMS:
        raise ValueError(f"a cell's entries are {MAX_ATOMS} at most, got {count_text(largest)}")
    if repeats and min(rows) < 1:
        raise ValueError(f"a cell is repeated once or more along each axis, got {list(rows)}")
    if matrix and round(float(np.linalg.det(np.array(rows)))) == 0:
        raise ValueError(f"the rows of {[list(row) for row in rows]} span no volume; change one of them")
    return tuple(tuple(row) if isinstance(row, list | tuple) else row for row in rows)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Cell = Annotated[tuple[int, int, int] | Matrix, BeforeValidator(_check_cell)]
"""Repeats of a cell: `[2, 2, 1]`, or three rows of integers."""


def to_matrix(cell: tuple[int, int, int] | Matrix) -> IntArray:
    """Right-handed supercell vectors in those of the unit cell, shape (3, 3).

    Args:
        cell: three repeats, or three rows of integers.
    """
    matrix = np.asarray(cell, dtype=np.int64)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    return matrix if np.linalg.det(matrix) > 0 else -matrix  # inverted vectors span the same lattice


def build_supercell(unit: Parent, matrix: IntArray) -> tuple[Parent, IntArray]:
    """Build the supercell of a crystal.

    Args:
        unit: n sites.
        matrix: shape (3, 3), the supercell's vectors in those of the unit cell.

    Returns:
        (the supercell, its images of one site next to each other; shape (m,), the unit's site of each of its sites).

    Raises:
        InvdesignError: it has more than 2,000 atoms.
    """
    volume = round(abs(float(np.linalg.det(matrix))))
    if volume * len(unit) > MAX_ATOMS:
        raise InvdesignError(
            f"a supercell of {volume * len(unit)} atoms is too large (limit {MAX_ATOMS}); repeat the cell less often"
        )
    steps = _list_lattice_points(matrix, volume)
    inverse = np.linalg.inv(matrix)
    positions = ((unit.positions[:, None, :] + steps[None, :, :]) @ inverse).reshape(-1, 3)
    sites = np.repeat(np.arange(len(unit)), volume)
    cell = Parent(
        name=unit.name,
        lattice=np.asarray(matrix @ unit.lattice, dtype=np.float64),
        positions=positions,
        elements=tuple(unit.elements[i] for i in sites),
        labels=tuple(unit.labels[i] for i in sites),
        wyckoff=tuple(unit.wyckoff[i] for i in sites),
        states=tuple(unit.states[i] for i in sites),
    )
    return cell, sites


def _list_lattice_points(matrix: IntArray, volume: int) -> IntArray:
    """Integer points within a cell, shape (volume, 3).

    Computed in whole numbers, so that none is lost or doubled at a face.
    """
    corners = np.stack(np.meshgrid(*([0, 1],) * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ matrix
    low, high = corners.min(axis=0), corners.max(axis=0)
    if math.prod(int(b - a + 1) for a, b in zip(low, high, strict=True)) > MAX_LATTICE_POINTS:
        raise InvdesignError(
            f"the cell {matrix.tolist()} is too skewed; choose shorter vectors of the same lattice"
        )
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    # Fractional coordinates times the volume are integers, so that points on a face are decided exactly.
    adjugate = np.round(np.linalg.inv(matrix) * volume).astype(np.int64)
    inside = points @ adjugate
    chosen: IntArray = points[((inside >= 0) & (inside < volume)).all(axis=1)]
    return chosen


def format_cell(cell: Sequence[object]) -> str:
    """Text of a `cell` as a campaign writes it."""
    return str([list(row) if isinstance(row, Sequence) else row for row in cell])


def find_named_sites(unit: Parent, names: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    """Find the unit cell's sites of each name.

    Args:
        unit: the crystal's cell.
        names: labels, Wyckoff sites or elements.

    Raises:
        ValueError: a name fits no site, or two fit the same.
    """
    found: dict[str, tuple[int, ...]] = {}
    taken: dict[int, str] = {}
    for name in names:
        found[name] = unit.find_sites(name)
        for site in found[name]:
            if site in taken:
                raise ValueError(f"'{taken[site]}' and '{name}' name the same sites; keep one of them")
            taken[site] = name
    return found
