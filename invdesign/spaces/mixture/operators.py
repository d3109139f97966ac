"""Operators on mixtures: steps, trades, dropped or added components, blends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.candidate import Genome
from invdesign.rng import Rng
from invdesign.spaces.mixture.fields import SAME_POINT, Field
from invdesign.spaces.mixture.system import GRID, Group
from invdesign.spaces.operators import GenomeOperator, operators_on_codes

Make = Callable[[Sequence[FloatArray], Rng], FloatArray | None]

MAX_TRIES = 10  # children tried until one is new (chosen)


def build_operators(
    field: Field, read: Callable[[Genome], FloatArray], write: Callable[[FloatArray], Genome]
) -> Mapping[str, GenomeOperator]:
    """Build the operators by name.

    Those that no mixture of the field could take are left out.

    Args:
        field: the feasible mixtures.
        read: the point of a genome.
        write: the genome of a point.
    """
    tools = PointOperators(field)
    makers: dict[str, tuple[int, Make]] = {
        "start": (0, tools.draw_start),
        "extreme": (0, tools.draw_extreme),
        "mutate": (1, tools.mutate_point),
        "swap": (1, tools.swap_components),
        "drop": (1, tools.drop_component),
        "add": (1, tools.add_component),
        "crossover": (2, tools.blend_parents),
    }
    if all(len(group.members) == 1 for group in field.system.groups):
        makers.pop("swap")
    if (field.system.rules.lower > 0).all():
        makers.pop("drop")
        makers.pop("add")
    new: dict[str, tuple[int, Make]] = {
        name: (arity, _NewChild(make)) for name, (arity, make) in makers.items()
    }
    return operators_on_codes(new, read, write)


@dataclass(frozen=True, slots=True)
class _NewChild:
    """`make`, with None in place of a parent's copy."""

    make: Make

    def __call__(self, points: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        child = self.make(points, rng)
        if child is None or any(np.abs(child - point).max() <= SAME_POINT for point in points):
            return None
        return child


@dataclass(frozen=True, slots=True)
class PointOperators:
    """The operators on points (n,)."""

    field: Field

    def draw_start(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:  # noqa: ARG002 - there are none
        return _first_found(lambda: self.field.draw_uniform(rng))

    def draw_extreme(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:  # noqa: ARG002 - there are none
        return _first_found(lambda: self.field.draw_corner(rng))

    def mutate_point(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        """Step along a feasible direction, else swap components.

        The single member of `parents` is moved with `rng`.
        """
        moved = self.field.draw_neighbour(parents[0], rng)
        return self.swap_components(parents, rng) if moved is None else moved

    def swap_components(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        """Swap the fractions of two components of one mixture.

        The single member of `parents` is changed with `rng`. One of the fractions may be 0.
        """
        x = parents[0]
        for _ in range(MAX_TRIES):
            group = self._draw_group(rng, smallest=2)
            if group is None:
                return None
            first = _draw_column(group.members[x[group.members] > 0.5 / GRID], rng)
            second = _draw_column(group.members, rng)
            if first is None or second is None or first == second or abs(x[first] - x[second]) <= SAME_POINT:
                continue
            y = x.copy()
            y[[first, second]] = x[[second, first]]
            child = self._settle_child(y, x)
            if child is not None:
                return child
        return None

    def drop_component(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        """Drop one component; the others keep their proportions.

        The single member of `parents` is changed with `rng`.
        """
        x, lower = parents[0], self.field.system.rules.lower
        for _ in range(MAX_TRIES):
            group = self._draw_group(rng)
            own = group.members if group is not None else np.zeros(0, dtype=np.int64)
            gone = _draw_column(own[(x[own] > 0.5 / GRID) & (lower[own] <= 0)], rng)
            if gone is None:
                continue
            y = x.copy()
            y[gone] = 0.0
            rest = y[own].sum()
            if rest > 0:
                y[own] *= x[own].sum() / rest
            child = self._settle_child(y, x, without=gone)
            if child is not None:
                return child
        return None

    def add_component(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        """Add one component of any fraction.

        The single member of `parents` is changed with `rng`.

        Where no more may be present, the least present one makes room.
        """
        x = parents[0]
        for _ in range(MAX_TRIES):
            group = self._draw_group(rng)
            own = group.members if group is not None else np.zeros(0, dtype=np.int64)
            new = _draw_column(own[x[own] <= 0.5 / GRID], rng)
            if group is None or new is None:
                continue
            y = x.copy()
            share = rng.random()
            amount = max(share * group.total[1], self.field.system.least[new])
            y[new] = min(amount, self.field.system.rules.upper[new])
            before = x[own].sum()
            if before > 0 and group.total[0] == group.total[1]:
                others = own[own != new]
                y[others] *= max(before - y[new], 0.0) / before
            self._make_room(y, new, group)
            child = self._settle_child(y, x)
            if child is not None:
                return child
        return None

    def blend_parents(self, parents: Sequence[FloatArray], rng: Rng) -> FloatArray | None:
        """Blend two `parents` with a random share from `rng`.

        Of the components of both, the most present ones stay.
        """
        first, second = parents
        for _ in range(MAX_TRIES):
            share = rng.random()
            y = share * first + (1.0 - share) * second
            child = self._settle_child(y, first)
            if child is not None and np.abs(child - second).max() > SAME_POINT:
                return child
        return None

    def _settle_child(
        self, y: FloatArray, other_than: FloatArray, without: int | None = None
    ) -> FloatArray | None:
        """Find a mixture near y that differs from `other_than`."""
        supports = self.field.supports
        present = supports.choose_present(y)
        if without is not None:
            present = present & (y > 0.5 / GRID)
            present[without] = False
        if (present < (self.field.system.rules.lower > 0)).any():
            return None
        child = self.field.settle_point(y, present)
        if child is None and without is None:
            child = self.field.repair_point(y)
        return None if child is None or np.abs(child - other_than).max() <= SAME_POINT else child

    def _make_room(self, y: FloatArray, new: int, group: Group) -> None:
        """Set the least present other component to 0 where too many are present."""
        own = group.members
        present = own[y[own] > 0.5 / GRID]
        if len(present) > group.at_most:
            others = present[(present != new) & (self.field.system.rules.lower[present] <= 0)]
            if len(others):
                y[others[int(y[others].argmin())]] = 0.0

    def _draw_group(self, rng: Rng, smallest: int = 1) -> Group | None:
        """Draw a mixture at random, larger ones more often."""
        fitting = [group for group in self.field.system.groups if len(group.members) >= smallest]
        sizes = np.cumsum([len(group.members) for group in fitting])
        return (
            fitting[int(np.searchsorted(sizes, rng.random() * sizes[-1], side="right"))] if fitting else None
        )


def _draw_column(columns: NDArray[np.int64], rng: Rng) -> int | None:
    """Draw one of the columns; None where there are none."""
    return int(columns[int(rng.random() * len(columns))]) if len(columns) else None


def _first_found(make: Callable[[], FloatArray | None]) -> FloatArray | None:
    """Call `make` until it finds a point, at most `MAX_TRIES` times."""
    for _ in range(MAX_TRIES):
        found = make()
        if found is not None:
            return found
    return None
