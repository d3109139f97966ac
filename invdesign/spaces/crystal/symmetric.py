"""Random crystals with the symmetry of a space group.

The atoms of each element are partitioned exactly over Wyckoff positions, so a draw never waits for a composition to come out.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.rng import Rng
from invdesign.spaces.crystal.geometry import Crystal, make_crystal, reduce_vectors
from invdesign.structures.symmetry import symmetry_dataset
from invdesign.structures.wyckoff import GROUPS, SpaceGroup, WyckoffPosition, draw_cell, find_space_group

STRETCH = (0.9, 1.3)  # volume of a start over the typical one; chosen: relaxation rather shrinks a cell
MAX_GROUPS = 4  # groups tried until a crystal has room (chosen)
MAX_ATTEMPTS = 8  # cells and partitions tried in one group (chosen)
POINTS_AT_ONCE = 16  # places tried for one position of a partition (chosen)
CACHED_PARTITIONS = 20_000  # pairs of group and composition; memory of some 10 kB each at most (chosen)
CACHED_GROUPS = 2_000  # crystals, which are asked for again and again as parents; a population and its children many times over (chosen)
LOOSE_SYMPREC = 0.1  # Å; chosen: a relaxed crystal misses its symmetry by less, as two different atoms do not


@dataclass(frozen=True)
class SiteClass:
    """Positions of a space group between which a partition does not distinguish.

    Attributes:
        multiplicity: number of images in the primitive cell.
        capacity: number of times the class may be occupied; None where its positions have free parameters.
        letters: of its positions.
    """

    multiplicity: int
    capacity: int | None
    letters: tuple[str, ...]


@cache
def list_site_classes(number: int) -> tuple[SiteClass, ...]:
    """List the classes of positions of a space group, the largest multiplicity first."""
    letters: dict[tuple[int, bool], list[str]] = defaultdict(list)
    for letter, position in find_space_group(number).positions.items():
        letters[position.primitive_multiplicity, position.free > 0].append(letter)
    return tuple(
        SiteClass(multiplicity, None if free else len(names), tuple(names))
        for (multiplicity, free), names in sorted(letters.items(), reverse=True)
    )


@dataclass(frozen=True, eq=False)
class Partitions:
    """Partitions of atoms over the classes of positions of a space group, counted and drawn.

    Attributes:
        classes: of the space group.
        counts: number of atoms per species in the primitive cell.
        by_letter: True if positions of one class are told apart.
    """

    classes: tuple[SiteClass, ...]
    counts: tuple[int, ...]
    by_letter: bool = False
    _known: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False)

    @property
    def number(self) -> int:
        """Number of partitions; 0 where the composition does not fit the group."""
        return self.count_rest(0, 0, self.counts[0], self.capacities)

    @property
    def capacities(self) -> tuple[int, ...]:
        return tuple(kind.capacity or 0 for kind in self.classes)

    def _most_used(self, place: int, left: int, capacities: tuple[int, ...]) -> int:
        """Highest number of times that the class at `place` can be occupied."""
        kind = self.classes[place]
        most = left // kind.multiplicity
        return most if kind.capacity is None else min(most, capacities[place])

    def count_rest(self, species: int, place: int, left: int, capacities: tuple[int, ...]) -> int:
        """Count the ways to place the atoms that are left.

        Args:
            species: whose atoms are placed.
            place: of the next class.
            left: atoms of the species without a place.
            capacities: remaining number of uses per class; 0 for classes with free parameters.
        """
        if left == 0:
            if species + 1 == len(self.counts):
                return 1
            return self.count_rest(species + 1, 0, self.counts[species + 1], capacities)
        if place == len(self.classes):
            return 0
        key = (species, place, left, *capacities)
        if key not in self._known:
            size = self.classes[place].multiplicity
            self._known[key] = sum(
                self._count_letters(place, used, capacities)
                * self.count_rest(species, place + 1, left - used * size, rest)
                for used, rest in self.list_uses(place, left, capacities)
            )
        return self._known[key]

    def _count_letters(self, place: int, used: int, capacities: tuple[int, ...]) -> int:
        """Count the choices of positions for `used` uses of a class; 1 where they are not told apart."""
        if not self.by_letter:
            return 1
        kind = self.classes[place]
        if kind.capacity is None:
            return math.comb(len(kind.letters) + used - 1, used)
        return math.comb(capacities[place], used)

    def list_uses(
        self, place: int, left: int, capacities: tuple[int, ...]
    ) -> list[tuple[int, tuple[int, ...]]]:
        """(number of uses, capacities after them) of the class at `place`."""
        if self.classes[place].capacity is None:
            return [(used, capacities) for used in range(self._most_used(place, left, capacities) + 1)]
        before, own, after = capacities[:place], capacities[place], capacities[place + 1 :]
        return [
            (used, (*before, own - used, *after))
            for used in range(self._most_used(place, left, capacities) + 1)
        ]

    def draw(self, rng: Rng) -> list[tuple[int, int, int]]:
        """Draw one partition, each equally often.

        Returns:
            (species, place of the class, number of uses), for classes in use.
        """
        drawn = []
        capacities = self.capacities
        for species, count in enumerate(self.counts):
            left, place = count, 0
            while left:
                uses = self.list_uses(place, left, capacities)
                size = self.classes[place].multiplicity
                ways = [
                    self._count_letters(place, used, capacities)
                    * self.count_rest(species, place + 1, left - used * size, rest)
                    for used, rest in uses
                ]
                used, capacities = uses[draw_index(ways, rng)]
                if used:
                    drawn.append((species, place, used))
                left, place = left - used * size, place + 1
        return drawn


def draw_index(weights: Sequence[int], rng: Rng) -> int:
    """Draw an index with a probability proportional to its weight, which may be a large integer."""
    total = sum(weights)
    if total == weights[-1]:
        return len(weights) - 1
    mark = rng.random() * total
    return next(
        (index for index, reached in enumerate(itertools.accumulate(weights)) if mark < reached),
        max(index for index, weight in enumerate(weights) if weight),
    )


@lru_cache(maxsize=CACHED_PARTITIONS)
def find_partitions(number: int, counts: tuple[int, ...], by_letter: bool = False) -> Partitions:
    """Find the partitions of a composition in a space group.

    Args:
        number: of the space group.
        counts: atoms per species in the primitive cell, at least one species with atoms.
        by_letter: True if positions of one class are told apart.
    """
    return Partitions(list_site_classes(number), counts, by_letter)


def list_fitting_groups(counts: Sequence[int], groups: Sequence[int] = GROUPS) -> tuple[int, ...]:
    """List the space groups whose positions can hold the atoms of a primitive cell.

    Args:
        counts: atoms per species.
        groups: numbers of the space groups to choose from.
    """
    key = tuple(int(count) for count in counts)
    return tuple(number for number in groups if find_partitions(number, key).number)


def draw_sites(group: SpaceGroup, partitions: Partitions, rng: Rng) -> list[tuple[int, WyckoffPosition]]:
    """Draw the occupied positions of a space group, as (species, position).

    Those without a choice of place come first, then those with many images.
    """
    unused = {place: list(kind.letters) for place, kind in enumerate(partitions.classes)}
    sites = []
    drawn = partitions.draw(rng)
    choices = iter(rng.random(sum(uses for _, _, uses in drawn)).tolist())
    for species, place, uses in drawn:
        for _ in range(uses):
            letters = unused[place]
            chosen = int(next(choices) * len(letters))
            fixed = partitions.classes[place].capacity is not None
            sites.append((species, group.positions[letters.pop(chosen) if fixed else letters[chosen]]))
    return sorted(sites, key=lambda site: (site[1].free, -site[1].primitive_multiplicity))


def list_translations(cell: FloatArray, reach: float) -> FloatArray:
    """List the lattice vectors that can bring two atoms within `reach`, shape (t, 3), Å.

    They are added to the distance vector of two atoms whose fractional components lie within [-1/2, 1/2].

    Args:
        cell: shape (3, 3), vectors as rows, Å; a reduced one needs few.
        reach: Å.
    """
    inverse = np.linalg.inv(cell)
    most = np.floor(reach * np.sqrt((inverse**2).sum(axis=0)) + 0.5).astype(int)
    translations: FloatArray = _list_offsets(*most.tolist()) @ cell
    return translations


@lru_cache(maxsize=1000)
def _list_offsets(*most: int) -> FloatArray:
    """List whole numbers of three vectors, each up to its highest number in both directions."""
    return np.array(list(itertools.product(*(range(-n, n + 1) for n in most))), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Frame:
    """A primitive cell in which positions are placed.

    Attributes:
        cell: reduced, vectors as rows, Å.
        basis: shape (3, 3); fractional coordinates of the standard primitive cell times `basis` are those of `cell`.
        translations: shape (t, 3), lattice vectors within reach, Å.
    """

    cell: FloatArray
    basis: FloatArray
    translations: FloatArray

    def measure_closest(self, points: FloatArray, others: FloatArray) -> FloatArray:
        """Shortest distances between points and others over all images, Å.

        Args:
            points: shape (..., 3), fractional.
            others: shape (..., n, 3), fractional.

        Returns:
            Shape (..., n).
        """
        apart = points[..., None, :] - others
        apart -= np.round(apart)
        vectors = (apart @ self.cell)[..., None, :] + self.translations
        closest: FloatArray = np.sqrt((vectors**2).sum(axis=-1).min(axis=-1))
        return closest


def make_frame(conventional: FloatArray, group: SpaceGroup, reach: float) -> Frame:
    """Make the reduced primitive cell of a space group.

    Args:
        conventional: vectors as rows, Å.
        group: of the crystal.
        reach: Å, up to which distances are measured.
    """
    primitive = group.primitive @ conventional
    cell = reduce_vectors(primitive)
    basis = np.round(primitive @ np.linalg.inv(cell)).astype(np.float64)
    return Frame(cell, basis, list_translations(cell, reach))


def find_free_place(
    position: WyckoffPosition,
    frame: Frame,
    placed: FloatArray,
    limits: tuple[FloatArray, float],
    rng: Rng,
) -> tuple[FloatArray, FloatArray] | None:
    """Find a place for the images of one position; None where none of those tried has room.

    All images see the same surroundings, so only the first one's distances are measured.

    Args:
        position: Wyckoff position.
        frame: primitive cell.
        placed: shape (n, 3), fractional coordinates of the atoms before it.
        limits: (shortest distance to each of them (n,), shortest distance between two images), Å.
        rng: draws the free parameters.

    Returns:
        (free parameters (f,), fractional coordinates of the images (m, 3)).
    """
    trials = POINTS_AT_ONCE if position.free else 1
    parameters = rng.random((trials, position.free))
    images = position.place_images(parameters) @ frame.basis
    first = images[:, 0]
    good = np.ones(trials, dtype=bool)
    to_placed, between = limits
    if images.shape[1] > 1:
        good &= (frame.measure_closest(first, images[:, 1:]) >= between).all(axis=1)
    if len(placed) and good.any():
        good[good] = (frame.measure_closest(first[good], placed) >= to_placed).all(axis=1)
    chosen = int(good.argmax())
    return (parameters[chosen], images[chosen]) if good.any() else None


@dataclass(frozen=True, eq=False)
class PlacedSites:
    """Occupied positions with the atoms on them.

    Attributes:
        parameters: free parameters of each position.
        crystal: in the cell of the frame.
    """

    parameters: tuple[FloatArray, ...]
    crystal: Crystal


def place_sites(
    sites: Sequence[tuple[int, WyckoffPosition]], frame: Frame, room: FloatArray, rng: Rng
) -> PlacedSites | None:
    """Place positions one after the other; None where one finds no room.

    Args:
        sites: (species, position).
        frame: primitive cell.
        room: shape (k, k), shortest distance by species, Å.
        rng: draws the free parameters.
    """
    edge = float(np.sqrt((frame.cell**2).sum(axis=1).min()))
    if any(edge < room[species, species] for species, _ in sites):
        return None  # atoms are too close to their own images: the edges of a reduced cell are its shortest vectors
    placed = np.empty((0, 3))
    species: list[int] = []
    chosen = []
    for own, position in sites:
        found = find_free_place(position, frame, placed, (room[own, species], float(room[own, own])), rng)
        if found is None:
            return None
        chosen.append(found[0])
        placed = np.concatenate([placed, found[1]])
        species += [own] * len(found[1])
    return PlacedSites(tuple(chosen), make_crystal(frame.cell, species, placed))


def draw_in_group(
    number: int, counts: Sequence[int], volume: float, room: FloatArray, rng: Rng
) -> Crystal | None:
    """Draw a random crystal of one space group, in its reduced primitive cell.

    Args:
        number: of the space group.
        counts: atoms per species in the primitive cell.
        volume: typical one of the primitive cell, Å³.
        room: shape (k, k), shortest distance by species, Å.
        rng: the only source of randomness.

    Returns:
        None where the composition does not fit the group, or `MAX_ATTEMPTS` crystals had no room.
    """
    group = find_space_group(number)
    partitions = find_partitions(number, tuple(int(count) for count in counts))
    if not partitions.number:
        return None
    for _ in range(MAX_ATTEMPTS):
        sites = draw_sites(group, partitions, rng)
        conventional = draw_cell(number, volume * rng.uniform(*STRETCH) * group.centring, rng)
        frame = make_frame(conventional, group, float(room.max()))
        placed = place_sites(sites, frame, room, rng)
        if placed is not None:
            return placed.crystal
    return None


def order_groups(groups: Sequence[int] | Mapping[int, float], rng: Rng) -> list[int]:
    """Order space groups at random, those with a higher weight rather first.

    Args:
        groups: numbers, or their weights by number; 0 leaves a group out.
        rng: the only source of randomness.
    """
    weights = groups if isinstance(groups, Mapping) else dict.fromkeys(groups, 1.0)
    numbers = sorted(number for number, weight in weights.items() if weight > 0.0)
    # The first of exponential waiting times falls on each group in proportion to its weight, and so among those that remain.
    waits = rng.standard_exponential(len(numbers)) / np.array([weights[number] for number in numbers])
    return [numbers[place] for place in np.argsort(waits, kind="stable")]


def draw_symmetric(
    counts: Sequence[int] | IntArray,
    volume: float,
    room: FloatArray,
    rng: Rng,
    groups: Sequence[int] | Mapping[int, float] = GROUPS,
) -> tuple[Crystal, int] | None:
    """Draw a random crystal with the symmetry of a space group that fits its composition.

    Args:
        counts: atoms per species in the primitive cell, shape (k,).
        volume: typical one of the primitive cell, Å³; the crystal's lies within `STRETCH` of it.
        room: shape (k, k), shortest distance by species, Å.
        rng: the only source of randomness.
        groups: numbers of the space groups to choose from, or their weights by number.

    Returns:
        (reduced primitive cell, number of the space group); None where no group fits or no crystal had room.
    """
    key = tuple(int(count) for count in counts)
    tried = 0
    for number in order_groups(groups, rng):
        if tried == MAX_GROUPS:
            break
        if not find_partitions(number, key).number:
            continue
        crystal = draw_in_group(number, key, volume, room, rng)
        if crystal is not None:
            return crystal, number
        tried += 1
    return None


@lru_cache(maxsize=CACHED_GROUPS)
def find_group(crystal: Crystal, symprec: float = LOOSE_SYMPREC) -> int:
    """Find the number of a crystal's space group; 1 where none is found.

    Args:
        crystal: in any cell.
        symprec: Å, by which atoms may miss their symmetric places.
    """
    try:
        found = symmetry_dataset(crystal.cell, crystal.positions, crystal.species.tolist(), symprec)
    except InvdesignError:
        return 1
    return int(found.number)
