"""Settings of Bayesian optimization and of its models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from invdesign.optimizers.bayesian.data import Inputs
from invdesign.optimizers.bayesian.priors import PriorTable
from invdesign.protocols import OptimizerSettings
from invdesign.settings import Frozen

Acquisition = Literal["auto", "log_ei", "noisy_ei", "ucb", "thompson", "log_ehvi", "log_nehvi", "parego"]
ADDITIVE_ABOVE = 12  # descriptors above which the kernel is a sum over groups (chosen)


class GaussianSettings(Frozen):
    """Settings of a Gaussian process."""

    kernel: Literal["auto", "matern", "rbf", "additive"] = "auto"
    """`matern` (smoothness 5/2) and `rbf` (infinitely smooth) let all columns act together; `additive` has a
    component per group of descriptors, whose contributions it tells apart. `auto` is additive over more than 12
    descriptors in several groups, since few trials cannot tell how many of them act together, and else `matern`."""
    warp: bool = False
    """Stretch coordinates of the unit cube where the property changes fast (learned)."""
    noise: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """Standard deviation of an evaluation, in the property's unit, where evaluators state none; learned if `auto`."""
    iterations: int = Field(default=60, ge=1)
    """Largest number of steps of a hyperparameter fit."""

    def is_additive(self, inputs: Inputs) -> bool:
        """True if the kernel is a sum over the groups of these `inputs`."""
        many = not inputs.cube and len(inputs) > ADDITIVE_ABOVE and len(inputs.groups) > 1
        return self.kernel == "additive" or (self.kernel == "auto" and many)


class ForestSettings(Frozen):
    """Settings of random forests and boosted trees."""

    trees: int = Field(default=100, ge=10, le=2000)
    """Trees of a forest, or rounds of each boosted model."""
    least_rows: int = Field(default=1, ge=1)
    """Smallest number of rows in a leaf of a forest; more rows average out noise."""
    columns: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the columns that each split of a forest may choose from; less is quicker, and helps where columns are
    correlated."""
    members: int = Field(default=10, ge=4, le=100)
    """Number of boosted models, each on a resampling of the rows."""
    depth: int = Field(default=3, ge=1, le=20)
    """Largest depth of a boosted tree."""
    rate: float = Field(default=0.1, gt=0.0, le=1.0)
    """Learning rate: share of the remaining error that each boosted tree corrects."""


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
