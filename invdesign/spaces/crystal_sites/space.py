"""Search space of crystals of space groups: occupied sites, cell parameters and free coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible
from invdesign.protocols import Condition, Descriptor, Domain, Operator, SpaceSettings
from invdesign.settings import Frozen
from invdesign.spaces.crystal.genomes import build_design
from invdesign.spaces.crystal.planning import build_rules, plan_formula
from invdesign.spaces.crystal.rules import CrystalRules
from invdesign.spaces.crystal.space import ALL_GROUPS, DEFAULT_UNITS, Positive, Range
from invdesign.spaces.crystal_sites.adopt import adopt_structure
from invdesign.spaces.crystal_sites.combinations import CombinationList, plan_combinations
from invdesign.spaces.crystal_sites.operators import list_makers
from invdesign.spaces.crystal_sites.repair import decode_repaired
from invdesign.spaces.crystal_sites.sited import read_sited, write_sited
from invdesign.spaces.crystal_sites.vectors import SiteAxes
from invdesign.spaces.generated import Generators, check_generators, list_generator_starts
from invdesign.spaces.operators import operators_on_codes
from invdesign.structures.combinations import Combination, read_sites
from invdesign.structures.conditions import read_formula, read_space_groups, reduce_counts
from invdesign.structures.fingerprints import CoarseFeatures, Distances
from invdesign.structures.sited import SitedCrystal
from invdesign.structures.wyckoff import GROUPS

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_UNITS = 200  # formula units in a primitive cell (chosen)


class OccupiedSites(Frozen):
    """Wyckoff positions that the atoms of each element occupy in a space group."""

    space_group: int = Field(ge=1, le=230)
    """International number; origin at the inversion centre, hexagonal axes, unique axis b."""
    sites: dict[str, Annotated[tuple[str, ...], Field(strict=False, min_length=1)]] = Field(min_length=1)
    """Letters of the occupied positions by element: `{Sr: [a], Ti: [b], O: [c]}`."""


class CrystalSitesSpace(SpaceSettings):
    """Crystals of a formula that have the symmetry of a space group.

    A genome holds the space group with the occupied Wyckoff positions of each element, the free lengths (Å) and angles (degrees)
    of the conventional cell, and the free coordinates of the positions, in their order: `{"sites": "136: O f, Ti a",
    "cell": [4.6, 2.95], "coordinates": [0.305]}`. Group and positions are one categorical variable; the numbers are real ones,
    so every optimizer can search them. Children inherit what a relaxation made of their parents, where it kept the space group.
    """

    formula: str
    """Formula of the crystal, `SrTiO3`."""
    formula_units: Range | None = None
    """Formula units in a primitive cell: a number, or [low, high]; by default [1, 4]. Given sites have their own."""
    sites: Annotated[tuple[OccupiedSites, ...], Field(strict=False)] = ()
    """Space groups with occupied positions: `[{space_group: 221, sites: {Sr: [a], Ti: [b], O: [c]}}]`. By default all that fit
    the formula; if there are more than 10,000, that many are drawn, evenly over the space groups."""
    space_groups: Annotated[tuple[int | str, ...], Field(strict=False, min_length=1)] = (ALL_GROUPS,)
    """Space groups where no sites are given: international numbers and ranges, `[62, 195-230]`."""
    volume_per_atom: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None
    """Bounds of the volume in Å³ per atom. By default 0.4 to 3 times that of ions, or elements, with tabulated radii."""
    min_distances: dict[str, float] = Field(default={})
    """Smallest distances in Å by pair of elements, `Al-O`. By default 0.55 of the sum of covalent radii."""
    generators: Generators = ()
    """Generators of further starts, of which those on sites of the space are taken."""

    @field_validator("volume_per_atom")
    @classmethod
    def _check_volume(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(
                f"volume_per_atom needs a lower and a higher bound, got [{bounds[0]:g}, {bounds[1]:g}]"
            )
        return bounds

    @model_validator(mode="after")
    def _check_space(self, info: ValidationInfo) -> Self:
        if self.sites and self.space_groups != (ALL_GROUPS,):
            raise ValueError("'sites' have their space groups; leave 'space_groups' out")
        if self.formula_units is not None and self.formula_units[0] < 1:
            raise ValueError(f"formula_units must be 1 or more, got {self.formula_units[0]}")
        _ = self._axes
        check_generators(self.generators, lambda: self.condition, info)
        return self

    # Built from the settings once.

    @cached_property
    def _elements(self) -> tuple[str, ...]:
        return tuple(self._formula)

    @cached_property
    def _formula(self) -> dict[str, int]:
        return read_formula(self.formula)

    @cached_property
    def _given(self) -> tuple[Combination, ...]:
        """Combinations that the settings give."""
        read = (read_sites(own.space_group, own.sites, self._elements) for own in self.sites)
        return tuple(dict.fromkeys(read))

    def _find_units(self, combination: Combination) -> int:
        """Formula units in the primitive cell of given sites.

        Raises:
            ValueError: their atoms are no multiple of the formula, or another one than `formula_units` allow.
        """
        counts = combination.count_atoms(len(self._elements))
        units = counts[0] // self._formula[self._elements[0]]
        low, high = self.formula_units or (1, MAX_UNITS)
        if counts != tuple(units * n for n in self._formula.values()) or not low <= units <= high:
            atoms = "".join(f"{name}{n}" for name, n in zip(self._elements, counts, strict=True) if n)
            allowed = f"{low} to {high} times" if self.formula_units else "a multiple of"
            raise ValueError(
                f"the sites '{combination.write(self._elements)}' hold {atoms} in the primitive cell, "
                f"which is not {allowed} {self.formula}"
            )
        return units

    @cached_property
    def _rules(self) -> CrystalRules:
        units = self.formula_units or DEFAULT_UNITS
        if self._given:
            found = [self._find_units(combination) for combination in self._given]
            units = min(found), max(found)
        return build_rules(
            self._elements,
            plan_formula(self._formula, units, {}),
            states={},
            volume_per_atom=self.volume_per_atom,
            min_distances=self.min_distances,
            cell=None,
            space_groups=read_space_groups(self.space_groups),
        )

    @cached_property
    def _axes(self) -> SiteAxes:
        rules = self._rules
        if self._given:
            given = tuple(sorted(self._given, key=lambda member: member.group))
            return SiteAxes(rules, CombinationList(given, len(given)))
        rows = [tuple(row) for row in rules.compositions.rows.tolist()]
        return SiteAxes(rules, plan_combinations(rules.space_groups, rows))

    @cached_property
    def _coarse(self) -> CoarseFeatures:
        return CoarseFeatures(Distances(len(self._elements)), shares=False)

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        own = operators_on_codes(list_makers(self._axes), self._read_genome, self._write_genome)
        return {
            **own,
            **list_generator_starts(self.generators, self.condition, partial(self.adopt, parent=None)),
        }

    @cached_property
    def condition(self) -> Condition:
        """Condition on generated crystals: formula, size and space groups."""
        groups = tuple(sorted({combination.group for combination in self._axes.combinations.places}))
        return Condition(
            elements=self._elements,
            required=self._elements,
            formula=tuple(reduce_counts(self._formula).items()),
            space_groups=() if len(groups) == len(GROUPS) else groups,
            atoms=(1, int(self._rules.compositions.rows.sum(axis=1).max())),
        )

    def _read_genome(self, genome: Genome) -> SitedCrystal:
        return self._axes.normalise(read_sited(genome, self._elements))

    def _write_genome(self, sited: SitedCrystal) -> dict[str, Json]:
        return write_sited(sited, self._elements)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remark on combinations that are left out."""
        found = self._axes.combinations
        if found.is_complete:
            return ()
        left_out = (
            f"of {found.total:,} combinations of space group and occupied sites, {len(found.members):,} are searched, drawn "
            f"evenly over {len(found.by_group)} space groups; name sites, fewer space_groups or fewer formula_units to search all"
        )
        return (left_out,)

    # SearchSpace.

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome with rounded numbers, coordinates in [0, 1).

        Raises:
            Infeasible: it is malformed.
        """
        return self._write_genome(self._read_genome(genome))

    def operators(self) -> Mapping[str, Operator]:
        """`start`, `crossover`, and mutations: `move` and `redraw` coordinates, change the `cell` or the `sites`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the primitive cell of the crystal as structure `initial`.

        Raises:
            Infeasible: the genome is malformed, or breaks a rule: sites, cell, volume or distances.
        """
        sited = self._read_genome(genome)
        fault = self._axes.find_fault(sited)
        if fault:
            raise Infeasible(fault)
        return build_design(sited.crystal, self._elements)

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Coarse distances, volume per atom, symmetry and free coordinates, shape (n, d)."""
        crystals = [self._read_genome(genome) for genome in genomes]
        symmetry = [
            [np.log2(sited.combination.space_group.order), sited.combination.free] for sited in crystals
        ]
        coarse = self._coarse.evaluate([sited.crystal for sited in crystals])
        return np.hstack([coarse, np.array(symmetry, dtype=np.float64).reshape(-1, 2)])

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features."""
        symmetry = ("log2 of operations", "free coordinates")
        return [
            *self._coarse.list_descriptors(self._elements),
            *(Descriptor(name, "symmetry") for name in symmetry),
        ]

    # VectorSpace.

    def domain(self) -> Domain:
        """Combination, volume, ratios of lengths, angles, and free coordinates."""
        return self._axes.domain

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points of `genomes`, shape (n, d)."""
        rows = [self._axes.encode(self._read_genome(genome)) for genome in genomes]
        return np.array(rows, dtype=np.float64).reshape(len(genomes), len(self.domain().dimensions))

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d); atoms that are too close are moved apart."""
        return [
            self._write_genome(decode_repaired(point, self._axes))
            for point in np.asarray(x, dtype=np.float64)
        ]

    # InheritingSpace.

    @property
    def inherits_from(self) -> tuple[str, ...]:
        """Role of structures that children inherit."""
        return ("relaxed",)

    def adopt(self, structure: Structure, parent: Genome | None) -> dict[str, Json]:
        """Genome of a relaxed structure that kept the space group, or of any crystal with sites of the space.

        Args:
            structure: relaxed, or in any cell.
            parent: genome that the structure was relaxed from; None where there is none.

        Raises:
            Infeasible: the symmetry was lost, or the structure is none of the space's, with the reason.
        """
        before = None if parent is None else self._read_genome(parent)
        return self._write_genome(adopt_structure(structure, before, self._axes))
