"""Relatives of crystals: elements swapped for those that occur in their place, as further examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.generators.network.chemistry import describe_elements, list_elements
from invdesign.generators.network.examples import Example
from invdesign.rng import Rng

SAME_PLACE = (
    0.03  # weight of two elements in the same place of a framework whose other elements differ (chosen)
)
ALIKE = 0.02  # weight of elements that are alike by their numbers only (chosen)
WIDTH = 3.0  # distance of the numbers of two elements that are hardly alike (chosen)
ALL_SWAPPED = 0.3  # share of relatives in which every element is swapped, not one (chosen)


@dataclass(frozen=True, eq=False)
class Similarity:
    """Elements that take each other's place.

    Attributes:
        chances: chance of each element in the place of another, shape (e, e), zeros on the diagonal; rows sum to 1.
    """

    chances: FloatArray

    def swap(self, example: Example, rng: Rng) -> Example:
        """Swap one element of a crystal, or all, for others; its properties are not known any more."""
        kinds = len(example.elements)
        everything = rng.random() < ALL_SWAPPED
        swapped = range(kinds) if everything else [int(rng.integers(kinds))]
        elements = example.elements.copy()
        for slot in swapped:
            chances = self.chances[example.elements[slot]].copy()
            chances[elements] = 0.0
            if chances.sum() > 0.0:
                elements[slot] = int(rng.choice(len(chances), p=chances / chances.sum()))
        return reorder_elements(example, elements)


def reorder_elements(example: Example, elements: IntArray) -> Example:
    """Example with other elements, its orbits in their order of placement.

    Args:
        example: with its own elements.
        elements: the new one for each, all different, shape (k,).
    """
    order = np.argsort(elements, kind="stable")
    place = np.argsort(order, kind="stable")  # new place of each element
    species = place[example.species]
    orbits = np.argsort(species, kind="stable")
    return replace(
        example,
        elements=elements[order],
        counts=example.counts[order],
        species=species[orbits],
        letters=example.letters[orbits],
        free=example.free[orbits],
        targets={},
        real=False,
    )


def learn_similarity(examples: Sequence[Example]) -> Similarity:
    """Learn from crystals of one framework which elements take each other's place.

    Two elements count as alike by the number of crystals that differ in nothing but them, and a little by sharing a place.
    """
    size = len(list_elements())
    features = describe_elements(list_elements())
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    counts = ALIKE * np.exp(-((apart / WIDTH) ** 2))
    exact: dict[object, set[int]] = defaultdict(set)
    loose: dict[object, set[int]] = defaultdict(set)
    for example in examples:
        slots = [
            (tuple(example.letters[example.species == place].tolist()), int(element))
            for place, element in enumerate(example.elements)
        ]
        framework = (example.group, tuple(sorted(letters for letters, _ in slots)))
        for letters, element in slots:
            others = tuple(sorted((own, other) for own, other in slots if other != element))
            exact[framework, letters, others].add(element)
            loose[framework, letters].add(element)
    for groups, weight in ((exact, 1.0), (loose, SAME_PLACE)):
        for found in groups.values():
            if len(found) > 1:
                members = sorted(found)
                counts[np.ix_(members, members)] += weight / np.sqrt(len(members) - 1)
    known = np.zeros(size, dtype=bool)
    known[np.unique(np.concatenate([example.elements for example in examples]))] = True
    counts[:, ~known] = 0.0
    np.fill_diagonal(counts, 0.0)
    return Similarity(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12))
