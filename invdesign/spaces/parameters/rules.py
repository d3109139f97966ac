"""Constraints between parameters: whether values meet them, and values nearby that do."""

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
    check_consistent,
    check_names,
    linear_fields,
    polytope_of,
)
from invdesign.spaces.parameters.choices import Ordinal
from invdesign.spaces.parameters.conditions import Tree
from invdesign.spaces.parameters.expressions import Expression
from invdesign.spaces.parameters.kinds import Integer, Parameter, Real, Value
from invdesign.spaces.polytope import FEASIBLE, Polytope

NOISE = 1e-15  # of a row's range: what adding up in doubles may cost
MOST_BRANCHES = 40  # looked at for whole numbers that let the others be repaired
MOST_NODES = 2000  # of the integer program that is asked where they did not suffice


@dataclass(frozen=True, eq=False)
class Rules:
    """The constraints of a parameter space.

    A constraint applies where all parameters it mentions exist.

    Attributes:
        parameters: all of the space, by name.
        tree: which of them exist.
        linear: constraints over parameters with numbers, met exactly.
        expressions: all others, met by search.
    """

    parameters: Mapping[str, Parameter]
    tree: Tree
    linear: tuple[LinearConstraint, ...]
    expressions: tuple[Expression, ...]

    def check(self) -> None:
        """Refuse linear constraints that contradict each other wherever one of them applies.

        Raises:
            ValueError: with the smallest contradicting set.
        """
        needs = [self._needs(constraint) for constraint in self.linear]
        for wanted in dict.fromkeys([frozenset[str](), *needs]):
            chosen = [c for c, need in zip(self.linear, needs, strict=True) if need <= wanted]
            names = {name: None for constraint in chosen for name in constraint.sum}
            present = {*wanted, *(name for other in wanted for name in self.tree.ancestors[other])}
            bounds = {name: self.tree.limits(present, name, self._bounds(name)) for name in names}
            if all(low <= high for low, high in bounds.values()):  # else they never exist together
                check_consistent(bounds, chosen, [name for name in names if self._whole(name)])

    def _needs(self, constraint: LinearConstraint) -> frozenset[str]:
        return frozenset(name for name in constraint.sum if name in self.tree.conditional)

    def _whole(self, name: str) -> bool:
        return isinstance(self.parameters[name], Integer)

    def _bounds(self, name: str) -> tuple[float, float]:
        parameter = self.parameters[name]
        if isinstance(parameter, Ordinal):
            levels = sorted(float(level) for level in parameter.ordinal)
            return levels[0], levels[-1]
        assert isinstance(parameter, Real | Integer)  # `sorted_out` sees to it
        low, high = parameter.real if isinstance(parameter, Real) else parameter.integer
        return float(low), float(high)

    def broken(self, values: Mapping[str, Value]) -> str:
        """The first constraint that values break, in words; empty where they meet all."""
        system = self.system(values)
        if system is not None and not system.met(values):
            numbers = {name: float(values[name]) for name in system.parameters}
            worst = max(self.applicable(values), key=lambda c: c.violation(numbers))
            return f"{worst} (the sum is {worst.value(numbers):.12g})"
        for expression in self.expressions:
            if expression.names <= values.keys() | {"pi"} and expression.violation(values):
                held = ", ".join(
                    f"{name} = {values[name]}" for name in sorted(expression.names & values.keys())
                )
                return f"{expression.text} (with {held})"
        return ""

    def applicable(self, values: Mapping[str, Value]) -> Sequence[LinearConstraint]:
        """Linear constraints whose parameters all exist."""
        if not self.tree.conditional:
            return self.linear
        return [constraint for constraint in self.linear if constraint.sum.keys() <= values.keys()]

    def missed(self, values: Mapping[str, Value]) -> list[float]:
        """How far values are from meeting each expression; 0 where it is met or does not apply."""
        known = values.keys() | {"pi"}
        return [e.violation(values) if e.names <= known else 0.0 for e in self.expressions]

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether values meet all expressions that apply."""
        known = values.keys() | {"pi"}
        return all(e.violation(values) == 0.0 for e in self.expressions if e.names <= known)

    def system(self, values: Mapping[str, Value]) -> System | None:
        """The linear constraints that apply, with bounds within which what exists goes on existing."""
        if not self.tree.conditional:
            return self._only
        chosen = tuple(n for n, c in enumerate(self.linear) if c.sum.keys() <= values.keys())
        if not chosen:
            return None
        names = self._mentioned(chosen)
        limits = [
            self.tree.limits(values, name, self._bounds(name), float(values[name]))
            if name in self._asked
            else self._bounds(name)
            for name in names
        ]
        key = (chosen, tuple(limits))
        if key not in self._systems:
            self._systems[key] = self._made(chosen, dict(zip(names, limits, strict=True)))
        return self._systems[key]

    @cached_property
    def _asked(self) -> frozenset[str]:
        """Names that a condition is about."""
        return frozenset(name for parameter in self.parameters.values() for name in parameter.when)

    @cached_property
    def _only(self) -> System | None:
        """The system where everything exists always."""
        chosen = tuple(range(len(self.linear)))
        names = self._mentioned(chosen)
        return self._made(chosen, {name: self._bounds(name) for name in names}) if chosen else None

    def _mentioned(self, chosen: tuple[int, ...]) -> tuple[str, ...]:
        if chosen not in self._names_of:
            mentioned = {name for number in chosen for name in self.linear[number].sum}
            self._names_of[chosen] = tuple(name for name in self.parameters if name in mentioned)
        return self._names_of[chosen]

    @cached_property
    def _names_of(self) -> dict[tuple[int, ...], tuple[str, ...]]:
        return {}

    def _made(self, chosen: tuple[int, ...], bounds: dict[str, tuple[float, float]]) -> System:
        kinds = {name: self.parameters[name] for name in bounds}
        return System(kinds, polytope_of(bounds, [self.linear[number] for number in chosen]))

    @cached_property
    def _systems(self) -> dict[object, System]:
        return {}


def sorted_out(
    constraints: Sequence[LinearConstraint | str], parameters: Mapping[str, Parameter]
) -> tuple[tuple[LinearConstraint, ...], tuple[Expression, ...]]:
    """What can be met exactly, and what must be searched for.

    Linear constraints over parameters with numbers are the former, however they are written.

    Raises:
        ValueError: constraints name what does not exist, or use names as numbers; all of them are told.
    """
    linear: list[LinearConstraint] = []
    expressions: list[Expression] = []
    complaints: list[str] = []
    options = {name: _names_of(parameter) for name, parameter in parameters.items()}
    for constraint in constraints:
        try:
            weighted = _weighted(constraint, parameters)
            if weighted is not None:
                _check_sum(weighted, parameters)
                linear.append(weighted)
                continue
            expression = Expression(str(constraint))
            expression.check(options)
            expressions.append(expression)
        except ValueError as error:
            complaints.append(str(error))
    if complaints:
        raise ValueError(join_complaints(complaints))
    return tuple(linear), tuple(expressions)


def _weighted(
    constraint: LinearConstraint | str, parameters: Mapping[str, Parameter]
) -> LinearConstraint | None:
    """The constraint as a sum of numbers, where it is one that is not strict."""
    if isinstance(constraint, LinearConstraint):
        return constraint
    fields = linear_fields(constraint)
    if fields is None or any(s in constraint.replace("<=", "").replace(">=", "") for s in "<>"):
        return None
    weighted = LinearConstraint.model_validate(fields)
    return weighted if _adds_up(weighted, parameters) else None


def _adds_up(constraint: LinearConstraint, parameters: Mapping[str, Parameter]) -> bool:
    return all(name in parameters and _names_of(parameters[name]) is None for name in constraint.sum)


def _check_sum(constraint: LinearConstraint, parameters: Mapping[str, Parameter]) -> None:
    check_names([constraint], parameters, "parameters")
    for name in constraint.sum:
        if _names_of(parameters[name]) is not None:
            raise ValueError(f"the constraint {constraint} adds up '{name}', which has names for values")


def _typed(parameter: Parameter, number: float) -> Value:
    """A number as the parameter writes it: whole, or one of its levels."""
    if isinstance(parameter, Ordinal):
        return min(
            (level for level in parameter.ordinal if not isinstance(level, str)),
            key=lambda x: abs(x - number),
        )
    return round(number) if isinstance(parameter, Integer) else number


def _names_of(parameter: Parameter) -> tuple[str, ...] | None:
    """Options that are names; None for numbers."""
    choices = parameter.dimension("").choices
    return choices if choices and isinstance(parameter.decode(0.0), str) else None


@dataclass(frozen=True, eq=False)
class System:
    """Linear constraints on some parameters, and values that meet them.

    Attributes:
        parameters: those the constraints mention, by name.
        body: what the constraints leave, integers and levels taken as reals.
    """

    parameters: Mapping[str, Parameter]
    body: Polytope

    @cached_property
    def _whole(self) -> tuple[int, ...]:
        """Columns of the integers."""
        return tuple(i for i, p in enumerate(self.parameters.values()) if isinstance(p, Integer))

    @cached_property
    def _real(self) -> tuple[int, ...]:
        return tuple(i for i, p in enumerate(self.parameters.values()) if isinstance(p, Real))

    @cached_property
    def _levels(self) -> dict[int, FloatArray]:
        """Levels of the ordinals, by column."""
        kinds = enumerate(self.parameters.values())
        return {i: np.array(p.ordinal, dtype=np.float64) for i, p in kinds if isinstance(p, Ordinal)}

    @cached_property
    def equal(self) -> bool:
        """Whether it holds an equality, which random values never meet."""
        return len(self.body.b_eq) > 0

    def met(self, values: Mapping[str, Value]) -> bool:
        """Whether values keep all constraints, to within rounding."""
        return self.body.contains(self._point(values))

    def _point(self, values: Mapping[str, Value]) -> FloatArray:
        return np.array([values[name] for name in self.parameters], dtype=np.float64)

    def repaired(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """`values` with those of the constraints moved as little as needed; None where nothing is found."""
        return self._settled(self._point(values))

    def drawn(self, rng: Rng) -> dict[str, Value] | None:
        """Random values of the constraints' parameters; None where whole numbers are not found."""
        return None if self.body.empty else self._settled(self.body.drawn(rng))

    def _settled(self, point: FloatArray) -> dict[str, Value] | None:
        found = self._mixed(point)
        snapped = None if found is None else self._snapped(found)
        if snapped is None:
            return None
        pairs = zip(self.parameters.items(), snapped.tolist(), strict=True)
        return {name: _typed(parameter, number) for (name, parameter), number in pairs}

    def _mixed(self, point: FloatArray) -> FloatArray | None:
        """The nearest point (n,), or one near it, with whole integers and listed levels; None where none is found."""
        if not self._levels:
            return self.without_levels(point)
        columns = list(self._levels)
        rest = [column for column in range(len(point)) if column not in self._levels]
        for chosen in self._choices(point):
            found = self._part(chosen).without_levels(point[rest])
            if found is not None:
                whole = np.empty_like(point)
                whole[columns], whole[rest] = chosen, found
                return whole
        return None

    def _part(self, chosen: tuple[float, ...]) -> System:
        """The system of the other parameters, with these levels."""
        if chosen not in self._parts:
            others = {name: p for name, p in self.parameters.items() if not isinstance(p, Ordinal)}
            body = self.body.fixed(dict(zip(self._levels, chosen, strict=True)))
            self._parts[chosen] = System(others, body)
        return self._parts[chosen]

    @cached_property
    def _parts(self) -> dict[tuple[float, ...], System]:
        return {}

    @cached_property
    def _possible(self) -> bool:
        """Whether any whole numbers meet the constraints."""
        return bool(self._solved(np.zeros(2 * len(self.parameters)), self.body.frame.lower).status != 2)

    def _choices(self, point: FloatArray) -> list[tuple[float, ...]]:
        """Levels to try, nearest to the point first, of each ordinal and so of all together."""
        width = self.body.frame.width
        near = [
            [(abs(level - point[i]) / width[i], level) for level in levels.tolist()]
            for i, levels in self._levels.items()
        ]
        several = max(2, int(MOST_BRANCHES ** (1.0 / len(near))))
        together = product(*(sorted(options)[:several] for options in near))
        ranked = sorted(
            (sum(away for away, _ in options), tuple(x for _, x in options)) for options in together
        )
        return [chosen for _, chosen in ranked[:MOST_BRANCHES]]

    def without_levels(self, point: FloatArray) -> FloatArray | None:
        """The same without ordinals."""
        relaxed = self.body.repaired(point)
        if relaxed is None or not self._whole:
            return relaxed
        budget = [MOST_BRANCHES]
        found = self._fixed(point, np.rint(relaxed[list(self._whole)]))
        if found is None and len(self._whole) > 1 and self._possible:
            found = self._branched(point, {}, budget)
        return self._programmed(point) if found is None else found

    def _fixed(self, point: FloatArray, whole: FloatArray) -> FloatArray | None:
        """The nearest point with these integers; None where there is none."""
        part = self.body.fixed(dict(zip(self._whole, whole.tolist(), strict=True)))
        real = part.repaired(point[list(self._real)])
        if real is None:
            return None
        found = np.empty_like(point)
        found[list(self._whole)], found[list(self._real)] = whole, real
        return found

    def _branched(self, point: FloatArray, held: dict[int, float], budget: list[int]) -> FloatArray | None:
        """Whole numbers one after the other, each the nearer of its neighbours that leaves room for the rest."""
        budget[0] -= 1
        if budget[0] < 0:
            return None
        free = [column for column in range(len(point)) if column not in held]
        relaxed = self.body.fixed(held).repaired(point[free])
        if relaxed is None:
            return None
        open_columns = [i for i, column in enumerate(free) if column in self._whole]
        if not open_columns:
            found = np.empty_like(point)
            found[free], found[list(held)] = relaxed, list(held.values())
            return found
        at = min(open_columns, key=lambda i: abs(float(relaxed[i]) - round(float(relaxed[i]))))
        value = float(relaxed[at])
        near, far = sorted((math.floor(value), math.ceil(value)), key=lambda whole: abs(whole - value))
        for whole in dict.fromkeys((near, far)):
            found_below = self._branched(point, {**held, free[at]: float(whole)}, budget)
            if found_below is not None:
                return found_below
        return None

    def _programmed(self, point: FloatArray) -> FloatArray | None:
        """The nearest point by sum of distances, by an integer program; a last resort of some milliseconds."""
        if not self._possible:
            return None
        n = len(point)
        found = self._solved(np.concatenate([np.zeros(n), 1.0 / self.body.frame.width]), point).x
        return None if found is None else self._fixed(point, np.rint(np.asarray(found)[list(self._whole)]))

    def _solved(self, cost: FloatArray, point: FloatArray) -> Any:
        """SciPy's answer to the integer program over x and its distances from a point, (2n,) together."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        body, n = self.body, len(point)
        frame, eye = body.frame, np.eye(len(point))
        return milp(
            cost,
            integrality=np.isin(np.arange(2 * n), self._whole).astype(int),
            bounds=Bounds(
                np.concatenate([frame.lower, np.zeros(n)]), np.concatenate([frame.upper, np.full(n, np.inf)])
            ),
            constraints=[
                LinearConstraint(np.hstack([frame.a, 0.0 * frame.a]), -np.inf, body.b),
                LinearConstraint(np.hstack([frame.a_eq, 0.0 * frame.a_eq]), body.b_eq, body.b_eq),
                LinearConstraint(np.hstack([eye, -eye]), -np.inf, point),
                LinearConstraint(np.hstack([-eye, -eye]), -np.inf, -point),
            ],
            options={"node_limit": MOST_NODES},
        )

    def _snapped(self, point: FloatArray) -> FloatArray | None:
        """Reals on their grids, moved by a step or two of it where rounding left a constraint."""
        snapped = point.copy()
        kinds = list(self.parameters.values())
        for column in self._real:
            parameter = kinds[column]
            assert isinstance(parameter, Real)  # what is no integer
            snapped[column] = parameter.snapped(float(point[column]))
        excess = self.body.excess(snapped)
        if excess > NOISE:
            nudged = self._nudged(snapped.copy(), kinds)
            after = self.body.excess(nudged)
            snapped, excess = (nudged, after) if after < excess else (snapped, excess)
        return snapped if excess <= FEASIBLE else None

    def _nudged(self, point: FloatArray, kinds: Sequence[Parameter]) -> FloatArray:
        body = self.body
        over = body.frame.a @ point - body.b
        rows = [(body.frame.a[i], body.b[i], True) for i in np.flatnonzero(over > NOISE)]
        off = body.frame.a_eq @ point - body.b_eq
        rows += [(body.frame.a_eq[i], body.b_eq[i], False) for i in np.flatnonzero(np.abs(off) > NOISE)]
        for row, side, one_sided in rows:
            reach = np.abs(row) * body.frame.width
            for column in sorted(self._real, key=lambda c: -reach[c]):
                parameter = kinds[column]
                if not row[column] or not isinstance(parameter, Real):
                    continue
                before = float(point[column])
                missing = float(row @ point - side) / float(row[column])
                point[column] = parameter.snapped(before - missing)
                if one_sided and float(row @ point - side) > NOISE:
                    step = math.copysign(parameter.step(before), missing)
                    point[column] = parameter.snapped(before - missing - step)
                if abs(float(row @ point - side)) <= NOISE or (
                    one_sided and float(row @ point) <= side + NOISE
                ):
                    break
                point[column] = before
        return point
