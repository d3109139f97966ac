"""Surroundings of defects: gaps that atoms can move into, bridges between polyanions, stretched bonds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import rng_for
from invdesign.spaces.defect.distortion import MAX_PAIRS, Distortion
from invdesign.spaces.defect.kinds import INTERSTITIAL
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.cell import OrderedCell
from invdesign.structures.distances import sum_covalent_radii
from invdesign.structures.parents import Parent

SOLE_BOND = 0.9  # chosen; an atom belongs to one centre if the next one is farther by more than this share: P-O 1.54, Li-O 1.95 Å
FACING_REACH = 4.5  # Å; chosen: anions of two neighbouring polyanions that face each other are 3 to 4 Å apart
SAME_CENTRE = 0.5  # Å; chosen: two atoms whose centres are nearer belong to one centre
BOND_REACH = 4.0  # Å; chosen: atoms farther from a defect are no neighbours of it
RATTLE_REACH = 5.0  # Å from a defect, within which atoms are displaced; as in ShakeNBreak
DAMPING = (1.0, 0.8, 0.6, 0.4, 0.2)  # chosen; shares of a distortion that are tried until no atoms overlap
BRIDGE_BEND = np.deg2rad(
    25.0
)  # chosen; by which each bond of a bridge leaves the line of its centres: P-O-P angles are about 130 degrees
PUSH_SHARE = 0.75  # chosen; share to which atoms that nearly overlap are pushed apart
MAX_PUSHES = 20  # chosen; most need under ten
OVERLAP_SHARE = 0.65  # chosen; of the sum of covalent radii, which a distortion leaves between atoms: forces below are too large

Gap = tuple[int, int]  # (varying site whose atom may move, vacant varying site)


def _turn_towards(first: FloatArray, second: FloatArray) -> FloatArray:
    """Smallest rotation (3, 3) that turns one direction into another.

    Args:
        first: shape (3,).
        second: shape (3,).
    """
    from scipy.spatial.transform import Rotation

    a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
    normal = np.cross(a, b)
    sine = float(np.linalg.norm(normal))
    if sine < 1e-9:
        return np.eye(3)
    found: FloatArray = Rotation.from_rotvec(np.arctan2(sine, a @ b) / sine * normal).as_matrix()
    return found


def periodic_vectors(crystal: Parent) -> FloatArray:
    """Shortest vectors from each site to each other, shape (n, n, 3), Å."""
    from pymatgen.core import Lattice
    from pymatgen.util.coord import pbc_shortest_vectors

    found: FloatArray = pbc_shortest_vectors(Lattice(crystal.lattice), crystal.positions, crystal.positions)
    return found


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Geometry of a supercell of N sites, n of which may hold defects.

    Attributes:
        ordered: its sites and orderings.
    """

    ordered: OrderedCell

    @cached_property
    def natives(self) -> tuple[str, ...]:
        """Element of the perfect crystal on all N sites; empty for a void."""
        return tuple("" if name == VACANCY else name for name in self.ordered.crystal.elements)

    @cached_property
    def vectors(self) -> FloatArray:
        """Shortest vectors between all sites, shape (N, N, 3), Å."""
        return periodic_vectors(self.ordered.crystal)

    @cached_property
    def points(self) -> FloatArray:
        """Positions of all sites, shape (N, 3), Å."""
        found: FloatArray = self.ordered.crystal.positions @ self.ordered.crystal.lattice
        return found

    @cached_property
    def distances(self) -> FloatArray:
        """Distances of the varying sites, shape (n, n), Å."""
        sites = self.ordered.sites
        found: FloatArray = np.linalg.norm(self.vectors[np.ix_(sites, sites)], axis=2)
        return found

    # Gaps: vacancies that an atom beside them may move into.

    @cached_property
    def _centres(self) -> IntArray:
        """The only centre that each site belongs to, shape (N,); -1 where there is none.

        The centre is the nearest atom of opposite charge, or of another element where charges are unknown.
        """
        crystal = self.ordered.crystal
        lengths = np.linalg.norm(self.vectors, axis=2)
        found = np.full(len(crystal), -1, dtype=np.int64)
        for site, element in enumerate(self.natives):
            own = crystal.states[site]
            if not element:
                continue
            unlike = [
                j
                for j, (other, state) in enumerate(zip(self.natives, crystal.states, strict=True))
                if other and (other != element if own is None or state is None else own * state < 0)
            ]
            order = sorted(unlike, key=lambda j: lengths[site, j])[:2]
            if len(order) == 2 and lengths[site, order[0]] < SOLE_BOND * lengths[site, order[1]]:
                found[site] = order[0]
        return found

    @cached_property
    def facing(self) -> tuple[Gap, ...]:
        """Pairs of varying sites that face each other: (site of an atom, vacant site).

        They are sites near each other of two polyanions, or sites that belong to no single centre.
        """
        sites, centres = self.ordered.sites, self._centres
        found: list[Gap] = []
        for group in self.ordered.orderings.groups:
            if group.name == INTERSTITIAL or VACANCY not in group.species:
                continue
            for i in range(group.first, group.stop):
                near = group.first + np.flatnonzero(
                    self.distances[i, group.first : group.stop] <= FACING_REACH
                )
                for j in near[near != i].tolist():
                    first, second = centres[sites[i]], centres[sites[j]]
                    if (first < 0) == (second < 0) and (first < 0 or self._join_centres(i, j) is not None):
                        found.append((i, j))
        return tuple(found)

    def _join_centres(self, i: int, j: int) -> FloatArray | None:
        """Vector (3,) in Å between the centres of two varying sites; None if they are one."""
        first, second = (int(self.ordered.sites[k]) for k in (i, j))
        start = self.vectors[first, self._centres[first]]
        stop = self.vectors[first, second] + self.vectors[second, self._centres[second]]
        return None if np.linalg.norm(stop - start) < SAME_CENTRE else stop - start

    def _find_moves(self, i: int, j: int, species: Sequence[str]) -> dict[int, FloatArray]:
        """Displacements (3,) in Å of sites by which the atom at `i` ends in the gap at `j`.

        Between two polyanions it becomes a bridge: both turn their corner towards it, and approach until its two bonds have the
        length of the bond it had. Elsewhere it goes halfway to the vacant site.

        Args:
            i: varying site of the atom.
            j: vacant varying site.
            species: N names.
        """
        first, second = (int(self.ordered.sites[k]) for k in (i, j))
        apart = self.vectors[first, second]
        axis = self._join_centres(i, j) if self._centres[first] >= 0 else None
        if axis is None:
            return {first: 0.5 * apart}
        corners = self.vectors[first, self._centres[first]], self.vectors[second, self._centres[second]]
        length = float(np.linalg.norm(corners[0]) * self._scale_bond(first, species))
        distance = float(np.linalg.norm(axis))
        middle = corners[0] + 0.5 * axis
        side = 0.5 * apart - middle  # from the middle of the centres towards the middle of the sites
        side -= (side @ axis) / distance**2 * axis
        reach = float(np.linalg.norm(side))
        bend = BRIDGE_BEND if reach > SAME_CENTRE else 0.0
        target = middle + (length * np.sin(bend) / reach * side if bend else 0.0)
        approach = 0.5 * max(distance - 2.0 * length * np.cos(bend), 0.0) / distance * axis
        found: dict[int, FloatArray] = {first: target}
        for site, corner, step in ((first, corners[0], approach), (second, corners[1], -approach)):
            centre = int(self._centres[site])
            position = corner if site == first else apart + corner
            turn = _turn_towards(-corner, target - (position + step))
            found[centre] = found.get(centre, 0.0) + step
            for ligand in np.flatnonzero(self._centres == centre).tolist():
                if ligand != site:
                    arm = -self.vectors[ligand, centre]
                    found[ligand] = found.get(ligand, 0.0) + step + turn @ arm - arm
        return found

    def _scale_bond(self, site: int, species: Sequence[str]) -> float:
        """Length of the bond of the atom on a site over that of the host's own, by covalent radii."""
        centre = species[int(self._centres[site])]
        if VACANCY in {centre, species[site]}:
            return 1.0
        sums = sum_covalent_radii([centre, species[site], self.natives[site]])
        return float(sums[0, 1] / sums[0, 2])

    @cached_property
    def _partners(self) -> Mapping[int, tuple[int, ...]]:
        """Sites whose atoms may move towards a vacant site, by that site, the nearest first."""
        found: dict[int, list[int]] = {}
        for i, j in self.facing:
            found.setdefault(j, []).append(i)
        return {
            j: tuple(sorted(own, key=lambda i: (round(self.distances[i, j], 3), i)))
            for j, own in found.items()
        }

    def find_gaps(self, codes: IntArray) -> list[Gap]:
        """Atoms that may move towards a vacancy in an arrangement (n,), at most six.

        Foreign atoms come before the host's own, near ones before far ones.
        """
        found: list[tuple[bool, float, int, int]] = []
        for j in np.flatnonzero(codes).tolist():
            if self.ordered.orderings.find_group(j).species[codes[j]] != VACANCY:
                continue
            found += [
                (bool(codes[i] == 0), round(float(self.distances[i, j]), 3), i, j)
                for i in self._partners.get(j, ())
                if self.ordered.orderings.find_group(i).species[codes[i]] != VACANCY
            ]
        return [(i, j) for *_, i, j in sorted(found)[:MAX_PAIRS]]

    # Distortions.

    def distort(
        self, codes: IntArray, species: Sequence[str], distortion: Distortion, rattle: float
    ) -> FloatArray:
        """Positions of all sites around distorted defects, shape (N, 3), Å.

        A distortion that makes atoms overlap is reduced until they do not.

        Args:
            codes: arrangement, shape (n,).
            species: N names.
            distortion: what to do.
            rattle: standard deviation of small displacements, Å.
        """
        kept = np.asarray([i for i, name in enumerate(species) if name != VACANCY])
        sums = sum_covalent_radii([species[i] for i in kept.tolist()])
        limit = min(OVERLAP_SHARE, float(self._measure_shares(self.points, kept, sums)[0].min()))
        for share in DAMPING:
            tried = replace(distortion, bond=share * distortion.bond, toward=share * distortion.toward)
            moved, held = self._distort_points(codes, species, kept, tried, share * rattle)
            moved, least = self._push_apart(moved, kept, sums, held)
            if least >= limit:
                return moved
        return self.points

    def _measure_shares(
        self, points: FloatArray, kept: IntArray, sums: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Distances of atoms over the sums of their covalent radii, shape (k, k), and unit vectors, shape (k, k, 3).

        Args:
            points: shape (N, 3), Å.
            kept: shape (k,), sites that hold an atom.
            sums: shape (k, k), of covalent radii, Å.
        """
        # A shortest vector stays one while atoms move little, but for the longest.
        moves = (points - self.points)[kept]
        vectors = self.vectors[np.ix_(kept, kept)] + moves[None, :, :] - moves[:, None, :]
        lengths = np.linalg.norm(vectors, axis=2)
        np.fill_diagonal(lengths, np.inf)
        return lengths / sums, vectors / np.maximum(lengths, 1e-6)[:, :, None]

    def _push_apart(
        self, points: FloatArray, kept: IntArray, sums: FloatArray, held: NDArray[np.bool_]
    ) -> tuple[FloatArray, float]:
        """Push atoms away from those that they nearly overlap with, and measure the smallest share that is left.

        Args:
            points: shape (N, 3), Å.
            kept: shape (k,), sites that hold an atom.
            sums: shape (k, k), of covalent radii, Å.
            held: shape (N,), True for sites whose atoms stay.

        Returns:
            (positions (N, 3) in Å, smallest distance of two atoms over the sum of their covalent radii).
        """
        moved = points.copy()
        free = ~held[kept]
        # Where one of the two atoms is held, the other goes all the way.
        weight = free[:, None] / np.maximum(free[:, None].astype(float) + free[None, :], 1.0)
        shares, units = self._measure_shares(moved, kept, sums)
        for _ in range(MAX_PUSHES):
            if shares.min() >= OVERLAP_SHARE:
                break
            deficit = np.minimum(shares - PUSH_SHARE, 0.0) * sums
            moved[kept] += ((deficit * weight)[:, :, None] * units).sum(axis=1)
            shares, units = self._measure_shares(moved, kept, sums)
        return moved, float(shares.min())

    def _distort_points(
        self,
        codes: IntArray,
        species: Sequence[str],
        kept: IntArray,
        distortion: Distortion,
        rattle: float,
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Positions (N, 3) in Å after a distortion, and the sites (N,) whose atoms are to stay there.

        Args:
            codes: arrangement, shape (n,).
            species: N names.
            kept: shape (k,), sites that hold an atom.
            distortion: what to do.
            rattle: standard deviation of small displacements, Å.
        """
        sites = self.ordered.sites
        moved = self.points.copy()
        held = np.zeros(len(moved), dtype=np.bool_)
        bonds = {int(sites[k]): self._count_bonds(int(k), codes) for k in np.flatnonzero(codes)}
        gaps = self.find_gaps(codes) if distortion.toward else []
        if gaps:
            i, j = gaps[min(distortion.pair, len(gaps) - 1)]
            for site, step in self._find_moves(i, j, species).items():
                moved[site] += distortion.toward * step
                held[site] = True
            # The atom has gone into the gap, and its bonds have their length.
            bonds.pop(int(sites[j]), None)
            bonds.pop(int(sites[i]), None)
        if distortion.bond:
            for site, number in sorted(bonds.items()):
                others = kept[kept != site]
                shifts = moved - self.points
                apart = self.vectors[site][others] + shifts[others] - shifts[site]
                lengths = np.round(np.linalg.norm(apart, axis=1), 3)
                near = np.lexsort((others, lengths))[:number]
                for k in near[lengths[near] < BOND_REACH].tolist():
                    moved[others[k]] += distortion.bond * apart[k]
        if distortion.seed and rattle:
            kicks = rng_for(0, distortion.seed, "displacements").normal(scale=rattle, size=moved.shape)
            defects = sites[np.flatnonzero(codes)]
            near = (np.linalg.norm(self.vectors[defects], axis=2) < RATTLE_REACH).any(axis=0)
            moved[near] += kicks[near]
        return moved, held

    def _count_bonds(self, place: int, codes: IntArray) -> int:
        """Number of bonds of a defect that change.

        The electrons it lacks or has too many, as in ShakeNBreak.
        """
        group = self.ordered.orderings.find_group(place)
        unit_sites = self.ordered.plan.sites[group.name]
        charges = []
        for code in (int(codes[place]), 0):
            states = self.ordered.plan.formal.list_states(group.species[code], group.name, unit_sites)
            if not states:
                return 1
            charges.append(sum(states) / len(states))
        return max(1, math.ceil(abs(charges[0] - charges[1]) - 1e-6))
