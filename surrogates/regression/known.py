"""Compositions that a model was trained on, compared by fractions of the elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invdesign.arrays import FloatArray
from surrogates.regression.material import Material

KNOWN_TOLERANCE = 0.002  # of a fraction; chosen: occupancies of crystals have two or three digits


class KnownCompositions:
    """Compositions of training data.

    Formulas are not compared as text: those of broken amounts have many forms, and occupancies are rounded.

    Args:
        formulas: of the materials.
    """

    def __init__(self, formulas: Sequence[str]) -> None:
        from pymatgen.core import Composition

        found: dict[tuple[str, ...], list[FloatArray]] = {}
        for formula in formulas:
            elements, fractions = find_fractions(Composition(formula).get_el_amt_dict())
            found.setdefault(elements, []).append(fractions)
        self._fractions = {elements: np.array(rows) for elements, rows in found.items()}

    def contains(self, material: Material) -> bool:
        """True if a composition is that of the material, within a tolerance of 0.002 of each fraction."""
        elements, fractions = find_fractions(material.composition)
        known = self._fractions.get(elements)
        return known is not None and bool((np.abs(known - fractions).max(axis=1) <= KNOWN_TOLERANCE).any())


def find_fractions(amounts: Mapping[str, float]) -> tuple[tuple[str, ...], FloatArray]:
    """Find the elements of a composition in alphabetical order, and their fractions."""
    elements = tuple(sorted(amounts))
    values = np.array([amounts[symbol] for symbol in elements], dtype=np.float64)
    return elements, values / values.sum()
