"""Lattices of planes: reduced bases, superlattices, sums and cosets, in whole numbers where possible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray

SAME_LENGTH = 1e-6  # Å; lengths and projections that differ less are equal, chosen


def reduce_basis(basis: FloatArray) -> tuple[FloatArray, IntArray]:
    """Reduce a basis of a plane after Gauss.

    Args:
        basis: shape (2, d), rows in Å.

    Returns:
        Reduced basis (2, d), the shorter vector first, and the whole-number matrix (2, 2) that makes it from `basis`.
    """
    found = np.array(basis, dtype=np.float64)
    change = np.eye(2, dtype=np.int64)
    while True:
        if np.linalg.norm(found[0]) > np.linalg.norm(found[1]) + SAME_LENGTH:
            found, change = found[::-1].copy(), change[::-1].copy()
        share = float(found[0] @ found[1] / (found[0] @ found[0]))
        # The slack keeps a projection of one half, so that rounding does not choose between two equal bases.
        steps = round(share) if abs(share) > 0.5 + SAME_LENGTH else 0
        if steps == 0:
            return found, change
        found[1] -= steps * found[0]
        change[1] -= steps * change[0]


def hermite_form(rows: IntArray) -> IntArray:
    """Hermite normal form of a lattice: upper triangular, positive diagonal, entries above it reduced.

    Args:
        rows: shape (m, d), whole vectors that span d dimensions.

    Returns:
        Shape (d, d).
    """
    left = [[int(number) for number in row] for row in rows]
    width = len(left[0])
    found: list[list[int]] = []
    for column in range(width):
        while True:
            used = [row for row in left if row[column]]
            if len(used) <= 1:
                break
            pivot = min(used, key=lambda row: abs(row[column]))
            left = [
                row
                if row is pivot
                else [a - (row[column] // pivot[column]) * b for a, b in zip(row, pivot, strict=True)]
                for row in left
            ]
        pivot = next(row for row in left if row[column])
        left = [row for row in left if row is not pivot]
        found.append([-number for number in pivot] if pivot[column] < 0 else pivot)
    for i in range(width - 1, -1, -1):
        for j in range(i):
            steps = found[j][i] // found[i][i]
            found[j] = [a - steps * b for a, b in zip(found[j], found[i], strict=True)]
    return np.array(found, dtype=np.int64)


def complete_basis(normal: Sequence[int]) -> IntArray:
    """Whole-number basis whose first two vectors lie in a plane, and whose third is one layer above.

    Args:
        normal: three whole numbers without a common divisor: the plane's indices.

    Returns:
        Shape (3, 3), determinant 1 or -1; rows @ normal = (0, 0, 1).
    """
    rows = [[int(i == j) for j in range(3)] for i in range(3)]
    heights = [int(number) for number in normal]
    while sum(height != 0 for height in heights) > 1:
        pivot = min((i for i in range(3) if heights[i]), key=lambda i: (abs(heights[i]), i))
        for i in range(3):
            if i != pivot and heights[i]:
                steps = heights[i] // heights[pivot]
                rows[i] = [a - steps * b for a, b in zip(rows[i], rows[pivot], strict=True)]
                heights[i] -= steps * heights[pivot]
    top = next(i for i in range(3) if heights[i])
    stack = [heights[top] * number for number in rows[top]]
    return np.array([*(rows[i] for i in range(3) if i != top), stack], dtype=np.int64)


@cache
def list_superlattices(index: int) -> tuple[tuple[int, int, int, int], ...]:
    """All superlattices of an index, as Hermite normal forms (a, b, 0, d)."""
    divisors = [a for a in range(1, index + 1) if index % a == 0]
    return tuple((a, b, 0, index // a) for a in divisors for b in range(index // a))


@cache
def list_unimodular() -> IntArray:
    """Whole-number matrices of determinant 1 or -1 with entries between -2 and 2, shape (m, 2, 2).

    They connect reduced bases of two lattices that differ by a few per cent.
    """
    axes = np.arange(-2, 3)
    every = np.stack(np.meshgrid(axes, axes, axes, axes, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    sizes = every[:, 0, 0] * every[:, 1, 1] - every[:, 0, 1] * every[:, 1, 0]
    return np.asarray(every[np.abs(sizes) == 1], dtype=np.int64)


def determinant(matrix: IntArray) -> int:
    """Determinant of a whole-number matrix (2, 2)."""
    return int(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])


def adjugate(matrix: IntArray) -> IntArray:
    """Determinant times the inverse of a whole-number matrix (..., 2, 2)."""
    found = np.empty_like(matrix)
    found[..., 0, 0], found[..., 1, 1] = matrix[..., 1, 1], matrix[..., 0, 0]
    found[..., 0, 1], found[..., 1, 0] = -matrix[..., 0, 1], -matrix[..., 1, 0]
    return found


def conjugate(matrix: IntArray, operation: IntArray) -> IntArray | None:
    """Express an operation of a lattice in the basis of a superlattice.

    Args:
        matrix: shape (2, 2), rows of the superlattice in the lattice.
        operation: shape (2, 2), acts on rows of coefficients from the right.

    Returns:
        Shape (2, 2); None if the operation does not keep the superlattice.
    """
    size = determinant(matrix)
    found = matrix @ operation @ adjugate(matrix)
    return found // size if not (found % size).any() else None


def is_coincidence_cell(first: IntArray, second: IntArray) -> bool:
    """True if two superlattices, put on each other, are all that their lattices have in common.

    Args:
        first: shape (2, 2), rows of the first superlattice in its lattice.
        second: the same of the second.
    """
    both = np.concatenate([first, second], axis=1)
    minors = (
        int(both[0, i] * both[1, j] - both[0, j] * both[1, i]) for i in range(4) for j in range(i + 1, 4)
    )
    return math.gcd(*minors) == 1


def list_cosets(matrix: IntArray) -> IntArray:
    """Representatives of a lattice's vectors modulo a superlattice, shape (n, 2).

    Args:
        matrix: shape (2, 2), rows of the superlattice in the lattice.
    """
    form = hermite_form(matrix)
    first, second = np.meshgrid(np.arange(form[0, 0]), np.arange(form[1, 1]), indexing="ij")
    return np.stack([first, second], axis=-1).reshape(-1, 2)


def number_cosets(matrix: IntArray, vectors: IntArray) -> IntArray:
    """Number of the representative of each vector in `list_cosets`.

    Args:
        matrix: shape (2, 2), rows of the superlattice in the lattice.
        vectors: shape (..., 2), whole numbers.

    Returns:
        Shape (...).
    """
    form = hermite_form(matrix)
    steps = vectors[..., 0] // form[0, 0]
    first = vectors[..., 0] - steps * form[0, 0]
    second = (vectors[..., 1] - steps * form[0, 1]) % form[1, 1]
    return np.asarray(first * form[1, 1] + second, dtype=np.int64)


def sum_lattice(first: IntArray, second: IntArray) -> tuple[IntArray, int]:
    """Lattice spanned by two lattices that share a superlattice.

    Args:
        first: shape (2, 2), rows of the shared superlattice in the first lattice.
        second: the same in the second.

    Returns:
        Basis (2, 2) of whole numbers and their common denominator, in units of the shared superlattice's vectors.
    """
    one, two = determinant(first), determinant(second)
    size = abs(one * two)
    rows = np.concatenate([adjugate(first) * (size // one), adjugate(second) * (size // two)])
    return hermite_form(rows), size


def turn_to_x(basis: FloatArray) -> FloatArray:
    """Rotation (2, 2) that turns the first row of a basis (2, 2) onto x, for rows of coordinates."""
    x, y = basis[0] / np.linalg.norm(basis[0])
    return np.array([[x, -y], [y, x]])
