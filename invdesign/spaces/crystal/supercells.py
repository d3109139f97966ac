"""Supercells of crystals."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import IntArray
from invdesign.rng import Rng
from invdesign.structures.geometry import Crystal, make_crystal

INSIDE = 1e-9  # by which rounding may take a lattice point out of the supercell


def draw_supercell(n: int, rng: Rng) -> IntArray:
    """Draw a supercell of `n` cells, as a matrix (3, 3) in Hermite normal form.

    Source:
        Hart & Forcade, Phys. Rev. B 77, 224115 (2008), section II.
    """
    diagonals = [
        (a, b, n // (a * b))
        for a in range(1, n + 1)
        if n % a == 0
        for b in range(1, n // a + 1)
        if (n // a) % b == 0
    ]
    a, b, c = diagonals[int(rng.integers(len(diagonals)))]
    return np.array(
        [[a, 0, 0], [int(rng.integers(b)), b, 0], [int(rng.integers(c)), int(rng.integers(c)), c]],
        dtype=np.int64,
    )


def repeat_axis(crystal: Crystal, axis: int, times: int) -> Crystal:
    """Repeat a crystal along one of its axes (0, 1 or 2)."""
    matrix = np.eye(3, dtype=np.int64)
    matrix[axis, axis] = times
    return make_supercell(crystal, matrix)


def make_supercell(crystal: Crystal, matrix: IntArray) -> Crystal:
    """Make the supercell whose vectors are the rows of `matrix` (3, 3), in the crystal's vectors."""
    inverse = np.linalg.inv(matrix)
    reach = int(np.abs(matrix).sum(axis=0).max())
    steps = np.arange(-reach, reach + 1)
    shifts = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3) @ inverse
    shifts = shifts[((shifts > -INSIDE) & (shifts < 1.0 - INSIDE)).all(axis=1)]
    positions = (crystal.positions @ inverse)[None, :, :] + shifts[:, None, :]
    return make_crystal(
        matrix @ crystal.cell, np.tile(crystal.species, len(shifts)), positions.reshape(-1, 3)
    )
