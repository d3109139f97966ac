"""Special quasi-random structures: small cells with the pair statistics of a random alloy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import Rng

if TYPE_CHECKING:
    from pymatgen.core import Structure


MATCHED_SHELLS = 4  # distances to match, nearest first; chosen
SHELL_TOLERANCE = 0.01  # Å; closer distances are one shell; chosen
SHELL_FADING = 0.5  # weight of a shell relative to the one before it; chosen
FIRST_REACH = 6.0  # Å, of the first search for shells; chosen
MAX_REACH = 20.0  # Å; sites without neighbours within it count as isolated; chosen
TEMPERATURE_RANGE = (0.3, 0.003)  # first and last temperature, relative to the misfit at the start; chosen
PERFECT_MISFIT = 1e-12  # a smaller misfit is rounding; chosen


@dataclass(frozen=True, eq=False)
class Sublattice:
    """Some sites of a crystal, and their pairs by distance.

    Attributes:
        lattice: shape (3, 3), rows in Å.
        frac_coords: shape (n, 3), of the sites of the sublattice alone.
        shells: number of distances to match.
    """

    lattice: FloatArray
    frac_coords: FloatArray
    shells: int = MATCHED_SHELLS

    def __len__(self) -> int:
        return len(self.frac_coords)

    @cached_property
    def pairs(self) -> FloatArray:
        """Number of pairs of sites in each shell, shape (s, n, n).

        Images of a site count as its neighbours.
        """
        from pymatgen.core import Structure

        structure = Structure(self.lattice, ["H"] * len(self), self.frac_coords)
        reach = FIRST_REACH
        while True:
            found = _group_pairs_by_shell(structure, reach)
            if len(found) > self.shells or reach >= MAX_REACH:
                return np.array(found[: self.shells]).reshape(-1, len(self), len(self))
            reach *= 1.3

    @cached_property
    def weights(self) -> FloatArray:
        """Weight of each shell, shape (s,); the sum is 1."""
        raw: FloatArray = np.power(SHELL_FADING, np.arange(len(self.pairs), dtype=np.float64))
        return raw / raw.sum() if len(raw) else raw

    def measure_misfit(self, species: IntArray, kinds: int) -> float:
        """Distance between the pairs of a filling and those of a random alloy.

        It is 0 for a perfect match: the squared difference between the share of each pair of species in a shell and
        the product of their fractions, summed over pairs and averaged over shells.

        Args:
            species: shape (n,), the number of the species on each site.
            kinds: number of species.
        """
        filled = np.eye(kinds)[species]
        off = self.pair_deviation(filled)
        return float(np.vdot(off, off))

    @cached_property
    def weighted_pairs(self) -> FloatArray:
        """`pairs` scaled by the shells' weights, shape (s, n, n).

        Squared shares then add up with these weights.
        """
        weighted: FloatArray = (
            self.pairs * (np.sqrt(self.weights) / self.pairs.sum(axis=(1, 2)))[:, None, None]
        )
        return weighted

    def pair_deviation(self, filled: FloatArray) -> FloatArray:
        """Deviation of pairs from a random alloy, shape (s, k, k).

        Shares of pairs less those of the alloy, weighted by shell.

        Args:
            filled: shape (n, k), 1 where a site holds a species.
        """
        fractions = filled.mean(axis=0)
        off: FloatArray = filled.T @ self.weighted_pairs @ filled
        off -= np.sqrt(self.weights)[:, None, None] * np.outer(fractions, fractions)
        return off

    def anneal_species(
        self, counts: Sequence[int], rng: Rng, *, sweeps: int = 25, starts: int = 2
    ) -> IntArray:
        """Find a filling with random pairs by simulated annealing.

        They are as random as this cell allows.

        Args:
            counts: number of sites of each species, together n.
            rng: draws starts and swaps; the result is a function of its state.
            sweeps: swaps tried per site and start.
            starts: independent searches; the best is taken.

        Returns:
            Shape (n,), the number of the species on each site.

        Raises:
            ValueError: the counts do not fill the sites.

        Source:
            Zunger, Wei, Ferreira & Bernard, Phys. Rev. Lett. 65, 353 (1990); the search as in van de Walle et al.,
            Calphad 42, 13 (2013), with pairs only.
        """
        if sum(counts) != len(self) or min(counts, default=0) < 0:
            raise ValueError(f"the counts {list(counts)} must fill {len(self)} sites")
        codes = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        if sum(count > 0 for count in counts) < 2 or not len(self.pairs):
            rng.shuffle(codes)
            return codes
        found = []
        for _ in range(starts):
            start = codes.copy()
            rng.shuffle(start)
            found.append(_Annealing(self, start, len(counts)).run(sweeps * len(self), rng))
            if found[-1][0] <= PERFECT_MISFIT:
                break
        return min(found, key=lambda answer: answer[0])[1]


class _Annealing:
    """State of one annealing run."""

    def __init__(self, sublattice: Sublattice, species: IntArray, kinds: int) -> None:
        self.pairs = sublattice.weighted_pairs
        self.species = species
        self.filled = np.eye(kinds)[species]
        self.off = sublattice.pair_deviation(self.filled)
        self.misfit = float(np.vdot(self.off, self.off))

    def run(self, swaps: int, rng: Rng) -> tuple[float, IntArray]:
        """Try `swaps` drawn by `rng`; return the best misfit and filling (n,)."""
        best, kept = self.misfit, self.species.copy()
        scale, (first, last) = max(best, 1e-9), TEMPERATURE_RANGE
        heats = scale * first * (last / first) ** (np.arange(swaps) / swaps)
        ends = rng.integers(len(self.species), size=(swaps, 2)).tolist()
        # Accepted where the misfit does not rise above this: Metropolis' rule, the random numbers drawn at once.
        allowed = (heats * rng.standard_exponential(swaps)).tolist()
        for (a, b), rise in zip(ends, allowed, strict=True):
            if self.species[a] == self.species[b]:
                continue
            off = self._deviation_after_swap(a, b)
            misfit = float(np.vdot(off, off))
            if misfit <= self.misfit + rise:
                self._accept_swap(a, b, off, misfit)
                if misfit < best - 1e-15:
                    best, kept = misfit, self.species.copy()
                    if best <= PERFECT_MISFIT:
                        break
        return best, kept

    def _deviation_after_swap(self, a: int, b: int) -> FloatArray:
        """Deviation of the pairs with the species of two sites exchanged."""
        # A swap changes two rows of `filled` by opposite amounts, so the quadratic form changes by a symmetric term of low rank.
        pairs = self.pairs
        change = self.filled[b] - self.filled[a]
        # (s, k): gains and losses of pairs with either site's neighbours.
        rows = (pairs[:, a] - pairs[:, b]) @ self.filled
        own = pairs[:, a, a] + pairs[:, b, b] - pairs[:, a, b] - pairs[:, b, a]
        cross = change[:, None] * (rows + 0.5 * own[:, None] * change)[:, None, :]
        off: FloatArray = self.off + cross + cross.transpose(0, 2, 1)
        return off

    def _accept_swap(self, a: int, b: int, off: FloatArray, misfit: float) -> None:
        """Exchange the species of two sites, and keep the new deviation and misfit."""
        self.species[[a, b]] = self.species[[b, a]]
        self.filled[[a, b]] = self.filled[[b, a]]
        self.off, self.misfit = off, misfit


def _group_pairs_by_shell(structure: Structure, reach: float) -> list[FloatArray]:
    """Pairs (n, n) of each distance up to `reach` Å, nearest first.

    The last shell may be cut off.
    """
    first, second, _, distance = structure.get_neighbor_list(reach, exclude_self=True)
    order = np.argsort(distance, kind="stable")
    edges = np.flatnonzero(np.diff(distance[order]) > SHELL_TOLERANCE) + 1
    found = []
    for members in np.split(order, edges) if len(order) else []:
        pairs = np.zeros((len(structure), len(structure)))
        np.add.at(pairs, (first[members], second[members]), 1.0)
        found.append(pairs)
    return found
