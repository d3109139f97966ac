"""Fit of a model of one kind, to exact and censored values or to classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from invdesign.learning.ridge import solve_ridge
from invdesign.rng import derived_seed
from invdesign.threads import one_thread
from surrogates.regression.models.block_process import fit_block_process
from surrogates.regression.models.contract import ColumnBlock, FittedModel, Kind, Task
from surrogates.regression.models.estimators import (
    FITS,
    RIDGE_PENALTIES,
    Estimate,
    fit_boosted_trees,
    fit_extra_trees,
    fit_logistic,
    fit_support_vectors,
    split_folds,
)
from surrogates.regression.models.kernel import KernelModel
from surrogates.regression.models.linear import LinearModel
from surrogates.regression.models.preparing import InputScales, OutputScale
from surrogates.regression.models.settings import (
    BoostedTreesSettings,
    ExtraTreesSettings,
    FitError,
    GaussianProcessSettings,
    ModelSettings,
    RidgeSettings,
    SupportVectorSettings,
    read_settings,
)
from surrogates.regression.models.tobit import (
    TobitSolution,
    censored_moments,
    solve_tobit,
)
from surrogates.regression.models.trees import TreesModel

FEWEST_ROWS = 5  # to learn anything from (chosen)
IMPUTATION_ROUNDS = 4  # fits that impute censored values (chosen)
IMPUTATION_TOLERANCE = 0.03  # root mean square change, in deviations of the values, that ends it (chosen)
LEAST_DEVIATION = 1e-9  # of errors, in deviations of the values (chosen)
QUICK_TREES, QUICK_RATE = 50, 0.2  # trees, and learning rate at most, of models that impute (chosen)
TOBIT_ROUNDS = 2  # choices of the penalty of a linear model of censored values (chosen)
CLOSED_FORM = (
    "ridge",
    "kernel_ridge",
    "gaussian_process",
)  # kinds whose fit predicts each row without itself
LEAST_SLOPE = 1e-6  # of log odds by score: a score that tells nothing tells nothing the other way (chosen)


def fit_model(
    kind: Kind,
    x: FloatArray,
    y: FloatArray,
    *,
    task: Task = "regression",
    censoring: IntArray | None = None,
    settings: Mapping[str, Any] | None = None,
    blocks: Sequence[ColumnBlock] = (),
    seed: int,
) -> FittedModel:
    """Fit a model of one kind.

    Args:
        kind: of the model.
        x: shape (n, d), features; NaN where missing.
        y: shape (n,), values, or of censored rows their limits; classes 0 and 1 for classification.
        task: regression or classification.
        censoring: shape (n,), -1 where the true value is below `y`, 1 above, 0 equal; None for no censored rows.
        settings: of the kind, by name; others have their defaults.
        blocks: of the columns of `x`, side by side, which a Gaussian process may weigh; none for one block.
        seed: the same seed gives the same model.

    Raises:
        FitError: rows are too few, values do not vary, or the settings are wrong.
    """
    options = read_settings(kind, settings or {})
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    limits = np.zeros(len(y), dtype=np.int64) if censoring is None else np.asarray(censoring, dtype=np.int64)
    _check_rows(x, y, limits, task)
    with one_thread():
        if isinstance(options, GaussianProcessSettings) and options.kernel == "laplacian":
            return _fit_blocks(x, y, limits, options, blocks, seed, classify=task == "classification")
        if task == "classification":
            return _fit_classifier(kind, x, y, options, seed)
        if not limits.any():
            return FITS[kind](x, y, options, seed).model
        if isinstance(options, RidgeSettings):
            return _fit_linear_tobit(x, y, limits, options)
        return _fit_censored(kind, x, y, limits, options, seed)


def _fit_blocks(
    x: FloatArray,
    y: FloatArray,
    censoring: IntArray,
    settings: GaussianProcessSettings,
    blocks: Sequence[ColumnBlock],
    seed: int,
    *,
    classify: bool,
) -> FittedModel:
    """Fit a Gaussian process that weighs blocks of features."""
    if not classify:
        return fit_block_process(x, y, settings, seed, blocks, censoring).model
    found = fit_block_process(x, 2.0 * y - 1.0, settings, seed, blocks)
    return _calibrate_scores(found, y.astype(np.int64))


def _check_rows(x: FloatArray, y: FloatArray, censoring: IntArray, task: Task) -> None:
    """Refuse rows that nothing can be learnt from.

    Raises:
        FitError: says what is wrong, and what to do.
    """
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or censoring.shape != y.shape:
        raise FitError(
            f"features {x.shape}, values {y.shape} and censoring {censoring.shape} need one row per material each"
        )
    if not np.isfinite(y).all():
        rows = np.flatnonzero(~np.isfinite(y))
        raise FitError(
            f"{len(rows)} of {len(y)} values are not finite, first in row {rows[0]}: remove these rows"
        )
    if not np.isin(censoring, (-1, 0, 1)).all():
        raise FitError(f"censoring must be -1, 0 or 1, got {sorted(set(censoring.tolist()))}")
    exact = int((censoring == 0).sum())
    if exact < FEWEST_ROWS:
        uncensored = " that are not censored" if exact < len(y) else ""
        raise FitError(f"a model needs {FEWEST_ROWS} rows{uncensored} or more, got {exact}: add data")
    if not _varies(x):
        raise FitError(
            "no feature varies among the rows: nothing can be learnt from them; add other features"
        )
    if task == "classification":
        classes = np.unique(y)
        if exact < len(y):
            raise FitError(
                f"{len(y) - exact} rows are censored: decide their class first, and leave out those that have none"
            )
        if not np.isin(classes, (0.0, 1.0)).all():
            raise FitError(f"classes must be 0 and 1, got {classes[:5].tolist()}")
        if len(classes) < 2:
            raise FitError(
                f"all {len(y)} rows are of class {int(classes[0])}: move the threshold, or add data"
            )
    elif np.ptp(y[censoring == 0]) <= 1e-12 * np.abs(y).max():
        raise FitError(
            f"all {exact} values are {y[censoring == 0][0]:g}: there is nothing to learn from them"
        )


def _varies(x: FloatArray) -> bool:
    """True if a feature has two values, where a missing one counts as a value."""
    known = np.isfinite(x)
    filled = np.where(known, x, 0.0)
    return bool(x.size and ((filled != filled[0]) | (known != known[0])).any())


# Censored values.


def _fit_linear_tobit(
    x: FloatArray, y: FloatArray, censoring: IntArray, settings: RidgeSettings
) -> LinearModel:
    """Fit linear regression of censored values, with the penalty of least left-out error of imputed ones."""
    inputs = InputScales.from_rows(x, power=settings.power, indicators=settings.indicators)
    outputs = OutputScale.standardise(y, compress=settings.compress)
    z, t = inputs(x), outputs.scale.to_model_scale(y)
    found, _, _ = _solve_tobit_path(z, t, censoring, settings.penalty)
    return LinearModel(inputs, outputs, found.weights, found.offset)


def _solve_tobit_path(
    z: FloatArray, t: FloatArray, censoring: IntArray, penalty: Any
) -> tuple[TobitSolution, FloatArray, FloatArray]:
    """Solve Tobit regression, and return imputed values (n,) and their variances with it.

    The penalty is that of least leave-one-out error of the imputed values, if it is not given.
    """
    penalties = RIDGE_PENALTIES if penalty == "auto" else np.array([penalty])
    imputed, variance = t, np.zeros(len(t))
    for _ in range(TOBIT_ROUNDS):
        chosen = solve_ridge(z, imputed, penalties * len(t)).penalty
        found = solve_tobit(z, t, censoring, chosen)
        said = z @ found.weights + found.offset
        imputed, variance = censored_moments(t, censoring, said, found.deviation)
    return found, imputed, variance


def _fit_censored(
    kind: Kind, x: FloatArray, y: FloatArray, censoring: IntArray, settings: ModelSettings, seed: int
) -> FittedModel:
    """Fit any model to censored values, imputed by its own predictions of rows that it has not seen.

    A linear model gives the first imputation. Then fits and imputations alternate, as in an EM algorithm. A row is
    predicted without itself, so that no imputed value repeats itself.
    """
    inputs = InputScales.from_rows(x, power=False, indicators=True)
    outputs = OutputScale.standardise(y, compress=False)
    _, imputed, variance = _solve_tobit_path(inputs(x), outputs.scale.to_model_scale(y), censoring, "auto")
    imputed, spread = outputs.to_values(imputed), float(y.std())
    variance, quick = variance * outputs.scale.width**2, _make_quick(kind, x, imputed, settings, seed)
    for number in range(IMPUTATION_ROUNDS):
        mean = _predict_left_out(kind, x, imputed, quick, derived_seed(seed, "imputation", number))
        # Squared errors of the true values: those of censored rows have the variance of what is not known of them.
        deviation = float(np.sqrt(np.mean((imputed - mean) ** 2 + variance)))
        before = imputed
        imputed, variance = censored_moments(y, censoring, mean, max(deviation, LEAST_DEVIATION * spread))
        change = (imputed - before)[censoring != 0]
        if float(np.sqrt(np.mean(change**2))) <= IMPUTATION_TOLERANCE * spread:
            break
    return FITS[kind](x, imputed, settings, seed).model


def _make_quick(
    kind: Kind, x: FloatArray, y: FloatArray, settings: ModelSettings, seed: int
) -> ModelSettings:
    """Settings of a quicker model of the same kind, for imputation: fewer trees, choices made once."""
    if isinstance(settings, ExtraTreesSettings):
        return settings.model_copy(update={"trees": min(settings.trees, QUICK_TREES)})
    if isinstance(settings, BoostedTreesSettings) and settings.trees > QUICK_TREES:
        rate = min(settings.rate * settings.trees / QUICK_TREES, max(QUICK_RATE, settings.rate))
        return settings.model_copy(update={"trees": QUICK_TREES, "rate": rate})
    if isinstance(settings, SupportVectorSettings):
        return FITS[kind](x, y, settings, seed).settings or settings
    return settings


def _predict_left_out(
    kind: Kind, x: FloatArray, y: FloatArray, settings: ModelSettings, seed: int
) -> FloatArray:
    """Predictions (n,) of rows that the model has not seen: in closed form, or by inner folds."""
    if kind in CLOSED_FORM:
        said = FITS[kind](x, y, settings, seed).left_out
        if said is not None:
            return said
    said = np.empty(len(y))
    for fold in split_folds(len(y), seed):
        said[fold] = FITS[kind](x[~fold], y[~fold], settings, seed).model.predict(x[fold])
    return said


# Classes.


def _fit_classifier(
    kind: Kind, x: FloatArray, y: FloatArray, settings: ModelSettings, seed: int
) -> FittedModel:
    """Fit a classifier whose predictions are probabilities."""
    labels = y.astype(np.int64)
    if isinstance(settings, RidgeSettings):
        return fit_logistic(x, y, settings, seed)
    if isinstance(settings, ExtraTreesSettings):
        return fit_extra_trees(x, y, settings, seed, labels).model
    if isinstance(settings, BoostedTreesSettings):
        return fit_boosted_trees(x, y, settings, seed, labels).model
    whole = _fit_scores(kind, x, labels, settings, seed)
    if whole.left_out is None:
        scores = _score_left_out(kind, x, labels, whole.settings or settings, seed)
        return _replace_outputs(whole.model, OutputScale.log_odds(*fit_log_odds(scores, labels)))
    return _calibrate_scores(whole, labels)


def _calibrate_scores(found: Estimate, labels: IntArray) -> FittedModel:
    """Turn a model of scores into one of probabilities, by its predictions of rows without themselves."""
    if found.left_out is None:
        raise ValueError("the model does not predict its rows without themselves")
    scores = found.model.outputs.scale.to_model_scale(found.left_out)
    return _replace_outputs(found.model, OutputScale.log_odds(*fit_log_odds(scores, labels)))


def _replace_outputs(model: LinearModel | KernelModel | TreesModel, outputs: OutputScale) -> FittedModel:
    if isinstance(model, KernelModel):
        return replace(model, outputs=outputs, places=None, factor=None)
    return replace(model, outputs=outputs)


def _fit_scores(kind: Kind, x: FloatArray, labels: IntArray, settings: ModelSettings, seed: int) -> Estimate:
    """Fit a model whose scores tell the classes apart.

    Source:
        Rasmussen & Williams (2006), section 6.5: least squares on classes -1 and 1.
    """
    signs = 2.0 * labels.astype(np.float64) - 1.0
    if isinstance(settings, SupportVectorSettings):
        return fit_support_vectors(x, signs, settings, seed, labels)
    return FITS[kind](x, signs, settings, seed)


def _score_left_out(
    kind: Kind, x: FloatArray, labels: IntArray, settings: ModelSettings, seed: int
) -> FloatArray:
    """Scores (n,) of rows that the model has not seen, by inner folds."""
    scores = np.empty(len(labels))
    for fold in split_folds(len(labels), seed, labels):
        # One row of a class cannot be left out.
        seen = ~fold if len(np.unique(labels[~fold])) == 2 else np.ones(len(labels), dtype=bool)
        scores[fold] = _fit_scores(kind, x[seen], labels[seen], settings, seed).model.score(x[fold])
    return scores


def fit_log_odds(scores: FloatArray, labels: IntArray) -> tuple[float, float]:
    """Fit slope and offset of log odds by scores (n,) of rows of known classes.

    The classes are drawn towards one half by one row each, so that separate scores do not become certainty.

    Source:
        Platt, Advances in Large Margin Classifiers (MIT, 2000), 61.
    """
    from scipy.optimize import minimize

    count = np.array([(labels == 0).sum(), (labels == 1).sum()])
    wanted = np.where(labels == 1, (count[1] + 1.0) / (count[1] + 2.0), 1.0 / (count[0] + 2.0))
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    z = (scores - centre) / spread

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        odds = theta[0] * z + theta[1]
        error = 0.5 * (1.0 + np.tanh(0.5 * odds)) - wanted
        return float((np.logaddexp(0.0, odds) - wanted * odds).sum()), np.array([error @ z, error.sum()])

    start = np.array([1.0, np.log(count[1] / count[0])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(LEAST_SLOPE, None), (None, None)]).x
    slope = float(found[0]) / spread
    return slope, float(found[1]) - slope * centre
