"""Features of compositions from the element vectors that a network learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols
from surrogates.potentials.chgnet import CHGNet, knows_element, load_network
from surrogates.regression.features.composition import find_fractions
from surrogates.regression.features.contract import Column, FeatureError, Need, describe_each
from surrogates.regression.material import Material

VECTOR_LENGTH = 64  # of CHGNet's element vectors and atom features


def check_trained(present: NDArray[np.bool_]) -> None:
    """Refuse elements that CHGNet was not trained on.

    Args:
        present: shape (94,), True for each element that a material has, by atomic number from 1.

    Raises:
        FeatureError: there is one.
    """
    unknown = [
        element_symbols()[place] for place in np.flatnonzero(present).tolist() if not knows_element(place + 1)
    ]
    if unknown:
        raise FeatureError(
            f"CHGNet was not trained on {', '.join(unknown)}; use features without a network, "
            f"or leave this material out"
        )


@dataclass(frozen=True)
class ElementVectors:
    """Mean and standard deviation of CHGNet's element vectors over the atoms of a composition."""

    name: str = "element_vectors"
    needs: Need = "composition"

    @cached_property
    def weights(self) -> str:
        """Name and hash of the checkpoint."""
        return CHGNet().fingerprint

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Means, then deviations."""
        return tuple(
            Column(f"{statistic}_element_vector_{place}")
            for statistic in ("mean", "deviation")
            for place in range(1, VECTOR_LENGTH + 1)
        )

    def compute(self, materials: Sequence[Material]) -> FloatArray:
        """Compute means and deviations, shape (n, 128)."""
        vectors = load_network(CHGNet().model, "cpu").element_vectors
        rows = describe_each(materials, _find_trained_fractions)
        fractions = np.array(rows).reshape(len(materials), len(vectors))
        mean = fractions @ vectors
        square = fractions @ vectors**2
        return np.round(np.hstack([mean, np.sqrt(np.maximum(square - mean**2, 0.0))]), 6) + 0.0


def _find_trained_fractions(material: Material) -> FloatArray:
    fractions = find_fractions(material.composition)[1:]
    check_trained(fractions > 0)
    return fractions
