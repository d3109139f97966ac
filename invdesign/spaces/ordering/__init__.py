"""Which species sits on which site."""

from __future__ import annotations

from invdesign.spaces.ordering.space import CountedOrderingSpace, OrderingSpace

__all__ = ["CountedOrderingSpace", "OrderingSpace"]
