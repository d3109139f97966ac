"""A host supercell with its defects: sites, rule of distance, gaps beside atoms, and structures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Genome, Json
from invdesign.errors import Infeasible
from invdesign.rng import Rng, rng_for
from invdesign.spaces.defect.distortion import MAX_PAIRS, Distortion, read_sites
from invdesign.spaces.defect.kinds import INTERSTITIAL, DefectKind
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.cell import OrderedCell
from invdesign.spaces.ordered_sites.orderings import MAX_FILLS, MAX_LISTED, ROWS_PER_BLOCK, Codes
from invdesign.structures.distances import sum_covalent_radii
from invdesign.structures.parents import Parent
from invdesign.structures.site_labels import NATIVE, SIDE
from invdesign.structures.voids import Voids

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_DRAWS = 200  # chosen; tries to place defects one by one before a composition counts as impossible
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


def add_voids(unit: Parent, voids: Voids) -> Parent:
    """Add voids to a crystal as vacant sites named `interstitial`.

    Args:
        unit: cell of the host.
        voids: of this cell.
    """
    count = len(voids)
    return Parent(
        name=unit.name,
        lattice=unit.lattice,
        positions=np.vstack([unit.positions, voids.fractions]),
        elements=(*unit.elements, *[VACANCY] * count),
        labels=(*unit.labels, *[INTERSTITIAL] * count),
        wyckoff=(*unit.wyckoff, *[""] * count),
        states=(*unit.states, *[0.0] * count),
    )


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
class DefectCell:
    """Supercell of N sites, of which n may hold defects; code 0 is the host's own species.

    Attributes:
        ordered: its sites and orderings.
        kinds: of defects.
        within: largest distance of two defects, Å; None for any.
        room: least distance of two occupied voids, Å.
    """

    ordered: OrderedCell
    kinds: tuple[DefectKind, ...]
    within: float | None
    room: float

    # Sites and kinds.

    @cached_property
    def _codes_by_kind(self) -> tuple[tuple[int, int], ...]:
        """Number of the group and code of each kind."""
        groups = self.ordered.orderings.groups
        names = [group.name for group in groups]
        found = []
        for kind in self.kinds:
            number = names.index(kind.place)
            found.append((number, groups[number].species.index(kind.species)))
        return tuple(found)

    @cached_property
    def _places(self) -> Mapping[int, int]:
        """Number among the varying sites by number in the supercell."""
        return {site: place for place, site in enumerate(self.ordered.sites.tolist())}

    @cached_property
    def natives(self) -> tuple[str, ...]:
        """Element of the perfect crystal on all N sites; empty for a void."""
        return tuple("" if name == VACANCY else name for name in self.ordered.crystal.elements)

    @cached_property
    def columns(self) -> IntArray:
        """Column of each kind of defect among the compositions, shape (kinds,)."""
        groups = self.ordered.orderings.groups
        starts = np.cumsum([0, *(len(group.species) for group in groups)])
        return np.asarray([starts[number] + code for number, code in self._codes_by_kind], dtype=np.int64)

    def count_defects(self, counts: IntArray) -> dict[str, int]:
        """Number of defects by kind in a composition (s,)."""
        return {kind.name: int(counts[c]) for kind, c in zip(self.kinds, self.columns, strict=True)}

    def list_sites(self, codes: IntArray) -> dict[str, list[int]]:
        """Sites of the supercell by kind of defect, ascending.

        Args:
            codes: shape (n,).
        """
        groups = self.ordered.orderings.groups
        found = {}
        for kind, (number, code) in zip(self.kinds, self._codes_by_kind, strict=True):
            group = groups[number]
            here = group.first + np.flatnonzero(codes[group.first : group.stop] == code)
            found[kind.name] = sorted(self.ordered.sites[here].tolist())
        return found

    def read_codes(self, genome: Genome) -> IntArray:
        """Codes (n,) of a genome.

        Raises:
            Infeasible: a site is not of its kind or taken twice, or the numbers of defects are not the space's.
        """
        codes = np.zeros(self.ordered.orderings.n, dtype=np.int64)
        listed = read_sites(genome, tuple(kind.name for kind in self.kinds))
        for kind, (number, code) in zip(self.kinds, self._codes_by_kind, strict=True):
            group = self.ordered.orderings.groups[number]
            for site in listed[kind.name]:
                place = self._places.get(site, -1)
                if not group.first <= place < group.stop:
                    raise Infeasible(
                        f"'{kind.name}' can be on the sites of {kind.place} ({self._describe_sites(number)}), got {site}"
                    )
                if codes[place]:
                    raise Infeasible(f"site {site} holds two defects")
                codes[place] = code
        return codes

    def _describe_sites(self, number: int) -> str:
        group = self.ordered.orderings.groups[number]
        sites = self.ordered.sites[group.first : group.stop]
        return f"{len(sites)} of them between {sites.min()} and {sites.max()}"

    def write_sites(self, codes: IntArray) -> dict[str, Json]:
        """Part of a genome that names the sites of an arrangement `codes` (n,)."""
        return {name: list(sites) for name, sites in self.list_sites(codes).items()}

    # The rule of distance.

    @cached_property
    def _vectors(self) -> FloatArray:
        """Shortest vectors between all sites, shape (N, N, 3), Å."""
        return periodic_vectors(self.ordered.crystal)

    @cached_property
    def _points(self) -> FloatArray:
        """Positions of all sites, shape (N, 3), Å."""
        found: FloatArray = self.ordered.crystal.positions @ self.ordered.crystal.lattice
        return found

    @cached_property
    def distances(self) -> FloatArray:
        """Distances of the varying sites, shape (n, n), Å."""
        sites = self.ordered.sites
        found: FloatArray = np.linalg.norm(self._vectors[np.ix_(sites, sites)], axis=2)
        return found

    @cached_property
    def compatible(self) -> NDArray[np.bool_]:
        """True for pairs of sites that may both hold a defect, shape (n, n)."""
        allowed = np.ones(self.distances.shape, dtype=np.bool_)
        if self.within is not None:
            allowed &= self.distances <= self.within + 1e-6
        void = np.array([self.natives[site] == "" for site in self.ordered.sites])
        allowed &= ~(void[:, None] & void[None, :] & (self.distances < self.room))
        np.fill_diagonal(allowed, True)
        return allowed

    @cached_property
    def ruled(self) -> bool:
        """True if some pair of sites may not hold two defects."""
        return not self.compatible.all()

    def keeps_rule(self, codes: IntArray) -> bool:
        """True if all pairs of defects in the arrangement `codes` (n,) are allowed."""
        sites = np.flatnonzero(codes)
        return bool(self.compatible[np.ix_(sites, sites)].all())

    def describe_distances(self, codes: IntArray) -> str:
        """Words on the two defects of an arrangement (n,) that break the rule most."""
        sites = np.flatnonzero(codes)
        apart = self.distances[np.ix_(sites, sites)]
        wrong = ~self.compatible[np.ix_(sites, sites)]
        i, j = np.unravel_index(int((wrong * apart).argmax()), apart.shape)
        a, b = (int(self.ordered.sites[sites[k]]) for k in (i, j))
        limit = "" if self.within is None else f"all are within {self.within:g} Å of one another, and "
        return f"defects on sites {a} and {b} are {apart[i, j]:.2f} Å apart; {limit}occupied voids are {self.room:g} Å apart or more"

    # Drawing and repairing.

    def _list_slots(self, counts: IntArray) -> list[tuple[int, int]]:
        """(number of the group, code) of each defect of a composition."""
        found = []
        for pair, column in zip(self._codes_by_kind, self.columns, strict=True):
            found += [pair] * int(counts[column])
        return found

    def draw_codes(self, counts: IntArray, rng: Rng, held: IntArray | None = None) -> IntArray | None:
        """Draw an arrangement (n,) of a composition, defect by defect; None where none is found.

        Args:
            counts: the composition, shape (s,).
            rng: random generator.
            held: arrangement (n,) of some of the defects, which stay.
        """
        slots = self._list_slots(counts)
        start = np.zeros(self.ordered.orderings.n, dtype=np.int64) if held is None else held
        for site in np.flatnonzero(start).tolist():
            number = self.ordered.orderings.groups.index(self.ordered.orderings.find_group(site))
            slots.remove((number, int(start[site])))
        for _ in range(MAX_DRAWS):
            codes = start.copy()
            for which in rng.permutation(len(slots)).tolist():
                number, code = slots[which]
                free = self._find_free(codes, number)
                if not len(free):
                    break
                codes[free[int(rng.random() * len(free))]] = code
            else:
                return codes
        return None

    def _find_free(self, codes: IntArray, number: int) -> IntArray:
        """Sites of a group that may take one more defect beside those of an arrangement (n,)."""
        group = self.ordered.orderings.groups[number]
        taken = np.flatnonzero(codes)
        own = np.arange(group.first, group.stop)
        free: IntArray = own[self.compatible[np.ix_(own, taken)].all(axis=1) & (codes[own] == 0)]
        return free

    def repair(self, codes: IntArray, rng: Rng | None = None) -> IntArray | None:
        """Arrangement (n,) that keeps the rule, near the given one; None where none is found.

        One defect stays; the others go to the nearest sites that are allowed.

        Args:
            codes: shape (n,).
            rng: random generator, which chooses the defect that stays; without one, the first that allows it.
        """
        if self.keeps_rule(codes):
            return codes
        order = np.flatnonzero(codes)
        anchors = order if rng is None else rng.permutation(order)
        for anchor in anchors.tolist():
            found = np.zeros_like(codes)
            found[anchor] = codes[anchor]
            rest = [site for site in order.tolist() if site != anchor]
            for site in sorted(rest, key=lambda site: (round(self.distances[anchor, site], 6), site)):
                group = self.ordered.orderings.find_group(site)
                free = self._find_free(found, self.ordered.orderings.groups.index(group))
                if not len(free):
                    break
                nearest = free[int(np.round(self.distances[site, free], 6).argmin())]
                found[nearest] = codes[site]
            else:
                return found
        return None

    # Counting and listing.

    @cached_property
    def size(self) -> int | None:
        """Exact number of distinct arrangements; None where counting takes too long."""
        if not self.ruled:
            return self.ordered.orderings.size
        return None if self._listed is None else len(self._listed)

    @cached_property
    def countable(self) -> bool:
        """True if the distinct arrangements can be listed."""
        if not self.ruled:
            return self.ordered.orderings.countable
        return self._listed is not None and len(self._listed) <= MAX_LISTED

    @property
    def distinct(self) -> Codes:
        """All distinct arrangements in lexicographic order, shape (size, n); only where `countable`."""
        listed = self._listed if self.ruled else self.ordered.orderings.distinct_orderings
        if listed is None:
            raise ValueError("the arrangements cannot be listed")
        return listed

    @cached_property
    def _listed(self) -> Codes | None:
        """Distinct arrangements that keep the rule; None where there are too many to go through."""
        orderings = self.ordered.orderings
        kept: list[Codes] = []
        total = 0
        for counts in orderings.compositions:
            slots = self._list_slots(counts)
            rows = self._extend_slots(slots, MAX_FILLS - total)
            if rows is None:
                return None
            total += len(rows)
            for start in range(0, len(rows), ROWS_PER_BLOCK):
                part = rows[start : start + ROWS_PER_BLOCK]
                block = np.zeros((len(part), orderings.n), dtype=np.uint8)
                for column, (_, code) in enumerate(slots):
                    block[np.arange(len(part)), part[:, column]] = code
                kept.append(block[orderings.are_smallest(block)])
        found = np.concatenate(kept)
        return found[np.lexsort(found.T[::-1])]

    def _extend_slots(self, slots: Sequence[tuple[int, int]], most: int) -> IntArray | None:
        """Sites of all allowed arrangements of some defects, shape (m, defects); None for more than `most`.

        Defects of one kind stand on ascending sites, so that each arrangement comes once.
        """
        rows = np.zeros((1, 0), dtype=np.int64)
        for column, (number, code) in enumerate(slots):
            group = self.ordered.orderings.groups[number]
            own = np.arange(group.first, group.stop)
            allowed = np.ones((len(rows), len(own)), dtype=np.bool_)
            for before in range(column):
                sites = rows[:, before]
                allowed &= self.compatible[sites][:, own] & (sites[:, None] != own)
                if slots[before] == (number, code):
                    allowed &= own > sites[:, None]
            if int(allowed.sum()) > most:
                return None
            chosen, which = np.nonzero(allowed)
            rows = np.hstack([rows[chosen], own[which][:, None]])
        return rows

    # Gaps: vacancies that an atom beside them may move into.

    @cached_property
    def _centres(self) -> IntArray:
        """The only centre that each site belongs to, shape (N,); -1 where there is none.

        The centre is the nearest atom of opposite charge, or of another element where charges are unknown.
        """
        crystal = self.ordered.crystal
        lengths = np.linalg.norm(self._vectors, axis=2)
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
        start = self._vectors[first, self._centres[first]]
        stop = self._vectors[first, second] + self._vectors[second, self._centres[second]]
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
        apart = self._vectors[first, second]
        axis = self._join_centres(i, j) if self._centres[first] >= 0 else None
        if axis is None:
            return {first: 0.5 * apart}
        corners = self._vectors[first, self._centres[first]], self._vectors[second, self._centres[second]]
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
                    arm = -self._vectors[ligand, centre]
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

    # Structures.

    @cached_property
    def host(self) -> Structure:
        """The perfect supercell, with labels of its sites."""
        from pymatgen.core import Structure

        crystal = self.ordered.crystal
        kept = [i for i, name in enumerate(self.natives) if name]
        names = [self.natives[i] for i in kept]
        labels = {SIDE: ["host"] * len(kept), NATIVE: names}
        return Structure(crystal.lattice, names, crystal.positions[kept], site_properties=labels)

    def build_structure(self, codes: IntArray, distortion: Distortion | None, rattle: float) -> Structure:
        """Build the crystal with its defects, distorted, with labels of its sites.

        A distortion that makes atoms overlap is reduced until they do not.

        Args:
            codes: arrangement, shape (n,).
            distortion: of its surroundings.
            rattle: standard deviation of small displacements, Å.
        """
        from pymatgen.core import Structure

        species = self.ordered.list_species(codes)
        kept = np.asarray([i for i, name in enumerate(species) if name != VACANCY])
        crystal = self.ordered.crystal
        points = self._points
        if distortion is not None:
            limit = min(OVERLAP_SHARE, float(self._measure_shares(points, species, kept)[0].min()))
            for share in DAMPING:
                tried = replace(distortion, bond=share * distortion.bond, toward=share * distortion.toward)
                moved, held = self._distort_points(points, codes, species, kept, tried, share * rattle)
                moved, least = self._push_apart(moved, species, kept, held)
                if least >= limit:
                    points = moved
                    break
        defects = set(self.ordered.sites[np.flatnonzero(codes)].tolist())
        labels = {
            SIDE: ["defect" if i in defects else "host" for i in kept.tolist()],
            NATIVE: [self.natives[i] for i in kept.tolist()],
        }
        return Structure(
            crystal.lattice,
            [species[i] for i in kept.tolist()],
            points[kept] @ np.linalg.inv(crystal.lattice),
            site_properties=labels,
        )

    def _measure_shares(
        self, points: FloatArray, species: Sequence[str], kept: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Distances of atoms over the sums of their covalent radii, shape (k, k), and unit vectors, shape (k, k, 3).

        Args:
            points: shape (N, 3), Å.
            species: N names.
            kept: shape (k,), sites that hold an atom.
        """
        # A shortest vector stays one while atoms move little, but for the longest.
        moves = (points - self._points)[kept]
        vectors = self._vectors[np.ix_(kept, kept)] + moves[None, :, :] - moves[:, None, :]
        lengths = np.linalg.norm(vectors, axis=2)
        np.fill_diagonal(lengths, np.inf)
        names = sorted({species[i] for i in kept.tolist()})
        which = np.asarray([names.index(species[i]) for i in kept.tolist()])
        shares: FloatArray = lengths / sum_covalent_radii(names)[np.ix_(which, which)]
        return shares, vectors / np.maximum(lengths, 1e-6)[:, :, None]

    def _push_apart(
        self, points: FloatArray, species: Sequence[str], kept: IntArray, held: NDArray[np.bool_]
    ) -> tuple[FloatArray, float]:
        """Push atoms away from those that they nearly overlap with, and measure the smallest share that is left.

        Args:
            points: shape (N, 3), Å.
            species: N names.
            kept: shape (k,), sites that hold an atom.
            held: shape (N,), True for sites whose atoms stay.

        Returns:
            (positions (N, 3) in Å, smallest distance of two atoms over the sum of their covalent radii).
        """
        moved = points.copy()
        free = ~held[kept]
        for _ in range(MAX_PUSHES):
            shares, units = self._measure_shares(moved, species, kept)
            short = np.minimum(shares - PUSH_SHARE, 0.0)
            if shares.min() >= OVERLAP_SHARE:
                break
            names = np.asarray([sum_covalent_radii([species[i]])[0, 0] / 2 for i in kept.tolist()])
            deficit = short * (names[:, None] + names[None, :])
            # Where one of the two atoms is held, the other goes all the way.
            weight = free[:, None] / np.maximum(free[:, None].astype(float) + free[None, :], 1.0)
            moved[kept] += ((deficit * weight)[:, :, None] * units).sum(axis=1)
        return moved, float(self._measure_shares(moved, species, kept)[0].min())

    def _distort_points(
        self,
        points: FloatArray,
        codes: IntArray,
        species: Sequence[str],
        kept: IntArray,
        distortion: Distortion,
        rattle: float,
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Positions (N, 3) in Å after a distortion, and the sites (N,) whose atoms are to stay there.

        Args:
            points: shape (N, 3), Å.
            codes: arrangement, shape (n,).
            species: N names.
            kept: shape (k,), sites that hold an atom.
            distortion: what to do.
            rattle: standard deviation of small displacements, Å.
        """
        sites = self.ordered.sites
        moved = points.copy()
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
        starts = self._points
        if distortion.bond:
            for site, number in sorted(bonds.items()):
                others = kept[kept != site]
                apart = self._vectors[site][others] + (moved - starts)[others] - (moved - starts)[site]
                lengths = np.round(np.linalg.norm(apart, axis=1), 3)
                near = np.lexsort((others, lengths))[:number]
                for k in near[lengths[near] < BOND_REACH].tolist():
                    moved[others[k]] += distortion.bond * apart[k]
        if distortion.seed and rattle:
            kicks = rng_for(0, distortion.seed, "displacements").normal(scale=rattle, size=moved.shape)
            defects = sites[np.flatnonzero(codes)]
            near = (np.linalg.norm(self._vectors[defects], axis=2) < RATTLE_REACH).any(axis=0)
            moved[near] += kicks[near]
        return moved, held

    def _count_bonds(self, place: int, codes: IntArray) -> int:
        """Number of bonds of a defect that change: the electrons it lacks or has too many, as in ShakeNBreak."""
        group = self.ordered.orderings.find_group(place)
        unit_sites = self.ordered.plan.sites[group.name]
        charges = []
        for code in (int(codes[place]), 0):
            states = self.ordered.plan.formal.list_states(group.species[code], group.name, unit_sites)
            if not states:
                return 1
            charges.append(sum(states) / len(states))
        return max(1, math.ceil(abs(charges[0] - charges[1]) - 1e-6))


def iterate_blocks(rows: Codes, size: int) -> Iterator[tuple[int, IntArray]]:
    """Iterate over arrangements in blocks: (number of the first, codes (<= size, n))."""
    for first in range(0, len(rows), size):
        yield first, rows[first : first + size].astype(np.int64)
