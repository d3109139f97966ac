"""Bonds between non-metals that a surface cuts, and terminations in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.structures.bicrystals.slabs import Slab
from invdesign.structures.distances import covalent_radius
from invdesign.structures.ions import is_metal

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Share of the sum of two covalent radii up to which non-metals are bonded (chosen; P-S in PS4 has 0.97, S-S between anions 1.7)
BOND_SHARE = 1.25


@lru_cache(maxsize=256)
def count_cut_bonds(slab: Slab) -> Mapping[str, int]:
    """Number of bonds between non-metals that a cut at a slab's surface breaks, per surface cell, by elements: `P-S`.

    The slab has one end of each bond at one surface, and the other end at the other surface.
    """
    from pymatgen.core import Structure

    names = sorted(set(slab.elements))
    light = [name for name in names if not is_metal(name)]
    reach = BOND_SHARE * 2.0 * max((covalent_radius(name) for name in light), default=0.0)
    if not reach:
        return {}
    bulk = slab.solid.parent.build_structure()
    cell = np.zeros((3, 3))
    cell[:2, :2], cell[2, 2] = slab.surface_lattice, slab.thickness + 2.0 * reach
    piece = Structure(cell, list(slab.elements), slab.positions, coords_are_cartesian=True)
    expected, present = _count_bonds(bulk, reach), _count_bonds(piece, reach)
    cut: Counter[str] = Counter()
    for atom, site in enumerate(slab.unit_sites.tolist()):
        for kind, number in expected[site].items():
            cut[kind] += number - present[atom][kind]
    return {kind: (number + 1) // 2 for kind, number in sorted(cut.items()) if number > 0}


def _count_bonds(structure: Structure, reach: float) -> list[Counter[str]]:
    """Bonds between non-metals of each site, by elements.

    Args:
        structure: a crystal or slab.
        reach: Å, above any such bond.
    """
    first, second, _, length = structure.get_neighbor_list(reach, exclude_self=True)
    found: list[Counter[str]] = [Counter() for _ in structure]
    names = [site.specie.symbol for site in structure]
    for one, other, distance in zip(first.tolist(), second.tolist(), length.tolist(), strict=True):
        pair = names[one], names[other]
        if any(map(is_metal, pair)):
            continue
        if distance < BOND_SHARE * sum(map(covalent_radius, pair)):
            found[one]["-".join(sorted(pair))] += 1
    return found


def describe_cut_bonds(slab: Slab) -> str:
    """Describe the bonds that a slab's surface cuts: `2 P-S`; empty if it cuts none."""
    return ", ".join(f"{number} {kind}" for kind, number in count_cut_bonds(slab).items())


def describe_slab(slab: Slab) -> str:
    """Describe a termination: thickness, and what is special about it."""
    notes = [f"{slab.thickness:.1f} Å"]
    if slab.polar:
        notes.append("polar: formal charges give it a dipole")
    if not slab.stoichiometric:
        notes.append("not stoichiometric")
    cut = describe_cut_bonds(slab)
    if cut:
        notes.append(f"cuts {cut} bonds per surface cell")
    if slab.symmetric:
        notes.append("two equal surfaces")
    return f"{slab.label} ({', '.join(notes)})"
