"""Features of compositions from the element vectors that a network learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from invdesign.arrays import FloatArray
from invdesign.structures.charges import element_symbols
from surrogates.potentials.chgnet import CHGNet, knows_element, load_network
from surrogates.regression.features.composition import compute_fractions
from surrogates.regression.features.contract import Column, Need, raise_complaints
from surrogates.regression.material import Material

VECTOR_LENGTH = 64  # of CHGNet's element vectors and atom features


def find_complaints(fractions: FloatArray, names: Sequence[str]) -> dict[int, str]:
    """Find compositions with elements that CHGNet was not trained on; message by row.

    Args:
        fractions: shape (n, 95), by atomic number.
        names: of the n materials.
    """
    untrained = [number for number in range(1, fractions.shape[1]) if not knows_element(number)]
    found = {}
    for row in np.flatnonzero(fractions[:, untrained].any(axis=1)).tolist():
        symbols = [element_symbols()[number - 1] for number in untrained if fractions[row, number] > 0]
        found[row] = (
            f"{names[row]}: CHGNet was not trained on {', '.join(symbols)}; use features without a network, "
            f"or leave this material out"
        )
    return found


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
        fractions = compute_fractions(materials)
        raise_complaints(find_complaints(fractions, [material.name for material in materials]))
        vectors = load_network(CHGNet().model, "cpu").element_vectors
        mean = fractions[:, 1:] @ vectors
        square = fractions[:, 1:] @ vectors**2
        return np.round(np.hstack([mean, np.sqrt(np.maximum(square - mean**2, 0.0))]), 6) + 0.0
