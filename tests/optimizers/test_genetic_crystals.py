"""The genetic algorithm where crystals are recognised, and children inherit what relaxation made of their parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.arrays import FloatArray
from invdesign.candidate import Design, Genome, Json, Proposal, Status
from invdesign.errors import InvdesignError
from invdesign.optimizers.genetic import Genetic
from invdesign.optimizers.progress import learn_rates
from invdesign.optimizers.survival import find_repeated, rank_trials, select_unlike
from invdesign.problem import Objective, Problem
from invdesign.protocols import (
    Context,
    HintingSpace,
    InheritingSpace,
    Operator,
    RecognisingSpace,
    SpaceSettings,
)
from invdesign.rng import Rng
from invdesign.settings import load
from invdesign.spaces.operators import GenomeOperator
from invdesign.testing import MemoryHistory
from tests.optimizers.genetic_runs import ONE, history_of
from tests.support import campaign, relaxing

BASIN = 0.25  # width of the valleys that a relaxation falls into


class Valleys(SpaceSettings):
    """Points on a line, of three compositions: a relaxation takes each to the bottom of its valley."""

    @property
    def inherits_from(self) -> tuple[str, ...]:
        return ("relaxed",)

    @property
    def alike(self) -> float:
        return 0.02

    def build(self, genome: Genome) -> Design:
        return Design(parameters={"x": float(genome["x"])})  # type: ignore[arg-type]  # a number

    def adopt(self, structure: Any, parent: Genome | None) -> Genome:
        raise InvdesignError("never called")

    def fingerprints(self, genomes: Sequence[Genome]) -> FloatArray:
        return np.array([[genome["x"], 10.0 * float(genome["kind"])] for genome in genomes])  # type: ignore[arg-type]

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        return self.fingerprints(genomes)

    def niche(self, genome: Genome) -> str:
        return str(genome["kind"])

    def hints(self) -> Mapping[str, Mapping[str, Json]]:
        return {"genetic": {"population": 7}}

    def operators(self) -> Mapping[str, Operator]:
        def start(parents: Sequence[Genome], rng: Rng) -> Genome:
            return _point(rng.random() * 3.0, int(rng.integers(3)))

        def shift(parents: Sequence[Genome], rng: Rng) -> Genome:
            return _point(_x(parents[0]) + rng.normal(0.0, 0.3), int(parents[0]["kind"]))  # type: ignore[call-overload]

        def stay(parents: Sequence[Genome], rng: Rng) -> Genome:
            return _point(_x(parents[0]) + rng.normal(0.0, 1e-3), int(parents[0]["kind"]))  # type: ignore[call-overload]

        def mean(parents: Sequence[Genome], rng: Rng) -> Genome:
            return _point(0.5 * (_x(parents[0]) + _x(parents[1])), int(parents[0]["kind"]))  # type: ignore[call-overload]

        makers = {"start": (0, start), "other_start": (0, start), "shift": (1, shift), "stay": (1, stay)}
        return {name: GenomeOperator(*made) for name, made in {**makers, "mean": (2, mean)}.items()}


def _x(genome: Genome) -> float:
    return float(genome["x"])  # type: ignore[arg-type]  # a number


def _point(x: float, kind: int) -> Genome:
    return {"x": round(float(x), 9), "kind": kind}


def bottom(genome: Genome) -> Genome:
    """The bottom of the valley of a point."""
    return _point(BASIN * round(_x(genome) / BASIN), int(genome["kind"]))  # type: ignore[call-overload]


def energy(genome: Genome) -> float:
    """Lowest at 2; the compositions differ much."""
    return abs(_x(genome) - 2.0) + 5.0 * float(genome["kind"])  # type: ignore[arg-type]


class Search:
    """A run in memory, in which crystals with an x below 0.5 fall apart."""

    def __init__(self, optimizer: Genetic, seed: int = 0) -> None:
        self.space, self.optimizer, self.seed = Valleys(), optimizer, seed
        self.history, self.event, self.cache = MemoryHistory(ONE), 0, dict[str, object]()
        self.state = optimizer.start(self.context())

    def context(self) -> Context:
        return Context(self.space, ONE, self.history, self.seed, self.event, cache=self.cache)

    def ask(self) -> list[Proposal]:
        self.event += 1
        proposals, self.state = self.optimizer.ask(self.context(), self.state, self.optimizer.batch)
        return list(proposals)

    def tell(self, proposals: Sequence[Proposal]) -> None:
        ids = [self.history.add(proposal) for proposal in proposals]
        for id, proposal in zip(ids, proposals, strict=True):
            found = bottom(proposal.genome)
            apart = _x(found) < 0.5
            self.history.finish(
                id, {"f1": energy(found)}, structures=["relaxed"], relaxed_genome=None if apart else found
            )
        self.event += 1
        self.state = self.optimizer.tell(self.context(), self.state, ids)

    def members(self) -> list[Genome]:
        found = [self.history.relaxed_genome(id) for id in self.state["population"]]
        assert None not in found or not any(found)
        return [genome for genome in found if genome is not None]


def distances(space: Valleys, genomes: Sequence[Genome]) -> FloatArray:
    """Distances of fingerprints between all pairs."""
    rows = space.fingerprints(genomes).reshape(len(genomes), -1)
    apart: FloatArray = np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(len(rows), 1)]
    return apart


def test_the_space_is_what_it_seems() -> None:
    """The toy keeps the contracts that the optimizer looks for."""
    assert isinstance(Valleys(), RecognisingSpace)
    assert isinstance(Valleys(), HintingSpace)
    assert isinstance(Valleys(), InheritingSpace)


@pytest.mark.parametrize("mode", ["generational", "steady_state"])
@pytest.mark.parametrize("seed", range(3))
def test_no_two_members_are_alike(mode: Any, seed: int) -> None:
    """Members are different crystals; no child is one of them before it is relaxed, nor another child of its ask."""
    search = Search(Genetic(population=6, mode=mode, fresh=0.1), seed)
    bred = 0
    for _ in range(60 if mode == "steady_state" else 16):
        members = search.members()
        assert not len(members) > 1 or distances(search.space, members).min() >= search.space.alike
        proposals = search.ask()
        together = [*members, *(proposal.genome for proposal in proposals)]
        assert not len(together) > 1 or distances(search.space, together).min() >= search.space.alike
        bred += sum(bool(proposal.parents) for proposal in proposals)
        search.tell(proposals)
    assert bred > 10
    assert {int(genome["kind"]) for genome in search.members()} == {0, 1, 2}  # type: ignore[call-overload]


def test_what_has_no_relaxed_genome_breeds_nothing() -> None:
    """Those that fell apart are no parents, however low their energy seems."""
    search = Search(Genetic(population=6, fresh=0.1))
    for _ in range(12):
        search.tell(search.ask())
    barren = {id for id in range(len(search.history)) if search.history.relaxed_genome(id) is None}
    parents = {id for i in range(len(search.history)) for id in search.history.candidate(i).proposal.parents}
    assert barren
    assert parents
    assert barren.isdisjoint(parents)
    assert barren.isdisjoint(search.state["population"])


def test_a_population_that_all_fell_apart_starts_anew() -> None:
    """Where nothing can be inherited, children are starts, and the search goes on."""
    search = Search(Genetic(population=4))
    genomes = [_point(0.01 * number, 0) for number in range(4)]
    search.tell([Proposal(genome, operator="start") for genome in genomes])
    proposals = search.ask()
    assert proposals
    assert all(not proposal.parents and "start" in proposal.operator for proposal in proposals)


rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=24
)  # energy, place, composition


@settings(max_examples=100, deadline=None)
@given(rows, st.integers(1, 12))
def test_the_better_of_two_stays(trials: list[tuple[int, int, int]], k: int) -> None:
    """Survivors are all unlike; each crystal's best is there or room ran out; every composition has its best before a second."""
    history = history_of(ONE, [(float(energy),) for energy, _, _ in trials])
    ranked = rank_trials(history, range(len(trials)))
    fingerprints = np.array([[trials[id][1], 10 * trials[id][2]] for id in ranked.ids], dtype=np.float64)
    niches = [str(trials[id][2]) for id in ranked.ids]
    kept = select_unlike(ranked, k, fingerprints, 0.5, niches)
    crystals = [trials[id][1:] for id in kept]
    assert len(set(crystals)) == len(crystals) == min(k, len({row[1:] for row in trials}))
    for id in kept:
        assert trials[id][0] == min(row[0] for row in trials if row[1:] == trials[id][1:])
    assert kept == [id for id in ranked.ids if id in kept]  # best first
    if k >= len(set(niches)):
        for niche in set(niches):
            best = min(row[0] for row in trials if str(row[2]) == niche)
            assert best in {trials[id][0] for id in kept if str(trials[id][2]) == niche}


def test_crystals_found_again_are_worth_nothing() -> None:
    """A newcomer that is a member again earns no credit, also where it is a little better; the first of two new ones does."""
    fingerprints = np.array([[0.0], [1.0], [1.001], [5.0], [5.001], [9.0]])
    ids = [1, 0, 7, 3, 2, 5]  # members are 0 and 1
    assert find_repeated(ids, fingerprints, 0.01, [0, 1]) == {7, 3}


@pytest.mark.parametrize("gain", [-1e-6, 1e-6])
def test_operators_earn_nothing_by_known_crystals(gain: float) -> None:
    """Credit is 0 for a crystal found again, whether it is a little better or a little worse; a new one is worth more."""
    search = Search(Genetic(population=4, niching="none"))
    places = [1.0, 1.5, 2.25, 2.5]
    search.tell([Proposal(_point(x, 0), operator="start") for x in places])
    assert not search.state["founding"]
    history, ids = search.history, []
    for operator, found, value in (("stay", 2.25, energy(_point(2.25, 0)) + gain), ("shift", 2.0, 0.0)):
        id = history.add(Proposal(_point(found + 0.03, 0), (2,), operator))
        history.finish(id, {"f1": value}, structures=["relaxed"], relaxed_genome=_point(found, 0))
        ids.append(id)
    search.event += 1
    state = search.optimizer.tell(search.context(), search.state, ids)
    credit = state["credit"]
    assert credit["stay"] < credit.get("mean", 1.0) == 1.0
    assert credit["shift"] > credit["stay"]
    worthless = learn_rates(history, search.state, rank_trials(history, range(6)), ["stay", "shift"], ids[:1])
    assert credit["stay"] == worthless["credit"]["stay"]
    assert ids[1] in state["population"]
    assert (ids[0] in state["population"]) is (gain < 0)  # the better one stays all the same


@pytest.mark.parametrize(("fresh", "learned"), [(0.02, False), (0.1, True), (0.25, True)])
def test_rates_of_starts_are_learned(fresh: float, learned: bool) -> None:
    """Where starts are made often, they have credit, too, and the better one is drawn more often."""
    search = Search(Genetic(population=4, fresh=fresh, niching="none"))
    search.tell([Proposal(_point(x, 0), operator="start") for x in (1.0, 1.25, 2.5, 2.75)])
    for number in range(12):
        operator, x = (("start", 5.0 + number), ("other_start", 20.0 + number))[number % 2]
        id = search.history.add(Proposal(_point(x + 0.003, 0), operator=operator))
        found = _point(x, 0)
        value = {"f1": 50.0 if operator == "start" else -1.0 - 0.1 * number}
        search.history.finish(id, value, structures=["relaxed"], relaxed_genome={**found, "kind": number % 3})
        search.event += 1
        search.state = search.optimizer.tell(search.context(), search.state, [id])
    credit = search.state["credit"]
    assert ("start" in credit) is learned
    if learned:
        assert credit["start"] < credit["other_start"]
        drawn = [proposal.operator for _ in range(60) for proposal in search.ask() if not proposal.parents]
        assert drawn.count("other_start") > drawn.count("start")


# Hints.


def test_hints_take_the_place_of_unset_settings() -> None:
    """What the user set stays; other optimizers and other spaces have no hints."""
    space = Valleys()
    assert Genetic().suit_space(space).population == 7
    assert Genetic(population=32).suit_space(space).population == 32
    assert Genetic(fresh=0.25).suit_space(space) == Genetic(fresh=0.25, population=7)
    reals = load("spaces", {"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}})
    assert Genetic().suit_space(reals) == Genetic()
    assert load("optimizers", "random").suit_space(space) == load("optimizers", "random")


def test_more_founders_than_survivors() -> None:
    """As many starts as founders come first; the best of them survive, and only then children are bred."""
    search = Search(Genetic(population=4, founders=2, offspring=4, fresh=0.0))
    for _ in range(2):
        proposals = search.ask()
        assert not any(proposal.parents for proposal in proposals)
        search.tell(proposals)
    assert 0 < len(search.state["population"]) <= 4
    assert all(proposal.parents for proposal in search.ask())


def test_hints_that_contradict_settings_are_left_out() -> None:
    """A share of crossover that leaves no room for the hinted starts stays; the other hints count."""
    space = campaign(relaxing()).space
    suited = Genetic(crossover=0.9).suit_space(space)
    assert (suited.crossover, suited.fresh) == (0.9, Genetic().fresh)
    assert suited.population == Genetic().suit_space(space).population


def test_a_campaign_takes_the_hints_when_it_is_read() -> None:
    """Settings of the space `crystal` are in the campaign; what is stored is not changed on the way back."""
    given = {"kind": "genetic", "fresh": 0.125}
    read = campaign(relaxing(optimizer=given))
    hints = dict(read.space.hints()["genetic"])  # type: ignore[attr-defined]  # it hints
    assert hints["population"] != Genetic().population
    optimizer: Any = read.optimizer
    assert optimizer == Genetic(**{**hints, "fresh": 0.125})
    stored = read.dump()
    earlier: Any = {**stored, "optimizer": Genetic(fresh=0.125).model_dump(mode="json")}
    assert type(read).from_dump(stored).optimizer == optimizer
    assert type(read).from_dump(earlier).optimizer == Genetic(fresh=0.125)
    unhinted: Any = campaign(relaxing(optimizer={**given, "population": 32})).optimizer
    assert unhinted.population == 32


def test_members_of_a_portfolio_take_the_hints() -> None:
    """Each member has those for its kind, and its own settings."""
    members = ["genetic", {"kind": "genetic", "population": 5}, "random"]
    optimizer: Any = campaign(relaxing(optimizer={"kind": "portfolio", "members": members})).optimizer
    assert [getattr(member, "population", None) for member in optimizer.members] == [10, 5, None]
    assert [getattr(member, "fresh", None) for member in optimizer.members] == [0.25, 0.25, None]


@pytest.mark.parametrize("candidates", [100, 1000, None])
def test_auto_chooses_genetic_for_crystals(candidates: int | None) -> None:
    """With the hints of the space, and a reason that names inheritance."""
    read = campaign(relaxing(optimizer="auto"))
    choice = read.optimizer.foreseen(read.space, read.problem, candidates)  # type: ignore[attr-defined]  # auto
    assert choice is not None
    assert choice.settings["kind"] == "genetic"
    assert (choice.settings["population"], choice.settings["fresh"]) == (10, 0.25)
    assert "children inherit" in choice.reason


def test_auto_looks_at_other_spaces_as_before() -> None:
    """A space that does not inherit gets the choice it had."""
    data = relaxing(
        optimizer="auto",
        space={"kind": "parameters", "parameters": {"x": {"real": [0, 1]}}},
        evaluate=[{"landscape": {"function": "zdt2"}}],
        objectives=[{"minimize": "f1"}],
    )
    read = campaign(data)
    choice = read.optimizer.foreseen(read.space, read.problem, 100)  # type: ignore[attr-defined]  # auto
    assert choice is not None
    assert "inherit" not in choice.reason


def test_merits_of_trials_that_failed() -> None:
    """A population of failed trials alone survives nothing but itself, and breeds nothing."""
    search = Search(Genetic(population=4))
    ids = [search.history.add(Proposal(_point(x, 0), operator="start")) for x in (1.0, 2.0)]
    for id in ids:
        search.history.finish(id, status=Status.FAILED)
    state = search.optimizer.tell(search.context(), search.state, ids)
    assert state["sound"] == 0
    assert all(not proposal.parents for proposal in search.ask())


def test_two_objectives() -> None:
    """Fronts of crystals hold no crystal twice either."""
    problem = Problem((Objective("f1", "minimize"), Objective("f2", "minimize")))
    history, space = MemoryHistory(problem), Valleys()
    optimizer = Genetic(population=4)
    context = Context(space, problem, history, 0, 0)
    state = optimizer.start(context)
    ids = []
    for x, f1, f2 in ((1.0, 0.0, 1.0), (1.0, 0.1, 0.9), (1.5, 1.0, 0.0), (2.0, 0.5, 0.5), (2.0, 0.6, 0.6)):
        ids.append(history.add(Proposal(_point(x + 0.01 * len(ids), 0), operator="start")))
        history.finish(ids[-1], {"f1": f1, "f2": f2}, structures=["relaxed"], relaxed_genome=_point(x, 0))
    state = optimizer.tell(context, state, ids)
    assert len(state["population"]) == 3
    places = [_x(history.relaxed_genome(id) or {}) for id in state["population"]]
    assert sorted(places) == [1.0, 1.5, 2.0]
