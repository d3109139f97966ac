"""Training of property models: choice between folds, calibrated intervals, domain, and a fit to all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from surrogates.regression.blocks import Blocks, compute_blocks, hash_columns
from surrogates.regression.conformal import (
    Intervals,
    bound_scores,
    fit_difficulty,
    grouped_quantile,
)
from surrogates.regression.domain import (
    Metric,
    choose_metric,
    fit_domain,
    list_elements,
)
from surrogates.regression.errors import TrainingError
from surrogates.regression.material import Dataset, Material
from surrogates.regression.members import (
    Guesses,
    Labelled,
    Member,
    Selection,
    choose_weights,
    describe_candidate,
    fit_candidates,
    guess_between_folds,
    seed_fit,
    weigh_best,
)
from surrogates.regression.models.contract import Candidate
from surrogates.regression.needs import describe_inputs
from surrogates.regression.probability import (
    Classifier,
    calibrate_odds,
    fit_calibration,
    label_rows,
    log_loss,
    reach_probability,
)
from surrogates.regression.property_model import PropertyModel
from surrogates.regression.splits import Fold, join_groups, measure_groups, split_groups

LEAST_ROWS = 20  # from which intervals and a choice can be learnt (chosen)
LARGEST_GROUPS_NAMED = 10  # on the card (chosen)
VERSIONED = ("invdesign", "numpy", "scipy", "scikit-learn", "torch", "pymatgen")  # libraries, on the card
NONMETALS = frozenset(
    ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Sb", "Te", "I")
)
"""Nonmetals and metalloids, which make the anions of compounds."""
LEAST_FAMILIES = 3  # that are named, so that leaving one out is possible (chosen)


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Attributes:
        candidates: models among which the training chooses.
        classifiers: the same for the probability to reach the target's threshold; the regression's own probability is always
            among them.
        folds: number of grouped folds that judge the candidates.
        seed: of all random numbers.
        level: share of rows of new groups that intervals cover.
        most_members: number of models in the mean at most.
        selection: `greedy` adds models to the mean one at a time, while the error falls; `best` takes the mean of the
            `most_members` best ones, which suits few rows, whose errors hardly tell similar models apart.
        loss: mean absolute or mean squared error decides the choice.
    """

    candidates: tuple[Candidate, ...]
    classifiers: tuple[Candidate, ...] = ()
    folds: int = 5
    seed: int = 0
    level: float = 0.9
    most_members: int = 5
    selection: Selection = "greedy"
    loss: Literal["absolute", "squared"] = "absolute"

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """Names of all feature sets, each once."""
        named = [name for candidate in (*self.candidates, *self.classifiers) for name in candidate.features]
        return tuple(dict.fromkeys(named))

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON of the recipe."""
        return {
            "candidates": [describe_candidate(candidate) for candidate in self.candidates],
            "classifiers": [describe_candidate(candidate) for candidate in self.classifiers],
            "folds": self.folds,
            "seed": self.seed,
            "level": self.level,
            "most_members": self.most_members,
            "selection": self.selection,
            "loss": self.loss,
        }


def baseline_recipe(seed: int = 0, *, classify: bool = False) -> Recipe:
    """Recipe of the baseline: extra trees on statistics of element properties.

    Args:
        seed: of the training.
        classify: True if the target has a threshold.
    """
    trees = (Candidate(("element_statistics",), "extra_trees"),)
    return Recipe(trees, trees if classify else (), seed=seed)


@dataclass(frozen=True, eq=False)
class _Choice:
    """Candidates chosen by out-of-fold predictions.

    Attributes:
        weights: shape (c,), of all candidates.
        errors: shape (c,), out-of-fold errors of all candidates.
        error: out-of-fold error of the mean.
        mean, spread: shape (n,), out-of-fold.
    """

    weights: FloatArray
    errors: FloatArray
    error: float
    mean: FloatArray
    spread: FloatArray


def train(data: Dataset, recipe: Recipe, blocks: Blocks | None = None) -> PropertyModel:
    """Train a property model.

    Args:
        data: n materials with values.
        recipe: candidates and settings.
        blocks: features of the materials; None to compute them.

    Raises:
        TrainingError: the data or the recipe do not suffice; the message says why.
        FeatureError: a material lacks what a feature set needs.
    """
    from invdesign.threads import one_thread

    _check_task(data, recipe)
    with one_thread():
        if blocks is None:
            blocks = compute_blocks(recipe.feature_sets, data.materials)
        return _train(data, recipe, blocks)


def _train(data: Dataset, recipe: Recipe, blocks: Blocks) -> PropertyModel:
    folds = split_groups(data.groups, recipe.folds, recipe.seed)
    labelled = Labelled("regression", blocks, data.y, data.censoring if data.censoring.any() else None)
    choice = _choose_members(data, recipe, labelled, folds)
    regions = _split_regions(data, recipe, folds)
    options = _list_options(_list_sets(recipe.candidates, choice.weights))
    metric = choose_metric(options, blocks, data.groups, folds, regions.apart, regions.shared)
    domain = fit_domain(metric, blocks, data.materials, data.groups)
    left = _leave_regions_out(recipe, labelled, choice, regions)
    intervals = _calibrate_intervals(data, recipe.level, choice, metric, left)
    members = _fit_members(recipe.candidates, choice.weights, labelled, recipe.seed)
    classifier: Classifier | None = None
    more: dict[str, Any] = {}
    if data.target.threshold is not None:
        classifier, more = _train_classifier(data, recipe, blocks, folds, choice, intervals, metric.between)
    chosen = [*members, *(classifier.members if classifier else ())]
    used = tuple(dict.fromkeys([name for member in chosen for name in member.candidate.features]))
    return PropertyModel(
        target=data.target,
        members=members,
        intervals=intervals,
        domain=domain,
        classifier=classifier,
        columns={name: hash_columns(name) for name in used},
        weights=_list_weights(used),
        formulas=_list_formulas(data.materials),
        about={
            "data": describe_data(data),
            "inputs": describe_inputs(data).config,
            "versions": _list_versions(),
            "recipe": recipe.config,
            "choice": {
                "errors": [float(error) for error in choice.errors],
                "weights": [float(weight) for weight in choice.weights],
                "error": choice.error,
            },
            "regions": _describe_regions(data, regions, left, metric.area),
            **more,
        },
    )


def _check_task(data: Dataset, recipe: Recipe) -> None:
    """Check data and recipe before anything is computed.

    Raises:
        TrainingError: they do not suffice.
    """
    known = data.y[data.censoring == 0]
    if not recipe.candidates:
        raise TrainingError(
            "the recipe names no candidate: expected at least one set of features with a model"
        )
    if len(known) < LEAST_ROWS:
        raise TrainingError(
            f"{data.source.name} has {len(known)} rows with a known value of {data.target.name}, and a training needs "
            f"{LEAST_ROWS} or more"
        )
    if not np.isfinite(data.y).all():
        raise TrainingError(f"{data.target.name} must be finite in all rows of {data.source.name}")
    if np.ptp(known) == 0:
        raise TrainingError(
            f"{data.target.name} is {known[0]:.6g} in all rows of {data.source.name}: there is nothing to learn"
        )
    if data.target.threshold is not None:
        labels, sure = label_rows(data.y, data.censoring, data.target.threshold)
        if np.ptp(labels[sure]) == 0:
            where = "reaches" if labels[sure][0] else "stays below"
            raise TrainingError(
                f"every row of {data.source.name} {where} the threshold {data.target.threshold:g} of "
                f"{data.target.name}: take one between {known.min():.6g} and {known.max():.6g}, or none"
            )


def _choose_members(data: Dataset, recipe: Recipe, labelled: Labelled, folds: Sequence[Fold]) -> _Choice:
    """Choose candidates by their out-of-fold predictions."""
    guesses = guess_between_folds(recipe.candidates, labelled, folds, recipe.seed)
    _check_guesses(recipe.candidates, guesses)

    def measure_error(mean: FloatArray) -> float:
        errors, _, idle = bound_scores(data.y, data.censoring, mean)
        errors = np.where(idle, 0.0, errors)  # a prediction on the right side of a limit is not wrong
        return float(errors.mean() if recipe.loss == "absolute" else (errors**2).mean())

    errors = np.array([measure_error(row) for row in guesses.mean])
    if recipe.selection == "best":
        weights = weigh_best(errors, recipe.most_members)
    else:
        weights = choose_weights(guesses.mean, measure_error, recipe.most_members)
    mean, spread = guesses.combine(weights)
    return _Choice(weights, errors, measure_error(mean), mean, spread)


def _check_guesses(candidates: Sequence[Candidate], guesses: Guesses) -> None:
    for candidate, row in zip(candidates, guesses.mean, strict=True):
        if not np.isfinite(row).all():
            raise TrainingError(
                f"the model {candidate.kind} on {', '.join(candidate.features)} predicts values that are not finite: "
                "take it out of the recipe, or change its settings"
            )


def _list_sets(candidates: Sequence[Candidate], weights: FloatArray) -> tuple[str, ...]:
    """Feature sets of the chosen candidates, each once."""
    chosen = [candidate for candidate, weight in zip(candidates, weights, strict=True) if weight > 0]
    return tuple(dict.fromkeys(name for candidate in chosen for name in candidate.features))


def _fit_members(
    candidates: Sequence[Candidate], weights: FloatArray, labelled: Labelled, seed: int
) -> tuple[Member, ...]:
    """Fit the chosen candidates to all rows."""
    places = np.flatnonzero(weights).tolist()
    seeds = [seed_fit(seed, labelled.task, place, -1) for place in places]
    fitted = fit_candidates([candidates[place] for place in places], labelled, seeds)
    return tuple(
        Member(candidate, float(weights[place]), model)
        for place, (candidate, model) in zip(places, fitted, strict=True)
    )


def _calibrate_intervals(
    data: Dataset, level: float, choice: _Choice, metric: Metric, left: tuple[FloatArray, FloatArray]
) -> Intervals:
    """Calibrate intervals by out-of-fold errors.

    The difficulty is fitted to errors of left-out groups and of left-out regions, so that it rises with the distance; the factor
    is that of left-out groups. A censored row whose prediction lies on the wrong side of its limit counts with the error that
    it has at least; one on the right side tells nothing and is left out.

    Args:
        data: n materials with values.
        level: share of rows of new groups that intervals cover.
        choice: with out-of-fold predictions.
        metric: with distances between folds.
        left: means (n,) and spreads (n,) with regions left out.
    """
    errors, at_least, idle = bound_scores(data.y, data.censoring, choice.mean)
    beyond, beyond_at_least, beyond_idle = bound_scores(data.y, data.censoring, left[0])
    known = np.flatnonzero(data.censoring == 0)
    terms = [(errors, metric.between, choice.spread)]
    if metric.left is not None:
        terms.append((beyond, metric.left, left[1]))
    difficulty = fit_difficulty(
        *(np.concatenate([term[place][known] for term in terms]) for place in range(3))
    )
    scores = errors / difficulty.expect_errors(metric.between, choice.spread)
    told, far = ~idle, ~beyond_idle
    factor = grouped_quantile(scores[told], level, data.groups[told], at_least[told])
    own = np.arange(int(far.sum()))
    return Intervals(
        level, difficulty, factor, grouped_quantile(beyond[far], level, own, beyond_at_least[far])
    )


@dataclass(frozen=True, eq=False)
class _Regions:
    """Regions of a data set that are left out to judge extrapolation.

    Attributes:
        name: of the regions.
        count: of regions.
        apart: folds that leave regions out; empty with one region alone.
        shared: shape (n,), True where the grouped folds leave other rows of the same region among the training rows.
    """

    name: str
    count: int
    apart: tuple[Fold, ...]
    shared: BoolArray


def label_regions(data: Dataset) -> tuple[IntArray, str]:
    """Regions of a data set: its families, or without families its anion chemistries.

    An anion chemistry is the set of nonmetals, which tells phosphates from oxides. A row without a family is of its own
    anion chemistry. (Chemical systems are no regions: leaving one out takes little more away than leaving out a group.)

    Returns:
        Number of the region of each row, shape (n,); name of the regions.
    """
    chemistries = [
        "-".join(sorted(list_elements(material) & NONMETALS)) or "no nonmetal" for material in data.materials
    ]
    if len({family for family in data.families if family}) < LEAST_FAMILIES:
        return join_groups({"chemistry": chemistries}), "anion chemistries"
    labels = [
        f"family {family}" if family else f"chemistry {chemistry}"
        for family, chemistry in zip(data.families, chemistries, strict=True)
    ]
    return join_groups({"family": labels}), "families"


def _split_regions(data: Dataset, recipe: Recipe, folds: Sequence[Fold]) -> _Regions:
    regions, name = label_regions(data)
    count = len(np.unique(regions))
    shared = np.zeros(len(data), dtype=np.bool_)
    for train, test in folds:
        shared[test] = np.isin(regions[test], regions[train])
    apart = split_groups(regions, min(recipe.folds, count), recipe.seed) if count > 1 else []
    return _Regions(name, count, tuple(apart), shared)


def _list_options(sets: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Lists of feature sets in which distances may be taken: all, or all but one.

    A set that only needs compositions always stays, if there is one: a material of another composition is another one.
    """
    from surrogates.regression.features.registry import find_feature_set

    plain = {name for name in sets if find_feature_set(name).needs == "composition"}
    fewer = [tuple(other for other in sets if other != name) for name in sets]
    return [sets, *(option for option in fewer if option and (not plain or plain & set(option)))]


def _leave_regions_out(
    recipe: Recipe, labelled: Labelled, choice: _Choice, regions: _Regions
) -> tuple[FloatArray, FloatArray]:
    """Predict all rows by the chosen candidates with regions left out; with groups left out if there is one region.

    Returns:
        Means (n,) and spreads (n,).
    """
    if not regions.apart:
        return choice.mean, choice.spread
    places = np.flatnonzero(choice.weights).tolist()
    candidates = [recipe.candidates[place] for place in places]
    guesses = guess_between_folds(candidates, labelled, regions.apart, recipe.seed)
    return guesses.combine(choice.weights[places])


def _describe_regions(
    data: Dataset, regions: _Regions, left: tuple[FloatArray, FloatArray], area: float | None
) -> dict[str, Any] | None:
    """Describe errors of left-out regions for the card, as plain JSON; None if there is one region alone."""
    if not regions.apart:
        return None
    known = data.censoring == 0
    mae = float(np.abs(left[0] - data.y)[known].mean())
    return {"name": regions.name, "count": regions.count, "mae": mae, "out_of_domain_auc": area}


def _train_classifier(
    data: Dataset,
    recipe: Recipe,
    blocks: Blocks,
    folds: Sequence[Fold],
    choice: _Choice,
    intervals: Intervals,
    between: FloatArray,
) -> tuple[Classifier, dict[str, Any]]:
    """Choose, calibrate and fit the probability to reach the threshold."""
    threshold = float(data.target.threshold or 0.0)
    labels, known = label_rows(data.y, data.censoring, threshold)
    rows = np.flatnonzero(known)
    place_of = np.full(len(data), -1, dtype=np.int64)
    place_of[rows] = np.arange(len(rows))
    inner = [(place_of[train[known[train]]], place_of[test[known[test]]]) for train, test in folds]
    labelled = Labelled("classification", blocks.select_rows(rows), labels[rows])
    half = intervals.half_widths(between, choice.spread, np.zeros(len(data), dtype=np.bool_))
    own = reach_probability(choice.mean, half / intervals.deviations, threshold)[rows]
    guesses = guess_between_folds(recipe.classifiers, labelled, inner, recipe.seed)
    columns = np.vstack([own, guesses.mean])
    weights = choose_weights(columns, lambda p: log_loss(labelled.y, p), recipe.most_members)
    mixed = weights @ columns
    slope, offset = fit_calibration(labelled.y, mixed)
    members = _fit_members(recipe.classifiers, weights[1:], labelled, recipe.seed)
    return Classifier(threshold, float(weights[0]), members, slope, offset), {
        "classification": {
            "weights": [float(weight) for weight in weights],
            "log_loss": log_loss(labelled.y, calibrate_odds(mixed, slope, offset)),
            "rows": len(rows),
            "good": int(labelled.y.sum()),
        }
    }


def describe_data(data: Dataset) -> dict[str, Any]:
    """Describe a data set for the card, as plain JSON."""
    sizes = measure_groups(data.groups)
    return {
        "name": data.source.name,
        "sha256": data.source.sha256,
        "licence": data.source.licence,
        "citation": data.source.citation,
        "rows": len(data),
        "below_limit": int((data.censoring < 0).sum()),
        "above_limit": int((data.censoring > 0).sum()),
        "group_columns": list(data.group_columns),
        "groups": len(sizes.sizes),
        "largest_groups": list(sizes.sizes[:LARGEST_GROUPS_NAMED]),
        "remarks": list(sizes.remarks),
        "lowest": float(data.y.min()),
        "highest": float(data.y.max()),
    }


def _list_versions() -> dict[str, str]:
    """Versions of the libraries that decide results."""
    from importlib.metadata import version

    return {name: version(name) for name in VERSIONED}


def _list_weights(names: Sequence[str]) -> Mapping[str, str]:
    """Label and hash of a network's weights by feature set that reads some."""
    from surrogates.regression.features.registry import find_feature_set

    found = {name: find_feature_set(name).weights for name in names}
    return {name: weights for name, weights in found.items() if weights}


def _list_formulas(materials: Sequence[Material]) -> tuple[str, ...]:
    """Reduced formulas of materials in alphabetical order, each once."""
    return tuple(sorted({_reduce_formula(material) for material in materials}))


def _reduce_formula(material: Material) -> str:
    """Reduced formula of a material; of an electrode the discharged one."""
    from pymatgen.core import Composition

    return str(Composition(dict(material.composition)).reduced_formula)
