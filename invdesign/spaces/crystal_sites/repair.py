"""Repair of crystals whose atoms are too close: free coordinates move apart, then the cell grows."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.spaces.crystal.geometry import find_bonds
from invdesign.spaces.crystal_sites.cells import VOLUME
from invdesign.spaces.crystal_sites.sited import SitedCrystal, round_sited
from invdesign.spaces.crystal_sites.vectors import SiteAxes

TARGET = 1.15  # times the smallest distance, to which atoms that are closer move apart (chosen)
STEPS = 10  # moves at one volume (chosen)
GROWTHS = 3  # growths of the cell (chosen)
GROWTH = 0.1  # of the volume's coordinate in the unit cube, some 10 % of a usual volume (chosen)


def decode_repaired(point: FloatArray, axes: SiteAxes) -> SitedCrystal:
    """Crystal at a `point` (d,) of the cube, repaired if that makes it one of the space's.

    It is a function of the point: a crystal that keeps the rules is the one at its own point.
    """
    sited = axes.decode(point)
    if not axes.find_fault(sited):
        return sited
    cell = axes.measure_cell(sited)
    found = sited
    for _ in range(GROWTHS + 1):
        try:
            found = part_atoms(found, axes)
        except np.linalg.LinAlgError:
            return sited
        settled = axes.settle(found)
        if settled is not None:
            return settled
        cell[VOLUME] = min(1.0, cell[VOLUME] + GROWTH)
        found = axes.make_sited(sited.combination, cell, found.coordinates)
    return sited


def part_atoms(sited: SitedCrystal, axes: SiteAxes) -> SitedCrystal:
    """Move atoms that are too close apart, as far as the symmetry lets them.

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume.
    """
    target = TARGET * axes.rules.shortest
    combination, coordinates = sited.combination, sited.coordinates
    maps = [np.linalg.pinv(sited.basis.T @ position.linear[0]) for position in combination.positions]
    firsts = np.cumsum([0, *(position.primitive_multiplicity for position in combination.positions)])[:-1]
    found = sited
    for _ in range(STEPS if combination.free else 0):
        moves = _push_atoms(found, target)
        if not moves.any():
            break
        fractional = moves @ np.linalg.inv(found.crystal.cell)
        coordinates = coordinates.copy()
        for first, column, inverse in zip(firsts, combination.columns, maps, strict=True):
            coordinates[column] += inverse @ fractional[first]
        found = round_sited(combination, sited.cell, coordinates)
    return found


def _push_atoms(sited: SitedCrystal, target: FloatArray) -> FloatArray:
    """Displacements that bring each pair of close atoms to their target distance, shape (n, 3), Å.

    Args:
        sited: crystal.
        target: shape (k, k), by species, Å.
    """
    crystal = sited.crystal
    first, second, offset, distance = find_bonds(crystal, float(target.max()))
    wanted = target[crystal.species[first], crystal.species[second]]
    close = (distance < wanted) & (first != second) & (distance > 0.0)
    first, second, offset, distance = first[close], second[close], offset[close], distance[close]
    apart = (crystal.positions[first] - crystal.positions[second] - offset) @ crystal.cell
    moves = np.zeros((len(crystal), 3))
    np.add.at(moves, first, 0.5 * (wanted[close] / distance - 1.0)[:, None] * apart)
    return moves
