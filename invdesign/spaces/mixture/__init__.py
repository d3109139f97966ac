"""Fractions of components on simplices."""

from __future__ import annotations

from invdesign.spaces.mixture.space import MixtureSpace

__all__ = ["MixtureSpace"]
