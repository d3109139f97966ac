"""Objectives and constraints, and the ranking of trials that follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import lru_cache
from typing import Literal

import numpy as np

from invdesign import pareto
from invdesign.arrays import FloatArray, IntArray
from invdesign.candidate import Status

Direction = Literal["minimize", "maximize", "target", "window"]
Scalarize = Literal["desirability"]
DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize", "target", "window")


def _distance_outside(values: FloatArray, low: float | None, high: float | None) -> FloatArray:
    """Distance of `values` (n,) from the interval; 0 inside, NaN where unknown."""
    outside = np.zeros_like(values)
    if low is not None:
        outside = np.maximum(outside, low - values)
    if high is not None:
        outside = np.maximum(outside, values - high)
    return np.where(np.isnan(values), np.nan, outside)


@dataclass(frozen=True, slots=True)
class Objective:
    """A property to minimise, maximise, or bring to a target or into a window.

    All numbers are in the property's unit.

    Attributes:
        direction: `minimize`, `maximize`, `target` (come close to a value) or `window` (come into an interval).
        min, max: ends of a window, inclusive (one may be open); both are the value of a target.
        best, worst: for a minimised or maximised property: values with a desirability of 1 and of 0.
        tolerance: for a target or window: distance at which the desirability is 0.
        weight: of this objective in a desirability, relative to the others.
        reference: coordinate of the hypervolume's reference point; for a target or window it is a distance.

    Raises:
        ValueError: the numbers contradict each other, see `find_objective_flaws`.
    """

    property: str
    direction: Direction
    min: float | None = None
    max: float | None = None
    best: float | None = None
    worst: float | None = None
    tolerance: float | None = None
    weight: float = 1.0
    reference: float | None = None

    def __post_init__(self) -> None:
        settings = {name: getattr(self, name) for name in OBJECTIVE_NUMBERS}
        flaws = find_objective_flaws(self.direction, **settings)
        if flaws:
            raise ValueError(f"objective {self.property}: {flaws[0][0]}: {flaws[0][1]}")

    def to_minimised(self, values: FloatArray) -> FloatArray:
        """Convert `values` (n,) so that smaller is better; NaN stays NaN.

        They stay as they are, are negated, or become the distance from the target or window.
        """
        if self.direction == "minimize":
            return values
        if self.direction == "maximize":
            return -values
        return _distance_outside(values, self.min, self.max)

    def minimised_scale(self) -> tuple[float, float] | None:
        """Values of desirability 1 and 0, as minimised values; None if not given."""
        if self.tolerance is not None:
            return 0.0, self.tolerance
        if self.best is None or self.worst is None:
            return None
        sign = -1.0 if self.direction == "maximize" else 1.0
        return sign * self.best, sign * self.worst

    def minimised_reference(self) -> float | None:
        """Coordinate of the user's reference point as a minimised value."""
        if self.reference is None or self.direction != "maximize":
            return self.reference
        return -self.reference

    def goal_text(self) -> str:
        """Target or window in words, `3.5` or `2 to 4`; empty for a plain direction."""
        if self.direction == "target":
            return f"{self.min:g}"
        if self.direction != "window":
            return ""
        if self.min is None:
            return f"{self.max:g} or less"
        return f"{self.min:g} or more" if self.max is None else f"{self.min:g} to {self.max:g}"

    def __str__(self) -> str:
        return describe_objective(self.direction, self.property, self.goal_text())


def describe_objective(direction: str, name: str, goal: str) -> str:
    """Describe an objective: `minimize density`, `bring voltage to 3.5`.

    Args:
        direction: one of `DIRECTIONS`.
        name: of the property.
        goal: target or window in words.

    Examples:
        >>> describe_objective("window", "voltage", "2 to 4")
        'keep voltage at 2 to 4'
    """
    if direction == "target":
        return f"bring {name} to {goal}"
    return f"keep {name} at {goal}" if direction == "window" else f"{direction} {name}"


OBJECTIVE_NUMBERS = tuple(field.name for field in fields(Objective))[2:]


def find_objective_flaws(
    direction: Direction,
    *,
    min: float | None = None,
    max: float | None = None,
    best: float | None = None,
    worst: float | None = None,
    tolerance: float | None = None,
    weight: float = 1.0,
    reference: float | None = None,
) -> list[tuple[str, str]]:
    """Find all mistakes in the numbers of an objective, given as for `Objective`.

    Args:
        direction: as in `Objective`.
        min, max, best, worst, tolerance, weight, reference: as in `Objective`.

    Returns:
        (name of the number, what is wrong with it), for each mistake.
    """
    flaws: list[tuple[str, str]] = []
    plain = direction in {"minimize", "maximize"}
    if plain and (min is not None or max is not None):
        flaws.append((direction, "takes no bounds: use window, or a constraint"))
    if direction == "target" and (min is None or min != max):
        flaws.append((direction, "needs one value"))
    if direction == "window" and min is None and max is None:
        flaws.append((direction, "needs min, max or both"))
    if direction == "window" and min is not None and max is not None and min > max:
        flaws.append((direction, f"min ({min:g}) is above max ({max:g})"))
    if plain and tolerance is not None:
        flaws.append(("tolerance", f"belongs to target and window; to {direction}, give best and worst"))
    if not plain:
        flaws += [
            (name, f"belongs to minimize and maximize; to a {direction}, give a tolerance")
            for name, value in (("best", best), ("worst", worst))
            if value is not None
        ]
        if reference is not None and reference <= 0:
            flaws.append(
                ("reference", f"of a {direction} is a distance from it and must be > 0, got {reference:g}")
            )
    elif (best is None) != (worst is None):
        given, lacks = ("worst", "best") if best is None else ("best", "worst")
        flaws.append((given, f"needs {lacks} beside it"))
    elif best is not None and worst is not None:
        flaws += _find_scale_flaws(direction, best, worst)
    if tolerance is not None and tolerance <= 0:
        flaws.append(("tolerance", f"must be > 0, got {tolerance:g}"))
    if weight <= 0:
        flaws.append(("weight", f"must be > 0, got {weight:g}"))
    return flaws


def _find_scale_flaws(direction: Direction, best: float, worst: float) -> list[tuple[str, str]]:
    """Find a scale whose best and worst are in the wrong order."""
    below, above = ("best", "worst") if direction == "minimize" else ("worst", "best")
    if (best < worst) == (direction == "minimize") and best != worst:
        return []
    return [
        ("worst", f"to {direction}, {below} must lie below {above}; got best {best:g} and worst {worst:g}")
    ]


@dataclass(frozen=True, slots=True)
class Constraint:
    """A property with inclusive bounds, in the property's unit.

    Attributes:
        scale: a violation by this much weighs 1 beside other constraints; by default the larger of the bounds' magnitudes,
            and 1 where that is 0.
    """

    property: str
    min: float | None = None
    max: float | None = None
    scale: float | None = None

    def violation(self, values: FloatArray) -> FloatArray:
        """Distance of `values` (n,) from the bounds; 0 inside, NaN where unknown."""
        return _distance_outside(values, self.min, self.max)

    def scaled_violation(self, values: FloatArray) -> FloatArray:
        """Violation of `values` (n,) divided by the scale, so that several can be added.

        Source:
            Deb, Comput. Methods Appl. Mech. Eng. 186, 311 (2000): constraints are normalised by their bounds.
        """
        return self.violation(values) / (self.scale or max(abs(self.min or 0.0), abs(self.max or 0.0)) or 1.0)

    def __str__(self) -> str:
        low = f"{self.min:g} <= " if self.min is not None else ""
        high = f" <= {self.max:g}" if self.max is not None else ""
        return f"{low}{self.property}{high}"


class Merit(IntEnum):
    """Merit classes of trials, best first."""

    FEASIBLE = 0
    VIOLATING = 1
    GATED = 2
    INFEASIBLE = 3
    FAILED = 4
    PENDING = 5


@dataclass(frozen=True, slots=True)
class Scores:
    """Numbers by which optimizers rank n trials.

    Attributes:
        ids: shape (n,), numbers of the trials.
        values: shape (n, m), to be minimised; NaN where unknown. One column per objective, or the single score that they
            are combined to: `Problem.n_values` in all.
        violation: shape (n,), summed constraint violation, each divided by its scale; NaN where unknown.
        merit: shape (n,), `Merit` of each trial.
        depth: shape (n,), stages passed: among gated trials, later is better.
    """

    ids: IntArray
    values: FloatArray
    violation: FloatArray
    merit: IntArray
    depth: IntArray

    def select_rows(self, positions: IntArray) -> Scores:
        """Scores at `positions`, in that order."""
        return Scores(
            self.ids[positions],
            self.values[positions],
            self.violation[positions],
            self.merit[positions],
            self.depth[positions],
        )

    def tie_breakers(self) -> FloatArray:
        """Numbers that rank trials of the same merit, shape (n,); smaller is better.

        Feasible trials have 0.
        """
        tie = np.zeros(len(self.ids))
        violating = self.merit == Merit.VIOLATING
        tie[violating] = np.nan_to_num(self.violation[violating], nan=np.inf)
        tie[violating & np.isnan(self.values).any(axis=1)] = np.inf  # it ended before an objective's stage
        gated = self.merit == Merit.GATED
        tie[gated] = -self.depth[gated].astype(np.float64)
        return tie

    def order(self) -> IntArray:
        """Positions from best to worst, shape (n,).

        Trials are ordered by merit; feasible ones by Pareto rank, then by the first objective.
        """
        rank = self.tie_breakers()
        feasible = np.flatnonzero(self.merit == Merit.FEASIBLE)
        rank[feasible] = pareto.ranks(self.values[feasible])
        return np.lexsort((self.ids, np.nan_to_num(self.values[:, 0], nan=np.inf), rank, self.merit))

    def front(self) -> IntArray:
        """Positions of the feasible trials that no other feasible trial dominates."""
        feasible = np.flatnonzero(self.merit == Merit.FEASIBLE)
        return feasible[pareto.front(self.values[feasible])]


@dataclass(frozen=True, slots=True)
class Problem:
    """The objectives (at least one) and constraints of a campaign.

    Attributes:
        scalarize: combines the objectives to one score; None ranks by dominance.

    Raises:
        ValueError: a score is asked for, and an objective has no scale.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    scalarize: Scalarize | None = None

    def __post_init__(self) -> None:
        if self.scalarize is not None and not self.has_scales:
            bare = next(
                str(objective) for objective in self.objectives if objective.minimised_scale() is None
            )
            raise ValueError(
                f"a desirability needs best and worst, or a tolerance, of every objective: {bare}"
            )

    @property
    def n_values(self) -> int:
        """Number of values that candidates are ranked by: 1, or one per objective."""
        return 1 if self.scalarize is not None else len(self.objectives)

    @property
    def has_scales(self) -> bool:
        """True if every objective has a scale, so that candidates have a desirability."""
        return all(objective.minimised_scale() is not None for objective in self.objectives)

    @property
    def reference(self) -> FloatArray | None:
        """Reference point of the user as minimised values, shape (m,).

        None unless every objective has a reference.
        """
        if self.scalarize is not None:
            return None
        found = [o.minimised_reference() for o in self.objectives]
        known = [value for value in found if value is not None]
        return np.array(known) if len(known) == len(found) else None

    def to_property_units(self, point: FloatArray) -> dict[str, float]:
        """Convert minimised values to numbers by property, in the property's own sign.

        For a target or window the number is the distance from it.

        Args:
            point: shape (m,), minimised.
        """
        signs = [-1.0 if objective.direction == "maximize" else 1.0 for objective in self.objectives]
        return {
            objective.property: sign * float(value)
            for objective, sign, value in zip(self.objectives, signs, point, strict=True)
        }

    def to_minimised_point(self, coordinates: Mapping[str, float]) -> FloatArray:
        """Convert numbers by property to minimised values, shape (m,).

        It is the inverse of `to_property_units`.

        Args:
            coordinates: one number per objective.

        Raises:
            ValueError: a coordinate is missing, not finite, or of no objective.
        """
        names = [objective.property for objective in self.objectives]
        strange = sorted(set(coordinates) ^ set(names))
        if strange or not all(map(math.isfinite, coordinates.values())):
            raise ValueError(
                f"needs one finite number for each of {', '.join(names)}, got {dict(coordinates)}"
            )
        signs = [-1.0 if objective.direction == "maximize" else 1.0 for objective in self.objectives]
        return np.array([sign * coordinates[name] for sign, name in zip(signs, names, strict=True)])

    @property
    def properties(self) -> tuple[str, ...]:
        """Properties of objectives and constraints, once each, objectives first."""
        names = [objective.property for objective in self.objectives]
        names += [constraint.property for constraint in self.constraints]
        return tuple(dict.fromkeys(names))

    def minimise_columns(self, column: Callable[[str], FloatArray]) -> FloatArray:
        """Minimised values of all objectives, shape (n, m), NaN where unknown.

        They are not combined to a score.

        Args:
            column: gives the values of a property, shape (n,).
        """
        return np.stack([o.to_minimised(column(o.property)) for o in self.objectives], axis=1)

    def rank_values(self, column: Callable[[str], FloatArray]) -> FloatArray:
        """Values that n candidates are ranked by, shape (n, `n_values`); smaller is better.

        Args:
            column: gives the values of a property, shape (n,).
        """
        return self._combine_objectives(self.minimise_columns(column))

    def desirability(self, minimised: FloatArray) -> FloatArray:
        """Overall desirability of candidates, shape (n,).

        It is 1 where every objective is at its best or beyond, 0 where one is no better than its worst, and between them the
        weighted geometric mean of the objectives' linear desirabilities; NaN where unknown.

        Args:
            minimised: shape (n, m), all objectives.

        Raises:
            ValueError: an objective has no scale.

        Source:
            Derringer & Suich, J. Qual. Technol. 12, 214 (1980).
        """
        return _geometric_mean(*_linear_desirability(self.objectives, minimised))

    def _combine_objectives(self, minimised: FloatArray) -> FloatArray:
        """Values that candidates are ranked by, shape (n, `n_values`).

        A score is 1 - desirability. A desirability of 0 does not tell how far off a candidate is, so the score goes on above 1
        by the weighted mean of the objectives' distances from their worst, in units of best to worst.
        """
        if self.scalarize is None:
            return minimised
        reached, weights = _linear_desirability(self.objectives, minimised)
        overall = _geometric_mean(reached, weights)
        lacking = np.maximum(-reached, 0.0) @ weights
        return np.where(overall > 0, 1.0 - overall, 1.0 + lacking)[:, None]

    def score_trials(
        self,
        ids: Sequence[int] | IntArray,
        column: Callable[[str], FloatArray],
        status: IntArray,
        depth: IntArray,
    ) -> Scores:
        """Score n trials.

        Args:
            ids: numbers of the trials.
            column: gives the values of a property for these trials, shape (n,), NaN where unknown.
            status: shape (n,), `Status` of each.
            depth: shape (n,), stages passed.
        """
        columns: Mapping[str, FloatArray] = {name: column(name) for name in self.properties}
        values = self._combine_objectives(self.minimise_columns(columns.__getitem__))
        violation = np.zeros(len(values))
        for constraint in self.constraints:
            violation = violation + constraint.scaled_violation(columns[constraint.property])
        return Scores(
            ids=np.asarray(ids, dtype=np.int64),
            values=values,
            violation=violation,
            merit=_classify_trials(status, values, violation),
            depth=np.asarray(depth, dtype=np.int64),
        )


@lru_cache(maxsize=64)
def _objective_scales(objectives: tuple[Objective, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Best, worst (as minimised values) and weight of every objective, each shape (m,).

    The weights sum to 1.
    """
    extents = [objective.minimised_scale() for objective in objectives]
    known = np.array([extent for extent in extents if extent is not None])
    if len(known) < len(extents):
        raise ValueError("a desirability needs best and worst, or a tolerance, of every objective")
    weights = np.array([objective.weight for objective in objectives])
    return known[:, 0], known[:, 1], weights / weights.sum()


def _linear_desirability(
    objectives: tuple[Objective, ...], minimised: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Linear desirability of each objective, shape (n, m), and the weights (m,).

    It is 0 at the worst and 1 at the best value, and not limited to that range.
    """
    best, worst, weights = _objective_scales(objectives)
    return (worst - minimised) / (worst - best), weights


def _geometric_mean(reached: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted geometric mean of desirabilities cut to [0, 1], shape (n,).

    It is 0 where one of them is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: FloatArray = np.exp(np.log(np.clip(reached, 0.0, 1.0)) @ weights)
    return mean


_MERIT_BY_STATUS = np.full(max(Status) + 1, int(Merit.PENDING), dtype=np.int64)
_MERIT_BY_STATUS[Status.GATED] = Merit.GATED
_MERIT_BY_STATUS[Status.INFEASIBLE] = Merit.INFEASIBLE
_MERIT_BY_STATUS[Status.FAILED] = Merit.FAILED


def _classify_trials(status: IntArray, values: FloatArray, violation: FloatArray) -> IntArray:
    """Merit of each trial, shape (n,)."""
    merit = _MERIT_BY_STATUS[status]
    complete = status == Status.COMPLETE
    known = ~np.isnan(values).any(axis=1) & ~np.isnan(violation)
    merit[complete & known & (violation <= 0)] = Merit.FEASIBLE
    # A complete trial that stopped before an objective's stage is no better than the worst violation.
    merit[complete & ~(known & (violation <= 0))] = Merit.VIOLATING
    return merit
