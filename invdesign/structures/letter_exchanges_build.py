"""Builds `letter_exchanges.json`: exchanges of Wyckoff letters by changes of setting, for every space group.

Run it with `python -m invdesign.structures.letter_exchanges_build`; it takes a quarter of a minute.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from invdesign.arrays import IntArray
from invdesign.structures.framework_labels import MIRROR_GROUPS, Letters
from invdesign.structures.wyckoff import (
    GROUPS,
    SAME_POINT,
    find_equivalent_settings,
    find_space_group,
    list_relabellings,
    map_letters,
)

LAST_OBLIQUE = 15  # last space group whose axes may be sheared: triclinic and monoclinic ones


def derive_letter_exchanges(number: int) -> tuple[Mapping[str, str], ...]:
    """Derive the exchanges of `list_letter_exchanges` from the operations of a space group.

    Args:
        number: of the space group.

    Returns:
        New letter by old one; for the lower of two mirror images, and every group that is its own, the identity is one.
    """
    lower = MIRROR_GROUPS.get(number, number)
    letters = tuple(find_space_group(lower).positions)
    steps = _list_sheared(lower) if lower <= LAST_OBLIQUE else _list_upright(lower)
    closed = _close_group(letters, steps)
    if lower != number:
        mirror = _mirror_letters(number, lower)
        return tuple({old: new[mirror[old]] for old in letters} for new in closed)
    return tuple(closed)


def _list_upright(number: int) -> set[Letters]:
    """Exchanges of letters by axes that keep their lengths, as tuples in the order of the positions."""
    return {tuple(found.letters.values()) for found in list_relabellings(number)}


def _close_group(letters: Letters, steps: set[Letters]) -> list[dict[str, str]]:
    """List all products of exchanges."""
    place = {letter: k for k, letter in enumerate(letters)}
    found, edge = {letters}, [letters]
    while edge:
        new = {tuple(step[place[letter]] for letter in row) for row in edge for step in steps} - found
        found |= new
        edge = list(new)
    return [dict(zip(letters, row, strict=True)) for row in sorted(found)]


def _list_sheared(number: int) -> set[Letters]:
    """Exchanges of letters of a triclinic or monoclinic group by sheared axes and shifted origins."""
    positions = find_space_group(number).positions
    if len(positions) == 1:
        return {tuple(positions)}
    settings = find_equivalent_settings(number, _list_shears(triclinic=number == 2))
    return {tuple(map_letters(number, axes, origin).values()) for axes, origin in settings}


def _list_shears(*, triclinic: bool) -> list[IntArray]:
    """List changes of axes of determinant 1 or -1; those of monoclinic groups keep the axis b."""
    if triclinic:  # elementary matrices and exchanges of axes generate all of them
        eye = np.eye(3, dtype=np.int64)
        sheared = eye.copy()
        sheared[0, 1] = 1
        return [sheared, *(eye[list(order)] for order in itertools.permutations(range(3)))]
    # Letters follow from axes modulo 2. These rows stand for every class, and shears by 2 generate the class of the identity.
    rows = [
        row for row in itertools.product((-1, 0, 1), repeat=4) if abs(row[0] * row[3] - row[1] * row[2]) == 1
    ]
    rows += [(1, 2, 0, 1), (1, 0, 2, 1)]
    return [np.array([[a, 0, b], [0, 1, 0], [c, 0, d]], dtype=np.int64) for a, b, c, d in rows]


def _mirror_letters(number: int, lower: int) -> Mapping[str, str]:
    """Letter of the mirror image of each position."""
    group, image = find_space_group(number), find_space_group(lower)
    flip = -np.eye(3, dtype=np.int64)
    to_primitive = np.linalg.inv(image.primitive)
    turned = {rotation.tobytes(): place for place, rotation in enumerate(image.rotations)}
    places = [turned[np.ascontiguousarray(rotation).tobytes()] for rotation in group.rotations]
    # Inversion at a point maps the translations t to 2 p - R 2 p - t; 2 p lies on the screw axis, in steps of the table.
    steps = np.arange(24) / 24
    for height in steps:
        shift = np.array([0.0, 0.0, height])
        moved = -group.translations + shift - group.rotations @ shift
        apart = (moved - image.translations[places]) @ to_primitive
        if np.abs(apart - np.round(apart)).max() < SAME_POINT:
            return map_letters(number, flip, shift, lower)
    raise AssertionError(f"space groups {number} and {lower} are no mirror images")


def write_table(path: Path) -> None:
    """Write the table of all groups to `path`, a line per group: its letters, then their exchanges."""
    lines = []
    for number in GROUPS:
        found = derive_letter_exchanges(number)
        rows = ["".join(find_space_group(number).positions), *("".join(row.values()) for row in found)]
        lines.append(f'"{number}": {json.dumps(rows, separators=(",", ":"))}')
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_table(Path(__file__).with_name("letter_exchanges.json"))
