"""Labels of frameworks: space group and occupied Wyckoff letters, with anonymous elements, in one canonical setting."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.symmetry import symmetry_dataset
from invdesign.structures.wyckoff import (
    WyckoffPosition,
    find_space_group,
    fit_parameters,
    list_relabellings,
    parse_coordinates,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

LABEL_SYMPREC = 0.1  # Å; the tolerance of the Materials Project's space groups
MIRROR_GROUPS: Mapping[int, int] = MappingProxyType(
    {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212}
)
"""Number of the mirror image of a space group with a screw axis of one hand, ITA chapter 1.4."""
LAST_OBLIQUE = 15  # last space group whose axes may be sheared: triclinic and monoclinic ones
SAME_SPOT = 1e-6  # fractional distance of equal points, as in `wyckoff`
GENERIC = np.array([0.1357, 0.2719, 0.4231])  # free parameters without any symmetry of their own
Letters = tuple[str, ...]


def framework_label(structure: Structure, symprec: float = LABEL_SYMPREC) -> str:
    """Label of the framework of a crystal.

    Two crystals have one label if their atoms occupy the same Wyckoff positions of the same space group, up to the names of the
    elements, the setting of the group, the cell, and a mirror image. Free coordinates and the shape of the cell do not count.

    Args:
        structure: ordered crystal.
        symprec: tolerance of spglib, Å.

    Returns:
        Number of the space group and the letters of each element: `225:a|b` is rock salt.

    Raises:
        InvdesignError: spglib finds no symmetry, or a site is partly occupied.
    """
    number, letters = read_orbits(structure, symprec)
    return label_orbits(number, letters.values())


def read_orbits(structure: Structure, symprec: float = LABEL_SYMPREC) -> tuple[int, dict[str, str]]:
    """Read space group and occupied Wyckoff letters of a crystal, as spglib sets them.

    Args:
        structure: ordered crystal.
        symprec: tolerance of spglib, Å.

    Returns:
        (number of the space group, letters of the orbits by element, sorted: {"Mg": "d", "O": "e", "Al": "a"}).

    Raises:
        InvdesignError: spglib finds no symmetry, or a site is partly occupied.
    """
    if not structure.is_ordered:
        raise InvdesignError(
            "a framework needs one element on each site; the structure has partly occupied ones"
        )
    names = [str(site.specie.symbol) for site in structure]
    codes = {name: code for code, name in enumerate(dict.fromkeys(names), 1)}
    dataset = symmetry_dataset(
        np.asarray(structure.lattice.matrix),
        np.asarray(structure.frac_coords),
        [codes[n] for n in names],
        symprec,
    )
    # Sites of one orbit of the primitive cell share a number here even if the given cell breaks the symmetry.
    first = np.unique(dataset.crystallographic_orbits)
    found: dict[str, str] = {}
    for site in first.tolist():
        found[names[site]] = found.get(names[site], "") + dataset.wyckoffs[site]
    return int(dataset.number), {name: "".join(sorted(letters)) for name, letters in found.items()}


def label_orbits(number: int, letters: Iterable[str]) -> str:
    """Label of the framework of occupied Wyckoff positions.

    Args:
        number: of the space group.
        letters: one text per element, a letter for each of its orbits: ("a", "d", "e").

    Returns:
        The label, as in `framework_label`.
    """
    return _label_sorted(number, tuple(sorted("".join(sorted(own)) for own in letters)))


@lru_cache(maxsize=50_000)
def _label_sorted(number: int, elements: Letters) -> str:
    """Smallest writing of the letters in all settings of the group."""
    occupied = "".join(sorted(set("".join(elements))))
    exchanges = {tuple(exchange[letter] for letter in occupied) for exchange in list_letter_exchanges(number)}
    best = min(_exchange(elements, dict(zip(occupied, new, strict=True))) for new in exchanges)
    return f"{MIRROR_GROUPS.get(number, number)}:{'|'.join(map(_write_letters, best))}"


def _exchange(elements: Letters, letters: Mapping[str, str]) -> Letters:
    """Exchange letters; sort those of each element, and the elements."""
    return tuple(sorted("".join(sorted(letters[letter] for letter in own)) for own in elements))


def _write_letters(letters: str) -> str:
    """Write sorted letters with their numbers: `aacc` is `a2c2`, `ab` is `ab`."""
    return "".join(f"{letter}{n if n > 1 else ''}" for letter, n in sorted(Counter(letters).items()))


@cache
def list_letter_exchanges(number: int) -> tuple[Mapping[str, str], ...]:
    """List all exchanges of Wyckoff letters by changes of setting.

    Those of the affine normaliser of the group: with sheared axes where the lattice system allows them. A group that has a
    mirror image of another number is given letters of the lower number.

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
    group = find_space_group(number)
    if len(group.positions) == 1:
        return {tuple(group.positions)}
    own = {rotation.tobytes(): place for place, rotation in enumerate(group.rotations)}
    to_primitive = np.linalg.inv(group.primitive)
    origins = np.array(list(itertools.product((0.0, 0.25, 0.5, 0.75), repeat=3)))
    found = set()
    for axes in _list_shears(triclinic=number == 2):
        if not _is_whole(group.primitive @ axes.T @ to_primitive):
            continue
        inverse = np.round(np.linalg.inv(axes)).astype(np.int64)
        turned = [np.ascontiguousarray(axes @ rotation @ inverse).tobytes() for rotation in group.rotations]
        if any(key not in own for key in turned):
            continue
        places = [own[key] for key in turned]
        rotations, wanted = group.rotations[places], group.translations[places]
        shifts = origins[:, None] - np.einsum("nij,wj->wni", rotations, origins)
        apart = ((group.translations @ axes.T)[None] + shifts - wanted) @ to_primitive
        for origin in origins[np.abs(apart - np.round(apart)).max(axis=(1, 2)) < SAME_SPOT]:
            found.add(_map_letters(number, number, axes, origin))
    return found


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


def _is_whole(rows: FloatArray) -> bool:
    """True if all entries are integers."""
    return bool(np.abs(rows - np.round(rows)).max() < SAME_SPOT)


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
        if np.abs(apart - np.round(apart)).max() < SAME_SPOT:
            return dict(zip(group.positions, _map_letters(number, lower, flip, shift), strict=True))
    raise AssertionError(f"space groups {number} and {lower} are no mirror images")


def _map_letters(number: int, target: int, axes: IntArray, origin: FloatArray) -> Letters:
    """Letters of the target group at the images of all positions, coordinates x becoming axes @ x + origin."""
    group, image = find_space_group(number), find_space_group(target)
    to_primitive = np.linalg.inv(image.primitive)
    return tuple(
        _find_letter((axes @ _place_point(position) + origin) @ to_primitive, position, target)
        for position in group.positions.values()
    )


def _place_point(position: WyckoffPosition) -> FloatArray:
    """Place a generic point of a position, fractional in the conventional cell."""
    rows, offset = parse_coordinates(position.coordinates)
    point: FloatArray = rows @ GENERIC + offset
    return point


def _find_letter(point: FloatArray, like: WyckoffPosition, number: int) -> str:
    """Find the letter of a point in the primitive cell among positions of the same multiplicity and freedom."""
    alike = [
        position
        for position in find_space_group(number).positions.values()
        if (position.multiplicity, position.free) == (like.multiplicity, like.free)
    ]
    if len(alike) == 1:
        return alike[0].letter
    return next(found.letter for found in alike if fit_parameters(found, point, np.eye(3))[1] < SAME_SPOT)
