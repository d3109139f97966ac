"""Wishes for properties, judged by the regressor on codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from invdesign.arrays import FloatArray
from invdesign.generators.network.model_folder import CrystalModel
from invdesign.protocols.generators import Wish


@torch.no_grad()
def predict_properties(model: CrystalModel, codes: FloatArray) -> dict[str, FloatArray]:
    """Predict properties of codes (n, l) by name, each (n,)."""
    found = model.network.regressor(torch.from_numpy(codes).float()).numpy().astype(np.float64)
    return {
        target.name: found[:, column] * target.spread + target.mean
        for column, target in enumerate(model.targets)
    }


def rate_codes(model: CrystalModel, codes: FloatArray, wishes: Sequence[Wish]) -> FloatArray:
    """Distance of predicted properties from wishes, in deviations of the training data, shape (n,).

    Args:
        model: trained.
        codes: shape (n, l).
        wishes: for properties that the model predicts.
    """
    predicted = predict_properties(model, codes)
    spreads = {target.name: target.spread for target in model.targets}
    total = np.zeros(len(codes))
    for wish in wishes:
        total += _miss_wish(predicted[wish.property], wish) / spreads[wish.property]
    return total


def _miss_wish(values: FloatArray, wish: Wish) -> FloatArray:
    """Distance of values (n,) from a wish, in the property's unit."""
    if wish.target is not None:
        return np.abs(values - wish.target)
    if wish.window is not None:
        low, high = wish.window
        return np.maximum(low - values, 0.0) + np.maximum(values - high, 0.0)
    return -values if wish.direction == "maximize" else values
