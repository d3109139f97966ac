"""How the genetic algorithm breeds, and what it learns of its operators."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.optimizers.breeding import Breeder, BreedingPool, Offspring, OperatorKit, recorded_parents
from invdesign.optimizers.rates import MIN_SHARE, Child, match_probabilities, update_credit, update_steps
from invdesign.optimizers.vectors import Steps
from invdesign.rng import rng_for
from tests.optimizers.genetic_runs import cube, parameters

NAMES = ("crossover", "mutate")


def members(count: int) -> list[Offspring]:
    """Asked individuals of a space of two reals, best first."""
    rng = np.random.default_rng(0)
    return [Offspring(genome, id=10 + n) for n, genome in enumerate(cube(2).decode(rng.random((count, 2))))]


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 1.0), min_size=1))
def test_no_operator_is_forgotten(credit: dict[str, float]) -> None:
    """Shares sum to 1, and none falls below its floor."""
    found = match_probabilities(dict.fromkeys(credit, 1.0 / len(credit)), credit)
    assert sum(found.values()) == pytest.approx(1.0)
    assert min(found.values()) >= MIN_SHARE / len(credit) * (1.0 - 1e-12)


def test_credit_grows_with_the_rank_of_the_children() -> None:
    """An operator whose children are among the best earns more; strangers' operators are not taken note of."""
    children = [Child("crossover", 0.9, True), Child("mutate", 0.2, False), Child("foreign", 1.0, True)] * 20
    credit = update_credit({}, children, NAMES)
    assert set(credit) == set(NAMES)
    assert credit["crossover"] > 0.7
    assert credit["mutate"] < 0.4
    found = match_probabilities({"crossover": 0.5, "mutate": 0.5}, credit)
    assert found["crossover"] > found["mutate"]


def test_steps_move_towards_those_that_won() -> None:
    """Step length and mixing follow successes; failures move only the width."""
    won = [Child("differential", 0.8, True, [0.9, 0.1])] * 40
    steps = update_steps(Steps(), won)
    assert steps.length > 0.8
    assert steps.mixing < 0.3
    assert update_steps(Steps(), [Child("differential", 0.0, False, [0.9, 0.1])]) == Steps()
    assert update_steps(Steps(), [Child("gaussian", 0.9, True)] * 3).width > 1.0
    assert update_steps(Steps(), [Child("gaussian", 0.1, False)] * 3).width < 1.0


def test_a_strange_memo_is_ignored() -> None:
    """Another optimizer's trials may have the same operator's name and a note of their own."""
    assert update_steps(Steps(), [Child("differential", 1.0, True, {"note": 1})]) == Steps()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 8), size=st.integers(1, 50), seed=st.integers(0, 99))
def test_mates_differ(count: int, size: int, seed: int) -> None:
    """However large the tournament, which the best nearly always wins."""
    pool = BreedingPool(members(8), OperatorKit(cube(2)))
    mates = pool.select_mates(count, size, rng_for(seed, 0, "mates"))
    assert len(set(mates)) == count
    assert set(mates) <= set(range(8))


def test_tournaments_prefer_the_better() -> None:
    """Of two drawn, the first of ten wins in 19 of 100."""
    pool = BreedingPool(members(10), OperatorKit(cube(2)))
    rng = rng_for(0, 0, "mates")
    wins = Counter(pool.select_mates(1, 2, rng)[0] for _ in range(5000))
    assert wins[0] / 5000 == pytest.approx(0.19, abs=0.02)
    assert wins[9] / 5000 == pytest.approx(0.01, abs=0.005)


def test_descent_goes_through_what_was_never_asked() -> None:
    """A child of a virtual parent descends from that one's own parents; each is named once."""
    pool = [Offspring({}, id=3), Offspring({}, "mutate", (3, 4)), Offspring({}, "crossover", (4, 5))]
    assert recorded_parents(pool, [1, 0, 2]) == (3, 4, 5)


def test_breeding_from_virtual_parents() -> None:
    """A pool may hold ideas: they are encoded, and their children name asked ancestors."""
    pool = [*members(4), Offspring({"x1": 0.5, "x2": 0.25}, "mutate", (11,))]
    breeder = Breeder(OperatorKit(cube(2)), 0.6, 2, None, Steps())
    rng = rng_for(1, 0, "breed")
    children = [breeder.breed_child(pool, rng) for _ in range(200)]
    assert {child.operator for child in children if child} == {*OperatorKit(cube(2)).names}
    assert all(child.parents and set(child.parents) <= {10, 11, 12, 13} for child in children if child)


def test_shares_are_as_set() -> None:
    """Crossover's is split between the space's and those on vectors, mutation has the rest."""
    found = OperatorKit(cube(2)).operator_shares(0.6, 8)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["mutate"] + found["reset"] == pytest.approx(0.4)
    several = OperatorKit(cube(2), single=False).operator_shares(0.6, 8)
    assert "gaussian" not in several
    assert several["crossover"] == pytest.approx(0.4)
    assert OperatorKit(cube(2)).operator_shares(1.0, 8)["mutate"] == 0.0


def test_few_parents_leave_what_they_suffice_for() -> None:
    """One parent can be mutated, none leaves the starts."""
    kit = OperatorKit(cube(2))
    assert set(kit.operator_shares(0.6, 1)) == {"mutate", "reset"}
    assert set(kit.operator_shares(1.0, 1)) == {"mutate", "reset"}
    assert kit.operator_shares(0.6, 0) == {}
    assert Breeder(kit, 0.6, 2, None, Steps()).draw_operator(0, rng_for(0, 0, "o")) == "start"


def test_categories_alone_have_the_operators_of_the_space() -> None:
    """There is no shape to follow."""
    kit = OperatorKit(parameters(c={"categorical": ["a", "b", "c"]}))
    assert kit.on_vectors == []
