"""Acquisition functions agree with their definitions, with BoTorch's own, and with their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.analytic import LogExpectedImprovement

from invdesign.optimizers.bayesian.acquisition import Marginal, Outlook, Reached
from invdesign.optimizers.bayesian.data import Inputs, Rows
from invdesign.optimizers.bayesian.draws import Averaged, Hope, drawn
from invdesign.optimizers.bayesian.goals import known_goals
from invdesign.optimizers.bayesian.process import fit_gaussian, gaussian_process
from invdesign.optimizers.bayesian.settings import GaussianSettings
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
def outlook() -> Outlook:
    """Gaussian processes of two bowls."""
    models = {}
    for name, y in VALUES.items():
        rows = Rows(X, y, np.full(len(y), np.nan))
        models[name] = gaussian_process(
            rows, INPUTS, GaussianSettings(), fit_gaussian(rows, INPUTS, GaussianSettings(), None)
        )
    return Outlook(models)


def marginal(outlook: Outlook, problem: Problem, measure: str, **options: float) -> Marginal:
    """The acquisition function over what the rows hold."""
    names = [objective.property for objective in problem.objectives]
    minimised = np.stack([VALUES[name] for name in names], axis=1)
    goals = known_goals(problem, list(VALUES), minimised)
    return Marginal(outlook, goals, Reached(goals.scaled(minimised)), measure, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("measure", ["improvement", "bound", "sample", "curiosity"])
@pytest.mark.parametrize("problem", [ONE, CONSTRAINED], ids=["one", "constrained"])
def test_flat_and_tensor_agree(outlook: Outlook, problem: Problem, measure: str) -> None:
    """The value without gradients is the value with them."""
    value = marginal(outlook, problem, measure)
    np.testing.assert_allclose(value.flat(PLACES), value.tensor(torch.as_tensor(PLACES)).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("problem", "measure"), [(ONE, "improvement"), (TWO, "hypervolume"), (CONSTRAINED, "improvement")]
)
def test_gradients(outlook: Outlook, problem: Problem, measure: str) -> None:
    """They are those that small steps show."""
    value = marginal(outlook, problem, measure)
    x = torch.as_tensor(PLACES[:5]).requires_grad_()
    (gradient,) = torch.autograd.grad(value.tensor(x).sum(), x)
    for column in range(2):
        step = np.zeros(2)
        step[column] = 1e-5
        slope = (value.flat(PLACES[:5] + step) - value.flat(PLACES[:5] - step)) / 2e-5
        np.testing.assert_allclose(gradient[:, column].numpy(), slope, rtol=2e-3, atol=1e-3)


def test_improvement_is_botorchs(outlook: Outlook) -> None:
    """Of one minimised property it is BoTorch's, up to the scale of the values."""
    model = outlook.regressors["f"].model()
    best = float(VALUES["f"].min())
    theirs = LogExpectedImprovement(model, best_f=best, maximize=False)(torch.as_tensor(PLACES).unsqueeze(1))
    ours = marginal(outlook, ONE, "improvement").flat(PLACES)
    np.testing.assert_allclose(ours + np.log(VALUES["f"].std()), theirs.detach().numpy(), rtol=1e-5)


def test_hypervolume_is_the_gain_where_nothing_is_uncertain(outlook: Outlook) -> None:
    """With deviations near zero the expected gain is the gain."""
    value = marginal(outlook, TWO, "hypervolume")
    goals, reached = value.goals, value.reached.values
    reference = np.array([-3.0, -3.0])
    value = Marginal(outlook, goals, Reached(reached, reference), "hypervolume")
    mean = torch.tensor([[0.02, 0.1], [0.01, 0.4]], dtype=torch.float64)
    found = value.of(mean, torch.full_like(mean, 1e-9)).exp().numpy()
    new = goals.values(mean).numpy()
    before = hypervolume(-reached, -reference)
    gains = [hypervolume(-np.vstack([reached, row[None]]), -reference) - before for row in new]
    np.testing.assert_allclose(found, gains, rtol=0.05, atol=0.02)


def test_nothing_feasible_seeks_what_is(outlook: Outlook) -> None:
    """Without a feasible trial the chance that constraints hold is all that counts."""
    goals = known_goals(CONSTRAINED, list(VALUES), VALUES["f"][:, None])
    value = Marginal(outlook, goals, Reached(np.empty((0, 1))), "improvement")
    best = PLACES[np.argmax(value.flat(PLACES))]
    assert ((best - 0.7) ** 2).sum() < 0.2


def test_believing_takes_a_place(outlook: Outlook) -> None:
    """Where a candidate is under way, another one is worth less."""
    before = marginal(outlook, ONE, "improvement")
    best = PLACES[[int(np.argmax(before.flat(PLACES)))]]
    after = marginal(outlook.conditioned(best), ONE, "improvement")
    assert after.flat(best)[0] < before.flat(best)[0] - 1.0


def test_drawn_functions_differ_and_are_exact(outlook: Outlook) -> None:
    """A draw passes through its own values, with next to no uncertainty; another draw is another function."""
    rng = np.random.default_rng(3)
    far = np.array([[0.95, 0.02], [0.03, 0.97]])
    first, second = (drawn(outlook, ["f"], far, rng).regressors["f"] for _ in range(2))
    assert not np.allclose(first.predict(far)[0], second.predict(far)[0])
    wide = outlook.regressors["f"].predict(far)[1]
    assert (first.predict(far)[1] < 0.3 * wide).all()


def test_averages_are_of_values_not_of_logarithms() -> None:
    """Two values of which one is 0 average to half the other."""

    class Fixed:
        differentiable = True

        def __init__(self, level: float) -> None:
            self.level = level

        def flat(self, x: np.ndarray) -> np.ndarray:
            return np.full(len(x), self.level)

        def tensor(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x),), self.level, dtype=torch.float64)

    value = Averaged([Fixed(0.0), Fixed(-1000.0)])
    assert value.flat(PLACES)[0] == pytest.approx(np.log(0.5))
    assert float(value.tensor(torch.as_tensor(PLACES))[0]) == pytest.approx(np.log(0.5))


def test_hope_keeps_away_from_what_was_tried() -> None:
    """Without any values, the farthest candidate comes first."""
    hope = Hope(Outlook({}), np.array([[0.1, 0.1], [0.2, 0.1]]), np.ones(2))
    assert int(np.argmax(hope.flat(np.array([[0.15, 0.1], [0.9, 0.9], [0.5, 0.5]])))) == 1
