"""Rules on mixtures in numbers: bounds, linear rules, counts of present components, steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.spaces.mixture.polytope import Rules

DIGITS = 11  # decimals of a fraction: with one digit before the point, 12 significant ones
GRID = 10.0**DIGITS
SOLVER_SECONDS = 10.0  # time limit of one integer program (chosen)


@dataclass(frozen=True, eq=False)
class Group:
    """The components of one mixture.

    Attributes:
        members: shape (k,), their columns.
        at_least, at_most: limits on the number of present components.
        least: smallest fraction of a component that is present; 0 for none.
        total: lowest and highest sum.
    """

    members: IntArray
    at_least: int
    at_most: int
    least: float
    total: tuple[float, float]

    @property
    def is_counted(self) -> bool:
        """True if the choice of present components is restricted."""
        return self.at_most < len(self.members) or self.at_least > 0 or self.least > 0.0


@dataclass(frozen=True, eq=False)
class System:
    """All rules on n fractions.

    Units are those in which the largest fraction is below 10.

    Attributes:
        rules: bounds and linear rules, with a lower bound of 0 for components that may be absent.
        groups: one per mixture; every column is in one.
        steps: shape (n,), 0 where a fraction may have any value.
    """

    rules: Rules
    groups: tuple[Group, ...]
    steps: FloatArray

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def tolerance(self) -> FloatArray:
        """Shape (m,): tolerance of each rule.

        It is twice the error from rounding every fraction to `DIGITS` decimals.
        """
        tolerance: FloatArray = 2.0 * np.abs(self.rules.matrix).sum(axis=1) / GRID + 1e-13
        return tolerance

    @cached_property
    def least(self) -> FloatArray:
        """Shape (n,): lower bounds of present components."""
        least = self.rules.lower.copy()
        for group in self.groups:
            least[group.members] = np.maximum(least[group.members], group.least)
        return least

    @cached_property
    def is_counted(self) -> bool:
        """True if any group counts its components."""
        return any(group.is_counted for group in self.groups)

    @cached_property
    def is_discrete(self) -> bool:
        """True if every fraction has steps."""
        return bool((self.steps > 0).all())

    def meets_counts(self, x: FloatArray) -> bool:
        """Check the number and the least fractions of components in `x` (n,)."""
        for group in self.groups:
            if not group.is_counted:
                continue
            own = x[group.members]
            present = own > 0.5 / GRID
            if not group.at_least <= int(present.sum()) <= group.at_most:
                return False
            if (own[present] < self.least[group.members][present] - 1.0 / GRID).any():
                return False
        return True

    def is_feasible(self, x: FloatArray) -> bool:
        """Check whether `x` (n,) keeps all rules, steps included, to rounding."""
        stepped = self.steps > 0
        counts = x[stepped] / self.steps[stepped]
        even = bool((np.abs(counts - np.rint(counts)) * self.steps[stepped] <= 1.0 / GRID).all())
        return even and self.rules.are_met(x, self.tolerance) and self.meets_counts(x)

    def find_present(self, x: FloatArray) -> BoolArray:
        """Mask (n,) of the components present in `x` (n,).

        All components of groups that do not count count as present.
        """
        present = x > 0.5 / GRID
        for group in self.groups:
            if not group.is_counted:
                present[group.members] = True
        return present

    def solve_nearest(self, y: FloatArray) -> FloatArray | None:
        """Find the feasible point with the least sum of distances to `y` (n,).

        Returns None where there is none.

        It is found by integer programming, which takes milliseconds, so that it is left to cases that faster ways do not solve.
        """
        from scipy.optimize import milp

        answer = milp(**_build_program(self, y), options={"time_limit": SOLVER_SECONDS, "mip_rel_gap": 1e-6})
        if answer.x is None:
            return None
        n = len(self)
        raw = np.asarray(answer.x[:n], dtype=np.float64)
        present = np.asarray(answer.x[n : 2 * n]) > 0.5
        stepped = self.steps > 0
        x = np.where(stepped, np.rint(raw) * self.steps, raw)
        return np.where(present | stepped, x, 0.0)


def _build_program(system: System, y: FloatArray) -> dict[str, object]:
    """Build the arguments of `scipy.optimize.milp`.

    Its variables are values or steps (n,), presences (n,), and distances to y (n,).
    """
    from scipy.optimize import Bounds, LinearConstraint

    n, rules = len(system), system.rules
    size = np.where(system.steps > 0, system.steps, 1.0)
    eye, zero = np.diag(size), np.zeros((n, n))
    one = np.eye(n)
    blocks = [
        (np.hstack([rules.matrix * size, np.zeros((len(rules.matrix), 2 * n))]), rules.low, rules.high),
        (np.hstack([eye, -np.diag(system.least), zero]), np.zeros(n), np.full(n, np.inf)),
        (np.hstack([eye, -np.diag(rules.upper), zero]), np.full(n, -np.inf), np.zeros(n)),
        (np.hstack([eye, zero, one]), y, np.full(n, np.inf)),
        (np.hstack([-eye, zero, one]), -y, np.full(n, np.inf)),
    ]
    for group in system.groups:
        row = np.zeros((1, 3 * n))
        row[0, n + group.members] = 1.0
        blocks.append((row, np.array([float(group.at_least)]), np.array([float(group.at_most)])))
    forced = (rules.lower > 0).astype(np.float64)
    for group in system.groups:
        if not group.is_counted:
            forced[group.members] = 1.0
    matrix = np.vstack([block[0] for block in blocks])
    low = np.concatenate([block[1] for block in blocks])
    high = np.concatenate([block[2] for block in blocks])
    steps = np.where(system.steps > 0, np.floor(rules.upper / size + 1e-9), rules.upper)
    return {
        "c": np.concatenate([np.zeros(2 * n), np.ones(n)]),
        "constraints": LinearConstraint(matrix, low, high),
        "integrality": np.concatenate(
            [(system.steps > 0).astype(int), np.ones(n, dtype=int), np.zeros(n, dtype=int)]
        ),
        "bounds": Bounds(
            np.concatenate([rules.lower / size - 1e-9, forced, np.zeros(n)]),
            np.concatenate([steps, np.ones(n), np.full(n, np.inf)]),
        ),
    }
