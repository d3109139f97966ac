"""Insertion electrodes as a host and two contents of the working ion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols
from invdesign.structures.ions import is_group_1_or_2_metal
from surrogates.regression.features.composition import (
    find_fractions,
)
from surrogates.regression.features.contract import FeatureError
from surrogates.regression.material import Material

HOST_TOLERANCE = 0.01  # relative difference of the hosts of one electrode; chosen: formulas are rounded


@dataclass(frozen=True, eq=False)
class Pair:
    """Electrode with and without its working ions.

    Attributes:
        ion: symbol of the working ion.
        host: shape (95,), fractions of the host's atoms by atomic number, without the ion.
        discharged: ions per atom of the host, with the most ions.
        charged: ions per atom of the host, with the fewest.
    """

    ion: str
    host: FloatArray
    discharged: float
    charged: float

    def count_amounts(self, ions: float) -> dict[str, float]:
        """Amounts by element with a number of `ions` per atom of the host."""
        amounts = {element_symbols()[z - 1]: float(self.host[z]) for z in np.flatnonzero(self.host).tolist()}
        return {**amounts, self.ion: ions} if ions > 0 else amounts


def find_pair(discharged: Mapping[str, float], charged: Mapping[str, float]) -> Pair:
    """Find the working ion and the host of an electrode.

    Args:
        discharged: amounts by element, on any scale.
        charged: amounts of the electrode after ions have left, on any scale.

    Raises:
        FeatureError: the two do not differ by the amount of one metal of the first two groups, less of it in `charged`.
    """
    full, empty = find_fractions(discharged), find_fractions(charged)
    for number in np.flatnonzero(full).tolist():
        symbol = element_symbols()[number - 1]
        rest = 1.0 - full[number], 1.0 - empty[number]
        if not is_group_1_or_2_metal(symbol) or min(rest) <= 0:
            continue
        hosts = [np.where(np.arange(len(full)) == number, 0.0, row) for row in (full, empty)]
        first, second = hosts[0] / rest[0], hosts[1] / rest[1]
        ions = float(full[number] / rest[0]), float(empty[number] / rest[1])
        if np.abs(first - second).max() <= HOST_TOLERANCE * first.max() and ions[0] > ions[1]:
            return Pair(symbol, first, *ions)
    raise FeatureError(
        "the charged formula is not the discharged one with fewer ions of one metal of group 1 or 2; "
        "check both formulas, or their order"
    )


def require_pair(material: Material) -> Pair:
    """Pair of a material.

    Raises:
        FeatureError: it has no charged composition, or one of another host.
    """
    if not material.charged:
        raise FeatureError(
            "its charged composition is needed; give the formula of the electrode without its working ions"
        )
    return find_pair(material.composition, material.charged)
