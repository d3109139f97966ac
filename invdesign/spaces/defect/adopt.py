"""Recognise the defects of a relaxed, seeded or generated structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.defect.cell import DefectCell
from invdesign.spaces.framework import element_at, with_elements_alone
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.recognition import map_onto_cell, read_species

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å between an atom and its site; chosen: an atom in the middle of two centres is up to 2 Å from both of its sites, and one farther off
# has left them.
MAX_MOVE = 2.2
VOID_PENALTY = 0.5  # Å^2; chosen: an atom between its own site and a void counts as on its site
NEAR_START = 1.2  # Å between an atom and its start, up to which it has kept its place; chosen: half a hop between two sites
FORBIDDEN = 1e6  # Å^2; chosen, of an atom on a site that cannot hold it


def recognise_defects(structure: Structure, cell: DefectCell) -> IntArray | None:
    """Match a structure to an arrangement of defects, shape (n,); or None.

    Args:
        structure: any description of the crystal; that with the supercell's own vectors and origin is tried first.
        cell: the host.
    """
    plain = with_elements_alone(structure)
    codes = _match_sites(plain, cell)
    if codes is not None:
        return codes
    mapped = map_onto_cell(plain, cell.ordered)
    return None if mapped is None else _match_sites(mapped, cell)


def is_near(structure: Structure, start: Structure) -> bool:
    """True if all atoms of a structure are near those of the start that it was relaxed from.

    Args:
        structure: in the vectors of the start.
        start: as a genome builds it.
    """
    if len(structure) != len(start):
        return False
    names, wanted = ([element_at(site) for site in crystal] for crystal in (structure, start))
    forbidden = np.asarray([[float(name != other) for other in wanted] for name in names])
    assigned = _assign_atoms(structure, np.asarray(start.frac_coords), FORBIDDEN * forbidden)
    return assigned is not None and float(assigned[1].max()) <= NEAR_START


def _match_sites(structure: Structure, cell: DefectCell) -> IntArray | None:
    """Arrangement of a structure that has the supercell's own vectors.

    None where an atom is far from all sites.
    """
    names = [element_at(site) for site in structure]
    if not 0 < len(names) <= len(cell.natives):
        return None
    void = np.asarray([not name for name in cell.natives])
    costs = VOID_PENALTY * void + FORBIDDEN * _find_forbidden(names, cell)
    assigned = _assign_atoms(structure, cell.ordered.crystal.positions, costs)
    if assigned is None or assigned[1].max() > MAX_MOVE:
        return None
    found = [VACANCY] * len(cell.natives)
    for site, name in zip(assigned[0].tolist(), names, strict=True):
        found[site] = name
    codes = read_species(found, cell.ordered)
    return codes if codes is not None and cell.keeps_rule(codes) else None


def _assign_atoms(
    structure: Structure, sites: FloatArray, costs: FloatArray
) -> tuple[IntArray, FloatArray] | None:
    """Assign atoms to sites with the least sum of squared distances and costs, up to a common shift.

    Args:
        structure: k atoms.
        sites: shape (n, 3), fractional.
        costs: shape (k, n), Å^2, of an atom on a site.

    Returns:
        (site of each atom (k,), distances (k,) in Å); None where an atom has no site that may hold it.
    """
    from scipy.optimize import linear_sum_assignment

    lattice = np.asarray(structure.lattice.matrix)
    shift = np.zeros(3)
    for _ in range(2):  # the second time without the common shift of the first
        apart = structure.frac_coords[:, None, :] - shift - sites[None, :, :]
        apart -= np.round(apart)
        squares = ((apart @ lattice) ** 2).sum(axis=2)
        rows, chosen = linear_sum_assignment(squares + costs)
        if (costs[rows, chosen] >= FORBIDDEN).any():
            return None
        shift = shift + np.median(apart[rows, chosen], axis=0)
    return chosen.astype(np.int64), np.sqrt(squares[rows, chosen])


def _find_forbidden(names: list[str], cell: DefectCell) -> FloatArray:
    """1 where an atom cannot be on a site, shape (atoms, N)."""
    allowed = [{content} if content else set() for content in cell.ordered.contents]
    for group in cell.ordered.orderings.groups:
        for site in cell.ordered.sites[group.first : group.stop].tolist():
            allowed[site] = set(group.species)
    return np.asarray([[float(name not in own) for own in allowed] for name in names])
