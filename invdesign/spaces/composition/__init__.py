"""All charge-neutral compositions of given elements."""

from __future__ import annotations

from invdesign.spaces.composition.space import CompositionSpace

__all__ = ["CompositionSpace"]
