"""Structures as examples for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.generators.network.canonical import Written, write_crystal
from invdesign.generators.network.chemistry import list_elements
from invdesign.generators.network.positions import list_letters, load_positions
from invdesign.structures.sites import find_structure_sites
from invdesign.structures.wyckoff import find_space_group

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.arrays import FloatArray


def write_structure(structure: Structure) -> Written:
    """Write a structure in its chosen setting.

    Raises:
        Infeasible: it is disordered, its cell has no volume, or its symmetry is not found.
    """
    elements, sited = find_structure_sites(structure)
    return write_crystal(elements, sited, list_elements())


def count_atoms(written: Written) -> dict[str, int]:
    """Atoms by element in the primitive cell."""
    table, letters = load_positions(), list_letters(written.group)
    counts: dict[str, int] = {}
    for name, letter in written.sites:
        row = int(table.start[written.group]) + letters.index(letter)
        counts[name] = counts.get(name, 0) + int(table.multiplicity[row])
    return counts


def measure_volume(written: Written) -> float:
    """Volume of the primitive cell, Å³."""
    group = find_space_group(written.group)
    system = group.system
    cell: FloatArray = system.build_cell(
        written.cell[: system.free_lengths], written.cell[system.free_lengths :]
    )
    return float(np.linalg.det(cell)) / group.centring
