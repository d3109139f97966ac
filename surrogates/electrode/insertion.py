"""Removal and insertion of ions: orderings relaxed at each composition, with the host they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.errors import InvdesignError
from invdesign.protocols import Potential
from invdesign.rng import rng_for
from invdesign.structures.formulas import write_formula
from surrogates.electrode.hosts import HostChange, compare_hosts, is_layered
from surrogates.electrode.orderings import rank_orderings
from surrogates.electrode.sites import InsertionError, IonSites
from surrogates.relaxation.relax import relax_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

HostRule = Literal["fail", "flag"]
# Share of its volume by which a host of layers may widen. Chosen: intercalation changes volumes by up to 13 %, and CoO2 by CHGNet 0.3.0,
# which knows no dispersion, by 46 %.
LARGEST_WIDENING = 0.2
SETTLED_FMAX, SETTLING_STEPS = 0.2, 50  # eV/Å, and moves of the atoms alone before the cell; chosen
LEFT_SITE = 1.0  # Å; an ion that moved farther has left its site, as in hulls of orderings


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of relaxations.

    Attributes:
        fmax: eV/Å, largest force left.
        smax: GPa, largest stress left.
        steps: most moves.
        rattle: Å, standard deviation of each coordinate's displacement before, so that no saddle of high symmetry is kept.
        cell: True if the cell may change.
    """

    fmax: float
    smax: float
    steps: int
    rattle: float
    cell: bool = True


@dataclass(frozen=True, eq=False)
class Ordering:
    """A relaxed arrangement of ions in a host.

    Attributes:
        count: number of ions.
        structure: relaxed; the host's sites stand first.
        energy: eV, whole cell.
        calls: of the potential.
        strayed: number of ions that left their site by more than 1 Å.
        held: True if its layers drifted apart, so that the cell was held.
        change: of the host against the end of the series; None before it is compared.
    """

    count: int
    structure: Structure
    energy: float
    calls: int
    strayed: int
    held: bool = False
    change: HostChange | None = None

    @property
    def changed(self) -> bool:
        """True if the host is another one."""
        return self.change is not None and self.change.changed


@dataclass(frozen=True, eq=False)
class Level:
    """Orderings of one composition.

    Attributes:
        count: number of ions.
        orderings: relaxed, the lowest energy first.
        failures: reason of each that could not be relaxed.
    """

    count: int
    orderings: tuple[Ordering, ...]
    failures: tuple[str, ...] = ()

    def select_orderings(self, rule: HostRule) -> tuple[Ordering, ...]:
        """Orderings that count.

        Args:
            rule: `fail` counts those that kept the host, `flag` all.
        """
        return tuple(item for item in self.orderings if rule == "flag" or not item.changed)


def relax_level(
    sites: IonSites,
    count: int,
    wanted: int,
    potential: Potential,
    limits: Limits,
    among: Sequence[int] | None = None,
    cell: Structure | None = None,
) -> Level:
    """Relax the orderings of one composition that are lowest by electrostatic energy.

    Args:
        sites: host and sites of the working ion.
        count: number of ions.
        wanted: largest number of orderings.
        potential: gives the energies.
        limits: of the relaxations.
        among: numbers of the sites that may be filled; see `rank_orderings`.
        cell: of a host of layers, the crystal whose cell is held where the layers drift apart.

    Raises:
        InsertionError: there is no room for the ions, or all relaxations failed.
    """
    found: list[Ordering] = []
    failures: list[str] = []
    for number, chosen in enumerate(rank_orderings(sites, count, wanted, among)):
        start = sites.fill(chosen)
        try:
            item = _relax_ordering(start, count, len(sites.host), potential, limits, number)
            if cell is not None and item.structure.volume > (1 + LARGEST_WIDENING) * cell.volume:
                item = _relax_in_cell(start, cell, item, potential, limits, number)
            found.append(item)
        except InvdesignError as error:
            failures.append(str(error))
    if not found:
        which = f"all {len(failures)} orderings" if len(failures) > 1 else "the only ordering"
        reasons = "; ".join(dict.fromkeys(failures))
        formula = write_formula(sites.fill(tuple(range(count))).composition)
        raise InsertionError(
            f"{which} of {formula} failed: {reasons}; ask for more 'orderings', or for another composition"
        )
    found.sort(key=lambda item: item.energy)
    return Level(count, tuple(found), tuple(failures))


def _relax_ordering(
    start: Structure, count: int, size: int, potential: Potential, limits: Limits, number: int
) -> Ordering:
    """Relax one ordering.

    Raises:
        InsertionError: it is not relaxed after the most moves.
    """
    begin = displace_atoms(start, limits.rattle, number)
    calls = 0
    if limits.cell:
        # Atoms first: where ions are missing forces are large, and a cell that follows them ends in another minimum (LiCoO2,
        # rattled by 0.05 Å: in one of three starts 50 meV higher and 10 % wider).
        settled = relax_structure(
            begin, potential, fmax=max(SETTLED_FMAX, limits.fmax), steps=SETTLING_STEPS, cell=False
        )
        begin, calls = settled.structure, settled.calls
    found = relax_structure(
        begin,
        potential,
        fmax=limits.fmax,
        smax=limits.smax,
        steps=limits.steps,
        cell=limits.cell,
    )
    if not found.converged:
        raise InsertionError(
            f"not relaxed after {limits.steps} steps, {found.max_force:.2g} eV/Å left (limit {limits.fmax:g}); raise "
            "'relaxation_steps'"
        )
    return Ordering(
        count, found.structure, found.energy, calls + found.calls, count_strayed(start, found.structure, size)
    )


def _relax_in_cell(
    start: Structure, cell: Structure, drifted: Ordering, potential: Potential, limits: Limits, number: int
) -> Ordering:
    """Relax an ordering whose layers drifted apart in the cell of another crystal.

    Args:
        start: before the relaxation.
        cell: the other crystal.
        drifted: the ordering.
        potential: gives the energies.
        limits: of the relaxation.
        number: of the ordering.
    """
    from pymatgen.core import Structure

    held = Structure(cell.lattice, start.species, start.frac_coords)
    size = len(start) - drifted.count
    found = _relax_ordering(held, drifted.count, size, potential, replace(limits, cell=False), number)
    return replace(found, calls=found.calls + drifted.calls, held=True)


def displace_atoms(structure: Structure, size: float, number: int) -> Structure:
    """Displace all atoms at random, without the mean.

    Args:
        structure: unchanged.
        size: standard deviation of each coordinate's displacement, Å.
        number: of the ordering, which decides on the displacements with the number of atoms.
    """
    from pymatgen.core import Structure

    if not size:
        return structure
    moves = rng_for(len(structure), number, "electrode").normal(scale=size, size=(len(structure), 3))
    places = structure.cart_coords + moves - moves.mean(axis=0)
    return Structure(structure.lattice, structure.species, places, coords_are_cartesian=True)


def count_strayed(start: Structure, end: Structure, size: int) -> int:
    """Count ions that left their site by more than 1 Å, without drift of the host and strain.

    Args:
        start: before the relaxation; the host's sites stand first.
        end: after it, in the same order.
        size: atoms of the host.
    """
    moved = end.frac_coords - start.frac_coords
    moved -= np.round(moved)
    moved -= moved[:size].mean(axis=0)
    return int((np.linalg.norm(moved[size:] @ end.lattice.matrix, axis=1) > LEFT_SITE).sum())


def compare_level(level: Level, reference: Ordering, size: int) -> Level:
    """Compare the host of every ordering with that of another.

    Args:
        level: orderings of one composition.
        reference: the ordering they are compared with.
        size: atoms of the host.
    """
    done = []
    for item in level.orderings:
        fuller, emptier = (item, reference) if item.count > reference.count else (reference, item)
        change = None if item is reference else compare_hosts(fuller.structure, emptier.structure, size)
        done.append(replace(item, change=change))
    return Level(level.count, tuple(done), level.failures)


@dataclass(frozen=True, eq=False)
class Series:
    """Levels of one host, from the start to the end of a removal or an insertion.

    Attributes:
        sites: host and sites of the working ion.
        levels: by number of ions; hosts compared with the first level's lowest ordering.
        skipped: sentence on each composition between the ends that has no ordering.
    """

    sites: IonSites
    levels: Mapping[int, Level]
    skipped: tuple[str, ...] = field(default=())

    @property
    def calls(self) -> int:
        """Calls of the potential."""
        return sum(item.calls for level in self.levels.values() for item in level.orderings)


def relax_series(
    sites: IonSites, counts: Sequence[int], wanted: int, potential: Potential, limits: Limits
) -> Series:
    """Relax orderings at all compositions of a removal or an insertion.

    Args:
        sites: host and sites of the working ion.
        counts: numbers of ions, from the start to the end.
        wanted: largest number of orderings at each.
        potential: gives the energies.
        limits: of the relaxations.

    Raises:
        InsertionError: an end has no ordering.
    """
    levels: dict[int, Level] = {}
    skipped: list[str] = []
    reference: Ordering | None = None
    layered = is_layered(sites.host)
    for count in (counts[0], counts[-1], *counts[1:-1]):  # the ends first: without them there is no voltage
        cell = (reference.structure if reference else sites.host) if layered else None
        try:
            level = relax_level(sites, count, wanted, potential, limits, cell=cell)
        except InsertionError as error:
            if count in {counts[0], counts[-1]}:
                raise
            skipped.append(str(error))
            continue
        reference = reference or level.orderings[0]
        levels[count] = compare_level(level, reference, len(sites.host))
    return Series(sites, levels, tuple(skipped))
