"""Symmetry operations of a crystal, and the smallest supercell that keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.errors import InvdesignError
from invdesign.structures.cells import list_translations
from invdesign.structures.symmetry import LOOSE_SYMPREC, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME_CELL = 1e-3  # fractions of a cell vector, below which a translation counts as whole; chosen
# Cells up to which all sublattices are looked at; chosen: there are up to 20,000 of so many cells. Beyond, the cell
# is repeated alike in all directions, which keeps its symmetry too.
SEARCHED_CELLS = 64
FORMS_AT_ONCE = 500  # sublattices examined together; chosen, some 10 MB
MAX_ATOMS = 1000  # of a supercell; chosen: far more than a potential can move along a band


class MigrationError(InvdesignError):
    """A migration barrier cannot be found; the message names the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A symmetry operation x -> x R^T + t on Cartesian positions.

    Attributes:
        rotation: shape (3, 3), Cartesian.
        translation: shape (3,), Å.
        whole: shape (3, 3), the rotation in fractions of the cell, integers.
    """

    rotation: FloatArray
    translation: FloatArray
    whole: IntArray

    def move_points(self, points: FloatArray) -> FloatArray:
        """Move points, shape (n, 3), Å."""
        moved: FloatArray = points @ self.rotation.T + self.translation
        return moved


@dataclass(frozen=True)
class Crystal:
    """An ordered crystal as arrays, with its symmetry.

    Attributes:
        cell: shape (3, 3), rows in Å.
        numbers: shape (n,), atomic numbers.
        positions: shape (n, 3), Å.
        symprec: tolerance of the symmetry, Å.
    """

    cell: FloatArray
    numbers: IntArray
    positions: FloatArray
    symprec: float = LOOSE_SYMPREC

    @classmethod
    def from_structure(cls, structure: Structure, symprec: float = LOOSE_SYMPREC) -> Crystal:
        """Convert a structure.

        Args:
            structure: ordered.
            symprec: tolerance of the symmetry, Å.
        """
        numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
        cell = np.array(structure.lattice.matrix, dtype=np.float64)
        return cls(cell, numbers, np.array(structure.cart_coords, dtype=np.float64), symprec)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Operations of the space group within one cell, the identity first."""
        inverse = np.linalg.inv(self.cell)
        dataset = symmetry_dataset(self.cell, self.positions @ inverse, self.numbers.tolist(), self.symprec)
        return tuple(
            Operation(
                self.cell.T @ rotation @ inverse.T, shift @ self.cell, np.asarray(rotation, dtype=np.int64)
            )
            for rotation, shift in zip(dataset.rotations, dataset.translations, strict=True)
        )


def smallest_supercell(crystal: Crystal, apart: float) -> IntArray:
    """Find the smallest supercell in which every image of an atom is at least `apart` Å away.

    It keeps all rotations of the crystal, so that equivalent hops stay equivalent. Of the smallest ones the most
    compact is taken.

    Args:
        crystal: gives cell and rotations.
        apart: distance of images, Å.

    Returns:
        Shape (3, 3), integer combinations of the cell's vectors, in rows.

    Raises:
        MigrationError: it would have more than 1000 atoms.

    Source:
        Superlattices as Hermite normal forms: Hart and Forcade, Phys. Rev. B 77, 224115 (2008).
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    short = _list_short_vectors(crystal.cell, apart)
    rotations = {operation.whole.tobytes(): operation.whole for operation in crystal.operations}
    # A lattice with vectors of at least this length has at least this volume (densest packing of spheres).
    least = max(1, int(np.ceil(apart**3 / 2**0.5 / abs(float(np.linalg.det(crystal.cell))) - 1e-9)))
    forms = np.empty((0, 3, 3))
    for count in range(least, SEARCHED_CELLS + 1):
        every = _hermite_forms(count)
        chunks = np.array_split(every, len(every) // FORMS_AT_ONCE + 1)
        forms = np.concatenate([_select_forms(chunk, short, list(rotations.values())) for chunk in chunks])
        if len(forms):
            break
    else:
        times = int(np.ceil(apart / np.linalg.norm(minkowski_reduce(crystal.cell)[0], axis=1).min()))
        forms = times * np.eye(3)[None]
    reduced = [minkowski_reduce(form @ crystal.cell)[0] for form in forms]
    longest = [float(np.linalg.norm(cell, axis=1).max()) for cell in reduced]
    compact = reduced[int(np.argmin(np.round(longest, 6)))]
    best: IntArray = np.rint(compact @ np.linalg.inv(crystal.cell)).astype(np.int64)
    atoms = round(abs(float(np.linalg.det(best)))) * len(crystal.numbers)
    if atoms > MAX_ATOMS:
        raise MigrationError(
            f"a supercell whose images are {apart:g} Å apart has {atoms} atoms (limit {MAX_ATOMS}); lower 'supercell'"
        )
    return best


def _select_forms(forms: FloatArray, short: FloatArray, rotations: list[IntArray]) -> FloatArray:
    """Sublattices without a short vector that all rotations keep.

    Args:
        forms: shape (f, 3, 3).
        short: shape (v, 3), vectors as whole numbers.
        rotations: in fractions of the cell.
    """
    inverse = np.linalg.inv(forms)
    parts = short @ inverse
    free = ~(np.abs(parts - np.rint(parts)).max(axis=2) < SAME_CELL).any(axis=1)
    forms, inverse = forms[free], inverse[free]
    for rotation in rotations:
        # A rotation acts on whole rows by its transpose; a lattice is kept if each row stays a whole combination.
        turned = forms @ rotation.T @ inverse
        kept = np.abs(turned - np.rint(turned)).max(axis=(1, 2), initial=0.0) < SAME_CELL
        forms, inverse = forms[kept], inverse[kept]
    return forms


def _list_short_vectors(cell: FloatArray, apart: float) -> FloatArray:
    """Lattice vectors shorter than `apart` as whole numbers, shape (v, 3), without zero."""
    whole = list_translations(cell, apart).astype(np.float64)
    length = np.linalg.norm(whole @ cell, axis=1)
    short: FloatArray = whole[(length < apart - 1e-6) & (length > 0)]
    return short


def _hermite_forms(count: int) -> FloatArray:
    """All sublattices of `count` cells, shape (f, 3, 3), upper triangular."""
    forms = [
        [[a, b, c], [0, d, e], [0, 0, f]]
        for a in range(1, count + 1)
        if count % a == 0
        for d in range(1, count // a + 1)
        if count // a % d == 0
        for f in [count // a // d]
        for b in range(d)
        for c in range(f)
        for e in range(f)
    ]
    return np.array(forms, dtype=np.float64)


def list_cells(supercell: IntArray) -> IntArray:
    """Translations of the cells within a supercell, shape (|det|, 3), whole numbers; zero first."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ supercell
    axes = [
        np.arange(low, high + 1) for low, high in zip(corners.min(axis=0), corners.max(axis=0), strict=True)
    ]
    whole = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = whole @ np.linalg.inv(supercell.astype(np.float64))
    kept = whole[((inside > -SAME_CELL) & (inside < 1 - SAME_CELL)).all(axis=1)]
    order = np.lexsort((*kept.T, np.abs(kept).sum(axis=1)))
    cells: IntArray = kept[order].astype(np.int64)
    return cells
