"""How orderings are made and varied. Every result is canonical, of an allowed composition, and new to its parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import IntArray
from invdesign.candidate import Genome
from invdesign.rng import Rng
from invdesign.spaces.operators import GenomeOperator, operators_on_codes
from invdesign.spaces.ordering.cell import OrderedCell

Placed = tuple[int, IntArray]  # number of the supercell, ordering (n,)

TRIES = 20  # draws before an operator gives up: a space may hold nothing near a parent
DRAWN = 200  # pairs of sites drawn before a swap gives up: nearly all may be alike
ANOTHER = 0.3  # probability of one more swap in a mutation
WAVES = 2  # largest component of the wave vectors that cut a crystal into slabs


def variations(
    cells: Sequence[OrderedCell],
    read: Callable[[Genome], Placed],
    write: Callable[[Placed], Genome],
    *,
    electrostatic: bool,
    draws: int,
) -> Mapping[str, GenomeOperator]:
    """The operators that make sense in these supercells.

    Args:
        cells: at least one.
        read: genome to supercell and ordering.
        write: the inverse, for a canonical ordering.
        electrostatic: whether all charges are known, and electrostatic energies are to guide starts.
        draws: how many random orderings `start` ranks by electrostatics; 1 ranks none.
    """
    tools = Tools(tuple(cells), draws)
    makers: dict[str, tuple[int, Callable[[Sequence[Placed], Rng], Placed | None]]] = {
        "start": (0, tools.start),
        "swap": (1, tools.swap),
        "crossover": (2, tools.crossover),
    }
    if electrostatic:
        makers["electrostatic"] = (0, tools.electrostatic)
    if any(len(cell.orderings.compositions) > 1 for cell in cells):
        makers["shift"] = (1, tools.shift)
    return operators_on_codes(makers, read, write)


@dataclass(frozen=True, slots=True)
class Tools:
    """The operators on orderings.

    Attributes:
        cells: the supercells.
        draws: how many random orderings `start` ranks by electrostatics; 1 ranks none.
    """

    cells: tuple[OrderedCell, ...]
    draws: int

    def start(self, parents: Sequence[Placed], rng: Rng) -> Placed:  # noqa: ARG002 - there are none
        """A random ordering of a random composition; of several, the one of lowest electrostatic energy."""
        number, counts = self._drawn(rng)
        cell = self.cells[number]
        if self.draws > 1 and cell.charges is not None:
            return number, cell.orderings.canonical(cell.charges.lowest_of(counts, self.draws, rng))
        return number, cell.orderings.canonical(cell.orderings.sampled(counts, rng))

    def electrostatic(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:  # noqa: ARG002 - there are none
        """An ordering of a random composition that electrostatics favours."""
        number, counts = self._drawn(rng)
        charges = self.cells[number].charges
        if charges is None:
            return None
        return number, self.cells[number].orderings.canonical(charges.favoured(counts, rng))

    def _drawn(self, rng: Rng) -> tuple[int, IntArray]:
        number = int(rng.random() * len(self.cells))
        compositions = self.cells[number].orderings.compositions
        return number, compositions[int(rng.random() * len(compositions))]

    def swap(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """The species of two sites of a group exchanged; sometimes of more pairs."""
        ((number, parent),) = parents
        for _ in range(TRIES):
            codes = self._swapped(number, parent, rng)
            while rng.random() < ANOTHER:
                codes = self._swapped(number, codes, rng)
            child = self._accepted(number, codes, parents)
            if child is not None:
                return child
        return None

    def _swapped(self, number: int, codes: IntArray, rng: Rng) -> IntArray:
        """One exchange of unlike species, each pair of sites equally likely; `codes` where none is found."""
        orderings = self.cells[number].orderings
        for _ in range(DRAWN):
            first = int(rng.random() * orderings.n)
            group = orderings.group_at(first)
            second = group.first + int(rng.random() * len(group))
            if codes[first] != codes[second]:
                child = codes.copy()
                child[first], child[second] = codes[second], codes[first]
                return child
        return codes

    def shift(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """A neighbouring composition: one atom of one species becomes one of another, more where charges ask it."""
        ((number, parent),) = parents
        orderings = self.cells[number].orderings
        options = orderings.neighbours(orderings.counts(parent))
        if not len(options):
            return None
        counts = options[int(rng.random() * len(options))]
        return self._accepted(number, orderings.moved(parent, counts, rng), parents)

    def crossover(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Slabs of one parent between slabs of a symmetric image of the other, at the composition of either.

        Cut and splice, as for clusters: Deaven & Ho, Phys. Rev. Lett. 75, 288 (1995). Periodic slabs at a random
        tilt; parents of different supercells have no child.
        """
        (number, mother), (other, father) = parents
        if number != other:
            return None
        orderings = self.cells[number].orderings
        for _ in range(TRIES):
            rows = orderings.permutations
            image = father[rows[int(rng.random() * len(rows))]]
            codes = np.where(self._slab(number, rng), mother, image)
            elder = mother if rng.random() < 0.5 else father
            codes = orderings.moved(codes, orderings.counts(elder), rng)
            child = self._accepted(number, codes, parents)
            if child is not None:
                return child
        return None

    def _slab(self, number: int, rng: Rng) -> NDArray[np.bool_]:
        """Which of the varying sites (n,) lie in the crests of a plane wave that fits the cell."""
        cell = self.cells[number]
        wave = rng.integers(-WAVES, WAVES + 1, size=3)
        if not wave.any():
            wave[int(rng.random() * 3)] = 1
        phase = cell.crystal.positions[cell.sites] @ wave + rng.random()
        inside: NDArray[np.bool_] = phase % 1.0 < 0.25 + 0.5 * rng.random()
        return inside

    def _accepted(self, number: int, codes: IntArray, parents: Sequence[Placed]) -> Placed | None:
        """The canonical form of an ordering, unless it is a parent's."""
        child = self.cells[number].orderings.canonical(codes)
        known = any(number == other and (child == parent).all() for other, parent in parents)
        return None if known else (number, child)
