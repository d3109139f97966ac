"""Search space of point defects and their complexes in a crystal."""

from __future__ import annotations

from invdesign.spaces.defect.space import DefectSpace

__all__ = ["DefectSpace"]
