"""Training data of property models: described input columns, and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from invdesign.arrays import FloatArray, IntArray

ColumnKind = Literal["number", "category"]


@dataclass(frozen=True)
class Inputs:
    """Description of the d input columns of a model.

    Attributes:
        names: of the columns, for display.
        kinds: `number`, or `category` where two different values are only different.
        groups: (name, columns) of the descriptors that belong together, for additive models; every column is in
            exactly one group.
        cube: True if the columns are coordinates of the unit cube (`VectorSpace.encode`) rather than features.
        periodic: columns of the unit cube whose ends, 0 and 1, are one point.
    """

    names: tuple[str, ...]
    kinds: tuple[ColumnKind, ...]
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()
    cube: bool = False
    periodic: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def categories(self) -> tuple[int, ...]:
        """Positions of the columns that are categories."""
        return tuple(column for column, kind in enumerate(self.kinds) if kind == "category")


@dataclass(frozen=True)
class Rows:
    """Training rows of one model, n of them.

    Attributes:
        x: shape (n, d), inputs.
        y: shape (n,), values, finite.
        noise: shape (n,), variance of each value where an evaluator or experiment states it; else NaN.
        source: shape (n,), where each value comes from: 0 is the target, others (an earlier stage, an earlier run,
            another functional) are related to it.
    """

    x: FloatArray
    y: FloatArray
    noise: FloatArray
    source: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.source) != len(self.y):
            object.__setattr__(self, "source", np.zeros(len(self.y), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.y)

    def select_rows(self, rows: IntArray | Sequence[int]) -> Rows:
        """Select `rows` by position, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self, x=self.x[index], y=self.y[index], noise=self.noise[index], source=self.source[index]
        )
