"""One way to write each crystal: letters and coordinates in a chosen setting of its space group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.network.positions import find_key, find_polar_axes, list_letters
from invdesign.structures.sited import SitedCrystal
from invdesign.structures.sites import change_setting
from invdesign.structures.wyckoff import (
    Relabelling,
    find_equivalent_settings,
    find_lattice_system,
    find_space_group,
    list_equivalent_settings,
    map_letters,
)

SHEARS = (0, 1, -1, 2, -2)  # of the axes of a monoclinic cell (chosen)
SAME_SHAPE = 1e-3  # relative difference of two sums of lengths that count as one (chosen)
SAME_ANGLE = 1e-3  # degrees, of a right angle (chosen)
MOST_SETTINGS = 64  # settings that are compared (chosen); more only in triclinic groups


@dataclass(frozen=True, eq=False)
class Written:
    """A crystal in its chosen setting.

    Attributes:
        group: number of the space group.
        sites: (element, letter) of each orbit, by element in the order given, letter and coordinates.
        cell: free lengths (Å) and angles (degrees) of the conventional cell.
        coordinates: free coordinates of each orbit.
    """

    group: int
    sites: tuple[tuple[str, str], ...]
    cell: tuple[float, ...]
    coordinates: tuple[FloatArray, ...]


def _list_changes(number: int) -> tuple[tuple[IntArray, FloatArray], ...]:
    """List changes of axes and origin, in monoclinic groups with sheared axes too."""
    if find_lattice_system(number).name != "monoclinic":
        return list_equivalent_settings(number)[:MOST_SETTINGS]
    changes = []
    for a, b, c, d in itertools.product(SHEARS, repeat=4):
        if abs(a * d - b * c) == 1:
            for sign in (1, -1):
                axes: IntArray = np.array([[a, 0, b], [0, sign, 0], [c, 0, d]], dtype=np.int64)
                changes.append(axes)
    changes.sort(key=lambda axes: (int(np.abs(axes).sum()), int(-np.trace(axes))))
    return find_equivalent_settings(number, changes)


@lru_cache(maxsize=256)
def list_settings(number: int) -> tuple[Relabelling, ...]:
    """List equivalent settings of a group with the letters that they exchange, the identity first."""
    return tuple(
        Relabelling(map_letters(number, axes, origin), axes, origin) for axes, origin in _list_changes(number)
    )


def write_crystal(elements: Sequence[str], sited: SitedCrystal, order: Sequence[str]) -> Written:
    """Write a crystal in the setting with the smallest letters, then the smallest keys of its coordinates.

    Args:
        elements: symbols of the species of `sited`.
        sited: crystal in any setting.
        order: elements in the order in which orbits stand.
    """
    combination = sited.combination
    rank = {name: place for place, name in enumerate(order)}
    sites = [(rank[elements[species]], letter) for species, letter in combination.sites]
    letters = list_letters(combination.group)
    settings = _choose_cells(sited, list_settings(combination.group))

    def rename(setting: Relabelling) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((own, letters.index(setting.letters[letter])) for own, letter in sites))

    renamed = [rename(setting) for setting in settings]
    best = min(renamed)
    candidates = [
        _change_setting(sites, sited, setting)
        for setting, names in zip(settings, renamed, strict=True)
        if names == best
    ]
    _, chosen, cell = min(candidates, key=lambda found: found[0])
    return Written(
        combination.group,
        tuple((order[own], letters[place]) for own, place, _ in chosen),
        cell,
        tuple(np.array(own) for _, _, own in chosen),
    )


def _choose_cells(sited: SitedCrystal, settings: Sequence[Relabelling]) -> Sequence[Relabelling]:
    """Settings with the shortest axes; where two have them, those with an obtuse angle."""
    system = sited.combination.space_group.system
    if system.name != "monoclinic":
        return settings
    cells = [system.read_cell(np.linalg.inv(setting.axes).T @ sited.conventional) for setting in settings]
    least = min(a + c for a, _, c, _ in cells)
    near = [
        (setting, cell[3])
        for setting, cell in zip(settings, cells, strict=True)
        if cell[0] + cell[2] < least * (1.0 + SAME_SHAPE)
    ]
    obtuse = [setting for setting, angle in near if angle >= 90.0 - SAME_ANGLE]
    return obtuse or [setting for setting, _ in near]


Orbit = tuple[int, int, tuple[float, ...]]  # (rank of the element, place of the letter, free coordinates)


def _change_setting(
    sites: Sequence[tuple[int, str]], sited: SitedCrystal, setting: Relabelling
) -> tuple[tuple[float, tuple[float, ...]], list[Orbit], tuple[float, ...]]:
    """Describe a crystal in one setting: (key, orbits, cell)."""
    number = sited.combination.group
    group = find_space_group(number)
    letters = list_letters(number)
    coordinates = [sited.coordinates[column] for column in sited.combination.columns]
    moved, conventional = change_setting(
        [letter for _, letter in sites], coordinates, sited.conventional, group, setting
    )
    points = [
        (own, letters.index(setting.letters[letter]), free)
        for (own, letter), free in zip(sites, moved, strict=True)
    ]
    orbits = _choose_representatives(number, _fix_origin(number, points))
    cell = group.system.read_cell(conventional)
    total = sum(float(np.sum(own)) for _, _, own in orbits)
    return (round(total, 4), tuple(round(-value, 4) for value in cell)), orbits, cell


def _choose_representatives(number: int, points: Sequence[tuple[int, int, FloatArray]]) -> list[Orbit]:
    """Choose the representative of each orbit with the smallest key; sort the orbits."""
    letters = list_letters(number)
    orbits: list[tuple[int, int, float, tuple[float, ...]]] = []
    for own, place, free in points:
        key, chosen = find_key(number, letters[place], free) if len(free) else (0.0, free)
        orbits.append((own, place, key, tuple(chosen.tolist())))
    return [(own, place, free) for own, place, _, free in sorted(orbits)]


def _fix_origin(
    number: int, points: Sequence[tuple[int, int, FloatArray]]
) -> list[tuple[int, int, FloatArray]]:
    """Move the origin of a polar group so that the first orbit lies at zero along its free directions."""
    axes = find_polar_axes(number)
    if not len(axes):
        return list(points)
    group = find_space_group(number)
    letters = list_letters(number)
    positions = [group.positions[letters[place]] for _, place, _ in points]
    first = min(range(len(points)), key=lambda place: points[place][:2])
    start = positions[first].place_images(points[first][2])[0] @ group.primitive
    shift = -(axes @ start) @ axes @ np.linalg.inv(group.primitive)
    moved = []
    for (own, place, free), position in zip(points, positions, strict=True):
        change = np.linalg.pinv(position.linear[0]) @ shift if position.free else free
        moved.append((own, place, (free + change) % 1.0 if position.free else free))
    return moved
