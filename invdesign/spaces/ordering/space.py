"""Search space of species and vacancies ordered on the sites of a supercell.

The composition is fixed or within a range. The genome names the species on every site that can vary. Orderings that a
symmetry of the supercell maps onto each other, its translations included, are one genome, and every genome has an
allowed composition: both are rules of the space, not gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome, Json, genome_key
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import Condition, Descriptor, Domain, Operator
from invdesign.rng import rng_for
from invdesign.settings import Frozen
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.framework import FrameworkSpace, OxidationStates, build_design, read_codes
from invdesign.spaces.generated import check_generators, list_generator_starts
from invdesign.spaces.ordered_sites.amounts import VACANCY, SiteChoice
from invdesign.spaces.ordered_sites.cell import OrderedCell, OrderingPlan, build_ordered_cell
from invdesign.spaces.ordered_sites.charges import FormalCharges
from invdesign.spaces.ordered_sites.clusters import ClusterKinds, Correlations
from invdesign.spaces.ordered_sites.operators import build_operators
from invdesign.spaces.ordered_sites.orderings import MAX_LISTED
from invdesign.spaces.ordered_sites.random_keys import Axes
from invdesign.spaces.ordered_sites.recognition import recognise_ordering
from invdesign.spaces.ordered_sites.supercell import Cell, format_cell, to_matrix
from invdesign.structures.parents import Parent, build_parent

if TYPE_CHECKING:
    from pymatgen.core import Structure


CELL_KEY = "cell"  # key of a genome for the number of its supercell, where there are several


class Prerank(Frozen):
    """Ranking of random orderings by a cheap energy."""

    by: Literal["ewald"] = "ewald"
    """Electrostatic energy of the formal charges."""
    keep: float = Field(default=0.1, ge=0.001, lt=1.0)
    """Share of random orderings that is kept: of 0.1, the lowest in energy of every ten is a start."""


class Clusters(Frozen):
    """Cluster correlations that models use as features."""

    pairs: int = Field(default=12, ge=0, le=200)
    """Number of kinds of pairs, short ones first."""
    triplets: int = Field(default=4, ge=0, le=200)
    """Number of kinds of triplets, small ones first."""


class OrderingSpace(FrameworkSpace):
    """Orderings of species and vacancies on the sites of a crystal's supercells.

    A genome holds a list of species per group of sites, in the order of the supercell's sites:
    `{"A": ["Li", "vacancy", "vacancy", "Li"]}`, and the number of its supercell (`cell`, from 0) where there are
    several. Among symmetric images the genome is the one that comes first in the order of the species.
    Spaces of at most 50,000 distinct orderings can be counted (`count`, `genome`, `blocks`).
    """

    primitive: bool = False
    """Start from the primitive cell of a centred parent instead of the conventional one."""
    cell: Cell = (1, 1, 1)
    """Repeats of the parent's cell along a, b and c, or the supercell's vectors as rows of integers."""
    cells: Annotated[tuple[Cell, ...], Field(strict=False)] = ()
    """Several supercells to choose from, instead of `cell`."""
    sites: dict[str, SiteChoice] = Field(min_length=1)
    """Species by label, Wyckoff site (`4c`) or element of the parent. Sites not named keep the parent's element."""
    oxidation_states: OxidationStates = Field(default={})
    """Oxidation states by element, where they differ from the parent's. Once some are given, charges must balance."""
    charge_neutral: bool = True
    """Whether charges must balance where `oxidation_states` are given; otherwise the host takes up the remainder."""
    electrostatics: bool = True
    """Whether electrostatic energies guide starts and are a feature of models, where all charges are known."""
    prerank: Prerank | None = None
    """Rank random starts by a cheap energy and keep the best."""
    clusters: Clusters = Clusters()
    """Cluster correlations that models use as features."""
    rattle: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of random displacements, Å, so that symmetric starts can leave their saddle."""

    @field_validator("cells")
    @classmethod
    def _check_cells(cls, cells: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        matrices = [to_matrix(cell).tolist() for cell in cells]
        for number, matrix in enumerate(matrices):
            if matrix in matrices[:number]:
                raise ValueError(f"{format_cell(cells[number])} is named twice")
        if cells and info.data.get("cell", (1, 1, 1)) != (1, 1, 1):
            raise ValueError("give either 'cell' or 'cells'")
        return cells

    @model_validator(mode="after")
    def _check_orderings(self, info: ValidationInfo) -> Self:
        try:
            self._check_settings()
            check_generators(self.generators, lambda: self.condition, info)
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    def _check_settings(self) -> None:
        """Check that the settings allow at least two orderings.

        Raises:
            ValueError: sites, amounts, charges or cells do not fit.
            InvdesignError: a cell or its symmetry is too large.
        """
        if not self._plan.varying_groups:
            listed = ", ".join(f"{name}: {next(iter(choice.species))}" for name, choice in self.sites.items())
            raise ValueError(
                f"there is nothing to order: every site takes a single species ({listed}); "
                f"give one of them two, as [Li, {VACANCY}]"
            )
        known = {element for choice in self.sites.values() for element in choice.species}
        for element in self.oxidation_states:
            if element not in known | set(self._unit.elements):
                raise ValueError(f"oxidation_states name {element}, which is in none of the sites")
        if self.prerank and not self._uses_electrostatics:
            raise ValueError(
                "prerank by ewald needs electrostatics, with the charges of all elements, and species of different "
                "charge on a group of sites; give oxidation_states, or leave prerank out"
            )
        if self.size() == 1:
            raise ValueError(
                "there is a single ordering: all others are its symmetric images; take a larger cell"
            )

    # Built from the settings once.

    @cached_property
    def _unit(self) -> Parent:
        return build_parent(self.parent, (1, 1, 1), primitive=self.primitive)

    @cached_property
    def _plan(self) -> OrderingPlan:
        by_group = {name: choice.oxidation_states for name, choice in self.sites.items()}
        return OrderingPlan(
            unit=self._unit,
            choices=dict(sorted(self.sites.items())),
            formal=FormalCharges(self._unit, self.oxidation_states, by_group),
            neutral=self.charge_neutral and bool(self.oxidation_states),
        )

    @cached_property
    def _cells(self) -> tuple[OrderedCell, ...]:
        found = []
        for cell in self.cells or (self.cell,):
            try:
                found.append(build_ordered_cell(self._plan, to_matrix(cell)))
            except (ValueError, InvdesignError) as error:
                where = f"cell {format_cell(cell)}: " if self.cells else ""
                raise ValueError(f"{where}{error}") from error
        return tuple(found)

    @cached_property
    def _countable(self) -> bool:
        size = self.size()
        listed = all(cell.orderings.countable for cell in self._cells)
        return size is not None and size <= MAX_LISTED and listed

    def list_cluster_kinds(self) -> ClusterKinds:
        """Kinds of clusters whose correlations are features.

        Points, then pairs, then triplets.
        """
        return self._kinds

    @cached_property
    def _kinds(self) -> ClusterKinds:
        return self._plan.find_cluster_kinds(self.clusters.pairs, self.clusters.triplets)

    @cached_property
    def _correlations(self) -> tuple[Correlations, ...]:
        kinds = self._kinds
        return tuple(cell.build_correlations(kinds) for cell in self._cells)

    @cached_property
    def _axes(self) -> Axes:
        return Axes(tuple(cell.orderings for cell in self._cells))

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        draws = round(1.0 / self.prerank.keep) if self.prerank else 1
        own = build_operators(
            self._cells,
            self._read_canonical,
            self._write_placed,
            electrostatic=self._uses_electrostatics,
            draws=draws,
        )
        return {
            **own,
            **list_generator_starts(self.generators, self.condition, partial(self.adopt, parent=None)),
        }

    @cached_property
    def condition(self) -> Condition:
        """Condition on generated crystals: elements of the sites, and size of the largest supercell."""
        named = {name for choice in self.sites.values() for name in choice.species} - {VACANCY}
        kept = {name for cell in self._cells for name in cell.contents} - {"", VACANCY}
        return Condition(
            elements=tuple(sorted(named | kept)),
            atoms=(1, max(len(cell.contents) for cell in self._cells)),
        )

    # Genomes and orderings.

    def _parse_genome(self, genome: Genome) -> tuple[int, IntArray]:
        """Supercell's number and ordering (n,) of a genome.

        Raises:
            Infeasible: supercell, groups, lengths, species or amounts are not the space's.
        """
        number = self._parse_cell_number(genome)
        orderings = self._cells[number].orderings
        names = [group.name for group in orderings.groups]
        wrong = sorted(set(genome) ^ {*names, *([CELL_KEY] if self.cells else [])})
        if wrong:
            raise Infeasible(f"the genome must name the groups {', '.join(names)}; {wrong[0]} is wrong")
        codes: list[int] = []
        for group in orderings.groups:
            species = genome[group.name]
            if not isinstance(species, list | tuple) or len(species) != len(group):
                raise Infeasible(
                    f"group {group.name} must be a list of {len(group)} species, got {species!r}"
                )
            options = {name: code for code, name in enumerate(group.species)}
            codes += read_codes(group.name, species, options)
        return number, np.asarray(codes, dtype=np.int64)

    def _parse_cell_number(self, genome: Genome) -> int:
        number = genome.get(CELL_KEY, 0) if self.cells else 0
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(self._cells):
            raise Infeasible(f"{CELL_KEY} must be a number from 0 to {len(self._cells) - 1}, got {number!r}")
        return number

    def _read_canonical(self, genome: Genome) -> tuple[int, IntArray]:
        number, codes = self._parse_genome(genome)
        return number, self._cells[number].orderings.to_canonical(codes)

    def _write_placed(self, placed: tuple[int, IntArray]) -> Genome:
        return self._write_genome(*placed)

    def _write_genome(self, number: int, codes: IntArray) -> dict[str, Json]:
        genome: dict[str, Json] = {CELL_KEY: number} if self.cells else {}
        listed = codes.tolist()
        for group in self._cells[number].orderings.groups:
            genome[group.name] = [group.species[code] for code in listed[group.first : group.stop]]
        return genome

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome that represents all symmetric images of `genome`.

        Raises:
            Infeasible: it is malformed.
        """
        return self._write_genome(*self._read_canonical(genome))

    def size(self) -> int | None:
        """Exact number of distinct orderings.

        None where counting them would take too long.
        """
        sizes = [cell.orderings.size for cell in self._cells]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def ewald_energy(self, genomes: Sequence[Genome]) -> FloatArray:
        """Electrostatic energies of the formal charges, shape (n,).

        In eV per site of the supercell. Residual charge is spread evenly over the atoms of elements with several given states
        and of transition metals without given ones; without any, a uniform background balances it.

        Args:
            genomes: n genomes.

        Raises:
            InvdesignError: an element's charge is not known.
            Infeasible: a genome is malformed.
        """
        energies = np.empty(len(genomes))
        for number, rows, codes in self._group_by_cell(genomes):
            charges = self._cells[number].electrostatics
            if charges is None:
                raise InvdesignError("an element's charge is not known; give oxidation_states")
            energies[rows] = charges.energies_per_site(codes)
        return energies

    # SearchSpace.

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name: `start`, `swap` and `crossover` always.

        Also `electrostatic` where charges differ, and `shift` over a range of compositions.
        """
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the ordered crystal as structure `initial`, without vacant sites.

        Args:
            genome: of this space.

        Raises:
            Infeasible: the genome is malformed or its composition not the space's, or atoms overlap.
        """
        number, codes = self._parse_genome(genome)
        cell = self._cells[number]
        counts = cell.orderings.count_species(codes)
        if not cell.orderings.allows_composition(counts):
            raise Infeasible(f"the space does not allow {self._format_counts(number, counts)}")
        rng = rng_for(0, 0, f"rattle {genome_key(genome)}")
        structure = cell.build_structure(codes, self.rattle, rng)
        return build_design(structure, self._unit.name)

    def _format_counts(self, number: int, counts: IntArray) -> str:
        groups = self._cells[number].orderings.groups
        names = [f"{species} on {group.name}" for group in groups for species in group.species]
        return ", ".join(f"{count} {name}" for name, count in zip(names, counts.tolist(), strict=True))

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Cluster correlations and electrostatic energies, shape (n, d).

        The energy is left out where charges are unknown, alike, or `electrostatics` is off.

        Args:
            genomes: n genomes.
        """
        found = np.empty((len(genomes), self._width))
        for number, rows, codes in self._group_by_cell(genomes):
            found[rows] = self._evaluate_features(number, codes)
        return found

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features: points, pairs, triplets and electrostatics."""
        energy = [Descriptor("electrostatic energy", "electrostatics")] if self._uses_electrostatics else []
        return rename_duplicates([*self._kinds.descriptors(), *energy])

    @cached_property
    def _uses_electrostatics(self) -> bool:
        """True if electrostatic energies are wanted and differ between orderings."""
        return self.electrostatics and all(
            cell.electrostatics is not None and cell.electrostatics.distinguishes_orderings
            for cell in self._cells
        )

    @cached_property
    def _width(self) -> int:
        return self._kinds.width + self._uses_electrostatics

    def _evaluate_features(self, number: int, codes: IntArray) -> FloatArray:
        """Features of the orderings (m, n) of one supercell, shape (m, d)."""
        columns = [self._correlations[number].evaluate_orderings(codes)]
        charges = self._cells[number].electrostatics
        if self._uses_electrostatics and charges is not None:
            columns.append(charges.energies_per_site(codes)[:, None])
        return np.hstack(columns)

    def _group_by_cell(self, genomes: Sequence[Genome]) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Iterate over the supercells that occur among genomes.

        Yields (number of a supercell, rows of its genomes, their orderings (m, n)).
        """
        read = [self._parse_genome(genome) for genome in genomes]
        numbers = np.asarray([number for number, _ in read], dtype=np.int64)
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            yield number, rows, np.stack([read[row][1] for row in rows.tolist()])

    # FiniteSpace.

    def count(self) -> int | None:
        """Number of distinct orderings where they can be listed, else None."""
        return self.size() if self._countable else None

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """Index after the last ordering of each supercell."""
        return tuple(accumulate(cell.orderings.size or 0 for cell in self._cells))

    def _locate_ordering(self, index: int) -> tuple[int, int]:
        """Number of the supercell and index among its orderings."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (self._ends[number - 1] if number else 0)

    def genome_at_index(self, index: int) -> Genome:
        """Genome number `index`, in the order of the species.

        The last site runs fastest.
        """
        number, own = self._locate_ordering(index)
        return self._write_genome(
            number, self._cells[number].orderings.distinct_orderings[own].astype(np.int64)
        )

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)); a block holds orderings of one supercell.
        """
        start = 0
        for number, cell in enumerate(self._cells):
            listed = cell.orderings.distinct_orderings
            for first in range(0, len(listed), size):
                codes = listed[first : first + size].astype(np.int64)
                yield start + first, self._evaluate_features(number, codes)
            start += len(listed)

    # VectorSpace.

    def domain(self) -> Domain:
        """Dimensions: the supercell if several, free amounts, and a key per site."""
        return self._axes.domain

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points (n, d) of the unit cube at `genomes`."""
        rows = [self._axes.encode_ordering(*self._parse_genome(genome)) for genome in genomes]
        return np.asarray(rows, dtype=np.float64).reshape(len(genomes), self._axes.width)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d) of the unit cube.

        The composition is the one nearest to the fractions; sites take its species in the order of their keys.
        """
        placed = [self._axes.decode_point(point) for point in np.clip(x, 0.0, 1.0)]
        return [
            self._write_genome(number, self._cells[number].orderings.to_canonical(codes))
            for number, codes in placed
        ]

    # StructureSpace.

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """Genome of a structure that is an ordering of the parent's lattice.

        The structure may be distorted or in another cell; None where no ordering matches.

        Args:
            structure: relaxed, seeded or generated.
            parent: the genome it was made from, whose supercell is tried first.
        """
        first = None if parent is None else self._parse_genome(parent)[0]
        numbers = sorted(range(len(self._cells)), key=lambda number: number != first)
        for number in numbers:
            codes = recognise_ordering(structure, self._cells[number], same_cell=number == first)
            if codes is not None:
                return self._write_genome(number, self._cells[number].orderings.to_canonical(codes))
        return None
