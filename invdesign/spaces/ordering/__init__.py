"""Which species sits on which site."""

from __future__ import annotations

from invdesign.spaces.ordering.space import OrderingSpace

__all__ = ["OrderingSpace"]
