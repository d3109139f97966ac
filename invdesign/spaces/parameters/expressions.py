"""Conditions on named values as a user writes them: `temperature * log(time) <= 40`.

The text of a file is never run as Python. It is parsed, and refused unless it consists of the few kinds of nodes listed
here, at a bounded length and depth. Its value is computed by walking those nodes, on plain floats and names, so that an
expression can neither reach anything else nor take long.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from invdesign.errors import nearest
from invdesign.spaces.linear import MAX_DEPTH, count_levels, double_equals_signs

Value = float | str

ROUNDING_TOLERANCE = 1e-12  # relative difference of both sides that counts as none (chosen)
MAX_CHARACTERS = 2000  # of an expression (chosen)
LARGEST_EXPONENT = 100.0  # of a power (chosen)
UNSIZED_VIOLATION = 1.0  # of a comparison without a size, such as of names (chosen)


def _raise_to_power(base: float, exponent: float) -> float:
    """Raise to a power, with a limited exponent and no complex results."""
    if abs(exponent) > LARGEST_EXPONENT:
        raise OverflowError(f"exponents go up to {LARGEST_EXPONENT:g}, got {exponent:g}")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"{base:g} ** {exponent:g} is no real number")  # noqa: TRY004 - an undefined value
    return float(result)


FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
    "tanh": math.tanh,
}
_SEVERAL = frozenset({"max", "min"})  # functions of two or more numbers; the others take one
_OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: _raise_to_power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_COMPARED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
ALLOWED_SYNTAX = (
    "numbers, parameters, + - * / **, comparisons (< <= > >= == != in), and, or, not, parentheses, and the "
    f"functions {', '.join(FUNCTIONS)}; the constant pi"
)


@dataclass(frozen=True)
class Expression:
    """A condition on named values.

    Attributes:
        text: as it was written.
    """

    text: str

    @cached_property
    def _tree(self) -> ast.expr:
        """The condition, parsed and checked.

        Raises:
            ValueError: it is not one, or holds something that is not allowed.
        """
        if len(self.text) > MAX_CHARACTERS:
            raise ValueError(f"an expression has at most {MAX_CHARACTERS} characters, got {len(self.text)}")
        try:
            tree = ast.parse(double_equals_signs(self.text).strip(), mode="eval").body
            _check_depth(tree)
            _check_condition(tree)
        except SyntaxError as error:
            place = f" near character {error.offset}" if error.offset else ""
            raise ValueError(f"'{self.text}' cannot be read{place}; allowed are {ALLOWED_SYNTAX}") from error
        except (RecursionError, MemoryError) as error:
            raise ValueError("the expression is nested too deeply; split it into several") from error
        except _NotAllowed as error:
            raise ValueError(f"'{self.text}': {error}; allowed are {ALLOWED_SYNTAX}") from error
        return _Floats().visit(tree)  # type: ignore[no-any-return]  # ast's own annotation

    @cached_property
    def names(self) -> frozenset[str]:
        """Every parameter of the expression; `pi` may be one or the constant."""
        calls = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        found = (
            node for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in calls
        )
        return frozenset(node.id for node in found)

    def check_meaning(self, names: Mapping[str, tuple[str, ...] | None]) -> None:
        """Refuse an expression that makes no sense for these parameters.

        Args:
            names: by parameter, its options where they are names, else None.

        Raises:
            ValueError: a name is unknown, no parameter is mentioned, or names are used as numbers.
        """
        mentioned = self.names - ({"pi"} - set(names))
        for name in sorted(mentioned):
            if name not in names:
                hint = nearest(name, names) or f"There are {', '.join(names)}."
                raise ValueError(f"'{self.text}' names '{name}', which is none of the parameters. {hint}")
        if not mentioned:
            raise ValueError(f"'{self.text}' mentions no parameter, so it says nothing about the space")
        try:
            _check_sorts(self._tree, names)
        except _NotAllowed as error:
            raise ValueError(f"'{self.text}': {error}") from error

    def measure_violation(self, values: Mapping[str, Value]) -> float:
        """Violation of the condition by `values`, 0 where they meet it.

        It is the difference of a comparison's sides as a share of their sizes; summed over `and`, the least of `or`.
        It is 1 where a comparison has no value (log of a negative number).
        """
        known = {name: value if isinstance(value, str) else float(value) for name, value in values.items()}
        return _measure_violation(self._tree, {"pi": math.pi, **known})


# Evaluation. The tree was checked, so that it holds no other kinds of nodes.


def _measure_violation(node: ast.expr, values: Mapping[str, Value]) -> float:
    """Violation of a checked condition; 0 where it holds."""
    if isinstance(node, ast.BoolOp):
        parts = [_measure_violation(part, values) for part in node.values]
        return sum(parts) if isinstance(node.op, ast.And) else min(parts)
    if isinstance(node, ast.UnaryOp):
        return UNSIZED_VIOLATION if _measure_violation(node.operand, values) == 0.0 else 0.0
    assert isinstance(node, ast.Compare)
    try:
        sides = [_evaluate_node(side, values) for side in (node.left, *node.comparators)]
    except (ArithmeticError, ValueError):
        return UNSIZED_VIOLATION
    return sum(
        _measure_comparison(op, left, right)
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
    )


def _evaluate_node(node: ast.expr, values: Mapping[str, Value]) -> Any:
    """Evaluate a node to its number, name or list."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](
            _evaluate_node(node.left, values), _evaluate_node(node.right, values)
        )
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_evaluate_node(node.operand, values))
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](*(_evaluate_node(argument, values) for argument in node.args))
    assert isinstance(node, ast.Tuple | ast.List)
    return tuple(_evaluate_node(item, values) for item in node.elts)


def _measure_comparison(op: ast.cmpop, left: Any, right: Any) -> float:
    """Violation of one comparison; 0 where it holds."""
    if isinstance(op, ast.In | ast.NotIn):
        return 0.0 if (left in right) == isinstance(op, ast.In) else UNSIZED_VIOLATION
    if isinstance(left, str) or isinstance(right, str):
        return 0.0 if (left == right) == isinstance(op, ast.Eq) else UNSIZED_VIOLATION
    size = abs(left) + abs(right)
    gap = float(left - right)
    if not math.isfinite(size):
        return UNSIZED_VIOLATION
    if isinstance(op, ast.Eq | ast.NotEq):
        equal = abs(gap) <= ROUNDING_TOLERANCE * size
        return (
            (0.0 if equal else abs(gap) / size)
            if isinstance(op, ast.Eq)
            else (UNSIZED_VIOLATION if equal else 0.0)
        )
    if isinstance(op, ast.Gt | ast.GtE):
        gap = -gap
    if isinstance(op, ast.Lt | ast.Gt):
        return 0.0 if gap < 0.0 else max(gap / size if size else 0.0, ROUNDING_TOLERANCE)
    return 0.0 if gap <= ROUNDING_TOLERANCE * size else gap / size


class _NotAllowed(Exception):  # noqa: N818 - becomes a ValueError with the whole expression
    """An expression holds something that is not allowed."""


class _Floats(ast.NodeTransformer):
    """Turns whole numbers into floats, whose powers cannot grow without limit."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, int | float):
            return ast.copy_location(ast.Constant(float(node.value)), node)
        return node


def _check_depth(node: ast.expr) -> None:
    """Refuse a node that nests half as deep as recursion goes.

    The other half is left to the callers of its evaluation.
    """
    if count_levels(node) > MAX_DEPTH:
        raise RecursionError


def _check_condition(node: ast.expr) -> None:
    """Refuse a node that is no condition.

    A condition is a comparison, or several joined by and, or, not.
    """
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_condition(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand)
    elif isinstance(node, ast.Compare):
        for op in node.ops:
            if not isinstance(op, _COMPARED):
                raise _NotAllowed(f"'{type(op).__name__}' is no comparison of values")
        _check_term(node.left)
        for op, side in zip(node.ops, node.comparators, strict=True):
            listed = isinstance(op, ast.In | ast.NotIn)
            if listed != isinstance(side, ast.Tuple | ast.List):
                raise _NotAllowed(
                    "'in' needs a list on its right, such as in ['EC', 'DMC'], and nothing else does"
                )
            _check_list(side) if isinstance(side, ast.Tuple | ast.List) else _check_term(side)
    else:
        raise _NotAllowed("a constraint compares, as in 'x * y <= 3'; this is a value without a comparison")


def _check_list(node: ast.Tuple | ast.List) -> None:
    """Refuse a list unless it holds plain names or numbers."""
    for item in node.elts:
        if not isinstance(item, ast.Constant):
            raise _NotAllowed("a list holds plain names or numbers")
        _check_term(item)


def _check_term(node: ast.expr) -> None:
    """Refuse a node that is no number or name made of allowed parts."""
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, int | float | str) and not isinstance(node.value, bool)
        if not plain or (not isinstance(node.value, str) and not _is_finite(node.value)):
            raise _NotAllowed(f"{node.value!r} is no finite number or name")
    elif isinstance(node, ast.BinOp | ast.UnaryOp):
        if type(node.op) not in _OPERATORS:
            hint = "; write ** for a power" if isinstance(node.op, ast.BitXor) else ""
            raise _NotAllowed(f"the operator {type(node.op).__name__} is not allowed{hint}")
        for part in (node.left, node.right) if isinstance(node, ast.BinOp) else (node.operand,):
            _check_term(part)
    elif isinstance(node, ast.Call):
        _check_call(node)
    elif not isinstance(node, ast.Name):
        raise _NotAllowed(f"{ast.unparse(node)} ({type(node).__name__}) is not allowed")


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _check_call(node: ast.Call) -> None:
    """Refuse a call unless it is one of `FUNCTIONS` with the right number of arguments."""
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        called = ast.unparse(node.func)
        raise _NotAllowed(
            f"there is no function '{called}'. {nearest(called, FUNCTIONS)}".strip().rstrip(".")
        )
    several = node.func.id in _SEVERAL
    if node.keywords or (len(node.args) < 2 if several else len(node.args) != 1):
        count = "two or more numbers" if several else "one number"
        raise _NotAllowed(f"{node.func.id} takes {count}")
    for argument in node.args:
        _check_term(argument)


def _check_sorts(node: ast.expr, names: Mapping[str, tuple[str, ...] | None]) -> None:
    """Refuse comparisons of names with numbers."""
    if isinstance(node, ast.BoolOp | ast.UnaryOp):
        for part in node.values if isinstance(node, ast.BoolOp) else [node.operand]:
            _check_sorts(part, names)
        return
    assert isinstance(node, ast.Compare)  # the syntax was checked
    sides = [node.left, *node.comparators]
    for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
        one = _is_name(left, names)
        others = right.elts if isinstance(right, ast.Tuple | ast.List) else [right]
        if any(_is_name(other, names) != one for other in others):
            raise _NotAllowed(f"{ast.unparse(left)} and {ast.unparse(right)} are a name and a number")
        if one and isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            raise _NotAllowed(f"{ast.unparse(left)} has names for values, which only ==, != and in compare")
        if one:
            _check_options(left, others, names)


def _check_options(
    left: ast.expr, others: list[ast.expr], names: Mapping[str, tuple[str, ...] | None]
) -> None:
    """Refuse names that are no option of the compared parameter.

    Such a typing error would go unnoticed otherwise.
    """
    for parameter, constant in [*((left, other) for other in others), *((other, left) for other in others)]:
        if isinstance(parameter, ast.Name) and isinstance(constant, ast.Constant):
            options = names[parameter.id] or ()
            if constant.value not in options:
                found = str(constant.value)
                hint = nearest(found, options) or f"It is one of {', '.join(options)}."
                raise _NotAllowed(f"'{parameter.id}' is never '{found}'. {hint}")


def _is_name(node: ast.expr, names: Mapping[str, tuple[str, ...] | None]) -> bool:
    """True if the value of a node is a name, not a number."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.Name):
        return names.get(node.id) is not None
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    elif isinstance(node, ast.Call):
        parts = list(node.args)
    for part in parts:
        if _is_name(part, names):
            raise _NotAllowed(f"{ast.unparse(part)} is a name, and {ast.unparse(node)} needs numbers")
    return False
