"""Search space of point defects and their complexes in a host supercell.

It is an ordering of few foreign species and vacancies on the host's sites, with the voids of the host as further sites. Arrangements
that a symmetry of the supercell maps onto each other are one genome. A genome also holds a local distortion, since atoms around a
defect rearrange, and relaxations from the perfect sites miss it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import Descriptor, Dimension, Domain, Operator
from invdesign.rng import rng_for
from invdesign.settings import Frozen
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.defect.adopt import is_near, recognise_defects
from invdesign.spaces.defect.cell import DefectCell, add_voids, iterate_blocks
from invdesign.spaces.defect.distortion import SEEDS, Distort, Distortion, parse_distortion
from invdesign.spaces.defect.features import describe_arrangements, evaluate_arrangements
from invdesign.spaces.defect.kinds import (
    INTERSTITIAL,
    Counts,
    check_kinds,
    choose_species,
    describe_charge,
    describe_counts,
    parse_kind,
)
from invdesign.spaces.defect.operators import Arranged, build_operators
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.framework import OxidationStates, build_design
from invdesign.spaces.ordered_sites.amounts import VACANCY
from invdesign.spaces.ordered_sites.cell import OrderingPlan, build_ordered_cell
from invdesign.spaces.ordered_sites.charges import FormalCharges
from invdesign.spaces.ordered_sites.clusters import Correlations
from invdesign.spaces.ordered_sites.random_keys import Axes
from invdesign.spaces.ordered_sites.supercell import Cell, to_matrix
from invdesign.structures.cells import measure_shortest_translation
from invdesign.structures.parents import (
    Parent,
    ParentSource,
    build_parent,
    describe_structure_type,
    list_parent_remarks,
)
from invdesign.structures.symmetry import SYMPREC
from invdesign.structures.voids import SMALLEST_ROOM, find_voids

if TYPE_CHECKING:
    from pymatgen.core import Structure

DISTORTION = "distortion"  # key of a genome
NO_CHARGE = (
    "no machine-learned potential here knows charge, so that only neutral cells are computed; leave 'charge' out, and balance the "
    "defects by formal charges"
)
PAIRS = 8  # chosen; kinds of pairs whose correlations are features: defects are few, and their distances are features too
NEAR_IMAGES = 8.0  # Å between a defect and its image, below which a remark says so; chosen


class VoidRules(Frozen):
    """Limits of the empty places that take interstitials."""

    room: float = Field(default=SMALLEST_ROOM, ge=0.5, le=4.0)
    """Least distance of a place to the host's atoms, and of two occupied places, Å."""
    apart: float = Field(default=1.0, ge=0.3, le=3.0)
    """Places nearer to each other are one, Å."""


class DefectSpace(CountableSpace):
    """Point defects in a supercell of a host crystal.

    A genome holds the sites of each kind of defect, numbered as in the supercell, its voids after its atoms, and the distortion around
    them: `{"N on O": [32, 40], "vacancy O": [45], "distortion": {"bond": -0.2, "toward": 0.7, "pair": 0, "seed": 3}}`.
    """

    parent: ParentSource
    """The host: a prototype's name, or a CIF, POSCAR or pymatgen JSON file (relative to the campaign)."""
    primitive: bool = False
    """Start from the primitive cell of a centred parent instead of the conventional one."""
    cell: Cell = (1, 1, 1)
    """Repeats of the parent's cell along a, b and c, or the supercell's vectors as rows of integers."""
    defects: dict[str, Counts] = Field(min_length=1)
    """Number by kind: `N on O: 2`, `vacancy O: 1`, `interstitial Li: {max: 2}`. Sites are named by label, Wyckoff site or element."""
    within: float | None = Field(default=None, gt=0.0, le=100.0)
    """Largest distance of any two defects in Å, for complexes; without it they are anywhere."""
    oxidation_states: OxidationStates = Field(default={})
    """Oxidation states by element, where they differ from the parent's. An element with several takes up charge."""
    charge_neutral: bool = True
    """Whether formal charges must balance. Otherwise electrons of the host make up for it."""
    distort: Distort | Literal[False] = Distort()
    """Local distortion around the defects; false for none."""
    voids: VoidRules = VoidRules()
    """Which empty places take interstitials."""
    electrostatics: bool = True
    """Whether electrostatic energies guide starts and are a feature of models, where all charges are known."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_charge(cls, value: object) -> object:
        if isinstance(value, Mapping) and "charge" in value:
            raise ValueError(NO_CHARGE)
        return value

    @field_validator("distort", mode="before")
    @classmethod
    def _expand_distort(cls, value: object) -> object:
        return Distort() if value is True else value

    @field_validator("defects")
    @classmethod
    def _check_kinds(cls, defects: dict[str, Counts]) -> dict[str, Counts]:
        return check_kinds(defects)

    @model_validator(mode="after")
    def _check_defects(self) -> Self:
        try:
            cell = self._cell
            known = {name for name in self._unit.elements if name != VACANCY}
            known |= {kind.species for kind in cell.kinds}
            for element in self.oxidation_states:
                if element not in known:
                    raise ValueError(
                        f"oxidation_states name {element}, which is neither in the host nor a defect"
                    )
            if self.distort is False and self.size() == 1:
                raise ValueError(
                    "there is a single arrangement: all others are its symmetric images; take a larger cell"
                )
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on the parent's file, and on images of defects that are near."""
        found = list_parent_remarks(self.parent)
        nearest = measure_shortest_translation(self._cell.ordered.crystal.lattice)
        if nearest < NEAR_IMAGES:
            cell = "the supercell is so thin that a defect and its image are"
            found = (
                *found,
                f"{cell} {nearest:.1f} Å apart; they act on each other below about {NEAR_IMAGES:g} Å",
            )
        return found

    @property
    def structure_type(self) -> str:
        """Kind of structure that candidates are built as: `a lithium phosphate structure`."""
        return describe_structure_type(self.parent)

    @property
    def reference_structures(self) -> tuple[str, ...]:
        """Roles of the structures beside `initial`: the perfect supercell."""
        return ("host",)

    # Built from the settings once.

    @cached_property
    def _unit(self) -> Parent:
        """Unit cell of the host, with its voids where they may hold an interstitial."""
        unit = build_parent(self.parent, (1, 1, 1), primitive=self.primitive)
        wanted = [name for name in self.defects if parse_kind(name).place == INTERSTITIAL]
        if not wanted:
            return unit
        numbers = unit.build_structure().atomic_numbers
        voids = find_voids(
            unit.lattice,
            unit.positions,
            numbers,
            room=self.voids.room,
            apart=self.voids.apart,
            symprec=SYMPREC,
        )
        if not len(voids):
            raise ValueError(
                f"{unit.name} has no void with {self.voids.room:g} Å to its atoms for '{wanted[0]}'; lower voids.room"
            )
        return add_voids(unit, voids)

    @cached_property
    def _plan(self) -> OrderingPlan:
        choices = choose_species(self._unit, self.defects)
        return OrderingPlan(
            self._unit, choices, FormalCharges(self._unit, self.oxidation_states, {}), neutral=False
        )

    @cached_property
    def _cell(self) -> DefectCell:
        """The supercell, with the compositions that balance and have an arrangement.

        Raises:
            ValueError: there are none.
        """
        ordered = build_ordered_cell(self._plan, to_matrix(self.cell))
        kinds = tuple(parse_kind(name) for name in self.defects)
        cell = DefectCell(ordered, kinds, self.within, self.voids.room)
        compositions = ordered.orderings.compositions
        compositions = compositions[compositions[:, cell.columns].sum(axis=1) > 0]
        if self.charge_neutral:
            compositions = self._keep_neutral(cell, compositions)
        placed = [
            counts for counts in compositions if cell.draw_codes(counts, rng_for(0, 0, "defects")) is not None
        ]
        if not placed:
            limit = (
                "" if self.within is None else f" within {self.within:g} Å of one another; raise 'within', or"
            )
            listed = describe_counts(cell.count_defects(compositions[0]))
            raise ValueError(f"the cell has no arrangement of {listed}{limit} take fewer defects")
        orderings = replace(ordered.orderings, compositions=np.asarray(placed))
        return replace(cell, ordered=replace(ordered, orderings=orderings))

    def _keep_neutral(self, cell: DefectCell, compositions: IntArray) -> IntArray:
        """Compositions whose charges balance.

        Raises:
            ValueError: there are none; the message names the charge and what would balance it.
        """
        plan, ordered = self._plan, cell.ordered
        groups = ordered.orderings.groups
        try:
            charges = plan.find_imbalances(groups, ordered.unit_sites, compositions.tolist())
        except ValueError as error:
            raise ValueError(
                f"{error}: oxidation_states: {{...}}, or set charge_neutral: false; defects are balanced by formal charges"
            ) from error
        kept: IntArray = compositions[np.asarray(charges) == 0]
        if len(kept):
            return kept
        native = compositions[0].copy()
        nearest = compositions[int(np.argmin(charges))]
        for group in groups:
            column = int(ordered.orderings.offsets[group.first])
            native[column : column + len(group.species)] = 0
            native[column] = len(group)
        if any(plan.find_imbalances(groups, ordered.unit_sites, [native.tolist()])):
            raise ValueError(
                f"the charges of {self._unit.name} do not balance before any defect; give oxidation_states of its elements, or set "
                "charge_neutral: false"
            )
        raise ValueError(describe_charge(plan.formal, cell.count_defects(nearest), plan.sites))

    @cached_property
    def _correlations(self) -> Correlations:
        return self._cell.ordered.build_correlations(self._plan.find_cluster_kinds(PAIRS, 0))

    @cached_property
    def _axes(self) -> Axes:
        return Axes((self._cell.ordered.orderings,))

    @cached_property
    def _rules(self) -> Distort | None:
        return self.distort or None

    @cached_property
    def _rattle(self) -> float:
        return self._rules.rattle if self._rules else 0.0

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        return build_operators(
            self._cell,
            self._rules,
            self._read_canonical,
            self._write_arranged,
            electrostatic=self._uses_electrostatics,
        )

    @cached_property
    def _uses_electrostatics(self) -> bool:
        """True if electrostatic energies are wanted and differ between arrangements."""
        charges = self._cell.ordered.electrostatics if self.electrostatics else None
        return charges is not None and charges.distinguishes_orderings

    # Genomes and arrangements.

    def _parse_genome(self, genome: Genome) -> Arranged:
        """Arrangement and distortion of a genome.

        Raises:
            Infeasible: it is malformed, or none of the space's.
        """
        names = [*self.defects, *([DISTORTION] if self._rules else [])]
        wrong = sorted(set(genome) ^ set(names))
        if wrong:
            raise Infeasible(f"the genome must name {', '.join(names)}; {wrong[0]} is wrong")
        codes = self._cell.read_codes(genome)
        counts = self._cell.ordered.orderings.count_species(codes)
        if not self._cell.ordered.orderings.allows_composition(counts):
            listed = describe_counts(self._cell.count_defects(counts))
            raise Infeasible(f"the space does not allow {listed}")
        if not self._cell.keeps_rule(codes):
            raise Infeasible(self._cell.describe_distances(codes))
        return codes, parse_distortion(genome[DISTORTION]) if self._rules else None

    def _read_canonical(self, genome: Genome) -> Arranged:
        return self._settle(*self._parse_genome(genome))

    def _settle(self, codes: IntArray, distortion: Distortion | None) -> Arranged:
        """Canonical form of an arrangement with its distortion."""
        codes = self._cell.ordered.orderings.to_canonical(codes)
        if self._rules is None:
            return codes, None
        return codes, (distortion or Distortion()).settle(
            self._rules, len(self._cell.surroundings.find_gaps(codes))
        )

    def _write_arranged(self, arranged: Arranged) -> Genome:
        codes, distortion = arranged
        genome = self._cell.write_sites(codes)
        return genome if distortion is None else {**genome, DISTORTION: distortion.to_json()}

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome that represents all symmetric images of `genome`.

        Raises:
            Infeasible: it is malformed.
        """
        return dict(self._write_arranged(self._read_canonical(genome)))

    def count_arrangements(self) -> int | None:
        """Exact number of distinct arrangements of the defects, without distortions; None where counting takes too long."""
        return self._cell.size

    def size(self) -> int | None:
        """Exact number of distinct arrangements; None with distortions, or where counting takes too long."""
        return None if self._rules else self._cell.size

    # SearchSpace.

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name: `start`, `move` and `crossover` always.

        Also `facing` and `distort` with distortions, `electrostatic` where charges differ, and `shift` over a range of numbers.
        """
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the perfect supercell as `host`, and the defects in it as `initial`.

        Args:
            genome: of this space.

        Raises:
            Infeasible: the genome is malformed or not of the space, or atoms overlap.
        """
        codes, distortion = self._read_canonical(genome)
        structure = self._cell.build_structure(codes, distortion, self._rattle)
        design = build_design(structure, self._unit.name)
        return replace(design, structures={"host": self._cell.host, **design.structures})

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Cluster correlations, distances of defects by kind, gaps, distortion and electrostatic energy, shape (n, d).

        Args:
            genomes: n genomes.
        """
        read = [self._read_canonical(genome) for genome in genomes]
        return self._evaluate_features(np.stack([codes for codes, _ in read]), [own for _, own in read])

    def _evaluate_features(self, codes: IntArray, distortions: Sequence[Distortion | None]) -> FloatArray:
        columns = [
            evaluate_arrangements(self._cell, codes, distortions),
            self._correlations.evaluate_orderings(codes),
        ]
        charges = self._cell.ordered.electrostatics
        if self._uses_electrostatics and charges is not None:
            columns.append(charges.energies_per_site(codes)[:, None])
        return np.hstack(columns)

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features."""
        energy = [Descriptor("electrostatic energy", "electrostatics")] if self._uses_electrostatics else []
        own = describe_arrangements(self._cell, distorted=self._rules is not None)
        return rename_duplicates([*own, *self._correlations.kinds.descriptors(), *energy])

    # FiniteSpace.

    def count(self) -> int | None:
        """Number of distinct arrangements where they can be listed and nothing is distorted, else None."""
        return self._cell.size if self._rules is None and self._cell.countable else None

    def genome_at_index(self, index: int) -> Genome:
        """Genome number `index`, in the order of the species on the sites."""
        return self._write_arranged((self._cell.distinct[index].astype(np.int64), None))

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)).
        """
        for first, codes in iterate_blocks(self._cell.distinct, size):
            yield first, self._evaluate_features(codes, [None] * len(codes))

    def name_candidate(self, genome: Genome) -> str:
        """Sites of each kind of defect, and the way of a turned atom.

        An example is `N on O 47 58, vacancy O 49, toward 0.82`.

        Args:
            genome: of this space.
        """
        codes, distortion = self._parse_genome(genome)
        listed = [
            f"{name} {' '.join(map(str, sites))}"
            for name, sites in self._cell.list_sites(codes).items()
            if sites
        ]
        turned = [f"toward {distortion.toward:g}"] if distortion is not None and distortion.toward else []
        return ", ".join([*listed, *turned])

    def hints(self) -> Mapping[str, Mapping[str, Json]]:
        """Settings of optimizers that suit relaxations of seconds.

        Few parents, and children chosen by models of the features.
        """
        return {"genetic": {"population": 12, "prescreen": True}}

    # VectorSpace.

    def domain(self) -> Domain:
        """Dimensions: the distortion, free numbers of defects, and a key per site."""
        return Domain((*self._distortion_axes, *self._axes.domain.dimensions), climbable=False)

    @cached_property
    def _distortion_axes(self) -> tuple[Dimension, ...]:
        if self._rules is None:
            return ()
        return tuple(Dimension(f"{DISTORTION}: {name}", "real") for name in Distortion().to_json())

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points (n, d) of the unit cube at `genomes`."""
        rows = []
        for genome in genomes:
            codes, distortion = self._read_canonical(genome)
            keys = self._axes.encode_ordering(0, codes)
            rows.append(np.concatenate([self._encode_distortion(codes, distortion), keys]))
        return np.asarray(rows, dtype=np.float64).reshape(len(genomes), len(self.domain().dimensions))

    def _encode_distortion(self, codes: IntArray, distortion: Distortion | None) -> FloatArray:
        """Coordinates of a distortion, shape (4,); none without distortions."""
        if self._rules is None or distortion is None:
            return np.zeros(0)
        gaps = max(len(self._cell.surroundings.find_gaps(codes)), 1)
        bond = 0.5 + 0.5 * distortion.bond / self._rules.bonds if self._rules.bonds else 0.5
        pair, seed = (distortion.pair + 0.5) / gaps, (distortion.seed + 0.5) / SEEDS
        return np.clip([bond, distortion.toward, pair, seed], 0.0, 1.0)

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d) of the unit cube.

        Sites take their species in the order of their keys. Defects that are too far from the others move to the nearest sites that
        are allowed.
        """
        return [self._write_arranged(self._decode_point(point)) for point in np.clip(x, 0.0, 1.0)]

    def _decode_point(self, point: FloatArray) -> Arranged:
        start = len(self._distortion_axes)
        _, drawn = self._axes.decode_point(point[start:])
        codes = self._cell.repair(drawn)
        if codes is None:  # then only an arrangement anew keeps the rule
            counts = self._cell.ordered.orderings.count_species(drawn)
            codes = self._cell.draw_codes(counts, rng_for(0, 0, "defects"))
        if codes is None:
            raise InvdesignError("the defects have no arrangement that the rules of the space allow")
        codes = self._cell.ordered.orderings.to_canonical(codes)
        if self._rules is None:
            return codes, None
        bond, toward, pair, seed = point[:start].tolist()
        gaps = len(self._cell.surroundings.find_gaps(codes))
        distortion = Distortion(
            (2.0 * bond - 1.0) * self._rules.bonds, toward, int(pair * max(gaps, 1)), int(seed * SEEDS)
        )
        return self._settle(codes, distortion)

    # StructureSpace.

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """Genome of a structure that holds defects of the space in the host.

        A structure whose atoms are near those that the parent started from is the parent. Otherwise atoms go to the nearest sites and
        voids that may hold them; None where one is far from all, or the defects are not the space's.

        Args:
            structure: relaxed, seeded or generated.
            parent: the genome it was made from.
        """
        known = None if parent is None else self._read_canonical(parent)
        if known and is_near(structure, self._cell.build_structure(*known, self._rattle)):
            return self._write_arranged(known)
        codes = recognise_defects(structure, self._cell)
        if codes is None:
            return None
        adopted = self._settle(codes, None)
        return self._write_arranged(known if known and (known[0] == adopted[0]).all() else adopted)
