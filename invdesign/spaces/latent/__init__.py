"""Search space of the codes of a generator."""

from __future__ import annotations

from invdesign.spaces.latent.space import LatentSpace

__all__ = ["LatentSpace"]
