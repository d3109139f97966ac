"""Features of interfaces for models.

The match, pairs of atoms across the plane, charges, and exchanges by depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Descriptor
from invdesign.spaces.interface.cell import InterfaceCell, list_images_in_plane
from invdesign.spaces.interface.genomes import Placed
from invdesign.spaces.interface.shifts import STEPS
from invdesign.structures.electrostatics import COULOMB_CONSTANT

PAIR_REACH = 6.0  # Å; pairs across the plane up to which features count them (chosen)
PAIR_CENTRES = (2.0, 2.75, 3.5, 4.5)  # Å, distances around which pairs are counted (chosen)
PAIR_WIDTH = 0.4  # Å, standard deviation of each count (chosen)
CHARGE_REACH = 9.0  # Å, cutoff of damped charges (chosen)
CHARGE_DAMPING = 0.2  # 1/Å; Wolf et al., J. Chem. Phys. 110, 8254 (1999), for ionic solids at such cutoffs
DEPTH_PARTS = 2  # parts of the region in which exchanged atoms are counted (chosen)
ROUNDING_DIGITS = 10  # chosen; removes rounding errors


@dataclass(frozen=True, eq=False)
class InterfaceFeatures:
    """Features of a space's interfaces.

    Attributes:
        cells: one per match.
        gaps: True if gaps vary.
    """

    cells: Sequence[InterfaceCell]
    gaps: bool

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Elements that sites of any match may hold, in the order of their symbols."""
        return tuple(sorted({name for cell in self.cells for name in cell.elements}))

    @cached_property
    def _kinds(self) -> tuple[tuple[int, int], ...]:
        """Unordered pairs of elements, by position among `elements`."""
        return tuple(combinations_with_replacement(range(len(self.elements)), 2))

    def descriptors(self) -> list[Descriptor]:
        """Names of the features, in groups."""
        found = [Descriptor("match", "match", "category")] if len(self.cells) > 1 else []
        found += [Descriptor("strain", "match"), Descriptor("area", "match")]
        if self.gaps:
            found.append(Descriptor("gap", "gap"))
        found += [
            Descriptor("charge of the film", "charges"),
            Descriptor("electrostatic energy across the plane", "charges"),
            Descriptor("electrostatic energy of exchanges", "charges"),
        ]
        for one, other in self._kinds:
            kind = f"{self.elements[one]}-{self.elements[other]}"
            found += [Descriptor(f"{kind} across at {centre:g} Å", "pairs") for centre in PAIR_CENTRES]
        for group in self.cells[0].sites.groups:
            for part in range(DEPTH_PARTS):
                found.append(
                    Descriptor(f"foreign on {group.name}, part {part + 1} of the depth", "exchanges")
                )
        return found

    def evaluate(self, placed: Placed) -> FloatArray:
        """Features (d,) of a code."""
        cell = self.cells[placed.match]
        surface = _surface_of(cell)
        numbers = [float(placed.match)] if len(self.cells) > 1 else []
        numbers += [cell.strain, cell.area]
        if self.gaps:
            numbers.append(placed.gap)
        charges = cell.list_charges(placed.codes)
        pairs = surface.find_pairs(placed.shift, placed.gap)
        products = charges[pairs.below] * charges[pairs.above]
        changes = charges - cell.charges
        numbers += [
            float(charges[cell.is_film].sum()) / cell.area,
            float(products @ _damped_coulomb(pairs.distance)) / cell.area,
            surface.energy_within(charges, changes) / cell.area,
        ]
        numbers += (self._count_pairs(cell.list_occupants(placed.codes), pairs) / cell.area).tolist()
        numbers += self._count_exchanges(cell, placed.codes)
        return np.round(np.array(numbers), ROUNDING_DIGITS) + 0.0

    def _count_pairs(self, occupants: Sequence[str], pairs: _Pairs) -> FloatArray:
        """Weighted numbers of pairs across the plane by elements and distance, shape (kinds * centres,)."""
        close = pairs.distance < PAIR_REACH
        size = len(self.elements)
        lookup = {name: place for place, name in enumerate(self.elements)}
        codes = np.array([lookup.get(name, size) for name in occupants], dtype=np.int64)
        one, other = codes[pairs.below[close]], codes[pairs.above[close]]
        kinds = np.minimum(one, other) * (size + 1) + np.maximum(one, other)
        distance = pairs.distance[close]
        wanted = [first * (size + 1) + second for first, second in self._kinds]
        found = np.empty((len(wanted), len(PAIR_CENTRES)))
        for column, centre in enumerate(PAIR_CENTRES):
            weights = np.exp(-0.5 * ((distance - centre) / PAIR_WIDTH) ** 2)
            found[:, column] = np.bincount(kinds, weights, minlength=(size + 1) ** 2)[wanted]
        return found.ravel()

    def _count_exchanges(self, cell: InterfaceCell, codes: IntArray) -> list[float]:
        """Foreign atoms per Å² on each group of sites, by parts of the depth."""
        found = []
        for group, lattice in zip(cell.sites.groups, cell.sites.sublattices, strict=True):
            depth = cell.sites.depth[group.first : group.stop]
            foreign = codes[group.first : group.stop] != 0
            parts = np.minimum((depth / lattice.deep * DEPTH_PARTS).astype(np.int64), DEPTH_PARTS - 1)
            found += [float((foreign & (parts == part)).sum()) / cell.area for part in range(DEPTH_PARTS)]
        return found


def _surface_of(cell: InterfaceCell) -> _Surface:
    """Sites near the plane of a match, built once."""
    found = cell.cache.get("surface")
    if not isinstance(found, _Surface):
        found = cell.cache["surface"] = _Surface(cell)
    return found


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of sites across the plane at one shift and gap.

    Attributes:
        below, above: shape (k,), sites of substrate and film.
        distance: shape (k,), Å.
    """

    below: IntArray
    above: IntArray
    distance: FloatArray


class _Surface:
    """Sites of a match near the plane, and their couplings."""

    def __init__(self, cell: InterfaceCell) -> None:
        self.cell = cell
        images = list_images_in_plane(cell.bicrystal.match.cell, CHARGE_REACH)
        sides = [
            np.flatnonzero((cell.depth <= CHARGE_REACH) & (cell.is_film == film)) for film in (False, True)
        ]
        self._sides = [(own, *_couple_varying(cell, own, images)) for own in sides]
        self._below, self._above, self._apart = _list_near_pairs(cell, sides[0], sides[1], images)

    def find_pairs(self, shift: IntArray, gap: float) -> _Pairs:
        """Pairs across the plane within the cutoff, at a shift (2,) in steps and a gap in Å."""
        apart = self._apart + np.append((shift / STEPS) @ self.cell.bicrystal.displacement_cell, gap)
        squares = (apart**2).sum(axis=1)
        near = squares < CHARGE_REACH**2
        return _Pairs(self._below[near], self._above[near], np.sqrt(squares[near]))

    def energy_within(self, charges: FloatArray, changes: FloatArray) -> float:
        """Energy that changes of charges bring within each side, eV."""
        total = 0.0
        for own, varying, matrix in self._sides:
            total += float(changes[varying] @ matrix @ (charges[own] - 0.5 * changes[own]))
        return total


def _list_near_pairs(
    cell: InterfaceCell, below: IntArray, above: IntArray, images: FloatArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Pairs of sites that some shift within the cell of displacements brings within the cutoff.

    Returns:
        (sites below (k,), sites above (k,), vectors from one to the other at no shift and no gap (k, 3), Å).
    """
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ cell.bicrystal.displacement_cell
    middle = corners.mean(axis=0)
    radius = float(np.linalg.norm(corners - middle, axis=1).max())
    apart = cell.positions[above][None, :] - cell.positions[below][:, None]
    found = []
    for image in images:
        vectors = apart + image
        lateral = np.linalg.norm(vectors[..., :2] + middle, axis=2)
        room = np.sqrt(np.maximum(CHARGE_REACH**2 - vectors[..., 2] ** 2, 0.0))
        rows, columns = np.nonzero((lateral < room + radius) & (vectors[..., 2] < CHARGE_REACH))
        found.append((below[rows], above[columns], vectors[rows, columns]))
    one, other, vectors = zip(*found, strict=True)
    return np.concatenate(one), np.concatenate(other), np.concatenate(vectors)


def _damped_coulomb(distance: FloatArray) -> FloatArray:
    """Energy of two unit charges in eV, damped so that it ends at the cutoff."""
    from scipy.special import erfc

    close = np.maximum(
        distance, 0.3
    )  # Å: voids beside atoms; a smaller distance would only make large numbers
    end = float(erfc(CHARGE_DAMPING * CHARGE_REACH)) / CHARGE_REACH
    found: FloatArray = COULOMB_CONSTANT * (erfc(CHARGE_DAMPING * close) / close - end)
    return found


def _couple_varying(cell: InterfaceCell, own: IntArray, images: FloatArray) -> tuple[IntArray, FloatArray]:
    """Couplings of the varying sites of one side with all of its sites.

    Returns:
        (varying sites (v,), energies of unit charges (v, k), without those of a site with itself, eV).
    """
    varying = own[np.isin(own, cell.sites.places)]
    apart = cell.positions[own][None, :] - cell.positions[varying][:, None]
    total = np.zeros((len(varying), len(own)))
    for image in images:
        squares = ((apart + image) ** 2).sum(axis=2)
        near = (squares < CHARGE_REACH**2) & (squares > 1e-9)
        total[near] += _damped_coulomb(np.sqrt(squares[near]))
    return varying, total
