"""Acquisition functions agree with their definitions, with BoTorch's own, and with their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement

from invdesign.learning.data import Inputs, Rows
from invdesign.learning.gaussian.process import build_process, fit_hyperparameters
from invdesign.learning.settings import GaussianSettings
from invdesign.optimizers.bayesian.acquisition import Incumbents, MarginalAcquisition, ModelSet
from invdesign.optimizers.bayesian.draws import AveragedAcquisition, SuccessAcquisition, draw_functions
from invdesign.optimizers.bayesian.goals import goals_for
from invdesign.pareto import hypervolume
from invdesign.problem import Constraint, Objective, Problem

INPUTS = Inputs(("x", "y"), ("number", "number"), (("x", (0,)), ("y", (1,))), cube=True)
ONE = Problem((Objective("f", "minimize"),))
TWO = Problem((Objective("f", "minimize"), Objective("g", "minimize")))
CONSTRAINED = Problem((Objective("f", "minimize"),), (Constraint("g", max=0.2),))
X = np.random.default_rng(0).random((14, 2))
VALUES = {"f": ((X - 0.3) ** 2).sum(axis=1), "g": ((X - 0.7) ** 2).sum(axis=1)}
PLACES = np.random.default_rng(1).random((40, 2))


@pytest.fixture(scope="module")
def model_set() -> ModelSet:
    """Gaussian processes of two bowls."""
    models = {}
    for name, y in VALUES.items():
        rows = Rows(X, y, np.full(len(y), np.nan))
        models[name] = build_process(
            rows, INPUTS, GaussianSettings(), fit_hyperparameters(rows, INPUTS, GaussianSettings(), None)
        )
    return ModelSet(models)


def marginal(model_set: ModelSet, problem: Problem, measure: str, **options: float) -> MarginalAcquisition:
    """The acquisition function over what the rows hold."""
    names = [objective.property for objective in problem.objectives]
    minimised = np.stack([VALUES[name] for name in names], axis=1)
    goals = goals_for(problem, list(VALUES), minimised)
    return MarginalAcquisition(
        model_set, goals, Incumbents(goals.scale_minimised(minimised)), measure, **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["improvement", "bound", "sample", "curiosity"])
@pytest.mark.parametrize("problem", [ONE, CONSTRAINED], ids=["one", "constrained"])
def test_flat_and_tensor_agree(model_set: ModelSet, problem: Problem, measure: str) -> None:
    """The value without gradients is the value with them."""
    value = marginal(model_set, problem, measure)
    np.testing.assert_allclose(
        value.evaluate(PLACES), value.evaluate_tensor(torch.as_tensor(PLACES)).numpy(), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("problem", "measure"), [(ONE, "improvement"), (TWO, "hypervolume"), (CONSTRAINED, "improvement")]
)
def test_gradients(model_set: ModelSet, problem: Problem, measure: str) -> None:
    """They are those that small steps show."""
    value = marginal(model_set, problem, measure)
    x = torch.as_tensor(PLACES[:5]).requires_grad_()
    (gradient,) = torch.autograd.grad(value.evaluate_tensor(x).sum(), x)
    for column in range(2):
        step = np.zeros(2)
        step[column] = 1e-5
        slope = (value.evaluate(PLACES[:5] + step) - value.evaluate(PLACES[:5] - step)) / 2e-5
        np.testing.assert_allclose(gradient[:, column].numpy(), slope, rtol=2e-3, atol=1e-3)


def test_improvement_is_botorchs(model_set: ModelSet) -> None:
    """Of one minimised property it is BoTorch's, up to the scale of the values."""
    model = model_set.regressors["f"].to_botorch()
    best = float(VALUES["f"].min())
    theirs = LogExpectedImprovement(model, best_f=best, maximize=False)(torch.as_tensor(PLACES).unsqueeze(1))
    ours = marginal(model_set, ONE, "improvement").evaluate(PLACES)
    np.testing.assert_allclose(ours + np.log(VALUES["f"].std()), theirs.detach().numpy(), rtol=1e-5)


def test_hypervolume_is_the_gain_where_nothing_is_uncertain(model_set: ModelSet) -> None:
    """With deviations near zero the expected gain is the gain."""
    value = marginal(model_set, TWO, "hypervolume")
    goals, incumbents = value.goals, value.incumbents.values
    reference = np.array([-3.0, -3.0])
    value = MarginalAcquisition(model_set, goals, Incumbents(incumbents, reference), "hypervolume")
    mean = torch.tensor([[0.02, 0.1], [0.01, 0.4]], dtype=torch.float64)
    found = value.evaluate_marginals(mean, torch.full_like(mean, 1e-9)).exp().numpy()
    new = goals.objective_values(mean).numpy()
    before = hypervolume(-incumbents, -reference)
    gains = [hypervolume(-np.vstack([incumbents, row[None]]), -reference) - before for row in new]
    np.testing.assert_allclose(found, gains, rtol=0.05, atol=0.02)


def test_nothing_feasible_seeks_what_is(model_set: ModelSet) -> None:
    """Without a feasible trial the chance that constraints hold is all that counts."""
    goals = goals_for(CONSTRAINED, list(VALUES), VALUES["f"][:, None])
    value = MarginalAcquisition(model_set, goals, Incumbents(np.empty((0, 1))), "improvement")
    best = PLACES[np.argmax(value.evaluate(PLACES))]
    assert ((best - 0.7) ** 2).sum() < 0.2


def test_believing_takes_a_place(model_set: ModelSet) -> None:
    """Where a candidate is under way, another one is worth less."""
    before = marginal(model_set, ONE, "improvement")
    best = PLACES[[int(np.argmax(before.evaluate(PLACES)))]]
    after = marginal(model_set.condition_on(best), ONE, "improvement")
    assert after.evaluate(best)[0] < before.evaluate(best)[0] - 1.0


def test_drawn_functions_differ_and_are_exact(model_set: ModelSet) -> None:
    """A draw passes through its own values, with next to no uncertainty; another draw is another function."""
    rng = np.random.default_rng(3)
    far = np.array([[0.95, 0.02], [0.03, 0.97]])
    first, second = (draw_functions(model_set, ["f"], far, rng).regressors["f"] for _ in range(2))
    assert not np.allclose(first.predict(far)[0], second.predict(far)[0])
    wide = model_set.regressors["f"].predict(far)[1]
    assert (first.predict(far)[1] < 0.3 * wide).all()


def test_averages_are_of_values_not_of_logarithms() -> None:
    """Two values of which one is 0 average to half the other."""

    class Fixed:
        differentiable = True

        def __init__(self, level: float) -> None:
            self.level = level

        def evaluate(self, x: np.ndarray) -> np.ndarray:
            return np.full(len(x), self.level)

        def evaluate_tensor(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x),), self.level, dtype=torch.float64)

    value = AveragedAcquisition([Fixed(0.0), Fixed(-1000.0)])
    assert value.evaluate(PLACES)[0] == pytest.approx(np.log(0.5))
    assert float(value.evaluate_tensor(torch.as_tensor(PLACES))[0]) == pytest.approx(np.log(0.5))


def test_hope_keeps_away_from_what_was_tried() -> None:
    """Without any values, the farthest candidate comes first."""
    hope = SuccessAcquisition(ModelSet({}), np.array([[0.1, 0.1], [0.2, 0.1]]), np.ones(2))
    assert int(np.argmax(hope.evaluate(np.array([[0.15, 0.1], [0.9, 0.9], [0.5, 0.5]])))) == 1
