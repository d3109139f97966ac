"""Fingerprints of crystals: smeared distances of atoms by pair of elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.crystal.geometry import Crystal, find_neighbours

REACH = 8.0  # Å, of distances in a fingerprint (chosen)
BIN = 0.1  # Å (chosen)
SMEARING = 0.15  # Å, standard deviation of a distance (chosen)
ALIKE_COSINE = 2e-3  # cosine distance below which two crystals are one (chosen)
# Of unit vectors, the squared Euclidean distance is twice the cosine distance.
ALIKE = float(np.sqrt(2.0 * ALIKE_COSINE))
MAX_FEATURES = 60  # columns for models (chosen)
COARSE_REACH = 6.0  # Å, of distances in features (chosen)
COARSE_START = 1.0  # Å, of the first coarse point (chosen)
MAX_COARSE = 8  # coarse points per pair of elements (chosen)


@dataclass(frozen=True, eq=False)
class Distances:
    """Distributions of distances by pair of elements.

    Attributes:
        kinds: number of elements.
    """

    kinds: int

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of species, in the order of blocks."""
        return tuple((a, b) for a in range(self.kinds) for b in range(a, self.kinds))

    @cached_property
    def _blocks(self) -> IntArray:
        """Block of each pair of species, shape (k, k)."""
        blocks = np.zeros((self.kinds, self.kinds), dtype=np.int64)
        for number, (a, b) in enumerate(self.pairs):
            blocks[a, b] = blocks[b, a] = number
        return blocks

    @property
    def bins(self) -> int:
        """Number of bins of a block."""
        return round(REACH / BIN) + 1

    def collect(self, crystal: Crystal) -> FloatArray:
        """Numbers of pairs per atom over the squared distance, by block and bin, shape (blocks, bins).

        They fade to 0 at `REACH`, so that an atom that crosses it changes nothing at once. A distance between two bins
        counts for both, in proportion.
        """
        first, second, distance = find_neighbours(crystal, REACH)
        fading = 0.5 * (1.0 + np.cos(np.pi / REACH * distance))
        weight = fading / np.maximum(distance, BIN) ** 2 / len(crystal)
        place = distance / BIN
        lower = np.minimum(place.astype(np.int64), self.bins - 2)
        upper_share = place - lower
        block = self._blocks[crystal.species[first], crystal.species[second]] * self.bins + lower
        size = len(self.pairs) * self.bins
        found = np.bincount(block, weight * (1.0 - upper_share), minlength=size).astype(np.float64)
        found += np.bincount(block + 1, weight * upper_share, minlength=size)
        return found.reshape(len(self.pairs), self.bins)

    def fingerprint(self, crystal: Crystal) -> FloatArray:
        """Fingerprint of a crystal, shape (d,): smeared distances, a vector of length 1."""
        smeared: FloatArray = (self.collect(crystal) @ _SMEARING_MATRIX).ravel()
        length = float(np.linalg.norm(smeared))
        return np.asarray(smeared / length if length > 0.0 else smeared, dtype=np.float64)

    @property
    def width(self) -> int:
        """Number of columns of a fingerprint."""
        return len(self.pairs) * self.bins


def _make_smearing(bins: int) -> FloatArray:
    """Gaussian weights of bins on each other, shape (bins, bins)."""
    apart = BIN * (np.arange(bins)[:, None] - np.arange(bins)[None, :])
    return np.exp(-0.5 * (apart / SMEARING) ** 2)


_SMEARING_MATRIX = _make_smearing(round(REACH / BIN) + 1)


@dataclass(frozen=True, eq=False)
class CoarseFeatures:
    """Few numbers for models: coarse distances, volume per atom, and shares of elements.

    Attributes:
        distances: distributions of the space.
        shares: True if compositions differ by more than size.
    """

    distances: Distances
    shares: bool

    @property
    def points(self) -> int:
        """Coarse points per block; 0 where there are too many pairs of elements."""
        left = MAX_FEATURES - 1 - self.distances.kinds * self.shares
        return min(MAX_COARSE, left // len(self.distances.pairs))

    @cached_property
    def radii(self) -> FloatArray:
        """Distances of coarse points, Å, shape (points,)."""
        return np.linspace(COARSE_START, COARSE_REACH, self.points + 1)[1:]

    @cached_property
    def _hats(self) -> FloatArray:
        """Shares of bins at coarse points, shape (bins, points): triangles that overlap."""
        step = (COARSE_REACH - COARSE_START) / max(1, self.points)
        centres = BIN * np.arange(self.distances.bins)
        return np.maximum(0.0, 1.0 - np.abs(centres[:, None] - self.radii[None, :]) / step)

    def evaluate(self, crystals: Sequence[Crystal]) -> FloatArray:
        """Features of n crystals, shape (n, d)."""
        rows = []
        for crystal in crystals:
            coarse = (self.distances.collect(crystal) @ self._hats).ravel()
            counts = crystal.count_species(self.distances.kinds) if self.shares else np.zeros(0)
            rows.append(np.concatenate([coarse, [crystal.volume / len(crystal)], counts / len(crystal)]))
        return np.array(rows).reshape(len(crystals), -1)
