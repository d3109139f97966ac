"""Rebuilding of stored models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from invdesign.errors import ArtifactError
from surrogates.regression.models.contract import FittedModel
from surrogates.regression.models.kernel import KernelModel
from surrogates.regression.models.linear import LinearModel
from surrogates.regression.models.trees import TreesModel

FORMS = {form.form: form for form in (LinearModel, KernelModel, TreesModel)}


def load_fitted(form: str, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedModel:
    """Rebuild a fitted model.

    Args:
        form: way of storing: linear, kernel or trees.
        config: plain JSON, as the model gave it.
        arrays: by name, as the model gave them.

    Raises:
        ArtifactError: the form is unknown, or parts are missing or damaged.
    """
    if form not in FORMS:
        raise ArtifactError(f"no model is stored as {form!r}; there are {', '.join(FORMS)}")
    try:
        model: FittedModel = FORMS[form].load(config, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the stored {form} model is damaged: {error!r}") from None
    return model
