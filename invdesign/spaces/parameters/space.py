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
from invdesign.spaces.described import rename_duplicates
from invdesign.spaces.linear import LinearConstraint
from invdesign.spaces.operators import GenomeOperator
from invdesign.spaces.parameters.choices import AnyParameter
from invdesign.spaces.parameters.conditions import AnyForm, Tree, describe_requirement
from invdesign.spaces.parameters.cube import build_cube_rules
from invdesign.spaces.parameters.expressions import Expression
from invdesign.spaces.parameters.kinds import Parameter, Real, Value
from invdesign.spaces.parameters.made import MeasuredValues
from invdesign.spaces.parameters.rules import Rules, split_constraints
from invdesign.spaces.parameters.search import Search
from invdesign.tables.units import describe_heading_fault

MAX_COUNTED = 10_000_000  # genomes up to which a space is counted (chosen)
MAX_LISTED = 20_000  # combinations of values listed where conditions or constraints leave some out (chosen)
MAX_SIBLINGS = 8  # children tried until one differs from its parents (chosen)
ABSENT_COORDINATE = 0.5  # in the cube, of a parameter that does not exist (chosen)


def natural_order(name: str) -> tuple[tuple[str, int], ...]:
    """Sort key of a `name` that puts x2 before x10."""
    return tuple((text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name))


def _check_expression(text: str) -> str:
    _ = Expression(text).names  # parses and checks the text
    return text


def _find_form_tag(value: object) -> str | None:
    """Tag of the form in which a constraint is written."""
    if isinstance(value, str):
        return "expression"
    return "linear" if isinstance(value, Mapping | LinearConstraint) else None


AnyConstraint = Annotated[
    Annotated[LinearConstraint, Tag("linear")]
    | Annotated[str, AfterValidator(_check_expression), Tag("expression")],
    Discriminator(
        _find_form_tag,
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
    """Constraints between parameters: `x + 2*y <= 3`, `{sum: {x: 1, y: 2}, max: 3}`, `x * log(y) <= 40`."""

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # Names are headings of batches and exports. Stored runs are not checked, since old ones must stay readable.
        refused = [text for text in map(describe_heading_fault, parameters) if text]
        if refused and validation_context(info)[0] != STORED_FOLDER:
            raise ValueError(refused[0])
        if any(parameter.when for parameter in parameters.values()):
            Tree(parameters).check_conditions()
        return parameters

    @field_validator("constraints")
    @classmethod
    def _check_constraints(cls, constraints: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if constraints and "parameters" in info.data:
            parameters = info.data["parameters"]
            Rules(
                parameters, Tree(parameters), *split_constraints(constraints, parameters)
            ).check_consistency()
        return constraints

    @model_validator(mode="after")
    def _check_feasibility(self) -> Self:
        if self.constraints:
            self._search.check_feasibility()
        return self

    # Derived parts, built once.

    @cached_property
    def _ordered_parameters(self) -> tuple[tuple[str, Parameter], ...]:
        names = sorted(self.parameters, key=lambda name: (natural_order(name), name))
        return tuple((name, self.parameters[name]) for name in names)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._ordered_parameters)

    @cached_property
    def _movable_names(self) -> tuple[str, ...]:
        """Names of parameters with more than one value."""
        return tuple(name for name, parameter in self._ordered_parameters if parameter.size != 1)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(dict(self._ordered_parameters))

    @cached_property
    def _is_unconstrained(self) -> bool:
        """True if every combination of values is a genome."""
        return not self.constraints and not self._tree.conditional

    @cached_property
    def _rules(self) -> Rules:
        return Rules(
            dict(self._ordered_parameters), self._tree, *split_constraints(self.constraints, self.parameters)
        )

    @cached_property
    def _search(self) -> Search:
        listed = self._combinations if self._is_listable else None
        return Search(self._rules, self._complete_values, self._values_at, self._to_point, listed)

    @cached_property
    def _operators(self) -> dict[str, Operator]:
        return {
            "start": GenomeOperator(0, self._draw_start),
            "mutate": GenomeOperator(1, self._mutate_genome),
            "reset": GenomeOperator(1, self._reset_parameter),
            "crossover": GenomeOperator(2, self._cross_parents),
        }

    # Genomes.

    @cached_property
    def _combination_count(self) -> int | None:
        """Number of combinations of values; None with a real parameter."""
        sizes = [parameter.size for _, parameter in self._ordered_parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def _is_listable(self) -> bool:
        """True if there are few enough combinations to list."""
        return self._combination_count is not None and self._combination_count <= MAX_LISTED

    @cached_property
    def _combinations(self) -> list[dict[str, Value]]:
        """All genomes, constraints apart, of a space with few.

        The last parameter runs fastest.
        """
        found: list[dict[str, Value]] = [{}]
        for name in self._tree.order:
            found = [longer for values in found for longer in self._extend_combination(values, name)]
        listed = [self._sort_values(values) for values in found]
        order = {name: place for place, name in enumerate(self._names)}
        return sorted(
            listed, key=lambda values: [(order[n], self.parameters[n].encode(v)) for n, v in values.items()]
        )

    def _extend_combination(self, values: dict[str, Value], name: str) -> list[dict[str, Value]]:
        """Extend a combination by every value of one parameter, if that exists."""
        if not self._tree.variable_exists(name, values):
            return [values]
        parameter = self.parameters[name]
        return [{**values, name: parameter.value_at(place)} for place in range(parameter.size or 0)]

    def size(self) -> int | None:
        """Number of genomes, if known.

        It is None with a real parameter, or where constraints leave too many to count.
        """
        if self._is_unconstrained:
            return self._combination_count
        return len(self._genomes) if self._is_listable else None

    @cached_property
    def _genomes(self) -> list[dict[str, Value]]:
        """All genomes of a space with few."""
        return self._search.anchors if self.constraints else self._combinations

    def _sort_values(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: values[name] for name in self._names if name in values}

    def _complete_values(self, values: Mapping[str, Value], spare: Sequence[float]) -> dict[str, Value]:
        """Complete the values of all parameters that exist.

        Missing ones come from `spare` (d,) in [0, 1].
        """
        tree = self._tree
        if not tree.conditional:
            return dict(values)
        found: dict[str, Value] = {}
        places = dict(zip(self._names, spare, strict=True))
        for name in tree.order:
            if tree.variable_exists(name, found):
                found[name] = values[name] if name in values else self.parameters[name].decode(places[name])
        return self._sort_values(found)

    # SearchSpace.

    def operators(self) -> Mapping[str, Operator]:
        """`start` (uniform), `mutate` (near), `reset` (one parameter anew), `crossover`."""
        return self._operators

    def build(self, genome: Genome) -> Design:
        """Build the design of a `genome`: the existing parameters by name.

        They are in natural order.

        Raises:
            Infeasible: a parameter is missing, unknown, or has a value it does not allow; a constraint is broken.
        """
        values = self._collect_values(genome, self._check_value)
        broken = self._rules.describe_broken(values) if self.constraints else ""
        if broken:
            raise Infeasible(f"the constraint is not met: {broken}")
        return self._build_design(values)

    def _check_value(self, name: str, value: Json) -> Value:
        refusal = self.parameters[name].explain_refusal(value)
        if refusal:
            raise Infeasible(f"parameter '{name}' must be {refusal}, got {value!r}")
        return cast("Value", value)

    def _collect_values(self, genome: Genome, taken: Callable[[str, Json], Value]) -> dict[str, Value]:
        """Collect the values of the parameters that exist, each converted by `taken`.

        Raises:
            Infeasible: a parameter is missing or unknown, or `taken` refuses its value.
        """
        values: dict[str, Value] = {}
        tree, conditional = self._tree, self._tree.conditional
        for name in tree.order:
            if name in conditional and not tree.variable_exists(name, values):
                if name in genome:
                    raise Infeasible(self._explain_absence(name, values))
                continue
            if name not in genome:
                raise Infeasible(f"the genome lacks the parameter '{name}'; it has {_list_names(genome)}")
            values[name] = taken(name, genome[name])
        unknown = [name for name in genome if name not in self.parameters]
        if unknown:
            hint = nearest(unknown[0], self.parameters)
            raise Infeasible(f"the space has no parameter '{unknown[0]}'. {hint}".strip())
        return values

    def _build_design(self, values: Mapping[str, Value]) -> Design:
        typed = {n: float(v) if self.parameters[n].size is None else v for n, v in values.items()}
        return Design(parameters=self._sort_values(typed) if self._tree.conditional else typed)

    def _explain_absence(self, name: str, values: Mapping[str, Value]) -> str:
        """Explain that a parameter of the genome does not exist there."""
        for other, requirement in self.parameters[name].when.items():
            if other not in values:
                return f"parameter '{name}' only exists together with '{other}', which does not exist here"
            if not self._tree.variable_exists(name, {other: values[other]}):
                wanted = describe_requirement(requirement)
                return (
                    f"parameter '{name}' only exists where '{other}' is {wanted}, and it is {values[other]}"
                )
        return f"parameter '{name}' does not exist here"

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Features (n, d) of `genomes`.

        Numbers are scaled to [0, 1]; a categorical parameter has a column per choice or descriptor. A parameter with a
        condition has one more, 1 where it exists.
        """
        blocks: list[FloatArray] = []
        for name, parameter in self._ordered_parameters:
            if not parameter.when:
                blocks.append(parameter.features_many(_read_column(name, genomes)))
                continue
            rows = [row for row, genome in enumerate(genomes) if name in genome]
            block = np.tile([*parameter.absent_features, 0.0], (len(genomes), 1))
            if rows:
                block[rows, :-1] = parameter.features_many(_read_column(name, [genomes[row] for row in rows]))
                block[rows, -1] = 1.0
            blocks.append(block)
        return np.hstack(blocks)

    def descriptors(self) -> Sequence[Descriptor]:
        """Name the features, in a group per parameter.

        They are `x` of a number, `solvent=EC` or `solvent.dielectric` of a choice, and `x exists`.
        """
        return rename_duplicates(
            Descriptor(f"{name}{feature}", name)
            for name, parameter in self._ordered_parameters
            for feature in (*parameter.feature_names, *([" exists"] if parameter.when else []))
        )

    # FiniteSpace.

    def count(self) -> int | None:
        """Number of genomes, up to ten million; else None."""
        size = self.size()
        return size if size is not None and size <= MAX_COUNTED else None

    def genome_at_index(self, index: int) -> Genome:
        """Build genome number `index`; the last parameter runs fastest."""
        if not self._is_unconstrained:
            return dict(self._genomes[index])
        values: dict[str, Json] = {}
        for name, parameter in reversed(self._ordered_parameters):
            index, digit = divmod(index, parameter.size or 1)
            values[name] = parameter.value_at(digit)
        return {name: values[name] for name, _ in self._ordered_parameters}

    def blocks(self, size: int) -> Iterator[tuple[int, FloatArray]]:
        """Stream blocks of at most `size` rows of a countable space.

        Yields:
            (index of the first row, features (<= size, d)).
        """
        if not self._is_unconstrained:
            for start in range(0, len(self), size):
                yield start, self.features(self._genomes[start : start + size])
            return
        sizes = [parameter.size or 1 for _, parameter in self._ordered_parameters]
        tables = [
            np.array([parameter.features(parameter.value_at(digit)) for digit in range(n)])
            for n, (_, parameter) in zip(sizes, self._ordered_parameters, strict=True)
        ]
        for start in range(0, len(self), size):
            digits = np.unravel_index(np.arange(start, min(start + size, len(self))), sizes)
            yield start, np.hstack([table[digit] for table, digit in zip(tables, digits, strict=True)])

    # TabledSpace.

    def table_columns(self) -> Sequence[str]:
        """Names of the parameters, in natural order."""
        return self._names

    def to_cells(self, genome: Genome) -> Mapping[str, float | str]:
        """Values by name of the parameters that exist in `genome`."""
        return self._sort_values({name: _read_value(genome, name) for name in genome})

    def from_cells(self, cells: Mapping[str, str]) -> Genome:
        """Parse the values of table `cells` by name."""
        return {name: self.parameters[name].parse_text(text) for name, text in cells.items()}

    # OpenSpace.

    def rounding(self, cells: Mapping[str, str]) -> Mapping[str, float]:
        """Rounding error of the numbers in `cells`.

        It is half a unit of the last digit written.
        """
        return {
            name: half_last_digit(text, self.parameters[name].extent)
            for name, text in cells.items()
            if self.parameters[name].extent
        }

    def place(self, genome: Genome, rounding: Mapping[str, float]) -> Placement:
        """Place measured values relative to the space.

        They may lie beyond bounds, between steps or against a constraint.

        Args:
            genome: values by name, as they were measured.
            rounding: rounding error of each number as it was written.

        Raises:
            Infeasible: a parameter is missing or unknown, a choice is none of the space's, or a number is none.
        """
        made = self._measured_values
        values = self._collect_values(genome, lambda name, value: made.accept_value(name, value, rounding))
        values, broken = made.place_values(values, rounding)
        return Placement(self._sort_values(values), broken)

    def build_made(self, genome: Genome) -> Design:
        """Build the design of a measured `genome`, with numbers beyond bounds allowed."""
        return self._build_design(
            self._collect_values(
                genome, lambda name, value: self._measured_values.accept_value(name, value, {})
            )
        )

    @cached_property
    def _measured_values(self) -> MeasuredValues:
        rules = self._rules if self.constraints else None
        return MeasuredValues(dict(self._ordered_parameters), rules, self._settle_nearest)

    def _settle_nearest(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Settle values to the nearest genome of the space."""
        return self._settle_values(values, self._to_point(values))

    # VectorSpace.

    def domain(self) -> Domain:
        """One dimension per parameter, with the linear constraints.

        The constraints are those between parameters that always exist.
        """
        return self._domain

    @cached_property
    def _domain(self) -> Domain:
        dimensions = tuple(parameter.build_dimension(name) for name, parameter in self._ordered_parameters)
        hidden = self._tree.conditional
        conditional = tuple(column for column, name in enumerate(self._names) if name in hidden)
        known = {name: parameter for name, parameter in self._ordered_parameters if name not in hidden}
        linear = self._rules.linear if self.constraints else ()
        columns = {name: column for column, name in enumerate(self._names)}
        return Domain(dimensions, build_cube_rules(linear, known, columns), conditional=conditional)

    def encode(self, genomes: Sequence[Genome]) -> FloatArray:
        """Encode `genomes` as points (n, d).

        Coordinates of numbers beyond their bounds are beyond [0, 1].

        A parameter that does not exist lies in the middle.
        """
        points = np.full((len(genomes), len(self._ordered_parameters)), ABSENT_COORDINATE)
        for column, (name, parameter) in enumerate(self._ordered_parameters):
            if name not in self._tree.conditional:
                points[:, column] = parameter.encode_many(_read_column(name, genomes))
                continue
            rows = [row for row, genome in enumerate(genomes) if name in genome]
            points[rows, column] = parameter.encode_many(_read_column(name, [genomes[row] for row in rows]))
        return points

    def decode(self, x: FloatArray) -> Sequence[Genome]:
        """Decode points `x` (n, d) to genomes that meet the constraints.

        Points outside the unit cube are first moved to its surface.
        """
        points = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
        columns = [p.decode_many(points[:, i]) for i, (_, p) in enumerate(self._ordered_parameters)]
        names = self._names
        rows: list[dict[str, Any]] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        if self._is_unconstrained:
            return rows
        return [self._settle_values(row, point) for row, point in zip(rows, points.tolist(), strict=True)]

    def _settle_values(
        self, values: Mapping[str, Value], spare: Sequence[float], toward: Mapping[str, Value] | None = None
    ) -> dict[str, Any]:
        """Move values to a nearby genome: see `Search.settle_values`."""
        if not self.constraints:
            return self._complete_values(values, spare)
        return self._search.settle_values(values, spare, toward)

    def _to_point(self, values: Mapping[str, Value]) -> list[float]:
        """Encode values as a point (d,) of the cube; absent parameters lie in the middle."""
        return [
            p.encode(values[name]) if name in values else ABSENT_COORDINATE
            for name, p in self._ordered_parameters
        ]

    def _values_at(self, point: Sequence[float]) -> dict[str, Value]:
        """Decode a point (d,) of the cube to values of all parameters."""
        return {
            name: parameter.decode(u)
            for (name, parameter), u in zip(self._ordered_parameters, point, strict=True)
        }

    def _clean_genome(self, genome: Genome) -> dict[str, Value]:
        """Put the reals of `genome` on their grid.

        A genome that the user wrote may hold more digits.
        """
        return {
            name: parameter.snap_to_grid(float(_read_value(genome, name)))
            if isinstance(parameter, Real)
            else _read_value(genome, name)
            for name, parameter in self._ordered_parameters
            if name in genome
        }

    # Operators.

    def _draw_start(self, parents: Sequence[Genome], rng: Rng) -> Genome:  # noqa: ARG002 - an operator's signature
        if self._is_unconstrained:
            return self._values_at(rng.random(len(self._ordered_parameters)).tolist())
        if not self.constraints:
            point = rng.random(len(self._ordered_parameters)).tolist()
            return self._complete_values(self._values_at(point), point)
        return self._search.draw_feasible(rng)

    def _draw_spare_coordinates(self, rng: Rng) -> list[float]:
        """Draw coordinates for parameters that come to exist.

        None are drawn where that cannot happen.
        """
        return (
            []
            if self._is_unconstrained or not self._tree.conditional
            else rng.random(len(self._ordered_parameters)).tolist()
        )

    def _mutate_genome(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Move every parameter to a neighbour with probability 1/d, at least one."""
        return self._vary_parent(parents[0], rng, self._move_values)

    def _move_values(self, child: dict[str, Value], rng: Rng) -> None:
        """Move values of `child` in place, each with probability 1/d, at least one."""
        movable = (
            self._movable_names
            if self._is_unconstrained
            else [name for name in self._movable_names if name in child]
        )
        count = len(movable)
        chance = rng.random(2 * count + 1).tolist()
        moving = {name for name, r in zip(movable, chance, strict=False) if r * count < 1.0}
        moving = moving or {movable[int(chance[-1] * count)]}
        for name, r in zip(movable, chance[count:], strict=False):
            if name in moving:
                child[name] = self.parameters[name].mutate_value(child[name], r)

    def _reset_parameter(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Draw one parameter anew from its whole range."""
        return self._vary_parent(parents[0], rng, self._redraw_value)

    def _redraw_value(self, child: dict[str, Value], rng: Rng) -> None:
        """Draw one value of `child` anew, in place."""
        movable = (
            self._movable_names
            if self._is_unconstrained
            else [name for name in self._movable_names if name in child]
        )
        which, u = rng.random(2).tolist()
        name = movable[int(which * len(movable))]
        child[name] = self.parameters[name].decode(u)

    def _vary_parent(
        self, parent: Genome, rng: Rng, change: Callable[[dict[str, Value], Rng], None]
    ) -> Genome | None:
        """Change one parent; where constraints lead back to the parent, try again."""
        cleaned = self._clean_genome(parent)
        if not any(name in cleaned for name in self._movable_names):
            return None
        if self._is_unconstrained:
            change(cleaned, rng)
            return cleaned
        for _ in range(MAX_SIBLINGS):
            child = dict(cleaned)
            change(child, rng)
            settled = self._settle_values(child, self._draw_spare_coordinates(rng), cleaned)
            if settled != cleaned:
                return settled
        return None

    def _cross_parents(self, parents: Sequence[Genome], rng: Rng) -> Genome | None:
        """Cross reals by simulated binary crossover; take others from either parent."""
        first, second = parents
        if self._is_unconstrained:
            return self._cross_values(first, second, rng)
        mother, father = self._clean_genome(first), self._clean_genome(second)
        for _ in range(MAX_SIBLINGS):
            child = self._cross_values(mother, father, rng)
            settled = self._settle_values(child, self._draw_spare_coordinates(rng), mother)
            if settled not in (mother, father):
                return settled
        return None

    def _cross_values(
        self, first: Mapping[str, Json], second: Mapping[str, Json], rng: Rng
    ) -> dict[str, Value]:
        """Cross the values of two genomes, parameter by parameter."""
        chance = rng.random(len(self._ordered_parameters)).tolist()
        if not self._tree.conditional:
            return {
                name: parameter.cross_values(_read_value(first, name), _read_value(second, name), r)
                for (name, parameter), r in zip(self._ordered_parameters, chance, strict=True)
            }
        child: dict[str, Value] = {}
        for (name, parameter), r in zip(self._ordered_parameters, chance, strict=True):
            if name in first and name in second:
                child[name] = parameter.cross_values(_read_value(first, name), _read_value(second, name), r)
            elif name in first or name in second:
                child[name] = _read_value(first if name in first else second, name)
        return child


def _read_value(genome: Genome, name: str) -> Value:
    value = genome[name]
    assert isinstance(value, float | int | str)  # what `build` accepts
    return value


def _read_column(name: str, genomes: Sequence[Genome]) -> list[Value]:
    """Read the values of one parameter, which all of the genomes have."""
    return cast("list[Value]", [genome[name] for genome in genomes])


def _list_names(genome: Genome) -> str:
    return ", ".join(map(str, genome)) or "none"
