"""The rules of mixtures in coordinates of the unit cube."""

from __future__ import annotations

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.protocols import LinearRule
from invdesign.spaces.mixture.system import System

WEIGHT_TOLERANCE = 1e-12  # weights below this share of the largest are zero (chosen)


def build_cube_rules(
    system: System, low: FloatArray, span: FloatArray, varied: BoolArray
) -> tuple[LinearRule, ...]:
    """Build the linear rules on the d fractions that vary.

    Rules that every point of the cube keeps are left out.

    Args:
        system: of n fractions.
        low: shape (n,), least fractions, in the units of the system.
        span: shape (n,), their ranges.
        varied: shape (n,), mask of the fractions that are columns of the cube.
    """
    rules = system.rules
    found: dict[LinearRule, None] = {}
    for row, least, most in zip(rules.matrix, rules.low.tolist(), rules.high.tolist(), strict=True):
        weights = np.where(varied, row * span, 0.0)[varied]
        weights[np.abs(weights) <= WEIGHT_TOLERANCE * np.abs(row * span).max(initial=0.0)] = 0.0
        base = float(row @ low)
        if most - least <= WEIGHT_TOLERANCE:
            found[_build_rule(weights, most - base, equal=True)] = None
            continue
        found[_build_rule(weights, most - base)] = None
        found[_build_rule(-weights, base - least)] = None
    return tuple(rule for rule in found if rule.weights and not _is_redundant(rule))


def _build_rule(weights: FloatArray, limit: float, *, equal: bool = False) -> LinearRule:
    """Build a rule from weights (d,) of the cube's columns."""
    pairs = tuple((column, weight) for column, weight in enumerate(weights.tolist()) if weight != 0.0)
    return LinearRule(pairs, limit, equal)


def _is_redundant(rule: LinearRule) -> bool:
    """True if all points of the cube keep a rule."""
    return not rule.equal and sum(max(weight, 0.0) for _, weight in rule.weights) <= rule.limit


def list_presence_choices(
    system: System, varied: BoolArray, span: FloatArray
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, float], ...]]:
    """List the columns whose presence is a choice, and their smallest coordinates.

    Args:
        system: of n fractions.
        varied: shape (n,), mask of the fractions that are columns of the cube.
        span: shape (n,), their ranges in the units of the system.

    Returns:
        (groups of columns, (column, smallest coordinate where present) of some).
    """
    places = np.cumsum(varied) - 1
    sparse, least = [], []
    for group in system.groups:
        members = group.members[varied[group.members] & (system.rules.lower[group.members] <= 0.0)]
        if not group.is_counted or not len(members):
            continue
        sparse.append(tuple(places[members].tolist()))
        if group.least > 0.0:
            shares = np.minimum(group.least / span[members], 1.0)
            least += list(zip(places[members].tolist(), shares.tolist(), strict=True))
    return tuple(sparse), tuple(least)
