"""Candidate and stage chosen together: what a stage is worth, what is promoted, and what is believed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
import torch

from invdesign import settings
from invdesign.arrays import FloatArray
from invdesign.candidate import Genome, Proposal
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.gaussian.process import GaussianProcess, build_process, fit_hyperparameters
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.acquisition import Incumbents, MarginalAcquisition, ModelSet
from invdesign.optimizers.bayesian.contracts import AcquisitionFunction
from invdesign.optimizers.bayesian.fidelity import Fidelities, build_fidelities
from invdesign.optimizers.bayesian.goals import goals_for
from invdesign.optimizers.bayesian.staging import (
    StageAcquisition,
    StageChooser,
    can_relate_sources,
    source_correlation,
)
from invdesign.optimizers.common import Draft
from invdesign.problem import Constraint, Objective, Problem
from invdesign.protocols import Context, StageView
from invdesign.testing import MemoryHistory

INPUTS = Inputs(("x",), ("number",), cube=True)
ONE = Problem((Objective("e", "minimize"),))
TWO = Problem((Objective("e", "minimize"), Objective("g", "minimize")), (Constraint("g", max=2.0),))
STAGES = (StageView("cheap", frozenset({"e"})), StageView("dear", frozenset({"e", "g"})))
SPACE = settings.load("spaces", {"kind": "parameters", "parameters": {"x": {"real": [0.0, 1.0]}}})
GRID = np.linspace(0.0, 1.0, 41)[:, None]


def dear(x: FloatArray) -> FloatArray:
    """The property at the last stage: lowest at 0.7."""
    values: FloatArray = np.sin(9.0 * x[:, 0]) + 0.5 * x[:, 0] ** 2
    return values


def cheap(x: FloatArray) -> FloatArray:
    """What the cheap stage says of it: nearly the same, with an offset."""
    return dear(x) + 0.3 + 0.05 * np.cos(5.0 * x[:, 0])


def inputs(genomes: Sequence[Genome]) -> FloatArray:
    return SPACE.encode(genomes)  # type: ignore[attr-defined, no-any-return]  # a space of parameters


@cache
def learned(*, early: bool) -> GaussianProcess:
    """The model of what was seen whole, and at the cheap stage too or not."""
    return process(WHOLE, EARLY if early else np.empty((0, 1)))


def process(
    whole: FloatArray, early: FloatArray, scale: Callable[[FloatArray], FloatArray] = cheap
) -> GaussianProcess:
    """The model of values at both stages."""
    rows = Rows(
        np.vstack([whole, early]),
        np.concatenate([dear(whole), scale(early)]),
        np.full(len(whole) + len(early), np.nan),
        np.repeat([0, 1], [len(whole), len(early)]),
    )
    found = fit_hyperparameters(rows, INPUTS, GaussianSettings(), None, 2)
    return build_process(rows, INPUTS, GaussianSettings(), found, 2)


EARLY = np.linspace(0.02, 0.98, 9)[:, None]
WHOLE = EARLY[[0, 3, 6]]


def ladder(problem: Problem = ONE, costs: tuple[float, float] = (1.0, 9.0)) -> Fidelities:
    found = build_fidelities(STAGES, problem, {"cheap": costs[0], "dear": costs[1]})
    assert found is not None
    return found


class Case:
    """A run in memory that saw `EARLY` at the cheap stage and `WHOLE` at both."""

    def __init__(self, problem: Problem = ONE, costs: tuple[float, float] = (1.0, 9.0), n: int = 1) -> None:
        self.history = MemoryHistory(problem)
        for number, x in enumerate(EARLY):
            until = None if number in {0, 3, 6} else "cheap"
            id = self.history.add(Proposal({"x": round(float(x[0]), 12)}, until=until, operator="start"))
            self.finish(id)
        self.problem = problem
        self.context = Context(SPACE, problem, self.history, 0, 1, stages=STAGES)  # type: ignore[arg-type]  # a space
        self.draft = Draft(self.context, n)
        self.ladder = ladder(problem, costs)
        scores = self.history.scores()
        x = inputs([self.history.candidate(id).genome for id in range(len(self.history))])
        self.staging = StageChooser(self.ladder, self.draft, scores, x, inputs)
        models = {"e": learned(early=True)}
        if problem is TWO:
            models["g"] = learned(early=False)
        self.model_set = ModelSet(models)
        self.goals = goals_for(problem, tuple(models), scores.values)

    def finish(self, id: int) -> None:
        proposal = self.history.candidate(id).proposal
        x = inputs([proposal.genome])
        said = {"cheap": {"e": float(cheap(x)[0])}}
        if proposal.until is None:
            value = float(dear(x)[0])
            said["dear"] = {"e": value, "g": value}
        self.history.finish(id, said.get("dear", {}), by_stage=said, depth=len(said) + 1)

    def value(self, places: FloatArray) -> MarginalAcquisition:
        """The acquisition function measured from the values at some places."""
        mean, _ = self.model_set.predict(self.goals.names, places)
        incumbents = Incumbents(self.goals.objective_values(torch.as_tensor(mean)).numpy())
        return MarginalAcquisition(
            self.model_set, self.goals, incumbents, "improvement" if self.goals.single else "hypervolume"
        )

    def chosen(self) -> tuple[str | None, str, tuple[int, ...]]:
        """(until, operator, parents) of the next proposal."""
        found, believed = self.value(WHOLE), self.value(np.vstack([WHOLE, EARLY]))
        choice = self.staging.choose_stage(found, believed, self.search)
        assert choice is not None
        assert self.staging.propose_choice(choice, "log_ei")
        proposal = self.draft.proposals[-1]
        return proposal.until, proposal.operator, proposal.parents

    def search(self, value: AcquisitionFunction, new: Callable[[Genome], bool], level: int) -> Genome | None:
        assert 0 <= level < len(self.ladder)
        for row in np.argsort(-value.evaluate(GRID), kind="stable"):
            genome = {"x": round(float(GRID[row, 0]), 12)}
            if new(genome):
                return genome
        return None


def agreements(model: GaussianProcess, x: FloatArray, source: int = 1) -> FloatArray:
    """Correlations at x (q, d), shape (q,), without gradients."""
    found: FloatArray = source_correlation(model, torch.as_tensor(x), source).detach().numpy()
    return found


def test_agreement_is_high_where_a_source_would_settle_much() -> None:
    """An evaluation of the target itself tells most; one of another source as much as it shares."""
    model, new = learned(early=True), np.linspace(0.05, 0.95, 20)[:, None]
    own, other = agreements(model, new, 0), agreements(model, new)
    assert (own > other).all()
    assert ((other >= -1.0) & (own <= 1.0)).all()


def test_agreement_has_gradients() -> None:
    """The slope of the agreement is that of differences."""
    model = learned(early=True)
    x = torch.tensor([[0.43]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(source_correlation(model, x, 1).sum(), x)
    ahead, behind = agreements(model, np.array([[0.43 + 1e-5], [0.43 - 1e-5]]))
    assert float(slope) == pytest.approx((ahead - behind) / 2e-5, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("problem", [ONE, TWO])
def test_a_stage_is_worth_less_the_less_it_says(problem: Problem) -> None:
    """Per evaluation no stage is worth more than the value itself; one that says nothing of it is worth hardly any."""
    case = Case(problem)
    value = case.value(WHOLE)
    whole = value.evaluate(GRID)
    readings = [case.ladder.readings[name][0] for name in case.goals.names]
    early = StageAcquisition(value, readings, 1.0, exact=False).evaluate(GRID)
    nothing = StageAcquisition(value, [None] * len(readings), 1.0, exact=False).evaluate(GRID)
    drawn = 0.0 if case.goals.single else 0.5  # volumes are averaged over samples, which are few in the tails
    assert (early <= whole + 1e-6 + drawn).all()
    assert (nothing <= early + 1e-6 + drawn).all()
    assert np.isfinite(early[5:-5]).all()
    exact = StageAcquisition(value, readings, 8.0, exact=True).evaluate(GRID)
    np.testing.assert_allclose(exact, whole - np.log(8.0))


@pytest.mark.parametrize("exact", [True, False])
def test_the_value_has_gradients(exact: bool) -> None:
    """In the cube it is climbed: flat and tensor forms agree, and slopes are those of differences."""
    case = Case()
    value = StageAcquisition(case.value(WHOLE), [1], 2.0, exact=exact)
    x = torch.tensor([[0.55], [0.8]], dtype=torch.float64, requires_grad=True)
    found = value.evaluate_tensor(x)
    np.testing.assert_allclose(
        found.detach().numpy(), value.evaluate(x.detach().numpy()), rtol=1e-4, atol=1e-4
    )
    (slope,) = torch.autograd.grad(found.sum(), x)
    ahead, behind = (value.evaluate(x.detach().numpy() + step) for step in (1e-5, -1e-5))
    np.testing.assert_allclose(slope[:, 0].numpy(), (ahead - behind) / 2e-5, rtol=2e-2, atol=1e-2)


def test_cheap_stages_are_chosen_where_they_cost_little() -> None:
    """At the same price a candidate runs all stages, new or promoted; at a hundredth it stops early."""
    assert Case(costs=(1.0, 1e-6)).chosen()[0] is None
    assert Case(costs=(1.0, 300.0)).chosen() == ("cheap", "log_ei", ())


def test_the_best_that_was_seen_early_is_promoted() -> None:
    """Once whole candidates are due, the one believed best is taken further from where it is."""
    case = Case(costs=(1.0, 3.0))
    case.staging.only_whole = True
    until, operator, parents = case.chosen()
    assert (until, operator) == (None, "promotion")
    best = min(
        (id for id in range(9) if id not in {0, 3, 6}), key=lambda number: float(cheap(EARLY[[number]])[0])
    )
    assert parents == (best,)
    assert case.draft.proposals[0].genome == case.history.candidate(best).genome


def test_who_may_go_on() -> None:
    """Candidates that stopped early and stand latest of their genome; not those that were promoted since."""
    case = Case()
    assert case.staging.stopped_early.ids.tolist() == [1, 2, 4, 5, 7, 8]
    assert case.staging.stopped_early.levels.tolist() == [0] * 6
    id = case.history.add(Proposal(case.history.candidate(4).genome, (4,), "promotion"))
    known = list(range(9))
    x = inputs([case.history.candidate(i).genome for i in known])
    under_way = StageChooser(case.ladder, case.draft, case.history.scores(known), x, inputs)
    assert under_way.stopped_early.ids.tolist() == [1, 2, 5, 7, 8]
    assert (len(under_way.pending_whole), len(under_way.pending_or_stopped)) == (1, 6)
    case.finish(id)
    assert case.history.superseded() == [4]


def test_what_is_under_way_is_believed() -> None:
    """An evaluation on its way makes the model surer where it runs, the more the later its stage; means stay."""
    case = Case(n=2)
    place = np.array([[0.6]])
    widths = []
    for level in (None, 0, 1):
        staging = StageChooser(case.ladder, case.draft, case.history.scores(), EARLY, inputs)
        if level is not None:
            staging.pending_x, staging.pending_levels = place, [level]
        mean, width = staging.condition_on_pending(case.model_set).predict(("e",), place)
        np.testing.assert_allclose(mean, case.model_set.predict(("e",), place)[0], atol=1e-3)
        widths.append(float(width[0, 0]))
    assert widths[0] > widths[1] > widths[2]


def test_a_batch_holds_no_genome_twice() -> None:
    """Several choices of one ask differ, and are all admitted."""
    case = Case(n=5)
    for _ in range(5):
        case.chosen()
    assert len({str(proposal.genome) for proposal in case.draft.proposals}) == 5


def test_promising_candidates() -> None:
    """The best believed come first, whichever stage they were seen at."""
    case = Case()
    (first, *_rest) = case.staging.rank_finished(case.model_set, case.goals, 3)
    assert inputs([first])[0, 0] == pytest.approx(EARLY[np.argmin(dear(EARLY)), 0])


def test_a_stage_that_says_nothing_is_left_alone() -> None:
    """The correlation of noise with what is sought is low, and so is what it is worth."""
    rng = np.random.default_rng(3)
    places = rng.random((30, 1))
    model = process(places[:12], places, lambda x: np.random.default_rng(1).normal(size=len(x)))
    good = process(places[:12], places)
    far = np.array([[0.5], [0.25]])
    assert (np.abs(agreements(model, far)) < 0.5).all()
    assert (np.abs(agreements(good, far)) > np.abs(agreements(model, far))).all()


def test_only_models_that_know_sources() -> None:
    """Models without an agreement leave every candidate to run all stages."""
    assert can_relate_sources({"e": learned(early=True)})
    assert not can_relate_sources({"e": object()})  # type: ignore[dict-item]  # not a regressor
