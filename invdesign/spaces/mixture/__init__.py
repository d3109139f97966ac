"""Fractions of components on simplices."""

from __future__ import annotations

from invdesign.spaces.mixture.space import CountedMixtureSpace, MixtureSpace

__all__ = ["CountedMixtureSpace", "MixtureSpace"]
