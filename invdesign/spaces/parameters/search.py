"""Search for values that meet constraints: at random, near given ones, and any at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.rng import Rng
from invdesign.spaces.parameters.kinds import Value
from invdesign.spaces.parameters.rules import Rules

Values = dict[str, Value]

MAX_ANCHORS = 64  # known feasible points, towards which others are repaired (chosen)
ANCHOR_DRAWS = 4000  # random points tried to find them (chosen)
MAX_DESCENTS, DESCENT_STEPS = 16, 300  # walks downhill in violation, where those gave none (chosen)
REPAIR_ROUNDS = 3  # a repair may change the set of existing parameters, then it is repeated (chosen)
DRAW_TRIES = 12  # random points per start; then one between a feasible and an infeasible point (chosen)
REJECTION_TRIES = 6  # of those that may be rejected; then linear constraints are met by construction (chosen)
BISECTION_STEPS = 6  # of the way from an infeasible to a feasible point (chosen)


@dataclass(frozen=True, eq=False)
class Search:
    """Search for values of parameters that meet all constraints.

    Everything it keeps follows from the constraints alone, so that its answers are pure functions of its arguments.

    Attributes:
        rules: the constraints.
        complete: from values and coordinates in the cube (d,), the values of all parameters that exist.
        at: from a point of the cube (d,), values of all parameters.
        place: from values, a point of the cube (d,).
        listed: all combinations of values where there are few, else None.
    """

    rules: Rules
    complete: Callable[[Mapping[str, Value], Sequence[float]], Values]
    at: Callable[[Sequence[float]], Values]
    place: Callable[[Mapping[str, Value]], list[float]]
    listed: Sequence[Values] | None
    least: dict[int, float] = field(default_factory=dict)
    """The smallest violation met so far of each expression, for the message that nothing was found."""

    def settle_values(
        self, values: Mapping[str, Value], spare: Sequence[float], toward: Mapping[str, Value] | None
    ) -> Values:
        """Move values to nearby ones that meet all constraints; feasible values stay.

        Linear constraints are met by the nearest values that meet them. Where others are broken then, the answer is a point on
        the way to a feasible one, as near as halving the way finds it.

        Args:
            values: of some or all parameters.
            spare: shape (d,), coordinates of parameters that come to exist.
            toward: feasible values to go to, such as those of a parent; the nearest known ones where not given.
        """
        found = self._repair_directly(values, spare)
        if found is not None:
            return found
        point = np.asarray(self.place(self.complete(values, spare)))
        if self.listed is not None:
            return dict(self._nearest_anchor(point))
        goal = (
            toward
            if toward is not None and not self.rules.describe_broken(toward)
            else self._nearest_anchor(point)
        )
        return self._bisect_toward(point, goal)[0]

    def _repair_directly(self, values: Mapping[str, Value], spare: Sequence[float]) -> Values | None:
        """Repair the linear constraints.

        Returns None unless the values then meet the others, too.
        """
        repaired = self._repair_linear(values, spare)
        return repaired if repaired is not None and self.rules.meets_expressions(repaired) else None

    def _repair_linear(self, values: Mapping[str, Value], spare: Sequence[float]) -> Values | None:
        """Repair the linear constraints, again where that changes the set of existing parameters."""
        for _ in range(REPAIR_ROUNDS):
            current = self.complete(values, spare)
            system = self.rules.build_system(current)
            if system is None or system.is_met_by(current):
                return current
            repaired = system.repair_values(current)
            if repaired is None:
                return None
            values = {**current, **repaired}
            if not self.rules.tree.conditional:
                return {**current, **repaired}
        return None

    def _bisect_toward(self, point: FloatArray, goal: Mapping[str, Value]) -> tuple[Values, FloatArray]:
        """Bisect the way from an infeasible point to feasible values.

        Returns:
            Feasible values on that way, and their point.
        """
        end = np.asarray(self.place(goal))
        best, best_at = dict(goal), end
        low, high = 0.0, 1.0  # of the way: infeasible, feasible
        for _ in range(BISECTION_STEPS):
            share = 0.5 * (low + high)
            middle = (point + share * (end - point)).tolist()
            found = self._repair_directly(self.at(middle), middle)
            if found is None:
                low = share
            else:
                high, best, best_at = share, found, np.asarray(middle)
        return best, best_at

    def _nearest_anchor(self, point: FloatArray) -> Values:
        """Known feasible values nearest to a point (d,)."""
        distances = ((self._anchor_points - point) ** 2).sum(axis=1)
        return self.anchors[int(distances.argmin())]

    def draw_feasible(self, rng: Rng) -> Values:
        """Draw values with `rng` that meet all constraints.

        They are uniform where one of a few random points is feasible, or where constraints are linear. Else they are drawn from
        a random line through a known feasible point, from the part between it and the first infeasible point.
        """
        width = len(self.rules.parameters)
        if self.listed is not None:
            return dict(self.anchors[int(rng.random() * len(self.anchors))])
        for number in range(DRAW_TRIES):
            found = self._draw_at(rng.random(width).tolist(), rng, reject=number < REJECTION_TRIES)
            if found is not None:
                return found
        goal = self.anchors[int(rng.random() * len(self.anchors))]
        nearest, edge = self._bisect_toward(rng.random(width), goal)
        middle = (edge + rng.random() * (np.asarray(self.place(goal)) - edge)).tolist()
        return self._repair_directly(self.at(middle), middle) or nearest

    def _draw_at(self, point: list[float], rng: Rng, *, reject: bool) -> Values | None:
        """Take the values at a random point.

        Returns None where they cannot be made feasible.

        Broken linear constraints reject the point if `reject` allows it, else their parameters are drawn anew.
        """
        values = self.complete(self.at(point), point)
        system = self.rules.build_system(values)
        if system is not None and not system.is_met_by(values):
            if reject and not system.has_equality:
                return None
            anew = system.draw_values(rng)
            if anew is None:
                return None
            values = {**values, **anew}
        return self._repair_directly(values, point)

    # Feasibility.

    @cached_property
    def anchors(self) -> list[Values]:
        """Feasible values, always the same.

        They are all there are where they are listed, else some.
        """
        if self.listed is not None:
            return [values for values in self.listed if not self.rules.describe_broken(values)]
        found: list[Values] = []
        for values in self._iterate_feasible():
            if values not in found:
                found.append(values)
            if len(found) == MAX_ANCHORS:
                break
        return found

    @cached_property
    def _anchor_points(self) -> FloatArray:
        return np.asarray([self.place(values) for values in self.anchors])

    def check_feasibility(self) -> None:
        """Refuse constraints that no values meet.

        Raises:
            ValueError: with the constraints that stand in the way, as far as they are known.
        """
        if self.listed is not None:
            if not self.anchors:
                raise ValueError(
                    f"no combination of values meets {self._describe_conflict()}; loosen one of them"
                )
        elif next(self._iterate_feasible(), None) is None:
            tries = (ANCHOR_DRAWS + MAX_DESCENTS * DESCENT_STEPS) // self._cost_per_try
            raise ValueError(
                f"no values were found that meet {self._name_blamed()}, in {tries} tries; loosen the constraints, widen "
                "the ranges of their parameters, or write an equality as a linear constraint"
            )

    @property
    def _cost_per_try(self) -> int:
        """Cost of one try, in tries without linear constraints to repair."""
        return 4 if self.rules.linear else 1

    def _describe_conflict(self) -> str:
        """Find the fewest constraints that no listed combination meets together.

        Up to three are sought; where more are needed, all are named.
        """
        rules, listed = self.rules, self.listed or []
        words = [*map(str, rules.linear), *(expression.text for expression in rules.expressions)]
        table = np.array([self._judge_constraints(values) for values in listed], dtype=np.bool_).reshape(
            -1, len(words)
        )
        for count in range(1, min(len(words), 3) + 1):
            for chosen in combinations(range(len(words)), count):
                if not table[:, chosen].all(axis=1).any():
                    return _join_words([words[number] for number in chosen])
        return _join_words(words)

    def _judge_constraints(self, values: Mapping[str, Value]) -> list[bool]:
        """Check values against each constraint; True where it is met or does not apply."""
        linear = [
            not constraint.sum.keys() <= values.keys()
            or constraint.measure_violation({name: float(values[name]) for name in constraint.sum}) == 0.0
            for constraint in self.rules.linear
        ]
        return [*linear, *(missed == 0.0 for missed in self.rules.measure_violations(values))]

    def _name_blamed(self) -> str:
        """Name the first expression that no try met.

        Where each was met by some try, all constraints are named.
        """
        texts = [expression.text for expression in self.rules.expressions]
        never = [text for number, text in enumerate(texts) if self.least.get(number, 1.0) > 0.0]
        if self.least and never:
            return never[0]
        return _join_words([*map(str, self.rules.linear), *texts])

    def _iterate_feasible(self) -> Iterator[Values]:
        """Yield feasible values at random points, or at the ends of walks.

        Walks are made only where no point gives any. The values are the same each time.
        """
        rng = np.random.Generator(np.random.Philox(key=0))
        width = len(self.rules.parameters)
        best: list[tuple[float, list[float]]] = []
        yielded = False
        for number in range(ANCHOR_DRAWS // self._cost_per_try):
            point = rng.random(width).tolist()
            values = (
                self._repair_linear(self.at(point), point) if number % 2 else self._draw_or_repair(point, rng)
            )
            violation = self._total_violation(values)
            if values is not None and violation == 0.0:
                yielded = True
                yield values
            best.append((violation, point))
        if yielded:
            return
        best.sort(key=lambda item: item[0])
        for _, point in best[:MAX_DESCENTS]:
            values = self._descend_to_feasible(point, rng)
            if values is not None:
                yield values

    def _draw_or_repair(self, point: list[float], rng: Rng) -> Values | None:
        """Draw values at a point, else repair its linear constraints."""
        return self._draw_at(point, rng, reject=False) or self._repair_linear(self.at(point), point)

    def _total_violation(self, values: Values | None) -> float:
        """Sum of the expressions' violations; also records the smallest of each."""
        if values is None:
            return float(len(self.rules.expressions))
        missed = self.rules.measure_violations(values)
        for number, amount in enumerate(missed):
            self.least[number] = min(amount, self.least.get(number, np.inf))
        return sum(missed)

    def _descend_to_feasible(self, point: list[float], rng: Rng) -> Values | None:
        """Walk at random to ever smaller violation.

        Returns feasible values at the end of the walk, or None.

        Source:
            Rechenberg's (1+1) evolution strategy with the one-fifth rule (1973).
        """
        here, step = np.asarray(point), 0.3
        violation = self._total_violation(self._repair_linear(self.at(point), point))
        for _ in range(DESCENT_STEPS // self._cost_per_try):
            mask = rng.random(len(here)) < max(0.5, 1.0 / len(here))
            moved = np.clip(here + step * mask * rng.normal(size=len(here)), 0.0, 1.0)
            values = self._repair_linear(self.at(moved.tolist()), moved.tolist())
            after = self._total_violation(values)
            if values is not None and after == 0.0:
                return values
            step *= 1.5 if after < violation else 0.9
            step = max(step, 1e-6)
            if after <= violation:
                here, violation = moved, after
        return None


def _join_words(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]} together"
