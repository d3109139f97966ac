"""Valence of oxygen from covalently bonded neighbours, on which a correction of its energy depends."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.pairs import find_pairs

if TYPE_CHECKING:
    from ase import Atoms

BOND_STRETCH = 1.19
"""Two atoms are bonded up to this times the sum of their covalent radii. Chosen: among 94 relaxed compounds the longest
bond is at 1.16, the shortest contact between molecules at 1.22 (both of iodine)."""

COVALENT_RADII: Mapping[str, float] = {
    "H": 0.31, "B": 0.84, "C": 0.76, "N": 0.71, "O": 0.66, "F": 0.57, "Si": 1.11, "P": 1.07, "S": 1.05, "Cl": 1.02,
    "Ge": 1.20, "Se": 1.20, "Br": 1.20, "Te": 1.38, "I": 1.39,
}  # fmt: skip
"""Å. Source: B. Cordero et al., Dalton Trans., 2832 (2008)."""

COVALENT_STATES: Mapping[str, Mapping[int, float]] = {
    "H": {1: 0.0}, "B": {3: 0.0}, "C": {4: 0.0}, "Si": {4: 0.0}, "Ge": {4: 0.0},
    "N": {3: 1.361, 5: 1.432}, "P": {3: 1.630, 5: 1.617}, "S": {4: 1.644, 6: 1.624}, "Se": {4: 1.811, 6: 1.788},
    "Te": {4: 1.977, 6: 1.917}, "Cl": {1: 1.710, 3: 1.710, 5: 1.670, 7: 1.632},
    "Br": {1: 1.840, 3: 1.840, 5: 1.840, 7: 1.810}, "I": {1: 2.003, 3: 2.003, 5: 2.003, 7: 1.930},
}  # fmt: skip
"""Oxidation states of the elements that bind oxygen covalently, with the length of a bond of valence 1 to oxygen (Å);
0 where there is nothing to choose. A state without a length of its own has that of the next one. Sources: I. D. Brown
and D. Altermatt, Acta Cryst. B 41, 244 (1985); N. E. Brese and M. O'Keeffe, Acta Cryst. B 47, 192 (1991)."""

BOND_SOFTNESS = 0.37  # Å, of a bond's valence; Brown and Altermatt (1985)

Valence = Mapping[str, float]
"""Valence of one oxygen by covalently bonded element, in units of charge."""


def oxygen_valences(atoms: Atoms) -> list[Valence]:
    """Valence of every oxygen from covalently bonded neighbours, by element.

    An element of `COVALENT_STATES` shares its oxidation state, less one for each bond to another of these elements or to
    fluorine, evenly among the oxygens it is bonded to (Pauling's second rule): sulfate has 6/4 for each oxygen, a
    hydroxide 1, water 2. Of several oxidation states it is the one that the lengths of its bonds fit best. An
    oxygen that is bonded to none of them (an oxide ion), or to another oxygen (a peroxide), gets nothing.

    Args:
        atoms: n atoms, periodic where their cell is.

    Returns:
        One mapping per oxygen, in the order of the atoms; empty where nothing is covalently bonded.

    Source:
        L. Pauling, J. Am. Chem. Soc. 51, 1010 (1929).
    """
    symbols = list(atoms.symbols)
    bonds = _find_bonds(atoms, symbols)
    share = {
        i: _shared_valence(
            symbols[i], [d for j, d in found if symbols[j] == "O"], _count_other_bonds(found, symbols)
        )
        for i, found in bonds.items()
        if symbols[i] in COVALENT_STATES and any(symbols[j] == "O" for j, _ in found)
    }
    valences: list[Valence] = []
    for i, symbol in enumerate(symbols):
        if symbol != "O":
            continue
        neighbours = [j for j, _ in bonds.get(i, ())]
        found: dict[str, float] = defaultdict(float)
        if not any(symbols[j] == "O" for j in neighbours):
            for j in neighbours:
                if j in share:
                    found[symbols[j]] += share[j]
        valences.append(dict(sorted(found.items())))
    return valences


def _find_bonds(atoms: Atoms, symbols: Sequence[str]) -> dict[int, list[tuple[int, float]]]:
    """Bonded atoms among oxygen, fluorine and the elements of `COVALENT_STATES`.

    Returns:
        By atom, (neighbour, distance in Å) of each bond.
    """
    radii: FloatArray = np.array([COVALENT_RADII.get(symbol, 0.0) for symbol in symbols])
    if "O" not in symbols or not any(symbol in COVALENT_STATES for symbol in symbols):
        return {}
    reach = 2 * BOND_STRETCH * float(radii.max())
    first, second, _, distance = find_pairs(atoms.positions, atoms.cell.complete().array, reach, atoms.pbc)
    near = distance <= BOND_STRETCH * (radii[first] + radii[second])
    keep = near & (radii[first] > 0) & (radii[second] > 0)
    bonds: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for i, j, d in zip(first[keep].tolist(), second[keep].tolist(), distance[keep].tolist(), strict=True):
        bonds[i].append((j, d))
    return bonds


def _count_other_bonds(found: Sequence[tuple[int, float]], symbols: Sequence[str]) -> int:
    """Count the bonds to other elements than oxygen."""
    return sum(symbols[j] != "O" for j, _ in found)


def _shared_valence(symbol: str, lengths: Sequence[float], others: int) -> float:
    """Valence that an atom gives each of its oxygens.

    Args:
        symbol: of the atom, in `COVALENT_STATES`.
        lengths: Å, of its bonds to oxygen.
        others: number of its other bonds, each of which takes one unit.
    """
    states = COVALENT_STATES[symbol]

    def measure_misfit(state: int) -> float:
        return abs(
            sum(math.exp((states[state] - length) / BOND_SOFTNESS) for length in lengths) + others - state
        )

    state = next(iter(states)) if len(states) == 1 else min(states, key=measure_misfit)
    return max(state - others, 1) / len(lengths)
