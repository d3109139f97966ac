"""Random crystals with the symmetry of a space group.

The atoms of each element are partitioned exactly over Wyckoff positions, so a draw never waits for a composition to come out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.rng import Rng
from invdesign.structures.geometry import Crystal, make_crystal, reduce_vectors
from invdesign.structures.partitions import Partitions, find_partitions
from invdesign.structures.symmetry import LOOSE_SYMPREC, symmetry_dataset
from invdesign.structures.wyckoff import GROUPS, SpaceGroup, WyckoffPosition, draw_cell, find_space_group

STRETCH = (0.9, 1.3)  # volume of a start over the typical one; chosen: relaxation rather shrinks a cell
MAX_GROUPS = 4  # groups tried until a crystal has room (chosen)
MAX_ATTEMPTS = 8  # cells and partitions tried in one group (chosen)
POINTS_AT_ONCE = 16  # places tried for one position of a partition (chosen)
CACHED_GROUPS = 2_000  # crystals, which are asked for again and again as parents; a population and its children many times over (chosen)


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
