"""Volumes of a crystal beside those of its ions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.regression.features.cell import find_volume, require_cell
from surrogates.regression.features.contract import Column, Need, describe_each
from surrogates.regression.features.ions import find_ions
from surrogates.regression.material import Material

LEAST_FREE = 0.01  # share of the volume that is left beside the ions at least: radii are rough; chosen
DIGITS = 6
VOLUME_COLUMNS = (
    Column("log10_volume_per_atom", "log10(Å^3)"),
    Column("log10_volume_per_lithium", "log10(Å^3)"),
    Column("log10_volume_per_anion", "log10(Å^3)"),
    Column("ionic_volume_share"),
    Column("framework_volume_share"),
    Column("log10_free_volume_per_lithium", "log10(Å^3)"),
)


@dataclass(frozen=True)
class Volumes:
    """Volumes per atom, lithium and anion, the share that spheres of the ions fill, and the rest per lithium.

    The framework is all ions but lithium; radii are Shannon's.
    """

    name: str = "volumes"
    needs: Need = "cell"
    weights: str = ""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """`VOLUME_COLUMNS`."""
        return VOLUME_COLUMNS

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute features, shape (n, 6); NaN where the number of atoms is unknown, or a kind of ion is not there.

        Raises:
            FeatureError: a material has no cell, or an impossible one.
        """
        rows = describe_each(materials, describe_volumes)
        return np.array(rows).reshape(len(materials), len(VOLUME_COLUMNS))


def describe_volumes(material: Material) -> FloatArray:
    """Features of the volume of one material, shape (6,), as `VOLUME_COLUMNS`.

    Raises:
        FeatureError: it has no cell, or an impossible one.
    """
    ions, cell = find_ions(material.composition), require_cell(material)
    volume = find_volume(cell.lengths, cell.angles)
    if cell.atoms is None:
        return np.full(len(VOLUME_COLUMNS), np.nan)
    per_atom = volume / cell.atoms
    spheres = ions.fractions * (4.0 / 3.0 * math.pi) * ions.radii**3 / per_atom  # shares of the volume
    framework = float(spheres[~ions.mobile].sum())
    lithium, anions = ions.share(ions.mobile), ions.share(ions.anions)
    numbers = [
        math.log10(per_atom),
        math.log10(per_atom / lithium) if lithium > 0 else math.nan,
        math.log10(per_atom / anions) if anions > 0 else math.nan,
        float(spheres.sum()),
        framework,
        math.log10(per_atom * max(1.0 - framework, LEAST_FREE) / lithium) if lithium > 0 else math.nan,
    ]
    return np.round(np.array(numbers), DIGITS)
