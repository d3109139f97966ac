"""Covariance functions, and the marginal likelihood they are fitted by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.learning.gaussian.fitting import (
    NegativeLogPosterior,
    ParameterPrior,
    ScaledRows,
    factorise_covariance,
    to_free,
    to_natural,
)
from invdesign.learning.gaussian.kernels import (
    Group,
    Kernel,
    Plan,
    distance_correlation,
    squared_distances,
    to_tensors,
    warp_inputs,
)

PLANS = {
    "numbers": Plan("matern", (Group("all", (0, 1, 2), ()),), 3, 0),
    "categories": Plan("matern", (Group("all", (), (0, 1)),), 0, 2),
    "mixed": Plan("rbf", (Group("all", (0, 1, 2), (0, 1)),), 3, 2),
    "additive": Plan("matern", (Group("a", (0,), (0,)), Group("b", (1, 2), ()), Group("c", (), (1,))), 3, 2),
    "sources": Plan("matern", (Group("all", (0, 1, 2), (0, 1)),), 3, 2, sources=3),
    "warped": Plan("matern", (Group("all", (0, 1, 2), ()),), 3, 0, warp=True),
    "nothing": Plan("matern", (Group("all", (), ()),), 0, 0),
}


def known(plan: Plan, n: int, seed: int) -> ScaledRows:
    """Rows of a plan."""
    rng = np.random.default_rng(seed)
    noise = np.where(rng.random(n) < 0.5, np.nan, 0.01 * rng.random(n))
    return ScaledRows(
        numbers=torch.from_numpy(rng.random((n, plan.d_numbers))),
        categories=torch.from_numpy(rng.integers(0, 3, (n, plan.d_categories)).astype(float)),
        sources=torch.from_numpy(rng.integers(0, plan.sources, n)),
        y=torch.from_numpy(rng.standard_normal(n)),
        noise=torch.from_numpy(noise),
        fixed=None,
    )


def kernel(plan: Plan, seed: int) -> Kernel:
    """A kernel with parameters about its prior."""
    rng, prior = np.random.default_rng(seed), ParameterPrior.for_plan(plan, cube=True)
    free = {name: mean + 0.5 * rng.standard_normal(mean.shape) for name, mean in prior.mean.items()}
    return Kernel(plan, to_tensors(to_natural(free)))


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_covariances_are_symmetric_and_positive(name: str, seed: int) -> None:
    """Any kernel makes a covariance matrix with the variances it says."""
    plan = PLANS[name]
    rows, covariance = known(plan, 12, seed), kernel(plan, seed)
    matrix = covariance.row_covariance(rows.numbers, rows.categories, rows.sources)
    assert torch.equal(matrix, matrix.T) or torch.allclose(matrix, matrix.T, atol=1e-13)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-9
    variances = torch.tensor([float(covariance.prior_variance(int(source))) for source in rows.sources])
    assert torch.allclose(matrix.diagonal(), variances.double(), atol=1e-9)


@pytest.mark.parametrize(("name", "peer"), [("matern", MaternKernel(nu=2.5)), ("rbf", RBFKernel())])
def test_smooth_kernels_are_those_of_gpytorch(name: str, peer: MaternKernel | RBFKernel) -> None:
    """Matérn and RBF agree with GPyTorch's."""
    peer = peer.double()
    peer.lengthscale = 1.0
    a, b = torch.rand(5, 3, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64)
    ours = distance_correlation(squared_distances(a, b), name)  # type: ignore[arg-type]
    assert torch.allclose(ours, peer(a, b).to_dense().detach(), atol=1e-12)


@pytest.mark.parametrize("name", ["matern", "rbf"])
def test_correlations_with_and_without_gradients_agree(name: str) -> None:
    """The path that overwrites its input gives the same numbers as the one that keeps a graph."""
    a = torch.rand(6, 2, dtype=torch.float64)
    plain = distance_correlation(squared_distances(a, a), name)  # type: ignore[arg-type]
    tracked = distance_correlation(squared_distances(a.clone().requires_grad_(True), a), name)  # type: ignore[arg-type]
    assert torch.allclose(plain, tracked.detach(), atol=1e-15)


def test_the_slope_of_matern_is_finite_where_points_coincide() -> None:
    """A gradient at a row itself is 0, not NaN."""
    a = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    distance_correlation(squared_distances(a, a.detach()), "matern").sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


@settings(max_examples=20, deadline=None)
@given(a=st.floats(0.2, 5.0), b=st.floats(0.2, 5.0))
def test_warping_keeps_order_and_cube(a: float, b: float) -> None:
    """Warped coordinates grow with the coordinates and stay within the cube."""
    x = torch.linspace(0.0, 1.0, 50, dtype=torch.float64)
    warped = warp_inputs(x, torch.tensor(a).double(), torch.tensor(b).double())
    assert (warped.diff() >= 0.0).all()
    assert warped.min() >= 0.0
    assert warped.max() <= 1.0


@pytest.mark.parametrize("name", PLANS)
def test_the_target_of_a_fit_has_the_gradient_it_says(name: str) -> None:
    """The closed form of the marginal likelihood's gradient agrees with finite differences."""
    plan = PLANS[name]
    prior = ParameterPrior.for_plan(plan, cube=True)
    target = NegativeLogPosterior(plan, prior, known(plan, 10, 1))
    theta = target.to_vector(prior.mean) + 0.1
    _, gradient = target(theta)
    for position in range(len(theta)):
        step = np.zeros(len(theta))
        step[position] = 1e-5
        slope = (target(theta + step)[0] - target(theta - step)[0]) / 2e-5
        assert gradient[position] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", PLANS)
def test_free_and_natural_parameters_are_inverse(name: str) -> None:
    """Nothing is lost between the scale of the search and the natural one."""
    free = ParameterPrior.for_plan(PLANS[name], cube=False).mean
    for block, values in to_free(to_natural(free)).items():
        np.testing.assert_allclose(values, free[block], atol=1e-12)


def test_factors_of_singular_covariances_exist() -> None:
    """Rows that are exactly alike get as little on the diagonal as is needed."""
    ones = torch.ones(5, 5, dtype=torch.float64)
    factor = factorise_covariance(ones)
    assert torch.allclose(factor @ factor.T, ones, atol=1e-5)


def test_covariances_that_are_not_finite_are_refused() -> None:
    """A covariance with NaN is an error, not an endless search for jitter."""
    with pytest.raises(ArithmeticError, match="not finite"):
        factorise_covariance(torch.full((2, 2), torch.nan, dtype=torch.float64))
