"""Variation operators on decorations.

Every result is canonical, charge-neutral and different from its parents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import IntArray
from invdesign.candidate import Genome
from invdesign.rng import Rng
from invdesign.spaces.operators import GenomeOperator, operators_on_codes
from invdesign.spaces.substitution.decorations import Decorations

MAX_TRIES = 20  # chosen; draws before an operator gives up, as a space may hold nothing near a parent


def build_operators(
    decorations: Decorations, read: Callable[[Genome], IntArray], write: Callable[[IntArray], Genome]
) -> Mapping[str, GenomeOperator]:
    """Operators `start`, `substitute`, `swap` and `crossover`.

    Args:
        decorations: all decorations of the space.
        read: convert a genome to its canonical decoration.
        write: the inverse.
    """
    tools = DecorationOperators(decorations)
    makers: dict[str, tuple[int, Callable[[Sequence[IntArray], Rng], IntArray | None]]] = {
        "start": (0, tools.draw_random),
        "substitute": (1, tools.substitute_species),
        "swap": (1, tools.swap_species),
        "crossover": (2, tools.cross_parents),
    }
    return operators_on_codes(makers, read, write)


@dataclass(frozen=True, slots=True)
class DecorationOperators:
    """Operators on decorations (n,); parents are canonical."""

    decorations: Decorations

    def draw_random(self, parents: Sequence[IntArray], rng: Rng) -> IntArray | None:  # noqa: ARG002 - there are none
        """Draw a distinct decoration, each equally likely where they are listed.

        Else all neutral decorations are equally likely, symmetric images counted as different; where the ways to balance are
        too many to count, a random fill is balanced. None where that fails.

        Args:
            parents: none.
            rng: random generator.
        """
        space = self.decorations
        if space.countable:
            listed = space.packed_decorations
            index = int(rng.random() * len(listed))
            codes: IntArray = space.unpack(listed[index : index + 1])[0]
            return codes
        drawn = space.sample(rng)
        return None if drawn is None else space.to_canonical(drawn)

    def substitute_species(self, parents: Sequence[IntArray], rng: Rng) -> IntArray | None:
        """Put another species on one variable.

        In half of the calls, species that keep the charges balanced are tried first, which stays near the parent.
        Otherwise any species is taken and other variables balance the charge, which reaches every decoration.

        Args:
            parents: one decoration.
            rng: random generator.
        """
        alone = MAX_TRIES if rng.random() < 0.5 else 0
        for attempt in range(alone + MAX_TRIES):
            child = self._accept_child(
                self._replace_species(parents[0], rng, repair=attempt >= alone), parents
            )
            if child is not None:
                return child
        return None

    def _replace_species(self, parent: IntArray, rng: Rng, *, repair: bool) -> IntArray | None:
        """Replace the species of one random variable.

        Without `repair`, None where the charges do not balance.
        """
        space = self.decorations
        variable = int(rng.random() * len(parent))
        codes: IntArray = parent.copy()
        step = 1 + int(rng.random() * (space.radices[variable] - 1))
        codes[variable] = (parent[variable] + step) % space.radices[variable]
        if not repair:
            return None if space.find_imbalance(codes) else codes
        cost = rng.random((len(parent), max(space.radices)))
        cost[variable] = np.inf
        return space.balance_charges(codes, cost)

    def swap_species(self, parents: Sequence[IntArray], rng: Rng) -> IntArray | None:
        """Exchange the species of two variables and keep the charges balanced.

        Both variables must allow both species.

        Args:
            parents: one decoration.
            rng: random generator.
        """
        space, (parent,) = self.decorations, parents
        for _ in range(MAX_TRIES):
            first, second = int(rng.random() * len(parent)), int(rng.random() * len(parent))
            codes = self._exchange_species(parent, first, second)
            if codes is None or space.find_imbalance(codes):
                continue
            child = self._accept_child(codes, parents)
            if child is not None:
                return child
        return None

    def _exchange_species(self, parent: IntArray, first: int, second: int) -> IntArray | None:
        """Exchange two species; None where they are equal or not allowed."""
        one, other = self.decorations.variables[first], self.decorations.variables[second]
        mine, yours = one.options[parent[first]], other.options[parent[second]]
        here = [ion.element for ion in one.options]
        there = [ion.element for ion in other.options]
        if mine.element == yours.element or yours.element not in here or mine.element not in there:
            return None
        codes = parent.copy()
        codes[first], codes[second] = here.index(yours.element), there.index(mine.element)
        return codes

    def cross_parents(self, parents: Sequence[IntArray], rng: Rng) -> IntArray | None:
        """Mix one parent with a symmetric image of the other.

        Variables are taken one by one or by group, with equal probability. Mixtures that balance by themselves come first,
        because balancing the charges brings in species that neither parent has.

        Args:
            parents: two decorations.
            rng: random generator.
        """
        for repair in (False, True):
            for _ in range(MAX_TRIES):
                child = self._accept_child(self._mix_parents(parents, rng, repair=repair), parents)
                if child is not None:
                    return child
        return None

    def _mix_parents(self, parents: Sequence[IntArray], rng: Rng, *, repair: bool) -> IntArray | None:
        """Take variables or groups from an image of the second parent at random.

        Without `repair`, None where the charges do not balance.
        """
        space, (mother, father) = self.decorations, parents
        image = father[space.permutations[int(rng.random() * len(space.permutations))]]
        taken = self._choose_groups(rng) if rng.random() < 0.5 else rng.random(len(mother)) < 0.5
        codes: IntArray = np.where(taken, image, mother)
        if not repair:
            return None if space.find_imbalance(codes) else codes
        return space.balance_charges(codes, rng.random((len(codes), max(space.radices))))

    def _choose_groups(self, rng: Rng) -> NDArray[np.bool_]:
        """Mask of the variables of randomly chosen groups, shape (n,)."""
        groups = [variable.group for variable in self.decorations.variables]
        taken = {group: rng.random() < 0.5 for group in dict.fromkeys(groups)}
        return np.asarray([taken[group] for group in groups], dtype=np.bool_)

    def _accept_child(self, codes: IntArray | None, parents: Sequence[IntArray]) -> IntArray | None:
        """Canonical form of `codes`; None without codes or for a parent's."""
        if codes is None:
            return None
        child = self.decorations.to_canonical(codes)
        return None if any((child == parent).all() for parent in parents) else child
