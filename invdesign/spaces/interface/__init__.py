"""Search space of interfaces between two solids."""

from __future__ import annotations

from invdesign.spaces.interface.space import InterfaceSpace

__all__ = ["InterfaceSpace"]
