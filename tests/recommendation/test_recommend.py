"""Recommendations: the best, the front, and what is said where models cannot help."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign import pareto
from invdesign.candidate import Proposal
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.settings import Modelling
from invdesign.problem import Objective, Problem
from invdesign.protocols import Context, StageView
from invdesign.recommendation.models import MAX_CANDIDATES
from invdesign.recommendation.recommend import RecommendationError
from invdesign.rng import Rng, rng_for
from invdesign.spaces.parameters.space import ParameterSpace
from invdesign.testing import MemoryHistory
from tests.recommendation.cases import BOUNDED, TWO, advised, bowl, column, context, noisy, space


def test_exact_values_are_kept() -> None:
    """Of a smooth function without noise the best is the best measured one, with a narrow interval around it."""
    case = context(30)
    found = advised(case)
    assert found.best is not None
    assert found.best.candidate == int(np.argmin(column(case, "height")))
    assert found.best.formula == f"no. {found.best.candidate}"
    assert found.measured_best is None
    (estimate,) = found.best.estimates
    interval = estimate.interval()
    assert interval is not None
    assert estimate.measured == pytest.approx(estimate.mean, abs=0.02)
    assert interval[1] - interval[0] < 0.05
    assert found.words == ()


def test_a_lucky_value_is_not_taken_for_the_best() -> None:
    """A bad candidate with one lucky value is overruled by what its neighbours say, and that is told."""

    def values(genome: Mapping[str, Any], rng: Rng) -> dict[str, float]:
        found = noisy(0.05)(genome, rng)
        lucky = genome["x"] > 0.9 and genome["c"] == "a"
        return {**found, "height": found["height"] - (0.6 if lucky and rng.random() < 0.34 else 0.0)}

    case = next(
        case
        for seed in range(50)
        if (case := context(50, values, noise=0.3, seed=seed))
        and (best := case.history.candidate(int(np.argmin(column(case, "height")))).genome)
        and float(str(best["x"])) > 0.9
    )
    found = advised(case)
    lucky = int(np.argmin(column(case, "height")))
    assert found.best is not None
    assert found.best.candidate != lucky
    assert found.measured_best == lucky
    assert found.words[0].startswith(f"Candidate {lucky} has the best measured value.")
    assert lucky in {member.candidate for member in found.front}  # it is shown beside the others
    assert [member.candidate for member in found.front if member.measured_best] == [lucky]


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 0.1, 1.0]),
    noise=st.sampled_from([None, 0.01, 0.3]),
    kernel=st.sampled_from(["matern", "additive"]),
)
def test_no_measured_value_is_contradicted(
    seed: int, spread: float, noise: float | None, kernel: Literal["matern", "additive"]
) -> None:
    """A mean lies within the stated noise of its measurement; where none is stated it is the measurement."""
    case = context(int(12 + seed % 20), noisy(spread), TWO, noise=noise, seed=seed)
    optimizer = Modelling(gaussian=GaussianSettings(kernel=kernel, iterations=10))
    found = advised(case, optimizer=optimizer)
    assert found.front
    for estimate in (item for member in found.front for item in member.estimates):
        assert estimate.mean is not None
        assert estimate.measured is not None
        assert estimate.deviation is not None
        assert abs(estimate.mean - estimate.measured) <= (noise or 0.0) * (1 + 1e-9)
        assert estimate.deviation <= (noise or 0.0) * (1 + 1e-9)
        assert estimate.is_exact() == (noise is None)


def test_the_noise_of_measurements_from_outside_is_learned() -> None:
    """Where people measure and do not say how well, the model says how much of a value is luck."""
    case = context(40, noisy(0.1))
    stages = (StageView("laboratory", frozenset({"height"}), external=True),)
    (estimate,) = advised(replace(case, stages=stages)).front[0].estimates
    assert estimate.deviation is not None
    assert 0.005 < estimate.deviation < 0.2
    assert not estimate.is_exact()


def test_systematic_errors_are_shown_and_not_learned_from() -> None:
    """They stand beside a measured value, and the models are those of a run without them."""
    plain = context(30)
    told = context(30)
    for trial in map(told.history.trial, range(30)):
        history = cast("MemoryHistory", told.history)
        history.finish(trial.id, trial.properties, systematic={"height": 0.5})
    found, expected = advised(told), advised(plain)
    assert found.calibration == expected.calibration
    (estimate,) = found.front[0].estimates
    assert estimate.systematic == 0.5
    assert replace(estimate, systematic=None) == expected.front[0].estimates[0]


def test_stated_noise_is_known() -> None:
    """Where evaluators say how uncertain they are, intervals are no narrower than many such values allow."""
    found = advised(context(40, noisy(0.1), noise=0.1))
    assert found.best is not None
    (estimate,) = found.best.estimates
    assert estimate.noise == 0.1
    assert estimate.deviation is not None
    assert 0.005 < estimate.deviation < 0.2


def test_several_objectives_leave_the_choice() -> None:
    """The front by the models' means, in the order of the first objective; nothing is chosen from it."""
    case = context(40, problem=TWO)
    found = advised(case)
    assert found.best is None
    assert found.front_size == len(found.front)
    heights = [member.estimates[0].mean for member in found.front]
    assert heights == sorted(heights, key=lambda value: value or 0.0)
    minimised = np.stack([column(case, "height"), -column(case, "width")], axis=1)
    measured = set(pareto.front(minimised).tolist())
    shared = {member.candidate for member in found.front} & measured
    assert len(shared) >= 0.7 * len(measured)


def test_constraints_hold_by_measured_values() -> None:
    """What violates a constraint is not recommended while something feasible is known; its property is shown."""
    case = context(40, problem=BOUNDED)
    found = advised(case)
    assert found.best is not None
    assert [item.property for item in found.best.estimates] == ["height", "width"]
    assert all(column(case, "width")[member.candidate] >= 0.8 for member in found.front)
    assert {item.property for item in found.calibration} == {"height", "width"}


def test_the_least_violation_is_told_as_such() -> None:
    """Where nothing is feasible, the least violation is listed, and that is said."""
    case = context(20, lambda genome, rng: {**bowl(genome, rng), "width": 0.1 * genome["x"]}, BOUNDED)
    found = advised(case)
    assert "No candidate meets every constraint" in found.words[0]
    assert found.best is not None
    assert found.best.candidate == int(np.argmax(column(case, "width")))


def test_a_desirability_ranks_by_one_score() -> None:
    """Combined objectives have one best, with its desirability."""
    objectives = (
        Objective("height", "minimize", best=0.0, worst=1.0),
        Objective("width", "maximize", best=2.0, worst=0.0),
    )
    found = advised(context(40, problem=Problem(objectives, scalarize="desirability")))
    assert found.best is not None
    assert found.best.desirability is not None
    assert 0.3 < found.best.desirability <= 1.0


def test_what_matters_is_found() -> None:
    """x, y and the choice matter to the bowl, z does not; shares come sorted, by variable and by group."""
    (found,) = advised(context(60)).importance
    effects = {share.name: share.effect for share in found.variables}
    assert effects["z"] < 0.02
    assert min(effects["x"], effects["y"], effects["c"]) > 0.1
    assert [share.effect for share in found.variables] == sorted(effects.values(), reverse=True)
    assert {share.group for share in found.groups} == {"x", "y", "z", "c"}
    assert found.contributions == ()


def test_groups_of_an_additive_model_are_told_apart() -> None:
    """The settings of a Bayesian optimizer hold here too: an additive kernel says what each group adds."""
    optimizer = Modelling(gaussian=GaussianSettings(kernel="additive"))
    (found,) = advised(context(60), optimizer=optimizer).importance
    spreads = {item.group: item.spread for item in found.contributions}
    assert set(spreads) == {"x", "y", "z", "c"}
    assert spreads["c"] == pytest.approx(0.1, abs=0.03)  # half of the 0.2 between both choices
    assert spreads["z"] < 0.02
    assert all(item.of_best is not None for item in found.contributions)


def test_it_is_the_same_each_time() -> None:
    """Nothing is drawn from anywhere but the history."""
    first, second = (advised(context(40, noisy(0.05))).to_dict() for _ in range(2))
    assert first == second


def test_it_becomes_json() -> None:
    """A program reads every estimate with its interval, and no number that JSON does not know."""
    found = json.loads(
        json.dumps(advised(context(40, noisy(0.05), noise=0.05), notes=["a word"]).to_dict(), allow_nan=False)
    )
    low, high = found["best"]["estimates"][0]["interval"]
    assert low < found["best"]["estimates"][0]["mean"] < high
    assert len(found["calibration"][0]["rows"]) == 40
    assert found["notes"] == ["a word"]


@pytest.mark.parametrize(
    ("n", "values", "words"),
    [
        (0, bowl, "No candidate has a value yet"),
        (20, lambda genome, rng: {}, "No candidate has a value yet"),
        (4, bowl, "height is not modelled: 4 candidates have a value; a model needs 6"),
        (1, bowl, "height is not modelled: 1 candidate has a value; a model needs 6"),
        (
            20,
            lambda genome, rng: {"height": 2.5},
            "height is not modelled: all 20 values are the same (2.5)",
        ),
    ],
)
def test_where_nothing_can_be_learned_it_says_so(n: int, values: Any, words: str) -> None:
    """Too few, failed or constant: the measured best where there is one, a reason, and no exception."""
    found = advised(context(n, values))
    assert not found.calibration
    assert not found.importance
    assert words in found.words[0]
    if n and values(context(1).history.candidate(0).genome, None):
        assert found.best is not None
        assert found.best.estimates[0].interval() is None


def test_failures_among_successes_do_no_harm() -> None:
    """Half of the candidates fail; the models learn from the others."""

    def values(genome: Mapping[str, Any], rng: Rng) -> dict[str, float]:
        return bowl(genome, rng) if genome["z"] < 0.5 else {}

    found = advised(context(40, values))
    assert found.best is not None
    assert found.learned_from < 40
    assert found.calibration[0].r2 > 0.8


def test_an_objective_without_values_leaves_nothing_to_recommend() -> None:
    """Where no candidate has every objective, none is recommended, and the others are still explained."""
    case = context(20, lambda genome, rng: {"height": bowl(genome, rng)["height"]}, TWO)
    found = advised(case)
    assert found.front == ()
    assert any("No candidate has a value of every objective" in text for text in found.words)
    assert [item.property for item in found.calibration] == ["height"]


def test_pure_noise_is_judged_by_measured_values() -> None:
    """A model that knows nothing overrules nothing."""
    case = context(40, lambda genome, rng: {"height": float(rng.normal())})
    found = advised(case)
    assert found.calibration[0].verdict == "no better than the mean"
    assert found.best is not None
    assert found.best.candidate == int(np.argmin(column(case, "height")))


def test_many_candidates_are_thinned() -> None:
    """Of a large run the best and an even part of the rest are learned from, and that is said."""
    case = context(MAX_CANDIDATES + 60, noisy(0.02))
    found = advised(case)
    assert found.learned_from == MAX_CANDIDATES
    assert f"The models learn from {MAX_CANDIDATES} of {MAX_CANDIDATES + 60} candidates" in found.words[0]
    best = int(np.argmin(column(case, "height")))
    assert best in {row.candidate for row in found.calibration[0].rows}


def test_a_named_property_is_explained_alone() -> None:
    """Any property of the run may be asked for; the best stays what it is."""
    case = context(40)
    found = advised(case, properties=["width"])
    assert [item.property for item in found.calibration] == ["width"]
    assert [item.property for item in found.importance] == ["width"]
    assert found.best is not None
    assert found.best.estimates[0].property == "height"


def test_an_unknown_property_is_refused_with_the_nearest() -> None:
    """A misspelt property is a mistake in the command."""
    with pytest.raises(RecommendationError, match=r"no property 'widht'.*width"):
        advised(context(3), properties=["widht"])


def test_features_that_cannot_be_had_are_told() -> None:
    """A space whose features fail ends the recommendation with words."""
    case = context(20, where=Broken.model_validate({"parameters": {"x": {"real": (0.0, 1.0)}}}), values=flat)
    (words,) = advised(case).words
    assert "The features of the candidates cannot be had: no features today" in words


def flat(genome: Mapping[str, Any], rng: Rng) -> dict[str, float]:
    """The parameter itself."""
    return {"height": float(genome["x"])}


class Broken(ParameterSpace):
    """Its codes fail."""

    def encode(self, genomes: Any) -> Any:
        raise RuntimeError("no features today")


def test_what_cheap_stages_said_is_learned_from() -> None:
    """Candidates known from an earlier stage alone help to predict, and are not recommended."""
    where = space()
    problem = Problem((Objective("height", "minimize"),))
    history, rng = MemoryHistory(problem), rng_for(0, 0, "stages")
    for number in range(60):
        genome = where.operators()["start"].apply((), rng)
        assert genome is not None
        exact = bowl(genome, rng)["height"]
        id = history.add(Proposal(genome))
        said = {"cheap": {"height": exact + 0.05 * float(genome["x"])}}  # type: ignore[arg-type]  # a number
        if number % 5:
            history.finish(id, {}, depth=2, by_stage=said)
        else:
            history.finish(id, {"height": exact}, depth=3, by_stage={**said, "dear": {"height": exact}})
    stages = tuple(StageView(name, frozenset({"height"})) for name in ("cheap", "dear"))
    alone = advised(Context(where, problem, history, 0))
    both = advised(Context(where, problem, history, 0, stages=stages))
    assert both.learned_from == 60
    assert alone.learned_from == 12
    assert len(both.calibration[0].rows) == len(alone.calibration[0].rows) == 12
    assert both.calibration[0].rmse < 0.7 * alone.calibration[0].rmse
    assert both.best is not None
    assert both.best.candidate % 5 == 0
