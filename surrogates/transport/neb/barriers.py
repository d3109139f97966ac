"""Percolating barriers of an ion from the bands of all distinct hops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.protocols import Potential
from invdesign.structures.files import MIN_ATOM_DISTANCE
from invdesign.structures.formulas import write_formula
from invdesign.structures.symmetry import SYMPREC
from invdesign.structures.voids import find_voids
from surrogates.pairs import find_pairs
from surrogates.transport.neb.band import Band, CollapseError, relax_band
from surrogates.transport.neb.defects import Defects, Ends, Mechanism, Mirror
from surrogates.transport.neb.hops import HopClass, find_hops
from surrogates.transport.neb.lattices import Crystal, MigrationError, smallest_supercell
from surrogates.transport.neb.path import choose_detour, interpolate_path
from surrogates.transport.passes import find_percolation_heights

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from surrogates.transport.passes import Edge

HopState = Literal["converged", "unconverged", "too high"]

# eV above the level at which shorter hops percolate already, beyond which a band is left as it is; chosen: a path that
# converges to 0.5 eV/Å is nearer to its barrier.
HOPELESS_MARGIN = 0.3
REACH_ROOM = (
    0.1  # Å by which images are farther apart than the longest hop, so that its end is no image of its start
)
SAME_DETOUR = 0.1  # Å, a detour that a symmetry moves by less is kept by it; chosen
RELAXATION_STEPS = 300  # most moves of a defect's relaxation; chosen, vacancies need some 30


@dataclass(frozen=True, slots=True)
class Method:
    """Settings of the calculation, as in `NebBarrier`."""

    mechanism: Mechanism = "vacancy"
    images: int = 5
    supercell: float = 8.0
    reach: float = 4.5
    hops: int = 8
    directions: int = 3
    fmax: float = 0.05
    steps: int = 100
    rattle: float = 0.1


@dataclass(frozen=True, slots=True)
class HopBarrier:
    """A hop with its path.

    Attributes:
        hop: all hops that symmetry maps onto each other.
        energies: shape (m + 2,), along the path, eV.
        residual: largest force left on the band, eV/Å.
        state: `too high` where the band was left because another way is lower.
        mirrored: True if symmetry gave half of the images.
        saddle: the highest arrangement.
    """

    hop: HopClass
    energies: FloatArray
    residual: float
    state: HopState
    mirrored: bool
    saddle: Structure

    @property
    def height(self) -> float:
        """Energy of the highest arrangement, eV."""
        return float(self.energies.max())


@dataclass(frozen=True, slots=True)
class Migration:
    """Barriers of an ion in a crystal.

    Attributes:
        barriers: in one, two, ... directions, eV above the lowest arrangement.
        lowest: energy of the lowest arrangement, eV: of a site, or of a deeper place on the way between two.
        hops: computed hops, shortest first.
        skipped: distinct hops within reach that were not computed.
        atoms: atoms of the supercell with its defect.
        calls: arrangements computed by the potential.
        images: arrangements of those that were images of bands.
    """

    barriers: tuple[float, ...]
    lowest: float
    hops: tuple[HopBarrier, ...]
    skipped: int
    atoms: int
    calls: int
    images: int

    @property
    def unconverged(self) -> tuple[HopBarrier, ...]:
        """Hops that did not converge and may bear on a barrier."""
        highest = self.lowest + self.barriers[-1]
        return tuple(hop for hop in self.hops if hop.state == "unconverged" and hop.height <= highest)

    def decisive_hop(self, direction: int) -> HopBarrier:
        """Find the hop whose height is a barrier.

        Args:
            direction: number of directions of the barrier.
        """
        level = self.barriers[direction - 1] + self.lowest
        return min(self.hops, key=lambda hop: abs(hop.height - level))


def find_migration_barriers(
    structure: Structure, ion: str, potential: Potential, method: Method | None = None
) -> Migration:
    """Find the barriers of an ion to endless travel by nudged elastic bands.

    Every symmetry-distinct hop between neighbouring sites is computed in a supercell with one vacancy, or with one
    extra ion. A barrier is the height above the lowest place at which the hops percolate.

    Args:
        structure: ordered and relaxed.
        ion: symbol of the ion that moves.
        potential: gives energies and forces.
        method: settings.

    Raises:
        MigrationError: there is no such ion, no hop, or too few ways; an end of a hop is no minimum; a band does not
            converge, or collapses.
        PotentialError: the potential has no answer for an arrangement on the way.
    """
    method = method or Method()
    crystal, sites = _find_sites(structure, ion, method)
    supercell = smallest_supercell(crystal, max(method.supercell, method.reach + REACH_ROOM))
    number = _atomic_number(ion)
    defects = Defects(
        crystal,
        sites,
        number,
        method.mechanism,
        supercell,
        potential,
        method.fmax,
        RELAXATION_STEPS,
        method.rattle,
    )
    if method.mechanism == "interstitial":
        defects.drop_unstable_sites()
    classes = find_hops(crystal, defects.sites, method.reach)
    name = write_formula(structure.composition)
    if not classes:
        raise MigrationError(
            f"{name} has no two sites of {ion} within {method.reach:g} Å: raise 'reach', or use another mechanism"
        )
    search = _Search(defects, potential, method)
    for hop in classes[: method.hops]:
        search.compute_hop(hop)
    return search.conclude(name, ion, classes)


def _find_sites(structure: Structure, ion: str, method: Method) -> tuple[Crystal, FloatArray]:
    """The crystal, and the places of its defects."""
    name = write_formula(structure.composition)
    if not structure.is_ordered:
        raise MigrationError(
            f"{name} has partly occupied sites, and a potential needs whole atoms: give an ordered occupation of them"
        )
    # The primitive cell, so that the supercell does not depend on how the crystal is written.
    crystal = Crystal.from_structure(structure.get_primitive_structure(SYMPREC))
    if method.mechanism == "interstitial":
        fractions = crystal.positions @ np.linalg.inv(crystal.cell)
        numbers = crystal.numbers.tolist()
        voids = find_voids(crystal.cell, fractions, numbers, symprec=crystal.symprec, closed=False)
        sites = voids.points
        if not len(sites):
            raise MigrationError(f"{name} has no empty place for {ion}: use 'mechanism: vacancy'")
        return crystal, sites
    own = crystal.numbers == _atomic_number(ion)
    if not own.any():
        raise MigrationError(
            f"{name} has no {ion}, so no vacancy of it: name an ion that it holds, or use 'mechanism: interstitial'"
        )
    return crystal, crystal.positions[own]


def _atomic_number(symbol: str) -> int:
    from pymatgen.core import Element

    return int(Element(symbol).Z)


@dataclass(slots=True)
class _Search:
    """Computes hop after hop, and knows at which heights they percolate so far."""

    defects: Defects
    potential: Potential
    method: Method
    found: list[HopBarrier] = field(default_factory=list)
    images: int = 0

    @property
    def lowest(self) -> float:
        """Energy of the lowest arrangement, eV.

        Of a site, or of a deeper place on the way between two.
        """
        return min(float(hop.energies.min()) for hop in self.found)

    def levels(self) -> tuple[float, ...]:
        """Heights at which the hops percolate in one direction, two, ..., eV.

        Infinite where they do not.
        """
        edges = [edge for hop in self.found for edge in _list_edges(hop)]
        return find_percolation_heights(edges)[: self.method.directions]

    def compute_hop(self, hop: HopClass) -> None:
        """Relax the ends and the band of a hop."""
        ends = self.defects.find_ends(hop.hop, hop.reversals)
        detour = choose_detour(ends.start, ends.end, ends.cell)
        path = interpolate_path(ends.start, ends.end, ends.cell, self.method.images, detour)
        # A symmetry that turns the detour away would lead the path back into the atom it goes around.
        mirrors = [m for m in ends.mirrors if np.abs(m.rotation @ detour - detour).max() < SAME_DETOUR]
        mirror = mirrors[0] if mirrors and self.method.images % 2 else None
        band = self._relax(hop, ends, path, mirror)
        highest = band.path[band.highest]
        state: HopState = "converged" if band.converged else "too high" if band.abandoned else "unconverged"
        self.images += band.calls
        self.found.append(
            HopBarrier(
                hop,
                band.energies,
                band.residual,
                state,
                mirror is not None,
                self.defects.to_structure(highest, ends.numbers),
            )
        )

    def _relax(self, hop: HopClass, ends: Ends, path: FloatArray, mirror: Mirror | None) -> Band:
        def compute(arrangements: FloatArray) -> tuple[FloatArray, FloatArray]:
            found = self.potential.compute(
                [_to_atoms(ends.numbers, places, ends.cell) for places in arrangements],
                frozenset({"energy", "forces"}),
            )
            energies = np.array([item.energy for item in found])
            forces = np.array([item.forces for item in found])
            if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
                raise MigrationError("the potential gave an energy or force that is not finite")
            return energies, forces

        words = f"the hop of {hop.length:.2f} Å"
        try:
            band = relax_band(
                path,
                ends.energies,
                compute,
                fmax=self.method.fmax,
                steps=self.method.steps,
                mirror=mirror,
                hopeless=self.levels()[-1] + HOPELESS_MARGIN,
            )
        except CollapseError as error:
            raise MigrationError(f"{words}: {error}; use fewer 'images', or more") from error
        *_, apart = find_pairs(band.path[band.highest], ends.cell, MIN_ATOM_DISTANCE)
        if len(apart):
            raise MigrationError(
                f"{words}: two atoms of an image came as close as {apart.min():.2f} Å (limit {MIN_ATOM_DISTANCE:g} Å)"
            )
        return band

    def conclude(self, name: str, ion: str, classes: Sequence[HopClass]) -> Migration:
        """Barriers from all hops.

        Args:
            name: formula of the crystal, for messages.
            ion: symbol of the ion.
            classes: all distinct hops, also those not computed.

        Raises:
            MigrationError: they do not percolate in as many directions as asked.
        """
        levels = self.levels()
        reached = sum(np.isfinite(levels))
        if reached < self.method.directions:
            raise MigrationError(self._describe_missing_ways(name, ion, reached, classes))
        lowest = self.lowest
        return Migration(
            barriers=tuple(level - lowest for level in levels),
            lowest=lowest,
            hops=tuple(self.found),
            skipped=len(classes) - len(self.found),
            atoms=len(self.defects.numbers) + (-1 if self.method.mechanism == "vacancy" else 1),
            calls=self.images + self.defects.calls,
            images=self.images,
        )

    def _describe_missing_ways(self, name: str, ion: str, reached: int, classes: Sequence[HopClass]) -> str:
        skipped = len(classes) - len(self.found)
        more = f"; {skipped} longer hops were not computed, raise 'hops'" if skipped else ""
        known = [
            f"{level - self.lowest:.2f} eV in {n}"
            for n, level in enumerate(self.levels(), 1)
            if np.isfinite(level)
        ]
        found = f" (found: {', '.join(known)})" if known else ""
        return (
            f"the hops of {ion} in {name} up to {self.method.reach:g} Å lead without end in {reached} directions, "
            f"{self.method.directions} are asked{found}: raise 'reach', or set 'directions: {max(reached, 1)}'{more}"
        )


def _list_edges(barrier: HopBarrier) -> Iterator[Edge]:
    for hop in barrier.hop.members:
        yield barrier.height, hop.start, hop.end, np.array(hop.cells, dtype=np.int64)


def _to_atoms(numbers: IntArray, places: FloatArray, cell: FloatArray) -> Atoms:
    from ase import Atoms

    return Atoms(numbers=numbers, positions=places, cell=cell, pbc=True)
