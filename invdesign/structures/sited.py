"""Crystals on occupied Wyckoff positions, and the atoms that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.combinations import Combination
from invdesign.structures.geometry import DECIMALS, Crystal, reduce_vectors


@dataclass(frozen=True, eq=False)
class SitedCrystal:
    """A crystal as occupied sites with their free numbers.

    Attributes:
        combination: space group and occupied positions.
        cell: free lengths (Å) and angles (degrees) of the conventional cell.
        coordinates: free coordinates, those of one site after the other, shape (f,), in [0, 1).
    """

    combination: Combination
    cell: tuple[float, ...]
    coordinates: FloatArray

    @cached_property
    def conventional(self) -> FloatArray:
        """Conventional cell, vectors as rows, Å."""
        system = self.combination.space_group.system
        return system.build_cell(self.cell[: system.free_lengths], self.cell[system.free_lengths :])

    @cached_property
    def basis(self) -> IntArray:
        """Primitive vectors in those of the reduced cell, shape (3, 3), with integers."""
        primitive = self.combination.space_group.primitive @ self.conventional
        reduced = reduce_vectors(primitive)
        sign = 1.0 if np.linalg.det(reduced) > 0 else -1.0
        basis: IntArray = np.round(sign * primitive @ np.linalg.inv(reduced)).astype(np.int64)
        return basis

    @cached_property
    def species(self) -> IntArray:
        """Species of the atoms, site by site, shape (n,); ascending."""
        combination = self.combination
        return np.concatenate(
            [
                np.full(position.primitive_multiplicity, species, dtype=np.int64)
                for (species, _), position in zip(combination.sites, combination.positions, strict=True)
            ]
        )

    def place_atoms(self) -> FloatArray:
        """Fractional coordinates of the atoms in the primitive cell, site by site, shape (n, 3)."""
        combination = self.combination
        return np.concatenate(
            [
                position.place_images(self.coordinates[column])
                for position, column in zip(combination.positions, combination.columns, strict=True)
            ]
        )

    @cached_property
    def crystal(self) -> Crystal:
        """Crystal in its reduced cell, turned to a lower triangle; its atoms stand site by site.

        Raises:
            numpy.linalg.LinAlgError: the cell has no volume.
        """
        primitive = self.combination.space_group.primitive @ self.conventional
        reduced = np.linalg.inv(self.basis) @ primitive
        positions = self.place_atoms() @ self.basis
        cell: FloatArray = np.linalg.cholesky(reduced @ reduced.T).astype(np.float64)
        return Crystal(cell, self.species, positions - np.floor(positions))


def round_sited(combination: Combination, cell: Sequence[float], coordinates: FloatArray) -> SitedCrystal:
    """Make a crystal of numbers rounded to `DECIMALS`, coordinates wrapped into [0, 1)."""
    wrapped = np.round(np.asarray(coordinates, dtype=np.float64) % 1.0, DECIMALS) % 1.0
    return SitedCrystal(combination, tuple(round(float(number), DECIMALS) for number in cell), wrapped + 0.0)
