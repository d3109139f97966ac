"""Progress of the genetic algorithm: credit of its operators, and stagnation."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Sequence
from typing import Any

from invdesign.optimizers.common import State
from invdesign.optimizers.rates import Child, update_credit, update_steps
from invdesign.optimizers.survival import FEASIBLE, Ranking
from invdesign.optimizers.vectors import Steps
from invdesign.protocols import History

MIN_GAIN = 0.01  # of the distance from best to median: a smaller gain of the best is none (chosen)


def learn_rates(
    history: History,
    state: State,
    ranked: Ranking,
    operators: Sequence[str],
    worthless: Collection[int] = (),
) -> dict[str, Any]:
    """Update `credit` and `steps` by the newcomers in `ranked`.

    Nothing is learned before a population stands.

    Args:
        history: the run's.
        state: of the genetic algorithm.
        ranked: population and newcomers.
        operators: names of the operators to learn about.
        worthless: newcomers that earn nothing: known crystals, and those that breed nothing.
    """
    population = set(state["population"])
    if len(population) < 2 or state["founding"]:
        return {}
    place = {id: number for number, id in enumerate(ranked.ids)}
    members = [number for number, id in enumerate(ranked.ids) if id in population]
    if not members:  # what was known of all of them was taken back
        return {}
    sound, children = ranked.count_with_results, []
    for id in sorted(place.keys() - population):
        proposal = history.candidate(id).proposal
        good = place[id] < sound and id not in worthless
        worse = len(members) - bisect(members, place[id])
        parent = proposal.parents[0] if proposal.parents else -1
        won = good and place[id] < place.get(parent, members[len(members) // 2])
        children.append(Child(proposal.operator, worse / len(members) if good else 0.0, won, proposal.memo))
    steps = update_steps(Steps(*state["steps"]), children)
    return {"credit": update_credit(state["credit"], children, operators), "steps": steps.to_list()}


def find_latecomers(state: State, ranked: Ranking) -> set[int]:
    """Find trials from before the last restart that must stay out.

    They would bring the old population back. A new best is admitted.

    Args:
        state: of the genetic algorithm.
        ranked: population and newcomers.
    """
    members = set(state["population"])
    late: set[int] = set()
    for place, id in enumerate(ranked.ids):
        if id in members:
            late.update(
                later for later in ranked.ids[place:] if later < state["since"] and later not in members
            )
            break
    return late


def count_stagnation(
    state: State, ranked: Ranking, arrived: Sequence[int], size: int, patience: int, asked: int
) -> State:
    """Count trials without progress; restart after too many.

    Args:
        state: with the population as the newcomers left it.
        ranked: of the population as it was, and the newcomers.
        arrived: the newcomers.
        size: of a full population.
        patience: generations without progress that are borne.
        asked: how many trials there are.
    """
    if _has_progressed(ranked, set(state["population"]), set(arrived)):
        return {**state, "stale": 0}
    stale = state["stale"] + len(arrived)
    if stale < patience * size:
        return {**state, "stale": stale}
    elite = _choose_elite(state["population"], ranked, size)
    return {
        **state,
        "population": elite,
        "sound": min(state["sound"], len(elite)),
        "founding": size - len(elite),
        "credit": {},
        "steps": Steps().to_list(),
        "stale": 0,
        "restarts": state["restarts"] + 1,
        "since": asked,
    }


def _choose_elite(population: Sequence[int], ranked: Ranking, size: int) -> list[int]:
    """Members that survive a restart: the best one, or the front.

    Of a front, at most half a population survives.
    """
    if ranked.scores.values.shape[1] == 1:
        return list(population[:1])
    front = {ranked.ids[row] for row in ranked.scores.front().tolist()}
    return [id for id in population if id in front][: max(size // 2, 1)] or list(population[:1])


def _has_progressed(ranked: Ranking, population: set[int], arrived: set[int]) -> bool:
    """True if newcomers improved the best noticeably, or reached the front."""
    scores = ranked.scores
    if not ranked.ids:
        return False
    feasible = scores.merit[0] == FEASIBLE
    if scores.values.shape[1] > 1 and feasible:
        return any(ranked.ids[row] in arrived & population for row in scores.front().tolist())
    before = [row for row, id in enumerate(ranked.ids) if id not in arrived]
    if not before or ranked.ids[0] not in arrived:
        return False
    if scores.merit[0] != scores.merit[before[0]]:
        return True
    by = scores.values[:, 0] if feasible else scores.tie_breakers()
    median = by[before[len(before) // 2]]
    return bool(by[before[0]] - by[0] > MIN_GAIN * (median - by[before[0]]))
