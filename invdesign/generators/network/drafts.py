"""Crystals in the making: compositions, occupied positions, geometries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.examples import Example, find_cell_freedom, read_cell
from invdesign.generators.network.positions import list_letters
from invdesign.rng import Rng
from invdesign.structures.combinations import Combination, make_combination
from invdesign.structures.sited import SitedCrystal, round_sited
from invdesign.structures.wyckoff import find_space_group


@dataclass(frozen=True, eq=False)
class Draft:
    """A crystal in the making; what is not known yet is empty.

    Attributes:
        elements: places of elements in the order of placement, ascending.
        counts: atoms of each in the reduced formula.
        units: reduced formulas in the primitive cell; 0 where not drawn.
        group: number of the space group; 0 where not drawn.
        species: per orbit the place among `elements`.
        letters: per orbit the place of its letter in the group.
        likelihood: log likelihood of units, group and letters.
    """

    elements: tuple[int, ...]
    counts: tuple[int, ...]
    units: int = 0
    group: int = 0
    species: tuple[int, ...] = ()
    letters: tuple[int, ...] = ()
    likelihood: float = 0.0

    @property
    def atoms(self) -> tuple[int, ...]:
        """Atoms per element in the primitive cell."""
        return tuple(self.units * count for count in self.counts)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the elements."""
        order = list_elements()
        return tuple(order[place] for place in self.elements)

    @property
    def gene(self) -> tuple[object, ...]:
        """Elements with their occupied positions: equal for the same choice."""
        return (self.elements, self.units, self.group, self.species, self.letters)

    @cached_property
    def freedom(self) -> IntArray:
        """Number of free coordinates per orbit."""
        positions = list(find_space_group(self.group).positions.values())
        return np.array([positions[letter].free for letter in self.letters], dtype=np.int64)

    @cached_property
    def layout(self) -> tuple[Combination, tuple[int, ...]]:
        """Occupied positions with the elements in the order of the alphabet, and the place here of each of their orbits."""
        names = list_letters(self.group)
        alphabet = sorted(self.symbols)
        rank = [alphabet.index(symbol) for symbol in self.symbols]
        sites = [(rank[own], names[letter]) for own, letter in zip(self.species, self.letters, strict=True)]
        combination = make_combination(self.group, sites)
        left = list(range(len(sites)))
        order = []
        for site in combination.sites:
            place = next(number for number in left if sites[number] == site)
            left.remove(place)
            order.append(place)
        return combination, tuple(order)

    def to_example(self) -> Example:
        """Arrays with zeros for all free numbers."""
        free = np.where(np.arange(3) < self.freedom[:, None], 0.0, np.nan)
        return Example(
            group=self.group,
            elements=np.array(self.elements),
            counts=np.array(self.counts),
            units=self.units,
            species=np.array(self.species),
            letters=np.array(self.letters),
            free=free,
            cell=np.where(find_cell_freedom(self.group), 0.0, np.nan),
        )

    def occupy(self, species: Sequence[int], letters: Sequence[int], likelihood: float) -> Draft:
        """Draft with these occupied positions."""
        return replace(
            self, species=tuple(species), letters=tuple(letters), likelihood=self.likelihood + likelihood
        )


def build_crystal(draft: Draft, cell: FloatArray, free: FloatArray, volume: float) -> SitedCrystal:
    """Build the crystal of a draft; its species are the symbols in the order of the alphabet.

    Args:
        draft: with occupied positions.
        cell: numbers of the cell, shape (6,).
        free: free coordinates, orbit by orbit, shape (f,).
        volume: sum of atomic volumes in the primitive cell, Å³.
    """
    combination, order = draft.layout
    pieces = np.split(free, np.cumsum(draft.freedom)[:-1])
    ordered = [pieces[place] for place in order]
    lengths = read_cell(draft.group, cell, volume)
    return round_sited(combination, lengths, np.concatenate([*ordered, np.empty(0)]))


def draw_masked(logits: FloatArray, allowed: BoolArray, rng: Rng, temperature: float) -> tuple[int, float]:
    """Draw an index among the allowed ones.

    Args:
        logits: shape (k,).
        allowed: shape (k,), at least one.
        rng: source of randomness; one number is used per draw.
        temperature: by which logits are divided; 0 takes the largest.

    Returns:
        (index, log probability at temperature 1 among the allowed ones).
    """
    places = np.flatnonzero(allowed)
    own = logits[places].astype(np.float64)
    own = own - own.max()
    likelihood = own - np.log(np.exp(own).sum())
    mark = rng.random()
    if temperature <= 0.0:
        pick = int(own.argmax())
    else:
        weights = np.cumsum(np.exp(own / temperature))
        pick = min(int(np.searchsorted(weights, mark * weights[-1], side="right")), len(places) - 1)
    return int(places[pick]), float(likelihood[pick])


def order_randomly(logits: FloatArray, rng: Rng, temperature: float) -> IntArray:
    """Order indices as successive draws without replacement would, shape (k,).

    Source:
        Gumbel-top-k: Kool et al., ICML (2019), arXiv:1903.06059.
    """
    noise = rng.gumbel(size=len(logits))
    perturbed = logits / temperature + noise if temperature > 0.0 else logits
    order: IntArray = np.argsort(-perturbed, kind="stable")
    return order


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithms of probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def to_numpy(tensor: Any) -> FloatArray:
    """Numbers of a tensor."""
    found: FloatArray = tensor.detach().numpy()
    return found
