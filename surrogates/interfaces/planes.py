"""Planes of an interface's cell: their number and area, and the vacuum between the outer surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.structures.bicrystals.assembly import Boundary
from invdesign.structures.cells import find_normal, list_slices, measure_length_along_normal
from invdesign.structures.symmetry import LOOSE_SYMPREC, symmetry_dataset

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Å without an atom along the normal, from which a cell counts as one with vacuum; chosen: layers of crystals lie within 3 Å, gaps
# between two solids start below 4 Å.
VACUUM_GAP = 5.0
SAME_AREA = 1e-3  # relative; chosen: an area that changes more gives another strain than the references have


class PlaneError(InvdesignError):
    """The cell of a candidate does not fit its references."""


@dataclass(frozen=True, slots=True)
class Planes:
    """Planes where two solids meet.

    Attributes:
        boundary: `sandwich` with two planes, or `vacuum` with one plane and two outer surfaces.
        area: Å^2, of one plane.
    """

    boundary: Boundary
    area: float

    @property
    def number(self) -> int:
        """Number of planes in the cell."""
        return 2 if self.boundary == "sandwich" else 1

    @property
    def total_area(self) -> float:
        """Å^2, of all planes."""
        return self.number * self.area


def find_planes(built: Structure, structure: Structure) -> Planes:
    """Find boundary and area of the planes.

    Args:
        built: as the space made it; it tells if there is vacuum, since a relaxation may open a gap.
        structure: whose energy is taken; the same a and b.

    Raises:
        PlaneError: the relaxation changed the area.
    """
    area, before = measure_area(structure), measure_area(built)
    if abs(area / before - 1.0) > SAME_AREA:
        raise PlaneError(
            f"the area of the plane changed by {100 * (area / before - 1):+.1f} %, so the references have another strain: relax with "
            "'cell: normal', or 'cell: false'"
        )
    return Planes("vacuum" if measure_widest_gap(built) > VACUUM_GAP else "sandwich", area)


def measure_area(structure: Structure) -> float:
    """Area of the plane of a and b, Å^2."""
    a, b, _ = structure.lattice.matrix
    return float(np.linalg.norm(np.cross(a, b)))


def measure_widest_gap(structure: Structure) -> float:
    """Widest interval along the normal without an atom, Å."""
    widest = max(width for _, width in list_slices(structure.frac_coords[:, 2]))
    return widest * measure_length_along_normal(structure.lattice.matrix)


def has_equal_surfaces(slab: Structure) -> bool:
    """True if symmetry maps the two surfaces of a `slab` onto each other."""
    lattice = np.asarray(slab.lattice.matrix, dtype=np.float64)
    dataset = symmetry_dataset(
        lattice, slab.frac_coords, [site.specie.Z for site in slab], symprec=LOOSE_SYMPREC
    )
    normal = find_normal(lattice)
    inverse = np.linalg.inv(lattice)
    turned = (normal @ (lattice.T @ rotation @ inverse.T) @ normal for rotation in dataset.rotations)
    return any(abs(float(cosine) + 1.0) < 1e-3 for cosine in turned)
