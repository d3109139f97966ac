"""Mixtures in steps: all of them where they can be listed, else the nearest to a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray, IntArray
from invdesign.spaces.mixture.polytope import Rules
from invdesign.spaces.mixture.system import GRID, System

MAX_LISTED = 100_000  # mixtures up to which all are listed (chosen)
MAX_PARTIAL = 400_000  # beginnings of mixtures kept while listing (chosen)


def list_steps(system: System, most: int = MAX_LISTED) -> IntArray | None:
    """List the steps (p, n) of every mixture of a discrete system.

    Column by column, beginnings that no continuation can make feasible are dropped.

    Args:
        system: every fraction has steps.
        most: largest number of mixtures.

    Returns:
        None where there are more, or too many beginnings.
    """
    rules = system.rules
    options = [_list_step_numbers(system, column) for column in range(len(system))]
    terms = [np.outer(values * step, row) for values, step, row in _pair_columns(options, system)]
    rest_low, rest_high = _bound_remainders(terms)
    found = np.zeros((1, 0), dtype=np.int64)
    sums = np.zeros((1, len(rules.matrix)))
    for column, (values, term) in enumerate(zip(options, terms, strict=True)):
        if len(found) * len(values) > MAX_PARTIAL * 8:
            return None
        sums = (sums[:, None, :] + term[None]).reshape(len(sums) * len(term), len(rules.matrix))
        found = np.column_stack([np.repeat(found, len(values), axis=0), np.tile(values, len(found))])
        kept = (sums + rest_high[column] >= rules.low - system.tolerance).all(axis=1)
        kept &= (sums + rest_low[column] <= rules.high + system.tolerance).all(axis=1)
        kept &= _can_meet_counts(found, system)
        found, sums = found[kept], sums[kept]
        if len(found) > MAX_PARTIAL:
            return None
    return found if len(found) <= most else None


def list_points(system: System, most: int = MAX_LISTED) -> FloatArray | None:
    """List every mixture (p, n) of a system in steps.

    Fractions without steps follow from the equations.

    Args:
        system: some or all fractions have steps.
        most: largest number of mixtures.

    Returns:
        None where there are more than `most`, or where a fraction without steps can vary.
    """
    if system.is_discrete:
        counts = list_steps(system, most)
        return None if counts is None else counts * system.steps
    found = _eliminate_unstepped(system)
    if found is None:
        return None
    smaller, base, map_ = found
    counts = list_steps(smaller, most)
    if counts is None:
        return None
    points: FloatArray = base + (counts * smaller.steps) @ map_.T
    return np.rint(points * GRID) / GRID


def _eliminate_unstepped(system: System) -> tuple[System, FloatArray, FloatArray] | None:
    """Reduce the system to its stepped fractions, where equations give the others.

    Returns:
        (system of k fractions, base (n,), map (n, k)): all fractions are base + map @ stepped ones. None where the
        equations leave a fraction without steps any room, or where the group of one counts its components.
    """
    rules, even = system.rules, system.steps > 0
    loose = np.flatnonzero(~even)
    if not even.any() or any(group.is_counted and (~even[group.members]).any() for group in system.groups):
        return None
    equal = rules.high - rules.low <= 1e-13
    own = rules.matrix[equal][:, loose]
    if np.linalg.matrix_rank(own, tol=1e-9) < len(loose):
        return None
    inverse = np.linalg.pinv(own)
    base, map_ = np.zeros(len(system)), np.zeros((len(system), int(even.sum())))
    base[loose] = inverse @ rules.low[equal]
    map_[loose] = -inverse @ rules.matrix[equal][:, even]
    map_[even] = np.eye(int(even.sum()))
    rows = np.vstack([rules.matrix @ map_, map_[loose]])
    low = np.concatenate([rules.low - rules.matrix @ base, rules.lower[loose] - base[loose]])
    high = np.concatenate([rules.high - rules.matrix @ base, rules.upper[loose] - base[loose]])
    places = np.cumsum(even) - 1
    groups = tuple(
        replace(group, members=places[group.members]) for group in system.groups if even[group.members].all()
    )
    smaller = Rules(rules.lower[even], rules.upper[even], rows, low, high)
    return System(smaller, groups, system.steps[even]), base, map_


def _pair_columns(options: Sequence[IntArray], system: System) -> list[tuple[IntArray, float, FloatArray]]:
    """Pair each column's step numbers with its step and its weights in the rules."""
    return [
        (values, float(step), row)
        for values, step, row in zip(options, system.steps, system.rules.matrix.T, strict=True)
    ]


def _list_step_numbers(system: System, column: int) -> IntArray:
    """List the steps that one fraction may have.

    They begin with 0 if it may be absent, then go up from its smallest.
    """
    step = system.steps[column]
    low = int(np.ceil(system.least[column] / step - 1e-9))
    high = int(np.floor(system.rules.upper[column] / step + 1e-9))
    values = np.arange(low, high + 1, dtype=np.int64)
    absent = system.rules.lower[column] <= 0.0 and low > 0
    return np.concatenate([[0], values]).astype(np.int64) if absent else values


def _bound_remainders(terms: Sequence[FloatArray]) -> tuple[list[FloatArray], list[FloatArray]]:
    """Least and most contribution of the remaining columns to every rule."""
    low, high = [np.zeros(terms[0].shape[1])], [np.zeros(terms[0].shape[1])]
    for term in reversed(terms[1:]):
        low.append(low[-1] + (term.min(axis=0) if len(term) else 0.0))
        high.append(high[-1] + (term.max(axis=0) if len(term) else 0.0))
    return low[::-1], high[::-1]


def _can_meet_counts(found: IntArray, system: System) -> NDArray[np.bool_]:
    """Mask of the beginnings (p, c) that can still meet the counts."""
    kept = np.ones(len(found), dtype=np.bool_)
    width = found.shape[1]
    for group in system.groups:
        known = group.members[group.members < width]
        if group.is_counted and len(known):
            present = (found[:, known] > 0).sum(axis=1)
            kept &= present <= group.at_most
            kept &= present + len(group.members) - len(known) >= group.at_least
    return kept


def round_to_steps(system: System, x: FloatArray) -> FloatArray | None:
    """Find a mixture in steps near a feasible point.

    Groups with a fixed sum and one step for all are rounded by the largest remainders, so that the sum stays; others
    fraction by fraction.

    Args:
        system: with steps.
        x: shape (n,), feasible without steps.

    Returns:
        Its stepped fractions, others as in x. Where that breaks a rule, the mixture of the integer solver, or None where it
        finds none.
    """
    rounded = x.copy()
    for group in system.groups:
        _round_group(system, group.members, x, rounded, group.total)
    if system.is_feasible(rounded):
        return rounded
    return system.solve_nearest(x)


def _round_group(
    system: System, members: IntArray, x: FloatArray, rounded: FloatArray, total: tuple[float, float]
) -> None:
    """Round one group's stepped fractions to steps, into `rounded`.

    The sum stays where it is fixed and all fractions have the same step; else each goes to its nearest step.
    """
    own = members[system.steps[members] > 0]
    if not len(own):
        return
    steps = system.steps[own]
    parts = x[own] / steps
    even = np.abs(parts - np.rint(parts)) * steps <= 1.0 / GRID
    parts = np.where(even, np.rint(parts), parts)
    counts = np.floor(parts)
    shared = len(own) == len(members) and np.ptp(steps) == 0.0 and total[0] == total[1]
    if shared:
        missing = round(float(total[0] / steps[0] - counts.sum()))
        order = np.argsort(-(parts - counts), kind="stable")
        counts[order[: max(missing, 0)]] += 1.0
    else:
        counts = np.rint(parts)
    rounded[own] = counts * steps
