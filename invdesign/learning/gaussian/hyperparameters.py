"""Hyperparameters of Gaussian processes as plain JSON, and back.

A resumed run builds its models from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.learning.contracts import Hyperparameters
from invdesign.learning.gaussian.fitting import ParameterPrior, ParameterValues, to_natural
from invdesign.learning.gaussian.kernels import Plan
from invdesign.learning.gaussian.scaling import ColumnScales


def write_hyperparameters(values: ParameterValues, plan: Plan, columns: ColumnScales) -> Hyperparameters:
    """Convert natural parameters to plain JSON.

    Lengthscales are in the units of their columns.

    Args:
        values: natural parameters, block by block.
        plan: of the kernel.
        columns: scales of the inputs.
    """
    blocks = {**values, "length": values["length"] * columns.spread}
    return {
        "kernel": plan.smoothness,
        "columns": list(columns.numbers),
        "categories": list(columns.categories),
        **{name: block.tolist() for name, block in blocks.items()},
    }


def read_hyperparameters(
    hyperparameters: Hyperparameters | None, plan: Plan, columns: ColumnScales, prior: ParameterPrior
) -> ParameterValues:
    """Read natural parameters from JSON; the prior's where nothing fits.

    Args:
        hyperparameters: of an earlier fit, or None.
        plan: of the kernel.
        columns: scales of the inputs.
        prior: of the free parameters.
    """
    values = to_natural(prior.mean)
    said = hyperparameters or {}
    if said.get("kernel") != plan.smoothness:
        return values
    for name, block in values.items():
        found = _to_array(said.get(name))
        if found is None or found.ndim != block.ndim:
            continue
        if name == "length":
            found = _align_columns(found, said.get("columns"), columns.numbers) / columns.spread
        elif name == "category":
            found = _align_columns(found, said.get("categories"), columns.categories)
        if found.shape[1:] != block.shape[1:]:
            continue
        rows = min(len(found), len(block))  # sources may have been added since
        usable = np.isfinite(found[:rows]) & ((found[:rows] > 0.0) | (name == "share"))
        block[:rows] = np.where(usable, found[:rows], block[:rows])
    return values


def _to_array(value: Any) -> FloatArray | None:
    """Convert to an array; None if that fails."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _align_columns(found: FloatArray, said: Any, columns: Sequence[int]) -> FloatArray:
    """Reorder values (s, k) of the columns `said` to `columns`, shape (s, d).

    NaN for columns that are not among them.
    """
    aligned = np.full((len(found), len(columns)), np.nan)
    if not isinstance(said, list) or found.ndim != 2 or found.shape[1] != len(said):
        return aligned
    for position, column in enumerate(columns):
        if column in said:
            aligned[:, position] = found[:, said.index(column)]
    return aligned
