"""State of a swarm: ids of its particles' places, and the comparison of these places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.optimizers.archive import dominates
from invdesign.optimizers.common import State, inherited_genome
from invdesign.problem import Merit, Scores
from invdesign.protocols import Context, InheritingSpace, VectorSpace

Standing: TypeAlias = tuple[
    int, float, tuple[float, ...]
]  # merit, tie, minimised values: what bests are judged by

MAX_CACHED_PLACES = 2_000  # of trials, before the cache of their positions is emptied (chosen)


def initial_particles(particles: int) -> State:
    """State of that many `particles` before they start."""
    return {
        "last": [-1] * particles,  # the candidate each was met at last
        "best": [-1] * particles,  # the one each did best at
        "idle": [0] * particles,  # moves since then
        "moves": [0] * particles,  # moves in all: the number its candidate under way carries
        "free": list(range(particles)),  # those without a candidate under way, the longest waiting first
        "told": 0,
        "chaos": 0.37,  # of the logistic map; any number but 0, 0.25, 0.5, 0.75 and 1 will do
        "archive": [],
    }


class Places:
    """Positions and velocities of trials, from their memo or genome.

    The genome serves for trials that another optimizer asked for.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._history = context.history
        self._space = cast("VectorSpace", context.space)
        self._kept = cast(
            "dict[int, tuple[FloatArray, FloatArray]]", context.cache.setdefault("swarm places", {})
        )
        # Where children inherit relaxed genomes, a place changes when a user takes a result back.
        if len(self._kept) > MAX_CACHED_PLACES or isinstance(context.space, InheritingSpace):
            self._kept.clear()

    def load_places(self, ids: Sequence[int]) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities of the trials `ids`, each of shape (n, d)."""
        found = [self._load_place(id) for id in ids]
        return np.array([x for x, _ in found]), np.array([v for _, v in found])

    def _load_place(self, id: int) -> tuple[FloatArray, FloatArray]:
        if id not in self._kept:
            candidate = self._history.candidate(id)
            memo = candidate.proposal.memo
            genome = inherited_genome(self._context, id) or candidate.genome
            if isinstance(memo, dict) and "particle" in memo:
                place = np.array(memo["x"], dtype=np.float64), np.array(memo["v"], dtype=np.float64)
                if genome is not candidate.genome:  # the particle goes on from where relaxation took it
                    place = self._space.encode([genome])[0], place[1]
            else:
                x = self._space.encode([genome])[0]
                place = x, np.zeros_like(x)
            self._kept[id] = place
        return self._kept[id]


class Standings:
    """Present comparison of the particles' best places; results may be amended.

    Attributes:
        best: id by particle, -1 where it has none, or none that still counts.
        order: shape (particles,), place in the order of merit; the last for those without.
    """

    def __init__(self, context: Context, best: Sequence[int]) -> None:
        ids = sorted({id for id in best if id >= 0})
        place: dict[int, int] = {}
        if ids:
            scores = context.history.scores(ids)
            counted = [row for row in scores.order().tolist() if scores.merit[row] <= Merit.VIOLATING]
            place = {ids[row]: number for number, row in enumerate(counted)}
        self.best = [id if id in place else -1 for id in best]
        self.order: IntArray = np.array([place.get(id, len(best)) for id in best], dtype=np.int64)


def note_finished(context: Context, state: State, ids: Sequence[int], patience: int | None) -> State:
    """State after trials finished: arrivals, better places, places of others.

    Args:
        context: of the run.
        state: before.
        ids: numbers of the finished trials.
        patience: moves without a better place before a particle restarts; None for never.
    """
    state = {key: list(value) if isinstance(value, list) else value for key, value in state.items()}
    unique = list(dict.fromkeys(ids))
    known = sorted({*unique, *(id for id in state["best"] if id >= 0)})
    standing = _standings_by_id(context.history.scores(known))
    rng = context.rng("swarm")
    flying = moving_particles(state)
    for id in unique:
        memo = context.history.candidate(id).proposal.memo
        if not (isinstance(memo, dict) and "particle" in memo):
            _adopt_foreign(state, standing, id)
            continue
        i = cast("int", memo["particle"])
        if i in flying and memo.get("move") == state["moves"][i]:
            flying.discard(i)
            _note_arrival(state, standing, i, id, mutual=bool(rng.random() < 0.5))
    if patience is not None:
        _restart_stagnant(state, standing, patience)
    return state


def moving_particles(state: State) -> set[int]:
    """Particles whose candidate is under way, by the `state`."""
    return set(range(len(state["last"]))) - set(state["free"])


def _standings_by_id(scores: Scores) -> dict[int, Standing]:
    rows = zip(
        scores.ids.tolist(),
        scores.merit.tolist(),
        scores.tie_breakers().tolist(),
        scores.values.tolist(),
        strict=True,
    )
    return {id: (merit, tie, tuple(values)) for id, merit, tie, values in rows}


def _is_better(a: Standing, b: Standing, *, mutual: bool) -> bool:
    """True if place `a` replaces place `b`.

    `mutual` decides where neither dominates; an equal place replaces.
    """
    if a[:2] != b[:2]:
        return a[:2] < b[:2]
    if a[0] != Merit.FEASIBLE:
        return True
    if len(a[2]) == 1:
        return a[2] <= b[2]
    return dominates(a[2], b[2]) or (mutual and not dominates(b[2], a[2]))


def _note_arrival(state: State, standing: dict[int, Standing], i: int, id: int, *, mutual: bool) -> None:
    """Record that particle `i` arrived at trial `id` and is free."""
    state["last"][i] = id
    state["free"].append(i)
    state["told"] += 1
    best = state["best"][i]
    good = standing[id][0] <= Merit.VIOLATING
    if good and (best < 0 or _is_better(standing[id], standing[best], mutual=mutual)):
        state["best"][i] = id
        state["idle"][i] = 0
    else:
        state["idle"][i] += 1


def _adopt_foreign(state: State, standing: dict[int, Standing], id: int) -> None:
    """Let another optimizer's trial replace the worst best place, if better."""
    if standing[id][0] > Merit.VIOLATING or id in state["best"]:
        return
    bests: list[Any] = state["best"]
    if -1 in bests:
        bests[bests.index(-1)] = id
        return
    worst = max(range(len(bests)), key=lambda i: standing[bests[i]])
    if standing[id] < standing[bests[worst]]:
        bests[worst] = id
        state["idle"][worst] = 0


def _restart_stagnant(state: State, standing: dict[int, Standing], patience: int) -> None:
    """Restart particles without a better place for too long.

    The one that holds the best of all stays.
    """
    bests = state["best"]
    held = [i for i in range(len(bests)) if bests[i] >= 0]
    first = min(held, key=lambda i: standing[bests[i]]) if held else -1
    for i in state["free"]:
        if state["idle"][i] >= patience and i != first:
            state["last"][i], state["best"][i], state["idle"][i] = -1, -1, 0
