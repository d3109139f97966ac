"""Genomes of interfaces and their codes: match, shift, gap, and species on the sites that vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from invdesign.arrays import IntArray
from invdesign.candidate import Genome, Json, round_number
from invdesign.errors import Infeasible, nearest
from invdesign.spaces.framework import read_codes
from invdesign.spaces.interface.cell import InterfaceCell
from invdesign.spaces.interface.shifts import to_fractions, to_steps

MATCH, SHIFT, GAP = "match", "shift", "gap"
GAP_DECIMALS = 4  # of a gap in Å (chosen)


class Placed(NamedTuple):
    """Code of a genome.

    Attributes:
        match: number of the match.
        shift: shape (2,), steps; within one cell of displacements where the code is canonical.
        gap: Å; that of the match where gaps do not vary.
        codes: shape (n,), species of the sites that vary.
    """

    match: int
    shift: IntArray
    gap: float
    codes: IntArray


@dataclass(frozen=True, eq=False)
class GenomeReader:
    """Conversion of genomes to codes and back.

    Attributes:
        cells: one per match.
        gaps: (smallest, largest) gap where it varies, else None.
        shifts: True if genomes hold a shift.
    """

    cells: Sequence[InterfaceCell]
    gaps: tuple[float, float] | None
    shifts: bool

    def parse(self, genome: Genome) -> Placed:
        """Code of a genome.

        Raises:
            Infeasible: match, shift, gap, species or numbers of exchanges are not the space's.
        """
        number = self._parse_match(genome)
        cell = self.cells[number]
        groups = cell.sites.groups
        names = [MATCH, *([SHIFT] if self.shifts else []), *([GAP] if self.gaps else [])]
        wrong = sorted(set(genome) ^ {*names, *(group.name for group in groups)})
        if wrong:
            known = ", ".join([*names, *(group.name for group in groups)])
            raise Infeasible(f"the genome must name {known}; '{wrong[0]}' is wrong")
        codes: list[int] = []
        for group in groups:
            species = genome[group.name]
            if not isinstance(species, list | tuple) or len(species) != len(group):
                raise Infeasible(f"'{group.name}' must be a list of {len(group)} species, got {species!r}")
            options = {name: code for code, name in enumerate(group.species)}
            codes += read_codes(group.name, species, options)
        return Placed(
            number,
            self._parse_shift(genome, cell),
            self._parse_gap(genome, cell),
            np.asarray(codes, np.int64),
        )

    def _parse_match(self, genome: Genome) -> int:
        name = genome.get(MATCH)
        for number, cell in enumerate(self.cells):
            if cell.name == name:
                return number
        hint = nearest(str(name), [cell.name for cell in self.cells])
        raise Infeasible(f"{name!r} is no match of the space. {hint}".strip())

    def _parse_shift(self, genome: Genome, cell: InterfaceCell) -> IntArray:
        if not self.shifts:
            fixed: IntArray = cell.shifts.list_points()[0]
            return fixed
        shift = genome[SHIFT]
        if (
            not isinstance(shift, list | tuple)
            or len(shift) != 2
            or any(isinstance(x, bool) or not isinstance(x, int | float) or not abs(x) < 1e6 for x in shift)
        ):
            raise Infeasible(f"shift must be two fractions, as [0.25, 0.5], got {shift!r}")
        steps = to_steps(np.array([float(x) for x in shift if isinstance(x, int | float)]))
        allowed: IntArray = cell.shifts.nearest_allowed(steps)
        if np.abs(allowed - steps).max() > 1:
            raise Infeasible(f"shift {list(shift)} is no point of the grid of shifts")
        return allowed

    def _parse_gap(self, genome: Genome, cell: InterfaceCell) -> float:
        if self.gaps is None:
            return cell.gap
        gap = genome[GAP]
        low, high = self.gaps
        if isinstance(gap, bool) or not isinstance(gap, int | float) or not low - 1e-9 <= gap <= high + 1e-9:
            raise Infeasible(f"gap must be a number from {low:g} to {high:g} Å, got {gap!r}")
        return self.round_gap(gap)

    def round_gap(self, gap: float) -> float:
        """Round a gap in Å, and keep it within its range."""
        if self.gaps is None:
            return gap
        low, high = self.gaps
        return round_number(min(max(round(float(gap), GAP_DECIMALS), low), high))

    def write(self, placed: Placed) -> dict[str, Json]:
        """Genome of a code."""
        cell = self.cells[placed.match]
        genome: dict[str, Json] = {MATCH: cell.name}
        if self.shifts:
            genome[SHIFT] = list(to_fractions(placed.shift))
        if self.gaps:
            genome[GAP] = placed.gap
        listed = placed.codes.tolist()
        for group in cell.sites.groups:
            genome[group.name] = [group.species[code] for code in listed[group.first : group.stop]]
        return genome

    def to_canonical(self, placed: Placed) -> Placed:
        """Code that stands for all symmetric images of `placed`."""
        cell = self.cells[placed.match]
        shift, codes = cell.to_canonical(placed.shift, placed.codes)
        return Placed(placed.match, shift, placed.gap, codes)

    def read_canonical(self, genome: Genome) -> Placed:
        """Canonical code of a genome."""
        return self.to_canonical(self.parse(genome))
