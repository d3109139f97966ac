"""Variation operators on arrangements of defects.

Every result is canonical, of an allowed composition, and keeps the rule of distance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from invdesign.arrays import IntArray
from invdesign.candidate import Genome
from invdesign.rng import Rng
from invdesign.spaces.defect.cell import DefectCell
from invdesign.spaces.defect.distortion import (
    Distort,
    Distortion,
    change_distortion,
    draw_distortion,
    mix_distortions,
)
from invdesign.spaces.operators import FromCodes, GenomeOperator
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.operators import OrderingOperators
from invdesign.spaces.ordered_sites.orderings import SiteGroup

Arranged: TypeAlias = tuple[IntArray, Distortion | None]  # codes (n,), distortion of their surroundings

MAX_TRIES = 20  # chosen; draws before an operator gives up, as a space may hold nothing near a parent
NEAR_SITES = 8  # chosen; sites that count as near to a defect that moves
NEAR_PROBABILITY = 0.6  # chosen; of a defect going to a near site rather than to any
FACING_SHARE = 2.0  # chosen; of starts with an atom turned into a gap, beside 1 of all other starts
DISTORT_PROBABILITY = 0.3  # chosen; of a new distortion for a defect that has moved


def build_operators(
    cell: DefectCell,
    distort: Distort | None,
    read: Callable[[Genome], Arranged],
    write: Callable[[Arranged], Genome],
    *,
    electrostatic: bool,
) -> Mapping[str, GenomeOperator]:
    """Build the operators that apply to a host.

    Args:
        cell: the host.
        distort: what a distortion may do; None for none.
        read: convert a genome to arrangement and distortion.
        write: the inverse, for a canonical arrangement.
        electrostatic: True if electrostatic energies are to guide starts.
    """
    tools = DefectOperators(cell, distort)
    makers: dict[str, tuple[int, Callable[[Sequence[Arranged], Rng], Arranged | None], float]] = {
        "start": (0, tools.draw_random, 1.0),
        "move": (1, tools.move_defect, 1.0),
        "crossover": (2, tools.cross_parents, 1.0),
    }
    if distort is not None:
        makers["distort"] = (1, tools.change_distortion, 1.0)
        if distort.toward and tools.can_face:
            makers["facing"] = (0, tools.draw_facing, FACING_SHARE)
    if electrostatic:
        makers["electrostatic"] = (0, tools.draw_electrostatic, 1.0)
    if len(cell.ordered.orderings.compositions) > 1:
        makers["shift"] = (1, tools.shift_composition, 1.0)
    return {
        name: GenomeOperator(arity, FromCodes(make, read, write), share)
        for name, (arity, make, share) in makers.items()
    }


@dataclass(frozen=True, slots=True)
class DefectOperators:
    """Operators on arrangements of defects.

    Attributes:
        cell: the host.
        distort: what a distortion may do; None for none.
    """

    cell: DefectCell
    distort: Distort | None

    @property
    def can_face(self) -> bool:
        """True if some composition lets an atom turn to a vacancy that its site faces."""
        return any(self._list_turned(counts) for counts in self.cell.ordered.orderings.compositions)

    def draw_random(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:  # noqa: ARG002 - there are none
        """Draw defects on random sites, with a random distortion.

        Args:
            parents: none.
            rng: random generator.
        """
        return self._finish(self.cell.draw_codes(self._draw_counts(rng), rng), rng)

    def draw_facing(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:  # noqa: ARG002 - there are none
        """Draw a foreign atom that faces a vacancy at another centre, turned at least halfway into the gap.

        Without foreign atoms on such sites an atom of the host is turned.

        Args:
            parents: none.
            rng: random generator.
        """
        cell, orderings = self.cell, self.cell.ordered.orderings
        for _ in range(MAX_TRIES):
            counts = self._draw_counts(rng)
            turned = self._list_turned(counts)
            if not turned:
                continue
            group, code = turned[int(rng.random() * len(turned))]
            pairs = [pair for pair in cell.surroundings.facing if group.first <= pair[0] < group.stop]
            i, j = pairs[int(rng.random() * len(pairs))]
            held = np.zeros(orderings.n, dtype=np.int64)
            held[i], held[j] = code, group.species.index(VACANCY)
            codes = cell.draw_codes(counts, rng, held) if cell.keeps_rule(held) else None
            if codes is None:
                continue
            # Gaps are in the order of their distances, which symmetry keeps.
            gaps = cell.surroundings.find_gaps(codes)
            if self.distort is None or (i, j) not in gaps:
                continue
            drawn = draw_distortion(self.distort, len(gaps), rng, facing=gaps.index((i, j)))
            return orderings.to_canonical(codes), drawn
        return None

    def _list_turned(self, counts: IntArray) -> list[tuple[SiteGroup, int]]:
        """(group of sites, code) of atoms that a composition (s,) lets turn into a gap."""
        found = []
        orderings = self.cell.ordered.orderings
        held = {i for i, _ in self.cell.surroundings.facing}
        for group in orderings.groups:
            if VACANCY not in group.species or not held & set(range(group.first, group.stop)):
                continue
            column = int(orderings.offsets[group.first])
            own = counts[column : column + len(group.species)]
            if not own[group.species.index(VACANCY)]:
                continue
            foreign = [code for code in range(1, len(own)) if own[code] and group.species[code] != VACANCY]
            found += [(group, code) for code in foreign or ([0] if own[0] else [])]
        return found

    def draw_electrostatic(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:  # noqa: ARG002 - there are none
        """Draw defects on sites of low electrostatic energy.

        Args:
            parents: none.
            rng: random generator.
        """
        charges = self.cell.ordered.electrostatics
        if charges is None:
            return None
        for _ in range(MAX_TRIES):
            codes = charges.draw_low_energy(self._draw_counts(rng), rng)
            if self.cell.keeps_rule(codes):
                return self._finish(codes, rng)
        return self._finish(self.cell.repair(codes, rng), rng)

    def _draw_counts(self, rng: Rng) -> IntArray:
        """Draw a composition (s,)."""
        compositions = self.cell.ordered.orderings.compositions
        drawn: IntArray = compositions[int(rng.random() * len(compositions))]
        return drawn

    def _finish(
        self, codes: IntArray | None, rng: Rng, distortion: Distortion | None = None
    ) -> Arranged | None:
        """Canonical form of an arrangement, with the distortion or a new one.

        Args:
            codes: shape (n,), or None where none was found.
            rng: random generator.
            distortion: of a parent; None to draw one.
        """
        if codes is None:
            return None
        codes = self.cell.ordered.orderings.to_canonical(codes)
        if self.distort is None:
            return codes, None
        gaps = len(self.cell.surroundings.find_gaps(codes))
        if distortion is None:
            return codes, draw_distortion(self.distort, gaps, rng)
        return codes, distortion.settle(self.distort, gaps)

    def move_defect(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:
        """Move a defect to another site of its kind, or exchange two.

        Sometimes with a new distortion.

        Args:
            parents: one arrangement.
            rng: random generator.
        """
        ((parent, distortion),) = parents
        orderings = self.cell.ordered.orderings
        for _ in range(MAX_TRIES):
            defects = np.flatnonzero(parent)
            site = int(defects[int(rng.random() * len(defects))])
            group = orderings.find_group(site)
            own = np.arange(group.first, group.stop)
            own = own[parent[own] != parent[site]]
            if not len(own):
                continue
            if rng.random() < NEAR_PROBABILITY:
                own = own[np.argsort(np.round(self.cell.distances[site, own], 6), kind="stable")[:NEAR_SITES]]
            other = int(own[int(rng.random() * len(own))])
            codes = parent.copy()
            codes[site], codes[other] = parent[other], parent[site]
            repaired = self.cell.repair(codes, rng)
            kept = None if rng.random() < DISTORT_PROBABILITY else distortion
            child = self._finish(repaired, rng, kept)
            if child is not None and not (child[0] == parent).all():
                return child
        return None

    def change_distortion(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:
        """Change the distortion around the same defects.

        Args:
            parents: one arrangement.
            rng: random generator.
        """
        ((codes, old),) = parents
        if self.distort is None or old is None:
            return None
        gaps = len(self.cell.surroundings.find_gaps(codes))
        for _ in range(MAX_TRIES):
            new = change_distortion(old, self.distort, gaps, rng)
            if new != old:
                return codes, new
        return None

    def shift_composition(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:
        """Go to a neighbouring number of defects.

        Args:
            parents: one arrangement.
            rng: random generator.
        """
        ((parent, distortion),) = parents
        orderings = self.cell.ordered.orderings
        options = orderings.find_nearest_compositions(orderings.count_species(parent))
        for _ in range(MAX_TRIES if len(options) else 0):
            counts = options[int(rng.random() * len(options))]
            codes = self.cell.repair(orderings.move_to_composition(parent, counts, rng), rng)
            if codes is not None:
                return self._finish(codes, rng, distortion)
        return None

    def cross_parents(self, parents: Sequence[Arranged], rng: Rng) -> Arranged | None:
        """Cut and splice two arrangements; each number of the distortion comes from either.

        Args:
            parents: two arrangements.
            rng: random generator.
        """
        (mother, first), (father, second) = parents
        tools = OrderingOperators((self.cell.ordered,), 1)
        mixed = None if first is None or second is None else mix_distortions(first, second, rng)
        crossed = tools.cross_parents([(0, mother), (0, father)], rng)
        codes = mother if crossed is None else self.cell.repair(crossed[1], rng)
        child = self._finish(codes, rng, mixed)
        known = child is None or any(
            (child[0] == codes).all() and child[1] == distortion for codes, distortion in parents
        )
        return None if known else child
