"""Wyckoff positions of all space groups as tables for a network."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.wyckoff import GROUPS, SpaceGroup, WyckoffPosition, find_space_group

MOST_LETTERS = 27  # positions of a space group
TRANSLATIONS = np.array(list(itertools.product(range(-2, 3), repeat=3)), dtype=np.float64)
SAME = 1e-6  # fractional distance of two images that are one (chosen)
KEY_WEIGHTS = np.array([1.0, 0.62, 0.37])  # of free coordinates in the key of a representative (chosen)
SYSTEMS = (2, 15, 74, 142, 167, 194, 230)  # last group of each crystal system


@dataclass(frozen=True, eq=False)
class PositionTable:
    """Positions of all groups, one row after the other; row `start[group] + letter`.

    Attributes:
        start: shape (231,), first row of a group.
        count: shape (231,), number of its positions.
        multiplicity: shape (p,), images in the primitive cell.
        free: shape (p,), free coordinates.
        features: shape (p, f), numbers that describe a position.
        groups: shape (231, g), numbers that describe a group.
    """

    start: IntArray
    count: IntArray
    multiplicity: IntArray
    free: IntArray
    features: FloatArray
    groups: FloatArray


@cache
def load_positions() -> PositionTable:
    """Table of the positions of all space groups."""
    start, count = np.zeros(231, dtype=np.int64), np.zeros(231, dtype=np.int64)
    rows: list[FloatArray] = []
    groups = [np.zeros(len(SYSTEMS) + 6 + 5)]
    for number in GROUPS:
        group = find_space_group(number)
        start[number], count[number] = len(rows), len(group.positions)
        rows += [_describe_position(group, position) for position in group.positions.values()]
        groups.append(_describe_group(group))
    known = [position for number in GROUPS for position in find_space_group(number).positions.values()]
    return PositionTable(
        start,
        count,
        np.array([position.primitive_multiplicity for position in known]),
        np.array([position.free for position in known]),
        np.array(rows),
        np.array(groups),
    )


def _describe_position(group: SpaceGroup, position: WyckoffPosition) -> FloatArray:
    """Numbers of a position: size, freedom, site symmetry, directions and place."""
    first = position.linear[0]
    directions = np.abs(group.primitive.T @ first).sum(axis=1) if position.free else np.zeros(3)
    place = 2.0 * np.pi * position.constant[0]
    share = position.multiplicity / group.order
    numbers = [
        np.log(position.primitive_multiplicity) / 2.0,
        np.log(position.multiplicity) / 3.0,
        np.log(share) / 3.0,
        *(float(position.free == free) for free in range(4)),
    ]
    return np.array([*numbers, *directions, *np.cos(place), *np.sin(place)], dtype=np.float64)


def _describe_group(group: SpaceGroup) -> FloatArray:
    """Numbers of a group: crystal system, centring, order and kinds of its operations."""
    system = [float(low < group.number <= high) for low, high in itertools.pairwise((0, *SYSTEMS))]
    centring = [float(group.symbol[0] == letter) for letter in "PACIFR"]
    traces = group.rotations.trace(axis1=1, axis2=2)
    numbers = [
        np.log(len(group.rotations)) / 3.0,
        float(traces.min() == -3),
        float((np.linalg.det(group.rotations) < 0).any()),
        float((group.translations != 0).any()),
        len(group.positions) / MOST_LETTERS,
    ]
    return np.array([*system, *centring, *numbers], dtype=np.float64)


@cache
def list_letters(number: int) -> tuple[str, ...]:
    """Letters of the positions of a group, the most special first."""
    return tuple(find_space_group(number).positions)


@cache
def list_maps(number: int, letter: str) -> tuple[FloatArray, FloatArray]:
    """Changes of free coordinates after which a position has the same images.

    Args:
        number: of the space group.
        letter: of a position with free coordinates.

    Returns:
        (rows (k, f, f), offsets (k, f)): coordinates q become rows @ q + offset, the identity among them.
    """
    position = find_space_group(number).positions[letter]
    own, base = position.linear[0], position.constant[0]
    inverse = np.linalg.pinv(own)
    found: dict[bytes, tuple[FloatArray, FloatArray]] = {}
    for linear, constant in zip(position.linear, position.constant, strict=True):
        rows = inverse @ linear
        if np.abs(own @ rows - linear).max() > SAME:
            continue
        wanted = constant - base + TRANSLATIONS
        offsets = wanted @ inverse.T
        fits = np.abs(offsets @ own.T - wanted).max(axis=1) < SAME
        for offset in offsets[fits] % 1.0:
            rounded = np.round(np.concatenate([rows.ravel(), offset % 1.0]) * 48.0).astype(np.int64)
            rounded[rows.size :] %= 48
            found.setdefault(rounded.tobytes(), (rows, offset))
    rows_found, offsets_found = zip(*found.values(), strict=True)
    return np.array(rows_found), np.array(offsets_found)


def find_key(number: int, letter: str, free: FloatArray) -> tuple[float, FloatArray]:
    """Find the representative of an orbit that has the smallest key.

    Args:
        number: of the space group.
        letter: of a position with free coordinates.
        free: coordinates of any representative, shape (f,).

    Returns:
        (key, coordinates of the representative (f,) within [0, 1)).
    """
    rows, offsets = list_maps(number, letter)
    images = np.round(rows @ free + offsets, 6) % 1.0
    keys = images @ KEY_WEIGHTS[: len(free)]
    best = int(keys.argmin())
    return float(keys[best]), images[best]


@cache
def find_polar_axes(number: int) -> FloatArray:
    """Directions along which the origin of a group is free, shape (d, 3), in the conventional cell."""
    rotations = find_space_group(number).rotations.astype(np.float64)
    mean = rotations.mean(axis=0)  # the projection on what all operations keep
    axes = [axis for axis in np.eye(3) if np.abs(mean @ axis - axis).max() < SAME]
    return np.array(axes).reshape(-1, 3)
