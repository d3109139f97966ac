"""Constraints between parameters: checks of values, and repair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import join_complaints
from invdesign.rng import Rng
from invdesign.spaces.linear import (
    LinearConstraint,
    build_feasible_polytope,
    check_consistent,
    check_names,
    parse_linear_fields,
)
from invdesign.spaces.parameters.choices import Ordinal
from invdesign.spaces.parameters.conditions import Tree
from invdesign.spaces.parameters.expressions import Expression
from invdesign.spaces.parameters.kinds import Integer, Parameter, Real, Value
from invdesign.spaces.polytope import FEASIBLE_EXCESS, Polytope

SUM_NOISE = 1e-15  # rounding error of a sum in doubles, as a share of the row's range
MAX_BRANCHES = 40  # tried for whole numbers that let the others be repaired (chosen)
MAX_NODES = 2000  # of the integer program that follows where they did not suffice (chosen)


@dataclass(frozen=True, eq=False)
class Rules:
    """The constraints of a parameter space.

    A constraint applies where all parameters it mentions exist.

    Attributes:
        parameters: all of the space, by name.
        tree: conditions for their existence.
        linear: constraints over parameters with numbers, met exactly.
        expressions: all others, met by search.
    """

    parameters: Mapping[str, Parameter]
    tree: Tree
    linear: tuple[LinearConstraint, ...]
    expressions: tuple[Expression, ...]

    def check_consistency(self) -> None:
        """Refuse linear constraints that contradict each other wherever one of them applies.

        Raises:
            ValueError: with the smallest contradicting set.
        """
        needs = [self._conditional_names(constraint) for constraint in self.linear]
        for wanted in dict.fromkeys([frozenset[str](), *needs]):
            chosen = [c for c, need in zip(self.linear, needs, strict=True) if need <= wanted]
            names = {name: None for constraint in chosen for name in constraint.sum}
            present = {*wanted, *(name for other in wanted for name in self.tree.ancestors[other])}
            bounds = {
                name: self.tree.limit_bounds(present, name, self._parameter_bounds(name)) for name in names
            }
            if all(low <= high for low, high in bounds.values()):  # otherwise they never exist together
                check_consistent(bounds, chosen, [name for name in names if self._is_integer(name)])

    def _conditional_names(self, constraint: LinearConstraint) -> frozenset[str]:
        """Names in a constraint whose existence depends on others."""
        return frozenset(name for name in constraint.sum if name in self.tree.conditional)

    def _is_integer(self, name: str) -> bool:
        return isinstance(self.parameters[name], Integer)

    def _parameter_bounds(self, name: str) -> tuple[float, float]:
        """Lowest and highest number of a parameter."""
        parameter = self.parameters[name]
        if isinstance(parameter, Ordinal):
            levels = sorted(float(level) for level in parameter.ordinal)
            return levels[0], levels[-1]
        assert isinstance(parameter, Real | Integer)  # `split_constraints` refuses others
        low, high = parameter.real if isinstance(parameter, Real) else parameter.integer
        return float(low), float(high)

    def describe_broken(self, values: Mapping[str, Value]) -> str:
        """Describe a constraint that `values` break; empty where they meet all.

        It is the linear one that is broken most, else the first expression.
        """
        system = self.build_system(values)
        if system is not None and not system.is_met_by(values):
            numbers = {name: float(values[name]) for name in system.parameters}
            worst = max(self.list_applicable(values), key=lambda c: c.measure_violation(numbers))
            return f"{worst} (the sum is {worst.weighted_sum(numbers):.12g})"
        for expression in self.expressions:
            if expression.names <= values.keys() | {"pi"} and expression.measure_violation(values):
                held = ", ".join(
                    f"{name} = {values[name]}" for name in sorted(expression.names & values.keys())
                )
                return f"{expression.text} (with {held})"
        return ""

    def list_applicable(self, values: Mapping[str, Value]) -> Sequence[LinearConstraint]:
        """List the linear constraints whose parameters all exist in `values`."""
        if not self.tree.conditional:
            return self.linear
        return [constraint for constraint in self.linear if constraint.sum.keys() <= values.keys()]

    def measure_violations(self, values: Mapping[str, Value]) -> list[float]:
        """Violation of each expression by `values`.

        It is 0 where the expression is met or does not apply.
        """
        known = values.keys() | {"pi"}
        return [e.measure_violation(values) if e.names <= known else 0.0 for e in self.expressions]

    def meets_expressions(self, values: Mapping[str, Value]) -> bool:
        """Check whether `values` meet all expressions that apply."""
        known = values.keys() | {"pi"}
        return all(e.measure_violation(values) == 0.0 for e in self.expressions if e.names <= known)

    def build_system(self, values: Mapping[str, Value]) -> System | None:
        """Build the linear constraints that apply to `values`.

        The bounds are narrowed so that every existing parameter keeps existing.
        """
        if not self.tree.conditional:
            return self._constant_system
        chosen = tuple(n for n, c in enumerate(self.linear) if c.sum.keys() <= values.keys())
        if not chosen:
            return None
        names = self._list_mentioned(chosen)
        limits = [
            self.tree.limit_bounds(values, name, self._parameter_bounds(name), float(values[name]))
            if name in self._condition_names
            else self._parameter_bounds(name)
            for name in names
        ]
        key = (chosen, tuple(limits))
        if key not in self._systems:
            self._systems[key] = self._build_bounded_system(chosen, dict(zip(names, limits, strict=True)))
        return self._systems[key]

    @cached_property
    def _condition_names(self) -> frozenset[str]:
        """Names in the conditions of other parameters."""
        return frozenset(name for parameter in self.parameters.values() for name in parameter.when)

    @cached_property
    def _constant_system(self) -> System | None:
        """The one system of a space without conditions."""
        chosen = tuple(range(len(self.linear)))
        names = self._list_mentioned(chosen)
        return (
            self._build_bounded_system(chosen, {name: self._parameter_bounds(name) for name in names})
            if chosen
            else None
        )

    def _list_mentioned(self, chosen: tuple[int, ...]) -> tuple[str, ...]:
        """List the names that the chosen constraints mention, in the order of the parameters."""
        if chosen not in self._mentioned_names:
            mentioned = {name for number in chosen for name in self.linear[number].sum}
            self._mentioned_names[chosen] = tuple(name for name in self.parameters if name in mentioned)
        return self._mentioned_names[chosen]

    @cached_property
    def _mentioned_names(self) -> dict[tuple[int, ...], tuple[str, ...]]:
        return {}

    def _build_bounded_system(
        self, chosen: tuple[int, ...], bounds: dict[str, tuple[float, float]]
    ) -> System:
        kinds = {name: self.parameters[name] for name in bounds}
        return System(kinds, build_feasible_polytope(bounds, [self.linear[number] for number in chosen]))

    @cached_property
    def _systems(self) -> dict[object, System]:
        return {}


def split_constraints(
    constraints: Sequence[LinearConstraint | str], parameters: Mapping[str, Parameter]
) -> tuple[tuple[LinearConstraint, ...], tuple[Expression, ...]]:
    """Split constraints into linear ones, met exactly, and expressions, met by search.

    Linear are all over parameters with numbers that are weighted sums with limits, however they are written.

    Args:
        constraints: as the campaign states them.
        parameters: all of the space, by name.

    Raises:
        ValueError: constraints name parameters that do not exist, or use names as numbers; all of them are listed.
    """
    linear: list[LinearConstraint] = []
    expressions: list[Expression] = []
    complaints: list[str] = []
    options = {name: _list_name_options(parameter) for name, parameter in parameters.items()}
    for constraint in constraints:
        try:
            weighted = _parse_linear(constraint, parameters)
            if weighted is not None:
                _check_sum(weighted, parameters)
                linear.append(weighted)
                continue
            expression = Expression(str(constraint))
            expression.check_meaning(options)
            expressions.append(expression)
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        raise ValueError(join_complaints(complaints))
    return tuple(linear), tuple(expressions)


def _parse_linear(
    constraint: LinearConstraint | str, parameters: Mapping[str, Parameter]
) -> LinearConstraint | None:
    """Parse the constraint as a weighted sum of numbers.

    Returns None where it is strict or not linear.
    """
    if isinstance(constraint, LinearConstraint):
        return constraint
    fields = parse_linear_fields(constraint)
    if fields is None or any(s in constraint.replace("<=", "").replace(">=", "") for s in "<>"):
        return None
    weighted = LinearConstraint.model_validate(fields)
    return weighted if _has_only_numbers(weighted, parameters) else None


def _has_only_numbers(constraint: LinearConstraint, parameters: Mapping[str, Parameter]) -> bool:
    return all(name in parameters and _list_name_options(parameters[name]) is None for name in constraint.sum)


def _check_sum(constraint: LinearConstraint, parameters: Mapping[str, Parameter]) -> None:
    check_names([constraint], parameters, "parameters")
    for name in constraint.sum:
        if _list_name_options(parameters[name]) is not None:
            raise ValueError(f"the constraint {constraint} adds up '{name}', whose values are names")


def _convert_number(parameter: Parameter, number: float) -> Value:
    """Convert a number to a whole one or to a level, as the parameter needs."""
    if isinstance(parameter, Ordinal):
        return min(
            (level for level in parameter.ordinal if not isinstance(level, str)),
            key=lambda x: abs(x - number),
        )
    return round(number) if isinstance(parameter, Integer) else number


def _list_name_options(parameter: Parameter) -> tuple[str, ...] | None:
    """List the options that are names; None for numbers."""
    choices = parameter.build_dimension("").choices
    return choices if choices and isinstance(parameter.decode(0.0), str) else None


@dataclass(frozen=True, eq=False)
class System:
    """Linear constraints on some parameters, and values that meet them.

    Attributes:
        parameters: those the constraints mention, by name.
        body: their feasible region, integers and levels taken as reals.
    """

    parameters: Mapping[str, Parameter]
    body: Polytope

    @cached_property
    def _integer_columns(self) -> tuple[int, ...]:
        """Columns of the integers."""
        return tuple(i for i, p in enumerate(self.parameters.values()) if isinstance(p, Integer))

    @cached_property
    def _real_columns(self) -> tuple[int, ...]:
        return tuple(i for i, p in enumerate(self.parameters.values()) if isinstance(p, Real))

    @cached_property
    def _levels_by_column(self) -> dict[int, FloatArray]:
        """Levels of the ordinals, by column."""
        kinds = enumerate(self.parameters.values())
        return {i: np.array(p.ordinal, dtype=np.float64) for i, p in kinds if isinstance(p, Ordinal)}

    @cached_property
    def has_equality(self) -> bool:
        """True if there is an equality, which random values never meet."""
        return len(self.body.b_eq) > 0

    def is_met_by(self, values: Mapping[str, Value]) -> bool:
        """Check whether `values` keep all constraints, to within rounding."""
        return self.body.contains(self._to_point(values))

    def _to_point(self, values: Mapping[str, Value]) -> FloatArray:
        return np.array([values[name] for name in self.parameters], dtype=np.float64)

    def repair_values(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """Move `values` as little as needed to meet the constraints.

        Returns:
            Values of the parameters in the constraints; None where nothing is found.
        """
        return self._settle_point(self._to_point(values))

    def draw_values(self, rng: Rng) -> dict[str, Value] | None:
        """Draw values of the constraints' parameters with `rng`.

        Returns None where no whole numbers are found.
        """
        return None if self.body.empty else self._settle_point(self.body.draw_point(rng))

    def _settle_point(self, point: FloatArray) -> dict[str, Value] | None:
        """Repair a point (n,) and name its values; None where nothing is found."""
        found = self._repair_mixed(point)
        snapped = None if found is None else self._snap_reals(found)
        if snapped is None:
            return None
        pairs = zip(self.parameters.items(), snapped.tolist(), strict=True)
        return {name: _convert_number(parameter, number) for (name, parameter), number in pairs}

    def _repair_mixed(self, point: FloatArray) -> FloatArray | None:
        """Repair a point (n,) with whole integers and listed levels.

        Returns None where nothing is found.

        The answer is the nearest such point, or one near it.
        """
        if not self._levels_by_column:
            return self.repair_without_levels(point)
        columns = list(self._levels_by_column)
        rest = [column for column in range(len(point)) if column not in self._levels_by_column]
        for chosen in self._rank_level_choices(point):
            found = self._fix_levels(chosen).repair_without_levels(point[rest])
            if found is not None:
                whole = np.empty_like(point)
                whole[columns], whole[rest] = chosen, found
                return whole
        return None

    def _fix_levels(self, chosen: tuple[float, ...]) -> System:
        """Build, once, the system of the other parameters at these levels."""
        if chosen not in self._parts:
            others = {name: p for name, p in self.parameters.items() if not isinstance(p, Ordinal)}
            body = self.body.fix_columns(dict(zip(self._levels_by_column, chosen, strict=True)))
            self._parts[chosen] = System(others, body)
        return self._parts[chosen]

    @cached_property
    def _parts(self) -> dict[tuple[float, ...], System]:
        return {}

    @cached_property
    def _has_integer_solution(self) -> bool:
        """True if any whole numbers meet the constraints."""
        return bool(
            self._solve_program(np.zeros(2 * len(self.parameters)), self.body.frame.lower).status != 2
        )

    def _rank_level_choices(self, point: FloatArray) -> list[tuple[float, ...]]:
        """Rank combinations of levels to try, nearest to the point first."""
        width = self.body.frame.width
        near = [
            [(abs(level - point[i]) / width[i], level) for level in levels.tolist()]
            for i, levels in self._levels_by_column.items()
        ]
        several = max(2, int(MAX_BRANCHES ** (1.0 / len(near))))
        together = product(*(sorted(options)[:several] for options in near))
        ranked = sorted(
            (sum(away for away, _ in options), tuple(x for _, x in options)) for options in together
        )
        return [chosen for _, chosen in ranked[:MAX_BRANCHES]]

    def repair_without_levels(self, point: FloatArray) -> FloatArray | None:
        """Repair a `point` (n,) of a system without ordinals.

        Returns None where nothing is found.
        """
        relaxed = self.body.project_point(point)
        if relaxed is None or not self._integer_columns:
            return relaxed
        budget = [MAX_BRANCHES]
        found = self._repair_with_integers(point, np.rint(relaxed[list(self._integer_columns)]))
        if found is None and len(self._integer_columns) > 1 and self._has_integer_solution:
            found = self._branch_on_integers(point, {}, budget)
        return self._solve_nearest(point) if found is None else found

    def _repair_with_integers(self, point: FloatArray, whole: FloatArray) -> FloatArray | None:
        """Find the nearest point with these integers; None where there is none."""
        part = self.body.fix_columns(dict(zip(self._integer_columns, whole.tolist(), strict=True)))
        real = part.project_point(point[list(self._real_columns)])
        if real is None:
            return None
        found = np.empty_like(point)
        found[list(self._integer_columns)], found[list(self._real_columns)] = whole, real
        return found

    def _branch_on_integers(
        self, point: FloatArray, held: dict[int, float], budget: list[int]
    ) -> FloatArray | None:
        """Fix whole numbers one after the other, depth first.

        Each takes the nearer of its neighbours that leaves the rest feasible. `budget` counts the branches that are left.
        """
        budget[0] -= 1
        if budget[0] < 0:
            return None
        free = [column for column in range(len(point)) if column not in held]
        relaxed = self.body.fix_columns(held).project_point(point[free])
        if relaxed is None:
            return None
        open_columns = [i for i, column in enumerate(free) if column in self._integer_columns]
        if not open_columns:
            found = np.empty_like(point)
            found[free], found[list(held)] = relaxed, list(held.values())
            return found
        at = min(open_columns, key=lambda i: abs(float(relaxed[i]) - round(float(relaxed[i]))))
        value = float(relaxed[at])
        near, far = sorted((math.floor(value), math.ceil(value)), key=lambda whole: abs(whole - value))
        for whole in dict.fromkeys((near, far)):
            found_below = self._branch_on_integers(point, {**held, free[at]: float(whole)}, budget)
            if found_below is not None:
                return found_below
        return None

    def _solve_nearest(self, point: FloatArray) -> FloatArray | None:
        """Find the nearest point with an integer program, as a last resort.

        The sum of distances counts.

        It takes some milliseconds.
        """
        if not self._has_integer_solution:
            return None
        n = len(point)
        found = self._solve_program(np.concatenate([np.zeros(n), 1.0 / self.body.frame.width]), point).x
        return (
            None
            if found is None
            else self._repair_with_integers(point, np.rint(np.asarray(found)[list(self._integer_columns)]))
        )

    def _solve_program(self, cost: FloatArray, point: FloatArray) -> Any:
        """Solve the integer program by SciPy.

        Its variables are x and its distances from a point, (2n,) together.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        body, n = self.body, len(point)
        frame, eye = body.frame, np.eye(len(point))
        return milp(
            cost,
            integrality=np.isin(np.arange(2 * n), self._integer_columns).astype(int),
            bounds=Bounds(
                np.concatenate([frame.lower, np.zeros(n)]), np.concatenate([frame.upper, np.full(n, np.inf)])
            ),
            constraints=[
                LinearConstraint(np.hstack([frame.a, 0.0 * frame.a]), -np.inf, body.b),
                LinearConstraint(np.hstack([frame.a_eq, 0.0 * frame.a_eq]), body.b_eq, body.b_eq),
                LinearConstraint(np.hstack([eye, -eye]), -np.inf, point),
                LinearConstraint(np.hstack([-eye, -eye]), -np.inf, -point),
            ],
            options={"node_limit": MAX_NODES},
        )

    def _snap_reals(self, point: FloatArray) -> FloatArray | None:
        """Snap reals to their grids.

        Where rounding breaks a constraint, they are corrected by a step or two.
        """
        snapped = point.copy()
        kinds = list(self.parameters.values())
        for column in self._real_columns:
            parameter = kinds[column]
            assert isinstance(parameter, Real)  # not an integer, by its column
            snapped[column] = parameter.snap_to_grid(float(point[column]))
        excess = self.body.measure_excess(snapped)
        if excess > SUM_NOISE:
            nudged = self._nudge_reals(snapped.copy(), kinds)
            after = self.body.measure_excess(nudged)
            snapped, excess = (nudged, after) if after < excess else (snapped, excess)
        return snapped if excess <= FEASIBLE_EXCESS else None

    def _nudge_reals(self, point: FloatArray, kinds: Sequence[Parameter]) -> FloatArray:
        """Correct reals, by steps of their grids, until rows broken by rounding are met."""
        body = self.body
        over = body.frame.a @ point - body.b
        rows = [(body.frame.a[i], body.b[i], True) for i in np.flatnonzero(over > SUM_NOISE)]
        off = body.frame.a_eq @ point - body.b_eq
        rows += [(body.frame.a_eq[i], body.b_eq[i], False) for i in np.flatnonzero(np.abs(off) > SUM_NOISE)]
        for row, side, one_sided in rows:
            reach = np.abs(row) * body.frame.width
            for column in sorted(self._real_columns, key=lambda c: -reach[c]):
                parameter = kinds[column]
                if not row[column] or not isinstance(parameter, Real):
                    continue
                before = float(point[column])
                missing = float(row @ point - side) / float(row[column])
                point[column] = parameter.snap_to_grid(before - missing)
                if one_sided and float(row @ point - side) > SUM_NOISE:
                    step = math.copysign(parameter.grid_step(before), missing)
                    point[column] = parameter.snap_to_grid(before - missing - step)
                if abs(float(row @ point - side)) <= SUM_NOISE or (
                    one_sided and float(row @ point) <= side + SUM_NOISE
                ):
                    break
                point[column] = before
        return point
