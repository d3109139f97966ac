"""Checks of bicrystals: what every one must fulfil, found independently of how it was built."""

from __future__ import annotations

import math

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.bicrystals.assembly import Bicrystal
from invdesign.structures.bicrystals.matches import Match
from invdesign.structures.bicrystals.slabs import Slab
from invdesign.structures.cells import list_translations
from invdesign.structures.distances import SHORTEST_SHARE, covalent_radius
from invdesign.structures.site_labels import FILM, SUBSTRATE

MAP_TOLERANCE = 1e-6  # Å, of vectors in the plane; the precision asked of every bicrystal
SAME_SPACING = 0.02  # Å; distances in a slab and in its crystal agree to the symmetry's tolerance; chosen
BOND_REACH = 4.0  # Å, distances that are compared between slab and crystal; chosen


def check_bicrystal(bicrystal: Bicrystal, *, gap: float = 2.0, excess: bool = False) -> list[str]:
    """Check a bicrystal.

    Args:
        bicrystal: to check, at shift 0.
        gap: Å.
        excess: compositions need not be multiples of the solids'.

    Returns:
        A sentence for each fault; empty if there is none.
    """
    cell, positions = bicrystal.place(np.zeros(2), gap)
    faults = [
        *_check_cell(bicrystal, cell),
        *_check_match(bicrystal.match),
        *_check_distances(bicrystal, cell, positions, gap),
        *_check_sides(bicrystal, cell),
    ]
    if not excess:
        faults += _check_compositions(bicrystal)
    return faults


def check_region(slab: Slab, region: float, *, side: str) -> None:
    """Refuse a slab without atoms deeper than the region in which species may change.

    Args:
        slab: to check.
        region: Å from the plane.
        side: for the message: `substrate` or `film`.

    Raises:
        InvdesignError: the slab is too thin; the message gives the number of layers that it needs.
    """
    if slab.thickness > region:
        return
    needed = math.ceil((region - slab.thickness + 1e-6) / float(slab.stack[2])) + slab.layers
    raise InvdesignError(
        f"the {side} {slab.label} of {slab.solid.name} is {slab.thickness:.1f} Å thick, and the region in which species may change "
        f"reaches {region:g} Å from the plane: give {needed} layers instead of {slab.layers}, or a smaller region"
    )


def _check_cell(bicrystal: Bicrystal, cell: FloatArray) -> list[str]:
    """Check that a lies along x, b in the plane and c along the normal, right-handed."""
    faults = []
    if np.abs([cell[0, 1], cell[0, 2], cell[1, 2], cell[2, 0], cell[2, 1]]).max() > MAP_TOLERANCE:
        faults.append("a, b and c are not along x, in the plane and along the normal")
    if np.linalg.det(cell) <= 0:
        faults.append("the cell is left-handed")
    if bicrystal.match.area > abs(np.linalg.det(bicrystal.match.cell)) + MAP_TOLERANCE:
        faults.append("the area is not that of the cell")
    return faults


def _check_match(match: Match) -> list[str]:
    """Check that both superlattices are the common cell, and that the side that is not strained is not."""
    faults = []
    sides = zip(("substrate", "film"), (match.substrate, match.film), match.matrices, match.maps, strict=True)
    for name, slab, matrix, mapping in sides:
        if not np.issubdtype(matrix.dtype, np.integer):
            faults.append(f"the matrix of the {name} is not of whole numbers")
        if np.abs(matrix @ slab.surface_lattice @ mapping - match.cell).max() > MAP_TOLERANCE:
            faults.append(f"the superlattice of the {name} is not the common cell")
        rigid = np.abs(mapping @ mapping.T - np.eye(2)).max() < MAP_TOLERANCE
        if match.strained not in {name, "both"} and not rigid:
            faults.append(f"the {name} is strained, but the {match.strained} should be")
        if np.abs(np.linalg.svd(mapping)[1] - 1).max() > match.strain + MAP_TOLERANCE:
            faults.append(f"the strain of the {name} is larger than stated")
    return faults


def _check_distances(bicrystal: Bicrystal, cell: FloatArray, positions: FloatArray, gap: float) -> list[str]:
    """Check that no atoms of one side overlap, and that the sides are the gap apart at both planes."""
    faults = []
    above = np.array(bicrystal.side) == FILM
    top, bottom = positions[~above, 2].max(), positions[above, 2].min()
    if abs(bottom - top - gap) > MAP_TOLERANCE:
        faults.append(f"the gap is {bottom - top:.3f} Å instead of {gap:g}")
    rest = cell[2, 2] + positions[~above, 2].min() - positions[above, 2].max()
    if rest < (gap if bicrystal.boundary == "sandwich" else bicrystal.vacuum) - MAP_TOLERANCE:
        faults.append(f"the sides are {rest:.3f} Å apart at the far plane")
    for name, kept in ((SUBSTRATE, ~above), (FILM, above)):
        shares = np.array([covalent_radius(element) for element in bicrystal.elements])[kept]
        shortest = (1 - bicrystal.match.strain) * SHORTEST_SHARE * (shares[:, None] + shares[None, :])
        if (_measure_distances(cell, positions[kept]) < shortest).any():
            faults.append(f"atoms of the {name} overlap")
    return faults


def _measure_distances(cell: FloatArray, positions: FloatArray) -> FloatArray:
    """Shortest distance of each pair of atoms over their images in the plane, the own image for one atom."""
    steps = list_translations(cell, 1.0)
    steps = steps[steps[:, 2] == 0]
    found = np.full((len(positions), len(positions)), np.inf)
    inside = positions.copy()
    shares = inside @ np.linalg.inv(cell)
    inside[:, :2] -= (np.floor(shares[:, :2]) @ cell[:2, :2])[:, :2]
    for step in steps:
        apart = np.linalg.norm(inside[:, None, :] - inside[None, :, :] - step @ cell, axis=2)
        if not step.any():
            np.fill_diagonal(apart, np.inf)
        found = np.minimum(found, apart)
    return found


def _check_sides(bicrystal: Bicrystal, cell: FloatArray) -> list[str]:
    """Check that each side, its strain undone, is a piece of its crystal."""
    faults = []
    sides = ((SUBSTRATE, bicrystal.match.substrate, 0), (FILM, bicrystal.match.film, 1))
    for name, slab, number in sides:
        kept = np.array(bicrystal.side) == name
        back = np.eye(3)
        back[:2, :2] = np.linalg.inv(bicrystal.match.maps[number])
        points, lattice = bicrystal.positions[kept] @ back, cell @ back
        if not _is_piece(slab, points, lattice, tuple(np.array(bicrystal.elements)[kept])):
            faults.append(f"the {name} is not a piece of {slab.solid.name}")
    return faults


def _is_piece(slab: Slab, points: FloatArray, lattice: FloatArray, elements: tuple[str, ...]) -> bool:
    """True if each atom's neighbours in a slab (m, 3), periodic in the plane, are some of those in its crystal."""
    bulk = slab.solid.parent.build_structure()
    lists: dict[int, list[tuple[str, float]]] = {}
    sites = {
        site: bulk.get_neighbors(bulk[site], BOND_REACH + SAME_SPACING)
        for site in set(slab.unit_sites.tolist())
    }
    for site, near in sites.items():
        lists[site] = sorted((one.specie.symbol, float(one.nn_distance)) for one in near)
    from pymatgen.core import Structure

    vectors = lattice.copy()
    vectors[2] = [0.0, 0.0, slab.thickness + 2 * BOND_REACH]
    piece = Structure(vectors, list(elements), points, coords_are_cartesian=True)
    own = np.tile(slab.unit_sites, len(points) // len(slab))
    inner = np.abs(points[:, 2])
    inside = (inner > BOND_REACH) & (inner < slab.thickness - BOND_REACH)
    for atom, near in enumerate(piece.get_all_neighbors(BOND_REACH)):
        expected = list(lists[int(own[atom])])
        for one in near:
            apart = [
                abs(distance - one.nn_distance) if element == one.specie.symbol else math.inf
                for element, distance in expected
            ]
            if min(apart, default=math.inf) > SAME_SPACING:
                return False
            expected.pop(int(np.argmin(apart)))
        if inside[atom] and any(distance < BOND_REACH - SAME_SPACING for _, distance in expected):
            return False
    return True


def _check_compositions(bicrystal: Bicrystal) -> list[str]:
    """Check that each side's composition is a multiple of its solid's."""
    faults = []
    for name, slab in ((SUBSTRATE, bicrystal.match.substrate), (FILM, bicrystal.match.film)):
        own = [
            element for element, side in zip(bicrystal.elements, bicrystal.side, strict=True) if side == name
        ]
        shares = {own.count(element) / count for element, count in slab.solid.formula.items()}
        if len(shares) > 1 or not next(iter(shares)).is_integer() or set(own) != set(slab.solid.formula):
            faults.append(f"the composition of the {name} is no multiple of that of {slab.solid.name}")
    return faults
