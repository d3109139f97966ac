"""Construction of the table of Wyckoff positions from the space group operations of spglib.

`python -m invdesign.structures.wyckoff_build` writes `wyckoff.json` anew; nothing else needs this module.

A Wyckoff position consists of the points, lines, planes or the space that the operations map onto each other. They are found
as the fixed spaces of single operations and the points where two axes meet: every site symmetry without a rotoinversion point
and with one fixed point contains two axes. spglib then names the letter of one crystal per position.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.symmetry import call_spglib
from invdesign.structures.wyckoff import AXES, CENTRING, GROUPS, LATTICE_SHIFTS, draw_cell

DENOMINATOR = 48  # of all coordinates of fixed points; spglib's translations are multiples of 1/24
PRECISION = 1e-6  # of fractional coordinates
VECTORS = sorted(
    (v for v in itertools.product(range(-2, 3), repeat=3) if any(v)),
    key=lambda v: (sum(map(abs, v)), sum(n < 0 for n in v), [-n for n in v]),
)
"""Small integer vectors, simple ones first: directions of axes and planes."""

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FixedSpace:
    """A point, line or plane, or all space; repeated by the lattice.

    Attributes:
        directions: its directions as rows, shape (d, 3).
        normals: the directions that vanish on it, shape (3 - d, 3); with `directions` they determine it.
        offset: fractional coordinates of one of its points.
    """

    directions: Rows
    normals: Rows
    offset: tuple[float, ...]

    @property
    def key(self) -> tuple[Rows, tuple[int, ...]]:
        """Identity of the space, the same for all lattice translations of it."""
        levels = np.array(self.normals).reshape(-1, 3) @ np.array(self.offset)
        return self.normals, tuple(np.round((levels % 1.0) * DENOMINATOR).astype(int) % DENOMINATOR)

    def pick_point(self) -> FloatArray:
        """Pick a point in general position."""
        free = np.array([0.1357, 0.2719, 0.4231])[: len(self.directions)]
        directions = np.array(self.directions, dtype=np.float64).reshape(-1, 3)
        point: FloatArray = np.array(self.offset) + free @ directions
        return point


@cache
def find_integer_kernel(rows: Rows) -> Rows:
    """Find the simplest basis of all integer vectors that `rows` map to zero."""
    matrix = np.array(rows).reshape(-1, 3)
    kernel = [v for v in VECTORS if not (matrix @ v).any()]
    size = 3 - int(np.linalg.matrix_rank(matrix)) if len(matrix) else 3
    if size in (0, 3):
        return ((1, 0, 0), (0, 1, 0), (0, 0, 1)) if size else ()
    if size == 1:
        return (kernel[0],)
    pairs = (pair for pair in itertools.combinations(kernel, 2) if math.gcd(*np.cross(*pair).tolist()) == 1)
    return tuple(sorted(next(pairs), key=lambda v: next(axis for axis in range(3) if v[axis])))


def make_space(matrix: IntArray, offset: FloatArray) -> FixedSpace:
    """Make the space through `offset` whose directions the integer `matrix` (n, 3) maps to zero."""
    directions = find_integer_kernel(tuple(map(tuple, matrix.tolist())))
    point = np.array(offset, dtype=float)
    for direction in directions:
        pivot = next(axis for axis in range(3) if direction[axis])
        point = point - point[pivot] / direction[pivot] * np.array(direction)
    point = np.round(point * DENOMINATOR) / DENOMINATOR % 1.0
    return FixedSpace(directions, find_integer_kernel(directions), tuple(point.tolist()))


def solve_shifted(matrix: IntArray, levels: FloatArray) -> Iterator[FloatArray]:
    """Iterate over the solutions x of matrix x = levels, one per row of `levels`, that exist."""
    inverse = np.linalg.pinv(matrix)
    points = levels @ inverse.T
    for point, level in zip(points, levels, strict=True):
        if np.abs(matrix @ point - level).max() < PRECISION:
            yield point


def list_fixed_spaces(rotations: IntArray, translations: FloatArray) -> list[FixedSpace]:
    """List the fixed spaces of all operations and their lattice translations, and the meeting points of axes."""
    unit = np.eye(3, dtype=int)
    found: dict[object, FixedSpace] = {}
    for rotation, translation in zip(rotations, translations, strict=True):
        matrix = rotation - unit
        for point in solve_shifted(matrix, LATTICE_SHIFTS - translation):
            space = make_space(matrix, point)
            found.setdefault(space.key, space)
    axes = [space for space in found.values() if len(space.directions) == 1]
    for first, second in itertools.combinations(axes, 2):
        if first.directions == second.directions:
            continue
        matrix = np.array(first.normals + second.normals)
        levels = np.concatenate(
            [np.array(space.normals) @ np.array(space.offset) for space in (first, second)]
        )
        shifts = np.zeros((len(LATTICE_SHIFTS), 4))
        shifts[:, 2:] = LATTICE_SHIFTS[
            :, :2
        ]  # the lattice moves both axes: shifts of the first add no points
        for point in solve_shifted(matrix, levels + shifts):
            space = make_space(unit, point)
            found.setdefault(space.key, space)
    return list(found.values())


def move_space(space: FixedSpace, rotation: IntArray, translation: FloatArray) -> FixedSpace:
    """Map a space by an operation."""
    directions = np.array(space.directions, dtype=int).reshape(-1, 3) @ rotation.T
    matrix = np.array(find_integer_kernel(tuple(map(tuple, directions.tolist())))).reshape(-1, 3)
    return make_space(matrix, rotation @ np.array(space.offset) + translation)


def rate_simplicity(space: FixedSpace) -> tuple[object, ...]:
    """Sort key that puts the space with the simplest coordinates first."""
    numbers = [n for direction in space.directions for n in direction]
    return (
        sum(map(abs, numbers)),
        sum(n < 0 for n in numbers),
        sum(v > 0 for v in space.offset),
        space.offset,
        [-n for n in numbers],
    )


def count_images(point: FloatArray, rotations: IntArray, translations: FloatArray) -> int:
    """Count the images of a `point` in the conventional cell."""
    images = np.einsum("nij,j->ni", rotations, point) + translations
    apart = images - point
    fixed = (np.abs(apart - np.round(apart)).max(axis=1) < PRECISION).sum()
    return len(rotations) // int(fixed)


def name_letter(
    sample: FixedSpace,
    hall: int,
    cell: FloatArray,
    operations: tuple[IntArray, FloatArray],
) -> tuple[str, FloatArray]:
    """Name the letter of a Wyckoff position with spglib.

    Returns:
        (letter, point that has it): spglib may move the origin by a translation that maps the group onto itself, so the
        letter belongs to the moved point.
    """
    rotations, translations = operations
    general = [np.array([0.0723, 0.1871, 0.3391]), np.array([0.4417, 0.0619, 0.2903])]
    points, numbers = [], []
    for number, point in enumerate([sample.pick_point(), *general], start=1):
        images = (np.einsum("nij,j->ni", rotations, point) + translations) % 1.0
        apart = images[:, None] - images[None]
        same = np.abs(apart - np.round(apart)).max(axis=2) < PRECISION
        kept = images[[not same[row, :row].any() for row in range(len(images))]]
        points.append(kept)
        numbers += [number] * len(kept)
    dataset = call_spglib(
        "get_symmetry_dataset", (cell, np.concatenate(points), numbers), symprec=1e-4, hall_number=hall
    )
    moved = dataset.transformation_matrix @ sample.pick_point() + dataset.origin_shift
    return dataset.wyckoffs[0], moved


def find_type(
    point: FloatArray, operations: tuple[IntArray, FloatArray], types: Sequence[set[object]]
) -> int:
    """Find the Wyckoff position among `types` that a `point` belongs to."""
    rotations, translations = operations
    fixing = [np.zeros((1, 3), dtype=int)]
    for rotation, translation in zip(rotations, translations, strict=True):
        apart = rotation @ point + translation - point
        if np.abs(apart - np.round(apart)).max() < PRECISION:
            fixing.append(rotation - np.eye(3, dtype=int))
    space = make_space(np.concatenate(fixing), np.asarray(point))
    normals = np.array(space.normals).reshape(-1, 3)
    levels = np.round((normals @ point % 1.0) * DENOMINATOR).astype(int) % DENOMINATOR
    key = space.normals, tuple(levels)
    return next(number for number, keys in enumerate(types) if key in keys)


def write_coordinates(rows: IntArray, offset: FloatArray) -> str:
    """Write an affine map as text, `x+1/2,-y,z`.

    Args:
        rows: shape (3, 3), coefficients of x, y and z per coordinate.
        offset: shape (3,).
    """
    terms = []
    for row, constant in zip(rows, offset, strict=True):
        text = "".join(
            f"{'+' if n > 0 else '-'}{abs(n) if abs(n) > 1 else ''}{axis}"
            for n, axis in zip(row.tolist(), AXES, strict=True)
            if n
        )
        fraction = Fraction(float(constant) % 1.0).limit_denominator(DENOMINATOR)
        text += f"+{fraction}" if fraction % 1 else ""
        terms.append(text.removeprefix("+") or "0")
    return ",".join(terms)


def write_space(space: FixedSpace) -> str:
    """Write the points of a space with free parameters x, y, z, named by the coordinate that they stand for."""
    rows = np.zeros((3, 3), dtype=int)
    for direction in space.directions:
        rows[:, next(axis for axis in range(3) if direction[axis])] = direction
    return write_coordinates(rows, np.array(space.offset))


def choose_setting(number: int) -> tuple[int, str]:
    """(hall number, symbol) of a group: unique axis b, hexagonal axes, origin at the inversion centre."""
    kinds = {hall: call_spglib("get_spacegroup_type", hall) for hall in range(1, 531)}
    own = [hall for hall, kind in kinds.items() if kind.number == number]
    hall = next((hall for hall in own if kinds[hall].choice == "2"), own[0])
    return hall, kinds[hall].international_short


def build_group(number: int) -> dict[str, object]:
    """Build the entry of one space group.

    Raises:
        InvdesignError: positions and letters do not match one to one.
    """
    hall, symbol = choose_setting(number)
    known = call_spglib("get_symmetry_from_database", hall)
    operations = known["rotations"].astype(int), known["translations"].astype(float)
    cell = draw_cell(number, 400.0, np.random.default_rng(number))
    types: list[set[object]] = []
    samples: list[FixedSpace] = []
    whole = make_space(np.zeros((1, 3), dtype=int), np.zeros(3))
    for space in [whole, *list_fixed_spaces(*operations)]:
        if any(space.key in keys for keys in types):
            continue
        images = [move_space(space, *operation) for operation in zip(*operations, strict=True)]
        types.append({image.key for image in images})
        samples.append(min(images, key=rate_simplicity))
    sites = {}
    for sample in samples:
        letter, point = name_letter(sample, hall, cell, operations)
        meant = samples[find_type(point, operations, types)]
        sites[letter] = [count_images(meant.pick_point(), *operations), write_space(meant)]
    if len(sites) != len(samples):
        raise InvdesignError(f"space group {number} has {len(samples)} positions and {len(sites)} letters")
    kept = len(operations[0]) // len(CENTRING[symbol[0]])
    return {
        "symbol": symbol,
        "hall": hall,
        "operations": [
            write_coordinates(*operation) for operation in _drop_centring(operations, symbol[0], kept)
        ],
        "sites": dict(sorted(sites.items(), key=lambda item: (item[0].isupper(), item[0]))),
    }


def _drop_centring(
    operations: tuple[IntArray, FloatArray], centring: str, kept: int
) -> list[tuple[IntArray, FloatArray]]:
    """Keep one operation of those that differ by a centring translation."""
    found: dict[bytes, tuple[IntArray, FloatArray]] = {}
    for rotation, translation in zip(*operations, strict=True):
        found.setdefault(rotation.tobytes(), (rotation, translation))
    if len(found) != kept:
        raise InvdesignError(f"{len(found)} rotations with centring {centring}, expected {kept}")
    return list(found.values())


def write_table(path: Path) -> None:
    """Write the table of all groups to `path`, a line per group."""
    lines = [f'"{number}": {json.dumps(build_group(number), separators=(",", ":"))}' for number in GROUPS]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_table(Path(__file__).with_name("wyckoff.json"))
