"""Electrostatic energies of point charges in a periodic cell, and arrangements of low energy.

The Ewald sum is done once per set of sites; every energy after that is a quadratic form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng
from invdesign.structures.cells import measure_heights

COULOMB_CONSTANT = 14.399645478  # eV Å: e^2 / (4 pi epsilon_0), CODATA 2018
# Both sums end where their terms have fallen to exp(-EWALD_ACCURACY^2), 2e-16; chosen for full precision.
EWALD_ACCURACY = 6.0
MIN_SITE_DISTANCE = 1e-3  # Å; closer sites coincide; chosen
MIN_SWAP_GAIN = 1e-9  # eV; a smaller gain is rounding; chosen
VECTOR_CHUNK = 4096  # reciprocal vectors summed together; chosen


@dataclass(frozen=True)
class Filling:
    """Species to be put on a group of sites.

    Attributes:
        sites: k of the cell's sites.
        counts: number of sites for each species; together k.
        charges: charge of each species in elementary charges; 0 for a vacancy.
    """

    sites: tuple[int, ...]
    counts: tuple[int, ...]
    charges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.charges) or min(self.counts, default=0) < 0:
            raise ValueError(
                f"each species needs a count of 0 or more and a charge, got {self.counts} and {self.charges}"
            )
        if sum(self.counts) != len(self.sites):
            raise ValueError(f"the counts {self.counts} must fill {len(self.sites)} sites")


@dataclass(frozen=True)
class Arrangement:
    """Species on each site of the fillings, with the energy.

    Attributes:
        species: per filling, shape (k,): the number of the species on each of its sites.
        energy: eV, whole cell.
    """

    species: tuple[IntArray, ...]
    energy: float


@dataclass(frozen=True, eq=False)
class Electrostatics:
    """Point charges on n sites of a periodic cell.

    A net charge is balanced by a uniform background.

    Attributes:
        lattice: shape (3, 3), rows are the cell's vectors in Å.
        frac_coords: shape (n, 3).

    Source:
        Ewald, Ann. Phys. 369, 253 (1921); the background as in Leslie & Gillan, J. Phys. C 18, 973 (1985).
    """

    lattice: FloatArray
    frac_coords: FloatArray

    def __len__(self) -> int:
        return len(self.frac_coords)

    @cached_property
    def matrix(self) -> FloatArray:
        """Ewald matrix, shape (n, n), eV per squared elementary charge.

        Charges q have the energy `q @ matrix @ q`.

        Raises:
            ValueError: two sites coincide.
        """
        volume = abs(float(np.linalg.det(self.lattice)))
        # With this width the two sums cost about the same: Perram, Petersen & de Leeuw, Mol. Phys. 65, 875 (1988).
        alpha = float((max(len(self), 1) * np.pi**3 / volume**2) ** (1 / 6))
        total = self._sum_real_space(alpha) + self._sum_reciprocal_space(alpha, volume)
        total -= np.pi / (volume * alpha**2)
        total[np.diag_indices(len(self))] -= 2.0 * alpha / np.sqrt(np.pi)
        half: FloatArray = 0.5 * COULOMB_CONSTANT * total
        return 0.5 * (half + half.T)

    def _sum_real_space(self, alpha: float) -> FloatArray:
        """Sum erfc(alpha r) / r over lattice vectors.

        The term of a site with itself is left out.
        """
        from scipy.special import erfc

        cutoff = EWALD_ACCURACY / alpha
        apart = self.frac_coords[None, :, :] - self.frac_coords[:, None, :]
        apart = (apart - np.round(apart)) @ self.lattice
        total = np.zeros((len(self), len(self)))
        for shift in _list_lattice_vectors(self.lattice, cutoff):
            distance = np.linalg.norm(apart + shift, axis=2)
            if not shift.any():
                np.fill_diagonal(distance, np.inf)
                self._check_distinct_sites(distance)
            total += np.where(distance < cutoff, erfc(alpha * distance) / distance, 0.0)
        return total

    def _check_distinct_sites(self, distance: FloatArray) -> None:
        """Refuse sites that coincide.

        `distance` has the shape (n, n), in Å.
        """
        if distance.size and distance.min() < MIN_SITE_DISTANCE:
            first, second = np.unravel_index(int(distance.argmin()), distance.shape)
            raise ValueError(f"sites {first} and {second} are on one place; charges need places of their own")

    def _sum_reciprocal_space(self, alpha: float, volume: float) -> FloatArray:
        """Sum over reciprocal lattice vectors G other than 0.

        The terms are 4 pi / V exp(-G^2 / 4 alpha^2) / G^2 cos(G r).
        """
        cell = np.asarray(2.0 * np.pi * np.linalg.inv(self.lattice).T, dtype=np.float64)
        vectors = _list_lattice_vectors(cell, 2.0 * alpha * EWALD_ACCURACY)
        squared = (vectors**2).sum(axis=1)
        kept = (squared > 0) & (squared <= (2.0 * alpha * EWALD_ACCURACY) ** 2)
        vectors, squared = vectors[kept], squared[kept]
        positions = self.frac_coords @ self.lattice
        total = np.zeros((len(self), len(self)))
        for start in range(0, len(vectors), VECTOR_CHUNK):
            part = slice(start, start + VECTOR_CHUNK)
            weight = 4.0 * np.pi / volume * np.exp(-squared[part] / (4.0 * alpha**2)) / squared[part]
            phase = positions @ vectors[part].T
            cosine, sine = np.cos(phase), np.sin(phase)
            total += (cosine * weight) @ cosine.T + (sine * weight) @ sine.T
        return total

    def energy(self, charges: FloatArray) -> FloatArray:
        """Energy of the whole cell, eV.

        Args:
            charges: shape (n,) or (m, n), in elementary charges.

        Returns:
            A scalar, or shape (m,).
        """
        q = np.asarray(charges, dtype=np.float64)
        energies: FloatArray = ((q @ self.matrix) * q).sum(axis=-1)
        return energies

    def arrange_species(
        self,
        fillings: Sequence[Filling],
        rng: Rng,
        *,
        fixed: FloatArray | None = None,
        starts: int = 4,
        steps: int = 10_000,
    ) -> Arrangement:
        """Find an arrangement of low energy by descents from random starts.

        Each descent exchanges, within a group, the two sites that gain most, until no exchange gains. The best
        descent is returned. The result is deterministic for a generator in a given state.

        Args:
            fillings: disjoint groups of sites with the species to put on them.
            rng: draws the starts.
            fixed: shape (n,), charges of the other sites; its values at filled sites are ignored. 0 if not given.
            starts: number of descents.
            steps: largest number of swaps in one descent.
        """
        base = np.zeros(len(self)) if fixed is None else np.array(fixed, dtype=np.float64)
        found = [
            self._descend_by_swaps(
                fillings, [_shuffle_species(filling, rng) for filling in fillings], base, steps
            )
            for _ in range(starts)
        ]
        best = min(range(starts), key=lambda i: (round(found[i].energy, 9), i))
        return found[best]

    def _descend_by_swaps(
        self, fillings: Sequence[Filling], species: Sequence[IntArray], base: FloatArray, steps: int
    ) -> Arrangement:
        """Exchange the best pair of sites until no exchange gains, at most `steps` times."""
        charges = base.copy()
        for filling, codes in zip(fillings, species, strict=True):
            charges[list(filling.sites)] = np.asarray(filling.charges)[codes]
        found = [codes.copy() for codes in species]
        members = [np.asarray(filling.sites, dtype=np.int64) for filling in fillings]
        for _ in range(steps):
            swaps = [self.find_best_swap(charges, sites) for sites in members]
            group = min(range(len(swaps)), key=lambda g: swaps[g][0], default=None)
            if group is None or swaps[group][0] > -MIN_SWAP_GAIN:
                break
            _, first, second = swaps[group]
            sites, codes = members[group], found[group]
            charges[sites[[first, second]]] = charges[sites[[second, first]]]
            codes[[first, second]] = codes[[second, first]]
        return Arrangement(tuple(found), float(self.energy(charges)))

    def find_best_swap(self, charges: FloatArray, sites: IntArray) -> tuple[float, int, int]:
        """Find the best exchange of two charges among some sites.

        It lowers the energy most.

        Args:
            charges: shape (n,).
            sites: shape (k,).

        Returns:
            (change of energy in eV, position of one site among `sites`, of the other); (0, 0, 0) where none gains.
        """
        part = self.matrix[np.ix_(sites, sites)]
        return find_best_exchange(charges[sites], 2.0 * (self.matrix[sites] @ charges), exchange_cost(part))


def exchange_cost(matrix: FloatArray) -> FloatArray:
    """Energy to move one unit of charge between sites, shape (k, k).

    It is that without any potential.

    Args:
        matrix: shape (k, k), of the quadratic form of these sites.
    """
    cost: FloatArray = np.diag(matrix)[:, None] + np.diag(matrix)[None, :] - 2.0 * matrix
    return cost


def find_best_exchange(
    charges: FloatArray, potential: FloatArray, cost: FloatArray
) -> tuple[float, int, int]:
    """Find the exchange of two charges with the largest gain.

    Args:
        charges: shape (k,).
        potential: shape (k,), derivative of the energy by each charge, eV per elementary charge.
        cost: shape (k, k), from `exchange_cost`.

    Returns:
        (change of energy in eV, one site, the other); (0, 0, 0) where none gains.
    """
    if len(charges) < 2:
        return 0.0, 0, 0
    step = charges[None, :] - charges[:, None]  # gain of site i if it takes the charge of j
    change = step * (potential[:, None] - potential[None, :] + step * cost)
    # Rounded, so that of symmetric exchanges the first is taken on every machine.
    first, second = divmod(int(np.round(change, 9).argmin()), len(charges))
    gain = float(change[first, second])
    return (gain, first, second) if gain < 0 else (0.0, 0, 0)


def _shuffle_species(filling: Filling, rng: Rng) -> IntArray:
    """Put the species of a filling on its sites at random."""
    codes = np.repeat(np.arange(len(filling.counts)), filling.counts)
    rng.shuffle(codes)
    return codes.astype(np.int64)


def _list_lattice_vectors(cell: FloatArray, radius: float) -> FloatArray:
    """Lattice vectors within `radius` of the cell, shape (m, 3).

    Some vectors farther away are listed too.
    """
    most = np.ceil(radius / measure_heights(cell) + 0.5).astype(np.int64)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1)
    vectors: FloatArray = grid.reshape(-1, 3) @ cell
    # Half the cell's diagonal is the furthest that two sites' nearest images lie apart.
    reach = radius + 0.5 * np.linalg.norm(np.abs(cell).sum(axis=0))
    near: FloatArray = vectors[np.linalg.norm(vectors, axis=1) <= reach]
    return near
