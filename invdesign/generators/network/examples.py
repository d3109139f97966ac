"""Crystals as arrays that a network learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.generators.network.canonical import Written
from invdesign.generators.network.chemistry import measure_volumes
from invdesign.generators.network.positions import list_letters, load_positions
from invdesign.structures.wyckoff import find_lattice_system, find_space_group

MOST_ORBITS = 20  # of a crystal that is learnt from (chosen): 98 of 100 crystals up to 20 atoms have fewer
MOST_ELEMENTS = 8
MOST_COUNT = 48  # atoms of one element in a formula unit
MOST_UNITS = 24  # formula units in a primitive cell
CELL_NUMBERS = 6  # log volume, two log ratios, three angles
ANGLE_SCALE = 30.0  # degrees, of an angle's distance from 90 in a cell's numbers
MAIN, EXTRA = 0, 1  # domains of crystals: those to imitate, and further ones to learn from


@dataclass(frozen=True, eq=False)
class Example:
    """One crystal.

    Attributes:
        group: number of the space group.
        elements: places of its elements in the order of placement, shape (k,), ascending.
        counts: atoms of each in the reduced formula, shape (k,).
        units: formula units in the primitive cell.
        species: per orbit the place among `elements`, shape (o,), ascending.
        letters: per orbit the place of its letter in the group, shape (o,).
        free: free coordinates per orbit, NaN where there is none, shape (o, 3).
        cell: numbers of the cell, NaN where they are fixed, shape (6,).
        domain: MAIN or EXTRA.
        targets: properties by name, where known.
        real: False for relatives of crystals, whose compositions are not imitated.
    """

    group: int
    elements: IntArray
    counts: IntArray
    units: int
    species: IntArray
    letters: IntArray
    free: FloatArray
    cell: FloatArray
    domain: int = MAIN
    targets: Mapping[str, float] = field(default_factory=dict)
    real: bool = True


def make_example(
    written: Written,
    order: Sequence[str],
    volumes: Mapping[str, float],
    domain: int = MAIN,
    targets: Mapping[str, float] | None = None,
) -> Example:
    """Make the arrays of a crystal.

    Args:
        written: crystal in its chosen setting.
        order: elements in the order of placement.
        volumes: fitted volumes of atoms by element, Å³.
        domain: MAIN or EXTRA.
        targets: properties by name.
    """
    letters = list_letters(written.group)
    positions = find_space_group(written.group).positions
    names = sorted({name for name, _ in written.sites}, key=order.index)
    atoms = dict.fromkeys(names, 0)
    for name, letter in written.sites:
        atoms[name] += positions[letter].primitive_multiplicity
    units = math.gcd(*atoms.values())
    free = np.full((len(written.sites), 3), np.nan)
    for row, own in enumerate(written.coordinates):
        free[row, : len(own)] = own
    return Example(
        group=written.group,
        elements=np.array([order.index(name) for name in names]),
        counts=np.array([atoms[name] // units for name in names]),
        units=units,
        species=np.array([names.index(name) for name, _ in written.sites]),
        letters=np.array([letters.index(letter) for _, letter in written.sites]),
        free=free,
        cell=write_cell(written.group, written.cell, measure_volumes(atoms, volumes)),
        domain=domain,
        targets=dict(targets or {}),
    )


def is_learnable(example: Example) -> bool:
    """True if a crystal is within the sizes that a network takes."""
    return (
        len(example.species) <= MOST_ORBITS
        and len(example.elements) <= MOST_ELEMENTS
        and int(example.counts.max()) <= MOST_COUNT
        and example.units <= MOST_UNITS
    )


def find_cell_freedom(group: int) -> BoolArray:
    """True for the numbers of a cell that a group leaves free, shape (6,)."""
    system = find_lattice_system(group)
    _, second, third = system.lengths
    lengths = [True, second != 0, third not in (0, second)]
    return np.array([*lengths, *(angle is None for angle in system.angles)])


def write_cell(group: int, cell: Sequence[float], atoms: float) -> FloatArray:
    """Write the free numbers of a conventional cell as numbers of the size of 1, shape (6,).

    Args:
        group: number of the space group.
        cell: free lengths (Å) and angles (degrees).
        atoms: sum of the atomic volumes in the primitive cell, Å³.
    """
    system = find_lattice_system(group)
    lengths = [cell[place] for place in system.lengths]
    given = iter(cell[system.free_lengths :])
    angles = [next(given) if angle is None else angle for angle in system.angles]
    conventional = system.build_cell(cell[: system.free_lengths], cell[system.free_lengths :])
    centring = find_space_group(group).centring
    volume = float(np.linalg.det(conventional)) / centring
    numbers = [math.log(volume / atoms), math.log(lengths[1] / lengths[0]), math.log(lengths[2] / lengths[0])]
    numbers += [(angle - 90.0) / ANGLE_SCALE for angle in angles]
    return np.where(find_cell_freedom(group), numbers, np.nan)


def read_cell(group: int, numbers: FloatArray, atoms: float) -> tuple[float, ...]:
    """Free lengths (Å) and angles (degrees) from the numbers of `write_cell`; NaN where no cell has them."""
    system = find_lattice_system(group)
    ratios = [1.0, math.exp(numbers[1]), math.exp(numbers[2])]
    shape = [ratios[system.lengths.index(number)] for number in range(system.free_lengths)]
    given = ANGLE_SCALE * np.asarray(numbers[3:]) + 90.0
    angles = [float(value) for value, fixed in zip(given, system.angles, strict=True) if fixed is None]
    unit = float(np.prod(np.diag(system.build_cell(shape, angles))))
    centring = find_space_group(group).centring
    scale = (atoms * math.exp(numbers[0]) * centring / unit) ** (1.0 / 3.0) if unit > 0.0 else math.nan
    return (*(float(length * scale) for length in shape), *angles)


@dataclass(frozen=True, eq=False)
class Batch:
    """Crystals as padded arrays; k elements, o orbits and d properties at most.

    Attributes:
        group, units, domain: shape (b,).
        elements, counts: shape (b, k), 0 where there is none; `counts` tells.
        species, position: shape (b, o): place among the elements; row of the table of positions, -1 where there is none.
        left: shape (b, o), atoms of the element without a place before each orbit.
        free: shape (b, o, 3), NaN where nothing is free.
        cell: shape (b, 6), NaN where fixed.
        targets: shape (b, d), NaN where unknown.
        real: shape (b,), False for relatives of crystals.
    """

    group: IntArray
    units: IntArray
    domain: IntArray
    elements: IntArray
    counts: IntArray
    species: IntArray
    position: IntArray
    left: IntArray
    free: FloatArray
    cell: FloatArray
    targets: FloatArray
    real: BoolArray

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: IntArray) -> Batch:
        """Batch of some rows, with no more columns than they need."""
        orbits = int((self.position[rows] >= 0).sum(axis=1).max())
        elements = int((self.counts[rows] > 0).sum(axis=1).max())
        return Batch(
            self.group[rows],
            self.units[rows],
            self.domain[rows],
            self.elements[rows, :elements],
            self.counts[rows, :elements],
            self.species[rows, :orbits],
            self.position[rows, :orbits],
            self.left[rows, :orbits],
            self.free[rows, :orbits],
            self.cell[rows],
            self.targets[rows],
            self.real[rows],
        )


def join_examples(examples: Sequence[Example], names: Sequence[str] = ()) -> Batch:
    """Join crystals to padded arrays.

    Args:
        examples: b crystals.
        names: d properties.
    """
    table = load_positions()
    size = len(examples)
    orbits = max(len(example.species) for example in examples)
    kinds = max(len(example.elements) for example in examples)
    elements, counts = np.zeros((size, kinds), dtype=np.int64), np.zeros((size, kinds), dtype=np.int64)
    species, left = np.zeros((size, orbits), dtype=np.int64), np.zeros((size, orbits), dtype=np.int64)
    position = np.full((size, orbits), -1, dtype=np.int64)
    free = np.full((size, orbits, 3), np.nan)
    for row, example in enumerate(examples):
        k, o = len(example.elements), len(example.species)
        elements[row, :k], counts[row, :k] = example.elements, example.counts
        species[row, :o] = example.species
        position[row, :o] = table.start[example.group] + example.letters
        free[row, :o] = example.free
        left[row, :o] = _count_left(example, table.multiplicity[position[row, :o]])
    return Batch(
        group=np.array([example.group for example in examples]),
        units=np.array([example.units for example in examples]),
        domain=np.array([example.domain for example in examples]),
        elements=elements,
        counts=counts,
        species=species,
        position=position,
        left=left,
        free=free,
        cell=np.array([example.cell for example in examples]).reshape(size, CELL_NUMBERS),
        targets=np.array([[example.targets.get(name, np.nan) for name in names] for example in examples]),
        real=np.array([example.real for example in examples]),
    )


def _count_left(example: Example, multiplicity: IntArray) -> IntArray:
    """Atoms of each orbit's element that have no place before it, shape (o,)."""
    left = example.counts * example.units
    before = []
    for own, size in zip(example.species, multiplicity, strict=True):
        before.append(int(left[own]))
        left[own] -= size
    return np.array(before)
