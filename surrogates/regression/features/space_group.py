"""Space group and crystal system as columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.regression.features.cell import LAST_SPACE_GROUPS, find_system, require_cell
from surrogates.regression.features.contract import Column, Need, describe_each
from surrogates.regression.material import Material

SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
GROUPS = LAST_SPACE_GROUPS[-1]


@dataclass(frozen=True)
class SpaceGroup:
    """One column for each space group, then one for each crystal system: 1 for that of the crystal, else 0."""

    name: str = "space_group"
    needs: Need = "cell"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Groups by international number, then systems."""
        return (*(Column(f"space_group_{number}") for number in range(1, GROUPS + 1)), *map(Column, SYSTEMS))

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute columns, shape (n, 237); NaN where the space group is unknown.

        Raises:
            FeatureError: a material has no cell.
        """
        rows = describe_each(materials, mark_group)
        return np.array(rows).reshape(len(materials), len(self.columns))


def mark_group(material: Material) -> FloatArray:
    """Mark the space group and the crystal system of a material, shape (237,).

    Raises:
        FeatureError: it has no cell, or its space group is no number from 1 to 230.
    """
    group = require_cell(material).space_group
    if group is None:
        return np.full(GROUPS + len(SYSTEMS), np.nan)
    marks = np.zeros(GROUPS + len(SYSTEMS))
    marks[[group - 1, GROUPS + find_system(group)]] = 1.0
    return marks
