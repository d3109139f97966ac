"""Who survives in the genetic algorithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from invdesign.candidate import Proposal, Status
from invdesign.optimizers.survival import (
    count_tries,
    order_equals,
    rank_trials,
    select_best,
    select_by_niche,
)
from invdesign.pareto import crowding_distance, ranks
from invdesign.testing import MemoryHistory
from tests.optimizers.genetic_runs import ONE, TWO, history_of


def survivors(history: MemoryHistory, ids: Sequence[int], k: int) -> list[int]:
    """The best k of the finished trials `ids`, best first."""
    return select_best(rank_trials(history, ids), k)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30), st.integers(1, 30))
def test_survivors_are_of_the_best_fronts(rows: list[tuple[int, int]], k: int) -> None:
    """No survivor lies on a worse front than one that did not survive, by an independent sort."""
    history = history_of(TWO, rows)
    chosen = survivors(history, range(len(rows)), k)
    assert len(chosen) == len(set(chosen)) == min(k, len(rows))
    rank = ranks(np.array(rows, dtype=np.float64))
    left = [rank[id] for id in range(len(rows)) if id not in chosen]
    assert not left or rank[chosen].max() <= min(left)


def test_the_ends_of_a_front_survive() -> None:
    """Crowding keeps the extremes and drops from where it is dense."""
    rows = [(0.0, 1.0), (0.1, 0.9), (0.11, 0.89), (0.12, 0.88), (0.5, 0.5), (1.0, 0.0)]
    chosen = set(survivors(history_of(TWO, rows), range(6), 4))
    assert {0, 4, 5} <= chosen


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 20))
def test_with_one_objective_the_best_survive(values: list[int], k: int) -> None:
    """The k smallest values, the newer of equals."""
    history = history_of(ONE, [(value,) for value in values])
    chosen = survivors(history, range(len(values)), k)
    assert chosen == sorted(range(len(values)), key=lambda number: (values[number], -number))[:k]


def test_survivors_do_not_depend_on_the_order_of_arrival() -> None:
    """Results that come in another order leave the same population, in the same order."""
    rng = np.random.default_rng(3)
    history = history_of(TWO, rng.integers(0, 20, (60, 2)).tolist())
    ids = list(range(60))
    first = survivors(history, ids, 25)
    shuffled = survivors(history, rng.permutation(ids).tolist(), 25)
    assert first == shuffled


def merits() -> MemoryHistory:
    """One trial of each kind, worst first."""
    history = MemoryHistory(TWO)
    for number in range(8):
        history.add(Proposal({"n": number}))
    history.finish(1, status=Status.FAILED)
    history.finish(2, status=Status.INFEASIBLE)
    history.finish(3, status=Status.GATED, depth=1)
    history.finish(4, status=Status.GATED, depth=2)
    history.finish(5, {"f1": 0.0, "f2": 0.0, "c": 0.9})
    history.finish(6, {"f1": 9.0, "f2": 9.0, "c": 0.1})
    history.finish(7, {"f1": 9.0, "f2": 9.0, "c": 0.0})
    return history


def test_survival_by_feasibility_rules() -> None:
    """Feasible, violating by violation, gated by depth; failed and infeasible ones do not survive beside them."""
    history = merits()
    assert survivors(history, range(8), 8) == [7, 6, 5, 4, 3]
    assert survivors(history, range(8), 2) == [7, 6]


def test_where_all_failed_the_failed_survive() -> None:
    """With nothing better, infeasible and then failed trials make the population; pending ones never."""
    assert survivors(merits(), [0, 1, 2], 8) == [2, 1]
    assert survivors(merits(), [0], 8) == []
    assert survivors(merits(), [], 8) == []


def test_infinite_values_do_not_confuse_the_crowding() -> None:
    """An objective that is infinite counts as very bad; inf - inf is never computed."""
    rows = [(0.0, 1.0), (1.0, 0.0), (float("inf"), -1.0), (0.5, 0.5), (float("-inf"), 2.0)]
    assert len(survivors(history_of(TWO, rows), range(5), 5)) == 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=40, unique_by=lambda row: row
    )
)
def test_the_order_is_that_of_rank_and_crowding(rows: list[tuple[int, int]]) -> None:
    """Front by front as another implementation ranks them, and within a front the less crowded first."""
    history = history_of(TWO, [tuple(map(float, row)) for row in rows])
    ordered = np.array(rank_trials(history, range(len(rows))).ids)
    values = np.array(rows, dtype=np.float64)
    fronts = ranks(values)
    assert (np.diff(fronts[ordered]) >= 0).all()
    for front in range(fronts.max() + 1):
        of_it = ordered[fronts[ordered] == front]
        room = crowding_distance(values[of_it])
        inside = room[np.isfinite(room)]
        assert (np.diff(inside) <= 1e-9).all()


def line(values: Sequence[float]) -> tuple[MemoryHistory, Callable[[Sequence[int]], FloatArray]]:
    """Trials on a line, at 0, 1, 2, ...: their values, and their places as features."""
    return history_of(ONE, [(value,) for value in values]), lambda ids: np.array(ids, dtype=np.float64)[
        :, None
    ]


def test_a_newcomer_takes_the_place_of_the_nearest_of_its_rivals() -> None:
    """Trial 3, near 2 and far from 0, replaces 2 although 0 is worse."""
    history, features = line([9.0, 1.0, 5.0, 4.0])
    ranked = rank_trials(history, range(4))
    assert select_by_niche(ranked, [1, 2, 0], [3], 3, {3: (0, 2)}, features) == [1, 3, 0]


def test_a_newcomer_that_is_worse_than_its_rival_is_gone() -> None:
    """It may be better than the worst member: the niche it competes in is held by a better one."""
    history, features = line([9.0, 1.0, 5.0, 6.0])
    assert select_by_niche(rank_trials(history, range(4)), [1, 2, 0], [3], 3, {3: (2,)}, features) == [
        1,
        2,
        0,
    ]


def test_a_newcomer_without_rivals_competes_with_the_worst() -> None:
    """As does one whose parents are no longer members."""
    history, features = line([9.0, 1.0, 5.0, 6.0, 0.0])
    ranked = rank_trials(history, range(4))
    assert select_by_niche(ranked, [1, 2, 0], [3], 3, {}, features) == [1, 2, 3]
    assert select_by_niche(ranked, [1, 2, 0], [3], 3, {3: (4,)}, features) == [1, 2, 3]


def test_children_of_one_parent_compete_with_each_other() -> None:
    """The second finds its sibling in their parent's place."""
    history, features = line([9.0, 5.0, 4.0, 3.0])
    assert select_by_niche(
        rank_trials(history, range(4)), [1, 0], [2, 3], 2, {2: (1,), 3: (1,)}, features
    ) == [3, 0]


def test_while_there_is_room_newcomers_join() -> None:
    """Failed ones do not, beside others; where all failed they do."""
    history, features = line([9.0, 1.0])
    failed = history.add(Proposal({"n": 2}))
    history.finish(failed, status=Status.FAILED)
    assert select_by_niche(rank_trials(history, range(3)), [], range(3), 4, {}, features) == [1, 0]
    assert select_by_niche(rank_trials(history, [failed]), [], [failed], 4, {}, features) == [failed]
    assert select_by_niche(rank_trials(history, range(3)), [failed], [0, 1], 4, {}, features) == [1, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(2, 8), st.integers(0, 100))
def test_the_best_always_survives(values: list[int], k: int, seed: int) -> None:
    """Whoever competes with whom."""
    rng = np.random.default_rng(seed)
    history, features = line([float(value) for value in values])
    population: list[int] = []
    for start in range(0, len(values), 5):
        arrived = list(range(start, min(start + 5, len(values))))
        rivals = {id: rng.choice(population, 2).tolist() for id in arrived if population}
        population = select_by_niche(
            rank_trials(history, [*population, *arrived]), population, arrived, k, rivals, features
        )
        assert len(population) == min(k, arrived[-1] + 1)
    assert values[population[0]] == min(values)


def test_compositions_are_counted_until_a_better_one_is_found() -> None:
    """A newcomer that is the best of its composition sets the count to 0, any other adds one; members count for nothing."""
    ranked = rank_trials(history_of(ONE, [(3.0,), (2.0,), (2.5,), (9.0,)]), range(4))
    assert ranked.ids == (1, 2, 0, 3)
    niches = ["A", "A", "B", "B"]
    assert count_tries({"A": 4}, ranked, niches, {0}) == {"A": 0, "B": 1}
    assert count_tries({"A": 4, "C": 2}, ranked, niches, {0, 1, 2, 3}) == {"A": 4, "C": 2}


def test_of_equals_the_composition_tried_least_comes_first() -> None:
    """The order of different values stays, and that of several objectives."""
    ranked = rank_trials(history_of(ONE, [(0.0,), (1.0,), (0.0,), (1e-12,)]), range(4))
    niches = [{0: "A", 1: "D", 2: "B", 3: "C"}[id] for id in ranked.ids]
    assert order_equals(ranked.ids, ranked, niches, {"A": 5, "B": 1, "C": 3}) == [2, 3, 0, 1]
    front = rank_trials(history_of(TWO, [(0, 1), (1, 0)]), range(2))
    assert order_equals(front.ids, front, ["A", "B"], {"A": 5}) == list(front.ids)
