"""Models that come with the package."""

from __future__ import annotations

from invdesign.artifacts import Shelf

MODELS = Shelf("invdesign.generators", "models", standard="prototypes")
"""Shipped models: `prototypes` and `crystal_vae`."""
NETWORK_KIND, NETWORK_VERSION = "crystal_vae", 1
"""Kind and version of the model folders of networks; here, so that settings are read without torch."""
