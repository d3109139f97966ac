"""The inner search of Bayesian optimization: where in a vector space an acquisition function is highest.

Acquisition functions are flat nearly everywhere, with narrow peaks near what is known to be good. So the search looks
at many points, most of them near the best trials, breeds on the choices that a genome holds (categories, which
components are present), climbs from the best along gradients within the linear rules, and exchanges single choices
between climbs. Whatever it hands back was repaired by the space itself and is judged where it lies after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import BoolArray, FloatArray
from invdesign.candidate import Genome
from invdesign.optimizers.bayesian.contracts import Value
from invdesign.optimizers.bayesian.layout import HELD, Layout
from invdesign.optimizers.bayesian.polish import climbed
from invdesign.optimizers.bayesian.trust import Box, candidates_in, sobol
from invdesign.optimizers.breeding import Breeder, Kit, Offspring
from invdesign.optimizers.common import by_arity, one_of
from invdesign.optimizers.vectors import Steps
from invdesign.protocols import Context, VectorSpace
from invdesign.rng import Rng

New = Callable[[Genome], bool]

# Counts, for an effort of 1.
SCATTERED = 256  # points spread over the space
STARTED = 32  # genomes of the space's own start operators, where rules or choices make most points of the cube useless
AROUND = 192  # points around the best trials
AGAIN, PROMISING = 96, 4  # points around what was worth most of all that, and around how many of it
ANCHORS = 20  # trials that points are scattered around
REPAIRED = 48  # points around trials that are repaired, of spaces in which that takes time
GENERATIONS, CHILDREN = 4, 24  # bred where genomes hold choices
PARENTS = 20
CROSSOVER = 0.4  # share of children with two parents or more
CLIMBS = 6  # starts that climb together
ROUNDS = 40  # evaluations of each climb
EXCHANGES = 3  # times that choices are exchanged between climbs, at most
EXCHANGED = 3  # genomes whose choices are exchanged
JUDGED = 16  # of their neighbours, how many are repaired
CHOSEN = 10  # starts where genomes hold choices
REFINED, WANDERERS, STEPS = 5, 2, 16  # rounds of random steps, from how many genomes, and how many from each
HALVINGS = 5  # of the way to what was climbed to, where that is not allowed
FAR = 1e-3  # by which repair moves what was climbed to before that is worth a second look
APART = 0.05  # largest difference of coordinates below which two starts are one
SAME = 1e-6  # largest difference of coordinates below which two answers are one


def search_vector(
    context: Context,
    space: VectorSpace,
    value: Value,
    anchors: Sequence[Genome],
    box: Box | None,
    rng: Rng,
    keep: int = 8,
    effort: float = 1.0,
    new: New | None = None,
) -> list[tuple[Genome, float]]:
    """Genomes of a vector space with the highest values that a search finds.

    Args:
        context: of the event; its cache keeps the operators.
        space: whose genomes are sought.
        value: what a candidate is worth, judged at `space.encode` of it.
        anchors: good genomes to search around, best first; may be empty.
        box: part of the cube to stay in; None for all. Categories and absent components lie in every box.
        rng: for everything random.
        keep: how many answers are wanted.
        effort: factor on what is looked at.
        new: whether a genome may be an answer; all may where not given.

    Returns:
        Different canonical genomes and their values, best first; fewer than `keep`, or none, where no more were
        found.
    """
    search = _Search(context, space, value, Layout(space.domain(), box), rng, effort)
    search.look(anchors)
    if search.layout.discrete:
        search.breed()
    search.refine()
    found = search.best(keep, new)
    if not found and box is not None:  # rules may leave nothing within a small box
        return search_vector(context, space, value, anchors, None, rng, keep, effort, new)
    return found


@dataclass
class _Found:
    """Genomes that were judged, in the order of finding.

    Attributes:
        x: shape (n, d), their codes.
        values: shape (n,).
    """

    genomes: list[Genome]
    x: FloatArray
    values: FloatArray

    def order(self) -> list[int]:
        """Rows from best to worst; of equals the first found."""
        return [int(row) for row in np.argsort(-self.values, kind="stable")]


class _Search:
    """One search; it holds what was judged so far."""

    def __init__(
        self, context: Context, space: VectorSpace, value: Value, layout: Layout, rng: Rng, effort: float
    ) -> None:
        self.context = context
        self.space = space
        self.value = value
        self.layout = layout
        self.rng = rng
        self.effort = effort
        self.found = _Found([], np.zeros((0, len(layout))), np.zeros(0))
        self._known: set[bytes] = set()

    def _many(self, count: int) -> int:
        return max(round(count * self.effort), 2)

    # Judging.

    def judge(self, genomes: Iterable[Genome]) -> FloatArray:
        """Take in genomes that were not seen and lie in the box; the codes (n, d) of all that were given."""
        listed = list(genomes)
        if not listed:
            return np.zeros((0, len(self.layout)))
        x = self.space.encode(listed)
        fresh = []
        for row in np.flatnonzero(self.layout.inside(x)).tolist():
            key = x[row].tobytes()
            if key not in self._known:
                self._known.add(key)
                fresh.append(row)
        if fresh:
            values = self.value.flat(x[fresh])
            sound = np.isfinite(values) | (values == np.inf)
            found = self.found
            found.genomes += [listed[row] for row, kept in zip(fresh, sound, strict=True) if kept]
            found.x = np.concatenate([found.x, x[fresh][sound]])
            found.values = np.concatenate([found.values, values[sound]])
        return x

    def settle(self, points: FloatArray, most: int | None = None) -> FloatArray:
        """Judge what the space makes of points (n, d); of more than `most`, those that promise most as they are."""
        points = self.layout.placed(np.clip(points, 0.0, 1.0))
        if most is not None and len(points) > most:
            points = points[np.argsort(-self._promise(points), kind="stable")[:most]]
        return self.judge(self.space.decode(points)) if len(points) else points

    def _promise(self, points: FloatArray) -> FloatArray:
        """Values at points (n, d) as they are; of those that break rules, less than of all that do not."""
        values = np.nan_to_num(self.value.flat(points), nan=-np.inf, neginf=-1e300, posinf=1e300)
        broken = self.layout.rows.excess(points) > HELD
        spread = float(np.ptp(values)) if len(values) else 0.0
        return values - np.where(broken, 0.25 * spread, 0.0)

    @property
    def _slow(self) -> bool:
        """Whether repairs take time, and random points of the cube are all repaired."""
        return bool(self.layout.rows) or bool(self.layout.domain.sparse)

    # Looking around.

    def look(self, anchors: Sequence[Genome]) -> None:
        """Judge the anchors, points around them, and points all over the space or the box."""
        anchors = anchors[:ANCHORS]
        codes = self.space.encode(anchors) if len(anchors) else np.zeros((0, len(self.layout)))
        self.judge(anchors)
        self._spread(codes)
        self._around(codes, self._many(AROUND))
        if not self.layout.discrete:  # else breeding goes on from there
            self._around(self.found.x[self.found.order()[:PROMISING]], self._many(AGAIN))

    def _spread(self, codes: FloatArray) -> None:
        width = len(self.layout)
        if self._slow:
            starts = by_arity(self.space)[0]
            drawn = (one_of(starts, self.rng)[1].apply((), self.rng) for _ in range(self._many(STARTED)))
            self.judge([genome for genome in drawn if genome is not None])
            return
        count = self._many(SCATTERED)
        box = self.layout.box
        if box is None:
            self.settle(sobol(count, width, self.rng))
            return
        centre = codes[0] if len(codes) else 0.5 * (box.low + box.high)
        whole = Box(self.layout.low, self.layout.high)
        self.settle(candidates_in(whole, centre, self.rng, count))
        self.settle(whole.low + sobol(max(count // 4, 2), width, self.rng) * (whole.high - whole.low))

    def _around(self, codes: FloatArray, count: int) -> None:
        """Random steps around codes (n, d), more of them around the first."""
        if not len(codes):
            return
        codes = self.layout.placed(codes)
        dead = self.dead(codes)
        shares = np.arange(1, len(codes) + 1) ** -0.5
        counts = np.ceil(count * shares / shares.sum()).astype(int).tolist()
        points = [
            self.layout.steps(code, own, number, self.rng)
            for code, own, number in zip(codes, dead, counts, strict=True)
        ]
        self.settle(np.concatenate(points), self._many(REPAIRED) if self._slow else None)

    def dead(self, codes: FloatArray) -> BoolArray:
        """Shape (n, d): columns of dimensions that the genomes at codes (n, d) lack.

        Where a coordinate says nothing, the space gives it back whatever it was.
        """
        found = np.zeros(codes.shape, dtype=np.bool_)
        columns = np.flatnonzero(self.layout.conditional)
        if not len(columns) or not len(codes):
            return found
        moved = np.repeat(codes, len(columns), axis=0)
        rows = np.arange(len(moved))
        place = np.tile(columns, len(codes))
        moved[rows, place] = np.where(moved[rows, place] > 0.5, 0.01, 0.99)
        back = self.space.encode(self.space.decode(moved))[rows, place].reshape(len(codes), len(columns))
        found[:, columns] = np.abs(back - codes[:, columns]) < 1e-12
        return found

    # Breeding.

    def breed(self) -> None:
        """Some generations of evolution on the value, by the operators of the genetic algorithm."""
        breeder = Breeder(self._kit, CROSSOVER, 2, None, Steps())
        for _ in range(GENERATIONS):
            rows = self.found.order()[: self._many(PARENTS)]
            if not rows:
                return
            members = [Offspring(self.found.genomes[row]) for row in rows]
            pool = breeder.pool(members)
            names = [breeder.operator(len(members), self.rng) for _ in range(self._many(CHILDREN))]
            before = len(self.found.values)
            self.judge([child.genome for child in breeder.litter(names, pool, self.rng) if child is not None])
            if len(self.found.values) == before:
                return

    @property
    def _kit(self) -> Kit:
        """The operators, in the context's cache: one value is sought, whatever the problem's objectives are."""
        name = "bayesian search kit"
        kit = self.context.cache.get(name)
        if not isinstance(kit, Kit):
            kit = self.context.cache[name] = Kit(self.space, vectors=True, single=True)
        return kit

    # Refining.

    def refine(self) -> None:
        """Climb from the best; exchange choices; climb from what that found; walk along borders that are not straight."""
        curved = self._improve(self._starts(self._many(CHOSEN if self.layout.discrete else CLIMBS)))
        if self.layout.sizes.any() or self.layout.domain.sparse:
            curved |= self._exchanges()
        if curved:
            self._wander()

    def _exchanges(self) -> bool:
        """Exchange choices of the best, climb from what is better, until nothing is; whether repair moved any far."""
        done: set[int] = set()
        curved = False
        for _ in range(EXCHANGES):
            best = [row for row in self.found.order()[:EXCHANGED] if row not in done]
            if not best:
                break
            known = len(self.found.values)
            self._exchange(best)
            done.update(best)
            better = [row for row in self.found.order()[:EXCHANGED] if row >= known]
            if not better:
                break
            curved |= self._improve(better)
        return curved

    def _improve(self, rows: Sequence[int]) -> bool:
        """Climb from found genomes; whether random steps are to follow."""
        if not rows:
            return False
        return not self.value.differentiable or self._climb(self.found.x[list(rows)])

    def _wander(self) -> None:
        """Random steps around the best, shorter and shorter: for values without slopes, and along curved borders."""
        for number in range(REFINED):
            codes = self.found.x[self.found.order()[:WANDERERS]]
            dead = self.dead(codes)
            count = self._many(STEPS)
            points = [self.layout.steps(c, d, count, self.rng) for c, d in zip(codes, dead, strict=True)]
            near = np.repeat(codes, count, axis=0)
            self.settle(near + (np.concatenate(points) - near) * 0.5**number)

    def _climb(self, starts: FloatArray) -> bool:
        """Climb from codes (n, d), and judge where that leads after repair.

        Returns:
            Whether repair moved any far: what is stepped or whole, or refused by a rule that is not linear.
        """
        free = self.layout.free(starts, self.dead(starts))
        kept = free.any(axis=1)
        starts, free = starts[kept], free[kept]
        if not len(starts):
            return False
        low, high = self.layout.bounds(starts, free)
        rounds = self._many(ROUNDS)
        tops = climbed(self.value, starts, free, low, high, self.layout.rows, rounds)
        off = np.abs(self.settle(tops) - tops).max(axis=1) > FAR
        if off.any():
            self._halved(starts[off], tops[off])
        return bool(off.any())

    def _halved(self, starts: FloatArray, tops: FloatArray) -> None:
        """Judge points on the ways from codes (n, d) to tops (n, d) that repair moves, nearer and nearer to the border."""
        low, high = np.zeros((len(starts), 1)), np.ones((len(starts), 1))
        for _ in range(HALVINGS):
            share = 0.5 * (low + high)
            points = starts + share * (tops - starts)
            kept = np.abs(self.settle(points) - points).max(axis=1, keepdims=True) <= FAR
            low, high = np.where(kept, share, low), np.where(kept, high, share)

    def _exchange(self, rows: Sequence[int]) -> None:
        """Judge what differs from some genomes in one choice."""
        codes = self.found.x[list(rows)]
        dead = self.dead(codes)
        points = [self.layout.neighbours(code, own) for code, own in zip(codes, dead, strict=True)]
        self.settle(np.concatenate(points), self._many(JUDGED) * len(rows))

    def _starts(self, count: int) -> list[int]:
        """Rows to climb from: the best that lie apart, at most two with the same choices at first."""
        order = self.found.order()[: 40 * count]
        patterns = self.layout.pattern(self.found.x[order])
        chosen: list[int] = []
        counts: dict[bytes, int] = {}
        for limit in (2, count):
            for row, pattern in zip(order, patterns, strict=True):
                if len(chosen) >= count:
                    return chosen
                if row in chosen or counts.get(pattern, 0) >= limit:
                    continue
                if chosen and np.abs(self.found.x[chosen] - self.found.x[row]).max(axis=1).min() < APART:
                    continue
                chosen.append(row)
                counts[pattern] = counts.get(pattern, 0) + 1
        return chosen

    def best(self, keep: int, new: New | None) -> list[tuple[Genome, float]]:
        """The best that may be answers, none of them nearly another."""
        rows: list[int] = []
        for row in self.found.order():
            if len(rows) == keep:
                break
            x = self.found.x[row]
            if rows and np.abs(self.found.x[rows] - x).max(axis=1).min() < SAME:
                continue
            if new is None or new(self.found.genomes[row]):
                rows.append(row)
        return [(self.found.genomes[row], float(self.found.values[row])) for row in rows]
