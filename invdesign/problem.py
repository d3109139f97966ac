"""Objectives and constraints: from properties to minimised values, violation and an order of merit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from invdesign import pareto
from invdesign.candidate import Status

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, slots=True)
class Objective:
    """A property with a direction."""

    property: str
    direction: Direction

    def minimised(self, values: FloatArray) -> FloatArray:
        """`values` (n,) with the sign that makes smaller better; NaN stays NaN."""
        return values if self.direction == "minimize" else -values

    def __str__(self) -> str:
        return f"{self.direction} {self.property}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A property with inclusive bounds, in the property's unit."""

    property: str
    min: float | None = None
    max: float | None = None

    def violation(self, values: FloatArray) -> FloatArray:
        """How far `values` (n,) lie outside the bounds; 0 inside, NaN where unknown."""
        outside = np.zeros_like(values)
        if self.min is not None:
            outside = np.maximum(outside, self.min - values)
        if self.max is not None:
            outside = np.maximum(outside, values - self.max)
        return np.where(np.isnan(values), np.nan, outside)

    def __str__(self) -> str:
        low = f"{self.min:g} <= " if self.min is not None else ""
        high = f" <= {self.max:g}" if self.max is not None else ""
        return f"{low}{self.property}{high}"


class Merit(IntEnum):
    """Classes in the order of merit, best first."""

    FEASIBLE = 0
    VIOLATING = 1
    GATED = 2
    INFEASIBLE = 3
    FAILED = 4
    PENDING = 5


@dataclass(frozen=True, slots=True)
class Scores:
    """What an optimizer ranks by, for n trials.

    Attributes:
        ids: shape (n,), the trials' numbers.
        values: shape (n, m), objectives to be minimised; NaN where unknown.
        violation: shape (n,), summed constraint violation, each divided by its scale; NaN where unknown.
        merit: shape (n,), `Merit` of each trial.
        depth: shape (n,), stages passed: among gated trials, later is better.
    """

    ids: IntArray
    values: FloatArray
    violation: FloatArray
    merit: IntArray
    depth: IntArray

    def tie(self) -> FloatArray:
        """Shape (n,), smaller is better within a merit class other than feasible."""
        tie = np.zeros(len(self.ids))
        violating = self.merit == Merit.VIOLATING
        tie[violating] = np.nan_to_num(self.violation[violating], nan=np.inf)
        gated = self.merit == Merit.GATED
        tie[gated] = -self.depth[gated].astype(np.float64)
        return tie

    def order(self) -> IntArray:
        """Positions (n,) from best to worst: by merit; feasible ones by Pareto rank, then by the first objective."""
        rank = self.tie()
        feasible = np.flatnonzero(self.merit == Merit.FEASIBLE)
        rank[feasible] = pareto.ranks(self.values[feasible])
        return np.lexsort((self.ids, np.nan_to_num(self.values[:, 0], nan=np.inf), rank, self.merit))

    def front(self) -> IntArray:
        """Positions of the feasible trials no other feasible trial dominates."""
        feasible = np.flatnonzero(self.merit == Merit.FEASIBLE)
        return feasible[pareto.front(self.values[feasible])]


@dataclass(frozen=True, slots=True)
class Problem:
    """The objectives (at least one) and constraints of a campaign."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    @property
    def properties(self) -> tuple[str, ...]:
        """Every property the problem reads, once each, objectives first."""
        names = [objective.property for objective in self.objectives]
        names += [constraint.property for constraint in self.constraints]
        return tuple(dict.fromkeys(names))

    def score(
        self,
        ids: Sequence[int] | IntArray,
        column: Callable[[str], FloatArray],
        status: IntArray,
        depth: IntArray,
    ) -> Scores:
        """Scores of n trials.

        Args:
            ids: the trials' numbers.
            column: values of a property for these trials, shape (n,), NaN where unknown.
            status: shape (n,), `Status` of each.
            depth: shape (n,), stages passed.
        """
        columns: Mapping[str, FloatArray] = {name: column(name) for name in self.properties}
        values = np.stack([o.minimised(columns[o.property]) for o in self.objectives], axis=1)
        violation = np.zeros(len(values))
        for constraint in self.constraints:
            violation = violation + constraint.violation(columns[constraint.property])
        return Scores(
            ids=np.asarray(ids, dtype=np.int64),
            values=values,
            violation=violation,
            merit=_merit(status, values, violation),
            depth=np.asarray(depth, dtype=np.int64),
        )


_BY_STATUS = np.full(max(Status) + 1, int(Merit.PENDING), dtype=np.int64)
_BY_STATUS[Status.GATED] = Merit.GATED
_BY_STATUS[Status.INFEASIBLE] = Merit.INFEASIBLE
_BY_STATUS[Status.FAILED] = Merit.FAILED


def _merit(status: IntArray, values: FloatArray, violation: FloatArray) -> IntArray:
    merit = _BY_STATUS[status]
    complete = status == Status.COMPLETE
    known = ~np.isnan(values).any(axis=1) & ~np.isnan(violation)
    merit[complete & known & (violation <= 0)] = Merit.FEASIBLE
    # A complete trial that stopped before an objective's stage is no better than the worst violation.
    merit[complete & ~(known & (violation <= 0))] = Merit.VIOLATING
    return merit
