"""Linear constraints over named variables, as a campaign file states them, and their contradictions."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from invdesign.errors import nearest
from invdesign.settings import Frozen
from invdesign.spaces.polytope import FEASIBLE_EXCESS, Polytope, build_polytope

Bounds = Mapping[str, tuple[float, float]]
Terms = dict[str, float]

MAX_CHECKED_SETS = (
    300  # sets of constraints checked for the smallest contradiction, small ones first (chosen)
)
MAX_DEPTH = (
    250  # levels of an expression, for a sum of so many terms (chosen: half of Python's recursion limit)
)
SOLVER_SECONDS = 2.0  # time limit of one feasibility check with whole numbers (chosen)


class LinearConstraint(Frozen):
    """A weighted sum with limits: `{sum: {a: 1, b: 2}, max: 3}`, or in short `a + 2*b <= 3`."""

    sum: dict[str, float] = Field(min_length=1)
    """Weight by name."""
    min: float | None = None
    """Lowest sum allowed."""
    max: float | None = None
    """Highest sum allowed."""
    equal: float | None = None
    """Required sum, instead of `min` and `max`."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = parse_linear_fields(value)
        if found is None:
            raise ValueError(
                f"'{value}' is no linear constraint; write one such as 'a + 2*b <= 3' or 'a = 1 - b', "
                "or {sum: {a: 1, b: 2}, max: 3}, with names and numbers"
            )
        return found

    @field_validator("sum")
    @classmethod
    def _check_weights(cls, weights: Terms) -> Terms:
        for name, weight in weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of '{name}' must be finite, got {weight}")
        useless = [name for name, weight in weights.items() if weight == 0.0]
        if useless:
            raise ValueError(f"the weight of '{useless[0]}' is 0; leave it out")
        return weights

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        limits = [limit for limit in (self.min, self.max, self.equal) if limit is not None]
        if not limits:
            raise ValueError("a constraint needs a limit: give min, max or equal")
        if not all(map(math.isfinite, limits)):
            raise ValueError(f"limits must be finite, got {limits}")
        if self.equal is not None and len(limits) > 1:
            raise ValueError("give equal alone, or min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not exceed max, got {self.min:g} and {self.max:g}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    def __str__(self) -> str:
        weighted = format_sum(self.sum)
        if self.equal is not None:
            return f"{weighted} = {self.equal:g}"
        if self.min is not None and self.max is not None:
            return f"{self.min:g} <= {weighted} <= {self.max:g}"
        return f"{weighted} >= {self.min:g}" if self.min is not None else f"{weighted} <= {self.max:g}"

    def weighted_sum(self, values: Mapping[str, float]) -> float:
        """Weighted sum of `values` by name; a missing name is a KeyError."""
        return math.fsum(weight * values[name] for name, weight in self.sum.items())

    def measure_violation(self, values: Mapping[str, float]) -> float:
        """Distance of the sum of `values` from its limits, relative to the largest term.

        It is 0 within rounding (1e-9).
        """
        found = self.weighted_sum(values)
        limits = [limit for limit in (self.min, self.max, self.equal) if limit is not None]
        scale = max(
            *(abs(weight * values[name]) for name, weight in self.sum.items()), *map(abs, limits), 1e-300
        )
        low, high = (self.equal, self.equal) if self.equal is not None else (self.min, self.max)
        outside = max(low - found if low is not None else 0.0, found - high if high is not None else 0.0, 0.0)
        return outside / scale if outside > FEASIBLE_EXCESS * scale else 0.0

    @property
    def rows(self) -> list[tuple[Terms, float]]:
        """(weights, limit) of the inequalities, as weighted sum <= limit."""
        rows = [] if self.max is None else [(dict(self.sum), self.max)]
        if self.min is not None:
            rows.append(({name: -weight for name, weight in self.sum.items()}, -self.min))
        return rows

    @property
    def equalities(self) -> list[tuple[Terms, float]]:
        """(weights, value) of the equality, if the constraint is one."""
        return [] if self.equal is None else [(dict(self.sum), self.equal)]


def format_sum(weights: Mapping[str, float]) -> str:
    """Format `weights` by name as a sum: `a - 2*b`."""
    words = ""
    for name, weight in weights.items():
        sign = " - " if weight < 0 else " + "
        words += sign + (name if abs(weight) == 1.0 else f"{abs(weight):g}*{name}")
    return words[3:] if words.startswith(" + ") else "-" + words[3:]


def build_feasible_polytope(bounds: Bounds, constraints: Sequence[LinearConstraint]) -> Polytope:
    """Build the polytope of bounds and constraints, one column per name.

    Args:
        bounds: lowest and highest value by name, in the order of the columns.
        constraints: over these names alone.
    """
    rows = [row for constraint in constraints for row in constraint.rows]
    equal = [row for constraint in constraints for row in constraint.equalities]
    return build_polytope(list(bounds), list(bounds.values()), rows, equal)


def check_names(constraints: Sequence[LinearConstraint], names: Iterable[str], what: str) -> None:
    """Refuse constraints on names that do not exist.

    Args:
        constraints: any.
        names: all that exist.
        what: plural noun for the names in the message, such as `parameters`.

    Raises:
        ValueError: a name is unknown; the nearest one is suggested.
    """
    known = list(names)
    for constraint in constraints:
        for name in constraint.sum:
            if name not in known:
                hint = nearest(name, known) or f"There are {', '.join(known)}."
                raise ValueError(
                    f"the constraint {constraint} names '{name}', which is none of the {what}. {hint}"
                )


def check_consistent(
    bounds: Bounds, constraints: Sequence[LinearConstraint], integers: Sequence[str] = ()
) -> None:
    """Refuse constraints that cannot be met together.

    Args:
        bounds: lowest and highest value by name.
        constraints: over these names.
        integers: names that take whole numbers only.

    Raises:
        ValueError: the message holds the smallest contradicting set that was found.
    """
    found = find_contradiction(bounds, constraints, integers)
    if found:
        whole = " with whole numbers" if integers and not find_contradiction(bounds, constraints) else ""
        listed = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
        together, remedy = (" together", "one of them") if len(found) > 1 else ("", "it")
        raise ValueError(f"no values meet {listed}{together}{whole}; loosen {remedy}")


@dataclass(frozen=True, slots=True)
class _Statement:
    """One side of a constraint or of a bound.

    It reads low <= weighted sum <= high, one of which may be infinite.
    """

    words: str
    weights: Terms
    low: float
    high: float
    bound: bool


def _list_statements(bounds: Bounds, constraints: Sequence[LinearConstraint]) -> list[_Statement]:
    """List the sides of constraints, then those of bounds."""
    found = []
    for constraint in constraints:
        words = format_sum(constraint.sum)
        for limit, sign, low, high in (
            (constraint.equal, "=", constraint.equal, constraint.equal),
            (constraint.min, ">=", constraint.min, math.inf),
            (constraint.max, "<=", -math.inf, constraint.max),
        ):
            if limit is not None and low is not None and high is not None:
                found.append(_Statement(f"{words} {sign} {limit:g}", constraint.sum, low, high, bound=False))
    for name, (low, high) in bounds.items():
        found.append(_Statement(f"{name} >= {low:g}", {name: 1.0}, low, math.inf, bound=True))
        found.append(_Statement(f"{name} <= {high:g}", {name: 1.0}, -math.inf, high, bound=True))
    return found


def find_contradiction(
    bounds: Bounds, constraints: Sequence[LinearConstraint], integers: Sequence[str] = ()
) -> tuple[str, ...]:
    """Find a small set of constraints and bounds that cannot be met together.

    First the fewest constraints that contradict within the bounds are sought. A deletion filter, in several orders, then
    leaves out the statements that are not needed, bounds included. No statement of the answer can be left out; a smaller
    set elsewhere is not excluded.

    Args:
        bounds: lowest and highest value by name.
        constraints: over these names.
        integers: names that take whole numbers only.

    Returns:
        Statements such as `a + b >= 3` and `a <= 1`, in the user's words; empty where all can be met.

    Source:
        Chinneck & Dravnieks, ORSA J. Comput. 3, 157 (1991): the deletion filter.
    """
    question = _FeasibilityCheck(bounds, frozenset(integers))
    statements = _list_statements(bounds, constraints)
    if question.can_be_met(statements):
        return ()
    limits = [statement for statement in statements if statement.bound]
    core = _find_fewest([statement for statement in statements if not statement.bound], limits, question)
    # Bounds stay where integrality is the reason: the search for a whole number without bounds may not end.
    relaxed = _FeasibilityCheck(bounds, frozenset())
    if relaxed.can_be_met([*core, *limits]):
        return tuple(statement.words for statement in _deletion_filter(core, limits, question))
    orders = ([*limits, *core], [*core, *limits], [*limits[::-1], *core[::-1]])
    found = [_deletion_filter(order, [], relaxed) for order in orders]
    smallest = min(found, key=len)
    return tuple(s.words for s in sorted(smallest, key=lambda s: (s.bound, statements.index(s))))


def _find_fewest(
    candidates: Sequence[_Statement], limits: Sequence[_Statement], question: _FeasibilityCheck
) -> list[_Statement]:
    """Find the fewest candidates that contradict within the limits.

    Where that takes too long, a deletion filter's set is returned.
    """
    looked = 0
    for count in range(1, len(candidates)):
        for chosen in combinations(candidates, count):
            looked += 1
            if looked > MAX_CHECKED_SETS:
                return _deletion_filter(candidates, limits, question)
            if not question.can_be_met([*chosen, *limits]):
                return list(chosen)
    return list(candidates)


def _deletion_filter(
    statements: Sequence[_Statement], always: Sequence[_Statement], question: _FeasibilityCheck
) -> list[_Statement]:
    """Drop every statement without which the rest is still infeasible."""
    kept = list(statements)
    for statement in statements:
        others = [other for other in kept if other is not statement]
        if not question.can_be_met([*others, *always]):
            kept = others
    return kept


@dataclass(frozen=True, slots=True)
class _FeasibilityCheck:
    """Feasibility of sets of statements."""

    bounds: Bounds
    integers: frozenset[str]

    def can_be_met(self, statements: Sequence[_Statement]) -> bool:
        """Check whether `statements` can hold together.

        A linear program minimises the largest violation, each as a share of its range.
        """
        from scipy.optimize import linprog

        if not statements:
            return True
        names = list(self.bounds)
        widths = np.asarray([self._variable_width(name) for name in names])
        shifts = np.asarray([0.0 if name in self.integers else self.bounds[name][0] for name in names])
        rows, sides = [], []
        for statement in statements:
            weights = np.asarray([statement.weights.get(name, 0.0) for name in names])
            ranges = [max(high - low, 1e-300) for low, high in self.bounds.values()]
            # The scale is 0 where all variables of the statement have a single value.
            scale = float(np.linalg.norm(weights * ranges)) or 1.0
            for sign, limit in ((1.0, statement.high), (-1.0, -statement.low)):
                if math.isfinite(limit):
                    rows.append(np.append(sign * weights * widths / scale, -1.0))
                    sides.append((limit - sign * float(weights @ shifts)) / scale)
        result = linprog(
            np.append(np.zeros(len(names)), 1.0),
            A_ub=np.asarray(rows),
            b_ub=np.asarray(sides),
            bounds=[*([(None, None)] * len(names)), (0.0, None)],
            integrality=[*(int(name in self.integers) for name in names), 0] if self.integers else None,
            options=self._solver_options(),
        )
        return result.status != 0 or float(result.fun) <= FEASIBLE_EXCESS

    def _variable_width(self, name: str) -> float:
        """Width of a variable's range; 1 for integers and single values, which are not scaled."""
        low, high = self.bounds[name]
        return 1.0 if name in self.integers or high <= low else high - low

    def _solver_options(self) -> dict[str, float]:
        return {"time_limit": SOLVER_SECONDS} if self.integers else {"primal_feasibility_tolerance": 1e-10}


# The short form: a linear comparison in the syntax of Python.

_SIGNS = {ast.LtE: "max", ast.Lt: "max", ast.GtE: "min", ast.Gt: "min", ast.Eq: "equal"}


def parse_linear_fields(text: str) -> dict[str, object] | None:
    """Parse a linear comparison into `sum` and limits: `a + 2*b <= 3`.

    `<` and `<=` are the same, as are `=` and `==`; names are words of letters, digits and underscores.

    Args:
        text: as the user wrote it.

    Returns:
        Fields of a `LinearConstraint`; None where the text is no comparison, or not a linear one.
    """
    try:
        tree = ast.parse(double_equals_signs(text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree, ast.Compare) or count_levels(tree) > MAX_DEPTH:
        return None
    parts = [parse_linear_terms(node) for node in (tree.left, *tree.comparators)]
    signs = [_SIGNS.get(type(op)) for op in tree.ops]
    if any(part is None for part in parts) or None in signs:
        return None
    sides = [part for part in parts if part is not None]
    if len(signs) == 1:
        return _build_one_sided(sides[0], sides[1], str(signs[0]))
    if len(signs) == 2 and signs[0] == signs[1] != "equal" and not sides[0][0] and not sides[2][0]:
        (_, low), (weights, constant), (_, high) = sides if signs[0] == "max" else sides[::-1]
        return {"sum": weights, "min": low - constant, "max": high - constant} if weights else None
    return None


def count_levels(tree: ast.AST) -> int:
    """Count the levels of a syntax `tree`.

    There is no recursion, which deep trees would exhaust.
    """
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def double_equals_signs(text: str) -> str:
    """Double the single equals signs of `text`.

    Users write `a + b = 1`.
    """
    padded = f" {text} "
    return "".join(
        "==" if here == "=" and before not in "=<>!" and after != "=" else here
        for before, here, after in zip(padded, padded[1:], padded[2:], strict=False)
    )


def _build_one_sided(
    left: tuple[Terms, float], right: tuple[Terms, float], sign: str
) -> dict[str, object] | None:
    """Build the fields of a comparison of two linear sides; None where no variable is left."""
    weights = _add_terms(left[0], right[0], -1.0)
    if not weights:
        return None
    if all(weight < 0 for weight in weights.values()) and sign != "equal":
        weights = {name: -weight for name, weight in weights.items()}
        return {"sum": weights, {"max": "min", "min": "max"}[sign]: left[1] - right[1]}
    return {"sum": weights, sign: right[1] - left[1]}


def _add_terms(first: Terms, second: Terms, factor: float) -> Terms:
    """Add `factor` times the second terms to the first; zero weights are dropped."""
    total = dict(first)
    for name, weight in second.items():
        total[name] = total.get(name, 0.0) + factor * weight
    return {name: weight for name, weight in total.items() if weight}


def parse_linear_terms(node: ast.expr) -> tuple[Terms, float] | None:
    """Parse an expression `node` into (weight by name, constant).

    Returns None unless it is linear.
    """
    if isinstance(node, ast.Name):
        return {node.id: 1.0}, 0.0
    if isinstance(node, ast.Constant):
        number = node.value
        plain = isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e300
        return ({}, float(number)) if plain and isinstance(number, int | float) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = parse_linear_terms(node.operand)
        return inner if inner is None or isinstance(node.op, ast.UAdd) else _scale_terms(inner, -1.0)
    if not isinstance(node, ast.BinOp):
        return None
    left, right = parse_linear_terms(node.left), parse_linear_terms(node.right)
    return None if left is None or right is None else _apply_operator(node.op, left, right)


def _apply_operator(
    op: ast.operator, left: tuple[Terms, float], right: tuple[Terms, float]
) -> tuple[Terms, float] | None:
    """Apply an arithmetic operator to two linear sides; None where the result is not linear."""
    if isinstance(op, ast.Add | ast.Sub):
        factor = 1.0 if isinstance(op, ast.Add) else -1.0
        return _add_terms(left[0], right[0], factor), left[1] + factor * right[1]
    if isinstance(op, ast.Mult) and not (left[0] and right[0]):
        return _scale_terms(left, right[1]) if left[0] else _scale_terms(right, left[1])
    if isinstance(op, ast.Div) and not right[0] and right[1]:
        return _scale_terms(left, 1.0 / right[1])
    return None


def _scale_terms(terms: tuple[Terms, float], factor: float) -> tuple[Terms, float]:
    """Multiply terms and constant by `factor`; zero weights are dropped."""
    return {name: weight * factor for name, weight in terms[0].items() if weight * factor}, terms[1] * factor
