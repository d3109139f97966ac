"""A host supercell with its defects: sites, rule of distance, gaps beside atoms, and structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Genome, Json
from invdesign.errors import Infeasible
from invdesign.rng import Rng
from invdesign.spaces.defect.distortion import Distortion, read_sites
from invdesign.spaces.defect.kinds import INTERSTITIAL, DefectKind
from invdesign.spaces.defect.surroundings import Surroundings
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.cell import OrderedCell
from invdesign.spaces.ordered_sites.orderings import MAX_FILLS, MAX_LISTED, ROWS_PER_BLOCK, Codes, SiteGroup
from invdesign.structures.parents import Parent
from invdesign.structures.site_labels import DEFECT, HOST, NATIVE, SIDE
from invdesign.structures.voids import Voids

if TYPE_CHECKING:
    from pymatgen.core import Structure

Slot: TypeAlias = tuple[SiteGroup, int]  # sites that a defect may be on, its code there

MAX_DRAWS = 200  # chosen; tries to place defects one by one before a composition counts as impossible


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


@dataclass(frozen=True, eq=False)
class DefectCell:
    """Supercell of N sites, of which n may hold defects.

    Code 0 is the host's own species.

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
    def surroundings(self) -> Surroundings:
        """Geometry around the defects."""
        return Surroundings(self.ordered)

    @property
    def natives(self) -> tuple[str, ...]:
        """Element of the perfect crystal on all N sites; empty for a void."""
        return self.surroundings.natives

    @property
    def distances(self) -> FloatArray:
        """Distances of the varying sites, shape (n, n), Å."""
        return self.surroundings.distances

    @cached_property
    def _slots(self) -> tuple[Slot, ...]:
        """Sites and code of each kind."""
        groups = {group.name: group for group in self.ordered.orderings.groups}
        return tuple(
            (groups[kind.place], groups[kind.place].species.index(kind.species)) for kind in self.kinds
        )

    @cached_property
    def _places(self) -> Mapping[int, int]:
        """Number among the varying sites by number in the supercell."""
        return {site: place for place, site in enumerate(self.ordered.sites.tolist())}

    @cached_property
    def columns(self) -> IntArray:
        """Column of each kind of defect among the compositions, shape (kinds,)."""
        offsets = self.ordered.orderings.offsets
        return np.asarray([offsets[group.first] + code for group, code in self._slots], dtype=np.int64)

    def count_defects(self, counts: IntArray) -> dict[str, int]:
        """Number of defects by kind in a composition (s,)."""
        return {kind.name: int(counts[c]) for kind, c in zip(self.kinds, self.columns, strict=True)}

    def list_places(self, codes: IntArray) -> list[IntArray]:
        """Varying sites of each kind of defect, ascending.

        Args:
            codes: shape (n,).
        """
        return [
            group.first + np.flatnonzero(codes[group.first : group.stop] == code)
            for group, code in self._slots
        ]

    def list_sites(self, codes: IntArray) -> dict[str, list[int]]:
        """Sites of the supercell by kind of defect, ascending.

        Args:
            codes: shape (n,).
        """
        listed = zip(self.kinds, self.list_places(codes), strict=True)
        return {kind.name: self.ordered.sites[places].tolist() for kind, places in listed}

    def read_codes(self, genome: Genome) -> IntArray:
        """Codes (n,) of a genome.

        Raises:
            Infeasible: a site is not of its kind or taken twice, or the numbers of defects are not the space's.
        """
        codes = np.zeros(self.ordered.orderings.n, dtype=np.int64)
        listed = read_sites(genome, tuple(kind.name for kind in self.kinds))
        for kind, (group, code) in zip(self.kinds, self._slots, strict=True):
            for site in listed[kind.name]:
                place = self._places.get(site, -1)
                if not group.first <= place < group.stop:
                    raise Infeasible(
                        f"'{kind.name}' can be on the sites of {kind.place} ({self._describe_sites(group)}), got {site}"
                    )
                if codes[place]:
                    raise Infeasible(f"site {site} holds two defects")
                codes[place] = code
        return codes

    def _describe_sites(self, group: SiteGroup) -> str:
        sites = self.ordered.sites[group.first : group.stop]
        return f"{len(sites)} of them between {sites.min()} and {sites.max()}"

    def write_sites(self, codes: IntArray) -> dict[str, Json]:
        """Part of a genome that names the sites of an arrangement `codes` (n,)."""
        return {name: list(sites) for name, sites in self.list_sites(codes).items()}

    # The rule of distance.

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

    def _list_slots(self, counts: IntArray) -> list[Slot]:
        """Sites and code of each defect of a composition."""
        found = []
        for slot, column in zip(self._slots, self.columns, strict=True):
            found += [slot] * int(counts[column])
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
            slots.remove((self.ordered.orderings.find_group(site), int(start[site])))
        for _ in range(MAX_DRAWS):
            codes = start.copy()
            for which in rng.permutation(len(slots)).tolist():
                group, code = slots[which]
                free = self._find_free(codes, group)
                if not len(free):
                    break
                codes[free[int(rng.random() * len(free))]] = code
            else:
                return codes
        return None

    def _find_free(self, codes: IntArray, group: SiteGroup) -> IntArray:
        """Sites of a group that may take one more defect beside those of an arrangement (n,)."""
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
                free = self._find_free(found, self.ordered.orderings.find_group(site))
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

    def _extend_slots(self, slots: Sequence[Slot], most: int) -> IntArray | None:
        """Sites of all allowed arrangements of some defects, shape (m, defects); None for more than `most`.

        Defects of one kind stand on ascending sites, so that each arrangement comes once.
        """
        rows = np.zeros((1, 0), dtype=np.int64)
        for column, (group, code) in enumerate(slots):
            own = np.arange(group.first, group.stop)
            allowed = np.ones((len(rows), len(own)), dtype=np.bool_)
            for before in range(column):
                sites = rows[:, before]
                allowed &= self.compatible[sites][:, own] & (sites[:, None] != own)
                if slots[before] == (group, code):
                    allowed &= own > sites[:, None]
            if int(allowed.sum()) > most:
                return None
            chosen, which = np.nonzero(allowed)
            rows = np.hstack([rows[chosen], own[which][:, None]])
        return rows

    # Structures.

    @cached_property
    def host(self) -> Structure:
        """The perfect supercell, with labels of its sites."""
        from pymatgen.core import Structure

        crystal = self.ordered.crystal
        kept = [i for i, name in enumerate(self.natives) if name]
        names = [self.natives[i] for i in kept]
        labels = {SIDE: [HOST] * len(kept), NATIVE: names}
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
        points = self.surroundings.points
        if distortion is not None:
            points = self.surroundings.distort(codes, species, distortion, rattle)
        defects = set(self.ordered.sites[np.flatnonzero(codes)].tolist())
        labels = {
            SIDE: [DEFECT if i in defects else HOST for i in kept.tolist()],
            NATIVE: [self.natives[i] for i in kept.tolist()],
        }
        return Structure(
            crystal.lattice,
            [species[i] for i in kept.tolist()],
            points[kept] @ np.linalg.inv(crystal.lattice),
            site_properties=labels,
        )


def iterate_blocks(rows: Codes, size: int) -> Iterator[tuple[int, IntArray]]:
    """Iterate over arrangements in blocks: (number of the first, codes (<= size, n))."""
    for first in range(0, len(rows), size):
        yield first, rows[first : first + size].astype(np.int64)
