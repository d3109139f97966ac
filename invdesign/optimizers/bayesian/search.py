"""Maximise an acquisition function over a vector space.

Acquisition functions are flat nearly everywhere, with narrow peaks near the best known points. So the search looks
at many points, most of them near the best trials, breeds on the choices that a genome holds (categories, which
components are present), climbs from the best along gradients within the linear rules, and exchanges single choices
between climbs. Every answer was repaired by the space itself and is judged where it lies after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.candidate import Genome
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction
from invdesign.optimizers.bayesian.layout import RULE_TOLERANCE, Layout
from invdesign.optimizers.bayesian.polish import climb
from invdesign.optimizers.bayesian.trust import Box, draw_in_region, draw_sobol
from invdesign.optimizers.breeding import Breeder, Offspring, OperatorKit
from invdesign.optimizers.common import draw_operator, operators_by_arity
from invdesign.optimizers.vectors import Steps
from invdesign.periodic import wrap_into_cube
from invdesign.protocols import Context, VectorSpace
from invdesign.rng import Rng

IsNew = Callable[[Genome], bool]

# All chosen; counts are for an effort of 1.
N_SCATTERED = 256  # points spread over the space
# Genomes of start operators instead, where rules or choices make most points of the cube useless
N_STARTED = 32
N_AROUND = 192  # points around the best trials
N_PROMISING_STEPS, N_PROMISING = 96, 4  # points around the best of all these, and the number of those best
MOST_ANCHORS = 20  # trials that points are scattered around
MOST_REPAIRED = 48  # points around trials that are repaired, in spaces where repair takes time
N_GENERATIONS, CHILDREN_PER_GENERATION = 4, 24  # bred where genomes hold choices
N_PARENTS = 20  # of each generation
CROSSOVER_SHARE = 0.4  # of children with two parents or more
N_CLIMBS = 6  # starts that climb together
CLIMB_EVALUATIONS = 40  # of each climb
MOST_EXCHANGES = 3  # rounds of exchanging choices between climbs
N_EXCHANGED = 3  # genomes whose choices are exchanged
REPAIRED_NEIGHBOURS = 16  # of each such genome
N_DISCRETE_CLIMBS = 10  # starts that climb together where genomes hold choices
# Rounds of random steps, genomes they start from, and steps from each
WANDER_ROUNDS, N_WANDERERS, WANDER_STEPS = 5, 2, 16
N_HALVINGS = 5  # of the way to a climbed point that is not allowed
LARGE_REPAIR = 1e-3  # by which repair moves a climbed point before it is worth a second look
START_DISTANCE = 0.05  # largest difference of coordinates below which two starts are one
ANSWER_DISTANCE = 1e-6  # largest difference of coordinates below which two answers are one


def search_vector(
    context: Context,
    space: VectorSpace,
    value: AcquisitionFunction,
    anchors: Sequence[Genome],
    box: Box | None,
    rng: Rng,
    keep: int = 8,
    effort: float = 1.0,
    new: IsNew | None = None,
) -> list[tuple[Genome, float]]:
    """Search a vector space for the genomes of highest value.

    Args:
        context: of the event; its cache keeps the operators.
        space: whose genomes are sought.
        value: acquisition function, evaluated at `space.encode` of a candidate.
        anchors: good genomes to search around, best first; may be empty.
        box: part of the cube to stay in; None for all. Categories and absent components lie in every box.
        rng: for everything random.
        keep: number of answers wanted.
        effort: factor on the number of points.
        new: True for a genome that may be an answer; None allows all.

    Returns:
        Different canonical genomes and their values, best first; fewer than `keep`, or none, where no more were
        found.
    """
    search = _VectorSearch(context, space, value, Layout(space.domain(), box), rng, effort)
    search.look_around(anchors)
    if search.layout.discrete:
        search.breed_generations()
    search.refine_best()
    found = search.best_answers(keep, new)
    if not found and box is not None:  # rules may leave nothing within a small box
        return search_vector(context, space, value, anchors, None, rng, keep, effort, new)
    return found


@dataclass
class _JudgedGenomes:
    """Judged genomes, in the order of finding.

    Attributes:
        genomes: n of them.
        x: shape (n, d), their codes.
        values: shape (n,).
    """

    genomes: list[Genome]
    x: FloatArray
    values: FloatArray

    def rank_rows(self) -> list[int]:
        """Rows from best to worst; of equals the first found."""
        return [int(row) for row in np.argsort(-self.values, kind="stable")]


class _VectorSearch:
    """One search, with all genomes judged so far."""

    def __init__(
        self,
        context: Context,
        space: VectorSpace,
        value: AcquisitionFunction,
        layout: Layout,
        rng: Rng,
        effort: float,
    ) -> None:
        self.context = context
        self.space = space
        self.value = value
        self.layout = layout
        self.rng = rng
        self.effort = effort
        self.judged = _JudgedGenomes([], np.zeros((0, len(layout))), np.zeros(0))
        self._judged_keys: set[bytes] = set()

    def _scale_count(self, count: int) -> int:
        """Multiply a count by the effort; at least 2."""
        return max(round(count * self.effort), 2)

    # Judging.

    def judge_genomes(self, genomes: Iterable[Genome]) -> FloatArray:
        """Judge the new `genomes` that lie in the box.

        Returns:
            Shape (n, d), codes of all genomes given.
        """
        listed = list(genomes)
        if not listed:
            return np.zeros((0, len(self.layout)))
        x = self.space.encode(listed)
        fresh = []
        for row in np.flatnonzero(self.layout.is_inside(x)).tolist():
            key = x[row].tobytes()
            if key not in self._judged_keys:
                self._judged_keys.add(key)
                fresh.append(row)
        if fresh:
            values = self.value.evaluate(x[fresh])
            sound = np.isfinite(values) | (values == np.inf)
            found = self.judged
            found.genomes += [listed[row] for row, kept in zip(fresh, sound, strict=True) if kept]
            found.x = np.concatenate([found.x, x[fresh][sound]])
            found.values = np.concatenate([found.values, values[sound]])
        return x

    def judge_points(self, points: FloatArray, most: int | None = None) -> FloatArray:
        """Repair points by the space and judge them.

        Args:
            points: shape (n, d), in or near the cube.
            most: number of points to repair, those of highest value as they are; None for all.

        Returns:
            Codes of the repaired points.
        """
        points = self.layout.bring_inside(points)
        if most is not None and len(points) > most:
            points = points[np.argsort(-self._rough_values(points), kind="stable")[:most]]
        return self.judge_genomes(self.space.decode(points)) if len(points) else points

    def _rough_values(self, points: FloatArray) -> FloatArray:
        """Values at points (n, d) before repair.

        Points that break rules lose a quarter of the spread of the values.
        """
        values = np.nan_to_num(self.value.evaluate(points), nan=-np.inf, neginf=-1e300, posinf=1e300)
        broken = self.layout.rows.largest_violation(points) > RULE_TOLERANCE
        spread = float(np.ptp(values)) if len(values) else 0.0
        return values - np.where(broken, 0.25 * spread, 0.0)

    @property
    def _repairs_slowly(self) -> bool:
        """True if repair takes time, and random points of the cube nearly all need it."""
        return bool(self.layout.rows) or bool(self.layout.domain.sparse)

    # Looking around.

    def look_around(self, anchors: Sequence[Genome]) -> None:
        """Judge the `anchors`, points around them, and points all over the space or the box."""
        anchors = anchors[:MOST_ANCHORS]
        codes = self.space.encode(anchors) if len(anchors) else np.zeros((0, len(self.layout)))
        self.judge_genomes(anchors)
        self._scatter_points(codes)
        self._step_around(codes, self._scale_count(N_AROUND))
        if not self.layout.discrete:  # else breeding goes on from there
            self._step_around(
                self.judged.x[self.judged.rank_rows()[:N_PROMISING]], self._scale_count(N_PROMISING_STEPS)
            )

    def _scatter_points(self, codes: FloatArray) -> None:
        """Judge points scattered over the space or the box."""
        width = len(self.layout)
        if self._repairs_slowly:
            starts = operators_by_arity(self.space)[0]
            drawn = (
                draw_operator(starts, self.rng)[1].apply((), self.rng)
                for _ in range(self._scale_count(N_STARTED))
            )
            self.judge_genomes([genome for genome in drawn if genome is not None])
            return
        count = self._scale_count(N_SCATTERED)
        box = self.layout.box
        if box is None:
            self.judge_points(draw_sobol(count, width, self.rng))
            return
        centre = self.layout.find_images(codes[0]) if len(codes) else 0.5 * (box.low + box.high)
        whole = Box(self.layout.low, self.layout.high)
        self.judge_points(draw_in_region(whole, centre, self.rng, count))
        self.judge_points(
            whole.low + draw_sobol(max(count // 4, 2), width, self.rng) * (whole.high - whole.low)
        )

    def _step_around(self, codes: FloatArray, count: int) -> None:
        """Judge random steps around codes (n, d), more of them around the first."""
        if not len(codes):
            return
        codes = self.layout.clip_to_box(codes)
        dead = self.find_dead_columns(codes)
        shares = np.arange(1, len(codes) + 1) ** -0.5
        counts = np.ceil(count * shares / shares.sum()).astype(int).tolist()
        points = [
            self.layout.random_steps(code, own, number, self.rng)
            for code, own, number in zip(codes, dead, counts, strict=True)
        ]
        self.judge_points(
            np.concatenate(points), self._scale_count(MOST_REPAIRED) if self._repairs_slowly else None
        )

    def find_dead_columns(self, codes: FloatArray) -> BoolArray:
        """Find columns of dimensions that the genomes at `codes` (n, d) lack, shape (n, d).

        Each coordinate is moved and its point repaired: the column is dead where the space gives back the old value.
        """
        found = np.zeros(codes.shape, dtype=np.bool_)
        columns = np.flatnonzero(self.layout.conditional)
        if not len(columns) or not len(codes):
            return found
        moved = np.repeat(wrap_into_cube(codes, self.layout.periodic), len(columns), axis=0)
        rows = np.arange(len(moved))
        place = np.tile(columns, len(codes))
        moved[rows, place] = np.where(moved[rows, place] > 0.5, 0.01, 0.99)
        back = self.space.encode(self.space.decode(moved))[rows, place].reshape(len(codes), len(columns))
        found[:, columns] = np.abs(back - codes[:, columns]) < 1e-12
        return found

    # Breeding.

    def breed_generations(self) -> None:
        """Breed some generations on the value, by the operators of the genetic algorithm."""
        breeder = Breeder(self._operator_kit, CROSSOVER_SHARE, 2, None, Steps())
        for _ in range(N_GENERATIONS):
            rows = self.judged.rank_rows()[: self._scale_count(N_PARENTS)]
            if not rows:
                return
            members = [Offspring(self.judged.genomes[row]) for row in rows]
            pool = breeder.pool_of(members)
            names = [
                breeder.draw_operator(len(members), self.rng)
                for _ in range(self._scale_count(CHILDREN_PER_GENERATION))
            ]
            before = len(self.judged.values)
            self.judge_genomes(
                [child.genome for child in breeder.make_children(names, pool, self.rng) if child is not None]
            )
            if len(self.judged.values) == before:
                return

    @property
    def _operator_kit(self) -> OperatorKit:
        """Operators for a single objective, kept in the context's cache."""
        name = "bayesian search kit"
        kit = self.context.cache.get(name)
        if not isinstance(kit, OperatorKit):
            kit = self.context.cache[name] = OperatorKit(self.space, vectors=True, single=True)
        return kit

    # Refining.

    def refine_best(self) -> None:
        """Climb from the best, exchange choices, and walk along curved borders."""
        curved = self._climb_from_rows(
            self._choose_starts(self._scale_count(N_DISCRETE_CLIMBS if self.layout.discrete else N_CLIMBS))
        )
        if self.layout.sizes.any() or self.layout.domain.sparse:
            curved |= self._exchange_and_climb()
        if curved:
            self._wander_around_best()

    def _exchange_and_climb(self) -> bool:
        """Exchange choices of the best and climb from better ones, until none is better.

        Returns:
            True if repair moved any climbed point far, or the value has no gradients to climb by.
        """
        done: set[int] = set()
        curved = False
        for _ in range(MOST_EXCHANGES):
            best = [row for row in self.judged.rank_rows()[:N_EXCHANGED] if row not in done]
            if not best:
                break
            known = len(self.judged.values)
            self._judge_neighbours(best)
            done.update(best)
            better = [row for row in self.judged.rank_rows()[:N_EXCHANGED] if row >= known]
            if not better:
                break
            curved |= self._climb_from_rows(better)
        return curved

    def _climb_from_rows(self, rows: Sequence[int]) -> bool:
        """Climb from judged genomes; True if random steps are to follow."""
        if not rows:
            return False
        return not self.value.differentiable or self._climb_from_codes(self.judged.x[list(rows)])

    def _wander_around_best(self) -> None:
        """Judge shorter and shorter random steps around the best.

        For values without slopes, and along curved borders.
        """
        for number in range(WANDER_ROUNDS):
            codes = self.layout.find_images(self.judged.x[self.judged.rank_rows()[:N_WANDERERS]])
            dead = self.find_dead_columns(codes)
            count = self._scale_count(WANDER_STEPS)
            points = [
                self.layout.random_steps(c, d, count, self.rng) for c, d in zip(codes, dead, strict=True)
            ]
            near = np.repeat(codes, count, axis=0)
            self.judge_points(near + (np.concatenate(points) - near) * 0.5**number)

    def _climb_from_codes(self, starts: FloatArray) -> bool:
        """Climb from codes (n, d), and judge the repaired results.

        Returns:
            True if repair moved any far: a stepped or whole coordinate, or a rule that is not linear.
        """
        free = self.layout.free_columns(starts, self.find_dead_columns(starts))
        kept = free.any(axis=1)
        starts, free = starts[kept], free[kept]
        if not len(starts):
            return False
        starts = self.layout.find_images(starts)
        low, high = self.layout.climb_bounds(starts, free)
        rounds = self._scale_count(CLIMB_EVALUATIONS)
        tops = climb(self.value, starts, free, low, high, self.layout.rows, rounds)
        off = np.abs(self.layout.shorten(self.judge_points(tops) - tops)).max(axis=1) > LARGE_REPAIR
        if off.any():
            self._halve_steps(starts[off], tops[off])
        return bool(off.any())

    def _halve_steps(self, starts: FloatArray, tops: FloatArray) -> None:
        """Bisect the ways from codes (n, d) to climbed points that repair moved.

        The border of the allowed part lies between the two.
        """
        low, high = np.zeros((len(starts), 1)), np.ones((len(starts), 1))
        for _ in range(N_HALVINGS):
            share = 0.5 * (low + high)
            points = starts + share * (tops - starts)
            moved = np.abs(self.layout.shorten(self.judge_points(points) - points))
            kept = moved.max(axis=1, keepdims=True) <= LARGE_REPAIR
            low, high = np.where(kept, share, low), np.where(kept, high, share)

    def _judge_neighbours(self, rows: Sequence[int]) -> None:
        """Judge genomes that differ from given ones in one choice."""
        codes = self.judged.x[list(rows)]
        dead = self.find_dead_columns(codes)
        points = [self.layout.list_neighbours(code, own) for code, own in zip(codes, dead, strict=True)]
        self.judge_points(np.concatenate(points), self._scale_count(REPAIRED_NEIGHBOURS) * len(rows))

    def _choose_starts(self, count: int) -> list[int]:
        """Choose rows to climb from: the best that lie apart.

        At most two have the same choices at first.
        """
        order = self.judged.rank_rows()[: 40 * count]
        patterns = self.layout.choice_patterns(self.judged.x[order])
        chosen: list[int] = []
        counts: dict[bytes, int] = {}
        for limit in (2, count):
            for row, pattern in zip(order, patterns, strict=True):
                if len(chosen) >= count:
                    return chosen
                if row in chosen or counts.get(pattern, 0) >= limit:
                    continue
                if chosen and self._distance_to(chosen, row) < START_DISTANCE:
                    continue
                chosen.append(row)
                counts[pattern] = counts.get(pattern, 0) + 1
        return chosen

    def _distance_to(self, rows: Sequence[int], row: int) -> float:
        """Smallest of the largest differences of coordinates between a judged row and others."""
        apart = np.abs(self.layout.shorten(self.judged.x[list(rows)] - self.judged.x[row]))
        return float(apart.max(axis=1).min())

    def best_answers(self, keep: int, new: IsNew | None) -> list[tuple[Genome, float]]:
        """Best genomes that may be answers, with values; none nearly another.

        Args:
            keep: number of answers wanted.
            new: True for a genome that may be an answer; None allows all.
        """
        rows: list[int] = []
        for row in self.judged.rank_rows():
            if len(rows) == keep:
                break
            if rows and self._distance_to(rows, row) < ANSWER_DISTANCE:
                continue
            if new is None or new(self.judged.genomes[row]):
                rows.append(row)
        return [(self.judged.genomes[row], float(self.judged.values[row])) for row in rows]
