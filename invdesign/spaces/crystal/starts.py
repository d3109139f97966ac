"""Starts: crystals without parents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.spaces.crystal.rules import CrystalRules, settle
from invdesign.structures.geometry import Crystal, reduce_cell

LENGTH_SPREAD = 0.3  # standard deviation of the logarithm of a random cell's edges (chosen)
ANGLES = (60.0, 120.0)  # degrees, of random cells: Niggli-reduced ones lie within (chosen)
MIN_SHAPE = 0.4  # volume over the product of edges, of random cells (chosen)
CELL_TRIES = 20  # random cells until one has room for each atom's images (chosen)
POINT_TRIES = 48  # random points per atom (chosen)
SHRINKAGE = (1.0, 0.93, 0.86, 0.8, 0.74)  # shares of the room that are tried in turn (chosen)


def draw_p1(parents: Sequence[Crystal], rules: CrystalRules, rng: Rng) -> Crystal | None:
    """Draw a crystal without symmetry whose atoms have room.

    Args:
        parents: none.
        rules: of the space.
        rng: the only source of randomness.
    """
    del parents
    counts = rules.compositions.draw(rng)
    return draw_with_room(counts, rules.volume(counts).starts, rules.room, rules, rng)


def draw_with_room(
    counts: IntArray, volumes: tuple[float, float], room: FloatArray, rules: CrystalRules, rng: Rng
) -> Crystal | None:
    """Draw a crystal without symmetry whose atoms have room.

    Args:
        counts: shape (k,), atoms of each element.
        volumes: bounds of the cell's volume, Å³.
        room: shape (k, k), distances that atoms keep, Å; less of it where they do not fit in otherwise.
        rules: of the space.
        rng: the only source of randomness.
    """
    species = np.repeat(np.arange(len(counts)), counts)
    for share in SHRINKAGE:
        cell = draw_cell(counts, volumes, rules, rng)
        if cell is None:
            return None
        positions = place_atoms(cell, species, share * room, rng)
        if positions is not None:
            found = settle(Crystal(cell, species, positions), rules)
            if found is not None:
                return found
    return None


def draw_cell(
    counts: IntArray, volumes: tuple[float, float], rules: CrystalRules, rng: Rng
) -> FloatArray | None:
    """Draw a reduced cell in which the images of an atom have room; None if none is found.

    Args:
        counts: shape (k,), atoms of each element.
        volumes: bounds of its volume, Å³.
        rules: of the space; a fixed cell is the one drawn.
        rng: the only source of randomness.
    """
    if rules.cell is not None:
        return rules.cell
    volume = rng.uniform(*volumes)
    shortest = float(np.diag(rules.shortest)[counts > 0].max())
    for _ in range(CELL_TRIES):
        cell = draw_cell_shape(rng) * np.cbrt(volume)
        reduced = reduce_cell(Crystal(cell, np.zeros(1, dtype=np.int64), np.zeros((1, 3)))).cell
        if np.linalg.norm(reduced, axis=1).min() >= shortest:
            return reduced
    return None


def draw_cell_shape(rng: Rng) -> FloatArray:
    """Draw a cell of volume 1, shape (3, 3)."""
    while True:
        edges = np.exp(rng.normal(0.0, LENGTH_SPREAD, size=3))
        alpha, beta, gamma = np.cos(np.radians(rng.uniform(*ANGLES, size=3)))
        metric = np.array([[1.0, gamma, beta], [gamma, 1.0, alpha], [beta, alpha, 1.0]])
        shape = np.linalg.det(metric)
        if shape > MIN_SHAPE**2:
            cell = np.linalg.cholesky(metric) * edges[:, None]
            scaled: FloatArray = cell / np.cbrt(np.prod(edges) * np.sqrt(shape))
            return scaled


def place_atoms(cell: FloatArray, species: IntArray, room: FloatArray, rng: Rng) -> FloatArray | None:
    """Place atoms at random, one after the other, where they have room.

    Distances are those of nearest images by rounding, which suffices in reduced cells; `settle` checks them exactly.

    Args:
        cell: shape (3, 3), reduced, Å.
        species: shape (n,).
        room: shape (k, k), smallest distances, Å.
        rng: the only source of randomness.

    Returns:
        Fractional positions, shape (n, 3); None if an atom finds no place.
    """
    order = rng.permutation(len(species))
    positions = np.empty((len(species), 3))
    for place, atom in enumerate(order.tolist()):
        drawn, before = rng.random((POINT_TRIES, 3)), order[:place]
        apart = drawn[:, None, :] - positions[before][None, :, :]
        apart -= np.round(apart)
        distances = np.sqrt(((apart @ cell) ** 2).sum(axis=2))
        fits = (distances >= room[species[atom], species[before]]).all(axis=1)
        if not fits.any():
            return None
        positions[atom] = drawn[int(fits.argmax())]
    return positions
