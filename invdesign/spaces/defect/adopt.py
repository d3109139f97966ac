"""Recognise the defects of a relaxed, seeded or generated structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.defect.cell import DefectCell
from invdesign.spaces.framework import element_at, with_elements_alone
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.recognition import map_onto_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å between an atom and its site; chosen: an atom in the middle of two centres is up to 2 Å from both of its sites, and one farther off
# has left them.
MAX_MOVE = 2.2
VOID_PENALTY = 0.5  # Å^2; chosen: an atom between its own site and a void counts as on its site
FORBIDDEN = 1e6  # Å^2; chosen, of an atom on a site that cannot hold it


def recognise_defects(structure: Structure, cell: DefectCell, *, same_cell: bool) -> IntArray | None:
    """Match a structure to an arrangement of defects, shape (n,); or None.

    Args:
        structure: any description of the crystal.
        cell: the host.
        same_cell: True to try the supercell's own vectors and origin first, for structures relaxed from it.
    """
    plain = with_elements_alone(structure)
    if same_cell:
        codes = _match_sites(plain, cell)
        if codes is not None:
            return codes
    mapped = map_onto_cell(plain, cell.ordered)
    return None if mapped is None else _match_sites(mapped, cell)


def _match_sites(structure: Structure, cell: DefectCell) -> IntArray | None:
    """Arrangement of a structure that has the supercell's own vectors.

    Atoms are assigned to sites that may hold them, with the least sum of squared distances, up to a common shift.
    """
    from scipy.optimize import linear_sum_assignment

    crystal = cell.ordered.crystal
    atoms = np.asarray(structure.frac_coords, dtype=np.float64)
    if not 0 < len(atoms) <= len(crystal):
        return None
    names = [element_at(site) for site in structure]
    forbidden = _find_forbidden(names, cell)
    void = np.asarray([not name for name in cell.natives])
    lattice = np.asarray(structure.lattice.matrix)
    shift = np.zeros(3)
    for _ in range(2):  # the second time without the common shift of the first
        apart = atoms[:, None, :] - shift - crystal.positions[None, :, :]
        apart -= np.round(apart)
        squares = ((apart @ lattice) ** 2).sum(axis=2)
        rows, chosen = linear_sum_assignment(squares + VOID_PENALTY * void + FORBIDDEN * forbidden)
        if forbidden[rows, chosen].any():
            return None
        shift = shift + np.median(apart[rows, chosen], axis=0)
    if np.sqrt(squares[rows, chosen].max()) > MAX_MOVE:
        return None
    found = [VACANCY] * len(crystal)
    for site, atom in zip(chosen.tolist(), rows.tolist(), strict=True):
        found[site] = names[atom]
    return _read_species(found, cell)


def _find_forbidden(names: list[str], cell: DefectCell) -> FloatArray:
    """1 where an atom cannot be on a site, shape (atoms, N)."""
    allowed = [{content} if content else set() for content in cell.ordered.contents]
    for group in cell.ordered.orderings.groups:
        for site in cell.ordered.sites[group.first : group.stop].tolist():
            allowed[site] = set(group.species)
    return np.asarray([[float(name not in own) for own in allowed] for name in names])


def _read_species(species: list[str], cell: DefectCell) -> IntArray | None:
    """Arrangement (n,) of N species; None where it is not of the space."""
    orderings = cell.ordered.orderings
    for content, name in zip(cell.ordered.contents, species, strict=True):
        if content and content != name:
            return None
    sites = cell.ordered.sites.tolist()
    codes = np.asarray(
        [orderings.find_group(place).species.index(species[site]) for place, site in enumerate(sites)],
        dtype=np.int64,
    )
    allowed = orderings.allows_composition(orderings.count_species(codes)) and cell.keeps_rule(codes)
    return codes if allowed else None
