"""Features of interfaces for models: the match, pairs of atoms across the plane, charges, and exchanges by depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Descriptor
from invdesign.spaces.interface.cell import InterfaceCell
from invdesign.spaces.interface.genomes import Placed
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
                found.append(Descriptor(f"foreign on {group.name}, part {part + 1} of the depth", "exchanges"))
        return found

    def evaluate(self, placed: Placed) -> FloatArray:
        """Features (d,) of a code."""
        cell = self.cells[placed.match]
        surface = _surface_of(cell)
        numbers = [float(placed.match)] if len(self.cells) > 1 else []
        numbers += [cell.strain, cell.area]
        if self.gaps:
            numbers.append(placed.gap)
        occupants = cell.list_occupants(placed.codes)
        charges = cell.list_charges(placed.codes)
        weights, coupling = surface.couple(placed.shift, placed.gap)
        below, above = surface.below, surface.above
        own = charges - cell.list_charges(np.zeros_like(placed.codes))
        numbers += [
            float(charges[cell.is_film].sum()) / cell.area,
            float(charges[below] @ coupling @ charges[above]) / cell.area,
            surface.energy_within(charges, own) / cell.area,
        ]
        lookup = {name: place for place, name in enumerate(self.elements)}
        codes = np.array([lookup.get(name, -1) for name in occupants], dtype=np.int64)
        hold = codes[:, None] == np.arange(len(self.elements))
        # Shape (shells, elements below, elements above).
        counts = np.einsum("ia,sij,jb->sab", hold[below], weights, hold[above], optimize=True) / cell.area
        for one, other in self._kinds:
            both = counts[:, one, other] + (counts[:, other, one] if one != other else 0.0)
            numbers += both.tolist()
        numbers += self._count_exchanges(cell, placed.codes)
        return np.round(np.array(numbers), ROUNDING_DIGITS) + 0.0

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


class _Surface:
    """Sites of a match near the plane, and their couplings."""

    def __init__(self, cell: InterfaceCell) -> None:
        self.cell = cell
        near = cell.depth <= CHARGE_REACH
        self.below = np.flatnonzero(near & ~cell.is_film)
        self.above = np.flatnonzero(near & cell.is_film)
        self.images = cell.list_lateral_images(CHARGE_REACH)
        self._sides = [_damp(cell, own, self.images) for own in (self.below, self.above)]

    def couple(self, shift: IntArray, gap: float) -> tuple[FloatArray, FloatArray]:
        """Couplings across the plane at a shift and a gap.

        Returns:
            (weights of pairs in each shell, shape (shells, below, above); energies of unit charges, shape (below, above), eV).
        """
        _, positions = self.cell.place(shift, gap)
        apart = positions[self.above][None, :] - positions[self.below][:, None]
        shells = np.zeros((len(PAIR_CENTRES), len(self.below), len(self.above)))
        coupling = np.zeros((len(self.below), len(self.above)))
        for image in self.images:
            squares = ((apart + image) ** 2).sum(axis=2)
            near = squares < CHARGE_REACH**2
            if not near.any():
                continue
            distance = np.sqrt(squares[near])
            coupling[near] += _damped_coulomb(distance)
            close = distance < PAIR_REACH
            rows, columns = np.nonzero(near)
            rows, columns, distance = rows[close], columns[close], distance[close]
            for number, centre in enumerate(PAIR_CENTRES):
                # Pairs of one image are distinct, so that plain indexing adds each of them.
                shells[number, rows, columns] += np.exp(-0.5 * ((distance - centre) / PAIR_WIDTH) ** 2)
        return shells, coupling

    def energy_within(self, charges: FloatArray, changes: FloatArray) -> float:
        """Energy that changes of charges bring within each side, eV."""
        total = 0.0
        for own, matrix in zip((self.below, self.above), self._sides, strict=True):
            before = charges[own] - changes[own]
            total += float(changes[own] @ matrix @ (before + 0.5 * changes[own]))
        return total


def _damped_coulomb(distance: FloatArray) -> FloatArray:
    """Energy of two unit charges in eV, damped so that it ends at the cutoff."""
    from scipy.special import erfc

    close = np.maximum(distance, 0.3)  # Å: voids beside atoms; a smaller distance would only make large numbers
    end = float(erfc(CHARGE_DAMPING * CHARGE_REACH)) / CHARGE_REACH
    found: FloatArray = COULOMB_CONSTANT * (erfc(CHARGE_DAMPING * close) / close - end)
    return found


def _damp(cell: InterfaceCell, own: IntArray, images: FloatArray) -> FloatArray:
    """Energies of unit charges on the sites `own` of one side, shape (k, k), without those of a site with itself."""
    positions = cell.positions[own]
    apart = positions[None, :] - positions[:, None]
    total = np.zeros((len(own), len(own)))
    for image in images:
        distance = np.linalg.norm(apart + image, axis=2)
        near = (distance < CHARGE_REACH) & (distance > 1e-6)
        total[near] += _damped_coulomb(distance[near])
    return total
