"""Rules of a space of crystals: what its operators need, as arrays, and what every crystal keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.crystal.cohesion import GAP_SHARE, MAX_GAP, is_bound
from invdesign.spaces.crystal.compositions import Compositions
from invdesign.structures.geometry import (
    Crystal,
    find_closest_pair,
    make_crystal,
    reduce_cell,
    round_crystal,
)
from invdesign.structures.volumes import VolumeRange, Volumes

ROUNDING_SHARE = 1e-5  # of a volume, by which rounding a genome may miss a bound (chosen)
CACHED_FAULTS = 256  # crystals, which are checked when they are made and when they are built; a wave many times over (chosen)
SAME_CELL = 1e-4  # Å, within which a cell is the fixed one (chosen)


@dataclass(frozen=True, eq=False)
class CrystalRules:
    """Rules of a space, for starts, operators and checks.

    Attributes:
        elements: k symbols, sorted; species numbers point to them.
        compositions: allowed numbers of atoms.
        volumes: volumes by composition.
        shortest: shape (k, k), smallest distances in every crystal, Å.
        room: shape (k, k), larger distances that starts aim at, Å.
        reach: shape (k, k), distances up to which atoms hold together, Å.
        cell: shape (3, 3), the fixed cell as a lower triangle, Å; None where cells are searched.
        space_groups: international numbers for symmetric starts.
    """

    elements: tuple[str, ...]
    compositions: Compositions
    volumes: Volumes
    shortest: FloatArray
    room: FloatArray
    reach: FloatArray
    cell: FloatArray | None
    space_groups: tuple[int, ...]

    def volume(self, counts: Sequence[int] | IntArray) -> VolumeRange:
        """Volumes of a cell with these atoms of each element, Å³."""
        return self.volumes.estimate_range(counts)

    @property
    def most_atoms(self) -> int:
        """Largest number of atoms of one element in a cell."""
        return int(self.compositions.rows.max())

    def count_atoms(self, crystal: Crystal) -> IntArray:
        """Number of atoms of each element, shape (k,)."""
        return crystal.count_species(len(self.elements))

    def write_counts(self, counts: Sequence[int] | IntArray) -> str:
        """Write a composition as a formula: `Al4O6`."""
        return "".join(
            f"{name}{count if count > 1 else ''}"
            for name, count in zip(self.elements, map(int, counts), strict=True)
            if count
        )


def normalise(crystal: Crystal, rules: CrystalRules) -> Crystal:
    """Write a crystal in the form of genomes: reduced, rounded, with sorted atoms.

    A fixed cell is not reduced.

    Raises:
        numpy.linalg.LinAlgError: the cell has no volume.
    """
    if rules.cell is not None:
        return round_crystal(make_crystal(rules.cell, crystal.species, crystal.positions))
    return round_crystal(reduce_cell(crystal))


def settle(crystal: Crystal, rules: CrystalRules) -> Crystal | None:
    """Normalise a crystal that an operator made; None if it breaks a rule."""
    if not np.isfinite(crystal.cell).all() or not np.isfinite(crystal.positions).all():
        return None
    try:
        normal = normalise(crystal, rules)
    except np.linalg.LinAlgError:
        return None
    return None if find_fault(normal, rules) else normal


@lru_cache(maxsize=CACHED_FAULTS)
def find_fault(crystal: Crystal, rules: CrystalRules) -> str:
    """Find the first rule that a normal crystal breaks, in words; empty if it keeps all."""
    counts = rules.count_atoms(crystal)
    if not rules.compositions.allows(counts):
        return f"the space does not allow {rules.write_counts(counts)} in a cell"
    if rules.cell is None:
        bounds, volume = rules.volume(counts), crystal.volume
        slack = ROUNDING_SHARE * volume
        if not bounds.low - slack <= volume <= bounds.high + slack:
            size = len(crystal)
            return (
                f"the volume must be between {bounds.low / size:.4g} and {bounds.high / size:.4g} Å³ per atom, "
                f"got {volume / size:.4g}"
            )
    overlap = _find_overlap(crystal, rules)
    if overlap or rules.cell is not None or is_bound(crystal, rules.reach):
        return overlap
    return (
        f"the crystal falls apart: parts of it are more than {MAX_GAP:g} Å from the rest, and more than "
        f"{GAP_SHARE:g} times the sum of their covalent radii"
    )


def _find_overlap(crystal: Crystal, rules: CrystalRules) -> str:
    """Describe the pair of atoms that is closest against its limit; empty if none is too close."""
    closest = find_closest_pair(crystal, rules.shortest)
    if closest is None:
        return ""
    first, second, distance = closest
    a, b = (int(crystal.species[number]) for number in (first, second))
    return (
        f"{rules.elements[a]} and {rules.elements[b]} are {distance:.2f} Å apart "
        f"(at least {rules.shortest[a, b]:.2f} Å, min_distances)"
    )


def is_fixed_cell(cell: FloatArray, rules: CrystalRules) -> bool:
    """True if a `cell` (3, 3), a lower triangle, is the fixed one within rounding."""
    return rules.cell is not None and bool(np.abs(cell - rules.cell).max() <= SAME_CELL)
