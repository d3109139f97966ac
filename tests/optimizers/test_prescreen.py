"""The pre-screen: what it learns from, what it chooses, and that it does no harm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from invdesign.arrays import FloatArray
from invdesign.candidate import SEED, Genome, Proposal, Status, genome_key
from invdesign.optimizers.breeding import Offspring
from invdesign.optimizers.common import draw_operator, operators_by_arity
from invdesign.optimizers.genetic import Genetic
from invdesign.optimizers.prescreen import Prescreen
from invdesign.pareto import hypervolume
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, SearchSpace
from invdesign.rng import Rng, rng_for
from invdesign.settings import load
from invdesign.testing import MemoryHistory, check_optimizer

Fitness = Callable[[FloatArray], Mapping[str, float]]
ONE = Problem((Objective("f1", "minimize"),))
TWO = Problem((Objective("f1", "minimize"), Objective("f2", "maximize")))
FAST = Prescreen(models=("quadratic", "cubic"), generations=6, children=20, explore=0.0)


def parameters(**fields: Any) -> Any:
    """A parameter space as a campaign file says it."""
    return load("spaces", {"kind": "parameters", "parameters": fields})


CUBE = parameters(**{f"x{number}": {"real": [0, 1]} for number in range(4)})


def bowls(x: FloatArray) -> dict[str, float]:
    """Two objectives and a property to constrain; all smooth."""
    return {
        "f1": float(((x - 0.2) ** 2).sum()),
        "f2": float(1.0 - ((x - 0.8) ** 2).sum()),
        "c": float(x[0]),
    }


def started(problem: Problem, n: int, fitness: Fitness = bowls, space: Any = CUBE) -> MemoryHistory:
    """A history of n finished trials at random points; those whose fitness is empty failed."""
    history = MemoryHistory(problem)
    rng = rng_for(7, 0, "founders")
    for x in rng.random((n, len(space.domain().dimensions))):
        (genome,) = space.decode(x[None])
        if genome_key(genome) in history:
            continue
        found = fitness(space.encode([genome])[0])
        id = history.add(Proposal(genome))
        history.finish(id, found, status=Status.COMPLETE if found else Status.FAILED)
    return history


def breeder(space: SearchSpace) -> Callable[[Sequence[Offspring], Rng], Offspring | None]:
    """Any of the space's operators on any members of the pool."""
    operators = [item for _, items in sorted(operators_by_arity(space).items()) for item in items]

    def breed(pool: Sequence[Offspring], rng: Rng) -> Offspring | None:
        name, operator = draw_operator(operators, rng)
        mates = [pool[int(index)] for index in rng.integers(len(pool), size=operator.arity)]
        genome = operator.apply([mate.genome for mate in mates], rng)
        numbers = [id for mate in mates for id in ((mate.id,) if mate.id is not None else mate.parents)]
        return None if genome is None else Offspring(genome, name, tuple(dict.fromkeys(numbers)))

    return breed


def context_of(history: MemoryHistory, space: Any = CUBE, cache: dict[str, object] | None = None) -> Context:
    """One event of a run with this history."""
    return Context(space, history.problem, history, seed=1, event=5, cache={} if cache is None else cache)


def choice(screen: Prescreen, context: Context, n: int = 4, seed: int = 0) -> list[Offspring]:
    """What the pre-screen chooses, bred from all trials that are complete."""
    ids = [int(id) for id in np.flatnonzero(np.isfinite(context.history.column("f1")))]
    parents = [Offspring(context.history.candidate(id).genome, id=id) for id in ids]
    return screen.choose_offspring(context, parents, breeder(context.space), n, rng_for(seed, 0, "choice"))


def points(children: Sequence[Offspring]) -> FloatArray:
    """Where the children lie in the cube."""
    return np.asarray(CUBE.encode([child.genome for child in children]))


def test_the_chosen_are_far_better_than_what_is_known() -> None:
    """From thirty random points, the first four choices beat all of them."""
    history = started(ONE, 30)
    found = [bowls(x)["f1"] for x in points(choice(FAST, context_of(history)))]
    assert len(found) == 4
    assert max(found) < float(np.nanmin(history.column("f1")))
    assert min(found) < 0.2 * float(np.nanmin(history.column("f1")))


def test_several_objectives_are_served_at_once() -> None:
    """The choices spread between the optima of both objectives, minimised and maximised."""
    chosen = points(choice(FAST, context_of(started(TWO, 30))))
    assert np.ptp(chosen.mean(axis=1)) > 0.2
    off = np.linalg.norm(chosen - chosen.mean(axis=1, keepdims=True), axis=1)  # the front is the diagonal
    assert np.median(off) < 0.2


def test_constraints_are_kept() -> None:
    """Where the optimum violates a constraint, the choices keep to its allowed side, as far as the model knows."""
    history = started(Problem(ONE.objectives, (Constraint("c", min=0.6),)), 30)
    chosen = points(choice(FAST, context_of(history)))
    assert chosen[:, 0].min() > 0.55


@pytest.mark.parametrize(
    ("objective", "goal"),
    [
        (Objective("c", "target", min=0.37, max=0.37), (0.37, 0.37)),
        (Objective("c", "window", min=0.5, max=0.6), (0.5, 0.6)),
    ],
)
def test_any_kind_of_objective_is_understood(objective: Objective, goal: tuple[float, float]) -> None:
    """The property is modelled, and the problem says what is wanted of it."""
    history = started(Problem((objective, Objective("f1", "minimize"))), 30)
    chosen = points(choice(FAST, context_of(history)))
    distance = np.maximum(goal[0] - chosen[:, 0], chosen[:, 0] - goal[1])
    assert distance.min() < 0.02


def test_a_desirability_is_understood() -> None:
    """One score of several properties, some of them unknown where trials failed."""
    objectives = (
        Objective("f1", "minimize", best=0.0, worst=1.0),
        Objective("f2", "maximize", best=1.0, worst=0.0),
    )
    problem = Problem(objectives, scalarize="desirability")
    chosen = points(choice(FAST, context_of(started(problem, 40, lambda x: {} if x[3] > 0.9 else bowls(x)))))
    assert np.linalg.norm(chosen - 0.5, axis=1).min() < 0.25


def test_a_region_that_fails_is_avoided() -> None:
    """The best values lie where everything fails: the choices stay out of there."""

    def fitness(x: FloatArray) -> dict[str, float]:
        return {} if x[0] < 0.4 else bowls(x)

    chosen = points(choice(FAST, context_of(started(ONE, 60, fitness))))
    assert (chosen[:, 0] > 0.35).mean() >= 0.75
    assert chosen[:, 1:].max() < 0.6


def test_a_gated_trial_teaches_what_it_was_measured_for() -> None:
    """Trials that ended early count for the properties they have."""
    history = started(ONE, 20)
    for id in range(20):
        if id % 2:
            history.finish(id, history.trial(id).properties, status=Status.GATED)
    context = context_of(history)
    choice(FAST.model_copy(update={"least": 20}), context)
    (known,) = context.cache.values()
    assert known[1] is not None  # type: ignore[index]


@pytest.mark.parametrize("n", [0, 5, 9])
def test_too_little_data_is_no_model(n: int) -> None:
    """Until enough trials have every objective's property, nothing is screened."""
    assert choice(FAST, context_of(started(ONE, n))) == []


def test_a_property_too_rarely_known_is_no_model() -> None:
    """Trials without the objective's property do not count; a constraint's may be missing everywhere."""
    history = started(ONE, 30, lambda x: {"f2": 1.0} if x[0] > 0.3 else bowls(x))
    assert choice(FAST.model_copy(update={"least": 15}), context_of(history)) == []
    blind = started(Problem(ONE.objectives, (Constraint("never", max=0.0),)), 20)
    assert len(choice(FAST, context_of(blind))) == 4


def test_what_cannot_be_predicted_is_not_screened() -> None:
    """Where values are noise, most offspring are left to chance."""
    noise = rng_for(3, 0, "noise")
    counts = [
        len(choice(FAST, context_of(started(ONE, 60, lambda _: {"f1": float(noise.random())})), 10, seed))
        for seed in range(5)
    ]
    assert np.mean(counts) < 5


def test_a_share_is_left_to_chance() -> None:
    """`explore` of the offspring are not screened, also where they are bred one at a time."""
    context = context_of(started(ONE, 30))
    half = FAST.model_copy(update={"explore": 0.5, "generations": 1})
    assert len(choice(half, context, 10)) == 5
    assert 4 <= sum(len(choice(half, context, 1, seed)) for seed in range(20)) <= 16
    assert choice(FAST.model_copy(update={"explore": 1.0}), context) == []


def test_choices_are_new_and_differ() -> None:
    """Nothing that was asked is chosen, nothing twice, and lineage names asked trials."""
    history = started(TWO, 40)
    chosen = choice(FAST, context_of(history), 12)
    keys = [genome_key(child.genome) for child in chosen]
    assert len(set(keys)) == 12
    assert not any(key in history for key in keys)
    assert all(0 <= id < 40 for child in chosen for id in child.parents)
    assert all(child.operator for child in chosen)


def test_a_finite_space_may_hold_nothing_new() -> None:
    """Where every genome was asked there is nothing to choose."""
    space = parameters(n={"integer": [1, 4]}, c={"categorical": ["a", "b", "c"]})
    history = started(ONE, 200, lambda x: {"f1": float(x.sum())}, space)
    assert len(history) == 12
    assert choice(FAST, context_of(history, space)) == []


def test_a_small_finite_space_is_judged_whole() -> None:
    """Where counting is cheap, the best genome is found although no operator would breed it."""
    space = parameters(n={"integer": [1, 30]}, m={"integer": [1, 30]})

    def fitness(x: FloatArray) -> dict[str, float]:
        return {"f1": float(((x - 0.9) ** 2).sum())}

    context = context_of(started(ONE, 30, fitness, space), space)
    parents = [Offspring(context.history.candidate(0).genome, id=0)]
    (best,) = FAST.choose_offspring(context, parents, lambda *_: None, 1, rng_for(0, 0, "choice"))
    assert abs(int(str(best.genome["n"])) - 27) + abs(int(str(best.genome["m"])) - 27) <= 2


def test_the_cache_changes_nothing() -> None:
    """With the models in the cache, without, and with those of other settings in it, the choices are the same."""
    history = started(TWO, 30)
    cache: dict[str, object] = {}
    choice(FAST.model_copy(update={"models": ("linear",)}), context_of(history, cache=cache))
    first = choice(FAST, context_of(history, cache=cache))
    assert first == choice(FAST, context_of(history, cache=cache)) == choice(FAST, context_of(history))
    assert len(cache) == 2


def test_an_amended_value_is_learned() -> None:
    """The models in the cache are not used once a value they learned from has changed."""
    history = started(ONE, 30)
    cache: dict[str, object] = {}
    before = choice(FAST, context_of(history, cache=cache))
    for id in range(30):
        history.finish(id, {"f1": -history.trial(id).properties["f1"]})
    after = choice(FAST, context_of(history, cache=cache))
    assert after == choice(FAST, context_of(history))
    assert np.linalg.norm(points(after)[0] - points(before)[0]) > 0.5


def test_refits_become_rarer() -> None:
    """At 20 trials every one is learned from; at 200 the models wait for several."""
    for n, refitted in ((20, True), (200, False)):
        cache: dict[str, object] = {}
        history = started(ONE, n, lambda x: {"f1": float(x[0])})
        screen = Prescreen(models=("linear",), generations=1)
        choice(screen, context_of(history, cache=cache))
        before = next(iter(cache.values()))
        id = history.add(Proposal({f"x{number}": 0.5 for number in range(4)}))
        history.finish(id, {"f1": 0.5})
        choice(screen, context_of(history, cache=cache))
        assert (next(iter(cache.values())) is not before) == refitted


def test_learning_is_bounded() -> None:
    """Of many trials, the models see the best and the newest, `rows` in all."""
    history = started(ONE, 400)
    context = context_of(history)
    choice(Prescreen(models=("linear",), generations=1, rows=50), context)
    (known,) = context.cache.values()
    ids = known[1].scores.ids  # type: ignore[index]
    best = np.argsort(history.column("f1"))[:25]
    assert len(ids) == 50
    assert set(best) <= set(ids)
    assert ids[-1] == 399


def test_a_malformed_genome_of_the_user_does_no_harm() -> None:
    """A seed the space did not build has no features, finished or not; it is left out."""
    history = started(ONE, 20)
    malformed: Genome = {"no such": 1}
    history.finish(history.add(Proposal(malformed, operator=SEED)), status=Status.INFEASIBLE)
    history.add(Proposal({"nor such": 1}, operator=SEED))
    assert len(choice(FAST, context_of(history))) == 4


def test_trials_under_way_are_not_proposed_again() -> None:
    """While the best guess is under way, the next is another, at a distance."""
    history = started(ONE, 30)
    (first,) = choice(FAST, context_of(history), 1)
    history.add(Proposal(first.genome))
    (second,) = choice(FAST, context_of(history), 1)
    assert np.linalg.norm(points([first])[0] - points([second])[0]) > 0.02


def test_a_breeder_that_finds_nothing_ends_the_generation() -> None:
    """None from every operator is no endless loop."""
    context = context_of(started(ONE, 20))
    parents = [Offspring(context.history.candidate(id).genome, id=id) for id in range(20)]
    assert FAST.choose_offspring(context, parents, lambda *_: None, 4, rng_for(0, 0, "none")) == []
    assert FAST.choose_offspring(context, [], breeder(CUBE), 4, rng_for(0, 0, "none")) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"explore": 1.5}, "explore"),
        ({"models": []}, "models"),
        ({"models": ["oracle"]}, "gaussian_process"),
        ({"least": 2}, "least"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, object], words: str) -> None:
    """Shares beyond 1, no model, an unknown one, or one fitted on next to nothing."""
    with pytest.raises(ValidationError, match=words):
        Prescreen.model_validate(settings)


def test_settings_survive_json() -> None:
    """What a campaign file says comes back from its dump."""
    screen = Prescreen.model_validate_json('{"models": ["linear", "trees"], "explore": 0.25}')
    assert Prescreen.model_validate_json(screen.model_dump_json()) == screen


def test_genetic_with_prescreen_keeps_the_contract() -> None:
    """Determinism, resume at every step, failures, pending trials, a mixed space: as for any optimizer."""
    screen = Prescreen(models=("linear",), generations=1, children=6)
    check_optimizer(Genetic(population=8, offspring=4, prescreen=screen), rounds=8, trials=60)


def test_genetic_finds_a_front_in_few_evaluations() -> None:
    """Sixty evaluations of two smooth objectives cover most of the front; unscreened ones do not."""
    covered = []
    for screen in (FAST, None):
        optimizer = Genetic(population=12, offspring=4, prescreen=screen)
        history = MemoryHistory(TWO)
        state = optimizer.start(context_of(history))
        for event in range(15):
            context = replace(context_of(history), event=event)
            proposals, state = optimizer.ask(context, state, 4)
            ids = [history.add(proposal) for proposal in proposals]
            for id in ids:
                history.finish(id, bowls(CUBE.encode([history.candidate(id).genome])[0]))
            state = optimizer.tell(context, state, ids)
        covered.append(hypervolume(history.scores().values, np.array([1.5, 0.5])))
    diagonal = np.array([list(bowls(np.full(4, u)).values())[:2] for u in np.linspace(0.2, 0.8, 200)])
    front = hypervolume(diagonal * [1.0, -1.0], np.array([1.5, 0.5]))
    assert covered[0] > 0.95 * front
    assert covered[0] > covered[1]
