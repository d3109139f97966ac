"""Settings of the kinds of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from invdesign.errors import InvdesignError, join_complaints, nearest
from invdesign.settings import Frozen
from surrogates.regression.models.contract import Kind

Positive = Annotated[float, Field(gt=0.0)]
Auto = Literal["auto"]
MOST_KERNEL_ROWS = 2000  # training rows of a kernel model: an eigendecomposition takes seconds (chosen)


class FitError(InvdesignError):
    """A model cannot be fitted: its data or its settings do not allow it."""

    exit_code = 2


class ModelSettings(Frozen):
    """Settings of every kind of model."""

    compress: bool = False
    """Compress target values that lie far outside the middle half (inverse hyperbolic sine) before the fit;
    a Gaussian process always does."""


class ScaledSettings(ModelSettings):
    """Settings of models that see standardised features."""

    power: bool = False
    """Make each feature more nearly normal by a power transform (Yeo-Johnson) before it is standardised."""
    indicators: bool = True
    """Add a column of 0 and 1 for each feature that is missing in more than a twentieth of the rows."""


class RidgeSettings(ScaledSettings):
    """Settings of ridge and of logistic regression."""

    penalty: Auto | Positive = "auto"
    """Penalty on squared weights, per row; `auto` takes that of least left-out error."""


class PlsSettings(ScaledSettings):
    """Settings of partial least squares."""

    components: Auto | Annotated[int, Field(ge=1, le=100)] = "auto"
    """Number of components; `auto` takes that of least error in inner folds."""


class KernelRidgeSettings(ScaledSettings):
    """Settings of kernel ridge regression."""

    kernel: Literal["rbf", "matern", "laplacian"] = "matern"
    """Covariance of two rows by their distance: infinitely smooth, Matérn of smoothness 5/2, or the exponential of the
    L1 distance, which suits features of which only a few change at a time."""
    length: Auto | Positive = "auto"
    """Length scale, relative to the root of the number of features, with the Laplacian kernel to the number itself; `auto`
    takes that of least left-out error."""
    penalty: Auto | Positive = "auto"
    """Added to the diagonal of the kernel matrix; `auto` takes that of least left-out error."""
    rows: int = Field(default=MOST_KERNEL_ROWS, ge=10)
    """Largest number of training rows; of more, a part is drawn."""


class SupportVectorSettings(ScaledSettings):
    """Settings of support vector machines."""

    kernel: Literal["rbf", "laplacian"] = "rbf"
    """Covariance of two rows by their distance: infinitely smooth, or the exponential of the L1 distance."""
    cost: Auto | Positive = "auto"
    """Cost of an error, for standardised values; `auto` takes that of least error in inner folds."""
    length: Positive = 1.0
    """Length scale of the kernel, relative to the root of half the number of features, with the Laplacian kernel to twice
    the number."""
    tube: Annotated[float, Field(ge=0.0)] = 0.1
    """Error that costs nothing, in standard deviations of the values (regression)."""
    rows: int = Field(default=8000, ge=10)
    """Largest number of training rows; of more, a part is drawn."""


class GaussianProcessSettings(ScaledSettings):
    """Settings of a Gaussian process."""

    kernel: Literal["rbf", "matern", "laplacian"] = "matern"
    """Covariance of two rows by their distance: infinitely smooth or Matérn of smoothness 5/2, with a length scale for
    each feature; or the exponential of the L1 distance, with a weight for each feature set. With the latter, hyperparameters
    are fitted on some hundred rows at most, and censored rows are imputed by the process itself."""
    iterations: int = Field(default=60, ge=1)
    """Largest number of steps of a hyperparameter fit."""
    rows: int = Field(default=MOST_KERNEL_ROWS, ge=10)
    """Largest number of training rows; of more, a part is drawn."""
    deviation_rows: int = Field(default=600, ge=1)
    """Largest number of training rows from which standard deviations follow: they take the square of it in memory.
    Of more, a part is drawn, and the deviations are upper bounds."""


class ExtraTreesSettings(ModelSettings):
    """Settings of extremely randomised trees."""

    trees: int = Field(default=200, ge=2, le=2000)
    """Number of trees."""
    least_rows: int = Field(default=2, ge=1)
    """Smallest number of rows in a leaf; more, where the trees would take more than 8 MB."""
    columns: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the features that each split may choose from."""
    depth: int | None = Field(default=None, ge=1)
    """Largest depth of a tree."""


class BoostedTreesSettings(ModelSettings):
    """Settings of gradient-boosted trees."""

    trees: int = Field(default=300, ge=1, le=5000)
    """Number of trees."""
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Learning rate: share of the remaining error that each tree corrects."""
    leaves: int = Field(default=15, ge=2, le=255)
    """Largest number of leaves of a tree."""
    least_rows: int = Field(default=10, ge=1)
    """Smallest number of rows in a leaf; of few rows a tenth at most."""
    penalty: Annotated[float, Field(ge=0.0)] = 1.0
    """Penalty on squared leaf values."""
    columns: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the features that each split may choose from."""


SETTINGS: Mapping[Kind, type[ModelSettings]] = {
    "ridge": RidgeSettings,
    "pls": PlsSettings,
    "kernel_ridge": KernelRidgeSettings,
    "support_vectors": SupportVectorSettings,
    "gaussian_process": GaussianProcessSettings,
    "extra_trees": ExtraTreesSettings,
    "boosted_trees": BoostedTreesSettings,
}


def read_settings(kind: str, settings: Mapping[str, Any]) -> ModelSettings:
    """Check the `settings` of a `kind` of model.

    Raises:
        FitError: the kind is unknown, or settings are unknown or out of range; all of them.
    """
    if kind not in SETTINGS:
        hint = nearest(kind, SETTINGS)
        raise FitError(
            f"no kind of model is called {kind!r}; there are {', '.join(SETTINGS)}. {hint}".rstrip()
        )
    model = SETTINGS[kind]  # type: ignore[index]  # a key, as just checked
    try:
        return model.model_validate(dict(settings))
    except ValidationError as error:
        complaints = [_describe(part, model) for part in error.errors(include_url=False)]
        raise FitError(f"settings of {kind}: {join_complaints(list(dict.fromkeys(complaints)))}") from None


def _describe(part: Any, model: type[ModelSettings]) -> str:
    """Describe one error of pydantic in a clause."""
    name = str(part["loc"][0]) if part["loc"] else "settings"
    if part["type"] == "extra_forbidden":
        hint = nearest(name, model.model_fields)
        return (
            f"{name!r} is unknown; allowed are {', '.join(model.model_fields)}{' - ' + hint if hint else ''}"
        )
    message = str(part["msg"])
    return f"{name}: {message[0].lower()}{message[1:]}, got {part['input']!r}"
