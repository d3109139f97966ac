"""Features of materials, computed once per feature set, so that folds only select rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray, IntArray
from surrogates.regression.errors import TrainingError
from surrogates.regression.material import Material
from surrogates.regression.models.contract import ColumnBlock

MAX_NAMED = 3  # of the places of one mistake in a message (chosen)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Features of n materials by feature set.

    Attributes:
        values: shape (n, d) by name of the set; NaN where a feature does not apply.
    """

    values: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()))) if self.values else 0

    def stack_sets(self, names: Sequence[str]) -> FloatArray:
        """Columns of the sets `names` side by side."""
        return np.hstack([self.values[name] for name in names])

    def list_columns(self, names: Sequence[str]) -> tuple[ColumnBlock, ...]:
        """Columns of the sets `names` side by side, set by set."""
        return tuple(ColumnBlock(self.values[name].shape[1], has_one_unit(name)) for name in names)

    def select_rows(self, rows: IntArray) -> Blocks:
        """Select rows by position, in that order."""
        return Blocks({name: block[rows] for name, block in self.values.items()})


def compute_blocks(names: Sequence[str], materials: Sequence[Material]) -> Blocks:
    """Compute feature sets of materials.

    Args:
        names: of the sets; repeated ones are computed once.
        materials: n materials.

    Raises:
        FeatureError: a material lacks what a set needs, or a set is unknown.
        TrainingError: a feature is infinite.
    """
    from surrogates.regression.features.registry import compute_features

    values: dict[str, FloatArray] = {}
    for name in dict.fromkeys(names):
        block = np.ascontiguousarray(compute_features((name,), materials), dtype=np.float64)
        _refuse_infinite(name, block, materials)
        values[name] = block
    return Blocks(values)


def _refuse_infinite(name: str, block: FloatArray, materials: Sequence[Material]) -> None:
    bad = np.argwhere(np.isinf(block))
    if len(bad):
        places = ", ".join(
            f"{name_columns(name)[column]} of {materials[row].name}"
            for row, column in bad[:MAX_NAMED].tolist()
        )
        more = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        raise TrainingError(
            f"the feature set {name} gives infinite values: {places}{more}; correct or leave out these rows, "
            "or take another feature set"
        )


def name_columns(name: str) -> tuple[str, ...]:
    """Names of the columns of a feature set."""
    from surrogates.regression.features.registry import find_feature_set

    return tuple(column.name for column in find_feature_set(name).columns)


def has_one_unit(name: str) -> bool:
    """True if all columns of a feature set have one unit, so that their sizes compare."""
    from surrogates.regression.features.registry import find_feature_set

    return len({column.unit for column in find_feature_set(name).columns}) == 1


def hash_columns(name: str) -> str:
    """Hash of the columns of a feature set, which tells a set of another version."""
    return hashlib.sha256("\n".join(name_columns(name)).encode()).hexdigest()[:16]
