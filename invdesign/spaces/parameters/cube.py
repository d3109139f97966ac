"""Linear constraints between parameters in coordinates of the unit cube."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from invdesign.protocols import LinearRule
from invdesign.spaces.linear import LinearConstraint
from invdesign.spaces.parameters.kinds import Integer, Parameter, Real


def build_cube_rules(
    constraints: Sequence[LinearConstraint], parameters: Mapping[str, Parameter], columns: Mapping[str, int]
) -> tuple[LinearRule, ...]:
    """Build the constraints that are linear in the cube, too.

    These are the constraints on reals and integers that vary by differences, not by factors.

    Args:
        constraints: over parameters with numbers.
        parameters: by name, those that always exist.
        columns: column of the cube by name.
    """
    lines = {
        name: line
        for name, parameter in parameters.items()
        if (line := _find_straight_line(parameter)) is not None
    }
    found = []
    for constraint in constraints:
        if not constraint.sum.keys() <= lines.keys():
            continue
        for weights, limit in constraint.rows:
            found.append(_build_rule(weights, limit, lines, columns, equal=False))
        for weights, limit in constraint.equalities:
            found.append(_build_rule(weights, limit, lines, columns, equal=True))
    return tuple(found)


def _find_straight_line(parameter: Parameter) -> tuple[float, float] | None:
    """(value at 0, slope) of a parameter that is linear in its coordinate.

    Returns None for others.
    """
    if isinstance(parameter, Real) and not parameter.log:
        return parameter.real[0], parameter.real[1] - parameter.real[0]
    if isinstance(parameter, Integer) and not parameter.log:
        return parameter.integer[0] - 0.5, float(parameter.size)
    return None


def _build_rule(
    weights: Mapping[str, float],
    limit: float,
    lines: Mapping[str, tuple[float, float]],
    columns: Mapping[str, int],
    *,
    equal: bool,
) -> LinearRule:
    """Build one rule with a weight vector of length 1."""
    slopes = {name: weight * lines[name][1] for name, weight in weights.items()}
    length = math.sqrt(math.fsum(slope * slope for slope in slopes.values()))
    rest = limit - math.fsum(weight * lines[name][0] for name, weight in weights.items())
    pairs = sorted((columns[name], slope / length) for name, slope in slopes.items())
    return LinearRule(tuple(pairs), rest / length, equal)
