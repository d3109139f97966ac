"""Known crystals with other elements: the generator `prototypes`."""

from __future__ import annotations

from invdesign.generators.prototypes.generator import PrototypeGenerator

__all__ = ["PrototypeGenerator"]
