"""Settings of Gaussian processes and of trees."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from invdesign.learning.data import Inputs
from invdesign.settings import Frozen

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
