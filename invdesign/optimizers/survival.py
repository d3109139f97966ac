"""Survival: order of merit with NSGA-II's crowding, and niches for one objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.problem import Merit, Scores
from invdesign.protocols import History

Niching = Literal["parents", "restricted", "none"]
Features = Callable[[Sequence[int]], FloatArray]  # features (n, d) of trials
Rivals = Mapping[int, Sequence[int]]  # by trial: those it competes with; of no niche where empty

# Plain numbers: reading a member of an enumeration takes longer than comparing with it.
FEASIBLE, GATED, PENDING = int(Merit.FEASIBLE), int(Merit.GATED), int(Merit.PENDING)
EQUAL_DIGITS = 9  # of values that are equal: on the hull a distance is 0 up to rounding (chosen)
MAX_VALUE = (
    1e150  # objective values are clipped here, so that no difference of two overflows into NaN (chosen)
)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Finished trials from best to worst.

    Attributes:
        ids: numbers of the trials, best first; among equals the newer first.
        scores: of the trials, in that order.
    """

    ids: tuple[int, ...]
    scores: Scores

    @property
    def count_with_results(self) -> int:
        """Number of trials with a result, at least of early stages.

        Children can inherit from these.
        """
        return int(np.count_nonzero(self.scores.merit <= GATED))

    @property
    def count_eligible(self) -> int:
        """Number of trials that may survive.

        Failed and infeasible ones do only where there is nothing better.
        """
        return self.count_with_results or len(self.ids)


def rank_trials(history: History, ids: Sequence[int]) -> Ranking:
    """Rank finished trials by merit, Pareto rank and crowding distance.

    The answer depends on the set of ids, not on their order. The newer of equals comes first, so that the search drifts
    over plateaus instead of standing still.

    Args:
        history: the run's.
        ids: numbers of trials; pending ones are left out.

    Source:
        Deb, Pratap, Agarwal & Meyarivan, IEEE Trans. Evol. Comput. 6, 182 (2002), constraints as in section VI.
    """
    scores = history.scores(sorted(set(ids), reverse=True))
    if (scores.merit == PENDING).any():
        scores = scores.select_rows(np.flatnonzero(scores.merit != PENDING))
    values = scores.values
    if not (np.abs(values) <= MAX_VALUE).all():  # NaN included
        values = np.clip(np.where(np.isnan(values), MAX_VALUE, values), -MAX_VALUE, MAX_VALUE)
    rank, room = scores.tie_breakers(), np.zeros(len(values))
    feasible = np.flatnonzero(scores.merit == FEASIBLE)
    if values.shape[1] == 1:
        rank[feasible] = values[feasible, 0]
    elif len(feasible):
        rank[feasible], room[feasible] = _sort_fronts(values[feasible])
    order = np.lexsort((-room, rank, scores.merit))
    ordered = replace(scores, values=values).select_rows(order)
    return Ranking(tuple(ordered.ids.tolist()), ordered)


def _sort_fronts(values: FloatArray) -> tuple[IntArray, FloatArray]:
    """Front number and crowding distance of each row, by DEAP's logarithmic sort.

    Args:
        values: shape (n, m), m > 1.

    Source:
        Fortin, Grenier & Parizeau, Proc. GECCO 2013, 615 (the sort); DEAP, J. Mach. Learn. Res. 13, 2171 (2012).
    """
    from deap.tools.emo import assignCrowdingDist, sortLogNondominated

    make = _fitness_type(values.shape[1])
    individuals = [_Individual(place, make(row)) for place, row in enumerate(values.tolist())]
    front, room = np.zeros(len(values), dtype=np.int64), np.zeros(len(values))
    for number, members in enumerate(sortLogNondominated(individuals, len(individuals))):
        assignCrowdingDist(members)
        for member in members:
            front[member.place] = number
            room[member.place] = member.fitness.crowding_dist
    return front, room


@dataclass(slots=True)
class _Individual:
    """A trial in the form of DEAP: anything with a `fitness`."""

    place: int
    fitness: Any


@cache
def _fitness_type(objectives: int) -> Callable[[Sequence[float]], Any]:
    """DEAP's fitness class for that many minimised objectives.

    DEAP's `creator` would keep its classes in a module's globals.
    """
    from deap import base

    return type("Fitness", (base.Fitness,), {"weights": (-1.0,) * objectives})


def select_best(ranked: Ranking, k: int) -> list[int]:
    """Select the first `k` of a ranking that may survive.

    Failed and infeasible trials survive only where there is nothing better.

    Args:
        ranked: finished trials.
        k: number of survivors.
    """
    return list(ranked.ids[: min(k, ranked.count_eligible)])


def select_unlike(
    ranked: Ranking, k: int, fingerprints: FloatArray, alike: float, niches: Sequence[str]
) -> list[int]:
    """Select survivors of which no two are one crystal, the best of each composition first.

    Args:
        ranked: n finished trials with results, best first.
        k: number of survivors.
        fingerprints: shape (n, d), of the trials.
        alike: distance below which two trials are one crystal; the better one stays.
        niches: n names of compositions. The best of every niche come before the second of any, so that one composition
            does not fill the population.

    Returns:
        The survivors, best first.
    """
    kept: list[int] = []
    for row in range(len(fingerprints)):
        if not is_alike(fingerprints[row], fingerprints[kept], alike):
            kept.append(row)
    seen: Counter[str] = Counter()
    turns = []
    for row in kept:
        turns.append(seen[niches[row]])
        seen[niches[row]] += 1
    chosen = sorted(range(len(kept)), key=lambda place: turns[place])[:k]
    return [ranked.ids[kept[place]] for place in sorted(chosen)]


def count_tries(
    tried: Mapping[str, int], ranked: Ranking, niches: Sequence[str], members: Collection[int]
) -> dict[str, int]:
    """Count the trials of each composition since its best was found.

    Args:
        tried: counts before these newcomers, by niche.
        ranked: n finished trials with results, best first.
        niches: n names of their compositions.
        members: of the population that the newcomers come into; all others are new.
    """
    counts = dict(tried)
    best = {niche: row for row, niche in reversed(list(enumerate(niches)))}
    for row, niche in enumerate(niches):
        if ranked.ids[row] not in members:
            counts[niche] = counts.get(niche, 0) + 1
    for niche, row in best.items():
        if ranked.ids[row] not in members:
            counts[niche] = 0
    return counts


def order_equals(
    kept: Sequence[int], ranked: Ranking, niches: Sequence[str], tried: Mapping[str, int]
) -> list[int]:
    """Sort survivors of equal value by how often their composition was tried, the least first.

    On a hull all phases have the distance 0: those that were tried least promise most.

    Args:
        kept: survivors, best first.
        ranked: n finished trials with results, best first.
        niches: n names of their compositions.
        tried: trials of each composition since its best was found.
    """
    place = {id: row for row, id in enumerate(ranked.ids)}
    values, merit = ranked.scores.values, ranked.scores.merit
    if values.shape[1] > 1:
        return list(kept)

    def rank_member(id: int) -> tuple[int, float, int]:
        row = place[id]
        value = round(float(values[row, 0]), EQUAL_DIGITS) if merit[row] == FEASIBLE else float(row)
        return int(merit[row]), value, tried.get(niches[row], 0)

    return sorted(kept, key=rank_member)


def find_repeated(
    ids: Sequence[int], fingerprints: FloatArray, alike: float, members: Collection[int]
) -> set[int]:
    """Find the newcomers that are a member, or an earlier newcomer, again.

    Also those of a slightly lower energy: where a relaxation stops is no discovery.

    Args:
        ids: numbers of n trials, members and newcomers.
        fingerprints: shape (n, d), of the trials.
        alike: distance below which two trials are one crystal.
        members: of the population that the newcomers come into.
    """
    known = [row for row, id in enumerate(ids) if id in members]
    found: set[int] = set()
    for row in sorted(set(range(len(ids))).difference(known), key=lambda row: ids[row]):
        if is_alike(fingerprints[row], fingerprints[known], alike):
            found.add(ids[row])
        known.append(row)
    return found


def is_alike(fingerprint: FloatArray, others: FloatArray, alike: float) -> bool:
    """True if a fingerprint (d,) lies nearer than `alike` to one of `others` (n, d)."""
    return bool((np.linalg.norm(others - fingerprint, axis=1) < alike).any())


def select_by_niche(
    ranked: Ranking,
    population: Sequence[int],
    arrived: Sequence[int],
    k: int,
    rivals: Rivals,
    features: Features,
) -> list[int]:
    """Select survivors where each newcomer competes with one member.

    The population then closes in on several optima. A newcomer takes the place of its rival where it is no worse: of the
    nearest, in the features, of those that `rivals` names; where it names none, of the worst member. The best always
    survives.

    Args:
        ranked: of population and newcomers.
        population: members so far, k at most.
        arrived: newcomers, in the order in which they compete.
        k: size of the population; while it is smaller, newcomers join.
        rivals: by newcomer, the members it competes with; of members that were replaced, their heirs.
        features: of trials by number; asked for only where there is a choice.

    Returns:
        The members, best first.

    Source:
        Mahfoud, Proc. PPSN 1992, 27 (competing with parents); Harik, Proc. ICGA 1995, 24 (with all members).
    """
    place = {id: number for number, id in enumerate(ranked.ids)}
    bearing = ranked.count_eligible
    members = [id for id in population if place.get(id, bearing) < bearing]
    slots = {id: number for number, id in enumerate(members)}
    places = [place[id] for id in members]
    for id in arrived:
        if place.get(id, bearing) >= bearing:
            continue
        if len(members) < k:
            slots[id] = len(members)
            members.append(id)
            places.append(place[id])
            continue
        named = [slots[rival] for rival in rivals.get(id, ()) if rival in slots]
        slot = _nearest_slot(id, members, named, features) if named else places.index(max(places))
        if place[id] < places[slot]:
            members[slot] = id
            slots[id] = slot
            places[slot] = place[id]
    return sorted(set(members), key=place.__getitem__)


def _nearest_slot(id: int, members: Sequence[int], slots: Sequence[int], features: Features) -> int:
    """Slot whose member is nearest to trial `id`; the first on a tie."""
    if len(set(slots)) == 1:
        return slots[0]
    x = features([id, *(members[slot] for slot in slots)])
    return slots[int(np.argmin(((x[1:] - x[0]) ** 2).sum(axis=1)))]
