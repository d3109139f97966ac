"""Crystals from scratch: cell, atoms and composition are searched."""

from __future__ import annotations

from invdesign.spaces.crystal.space import CrystalSpace

__all__ = ["CrystalSpace"]
