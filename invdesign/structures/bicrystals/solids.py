"""Solids that meet at a plane: a crystal with its primitive lattice and its symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.settings import InputFile
from invdesign.structures.bicrystals.lattices import hermite_form
from invdesign.structures.parents import Parent, build_parent
from invdesign.structures.symmetry import symmetry_dataset


@dataclass(frozen=True, eq=False)
class Solid:
    """A crystal, in the cell that its Miller indices refer to.

    Attributes:
        name: for labels and messages.
        parent: a prototype's conventional cell, or the file's own.
    """

    name: str
    parent: Parent

    @cached_property
    def space_group(self) -> SpaceGroup:
        """Symmetry of the crystal, centring translations included."""
        parent = self.parent
        numbers = number_elements(parent.elements)
        dataset = symmetry_dataset(parent.lattice, parent.positions, numbers)
        rotations = np.asarray(dataset.rotations, dtype=np.int64)
        translations = np.asarray(dataset.translations, dtype=np.float64)
        centring = translations[(rotations == np.eye(3, dtype=np.int64)).all(axis=(1, 2))]
        order = len(centring)
        rows = np.concatenate(
            [order * np.eye(3, dtype=np.int64), np.round(centring * order).astype(np.int64)]
        )
        _, first = np.unique(np.asarray(dataset.mapping_to_primitive), return_index=True)
        return SpaceGroup(
            symbol=str(dataset.international),
            rotations=rotations,
            translations=translations,
            primitive=hermite_form(rows),
            order=order,
            sites=np.sort(first).astype(np.int64),
        )

    @property
    def formula(self) -> dict[str, int]:
        """Atoms of the reduced formula by element."""
        counts = {
            element: self.parent.elements.count(element) for element in dict.fromkeys(self.parent.elements)
        }
        divisor = gcd(*counts.values())
        return {element: count // divisor for element, count in counts.items()}

    def describe_cell(self) -> str:
        """Describe the cell that Miller indices refer to: lengths, angles and space group."""
        lengths = np.linalg.norm(self.parent.lattice, axis=1)
        unit = self.parent.lattice / lengths[:, None]
        angles = np.degrees(
            np.arccos(np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1, 1))
        )
        words = ", ".join(f"{name} {length:.3f}" for name, length in zip("abc", lengths, strict=True))
        turns = ", ".join(f"{angle:.1f}" for angle in angles)
        return f"{self.name}: {words} Å, angles {turns} degrees, {self.space_group.symbol}"


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """Symmetry of a crystal, in fractional coordinates of its parent's cell.

    Attributes:
        symbol: international symbol.
        rotations: shape (g, 3, 3), whole numbers; x' = rotation x + translation.
        translations: shape (g, 3).
        primitive: shape (3, 3), rows of the primitive lattice, times `order`.
        order: number of pure translations of the parent's cell.
        sites: shape (p,), sites of the parent that make up a primitive cell.
    """

    symbol: str
    rotations: IntArray
    translations: FloatArray
    primitive: IntArray
    order: int
    sites: IntArray

    @property
    def achiral(self) -> bool:
        """True if an operation is a mirror, an inversion or a product with one.

        Then the crystal is its own mirror image.
        """
        return bool((np.linalg.det(self.rotations) < 0).any())


def make_solid(source: str | InputFile, name: str = "") -> Solid:
    """Make a solid from a prototype's conventional cell, or from a structure file.

    Args:
        source: name of a prototype, or a file.
        name: by default the prototype's or the file's.

    Raises:
        InvdesignError: there is no such prototype, or the file cannot be used.
    """
    parent = build_parent(source, (1, 1, 1), primitive=False)
    return Solid(name or parent.name, parent)


def number_elements(elements: tuple[str, ...]) -> list[int]:
    """Atomic numbers of elements."""
    from ase.data import atomic_numbers

    return [int(atomic_numbers[element]) for element in elements]


def are_same_crystal(first: Solid, second: Solid) -> bool:
    """True if two solids are one crystal, up to the choice of the cell and small differences of its lengths."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if first is second:
        return True
    if first.formula != second.formula:
        return False
    # Volumes are compared as they are: a polymorph of another density is another solid.
    matcher = StructureMatcher(scale=False, ltol=0.05, stol=0.05, angle_tol=2)
    return bool(matcher.fit(first.parent.build_structure(), second.parent.build_structure()))
