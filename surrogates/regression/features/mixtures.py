"""Sites of crystals as mixtures of elements, alternatives joined to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.descriptors import FULL_OCCUPANCY
from surrogates.regression.features.composition import HEAVIEST_ELEMENT

if TYPE_CHECKING:
    from pymatgen.core import Structure

JOIN_DISTANCE = 1.0  # Å: no two atoms that are partly there come closer, hydrogen apart; chosen


@dataclass(frozen=True, eq=False)
class MixedSites:
    """Sites of a crystal with the amounts of elements on them.

    Attributes:
        lattice: shape (3, 3), rows are the cell's vectors in Å.
        positions: shape (n, 3), fractional.
        shares: shape (n, 94), amount of each element, by atomic number from 1.
    """

    lattice: FloatArray
    positions: FloatArray
    shares: FloatArray

    @property
    def ordered(self) -> bool:
        """True if every site holds one whole atom."""
        return bool((self.shares.max(axis=1) > FULL_OCCUPANCY).all())


def mix_sites(structure: Structure) -> MixedSites:
    """Read the sites of a crystal; partly occupied ones closer than `JOIN_DISTANCE` become one in their middle.

    Such sites are alternatives. Fully occupied sites stay apart, however close (the atoms of H2).

    Args:
        structure: elements up to plutonium.
    """
    shares = np.zeros((len(structure), HEAVIEST_ELEMENT))
    for row, site in enumerate(structure):
        for species, amount in site.species.items():
            shares[row, species.Z - 1] += amount
    kept = shares.sum(axis=1) > 0
    positions, shares = np.asarray(structure.frac_coords, dtype=np.float64)[kept], shares[kept]
    lattice = np.asarray(structure.lattice.matrix, dtype=np.float64)
    partial = np.flatnonzero(shares.sum(axis=1) < FULL_OCCUPANCY)
    if len(partial) > 1:
        positions, shares = _join_alternatives(lattice, positions, shares, partial.tolist())
    return MixedSites(lattice, positions, shares)


def _join_alternatives(
    lattice: FloatArray, positions: FloatArray, shares: FloatArray, partial: list[int]
) -> tuple[FloatArray, FloatArray]:
    """Join the chains of partial sites within `JOIN_DISTANCE`; return the new positions and shares."""
    from pymatgen.core import Lattice, Structure

    loose = Structure(Lattice(lattice), ["H"] * len(partial), positions[partial])
    first, second, image, _ = loose.get_neighbor_list(JOIN_DISTANCE, exclude_self=True)
    near: dict[int, list[tuple[int, FloatArray]]] = {}
    for a, b, shift in zip(first.tolist(), second.tolist(), image, strict=True):
        near.setdefault(a, []).append((b, shift))
    occupancies = shares.sum(axis=1)
    places: list[FloatArray] = []
    joined: list[FloatArray] = []
    seen: set[int] = set()
    for start in range(len(partial)):
        if start in seen:
            continue
        images = {start: positions[partial[start]]}  # each member where it is nearest to the chain
        queue = [start]
        for member in queue:
            for other, shift in near.get(member, []):
                if other not in images:
                    images[other] = (
                        positions[partial[other]] + shift + (images[member] - positions[partial[member]])
                    )
                    queue.append(other)
        seen.update(images)
        members = [partial[member] for member in images]
        weights = occupancies[members]
        places.append(np.average(list(images.values()), axis=0, weights=weights))
        joined.append(shares[members].sum(axis=0))
    others = np.setdiff1d(np.arange(len(positions)), partial)
    return np.vstack([positions[others], *places]), np.vstack([shares[others], *joined])
