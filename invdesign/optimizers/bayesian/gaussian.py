"""Gaussian processes as models of a property: their settings, fitting them, and building them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from invdesign.optimizers.bayesian.contracts import Hyperparameters
from invdesign.optimizers.bayesian.data import Inputs, Rows
from invdesign.settings import Frozen

if TYPE_CHECKING:
    from invdesign.optimizers.bayesian.process import GaussianProcess


MANY = 12  # descriptors above which they are not all taken to act together


class GaussianSettings(Frozen):
    """How a Gaussian process is built."""

    kernel: Literal["auto", "matern", "rbf", "additive"] = "auto"
    """`matern` (smoothness 5/2) and `rbf` (infinitely smooth) let all columns act together; `additive` has a
    component per group of descriptors, whose contributions it tells apart. `auto` is additive over more than 12
    descriptors in several groups, since few trials cannot tell how many of them act together, and else `matern`."""
    warp: bool = False
    """Whether coordinates of the unit cube are stretched where the property changes fast (learned)."""
    noise: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """Standard deviation of an evaluation, in the property's unit, where evaluators say none; learned if `auto`."""
    iterations: int = Field(default=60, ge=1)
    """Steps of the optimizer that fits the hyperparameters, at most."""

    def additive(self, inputs: Inputs) -> bool:
        """Whether the kernel is a sum over the groups of these inputs."""
        many = not inputs.cube and len(inputs) > MANY and len(inputs.groups) > 1
        return self.kernel == "additive" or (self.kernel == "auto" and many)


def fit_gaussian(
    rows: Rows,
    inputs: Inputs,
    settings: GaussianSettings,
    start: Hyperparameters | None = None,
    n_sources: int = 1,
    *,
    fresh: bool = True,
) -> Hyperparameters:
    """Hyperparameters of highest posterior probability; a deterministic function of the arguments.

    Args:
        rows: n rows; few or constant ones give the prior's hyperparameters.
        inputs: how their columns are read.
        settings: what is fitted.
        start: of an earlier fit, where the search begins; what does not fit the columns is ignored.
        n_sources: how many sources may ever appear in the rows.
        fresh: whether, beside `start`, fresh starts get a chance while rows are few.
    """
    from invdesign.optimizers.bayesian.process import fit

    return fit(rows, inputs, settings, start, n_sources, fresh=fresh)


def gaussian_process(
    rows: Rows,
    inputs: Inputs,
    settings: GaussianSettings,
    hyperparameters: Hyperparameters | None = None,
    n_sources: int = 1,
) -> GaussianProcess:
    """The Gaussian process of rows and hyperparameters; nothing is fitted.

    Args:
        rows: n rows, n >= 0.
        inputs: how their columns are read.
        settings: those of the fit.
        hyperparameters: of a fit; the prior's for whatever they do not say of the present columns.
        n_sources: how many sources may ever appear in the rows.
    """
    from invdesign.optimizers.bayesian.process import GaussianProcess

    return GaussianProcess.of(rows, inputs, settings, hyperparameters, n_sources)
