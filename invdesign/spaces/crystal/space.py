"""Search space of crystals from scratch: cell, atoms and composition are searched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json
from invdesign.errors import Infeasible
from invdesign.protocols import Condition, Descriptor, Operator, SpaceSettings
from invdesign.rng import derived_seed, rng_for
from invdesign.spaces.crystal.adopt import adopt_structure
from invdesign.spaces.crystal.fresh import leave_saddle
from invdesign.spaces.crystal.genomes import build_design, read_canonical, read_known, write_genome
from invdesign.spaces.crystal.makers import list_ways
from invdesign.spaces.crystal.planning import (
    build_rules,
    plan_elements,
    plan_formula,
    read_cell,
)
from invdesign.spaces.crystal.rules import CrystalRules, find_fault, settle
from invdesign.spaces.generated import Generators, check_generators, list_generator_starts
from invdesign.spaces.operators import FromCodes, GenomeOperator, WithRules
from invdesign.structures.charges import check_element
from invdesign.structures.conditions import read_formula, read_space_groups, reduce_counts
from invdesign.structures.distances import split_pair
from invdesign.structures.fingerprints import ALIKE, CoarseFeatures, Distances
from invdesign.structures.geometry import Crystal
from invdesign.structures.wyckoff import GROUPS
from invdesign.wording import shorten_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

ALL_GROUPS = "1-230"
DEFAULT_UNITS = (1, 4)
MAX_SHOWN = 60  # letters of a wrong value in a message (chosen)
Positive = Annotated[float, Field(gt=0.0, le=1e4, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, le=10_000)]


def _check_order(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"the lower bound is above the upper one: [{value[0]}, {value[1]}]")
    return value


def _repeat_number(value: object) -> object:
    """Bounds of a number that is given alone."""
    if isinstance(value, int):
        return (value, value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"must be a whole number or [low, high], got {_write_value(value)}")
    return value


def _list_number(value: object) -> object:
    """List of a number that is given alone."""
    return (value,) if isinstance(value, int) else value


def _check_cell(value: object) -> object:
    """Refuse a cell of the wrong shape: neither of its two forms fits then, and each would complain."""
    rows = value if isinstance(value, list | tuple) else ()
    vectors = len(rows) == 3 and all(isinstance(row, list | tuple) and len(row) == 3 for row in rows)
    numbers = len(rows) == 6 and not any(isinstance(row, list | tuple) for row in rows)
    if not vectors and not numbers:
        raise ValueError(
            f"must be [a, b, c, alpha, beta, gamma] in Å and degrees, or three vectors in Å, got {_write_value(value)}"
        )
    return value


def _write_value(value: object) -> str:
    """Write a wrong value for a message, shortened."""
    return shorten_text(json.dumps(value, default=str, ensure_ascii=False), MAX_SHOWN)


Range = Annotated[
    tuple[Whole, Whole],
    Field(strict=False),
    AfterValidator(_check_order),
    BeforeValidator(_repeat_number, json_schema_input_type=tuple[Whole, Whole] | Whole),
]
States = Annotated[
    tuple[int, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_list_number, json_schema_input_type=tuple[int, ...] | int),
]
Symbols = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Row = Annotated[tuple[Number, Number, Number], Field(strict=False)]
Cell = Annotated[
    Annotated[tuple[Positive, Positive, Positive, Positive, Positive, Positive], Field(strict=False)]
    | Annotated[tuple[Row, Row, Row], Field(strict=False)],
    BeforeValidator(
        _check_cell,
        json_schema_input_type=tuple[Positive, Positive, Positive, Positive, Positive, Positive]
        | tuple[Row, Row, Row],
    ),
]
Groups = Annotated[
    tuple[int | str, ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_list_number, json_schema_input_type=tuple[int | str, ...] | int),
]

# Chosen on oxides that are no tasks of the structure search benchmark (LiAlO2, CaSiO3, Li2TiO3, CaAl2O4, ZnAl2O4): the best ten
# of twenty starts breed, and are founded anew after a hundred candidates without progress. A quarter of fresh starts keeps
# them diverse.
GENETIC_HINTS: Mapping[str, Json] = {"population": 10, "founders": 2.0, "fresh": 0.25, "patience": 10}
# Several compositions: a member for each, and most children start anew with the composition of a good one (chosen).
SYSTEM_HINTS: Mapping[str, Json] = {"population": 20, "founders": 1.0, "offspring": 5, "crossover": 0.15}


class CrystalSpace(SpaceSettings):
    """Crystals of a formula or a chemical system, in cells of unknown shape and size.

    A genome holds the reduced cell as the six numbers of its lower triangle (Å), the atoms by element, and their fractional
    positions: `{"cell": [4.2, 0.0, 4.2, 0.0, 0.0, 4.2], "counts": {"Mg": 1, "O": 1}, "positions": [[0.0, 0.0, 0.0],
    [0.5, 0.5, 0.5]]}`. Children inherit the geometry that a relaxation made of their parents.
    """

    formula: str | None = None
    """Formula of the crystal, `Al2O3`. Give either this or `elements`."""
    formula_units: Range | None = None
    """Formula units in a cell: a number, or [low, high]; by default [1, 4]."""
    elements: dict[str, Range] | Symbols | None = None
    """Elements of a chemical system: a list, or by element the number of atoms in a cell as [low, high]."""
    atoms: Range | None = None
    """Atoms in a cell of a chemical system: a number, or [low, high]; by default as many as the counts allow."""
    oxidation_states: dict[str, States] = Field(default={})
    """Oxidation states by element: one, or several to choose from for each atom. Charges must then balance."""
    volume_per_atom: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None
    """Bounds of the volume in Å³ per atom. By default 0.3 to 3 times that of ions, or elements, with tabulated radii."""
    min_distances: dict[str, float] = Field(default={})
    """Smallest distances in Å by pair of elements, `Al-O`. By default 0.55 of the sum of covalent radii."""
    cell: Cell | None = None
    """Fixed cell: a, b, c in Å and alpha, beta, gamma in degrees, or three vectors as rows. Relax atoms alone then."""
    space_groups: Groups = (ALL_GROUPS,)
    """Space groups of symmetric and generated starts: international numbers and ranges, `[62, 195-230]`."""
    generators: Generators = ()
    """Generators of further starts: `[prototypes]`, `[{kind: crystal_vae, weight: 0.3}]`."""

    @field_validator("elements")
    @classmethod
    def _check_elements(
        cls, elements: dict[str, tuple[int, int]] | tuple[str, ...] | None
    ) -> dict[str, tuple[int, int]] | tuple[str, ...] | None:
        for name in elements or ():
            check_element(name)
        if elements is not None and not elements:
            raise ValueError("name at least one element")
        twice = sorted({name for name in elements or () if list(elements or ()).count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once")
        return elements

    @field_validator("formula")
    @classmethod
    def _check_formula(cls, formula: str | None) -> str | None:
        if formula is not None:
            read_formula(formula)
        return formula

    @field_validator("min_distances")
    @classmethod
    def _check_pairs(cls, distances: dict[str, float]) -> dict[str, float]:
        for pair in distances:
            split_pair(pair)
        return distances

    @field_validator("space_groups")
    @classmethod
    def _check_groups(cls, groups: tuple[int | str, ...]) -> tuple[int | str, ...]:
        read_space_groups(groups)
        return groups

    @field_validator("cell")
    @classmethod
    def _check_volume_of_cell(cls, cell: Cell | None) -> Cell | None:
        if cell is not None:
            read_cell(cell)
        return cell

    @field_validator("oxidation_states")
    @classmethod
    def _check_states(cls, states: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        for element, own in states.items():
            check_element(element)
            if len(set(own)) < len(own):
                raise ValueError(f"{element} has a state twice: {list(own)}")
            if any(abs(state) > 9 for state in own):
                raise ValueError(f"oxidation states are between -9 and +9, got {list(own)} of {element}")
        return states

    @field_validator("volume_per_atom")
    @classmethod
    def _check_volume(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError(f"the bounds leave no volume: {bounds[0]:g} is above {bounds[1]:g} Å³ per atom")
        return bounds

    @model_validator(mode="after")
    def _check_space(self, info: ValidationInfo) -> Self:
        self._check_combination()
        _ = self._rules
        check_generators(self.generators, lambda: self.condition, info)
        return self

    def _check_combination(self) -> None:
        if (self.formula is None) == (self.elements is None):
            raise ValueError("give either 'formula' or 'elements'")
        if self.formula is None and self.formula_units is not None:
            raise ValueError("'formula_units' belong to 'formula'; give 'atoms' for elements")
        if self.elements is None and self.atoms is not None:
            raise ValueError("'atoms' belong to 'elements'; give 'formula_units' for a formula")
        if self.cell is not None and self.volume_per_atom is not None:
            raise ValueError("a fixed 'cell' has its volume; leave 'volume_per_atom' out")
        if self.cell is not None and self.generators:
            raise ValueError("'generators' make crystals with their own cells; leave them or 'cell' out")
        if self.formula_units is not None and self.formula_units[0] < 1:
            raise ValueError(f"formula_units must be 1 or more, got {self.formula_units[0]}")
        if isinstance(self.elements, tuple) and self.atoms is None:
            raise ValueError("give 'atoms', the number in a cell as [low, high], with a list of elements")

    # Built from the settings once.

    @cached_property
    def _formula(self) -> dict[str, int] | None:
        return None if self.formula is None else read_formula(self.formula)

    @cached_property
    def _counts(self) -> dict[str, tuple[int, int]]:
        """Bounds of atoms by element, sorted, of a chemical system."""
        if isinstance(self.elements, dict):
            return {name: self.elements[name] for name in sorted(self.elements)}
        most = self.atoms[1] if self.atoms else 0
        return dict.fromkeys(sorted(self.elements or ()), (0, most))

    @cached_property
    def _elements(self) -> tuple[str, ...]:
        return tuple(self._counts if self._formula is None else self._formula)

    @cached_property
    def _rules(self) -> CrystalRules:
        states = self._list_states()
        if self._formula is not None:
            compositions = plan_formula(self._formula, self.formula_units or DEFAULT_UNITS, states)
        else:
            least, most = (sum(pair[end] for pair in self._counts.values()) for end in (0, 1))
            compositions = plan_elements(self._counts, self.atoms or (max(1, least), most), states)
        return build_rules(
            self._elements,
            compositions,
            states=states,
            volume_per_atom=self.volume_per_atom,
            min_distances=self.min_distances,
            cell=None if self.cell is None else read_cell(self.cell),
            space_groups=read_space_groups(self.space_groups),
        )

    def _list_states(self) -> dict[str, tuple[int, ...]]:
        """Oxidation states by element, sorted.

        Raises:
            ValueError: they do not name the elements of the space.
        """
        if not self.oxidation_states:
            return {}
        wrong = sorted(set(self.oxidation_states) ^ set(self._elements))
        if wrong:
            raise ValueError(
                f"oxidation_states must name every element ({', '.join(self._elements)}) and no other; "
                f"{', '.join(wrong)} is {'missing' if wrong[0] in self._elements else 'none of them'}"
            )
        return {name: self.oxidation_states[name] for name in self._elements}

    @cached_property
    def _distances(self) -> Distances:
        return Distances(len(self._elements))

    @cached_property
    def _coarse(self) -> CoarseFeatures:
        return CoarseFeatures(self._distances, shares=not self._rules.compositions.is_single)

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        rules = self._rules
        read, write = self._read_known, self._write_genome
        own: dict[str, Operator] = {
            name: GenomeOperator(way.arity, FromCodes(WithRules(way.maker, rules), read, write), way.share)
            for name, way in list_ways(rules).items()
        }
        return {**own, **list_generator_starts(self.generators, self.condition, self._start_from)}

    def _start_from(self, structure: Structure) -> dict[str, Json] | None:
        """Genome of a generated crystal, displaced a little: a symmetric one may be a saddle point.

        The displacement depends on the crystal alone, so that the same crystal is never a second candidate.
        """
        crystal = adopt_structure(structure, None, self._rules)
        own = rng_for(
            derived_seed(crystal.cell.tobytes().hex(), crystal.positions.tobytes().hex()), 0, "displacement"
        )
        displaced = settle(leave_saddle(crystal, own), self._rules)
        return self._write_genome(displaced or crystal)

    @cached_property
    def condition(self) -> Condition:
        """Condition on generated crystals: elements, formula, sizes and space groups of the space.

        A crystal may have a smaller cell than the space allows: it is repeated.
        """
        rules = self._rules
        counts, groups = self._counts, rules.space_groups
        rows = rules.compositions.rows
        return Condition(
            elements=self._elements,
            required=tuple(name for name in self._elements if self._formula or counts[name][0] > 0),
            formula=tuple(reduce_counts(self._formula).items()) if self._formula else (),
            space_groups=() if len(groups) == len(GROUPS) else groups,
            atoms=(1, int(rows.sum(axis=1).max())),
            neutral=self._formula is None,
        )

    def _read_genome(self, genome: Genome) -> Crystal:
        return read_canonical(genome, self._rules)

    def _read_known(self, genome: Genome) -> Crystal:
        return read_known(genome, self._rules)

    def _write_genome(self, crystal: Crystal) -> dict[str, Json]:
        return write_genome(crystal, self._rules)

    # SearchSpace.

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome with the reduced cell, rounded, its atoms sorted.

        Raises:
            Infeasible: it is malformed.
        """
        return self._write_genome(self._read_genome(genome))

    def operators(self) -> Mapping[str, Operator]:
        """Operators by name: starts, crossover (`splice`), mutations, and changes of the composition."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the crystal as structure `initial`.

        Raises:
            Infeasible: the genome is malformed, or breaks a rule: composition, volume or distances.
        """
        crystal = self._read_genome(genome)
        fault = find_fault(crystal, self._rules)
        if fault:
            raise Infeasible(fault)
        return build_design(crystal, self._elements)

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Coarse distances, volume per atom and shares of elements, shape (n, d), d up to 60."""
        return self._coarse.evaluate([self._read_known(genome) for genome in genomes])

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features."""
        return self._coarse.list_descriptors(self._elements)

    # InheritingSpace.

    @property
    def inherits_from(self) -> tuple[str, ...]:
        """Roles of structures that children inherit, the preferred one last."""
        return ("relaxed", "dft")

    def adopt(self, structure: Structure, parent: Genome | None) -> dict[str, Json]:
        """Genome of a relaxed, seeded or generated structure.

        Args:
            structure: in any cell; another size that the space allows is taken where its own is not.
            parent: genome that the structure was relaxed from; None where there is none.

        Raises:
            Infeasible: it is none of the space's, with the reason: elements, composition, volume, distances, or parts that
                fell apart.
        """
        before = None if parent is None else self._read_known(parent)
        return self._write_genome(adopt_structure(structure, before, self._rules))

    # RecognisingSpace.

    @property
    def alike(self) -> float:
        """Euclidean distance of fingerprints below which two genomes are one crystal."""
        return ALIKE

    def fingerprints(self, genomes: Sequence[Genome]) -> FloatArray:
        """Fingerprints of `genomes`, shape (n, d), of length 1.

        Half the squared distance of two is their cosine distance.
        """
        rows = [self._distances.fingerprint(self._read_known(genome)) for genome in genomes]
        return np.array(rows).reshape(len(genomes), self._distances.width)

    # HintingSpace.

    def niche(self, genome: Genome) -> str:
        """Reduced composition of a `genome`: `Al2O3`."""
        counts = self._rules.count_atoms(self._read_known(genome))
        return self._rules.write_counts(counts // max(int(np.gcd.reduce(counts)), 1))

    def hints(self) -> Mapping[str, Mapping[str, Json]]:
        """Settings of optimizers that suit relaxations of crystals."""
        single = self._rules.compositions.is_single
        return {"genetic": dict(GENETIC_HINTS if single else {**GENETIC_HINTS, **SYSTEM_HINTS})}
