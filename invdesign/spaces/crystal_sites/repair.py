"""Repair of crystals whose atoms are too close: free coordinates move apart, then the cell grows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.crystal.symmetric import list_translations
from invdesign.spaces.crystal_sites.cells import VOLUME
from invdesign.spaces.crystal_sites.vectors import SiteAxes
from invdesign.structures.sited import SitedCrystal, round_sited

TARGET = 1.15  # times the smallest distance, to which atoms that are closer move apart (chosen)
STEPS = 8  # moves at one volume (chosen)
GROWTHS = 3  # growths of the cell (chosen)
GROWTH = 0.1  # of the volume's coordinate in the unit cube, some 10 % of a usual volume (chosen)
TINY = 1e-9  # Å, distance of two atoms in one place


def decode_repaired(point: FloatArray, axes: SiteAxes) -> SitedCrystal:
    """Crystal at a `point` (d,) of the cube, repaired if that makes it one of the space's.

    It is a function of the point: a crystal that keeps the rules is the one at its own point.
    """
    sited = axes.decode(point)
    try:
        if not axes.find_fault(sited):
            return sited
        cell, found = axes.measure_cell(sited), sited
        for _ in range(GROWTHS + 1):
            found, has_room = part_atoms(found, axes)
            settled = axes.settle(found) if has_room else None
            if settled is not None:
                return settled
            cell[VOLUME] = min(1.0, cell[VOLUME] + GROWTH)
            found = axes.make_sited(sited.combination, cell, found.coordinates)
    except np.linalg.LinAlgError:
        pass
    return sited


def part_atoms(sited: SitedCrystal, axes: SiteAxes) -> tuple[SitedCrystal, bool]:
    """Move atoms that are too close apart, as far as the symmetry lets them.

    Returns:
        (crystal, True if all distances are allowed then).

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume.
    """
    combination, coordinates = sited.combination, sited.coordinates
    crystal, shortest = sited.crystal, axes.rules.shortest
    surroundings = Surroundings(
        crystal.cell,
        np.array([species for species, _ in combination.sites]),
        crystal.species,
        list_translations(crystal.cell, TARGET * float(shortest.max())),
    )
    sizes = [position.primitive_multiplicity for position in combination.positions]
    firsts = np.cumsum([0, *sizes])[:-1]
    maps = [np.linalg.pinv(sited.basis.T @ position.linear[0]) for position in combination.positions]
    found, missing = sited, 0.0
    for step in range(STEPS + 1):
        moves, missing = surroundings.push_apart(found.place_atoms() @ sited.basis, firsts, shortest)
        if missing <= 0.0 or step == STEPS or not combination.free:
            break
        coordinates = coordinates.copy()
        for move, column, inverse in zip(moves, combination.columns, maps, strict=True):
            coordinates[column] += inverse @ move
        found = SitedCrystal(combination, sited.cell, coordinates)
    return round_sited(combination, sited.cell, coordinates), missing <= 0.0


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Distances of the first atom of each site from all atoms.

    Attributes:
        cell: shape (3, 3), reduced, Å.
        sites: species of each site, shape (s,).
        species: of each atom, shape (n,).
        translations: shape (t, 3), lattice vectors within reach, Å.
    """

    cell: FloatArray
    sites: IntArray
    species: IntArray
    translations: FloatArray

    def push_apart(
        self, positions: FloatArray, firsts: IntArray, shortest: FloatArray
    ) -> tuple[FloatArray, float]:
        """Displacements of the first atom of each site that bring close pairs to their target distance.

        Args:
            positions: shape (n, 3), fractional.
            firsts: places of the first atoms, shape (s,).
            shortest: shape (k, k), smallest distances by species, Å.

        Returns:
            (displacements (s, 3), fractional; by how much a distance is too short at most, Å).
        """
        apart = positions[firsts][:, None, :] - positions[None, :, :]
        apart -= np.round(apart)
        vectors = (apart @ self.cell)[:, :, None, :] + self.translations
        distances = np.sqrt((vectors**2).sum(axis=-1))
        limits = shortest[self.sites[:, None], self.species[None, :]][:, :, None]
        own = (np.arange(len(positions)) == firsts[:, None])[:, :, None] & (distances < TINY)
        distances = np.where(own, np.inf, distances)
        missing = float((limits - distances).max())
        sizes = 0.5 * np.maximum(0.0, TARGET * limits / np.maximum(distances, TINY) - 1.0)
        moves = (sizes[..., None] * vectors).sum(axis=(1, 2))
        fractional: FloatArray = moves @ np.linalg.inv(self.cell)
        return fractional, missing
