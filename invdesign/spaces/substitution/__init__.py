"""Search space of crystals with substituted elements."""

from __future__ import annotations

from invdesign.spaces.substitution.space import SubstitutionSpace

__all__ = ["SubstitutionSpace"]
