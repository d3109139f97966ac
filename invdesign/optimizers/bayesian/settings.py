"""Settings of Bayesian optimization."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from invdesign.learning.settings import ForestSettings, GaussianSettings
from invdesign.optimizers.bayesian.priors import PriorTable
from invdesign.protocols import OptimizerSettings
from invdesign.settings import Frozen

Acquisition = Literal["auto", "log_ei", "noisy_ei", "ucb", "thompson", "log_ehvi", "log_nehvi", "parego"]


class Modelling(Frozen):
    """Settings of the models of properties."""

    model: Literal["gaussian_process", "random_forest", "boosted_trees"] = "gaussian_process"
    """Kind of model of a property: a Gaussian process, a random forest or boosted trees."""
    gaussian: GaussianSettings = Field(default=GaussianSettings())
    """Settings of Gaussian processes."""
    trees: ForestSettings = Field(default=ForestSettings())
    """Settings of forests and boosted trees."""
    failures: bool = True
    """Learn the probability of success from failed and gated trials, and weight acquisition functions by it."""
    rows: int = Field(default=1500, ge=50)
    """Largest number of trials a model learns from: the best, the newest and a spread of the rest."""


class BayesianSettings(Modelling, OptimizerSettings):
    """Settings of Bayesian optimization; `Bayesian` adds the methods of an optimizer."""

    batch: int = Field(default=4, ge=1)
    """Candidates asked for at a time."""
    asks: int = Field(default=1, ge=1)
    """Number of asks that may be under way at once; with `batch` 1 and as many asks as workers, none waits for another."""
    initial: int | None = Field(default=None, ge=2)
    """Candidates of the first design; where not given, twice the number of variables, between 8 and 20, or 3 with a
    prior."""
    acquisition: Acquisition = "auto"
    """Acquisition function: `log_ei`, `noisy_ei`, `ucb`, `thompson`, `log_ehvi`, `log_nehvi`, `parego`; `auto` takes what
    suits the objectives and their noise."""
    beta: float = Field(default=2.0, gt=0.0)
    """Standard deviations that `ucb` adds to the mean."""
    fidelity: bool = True
    """Let candidates stop at a stage that provides an objective's property before a later stage provides it again."""
    costs: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default={})
    """Cost of each stage by name, in any unit, for choosing stages; measured in seconds where none is given."""
    groups: dict[str, tuple[str, ...]] = Field(default={}, strict=False)
    """Descriptors by group, for additive models: names of columns, or of groups that the space has."""
    trust_region: Literal["auto"] | bool = "auto"
    """Keep the search in a trust region around the best trial; `auto` does so where more than 20 variables are
    numbers."""
    effort: float = Field(default=1.0, gt=0.0, le=10.0)
    """Effort of maximising an acquisition function, relative to the default."""
    prior: tuple[PriorTable, ...] = Field(default=(), strict=False)
    """Earlier results, of runs (`run: DIR`) or from tables (`table: FILE`)."""
