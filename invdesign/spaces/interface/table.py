"""All sites of a bicrystal, voids of its solids included, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.structures.bicrystals import Bicrystal, Slab, Solid
from invdesign.structures.bicrystals.assembly import spread_points
from invdesign.structures.bicrystals.solids import number_elements
from invdesign.structures.radii import ionic_radius
from invdesign.structures.site_labels import FILM, SIDES, SUBSTRATE, Side
from invdesign.structures.voids import find_voids

VOID = -1  # in place of the parent's site


@dataclass(frozen=True, eq=False)
class PlacedVoids:
    """Voids of one side of a bicrystal.

    Attributes:
        positions: shape (v, 3), Å, at no shift and no gap.
        depth: shape (v,), Å from the side's outermost atoms.
        layers: shape (v,), number of the nearest layer of atoms.
    """

    positions: FloatArray
    depth: FloatArray
    layers: IntArray


@dataclass(frozen=True, eq=False)
class SiteTable:
    """The m sites of a bicrystal, voids after all atoms.

    Attributes:
        natives: elements of the perfect crystals; empty for voids.
        positions: shape (m, 3), Å, at no shift and no gap.
        is_film: shape (m,).
        layers: shape (m,), from the plane, from 1.
        depth: shape (m,), Å.
        unit_sites: shape (m,), site of the side's parent; `VOID` for voids.
        charges: shape (m,), formal charges; 0 where unknown, as of metals.
        radii: shape (m,), ionic radii in Å; 0 for voids.
    """

    natives: tuple[str, ...]
    positions: FloatArray
    is_film: BoolArray
    layers: IntArray
    depth: FloatArray
    unit_sites: IntArray
    charges: FloatArray
    radii: FloatArray


def tabulate_sites(
    bicrystal: Bicrystal, voids: Mapping[Side, PlacedVoids], solids: Mapping[Side, Solid]
) -> SiteTable:
    """Tabulate the sites of a bicrystal.

    Args:
        bicrystal: of two slabs.
        voids: by side, where ions may go.
        solids: by side.
    """
    own = [(side, voids[side]) for side in SIDES if side in voids]
    states = [
        solids[side].parent.states[site] or 0.0
        for side, site in zip(bicrystal.side, bicrystal.unit_sites.tolist(), strict=True)
    ]
    radii = [ionic_radius(name, state) for name, state in zip(bicrystal.elements, states, strict=True)]
    number = sum(len(found.positions) for _, found in own)
    return SiteTable(
        natives=(*bicrystal.elements, *[""] * number),
        positions=np.concatenate([bicrystal.positions, *(found.positions for _, found in own)]),
        is_film=np.concatenate(
            [
                np.array(bicrystal.side) == FILM,
                *(np.full(len(found.positions), side == FILM) for side, found in own),
            ]
        ),
        layers=np.concatenate([bicrystal.layer, *(found.layers for _, found in own)]),
        depth=np.concatenate([bicrystal.depth, *(found.depth for _, found in own)]),
        unit_sites=np.concatenate([bicrystal.unit_sites, np.full(number, VOID, dtype=np.int64)]),
        charges=np.concatenate([states, np.zeros(number)]),
        radii=np.concatenate([radii, np.zeros(number)]),
    )


def place_voids(bicrystal: Bicrystal, side: Side) -> PlacedVoids:
    """Place the voids of one side's crystal that lie within its slab.

    Args:
        bicrystal: of two slabs.
        side: of the interface.
    """
    match = bicrystal.match
    slab = match.substrate if side == SUBSTRATE else match.film
    points = _list_slab_voids(slab)
    positions = spread_points(match, side, points)
    nearest = np.abs(slab.positions[None, :, 2] - points[:, 2, None]).argmin(axis=1)
    cells = len(positions) // len(points) if len(points) else 0
    return PlacedVoids(positions, np.tile(-points[:, 2], cells), np.tile(slab.atomic_layers[nearest], cells))


@lru_cache(maxsize=64)
def _list_slab_voids(slab: Slab) -> FloatArray:
    """Voids of the crystal between the slab's highest and lowest atoms, in one surface cell, shape (v, 3), Å."""
    cell, atoms = slab.bulk_cell()
    numbers = number_elements(tuple(slab.elements[atom] for atom in atoms.tolist()))
    voids = find_voids(cell, slab.positions[atoms] @ np.linalg.inv(cell), numbers)
    period = float(slab.stack[2])
    # From the period at the surface downwards; those above the highest atom have lost their roof.
    below = np.ceil(voids.points[:, 2] / period - 1e-9)
    tops = voids.points - below[:, None] * slab.stack
    found = np.concatenate([tops - number * slab.stack for number in range(slab.layers + 1)])
    inside = (found[:, 2] <= 1e-6) & (found[:, 2] >= -slab.thickness - 1e-6)
    return found[inside]
