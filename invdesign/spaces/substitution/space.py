"""Search space of element substitutions in a known crystal.

The crystal is a prototype of the library or the user's own structure. The genome names the species of every site
that can vary. Decorations that a symmetry of the framework maps onto each other are one genome, and charges balance
in every genome: both are rules of the space, not gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome, Json, genome_key
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import Condition, Descriptor, Dimension, Domain, Operator
from invdesign.rng import rng_for
from invdesign.settings import Frozen
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.framework import (
    LISTED_SPECIES,
    FrameworkSpace,
    OxidationStates,
    build_design,
    read_codes,
)
from invdesign.spaces.generated import check_generators, list_generator_starts
from invdesign.spaces.substitution.adopt import recognise_decoration
from invdesign.spaces.substitution.decorations import Decorations
from invdesign.spaces.substitution.geometry import Geometry
from invdesign.spaces.substitution.groups import SiteGroup, build_decorations
from invdesign.spaces.substitution.operators import build_operators
from invdesign.structures.charges import check_element
from invdesign.structures.parents import Parent, build_parent

if TYPE_CHECKING:
    from pymatgen.core import Structure


class SiteOptions(Frozen):
    """Species allowed on a group of sites: `[Cl, Br]`, or the long form."""

    species: Annotated[tuple[str, ...], Field(strict=False)]
    """Element symbols to choose from."""
    mixed: bool = True
    """Whether each site of the group chooses for itself; otherwise all take one species."""
    oxidation_states: OxidationStates = Field(default={})
    """Oxidation states by element, to replace the common ones of the right sign."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"expected a list of elements, got '{value}'; write [{value}]")  # noqa: TRY004 - pydantic's
        return {"species": value} if isinstance(value, list | tuple) else value

    @field_validator("species")
    @classmethod
    def _check_species(cls, species: tuple[str, ...]) -> tuple[str, ...]:
        if not species:
            raise ValueError("the list of elements is empty; name at least one")
        for element in species:
            check_element(element)
        twice = sorted({element for element in species if species.count(element) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once")
        return species

    @model_validator(mode="after")
    def _check_states(self) -> Self:
        unknown = sorted(set(self.oxidation_states) - set(self.species))
        if unknown:
            raise ValueError(
                f"oxidation states are given for {', '.join(unknown)}, which is none of {', '.join(self.species)}"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [LISTED_SPECIES, handler(schema)]}


def _check_site_name(name: str, info: ValidationInfo) -> str:
    """Check that the parent has sites of this name.

    Not checked where the parent itself is wrong.
    """
    if "parent" in info.data:
        build_parent(info.data["parent"], (1, 1, 1), primitive=False).find_sites(name)
    return name


class SubstitutionSpace(FrameworkSpace):
    """Decorations of a crystal's sites with other elements.

    A genome holds a list of species per site group, in the order of the supercell's sites, or a single species
    where the group is not mixed: `{"B": ["O", "S"], "X": ["Cl", "Br"]}`. Groups with a single option do not
    appear. Among symmetric images the genome is the one that comes first in the order of the options.
    Spaces of at most 200,000 distinct decorations can be counted (`count`, `genome`, `blocks`).
    """

    cell: Annotated[
        tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
        Field(strict=False),
    ] = (1, 1, 1)
    """Repeats of the parent's cell along a, b and c: larger cells let sites mix and the lattice distort."""
    primitive: bool = False
    """Start from the primitive cell of a centred parent instead of the conventional one."""
    rattle: float = Field(default=0.0, ge=0.0, le=0.5)
    """Standard deviation of random displacements, Å, so that symmetric starts can leave their saddle."""
    charge_neutral: bool = True
    """Whether only charge-balanced decorations belong to the space."""
    oxidation_states: OxidationStates = Field(default={})
    """Oxidation states of the parent's own elements, where they differ from the prototype's or the guessed ones."""
    scale_lattice: bool = True
    """Whether the lattice follows the ionic radii of the species on the sites."""
    sites: dict[Annotated[str, AfterValidator(_check_site_name)], SiteOptions] = Field(min_length=1)
    """Options by label, Wyckoff site (`4c`) or element of the parent. Sites not named keep the parent's element."""

    @field_validator("oxidation_states")
    @classmethod
    def _check_oxidation_states(
        cls, states: dict[str, tuple[int, ...]], info: ValidationInfo
    ) -> dict[str, tuple[int, ...]]:
        if "parent" in info.data:
            parent = build_parent(info.data["parent"], (1, 1, 1), primitive=False)
            for element in states:
                if element not in parent.elements:
                    raise ValueError(
                        f"{parent.name} holds no {element}; those of a substituted element go to its site's long form"
                    )
        return states

    @field_validator("sites")
    @classmethod
    def _check_sites(cls, sites: dict[str, SiteOptions], info: ValidationInfo) -> dict[str, SiteOptions]:
        if all(len(options.species) == 1 for options in sites.values()):
            raise ValueError(
                "no site has a choice, so there is nothing to search; give one of them two species"
            )
        if "parent" in info.data:
            parent = build_parent(info.data["parent"], (1, 1, 1), primitive=False)
            taken: dict[int, str] = {}
            for name in sites:
                for site in parent.find_sites(name):
                    if site in taken:
                        raise ValueError(
                            f"'{taken[site]}' and '{name}' name the same sites; keep one of them"
                        )
                    taken[site] = name
        return sites

    @model_validator(mode="after")
    def _check_decorations(self, info: ValidationInfo) -> Self:
        try:
            decorations = self._decorations
        except InvdesignError as error:
            raise ValueError(str(error)) from error
        if decorations.example is None:
            raise ValueError(f"no charge-neutral decoration {self._describe_charges()}")
        check_generators(self.generators, lambda: self.condition, info)
        return self

    def _describe_charges(self) -> str:
        """List the charges of all sites, for the message that they cannot balance."""
        lines = []
        for variable in self._decorations.variables:
            options = "; ".join(f"{ion.element} {_format_charges(ion.states)}" for ion in variable.options)
            lines.append(f"{variable.group} ({len(variable.sites)}): {options}")
        fixed = "; ".join(
            f"{count} {ion.element} {_format_charges(ion.states)}" for ion, count in self._decorations.fixed
        )
        counts = {line: lines.count(line) for line in dict.fromkeys(lines)}
        groups = [f"{count} x {line}" if count > 1 else line for line, count in counts.items()]
        parts = [*groups, *([f"fixed: {fixed}"] if fixed else [])]
        return (
            f"exists: {', '.join(parts)}. Allow other species or a larger cell, give oxidation_states, "
            "or set charge_neutral: false"
        )

    # Built from the settings once.

    @cached_property
    def _parent(self) -> Parent:
        return build_parent(self.parent, self.cell, primitive=self.primitive)

    @cached_property
    def _groups(self) -> tuple[SiteGroup, ...]:
        return tuple(
            SiteGroup(
                name, self._parent.find_sites(name), options.species, options.mixed, options.oxidation_states
            )
            for name, options in sorted(self.sites.items())
        )

    @cached_property
    def _decorations(self) -> Decorations:
        return build_decorations(
            self._parent, self._groups, self.oxidation_states, charge_neutral=self.charge_neutral
        )

    @cached_property
    def _geometry(self) -> Geometry:
        single = {site: g.species[0] for g in self._groups if len(g.species) == 1 for site in g.sites}
        return Geometry(self._parent, self._decorations, single)

    @cached_property
    def _group_slots(self) -> dict[str, slice | int]:
        """Position of each group in a decoration: one variable or a slice."""
        names = [variable.group for variable in self._decorations.variables]
        slots: dict[str, slice | int] = {}
        for group in self._groups:
            if group.name in names:
                first = names.index(group.name)
                slots[group.name] = slice(first, first + names.count(group.name)) if group.mixed else first
        return slots

    @cached_property
    def _element_codes(self) -> tuple[dict[str, int], ...]:
        return tuple(
            {ion.element: code for code, ion in enumerate(v.options)} for v in self._decorations.variables
        )

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        own = build_operators(self._decorations, self._read_canonical, self._write_genome)
        return {
            **own,
            **list_generator_starts(self.generators, self.condition, partial(self.adopt, parent=None)),
        }

    @cached_property
    def condition(self) -> Condition:
        """Condition on generated crystals: elements and size of the supercell."""
        decorations = self._decorations
        fixed = {ion.element for ion, _ in decorations.fixed}
        options = {ion.element for variable in decorations.variables for ion in variable.options}
        return Condition(
            elements=tuple(sorted(fixed | options)),
            required=tuple(sorted(fixed)),
            atoms=(1, len(self._parent.elements)),
            neutral=self.charge_neutral,
        )

    # Genomes and decorations.

    def _read_canonical(self, genome: Genome) -> IntArray:
        return self._decorations.to_canonical(self._parse_genome(genome))

    def _parse_genome(self, genome: Genome) -> IntArray:
        """Decoration (v,) of a genome.

        Raises:
            Infeasible: groups, lengths or species are not the space's.
        """
        slots = self._group_slots
        unknown = sorted(set(genome) ^ set(slots))
        if unknown:
            raise Infeasible(
                f"the genome must name the groups {', '.join(slots) or '(none)'}; {unknown[0]} is wrong"
            )
        codes: list[int] = []
        for name, slot in slots.items():
            value = genome[name]
            size = slot.stop - slot.start if isinstance(slot, slice) else None
            species = value if size is not None else [value] if isinstance(value, str) else None
            if not isinstance(species, list | tuple) or len(species) != (size or 1):
                form = "one species" if size is None else f"a list of {size} species"
                raise Infeasible(f"group {name} must be {form}, got {value!r}")
            codes += read_codes(name, species, self._element_codes[len(codes)])
        return np.asarray(codes, dtype=np.int64)

    def _write_genome(self, codes: IntArray) -> dict[str, Json]:
        variables = self._decorations.variables
        species: list[Json] = [
            v.options[code].element for v, code in zip(variables, codes.tolist(), strict=True)
        ]
        return {name: species[slot] for name, slot in self._group_slots.items()}

    def canonical(self, genome: Genome) -> dict[str, Json]:
        """Genome that represents all symmetric images of `genome`.

        Raises:
            Infeasible: it is malformed.
        """
        return self._write_genome(self._read_canonical(genome))

    def size(self) -> int | None:
        """Exact number of distinct decorations.

        None where counting them would take too long.
        """
        return self._decorations.size

    # SearchSpace.

    def operators(self) -> Mapping[str, Operator]:
        """Operators `start`, `substitute`, `swap` and `crossover`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the decorated crystal as structure `initial`.

        Its sites are in the parent's order.

        Args:
            genome: of this space.

        Raises:
            Infeasible: the genome is malformed or charged, or atoms overlap.
        """
        codes = self._parse_genome(genome)
        charge = self._decorations.find_imbalance(codes)
        if charge:
            raise Infeasible(f"charges do not balance: {charge} elementary charges are left over at best")
        rng = rng_for(0, 0, f"rattle {genome_key(genome)}")
        structure = self._geometry.build_structure(
            codes, scale=self.scale_lattice, rattle=self.rattle, rng=rng
        )
        return build_design(structure, self._parent.name)

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Statistics of elemental properties per site group, shape (n, d).

        Symmetric images have the same features.

        Args:
            genomes: n genomes.
        """
        return self._geometry.features(self._stack_codes(genomes))

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features: a group per site group, and one of neighbours."""
        return rename_duplicates(self._geometry.descriptors())

    def _stack_codes(self, genomes: Sequence[Genome]) -> IntArray:
        rows = [self._parse_genome(genome) for genome in genomes]
        return np.asarray(rows, dtype=np.int64).reshape(len(genomes), len(self._decorations.variables))

    # FiniteSpace.

    def count(self) -> int | None:
        """Number of distinct decorations where they can be listed, else None."""
        return self._decorations.size if self._decorations.countable else None

    def genome_at_index(self, index: int) -> Genome:
        """Genome number `index`, in the order of the options.

        The last site runs fastest.
        """
        return self._write_genome(self._list_codes(index, index + 1)[0])

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)).
        """
        for start in range(0, len(self), size):
            yield start, self._geometry.features(self._list_codes(start, start + size))

    def _list_codes(self, start: int, stop: int) -> IntArray:
        return self._decorations.unpack(self._decorations.packed_decorations[start:stop])

    # VectorSpace.

    def domain(self) -> Domain:
        """One categorical dimension per variable site or unmixed group."""
        dimensions = []
        for name, slot in self._group_slots.items():
            places = range(slot.start, slot.stop) if isinstance(slot, slice) else (slot,)
            for number, place in enumerate(places, start=1):
                own = f"{name}.{number}" if isinstance(slot, slice) else name
                choices = tuple(self._element_codes[place])
                dimensions.append(Dimension(own, "categorical", choices=choices))
        return Domain(tuple(dimensions), climbable=False)

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Points (n, d) of the unit cube at `genomes`.

        Each coordinate is the middle of its option's interval.
        """
        radices = np.asarray(self._decorations.radices, dtype=np.float64)
        points: FloatArray = (self._stack_codes(genomes) + 0.5) / radices
        return points

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points `x` (n, d) of the unit cube.

        Where charges do not balance, single changes balance them; among equals, options nearest to the point are taken.
        """
        return [self._decode_point(point) for point in np.clip(x, 0.0, 1.0)]

    def _decode_point(self, point: FloatArray) -> dict[str, Json]:
        decorations = self._decorations
        radices = np.asarray(decorations.radices)
        codes = np.minimum((point * radices).astype(np.int64), radices - 1)
        centres = (np.arange(radices.max()) + 0.5) / radices[:, None]
        repaired = decorations.balance_charges(codes, np.abs(centres - point[:, None]))
        chosen = decorations.example if repaired is None else repaired
        assert chosen is not None  # validation refuses spaces without an example
        return self._write_genome(decorations.to_canonical(chosen))

    # StructureSpace.

    def adopt(self, structure: Structure, parent: Genome | None) -> Genome | None:
        """Genome of a structure that is a decoration of the framework.

        The structure may be distorted or in another cell; None where no decoration matches.

        Args:
            structure: relaxed, seeded or generated.
            parent: the genome it was made from, which is tried first.
        """
        likely = None if parent is None else self._parse_genome(parent)
        codes = recognise_decoration(structure, self._geometry, likely)
        if codes is None or self._decorations.find_imbalance(codes):
            return None
        return self._write_genome(self._decorations.to_canonical(codes))


def _format_charges(states: Sequence[int]) -> str:
    return " or ".join(f"{abs(state)}{'+' if state > 0 else '-'}" for state in states) or "without a charge"
