"""Hosts before and after ions moved.

Changes that make a voltage another reaction's, and classes with larger errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.structures.charges import assign_oxidation_states
from surrogates.pairs import find_pairs
from surrogates.relaxation.bonding import find_covalent_bonds, make_ions
from surrogates.relaxation.comparison import find_new_pairs
from surrogates.relaxation.kept import MAX_DISPLACEMENT
from surrogates.relaxation.matching import match_structures
from surrogates.transport.passes import find_percolation_heights

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å beyond the sum of covalent radii (Cordero et al., Dalton Trans. 2832 (2008)) up to which atoms of a layer hold together, as for
# covalent bonds of the Cambridge Structural Database; van der Waals gaps are 1 Å wider.
BOND_TOLERANCE = 0.4


@dataclass(frozen=True, slots=True)
class HostChange:
    """Change of a host between two compositions.

    Attributes:
        displacement: Å, the largest of a host's atom, without drift and strain.
        farthest: element of that atom.
        dimers: shortest new bond between anions by pair of elements, Å: `O-O`.
    """

    displacement: float
    farthest: str
    dimers: Mapping[str, float]

    @property
    def changed(self) -> bool:
        """True if the host is another one."""
        return self.displacement > MAX_DISPLACEMENT or bool(self.dimers)

    def describe(self) -> str:
        """Describe the change.

        An example is `Co moved 1.73 Å (limit 1.5 Å) and new O-O pair of 1.42 Å`.
        """
        moved = f"{self.farthest} moved {self.displacement:.2f} Å (limit {MAX_DISPLACEMENT:g} Å)"
        parts = [moved] if self.displacement > MAX_DISPLACEMENT else []
        parts += [f"new {name} pair of {length:.2f} Å" for name, length in sorted(self.dimers.items())]
        return " and ".join(parts) or f"host kept, {self.farthest} moved {self.displacement:.2f} Å"


def compare_hosts(before: Structure, after: Structure, size: int) -> HostChange:
    """Compare the host of two structures, whose sites stand before those of the ions.

    Args:
        before: the one with more ions, whose charges tell the anions.
        after: the one with fewer.
        size: atoms of the host.
    """
    amounts = tuple(sorted((str(k), float(n)) for k, n in before.composition.get_el_amt_dict().items()))
    try:
        states: Mapping[str, float] = assign_oxidation_states(amounts)
    except ValueError:  # an element without any known state
        states = {}
    host, other = take_host(before, size), take_host(after, size)
    match = match_structures(host, other)
    old = make_ions(host, states)
    new = replace(old, lattice=match.after, positions=match.end)
    lengths = find_covalent_bonds(old)
    dimers: dict[str, float] = {}
    for name, length in find_new_pairs(old, lengths, find_covalent_bonds(new, lengths)):
        dimers[name] = min(length, dimers.get(name, np.inf))
    farthest = int(match.displacements.argmax())
    return HostChange(float(match.displacements.max()), old.symbols[farthest], dimers)


def take_host(structure: Structure, size: int) -> Structure:
    """Take the first `size` sites of a structure."""
    from pymatgen.core import Structure

    return Structure(structure.lattice, structure.species[:size], structure.frac_coords[:size])


def find_worse_class(host: Structure) -> str:
    """Name the class of hosts whose voltages CHGNet is known to miss by more, else nothing.

    Args:
        host: without the working ion.

    Returns:
        `titanate`, `layered cobalt oxide`, `van der Waals layers`, or nothing.

    Source:
        Nine voltages against experiment (docs/truth.md): LiTi2O4 0.45 V low, LiCoO2 0.61 V low, LiC6 0.33 V high, LiTiS2 0.25 V
        low; the other five are within 0.16 V but for LiMnPO4.
    """
    elements = {site.specie.symbol for site in host}
    nonmetals = {site.specie.symbol for site in host if not site.specie.is_metal}
    if "Ti" in elements and nonmetals == {"O"}:
        return "titanate"
    if not is_layered(host):
        return ""
    if "Co" in elements and nonmetals == {"O"}:
        return "layered cobalt oxide"
    return "" if "O" in elements else "van der Waals layers"


def is_layered(host: Structure) -> bool:
    """True if bonds hold the atoms together in at most two directions.

    Args:
        host: without the working ion.
    """
    from ase.data import atomic_numbers, covalent_radii

    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in host])
    cell = np.asarray(host.lattice.matrix, dtype=np.float64)
    first, second, image, distance = find_pairs(
        np.asarray(host.cart_coords), cell, 2 * float(radii.max()) + BOND_TOLERANCE
    )
    bonded = distance <= radii[first] + radii[second] + BOND_TOLERANCE
    cells = np.rint(image[bonded]).astype(np.int64)
    bonds = zip(first[bonded].tolist(), second[bonded].tolist(), cells, strict=True)
    return math.isinf(find_percolation_heights((0.0, *bond) for bond in bonds)[2])
