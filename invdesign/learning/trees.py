"""Random forests and boosted trees as models of a property.

They follow steps, need no scales and take hundreds of descriptors, of which most may tell nothing. Their uncertainty
is calibrated on rows that a part of the trees has not seen.

Source:
    Nakayama et al., J. Comput. Chem. Jpn. Int. Ed. 5 (2019), oxides by random forests; Hutter, Hoos & Leyton-Brown,
    Proc. LION 5, 507 (2011), the spread of trees as uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.learning.data import Inputs, Rows
from invdesign.learning.limits import squared_distances
from invdesign.learning.settings import ForestSettings
from invdesign.rng import borrowed_globals, rng_for

ROWS_PER_BLOCK = 20_000  # rows predicted together (chosen)
FEWEST_ROWS = 3  # to grow trees from (chosen)
TARGET_WEIGHT = 3.0  # of a row of source 0 beside one of another source (chosen)
LEAST_SOURCE_WEIGHT = 0.02  # of a row of a source that explains nothing (chosen)
LEAST_SLOPE = 0.05  # between two sources (chosen)
DEVIATION_FLOOR = 1e-3  # share of the spread of the values; 2 / n, if that is more (chosen)
SPREAD_PRIOR_MEMBERS = 3.0  # trees' worth of prior belief in the usual spread between trees (chosen)
STRETCH_RANGE = (0.5, 5.0)  # bounds of the factor on the trees' standard deviations (chosen)
STRETCH_PRIOR_ROWS = 3.0  # rows' worth of prior belief in a factor, or a slope, of 1 (chosen)
LEAST_COLUMN_WEIGHT = 0.02  # in distances, relative to a column of mean importance (chosen)


RawPredict = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class TreeEnsemble:
    """Grown trees, with out-of-bag predictions of the training rows.

    Attributes:
        predict_raw: columns (q, c) to means and variances (q,), before these are stretched.
        out_of_bag_mean, out_of_bag_variance: shape (n,), of the rows themselves by trees that missed them.
        weights: shape (c,), importance of each column; sums to 1.
    """

    predict_raw: RawPredict
    out_of_bag_mean: FloatArray
    out_of_bag_variance: FloatArray
    weights: FloatArray


def grow_forest(rows: Rows, inputs: Inputs, settings: ForestSettings, seed: int) -> TreeRegressor:
    """Grow a random forest as a model of a property.

    A function of the arguments alone.

    Its uncertainty is the variance between trees and the mean variance within the leaves a point falls in, stretched
    to the size of the errors on left-out rows.

    Args:
        rows: at least one row; columns may hold NaN.
        inputs: description of the columns.
        settings: number and shape of the trees.
        seed: of the resampling.

    Source:
        Breiman, Mach. Learn. 45, 5 (2001); Hutter, Xu, Hoos & Leyton-Brown, Artif. Intell. 206, 79 (2014), eq. 3.
    """
    return _build_regressor(rows, inputs, lambda data: _fit_forest(data, settings, seed))


def grow_boosted(rows: Rows, inputs: Inputs, settings: ForestSettings, seed: int) -> TreeRegressor:
    """Grow gradient-boosted trees as a model of a property.

    Several models, each on a resampling of the rows. Their uncertainty is the variance between the models, stretched to
    the size of the errors on left-out rows.

    Args:
        rows: at least one row; columns may hold NaN.
        inputs: description of the columns.
        settings: number and shape of the trees.
        seed: of the resampling.

    Source:
        Friedman, Ann. Stat. 29, 1189 (2001); Ke et al., Adv. Neural Inf. Process. Syst. 30, 3146 (2017) (histograms).
    """
    return _build_regressor(rows, inputs, lambda data: _fit_boosted(data, settings, seed))


@dataclass(frozen=True, eq=False)
class _TrainingData:
    """Columns (n, c) without NaN, with values and weights (n,)."""

    z: FloatArray
    y: FloatArray
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class _Columns:
    """Conversion of inputs (q, d) to the columns (q, c) of trees.

    NaN is filled, and the source is a column where there are several.
    """

    fill: FloatArray
    sources: bool

    def __call__(self, x: FloatArray, source: int | IntArray) -> FloatArray:
        """Convert inputs `x` (q, d) of a `source` to columns (q, c)."""
        filled = np.where(np.isfinite(x), x, self.fill)
        if not self.sources:
            return filled
        return np.column_stack([filled, np.broadcast_to(np.asarray(source, dtype=np.float64), len(x))])


@dataclass(frozen=True)
class _SourceLine:
    """Linear relation of a source to the target: target = shift + slope * source.

    Attributes:
        shift, slope: of the line.
        weight: of the source's rows.
    """

    shift: float
    slope: float
    weight: float


@dataclass(frozen=True)
class _SourceLines:
    """One line per source other than the target."""

    by_source: dict[int, _SourceLine]

    def to_target_scale(self, y: FloatArray, source: IntArray) -> FloatArray:
        """Convert values `y` (n,) of several sources to the target's scale.

        Args:
            y: shape (n,).
            source: shape (n,), source of each value.
        """
        found = y.copy()
        for number, line in self.by_source.items():
            rows = source == number
            found[rows] = line.shift + line.slope * y[rows]
        return found

    def to_source_scale(
        self, mean: FloatArray, deviation: FloatArray, source: int
    ) -> tuple[FloatArray, FloatArray]:
        """Convert predictions from the target's scale to the scale of `source`.

        Args:
            mean: shape (q,).
            deviation: shape (q,).
            source: one source.
        """
        line = self.by_source.get(source)
        if line is None:
            return mean, deviation
        return (mean - line.shift) / line.slope, deviation / abs(line.slope)

    def row_weights(self, source: IntArray) -> FloatArray:
        """Weight of each row by its `source`, shape (n,)."""
        found = np.full(len(source), TARGET_WEIGHT if self.by_source else 1.0)
        for number, line in self.by_source.items():
            found[source == number] = line.weight
        return found


@dataclass(frozen=True, eq=False)
class _AddedRows:
    """Rows added since the trees were grown.

    Attributes:
        z: shape (k, c), on the scale of distances.
        shift: shape (k,), values less the trees' predictions.
    """

    z: FloatArray
    shift: FloatArray


@dataclass(frozen=True, eq=False)
class TreeRegressor:
    """Regressor made of trees.

    Added rows leave the trees as they are: to grow them anew for each candidate of a batch would cost seconds. Near an
    added row the deviation shrinks to nothing, and the mean moves by the row's value less the prediction. The
    distance between neighbouring rows sets the range, with columns weighted by importance.

    Attributes:
        rows: with values on the scale of the target.
        columns: converts inputs to the trees' columns.
        lines: relation of other sources to the target.
        grown: None where nothing can be learned: fewer than three rows, or all values the same.
        spread: of the values, more than 0.
        stretch: factor on the trees' deviations.
        noise: mean variance of the values that evaluators stated; 0 where they stated none.
        scale: shape (c,), factors on columns before distances are taken.
        neighbour_distance: distance of neighbouring rows.
        places: shape (n, c), the rows on the scale of distances.
        added: rows the model was conditioned on later.
    """

    rows: Rows
    columns: _Columns
    lines: _SourceLines
    grown: TreeEnsemble | None
    spread: float
    stretch: float
    noise: float
    scale: FloatArray
    neighbour_distance: float
    places: FloatArray
    added: _AddedRows | None = None

    @property
    def differentiable(self) -> bool:
        """False: trees have no gradients."""
        return False

    def predict(
        self,
        x: FloatArray,
        source: int = 0,
        *,
        single: bool = False,  # noqa: ARG002 - trees compare in single precision anyway
    ) -> tuple[FloatArray, FloatArray]:
        """Predict means and standard deviations, without noise, each shape (q,).

        Args:
            x: shape (q, d), inputs.
            source: source to predict.
            single: without effect.
        """
        mean, deviation = np.empty(len(x)), np.empty(len(x))
        for first in range(0, len(x), ROWS_PER_BLOCK):
            part = slice(first, first + ROWS_PER_BLOCK)
            mean[part], deviation[part] = self._predict_columns(self.columns(x[part], source))
        return self.lines.to_source_scale(mean, deviation, source)

    def _predict_columns(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Predict from columns on the target's scale, added rows included."""
        mean, deviation = self._predict_by_trees(z)
        if self.added is None:
            return mean, deviation
        squares = squared_distances(z * self.scale, self.added.z) / self.neighbour_distance**2
        nearest = np.argmin(squares, axis=1)
        closeness = np.exp(-0.5 * squares[np.arange(len(z)), nearest])
        return mean + closeness * self.added.shift[nearest], deviation * np.sqrt(1.0 - closeness**2)

    def _predict_by_trees(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and deviations by the trees alone.

        Without trees, the mean of all rows, with smaller deviations near the rows.
        """
        if self.grown is None:
            squares = squared_distances(z * self.scale, self.places).min(axis=1) / self.neighbour_distance**2
            return np.full(len(z), self.rows.y.mean()), self.spread * np.sqrt(-np.expm1(-squares))
        mean, variance = self.grown.predict_raw(z)
        return mean, self._calibrate_deviation(variance, self.noise)

    def _calibrate_deviation(self, variance: FloatArray, noise: float) -> FloatArray:
        """Stretched standard deviation of a variance, less the noise."""
        floor = max(DEVIATION_FLOOR, 2.0 / len(self.rows)) * self.spread
        whole = self.stretch**2 * (variance + floor**2)
        # Without the noise of an evaluation, but never less than a tenth of the variance.
        deviation: FloatArray = np.sqrt(np.maximum(whole - noise, 0.1 * whole))
        return deviation

    def leave_one_out(self) -> tuple[FloatArray, FloatArray]:
        """Leave-one-out means and standard deviations, by the trees that missed each row."""
        mean, deviation = self._leave_one_out_scaled()
        for source in self.lines.by_source:
            rows = self.rows.source == source
            mean[rows], deviation[rows] = self.lines.to_source_scale(mean[rows], deviation[rows], source)
        return mean, deviation

    def _leave_one_out_scaled(self) -> tuple[FloatArray, FloatArray]:
        """Leave-one-out predictions on the target's scale."""
        if self.grown is not None:
            return self.grown.out_of_bag_mean.copy(), self._calibrate_deviation(
                self.grown.out_of_bag_variance, 0.0
            )
        y = self.rows.y
        others = (y.sum() - y) / (len(y) - 1) if len(y) > 1 else np.zeros(1)
        return others, np.full(len(y), self.spread)

    def condition_on(self, x: FloatArray, y: FloatArray | None = None) -> TreeRegressor:
        """Add rows without growing the trees anew.

        Args:
            x: shape (k, d), inputs.
            y: shape (k,), values; None takes the model's own means.
        """
        z = self.columns(x, 0)
        shift = np.zeros(len(x)) if y is None else y - self._predict_columns(z)[0]
        new = _AddedRows(z * self.scale, shift)
        if self.added is not None:
            new = _AddedRows(np.vstack([self.added.z, new.z]), np.concatenate([self.added.shift, shift]))
        return replace(self, added=new)

    def to_botorch(self) -> Any:
        """Return a BoTorch model whose points are independent of each other."""
        from invdesign.learning.pointwise import PointwiseModel

        return PointwiseModel(self.predict)

    def column_importance(self) -> FloatArray:
        """Importance of each input column, by the gain of its splits.

        Shape (d,), sum 1. All the same where there are no trees.
        """
        d = self.rows.x.shape[1]
        weights = np.zeros(d) if self.grown is None else self.grown.weights[:d]
        total = float(weights.sum())
        return weights / total if total > 0.0 else np.full(d, 1.0 / max(d, 1))


def _build_regressor(
    rows: Rows, inputs: Inputs, grow: Callable[[_TrainingData], TreeEnsemble]
) -> TreeRegressor:
    """Relate the sources, grow the trees and calibrate their uncertainty."""
    columns = _fit_columns(rows, inputs)
    z = columns(rows.x, rows.source)
    lines = _fit_source_lines(rows, columns, z, grow)
    y = lines.to_target_scale(rows.y, rows.source)
    spread = float(y.std())
    noise = np.where(np.isfinite(rows.noise), rows.noise, 0.0)
    grown = None
    if len(y) >= FEWEST_ROWS and spread > 1e-12 * float(np.abs(y).max()) and z.shape[1]:
        grown = grow(_TrainingData(z, y, lines.row_weights(rows.source) * spread**2 / (spread**2 + noise)))
    else:
        spread = spread or float(np.abs(y).max()) or 1.0
    scale = _distance_scale(z, grown)
    places = z * scale
    model = TreeRegressor(
        replace(rows, y=y),
        columns,
        lines,
        grown,
        spread,
        1.0,
        float(noise.mean()),
        scale,
        _neighbour_distance(places),
        places,
    )
    return model if grown is None else replace(model, stretch=_fit_stretch(model))


def _fit_source_lines(
    rows: Rows, columns: _Columns, z: FloatArray, grow: Callable[[_TrainingData], TreeEnsemble]
) -> _SourceLines:
    """Fit a line per source, from trees on that source alone.

    The trees predict the target's rows, and the line relates predictions to values. Splits on the source's column
    alone would need many rows to find out that a source differs by an offset only. With few rows the line is drawn to
    slope 1, and a source that does not explain the values hardly counts.
    """
    own = rows.source == 0
    found = {}
    for number in np.unique(rows.source[~own]).tolist() if columns.sources else ():
        theirs = rows.source == number
        x, y = z[theirs], rows.y[theirs]
        if not own.any() or len(y) < FEWEST_ROWS or np.ptp(y) == 0.0:
            found[number] = _SourceLine(0.0, 1.0, 1.0 if not own.any() else LEAST_SOURCE_WEIGHT)
            continue
        said = grow(_TrainingData(x, y, np.ones(len(y)))).predict_raw(_set_source(z[own], number))[0]
        found[number] = _fit_line(said, rows.y[own], float(y.var()))
    return _SourceLines(found)


def _set_source(z: FloatArray, number: int) -> FloatArray:
    """Columns with the source's column set to a number."""
    return np.column_stack([z[:, :-1], np.full(len(z), float(number))])


def _fit_line(said: FloatArray, y: FloatArray, variance: float) -> _SourceLine:
    """Fit a line through predictions (n,) and values (n,), shrunk towards slope 1.

    The shrinkage is that of a few extra rows with the source's variance.
    """
    off, away = said - said.mean(), y - y.mean()
    pull = STRETCH_PRIOR_ROWS * variance
    slope = float((off @ away + pull) / (off @ off + pull))
    slope = float(np.copysign(max(abs(slope), LEAST_SLOPE), slope))
    rest = away - slope * off
    explained = 1.0 - float(rest @ rest + pull * 0.25) / float(away @ away + pull * 0.5)
    return _SourceLine(
        float(y.mean() - slope * said.mean()), slope, float(np.clip(explained, LEAST_SOURCE_WEIGHT, 1.0))
    )


def _fit_columns(rows: Rows, inputs: Inputs) -> _Columns:
    """Fit the fill values of NaN: the median of each column.

    Trees then treat what is missing as ordinary.
    """
    x = rows.x
    fill = np.array([_fill_value(x[:, column], inputs.cube) for column in range(x.shape[1])])
    return _Columns(fill, bool((rows.source != rows.source[0]).any() or rows.source[0] != 0))


def _fill_value(values: FloatArray, cube: bool) -> float:
    """Upper median of the finite values, always a value that occurs."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.5 if cube else 0.0
    # A value that occurs, so that categories stay what they are.
    return float(np.sort(finite)[len(finite) // 2])


def _fit_stretch(model: TreeRegressor) -> float:
    """Factor that brings leave-one-out deviations to the size of their errors."""
    mean, deviation = model._leave_one_out_scaled()  # noqa: SLF001 - on the scale of `rows.y`
    own = model.rows.source == 0
    kept = own if own.sum() >= FEWEST_ROWS else np.ones(len(mean), dtype=bool)
    squares = ((model.rows.y - mean)[kept] / deviation[kept]) ** 2
    # One outlier must not make the whole model uncertain.
    squares = np.minimum(squares, 25.0)
    return float(
        np.clip(
            np.sqrt((squares.sum() + STRETCH_PRIOR_ROWS) / (len(squares) + STRETCH_PRIOR_ROWS)),
            *STRETCH_RANGE,
        )
    )


def _distance_scale(z: FloatArray, grown: TreeEnsemble | None) -> FloatArray:
    """Factors on columns for distances: deviation 1, weighted by importance."""
    deviation = z.std(axis=0)
    width = np.where(deviation > 1e-12 * (1.0 + np.abs(z).max(axis=0)), deviation, np.inf)
    weights = np.ones(z.shape[1]) if grown is None else grown.weights * z.shape[1]
    scale: FloatArray = np.sqrt(np.maximum(weights, LEAST_COLUMN_WEIGHT)) / width
    # A constant column does not count beside trees; without trees it tells an added row apart from all others.
    return np.where(np.isfinite(width), scale, 0.0 if grown is not None else 1.0)


def _neighbour_distance(places: FloatArray) -> float:
    """Median distance of a row to its nearest different row; 1 if all are equal."""
    some = places[np.unique(np.linspace(0, len(places) - 1, 500).astype(np.int64))]
    squares = squared_distances(some, some)
    squares[squares <= 1e-12] = np.inf
    nearest = squares.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    return float(np.sqrt(np.median(nearest))) if len(nearest) else 1.0


# Forests.


def _fit_forest(data: _TrainingData, settings: ForestSettings, seed: int) -> TreeEnsemble:
    """Fit a random forest and its out-of-bag predictions."""
    with borrowed_globals(seed):  # scikit-learn draws while it is imported
        from sklearn.ensemble import RandomForestRegressor
    model = RandomForestRegressor(
        settings.trees,
        min_samples_leaf=min(settings.least_rows, max(1, len(data.y) // 4)),
        max_features=settings.columns,
        random_state=seed % 2**32,
        n_jobs=1,
    ).fit(data.z, data.y, sample_weight=data.weights)
    members: list[Any] = [tree.tree_ for tree in model.estimators_]
    seen = np.zeros((len(members), len(data.y)), dtype=bool)
    for number, rows in enumerate(model.estimators_samples_):
        seen[number, rows] = True
    said = [_leaf_moments(tree, data.z) for tree in members]
    missed = _out_of_bag(data, seen, [mean for mean, _ in said], [within for _, within in said])
    weights = np.asarray(model.feature_importances_, dtype=np.float64)

    def predict_raw(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _combine_members(_leaf_moments(tree, z) for tree in members)

    return TreeEnsemble(predict_raw, *missed, weights)


def _leaf_moments(tree: Any, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (q,) of the values in each row's leaf."""
    leaf = tree.apply(np.ascontiguousarray(z, dtype=np.float32))
    return tree.value[leaf, 0, 0], tree.impurity[leaf]


def _combine_members(said: Any) -> tuple[FloatArray, FloatArray]:
    """Combine (mean, variance within) of each member to a mean and a total variance.

    The total is the variance between members plus the mean variance within. Sums are of differences from the first
    member's mean, so that nothing cancels where members agree.
    """
    count, first = 0, np.zeros(0)
    sums, squares, inside = np.zeros(0), np.zeros(0), np.zeros(0)
    for mean, within in said:
        if count == 0:
            first = mean
            sums, squares, inside = np.zeros_like(mean), np.zeros_like(mean), np.zeros_like(mean)
        off = mean - first
        sums += off
        squares += off**2
        inside += within
        count += 1
    between = np.maximum(squares / count - (sums / count) ** 2, 0.0)
    return first + sums / count, between + np.maximum(inside / count, 0.0)


def _out_of_bag(
    data: _TrainingData, seen: BoolArray, means: Sequence[FloatArray], within: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Out-of-bag means and variances (n,) of the training rows.

    A row that no member missed gets the mean of the other rows, and the variance of all.
    """
    y = data.y
    out = (~seen).astype(np.float64)
    count = out.sum(axis=0)
    some = np.maximum(count, 1.0)
    stacked, inside = np.stack(means), np.stack(within)
    mean = (stacked * out).sum(axis=0) / some
    squares = ((stacked - mean) ** 2 * out).sum(axis=0)
    # Few members agree by chance, and one has no spread, so the usual spread of all rows enters as a prior.
    usual = float(squares.sum() / max(float(np.maximum(count - 1.0, 0.0).sum()), 1.0))
    variance = (squares + SPREAD_PRIOR_MEMBERS * usual) / (
        np.maximum(count - 1.0, 0.0) + SPREAD_PRIOR_MEMBERS
    )
    variance += (inside * out).sum(axis=0) / some
    others = (y.sum() - y) / (len(y) - 1)
    return np.where(count > 0, mean, others), np.where(count > 0, variance, y.var())


# Boosted trees.


def _fit_boosted(data: _TrainingData, settings: ForestSettings, seed: int) -> TreeEnsemble:
    """Fit boosted models on resampled rows, and their out-of-bag predictions."""
    from invdesign.threads import one_thread

    with borrowed_globals(seed):
        from sklearn.ensemble import HistGradientBoostingRegressor

    n = len(data.y)
    seen = _draw_bootstrap_counts(n, settings.members, seed)
    models = []
    with one_thread():  # sums over rows are split among threads
        for number, counts in enumerate(seen):
            model = HistGradientBoostingRegressor(
                max_iter=settings.trees,
                learning_rate=settings.rate,
                max_depth=settings.depth,
                min_samples_leaf=max(1, min(5, n // 10)),
                early_stopping=False,
                random_state=(seed + number) % 2**32,
            )
            drawn = np.repeat(np.arange(n), counts)
            models.append(model.fit(data.z[drawn], data.y[drawn], sample_weight=data.weights[drawn]))

    def predict_raw(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        with one_thread():
            return _combine_members((model.predict(z), np.zeros(len(z))) for model in models)

    with one_thread():
        said = [model.predict(data.z) for model in models]
    missed = _out_of_bag(data, seen > 0, said, [np.zeros(n)] * len(models))
    return TreeEnsemble(predict_raw, *missed, _split_gains(models, data.z.shape[1]))


def _draw_bootstrap_counts(n: int, members: int, seed: int) -> IntArray:
    """Draw how often each member gets each row, shape (members, n).

    Each row is left out by one member at least.
    """
    rng = rng_for(seed, 0, "boosted")
    counts = np.zeros((members, n), dtype=np.int64)
    for number in range(members):
        counts[number] = np.bincount(rng.integers(n, size=n), minlength=n)
    for row in np.flatnonzero((counts > 0).all(axis=0)):
        counts[int(rng.integers(members)), row] = 0
    counts[(counts > 0).sum(axis=1) < 2] = 1
    return counts


def _split_gains(models: Sequence[Any], width: int) -> FloatArray:
    """Total gain of the splits on each column, shape (width,); sums to 1.

    All the same where nothing splits.
    """
    gains = np.zeros(width)
    for model in models:
        for (tree,) in model._predictors:  # noqa: SLF001 - scikit-learn has no public way to a tree's gains
            nodes = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(gains, nodes["feature_idx"].astype(np.int64), np.maximum(nodes["gain"], 0.0))
    total = float(gains.sum())
    return gains / total if total > 0.0 else np.full(width, 1.0 / width)
