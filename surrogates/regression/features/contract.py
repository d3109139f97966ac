"""Contract of feature sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from invdesign.arrays import FloatArray
from surrogates.regression.material import Material

Need = Literal["composition", "cell", "crystal", "electrode"]


@dataclass(frozen=True, slots=True)
class Column:
    """Name and unit of one feature."""

    name: str
    unit: str = ""


class FeatureSet(Protocol):
    """Numbers computed from materials; a function of each material alone."""

    @property
    def name(self) -> str:
        """Name in recipes: `element_fractions`."""
        ...

    @property
    def needs(self) -> Need:
        """Part of a material that must be known."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and units of the d features."""
        ...

    @property
    def weights(self) -> str:
        """Label and hash of the network whose weights it reads; empty without one."""
        ...

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, d); NaN where a feature does not apply.

        Raises:
            FeatureError: a material lacks what is needed; the message names it, with a remedy.
        """
        ...
