"""Models that come with the package."""

from __future__ import annotations

from invdesign.artifacts import Shelf

MODELS = Shelf("invdesign.generators", "models", standard="prototypes")
"""Shipped models: `prototypes` and `crystal_vae`."""
