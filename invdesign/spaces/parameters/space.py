"""Named process, composition or model variables, with conditions and constraints between them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self, cast

import numpy as np
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json, half_last_digit
from invdesign.errors import Infeasible, nearest
from invdesign.protocols import Descriptor, Domain, Operator, Placement
from invdesign.rng import Rng
from invdesign.settings import STORED_FOLDER, validation_context
from invdesign.spaces.counted import CountableSpace
from invdesign.spaces.described import distinct
from invdesign.spaces.linear import LinearConstraint
from invdesign.spaces.operators import GenomeOperator
from invdesign.spaces.parameters.choices import AnyParameter
from invdesign.spaces.parameters.conditions import AnyForm, Tree, words_of
from invdesign.spaces.parameters.cube import rules_on
from invdesign.spaces.parameters.expressions import Expression
from invdesign.spaces.parameters.kinds import Parameter, Real, Value
from invdesign.spaces.parameters.made import Made
from invdesign.spaces.parameters.rules import Rules, sorted_out
from invdesign.spaces.parameters.search import Search
from invdesign.tables.units import describe_heading_fault

COUNTABLE = 10_000_000  # above this many genomes, counting a space through is of no use
LISTED = 20_000  # combinations of values that are gone through where conditions or constraints leave some out
SIBLINGS = 8  # children made before a mutation or crossover gives up on one that differs from its parents
PLACE = 0.5  # in the cube, of a parameter that does not exist


def natural_order(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key that puts x2 before x10."""
    return tuple((text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name))


def _readable(text: str) -> str:
    _ = Expression(text).names  # reads and checks it
    return text


def _form(value: object) -> str | None:
    """How a constraint is written."""
    if isinstance(value, str):
        return "expression"
    return "linear" if isinstance(value, Mapping | LinearConstraint) else None


AnyConstraint = Annotated[
    Annotated[LinearConstraint, Tag("linear")] | Annotated[str, AfterValidator(_readable), Tag("expression")],
    Discriminator(
        _form,
        custom_error_type="constraint",
        custom_error_message="a constraint is written as 'x + 2*y <= 3' or as {sum: {x: 1, y: 2}, max: 3}",
    ),
    AnyForm(),
]


class ParameterSpace(CountableSpace):
    """All combinations of the values of named parameters that meet the constraints.

    A genome holds one value per parameter that exists: `{"x": 1.5, "n": 3, "solvent": "EC"}`. Parameters are
    taken in the natural order of their names (x2 before x10), whatever order a file lists them in. The space can
    be counted (`count`, `genome`, `blocks`) where no parameter is real and there are at most ten million genomes,
    20,000 combinations with conditions or constraints.
    """

    parameters: dict[str, AnyParameter] = Field(min_length=1)
    """Parameter by name: `{real: [low, high]}`, `{integer: [low, high]}`, `{ordinal: [levels]}` or
    `{categorical: [names]}`."""
    constraints: tuple[AnyConstraint, ...] = Field(default=(), strict=False)
    """What must hold between parameters: `x + 2*y <= 3`, `{sum: {x: 1, y: 2}, max: 3}`, `x * log(y) <= 40`."""

    @field_validator("parameters")
    @classmethod
    def _conditions(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # Names are headings of batches and exports; a run that was made before this was asked goes on.
        refused = [text for text in map(describe_heading_fault, parameters) if text]
        if refused and validation_context(info)[0] != STORED_FOLDER:
            raise ValueError(refused[0])
        if any(parameter.when for parameter in parameters.values()):
            Tree(parameters).check()
        return parameters

    @field_validator("constraints")
    @classmethod
    def _consistent(cls, constraints: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if constraints and "parameters" in info.data:
            parameters = info.data["parameters"]
            Rules(parameters, Tree(parameters), *sorted_out(constraints, parameters)).check()
        return constraints

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.constraints:
            self._search.check()
        return self

    # What the settings stand for, made once.

    @cached_property
    def _ordered(self) -> tuple[tuple[str, Parameter], ...]:
        names = sorted(self.parameters, key=lambda name: (natural_order(name), name))
        return tuple((name, self.parameters[name]) for name in names)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._ordered)

    @cached_property
    def _movable(self) -> tuple[str, ...]:
        return tuple(name for name, parameter in self._ordered if parameter.size != 1)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(dict(self._ordered))

    @cached_property
    def _plain(self) -> bool:
        """Whether every combination of values is a genome."""
        return not self.constraints and not self._tree.conditional

    @cached_property
    def _rules(self) -> Rules:
        return Rules(dict(self._ordered), self._tree, *sorted_out(self.constraints, self.parameters))

    @cached_property
    def _search(self) -> Search:
        listed = self._combinations if self._listable else None
        return Search(self._rules, self._completed, self._at, self._point, listed)

    @cached_property
    def _operators(self) -> dict[str, Operator]:
        return {
            "start": GenomeOperator(0, self._start),
            "mutate": GenomeOperator(1, self._mutate),
            "reset": GenomeOperator(1, self._reset),
            "crossover": GenomeOperator(2, self._crossover),
        }

    # Which genomes there are.

    @cached_property
    def _product(self) -> int | None:
        """How many combinations of values there are; None with a real parameter."""
        sizes = [parameter.size for _, parameter in self._ordered]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def _listable(self) -> bool:
        return self._product is not None and self._product <= LISTED

    @cached_property
    def _combinations(self) -> list[dict[str, Value]]:
        """All genomes, constraints apart, of a space with few; the last parameter runs fastest."""
        found: list[dict[str, Value]] = [{}]
        for name in self._tree.order:
            found = [longer for values in found for longer in self._extended(values, name)]
        listed = [self._sorted(values) for values in found]
        order = {name: place for place, name in enumerate(self._names)}
        return sorted(
            listed, key=lambda values: [(order[n], self.parameters[n].encode(v)) for n, v in values.items()]
        )

    def _extended(self, values: dict[str, Value], name: str) -> list[dict[str, Value]]:
        if not self._tree.exists(name, values):
            return [values]
        parameter = self.parameters[name]
        return [{**values, name: parameter.numbered(place)} for place in range(parameter.size or 0)]

    def size(self) -> int | None:
        """How many genomes there are; None with a real parameter, or where constraints leave too many to count."""
        if self._plain:
            return self._product
        return len(self._genomes) if self._listable else None

    @cached_property
    def _genomes(self) -> list[dict[str, Value]]:
        """All genomes of a space with few."""
        return self._search.anchors if self.constraints else self._combinations

    def _sorted(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: values[name] for name in self._names if name in values}

    def _completed(self, values: Mapping[str, Value], spare: Sequence[float]) -> dict[str, Value]:
        """The values of parameters that exist; those without one get theirs from `spare` (d,), in [0, 1]."""
        tree = self._tree
        if not tree.conditional:
            return dict(values)
        found: dict[str, Value] = {}
        places = dict(zip(self._names, spare, strict=True))
        for name in tree.order:
            if tree.exists(name, found):
                found[name] = values[name] if name in values else self.parameters[name].decode(places[name])
        return self._sorted(found)

    # SearchSpace.

    def operators(self) -> Mapping[str, Operator]:
        """`start` (uniform), `mutate` (near), `reset` (one parameter anew), `crossover`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """The parameters by name, in natural order; those that do not exist are left out.

        Raises:
            Infeasible: a parameter is missing, unknown, or has a value it does not allow; a constraint is broken.
        """
        values = self._named(genome, self._allowed)
        broken = self._rules.broken(values) if self.constraints else ""
        if broken:
            raise Infeasible(f"the constraint is not met: {broken}")
        return self._design(values)

    def _allowed(self, name: str, value: Json) -> Value:
        refusal = self.parameters[name].refusal(value)
        if refusal:
            raise Infeasible(f"parameter '{name}' must be {refusal}, got {value!r}")
        return cast("Value", value)

    def _named(self, genome: Genome, taken: Callable[[str, Json], Value]) -> dict[str, Value]:
        """The values of the parameters that exist, each as it is taken.

        Raises:
            Infeasible: one is missing, unknown or not taken.
        """
        values: dict[str, Value] = {}
        tree, conditional = self._tree, self._tree.conditional
        for name in tree.order:
            if name in conditional and not tree.exists(name, values):
                if name in genome:
                    raise Infeasible(self._needless(name, values))
                continue
            if name not in genome:
                raise Infeasible(f"the genome lacks the parameter '{name}'; it has {_listed(genome)}")
            values[name] = taken(name, genome[name])
        unknown = [name for name in genome if name not in self.parameters]
        if unknown:
            hint = nearest(unknown[0], self.parameters)
            raise Infeasible(f"the space has no parameter '{unknown[0]}'. {hint}".strip())
        return values

    def _design(self, values: Mapping[str, Value]) -> Design:
        typed = {n: float(v) if self.parameters[n].size is None else v for n, v in values.items()}
        return Design(parameters=self._sorted(typed) if self._tree.conditional else typed)

    def _needless(self, name: str, values: Mapping[str, Value]) -> str:
        for other, requirement in self.parameters[name].when.items():
            if other not in values:
                return f"parameter '{name}' only exists together with '{other}', which does not exist here"
            if not self._tree.exists(name, {other: values[other]}):
                wanted = words_of(requirement)
                return (
                    f"parameter '{name}' only exists where '{other}' is {wanted}, and it is {values[other]}"
                )
        return f"parameter '{name}' does not exist here"

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d): numbers scaled to [0, 1], a column per choice or descriptor of a categorical parameter.

        A parameter with a condition has one more, 1 where it exists.
        """
        blocks: list[FloatArray] = []
        for name, parameter in self._ordered:
            if not parameter.when:
                blocks.append(parameter.features_many(_column(name, genomes)))
                continue
            rows = [row for row, genome in enumerate(genomes) if name in genome]
            block = np.tile([*parameter.blank, 0.0], (len(genomes), 1))
            if rows:
                block[rows, :-1] = parameter.features_many(_column(name, [genomes[row] for row in rows]))
                block[rows, -1] = 1.0
            blocks.append(block)
        return np.hstack(blocks)

    def descriptors(self) -> Sequence[Descriptor]:
        """`x` of a number, `solvent=EC` or `solvent.dielectric` of a choice, `x exists`; a group per parameter."""
        return distinct(
            Descriptor(f"{name}{feature}", name)
            for name, parameter in self._ordered
            for feature in (*parameter.feature_names, *([" exists"] if parameter.when else []))
        )

    # FiniteSpace.

    def count(self) -> int | None:
        """The number that `size` gives, up to ten million; else None."""
        size = self.size()
        return size if size is not None and size <= COUNTABLE else None

    def numbered(self, index: int) -> Genome:
        """Genome number `index`; the last parameter runs fastest."""
        if not self._plain:
            return dict(self._genomes[index])
        values: dict[str, Json] = {}
        for name, parameter in reversed(self._ordered):
            index, digit = divmod(index, parameter.size or 1)
            values[name] = parameter.numbered(digit)
        return {name: values[name] for name, _ in self._ordered}

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """(index of the first row, features (<= size, d)) of a countable space, streamed."""
        if not self._plain:
            for start in range(0, len(self), size):
                yield start, self.features(self._genomes[start : start + size])
            return
        sizes = [parameter.size or 1 for _, parameter in self._ordered]
        tables = [
            np.array([parameter.features(parameter.numbered(digit)) for digit in range(n)])
            for n, (_, parameter) in zip(sizes, self._ordered, strict=True)
        ]
        for start in range(0, len(self), size):
            digits = np.unravel_index(np.arange(start, min(start + size, len(self))), sizes)
            yield start, np.hstack([table[digit] for table, digit in zip(tables, digits, strict=True)])

    # TabledSpace.

    def table_columns(self) -> Sequence[str]:
        """The parameters, in natural order."""
        return self._names

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """The values of the parameters that exist."""
        return self._sorted({name: _value(genome, name) for name in genome})

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """The values that the cells mean."""
        return {name: self.parameters[name].read(text) for name, text in cells.items()}

    # OpenSpace.

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """Half a unit of the last digit written, of numbers."""
        return {
            name: half_last_digit(text, self.parameters[name].extent)
            for name, text in cells.items()
            if self.parameters[name].extent
        }

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Where values lie that somebody had: numbers may lie beyond bounds, between steps or against a constraint.

        Raises:
            Infeasible: a parameter is missing or unknown, a choice is none of the space's, or a number is none.
        """
        made = self._made
        values = self._named(genome, lambda name, value: made.taken(name, value, rounding))
        values, broken = made.settled_in(values, rounding)
        return Placement(self._sorted(values), broken)

    def build_made(self, genome: Genome) -> Design:
        """The parameters by name, whatever their numbers."""
        return self._design(self._named(genome, lambda name, value: self._made.taken(name, value, {})))

    @cached_property
    def _made(self) -> Made:
        rules = self._rules if self.constraints else None
        return Made(dict(self._ordered), rules, self._settle_near)

    def _settle_near(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Settle values to the nearest genome of the space."""
        return self._settled(values, self._point(values))

    # VectorSpace.

    def domain(self) -> Domain:
        """One dimension per parameter, with the linear constraints between those that always exist."""
        return self._domain

    @cached_property
    def _domain(self) -> Domain:
        dimensions = tuple(parameter.dimension(name) for name, parameter in self._ordered)
        hidden = self._tree.conditional
        conditional = tuple(column for column, name in enumerate(self._names) if name in hidden)
        known = {name: parameter for name, parameter in self._ordered if name not in hidden}
        linear = self._rules.linear if self.constraints else ()
        columns = {name: column for column, name in enumerate(self._names)}
        return Domain(dimensions, rules_on(linear, known, columns), conditional=conditional)

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Shape (n, d), beyond [0, 1] of numbers beyond their bounds; a parameter that does not exist lies in the middle."""
        points = np.full((len(genomes), len(self._ordered)), PLACE)
        for column, (name, parameter) in enumerate(self._ordered):
            if name not in self._tree.conditional:
                points[:, column] = parameter.encode_many(_column(name, genomes))
                continue
            rows = [row for row, genome in enumerate(genomes) if name in genome]
            points[rows, column] = parameter.encode_many(_column(name, [genomes[row] for row in rows]))
        return points

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Genomes at points (n, d), or near them where a constraint is broken there.

        What lies outside the unit cube is moved to its surface.
        """
        points = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
        columns = [p.decode_many(points[:, i]) for i, (_, p) in enumerate(self._ordered)]
        names = self._names
        rows: list[dict[str, Any]] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        if self._plain:
            return rows
        return [self._settled(row, point) for row, point in zip(rows, points.tolist(), strict=True)]

    def _settled(
        self, values: Mapping[str, Value], spare: Sequence[float], toward: Mapping[str, Value] | None = None
    ) -> dict[str, Any]:
        """The genome of these values, or near them: see `Search.settled`."""
        if not self.constraints:
            return self._completed(values, spare)
        return self._search.settled(values, spare, toward)

    def _point(self, values: Mapping[str, Value]) -> list[float]:
        return [p.encode(values[name]) if name in values else PLACE for name, p in self._ordered]

    def _at(self, point: Sequence[float]) -> dict[str, Value]:
        return {name: parameter.decode(u) for (name, parameter), u in zip(self._ordered, point, strict=True)}

    def _cleaned(self, genome: Genome) -> dict[str, Value]:
        """`genome` with its reals on their grid: one a person wrote may hold more digits."""
        return {
            name: parameter.snapped(float(_value(genome, name)))
            if isinstance(parameter, Real)
            else _value(genome, name)
            for name, parameter in self._ordered
            if name in genome
        }

    # Operators.

    def _start(self, parents: Sequence[Genome], rng: Rng) -> Genome:  # noqa: ARG002 - an operator's signature
        if self._plain:
            return self._at(rng.random(len(self._ordered)).tolist())
        if not self.constraints:
            point = rng.random(len(self._ordered)).tolist()
            return self._completed(self._at(point), point)
        return self._search.drawn(rng)

    def _spare(self, rng: Rng) -> list[float]:
        """Places for parameters that come to exist; none are drawn where that cannot happen."""
        return [] if self._plain or not self._tree.conditional else rng.random(len(self._ordered)).tolist()

    def _mutate(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Every parameter moves to a neighbour with probability 1/d, at least one does."""
        return self._varied(parents[0], rng, self._moved)

    def _moved(self, child: dict[str, Value], rng: Rng) -> None:
        movable = self._movable if self._plain else [name for name in self._movable if name in child]
        count = len(movable)
        chance = rng.random(2 * count + 1).tolist()
        moving = {name for name, r in zip(movable, chance, strict=False) if r * count < 1.0}
        moving = moving or {movable[int(chance[-1] * count)]}
        for name, r in zip(movable, chance[count:], strict=False):
            if name in moving:
                child[name] = self.parameters[name].mutated(child[name], r)

    def _reset(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """One parameter is drawn anew from its whole range."""
        return self._varied(parents[0], rng, self._redrawn)

    def _redrawn(self, child: dict[str, Value], rng: Rng) -> None:
        movable = self._movable if self._plain else [name for name in self._movable if name in child]
        which, u = rng.random(2).tolist()
        name = movable[int(which * len(movable))]
        child[name] = self.parameters[name].decode(u)

    def _varied(
        self, parent: Genome, rng: Rng, change: Callable[[dict[str, Value], Rng], None]
    ) -> Genome | None:
        """A child of one parent; where constraints lead back to the parent, another is tried."""
        cleaned = self._cleaned(parent)
        if not any(name in cleaned for name in self._movable):
            return None
        if self._plain:
            change(cleaned, rng)
            return cleaned
        for _ in range(SIBLINGS):
            child = dict(cleaned)
            change(child, rng)
            settled = self._settled(child, self._spare(rng), cleaned)
            if settled != cleaned:
                return settled
        return None

    def _crossover(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Reals by simulated binary crossover, others from either parent."""
        first, second = parents
        if self._plain:
            return self._crossed(first, second, rng)
        mother, father = self._cleaned(first), self._cleaned(second)
        for _ in range(SIBLINGS):
            child = self._crossed(mother, father, rng)
            settled = self._settled(child, self._spare(rng), mother)
            if settled not in (mother, father):
                return settled
        return None

    def _crossed(self, first: Mapping[str, Json], second: Mapping[str, Json], rng: Rng) -> dict[str, Value]:
        chance = rng.random(len(self._ordered)).tolist()
        if not self._tree.conditional:
            return {
                name: parameter.crossed(_value(first, name), _value(second, name), r)
                for (name, parameter), r in zip(self._ordered, chance, strict=True)
            }
        child: dict[str, Value] = {}
        for (name, parameter), r in zip(self._ordered, chance, strict=True):
            if name in first and name in second:
                child[name] = parameter.crossed(_value(first, name), _value(second, name), r)
            elif name in first or name in second:
                child[name] = _value(first if name in first else second, name)
        return child


def _value(genome: Genome, name: str) -> Value:
    value = genome[name]
    assert isinstance(value, float | int | str)  # what `build` accepts
    return value


def _column(name: str, genomes: Sequence[Genome]) -> list[Value]:
    """The values of one parameter, which all of the genomes have."""
    return cast("list[Value]", [genome[name] for genome in genomes])


def _listed(genome: Genome) -> str:
    return ", ".join(map(str, genome)) or "none"
