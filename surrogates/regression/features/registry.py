"""Feature sets by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.errors import nearest
from surrogates.regression.features.cell import CellFeatures
from surrogates.regression.features.chgnet import Chgnet
from surrogates.regression.features.composition import ElementFractions, ElementStatistics
from surrogates.regression.features.contract import Column, FeatureError, FeatureSet
from surrogates.regression.features.ions import CationCharges, IonicComposition
from surrogates.regression.features.oxidation_states import OxidationStates
from surrogates.regression.features.packing import Packing
from surrogates.regression.features.redox_couples import RedoxCouples
from surrogates.regression.features.space_group import SpaceGroup
from surrogates.regression.features.vectors import ElementVectors
from surrogates.regression.features.volumes import Volumes
from surrogates.regression.material import Material

_SETS: tuple[FeatureSet, ...] = (
    ElementFractions(),
    ElementStatistics(),
    ElementVectors(),
    CellFeatures(),
    SpaceGroup(),
    Volumes(),
    OxidationStates(),
    Packing(),
    CationCharges(),
    IonicComposition(),
    RedoxCouples(),
    Chgnet(),
)
FEATURE_SETS: Mapping[str, FeatureSet] = MappingProxyType({found.name: found for found in _SETS})


def find_feature_set(name: str) -> FeatureSet:
    """Find a feature set by name.

    Raises:
        FeatureError: there is none of this name; the message suggests the nearest.
    """
    if name in FEATURE_SETS:
        return FEATURE_SETS[name]
    hint = nearest(name, FEATURE_SETS)
    raise FeatureError(
        f"there is no feature set '{name}'.{' ' + hint if hint else ''} Known are {', '.join(FEATURE_SETS)}"
    )


def list_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """Columns of several feature sets, side by side.

    Raises:
        FeatureError: a name is unknown.
    """
    return tuple(column for name in names for column in find_feature_set(name).columns)


def compute_features(names: Sequence[str], materials: Sequence[Material]) -> FloatArray:
    """Compute several feature sets of n materials, shape (n, d); NaN where a feature does not apply.

    Args:
        names: of feature sets, whose columns stand side by side in this order.
        materials: n materials.

    Raises:
        FeatureError: a name is unknown, or a material lacks what a set needs; `complaints` says which.
    """
    blocks = [find_feature_set(name).compute(materials) for name in names]
    return np.hstack([np.empty((len(materials), 0)), *blocks])
