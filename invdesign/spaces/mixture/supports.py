"""Sets of present components, drawn so that the mixtures cover the feasible set evenly."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import cached_property
from itertools import combinations, product

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.rng import Rng, rng_for
from invdesign.spaces.mixture.polytope import Region
from invdesign.spaces.mixture.system import Group, System

MAX_LISTED_SETS = 5_000  # sets of components up to which all are listed (chosen)
MAX_CACHED_REGIONS = 6_000  # regions kept in memory (chosen)
TEST_DRAWS = 2_000  # plain draws that measure the share of feasible ones (chosen)
ENOUGH_FEASIBLE = 0.03  # share of feasible plain draws above which rejection is fastest (chosen)
# Fractions this far apart count as different where sets of different size are weighed (chosen).
WEIGHT_RESOLUTION = 0.1
SET_DRAWS = 100  # sets drawn before the integer solver is used (chosen)
NEAREST_SETS = 40  # sets tried for a repair before the integer solver is used (chosen)


class Supports:
    """The feasible set of a system without steps, as a union of regions.

    There is one region per set of components.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self._regions: OrderedDict[bytes, Region] = OrderedDict()

    def find_region(self, present: BoolArray) -> Region:
        """Region of the fractions of the components `present` (n,).

        The others are 0.
        """
        key = present.tobytes()
        found = self._regions.get(key)
        if found is None:
            kept = np.flatnonzero(present)
            found = Region(self.system.rules.restrict_to(kept, self.system.least[kept]))
            self._regions[key] = found
            if len(self._regions) > MAX_CACHED_REGIONS:
                self._regions.popitem(last=False)
        return found

    def is_feasible(self, present: BoolArray) -> bool:
        """Check whether a mixture of exactly the components `present` (n,) exists."""
        needed = self.system.rules.lower > 0
        return not (needed & ~present).any() and not self.find_region(present).empty

    def sample(self, rng: Rng) -> FloatArray | None:
        """Draw a point (n,) with `rng`, uniform over the feasible set.

        Returns None where none is found.

        Where plain draws (a set of components, then fractions from the flat Dirichlet distribution) are feasible
        often enough, they are repeated until one is: exactly uniform. Else a set is drawn by the volume of its
        region and a point uniformly from that.
        """
        if self._uses_rejection:
            return self._draw_by_rejection(rng)
        if not self.system.is_counted:
            return self._sample_within(np.ones(len(self.system), dtype=np.bool_), rng)
        present = self._draw_by_volume(rng) if self.listed_sets is not None else self._draw_by_size(rng)
        return None if present is None else self._sample_within(present, rng)

    def draw_corner(self, rng: Rng) -> FloatArray | None:
        """Draw a vertex (n,) of one set's region with `rng`.

        Where sets are listed and plain draws are seldom feasible, each feasible set is equally likely; else a set is drawn as
        plain draws do. Without counts all components make up the one set.
        """
        if not self.system.is_counted:
            present: BoolArray | None = np.ones(len(self.system), dtype=np.bool_)
        elif self._uses_rejection or self.listed_sets is None:
            present = self._draw_by_size(rng)
        else:
            some = np.flatnonzero(self.set_weights > 0)
            present = self.listed_sets[some[int(rng.random() * len(some))]] if len(some) else None
        if present is None:
            return None
        return self._fill_present(present, self.find_region(present).draw_corner(rng))

    def repair_point(self, y: FloatArray) -> FloatArray | None:
        """Find a feasible point near `y` (n,).

        First the components with the largest fractions in y are chosen, then the nearest fractions.
        """
        present = self.choose_present(y)
        found = self.project_onto(present, y)
        if found is not None or not self.system.is_counted:
            return found
        if self.listed_sets is not None:
            order = np.argsort(-(self.listed_sets @ self._presence_gains(y)), kind="stable")
            for index in order[:NEAREST_SETS]:
                found = self.project_onto(self.listed_sets[index], y)
                if found is not None:
                    return found
        solved = self.system.solve_nearest(y)
        return None if solved is None else self.project_onto(self.system.find_present(solved), y)

    def choose_present(self, y: FloatArray) -> BoolArray:
        """Choose the components with the largest fractions in `y` (n,).

        Each group gets as many as it allows.
        """
        gains, present = self._presence_gains(y), np.ones(len(self.system), dtype=np.bool_)
        for group in self.system.groups:
            if not group.is_counted:
                continue
            own = gains[group.members].copy()
            needed = self.system.rules.lower[group.members] > 0
            own[needed] = np.inf
            order = np.argsort(-own, kind="stable")
            wanted = int((own >= 0).sum()) if group.least == 0 else int((own > 0).sum())
            count = min(max(wanted, group.at_least, 1 if group.total[0] > 0 else 0), group.at_most)
            present[group.members[order[count:]]] = False
        return present

    def _presence_gains(self, y: FloatArray) -> FloatArray:
        """Shape (n,): squared distance to y that each component's presence saves."""
        least, upper = self.system.least, self.system.rules.upper
        off = np.maximum(np.maximum(least - y, y - upper), 0.0)
        gains: FloatArray = np.maximum(y, 0.0) ** 2 - off**2
        return np.where(least > 0, gains, np.maximum(gains, 0.0))

    def project_onto(self, present: BoolArray, y: FloatArray) -> FloatArray | None:
        """Project `y` (n,) onto the region of the components `present` (n,).

        Returns None where it is empty.
        """
        if (present < (self.system.rules.lower > 0)).any():
            return None
        return self._fill_present(present, self.find_region(present).project_point(y[present]))

    def _sample_within(self, present: BoolArray, rng: Rng) -> FloatArray:
        return _expand_to_all(present, self.find_region(present).sample(rng))

    def _fill_present(self, present: BoolArray, values: FloatArray | None) -> FloatArray | None:
        return None if values is None else _expand_to_all(present, values)

    @cached_property
    def listed_sets(self) -> BoolArray | None:
        """Shape (s, n): all sets of components that the counts allow.

        It is None where there are too many.

        Only the largest sets are listed where no smallest fraction tells smaller ones apart from them.
        """
        options = [_list_options(group, self.system) for group in self.system.groups]
        if any(option is None for option in options):
            return None
        known = [option for option in options if option is not None]
        if math.prod(map(len, known)) > MAX_LISTED_SETS:
            return None
        found = np.zeros((math.prod(map(len, known)), len(self.system)), dtype=np.bool_)
        for row, choice in enumerate(product(*known)):
            for members in choice:
                found[row, members] = True
        return found

    @cached_property
    def set_weights(self) -> FloatArray:
        """Shape (s,): volume of each listed set's region in units of the resolution.

        It is 0 for an empty region.
        """
        assert self.listed_sets is not None
        found = np.zeros(len(self.listed_sets))
        for row, present in enumerate(self.listed_sets):
            if self.is_feasible(present):
                region = self.find_region(present)
                corners = region.vertices
                if corners is not None and not len(corners):
                    continue
                volume = (
                    region.volume
                    if corners is not None or len(found) <= 50
                    else _simplex_volume(region.dimension)
                )
                found[row] = max(volume, 1e-300) / WEIGHT_RESOLUTION**region.dimension
        return found

    @cached_property
    def _cumulated_weights(self) -> FloatArray:
        return np.cumsum(self.set_weights)

    def _draw_by_volume(self, rng: Rng) -> BoolArray | None:
        """Draw a listed set by the volume of its region."""
        assert self.listed_sets is not None
        steps = self._cumulated_weights
        if not len(steps) or steps[-1] <= 0:
            return None
        index = int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))
        present: BoolArray = self.listed_sets[min(index, len(steps) - 1)]
        return present

    def _draw_by_size(self, rng: Rng) -> BoolArray | None:
        """Draw a feasible set where there are too many to list."""
        for _ in range(SET_DRAWS):
            present, _ = self._draw_plain(1, rng)
            chosen: BoolArray = present[0]
            if self.is_feasible(chosen):
                return chosen
        solved = self.system.solve_nearest(rng.random(len(self.system)) * self.system.rules.upper)
        return None if solved is None else self.system.find_present(solved)

    @cached_property
    def _uses_rejection(self) -> bool:
        """True if plain draws are feasible often enough for rejection."""
        _, feasible = self._draw_tested(TEST_DRAWS, rng_for(0, 0, "plain draws"))
        return bool(feasible.mean() >= ENOUGH_FEASIBLE)

    @cached_property
    def _block_size(self) -> int:
        """Number of plain draws per round of rejection, about two feasible ones."""
        _, feasible = self._draw_tested(TEST_DRAWS, rng_for(0, 0, "plain draws"))
        return int(min(max(2.0 / feasible.mean(), 2.0), 64.0))

    def _draw_by_rejection(self, rng: Rng) -> FloatArray | None:
        """Repeat plain draws until one is feasible."""
        for _ in range(1_000):
            points, feasible = self._draw_tested(self._block_size, rng)
            if feasible.any():
                x: FloatArray = points[int(feasible.argmax())]
                return x
        return None

    def _draw_tested(self, count: int, rng: Rng) -> tuple[FloatArray, BoolArray]:
        """Draw plain points (count, n), with a mask of the feasible ones."""
        rules = self.system.rules
        _, points = self._draw_plain(count, rng)
        values = points @ rules.matrix.T
        kept = (values >= rules.low - 1e-12).all(axis=1) & (values <= rules.high + 1e-12).all(axis=1)
        kept &= (points >= rules.lower - 1e-15).all(axis=1) & (points <= rules.upper).all(axis=1)
        kept &= (points >= 0).all(axis=1)
        return points, np.asarray(kept)

    def _draw_plain(self, count: int, rng: Rng) -> tuple[BoolArray, FloatArray]:
        """Draw sets (count, n) and points (count, n), group by group."""
        present = np.ones((count, len(self.system)), dtype=np.bool_)
        points = np.zeros((count, len(self.system)))
        for group, sizes in zip(self.system.groups, self._sizes, strict=True):
            members = group.members
            if group.is_counted:
                keys = rng.random((count, len(members)))
                keys[:, self.system.rules.lower[members] > 0] -= 1.0
                wanted = np.searchsorted(sizes, rng.random(count)) if len(sizes) > 1 else len(sizes) - 1
                wanted = np.asarray(wanted + group.at_most + 1 - len(sizes))
                rank = keys.argsort(axis=1).argsort(axis=1)
                present[:, members] = rank < wanted.reshape(-1, 1)
            points[:, members] = self._share_out_total(group, present[:, members], rng)
        return present, points

    def _share_out_total(self, group: Group, present: BoolArray, rng: Rng) -> FloatArray:
        """Share out the total evenly as fractions (count, k).

        A range of totals is one more share.
        """
        shares = rng.standard_exponential(present.shape) * present
        floor = self.system.least[group.members] * present
        low, high = group.total
        room = high - floor.sum(axis=1)
        whole = shares.sum(axis=1)
        if high > low:
            whole = whole + rng.standard_exponential(len(present))
        shared: FloatArray = floor + shares * (room / np.maximum(whole, 1e-300))[:, None]
        return shared

    @cached_property
    def _sizes(self) -> list[FloatArray]:
        """Per group, cumulated chances of the number of present components."""
        return [_cumulate_size_chances(group, self.system) for group in self.system.groups]


def _expand_to_all(present: BoolArray, values: FloatArray) -> FloatArray:
    """Expand values of the present components to all (n,), with 0 for the others."""
    x = np.zeros(len(present))
    x[present] = values
    return x


def _simplex_volume(dimension: int) -> float:
    """Volume of a unit simplex of a given dimension."""
    return math.sqrt(dimension + 1) / math.factorial(dimension)


def _smallest_size(group: Group, system: System) -> int:
    """Fewest components to consider in a group.

    Sets smaller than the largest matter only where a smallest fraction is set.
    """
    if group.least == 0.0:
        return group.at_most
    needed = int((system.rules.lower[group.members] > 0).sum())
    return min(max(group.at_least, needed, 1 if group.total[0] > 0 else 0), group.at_most)


def _list_options(group: Group, system: System) -> list[IntArray] | None:
    """List the sets of members that may be present.

    Returns None where there are too many.
    """
    if not group.is_counted:
        return [group.members]
    sizes = range(_smallest_size(group, system), group.at_most + 1)
    needed = group.members[system.rules.lower[group.members] > 0]
    others = np.setdiff1d(group.members, needed)
    picks = [size - len(needed) for size in sizes if size >= len(needed)]
    if sum(math.comb(len(others), pick) for pick in picks) > MAX_LISTED_SETS:
        return None
    return [
        np.concatenate([needed, np.asarray(chosen, dtype=np.int64)])
        for pick in picks
        for chosen in combinations(others.tolist(), pick)
    ]


def _cumulate_size_chances(group: Group, system: System) -> FloatArray:
    """Cumulate the chances of the sizes of a group.

    A size counts by the volume of all its simplices in units of the resolution.
    """
    low = _smallest_size(group, system)
    free = len(group.members) - int((system.rules.lower[group.members] > 0).sum())
    chances = []
    for size in range(low, group.at_most + 1):
        taken = size - (len(group.members) - free)
        room = max(group.total[1] - size * group.least, 0.0) / WEIGHT_RESOLUTION
        dimension = max(size - 1, 0)
        chances.append(math.comb(free, max(taken, 0)) * _simplex_volume(dimension) * room**dimension)
    total = sum(chances)
    return np.cumsum(chances) / total if total > 0 else np.linspace(0, 1, len(chances) + 1)[1:]
