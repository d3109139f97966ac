"""Charge-neutral compositions of given elements: their exact number, and each of them by its number."""

from __future__ import annotations

from invdesign.structures.compositions.enumeration import ElementSet, NeutralCompositions, SetClass
from invdesign.structures.compositions.rules import CompositionRules, Slot
from invdesign.structures.compositions.vectors import iterate_vector_blocks

__all__ = [
    "CompositionRules",
    "ElementSet",
    "NeutralCompositions",
    "SetClass",
    "Slot",
    "iterate_vector_blocks",
]
