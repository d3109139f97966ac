"""Figures of property models on rows that their training has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.rng import rng_for
from surrogates.regression.blocks import Blocks, compute_blocks, name_columns
from surrogates.regression.errors import TrainingError
from surrogates.regression.known import KnownCompositions
from surrogates.regression.material import Dataset
from surrogates.regression.probability import label_rows
from surrogates.regression.property_model import Predictions, PropertyModel
from surrogates.regression.scores import (
    concordance,
    interval_coverage,
    rank_area,
    ranked_probability_scores,
)
from surrogates.regression.splits import split_groups
from surrogates.regression.training import Recipe, label_chemistries, train

INNER_FOLDS = 3  # that choose and calibrate inside an outer training part, to save time (chosen)
RESAMPLES = 300  # of groups, for intervals of figures (chosen)
INTERVAL = 0.95  # level of intervals of figures (chosen)
MOST_PAIRS = 4_000_000  # of rows in a resampled c-index (chosen)
LEAST_FAMILY = 5  # rows of a family that has its own line (chosen)
CURVE_SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training groups (chosen)
TOP_COLUMNS = 30  # whose importances are kept (chosen)

Tell = Callable[[str], None]
"""Takes a sentence on progress."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of merit.

    Attributes:
        name: `mae`, `rmse`, `spearman`, `auc`, `c_index`, `crps`, `coverage_90`, `coverage_90_within`, `interval_width`,
            `outside_percent`, `out_of_domain_auc`.
        value: mean over the shuffles; coverage and shares in percent.
        low, high: ends of its interval at 95 %, by resampled groups; None where there is none.
        unit: of the value; empty for numbers without one.
        rows: number of rows that it is taken over.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    rows: int


@dataclass(frozen=True, slots=True)
class FamilyResiduals:
    """Errors of the rows of one family.

    Attributes:
        family: its name; `others` for all small ones.
        rows: number of rows with a known value.
        mae, bias: mean absolute and mean error (prediction minus value), in the target's unit.
        coverage: share of rows in their interval, in percent.
    """

    family: str
    rows: int
    mae: float
    bias: float
    coverage: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a learning curve: mean number of training rows, and mean absolute error."""

    rows: int
    mae: float


@dataclass(frozen=True, slots=True)
class Effect:
    """Importance of a feature set or a feature: share of the variance of predictions that is lost with it."""

    name: str
    share: float


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures of a recipe or a model, with the predictions behind them.

    Attributes:
        figures: figures of merit.
        families: residuals by family, or without families by anion chemistry.
        split: how the rows were split, in words.
        predictions: of every shuffle, of rows that the training had not seen.
    """

    figures: tuple[Figure, ...]
    families: tuple[FamilyResiduals, ...]
    split: str
    predictions: tuple[Predictions, ...]

    def __getitem__(self, name: str) -> float:
        """Value of the figure `name`.

        Raises:
            KeyError: there is none.
        """
        for figure in self.figures:
            if figure.name == name:
                return figure.value
        raise KeyError(name)

    def rows(self) -> list[dict[str, Any]]:
        """Figures as rows of a table."""
        return [
            {
                "metric": figure.name,
                "value": figure.value,
                "low": figure.low,
                "high": figure.high,
                "unit": figure.unit,
                "rows": figure.rows,
            }
            for figure in self.figures
        ]

    @property
    def config(self) -> dict[str, Any]:
        """Plain JSON for the card of a model: split, figures and families."""
        return {
            "split": self.split,
            "figures": self.rows(),
            "families": [asdict(own) for own in self.families],
        }


def cross_validate(
    data: Dataset,
    recipe: Recipe,
    folds: int = 5,
    shuffles: int = 3,
    blocks: Blocks | None = None,
    tell: Tell | None = None,
    outer: IntArray | None = None,
) -> Figures:
    """Judge a recipe by grouped folds; choice and calibration see the training part of a fold alone.

    Args:
        data: n materials with values.
        recipe: of the training, which judges its candidates by `INNER_FOLDS` folds here.
        folds: number of folds.
        shuffles: number of splits; figures are means over them.
        blocks: features of the materials; None to compute them.
        tell: takes a sentence after each fold.
        outer: shape (n,), groups that the folds leave out whole, such as families (`label_regions`); None for those of the data.

    Raises:
        TrainingError: data or recipe do not suffice.
        FeatureError: a material lacks what a feature set needs.
    """
    if blocks is None:
        blocks = compute_blocks(recipe.feature_sets, data.materials)
    every: list[list[Judgement]] = []
    for shuffle in range(shuffles):
        every.append([])
        for number in range(folds):
            fold = f"shuffle {shuffle + 1} of {shuffles}, fold {number + 1} of {folds}"
            try:
                every[-1].append(judge_fold(data, recipe, blocks, folds, shuffle, number, outer))
            except TrainingError as error:
                raise TrainingError(
                    f"cross-validation, {fold}: of the rows outside this fold, {error}. Take groups that join fewer rows, "
                    "more data, or no cross-validation (0 shuffles), which leaves the card without figures"
                ) from error
            if tell:
                tell(fold)
    return join_judgements(data, recipe, every, outer)


@dataclass(frozen=True, eq=False)
class Judgement:
    """Predictions of one fold by a model that was trained on the others.

    Attributes:
        rows: shape (q,), positions of the rows of the fold.
        predictions: of these rows.
        out_of_domain_auc: of the trained model; None if its data have one region alone.
    """

    rows: IntArray
    predictions: Predictions
    out_of_domain_auc: float | None


def judge_fold(
    data: Dataset,
    recipe: Recipe,
    blocks: Blocks,
    folds: int,
    shuffle: int,
    number: int,
    outer: IntArray | None = None,
    *,
    balanced: bool = True,
) -> Judgement:
    """Train on all folds but one, and predict that one.

    Args:
        data: n materials with values.
        recipe: of the training, which judges its candidates by `INNER_FOLDS` folds here.
        blocks: features of the materials.
        folds: number of folds.
        shuffle: number of the split.
        number: of the fold.
        outer: shape (n,), groups that the folds leave out whole; None for those of the data.
        balanced: False for folds of as many groups each, whatever their rows.
    """
    groups = data.groups if outer is None else outer
    rows, test = split_groups(groups, folds, recipe.seed + shuffle, balanced=balanced)[number]
    model = train(data.select_rows(rows), replace(recipe, folds=INNER_FOLDS), blocks.select_rows(rows))
    area = (model.about["regions"] or {}).get("out_of_domain_auc")
    return Judgement(test, _predict_rows(model, data, blocks, test), area)


def join_judgements(
    data: Dataset, recipe: Recipe, every: Sequence[Sequence[Judgement]], outer: IntArray | None = None
) -> Figures:
    """Figures of all rows: those of the folds of a shuffle are pooled, those of the shuffles averaged.

    Args:
        data: n materials with values.
        recipe: of the trainings.
        every: the folds of each shuffle.
        outer: shape (n,), groups that the folds left out whole; None for those of the data.
    """
    found = [_join_predictions([(own.rows, own.predictions) for own in parts]) for parts in every]
    areas = [own.out_of_domain_auc for parts in every for own in parts if own.out_of_domain_auc is not None]
    judged = data if outer is None else replace(data, groups=outer)
    kept = "groups" if outer is None else f"{len(np.unique(outer))} larger groups"
    shuffles = len(every)
    split = (
        f"{len(every[0])} folds by {kept}, {shuffles} shuffle{'s' if shuffles != 1 else ''}, "
        f"choice by {INNER_FOLDS} inner folds"
    )
    figures = measure_figures(judged, found, recipe.level)
    if areas:
        figures += (Figure("out_of_domain_auc", float(np.mean(areas)), None, None, "", len(data)),)
    return Figures(figures, measure_families(data, found), split, tuple(found))


def evaluate_model(model: PropertyModel, data: Dataset) -> Figures:
    """Judge a model on a data set.

    Figures are only honest for rows that the model was not trained on; `split` says how many compositions it knows.

    Raises:
        TrainingError: the data are of another target.
        FeatureError: a material lacks what a feature set needs.
    """
    if (data.target.name, data.target.unit) != (model.target.name, model.target.unit):
        raise TrainingError(
            f"the model predicts {model.target.name} in {model.target.unit}, and the data hold {data.target.name} in "
            f"{data.target.unit}: name the column and its unit that belong to the model"
        )
    data = replace(data, target=model.target)
    found = model.predict(data.materials)
    known = KnownCompositions(model.formulas)
    seen = sum(known.contains(material) for material in data.materials)
    split = f"{len(data)} rows, of which {seen} have a composition of the training data"
    figures = measure_figures(data, [found], model.intervals.level)
    return Figures(figures, measure_families(data, [found]), split, (found,))


def _predict_rows(model: PropertyModel, data: Dataset, blocks: Blocks, rows: IntArray) -> Predictions:
    from invdesign.threads import one_thread

    with one_thread():
        return model.predict_blocks(blocks.select_rows(rows), data.select_rows(rows).materials)


def _join_predictions(parts: Sequence[tuple[IntArray, Predictions]]) -> Predictions:
    """Join predictions of folds, in the order of the rows."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))

    def join(name: str) -> Any:
        return np.concatenate([getattr(part, name) for _, part in parts])[order]

    reasons = [reason for _, part in parts for reason in part.reasons]
    return Predictions(
        mean=join("mean"),
        lower=join("lower"),
        upper=join("upper"),
        deviation=join("deviation"),
        distance=join("distance"),
        outside=join("outside"),
        reasons=tuple(reasons[place] for place in order.tolist()),
        probability=None if any(part.probability is None for _, part in parts) else join("probability"),
    )


def measure_figures(data: Dataset, every: Sequence[Predictions], level: float) -> tuple[Figure, ...]:
    """Figures of merit of predictions of all rows.

    Args:
        data: n materials with values.
        every: predictions of each shuffle.
        level: of their intervals.
    """
    n, rows = len(data), np.arange(len(data))
    value = np.array([list(_score_shuffles(data, every, rows, level).values())]).reshape(-1)
    names = list(_score_shuffles(data, every, rows, level))
    members = [np.flatnonzero(data.groups == group) for group in np.unique(data.groups)]
    rng = rng_for(0, 0, "resampled groups")
    drawn = np.full((RESAMPLES, len(names)), np.nan)
    for resample in range(RESAMPLES):
        picked = np.concatenate([members[place] for place in rng.integers(len(members), size=len(members))])
        scores = _score_shuffles(data, every, picked, level, pairs=n * n <= MOST_PAIRS)
        drawn[resample] = [scores.get(name, np.nan) for name in names]
    known = int((data.censoring == 0).sum())
    ends = [_interval_of(column) for column in drawn.T]
    return tuple(
        Figure(
            name,
            float(number),
            *end,
            unit=_unit_of(name, data.target.unit),
            rows=n if name in ("auc", "c_index", "crps", "outside_percent") else known,
        )
        for name, number, end in zip(names, value, ends, strict=True)
        if np.isfinite(number)
    )


def _interval_of(drawn: FloatArray) -> tuple[float | None, float | None]:
    found = drawn[np.isfinite(drawn)]
    if len(found) < RESAMPLES // 2:
        return None, None
    low, high = np.quantile(found, [0.5 - INTERVAL / 2.0, 0.5 + INTERVAL / 2.0])
    return float(low), float(high)


def _unit_of(name: str, unit: str) -> str:
    if name in ("mae", "rmse", "crps", "interval_width"):
        return unit
    return "%" if name.startswith(("coverage", "outside")) else ""


def _score_shuffles(
    data: Dataset, every: Sequence[Predictions], rows: IntArray, level: float, *, pairs: bool = True
) -> dict[str, float]:
    """Scores of `rows` by name, means over the shuffles."""
    scores = [_score_rows(data, predictions, rows, level, pairs) for predictions in every]
    return {
        name: float(np.mean([own[name] for own in scores]))
        for name in scores[0]
        if all(name in own for own in scores)
    }


def _score_rows(
    data: Dataset, found: Predictions, rows: IntArray, level: float, pairs: bool
) -> dict[str, float]:
    """Scores of `rows` by name; rows with a known value alone but for `auc`, `c_index` and `crps`."""
    y, censoring, mean = data.y[rows], data.censoring[rows], found.mean[rows]
    known = censoring == 0
    if not known.any():
        return {}
    error = (mean - y)[known]
    scores = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
    if np.ptp(y[known]) > 0 and np.ptp(mean[known]) > 0:
        scores["spearman"] = _rank_correlation(y[known], mean[known])
    if data.target.threshold is not None and found.probability is not None:
        labels, sure = label_rows(y, censoring, data.target.threshold)
        p, good = found.probability[rows][sure], labels[sure] > 0
        if good.any() and not good.all():
            scores["auc"] = rank_area(p[good], p[~good])
    if censoring.any() and pairs:
        index = concordance(y, censoring, mean)
        scores |= {} if index is None else {"c_index": index}
    scores["crps"] = float(ranked_probability_scores(y, censoring, mean, found.deviation[rows]).mean())
    lower, upper, outside = found.lower[rows], found.upper[rows], found.outside[rows]
    name = f"coverage_{100 * level:.0f}"
    for key, part in (
        (name, known),
        (f"{name}_within", known & ~outside),
        (f"{name}_outside", known & outside),
    ):
        share = interval_coverage(y, lower, upper, part)
        scores |= {} if share is None else {key: 100.0 * share}
    scores["interval_width"] = float((upper - lower)[known].mean())
    scores["outside_percent"] = 100.0 * float(outside.mean())
    return scores


def _rank_correlation(a: FloatArray, b: FloatArray) -> float:
    from invdesign.learning.calibration import rank_correlation

    return rank_correlation(a, b) or 0.0


def measure_families(data: Dataset, every: Sequence[Predictions]) -> tuple[FamilyResiduals, ...]:
    """Residuals by family, without families by anion chemistry; largest first, those of few rows together."""
    known = data.censoring == 0
    families = data.families if any(data.families) else label_chemistries(data.materials)
    names = np.array([family or "without family" for family in families], dtype=object)
    counts = {name: int(((names == name) & known).sum()) for name in dict.fromkeys(names.tolist())}
    large = sorted(
        (name for name, count in counts.items() if count >= LEAST_FAMILY), key=lambda name: -counts[name]
    )
    lines = [(name, (names == name) & known) for name in large]
    rest = known & ~np.isin(names, large)
    lines += [("others", rest)] if rest.any() else []
    return tuple(_measure_family(name, data, every, rows) for name, rows in lines)


def _measure_family(
    name: str, data: Dataset, every: Sequence[Predictions], rows: BoolArray
) -> FamilyResiduals:
    error = np.array([found.mean[rows] - data.y[rows] for found in every])
    shares = [interval_coverage(data.y, found.lower, found.upper, rows) or 0.0 for found in every]
    return FamilyResiduals(
        name,
        int(rows.sum()),
        float(np.abs(error).mean()),
        float(error.mean()),
        100.0 * float(np.mean(shares)),
    )


def trace_learning_curve(
    data: Dataset,
    recipe: Recipe,
    folds: int = 5,
    blocks: Blocks | None = None,
    shares: Sequence[float] = CURVE_SHARES,
) -> tuple[CurvePoint, ...]:
    """Mean absolute error by number of training rows, over grouped folds, one shuffle.

    Args:
        data: n materials with values.
        recipe: of the training, which judges its candidates by `INNER_FOLDS` folds here.
        folds: number of folds.
        blocks: features of the materials; None to compute them.
        shares: of the groups of each training part; those too small for a training are left out.
    """
    data = replace(data, target=replace(data.target, threshold=None))
    recipe = replace(recipe, classifiers=(), folds=INNER_FOLDS)
    if blocks is None:
        blocks = compute_blocks(recipe.feature_sets, data.materials)
    split = split_groups(data.groups, folds, recipe.seed)
    points = []
    for share in shares:
        errors, sizes = [], []
        try:
            for number, (rows, test) in enumerate(split):
                part = _draw_groups(data.groups, rows, share, rng_for(recipe.seed, number, "learning curve"))
                model = train(data.select_rows(part), recipe, blocks.select_rows(part))
                known = test[data.censoring[test] == 0]
                errors.append(np.abs(_predict_rows(model, data, blocks, known).mean - data.y[known]))
                sizes.append(len(part))
        except TrainingError:
            continue
        points.append(CurvePoint(round(float(np.mean(sizes))), float(np.concatenate(errors).mean())))
    return tuple(points)


def _draw_groups(groups: IntArray, rows: IntArray, share: float, rng: np.random.Generator) -> IntArray:
    """Rows of a random share of their groups; larger shares hold the rows of smaller ones."""
    names = rng.permutation(np.unique(groups[rows]))
    kept = names[: max(1, round(share * len(names)))]
    return rows[np.isin(groups[rows], kept)]


def complete_card(
    model: PropertyModel,
    figures: Figures,
    curve: Sequence[CurvePoint] = (),
    importances: tuple[Sequence[Effect], Sequence[Effect]] | None = None,
    baselines: Mapping[str, Figures] | None = None,
) -> PropertyModel:
    """Copy of a model whose card has figures.

    Args:
        model: trained on all rows.
        figures: of its recipe, by `cross_validate`.
        curve: learning curve of its recipe.
        importances: of feature sets and of features.
        baselines: figures of other recipes on the same folds, by name.
    """
    more: dict[str, Any] = {"figures": figures.config}
    if curve:
        more["learning_curve"] = [asdict(point) for point in curve]
    if importances:
        more["importances"] = {
            "sets": [asdict(effect) for effect in importances[0]],
            "columns": [asdict(effect) for effect in importances[1]],
        }
    if baselines:
        more["baselines"] = {
            name: {figure.name: figure.value for figure in found.figures} for name, found in baselines.items()
        }
    return model.with_about(**more)


def measure_importances(
    model: PropertyModel, data: Dataset, blocks: Blocks | None = None
) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
    """Importances of feature sets, and of the features that matter most, by permutation.

    Args:
        model: trained.
        data: n materials among which features are exchanged, such as the training data.
        blocks: features of the materials; None to compute them.
    """
    from invdesign.learning.data import Inputs
    from invdesign.learning.importance import variance_shares
    from invdesign.threads import one_thread
    from surrogates.regression.members import predict_mean

    sets = tuple(dict.fromkeys(name for member in model.members for name in member.candidate.features))
    if blocks is None:
        blocks = compute_blocks(sets, data.materials)
    ends = np.cumsum([0, *(blocks.values[name].shape[1] for name in sets)])
    places = {name: slice(int(ends[place]), int(ends[place + 1])) for place, name in enumerate(sets)}

    def predict(x: FloatArray) -> FloatArray:
        return predict_mean(model.members, Blocks({name: x[:, part] for name, part in places.items()}))[0]

    names = tuple(f"{name}: {column}" for name in sets for column in name_columns(name))
    groups = tuple((name, tuple(range(part.start, part.stop))) for name, part in places.items())
    inputs = Inputs(names, tuple("number" for _ in names), groups)
    with one_thread():
        columns, whole = variance_shares(predict, blocks.stack_sets(sets), inputs, [None] * len(names))
    return (
        tuple(Effect(share.name, share.effect) for share in whole),
        tuple(Effect(share.name, share.effect) for share in columns[:TOP_COLUMNS]),
    )
