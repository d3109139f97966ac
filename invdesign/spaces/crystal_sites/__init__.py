"""Search space of crystals of space groups: occupied sites, cell parameters and free coordinates."""

from __future__ import annotations

from invdesign.spaces.crystal_sites.space import CrystalSitesSpace

__all__ = ["CrystalSitesSpace"]
