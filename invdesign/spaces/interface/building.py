"""Structures of an interface.

The candidate, both slabs alone, both bulks at their strain, and both solids without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.rng import Rng
from invdesign.spaces.interface.cell import InterfaceCell
from invdesign.spaces.interface.genomes import Placed
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.structures.site_labels import (
    FILM,
    INNER,
    LAYER,
    NATIVE,
    SIDE,
    SIDES,
    SUBSTRATE,
    LabelValue,
    set_labels,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

# The solids are those of the settings, so they are the same for all matches.
REFERENCES = ("substrate_bulk", "film_bulk", "substrate_slab", "film_slab", "substrate_solid", "film_solid")


def build_initial(cell: InterfaceCell, placed: Placed, rattle: float, rng: Rng) -> Structure:
    """Build the bicrystal of a code, its sites labelled; the third vector is the normal.

    Args:
        cell: of the match.
        placed: the code.
        rattle: standard deviation of each coordinate's displacement, Å.
        rng: for the displacements; the mean displacement is taken out.
    """
    from pymatgen.core import Structure

    lattice, positions = cell.place(placed.shift, placed.gap)
    occupants = cell.list_occupants(placed.codes)
    kept = [site for site, name in enumerate(occupants) if name != VACANCY]
    places = positions[kept]
    if rattle:
        moves = rng.normal(scale=rattle, size=places.shape)
        places = places + moves - moves.mean(axis=0)
    fractions = places @ np.linalg.inv(lattice)
    return Structure(
        lattice,
        [occupants[site] for site in kept],
        _wrap_fractions(fractions),
        site_properties=_list_labels(cell, kept),
    )


def _list_labels(cell: InterfaceCell, sites: Sequence[int]) -> dict[str, list[LabelValue]]:
    """Labels of some of the sites of a match."""
    return {
        SIDE: [FILM if cell.is_film[site] else SUBSTRATE for site in sites],
        LAYER: [int(cell.layers[site]) for site in sites],
        INNER: [bool(cell.inner[site]) for site in sites],
        NATIVE: [cell.natives[site] for site in sites],
    }


def _wrap_fractions(fractions: FloatArray) -> FloatArray:
    """Fractions within [0, 1), those that miss a lattice plane by rounding on it."""
    return np.mod(np.round(fractions, 12), 1.0)


def list_references(cell: InterfaceCell) -> Mapping[str, Structure]:
    """Reference structures of a match, by role; built once per match."""
    if "references" not in cell.cache:
        cell.cache["references"] = _build_references(cell)
    found: Mapping[str, Structure] = cell.cache["references"]
    return found


def _build_references(cell: InterfaceCell) -> Mapping[str, Structure]:
    """Build both bulks and both slabs of a match, and both solids as they are given, their sites labelled."""
    from pymatgen.core import Structure

    found: dict[str, Structure] = {}
    for side in SIDES:
        lattice, elements, positions, _ = cell.bicrystal.place_bulk(side)
        labels = {SIDE: [side] * len(elements), NATIVE: list(elements)}
        fractions = _wrap_fractions(positions @ np.linalg.inv(lattice))
        found[f"{side}_bulk"] = Structure(lattice, list(elements), fractions, site_properties=labels)
    for side in SIDES:
        lattice, sites, positions = cell.bicrystal.place_slab(side)
        own = _list_labels(cell, sites.tolist())
        fractions = _wrap_fractions(positions @ np.linalg.inv(lattice))
        found[f"{side}_slab"] = Structure(lattice, own[NATIVE], fractions, site_properties=own)
        solid = getattr(cell.bicrystal.match, side).solid.parent.build_structure()
        set_labels(solid, {SIDE: [side] * len(solid), NATIVE: [site.specie.symbol for site in solid]})
        found[f"{side}_solid"] = solid
    return {role: found[role] for role in REFERENCES}
