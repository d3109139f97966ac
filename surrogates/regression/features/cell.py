"""Features of the cell: space group, shape, and volume per atom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import InvdesignError
from invdesign.structures.descriptors import element_property_table
from invdesign.structures.symmetry import symmetry_dataset
from surrogates.regression.features.composition import HEAVIEST_ELEMENT, find_fractions
from surrogates.regression.features.contract import Column, FeatureError, Need, describe_each
from surrogates.regression.material import Cell, Material

if TYPE_CHECKING:
    from pymatgen.core import Structure

LITHIUM = 3  # atomic number of the mobile ion
# Largest space group of each crystal system, triclinic first: International Tables, volume A.
LAST_SPACE_GROUPS = (2, 15, 74, 142, 167, 194, 230)
AMU_PER_CUBIC_ANGSTROM = 1.66053906660  # in g/cm^3; CODATA 2018
SAME_SHARE = 1e-3  # occupancies that differ by less are the same; chosen: files give two or three digits
CELL_COLUMNS = (
    Column("space_group"),
    Column("crystal_system"),
    Column("a", "Å"),
    Column("b", "Å"),
    Column("c", "Å"),
    Column("alpha", "°"),
    Column("beta", "°"),
    Column("gamma", "°"),
    Column("volume_per_atom", "Å^3"),
    Column("volume_per_lithium", "Å^3"),
    Column("density", "g/cm^3"),
)


def find_cell(structure: Structure) -> Cell:
    """Find the space group and the conventional standard cell of a crystal.

    Sites with the same mixture of elements count as sites of one species.

    Args:
        structure: sites may be partly occupied.

    Raises:
        FeatureError: the symmetry cannot be determined.
    """
    species: list[Mapping[str, float]] = []
    numbers: list[int] = []
    for site in structure:
        mixture = {symbol: float(amount) for symbol, amount in site.species.get_el_amt_dict().items()}
        same = (place for place, known in enumerate(species) if _are_same(known, mixture))
        place = next(same, len(species))
        if place == len(species):
            species.append(mixture)
        numbers.append(place + 1)
    try:
        found = symmetry_dataset(
            np.asarray(structure.lattice.matrix), np.asarray(structure.frac_coords), numbers
        )
    except InvdesignError as error:
        raise FeatureError(f"{error}") from None
    a, b, c = (float(length) for length in np.linalg.norm(found.std_lattice, axis=1))
    alpha, beta, gamma = (
        _angle(found.std_lattice[i], found.std_lattice[j]) for i, j in ((1, 2), (0, 2), (0, 1))
    )
    ratio = abs(float(np.linalg.det(found.std_lattice))) / structure.volume
    return Cell(
        int(found.number), (a, b, c), (alpha, beta, gamma), float(structure.composition.num_atoms * ratio)
    )


def _are_same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    return first.keys() == second.keys() and all(
        abs(first[symbol] - second[symbol]) < SAME_SHARE for symbol in first
    )


def _angle(first: FloatArray, second: FloatArray) -> float:
    """Angle between two vectors, degrees."""
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def find_volume(lengths: Sequence[float], angles: Sequence[float]) -> float:
    """Volume of a cell, Å^3.

    Args:
        lengths: a, b, c in Å.
        angles: alpha, beta, gamma in degrees.

    Raises:
        FeatureError: no cell has these lengths and angles.
    """
    x, y, z = (math.cos(math.radians(angle)) for angle in angles)
    square = 1.0 - x * x - y * y - z * z + 2.0 * x * y * z
    if not all(length > 0 for length in lengths) or not square > 0:
        raise FeatureError(
            f"no cell has the lengths {', '.join(f'{length:g}' for length in lengths)} Å and the angles "
            f"{', '.join(f'{angle:g}' for angle in angles)}°; correct them"
        )
    return math.prod(lengths) * math.sqrt(square)


def require_cell(material: Material) -> Cell:
    """Return the conventional cell of a material: that of its crystal, or the one that is stated.

    Raises:
        FeatureError: it has neither, or its space group is no number from 1 to 230.
    """
    if material.crystal is not None:
        return find_cell(material.crystal)
    if material.cell is None:
        raise FeatureError(
            "its cell is needed; give a structure file, or lengths, angles and space group, or use a model of "
            "compositions alone"
        )
    group = material.cell.space_group
    if group is not None and not 1 <= group <= LAST_SPACE_GROUPS[-1]:
        raise FeatureError(f"there is no space group {group}; numbers go from 1 to {LAST_SPACE_GROUPS[-1]}")
    return material.cell


def find_system(group: int) -> int:
    """Crystal system of a space group: 0 for triclinic to 6 for cubic."""
    return int(np.searchsorted(LAST_SPACE_GROUPS, group))


@dataclass(frozen=True)
class CellFeatures:
    """Space group, lengths and angles of the conventional cell, volumes per atom and per lithium, and density.

    A crystal gives the conventional standard cell of its space group; a cell without positions is taken as stated.
    """

    name: str = "cell"
    needs: Need = "cell"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`CELL_COLUMNS`."""
        return CELL_COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 11); NaN where the space group, atoms or lithium are not there.

        Raises:
            FeatureError: a material has no cell, or an impossible one.
        """
        rows = describe_each(materials, _describe_cell)
        return np.array(rows).reshape(len(materials), len(CELL_COLUMNS))


def _describe_cell(material: Material) -> FloatArray:
    fractions = find_fractions(material.composition)
    cell = require_cell(material)
    group = cell.space_group
    system = np.nan if group is None else float(find_system(group))
    volume = find_volume(cell.lengths, cell.angles)
    per_atom = np.nan if cell.atoms is None else volume / cell.atoms
    lithium = float(fractions[LITHIUM])
    numbers = [
        np.nan if group is None else float(group),
        system,
        *cell.lengths,
        *cell.angles,
        per_atom,
        per_atom / lithium if lithium > 0 else np.nan,
        AMU_PER_CUBIC_ANGSTROM * float(fractions @ _atomic_masses()) / per_atom,
    ]
    return np.round(np.array(numbers), 6)


@cache
def _atomic_masses() -> FloatArray:
    """Masses by atomic number, shape (95,), u."""
    names, table = element_property_table()
    return table[: HEAVIEST_ELEMENT + 1, names.index("atomic_mass")]
