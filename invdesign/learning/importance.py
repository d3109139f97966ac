"""Importance of variables: the effect on a model's means of shuffling one among the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.learning.calibration import rank_correlation
from invdesign.learning.data import Inputs
from invdesign.rng import rng_for

Means = Callable[[FloatArray], FloatArray]

MAX_PREDICTIONS = 20_000  # of a model for one property; chosen
MAX_SHUFFLES = 8  # of every variable; chosen


@dataclass(frozen=True, slots=True)
class Share:
    """Importance of a variable or a group to the model of a property.

    Attributes:
        name, group: of the variable.
        effect: share of the model's variance that is lost with it, among the candidates that were evaluated.
        relevance: by the model's own lengthscales, normalised to the sum 1; None for groups.
        trend: rank correlation of the variable with the model's means, from -1 to 1; None for groups and categories.
    """

    name: str
    group: str
    effect: float
    relevance: float | None = None
    trend: float | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """Contribution of a group to the predictions of an additive model.

    Attributes:
        group: its name.
        spread: standard deviation of its contributions over the evaluated candidates, in the property's unit.
        share: of the variances of all groups.
        of_best: its contribution to the best candidate beyond its mean; None if no candidate is the best.
    """

    group: str
    spread: float
    share: float
    of_best: float | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """Importance of variables and groups to one property, largest effects first.

    Attributes:
        property: its name.
        variables, groups: their effects.
        contributions: of the groups if the model is a sum over them; else empty.
    """

    property: str
    variables: tuple[Share, ...]
    groups: tuple[Share, ...]
    contributions: tuple[Contribution, ...] = ()


def variance_shares(
    means: Means, x: FloatArray, inputs: Inputs, relevance: Sequence[float | None]
) -> tuple[tuple[Share, ...], tuple[Share, ...]]:
    """Total effects of variables and of groups, largest first.

    A share is half the mean squared change of the model's mean when the variable takes its value in another candidate,
    over the variance of the means. Shares of variables that act together overlap, so their sum may exceed 1; variables
    that repeat each other share one effect.

    Args:
        means: the model's means at (q, d), shape (q,).
        x: shape (n, d), the candidates' inputs.
        inputs: names, kinds and groups of the columns.
        relevance: of each column, by the model itself.

    Returns:
        Shares of the variables, and of the groups.

    Source:
        Jansen, Comput. Phys. Commun. 117, 35 (1999), as a permutation over the evaluated candidates.
    """
    base = means(x)
    variance = float(base.var())
    sets = [(column,) for column in range(len(inputs))] + [columns for _, columns in inputs.groups]
    effects = np.zeros(len(sets))
    if variance > 0:
        effects = np.minimum(_total_effects(means, x, base, sets) / variance, 1.0)
    group_of = {column: name for name, columns in inputs.groups for column in columns}
    variables = [
        Share(
            name=name,
            group=group_of.get(column, name),
            effect=float(effects[column]),
            relevance=relevance[column],
            trend=None if inputs.kinds[column] == "category" else rank_correlation(x[:, column], base),
        )
        for column, name in enumerate(inputs.names)
    ]
    groups = [
        Share(name, name, float(effect))
        for (name, _), effect in zip(inputs.groups, effects[len(inputs) :], strict=True)
    ]
    return _sort_by_effect(variables), _sort_by_effect(groups)


def group_contributions(
    groups: Sequence[str], parts: FloatArray, best: Sequence[int]
) -> tuple[Contribution, ...]:
    """Contributions of groups to an additive model, largest spread first.

    Args:
        groups: names of g groups.
        parts: shape (n, g), contributions to the candidates' predictions, in the property's unit.
        best: position of the best candidate, if there is one.
    """
    variance = parts.var(axis=0)
    total = float(variance.sum())
    found = [
        Contribution(
            group=name,
            spread=float(np.sqrt(part)),
            share=float(part) / total if total > 0 else 0.0,
            of_best=float(parts[best[0], column] - parts[:, column].mean()) if best else None,
        )
        for column, (name, part) in enumerate(zip(groups, variance, strict=False))
    ]
    return tuple(sorted(found, key=lambda item: -item.spread))


def _sort_by_effect(found: Sequence[Share]) -> tuple[Share, ...]:
    return tuple(sorted(found, key=lambda share: -share.effect))


def _total_effects(
    means: Means, x: FloatArray, base: FloatArray, sets: Sequence[tuple[int, ...]]
) -> FloatArray:
    """Half the mean squared change of the means by set of columns, shape (len(sets),)."""
    rng = rng_for(0, 0, "importance")
    n = len(x)
    kept = np.arange(n)
    if n * len(sets) > MAX_PREDICTIONS:  # fewer candidates rather than fewer shuffles than one
        kept = np.unique(
            np.linspace(0, n - 1, max(MAX_PREDICTIONS // len(sets), 20)).round().astype(np.int64)
        )
    shuffles = int(np.clip(MAX_PREDICTIONS // max(len(kept) * len(sets), 1), 1, MAX_SHUFFLES))
    orders = [_cyclic_partners(rng.permutation(len(kept))) for _ in range(shuffles)]
    part, values = x[kept], base[kept]
    effects = np.zeros(len(sets))
    for place, columns in enumerate(sets):
        if not np.ptp(part[:, list(columns)], axis=0).any():
            continue
        changed = np.tile(part, (shuffles, 1))
        for number, order in enumerate(orders):
            rows = slice(number * len(part), (number + 1) * len(part))
            changed[rows, list(columns)] = part[order][:, list(columns)]
        effects[place] = 0.5 * float(((means(changed) - np.tile(values, shuffles)) ** 2).mean())
    return effects


def _cyclic_partners(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Partner of every row in a cycle through `order`, never itself."""
    partner = np.empty(len(order), dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner
