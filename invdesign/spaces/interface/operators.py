"""Variation operators on interfaces.

Every result is canonical, within the rules of the space, and different from its parents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import IntArray
from invdesign.rng import Rng
from invdesign.spaces.interface.cell import InterfaceCell
from invdesign.spaces.interface.genomes import GenomeReader, Placed
from invdesign.spaces.interface.shifts import STEPS, to_steps
from invdesign.spaces.interface.sites import NATIVE
from invdesign.spaces.operators import GenomeOperator, operators_on_codes
from invdesign.spaces.ordered_sites.operators import draw_crests

MAX_TRIES = 20  # chosen; draws before an operator gives up, as a space may hold nothing near a parent
SHORTEST_STEP, LONGEST_STEP = 0.05, 3.0  # Å, lengths of a step of the shift (chosen)
FAR_SHIFT_PROBABILITY = 0.2  # chosen; of a shift drawn anew instead of a step
GAP_STEP = 0.15  # standard deviation of a step of the gap, as a share of its range (chosen)
MOVE_PROBABILITY = 0.4  # chosen; of moving a foreign atom to another site instead of changing their number
MORE_CHANGES_PROBABILITY = 0.3  # chosen; of one more change in a mutation

Maker = Callable[[Sequence[Placed], Rng], Placed | None]


@dataclass(frozen=True, eq=False)
class InterfaceOperators:
    """Operators on codes of interfaces.

    Attributes:
        reader: of the space, with its cells.
        exchanges: numbers of the transfers that are exchanges.
        depletions: numbers of the transfers that are depletions.
    """

    reader: GenomeReader
    exchanges: tuple[int, ...]
    depletions: tuple[int, ...]

    def build(self) -> Mapping[str, GenomeOperator]:
        """Build the operators that apply to the space, by name."""
        cells = self.reader.cells
        makers: dict[str, tuple[int, Maker]] = {"start": (0, self.draw_random)}
        if self.exchanges or self.depletions:
            makers["abrupt"] = (0, self.draw_abrupt)
        if self.reader.shifts:
            makers["shift"] = (1, self.step_shift)
        if self.reader.gaps:
            makers["gap"] = (1, self.step_gap)
        if self.exchanges:
            makers["exchange"] = (1, self.change_exchanges)
        if self.depletions:
            makers["deplete"] = (1, self.change_depletion)
        if len(cells) > 1:
            makers["rematch"] = (1, self.change_match)
        if len(makers) > 1:
            makers["crossover"] = (2, self.cross_parents)
        return operators_on_codes(makers, self.reader.read_canonical, self.reader.write)

    # Starts.

    def draw_random(self, parents: Sequence[Placed], rng: Rng) -> Placed:
        """Draw match, shift, gap, numbers of transfers and sites at random."""
        start = self.draw_abrupt(parents, rng)
        sites = self._cell(start.match).sites
        if not len(sites):
            return start
        amounts = sites.amounts[int(rng.random() * len(sites.amounts))]
        codes = sites.place_by_keys(amounts, rng.random(len(sites)))
        return self.reader.to_canonical(start._replace(codes=codes))

    def draw_abrupt(self, parents: Sequence[Placed], rng: Rng) -> Placed:  # noqa: ARG002 - there are none
        """Draw match, shift and gap; no atom is exchanged."""
        number = int(rng.random() * len(self.reader.cells))
        cell = self._cell(number)
        gap = cell.gap if self.reader.gaps is None else rng.uniform(*self.reader.gaps)
        codes = np.zeros(len(cell.sites), dtype=np.int64)
        placed = Placed(number, cell.shifts.draw(rng), self.reader.round_gap(gap), codes)
        return self.reader.to_canonical(placed)

    # Mutations.

    def step_shift(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Move the film by a step of random length and direction, or anywhere."""
        (parent,) = parents
        cell = self._cell(parent.match)
        for _ in range(MAX_TRIES):
            if rng.random() < FAR_SHIFT_PROBABILITY:
                shift = cell.shifts.draw(rng)
            else:
                length = SHORTEST_STEP * (LONGEST_STEP / SHORTEST_STEP) ** rng.random()
                angle = 2.0 * math.pi * rng.random()
                step = length * np.array([math.cos(angle), math.sin(angle)]) @ cell.to_shift
                shift = cell.shifts.nearest_allowed(parent.shift + to_steps(step))
            child = self._accept(parent._replace(shift=shift), parents)
            if child is not None:
                return child
        return None

    def step_gap(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Widen or narrow the gap by a step."""
        (parent,) = parents
        assert self.reader.gaps is not None
        low, high = self.reader.gaps
        for _ in range(MAX_TRIES):
            gap = parent.gap + rng.normal(scale=GAP_STEP * (high - low))
            if low <= gap <= high:
                child = self._accept(parent._replace(gap=self.reader.round_gap(gap)), parents)
                if child is not None:
                    return child
        return None

    def change_exchanges(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Exchange one pair of atoms more or less, or move an exchanged atom.

        Sometimes several such changes.
        """
        return self._change_transfers(parents, self.exchanges, rng)

    def change_depletion(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Let one ion more or less leave, or move its vacancy or the ion.

        Sometimes several such changes.
        """
        return self._change_transfers(parents, self.depletions, rng)

    def _change_transfers(
        self, parents: Sequence[Placed], transfers: Sequence[int], rng: Rng
    ) -> Placed | None:
        (parent,) = parents
        for _ in range(MAX_TRIES):
            codes = self._change_once(parent, parent.codes, transfers, rng)
            while rng.random() < MORE_CHANGES_PROBABILITY:
                codes = self._change_once(parent, codes, transfers, rng)
            child = self._accept(parent._replace(codes=codes), parents)
            if child is not None:
                return child
        return None

    def _change_once(self, parent: Placed, codes: IntArray, transfers: Sequence[int], rng: Rng) -> IntArray:
        """Change the number or the place of the atoms of one transfer."""
        sites = self._cell(parent.match).sites
        transfer = transfers[int(rng.random() * len(transfers))]
        if rng.random() < MOVE_PROBABILITY:
            end = sites.transfers[transfer].ends[int(rng.random() * 2)]
            return self._move_foreign(parent.match, codes, end, rng)
        amounts = sites.find_amounts(codes)
        if amounts is None:
            return codes
        wanted = amounts.copy()
        wanted[transfer] += 1 if rng.random() < 0.5 else -1
        allowed = (sites.amounts == wanted).all(axis=1)
        if not allowed.any():
            return codes
        counts = sites.count_species(wanted[None])[0]
        return sites.orderings.move_to_composition(codes, counts, rng)

    def _move_foreign(self, match: int, codes: IntArray, end: tuple[int, int], rng: Rng) -> IntArray:
        """Move a foreign atom of a sublattice to another of its sites, exchanging their contents."""
        group = self._cell(match).sites.groups[end[0]]
        here = codes[group.first : group.stop]
        foreign, others = np.flatnonzero(here == end[1]), np.flatnonzero(here != end[1])
        if not len(foreign) or not len(others):
            return codes
        pair = group.first + np.array(
            [foreign[int(rng.random() * len(foreign))], others[int(rng.random() * len(others))]]
        )
        moved = codes.copy()
        moved[pair] = codes[pair[::-1]]
        return moved

    def change_match(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Keep shift, gap, numbers of transfers and their depths, on another match."""
        (parent,) = parents
        others = [number for number in range(len(self.reader.cells)) if number != parent.match]
        for _ in range(MAX_TRIES):
            number = others[int(rng.random() * len(others))]
            child = self._accept(self._carry_over(parent, number, rng), parents)
            if child is not None:
                return child
        return None

    def _carry_over(self, parent: Placed, number: int, rng: Rng) -> Placed:
        """Repeat the relative choices of a parent on the match `number`."""
        old, new = self._cell(parent.match), self._cell(number)
        gap = self.reader.round_gap(new.gap + parent.gap - old.gap)
        shift = new.shifts.nearest_allowed(parent.shift)
        return Placed(number, shift, gap, self._carry_codes(parent.codes, old, new, rng))

    def _carry_codes(self, codes: IntArray, old: InterfaceCell, new: InterfaceCell, rng: Rng) -> IntArray:
        """Put as many foreign atoms at about the same relative depths on the sites of another match.

        Sites of a group stand in the order of their depth in every match, so a place in that order is a relative depth.
        """
        if not len(new.sites):
            return np.zeros(0, dtype=np.int64)
        amounts = old.sites.find_amounts(codes)
        wanted = np.zeros(len(new.sites.transfers)) if amounts is None else amounts
        chosen = new.sites.nearest_amounts(wanted)
        keys = np.empty(len(new.sites))
        for before, after in zip(old.sites.groups, new.sites.groups, strict=True):
            own = codes[before.first : before.stop]
            where = np.minimum(
                (np.arange(len(after)) + 0.5) * len(before) / max(len(after), 1), len(before) - 1
            )
            keys[after.first : after.stop] = own[where.astype(np.int64)] if len(before) else NATIVE
        return new.sites.place_by_keys(chosen, keys + rng.random(len(keys)))

    # Crossover.

    def cross_parents(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Cut through one match, with each parent's species on its part.

        Across matches, exchange blocks of genes.
        """
        mother, father = parents
        for _ in range(MAX_TRIES):
            if mother.match == father.match:
                child = self._cut_laterally(mother, father, rng)
            else:
                child = self._exchange_blocks(mother, father, rng)
            accepted = self._accept(child, parents)
            if accepted is not None:
                return accepted
        return None

    def _cut_laterally(self, mother: Placed, father: Placed, rng: Rng) -> Placed:
        """Child of two parents of one match.

        Shift and gap of either or between, species by a lateral cut.
        """
        cell = self._cell(mother.match)
        sites = cell.sites
        codes = mother.codes
        if len(sites):
            inside = draw_crests(sites.lateral, rng)
            elder = mother if rng.random() < 0.5 else father
            counts = sites.orderings.count_species(elder.codes)
            mixed = np.where(inside, mother.codes, father.codes)
            codes = sites.orderings.move_to_composition(mixed, counts, rng)
        share = rng.random()
        apart = np.mod(father.shift - mother.shift + STEPS // 2, STEPS) - STEPS // 2
        choices = (mother.shift, father.shift, mother.shift + np.rint(share * apart).astype(np.int64))
        shift = cell.shifts.nearest_allowed(choices[int(rng.random() * 3)])
        gap = self.reader.round_gap(mother.gap + share * (father.gap - mother.gap))
        return Placed(mother.match, shift, gap, codes)

    def _exchange_blocks(self, mother: Placed, father: Placed, rng: Rng) -> Placed:
        """Child of parents of two matches.

        The match of one, and each block of genes of either.
        """
        first, second = (mother, father) if rng.random() < 0.5 else (father, mother)
        other = self._carry_over(second, first.match, rng)
        taken = rng.random(3) < 0.5
        return Placed(
            first.match,
            other.shift if taken[0] else first.shift,
            other.gap if taken[1] else first.gap,
            other.codes if taken[2] else first.codes,
        )

    def _cell(self, number: int) -> InterfaceCell:
        return self.reader.cells[number]

    def _accept(self, placed: Placed, parents: Sequence[Placed]) -> Placed | None:
        """Canonical form of a code; None if it is a parent's."""
        child = self.reader.to_canonical(placed)
        return None if any(_are_equal(child, parent) for parent in parents) else child


def _are_equal(a: Placed, b: Placed) -> bool:
    """True if two canonical codes are one."""
    return (
        a.match == b.match
        and a.gap == b.gap
        and bool((a.shift == b.shift).all())
        and bool((a.codes == b.codes).all())
    )
