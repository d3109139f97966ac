"""Volumes of cells from the radii of their ions, or from those of the elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.structures.charges import is_metallic
from invdesign.structures.neutrality import balance_charges
from invdesign.structures.radii import ionic_radius

# Share of the volume that spheres of Shannon's radii fill. Chosen: MgO 9.3, Al2O3 10.2, SrTiO3 12.1 and Li2SiO3 9.1 Å³ per atom,
# against 9.3, 8.5, 11.9 and 9.7 in crystals.
PACKING = 0.70
# Volume of a compound over that of its elements: the median of 400 stable crystals of MP-20 without ions; nine of ten have 0.77 and more.
MIXING_SHARE = 0.9
START_RANGE = (0.9, 1.3)  # of the typical volume, between which starts lie (chosen)
# Of the typical volume, between which every crystal lies. Chosen: of 600 stable crystals of MP-20 the extremes are 0.41 and 2.59.
BOUNDS = (0.3, 3.0)
# Elements whose negative ions have radii that hold in crystals; those of phosphides or silicides give twice the volume.
ANIONS = frozenset({"H", "N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
CUBIC_CENTIMETRE_PER_MOLE = 1.66053907  # in Å³ per atom, CODATA 2018
DEFAULT_ATOM_VOLUME = 20.0  # Å³, of elements without a known molar volume (chosen)


@dataclass(frozen=True, slots=True)
class VolumeRange:
    """Volumes of a cell, Å³.

    Attributes:
        low, high: bounds of every crystal.
        typical: estimate from radii, within the bounds.
    """

    low: float
    typical: float
    high: float

    @property
    def starts(self) -> tuple[float, float]:
        """Bounds for starts: around the typical volume."""
        low, high = (min(max(share * self.typical, self.low), self.high) for share in START_RANGE)
        return low, high


@dataclass(frozen=True, eq=False)
class Volumes:
    """Volumes of cells by composition.

    Attributes:
        elements: k symbols.
        states: oxidation states by element, where given.
        per_atom: bounds in Å³ per atom, where given.
        cell: volume of the fixed cell, Å³, where there is one.
    """

    elements: tuple[str, ...]
    states: Mapping[str, Sequence[int]]
    per_atom: tuple[float, float] | None = None
    cell: float | None = None
    _known: dict[tuple[int, ...], VolumeRange] = field(default_factory=dict, repr=False)

    def estimate_range(self, counts: Sequence[int] | IntArray) -> VolumeRange:
        """Volumes of a cell with these atoms of each element; remembered by composition."""
        key = tuple(map(int, counts))
        if key not in self._known:
            self._known[key] = self._estimate_range(key)
        return self._known[key]

    def _estimate_range(self, counts: tuple[int, ...]) -> VolumeRange:
        if self.cell is not None:
            return VolumeRange(self.cell, self.cell, self.cell)
        atoms = {name: count for name, count in zip(self.elements, counts, strict=True) if count}
        typical = estimate_volume(atoms, self.states)
        if self.per_atom is None:
            return VolumeRange(BOUNDS[0] * typical, typical, BOUNDS[1] * typical)
        low, high = (sum(counts) * bound for bound in self.per_atom)
        return VolumeRange(low, min(max(typical, low), high), high)

    def largest(self, rows: IntArray) -> FloatArray:
        """Largest volumes of compositions (m, k), shape (m,), Å³."""
        if self.cell is not None:
            return np.full(len(rows), self.cell)
        if self.per_atom is not None:
            return np.asarray(rows.sum(axis=1) * self.per_atom[1], dtype=np.float64)
        return np.array([self.estimate_range(row).high for row in rows])


def estimate_volume(counts: Mapping[str, int], states: Mapping[str, Sequence[int]] | None = None) -> float:
    """Estimate the volume of a cell, Å³.

    Where charges balance it is that of ions with Shannon's radii, else that of the elements.

    Args:
        counts: atoms by element, none of them 0.
        states: oxidation states of elements, where given.
    """
    charges = find_charges(counts, states)
    if charges is None:
        share = MIXING_SHARE if len(counts) > 1 else 1.0
        return share * sum(count * measure_element(name) for name, count in counts.items())
    radii = {name: ionic_radius(name, charges[name]) for name in counts}
    return float(
        sum(count * 4.0 / 3.0 * np.pi * radii[name] ** 3 for name, count in counts.items()) / PACKING
    )


def find_charges(
    counts: Mapping[str, int], states: Mapping[str, Sequence[int]] | None = None
) -> Mapping[str, float] | None:
    """Find the mean charges of ions; None where a composition is no salt of known ions.

    Args:
        counts: atoms by element, none of them 0.
        states: oxidation states of elements, where given.
    """
    given = {name: own for name, own in (states or {}).items() if name in counts}
    if len(counts) < 2 or (not given and is_metallic(counts)):
        return None
    try:
        balance = balance_charges(counts, given)
    except ValueError:  # an element without any known state
        return None
    if balance.imbalance and not given:
        return None
    charges = {name: float(state) for name, state in balance.states.items()}
    ions = all(state > 0 or (state < 0 and name in ANIONS) for name, state in charges.items())
    return charges if ions else None


@cache
def measure_element(symbol: str) -> float:
    """Volume of an atom in the element's solid, Å³."""
    from pymatgen.core import Element

    volume = Element(symbol).data.get("Molar volume")
    known = isinstance(volume, int | float) and volume > 0
    return float(volume) * CUBIC_CENTIMETRE_PER_MOLE if known else DEFAULT_ATOM_VOLUME
