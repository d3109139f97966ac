"""Guard rails of generated crystals: which are let through, and why others are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.protocols import ORIGIN, Condition, Generator, Samples
from invdesign.rng import Rng
from invdesign.structures.conditions import find_breach
from invdesign.structures.distances import SHORTEST_SHARE, sum_covalent_radii
from invdesign.structures.fingerprints import ALIKE, Distances
from invdesign.structures.geometry import Crystal, find_closest_pair, make_crystal, reduce_cell
from invdesign.structures.symmetry import LOOSE_SYMPREC, call_spglib
from invdesign.structures.volumes import BOUNDS, estimate_volume

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ROUNDS = 8  # requests to a generator for one set of crystals (chosen)
MAX_EDGE_RATIO = 12.0  # of the longest edge of a reduced cell to the shortest; Bi2Te3 has 7 (chosen)

TOO_CLOSE = "atoms are too close"
WRONG_VOLUME = "the volume is out of bounds"
FLAT = "the cell is flat"
NO_SYMMETRY = "its symmetry cannot be found"
DUPLICATE = "is a duplicate"
BREACH = "breaks the condition"


@dataclass(frozen=True, slots=True)
class GuardRails:
    """Limits that generated crystals keep.

    Attributes:
        shortest: smallest distance of two atoms, as a share of the sum of their covalent radii (Cordero et al. 2008).
        volume: bounds of the volume, as shares of that of ions or elements with tabulated radii.
        distinct: True if duplicates are refused, by fingerprint.
    """

    shortest: float = SHORTEST_SHARE
    volume: tuple[float, float] = BOUNDS
    distinct: bool = True


def find_fault(structure: Structure, condition: Condition, rails: GuardRails) -> str:
    """Find the reason to refuse a crystal; empty if it passes.

    Its space group is found anew, and written into its origin.

    Args:
        structure: as a generator made it.
        condition: to be kept.
        rails: limits.
    """
    return Passed(condition, replace(rails, distinct=False)).find_fault(structure)


def _find_crowding(crystal: Crystal, elements: Sequence[str], rails: GuardRails) -> str:
    """Find out whether a crystal is too dense, too thin or has atoms too close; empty if it passes."""
    typical = estimate_volume(_count_elements(crystal, elements))
    if not rails.volume[0] * typical <= crystal.volume <= rails.volume[1] * typical:
        return WRONG_VOLUME
    if find_closest_pair(crystal, rails.shortest * sum_covalent_radii(elements)) is not None:
        return TOO_CLOSE
    return ""


def _find_breach(
    structure: Structure, crystal: Crystal, elements: Sequence[str], condition: Condition
) -> str:
    """Find out whether a structure, read as this crystal, breaks a condition; empty if it keeps it.

    Its space group is written into its origin.
    """
    symmetry = find_symmetry(crystal)
    if symmetry is None:
        return NO_SYMMETRY
    if isinstance(structure.properties.get(ORIGIN), dict):
        structure.properties[ORIGIN]["space_group"] = symmetry[0]
    return "" if _has_kept(crystal, elements, symmetry, condition) else BREACH


def _count_elements(crystal: Crystal, elements: Sequence[str]) -> dict[str, int]:
    """Number of atoms of each element of a crystal."""
    return dict(zip(elements, crystal.count_species(len(elements)).tolist(), strict=True))


def is_found_anew(condition: Condition) -> bool:
    """True if a condition speaks of space groups or of the primitive cell, which other elements or another volume can change."""
    return bool(condition.space_groups or condition.atoms or condition.formula_units)


def keeps_condition(structure: Structure, condition: Condition) -> bool:
    """True if an ordered structure keeps a condition with the symmetry that is found in it."""
    elements = list_symbols(structure)
    crystal = read_crystal(structure, elements)
    return crystal is not None and crystal_keeps(crystal, elements, condition)


def crystal_keeps(crystal: Crystal, elements: Sequence[str], condition: Condition) -> bool:
    """True if a crystal keeps a condition with the symmetry that is found in it.

    Args:
        crystal: in any cell.
        elements: symbols, in the order of species numbers.
        condition: to be kept.
    """
    symmetry = find_symmetry(crystal)
    return symmetry is not None and _has_kept(crystal, elements, symmetry, condition)


def _has_kept(
    crystal: Crystal, elements: Sequence[str], symmetry: tuple[int, int], condition: Condition
) -> bool:
    """True if a crystal of this space group, with so many primitive cells, keeps a condition."""
    group, cells = symmetry
    primitive = {name: count // cells for name, count in _count_elements(crystal, elements).items()}
    return not find_breach(primitive, group, condition)


def list_symbols(structure: Structure) -> list[str]:
    """Symbols of the elements of an ordered structure, sorted."""
    return sorted({str(site.specie.symbol) for site in structure})


def read_crystal(structure: Structure, elements: Sequence[str]) -> Crystal | None:
    """Read an ordered structure in its reduced cell; None if the cell is flat or holds numbers that are not finite.

    Args:
        structure: of these elements.
        elements: symbols, in the order of species numbers.
    """
    cell = np.array(structure.lattice.matrix, dtype=np.float64)
    positions = np.array(structure.frac_coords, dtype=np.float64)
    if not np.isfinite(cell).all() or not np.isfinite(positions).all():
        return None
    species = [elements.index(str(site.specie.symbol)) for site in structure]
    try:
        crystal = reduce_cell(make_crystal(cell, species, positions))
    except np.linalg.LinAlgError:
        return None
    edges = np.linalg.norm(crystal.cell, axis=1)
    return crystal if edges.max() <= MAX_EDGE_RATIO * edges.min() else None


def find_symmetry(crystal: Crystal) -> tuple[int, int] | None:
    """Find the number of the space group, and the number of primitive cells in the cell; None if spglib finds none."""
    found = call_spglib(
        "get_symmetry_dataset", (crystal.cell, crystal.positions, crystal.species + 1), symprec=LOOSE_SYMPREC
    )
    if found is None:
        return None
    translations = (found.rotations == np.eye(3, dtype=np.int64)).all(axis=(1, 2))
    return int(found.number), max(1, int(translations.sum()))


Marks = tuple[tuple[tuple[str, float], ...], FloatArray]  # of a crystal: shares of elements, and fingerprint


@dataclass(slots=True)
class Passed:
    """Crystals that passed the guard rails, and the count of those that did not.

    Attributes:
        condition: kept by all crystals.
        rails: limits.
        structures: that passed.
        refused: number of crystals by reason.
    """

    condition: Condition
    rails: GuardRails
    structures: list[Structure] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _seen: dict[tuple[tuple[str, float], ...], list[FloatArray]] = field(default_factory=dict)

    def add(self, structure: Structure) -> bool:
        """Add a crystal if it passes; True if it did."""
        fault = self.find_fault(structure)
        if fault:
            self.refused[fault] += 1
            return False
        self.structures.append(structure)
        return True

    def remember(self, structures: Iterable[Structure]) -> None:
        """Refuse crystals like these from now on."""
        for structure in structures:
            elements = list_symbols(structure)
            crystal = read_crystal(structure, elements)
            if crystal is not None:
                self._remember(self._describe(crystal, elements))

    def find_fault(self, structure: Structure) -> str:
        """Find the reason to refuse a crystal, duplicates included; empty if it passes."""
        if not structure.is_ordered or not len(structure):
            return BREACH
        elements = list_symbols(structure)
        crystal = read_crystal(structure, elements)
        if crystal is None:
            return FLAT
        fault = _find_crowding(crystal, elements, self.rails)
        if fault or not self.rails.distinct:
            return fault or _find_breach(structure, crystal, elements, self.condition)
        # Duplicates before the space group: a fingerprint takes a quarter of the time.
        marks = self._describe(crystal, elements)
        if self._is_known(marks):
            return DUPLICATE
        fault = _find_breach(structure, crystal, elements, self.condition)
        if not fault:
            self._remember(marks)
        return fault

    def _describe(self, crystal: Crystal, elements: Sequence[str]) -> Marks:
        """Shares of the elements, and the fingerprint."""
        shares = crystal.count_species(len(elements)) / len(crystal)
        key = tuple(zip(elements, np.round(shares, 6).tolist(), strict=True))
        return key, Distances(len(elements)).fingerprint(crystal)

    def _is_known(self, marks: Marks) -> bool:
        """True if a crystal like this one is remembered."""
        key, own = marks
        return any(float(np.linalg.norm(own - other)) < ALIKE for other in self._seen.get(key, ()))

    def _remember(self, marks: Marks) -> None:
        """Remember a crystal."""
        key, own = marks
        self._seen.setdefault(key, []).append(own)


def draw_gated(
    generator: Generator,
    rng: Rng,
    n: int,
    condition: Condition,
    rails: GuardRails | None = None,
    known: Iterable[Structure] = (),
) -> Samples:
    """Draw crystals from a generator until `n` passed the guard rails.

    Args:
        generator: prepared.
        rng: the only source of randomness.
        n: number of crystals.
        condition: to be kept.
        rails: limits; the usual ones where not given.
        known: crystals that count as duplicates.

    Returns:
        At most n crystals, in the order of the generator, with the numbers of those tried and refused by reason.
    """
    reason = generator.refusal(condition)
    if reason:
        return Samples((), reason)
    passed = Passed(condition, rails or GuardRails())
    passed.remember(known)
    tried = 0
    own: Counter[str] = Counter()
    wanted = n
    for _ in range(MAX_ROUNDS):
        samples = generator.sample(rng, wanted, condition)
        tried += max(samples.tried - len(samples), 0)
        own.update(samples.refused)
        reason = samples.reason
        for structure in samples:
            tried += 1
            passed.add(structure)
            if len(passed.structures) >= n:
                break
        if len(passed.structures) >= n or len(samples) < wanted:
            break
        # The likeliest crystals of a formula come again, and further ones behind them.
        wanted = 2 * wanted if condition.formula else 2 * (n - len(passed.structures))
    refused = dict((own + passed.refused).most_common())
    if len(passed.structures) >= n:
        # A reason beside all that was asked for is a notice, as of wishes that had no effect.
        notice = reason if len(samples) == wanted else ""
        return Samples(tuple(passed.structures[:n]), notice, tried, refused)
    told = reason or "no more crystals passed the guard rails"
    return Samples(tuple(passed.structures), f"{len(passed.structures)} of {n}: {told}", tried, refused)
