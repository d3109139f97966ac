"""Smallest distances of atoms: bounds for every crystal, and room for starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import check_element
from invdesign.structures.radii import ionic_radius

# Shares of the sum of covalent radii, Cordero et al., Dalton Trans. 2832 (2008). Chosen: bonds have 0.7 and more, and a relaxation
# does not find back from below half.
SHORTEST_SHARE = 0.55
ROOM_SHARE = 0.75  # between atoms of starts; also of the sum of ionic radii, where charges are known (chosen)
MAX_DISTANCE = 10.0  # Å, of a smallest distance (chosen)


@cache
def covalent_radius(symbol: str) -> float:
    """Covalent radius in Å, after Cordero et al. (2008) through ASE."""
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])


def sum_covalent_radii(elements: Sequence[str]) -> FloatArray:
    """Sums of covalent radii of pairs of `elements`, shape (k, k), Å."""
    radii = np.array([covalent_radius(name) for name in elements])
    sums: FloatArray = radii[:, None] + radii[None, :]
    return sums


def find_shortest_distances(elements: Sequence[str], given: Mapping[str, float]) -> FloatArray:
    """Smallest distances in every crystal, shape (k, k), Å.

    Args:
        elements: k symbols.
        given: distances by pair, `Al-O`, in place of shares of radii.
    """
    shortest = SHORTEST_SHARE * sum_covalent_radii(elements)
    for pair, distance in given.items():
        first, second = (elements.index(name) for name in split_pair(pair))
        shortest[first, second] = shortest[second, first] = distance
    return shortest


def find_start_distances(
    elements: Sequence[str], shortest: FloatArray, charges: Mapping[str, float] | None
) -> FloatArray:
    """Smallest distances that starts aim at, shape (k, k), Å.

    Args:
        elements: k symbols.
        shortest: shape (k, k), smallest distances in every crystal.
        charges: mean charges of all elements, where known: ions of one sign keep apart by their radii.
    """
    room = ROOM_SHARE * sum_covalent_radii(elements)
    if charges is not None:
        radii = np.array([ionic_radius(name, charges[name]) for name in elements])
        room = np.maximum(room, ROOM_SHARE * (radii[:, None] + radii[None, :]))
    return np.maximum(room, shortest)


def split_pair(pair: str) -> tuple[str, str]:
    """Split the name of a pair of elements, `Al-O`.

    Raises:
        ValueError: it names no pair.
    """
    names = pair.split("-")
    if len(names) != 2:
        raise ValueError(f"'{pair}' is no pair of elements; write one as Al-O")
    return check_element(names[0].strip()), check_element(names[1].strip())
