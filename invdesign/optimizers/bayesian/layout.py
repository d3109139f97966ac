"""Moves in a vector space: climbing directions, random steps and exchanges of choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray
from invdesign.optimizers.bayesian.polish import FreeSubspace, LinearRules
from invdesign.optimizers.bayesian.trust import Box
from invdesign.periodic import nearest_images, periodic_mask, take_shortest_way, wrap_into_cube
from invdesign.protocols import Domain
from invdesign.rng import Rng

CONTINUOUS_FROM = 16  # values of a stepped column from which it is climbed like a real one (chosen)
PRESENCE_THRESHOLD = 1e-10  # coordinate above which a component counts as present (chosen)
SHORTEST_STEP, LONGEST_STEP = 1e-3, 0.4  # lengths of random steps, as shares of the cube's side (chosen)
FEWEST_MOVED = 3  # coordinates that a random step moves on average, at least (chosen)
CHOICE_CHANGE_RATE = 0.3  # probability that a random step changes a choice, too (chosen)
RULE_TOLERANCE = 1e-7  # violation up to which a point counts as one that keeps the rules (chosen)


@dataclass(frozen=True, eq=False)
class Layout:
    """Domain of a vector space as arrays, with the box to stay in.

    Attributes:
        domain: of the space, d columns.
        box: None for the whole cube.
    """

    domain: Domain
    box: Box | None = None

    def __len__(self) -> int:
        return len(self.domain.dimensions)

    @cached_property
    def category(self) -> BoolArray:
        """Shape (d,): columns of choices without an order."""
        return np.array([item.kind == "categorical" for item in self.domain.dimensions], dtype=np.bool_)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Shape (d,): number of values of each column; 0 for reals."""
        found = []
        for item in self.domain.dimensions:
            whole = round(item.high - item.low) + 1 if item.kind == "integer" else 0
            found.append(len(item.choices) or whole)
        return np.array(found, dtype=np.int64)

    @cached_property
    def choices(self) -> BoolArray:
        """Shape (d,): columns whose values are exchanged, not climbed along."""
        return np.asarray((self.sizes > 0) & ((self.sizes < CONTINUOUS_FROM) | self.category))

    @cached_property
    def sparse(self) -> BoolArray:
        """Shape (d,): columns in a group of which some are 0."""
        return _mask_columns(len(self), (column for group in self.domain.sparse for column in group))

    @cached_property
    def conditional(self) -> BoolArray:
        """Shape (d,): columns that not every genome has."""
        return _mask_columns(len(self), self.domain.conditional)

    @cached_property
    def periodic(self) -> BoolArray | None:
        """Shape (d,): columns whose ends are one point; None if none are."""
        return periodic_mask(self.domain.dimensions)

    @property
    def discrete(self) -> bool:
        """True if genomes hold choices, which climbing alone does not change."""
        return bool(self.choices.any() or self.domain.sparse or self.domain.conditional)

    @cached_property
    def rows(self) -> LinearRules:
        """Linear rules of the domain."""
        above = [rule for rule in self.domain.rules if not rule.equal]
        equal = [rule for rule in self.domain.rules if rule.equal]
        matrices = []
        for rules in (above, equal):
            matrix = np.zeros((len(rules), len(self)))
            for row, rule in enumerate(rules):
                for column, weight in rule.weights:
                    matrix[row, column] += weight
            matrices.append(matrix)
        least, sums = (np.array([rule.limit for rule in rules]) for rules in (above, equal))
        return LinearRules(-matrices[0], -least, matrices[1], sums)

    @cached_property
    def least(self) -> FloatArray:
        """Shape (d,): smallest coordinate of a present component."""
        found = np.zeros(len(self))
        for column, smallest in self.domain.least:
            found[column] = smallest
        return found

    @cached_property
    def low(self) -> FloatArray:
        """Shape (d,): lower bounds of the box; categories have none.

        Without a box, climbs may go one period down along periodic columns.
        """
        if self.box is None:
            return np.zeros(len(self)) if self.periodic is None else np.where(self.periodic, -1.0, 0.0)
        return np.where(self.category, 0.0, self.box.low)

    @cached_property
    def high(self) -> FloatArray:
        """Shape (d,): upper bounds of the box; categories have none.

        Without a box, climbs may go one period up along periodic columns.
        """
        if self.box is None:
            return np.ones(len(self)) if self.periodic is None else np.where(self.periodic, 2.0, 1.0)
        return np.where(self.category, 1.0, self.box.high)

    def find_images(self, x: FloatArray) -> FloatArray:
        """Images of points `x` (…, d) nearest to the middle of the box, which may lie across an end of the cube."""
        if self.box is None or self.periodic is None:
            return x
        return nearest_images(x, 0.5 * (self.low + self.high), self.periodic)

    def shorten(self, difference: FloatArray) -> FloatArray:
        """Shorten differences (…, d) of points by whole periods."""
        return take_shortest_way(difference, self.periodic)

    def bring_inside(self, x: FloatArray) -> FloatArray:
        """Move points `x` (n, d) into the cube and the box; periodic columns wrap."""
        clipped = np.clip(x, 0.0, 1.0)
        if self.periodic is None:
            return self.clip_to_box(clipped)
        return wrap_into_cube(self.clip_to_box(np.where(self.periodic, x, clipped)), self.periodic)

    def is_inside(self, x: FloatArray) -> BoolArray:
        """Check which codes `x` (n, d) lie in the box, shape (n,).

        An absent component lies in every box, a whole number by its cell.
        """
        if self.box is None:
            return np.ones(len(x), dtype=np.bool_)
        x = self.find_images(x)
        slack = 1e-9 + 0.5 / np.maximum(self.sizes, 1) * (self.sizes > 0)
        within = (x >= self.low - slack) & (x <= self.high + slack)
        return np.asarray((within | (self.sparse & (x <= PRESENCE_THRESHOLD))).all(axis=1))

    def clip_to_box(self, x: FloatArray) -> FloatArray:
        """Move points `x` (n, d) into the box; absent components stay absent.

        Periodic columns are those of the nearest images.
        """
        if self.box is None:
            return x
        x = self.find_images(x)
        moved: FloatArray = np.where(
            self.sparse & (x <= PRESENCE_THRESHOLD), x, np.clip(x, self.low, self.high)
        )
        return moved

    # Climbing and random steps.

    def free_columns(self, x: FloatArray, dead: BoolArray) -> BoolArray:
        """Columns along which codes may be climbed, shape (n, d).

        Args:
            x: shape (n, d), codes.
            dead: shape (n, d), columns that mean nothing in a genome.
        """
        return np.asarray(~self.choices & ~dead & ~(self.sparse & (x <= PRESENCE_THRESHOLD)))

    def climb_bounds(self, x: FloatArray, free: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Bounds (low, high), each (n, d), for climbs from codes; smallest amounts included.

        Args:
            x: shape (n, d), codes.
            free: shape (n, d), columns that may move.
        """
        low = np.where(free & self.sparse, np.maximum(self.low, self.least), self.low)
        high = np.broadcast_to(self.high, x.shape)
        if not self.rows:
            return low, high
        # Where rules lead out of the box, a climb starts outside.
        return np.where(free, np.minimum(low, x), low), np.where(free, np.maximum(high, x), high)

    def random_steps(self, x: FloatArray, dead: BoolArray, n: int, rng: Rng) -> FloatArray:
        """Draw `n` random steps of all lengths around a code, shape (n, d).

        Some of the coordinates move, along the linear rules and in the direction with more room. Steps that would soon meet
        a border go on beyond it, for `decode` to repair.

        Args:
            x: shape (d,), of a genome.
            dead: shape (d,), columns that mean nothing in it.
            n: number of steps.
            rng: of the steps.
        """
        x = self.find_images(x)
        free = self.free_columns(x[None], dead[None])[0]
        low, high = self.climb_bounds(x[None], free[None])
        part = FreeSubspace(self.rows, x, free, low[0], high[0])
        width = int(free.sum())
        found = np.repeat(x[None], n, axis=0)
        if part.basis.shape[1]:
            # A quarter of the coordinates moves, or about FEWEST_MOVED; one at least.
            some = rng.random((n, width)) < min(1.0, max(FEWEST_MOVED / max(width, 1), 0.25))
            some[np.arange(n), rng.integers(width, size=n)] = True
            moves = (rng.standard_normal((n, width)) * some) @ part.basis
            lengths = np.linalg.norm(moves @ part.basis.T, axis=1)
            # Log-uniform lengths, for peaks of all widths.
            wanted = (
                SHORTEST_STEP * (LONGEST_STEP / SHORTEST_STEP) ** rng.random(n) * np.sqrt(some.sum(axis=1))
            )
            shares = wanted / np.maximum(lengths, 1e-12)
            reach, back = part.largest_multiples(x, moves), part.largest_multiples(x, -moves)
            turned = (reach < shares) & (back > reach)
            moves[turned] *= -1.0
            reach = np.where(turned, back, reach)
            # Steps that meet a border late end there; others keep their length and are repaired.
            shares = np.where(reach > 0.3 * shares, np.minimum(shares, reach), shares)
            moved = found[:, free] + shares[:, None] * (moves @ part.basis.T)
            found[:, free] = np.clip(moved, low[:, free], high[:, free])
        return self._change_choices(found, dead, rng)

    def _change_choices(self, x: FloatArray, dead: BoolArray, rng: Rng) -> FloatArray:
        """Change one choice in some of the points (n, d)."""
        columns = np.flatnonzero(self.choices & ~dead)
        if not len(columns):
            return x
        rows = np.flatnonzero(rng.random(len(x)) < CHOICE_CHANGE_RATE)
        changed = columns[rng.integers(len(columns), size=len(rows))]
        found = x.copy()
        found[rows, changed] = (rng.integers(self.sizes[changed]) + 0.5) / self.sizes[changed]
        return found

    # Exchanging choices.

    def list_neighbours(self, x: FloatArray, dead: BoolArray) -> FloatArray:
        """List points that differ from a code in one choice.

        A choice is a category, a level, or which component is present.

        Args:
            x: shape (d,), of a genome.
            dead: shape (d,), columns that mean nothing in it.
        """
        points = [*self._other_values(x, dead), *self._other_components(x)]
        found = np.array(points).reshape(len(points), len(self))
        return self.bring_inside(found)

    def _other_values(self, x: FloatArray, dead: BoolArray) -> Iterator[FloatArray]:
        """Yield points with another value of one column; of many values the nearest."""
        for column in np.flatnonzero((self.sizes > 0) & ~dead).tolist():
            size = int(self.sizes[column])
            places = (
                (np.arange(size) + 0.5) / size if size <= CONTINUOUS_FROM or self.category[column] else None
            )
            if places is None:
                # On a logarithmic scale cells may be wider than 1 / size: the longer steps reach the next number.
                places = x[column] + np.array([-1.0, 1.0, -3.0, 3.0]) / size
            elif not self.category[column]:
                places = places[np.argsort(np.abs(places - x[column]), kind="stable")[:5]]
            for place in places.tolist():
                if abs(place - x[column]) > 1e-9 and 0.0 < place < 1.0:
                    point = x.copy()
                    point[column] = place
                    yield point

    def _other_components(self, x: FloatArray) -> Iterator[FloatArray]:
        """Yield points with other components present.

        An absent component takes all or half of a present one's amount, or is added; a present one is removed.
        """
        for group in self.domain.sparse:
            columns = np.array(group)
            present = columns[x[columns] > PRESENCE_THRESHOLD].tolist()
            absent = columns[x[columns] <= PRESENCE_THRESHOLD].tolist()
            for gone in present:
                for new in absent:
                    for share in (1.0, 0.5):
                        yield self._exchange_amount(x, gone, new, share)
            for column in [*present, *absent]:
                point = x.copy()
                point[column] = 0.0 if column in present else max(self.least[column], 0.2)
                if float(self.rows.largest_violation(point[None])[0]) <= RULE_TOLERANCE:
                    yield point

    def _exchange_amount(self, x: FloatArray, gone: int, new: int, share: float) -> FloatArray:
        """Replace a share of one component by another; the sum of both stays."""
        both = (np.abs(self.rows.equal[:, [gone, new]]) > PRESENCE_THRESHOLD).all(axis=1)
        rate = 1.0
        if both.any():
            row = self.rows.equal[int(both.argmax())]
            rate = float(row[gone] / row[new])
        point = x.copy()
        amount = share * x[gone]
        point[gone] = x[gone] - amount
        point[new] = min(max(rate * amount, 0.0), 1.0)
        return point

    def choice_patterns(self, x: FloatArray) -> list[bytes]:
        """Key of the choices in each code of `x` (n, d).

        Equal for codes that climbing can lead from one to the other.
        """
        chosen = np.where(self.choices, x, 0.0) + np.where(self.sparse, x > PRESENCE_THRESHOLD, 0.0)
        return [row.tobytes() for row in np.round(chosen, 9)]


def _mask_columns(width: int, columns: Iterator[int] | tuple[int, ...]) -> BoolArray:
    """Boolean mask of some columns."""
    found = np.zeros(width, dtype=np.bool_)
    found[list(columns)] = True
    return found
