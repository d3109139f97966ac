"""Search space of all charge-neutral compositions of given elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Design, Genome
from invdesign.errors import Infeasible, InvdesignError
from invdesign.protocols import Descriptor, Dimension, Domain, LinearRule, Operator
from invdesign.settings import STORED_FOLDER, parse_name_list, validation_context
from invdesign.spaces.composition.nearest import Counts, find_nearest
from invdesign.spaces.composition.operators import MAKERS
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.operators import FromCodes, GenomeOperator, WithRules
from invdesign.structures.charges import (
    ElementSymbol,
    check_element,
    element_symbols,
    oxidation_states,
    scale_to_whole_counts,
)
from invdesign.structures.compositions import CompositionRules, NeutralCompositions
from invdesign.structures.conditions import reduce_counts
from invdesign.structures.descriptors import COMPOSITION_FEATURES, COMPOSITION_GROUPS, summarise_fractions
from invdesign.structures.formulas import parse_composition, write_formula

FORMULA_KEY = "formula"  # the genome's only key
KEPT_FORMULAS = 65_536  # parsed texts (chosen)


def _fill_states(value: object) -> object:
    """Fill in the common states of elements that are given without any."""
    if isinstance(value, list | tuple):
        value = dict.fromkeys(parse_name_list(value))
    if not isinstance(value, Mapping):
        return value
    found, problems = {}, []
    for name, states in value.items():
        try:
            found[name] = _choose_states(str(name), states)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _choose_states(name: str, states: object) -> object:
    """States of an element as a list; the common ones where none is given.

    Raises:
        ValueError: the name is no element's, or no state is known.
    """
    check_element(name)
    if isinstance(states, int) and not isinstance(states, bool):
        return (states,)
    if states is None:
        states = oxidation_states(name)
    if states in ((0,), (), []):
        raise ValueError(f"{name} has no oxidation state; give some, as in {name}: [2], or leave it out")
    return states


def _repeat_number(value: object) -> object:
    """Bounds of a number that is given alone."""
    return (value, value) if isinstance(value, int) else value


def _list_groups(value: object) -> object:
    """Required groups of elements; an element by itself is a group of one."""
    if not isinstance(value, list | tuple):
        return value
    return tuple((item,) if isinstance(item, str) else item for item in value)


def _check_order(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"the lower bound is above the upper one: [{value[0]}, {value[1]}]")
    return value


Whole = Annotated[int, Field(ge=1)]
Range = Annotated[
    tuple[Whole, Whole],
    Field(strict=False),
    AfterValidator(_check_order),
    BeforeValidator(_repeat_number, json_schema_input_type=tuple[Whole, Whole] | Whole),
]
States = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
Symbols = Annotated[tuple[ElementSymbol, ...], Field(strict=False)]
Elements = Annotated[
    dict[ElementSymbol, States],
    BeforeValidator(
        _fill_states,
        json_schema_input_type=dict[str, tuple[int, ...] | int | None] | tuple[str, ...],
    ),
]
Groups = Annotated[
    tuple[Annotated[Symbols, Field(min_length=1)], ...],
    Field(strict=False),
    BeforeValidator(_list_groups, json_schema_input_type=tuple[str | tuple[str, ...], ...]),
]


class CompositionSpace(CountableSpace):
    """All charge-neutral compositions of given elements, each reduced formula once.

    A genome is `{"formula": "Li6PS5Cl"}`. Points of the unit cube are the fractions of the elements.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    states: Elements = Field(alias="elements")  # `elements` is a set in other spaces
    """Allowed elements with their oxidation states, `{Li: [1], Fe: [2, 3]}`; a list takes the common states."""
    required: Groups = ()
    """Elements that every formula holds, `[Li]`; of a list within the list, `[[Cl, Br]]`, at least one."""
    elements_per_formula: Range = (2, 4)
    """Number of different elements in a formula: a number, or [low, high]."""
    max_count: Annotated[int, Field(ge=1, le=100)] = 12
    """Largest number of atoms of one element in a reduced formula."""
    counts: dict[ElementSymbol, Range] = Field(default={})
    """Number of atoms of single elements where a formula holds them: a number, or [low, high]."""
    max_atoms: Annotated[int, Field(ge=1)] | None = None
    """Largest number of atoms in a reduced formula; by default as many as the counts allow."""

    @model_validator(mode="after")
    def _check_rules(self, info: ValidationInfo) -> Self:
        """Check the rules; count the compositions when a campaign is read, not again when it is stored."""
        _ = self._rules
        if validation_context(info)[0] != STORED_FOLDER:
            _ = self._listed
        return self

    @cached_property
    def _rules(self) -> CompositionRules:
        return CompositionRules(
            self.states, self.required, self.elements_per_formula, self.max_count, self.counts, self.max_atoms
        )

    @cached_property
    def _listed(self) -> NeutralCompositions:
        rules = self._rules
        return _list_compositions(
            tuple(rules.states.items()),
            rules.required,
            rules.elements_per_formula,
            rules.max_count,
            tuple(rules.counts.items()),
            rules.max_atoms,
        )

    @property
    def compositions(self) -> NeutralCompositions:
        """All compositions, counted and numbered."""
        return self._listed

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the allowed elements."""
        return frozenset(self.states)

    def count(self) -> int:
        """Number of compositions, exactly."""
        return self._listed.count()

    def genome_at_index(self, index: int) -> Genome:
        """Composition number `index`."""
        return _write_genome(self._listed.unrank(index))

    def operators(self) -> Mapping[str, Operator]:
        """Operators `start`, `counts`, `replace`, `exchange`, `elements` and `blend`.

        `start` draws all compositions equally often. The mutations change two or three counts, replace an element, exchange the
        counts of two, or add or leave out one; `blend` takes elements of both parents with counts near a mean.
        """
        return self._operators

    @cached_property
    def _operators(self) -> dict[str, GenomeOperator]:
        return {
            name: GenomeOperator(
                arity, FromCodes(WithRules(maker, self._listed), self._read_counts, _write_genome)
            )
            for name, (arity, maker) in MAKERS.items()
        }

    def _read_counts(self, genome: Genome) -> Counts:
        """Counts of a `genome` of this space.

        Raises:
            Infeasible: it is malformed, or breaks a rule.
        """
        counts = _read_genome(genome)
        reason = self._rules.explain_exclusion(counts)
        if reason:
            raise Infeasible(f"{genome[FORMULA_KEY]} is not in the space: {reason}")
        return counts

    def canonical(self, genome: Genome) -> Genome:
        """Write the formula of `genome` reduced, with its elements in the usual order.

        Raises:
            Infeasible: it is malformed, or breaks a rule.
        """
        return _write_genome(self._read_counts(genome))

    def build(self, genome: Genome) -> Design:
        """Build the design of `genome`: a composition, without a structure.

        Raises:
            Infeasible: it is malformed, or breaks a rule.
        """
        from pymatgen.core import Composition

        return Design(composition=Composition(self._read_counts(genome)))

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Statistics of elemental properties, shape (n, d)."""
        rows = [_read_genome(genome) for genome in genomes]
        width = max(map(len, rows), default=1)
        counts = np.zeros((len(rows), width))
        elements = np.zeros((len(rows), width), dtype=np.int64)
        for row, own in enumerate(rows):
            # Sums in one order give one result, to the last digit.
            names = sorted(own, key=element_symbols().index)
            counts[row, : len(own)] = [own[name] for name in names]
            elements[row, : len(own)] = [element_symbols().index(name) + 1 for name in names]
        return _summarise(counts, elements)

    def descriptors(self) -> Sequence[Descriptor]:
        """Names of the features, in groups for stoichiometry, size, electronic structure and cohesion."""
        return tuple(
            Descriptor(name.replace("_", " "), group)
            for name, group in zip(COMPOSITION_FEATURES, COMPOSITION_GROUPS, strict=True)
        )

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Iterate over features in blocks of at most `size` rows.

        Yields (index of the first row, features (<= size, d)).
        """
        width = self._rules.elements_per_formula[1]
        numbers = {name: element_symbols().index(name) + 1 for name in self._rules.elements}
        counts = np.zeros((size, width))
        elements = np.zeros((size, width), dtype=np.int64)
        first = filled = 0
        for own in self._listed.sets():
            order = sorted(range(len(own.elements)), key=lambda place: numbers[own.elements[place]])
            row = np.array([numbers[own.elements[place]] for place in order])
            for block in self._listed.list_vectors(own.slots):
                done = 0
                while done < len(block):
                    part = block[done : done + size - filled, order]
                    here = slice(filled, filled + len(part))
                    counts[here], elements[here] = 0.0, 0
                    counts[here, : len(row)], elements[here, : len(row)] = part, row
                    filled, done = filled + len(part), done + len(part)
                    if filled == size:
                        yield first, _summarise(counts, elements)
                        first, filled = first + size, 0
        if filled:
            yield first, _summarise(counts[:filled], elements[:filled])

    def table_columns(self) -> Sequence[str]:
        """Column with the formula."""
        return (FORMULA_KEY,)

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """Formula of a `genome`."""
        return {FORMULA_KEY: str(genome[FORMULA_KEY])}

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """Genome of the formula that `cells` hold; one that cannot be read stays as it is."""
        genome = {FORMULA_KEY: cells.get(FORMULA_KEY, "")}
        try:
            return _write_genome(_read_genome(genome))
        except Infeasible:
            return genome

    def domain(self) -> Domain:
        """One real dimension per element, its fraction; the fractions add up to one.

        Models learn from `features`: fractions tell nothing of likeness between elements.
        """
        names = self._rules.elements
        whole = LinearRule(tuple((column, 1.0) for column in range(len(names))), 1.0, equal=True)
        return Domain(
            tuple(Dimension(f"fraction of {name}", "real") for name in names),
            (whole,),
            sparse=(tuple(range(len(names))),),
            climbable=False,
        )

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Fractions of the allowed elements, shape (n, d)."""
        columns = {name: column for column, name in enumerate(self._rules.elements)}
        found = np.zeros((len(genomes), len(columns)))
        for row, genome in enumerate(genomes):
            counts = self._read_counts(genome)
            for name, count in counts.items():
                found[row, columns[name]] = count / sum(counts.values())
        return found

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Compositions near points `x` (n, d), with their largest fractions as elements."""
        return [_write_genome(find_nearest(self._listed, np.clip(point, 0.0, 1.0))) for point in x]


def _summarise(counts: FloatArray, elements: IntArray) -> FloatArray:
    """Features of counts (n, k) of elements (n, k)."""
    return summarise_fractions(counts / counts.sum(axis=1, keepdims=True), elements)


@lru_cache(maxsize=4)
def _list_compositions(
    states: tuple[tuple[str, tuple[int, ...]], ...],
    required: tuple[tuple[str, ...], ...],
    elements_per_formula: tuple[int, int],
    max_count: int,
    counts: tuple[tuple[str, tuple[int, int]], ...],
    max_atoms: int | None,
) -> NeutralCompositions:
    """Count the compositions under rules; the process keeps them, since a run makes its space more than once."""
    return NeutralCompositions(
        CompositionRules(dict(states), required, elements_per_formula, max_count, dict(counts), max_atoms)
    )


def _read_genome(genome: Genome) -> Counts:
    """Reduced counts of a `genome`.

    Raises:
        Infeasible: it is malformed.
    """
    text = genome.get(FORMULA_KEY)
    if set(genome) != {FORMULA_KEY} or not isinstance(text, str):
        raise Infeasible(f"a genome of compositions is {{{FORMULA_KEY}: TEXT}}, got {dict(genome)!r:.80}")
    return dict(_parse_counts(text))


@lru_cache(maxsize=KEPT_FORMULAS)
def _parse_counts(text: str) -> tuple[tuple[str, int], ...]:
    """Reduced whole counts of a formula.

    Raises:
        Infeasible: it cannot be read.
    """
    try:
        amounts = parse_composition(text).get_el_amt_dict()
    except InvdesignError as error:
        raise Infeasible(str(error)) from error
    return tuple(reduce_counts(scale_to_whole_counts(amounts)[0]).items())


def _write_genome(counts: Counts) -> Genome:
    """Canonical genome of reduced counts."""
    from pymatgen.core import Composition

    return {FORMULA_KEY: write_formula(Composition(counts))}
