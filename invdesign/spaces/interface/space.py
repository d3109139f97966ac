"""Search space of interfaces: match, registry, and atoms exchanged across the plane where two solids meet.

The composition of the two solids stays: atoms are exchanged in pairs, and ions that leave one side enter voids of the other.
Interfaces that a symmetry of the bicrystal maps onto each other are one genome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json, genome_key
from invdesign.errors import Infeasible, InvdesignError
from invdesign.periodic import bring_into_cube, periodic_mask
from invdesign.protocols import Descriptor, Domain, Operator
from invdesign.rng import rng_for
from invdesign.spaces.framework import build_design
from invdesign.spaces.interface.adopt import recognise_interface
from invdesign.spaces.interface.building import REFERENCES, build_initial, list_references
from invdesign.spaces.interface.features import InterfaceFeatures
from invdesign.spaces.interface.genomes import GenomeReader, Placed
from invdesign.spaces.interface.operators import InterfaceOperators
from invdesign.spaces.interface.plan import InterfacePlan, build_plan
from invdesign.spaces.interface.settings import GapRange, InterfaceSettings
from invdesign.spaces.interface.vectors import InterfaceAxes
from invdesign.structures.parents import list_parent_remarks

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_LISTED = 50_000  # genomes of a countable space (chosen)


class InterfaceSpace(InterfaceSettings):
    """Interfaces of a substrate and a film.

    A genome names the match, and holds what may vary of the rest: the shift of the film in fractions of the cell of
    non-identical displacements, the gap in Å, and the species of every site that may change, from the plane downwards:
    `{"match": "(110)1|(010)3 2x1|1x1", "shift": [0.25, 0.5], "substrate Co": ["P", "Co"], "film P": ["P", "Co"]}`.
    A space of matches and shifts on a grid alone can be counted (`count`, `genome`, `blocks`).
    """

    @model_validator(mode="after")
    def _check_interfaces(self) -> Self:
        try:
            _ = self._plan
            if self.size() == 1:
                raise ValueError(
                    "there is a single interface; let the shift, the match, the gap or an exchange vary"
                )
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    # Built from the settings once.

    @cached_property
    def _plan(self) -> InterfacePlan:
        return build_plan(self)

    @cached_property
    def _reader(self) -> GenomeReader:
        gaps = (self.gap.min, self.gap.max) if isinstance(self.gap, GapRange) else None
        return GenomeReader(self._plan.cells, gaps, shifts=self.varies_shift)

    @property
    def varies_shift(self) -> bool:
        """True if the shift is part of a genome."""
        return not isinstance(self.shift, tuple)

    @cached_property
    def _axes(self) -> InterfaceAxes:
        return InterfaceAxes(self._reader)

    @cached_property
    def _features(self) -> InterfaceFeatures:
        return InterfaceFeatures(self._plan.cells, gaps=isinstance(self.gap, GapRange))

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        exchanges = tuple(range(len(self.exchange)))
        depletions = tuple(range(len(self.exchange), len(self.exchange) + len(self.deplete)))
        return InterfaceOperators(self._reader, exchanges, depletions).build()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on the reading of the solids, their cells and planes, and the matches."""
        found = [
            remark for choice in (self.substrate, self.film) for remark in list_parent_remarks(choice.source)
        ]
        return (*dict.fromkeys(found), *self._plan.remarks)

    @property
    def structure_type(self) -> str:
        """Kind of structure that candidates are built as."""
        return "an interface of two solids"

    @property
    def reference_structures(self) -> tuple[str, ...]:
        """Roles of both bulks, slabs and solids, which designs hold beside `initial`."""
        return REFERENCES

    # SearchSpace.

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome that represents all symmetric images of `genome`.

        Raises:
            Infeasible: it is malformed.
        """
        return self._reader.write(self._reader.read_canonical(genome))

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name, each only where what it changes may vary.

        `start` and `abrupt` need no parents, `shift`, `gap`, `exchange`, `deplete` and `rematch` one, `crossover` two.
        """
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the bicrystal as structure `initial`, after the references.

        Bulks and slabs of its match, and both solids.

        Args:
            genome: of this space.

        Raises:
            Infeasible: the genome is malformed, or atoms overlap.
        """
        placed = self._reader.parse(genome)
        cell = self._plan.cells[placed.match]
        if len(cell.sites) and cell.sites.find_amounts(placed.codes) is None:
            raise Infeasible(
                "the numbers of exchanged atoms of both sides differ, or are more than the space allows"
            )
        rng = rng_for(0, 0, f"rattle {genome_key(genome)}") if self.rattle else rng_for(0, 0, "rattle")
        design = build_design(build_initial(cell, placed, self.rattle, rng), cell.name)
        return replace(design, structures={**list_references(cell), **design.structures})

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Features of the match, pairs across the plane, charges, and exchanges by depth, shape (n, d).

        Args:
            genomes: n genomes.
        """
        rows = [self._features.evaluate(self._reader.parse(genome)) for genome in genomes]
        return np.asarray(rows, dtype=np.float64).reshape(len(genomes), len(self.descriptors()))

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features."""
        return self._features.descriptors()

    # FiniteSpace.

    @cached_property
    def _ends(self) -> tuple[int, ...] | None:
        """Index after the last genome of each match; None where they cannot be counted."""
        varies = bool(self.exchange or self.deplete) or isinstance(self.gap, GapRange)
        if varies or self.shift == "free":
            return None
        found = tuple(accumulate(len(cell.distinct_shifts) for cell in self._plan.cells))
        return found if found[-1] <= MAX_LISTED else None

    def count(self) -> int | None:
        """Number of distinct interfaces where only the match and a grid of shifts vary, else None."""
        return None if self._ends is None else self._ends[-1]

    def genome_at_index(self, index: int) -> Genome:
        """Genome number `index`, match after match."""
        return self._reader.write(self._placed_at(index))

    def _placed_at(self, index: int) -> Placed:
        assert self._ends is not None
        match = int(np.searchsorted(self._ends, index, side="right"))
        own = index - (self._ends[match - 1] if match else 0)
        cell = self._plan.cells[match]
        codes = np.zeros(len(cell.sites), dtype=np.int64)
        return Placed(match, cell.distinct_shifts[own], cell.gap, codes)

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)).
        """
        for start in range(0, len(self), size):
            rows = range(start, min(start + size, len(self)))
            yield start, np.stack([self._features.evaluate(self._placed_at(index)) for index in rows])

    def name_candidate(self, genome: Genome) -> str:
        """Name of the match and the numbers of exchanges: `(110)1|(010)3 2x1, 1 Co/P`.

        Args:
            genome: of this space.
        """
        placed = self._reader.parse(genome)
        cell = self._plan.cells[placed.match]
        if not len(cell.sites):
            return cell.name
        amounts = cell.sites.find_amounts(placed.codes)
        if amounts is None:
            return cell.name
        listed = [
            f"{number} {item.name.replace('-', '/')}"
            for number, item in zip(amounts.tolist(), cell.sites.transfers, strict=True)
            if number
        ]
        return ", ".join([cell.name, *(listed or ["unmixed"])])

    def hints(self) -> Mapping[str, Mapping[str, Json]]:
        """Settings of optimizers that suit relaxations of seconds.

        Few parents, and children chosen by models of the features.
        """
        return {"genetic": {"population": 12, "prescreen": True}}

    # VectorSpace.

    def domain(self) -> Domain:
        """Dimensions: match, shift (periodic), gap, numbers of exchanges, and a key per site.

        Each where it varies.
        """
        return self._axes.domain

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points (n, d) of the unit cube at `genomes`."""
        rows = [self._axes.encode(self._reader.read_canonical(genome)) for genome in genomes]
        return np.asarray(rows, dtype=np.float64).reshape(len(genomes), self._axes.width)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d) of the unit cube."""
        periodic = periodic_mask(self._axes.domain.dimensions)
        inside = bring_into_cube(np.asarray(x, dtype=np.float64), periodic)
        return [self._reader.write(self._axes.decode(point)) for point in inside]

    # StructureSpace.

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """Genome of a relaxed, seeded or generated bicrystal of a known match; None where none fits.

        Every atom takes the nearest site; the mean displacement of the film against the substrate gives shift and gap.

        Args:
            structure: its first two vectors span the plane, the third is the normal.
            parent: the genome that it was made from, whose match and shift are tried first.
        """
        start = None if parent is None else self._reader.parse(parent)
        found = recognise_interface(structure, self._reader, start)
        return None if found is None else self._reader.write(found)
