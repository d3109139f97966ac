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
    """Settings of Gaussian processes."""

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

    def is_additive(self, inputs: Inputs) -> bool:
        """True if the kernel is a sum over the groups of these `inputs`."""
        many = not inputs.cube and len(inputs) > ADDITIVE_ABOVE and len(inputs.groups) > 1
        return self.kernel == "additive" or (self.kernel == "auto" and many)


class ForestSettings(Frozen):
    """Settings of random forests and boosted trees."""

    trees: int = Field(default=100, ge=10, le=2000)
    """Trees of a forest, or rounds of each boosted model."""
    least_rows: int = Field(default=1, ge=1)
    """Rows in a leaf of a forest, at least; more smooth noise away."""
    columns: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the columns that each split of a forest may choose from; less is quicker, and helps where columns say
    the same."""
    members: int = Field(default=10, ge=4, le=100)
    """Boosted models, each on a resampling of the rows."""
    depth: int = Field(default=3, ge=1, le=20)
    """Splits in a row of a boosted tree, at most."""
    rate: float = Field(default=0.1, gt=0.0, le=1.0)
    """How much of what is left each boosted tree corrects."""


class Modelling(Frozen):
    """Settings of the models of properties."""

    model: Literal["gaussian_process", "random_forest", "boosted_trees"] = "gaussian_process"
    """What predicts a property: a Gaussian process, a random forest or boosted trees."""
    gaussian: GaussianSettings = Field(default=GaussianSettings())
    """Settings of Gaussian processes."""
    trees: ForestSettings = Field(default=ForestSettings())
    """Settings of forests and boosted trees."""
    failures: bool = True
    """Whether the chance of success is learned from failed and gated trials, and weighs what is proposed."""
    rows: int = Field(default=1500, ge=50)
    """Trials a model learns from at most; the best, the newest and a spread of the rest."""


class BayesianSettings(Modelling, OptimizerSettings):
    """Settings of Bayesian optimization; `Bayesian` adds the methods of an optimizer."""

    batch: int = Field(default=4, ge=1)
    """Candidates asked for at a time."""
    asks: int = Field(default=1, ge=1)
    """How many asks may be under way at once; with `batch` 1 and as many asks as workers, none waits for another."""
    initial: int | None = Field(default=None, ge=2)
    """Candidates of the first design; where not given, twice the number of variables, between 8 and 20, or 3 with a
    prior."""
    acquisition: Acquisition = "auto"
    """What is maximised: `log_ei`, `noisy_ei`, `ucb`, `thompson`, `log_ehvi`, `log_nehvi`, `parego`; `auto` takes what
    suits the objectives and their noise."""
    beta: float = Field(default=2.0, gt=0.0)
    """Standard deviations of optimism of `ucb`."""
    fidelity: bool = True
    """Whether candidates may stop at a stage that says an objective's property before a later stage says it again."""
    costs: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default={})
    """Cost of each stage by name, in any unit, for choosing stages; measured in seconds where none is given."""
    groups: dict[str, tuple[str, ...]] = Field(default={}, strict=False)
    """Descriptors by group, for additive models: names of columns, or of groups that the space has."""
    trust_region: Literal["auto"] | bool = "auto"
    """Whether the search keeps near the best trial, as near as its luck allows; `auto` where more than 20 variables
    are numbers."""
    effort: float = Field(default=1.0, gt=0.0, le=10.0)
    """How long an acquisition function is searched for its maximum, relative to what usually suffices."""
    prior: tuple[PriorTable, ...] = Field(default=(), strict=False)
    """What is known already, of earlier runs (`run: DIR`) or from tables (`table: FILE`)."""
