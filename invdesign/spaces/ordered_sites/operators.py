"""Variation operators on orderings.

Every result is canonical, of an allowed composition, and different from its parents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.candidate import Genome
from invdesign.rng import Rng
from invdesign.spaces.operators import GenomeOperator, operators_on_codes
from invdesign.spaces.ordered_sites.cell import OrderedCell

Placed = tuple[int, IntArray]  # number of the supercell, ordering (n,)

MAX_TRIES = 20  # chosen; draws before an operator gives up, as a space may hold nothing near a parent
MAX_PAIR_DRAWS = 200  # chosen; pairs of sites drawn before a swap gives up, as nearly all may be alike
MORE_SWAPS_PROBABILITY = 0.3  # chosen; of one more swap in a mutation
MAX_WAVE_COMPONENT = 2  # chosen; largest component of the wave vectors that cut a crystal into slabs


def build_operators(
    cells: Sequence[OrderedCell],
    read: Callable[[Genome], Placed],
    write: Callable[[Placed], Genome],
    *,
    electrostatic: bool,
    draws: int,
) -> Mapping[str, GenomeOperator]:
    """Build the operators that apply to these supercells.

    Args:
        cells: at least one.
        read: convert a genome to supercell and ordering.
        write: the inverse, for a canonical ordering.
        electrostatic: whether all charges are known, and electrostatic energies are to guide starts.
        draws: number of random orderings that `start` ranks by electrostatics; 1 ranks none.
    """
    tools = OrderingOperators(tuple(cells), draws)
    makers: dict[str, tuple[int, Callable[[Sequence[Placed], Rng], Placed | None]]] = {
        "start": (0, tools.draw_random),
        "swap": (1, tools.swap_sites),
        "crossover": (2, tools.cross_parents),
    }
    if electrostatic:
        makers["electrostatic"] = (0, tools.draw_electrostatic)
    if any(len(cell.orderings.compositions) > 1 for cell in cells):
        makers["shift"] = (1, tools.shift_composition)
    return operators_on_codes(makers, read, write)


@dataclass(frozen=True, slots=True)
class OrderingOperators:
    """Operators on orderings.

    Attributes:
        cells: the supercells.
        draws: number of random orderings that `draw_random` ranks by electrostatics; 1 ranks none.
    """

    cells: tuple[OrderedCell, ...]
    draws: int

    def draw_random(self, parents: Sequence[Placed], rng: Rng) -> Placed:  # noqa: ARG002 - there are none
        """Draw a random ordering of a random composition.

        Of several draws, the one of lowest electrostatic energy.

        Args:
            parents: none.
            rng: random generator.
        """
        number, counts = self._draw_composition(rng)
        cell = self.cells[number]
        if self.draws > 1 and cell.electrostatics is not None:
            return number, cell.orderings.to_canonical(
                cell.electrostatics.draw_lowest(counts, self.draws, rng)
            )
        return number, cell.orderings.to_canonical(cell.orderings.draw_ordering(counts, rng))

    def draw_electrostatic(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:  # noqa: ARG002 - there are none
        """Draw an ordering of low electrostatic energy, at a random composition.

        Args:
            parents: none.
            rng: random generator.
        """
        number, counts = self._draw_composition(rng)
        charges = self.cells[number].electrostatics
        if charges is None:
            return None
        return number, self.cells[number].orderings.to_canonical(charges.draw_low_energy(counts, rng))

    def _draw_composition(self, rng: Rng) -> tuple[int, IntArray]:
        """Draw a supercell's number and one of its compositions."""
        number = int(rng.random() * len(self.cells))
        compositions = self.cells[number].orderings.compositions
        return number, compositions[int(rng.random() * len(compositions))]

    def swap_sites(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Exchange the species of two sites of a group; sometimes of more pairs.

        Args:
            parents: one ordering.
            rng: random generator.
        """
        ((number, parent),) = parents
        for _ in range(MAX_TRIES):
            codes = self._swap_pair(number, parent, rng)
            while rng.random() < MORE_SWAPS_PROBABILITY:
                codes = self._swap_pair(number, codes, rng)
            child = self._accept_child(number, codes, parents)
            if child is not None:
                return child
        return None

    def _swap_pair(self, number: int, codes: IntArray, rng: Rng) -> IntArray:
        """Exchange one pair of unlike species of a group.

        Pairs of small groups are drawn more often. Returns `codes` where no such pair is found.
        """
        orderings = self.cells[number].orderings
        for _ in range(MAX_PAIR_DRAWS):
            first = int(rng.random() * orderings.n)
            group = orderings.find_group(first)
            second = group.first + int(rng.random() * len(group))
            if codes[first] != codes[second]:
                child = codes.copy()
                child[first], child[second] = codes[second], codes[first]
                return child
        return codes

    def shift_composition(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Go to a neighbouring composition.

        One atom of one species becomes one of another, or more where the charges require it.

        Args:
            parents: one ordering.
            rng: random generator.
        """
        ((number, parent),) = parents
        orderings = self.cells[number].orderings
        options = orderings.find_nearest_compositions(orderings.count_species(parent))
        if not len(options):
            return None
        counts = options[int(rng.random() * len(options))]
        return self._accept_child(number, orderings.move_to_composition(parent, counts, rng), parents)

    def cross_parents(self, parents: Sequence[Placed], rng: Rng) -> Placed | None:
        """Cut and splice: slabs of one parent between slabs of the other.

        The other is a random symmetric image, and the child has the composition of either. Slabs are periodic, at a random
        tilt; parents of different supercells have no child.

        Args:
            parents: two orderings.
            rng: random generator.

        Source:
            Deaven & Ho, Phys. Rev. Lett. 75, 288 (1995), there for clusters.
        """
        (number, mother), (other, father) = parents
        if number != other:
            return None
        cell = self.cells[number]
        orderings = cell.orderings
        for _ in range(MAX_TRIES):
            rows = orderings.permutations
            image = father[rows[int(rng.random() * len(rows))]]
            codes = np.where(draw_crests(cell.crystal.positions[cell.sites], rng), mother, image)
            elder = mother if rng.random() < 0.5 else father
            codes = orderings.move_to_composition(codes, orderings.count_species(elder), rng)
            child = self._accept_child(number, codes, parents)
            if child is not None:
                return child
        return None

    def _accept_child(self, number: int, codes: IntArray, parents: Sequence[Placed]) -> Placed | None:
        """Canonical form of an ordering; None if it is a parent's."""
        child = self.cells[number].orderings.to_canonical(codes)
        known = any(number == other and (child == parent).all() for other, parent in parents)
        return None if known else (number, child)


def draw_crests(positions: FloatArray, rng: Rng) -> BoolArray:
    """Mask (n,) of the sites in the crests of a random plane wave that fits the cell.

    Args:
        positions: shape (n, d), fractions of the cell; d is 2 for a wave in a plane.
        rng: random generator.
    """
    axes = positions.shape[1]
    wave = rng.integers(-MAX_WAVE_COMPONENT, MAX_WAVE_COMPONENT + 1, size=(axes,))
    if not wave.any():
        wave[int(rng.random() * axes)] = 1
    phase = positions @ wave + rng.random()
    # The crests take between a quarter and three quarters of the cell; chosen.
    inside: BoolArray = phase % 1.0 < 0.25 + 0.5 * rng.random()
    return inside
