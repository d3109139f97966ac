"""Space groups with their Wyckoff positions, from a table made with spglib (`wyckoff_build`)."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.rng import Rng

GROUPS = range(1, 231)
"""Numbers of the space groups."""
AXES = "xyz"
CENTRING: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "P": ((0, 0, 0),),
    "A": ((0, 0, 0), (0, 1 / 2, 1 / 2)),
    "C": ((0, 0, 0), (1 / 2, 1 / 2, 0)),
    "I": ((0, 0, 0), (1 / 2, 1 / 2, 1 / 2)),
    "F": ((0, 0, 0), (0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2), (1 / 2, 1 / 2, 0)),
    "R": ((0, 0, 0), (2 / 3, 1 / 3, 1 / 3), (1 / 3, 2 / 3, 2 / 3)),
}
"""Lattice points of the conventional cell by letter, fractional."""
PRIMITIVE_CELLS: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "P": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "A": ((1, 0, 0), (0, 1 / 2, -1 / 2), (0, 1 / 2, 1 / 2)),
    "C": ((1 / 2, 1 / 2, 0), (-1 / 2, 1 / 2, 0), (0, 0, 1)),
    "I": ((-1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (1 / 2, 1 / 2, -1 / 2)),
    "F": ((0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2), (1 / 2, 1 / 2, 0)),
    "R": ((2 / 3, 1 / 3, 1 / 3), (-1 / 3, 1 / 3, 1 / 3), (-1 / 3, -2 / 3, 1 / 3)),
}
"""Primitive vectors as rows by letter, in vectors of the conventional cell."""
LATTICE_SHIFTS = np.array(list(itertools.product(range(-3, 4), repeat=3)), dtype=np.float64)
"""Lattice translations by which an image may differ from a point, shape (343, 3)."""
GENERIC_POINT = np.array(
    [0.1357, 0.2719, 0.4231]
)  # free parameters of a point without any symmetry of its own
SAME_POINT = 1e-6  # fractional distance below which two images of a point are one (chosen)
LONGEST_RATIO = 2.0  # of two lengths of a random cell; chosen, as structure searches usually do
ANGLES = (60.0, 120.0)  # degrees, of a random cell where the lattice system leaves them free (chosen)
LEAST_SHAPE = 0.4  # volume of a cell with edges of 1 below which random angles are drawn again (chosen)
MAX_ANGLES = 50  # draws of three angles before 90 degrees are taken (chosen); more than half of them succeed


@dataclass(frozen=True, slots=True)
class LatticeSystem:
    """Free parameters of a conventional cell.

    Attributes:
        lengths: number of the free length that a, b and c have; (0, 0, 1) is tetragonal.
        angles: degrees; None where an angle is free.
    """

    name: str
    lengths: tuple[int, int, int]
    angles: tuple[float | None, float | None, float | None]

    @property
    def free_lengths(self) -> int:
        """Number of free lengths."""
        return max(self.lengths) + 1

    @property
    def free_angles(self) -> int:
        """Number of free angles."""
        return self.angles.count(None)

    def build_cell(self, lengths: Sequence[float], angles: Sequence[float] = ()) -> FloatArray:
        """Build the conventional cell, vectors as rows.

        Args:
            lengths: the free ones, Å.
            angles: the free ones, degrees.
        """
        free = iter(angles)
        degrees = [next(free) if angle is None else angle for angle in self.angles]
        return build_cell([lengths[place] for place in self.lengths], degrees)

    def measure_shape(self, angles: Sequence[float] = ()) -> float:
        """Volume of a conventional cell with edges of length 1; NaN where its free `angles` (degrees) allow none."""
        return float(np.prod(np.diag(self.build_cell([1.0] * self.free_lengths, angles))))

    def read_cell(self, cell: FloatArray) -> tuple[float, ...]:
        """Free lengths (Å) and angles (degrees) of a conventional cell (3, 3), vectors as rows."""
        edges = np.linalg.norm(cell, axis=1)
        lengths = [float(edges[self.lengths.index(number)]) for number in range(self.free_lengths)]
        metric = cell @ cell.T
        angles = [
            float(np.degrees(np.arccos(metric[i, j] / (edges[i] * edges[j]))))
            for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), self.angles, strict=True)
            if angle is None
        ]
        return (*lengths, *angles)


LATTICE_SYSTEMS: Mapping[int, LatticeSystem] = {
    last: LatticeSystem(name, lengths, angles)
    for last, name, lengths, angles in (
        (2, "triclinic", (0, 1, 2), (None, None, None)),
        (15, "monoclinic", (0, 1, 2), (90.0, None, 90.0)),
        (74, "orthorhombic", (0, 1, 2), (90.0, 90.0, 90.0)),
        (142, "tetragonal", (0, 0, 1), (90.0, 90.0, 90.0)),
        (167, "trigonal", (0, 0, 1), (90.0, 90.0, 120.0)),
        (194, "hexagonal", (0, 0, 1), (90.0, 90.0, 120.0)),
        (230, "cubic", (0, 0, 0), (90.0, 90.0, 90.0)),
    )
}
"""Crystal systems by the number of their last space group; trigonal groups have hexagonal axes."""


def find_lattice_system(number: int) -> LatticeSystem:
    """Find the lattice system of a space group by its `number`."""
    return next(system for last, system in LATTICE_SYSTEMS.items() if number <= last)


def build_cell(lengths: Sequence[float], angles: Sequence[float]) -> FloatArray:
    """Build a lower triangular cell, vectors as rows; its volume is NaN where the angles allow none.

    Args:
        lengths: a, b and c, Å.
        angles: alpha, beta and gamma, degrees.
    """
    a, b, c = lengths
    cos_alpha, cos_beta, cos_gamma = np.cos(np.radians(angles)).round(12).tolist()
    sin_gamma = float(np.sqrt(1.0 - cos_gamma**2))
    slant = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    height = 1.0 - cos_beta**2 - slant**2
    top = float(np.sqrt(height)) if height > 0.0 else float("nan")
    return np.array(
        [[a, 0.0, 0.0], [b * cos_gamma, b * sin_gamma, 0.0], [c * cos_beta, c * slant, c * top]],
        dtype=np.float64,
    )


def draw_cell(number: int, volume: float, rng: Rng) -> FloatArray:
    """Draw a random conventional cell of a space group, vectors as rows, Å.

    Args:
        number: of the space group.
        volume: of the conventional cell, Å³.
        rng: the only source of randomness.
    """
    system = find_lattice_system(number)
    lengths = rng.uniform(1.0, LONGEST_RATIO, 3)[: system.free_lengths].tolist()
    for _ in range(MAX_ANGLES):
        angles = rng.uniform(*ANGLES, 3)[: system.free_angles].tolist()
        if system.measure_shape(angles) >= LEAST_SHAPE:
            break
    else:
        angles = [90.0] * system.free_angles
    cell = system.build_cell(lengths, angles)
    scaled: FloatArray = cell * (volume / float(np.linalg.det(cell))) ** (1.0 / 3.0)
    return scaled


@dataclass(frozen=True, eq=False)
class WyckoffPosition:
    """One Wyckoff position of a space group.

    Attributes:
        letter: a for the most special one; A follows z.
        multiplicity: number of images in the conventional cell.
        coordinates: of one representative point in the free parameters, `x,x+1/2,0`.
        linear: shape (m, 3, f), per image in the primitive cell the coefficients of the f free parameters.
        constant: shape (m, 3), fractional coordinates in the primitive cell where all parameters are 0.
    """

    letter: str
    multiplicity: int
    coordinates: str
    linear: FloatArray
    constant: FloatArray

    @property
    def primitive_multiplicity(self) -> int:
        """Number of images in the primitive cell."""
        return len(self.constant)

    @property
    def free(self) -> int:
        """Number of free parameters; a position without any holds at most one atom's images."""
        return int(self.linear.shape[2])

    @property
    def free_axes(self) -> tuple[str, ...]:
        """Names of the free parameters, those of `x`, `y` and `z` in `coordinates`."""
        return tuple(axis for axis in AXES if axis in self.coordinates)

    def place_images(self, parameters: FloatArray) -> FloatArray:
        """Fractional coordinates of the images in the primitive cell.

        Args:
            parameters: shape (..., f).

        Returns:
            Shape (..., m, 3).
        """
        placed: FloatArray = np.einsum("mif,...f->...mi", self.linear, parameters) + self.constant
        return placed


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """A space group in its standard setting.

    The setting is that of the International Tables: unique axis b, hexagonal axes, origin at the inversion centre.

    Attributes:
        rotations: shape (n, 3, 3), in the conventional cell, without centring translations.
        translations: shape (n, 3), fractional.
        positions: by letter, the most special one first.
    """

    number: int
    symbol: str
    hall: int
    rotations: IntArray
    translations: FloatArray
    positions: Mapping[str, WyckoffPosition]

    @property
    def system(self) -> LatticeSystem:
        """Free parameters of the conventional cell."""
        return find_lattice_system(self.number)

    @cached_property
    def primitive(self) -> FloatArray:
        """Primitive vectors as rows, in vectors of the conventional cell, shape (3, 3)."""
        return np.array(PRIMITIVE_CELLS[self.symbol[0]], dtype=np.float64)

    @property
    def centring(self) -> int:
        """Number of lattice points in the conventional cell."""
        return len(CENTRING[self.symbol[0]])

    @property
    def order(self) -> int:
        """Number of operations of the conventional cell, centring translations included."""
        return len(self.rotations) * self.centring


@cache
def _load_table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(
        (files("invdesign.structures") / "wyckoff.json").read_text()
    )
    return table


@cache
def find_space_group(number: int) -> SpaceGroup:
    """Find the space group of a `number` from 1 to 230.

    Raises:
        InvdesignError: there is none.
    """
    if number not in GROUPS:
        raise InvdesignError(f"space groups have numbers from 1 to 230, got {number}")
    entry = _load_table()[str(number)]
    maps = [parse_coordinates(text) for text in entry["operations"]]
    rotations = np.array([rows for rows, _ in maps], dtype=np.int64)
    translations = np.array([offset for _, offset in maps], dtype=np.float64)
    to_primitive = np.linalg.inv(np.array(PRIMITIVE_CELLS[entry["symbol"][0]])).T
    positions = {
        letter: _make_position(letter, multiplicity, text, (rotations, translations), to_primitive)
        for letter, (multiplicity, text) in entry["sites"].items()
    }
    return SpaceGroup(number, entry["symbol"], entry["hall"], rotations, translations, positions)


def parse_coordinates(text: str) -> tuple[IntArray, FloatArray]:
    """Parse an affine map such as `x+1/2,-y,2x+z`.

    Returns:
        (coefficients of x, y and z per coordinate (3, 3), offset (3,)).
    """
    rows, offset = np.zeros((3, 3), dtype=np.int64), np.zeros(3)
    for place, coordinate in enumerate(text.split(",")):
        for sign, size, axis in re.findall(r"([+-]?)([\d/]*)([xyz]?)", coordinate):
            if not size and not axis:
                continue
            value = Fraction(size or 1) * (-1 if sign == "-" else 1)
            if axis:
                rows[place, AXES.index(axis)] += int(value)
            else:
                offset[place] += float(value)
    return rows, offset


def _make_position(
    letter: str,
    multiplicity: int,
    coordinates: str,
    operations: tuple[IntArray, FloatArray],
    to_primitive: FloatArray,
) -> WyckoffPosition:
    """Make a Wyckoff position with the maps of its images in the primitive cell."""
    rotations, translations = operations
    rows, offset = parse_coordinates(coordinates)
    directions = rows[:, rows.any(axis=0)]
    linear = to_primitive @ rotations @ directions
    constant = (rotations @ offset + translations) @ to_primitive.T
    sample = linear @ GENERIC_POINT[: directions.shape[1]] + constant
    apart = sample[:, None] - sample[None]
    same = np.abs(apart - np.round(apart)).max(axis=2) < SAME_POINT
    kept = [row for row in range(len(sample)) if not same[row, :row].any()]
    return WyckoffPosition(letter, multiplicity, coordinates, linear[kept], constant[kept])


def fit_parameters(
    position: WyckoffPosition, point: FloatArray, cell: FloatArray
) -> tuple[FloatArray, float]:
    """Fit the free parameters of a position to a point near one of its images.

    Args:
        position: Wyckoff position.
        point: fractional coordinates in the primitive cell.
        cell: the primitive cell, vectors as rows, Å; it measures distances.

    Returns:
        (free parameters (f,) within [0, 1), distance of the point from the nearest image, Å).
    """
    linear = position.linear.transpose(0, 2, 1) @ cell  # shape (m, f, 3)
    wanted = (point - position.constant)[:, None, :] + LATTICE_SHIFTS  # shape (m, t, 3), fractional
    wanted = wanted @ cell
    fitted = wanted @ np.linalg.pinv(linear)
    missed = ((fitted @ linear - wanted) ** 2).sum(axis=2)
    image, shift = np.unravel_index(int(missed.argmin()), missed.shape)
    return fitted[image, shift] % 1.0, float(np.sqrt(missed[image, shift]))


@cache
def list_equivalent_settings(number: int) -> tuple[tuple[IntArray, FloatArray], ...]:
    """List changes of axes and origin that map a space group onto itself, the identity first.

    They exchange letters of its positions: the two kinds of atoms of rock salt are `a` and `b`, or `b` and `a`. Of changes that
    differ by an operation of the group one is listed; sheared axes of monoclinic and triclinic groups are left out.

    Args:
        number: of the space group.

    Returns:
        (axes (3, 3), origin (3,)) of each: coordinates x become axes @ x + origin.
    """
    group = find_space_group(number)
    if len(group.positions) == 1:
        return ((np.eye(3, dtype=np.int64), np.zeros(3)),)
    hexagonal = group.system.angles[2] == 120.0
    changes = find_space_group(191 if hexagonal else 221).rotations
    return find_equivalent_settings(number, sorted(changes, key=lambda axes: int(-np.trace(axes))))


def find_equivalent_settings(
    number: int, changes: Sequence[IntArray]
) -> tuple[tuple[IntArray, FloatArray], ...]:
    """Find the changes of axes that map a space group onto itself, each with its origins.

    Args:
        number: of the space group.
        changes: integer matrices (3, 3) with a determinant of 1 or -1; of two that differ by an operation of the group the first is
            kept.

    Returns:
        (axes (3, 3), origin (3,)) of each: coordinates x become axes @ x + origin.
    """
    group = find_space_group(number)
    hexagonal = group.system.angles[2] == 120.0
    steps = (
        ((0.0, 1 / 3, 2 / 3), (0.0, 1 / 3, 2 / 3), (0.0, 0.5)) if hexagonal else ((0.0, 0.25, 0.5, 0.75),) * 3
    )
    origins = np.array(list(itertools.product(*steps)))
    own = {rotation.tobytes(): place for place, rotation in enumerate(group.rotations)}
    to_primitive = np.linalg.inv(group.primitive)
    found: list[tuple[IntArray, FloatArray]] = []
    seen: set[object] = set()
    for axes in changes:
        # Axes may map the rotations onto themselves and still leave the lattice: a and c of a cell centred on C.
        kept = group.primitive @ axes.T @ to_primitive
        if np.abs(kept - np.round(kept)).max() > SAME_POINT:
            continue
        inverse = np.round(np.linalg.inv(axes)).astype(np.int64)
        turned = [np.ascontiguousarray(axes @ rotation @ inverse).tobytes() for rotation in group.rotations]
        if any(key not in own for key in turned):
            continue
        places = [own[key] for key in turned]
        rotations, wanted = group.rotations[places], group.translations[places]
        moved = (
            (group.translations @ axes.T)[None]
            + origins[:, None]
            - np.einsum("nij,wj->wni", rotations, origins)
        )
        apart = (moved - wanted) @ to_primitive
        for origin in origins[np.abs(apart - np.round(apart)).max(axis=(1, 2)) < SAME_POINT]:
            images = (group.rotations @ origin + group.translations) @ to_primitive
            keys = [
                (rotation.tobytes(), tuple(np.round(image * 48.0).astype(int) % 48))
                for rotation, image in zip(group.rotations @ axes, images, strict=True)
            ]
            if seen.isdisjoint(keys):
                found.append((axes, origin))
            seen.update(keys)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Relabelling:
    """An exchange of letters by another setting of a space group.

    Attributes:
        letters: new letter by old one.
        axes, origin: coordinates x become axes @ x + origin, shapes (3, 3) and (3,).
    """

    letters: Mapping[str, str]
    axes: IntArray
    origin: FloatArray


@cache
def list_relabellings(number: int) -> tuple[Relabelling, ...]:
    """List the exchanges of letters by equivalent settings of a space group, the identity first.

    Args:
        number: of the space group.
    """
    found: dict[tuple[str, ...], Relabelling] = {}
    for axes, origin in list_equivalent_settings(number):
        letters = map_letters(number, axes, origin)
        found.setdefault(tuple(letters.values()), Relabelling(letters, axes, origin))
    return tuple(found.values())


def map_letters(number: int, axes: IntArray, origin: FloatArray, target: int | None = None) -> dict[str, str]:
    """Map the letters of positions to those that they have after a change of setting.

    Args:
        number: of the space group.
        axes, origin: coordinates x become axes @ x + origin.
        target: number of the space group afterwards, where it is a mirror image.
    """
    group = find_space_group(number)
    image = group if target is None else find_space_group(target)
    to_primitive = np.linalg.inv(image.primitive)
    letters = {}
    for letter, position in group.positions.items():
        rows, offset = parse_coordinates(position.coordinates)
        point = (axes @ (rows @ GENERIC_POINT + offset) + origin) @ to_primitive % 1.0
        letters[letter] = _find_letter(point, position, image)
    return letters


def _find_letter(point: FloatArray, like: WyckoffPosition, group: SpaceGroup) -> str:
    """Find the letter of a point in the primitive cell among positions of the same multiplicity and freedom."""
    alike = [
        position
        for position in group.positions.values()
        if (position.multiplicity, position.free) == (like.multiplicity, like.free)
    ]
    if len(alike) == 1:
        return alike[0].letter
    return next(found.letter for found in alike if fit_parameters(found, point, np.eye(3))[1] < SAME_POINT)
