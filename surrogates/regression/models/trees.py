"""Stored form of trees: splits and leaves of all trees as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import BoolArray, FloatArray, IntArray
from invdesign.errors import ArtifactError
from surrogates.regression.models.contract import Form
from surrogates.regression.models.preparing import OutputScale, check_width, take_array, take_index

STEPS_PER_BLOCK = 100_000  # rows times trees that are followed together: they stay in the cache (chosen)
LARGEST_FEATURE = float(np.finfo(np.float32).max)


def round_features(x: FloatArray) -> NDArray[np.float32]:
    """Round features to single precision; infinite ones are missing, and become NaN."""
    kept = np.where(np.isfinite(x), np.clip(x, -LARGEST_FEATURE, LARGEST_FEATURE), np.nan)
    return kept.astype(np.float32)


def round_thresholds(thresholds: FloatArray) -> NDArray[np.float32]:
    """Round thresholds down to single precision: for features of single precision no decision changes."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree, node 0 its root.

    Attributes:
        feature: shape (m,), column of each split, -1 for a leaf.
        threshold: shape (m,); rows with at most this value go left.
        left, right: shape (m,), nodes below.
        value: shape (m,), of leaves.
        missing_left: shape (m,), True where rows without the feature go left.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    missing_left: BoolArray


@dataclass(frozen=True, eq=False)
class TreesModel:
    """Sum or mean of trees.

    A node is a number: that of a split, or -1 - number of a leaf. Splits and leaves of all trees are numbered in a row.

    Attributes:
        outputs: scale of predictions.
        fill: shape (d,), stands for missing values; NaN where splits decide on them.
        base: added to the sum or mean.
        mean: True for the mean of the trees, False for their sum.
        roots: shape (trees,), nodes.
        feature: shape (splits,), columns.
        threshold: shape (splits,); rows with at most this value go left.
        left, right: shape (splits,), nodes.
        missing_left: shape (splits,), True where rows without the feature go left.
        value: shape (leaves,).
    """

    outputs: OutputScale
    fill: FloatArray
    base: float
    mean: bool
    roots: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[np.float32]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: BoolArray
    value: FloatArray
    form: ClassVar[Form] = "trees"

    @classmethod
    def from_trees(
        cls, trees: Sequence[Tree], fill: FloatArray, outputs: OutputScale, *, base: float, mean: bool
    ) -> TreesModel:
        """Number the splits and leaves of `trees`.

        Args:
            trees: one or more.
            fill: shape (d,), stands for missing values.
            outputs: scale of predictions.
            base: added to the sum or mean.
            mean: True for the mean of the trees.
        """
        roots, left, right = [], [], []
        splits = leaves = 0
        for tree in trees:
            is_leaf = tree.feature < 0
            number = np.where(is_leaf, -leaves - np.cumsum(is_leaf), splits + np.cumsum(~is_leaf) - 1)
            roots.append(number[0])
            left.append(number[tree.left[~is_leaf]])
            right.append(number[tree.right[~is_leaf]])
            leaves += int(is_leaf.sum())
            splits += int((~is_leaf).sum())
        joined = {
            name: np.concatenate([getattr(tree, name)[tree.feature >= 0] for tree in trees])
            for name in ("feature", "threshold", "missing_left")
        }
        return cls(
            outputs,
            fill,
            base,
            mean,
            np.array(roots, dtype=np.int32),
            joined["feature"].astype(np.int16 if len(fill) < 2**15 else np.int32),
            round_thresholds(joined["threshold"]),
            np.concatenate(left).astype(np.int32),
            np.concatenate(right).astype(np.int32),
            joined["missing_left"].astype(bool),
            np.concatenate([tree.value[tree.feature < 0] for tree in trees]),
        )

    def _leaf_values(self, x: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Leaf values (trees, rows) of features `x` (q, d), block by block."""
        check_width(x, len(self.fill))
        known = round_features(x)
        known = np.where(np.isnan(known), self.fill.astype(np.float32), known)
        width, count = known.shape[1], len(self.roots)
        size = max(STEPS_PER_BLOCK // count, 1)
        for low in range(0, len(known), size):
            part = known[low : low + size]
            flat = part.reshape(-1)
            node = np.repeat(self.roots.astype(np.int64), len(part))
            start = np.tile(np.arange(len(part)) * width, count)
            open_ = np.flatnonzero(node >= 0)
            while len(open_):
                at = node[open_]
                feature = flat[start[open_] + self.feature[at]]
                goes_left = feature <= self.threshold[at]
                absent = np.isnan(feature)
                if absent.any():
                    goes_left |= absent & self.missing_left[at]
                at = np.where(goes_left, self.left[at], self.right[at])
                node[open_] = at
                open_ = open_[at >= 0]
            yield slice(low, low + len(part)), self.value[-1 - node].reshape(count, len(part))

    def score(self, x: FloatArray) -> FloatArray:
        """Scores (q,) of features `x` (q, d), before the scale of predictions."""
        scores = np.empty(len(x))
        for block, values in self._leaf_values(x):
            total = values.sum(axis=0)
            scores[block] = self.base + (total / len(values) if self.mean else total)
        return scores

    def predict(self, x: FloatArray) -> FloatArray:
        return self.outputs.to_values(self.score(x))

    def predict_spread(self, x: FloatArray) -> FloatArray | None:
        if not self.mean:
            return None
        scores, deviations = np.empty(len(x)), np.empty(len(x))
        for block, values in self._leaf_values(x):
            scores[block], deviations[block] = self.base + values.mean(axis=0), values.std(axis=0)
        return self.outputs.to_deviations(scores, deviations)

    def predict_both(self, x: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        return self.predict(x), self.predict_spread(x)

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain JSON."""
        return {"outputs": self.outputs.config, "base": self.base, "mean": self.mean}

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Arrays by name."""
        stored: dict[str, NDArray[Any]] = {
            "fill": np.nan_to_num(self.fill),
            "filled": np.isfinite(self.fill),
            "roots": self.roots,
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "value": self.value,
        }
        return {**stored, "missing_left": self.missing_left} if self.missing_left.any() else stored

    @classmethod
    def load(cls, config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> TreesModel:
        """Rebuild the model from its stored parts."""
        fill = take_array(arrays, "fill", (None,))
        filled = np.asarray(arrays["filled"], dtype=bool)
        feature = take_index(arrays, "feature", len(fill))
        splits, value = len(feature), take_array(arrays, "value", (None,))
        roots, left, right = (
            take_index(arrays, name, splits, -len(value)) for name in ("roots", "left", "right")
        )
        missing = np.asarray(arrays.get("missing_left", np.zeros(splits)), dtype=bool)
        if (
            not len(left) == len(right) == len(missing) == splits
            or filled.shape != fill.shape
            or not len(roots)
        ):
            raise ArtifactError("the arrays of the stored trees do not fit together")
        _check_order(left, right)
        if not isinstance(config["mean"], bool):
            raise ArtifactError(f"`mean` of the stored trees must be true or false, got {config['mean']!r}")
        return cls(
            OutputScale.from_config(config["outputs"]),
            np.where(filled, fill, np.nan),
            float(config["base"]),
            config["mean"],
            roots.astype(np.int32),
            feature.astype(np.int16 if len(fill) < 2**15 else np.int32),
            take_array(arrays, "threshold", (splits,)).astype(np.float32),
            left.astype(np.int32),
            right.astype(np.int32),
            missing,
            value,
        )


def _check_order(left: IntArray, right: IntArray) -> None:
    """Refuse splits that lead back to themselves: a row would never reach a leaf.

    Raises:
        ArtifactError: a node below a split has no greater number than the split.
    """
    number = np.arange(len(left))
    if any(((below >= 0) & (below <= number)).any() for below in (left, right)):
        raise ArtifactError("the stored trees are damaged: a split leads back to itself")
