"""What a campaign file may say of the models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from invdesign.optimizers.bayesian.forest import ForestSettings
from invdesign.optimizers.bayesian.gaussian import GaussianSettings
from invdesign.settings import Frozen


class Modelling(Frozen):
    """Models of properties."""

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
