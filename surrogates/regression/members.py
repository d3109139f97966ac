"""Candidates judged by grouped out-of-fold predictions, and the best or the mean of the best few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.rng import derived_seed
from surrogates.regression.blocks import Blocks
from surrogates.regression.models.contract import Candidate, FittedModel, Task
from surrogates.regression.splits import Fold

LEAST_GAIN = 0.002  # share of the error that one more member must save (chosen)
LEAST_DEVIATION = 1e-3  # of a regression, relative to that of the values (chosen)
CENSORED_LIKELIHOOD = ("ridge",)  # kinds of models whose likelihood takes censored rows
SEEDS = 2**31  # of libraries that take 31 bits

Selection = Literal["greedy", "best"]

Loss = Callable[[FloatArray], float]
"""Error of predictions (n,)."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Values that a model learns, with the features of the same rows.

    Attributes:
        task: regression of values, or classification of 0 and 1.
        blocks: features of n rows.
        y: shape (n,), values.
        censoring: shape (n,), -1 where the value is below `y`, 1 where it is above, 0 where it is `y`; None for none.
    """

    task: Task
    blocks: Blocks
    y: FloatArray
    censoring: IntArray | None = None

    def select_rows(self, rows: IntArray) -> Labelled:
        """Select rows by position, in that order."""
        censoring = None if self.censoring is None else self.censoring[rows]
        return Labelled(self.task, self.blocks.select_rows(rows), self.y[rows], censoring)


@dataclass(frozen=True, eq=False)
class Member:
    """One model of a mean.

    Attributes:
        candidate: feature sets and kind of model.
        weight: in the mean; weights of all members add up to 1.
        model: fitted to all training rows.
    """

    candidate: Candidate
    weight: float
    model: FittedModel


@dataclass(frozen=True, eq=False)
class Guesses:
    """Predictions of c candidates for n rows.

    Attributes:
        mean: shape (c, n).
        spread: shape (c, n), standard deviations that models state; 0 where a model states none.
    """

    mean: FloatArray
    spread: FloatArray

    def combine(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weighted mean (n,), and the spread of its members (n,)."""
        mean = weights @ self.mean
        variance = weights @ ((self.mean - mean) ** 2 + self.spread**2)
        return mean, np.sqrt(np.maximum(variance, 0.0))


def fit_candidates(
    candidates: Sequence[Candidate], labelled: Labelled, seeds: Sequence[int]
) -> list[tuple[Candidate, FittedModel]]:
    """Fit candidates to all rows of `labelled`.

    Linear regression takes censored rows into its likelihood, and a Gaussian process of feature sets imputes them by its own
    predictions. All others share one imputation by such a fit: an imputation by
    each model's own left-out predictions takes some twenty fits per fit.

    Args:
        candidates: models to fit.
        labelled: values and features of n rows.
        seeds: of the fits.
    """
    from surrogates.regression.models.fitting import fit_model

    completed, found = None, []
    for candidate, seed in zip(candidates, seeds, strict=True):
        y, censoring = labelled.y, labelled.censoring
        if censoring is not None and not _takes_censored(candidate):
            if completed is None:
                completed = impute_values(labelled, candidates[0].features)
            y, censoring = completed, None
        model = fit_model(
            candidate.kind,
            labelled.blocks.stack_sets(candidate.features),
            y,
            task=labelled.task,
            censoring=censoring,
            settings=candidate.settings,
            blocks=labelled.blocks.list_columns(candidate.features),
            seed=seed,
        )
        found.append((candidate, model))
    return found


def _takes_censored(candidate: Candidate) -> bool:
    """True if one fit of the candidate handles censored rows itself."""
    blocks = candidate.kind == "gaussian_process" and candidate.settings.get("kernel") == "laplacian"
    return blocks or candidate.kind in CENSORED_LIKELIHOOD


def impute_values(labelled: Labelled, features: Sequence[str]) -> FloatArray:
    """Impute censored values by their conditional expectations under a Tobit regression, shape (n,).

    Args:
        labelled: values and features of n rows, some of them censored.
        features: names of the feature sets of the regression.
    """
    from surrogates.regression.models.fitting import fit_model
    from surrogates.regression.models.tobit import impute_censored

    y, censoring = labelled.y, labelled.censoring
    if censoring is None or not censoring.any():
        return y
    x = labelled.blocks.stack_sets(features)
    mean = fit_model("ridge", x, y, censoring=censoring, seed=0).predict(x)
    deviation = float(np.sqrt(((y - mean)[censoring == 0] ** 2).mean()))
    return impute_censored(y, censoring, mean, max(deviation, LEAST_DEVIATION * float(y.std())))


def guess_values(pairs: Sequence[tuple[Candidate, FittedModel]], blocks: Blocks) -> Guesses:
    """Predictions of fitted candidates."""
    n = len(blocks)
    mean, spread = np.empty((len(pairs), n)), np.zeros((len(pairs), n))
    stacked: dict[tuple[str, ...], FloatArray] = {}
    for place, (candidate, model) in enumerate(pairs):
        if candidate.features not in stacked:
            stacked[candidate.features] = blocks.stack_sets(candidate.features)
        x = stacked[candidate.features]
        mean[place], found = model.predict_both(x)
        if found is not None:
            spread[place] = found
    return Guesses(mean, spread)


def predict_mean(members: Sequence[Member], blocks: Blocks) -> tuple[FloatArray, FloatArray]:
    """Mean of members (n,), and their spread (n,)."""
    weights = np.array([member.weight for member in members])
    return guess_values([(member.candidate, member.model) for member in members], blocks).combine(weights)


def guess_between_folds(
    candidates: Sequence[Candidate], labelled: Labelled, folds: Sequence[Fold], seed: int
) -> Guesses:
    """Out-of-fold predictions of every candidate for all rows."""
    n = len(labelled.y)
    mean, spread = np.empty((len(candidates), n)), np.zeros((len(candidates), n))
    for number, (train, test) in enumerate(folds):
        part, left = labelled.select_rows(train), labelled.blocks.select_rows(test)
        if labelled.task == "classification" and np.ptp(part.y) == 0:
            # One class alone teaches nothing but its share, with one imagined row of each class (Laplace).
            mean[:, test] = (part.y.sum() + 1.0) / (len(train) + 2.0)
            continue
        seeds = [seed_fit(seed, labelled.task, place, number) for place in range(len(candidates))]
        found = guess_values(fit_candidates(candidates, part, seeds), left)
        mean[:, test], spread[:, test] = found.mean, found.spread
    return Guesses(mean, spread)


def seed_fit(seed: int, task: Task, place: int, fold: int) -> int:
    """Seed of one fit.

    Args:
        seed: of the recipe.
        task: of the model.
        place: of the candidate in the recipe.
        fold: its number; -1 for all rows.
    """
    return derived_seed(seed, "fit", task, place, fold) % SEEDS


def choose_weights(guesses: FloatArray, loss: Loss, most: int) -> FloatArray:
    """Weights of candidates in the mean that predicts best, shape (c,).

    Starting with the best candidate, the one that improves the mean most is added, again and again, the same one also twice.

    Args:
        guesses: shape (c, n), out-of-fold predictions.
        loss: error of predictions (n,).
        most: number of additions at most, 1 or more.

    Source:
        Caruana et al., Ensemble selection from libraries of models, Proc. ICML 2004.
    """
    count = np.zeros(len(guesses))
    errors = [loss(row) for row in guesses]
    best = int(np.argmin(errors))
    count[best], error, total = 1.0, errors[best], guesses[best].copy()
    for size in range(2, most + 1):
        trials = [loss((total + row) / size) for row in guesses]
        best = int(np.argmin(trials))
        if not trials[best] < error * (1.0 - LEAST_GAIN):
            break
        count[best] += 1.0
        error, total = trials[best], total + guesses[best]
    weights: FloatArray = count / count.sum()
    return weights


def weigh_best(errors: FloatArray, most: int) -> FloatArray:
    """Weights (c,) of the mean of the best candidates, adding up to 1.

    Args:
        errors: shape (c,), of the candidates; among equal ones the first.
        most: number of members, or all candidates if there are fewer.
    """
    weights = np.zeros(len(errors))
    weights[np.argsort(errors, kind="stable")[:most]] = 1.0 / min(most, len(errors))
    return weights


def describe_candidate(candidate: Candidate) -> dict[str, Any]:
    """Describe a candidate as plain JSON."""
    settings: Mapping[str, Any] = candidate.settings
    return {"features": list(candidate.features), "kind": candidate.kind, "settings": dict(settings)}


def read_candidate(config: Mapping[str, Any]) -> Candidate:
    """Read a candidate from plain JSON."""
    return Candidate(tuple(config["features"]), config["kind"], dict(config["settings"]))
