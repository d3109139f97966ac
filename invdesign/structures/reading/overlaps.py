"""Atoms closer than their elements allow, the sign of a misread file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.cells import measure_heights
from invdesign.structures.reading.raw import StructureFileError

if TYPE_CHECKING:
    from pymatgen.core import Structure


# Share of the sum of covalent radii, Cordero et al., Dalton Trans. 2832 (2008). Chosen: the shortest bonds known are 0.7 to 0.75 of
# it (N2 0.77, CO 0.79, Cr-Cr quadruple bonds 0.66, the uranyl ion 0.67), and of the 19,012 crystals and reference phases
# this project was tested with, none is closer.
MIN_RADIUS_SHARE = 0.6
# Å; chosen. Bonds of hydrogen are short (H2 has 0.74, water 0.96), and shorter still by X-rays, which see the electron
# of the bond: down to 0.6 in published files.
MIN_DISTANCE = 0.5
MAX_PAIRS = 50_000_000  # chosen: two seconds and two gigabytes; crystals have a hundred times less
ALTERNATIVES_REMARK = (
    "sites of one element this close are alternatives, of which one at most is occupied; let the space leave one of them "
    "vacant"
)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two sites that are too close.

    Attributes:
        first, second: numbers of the sites, from 0; equal where a site meets its own image.
        distance: Å.
        limit: smallest distance of their elements, Å.
        alike: True if both hold the same elements.
    """

    first: int
    second: int
    distance: float
    limit: float
    alike: bool


@lru_cache(maxsize=1)
def _load_covalent_radii() -> FloatArray:
    from ase.data import covalent_radii

    radii: FloatArray = np.array(covalent_radii, dtype=np.float64)
    return radii


def smallest_distance(first: int, second: int) -> float:
    """Smallest plausible distance of two atoms, Å.

    Args:
        first: atomic number of one.
        second: atomic number of the other.
    """
    radii = _load_covalent_radii()
    return float(max(MIN_DISTANCE, MIN_RADIUS_SHARE * (radii[first] + radii[second])))


def find_overlaps(structure: Structure, share: float = MIN_RADIUS_SHARE) -> list[Overlap]:
    """Find pairs of sites that are too close, worst first.

    Two partially occupied sites are alternatives of each other, and so are two whose occupancies sum to 1 at most:
    these may be at any distance.

    Args:
        structure: ordered or disordered.
        share: fraction of the sum of covalent radii; 0 for 0.5 Å whatever the elements.
    """
    species = [site.species for site in structure]
    # The smallest radius of a mixed site: a refusal then holds for each of its elements.
    radii = np.array(
        [min(float(_load_covalent_radii()[element.Z]) for element in mix.elements) for mix in species]
    )
    shares = np.array([mix.num_atoms for mix in species])
    reach = max(MIN_DISTANCE, 2 * share * float(radii.max()))
    _check_crowding(structure, reach)
    first, second, _, distance = structure.get_neighbor_list(reach, exclude_self=True)
    limits = np.maximum(MIN_DISTANCE, share * (radii[first] + radii[second]))
    together = (shares[first] + shares[second] > 1.0 + 1e-6) & (
        np.maximum(shares[first], shares[second]) > 1.0 - 1e-6
    )
    close = (distance < limits) & together & (first <= second)
    order = np.flatnonzero(close)[np.argsort((distance / limits)[close], kind="stable")]
    return [
        Overlap(i, j, float(distance[k]), float(limits[k]), species[i] == species[j])
        for k, i, j in zip(order, first[order].tolist(), second[order].tolist(), strict=True)
    ]


def _check_crowding(structure: Structure, reach: float) -> None:
    """Refuse crowds of sites that would fill the memory.

    Neighbour lists would be too long.

    Raises:
        StructureFileError: the message names one of these sites.
    """
    cell = structure.lattice.matrix
    heights = measure_heights(cell)
    bins = np.maximum(1, heights.astype(np.int64))  # 1 Å high at least
    places = np.floor((structure.frac_coords % 1.0) * bins).astype(np.int64) % bins
    keys = (places[:, 0] * bins[1] + places[:, 1]) * bins[2] + places[:, 2]
    _, where, counts = np.unique(keys, return_index=True, return_counts=True)
    most = int(counts.max())
    if len(structure) * most * 4 / 3 * np.pi * reach**3 > MAX_PAIRS:
        raise StructureFileError(
            f"{most} of {len(structure)} sites lie within about 1 Å of each other, near "
            f"{_site_name(structure, int(where[counts.argmax()]))}: check the coordinates and the cell"
        )


def check_overlaps(
    structure: Structure, name: str, *, alternatives: bool = False, share: float = MIN_RADIUS_SHARE
) -> tuple[str, ...]:
    """Refuse atoms that are too close.

    The limit is 0.6 of the sum of their covalent radii, at least 0.5 Å.

    Args:
        structure: ordered or disordered.
        name: name of the structure in messages.
        alternatives: sites of one element may be closer, down to 0.5 Å: not all of them are to be occupied.
        share: fraction of the sum of covalent radii; 0 for 0.5 Å whatever the elements.

    Returns:
        Remarks on alternatives.

    Raises:
        StructureFileError: the message names both sites, their distance, the limit and the remedy.
    """
    try:
        overlaps = find_overlaps(structure, share)
    except StructureFileError as error:
        raise StructureFileError(f"{name}: {error}") from error
    for found in overlaps:
        if not (alternatives and found.alike and found.distance >= MIN_DISTANCE):
            raise StructureFileError(
                f"{name}: {_describe_overlap(structure, found)}. Check the coordinates, the cell, and the origin choice of the space "
                "group; sites that are never occupied together need occupancies"
            )
    if not overlaps:
        return ()
    more = f" ({len(overlaps)} such pairs)" if len(overlaps) > 1 else ""
    return (f"{name}: {_describe_overlap(structure, overlaps[0])}{more}; {ALTERNATIVES_REMARK}",)


def _describe_overlap(structure: Structure, found: Overlap) -> str:
    a, b = (_site_name(structure, index) for index in (found.first, found.second))
    if found.first == found.second:
        return (
            f"{a} and its image in the next cell are {found.distance:.2f} Å apart (limit {found.limit:.2f} Å)"
        )
    return f"{a} and {b} are {found.distance:.2f} Å apart (limit {found.limit:.2f} Å)"


def _site_name(structure: Structure, index: int) -> str:
    """Name a site by label or number.

    `Na1 (Na)` where the file has labels, else `Na (site 3)`.
    """
    site = structure[index]
    elements = "/".join(element.symbol for element in site.species.elements)
    return (
        f"{elements} (site {index + 1})" if site.label in {elements, None} else f"{site.label} ({elements})"
    )
